"""Jobs of a plan never run side by side: a run that ends suspends its Job, and the next one waits for it.

A migration that runs twice at the same time, or goes on after somebody said stop, is what no rollback undoes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import Scale, StopJobs
from rolloutplan.engine.model.effects import Effect
from rolloutplan.engine.plan_run import PlanRun
from tests.refusals import changed
from tests.situations import job
from tests.world import PLAN, SHORT_OF_TIME, World, named, stop


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


MIGRATE = {"expand": {"jobs": [{**job("migrate"), "deadline": "1m"}]}}
CONTRACT = {"bake": "0s", "contract": {"scaleOld": 0, "jobs": [job("drop")]}}


def migrating(takes: timedelta | None = None) -> World:
    """Its Job runs, and does not end by itself."""
    world = World(spec=changed(PLAN, MIGRATE), job_takes=takes)
    world.settle()
    assert [each.name for each in world.made] == [named("migrate")]
    return world


def deadline_passes(world: World) -> None:
    world.advance(timedelta(minutes=2))
    assert world.phase is Phase.ROLLED_BACK
    world.say("retry r1")


def superseded(world: World) -> None:
    world.pods(revision="second")


def edited(world: World) -> None:
    world.edit({"hypothesis": "another"})


def side_by_side(world: World) -> list[str]:
    return [name for name, made in world.jobs.items() if made.runs_at(world.now)]


@pytest.mark.parametrize("ends", [deadline_passes, superseded, edited])
@pytest.mark.parametrize("crashes", [False, True])
def test_the_job_of_the_next_run_waits_for_the_one_of_the_former_and_says_so(
    ends: Callable[[World], None], crashes: bool
) -> None:
    world = migrating()
    ends(world)
    for _ in range(4):
        world.advance(s(5))
        if crashes:
            world.crash()
            world.settle()
        assert side_by_side(world) == [named("migrate")]
    assert world.status.reason == "JobWaits"
    assert f"Job {named('migrate', run=2)} is not created yet, because Job {named('migrate')}" in world.status.message
    assert "is waited for until 09:" in world.status.message
    world.jobs = {named("migrate"): replace(world.jobs[named("migrate")], ends_at=world.now)}
    world.job_takes = s(20)
    world.advance(s(15))
    assert side_by_side(world) == [named("migrate", run=2)]
    world.until(Phase.JUDGING)


def test_a_job_that_waited_has_its_whole_time_from_its_creation_on() -> None:
    world = migrating()
    superseded(world)
    world.advance(s(50))
    world.jobs = {named("migrate"): replace(world.jobs[named("migrate")], ends_at=world.now)}
    world.job_takes = s(55)
    world.until(Phase.JUDGING)


def test_a_former_job_that_never_ends_ends_the_run_in_its_time_with_the_reason() -> None:
    world = migrating()
    superseded(world)
    world.advance(timedelta(minutes=2))
    assert (world.phase, world.status.reason) == (Phase.ROLLED_BACK, "ExpandFailed")
    assert (
        f"Job {named('migrate', run=2)} could not be created within 1m: Job {named('migrate')}" in world.status.message
    )


def test_an_abort_suspends_the_job_and_the_next_run_begins_its_own() -> None:
    world = migrating()
    world.say("abort a1")
    world.settle()
    assert world.jobs[named("migrate")].suspended
    assert (world.phase, world.status.task) == (Phase.ROLLED_BACK, None)
    world.job_takes = s(5)
    world.say("retry r1")
    world.until(Phase.JUDGING)
    assert [each.name for each in world.made] == [named("migrate"), named("migrate", run=2)]


def test_an_abort_of_a_plan_that_waits_suspends_what_former_runs_left() -> None:
    world = migrating()
    world.advance(timedelta(minutes=2))
    world.edit({"old.deployment": "missing"})
    world.old = None
    world.settle()
    world.say("abort a1")
    world.advance(s(5))
    assert world.jobs[named("migrate")].suspended


@pytest.mark.parametrize("times", [1, 3])
def test_a_suspension_that_is_refused_is_told_and_tried_again_before_the_next_run(times: int) -> None:
    world = migrating()
    world.refuses["stop"] = replace(SHORT_OF_TIME, status=403, reason="Forbidden", message="cannot patch jobs")
    world.say("abort a1")
    for _ in range(times):
        world.advance(s(3))
    assert "cannot patch jobs" in world.status.message
    world.say("retry r1")
    world.advance(s(3))
    assert world.phase is Phase.ROLLED_BACK
    world.refuses = {}
    world.job_takes = s(5)
    world.advance(s(15))
    assert world.jobs[named("migrate")].suspended
    world.until(Phase.JUDGING)


def test_a_suspension_that_never_succeeds_does_not_keep_the_next_run_for_ever() -> None:
    world = migrating()
    world.broken.add("stop")
    world.say("abort a1")
    world.settle()
    world.say("retry r1")
    world.advance(timedelta(minutes=2))
    assert world.status.run == 2
    assert side_by_side(world) == [named("migrate")]


def contracting(**changes: object) -> World:
    return World(spec=changed(PLAN, {**CONTRACT, **changes})).until(Phase.JUDGING, stage="all")


def test_an_abort_of_the_contract_suspends_its_job_beside_the_weights() -> None:
    world = World(spec=changed(PLAN, {"bake": "0s", "contract": {"jobs": [job("drop")]}}), job_takes=None)
    world.until(Phase.CONTRACTING)
    world.advance(s(3))
    world.lag = None
    world.say("abort a1")
    world.settle()
    assert (world.phase, world.jobs[named("drop")].suspended) == (Phase.ROLLING_BACK, True)


def test_a_refused_suspension_delays_no_rollback() -> None:
    world = World(spec=changed(PLAN, {"bake": "0s", "contract": {"jobs": [job("drop")]}}), job_takes=None)
    world.until(Phase.CONTRACTING)
    world.advance(s(3))
    world.broken.add("stop")
    world.say("abort a1")
    world.settle()
    assert (world.phase, world.weights()) == (Phase.ROLLED_BACK, ({"v1": 100, "v2": 0},))


def test_a_job_that_lands_after_the_abort_is_suspended_too() -> None:
    """The request was on its way when the operator was stopped, and nobody has seen the Job."""
    world = World(spec=changed(PLAN, {"bake": "0s", "contract": {"jobs": [job("drop")]}}), job_takes=None)
    late = world.interrupted("job", stop, limit=400)
    world.say("abort a1")
    world.settle()
    assert (world.phase, world.jobs) == (Phase.ROLLED_BACK, {})
    world.carry_out(late.effects[0])
    world.advance(s(4))
    assert world.jobs[named("drop")].suspended


def scaling(world: World) -> tuple[PlanRun, Effect]:
    """The run with its scaling of the old side on its way: sent, and not answered."""
    while True:
        run = world.operator
        effects = run.advance(world.facts(), world.now)
        if held := next((effect for effect in effects.todo if isinstance(effect.work, Scale)), None):
            return run, held
        for effect in effects.todo:
            run.on_result(effect, world.carry_out(effect), world.now)
        world.wake_at = effects.wake_at
        if not effects.todo:
            at = world.next()
            assert at is not None
            world.now = at


def test_an_abort_waits_for_the_answer_to_a_scaling_that_is_on_its_way() -> None:
    world = contracting()
    run, effect = scaling(world)
    world.say("abort a1")
    assert run.still_wants(effect)
    world.settle()
    assert world.phase is Phase.CONTRACTING
    run.on_result(effect, world.carry_out(effect), world.now)
    world.settle()
    assert "CommandRejected" in world.told()
    assert "the old side was scaled down" in next(
        each.note for each in world.trail.values() if each.reason == "CommandRejected"
    )


def test_a_scaling_that_lands_after_its_run_has_ended_is_undone() -> None:
    """The operator that sent it was stopped, and the next one aborted the run."""
    world = contracting()
    effect = world.interrupted("scale", stop, limit=400).effects[0]
    world.say("abort a1")
    world.settle()
    assert (world.phase, world.old and world.old.wanted) == (Phase.ROLLED_BACK, 4)
    world.carry_out(effect)
    assert world.old is not None
    assert world.old.wanted == 0
    world.advance(s(5))
    assert world.old.wanted == 4


def test_an_old_side_that_a_person_makes_smaller_later_is_left_alone() -> None:
    world = contracting()
    world.interrupted("scale", stop, limit=400)
    world.say("abort a1")
    world.advance(timedelta(minutes=2))
    assert world.old is not None
    world.old = replace(world.old, wanted=0, ready=0)
    world.advance(timedelta(minutes=2))
    assert world.old.wanted == 0


def test_what_is_sent_after_the_run_has_ended_is_not_wanted_any_more() -> None:
    world = contracting()
    run, effect = scaling(world)
    world.delete()
    world.settle()
    assert not run.still_wants(effect)


# ---- why a Job does not run -----------------------------------------------------------------------------------------


def test_why_a_job_does_not_run_is_in_the_message_and_goes_away_when_it_runs() -> None:
    world = World(spec=changed(PLAN, MIGRATE), job_idle="FailedCreate: exceeded quota: pods", job_takes=s(30))
    world.advance(s(4))
    assert (world.status.reason, world.phase) == ("JobNotRunning", Phase.EXPANDING)
    assert f"Job {named('migrate')} does not run: FailedCreate: exceeded quota: pods" in world.status.message
    assert "until 09:01:00" in world.status.message
    world.jobs = {named("migrate"): replace(world.jobs[named("migrate")], why="")}
    world.advance(s(4))
    assert (world.status.reason, world.status.message) == ("Expanding", "Job migrate runs before any traffic moves")


def test_a_job_that_has_not_begun_by_its_deadline_is_suspended_so_that_it_does_not_begin_later() -> None:
    world = World(spec=changed(PLAN, MIGRATE), job_idle="it is suspended by Kueue (queue batch)", job_takes=None)
    world.advance(timedelta(minutes=2))
    assert (world.phase, world.jobs[named("migrate")].suspended) == (Phase.ROLLED_BACK, True)
    assert "has not ended within 1m and is suspended, because it had not begun (it is suspended by Kueue" in (
        world.status.message
    )


def test_a_plan_without_jobs_suspends_none() -> None:
    world = World()
    world.until(Phase.JUDGING)
    world.say("abort a1")
    world.until(Phase.ROLLED_BACK)
    world.advance(timedelta(minutes=2))
    assert not [effect for effect in world.done if isinstance(effect.work, StopJobs)]
