"""A fault of the operator itself: an exception on one plan is said in the status of that plan, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine import decide
from rolloutplan.engine.model.actions import RunPreflight
from rolloutplan.engine.model.effects import Effect, Evaluate, Failure, LintQueries, ListPods, Result
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.shared import SharedObjects
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
    assert status.message.startswith(
        "the operator failed on this plan: AssertionError: no way; the run does not go forward, what leads back"
    )
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
    assert ("the run goes on without it" in found[1]) is (raises is LintQueries), found[1]
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
            shop.loop.feed.wake_all()
            assert await shop.comes(lambda: "KeyError: 'instance'" in shop.status.message, 2), shop.status.message
            monkeypatch.setattr(PlanRun, "advance", right)
            shop.loop.feed.wake_all()
            assert await shop.comes(lambda: shop.status.condition("Stalled") is None, 2), shop.status.message

    asyncio.run(scenario())


# ---- while `advance` raises, what leads back is still tried ----------------------------------------------------------


@dataclass
class Guarded(World):
    """Looked at as the loop does: after an exception, what led to it is reported."""

    def turn(self) -> bool:
        run = self.operator
        try:
            effects = run.advance(self.facts(), self.now)
        except ValueError as error:
            effects = run.report_fault(self.facts(), error, self.now)
        self.wake_at = effects.wake_at
        for effect in effects.todo:
            self.done.append(effect)
            run.on_result(effect, self.carry_out(effect), self.now)
        return bool(effects.todo)


def raising(_: object) -> None:
    raise ValueError("evil \x1b]0;x\x07" + "9" * 5000)


def faulty_from_now_on(monkeypatch: pytest.MonkeyPatch, *rules: str) -> Guarded:
    """A run in which these rules of `RULES` raise."""
    world = Guarded()
    world.until(Phase.JUDGING)
    world.advance(timedelta(seconds=90))
    for name in ("RULES", "WAY_BACK_RULES"):
        watched = tuple(raising if rule.__name__ in rules else rule for rule in getattr(decide, name))
        monkeypatch.setattr(decide, name, watched)
    return world


def aborted(world: World) -> None:
    world.say("abort a1")


def refuted(world: World) -> None:
    world.says["errors"] = 0.5


def gone(world: World) -> None:
    world.pods(ready=0)


def superseded(world: World) -> None:
    world.pods(revision="second")


BACK: dict[str, Callable[[World], None]] = {
    "abort_or_revert": aborted,
    "failure_detected": refuted,
    "new_side_unavailable": gone,
    "superseded": superseded,
}


@pytest.mark.parametrize("cause", BACK)
@pytest.mark.parametrize("faulty", ["resume_rollback", "inconsistent", "recover_interrupted_rollback", "accept_edit"])
def test_a_rule_that_raises_keeps_no_other_from_leading_back(
    faulty: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = faulty_from_now_on(monkeypatch, faulty)
    BACK[cause](world)
    world.advance(timedelta(seconds=20))
    assert world.weights() == ({"v1": 100, "v2": 0},)
    assert world.told()[-1 if faulty == "resume_rollback" else -2] in ("RollbackStarted", "RolledBack")
    assert stalled(world) is not None
    assert [each.reason for each in world.notices] == ["OperatorFault"], "told once"


@pytest.mark.parametrize("cause", BACK)
def test_all_rules_but_the_one_that_leads_back_may_raise(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {rule.__name__ for rule in decide.RULES} - {cause, "resume_rollback"}
    world = faulty_from_now_on(monkeypatch, *others)
    BACK[cause](world)
    world.advance(timedelta(seconds=20))
    assert (world.weights(), world.phase) == (({"v1": 100, "v2": 0},), Phase.ROLLED_BACK)


def test_a_plan_that_is_deleted_meanwhile_gets_its_old_weights_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = faulty_from_now_on(monkeypatch, "inconsistent", "superseded", "accept_edit")
    world.delete()
    world.advance(timedelta(seconds=20))
    assert (world.weights(), world.gone) == (({"v1": 100, "v2": 0},), True)


def test_nothing_goes_forward_meanwhile_and_what_is_told_is_short_and_printable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = faulty_from_now_on(monkeypatch, "accept_edit")
    world.advance(timedelta(minutes=25))
    assert (world.phase, world.weights()) == (Phase.JUDGING, ({"v1": 95, "v2": 5},))
    assert [each.reason for each in world.notices] == ["OperatorFault"] * 3, "once in ten minutes"
    for words in (world.status.message, *(each.note for each in world.notices)):
        assert words.isprintable()
        assert len(words) <= 1024


def test_when_it_is_over_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = faulty_from_now_on(monkeypatch, "accept_edit")
    world.advance(timedelta(minutes=1))
    assert stalled(world) is not None
    monkeypatch.undo()
    world.until(Phase.SUCCEEDED)
    assert stalled(world) is None


def test_the_loop_counts_it_and_goes_on_when_not_even_the_facts_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise ValueError("no facts")

    async def scenario() -> None:
        async with running() as shop:
            right = SharedObjects.source
            assert shop.loop.troubles.failing() == 0
            monkeypatch.setattr(SharedObjects, "source", wrong)
            shop.loop.feed.wake_all()
            assert await shop.comes(lambda: "ValueError: no facts" in shop.status.message, 2), shop.status.message
            assert shop.loop.troubles.failing() == 1
            monkeypatch.setattr(SharedObjects, "source", right)
            shop.loop.feed.wake_all()
            assert await shop.comes(lambda: shop.status.condition("Stalled") is None, 2), shop.status.message
            assert shop.loop.troubles.failing() == 0

    asyncio.run(scenario())
