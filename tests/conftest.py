"""Fixtures for tests on real parts. The bed is brought up once, for the tests that ask for it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import settings

from tests.bed import Bed, UnusableError, netns, tools
from tests.shop import Operator, Shop, install

settings.register_profile("machines-are-noisy", deadline=None)
settings.load_profile("machines-are-noisy")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the bed's binaries where the progress can be seen; enter its network before any test starts a thread."""
    wanted = any("bed" in getattr(item, "fixturenames", ()) for item in session.items)
    if session.config.option.collectonly or not wanted:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    try:
        with capture.global_and_fixture_disabled():
            tools.ensure(print)
        netns.enter()
    except UnusableError as error:
        pytest.exit(str(error), returncode=2)


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """A control plane, a data plane, Prometheus and a node, with our CRDs."""
    with Bed.up(progress=print) as bed:
        install(bed)
        yield bed


@pytest.fixture(scope="module")
def running(bed: Bed) -> Iterator[Operator]:
    """One operator that serves everything. Modules that start operators of their own do not ask for it."""
    with Operator(bed) as operator:
        yield operator


@pytest.fixture
def shop(bed: Bed, running: Operator) -> Iterator[Shop]:
    """An empty namespace in which nothing has been created yet; the operator runs."""
    shop = Shop(bed, f"shop-{uuid4().hex[:6]}")
    yield shop
    shop.close()
