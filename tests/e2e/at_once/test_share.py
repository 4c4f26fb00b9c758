"""Whether the traffic is where it was asked for, on a real gateway and real counters."""

from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from tests.bed import Bed, objects
from tests.bed.api import Manifest
from tests.shop import Shop

TOTAL = 'http_requests_total{namespace="$namespace",deployment="$deployment"}'
WORSE = {
    "name": "worse",
    "events": {"bad": TOTAL.replace("}", ',code="500"}'), "total": TOTAL},
    "vsOld": "> 1.5x",
}


def in_front(shop: Shop) -> Manifest:
    """A route of somebody else that takes the shop's requests before ours does, all of them to the old side."""
    route = objects.httproute("in-front", {"checkout-v1": 100}, shop.namespace, shop.host)
    route["spec"]["rules"][0]["matches"] = [{"path": {"type": "Exact", "value": "/"}}]
    return route


def verified(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in status["conditions"] if each["type"] == "WeightsVerified")
    return found


def test_traffic_that_did_not_move_holds_the_run_until_it_has(shop: Shop) -> None:
    shop.open()
    shop.bed.apply(in_front(shop))
    load = shop.bed.load(shop.host, rate=60)
    shop.start(guards=[WORSE], stages=[{"weights": ["25%", "100%"], "soak": "25s", "deadline": "60s"}])
    status = shop.until("Held", timeout=40)
    assert (status["reason"], verified(status)["status"]) == ("WeightNotEffective", "False")
    assert status["weights"]["measured"] == "0.0%"
    assert "HTTPRoute checkout" in status["message"]
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}, "the weights stay"
    shop.bed.delete(in_front(shop))
    status = shop.until("Judging/w25", timeout=60)
    assert verified(status)["reason"] == "Measured"
    assert float(status["weights"]["measured"].removesuffix("%")) == pytest.approx(25, abs=5)
    shop.until("Judging/w100", timeout=60)
    assert load.lost() == 0
    assert shop.reasons().count("Held") == 1


@pytest.mark.usefixtures("running")
def test_a_gateway_that_follows_is_never_accused(bed: Bed) -> None:
    """Neither with few requests nor with many, each on a route of its own."""
    shops = {rate: Shop(bed, f"share-{rate}-{uuid4().hex[:6]}") for rate in (10, 150)}
    stages = [{"weights": ["5%", "50%", "80%", "100%"], "soak": "10s", "deadline": "60s"}]
    with ExitStack() as closing:
        for rate, shop in shops.items():
            closing.callback(shop.close)
            shop.open()
            bed.load(shop.host, rate=rate)
            shop.start(guards=[WORSE], stages=stages)
        for rate, shop in shops.items():
            shop.until("Succeeded", "Held", timeout=110)
            assert (shop.phase(), "Held" in shop.reasons()) == ("Succeeded", False), rate
