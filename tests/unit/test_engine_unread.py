"""Routes of which nobody knows what they are now: they count neither as gone nor as put back.

And objects that are known, and of which nobody would see a change.
"""

from __future__ import annotations

from typing import Final

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.effects import Failure
from rolloutplan.engine.model.rights import MissingRight
from tests.situations import OLD_WEIGHTS, Situation, baking, fresh, job, judging, m, s
from tests.world import SHOP, World

P = Phase
WHY: Final = "the cluster does not serve httproutes"


def unread(*, seen: bool) -> World:
    """A run at half of the traffic whose route is not known now, though perhaps as it was seen last."""
    world = judging(stage="half")()
    world.unread_routes = {SHOP: WHY}
    if not seen:
        del world.routes["shop"]
    return world


@pytest.mark.parametrize("seen", [True, False], ids=["seen before", "never seen"])
def test_a_run_whose_route_is_not_known_goes_no_further_and_says_so(seen: bool) -> None:
    world = unread(seen=seen)
    world.advance(m(30))
    assert world.phase is P.JUDGING
    assert f"HTTPRoute shop is not known: {WHY}" in world.status.message
    assert "RollbackStarted" not in world.told()


def test_a_run_that_has_moved_no_weight_yet_says_so_too() -> None:
    world = fresh({"expand": {"jobs": [job("columns", deadline="10m")]}})()
    world.advance(s(1))
    world.unread_routes = {SHOP: WHY}
    world.advance(m(5))
    assert world.phase is P.EXPANDING
    assert f"HTTPRoute shop is not known: {WHY}" in world.status.message
    world.unread_routes = {}
    world.until(P.JUDGING)
    assert WHY not in world.status.message


def test_it_goes_on_when_its_route_is_known_again() -> None:
    world = unread(seen=True)
    world.advance(m(3))
    world.unread_routes = {}
    world.advance(s(10))
    assert WHY not in world.status.message
    world.until(P.BAKING)


def test_a_rollback_does_not_end_before_its_route_is_seen_again() -> None:
    world = unread(seen=True)
    raw = world.routes.pop("shop")
    world.says["errors"] = 0.2
    world.advance(m(30))
    assert world.phase is P.ROLLING_BACK
    assert f"HTTPRoute shop is not known: {WHY}" in world.status.message
    world.routes["shop"], world.unread_routes = raw, {}
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == OLD_WEIGHTS
    assert WHY not in world.status.message


def test_a_rollback_writes_to_a_route_as_it_was_last_seen() -> None:
    world = unread(seen=True)
    world.says["errors"] = 0.2
    world.advance(m(5))
    assert (world.weights()[0], world.phase) == (OLD_WEIGHTS, P.ROLLING_BACK)
    world.unread_routes = {}
    world.until(P.ROLLED_BACK)


def test_a_rollback_whose_write_is_refused_meanwhile_is_tried_until_the_resource_is_served_again() -> None:
    world = judging(stage="half")()
    world.unread = frozenset({"httproutes/shop"})
    world.refuses["route"] = Failure(404, "NotJson", "404 page not found")
    world.says["errors"] = 0.2
    world.advance(m(10))
    assert world.phase is P.ROLLING_BACK
    assert "404" in world.status.message
    world.unread = frozenset()
    world.refuses.clear()
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == OLD_WEIGHTS


def test_a_rollback_ends_when_its_route_turns_out_to_be_gone() -> None:
    world = unread(seen=False)
    world.says["errors"] = 0.2
    world.advance(m(5))
    assert world.phase is P.ROLLING_BACK
    world.unread_routes = {}
    world.until(P.ROLLED_BACK)
    assert "HTTPRoute shop is gone" in world.status.message


def test_the_status_is_not_written_again_and_again_meanwhile() -> None:
    world = unread(seen=False)
    world.says["errors"] = 0.2
    world.advance(m(5))
    before = world.status
    world.advance(m(5))
    assert world.status == before


@pytest.mark.parametrize("seen", [True, False], ids=["seen before", "never seen"])
def test_a_deletion_tries_to_restore_weights_that_are_not_known_and_does_not_hang(seen: bool) -> None:
    world = unread(seen=seen)
    world.delete()
    world.advance(s(30))
    assert (world.phase, world.finalizer) == (P.ROLLING_BACK, True)
    world.advance(m(2))
    assert not world.finalizer


# ---- what may change unseen ------------------------------------------------------------------------------------------

BLIND: Final = {"deployments/v2": MissingRight("the operator may not list and watch deployments.apps: give it")}


def stalled_for(world: World) -> str:
    found = world.status.condition("Stalled")
    return found.reason if found is not None else ""


@pytest.mark.parametrize("situation", [judging(), baking], ids=["a stage", "the bake"])
def test_a_run_goes_no_further_while_nobody_would_see_its_deployment_change(situation: Situation) -> None:
    world = situation()
    phase, stage = world.phase, world.status.stage and world.status.stage.name
    world.unseen = BLIND
    world.advance(m(12))
    assert (world.phase, world.status.stage and world.status.stage.name) == (phase, stage)
    assert f"deployments/v2 may change unseen: {BLIND['deployments/v2']}" in world.status.message
    assert (stalled_for(world), world.told().count("RollbackStarted")) == ("Forbidden", 0)
    world.unseen = {}
    world.advance(s(10))
    assert "unseen" not in world.status.message and stalled_for(world) == ""
    world.until(P.SUCCEEDED)


@pytest.mark.parametrize("situation", [judging(), baking], ids=["a stage", "the bake"])
def test_what_is_known_is_enough_to_go_back(situation: Situation) -> None:
    world = situation()
    world.unseen = BLIND
    world.advance(s(30))
    world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK, limit=m(2))
    world.settle()
    assert (world.weights()[0], "unseen" in world.status.message) == (OLD_WEIGHTS, False)
