"""The table of transitions: what it must say of itself, and that a run moves along it and nowhere else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import RUNNING, Decision, Kind, Phase, Status, read_status
from rolloutplan.engine.memory.publishing import unwritten_notice
from rolloutplan.engine.model.effects import Failure
from rolloutplan.engine.model.snapshot import Refusal, RouteConflict
from rolloutplan.engine.model.transitions import (
    TRAFFIC_SHIFTED_PHASES,
    TRANSITIONS,
    Severity,
    Target,
    TransitionName,
    is_loud,
    severity_of,
)
from rolloutplan.engine.run.transition import transition
from rolloutplan.stats.verdict import Why
from tests.refusals import GONE, changed
from tests.situations import assumption, job, ruled
from tests.world import PLAN, SHARED, SHOP, SOURCE, START, Deployment, World, http_route

ENDS = {Phase.SUCCEEDED, Phase.ROLLED_BACK}


@pytest.mark.parametrize("cause", TransitionName)
def test_every_row_has_a_reason_and_tells_what_it_decides(cause: TransitionName) -> None:
    row = TRANSITIONS[cause]
    assert row.rationale
    assert bool(row.event_reason) == (row.kind is not None), "a decision is told, and nothing else is"


def test_every_phase_can_be_reached_and_left() -> None:
    reached = {row.to for row in TRANSITIONS.values()} | {Phase.PENDING}
    assert reached - set(Target) == set(Phase)
    for phase in Phase:
        assert any(phase in row.sources for row in TRANSITIONS.values()), f"there is not allowed from {phase}"


def test_wherever_a_weight_may_stand_above_the_snapshot_there_is_a_way_back() -> None:
    assert set(TRAFFIC_SHIFTED_PHASES) <= TRANSITIONS[TransitionName.FAILED].sources
    assert TRANSITIONS[TransitionName.FAILED].to is Phase.ROLLING_BACK


def test_nothing_leads_forward_from_a_way_back() -> None:
    onward = {row.to for row in TRANSITIONS.values() if Phase.ROLLING_BACK in row.sources}
    assert onward == {Phase.ROLLED_BACK, Phase.INVALID, Phase.HELD, Target.STAYS}


def test_an_end_is_left_for_another_hypothesis_or_on_a_persons_word_alone() -> None:
    leaving = {cause for cause, row in TRANSITIONS.items() if row.sources & ENDS and row.to is not Target.STAYS}
    assert leaving == {TransitionName.RUN_AGAIN, TransitionName.RETRIED, TransitionName.REVERTED}
    assert not ENDS & RUNNING


# ---- how loudly it is told ------------------------------------------------------------------------------------------

ALARMING = {
    *("RollbackStarted", "Held", "Stalled", "Warned", "Aborted", "AssumptionFalse", "ExpandFailed"),
    *("ShiftRefused", "RequestRefused", "WeightsSetBack", "UndoRestored"),
}
WARNING = ALARMING | {
    "SourceChanged",
    "RolledBack",
    "StageCannotConclude",
    "Unguarded",
    "Paused",
    "CommandRejected",
    "UnjudgedChange",
}
"""What a person should look at."""
LOUD = ALARMING | {"SourceChanged", "WeightDrift"}


def decision(kind: Kind, reason: str) -> Decision:
    return Decision(seq=1, at=START, kind=kind, reason=reason)


@pytest.mark.parametrize("cause", [cause for cause, row in TRANSITIONS.items() if row.kind])
def test_how_loudly_a_decision_is_told_is_known_from_its_record(cause: TransitionName) -> None:
    row = TRANSITIONS[cause]
    assert row.kind is not None
    told = decision(row.kind, str(row.event_reason))
    assert severity_of(told) is row.severity is (Severity.WARNING if told.reason in WARNING else Severity.NORMAL)
    assert is_loud(told) is row.loud is (told.reason in LOUD)


@pytest.mark.parametrize("kind", Kind)
def test_a_decision_of_another_version_is_as_severe_as_all_of_its_kind(kind: Kind) -> None:
    warns = kind in {Kind.HOLD, Kind.KILL, Kind.ROLLBACK}
    assert severity_of(decision(kind, "Elsewhere")) is (Severity.WARNING if warns else Severity.NORMAL)


UNRECORDED = {EventReason.STATUS_NOT_WRITTEN, EventReason.CLOCK_BEHIND, EventReason.OPERATOR_FAULT}
"""What is told of a status and never stands in one."""


def test_every_reason_of_a_decision_stands_in_the_table() -> None:
    assert {row.event_reason for row in TRANSITIONS.values()} == {*EventReason, None} - UNRECORDED


def test_that_nothing_can_be_recorded_is_a_warning() -> None:
    world = World().until(Phase.JUDGING)
    refusal = Refusal("status", "the status", "Forbidden", "no", True, False, START, START, 1)
    assert severity_of(unwritten_notice(world.snapshot(), refusal)) is Severity.WARNING


# ---- a run along the table -------------------------------------------------------------------------------------------


def promoted() -> World:
    return World().until(Phase.SUCCEEDED)


def held_back() -> World:
    return World(spec=changed(PLAN, {"bake": {"for": "5m", "holdback": "1%"}})).until(Phase.SUCCEEDED)


def refuted() -> World:
    world = World().until(Phase.JUDGING)
    world.says["errors"] = 0.2
    return world.until(Phase.ROLLED_BACK)


def tried_again() -> World:
    world = refuted()
    world.pods(revision="second")
    world.settle()
    return world


def not_ready() -> World:
    world = World(new=Deployment("v2", ready=1))
    world.settle()
    return world


def never_ready() -> World:
    return not_ready().until(Phase.ROLLED_BACK)


def probed() -> World:
    return World(spec=changed(PLAN, {"assumptions": [assumption("cache")]})).until(Phase.JUDGING)


def false_from_the_start() -> World:
    return World(spec=changed(PLAN, {"assumptions": [assumption("cache")]}), job_fails=True).until(Phase.ROLLED_BACK)


def added() -> World:
    return World(spec=changed(PLAN, {"expand": {"jobs": [job("columns")]}})).until(Phase.JUDGING)


def not_added() -> World:
    world = World(spec=changed(PLAN, {"expand": {"jobs": [job("columns")]}}), job_fails=True)
    return world.until(Phase.ROLLED_BACK)


def taken_away() -> World:
    spec = changed(PLAN, {"contract": {"scaleOld": 0, "jobs": [job("drop")], "approval": "Required"}})
    return told(World(spec=spec).until(Phase.HELD), "approve a1").until(Phase.SUCCEEDED)


def edited() -> World:
    world = World().until(Phase.JUDGING)
    world.edit({"stages[2].soak": "4m"})
    return world.until(Phase.SUCCEEDED)


def climbs_on() -> World:
    world = World(spec=changed(PLAN, {"stages": PLAN["stages"][:2], "stopAt": "50%"})).until(Phase.BAKING)
    world.edit({"stages": PLAN["stages"], "stopAt": GONE})
    return world.until(Phase.SUCCEEDED)


def changed_before_it_was_ready() -> World:
    world = not_ready()
    world.pods(revision="second")
    world.settle()
    return world


def extended() -> World:
    world = World()
    world.edit({"onUndecided": "Extend"})
    world.says["hits"] = Why.NO_DATA
    world.advance(timedelta(minutes=11))
    return world


def slow_to_decide() -> World:
    events = {"bad": "bad", "total": "all"}
    no_worse = {"name": "no-worse", "events": events, "vsOld": "< 2x"}
    world = World(spec=changed(PLAN, {"stages[0].pass": [no_worse]}))
    world.counts("no-worse", new=(0.0, 0.6), old=(0.02, 11.4))
    world.advance(timedelta(minutes=5))
    return world


def unguarded_at_the_end() -> World:
    worse = {"name": "errors", "query": "errors{$deployment}", "vsOld": "> 1.5x"}
    return World(spec=changed(PLAN, {"guards": [worse]})).until(Phase.JUDGING)


def only_warned() -> World:
    slow = {"name": "slow", "query": "slow", "is": "> 300"}
    world = World(spec=changed(PLAN, {"stages[0].warn": [slow]}))
    world.says["slow"] = 512.0
    return world.until(Phase.SUCCEEDED)


def held_and_resumed() -> World:
    world = World().until(Phase.JUDGING)
    for weights in ({"v1": 100, "v2": 0}, {"v1": 95, "v2": 5}):
        world.drift(weights)
        world.settle()
    return world


def mended() -> World:
    world = World(new=None)
    world.settle()
    world.new = Deployment("v2")
    world.settle()
    return world


def blocked() -> World:
    other = RouteConflict("ns/other", frozenset({SHOP}), running=True, waiting=False, created=START, uid="0")
    world = World(route_conflicts=(other,))
    world.settle()
    return world


def edited_by_hand() -> World:
    world = World().until(Phase.JUDGING)
    weights = {key: value for key, value in world.status_raw["weights"].items() if key != "snapshot"}
    world.status_raw = {**world.status_raw, "weights": weights}
    world.settle()
    return world


def adopted() -> World:
    world = edited_by_hand()
    world.say("adopt c1")
    world.settle()
    return world


def moved_up() -> World:
    world = World().until(Phase.JUDGING)
    world.drift({"v1": 50, "v2": 50})
    world.settle()
    return world


def aborted_early() -> World:
    return told(not_ready(), "abort a1")


def reverted_and_tried_again() -> World:
    return told(promoted(), "revert a1", "retry a2")


def refused_for_good() -> World:
    world = World(refuses={"route": Failure(403, "Forbidden", "a webhook says no")})
    world.settle()
    return world


def refused_for_a_while() -> World:
    world = World().until(Phase.JUDGING)
    world.says["errors"] = 0.2
    world.refuses = {"route": Failure(403, "Forbidden", "a webhook says no")}
    world.until(Phase.ROLLING_BACK).settle()
    return world


def already_done() -> World:
    world = World(routes={"shop": http_route("shop", [{"v1": 0, "v2": 100}])})
    world.settle()
    return world


def set_back_and_forward() -> World:
    world = promoted()
    for weights in ({"v1": 100, "v2": 0}, {"v1": 0, "v2": 100}):
        world.drift(weights)
        world.settle()
    return world


def changed_while_serving() -> World:
    world = promoted()
    world.pods(revision="second")
    world.settle()
    return world


def skipped() -> World:
    return told(World().until(Phase.JUDGING), "skip a1", "skip a2")


def promoted_by_a_person() -> World:
    return told(World().until(Phase.JUDGING), "promote a1")


def evicted_and_back() -> World:
    world = World(new=Deployment("v2", 1, 1)).until(Phase.JUDGING)
    world.pods(ready=0, away="Evicted")
    world.advance(timedelta(minutes=1))
    world.pods(ready=1, away="")
    return world.until(Phase.JUDGING)


def taken_up() -> World:
    world = World().until(Phase.JUDGING)
    world.drift({"v1": 100, "v2": 0})
    world.settle()
    return told(world, "resume a1")


def approved_ahead() -> World:
    world = World()
    world.edit({"stages.1.approval": "Required"})
    return told(world, "approve a1 half").until(Phase.SUCCEEDED)


def paused_before_the_start() -> World:
    return told(World(command="pause a1"), "resume a2", "resume a3")


def paused_while_shifting() -> World:
    world = World(lag=timedelta(seconds=10))
    world.settle()
    told(world, "pause a1")
    world.advance(timedelta(seconds=20))
    return told(world, "resume a2")


def told(world: World, *commands: str) -> World:
    world.settle()
    for command in commands:
        world.say(command)
        world.settle()
    return world


def paused_for_long() -> World:
    """A run is held for longer than a policy lets it keep its place."""
    policies = (ruled(maxConcurrent=1, releaseAfter="1h"),)
    world = World(spec=changed(PLAN, {"interval": "1m"}), policies=policies).until(Phase.JUDGING)
    world.say("pause p1")
    world.advance(timedelta(hours=1.1))
    world.say("resume r1")
    return world.until(Phase.SUCCEEDED)


def shadowed() -> World:
    """A MetricSource gets the name of the cluster's, which the run asks."""
    world = World().until(Phase.JUDGING)
    world.source = replace(SOURCE, object=SHARED.model_copy(update={"shadowed_by": "9"}))
    return world.until(Phase.SUCCEEDED)


