"""Runs that are disturbed: the operator, Prometheus or pods are killed, stopped or started again in their midst."""

import shlex
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.bed import Stopwatch
from tests.bed.processes import until
from tests.e2e.at_once.test_commands import NEVER, SLOW_STAGES, answer
from tests.e2e.at_once.test_counting import WORSE
from tests.e2e.at_once.test_rollout import Json, condition
from tests.shop import SLOW, Operator, Shop, metric_source

PROVED = ["StageProved", "StageStarted", "WeightShifted"]


def test_a_dead_prometheus_holds_the_run_and_nothing_is_rolled_back(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50)
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "10s", "deadline": "60s"}])
    soaking = shop.until("Judging/w25")["stage"]
    running.judges(3)
    shop.bed.prometheus.kill()
    try:
        held = shop.until("Held", timeout=15)
        assert held["reason"] == "MetricsUnavailable"
        assert condition(held, "MetricsAvailable")["status"] == "False"
        unanswered = partial(running.counted, "rolloutplan_metric_requests_total", 'code="0"')
        before = unanswered()
        until(lambda: unanswered() >= before + 5, 60, "five more questions in vain")
        assert shop.phase() == "Held"
        assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}, "blind is not bad"
    finally:
        shop.bed.prometheus.start()
    first = {each["reason"]: each for each in reversed(shop.until("Succeeded", timeout=75)["decisions"])}
    proved = first["StageProved"]["at"]
    assert first["Resumed"]["at"] < proved
    assert proved > soaking["soakUntil"], "time held does not count as soak"
    until(lambda: "Succeeded" in shop.reasons(), 5, "the last Event")
    assert shop.reasons().count("Held") == 1
    assert shop.reasons().count("Resumed") == 1


def seconds_from_unready_to_old_weights(shop: Shop, **behaviour: Any) -> tuple[float, Json]:
    """Break all new pods; returns the time from the Deployment's status to the route's patch, by the audit log.

    In seconds of a Stopwatch, at its pace in that time.
    """
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    shop.until("Judging/w25")
    watch = Stopwatch()
    shop.bed.behave("checkout-v2", shop.namespace, **behaviour)
    status = shop.until("RolledBack", timeout=20)
    pace = watch.pace()
    known, moved = [], []
    for entry in shop.bed.audit(words=[f'"{shop.namespace}"']):
        ref = entry.get("objectRef", {})
        if ref.get("namespace") != shop.namespace or entry["verb"] not in ("update", "patch"):
            continue
        at = _instant(entry["stageTimestamp"])
        if (ref["resource"], ref["name"], ref.get("subresource")) == ("deployments", "checkout-v2", "status"):
            known.append(at)
        if (ref["resource"], ref.get("subresource")) == ("httproutes", None) and "rolloutplan" in entry["userAgent"]:
            moved.append(at)
    rolled_back = max(moved)
    return (rolled_back - max(at for at in known if at <= rolled_back)) * pace, status


def _instant(text: str) -> float:
    whole, _, fraction = text.rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


def test_unready_new_pods_put_the_weights_back_at_once(shop: Shop) -> None:
    took, status = seconds_from_unready_to_old_weights(shop, ready=False)
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert status["reason"] == "NewSideDown"
    assert 0 <= took < 1, f"{took:.2f} s from the Deployment's status to the old weights"


def test_crash_looping_new_pods_put_the_weights_back_at_once(shop: Shop) -> None:
    took, status = seconds_from_unready_to_old_weights(shop, crashloop=True)
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert status["reason"] in ("NewSideDown", "NewSideRestarting")
    assert 0 <= took < 1, f"{took:.2f} s from the Deployment's status to the old weights"


def test_a_kill_in_the_soak_neither_shortens_it_nor_starts_it_again(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50)
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "12s"}])
    before = shop.until("Judging/w25")["stage"]
    running.judges(3)
    running.process.kill()
    running.process.start()
    back = datetime.now(UTC)
    shop.until("Shifting", "Judging/w100", "Succeeded", timeout=30)
    moved = next(d for d in shop.status()["decisions"] if d["reason"] == "StageProved")
    soaked, at = (datetime.fromisoformat(text) for text in (before["soakUntil"], moved["at"]))
    assert soaked <= at, "the soak was shortened"
    assert at - max(soaked, back) < timedelta(seconds=4), "the soak was started again"
    assert shop.status()["run"] == 1
    shop.until("Succeeded", timeout=40)
    until(lambda: "Succeeded" in shop.reasons(), 5, "the last Event")
    seqs = [int(e["metadata"]["name"].rpartition(".")[2]) for e in shop.events()]
    assert seqs == list(range(1, len(seqs) + 1)), "every decision has exactly one Event"


def test_the_breadcrumb_works_when_the_operator_is_dead(shop: Shop, running: Operator) -> None:
    shop.weights = {"checkout-v1": 9, "checkout-v2": 1}
    shop.open()
    shop.start(stages=[{"weights": ["50%", "100%"], "soak": "30s"}])
    shop.until("Judging/w50")
    running.process.kill()
    try:
        on_plan = shop.stored()["metadata"]["annotations"]["rolloutplan.dev/revert"]
        on_route = shop.route()["metadata"]["annotations"]["rolloutplan.dev/revert"]
        assert on_plan == on_route == shop.status()["revert"]
        program, *arguments = shlex.split(on_route)
        assert program == "kubectl"
        shop.bed.kubectl(*arguments)
        assert shop.traffic() == {"checkout-v1": 9, "checkout-v2": 1}
    finally:
        running.process.start()
    held = shop.until("Held", timeout=10)
    assert held["reason"] == "Conflict", "a weight that somebody put back is not pushed forward again"
    assert shop.traffic() == {"checkout-v1": 9, "checkout-v2": 1}


