"""When a new leader lists the pods of a run for the first time: in its turn, and soon where some are missing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rolloutplan.api.status import Status
from rolloutplan.engine.analysis.availability import LISTED_WITHIN
from rolloutplan.engine.memory.new_side import LIST_AFTER, NewSide
from rolloutplan.engine.model.snapshot import WorkloadView
from tests.world import START

IN_TURN = START + timedelta(seconds=12)


@pytest.mark.parametrize(
    ("available", "at"), [(4, IN_TURN + LIST_AFTER), (3, START + LIST_AFTER)], ids=["all are there", "one is missing"]
)
def test_the_pods_are_listed_in_turn_and_before_a_shortage_is_judged(available: int, at: object) -> None:
    side = NewSide("", START, IN_TURN)
    new = WorkloadView("v2", wanted=4, ready=available, available=available, revision="r", settled=True)
    assert side.list_at(new, Status()) == at
    assert LIST_AFTER < LISTED_WITHIN


def test_a_list_that_failed_is_tried_again_after_the_same_time_whoever_s_turn_it_is() -> None:
    side = NewSide("", START, IN_TURN)
    new = WorkloadView("v2", wanted=4, ready=3, available=3, revision="r", settled=True)
    side.not_listed(START)
    assert side.list_at(new, Status()) == START + timedelta(seconds=5)