def foreign_undo() -> World:
    world = World().until(Phase.JUDGING)
    world.write_undo("echo", by="somebody")
    world.settle()
    return world


RUNS: Mapping[Callable[[], World], set[TransitionName]] = {
    promoted: {
        *(
            TransitionName.START,
            TransitionName.READY,
            TransitionName.START_STAGE,
            TransitionName.VERIFIED,
            TransitionName.PROVED,
        ),
        *(TransitionName.PROVED_LAST, TransitionName.BAKED),
    },
    held_back: {TransitionName.BAKED_BELOW_FULL, TransitionName.BAKED},
    refuted: {TransitionName.FAILED, TransitionName.RESTORED},
    tried_again: {TransitionName.RUN_AGAIN},
    probed: {TransitionName.START_PROBING, TransitionName.ASSUMPTION_TRUE, TransitionName.PROBING_DONE},
    false_from_the_start: {TransitionName.ASSUMPTION_FALSE},
    added: {TransitionName.EXPANDED},
    not_added: {TransitionName.EXPAND_FAILED},
    taken_away: {TransitionName.CONTRACT, TransitionName.CONTRACTED, TransitionName.FINISHED},
    never_ready: {TransitionName.NEVER_READY},
    changed_before_it_was_ready: {TransitionName.CHANGED_BEFORE_SHIFT},
    extended: {TransitionName.EXTENDED},
    slow_to_decide: {TransitionName.STAGE_CANNOT_CONCLUDE},
    unguarded_at_the_end: {TransitionName.UNGUARDED},
    refused_for_good: {TransitionName.SHIFT_REFUSED},
    refused_for_a_while: {TransitionName.REQUEST_REFUSED},
    edited: {TransitionName.ADAPTED},
    climbs_on: {TransitionName.ADAPTED_ON},
    only_warned: {TransitionName.WARNED},
    held_and_resumed: {TransitionName.HELD, TransitionName.RESUMED},
    mended: {TransitionName.REFUSED, TransitionName.UNBLOCKED},
    blocked: {TransitionName.BLOCKED},
    edited_by_hand: {TransitionName.STATUS_LOST},
    adopted: {TransitionName.STATUS_LOST, TransitionName.ADOPTED},
    already_done: {TransitionName.ALREADY_DONE},
    set_back_and_forward: {TransitionName.SET_BACK, TransitionName.SET_FORWARD_AGAIN},
    changed_while_serving: {TransitionName.UNJUDGED_CHANGE},
    moved_up: {TransitionName.DRIFTED},
    aborted_early: {TransitionName.ABORTED},
    reverted_and_tried_again: {TransitionName.REVERTED, TransitionName.RETRIED},
    skipped: {TransitionName.SKIPPED},
    promoted_by_a_person: {TransitionName.PROMOTED},
    taken_up: {TransitionName.STAGE_RESTARTED},
    evicted_and_back: {TransitionName.WITHDRAWN, TransitionName.RESUMED},
    approved_ahead: {TransitionName.APPROVED},
    paused_before_the_start: {TransitionName.BLOCKED, TransitionName.PAUSE_ENDED, TransitionName.COMMAND_REJECTED},
    shadowed: {TransitionName.SOURCE_CHANGED},
    foreign_undo: {TransitionName.UNDO_RESTORED},
    paused_for_long: {TransitionName.PLACE_LOST},
    paused_while_shifting: {TransitionName.PAUSED, TransitionName.HELD, TransitionName.RESUMED},
}
"""Runs, and the rows that they are here for."""


