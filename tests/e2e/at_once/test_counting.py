"""Predicates of counted events on real counters: no call by chance, and none missed."""

from typing import Any

from tests.bed.processes import until
from tests.refusals import changed
from tests.shop import Shop

EVENTS = {
    "bad": 'http_requests_total{namespace="$namespace",deployment="$deployment",code="500"}',
    "total": 'http_requests_total{namespace="$namespace",deployment="$deployment"}',
}
WORSE = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
SLOWER = {
    "name": "slower",
    "events": {
        "histogram": 'http_request_duration_seconds{namespace="$namespace",deployment="$deployment"}',
        "slowerThan": "100ms",
    },
    "vsOld": "> 1.5x",
}


def predicate(shop: Shop, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in shop.status()["predicates"] if each["name"] == name)
    return found


def test_errors_on_both_sides_roll_nothing_back(shop: Shop) -> None:
    shop.open()
    for name in ("checkout-v1", "checkout-v2"):
        shop.bed.behave(name, shop.namespace, errors=0.1)
    shop.bed.load(shop.host, rate=40)
    shop.start(guards=[WORSE], stages=[{"weights": ["25%", "50%", "100%"], "soak": "6s"}])
    shop.until("Succeeded", timeout=60)


def test_three_times_the_errors_are_proved(shop: Shop) -> None:
    shop.open()
    shop.bed.behave("checkout-v1", shop.namespace, errors=0.1)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.3)
    shop.bed.load(shop.host, rate=80)
    shop.start(guards=[WORSE], stages=[{"weights": ["50%", "100%"], "soak": "60s"}])
    status = shop.until("RolledBack", timeout=60)
    assert status["reason"] == "GuardTripped"
    assert "> 1.5x vs old at 95%" in status["message"]
    told = next(d for d in status["decisions"] if d["reason"] == "RollbackStarted")["evidence"][0]
    assert "http_requests_total" in told["query"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_a_pass_predicate_is_proved_or_refuted_for_good(shop: Shop) -> None:
    shop.open()
    few = {"name": "few-errors", "events": EVENTS, "is": "< 10%"}
    shop.bed.load(shop.host, rate=40)
    shop.start("good", guards=[], stages=[{"weights": ["50%", "100%"], "soak": "4s", "pass": [few]}])
    shop.until("Succeeded", name="good", timeout=60)
    back = {"old": {"deployment": "checkout-v2"}, "new": {"deployment": "checkout-v1"}}
    shop.bed.behave("checkout-v1", shop.namespace, errors=0.4)
    shop.start("bad", **back, guards=[], stages=[{"weights": ["50%", "100%"], "soak": "60s", "pass": [few]}])
    status = shop.until("RolledBack", name="bad", timeout=40)
    assert status["reason"] == "PassRefuted", "it is not waited for the deadline"


def test_a_stage_that_cannot_be_decided_in_its_time_says_so_early(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    no_worse = {"name": "no-worse", "events": EVENTS, "vsOld": "< 2x"}
    shop.start(guards=[], stages=[{"weights": ["5%", "100%"], "soak": "30s", "deadline": "60s", "pass": [no_worse]}])
    until(lambda: "StageCannotConclude" in shop.reasons(), 30, "a word that it takes too long")
    status = shop.status()
    assert status["phase"] == "Judging", "it is told, and stops nothing"
    assert "requests/s x 5 %" in status["stage"]["forecast"]
    assert shop.reasons().count("StageCannotConclude") == 1


def test_a_time_that_is_no_bound_of_the_buckets_is_refused_before_any_weight_moves(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    buckets = f'count(http_request_duration_seconds_bucket{{namespace="{shop.namespace}",le="0.1"}} > 0)'
    until(lambda: shop.bed.query(buckets), 30, "its buckets")
    odd = changed(SLOWER, {"events.slowerThan": "123ms"})
    shop.start(guards=[odd], stages=[{"weights": ["50%", "100%"], "soak": "5s"}])
    status = shop.until("Invalid")
    assert status["reason"] == "QueryRejected"
    for words in ("slower", "events.slowerThan: 123ms is not a bucket bound", "100ms"):
        assert words in status["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
