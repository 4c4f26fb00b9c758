"""A heap of deadlines: which plan is reconciled when. Nothing else in the operator starts a reconcile.

What is due is called in slices of time, and between two of them all else is served: what the first plans decide is sent
before the last ones are looked at. All of a slice is at one instant, so that their questions go to a source together.

Deadlines come from loop/reconcile.py, which is called back when a plan is due.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from rolloutplan.clock import now
from rolloutplan.loop.waiting import happens

LONGEST_SLEEP = 2.0
"""Seconds. Limits how late a jump of the wall clock is noticed, and how old `turned_at` gets."""
PUT_BACK = timedelta(seconds=1)
"""A clock that is put back by more makes every key due: else its deadline would come as much later."""
SLICE = 0.01
"""Seconds: some ten plans. A few more in each would be asked for together, and all answers would wait for them."""
_STALE_AT_MOST = 64
"""Entries with a replaced deadline that the heap may hold, beyond the number of deadlines, before they are cleared."""


class Schedule:
    """Calls `due` with each key at its earliest deadline, and with the instant. For one event loop.

    `due` must not block.
    """

    def __init__(
        self,
        due: Callable[[str, datetime], None],
        clock: Callable[[], datetime] = now,
        late: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`late` is called with the number of seconds by which each deadline was missed."""
        self._due, self._clock, self._late = due, clock, late
        # The deadlines, and a heap of them. Replaced deadlines stay in the heap: they are recognised because they are
        # no longer the key's earliest.
        self._earliest: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._changed = asyncio.Event()
        self.turned_at = self._latest = clock()

    def at(self, key: str, when: datetime | None) -> None:
        """Reconcile `key` at `when`, unless it is due earlier anyway. None asks for nothing."""
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
        """Keep the heap's size in proportion to the number of deadlines, at constant amortised cost for each entry."""
        if len(self._heap) > 2 * len(self._earliest) + _STALE_AT_MOST:
            self._heap = [(when, key) for key, when in self._earliest.items()]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Run forever."""
        while True:
            self.turned_at = self._clock()
            self._changed.clear()
            wait = self._pop_due()
            await (happens(self._changed, wait) if wait else asyncio.sleep(0))

    def _pop_due(self) -> float:
        """Call `due` for the keys that are due, for one slice; return the seconds until the next deadline."""
        at, ends = self._clock(), time.monotonic() + SLICE
        if at < self._latest - PUT_BACK:
            for key in [*self._earliest]:
                self.at(key, at)
        self._latest = at
        while self._heap and self._heap[0][0] <= at:
            if time.monotonic() >= ends:
                return 0.0
            when, key = heapq.heappop(self._heap)
            if self._earliest.get(key) == when:
                del self._earliest[key]
                self._late((at - when).total_seconds())
                self._due(key, at)
        if not self._heap:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.0005, (self._heap[0][0] - at).total_seconds()))
