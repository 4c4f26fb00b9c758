"""A gateway runs for all tests on it, each of its planes has one shop, and a test runs on all of them at once."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests import batches
from tests.bed import Bed
from tests.routers.plane import Gateway, Plane
from tests.routers.planes import PLANES
from tests.routers.routed import Routed

Shops = Mapping[type[Plane], Routed]


@pytest.fixture(scope="package")
def gateway(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Gateway]:
    """A gateway that runs, for all tests on it."""
    started: Gateway = request.param(bed)
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="package")
def shops(bed: Bed, gateway: Gateway) -> Iterator[Shops]:
    """A shop with two versions for each plane on the gateway, whose route leads all requests to the old one."""
    planes = [plane for plane in PLANES if isinstance(gateway, plane.gateway)]
    shops = {type(plane): Routed(bed, f"routed-{uuid4().hex[:6]}", plane=plane, gateway=gateway) for plane in planes}
    try:
        with ThreadPoolExecutor(len(shops)) as pool:
            list(pool.map(Routed.open, shops.values()))
        yield shops
    finally:
        for shop in shops.values():
            shop.close()


@pytest.fixture
def shop(shops: Shops, plane: Plane) -> Routed:
    """The shop of a plane as it was opened, whatever the test before has made of it."""
    return shops[type(plane)]


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Have a test run on all planes of a gateway at the same time."""
    request = pyfuncitem._request
    shops, gateway = (request.getfixturevalue(name) for name in ("shops", "gateway"))

    def prepared(test: Any) -> batches.Call:
        shop = shops[type(test.callspec.params["plane"])]
        arguments = batches.arguments(test, request, shop=shop, gateway=gateway)

        def call() -> None:
            try:
                shop.follows("v1")
                test.obj(**arguments)
            finally:
                shop.as_opened()

        return call

    batches.wait(pyfuncitem, prepared)
    return True
