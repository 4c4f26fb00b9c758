"""The figures of many changes: counts, a rate, and the spread of what is known, each value one that was there."""

from __future__ import annotations

import pytest

from rolloutplan.api.record import DoraFigures
from rolloutplan.stats.dora import Spread, spread, together

GOOD = DoraFigures(lead_seconds=3600)


def bad(seconds: float | None = None, exposed: float | None = None) -> DoraFigures:
    return DoraFigures(failed=True, restore_seconds=seconds, exposed_requests=exposed)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([None], None),
        ([7.0], Spread(1, 7, 7, 7)),
        ([4.0, None, 2.0], Spread(2, 2, 4, 4)),
        ([3.0, 1.0, 2.0], Spread(3, 2, 3, 3)),
        (list(range(10, 0, -1)), Spread(10, 5, 9, 10)),
        (list(range(1, 12)), Spread(11, 6, 10, 11)),
    ],
    ids=["none", "unknown", "one", "two of three known", "three", "ten", "eleven"],
)
def test_a_spread_is_of_values_that_were_there(values: list[float | None], expected: Spread | None) -> None:
    assert spread(values) == expected


def test_no_change_has_no_rate() -> None:
    nothing = together([])
    assert (nothing.changes, nothing.failures, nothing.failure_rate) == (0, 0, None)
    assert (nothing.lead, nothing.restore, nothing.exposed) == (None, None, None)


def test_what_is_unknown_of_a_change_is_left_out_of_that_figure_alone() -> None:
    found = together([GOOD, DoraFigures(), bad(2.0, 100), bad()])
    assert (found.changes, found.failures, found.failure_rate) == (4, 2, 0.5)
    assert found.lead == Spread(1, 3600, 3600, 3600)
    assert found.restore == Spread(1, 2, 2, 2)
    assert found.exposed == 100


def test_what_was_exposed_by_no_failure_does_not_count() -> None:
    held_and_replaced = DoraFigures(exposed_requests=50)
    assert together([held_and_replaced]).exposed is None
