"""What gateways say of a route: before a run it is told and waited for, and only what is new refuses a weight."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import RouterProblem
from tests.situations import OLD_WEIGHTS, fresh, judging, m, put, s
from tests.world import START, World, http_route

P = Phase
WRONG: dict[str, dict[str, Any]] = {
    "a parent refuses it": {"refusal": "NoMatchingListenerHostname"},
    "a rule of it was dropped": {"dropped": "Dropped Rule(s) 2"},
    "it fell back to an earlier generation": {"dropped": "Fall Back to generation 3"},
}


def condition(world: World, kind: str) -> tuple[str, str, str]:
    found = world.status.condition(kind)
    return (found.status, found.reason, found.message) if found else ("", "", "")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_was_wrong_before_the_run_is_told_before_any_weight(wrong: str) -> None:
    world = World(**WRONG[wrong])
    world.advance(m(10))
    assert (world.phase, world.status.reason) == (P.INVALID, "RouteNotAccepted")
    assert condition(world, "Stalled")[0] == "True"
    assert next(iter(WRONG[wrong].values())) in world.status.message
    assert "fix that in the route or its gateway" in world.status.message
    assert (world.weights()[0], world.moves) == (OLD_WEIGHTS, [])
    assert world.told() == ["Stalled"]


@pytest.mark.parametrize("wrong", [*WRONG, "nobody answers"])
def test_it_goes_on_by_itself_when_that_is_mended(wrong: str) -> None:
    world = World(**WRONG.get(wrong, {"ignored": True}))
    world.advance(m(10))
    put(refusal="", dropped="", ignored=False)(world)
    world.until(P.JUDGING)
    assert "RollbackStarted" not in world.told()


def test_a_router_that_is_not_installed_is_told_and_the_plan_goes_on_by_itself_when_it_is() -> None:
    world = World(routers={"HTTPRoute": RouterProblem(StatusReason.ROUTER_NOT_INSTALLED, "install its CRD")}, routes={})
    world.advance(s(1))
    assert (world.phase, world.status.reason) == (P.INVALID, "RouterNotInstalled")
    assert world.status.message == "HTTPRoute ns/shop: install its CRD"
    assert world.told() == ["Stalled"]
    put(routers={}, routes=World().routes)(world)
    world.until(P.JUDGING)


def test_a_run_keeps_the_kinds_of_its_routes_as_they_were_when_it_began() -> None:
    world = World(own_kinds={"ourroute": "1"})
    world.until(P.JUDGING)
    put(own_kinds={"ourroute": "2"})(world)
    world.until(P.BAKING)
    assert world.status.weights.kinds == {"ourroute": "1"}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_only_since_the_weight_takes_it_back(wrong: str) -> None:
    world = judging()()
    world.advance(s(80))
    put(**WRONG[wrong])(world)
    world.until(P.ROLLING_BACK)
    assert world.status.reason == "WeightNotAccepted"
    assert world.weights()[0] == OLD_WEIGHTS


def test_a_route_that_no_gateway_has_ever_answered_for_is_told_once_it_had_its_time() -> None:
    world = World(ignored=True, routes={"shop": new_route()})
    world.advance(s(29))
    assert (world.phase, world.status.reason, world.told()) == (P.PENDING, "RouteNotAccepted", [])
    assert "waiting for it" in world.status.message
    world.advance(s(2))
    assert (world.phase, world.status.reason, world.told()) == (P.INVALID, "RouteNotAccepted", ["Stalled"])
    assert "no gateway has answered for it yet, for longer than 30s" in world.status.message
    assert world.moves == []


def new_route() -> dict[str, Any]:
    """A route that was created together with the plan."""
    raw = http_route("shop", [{"v1": 100, "v2": 0}])
    raw["metadata"]["creationTimestamp"] = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    return raw


def test_a_gateway_that_answers_in_time_for_a_new_route_is_waited_for_without_an_event() -> None:
    world = World(ignored=True, routes={"shop": new_route()})
    world.advance(s(20))
    world.ignored = False
    world.until(P.JUDGING)
    assert world.told() == ["Started", "NewSideReady", "StageStarted", "WeightShifted"]


def test_a_route_that_is_edited_before_the_first_weight_is_accepted_first() -> None:
    world = World(lag=s(20), pods_start=True)
    world.pods(ready=0)
    world.until(P.EXPANDING)
    world.drift({"v1": 90, "v2": 0})
    world.pods(ready=4)
    world.settle()
    world.advance(s(10))
    assert (world.phase, "waiting for the gateway before the first weight" in world.status.message) == (
        P.EXPANDING,
        True,
    )
    world.advance(s(10))
    assert world.phase is P.SHIFTING


@pytest.mark.parametrize("reports", ["no generation", "the first generation"])
def test_a_controller_that_writes_no_generation_makes_no_wait_and_no_rollback(reports: Any) -> None:
    world = World(reports=reports, routes={"shop": edited_long_ago()}).until(P.JUDGING)
    assert world.now - START < s(5)
    assert "does not report which generation it accepted" in world.trail[1].note
    assert condition(world, "RouteWarnings")[:2] == ("True", "NoGeneration")
    assert condition(world, "WeightsVerified")[:2] == ("Unknown", "NoGeneration")
    world.until(P.SUCCEEDED)
    assert "RollbackStarted" not in world.told()


def edited_long_ago() -> dict[str, Any]:
    raw = http_route("shop", [{"v1": 100, "v2": 0}])
    raw["metadata"] |= {"generation": 7, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return raw


@pytest.mark.parametrize("reports", ["no generation", "the first generation"])
def test_nor_does_its_rollback_wait(reports: Any) -> None:
    world = World(reports=reports, routes={"shop": edited_long_ago()}).until(P.JUDGING)
    world.advance(m(2))
    world.says["errors"] = 0.5
    world.until(P.ROLLED_BACK)
    assert (world.status.reason, world.weights()[0]) == ("GuardTripped", OLD_WEIGHTS)


@pytest.mark.parametrize("reports", ["no generation", "the first generation"])
def test_what_it_refuses_is_refused(reports: Any) -> None:
    world = World(reports=reports, routes={"shop": edited_long_ago()}).until(P.JUDGING)
    world.advance(s(80))
    world.refusal = "UnsupportedValue"
    world.until(P.ROLLING_BACK)
    assert world.status.reason == "WeightNotAccepted"


def test_the_old_side_is_not_removed_while_nobody_knows_whether_traffic_follows() -> None:
    world = fresh({"contract": {"scaleOld": 0}}, reports="no generation")().until(P.HELD)
    assert (world.status.reason, world.old and world.old.wanted) == ("AwaitingApproval", 4)
    assert "check first that v1 gets none" in world.status.message
    world.say("approve a1")
    world.until(P.SUCCEEDED)
    assert world.old is not None
    assert world.old.wanted == 0


def test_sticky_sessions_are_named_at_the_start_and_after_the_rollback() -> None:
    raw = http_route("shop", [{"v1": 100, "v2": 0}])
    raw["spec"]["rules"][0]["sessionPersistence"] = {"type": "Cookie"}
    world = World(routes={"shop": raw}).until(P.JUDGING)
    assert "HTTPRoute shop rule 0 has sessionPersistence" in world.trail[1].note
    assert condition(world, "RouteWarnings")[:2] == ("True", "SessionPersistence")
    world.says["errors"] = 0.5
    world.until(P.ROLLED_BACK)
    assert "users stay on the side that answered first, also after a rollback" in world.status.message
