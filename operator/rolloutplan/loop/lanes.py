"""Who may speak to the API server first: weights before records, records before Events."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Lane(IntEnum):
    WEIGHTS = 0
    RECORD = 1
    FORWARD = 2
    TELL = 3
    """Beside the others: it takes no place of theirs, and theirs never keep it waiting for ever."""


class Lanes:
    """A semaphore of `width` places; a free place goes to the lowest lane, in it to who has waited longest.

    `kept` more places are for weights alone: requests that hang elsewhere never keep a rollback waiting. `aside` are
    for what is told.
    """

    def __init__(self, width: int, kept: int = 0, aside: int = 4) -> None:
        self._free, self._kept, self._aside = width, kept, asyncio.Semaphore(aside)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    @asynccontextmanager
    async def take(self, lane: Lane) -> AsyncIterator[None]:
        if lane is Lane.TELL:
            async with self._aside:
                yield
            return
        if lane is Lane.WEIGHTS and not self._free and self._kept:
            self._kept -= 1
            try:
                yield
            finally:
                self._kept += 1
            return
        await self._acquire(lane)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, lane: Lane) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (lane, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
