"""What a run says about delivery: stories of runs, and the figures that their records have at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from rolloutplan.api.record import DoraFigures, RunOutcome
from rolloutplan.engine.run.dora import after
from rolloutplan.stats.verdict import Why
from tests.situations import P, assumption, judging, m, s
from tests.unit.test_engine_record import decision, record_of
from tests.world import START, World

COUNTED = {"guards[0]": {"name": "errors", "events": {"bad": "bad", "total": "all"}, "is": "> 1%"}}


def edited(changes: Mapping[str, object]) -> World:
    world = World()
    world.edit(changes)
    return world


def figures(world: World) -> DoraFigures:
    found = record_of(world).status.change
    assert found is not None, "it counts as a change"
    return found


def lasts(world: World) -> World:
    """Until nothing more is going to happen to this run."""
    return world.until(P.SUCCEEDED, P.ROLLED_BACK)


def trips(world: World) -> World:
    world.says["errors"] = 0.3
    return world.until(P.ROLLED_BACK, P.HELD)


def counted(world: World) -> World:
    world.counts("errors", new=(0, 10), old=(0, 90))
    world.until(P.JUDGING)
    world.advance(m(1))
    world.counts("errors", new=(5, 10), old=(0, 90))
    return world.until(P.ROLLED_BACK)


def says(*commands: str) -> Callable[[World], World]:
    def told(world: World) -> World:
        for command in commands:
            world.say(command, by="ann")
            world.advance(s(5))
        return world

    return told


def reverted(world: World) -> World:
    lasts(world)
    world.advance(m(5))
    return says("revert r1", "revert r2")(world)


def replaced(world: World) -> World:
    world.pods(revision="second")
    world.advance(s(10))
    return world


def crashes(world: World) -> World:
    world.pods(ready=0, failed=4, worst="CrashLoopBackOff")
    return lasts(world)


def held_for_an_hour(world: World) -> World:
    says("pause p1")(world)
    world.advance(m(60))
    says("resume r1")(world)
    return lasts(world)


def evicted_and_back(world: World) -> World:
    world.pods(ready=0, away="Evicted")
    world.advance(s(10))
    assert world.phase is P.HELD
    world.pods(ready=4, away="")
    return lasts(world)


def evicted_and_ended(world: World) -> World:
    world.pods(ready=0, away="Evicted")
    world.advance(m(30))
    assert world.phase is P.HELD
    return says("abort a1")(world)


def fixed_forward_after_a_failure(world: World) -> World:
    trips(world)
    assert world.phase is P.HELD
    world.advance(m(20))
    return replaced(world)


def gone(world: World) -> World:
    world.delete()
    world.advance(m(1))
    return world


def undecided(world: World) -> World:
    world.says["hits"] = Why.NO_DATA
    return world.until(P.ROLLED_BACK)


@dataclass(frozen=True)
class Story:
    """`exposed` and `restored` are whether these figures are known."""

    name: str
    begins: Callable[[], World]
    happens: Callable[[World], World]
    outcome: RunOutcome
    failed: bool
    restored: bool = False
    exposed: bool = False


STORIES = [
    Story("healthy", World, lasts, RunOutcome.SUCCEEDED, failed=False),
    Story("held for an hour", judging(), held_for_an_hour, RunOutcome.SUCCEEDED, failed=False),
    Story("rolled back by a guard", judging(), trips, RunOutcome.ROLLED_BACK, failed=True, restored=True),
    Story(
        "rolled back by a guard that counts", lambda: edited(COUNTED), counted, RunOutcome.ROLLED_BACK,
        failed=True, restored=True, exposed=True,
    ),
    Story("rolled back by pods", judging(), crashes, RunOutcome.ROLLED_BACK, failed=True, restored=True),
    Story("undecided, and the plan says Rollback", lambda: edited({"onUndecided": "Rollback"}), undecided,
          RunOutcome.ROLLED_BACK, failed=True),
    Story("aborted by a person", judging(), says("abort a1"), RunOutcome.ROLLED_BACK, failed=True),
    Story("deleted at a weight", judging(), gone, RunOutcome.ROLLED_BACK, failed=True),
    Story("reverted after a success", World, reverted, RunOutcome.ROLLED_BACK, failed=True),
    Story("replaced by another version", judging(), replaced, RunOutcome.SUPERSEDED, failed=False),
    Story("held for a failure, then replaced", judging({"onFail": "Hold"}), fixed_forward_after_a_failure,
          RunOutcome.SUPERSEDED, failed=True, restored=True),
    Story("evicted, and taken up again", judging(), evicted_and_back, RunOutcome.SUCCEEDED, failed=False),
    Story("evicted, and ended by a person", judging(), evicted_and_ended, RunOutcome.ROLLED_BACK,
          failed=True, restored=True),
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_says_whether_the_change_failed_and_what_is_known_of_it(story: Story) -> None:
    world = story.happens(story.begins())
    world.settle()
    assert record_of(world).status.outcome is story.outcome
    found = figures(world)
    assert found.failed is story.failed
    assert (found.restore_seconds is not None) is story.restored
    assert (found.exposed_requests is not None) is story.exposed
    assert found.lead_seconds is None, "nobody said when it was committed"


# ---- no change -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "happens"),
    [
        (lambda: edited({"assumptions": [assumption("warm")]}), lambda world: put(world, job_fails=True)),
        (World, lambda world: put(world, refuses_first=True)),
        (lambda: edited({"stages[0]": {"name": "dark", "mirror": "10%", "soak": "2m", "deadline": "10m"}}),
         lambda world: says("abort a1")(world.until(P.JUDGING))),
    ],
    ids=["a false assumption", "aborted before any weight", "aborted at a mirror"],
)  # fmt: skip
def test_a_run_that_gave_the_new_side_no_traffic_is_no_change(
    begins: Callable[[], World], happens: Callable[[World], World]
) -> None:
    world = happens(begins())
    world.until(P.ROLLED_BACK)
    world.settle()
    status = record_of(world).status
    assert (status.outcome, status.dora) == (RunOutcome.ROLLED_BACK, None)


def put(world: World, *, job_fails: bool = False, refuses_first: bool = False) -> World:
    world.job_fails = job_fails
    if refuses_first:
        world.pods(ready=0)
        world.until(P.EXPANDING)
        world.say("abort a1")
    return world


@pytest.mark.parametrize(
    ("reason", "shares", "moved"),
    [
        ("StageStarted", ("0%", "5%"), False),
        ("WeightShifted", ("0%", "5%"), True),
        ("WeightShifted", ("0%", "0%"), False),
        ("WeightShifted", ("0%", "mirror 10%"), False),
        ("StageStarted", ("10%", "25%"), False),
        ("WeightShifted", ("10%", "10%"), False),
        ("RollbackStarted", ("5%", "0%"), True),
        ("RollbackStarted", ("10%", "10%"), False),
        ("RollbackStarted", ("0%", "0%"), False),
        ("ShiftRefused", ("", ""), False),
    ],
)
def test_a_change_begins_with_a_weight_that_was_not_there_before(
    reason: str, shares: tuple[str, str], moved: bool
) -> None:
    """A request for a weight may be refused; one that goes back may have been in force."""
    told = decision(1, reason=reason, weight_from=shares[0], weight_to=shares[1])
    assert (after(None, told, None) is not None) is moved


def test_a_run_under_way_counts_when_it_has_ended() -> None:
    status = record_of(judging()()).status
    assert (status.dora, status.change) == (DoraFigures(), None)


# ---- the figures -----------------------------------------------------------------------------------------------------


def at(world: World, reason: str) -> datetime:
    return next(each.at for each in reversed(world.status.decisions) if each.reason == reason)


def test_the_time_to_restore_begins_with_the_sample_that_showed_the_fault() -> None:
    world = judging()()
    world.lag = s(4)
    trips(world)
    world.settle()
    found, (sample,) = figures(world), record_of(world).status.stages[-1].evidence
    assert (found.bad_at, found.restored_at) == (sample.at, at(world, "RolledBack"))
    assert found.restore_seconds == (world.now - (sample.at or START)).total_seconds()
    assert found.restore_seconds >= 4, "the gateway accepts the old weights only then"


def test_of_pods_it_begins_when_they_were_seen() -> None:
    world = crashes(judging()())
    world.settle()
    assert figures(world).bad_at == at(world, "RollbackStarted")


def test_of_a_hold_for_a_failure_it_has_the_time_until_a_person_came() -> None:
    world = fixed_forward_after_a_failure(judging({"onFail": "Hold"})())
    world.settle()
    seconds = figures(world).restore_seconds
    assert seconds is not None
    assert 1200 <= seconds < 1300


def test_weights_that_went_back_because_pods_were_away_count_from_then_on() -> None:
    """The run waited for half an hour with the old weights in force: nobody met the fault meanwhile."""
    world = evicted_and_ended(judging()())
    world.settle()
    assert figures(world).restore_seconds == pytest.approx(0, abs=10)


def test_old_weights_that_the_gateway_does_not_accept_are_not_restored() -> None:
    world = judging()()
    world.says["errors"] = 0.3
    world.refusal = "UnsupportedValue"
    lasts(world)
    world.settle()
    found = figures(world)
    assert (world.status.reason, found.failed) == ("RestoredNotAccepted", True)
    assert (found.restored_at, found.restore_seconds) == (None, None)


def test_no_time_to_restore_is_negative_where_the_clock_of_the_next_leader_is_behind() -> None:
    fault = decision(1, m(1), reason="RollbackStarted", state="NewSideDown", weight_from="5%", weight_to="0%")
    found = after(after(None, fault, None), decision(2, s(30), reason="RolledBack", state="NewSideDown"), None)
    assert found is not None
    assert (found.failed, found.bad_at, found.restored_at) == (True, START + m(1), START + s(30))
    assert found.restore_seconds is None


def test_the_requests_exposed_are_those_that_the_guard_had_counted() -> None:
    world = counted(edited(COUNTED))
    world.settle()
    (evidence,) = record_of(world).status.stages[-1].evidence
    assert figures(world).exposed_requests == float(evidence.samples)
    assert 600 < float(evidence.samples) < 1200, "ten a second, since the first weight"


@pytest.mark.parametrize(
    ("committed", "lead"), [(-m(90), True), (m(600), False)], ids=["before", "after the end, which cannot be"]
)
def test_the_lead_time_is_from_the_commit_to_the_end_of_the_success(committed: timedelta, lead: bool) -> None:
    world = lasts(World(committed_at=START + committed))
    world.settle()
    assert figures(world).lead_seconds == ((world.now - START - committed).total_seconds() if lead else None)


def test_a_revert_keeps_the_lead_time_and_begins_with_no_sample() -> None:
    world = reverted(World())
    world.settle()
    found = figures(world)
    assert (found.failed, found.bad_at) == (True, None)
    assert found.restored_at == at(world, "RolledBack")
