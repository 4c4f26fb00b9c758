"""Who may send the next request to the API server: weights that go back first, reads last.

The API server of a small cluster answers no sooner for being asked more at once, and what is sent cannot be overtaken
any more. So few requests are under way at a time, and those that wait go by priority. Whoever sends requests is given a
client that takes a place for each of them (`RequestLimiter.client`); a place is held for one request, so that nobody
who holds one waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from rolloutplan.cluster.client import Raw, ResourceClient


class Priority(IntEnum):
    """What a request is for; the lowest number goes first."""

    WEIGHTS = 0
    """Weights that go back, and the reads that such a write waits for."""
    RECORDS = 1
    """The statuses and the metadata of plans."""
    FORWARD = 2
    """Weights that go forward, Jobs, sizes of Deployments."""
    READS = 3
    """What is looked up before a run, and pods."""
    EVENTS = 4
    """They have places of their own: they take none of the others', and never wait for one of theirs."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many requests may be under way at once."""

    shared: int = 8
    """For everything but Events. More are not answered sooner by an API server on two cores."""
    reserved: int = 4
    """Beside these, for weights that go back: they go on while requests hang in all the shared places."""
    reads: int = 6
    """Of the shared ones, at most: reads that hang (a list of many pods) leave the others to writes."""
    events: int = 4

    @property
    def total(self) -> int:
        """The most requests that are ever under way: what the client must have connections for."""
        return self.shared + self.reserved + self.events


class RequestLimiter:
    """Hands out places. One that comes free goes to the first in line who may take it: by priority, then by arrival.

    For one event loop. Whoever is cancelled while it waits, or in the moment in which it is given its place, loses
    nothing for the others.
    """

    def __init__(self, places: Places | None = None) -> None:
        self._places = places or Places()
        self._under_way = dict.fromkeys(Priority, 0)
        # Dicts as ordered sets: who gives up leaves the line at once, however long it is.
        self._waiting: dict[Priority, dict[asyncio.Future[None], None]] = {priority: {} for priority in Priority}

    def client(self, api: ResourceClient, priority: Priority) -> ResourceClient:
        """Give a client of which each request waits for a place. Its time-outs begin when the request is sent."""
        return _LimitedClient(api, self, priority)

    @asynccontextmanager
    async def place(self, priority: Priority) -> AsyncIterator[None]:
        """Hold a place. Never ask for a second one within: all may be held by others who do the same."""
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release(priority)

    async def _acquire(self, priority: Priority) -> None:
        # Nobody is passed over: as long as anybody waits there is no place that he may take, and none for his like.
        if self._may_start(priority):
            self._under_way[priority] += 1
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
        self._under_way[priority] -= 1
        for each, line in self._waiting.items():
            while line and self._may_start(each):
                turn = next(iter(line))
                del line[turn]
                if not turn.done():
                    self._under_way[each] += 1
                    turn.set_result(None)

    def _may_start(self, priority: Priority) -> bool:
        places, current_task = self._places, self._under_way
        if priority is Priority.EVENTS:
            return current_task[priority] < places.events
        room = places.shared + places.reserved - sum(current_task.values()) + current_task[Priority.EVENTS]
        if priority is Priority.WEIGHTS:
            return room > 0
        return room > places.reserved and (priority is not Priority.READS or current_task[priority] < places.reads)


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
