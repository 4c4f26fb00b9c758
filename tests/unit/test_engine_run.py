"""PlanRun by itself: what it makes of answers that come late or never, and of a leader before this one."""

from dataclasses import replace

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect, Failure, LintQueries, ReadPlan, Record
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.plan_run import READ_PLAN_WITHIN, PlanRun
from tests.situations import judging, m, s
from tests.world import HTTPROUTES, World

P = Phase
NO_ANSWER = Failure(0, "TimeoutError", "no answer")


def another_leader(world: World, facts: Facts) -> PlanRun:
    """The run as a leader serves it that has just come, and knows this much."""
    return PlanRun(facts, world.now, undo_command=HTTPROUTES.undo_command)


def taken_further() -> tuple[World, Facts]:
    """A plan that is known as it was at its first stage, and routes to which its leader has given the next weight."""
    world = judging()()
    behind = world.facts()
    world.until(P.JUDGING, stage="half")
    return world, replace(world.facts(), plan=behind.plan, status=behind.status)


def works(effects: tuple[Effect, ...]) -> list[type]:
    return [type(effect.work) for effect in effects]


def test_a_new_leader_reads_the_plan_before_it_moves_weights_back_upon_what_it_has_heard() -> None:
    world, behind = taken_further()
    run = another_leader(world, behind)
    effects = run.advance(behind, world.now).todo
    assert ReadPlan in works(effects)
    assert not {PatchRoute, Record} & set(works(effects)), "weights that another has moved forward are no interruption"
    run.on_result(next(effect for effect in effects if isinstance(effect.work, ReadPlan)), None, world.now)
    assert PatchRoute not in works(run.advance(world.facts(), world.now).todo)
    assert run.unwritten_status is None


def test_it_goes_back_all_the_same_where_the_plan_cannot_be_read() -> None:
    world, behind = taken_further()
    run = another_leader(world, behind)
    end = world.now + READ_PLAN_WITHIN
    reads = 0
    while world.now < end:
        effects = run.advance(behind, world.now)
        assert PatchRoute not in works(effects.todo)
        for effect in effects.todo:
            reads += isinstance(effect.work, ReadPlan)
            run.on_result(effect, NO_ANSWER, world.now)
        assert effects.wake_at is not None
        world.now = run.advance(behind, world.now).wake_at or end
    assert PatchRoute in works(run.advance(behind, world.now).todo)
    assert 10 < reads < 60, "tried again and again, with a pause"


def test_the_end_of_a_rollback_that_nobody_confirms_does_not_keep_weights_from_going_back_again() -> None:
    """Somebody moves them up once more while the record of the end is under way, and lost."""
    world = judging()()
    world.say("abort a1")
    while world.phase is not P.ROLLING_BACK:
        world.turn()
    run = world.operator
    for _ in range(5):
        effects = run.advance(world.facts(), world.now).todo
        if any(isinstance(effect.work, Record) for effect in effects):
            break
        for effect in effects:
            run.on_result(effect, world.carry_out(effect), world.now)
    world.drift({"v1": 50, "v2": 50})
    assert PatchRoute not in works(run.advance(world.facts(), world.now).todo), "it may have ended before"
    world.now += s(10)
    assert PatchRoute in works(run.advance(world.facts(), world.now).todo)


def test_a_record_that_can_be_done_no_more_is_nothing_to_go_back_from() -> None:
    """It is under way again, decided anew, since nobody heard that it was done."""
    world = judging()()
    run, behind = world.operator, world.facts()
    world.say("pause p1")
    told = world.facts()
    (first,) = [effect for effect in run.advance(told, world.now).todo if isinstance(effect.work, Record)]
    world.carry_out(first)
    run.on_result(first, NO_ANSWER, world.now)
    world.now += s(1)
    assert Record in works(run.advance(told, world.now).todo)
    assert behind.status.seq + 1 == world.status.seq

    world.pods(ready=0)
    effects = run.advance(world.facts(), world.now).todo
    assert run.unwritten_status is not None
    assert run.unwritten_status.decisions[-2] == world.status.decisions[-1], "what is recorded stays as it is recorded"
    assert {PatchRoute, Record} <= set(works(effects))


def test_a_question_without_an_answer_is_no_request_that_the_api_server_refuses() -> None:
    world = judging()()
    world.refuses = {"asked": NO_ANSWER}
    world.advance(s(60))
    assert "RequestRefused" not in world.told()
    assert world.status.condition("RequestsAccepted") is None


def test_a_plan_that_waits_for_somebody_has_its_queries_looked_at_all_the_same() -> None:
    world = World(services=frozenset({"v1"}))
    world.say("pause p1")
    world.settle()
    assert (world.phase, world.status.reason) == (P.PENDING, "Paused")
    world.advance(m(1))
    assert LintQueries in works(tuple(world.done))
