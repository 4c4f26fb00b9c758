"""Fixtures for tests on real parts. The bed is brought up once, for the tests that ask for it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.bed import Bed
from tests.shop import Operator, Shop, install


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """A control plane, a data plane, Prometheus and a node, with our CRDs."""
    with Bed.up(progress=print) as bed:
        install(bed)
        yield bed


@pytest.fixture(scope="session")
def running(bed: Bed) -> Iterator[Operator]:
    """One operator for all tests that do not kill it."""
    with Operator(bed) as operator:
        yield operator


@pytest.fixture
def shop(bed: Bed, running: Operator) -> Iterator[Shop]:
    """An empty namespace in which nothing has been created yet; the operator runs."""
    shop = Shop(bed, f"shop-{uuid4().hex[:6]}")
    yield shop
    shop.close()
