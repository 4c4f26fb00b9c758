"""An operator that dies in the middle of a rollback: the weights are back before anything is written about it."""

from datetime import timedelta

import pytest

from rolloutplan.api.status import Phase
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
