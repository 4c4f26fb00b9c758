"""A command that a plan names is one that would be carried out, whatever happened to a run that waits for a person."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.command import Verb
from rolloutplan.api.status import Phase
from rolloutplan.stats.verdict import Why
from tests.repetition import times
from tests.situations import (
    HALF,
    OLD_WEIGHTS,
    Situation,
    awaiting,
    awaiting_the_first,
    contract_failed,
    drift,
    edit,
    held_conflict,
    held_failed,
    held_undecided,
    judging,
    m,
    paused,
    paused_before_start,
    pods,
    put,
    says,
    silent_bake,
)
from tests.world import World

NAMED = re.compile(f"`({'|'.join(Verb)})`")
SEAL = re.compile("--seal [0-9a-f]+")


def undecided_at_the_end() -> World:
    world = judging(stage="all")()
    world.says["errors"] = Why.NO_DATA
    return world.until(Phase.HELD)


WAITING: dict[str, Situation] = {
    "undecided": held_undecided,
    "undecided at the last stage": undecided_at_the_end,
    "undecided in the bake": lambda: silent_bake()().until(Phase.HELD),
    "failed": held_failed,
    "in conflict": held_conflict,
    "for an approval": awaiting,
    "for the first approval": awaiting_the_first,
    "paused": paused,
    "paused before the start": paused_before_start,
    "for a contract that failed": contract_failed,
}
HAPPENINGS: dict[str, Callable[[World], object]] = {
    "the weights go back": drift(OLD_WEIGHTS),
    "the weights go up": drift(HALF),
    "the weights are 0": drift({"v1": 0, "v2": 0}),
    "the routes are gone": lambda world: world.routes.clear(),
    "the old side is gone": put(old=None),
    "the new side is gone": put(new=None),
    "no new pod is ready": pods(ready=0),
    "the plan cannot be read": edit({"stages": []}),
    "the plan asks for approvals": edit({"stages[1].approval": "Required", "stages[2].approval": "Required"}),
    "the source is down": put(down="timeout"),
    "a guard holds": says(errors=0.2),
    "all is decided": says(errors=0.0, hits=0.95),
    "time passes": lambda world: world.advance(m(7)),
    "a pause": lambda world: world.say("pause p1"),
}


@given(st.sampled_from(sorted(WAITING)), st.lists(st.sampled_from(sorted(HAPPENINGS)), max_size=2))
@settings(max_examples=times(25))
def test_a_command_that_is_waited_for_is_not_rejected(situation: str, happenings: list[str]) -> None:
    world = WAITING[situation]()
    for each in happenings:
        HAPPENINGS[each](world)
        world.settle()
    seal = SEAL.search(world.status.waiting_for)
    for verb in NAMED.findall(world.status.waiting_for):
        told = world.twin()
        told.say(f"{verb} offered {seal[0] if seal and verb == 'approve' else ''} --reason because")
        told.settle()
        answers = [each for each in told.trail.values() if each.token == "offered"]
        assert [each.note for each in answers if each.reason == "CommandRejected"] == [], world.status.waiting_for
