"""The heap of deadlines: each plan is looked at when it asked for, once, and no sooner."""

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.loop import schedule as schedule_module
from rolloutplan.loop.schedule import LONGEST_SLEEP, Schedule
from tests.world import START


class Clock:
    """A wall clock that stands until it is set, and a schedule that goes by it. `due` is what was handed out."""

    def __init__(self) -> None:
        self.at, self.due = START, list[str]()
        self.schedule = Schedule(lambda key, _: self.due.append(key), lambda: self.at)

    def asks(self, key: str, seconds: float) -> None:
        self.schedule.at(key, START + timedelta(seconds=seconds))

    def passes(self, seconds: float) -> float:
        """Let it be so many seconds after the start; returns how long the schedule would sleep then."""
        self.at = START + timedelta(seconds=seconds)
        return self.schedule._pop_due()


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ([("a", 3), ("b", 1), ("c", 2)], {0.9: "", 1: "b", 1.9: "", 2: "c", 3: "a", 9: ""}),
        ([("a", 5), ("a", 1)], {1: "a", 9: ""}),
        ([("a", 1), ("a", 5)], {1: "a", 9: ""}),
        ([("a", 1), ("a", 1)], {1: "a", 9: ""}),
        ([("a", 1), ("b", 1)], {1: "ab", 9: ""}),
        ([("a", -5)], {0: "a", 9: ""}),
        ([("a", 1), ("b", 2), ("c", 3)], {9: "abc"}),
    ],
    ids=[
        "in their order",
        "an earlier one counts",
        "a later one does not",
        "once",
        "at once",
        "late",
        "all that is due",
    ],
)
def test_each_key_is_due_once_at_its_earliest_deadline(asked: list[tuple[str, float]], due: dict[float, str]) -> None:
    clock = Clock()
    for key, seconds in asked:
        clock.asks(key, seconds)
    for seconds, keys in due.items():
        clock.due.clear()
        clock.passes(seconds)
        assert "".join(clock.due) == keys, f"after {seconds} s"


def test_a_key_that_was_due_may_ask_again() -> None:
    clock = Clock()
    clock.asks("a", 1)
    clock.passes(1)
    clock.asks("a", 2)
    clock.passes(2)
    assert clock.due == ["a", "a"]


def test_none_asks_for_nothing_and_takes_nothing_back() -> None:
    clock = Clock()
    clock.schedule.at("never", None)
    clock.asks("a", 1)
    clock.schedule.at("a", None)
    clock.passes(9)
    assert clock.due == ["a"]


def test_what_is_forgotten_is_not_due_and_may_come_back() -> None:
    clock = Clock()
    clock.asks("a", 1)
    clock.schedule.forget("a")
    clock.schedule.forget("unknown")
    clock.passes(2)
    assert clock.due == []
    clock.asks("a", 3)
    clock.passes(3)
    assert clock.due == ["a"]


def test_what_asks_for_now_while_it_is_handed_out_is_due_again() -> None:
    clock = Clock()
    clock.schedule = schedule = Schedule(lambda key, _: _once_more(schedule, clock.due, key), lambda: clock.at)
    schedule.soon("a")
    clock.passes(0)
    assert clock.due == ["a", "a"]


def _once_more(schedule: Schedule, due: list[str], key: str) -> None:
    due.append(key)
    if len(due) == 1:
        schedule.soon(key)


@pytest.mark.parametrize(("deadline", "sleep"), [(0.5, 0.5), (1.999, 1.999), (3600, LONGEST_SLEEP)])
def test_it_sleeps_until_the_next_deadline_but_never_past_a_jump_of_the_clock(deadline: float, sleep: float) -> None:
    clock = Clock()
    assert clock.passes(0) == LONGEST_SLEEP, "with nothing to wait for"
    clock.asks("a", deadline)
    assert clock.passes(0) == pytest.approx(sleep)


def test_it_wakes_for_a_deadline_that_is_earlier_than_the_one_it_sleeps_for() -> None:
    async def story() -> None:
        clock = Clock()
        came = asyncio.Event()
        schedule = Schedule(lambda *_: came.set(), lambda: clock.at)
        schedule.at("later", START + timedelta(hours=1))
        turning = asyncio.create_task(schedule.run())
        await asyncio.sleep(0.01)
        schedule.soon("now")
        async with asyncio.timeout(LONGEST_SLEEP / 2):
            await came.wait()
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)

    asyncio.run(story())


