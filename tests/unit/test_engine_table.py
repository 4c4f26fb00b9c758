"""The table of transitions: what it must say of itself."""

import pytest

from rolloutplan.engine.table import MOVED, TABLE, Cause
from rolloutplan.plan.status import RUNNING, Phase

ENDS = {Phase.SUCCEEDED, Phase.ROLLED_BACK}


@pytest.mark.parametrize("cause", Cause)
def test_every_row_has_a_reason_and_tells_what_it_decides(cause: Cause) -> None:
    row = TABLE[cause]
    assert row.because
    assert bool(row.tells) == (row.kind is not None), "a decision is told, and nothing else is"


def test_every_phase_can_be_reached_and_left() -> None:
    reached = {row.to for row in TABLE.values()} | {Phase.PENDING}
    assert reached - {None} == set(Phase)
    for phase in Phase:
        assert any(phase in row.sources for row in TABLE.values()), f"there is no way on from {phase}"


def test_wherever_a_weight_may_stand_above_the_snapshot_there_is_a_way_back() -> None:
    assert set(MOVED) <= TABLE[Cause.FAILED].sources
    assert TABLE[Cause.FAILED].to is Phase.REVERTING


def test_nothing_leads_forward_from_a_way_back() -> None:
    onward = {row.to for row in TABLE.values() if Phase.REVERTING in row.sources}
    assert onward == {Phase.ROLLED_BACK, Phase.INVALID}


def test_an_end_is_left_for_another_hypothesis_alone() -> None:
    leaving = {cause for cause, row in TABLE.items() if row.sources & ENDS}
    assert leaving == {Cause.AGAIN}
    assert not ENDS & RUNNING