def steps(world: World) -> Iterator[tuple[Status, Status, set[TransitionName]]]:
    """Every step that was recorded, with the rows that lead from the one status to the other."""
    for before, after in pairwise([read_status({}), *(record.status for record in world.records)]):
        told = [(decision.kind, decision.reason) for decision in after.decisions if decision.seq > before.seq]
        if told or after.phase is not before.phase:
            yield (
                before,
                after,
                {
                    cause
                    for cause, row in TRANSITIONS.items()
                    if before.phase in row.sources
                    and after.phase is row.target_phase(before)
                    and told == ([(row.kind, row.event_reason)] if row.kind else [])
                },
            )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_a_run_moves_along_the_table_and_nowhere_else(run: Callable[[], World]) -> None:
    taken = set[TransitionName]()
    for before, after, rows in steps(run()):
        assert rows, f"no row leads from {before.phase} to {after.phase}: {after.reason}, {after.message}"
        taken |= rows
    assert RUNS[run] <= taken, f"never taken: {RUNS[run] - taken}"


def test_every_row_is_there_for_something() -> None:
    assert set().union(*RUNS.values()) == set(TransitionName)


@pytest.mark.parametrize("cause", TransitionName)
def test_nothing_leads_from_where_its_row_does_not_begin(cause: TransitionName) -> None:
    snapshot = World().snapshot()
    for phase in set(Phase) - TRANSITIONS[cause].sources:
        with pytest.raises(AssertionError, match="not allowed"):
            transition(replace(snapshot, status=Status(phase=phase)), cause, "")
