"""When the operator last looked at a run: said once a minute while somebody looks, and never in the way of anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from rolloutplan.api.status import RUNNING, Phase
from rolloutplan.engine.memory.looks import LOOK_EVERY
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect, Failure, Record, WriteLook
from tests.world import World

MINUTE = timedelta(minutes=1)
LONG = {"interval": "30s", "stages[0].soak": "2h", "stages[0].deadline": "4h"}


class Watched(World):
    """Also looked at where nothing is to be done, as the loop does."""

    look_at: datetime | None = None

    def turn(self) -> bool:
        advance = self.operator.advance

        def looked(*arguments: object) -> object:
            effects = advance(*arguments)  # type: ignore[arg-type]
            self.look_at = effects.look_at
            return effects

        self.operator.advance = looked  # type: ignore[method-assign, assignment]
        try:
            return super().turn()
        finally:
            del self.operator.advance

    def next(self) -> datetime | None:
        instants = [at for at in (super().next(), self.look_at) if at is not None and at > self.now]
        return min(instants, default=None)


def judging() -> Watched:
    world = Watched()
    world.edit(LONG)
    world.until(Phase.JUDGING)
    return world


def _nothing(_: World) -> None:
    pass


def _a_pause(world: World) -> None:
    world.say("pause p1")


def _no_answers(world: World) -> None:
    world.down = "connection refused"


def _a_way_back_that_is_refused(world: World) -> None:
    world.broken.add("route")
    world.say("abort a1")


@pytest.mark.parametrize(
    ("what", "phase"),
    [
        (_nothing, Phase.JUDGING),
        (_a_pause, Phase.HELD),
        (_no_answers, Phase.HELD),
        (_a_way_back_that_is_refused, Phase.ROLLING_BACK),
    ],
    ids=lambda each: each.__name__.strip("_") if callable(each) else str(each),
)
def test_a_run_says_about_every_minute_that_it_was_looked_at(what: Callable[[World], None], phase: Phase) -> None:
    world = judging()
    what(world)
    world.advance(timedelta(minutes=5))
    assert world.phase is phase, world.status.message
    world.looks.clear()
    oldest = timedelta(0)
    for _ in range(70):
        world.advance(timedelta(seconds=11))
        assert world.status.last_look is not None
        oldest = max(oldest, world.now - world.status.last_look)
    assert all(after - before >= MINUTE for before, after in pairwise(world.looks)), "more than one write a minute"
    assert len(world.looks) >= 10
    assert oldest <= MINUTE + timedelta(seconds=15)


def test_every_other_write_of_the_status_says_so_too_and_the_end_takes_it_away() -> None:
    world = Watched()
    world.until(Phase.SUCCEEDED)
    during = [record for record in world.records if record.status.phase in RUNNING]
    assert during
    assert {record.status.last_look for record in during} == {record.at for record in during}
    assert world.status.last_look is None
    before = len(world.looks), world.version
    world.advance(timedelta(hours=1))
    assert (len(world.looks), world.version) == before, "nothing is written for a plan that is done"


def test_nothing_is_written_for_a_plan_that_waits() -> None:
    world = Watched()
    world.say("pause p1")
    world.advance(timedelta(hours=1))
    assert world.phase is Phase.PENDING
    assert (world.looks, world.status.last_look) == ([], None)


def test_a_look_changes_nothing_but_its_own_instant() -> None:
    world = judging()
    world.advance(timedelta(minutes=5))
    before, written, events = world.status, len(world.looks), list(world.published)
    while len(world.looks) == written:
        world.advance()
    assert world.status.last_look == world.looks[-1]
    assert world.status.model_copy(update={"last_look": before.last_look}) == before
    assert world.published == events


@pytest.mark.parametrize(
    "failure",
    [Failure(403, "Forbidden", "a webhook says no"), Failure(422, "Invalid"), Failure(500, "InternalError")],
    ids=lambda failure: str(failure.status),
)
def test_a_look_that_is_refused_is_no_fault_of_the_run(failure: Failure) -> None:
    world = judging()
    world.refuses["look"] = failure
    tried: list[datetime] = []
    for _ in range(120):
        world.done.clear()
        world.advance(timedelta(seconds=10))
        tried += [effect.snapshot.now for effect in world.done if isinstance(effect.work, WriteLook)]
        assert not world.operator.refusals
    assert all(after - before >= MINUTE for before, after in pairwise(tried)), "asked again and again"
    assert len(tried) >= 10
    assert world.status.condition("RequestsAccepted") is None
    assert world.operator.looked_at == world.now or world.now - (world.operator.looked_at or world.now) <= MINUTE


def in_flight(world: World) -> Effect:
    """Have a look sent that is not answered."""
    world.advance(timedelta(minutes=5))
    for _ in range(100):
        at = world.next()
        assert at is not None
        world.now = at
        effects = world.operator.advance(world.facts(), world.now).todo
        looks = [effect for effect in effects if isinstance(effect.work, WriteLook)]
        for effect in effects:
            if effect not in looks:
                world.operator.on_result(effect, world.carry_out(effect), world.now)
        if looks:
            return looks[0]
    raise AssertionError("no look is written")


def test_a_look_in_flight_holds_up_neither_a_rollback_nor_a_decision() -> None:
    world = judging()
    look = in_flight(world)
    assert world.operator.still_wants(look)
    world.say("abort a1")
    (back, *rest) = world.operator.advance(world.facts(), world.now).todo
    assert isinstance(back.work, PatchRoute)
    assert any(isinstance(effect.work, Record) for effect in rest)
    assert not world.operator.still_wants(look), "the status that is written says so too"

    world = judging()
    look = in_flight(world)
    world.say("pause p1")
    first = world.operator.advance(world.facts(), world.now).todo[0]
    assert isinstance(first.work, Record)
    assert not world.operator.still_wants(look)


def test_a_look_that_finds_the_plan_changed_is_written_again_soon() -> None:
    world = judging()
    look = in_flight(world)
    world.operator.on_result(look, Failure(409, "Conflict"), world.now)
    written = len(world.looks)
    world.advance(timedelta(seconds=20))
    assert len(world.looks) == written + 1


def test_who_cannot_look_does_not_say_so() -> None:
    """Neither after an exception, nor while something cannot be read that the run needs."""
    world = judging()
    before = world.status.last_look
    world.unread = frozenset({"deployments/v2"})
    world.advance(timedelta(minutes=10))
    assert world.status.last_look == before

    world = judging()
    before, run = world.operator.looked_at, world.operator
    world.now += timedelta(minutes=10)
    effects = run.report_fault(world.facts(), RuntimeError("broken"), world.now).todo
    assert not any(isinstance(effect.work, WriteLook) for effect in effects)
    records = [effect.work.status for effect in effects if isinstance(effect.work, Record)]
    assert [status.last_look for status in records] == [before]


@pytest.mark.parametrize(
    "damage", ["yesterday", 5, None, [], {}, "2026-03-01T23:00:00Z", "9999-12-31T23:59:59Z"], ids=str
)
def test_a_last_look_that_was_edited_by_hand_changes_nothing_and_is_written_again(damage: object) -> None:
    world = judging()
    world.advance(timedelta(minutes=5))
    world.status_raw, before = {**world.status_raw, "lastLook": damage}, world.status
    world.version += 1
    assert not before.damaged
    world.advance(LOOK_EVERY + timedelta(seconds=20))
    assert (world.phase, world.status.seq) == (Phase.JUDGING, before.seq)
    assert world.status.last_look is not None
    assert world.now - world.status.last_look <= LOOK_EVERY
