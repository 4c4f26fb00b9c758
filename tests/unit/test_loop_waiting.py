"""How a loop waits: it says whether what it waited for has happened, and it always ends when it is cancelled."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from rolloutplan.loop.waiting import happens, pauses


@pytest.mark.parametrize(("is_set", "within"), [(True, None), (True, -1.0), (False, 0.0), (False, -1.0)])
def test_it_says_whether_the_event_has_happened_in_time(is_set: bool, within: float | None) -> None:
    async def story() -> bool:
        event = asyncio.Event()
        if is_set:
            event.set()
        return await happens(event, within)

    assert asyncio.run(story()) is is_set


def test_a_cancellation_at_the_moment_of_the_event_is_not_lost() -> None:
    async def story() -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(happens(event, 10))
        await asyncio.sleep(0)
        event.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(story())


def test_the_last_pause_is_repeated_without_end() -> None:
    assert list(islice(pauses((0.1, 1.0)), 4)) == [0.1, 1.0, 1.0, 1.0]