@pytest.mark.any_cluster
def test_sigterm_ends_the_operator_within_five_seconds(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    shop.until("Judging/w25")
    watch = Stopwatch()
    running.process.child.terminate()
    try:
        assert running.process.ends(10) == 0
        assert watch.seconds() < 5
    except TimeoutError:
        running.process.kill()
        raise
    finally:
        running.process.start()
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}


def test_abort_means_now_whatever_else_is_broken(shop: Shop) -> None:
    shop.open()
    shop.bed.apply(metric_source("http://127.0.0.1:9", name=f"{shop.namespace}-dead"))
    shop.start(stages=SLOW_STAGES, guards=[NEVER])
    shop.until("Judging/w25")
    shop.bed.behave("checkout-v1", shop.namespace, pods=1, ready=False)
    shop.bed.prometheus.stop()
    try:
        shop.say("abort t1 --reason customers complain")
        status = shop.until("RolledBack", timeout=5)
    finally:
        shop.bed.prometheus.cont()
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert status["reason"] == "Aborted"
    told = answer(shop, "t1")
    assert told["by"] == "kubectl-annotate (self-declared)", "it says who"
    assert "customers complain" in told["note"]


@pytest.mark.any_cluster
def test_of_two_commands_at_once_the_newest_counts_and_both_are_recorded(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.start(stages=SLOW_STAGES, guards=[NEVER])
    shop.until("Judging/w25")
    running.process.stop()
    try:
        shop.say("pause t1")
        shop.say("abort t2")
    finally:
        running.process.cont()
    shop.until("RolledBack", timeout=15)
    assert answer(shop, "t2")["reason"] == "RollbackStarted"
    told = answer(shop, "t1")
    if "replaced by a newer command" not in told["note"]:  # it was heard so much earlier that it was not of two at once
        assert told["note"].startswith("pause by kubectl-annotate")
        assert shop.reasons().index("Held") < shop.reasons().index("RollbackStarted")


def test_no_look_is_lost_or_counted_twice_when_the_operator_dies(shop: Shop, running: Operator) -> None:
    shop.open()
    load = shop.bed.load(shop.host, rate=100)
    shop.start(guards=[WORSE], stages=[{"weights": ["50%", "100%"], "soak": "20s"}])
    shop.until("Judging/w50")
    running.judges(4)
    running.process.kill()
    unseen = load.total()
    until(lambda: load.total() > unseen + 1000, 60, "requests that are not looked at when they are made")
    running.process.start()
    shop.until("Judging/w100", timeout=60)
    proved = next(d for d in shop.status()["decisions"] if d["reason"] == "StageProved")
    evidence = proved["evidence"][0]
    counted = float(evidence["samples"])
    verified = next(d for d in shop.status()["decisions"] if d["reason"] == "WeightShifted")
    served = _served(shop, "checkout-v2", evidence["at"]) - _served(shop, "checkout-v2", verified["at"])
    meanwhile = 1000 / 2  # the new side's half of what nobody looked at
    assert abs(counted - served) < 0.8 * meanwhile, f"{counted} requests of {served}"
    assert load.lost() == 0


def _served(shop: Shop, deployment: str, at: str) -> float:
    """How many requests a Deployment had answered at an instant, as far as Prometheus knows; 0 before it knows any."""
    selector = f'http_requests_total{{namespace="{shop.namespace}",deployment="{deployment}"}}'
    return shop.bed.query(f"sum({selector} @ {datetime.fromisoformat(at).timestamp():.3f})") or 0.0


def test_a_warning_halves_the_next_increase_whoever_is_killed(shop: Shop, running: Operator) -> None:
    shop.open()
    load = shop.bed.load(shop.host, rate=50)
    shop.bed.behave("checkout-v2", shop.namespace, latency=0.2)
    slow = {"name": "slow", "query": SLOW, "is": "> 0.1", "window": "4s"}
    stages = [
        {"name": "first", "weight": "20%", "soak": "8s", "warn": [slow]},
        {"name": "all", "weight": "100%", "soak": "4s"},
    ]
    shop.start(stages=stages)
    halfway = shop.until("Judging/all", timeout=40)
    assert halfway["stage"]["display"] == "2/2 all half way"
    assert halfway["weights"]["desired"] == halfway["stage"]["weight"] == "60%"
    now = shop.traffic()
    assert now["checkout-v2"] * 4 == now["checkout-v1"] * 6, now
    running.process.kill()
    running.process.start()
    shop.until("Succeeded", timeout=60)

    until(lambda: "Succeeded" in shop.reasons(), 5, "the last Event")
    started = ["Started", "NewSideReady", "StageStarted", "WeightShifted"]
    assert shop.reasons() == [*started, "Warned", *PROVED, *PROVED, "StageProved", "Succeeded"]
    shifts = [event for event in shop.events() if event["reason"] == "WeightShifted"]
    shares = [event["metadata"]["annotations"]["rolloutplan.dev/weight-to"] for event in shifts]
    assert shares == ["20%", "60%", "100%"]
    warned = next(event for event in shop.events() if event["reason"] == "Warned")
    assert "the next increase is halved: first 60%, then 100%" in warned["note"]
    assert (warned["type"], warned["metadata"]["annotations"]["rolloutplan.dev/predicate"]) == ("Warning", "slow")
    assert load.lost() == 0, load.stop()
