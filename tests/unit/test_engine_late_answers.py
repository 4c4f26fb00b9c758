"""Answers that come after the decision that they would have changed: they still count for the weight that is left."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect, Evaluate, Record
from tests.situations import BACK, HALF, OLD_WEIGHTS, UP, P, judging, m, s
from tests.world import World

COUNTED = {"stages[0].fail": [{"name": "wrong", "events": {"bad": "bad", "total": "all"}, "is": "> 5%"}]}
HOLD = {"onFail": "Hold"}


def is_record(effect: Effect) -> bool:
    return isinstance(effect.work, Record) and effect.work.status.intent is not None


def is_patch(effect: Effect) -> bool:
    return isinstance(effect.work, PatchRoute)


def leaves_canary(changes: Mapping[str, Any], until: Callable[[Effect], bool], *, done: bool) -> World:
    """The canary is proved while an answer that says otherwise is under way; it comes at an effect that leads on.

    It comes before the result of that effect, and with `done` after the effect itself.
    """
    world = judging(changes, says={"errors": 0.0, "hits": 0.95, "wrong": 0.0})()
    world.counts("wrong", new=(0.0, 50.0))
    world.advance(m(1))
    world.says["wrong"], run, late = 1.0, world.operator, list[Effect]()
    world.counts("wrong", new=(40.0, 50.0))
    for _ in range(200):
        effects = run.advance(world.facts(), world.now)
        for effect in effects.todo:
            if isinstance(effect.work, Evaluate) and effect.work.name == "wrong" and not late:
                late.append(effect)
                answers = world.carry_out(effect)
            elif late and until(effect):
                result = world.carry_out(effect) if done else None
                run.on_result(late[0], answers, world.now)
                run.advance(world.facts(), world.now)
                run.on_result(effect, result if done else world.carry_out(effect), world.now)
                return world
            else:
                run.on_result(effect, world.carry_out(effect), world.now)
        if not effects.todo:
            assert effects.wake_at is not None
            world.now = effects.wake_at
    raise AssertionError(f"it does not go on: {world.status.message}")


@pytest.mark.parametrize("changes", [{}, COUNTED], ids=["a value", "counts"])
@pytest.mark.parametrize(
    ("until", "done", "highest"),
    [(is_record, False, UP), (is_record, True, UP), (is_patch, False, HALF), (is_patch, True, HALF)],
    ids=["while it is recorded", "when it is recorded", "while it is written", "when it is written"],
)
def test_a_failure_at_the_weight_that_is_left_takes_the_weights_back(
    changes: Mapping[str, Any], until: Callable[[Effect], bool], *, done: bool, highest: Mapping[str, int]
) -> None:
    world = leaves_canary(changes, until, done=done)
    world.until(P.ROLLED_BACK, limit=s(30))
    assert world.told()[-2:] == BACK
    assert world.status.reason == "FailTripped"
    assert world.weights() == (OLD_WEIGHTS,)
    assert max((move.after[0] for move in world.moves), key=lambda each: each["v2"]) == highest


@pytest.mark.parametrize("done", [False, True])
def test_with_hold_it_keeps_the_next_weight_from_being_written(*, done: bool) -> None:
    world = leaves_canary(HOLD, is_record, done=done)
    world.until(P.HELD, limit=s(30))
    assert world.status.reason == "Failed"
    assert world.weights() == (UP,)
    world.advance(m(5))
    assert world.weights() == (UP,)


def test_the_stage_that_is_left_stays_known_when_others_move_the_weights_meanwhile() -> None:
    world = judging(lag=s(0))()
    world.lag = None
    world.until(P.SHIFTING)
    world.settle()
    world.drift({"v1": 40, "v2": 60})
    world.settle()
    assert world.told()[-1] == "WeightDrift"
    assert world.status.intent is not None
    assert world.status.intent.leaves == "canary"
