"""What is judged by the time that answers take: not at the same time as other tests, which would make them slow."""

from tests.bed.processes import until
from tests.e2e.at_once.test_counting import SLOWER
from tests.e2e.at_once.test_examples import CHECKOUT, NEW, OLD, example
from tests.shop import SLOW, Operator, Shop


def test_latency_puts_the_old_weights_back(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=100)
    slower = {"name": "slower", "query": SLOW, "vsOld": "> 2x", "window": "5s"}
    shop.start(guards=[], stages=[{"weights": ["50%", "100%"], "soak": "30s", "fail": [slower]}])
    shop.until("Judging/w50")
    until(lambda: shop.measured(SLOW, "checkout-v2", "5s"), 30, "how slow the new side is")
    running.judges(3)
    assert shop.phase() == "Judging", "two equal sides must not be told apart"
    shop.bed.behave("checkout-v2", shop.namespace, latency=0.3)
    status = shop.until("RolledBack")
    assert status["reason"] == "FailTripped"
    assert "slower" in status["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_slow_requests_are_counted_from_buckets(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=100)
    shop.start(guards=[SLOWER], stages=[{"weights": ["50%", "100%"], "soak": "60s"}])
    shop.until("Judging/w50")
    running.judges(5)
    assert shop.phase() == "Judging"
    shop.bed.behave("checkout-v2", shop.namespace, latency=0.3)
    status = shop.until("RolledBack", timeout=40)
    assert "slower" in status["message"]


def test_a_version_that_is_fast_enough_gets_all_traffic(shop: Shop) -> None:
    shop.open()
    for name, latency in (("checkout-v1", 0.03), ("checkout-v2", 0.06)):
        shop.bed.behave(name, shop.namespace, latency=latency)
    shop.bed.load(shop.host, rate=100)
    shop.bed.apply(example("latency.yaml", shop))
    shop.until("Succeeded", name=CHECKOUT, timeout=110)
    assert shop.traffic() == NEW


def test_a_slower_version_is_taken_back(shop: Shop) -> None:
    shop.open()
    shop.bed.behave("checkout-v2", shop.namespace, slow=0.2, slow_latency=0.4)
    shop.bed.load(shop.host, rate=100)
    shop.bed.apply(example("latency.yaml", shop))
    status = shop.until("RolledBack", name=CHECKOUT, timeout=90)
    assert status["reason"] == "GuardTripped"
    assert "slow" in status["message"]
    assert shop.traffic() == OLD
    assert "w25" not in str(status["decisions"]), "eight of ten requests are fast, and that is not enough for a step"
