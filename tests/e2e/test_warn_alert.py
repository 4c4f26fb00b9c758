"""What only warns, and what fires: smaller steps on real traffic."""

from tests.bed import prometheus
from tests.bed.processes import until
from tests.shop import SLOW, Operator, Shop

PROVED = ["StageProved", "StageStarted", "WeightShifted"]


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


FAILING = 'sum by (namespace, deployment) (rate(http_requests_total{{namespace="{}",code="500"}}[4s])) > 1'


def test_an_alert_that_fires_already_holds_the_run_and_a_new_one_takes_it_back(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=100)
    shop.bed.alert(f"Failing-{shop.namespace}", FAILING.format(shop.namespace), severity="page")
    shop.bed.behave("checkout-v1", shop.namespace, errors=0.3)
    until(lambda: prometheus.query(f'count(ALERTS{{namespace="{shop.namespace}"}})'), 20, "the alert")
    page = {"name": "page", "alert": {"matchers": 'severity="page",namespace="$namespace"'}}
    shop.start(guards=[page], stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    held = shop.until("Held", timeout=20)
    assert held["reason"] == "Incident"
    assert f'guard page: 1 alert fires already with severity="page",namespace="{shop.namespace}"' in held["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}

    shop.bed.behave("checkout-v1", shop.namespace, errors=0.0)
    shop.until("Judging/w25", timeout=40)
    running.judges(3)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    status = shop.until("RolledBack", timeout=20)
    assert status["reason"] == "GuardTripped"
    assert "guard page tripped: 1 > 0 alerts" in status["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    until(lambda: "RolledBack" in shop.reasons(), 5, "the last Event")
    assert [reason for reason in shop.reasons() if reason in ("Held", "Resumed")] == ["Held", "Resumed"]
