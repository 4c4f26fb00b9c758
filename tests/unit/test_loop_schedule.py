"""The heap of deadlines: each plan is looked at when it asked for, once, and no sooner."""

import asyncio
from datetime import timedelta

import pytest

from rolloutplan.loop.schedule import LONGEST_SLEEP, Schedule
from tests.world import START


class Clock:
    """A wall clock that stands until it is set, and a schedule that goes by it. `due` is what was handed out."""

    def __init__(self) -> None:
        self.at, self.due = START, list[str]()
        self.schedule = Schedule(self.due.append, lambda: self.at)

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
    clock.schedule = schedule = Schedule(lambda key: _once_more(schedule, clock.due, key), lambda: clock.at)
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
        schedule = Schedule(lambda _: came.set(), lambda: clock.at)
        schedule.at("later", START + timedelta(hours=1))
        turning = asyncio.create_task(schedule.run())
        await asyncio.sleep(0.01)
        schedule.soon("now")
        async with asyncio.timeout(LONGEST_SLEEP / 2):
            await came.wait()
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)

    asyncio.run(story())


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
            schedule = Schedule(lambda key: None)
            turning = asyncio.create_task(schedule.run())
            await asyncio.sleep(0)
            schedule.soon("x")
            turning.cancel()
            async with asyncio.timeout(2):
                await asyncio.gather(turning, return_exceptions=True)

    asyncio.run(story())
