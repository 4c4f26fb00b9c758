"""Tests that run at the same time in one process, because they wait for most of theirs.

When pytest comes to the first test of a batch, all of it run, each in a thread, and all are waited for. What came
of each is reported when pytest comes to it. tests/sharing.py says what a batch is.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.sharing import batch

Call = Callable[[], object]
_BEGUN = pytest.StashKey[dict[str, Future[object]]]()
"""The tests that have begun, by their node ids."""


def wait(test: pytest.Function, prepared: Callable[[Any], Call]) -> None:
    """Wait for the batch of a test, and fail as it has failed; `prepared` makes of a test what its thread calls."""
    begun = test.session.stash.setdefault(_BEGUN, {})
    if test.nodeid not in begun:
        tests = {each.nodeid: each for each in test.session.items}
        calls = {nodeid: prepared(tests[nodeid]) for nodeid in batch(test.nodeid, tests)}
        with ThreadPoolExecutor(len(calls)) as pool:
            begun |= {nodeid: pool.submit(call) for nodeid, call in calls.items()}
    begun[test.nodeid].result()


def arguments(test: Any, request: pytest.FixtureRequest, **own: Any) -> dict[str, Any]:
    """What a test is called with: what is its `own`, else its parameters, else what its whole batch has requested."""
    own = {**getattr(getattr(test, "callspec", None), "params", {}), **own}
    names: tuple[str, ...] = test._fixtureinfo.argnames
    return {name: own[name] if name in own else request.getfixturevalue(name) for name in names}
