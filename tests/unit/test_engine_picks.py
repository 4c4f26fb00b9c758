"""The table and the rules: every row is picked by each rule that it names, and by no other."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.decide import INNER_RULES, REPORTING_RULES, RULES
from rolloutplan.engine.model.transitions import TRANSITIONS, Transition, TransitionName
from rolloutplan.engine.rules.match import Rule
from tests import picks
from tests.refusals import changed
from tests.situations import (
    ALL,
    HALF,
    OLD_WEIGHTS,
    RIVAL,
    UP,
    Situation,
    assumption,
    contracting,
    delete,
    drift,
    fresh,
    held_conflict,
    job,
    judging,
    m,
    paused,
    pods,
    put,
    rolled_back,
    s,
    say,
    says,
    settle,
    shifting,
    silent_bake,
    then,
    undecided,
    wait,
)
from tests.unit.test_engine_drift import shifting_to_half
from tests.unit.test_engine_interrupted import dies_before_the_record
from tests.world import PLAN, Deployment, World, http_route

Happens = Callable[[World], object]


def inner_first(rules: Iterable[Rule]) -> Iterator[str]:
    """The names of all rules that decide anything, in the order in which they are read."""
    for rule in rules:
        yield from inner_first(INNER_RULES[rule]) if rule in INNER_RULES else [rule.__name__]


READ = list(dict.fromkeys(inner_first((*RULES, *REPORTING_RULES))))
TO_HOLD = {"onFail": "Hold"}


def refused_job(spec: Mapping[str, Any]) -> Situation:
    return lambda: World(spec=changed(PLAN, spec), job_refused="restartPolicy: Required value")


def without_new(weights: Mapping[str, int]) -> Situation:
    def make() -> World:
        world = World(new=None, routes={"shop": http_route("shop", [weights])})
        world.settle()
        return world

    return make


def back_and_dead(world: World) -> None:
    """The operator puts the weights back, dies before it can record that, and what spoke for it is over."""
    world.says["errors"] = 0.2
    world.traps["record"] = dies_before_the_record
    for _ in range(50):
        if world.lost:
            break
        world.advance()
    assert world.lost
    world.says["errors"] = 0.0


def bakes_and(changes: Mapping[str, Any]) -> Situation:
    return lambda: fresh(changes)().until(Phase.BAKING)


CONTRACT = {"contract": {"scaleOld": 0}}
HELD_BACK = {"bake": {"for": "5m", "holdback": "1%"}}
OLD_DOWN = put(old=Deployment("v1", ready=0))

PICKS: Mapping[tuple[TransitionName, str], tuple[Situation, Happens]] = {
    (TransitionName.HELD, "handle_deletion"): (judging(), then(OLD_DOWN, delete)),
    (TransitionName.HELD, "other_commands"): (judging(), say("pause p1")),
    (TransitionName.HELD, "hold_contract"): (contracting(), drift(OLD_WEIGHTS)),
    (TransitionName.HELD, "run_contract_task"): (contracting(job_fails=True), settle),
    (TransitionName.HELD, "superseded"): (judging(), then(OLD_DOWN, pods(revision="second"))),
    (TransitionName.HELD, "new_side_unavailable"): (judging(TO_HOLD), pods(ready=0)),
    (TransitionName.HELD, "failure_detected"): (judging(TO_HOLD), says(errors=0.2)),
    (TransitionName.HELD, "shift_timed_out"): (shifting(), then(OLD_DOWN, wait(m(1)))),
    (TransitionName.HELD, "correct_drift"): (shifting_to_half, drift({"v1": 99, "v2": 1})),
    (TransitionName.HELD, "hold_run"): (judging(), drift(OLD_WEIGHTS)),
    (TransitionName.HELD, "end_at_deadline"): (undecided(), wait(s(1))),
    (TransitionName.HELD, "end_at_bake_deadline"): (silent_bake(), wait(m(5))),
    (TransitionName.EXTENDED, "end_at_deadline"): (undecided({"onUndecided": "Extend"}), wait(s(1))),
    (TransitionName.EXTENDED, "end_at_bake_deadline"): (silent_bake({"onUndecided": "Extend"}), wait(m(5))),
    (TransitionName.RESUMED, "other_commands"): (paused, say("resume r1")),
    (TransitionName.RESUMED, "resume_contract"): (contracting(), then(drift(OLD_WEIGHTS), settle, drift(ALL))),
    (TransitionName.RESUMED, "resume_run"): (held_conflict, drift(UP)),
    (TransitionName.CONTRACT, "finish_bake"): (bakes_and(CONTRACT), wait(m(5))),
    (TransitionName.CONTRACT, "pass_stage"): (bakes_and({**CONTRACT, **HELD_BACK}), wait(m(6))),
    (TransitionName.BAKED, "finish_bake"): (bakes_and({}), wait(m(5))),
    (TransitionName.BAKED, "pass_stage"): (bakes_and(HELD_BACK), wait(m(6))),
    (TransitionName.FAILED, "handle_deletion"): (judging(), delete),
    (TransitionName.FAILED, "abort_or_revert"): (judging(), say("abort a1")),
    (TransitionName.FAILED, "recover_interrupted_rollback"): (judging(), back_and_dead),
    (TransitionName.FAILED, "superseded"): (judging(), pods(revision="second")),
    (TransitionName.FAILED, "new_side_unavailable"): (judging(), pods(ready=0)),
    (TransitionName.FAILED, "failure_detected"): (judging(), says(errors=0.2)),
    (TransitionName.FAILED, "shift_timed_out"): (shifting(), wait(m(1))),
    (TransitionName.FAILED, "correct_drift"): (judging(), then(*[drift(HALF), wait(s(1))] * 4)),
    (TransitionName.FAILED, "hold_run"): (
        judging({"onMetricsUnavailable": {"action": "Rollback"}}),
        put(down="timeout"),
    ),
    (TransitionName.FAILED, "end_at_deadline"): (undecided({"onUndecided": "Rollback"}), wait(s(1))),
    (TransitionName.FAILED, "end_at_bake_deadline"): (silent_bake({"onUndecided": "Rollback"}), wait(m(5))),
    (TransitionName.REFUSED, "report_unmet_precondition"): (World, put(old=None)),
    (TransitionName.REFUSED, "run_probe"): (refused_job({"assumptions": [assumption("cache")]}), settle),
    (TransitionName.REFUSED, "run_expand_task"): (refused_job({"expand": {"jobs": [job("columns")]}}), settle),
    (TransitionName.BLOCKED, "report_unmet_precondition"): (lambda: World(route_conflicts=(RIVAL,)), settle),
    (TransitionName.BLOCKED, "other_commands"): (World, say("pause p1")),
    (TransitionName.UNBLOCKED, "return_to_pending"): (without_new(OLD_WEIGHTS), put(new=Deployment("v2"))),
    (TransitionName.UNBLOCKED, "finish_without_run"): (without_new(ALL), put(new=Deployment("v2"))),
    (TransitionName.COMMAND_REJECTED, "abort_or_revert"): (rolled_back, say("abort a1")),
    (TransitionName.COMMAND_REJECTED, "other_commands"): (judging(), say("resume r1")),
}
"""Of rows that several rules pick, what happens that each of them picks it."""


@pytest.mark.parametrize("cause", TransitionName)
def test_a_row_names_rules_that_are_read_and_in_that_order(cause: TransitionName) -> None:
    assert TRANSITIONS[cause].by
    assert [*TRANSITIONS[cause].by] == sorted(TRANSITIONS[cause].by, key=READ.index)


def test_every_rule_that_picks_one_of_several_is_seen_to_do_so() -> None:
    assert set(PICKS) == {(cause, rule) for cause, row in TRANSITIONS.items() for rule in row.by if len(row.by) > 1}


@pytest.mark.parametrize(("cause", "rule"), PICKS, ids=str)
def test_a_row_is_picked_by_each_rule_that_it_names(cause: TransitionName, rule: str) -> None:
    """That no other picks it is asserted of every decision in any test (tests/picks.py)."""
    given, happens = PICKS[cause, rule]
    world = given()
    picks.TAKEN.clear()
    happens(world)
    for _ in range(10):
        world.advance(s(20))
        if (cause, rule) in picks.TAKEN:
            return
    pytest.fail(f"{rule} never picks {cause}: {sorted(picks.TAKEN)}; {world.phase} {world.status.message}")


def test_a_rule_that_picks_a_row_which_does_not_name_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        cast("dict[TransitionName, Transition]", TRANSITIONS),
        TransitionName.FAILED,
        replace(TRANSITIONS[TransitionName.FAILED], by=("handle_deletion",)),
    )
    world = World().until(Phase.JUDGING)
    world.say("abort a1")
    with pytest.raises(AssertionError, match="abort_or_revert picks failed, which does not name it"):
        world.settle()
