"""A cluster without a router: the number of pods behind one Service is the weight, and no answer is lost over it."""

from __future__ import annotations

from tests.bed import objects
from tests.bed.processes import until
from tests.shop import ERRORS, Operator, Shop

ROUTES = {"routes": [{"kind": "Replicas", "name": "checkout"}], "drain": "0s"}
FEW_ERRORS = {"name": "few-errors", "query": ERRORS, "is": "< 1%", "window": "3s"}


def open_behind_one_service(shop: Shop, pods: int) -> None:
    """All pods are behind the Service checkout, and end only when the gateway knows; the new side has none yet."""
    bed, home = shop.bed, shop.namespace
    bed.apply(objects.namespace(home), objects.jobs_account(home))
    bed.apply(objects.service("checkout", home, selector={"product": "checkout"}))
    for version, size in (("v1", pods), ("v2", 0)):
        bed.apply(objects.deployment(f"checkout-{version}", home, version, size, {"stop": "5"}))
    bed.apply(objects.httproute("checkout", {"checkout": 1}, home, shop.host))
    bed.wait_ready(home, "checkout-v1")
    shop.replicas = pods
    until(lambda: shop._has_endpoints("checkout"), 30, "the endpoints of all pods")


def test_pods_are_moved_one_way_and_back(shop: Shop, running: Operator) -> None:
    open_behind_one_service(shop, 4)
    load = shop.bed.load(shop.host, rate=40)
    shop.start(traffic=ROUTES, stages=[{"weights": ["25%", "100%"], "soak": "4s", "pass": [FEW_ERRORS]}])
    shop.until("Judging/w25", timeout=40)
    assert (shop.size("checkout-v1"), shop.size("checkout-v2")) == (3, 1)
    undo = shop.status()["revert"]
    shop.until("Judging/w100", timeout=40)
    assert (shop.size("checkout-v1"), shop.size("checkout-v2")) == (0, 4)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    shop.until("RolledBack", timeout=40)
    assert (shop.size("checkout-v1"), shop.size("checkout-v2")) == (4, 0)
    scales = [
        f"kubectl scale deployment/checkout-{v} -n {shop.namespace} --replicas={n}" for v, n in (("v1", 4), ("v2", 0))
    ]
    assert undo == " && ".join(scales)
    assert load.lost() == 0, load.stop()
