"""Answers that are under way when a stage or the bake ends: they are heard, and count for the weight that is left."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect, Evaluate, Record, Result
from tests.situations import BACK, HALF, OLD_WEIGHTS, UP, P, judging, m, s
from tests.world import HEALTHY, SOURCE, World

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


SEVENTH = {"interval": "7s", "stages[2].fail": [{"name": "bad", "query": "bad[$window]", "is": "> 1%"}]}
"""So the last answer that comes within a soak is asked for a few seconds before its end, and not at its end."""
SOAKS = {"a stage": ("half", P.JUDGING, "errors"), "the last stage": ("all", P.JUDGING, "bad"),
         "the bake": ("all", P.BAKING, "errors")}  # fmt: skip


def leaves(soak: str, heard_after: timedelta, found: float = 0.2) -> tuple[World, timedelta]:
    """Live on until the phase is another one. The last answer within the soak takes so long.

    Returns how long after the end of the soak that is.
    """
    stage, phase, name = SOAKS[soak]
    world = judging(SEVENTH, stage, says={**HEALTHY, "bad": 0.0})().until(phase)
    at, run, late = world.status.stage, world.operator, list[tuple[datetime, Effect, Result]]()
    assert at is not None
    assert at.soak_until is not None
    end = at.soak_until
    while world.phase is phase:
        effects = run.advance(world.facts(), world.now)
        for effect in effects.todo:
            is_last = isinstance(effect.work, Evaluate) and effect.work.name == name and end - s(4) <= world.now < end
            world.says[name] = found if is_last else world.says[name]
            if is_last:
                late.append((world.now + heard_after, effect, world.carry_out(effect)))
            else:
                run.on_result(effect, world.carry_out(effect), world.now)
        if not effects.todo:
            assert effects.wake_at is not None
            world.now = min([effects.wake_at, *(when for when, _, _ in late)])
        for _, effect, answer in [each for each in late if each[0] <= world.now]:
            run.on_result(effect, answer, world.now)
        late = [each for each in late if each[0] > world.now]
    assert world.status.entered_at is not None
    return world, world.status.entered_at - end


@pytest.mark.parametrize("soak", SOAKS)
def test_what_was_asked_before_a_soak_ends_is_heard_before_it_is_left(soak: str) -> None:
    world, after = leaves(soak, s(4.5))
    assert world.phase is P.ROLLING_BACK
    assert s(0) < after < s(2)


@pytest.mark.parametrize("soak", SOAKS)
def test_and_where_it_says_nothing_else_that_is_left_at_once(soak: str) -> None:
    world, after = leaves(soak, s(4.5), found=0.0)
    assert world.told()[-1] in ("StageProved", "Succeeded")
    assert s(0) < after < s(2)


@pytest.mark.parametrize("soak", SOAKS)
def test_an_answer_is_waited_for_no_longer_than_its_source_may_take(soak: str) -> None:
    world, after = leaves(soak, m(5))
    assert world.told()[-1] in ("StageProved", "Succeeded")
    assert after == SOURCE.timeout
