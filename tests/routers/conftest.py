"""Fixtures of the suite: a gateway that runs for all tests on it, and a shop on it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.bed import Bed
from tests.routers.plane import Gateway, Plane
from tests.routers.routed import Routed


@pytest.fixture(scope="package")
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
    """A shop with two versions, whose route leads all requests to the old one."""
    shop = Routed(bed, f"routed-{uuid4().hex[:6]}", plane=plane, gateway=gateway)
    try:
        shop.open()
        shop.follows("v1")
        yield shop
    finally:
        shop.close()
