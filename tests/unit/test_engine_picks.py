"""The table and the rules: every row is picked by each rule that it names, and by no other."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from rolloutplan.engine.decide import INNER_RULES, RULES, TELLING_RULES
from rolloutplan.engine.rules.match import Rule
from rolloutplan.engine.table import TABLE, Cause, Row
from rolloutplan.plan.status import Phase
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
    then,
    undecided,
    wait,
)
from tests.unit.test_engine_drift import shifting_to_half
from tests.unit.test_engine_interrupted import dies_before_the_record
from tests.world import PLAN, World

Happens = Callable[[World], object]


def inner_first(rules: Iterable[Rule]) -> Iterator[str]:
    """The names of all rules that decide anything, in the order in which they are read."""
    for rule in rules:
        yield from inner_first(INNER_RULES[rule]) if rule in INNER_RULES else [rule.__name__]


READ = list(dict.fromkeys(inner_first((*RULES, *TELLING_RULES))))
TO_HOLD = {"onFail": "Hold"}


def refused_job(spec: Mapping[str, Any]) -> Situation:
    return lambda: World(spec=changed(PLAN, spec), job_refused="restartPolicy: Required value")


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


PICKS: Mapping[tuple[Cause, str], tuple[Situation, Happens]] = {
    (Cause.HELD, "other_commands"): (judging(), say("pause p1")),
    (Cause.HELD, "hold_contract"): (contracting(), drift(OLD_WEIGHTS)),
    (Cause.HELD, "take_away"): (contracting(job_fails=True), settle),
    (Cause.HELD, "unavailable"): (judging(TO_HOLD), pods(ready=0)),
    (Cause.HELD, "failure_detected"): (judging(TO_HOLD), says(errors=0.2)),
    (Cause.HELD, "correct_drift"): (shifting_to_half, drift({"v1": 99, "v2": 1})),
    (Cause.HELD, "hold_run"): (judging(), drift(OLD_WEIGHTS)),
    (Cause.HELD, "deadline"): (undecided(), wait(s(1))),
    (Cause.RESUMED, "other_commands"): (paused, say("resume r1")),
    (Cause.RESUMED, "resume_contract"): (contracting(), then(drift(OLD_WEIGHTS), settle, drift(ALL))),
    (Cause.RESUMED, "resume_run"): (held_conflict, drift(UP)),
    (Cause.FAILED, "deletion"): (judging(), delete),
    (Cause.FAILED, "abort_or_revert"): (judging(), say("abort a1")),
    (Cause.FAILED, "recover_interrupted_rollback"): (judging(), back_and_dead),
    (Cause.FAILED, "superseded"): (judging(), pods(revision="second")),
    (Cause.FAILED, "unavailable"): (judging(), pods(ready=0)),
    (Cause.FAILED, "failure_detected"): (judging(), says(errors=0.2)),
    (Cause.FAILED, "shift_timed_out"): (shifting(), wait(m(1))),
    (Cause.FAILED, "correct_drift"): (judging(), then(*[drift(HALF), wait(s(1))] * 4)),
    (Cause.FAILED, "hold_run"): (judging({"onBlind": {"action": "Rollback"}}), put(down="timeout")),
    (Cause.FAILED, "deadline"): (undecided({"onUndecided": "Rollback"}), wait(s(1))),
    (Cause.REFUSED, "obstructed"): (World, put(old=None)),
    (Cause.REFUSED, "probe"): (refused_job({"assumptions": [assumption("cache")]}), settle),
    (Cause.REFUSED, "add"): (refused_job({"expand": {"jobs": [job("columns")]}}), settle),
    (Cause.BLOCKED, "obstructed"): (lambda: World(rivals=(RIVAL,)), settle),
    (Cause.BLOCKED, "other_commands"): (World, say("pause p1")),
    (Cause.DENIED, "abort_or_revert"): (rolled_back, say("abort a1")),
    (Cause.DENIED, "other_commands"): (judging(), say("resume r1")),
}
"""Of rows that several rules pick, what happens that each of them picks it."""


@pytest.mark.parametrize("cause", Cause)
def test_a_row_names_rules_that_are_read_and_in_that_order(cause: Cause) -> None:
    assert TABLE[cause].by
    assert [*TABLE[cause].by] == sorted(TABLE[cause].by, key=READ.index)


def test_every_rule_that_picks_one_of_several_is_seen_to_do_so() -> None:
    assert set(PICKS) == {(cause, rule) for cause, row in TABLE.items() for rule in row.by if len(row.by) > 1}


@pytest.mark.parametrize(("cause", "rule"), PICKS, ids=str)
def test_a_row_is_picked_by_each_rule_that_it_names(cause: Cause, rule: str) -> None:
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
    monkeypatch.setitem(cast("dict[Cause, Row]", TABLE), Cause.FAILED, replace(TABLE[Cause.FAILED], by=("deletion",)))
    world = World().until(Phase.JUDGING)
    world.say("abort a1")
    with pytest.raises(AssertionError, match="abort_or_revert picks failed, which does not name it"):
        world.settle()
