"""A heap of deadlines: which plan is to be looked at when. The only clock in the house that anybody waits for."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from rolloutplan.clock import now

LONGEST_SLEEP = 2.0
"""Seconds. Bounds how late a jump of the wall clock is noticed, and how old `turned_at` gets."""
_STALE_AT_MOST = 64
"""Entries of the heap whose deadline was replaced, beside as many as there are deadlines, before they are cleared."""


class Schedule:
    """Calls `due` for each key at its earliest deadline. For one event loop; `due` must not block."""

    def __init__(
        self,
        due: Callable[[str], None],
        clock: Callable[[], datetime] = now,
        late: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`late` is told by how many seconds each deadline was missed."""
        self._due, self._clock, self._late = due, clock, late
        # The deadlines, and a heap of them in which those stay that were replaced: they are known by no longer being
        # the key's earliest.
        self._earliest: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._changed = asyncio.Event()
        self.turned_at = clock()

    def at(self, key: str, when: datetime | None) -> None:
        """Snapshot at `key` at `when`, unless it is to be looked at earlier anyway. None asks for nothing."""
        known = self._earliest.get(key)
        if when is None or (known is not None and known <= when):
            return
        self._earliest[key] = when
        heapq.heappush(self._heap, (when, key))
        self._clear_stale()
        if self._heap[0] == (when, key):
            self._changed.set()

    def soon(self, key: str) -> None:
        self.at(key, self._clock())

    def forget(self, key: str) -> None:
        self._earliest.pop(key, None)
        self._clear_stale()

    def _clear_stale(self) -> None:
        """Bound the heap by what is asked for: each of its entries is cleared at the cost of one."""
        if len(self._heap) > 2 * len(self._earliest) + _STALE_AT_MOST:
            self._heap = [(when, key) for key, when in self._earliest.items()]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Turn for ever."""
        while True:
            self.turned_at = self._clock()
            self._changed.clear()
            wait = self._pop_due()
            # Not wait_for: before Python 3.12 it may lose a cancellation, and the operator would never end.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    def _pop_due(self) -> float:
        """Hand out what is due; returns the seconds until the next deadline."""
        at = self._clock()
        while self._heap and self._heap[0][0] <= at:
            when, key = heapq.heappop(self._heap)
            if self._earliest.get(key) == when:
                del self._earliest[key]
                self._late((at - when).total_seconds())
                self._due(key)
        if not self._heap:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.0005, (self._heap[0][0] - at).total_seconds()))
