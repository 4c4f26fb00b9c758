"""A fault of the operator itself: an exception on one plan is said in the status of that plan, and ends with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import RunPreflight
from rolloutplan.engine.model.effects import Effect, Evaluate, Failure, LintQueries, ListPods, Result
from rolloutplan.engine.plan_run import PlanRun
from tests.unit.test_loop_back import running
from tests.world import World


@dataclass
class Faulty(World):
    """Effects of this kind raise."""

    raises: type | None = None

    def carry_out(self, effect: Effect) -> Result:
        if self.raises is not None and isinstance(effect.work, self.raises):
            return Failure.internal(AssertionError("not found"))
        return super().carry_out(effect)


def stalled(world: World) -> tuple[str, str] | None:
    condition = world.status.condition("Stalled")
    return (condition.reason, condition.message) if condition else None


def test_an_exception_in_a_pass_is_a_message_and_a_condition_with_what_to_do() -> None:
    world = World().until(Phase.JUDGING)
    before = world.status
    for _ in range(3):
        effects = world.operator.report_fault(world.facts(), AssertionError("no way"), world.now)
        for effect in effects.todo:
            world.operator.on_result(effect, world.carry_out(effect), world.now)
    status = world.status
    assert (status.phase, status.seq, status.reason) == (before.phase, before.seq, before.reason)
    assert status.message.startswith("the operator failed on this plan: AssertionError: no way; the weights stay")
    assert "report this with the operator's log; the old weights by hand: kubectl" in status.message
    assert stalled(world) == ("InternalError", status.message)
    ready = status.condition("Ready")
    assert ready is not None
    assert (ready.status, status.condition("Reconciling")) == ("False", None)
    assert effects.wake_at is not None
    assert effects.wake_at <= world.now + timedelta(seconds=10)


def test_it_is_written_once_and_gone_after_the_next_good_pass() -> None:
    world = World().until(Phase.JUDGING)
    before = world.status
    writes = len(world.records)
    for _ in range(3):
        for effect in world.operator.report_fault(world.facts(), AssertionError("no"), world.now).todo:
            world.operator.on_result(effect, world.carry_out(effect), world.now)
    assert len(world.records) == writes + 1
    world.crash()
    world.settle()
    assert (stalled(world), world.status.message) == (None, before.message)
    world.until(Phase.SUCCEEDED)


@pytest.mark.parametrize("raises", [Evaluate, RunPreflight, ListPods, LintQueries])
def test_an_exception_in_what_a_plan_asks_for_is_told_and_ends_with_it(raises: type) -> None:
    world = Faulty(raises=raises)
    for _ in range(9):
        world.advance(timedelta(seconds=10))
        if found := stalled(world):
            break
    assert found is not None, world.status.message
    assert found[0] == "InternalError"
    assert "AssertionError: not found" in world.status.message
    world.raises = None
    world.until(Phase.SUCCEEDED)
    assert stalled(world) is None


def test_an_abort_is_carried_out_though_every_query_raises() -> None:
    world = Faulty(raises=Evaluate).until(Phase.JUDGING)
    world.advance(timedelta(seconds=60))
    world.say("abort a1")
    world.settle()
    assert (world.phase, world.weights()) == (Phase.ROLLED_BACK, ({"v1": 100, "v2": 0},))


def test_the_loop_says_it_in_the_status_and_goes_on_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PlanRun.advance

    def wrong(self: PlanRun, *args: Any) -> Any:
        raise KeyError("instance")

    async def scenario() -> None:
        async with running() as shop:
            monkeypatch.setattr(PlanRun, "advance", wrong)
            shop.loop.requeue_all()
            assert await shop.comes(lambda: "KeyError: 'instance'" in shop.status.message, 2), shop.status.message
            monkeypatch.setattr(PlanRun, "advance", right)
            shop.loop.requeue_all()
            assert await shop.comes(lambda: shop.status.condition("Stalled") is None, 2), shop.status.message

    asyncio.run(scenario())