def test_many_at_once_are_handed_out_in_slices_each_at_one_instant_with_all_else_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look takes a quarter of a slice here."""
    seen, passed = list[tuple[str, float]](), 0.0
    monkeypatch.setattr(schedule_module, "SLICE", 1.0)
    monkeypatch.setattr(schedule_module, "time", SimpleNamespace(monotonic=lambda: passed))

    def due(key: str, at: datetime) -> None:
        nonlocal passed
        passed += 0.25
        seen.append((key, (at - START).total_seconds()))

    schedule = Schedule(due, lambda: START + timedelta(seconds=passed))
    for number in range(20):
        schedule.at(f"{number:02}", START)

    async def story() -> list[int]:
        turning = asyncio.create_task(schedule.run())
        handed_out = list[int]()
        while len(seen) < 20:
            await asyncio.sleep(0)
            handed_out.append(len(seen))
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)
        return handed_out

    assert asyncio.run(story()) == [4, 8, 12, 16, 20]
    assert [key for key, _ in seen] == [f"{number:02}" for number in range(20)]
    assert [at for _, at in seen] == [number // 4 for number in range(20)]


def test_a_far_deadline_that_is_asked_for_again_and_again_is_kept_once() -> None:
    """A plan that is frozen until Monday is touched by everything that happens to its objects until then."""
    clock = Clock()
    for number in range(1000):
        clock.schedule.soon("frozen")
        clock.passes(number / 1000)
        clock.asks("frozen", 3 * 24 * 3600)
    assert len(clock.schedule._heap) < 100
    clock.due.clear()
    clock.passes(3 * 24 * 3600)
    assert clock.due == ["frozen"]


def test_what_is_forgotten_does_not_stay_in_the_heap() -> None:
    clock = Clock()
    for number in range(1000):
        clock.asks(f"{number}", 3600)
    for number in range(1000):
        clock.schedule.forget(f"{number}")
    assert len(clock.schedule._heap) < 100


Move = tuple[Literal["asks", "forgets", "passes"], str, int]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["asks", "asks", "asks", "forgets", "passes"]), st.sampled_from("abcd"), st.integers(0, 50)
    ),
    max_size=400,
)


@given(MOVES)
def test_whatever_is_asked_for_is_due_at_its_earliest_in_order_and_not_late(moves: list[Move]) -> None:
    """As a plain dict of deadlines would have it; and the heap is no larger than what it holds asks for."""
    clock, late = Clock(), list[float]()
    clock.schedule = Schedule(lambda key, _: clock.due.append(key), lambda: clock.at, late.append)
    deadlines: dict[str, int] = {}
    at = 0
    for move, key, number in moves:
        if move == "asks":
            clock.asks(key, at + number)
            deadlines[key] = min(at + number, deadlines.get(key, at + number))
        elif move == "forgets":
            clock.schedule.forget(key)
            deadlines.pop(key, None)
        else:
            at += number
            due = sorted((when, key) for key, when in deadlines.items() if when <= at)
            clock.due.clear()
            late.clear()
            clock.passes(at)
            assert clock.due == [key for _, key in due]
            assert late == [at - when for when, _ in due]
            deadlines = {key: when for key, when in deadlines.items() if when > at}
        assert len(clock.schedule._heap) <= 2 * len(deadlines) + 64


def test_it_says_when_it_turned_last() -> None:
    """A loop that hangs is seen by this instant growing old."""

    async def story() -> None:
        clock = Clock()
        turning = asyncio.create_task(clock.schedule.run())
        for seconds in (1, 2):
            clock.at = START + timedelta(seconds=seconds)
            clock.schedule.soon("a")
            await asyncio.sleep(0.01)
            assert clock.schedule.turned_at == clock.at
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)

    asyncio.run(story())


def test_a_cancelled_schedule_ends_even_when_something_becomes_due() -> None:
    async def story() -> None:
        for _ in range(200):
            schedule = Schedule(lambda *_: None)
            turning = asyncio.create_task(schedule.run())
            await asyncio.sleep(0)
            schedule.soon("x")
            turning.cancel()
            async with asyncio.timeout(30):
                await asyncio.gather(turning, return_exceptions=True)

    asyncio.run(story())


def test_a_clock_that_is_put_back_delays_nothing() -> None:
    clock = Clock()
    clock.asks("a", 5)
    clock.asks("b", 90)
    clock.passes(1)
    clock.passes(-3600)
    assert sorted(clock.due) == ["a", "b"]
    clock.asks("a", -3590)
    clock.passes(-3595)
    assert sorted(clock.due) == ["a", "b"], "and then each is due when it asks for"
