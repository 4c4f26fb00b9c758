"""Whether the gateway of each kind of route does what the kind's description says."""

import pytest

from tests.bed import objects, until
from tests.routers.planes import PLANES, on
from tests.routers.routed import Routed

SAMPLE = 1000
"""So many requests tell 5 % from 2 % and from 10 %: at 5 %, one standard deviation is 0.7 %."""
COUNTED = 100
"""So many are enough where a gateway counts, which begins again at each change of any route."""


@on(*PLANES)
def test_traffic_follows_the_weights(shop: Routed) -> None:
    shop.weigh(0, 100)
    shop.follows("v2")
    shop.weigh(95, 5)
    shop.mixes()
    if shop.plane.exact:
        until(lambda: shop.answers(COUNTED)["v2"] == COUNTED * 0.05, 30, f"5 % of {shop.plane.kind}", every=0)
    else:
        seen = shop.answers(SAMPLE)
        assert seen.keys() == {"v1", "v2"}
        assert seen["v2"] / SAMPLE == pytest.approx(0.05, abs=0.03)
    shop.weigh(100, 0)
    shop.follows("v1")


@on(*PLANES)
def test_a_side_at_weight_0_needs_pods_where_the_description_says_so(shop: Routed) -> None:
    breaks = shop.plane.breaks
    shop.resize("checkout-v2", 0)
    shop.serves_by("v1", broken=breaks == "Any")
    shop.resize("checkout-v2", 2)
    shop.weigh(0, 100)
    shop.follows("v2")
    shop.resize("checkout-v1", 0)
    shop.serves_by("v2", broken=breaks in ("Any", "Old"))


@on(*PLANES)
def test_a_missing_service_at_weight_0(shop: Routed) -> None:
    shop.bed.delete(objects.service("checkout-v2", shop.namespace))
    until(lambda: not shop.endpoints("checkout-v2"), 30, "the end of its endpoints")
    shop.serves_by("v1", broken=shop.plane.breaks == "Any" or shop.plane.needs_services)
    if shop.plane.spec.accepted.settle is None:
        until(shop.refusal, 30, "the gateway's word on it")
        assert "checkout-v2" in shop.refusal()
