"""An operator that dies in the middle of a rollback: the weights are back before anything is written about it."""

from datetime import timedelta

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.effects import Effect, Evaluate
from tests.world import World, crash


@pytest.mark.parametrize("point", ["route", "routed", "record", "recorded"])
def test_a_rollback_ends_the_same_whenever_the_operator_died(point: str) -> None:
    world = World().until(Phase.JUDGING)
    world.says["errors"] = 0.2
    world.traps[point] = crash
    world.until(Phase.ROLLED_BACK)
    assert world.weights()[0] == {"v1": 100, "v2": 0}
    told = world.told()
    assert told.count("RollbackStarted") == 1, told
    assert told.count("RolledBack") == 1, told


def dies_before_the_record(world: World) -> None:
    """Kill the operator at the record of a rollback, and at no other."""
    if world.operator.unwritten_status is None:
        world.traps["record"] = dies_before_the_record
        return
    crash(world)


def test_weights_that_are_back_without_a_record_are_known_by_their_fence() -> None:
    world = World().until(Phase.JUDGING)
    world.says["errors"] = 0.2
    world.traps["record"] = dies_before_the_record
    for _ in range(50):
        if world.lost:
            break
        world.advance()
    world.says["errors"] = 0.0
    world.until(Phase.ROLLED_BACK)
    assert world.status.reason == "Interrupted"
    assert "Held" not in world.told(), "its own rollback is no conflict"


def test_a_stranger_who_puts_the_weights_back_is_a_conflict() -> None:
    world = World().until(Phase.JUDGING)
    world.drift({"v1": 100, "v2": 0})
    world.settle()
    assert world.status.reason == "Conflict"


def test_a_new_leader_gives_a_gateway_its_time_before_it_goes_back() -> None:
    """It may be behind with what it has heard, and what it has heard last is no ground to go back."""
    world = World(lag=timedelta(seconds=45))
    world.settle()
    assert (world.phase, world.weights()[0]) == (Phase.SHIFTING, {"v1": 95, "v2": 5})
    world.advance(timedelta(seconds=1))
    world.crash()
    world.now += timedelta(seconds=40)
    world.until(Phase.JUDGING)
    assert "RollbackStarted" not in world.told()


def test_but_no_longer_than_a_gateway_may_take() -> None:
    world = World(lag=None)
    world.settle()
    world.crash()
    world.now += timedelta(seconds=40)
    world.advance(timedelta(seconds=31))
    assert (world.status.reason, world.weights()[0]) == ("WeightNotAccepted", {"v1": 100, "v2": 0})


def test_weights_that_could_be_written_only_late_leave_the_gateway_its_time() -> None:
    world = World(lag=timedelta(seconds=20), broken={"route"})
    world.settle()
    world.advance(timedelta(seconds=29))
    world.broken = set()
    world.until(Phase.JUDGING)
    assert "RollbackStarted" not in world.told()


@pytest.mark.parametrize("away", [timedelta(seconds=20), timedelta(minutes=30)])
@pytest.mark.parametrize("phase", [Phase.JUDGING, Phase.BAKING])
def test_an_answer_that_a_new_leader_waits_for_is_not_missing(phase: Phase, away: timedelta) -> None:
    """What was to be decided while nobody led is decided by what the new leader hears, not before it hears it."""
    world = World().until(phase)
    stage = world.status.stage
    assert stage is not None
    end = stage.deadline_at if phase is Phase.JUDGING else stage.soak_until
    assert end is not None
    world.crash()
    world.now = end + away
    asked = turn_without_answers(world)
    assert asked, "it asks at once"
    assert world.phase is phase, world.status.message
    for effect in asked:
        world.operator.on_result(effect, world.carry_out(effect), world.now)
    world.until(Phase.SUCCEEDED)
    assert "Held" not in world.told()


def turn_without_answers(world: World) -> list[Effect]:
    """Carry out all that follows at this instant but the queries, whose answers take a while; returns these."""
    asked: list[Effect] = []
    for _ in range(40):
        effects = world.operator.advance(world.facts(), world.now).todo
        asked += [effect for effect in effects if isinstance(effect.work, Evaluate)]
        others = [effect for effect in effects if not isinstance(effect.work, Evaluate)]
        for effect in others:
            world.operator.on_result(effect, world.carry_out(effect), world.now)
        if not others:
            break
    return asked
