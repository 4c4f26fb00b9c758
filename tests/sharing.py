"""How tests are shared out among the workers of pytest-xdist, so that all of them end at the same time.

Tests on real parts wait for much of their time. So among three workers or more the last one runs what needs no bed
meanwhile, from the end on. Then it brings up a bed too, while there is enough left to do for one more.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ONE_BY_ONE = ("tests/e2e/", "tests/contract/", "tests/property/")
"""Folders whose modules are divided: a test takes long there, and needs no other of its module before it."""
WHOLE = ("tests/e2e/test_chart.py",)
"""Modules in them that are not divided: what all of their tests build upon takes long to make."""
AT_ONCE = "tests/e2e/at_once/"
"""Where tests run at the same time, in batches of BATCH."""
BATCH = 6
"""So many tests in each of two workers keep two cores busy, and none of them waits long for a core."""
ON_BEDS = ("tests/e2e/", "tests/contract/", "tests/routers/")
"""Folders whose tests need a bed."""
FEWEST_WITH_FILLER = 3
"""With two workers both are needed for the tests on beds: those take the longest."""
WORTH_A_BED = 40
"""Groups on beds that are left: a bed takes half a minute to come up, and a group that long or less."""
ROUTERS = "tests/routers/"
"""Where the tests on one gateway are a group, in whichever order: it starts once."""
FIRST = (
    "tests/e2e/test_crash_points.py",
    "tests/e2e/test_chart.py",
    ROUTERS,
    AT_ONCE,
    "tests/e2e/",
    "tests/contract/",
    "tests/property/",
    "tests/unit/test_patterns.py",
)
"""What takes longest begins first. What takes no time comes last, and fills what would be left over."""


class Sharing(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Shares out whole groups, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        self._filler_has_bed = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid, self.collection or ())

    def _assign_work_unit(self, node: Any) -> None:
        if fills(node.gateway.id, self.numnodes):
            group = last_without_bed(self.workqueue)
            if group is not None:
                self.workqueue.move_to_end(group, last=False)
            else:
                self._filler_has_bed = self._filler_has_bed or len(self.workqueue) >= WORTH_A_BED
                if not self._filler_has_bed:
                    node.shutdown()
                    return
        super()._assign_work_unit(node)


def fills(worker: str, workers: int) -> bool:
    """Whether this one of so many workers begins with what needs no bed."""
    return workers >= FEWEST_WITH_FILLER and worker == f"gw{workers - 1}"


def last_without_bed(groups: Iterable[str]) -> str | None:
    """The last of these groups that needs no bed."""
    return next((group for group in reversed([*groups]) if not group.startswith(ON_BEDS)), None)


def together(nodeid: str, nodeids: Sequence[str]) -> str:
    """The name of the group that a test is in, among all: one worker runs all of a group, in their order."""
    module = nodeid.partition("::")[0]
    if module.startswith(AT_ONCE):
        return batch(nodeid, nodeids)[0]
    if module.startswith(ROUTERS):
        return f"{ROUTERS}{_gateway(nodeid)}"
    return nodeid if module.startswith(ONE_BY_ONE) and module not in WHOLE else module


def batch(nodeid: str, nodeids: Iterable[str]) -> Sequence[str]:
    """The tests among all that run at the same time as one in AT_ONCE, or as one of ROUTERS on a plane; and itself."""
    if nodeid.startswith(ROUTERS):
        return [each for each in nodeids if each.startswith(f"{_function(nodeid)}[{_gateway(nodeid)}-")]
    of_batches = [each for each in nodeids if each.startswith(AT_ONCE)]
    first = of_batches.index(nodeid) // BATCH * BATCH
    return of_batches[first : first + BATCH]


def in_order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests as FIRST has them, one gateway after the other, all planes for a test; else as they were collected."""
    return sorted(items, key=_place)


def _place(item: pytest.Item) -> tuple[int, str, str]:
    place = next((place for place, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))
    on_gateway = item.nodeid.startswith(ROUTERS)
    return (place, _gateway(item.nodeid), _function(item.nodeid)) if on_gateway else (place, "", "")


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _gateway(nodeid: str) -> str:
    """On which gateway a test in ROUTERS runs."""
    return nodeid.partition("[")[2].partition("-")[0]
