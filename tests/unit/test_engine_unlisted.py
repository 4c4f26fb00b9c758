"""The pods of the new side cannot be listed in mid-run: nobody knows how often they were restarted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.effects import PODS, Failure
from rolloutplan.engine.model.rights import MissingRight
from tests.situations import OLD_WEIGHTS, Situation, baking, judging, m, s
from tests.world import World

P = Phase
RIGHT = MissingRight(
    "the operator may not list pods in namespace ns: the chart always gives it: install the release again"
)
REFUSALS: Mapping[str, Failure] = {
    "a right that was taken away": Failure(403, "Forbidden", RIGHT),
    "a webhook": Failure(403, "Forbidden", "denied by a proxy"),
    "an error that lasts": Failure(500, "InternalError", "etcd has no leader"),
    "no answer": Failure(0, "TimeoutError", "no answer within 10 s"),
}
MOMENTS: Mapping[str, Situation] = {"a stage": judging(), "the bake": baking}


def blind(situation: Situation, failure: Failure = REFUSALS["a right that was taken away"]) -> World:
    """The Deployment changes, so that its pods are listed, and the list is refused."""
    world = situation()
    world.refuses = {"pods": failure}
    world.pods(restarts=1)
    world.settle()
    return world


def is_stalled(world: World) -> bool:
    found = world.status.condition("Stalled")
    return found is not None and found.reason == "Forbidden"


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_list_that_is_refused_is_told_once_and_nothing_goes_forward_until_it_succeeds(
    moment: str, refusal: str
) -> None:
    failure = REFUSALS[refusal]
    world = blind(MOMENTS[moment], failure)
    phase, stage = world.phase, world.status.stage
    world.advance(m(12))
    assert (world.phase, world.status.stage and world.status.stage.name) == (phase, stage and stage.name)
    assert (world.told().count("RequestRefused"), world.told()[-1]) == (1, "RequestRefused")
    condition = world.status.condition("RequestsAccepted")
    assert condition is not None and (condition.status, failure.told in condition.message) == ("False", True)
    assert is_stalled(world) is isinstance(failure.message, MissingRight)
    message = world.status.message
    assert failure.told in message and "nothing goes forward until it succeeds" in message
    assert "the run waits" not in message, "a rollback does not"
    assert world.status.waiting_for == "the API server to list the new side's pods, no time limit"
    world.refuses = {}
    world.advance(s(10))
    assert world.status.condition("RequestsAccepted") is None and not is_stalled(world)
    assert failure.told not in world.status.message and "pods" not in world.status.waiting_for
    world.until(P.SUCCEEDED)


def test_a_fault_that_passes_is_not_told_and_holds_a_stage_up_for_seconds() -> None:
    calm, world = judging()(), judging()()
    calm.until(P.JUDGING, stage="half")
    world.advance(calm.now - world.now - s(2))
    world.refuses = {"pods": Failure(500, "InternalError")}
    world.pods(restarts=1)
    world.settle()
    world.refuses = {}
    world.until(P.JUDGING, stage="half")
    assert world.now - calm.now == s(3)
    assert "RequestRefused" not in world.told()


def test_it_is_listed_again_every_ten_seconds_and_not_more_often() -> None:
    world = blind(judging())
    world.advance(m(1))
    before = len(world.done)
    world.advance(m(1))
    assert sum(each.key == PODS for each in world.done[before:]) == 6


def guard_trips(world: World) -> None:
    world.says["errors"] = 0.2


BACK: Mapping[str, Callable[[World], None]] = {
    "a guard that trips": guard_trips,
    "an abort": lambda world: world.say("abort a1"),
    "a new side that is down": lambda world: world.pods(ready=0, restarts=9),
    "a new side that is gone": lambda world: setattr(world, "new", None),
}


@pytest.mark.parametrize("why", BACK)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_rollback_waits_for_no_list_and_speaks_of_none(moment: str, why: str) -> None:
    world = blind(MOMENTS[moment])
    world.advance(s(30))
    BACK[why](world)
    world.until(P.ROLLED_BACK, limit=m(2))
    world.settle()
    assert world.weights()[0] == OLD_WEIGHTS
    assert world.status.condition("RequestsAccepted") is None and not is_stalled(world)


def test_a_route_that_is_refused_on_the_way_back_is_what_is_told() -> None:
    world = blind(judging())
    world.advance(s(30))
    world.refuses = {point: Failure(403, "Forbidden", "no") for point in ("pods", "route")}
    guard_trips(world)
    world.until(P.ROLLING_BACK).advance(s(30))
    condition = world.status.condition("RequestsAccepted")
    assert condition is not None and condition.message.startswith("HTTPRoute shop: ")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_leader_that_takes_a_run_over_passes_nothing_before_it_has_seen_the_pods(moment: str) -> None:
    calm = MOMENTS[moment]()
    calm.until(P.SHIFTING, P.SUCCEEDED)
    world = MOMENTS[moment]()
    world.advance(calm.now - world.now - s(1))
    world.crash()
    world.pods(restarts=9)  # while nobody looked
    world.now = calm.now + s(1)
    world.until(P.SHIFTING, P.SUCCEEDED, P.ROLLED_BACK)
    assert (world.phase, world.status.reason) == (P.ROLLED_BACK, "NewSideRestarting")


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_that_takes_it_over_when_the_soak_has_ended_lists_them_at_once(moment: str) -> None:
    world = MOMENTS[moment]()
    world.crash()
    assert world.status.stage is not None and world.status.stage.soak_until is not None
    world.now, before = world.status.stage.soak_until + s(1), len(world.done)
    world.settle()
    assert any(each.key == PODS for each in world.done[before:])


def test_the_next_leader_tells_it_too_and_serves_the_run() -> None:
    world = blind(judging())
    world.crash()
    world.advance(m(12))
    assert (world.phase, is_stalled(world), world.status.epoch) == (P.JUDGING, True, world.epoch)


def test_a_stage_that_is_refuted_at_its_deadline_goes_back_without_the_list() -> None:
    world = blind(judging())
    world.says["hits"] = 0.5
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == OLD_WEIGHTS
