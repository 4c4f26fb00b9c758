"""Fixtures for tests on real parts, and how tests are shared out. A bed is brought up once, where tests ask for it."""

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import pytest
import structlog
from hypothesis import settings

from tests import picks
from tests.bed import Bed, UnusableError, extras, netns, tools
from tests.own_cluster.plugin import Plugin
from tests.receiver import Receiver
from tests.repetition import times
from tests.sharing import Sharing, in_order
from tests.shop import OPERATOR, Operator, Shop, install

settings.register_profile("machines-are-noisy", deadline=None, max_examples=times(25))
settings.load_profile("machines-are-noisy")
picks.watch()
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ],
    logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
)
"""With all local variables, a traceback took seconds. What a command prints is on the other stream alone."""

NO_BED = pytest.StashKey[str]()
"""Why a worker can have no bed; who runs tests alone says so and ends."""


def pytest_configure(config: pytest.Config) -> None:
    """Where tests are shared out among workers, give them the right to a network of their own before they start.

    A worker has a second thread from its first moment on, and could not become root itself.
    """
    if config.getoption("numprocesses") and not netns.may_enter():
        with suppress(OSError):  # a worker that wants a bed says why there is none
            netns.become_root()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as there are cores, and one more, while tests on beds wait."""
    paths = [os.path.relpath(argument, config.rootpath) + os.sep for argument in config.args]
    on_beds = not all(path.startswith(("tests/unit/", "tests/property/")) for path in paths)
    return len(os.sched_getaffinity(0)) + on_beds


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing | None:
    return Sharing(config, log) if config.getvalue("dist") == "load" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Nothing of what is collected is garbage; looking it through meanwhile was a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the bed's binaries where the progress can be seen; enter its network before any test starts a thread."""
    gc.freeze()  # what was collected stays to the end: looking it through again and again took a fifth of the time
    gc.set_threshold(20_000, 10)  # what tests keep grows slowly: looking through that took a twentieth
    wanted = any("bed" in getattr(item, "fixturenames", ()) for item in session.items)
    if session.config.option.collectonly or not wanted or _own_cluster(session.config):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    try:
        with capture.global_and_fixture_disabled():
            say = _say_aside if _is_worker(session.config) else print
            tools.ensure(say)
            extras.ensure_those_that_can((name for item in session.items for name in _extras(item)), say)
        netns.enter()
    except (UnusableError, OSError) as error:
        if not _is_worker(session.config):
            pytest.exit(str(error), returncode=2)
        session.config.stash[NO_BED] = str(error)


def _extras(item: pytest.Item) -> Iterable[str]:
    """What the mark `extras` of a test names: programs and definitions that not every bed has."""
    return (name for mark in item.iter_markers("extras") for name in mark.args)


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes that run tests for another one."""
    return hasattr(config, "workerinput")


def _say_aside(line: str) -> None:
    """A worker's standard output leads nowhere."""
    print(line, file=sys.stderr, flush=True)


def _own_cluster(config: pytest.Config) -> Plugin | None:
    """What `make e2e` has given, if it is that which runs."""
    return next((each for each in config.pluginmanager.get_plugins() if isinstance(each, Plugin)), None)


@pytest.fixture(scope="session")
def bed(pytestconfig: pytest.Config) -> Iterator[Bed]:
    """A control plane, a data plane, Prometheus and a node, with our CRDs.

    Under `make e2e` the cluster of a user: its tests, which have the mark `any_cluster`, use what both have.
    """
    if own := _own_cluster(pytestconfig):
        yield cast("Bed", own.cluster)
        return
    if why := pytestconfig.stash.get(NO_BED, ""):
        pytest.fail(why, pytrace=False)
    with Bed.up(progress=print, thrifty=True) as bed:
        install(bed)
        yield bed


@pytest.fixture(scope="session")
def traced() -> Iterator[Receiver]:
    """The receiver of OTLP to which operators send their traces."""
    with Receiver().serving() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def shared_operator(bed: Bed, traced: Receiver) -> Iterator[Operator]:
    """One operator that serves everything; `running` starts it."""
    operator = Operator(bed, OPERATOR, options=[f"--traces={traced.url}"])
    yield operator
    operator.process.kill()


@pytest.fixture(scope="module")
def running(shared_operator: Operator) -> Operator:
    """It runs, and goes on from one module to the next."""
    if not shared_operator.process.running():
        shared_operator.process.start()
    return shared_operator


@pytest.fixture(scope="module")
def alone(shared_operator: Operator) -> None:
    """It does not run: only operators that a module starts itself touch its plans."""
    shared_operator.process.kill()


@pytest.fixture
def shop(bed: Bed, running: Operator) -> Iterator[Shop]:
    """An empty namespace in which nothing has been created yet; the operator runs."""
    shop = Shop(bed, f"shop-{uuid4().hex[:6]}")
    yield shop
    shop.close()
