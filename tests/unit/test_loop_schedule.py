"""The heap of deadlines, and who may speak to the API server first."""

import asyncio
from datetime import timedelta

import pytest

from rolloutplan.loop.lanes import Lane, Lanes
from rolloutplan.loop.schedule import Schedule, now


def test_each_key_is_due_once_at_its_earliest_deadline() -> None:
    async def scenario() -> list[str]:
        due: list[str] = []
        schedule, start = Schedule(due.append), now()
        for key, milliseconds in (("third", 90), ("second", 60), ("first", 400), ("first", 30), ("first", 500)):
            schedule.at(key, start + timedelta(milliseconds=milliseconds))
        schedule.at("never", None)
        schedule.at("gone", start + timedelta(milliseconds=40))
        schedule.forget("gone")
        turning = asyncio.create_task(schedule.run())
        await asyncio.sleep(0.6)
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)
        return due

    assert asyncio.run(scenario()) == ["first", "second", "third"]


def test_a_cancelled_schedule_ends_even_when_something_becomes_due() -> None:
    async def scenario() -> None:
        for _ in range(200):
            schedule = Schedule(lambda key: None)
            turning = asyncio.create_task(schedule.run())
            await asyncio.sleep(0)
            schedule.soon("x")
            turning.cancel()
            async with asyncio.timeout(2):
                await asyncio.gather(turning, return_exceptions=True)

    asyncio.run(scenario())


def test_weights_overtake_records_and_records_overtake_events() -> None:
    async def scenario() -> list[Lane]:
        lanes, order = Lanes(1), list[Lane]()

        async def speak(lane: Lane) -> None:
            async with lanes.take(lane):
                order.append(lane)
                await asyncio.sleep(0)

        async with lanes.take(Lane.TELL):
            waiting = [
                asyncio.create_task(speak(lane)) for lane in (Lane.TELL, Lane.FORWARD, Lane.RECORD, Lane.WEIGHTS)
            ]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(scenario()) == sorted(Lane)


@pytest.mark.parametrize("cancelled", [Lane.WEIGHTS, Lane.TELL])
def test_who_gives_up_waiting_takes_no_place_along(cancelled: Lane) -> None:
    async def scenario() -> None:
        lanes = Lanes(1)

        async def speak(lane: Lane) -> None:
            async with lanes.take(lane):
                await asyncio.sleep(0)

        async with lanes.take(Lane.TELL):
            giving_up = asyncio.create_task(speak(cancelled))
            await asyncio.sleep(0)
            giving_up.cancel()
            await asyncio.gather(giving_up, return_exceptions=True)
        async with asyncio.timeout(2):
            await asyncio.gather(*(speak(lane) for lane in Lane))

    asyncio.run(scenario())
