"""How a loop waits: for an event or a time, and between attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat


async def happens(event: asyncio.Event, within: float | None) -> bool:
    """Wait for an event, for so many seconds at most; None: without an end. Returns whether it has happened.

    Not wait_for: before Python 3.12 it may lose a cancellation, and the operator would never end.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()


def pauses(seconds: Sequence[float]) -> Iterator[float]:
    """Yield these pauses between attempts, and then the last of them without end."""
    return chain(seconds, repeat(seconds[-1]))
