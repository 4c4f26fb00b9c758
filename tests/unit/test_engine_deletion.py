"""A plan that is deleted during a run: its weights go back first, however late that is seen; no deletion hangs.

The finalizer that this needs, and the undo command, stand on the plan for the whole run, whoever takes them away.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import PatchPlanMetadata
from rolloutplan.engine.model.effects import Failure, Publish
from tests.situations import (
    BACK,
    OLD_WEIGHTS,
    Situation,
    baking,
    held_conflict,
    held_failed,
    judging,
    m,
    put,
    reverting,
    s,
    shifting,
)
from tests.world import World

P = Phase
TERMINATING = Failure(403, "Forbidden", "unable to create new content in namespace ns because it is being terminated")
AT_A_WEIGHT: dict[str, Situation] = {
    "at the first weight": judging(),
    "at the last weight": judging(stage="all"),
    "in the bake": baking,
    "held": held_failed,
    "held for a conflict": held_conflict,
    "while a weight is being written": shifting(),
}


def deleted(world: World, ago: timedelta) -> World:
    """The plan was deleted so long ago, as the operator's clock has it."""
    world.deleting = world.now - ago
    world.version += 1
    return world


def strip(world: World) -> None:
    """Somebody replaces the plan: what we have put there is gone, and the status stays."""
    world.finalizer, world.undo_annotation = False, ""
    world.version += 1


@pytest.mark.parametrize("away", [s(30), s(61), m(2), timedelta(hours=1), timedelta(days=3)], ids=str)
@pytest.mark.parametrize("situation", AT_A_WEIGHT)
def test_a_deletion_that_no_operator_saw_restores_the_weights(situation: str, away: timedelta) -> None:
    world = AT_A_WEIGHT[situation]()
    world.delete()
    world.crash()
    world.now += away
    world.settle()
    assert (world.weights()[0], world.phase, world.gone) == (OLD_WEIGHTS, P.ROLLED_BACK, True)
    assert world.told()[-2:] == BACK


@pytest.mark.parametrize("ahead", [s(61), m(10)], ids=str)
def test_a_clock_that_is_ahead_of_the_api_servers_makes_no_deletion_old(ahead: timedelta) -> None:
    world = deleted(judging()(), ago=ahead)
    world.settle()
    assert (world.weights()[0], world.phase) == (OLD_WEIGHTS, P.ROLLED_BACK)
    assert world.gone


@pytest.mark.parametrize("given", [judging(), reverting()], ids=["in mid-run", "while a rollback fails"])
@pytest.mark.parametrize("away", [s(0), timedelta(hours=1)], ids=["seen at once", "seen late"])
def test_the_minute_counts_from_the_first_attempt_that_failed(given: Situation, away: timedelta) -> None:
    world = given()
    world.delete()
    world.crash()
    world.now += away
    world.broken = {"route"}
    world.settle()
    world.advance(s(59))
    assert (world.gone, world.phase) == (False, P.ROLLING_BACK)
    world.advance(s(2))
    assert world.gone


def test_the_weights_go_back_if_they_can_be_written_within_that_minute() -> None:
    world = deleted(judging()(), ago=timedelta(hours=1))
    world.broken = {"route"}
    world.settle()
    world.advance(s(50))
    world.broken = set()
    world.advance(s(5))
    assert (world.weights()[0], world.gone) == (OLD_WEIGHTS, True)


def test_a_new_leader_tries_again_before_it_lets_go() -> None:
    world = deleted(judging()(), ago=timedelta(hours=1))
    world.broken = {"route"}
    world.settle()
    world.advance(s(30))
    world.crash()
    world.now += timedelta(hours=1)
    world.broken = set()
    world.settle()
    assert (world.weights()[0], world.gone) == (OLD_WEIGHTS, True)


@pytest.mark.parametrize("broken", [{"route", "record"}, {"route", "publish"}], ids=["the status too", "Events too"])
def test_no_deletion_hangs_where_nothing_can_be_written(broken: set[str]) -> None:
    world = judging()()
    world.broken = broken
    world.delete()
    world.settle()
    world.advance(m(2))
    assert world.gone


def test_no_deletion_hangs_where_the_route_no_longer_holds_both_sides() -> None:
    world = judging()()
    world.routes = copy.deepcopy(world.routes)
    world.routes["shop"]["spec"]["rules"][0]["backendRefs"].pop(0)
    world.delete()
    world.settle()
    world.advance(m(2))
    assert world.gone


def test_a_plan_that_another_finalizer_keeps_is_restored_without_ours() -> None:
    """As where somebody replaced the plan and deleted it in the foreground, within one look."""
    world = judging()()
    strip(world)
    world.delete()
    world.settle()
    assert (world.weights()[0], world.status.reason) == (OLD_WEIGHTS, "Deleted")
    before = len(world.done)
    world.advance(m(10))
    assert len(world.done) == before, "and then it is left alone"


@pytest.mark.parametrize("situation", AT_A_WEIGHT)
def test_what_is_taken_off_the_plan_of_a_run_is_put_back(situation: str) -> None:
    world = AT_A_WEIGHT[situation]()
    undo = world.undo_annotation
    strip(world)
    world.settle()
    assert undo
    assert (world.finalizer, world.undo_annotation) == (True, undo)
    world.delete()
    world.settle()
    assert (world.weights()[0], world.gone) == (OLD_WEIGHTS, True)


@pytest.mark.parametrize("part", ["finalizer", "undo_annotation"])
def test_each_of_both_is_put_back(part: str) -> None:
    world = judging()()
    put(**{part: type(getattr(world, part))()})(world)
    world.version += 1
    world.settle()
    assert getattr(world, part)


def test_a_tool_that_takes_them_off_again_and_again_makes_no_hot_loop() -> None:
    world = judging(stage="all")()
    world.advance(m(1))
    before = len(world.done)
    for _ in range(600):
        if world.finalizer:
            strip(world)
        world.advance(s(1))
    written = [effect for effect in world.done[before:] if isinstance(effect.work, PatchPlanMetadata)]
    assert 8 <= len(written) <= 12, "twice a minute, until the run has ended"
    assert world.phase is P.SUCCEEDED, "and the run goes on"


def test_no_weight_is_raised_on_a_plan_from_which_they_are_taken_at_once() -> None:
    def takes_off(world: World) -> None:
        strip(world)
        world.traps["marked"] = takes_off

    world = World(traps={"marked": takes_off})
    world.advance(m(5))
    assert (world.phase, world.weights()[0]) == (P.SHIFTING, OLD_WEIGHTS)
    assert "stop the tool that replaces the plan" in world.status.message
    assert len([effect for effect in world.done if isinstance(effect.work, PatchPlanMetadata)]) <= 12
    world.traps = {}
    world.until(P.SUCCEEDED)


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(lambda world: None, id="the plan first"),
        pytest.param(lambda world: world.routes.clear(), id="the route first"),
        pytest.param(put(new=None, old=None), id="the Deployments first"),
    ],
)
def test_a_namespace_that_ends_is_not_held_up_and_hears_no_endless_events(ends: Callable[[World], object]) -> None:
    world = judging()()
    before = len(world.done)
    world.refuses = {"publish": TERMINATING}
    ends(world)
    world.delete()
    world.settle()
    assert world.gone, "at once"
    world.advance(m(10))
    published = [effect for effect in world.done[before:] if isinstance(effect.work, Publish)]
    assert len(published) <= 4, "each Event is tried once"
