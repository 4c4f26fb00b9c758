"""Whether each kind of route, on a gateway that really runs, does what its description says."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.bed import Bed
from tests.routers.plane import Gateway, Plane
from tests.routers.planes import PLANES
from tests.routers.routed import Routed

EVERY_PLANE = pytest.mark.parametrize(
    ("gateway", "plane"),
    [
        pytest.param(
            plane.gateway,
            plane,
            id=f"{plane.gateway.__name__}-{plane.kind}",
            marks=pytest.mark.extras(*plane.gateway.extras),
        )
        for plane in PLANES
    ],
    indirect=["gateway"],
)
SAMPLE = 1000
"""So many requests tell 5 % from 2 % and from 10 %: half a percent more or less is one standard deviation."""


@pytest.fixture(scope="module")
def gateway(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Gateway]:
    """A gateway that runs, for all tests on it."""
    started: Gateway = request.param(bed)
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.fixture
def shop(bed: Bed, gateway: Gateway, plane: Plane) -> Iterator[Routed]:
    """A shop with two versions whose route leads all requests to the old one."""
    shop = Routed(bed, f"routed-{uuid4().hex[:6]}", plane=plane, gateway=gateway)
    shop.open()
    shop.follows("v1")
    yield shop
    shop.close()


@EVERY_PLANE
def test_traffic_follows_the_weights(shop: Routed) -> None:
    shop.weigh(0, 100)
    shop.follows("v2")
    shop.weigh(95, 5)
    shop.mixes()
    seen = shop.answers(SAMPLE)
    assert seen.keys() == {"v1", "v2"}
    assert seen["v2"] / SAMPLE == pytest.approx(0.05, abs=0.03)
    shop.weigh(100, 0)
    shop.follows("v1")
