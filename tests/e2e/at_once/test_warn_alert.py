"""What only warns, and what fires: smaller steps on real traffic."""

from tests.bed import prometheus
from tests.bed.processes import until
from tests.shop import Operator, Shop

FAILING = 'sum by (namespace, deployment) (rate(http_requests_total{{namespace="{}",code="500"}}[4s])) > 1'


def test_an_alert_that_fires_already_holds_the_run_and_a_new_one_takes_it_back(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=40)
    shop.bed.alert(f"Failing-{shop.namespace}", FAILING.format(shop.namespace), severity="page")
    shop.bed.behave("checkout-v1", shop.namespace, errors=0.3)
    until(lambda: prometheus.query(f'count(ALERTS{{namespace="{shop.namespace}"}})'), 30, "the alert")
    page = {"name": "page", "alert": {"matchers": 'severity="page",namespace="$namespace"'}}
    shop.start(guards=[page], stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    held = shop.until("Held")
    assert held["reason"] == "Incident"
    assert f'guard page: 1 alert fires already with severity="page",namespace="{shop.namespace}"' in held["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}

    shop.bed.behave("checkout-v1", shop.namespace, errors=0.0)
    shop.until("Judging/w25", timeout=40)
    running.judges(3)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    status = shop.until("RolledBack")
    assert status["reason"] == "GuardTripped"
    assert "guard page tripped: 1 > 0 alerts" in status["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    until(lambda: "RolledBack" in shop.reasons(), 30, "the last Event")
    assert [reason for reason in shop.reasons() if reason in ("Held", "Resumed")] == ["Held", "Resumed"]
