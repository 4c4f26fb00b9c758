"""Limit the requests in flight to the API server, by priority: weights of rollbacks first, reads and looks last.

The API server of a small cluster does not answer sooner when it gets more requests at once, and a sent request cannot
be overtaken. So few requests are in flight, and the waiting ones are sent by priority. Requests come from
loop/executor.py and the sinks through `RequestLimiter.client`, which takes one place for each request. A place is
held for one request only, so no holder of a place waits for another place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from rolloutplan.cluster.client import Raw, ResourceClient


class Priority(IntEnum):
    """The purpose of a request; the lowest number goes first."""

    WEIGHTS = 0
    """Weights of a rollback, and the reads that such a write waits for."""
    SHIFTS = 1
    """Weights that go forward, and those that others have moved: that was decided and recorded before."""
    RECORDS = 2
    """Decisions in the statuses of plans, and the metadata of plans."""
    FORWARD = 3
    """Jobs, replicas of Deployments."""
    PROGRESS = 4
    """Statuses without a decision: nothing waits for them."""
    READS = 5
    """Preflight reads, and pods."""
    LOOKS = 6
    """Records that say no more than that a run was looked at."""
    EVENTS = 7
    """Events have their own places: they neither take the others' places nor wait for them."""
    ROLLOUT_RECORDS = 8
    """The records of runs, with their own places too: a large record that hangs holds up no Event."""
    OBJECT_EVENTS = 9
    """Short Events on routes and Deployments: there are more of them, and those on plans do not wait for them."""


Clients = Callable[[Priority], ResourceClient]
"""Returns the client for a priority. Each of its requests waits for its turn."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many requests may be in flight at once."""

    shared: int = 8
    """For everything without places of its own. An API server on two cores does not answer more of them sooner."""
    reserved: int = 4
    """In addition, for weights of rollbacks: these are sent even while requests hang in all shared places."""
    reads: int = 6
    """The most shared places that reads and looks may take: hanging reads (a list of many pods) leave the rest to
    writes."""
    looks: int = 2
    """The most of these that looks may take: two send more of them in a second than there are."""
    events: int = 4
    rollout_records: int = 2
    object_events: int = 2

    @property
    def total(self) -> int:
        """The most requests in flight: the number of connections that the client needs."""
        return self.shared + self.reserved + self.events + self.rollout_records + self.object_events


class RequestLimiter:
    """Assigns places. A free place goes to the first request that may take it, by priority, then by arrival.

    For one event loop. A request that is cancelled while it waits, or just as it gets its place, costs the others no
    place.
    """

    def __init__(self, places: Places | None = None) -> None:
        self._places = places or Places()
        self._own = {
            Priority.EVENTS: self._places.events,
            Priority.ROLLOUT_RECORDS: self._places.rollout_records,
            Priority.OBJECT_EVENTS: self._places.object_events,
        }
        """How many places those have that share none."""
        self._in_flight = dict.fromkeys(Priority, 0)
        # Dicts as ordered sets: a cancelled request leaves its queue at once, however long the queue is.
        self._waiting: dict[Priority, dict[asyncio.Future[None], None]] = {priority: {} for priority in Priority}

    def client(self, api: ResourceClient, priority: Priority) -> ResourceClient:
        """Return a client whose requests each wait for a place. Their timeouts begin when the request is sent."""
        return _LimitedClient(api, self, priority)

    @asynccontextmanager
    async def place(self, priority: Priority) -> AsyncIterator[None]:
        """Hold a place. Never take a second one inside: if all holders did so, they would deadlock."""
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release(priority)

    async def _acquire(self, priority: Priority) -> None:
        # This passes no waiting request: while one waits, there is no place for it or for others of its priority.
        if self._may_start(priority):
            self._in_flight[priority] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[priority][turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting[priority].pop(turn, None)
            if turn.done() and not turn.cancelled():
                self._release(priority)
            raise

    def _release(self, priority: Priority) -> None:
        self._in_flight[priority] -= 1
        for each, line in self._waiting.items():
            while line and self._may_start(each):
                turn = next(iter(line))
                del line[turn]
                if not turn.done():
                    self._in_flight[each] += 1
                    turn.set_result(None)

    def _may_start(self, priority: Priority) -> bool:
        places, in_flight = self._places, self._in_flight
        if (own := self._own.get(priority)) is not None:
            return in_flight[priority] < own
        room = places.shared + places.reserved - sum(n for each, n in in_flight.items() if each not in self._own)
        if priority is Priority.WEIGHTS:
            return room > 0
        if priority is Priority.LOOKS and in_flight[priority] >= places.looks:
            return False
        last = priority in (Priority.READS, Priority.LOOKS)
        return room > places.reserved and (
            not last or in_flight[Priority.READS] + in_flight[Priority.LOOKS] < places.reads
        )


@dataclass(frozen=True, slots=True)
class _LimitedClient:
    api: ResourceClient
    limiter: RequestLimiter
    priority: Priority

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        async with self.limiter.place(self.priority):
            return await self.api.get(path, timeout=timeout, **query)

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        async with self.limiter.place(self.priority):
            return await self.api.list(path, timeout=timeout, **query)

    async def create(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> Raw:
        async with self.limiter.place(self.priority):
            return await self.api.create(path, body, timeout=timeout)

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        kind: Literal["merge", "json"] = "merge",
        timeout: float | None = None,
    ) -> Raw:
        async with self.limiter.place(self.priority):
            return await self.api.patch(path, body, kind=kind, timeout=timeout)
