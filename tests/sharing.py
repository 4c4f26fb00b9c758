"""How tests are shared out among the workers of pytest-xdist, so that all of them end at the same time."""

from collections.abc import Iterable

import pytest

ONE_BY_ONE = ("tests/e2e/", "tests/contract/", "tests/property/")
"""Folders whose modules are divided: a test takes long there, and needs no other of its module before it."""
WHOLE = ("tests/e2e/test_chart.py",)
"""Modules in them that are not divided: what all of their tests build upon takes long to make."""
ROUTERS = "tests/routers/"
"""Where the tests on one gateway are a group, in whichever order: it starts once."""
FIRST = (
    "tests/e2e/test_crash_points.py",
    "tests/e2e/test_chart.py",
    ROUTERS,
    "tests/e2e/",
    "tests/contract/",
    "tests/property/",
    "tests/unit/test_patterns.py",
)
"""What takes longest begins first. What takes no time comes last, and fills what would be left over."""


def together(nodeid: str) -> str:
    """The name of the group that a test is in: one worker runs all of a group, in their order."""
    module = nodeid.partition("::")[0]
    if module.startswith(ROUTERS):
        return f"{ROUTERS}[{nodeid.partition('[')[2].partition('-')[0]}]"
    return nodeid if module.startswith(ONE_BY_ONE) and module not in WHOLE else module


def in_order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests as FIRST has them; where it makes no difference, as they were collected."""
    return sorted(items, key=_place)


def _place(item: pytest.Item) -> int:
    return next((place for place, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))
