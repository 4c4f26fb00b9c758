"""A leader that lost its Lease cannot write, though it was stopped in the middle of a write and wakes up much later.

What it had decided upon is kept as it was: the look, the patches, the status. Another leader takes over and does
something; then the late writes arrive at the API server, and every one of them must be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.situations import (
    BACK,
    HALF,
    OLD_WEIGHTS,
    UP,
    P,
    Situation,
    baking,
    drift,
    held_conflict,
    judging,
    m,
    nothing,
    pods,
    put,
    s,
    say,
    says,
    settle,
    succeeded,
    then,
    two_routes,
)
from tests.world import Late, StaleError, World, refuse

TO_HOLD = {"onFail": "Hold"}
Happens = Callable[[World], object]


WRITES: Mapping[str, tuple[Situation, Happens]] = {
    "the first weight, on a route without a fence": (World, nothing),
    "the first weight, after a run that was rolled back": (judging(), then(say("abort a1"), settle, say("retry a2"))),
    "the next weight": (judging(), nothing),
    "the next weight, where onFail is Hold": (judging(TO_HOLD), nothing),
    "the last weight": (judging(stage="half"), nothing),
    "the weights of two routes": (two_routes, nothing),
    "the weight of a stage that is asked for again": (held_conflict, say("resume a1")),
    "a repair": (judging(), drift(HALF)),
    "a rollback": (judging(stage="half"), says(errors=0.2)),
    "a rollback from the bake": (baking, says(errors=0.2)),
    "a rollback on a person's word": (judging(), say("abort a1")),
    "an adoption": (judging(stage="half"), World.crash),
}
"""What the leader was about to write when it was stopped."""


def finds_the_api_server_busy(world: World) -> None:
    world.broken = {"route"}
    world.advance(s(1))
    world.broken = set()
    world.advance(s(3))


TAKES_OVER: Mapping[str, Happens] = {
    "looks": nothing,
    "is scaled to a command that makes no sense": say("retry b1"),
    "is told to pause": say("pause b1"),
    "is told to skip": say("skip b1"),
    "is told to abort": say("abort b1"),
    "finds the new side down": pods(ready=0),
    "finds that somebody has moved the weights up": drift({"v1": 1, "v2": 99}),
    "finds that somebody has moved the weights back": drift(OLD_WEIGHTS),
    "finds the old Deployment gone": put(old=None),
    "finds the API server busy": finds_the_api_server_busy,
    "goes on for a while": lambda world: world.advance(m(4)),
}
"""What the next leader finds or does."""


def taken(world: World, late: Late) -> Iterator[str]:
    """The late writes of weights that the API server takes all the same."""
    for effect in late.weights:
        try:
            world.write_weights(effect)
        except StaleError:
            continue
        yield str(effect.work)


@pytest.mark.parametrize("finds", TAKES_OVER)
@pytest.mark.parametrize("write", WRITES)
def test_a_late_weight_is_refused_when_the_next_leader(write: str, finds: str) -> None:
    given, happens = WRITES[write]
    world = given()
    happens(world)
    late = world.interrupted("route")
    assert late.weights
    TAKES_OVER[finds](world)
    world.settle()
    assert list(taken(world, late)) == []


RECORDS: Mapping[str, tuple[Situation, Happens]] = {
    **WRITES,
    "the start": (World, nothing),
    "the end": (baking, nothing),
    "a revert": (succeeded, say("revert a1")),
    "a hold": (judging(), put(old=None)),
}


@pytest.mark.parametrize("write", RECORDS)
def test_a_late_status_is_refused(write: str) -> None:
    given, happens = RECORDS[write]
    world = given()
    happens(world)
    late = world.interrupted("record")
    world.advance(s(30))
    with pytest.raises(StaleError):
        world.write_status(late.record)


@pytest.mark.parametrize("write", WRITES)
def test_a_take_over_in_the_middle_of_a_write_ends_as_without(write: str) -> None:
    given, happens = WRITES[write]
    whole, taken_over = given(), given()
    for world in (whole, taken_over):
        happens(world)
    taken_over.interrupted("route")
    for world in (whole, taken_over):
        world.advance(m(6))
    assert (taken_over.phase, taken_over.status.reason) == (whole.phase, whole.status.reason)
    assert (taken_over.weights(), taken_over.told()) == (whole.weights(), whole.told())


def test_a_leader_writes_its_mark_on_routes_and_status_before_it_goes_forward() -> None:
    world = judging()()
    world.crash()
    world.advance(s(20))
    assert world.status.epoch == 2
    assert world.routes["shop"]["metadata"]["annotations"]["rolloutplan.dev/seq"].endswith(".2")
    assert (world.told()[-1], world.weights()[0]) == ("WeightShifted", UP), "nothing was decided by it"


def test_the_same_leader_takes_nothing_over() -> None:
    world = World().until(P.JUDGING)
    marks = world.version
    world.advance(s(60))
    assert world.status.epoch == 1
    assert world.version <= marks + 2, "verdicts, and nothing else"


def test_a_new_leader_takes_back_nothing_that_was_measured_before_it_could_ask() -> None:
    world = judging()()
    world.advance(s(60))
    measured = world.status.predicates
    assert any(each.at for each in measured)
    world.down = "no answer within 5 s"
    world.crash()
    for _ in range(20):
        world.advance(s(1))
        assert world.status.predicates == measured
    world.advance(s(40))
    assert "no answer" in world.status.predicates[0].why, "then it tells what it has"


def test_a_weight_that_was_refused_and_comes_late_is_no_second_write() -> None:
    """The same leader asks again, and the first request arrives after the second."""
    world = judging()()
    late = world.interrupted("route", refuse)
    world.until(P.JUDGING, stage="half")
    assert list(taken(world, late)) == []


def test_a_rollback_of_a_leader_that_died_is_recognised_by_the_next_as_ours() -> None:
    world = judging(stage="half")()
    world.says["errors"] = 0.2
    world.interrupted("routed")
    world.says["errors"] = 0.0
    world.settle()
    assert (world.phase, world.status.reason, world.told()[-2:]) == (P.ROLLED_BACK, "Interrupted", BACK)
