"""Threads for blocking calls, shared by all sources and shared out fairly among the namespaces that ask.

`source.py` submits HTTP requests and gets futures. The threads never delay the exit of the process
(`ThreadPoolExecutor` waits for all of its threads), and end a moment after nothing is left to do.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from rolloutplan.metrics.fair_share import FairShare

T = TypeVar("T")

MOST_THREADS: Final = 128
"""Requests under way in the whole process. A server that hangs costs a thread for one time-out."""
IDLE: Final = 2.0
"""Seconds after which a thread without work ends: the next evaluations of most plans come sooner."""
REMEMBERED: Final = 600.0
"""Seconds for which a namespace that asked a source is expected to ask again, so that places are left for it."""


class _Call(NamedTuple):
    at: float
    """The monotonic instant at which it was submitted."""
    lane: Lane
    namespace: str
    slow: bool
    do: Callable[[], Any]
    future: Future[Any]


class Threads:
    """At most `most` daemon threads, started when they are needed.

    The next call is one of the namespace that has the fewest calls under way, and of these the one that waits longest.
    A namespace may hold as many threads as it leaves free.
    """

    def __init__(self, most: int = MOST_THREADS, name: str = "metrics", idle: float = IDLE) -> None:
        self.lock = threading.Lock()
        self._name, self._idle_for = name, idle
        self._places = FairShare(most)
        self._lanes: set[Lane] = set()
        """Those with calls that wait."""
        self._idle: list[queue.SimpleQueue[_Call]] = []
        """Where each idle thread gets its next call; the last one idle works first, so that the others end."""

    def lane(self, most: int, patience: float = math.inf) -> Lane:
        """A lane of calls, of which at most `most` are under way; see `Lane`."""
        return Lane(self, most, patience)

    def put(self, call: _Call) -> None:
        """Put a call in its lane, and start what can start. Under `lock`."""
        self._lanes.add(call.lane)
        call.lane.rows.setdefault((call.namespace, call.slow), deque()).append(call)
        self._start()

    def _start(self) -> None:
        while (call := self._next()) is not None:
            if self._idle:
                self._idle.pop().put(call)
            else:
                threading.Thread(target=self._work, args=(call,), name=self._name, daemon=True).start()

    def _next(self) -> _Call | None:
        """Take the next call that may run, and count it as under way. Under `lock`."""
        candidates = [
            (self._places.held(row[0].namespace), row[0].at, i, row)
            for i, row in enumerate(row for lane in self._lanes for row in lane.waiting())
            if self._places.has_room(row[0].namespace)
        ]
        if not candidates:
            self._lanes = {lane for lane in self._lanes if lane.rows}
            return None
        row = min(candidates)[3]
        lane = row[0].lane
        call = row.pop() if time.monotonic() - row[0].at > lane.patience else row.popleft()
        if not row:
            del lane.rows[call.namespace, call.slow]
            if not lane.rows:
                self._lanes.discard(lane)
        self._places.add(call.namespace)
        lane.count(call, 1)
        return call

    def _work(self, call: _Call | None) -> None:
        inbox: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        while call is not None:
            _run(call)
            with self.lock:
                call.lane.count(call, -1)
                self._places.give(call.namespace)
                call = self._next()
                if call is None:
                    self._idle.append(inbox)
                self._start()
            if call is None:
                call = self._wait(inbox)

    def _wait(self, inbox: queue.SimpleQueue[_Call]) -> _Call | None:
        try:
            return inbox.get(timeout=self._idle_for)
        except queue.Empty:
            with self.lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
            return inbox.get()  # a call was given to it at the last moment


class Lane:
    """The calls of one source. At most half of them are slow, so that slow ones cannot delay the others.

    Where several namespaces use it, each may have as many calls under way as it leaves room for others. The calls of
    one namespace run in the order of submission; once one has waited for longer than `patience` seconds, the latest
    runs first: under overload the oldest calls would be too late, and would make all others late too.
    """

    def __init__(self, threads: Threads, most: int, patience: float) -> None:
        self.patience = patience
        self.rows: dict[tuple[str, bool], deque[_Call]] = {}
        """The calls that wait, by namespace and whether they are slow."""
        self._threads = threads
        self._places = FairShare(most)
        self._slow_places = FairShare(max(1, most // 2))
        self._asked: dict[str, float] = {}
        """When each namespace asked last."""
        self._closed = False

    def saturated(self, namespace: str) -> bool:
        """Whether at least as many slow calls of a namespace wait as can run at the same time."""
        waiting = self.rows.get((namespace, True), ())
        return len(waiting) >= max(1, self._slow_places.total // (2 if self._is_shared() else 1))

    def submit(self, do: Callable[[], T], *, namespace: str = "", slow: bool = False) -> Future[T]:
        """Run a call in a thread; one cancelled before it starts is skipped. Raises RuntimeError once closed."""
        future: Future[T] = Future()
        with self._threads.lock:
            if self._closed:
                raise RuntimeError("closed")
            now = time.monotonic()
            self._asked.pop(namespace, None)
            self._asked[namespace] = now
            while now - self._asked[(oldest := next(iter(self._asked)))] > REMEMBERED:
                del self._asked[oldest]
            self._threads.put(_Call(now, self, namespace, slow, do, future))
        return future

    def close(self) -> None:
        """Accept no more calls. Those already submitted still run; does not wait for them."""
        with self._threads.lock:
            self._closed = True

    def count(self, call: _Call, step: int) -> None:
        """Count a call that starts (1) or ends (-1)."""
        for places in (self._places, self._slow_places) if call.slow else (self._places,):
            (places.add if step > 0 else places.give)(call.namespace)

    def waiting(self) -> Iterator[deque[_Call]]:
        """The rows whose next call may start, as far as this source goes."""
        for key, row in list(self.rows.items()):
            while row and row[0].future.cancelled():
                row.popleft()
            if not row:
                del self.rows[key]
            elif self._may_start(*key):
                yield row

    def _may_start(self, namespace: str, slow: bool) -> bool:
        limits = (self._places, self._slow_places) if slow else (self._places,)
        if self._is_shared():
            return all(places.has_room(namespace) for places in limits)
        return all(places.used < places.total for places in limits)

    def _is_shared(self) -> bool:
        return len(self._asked) > 1


def _run(call: _Call) -> None:
    if call.future.set_running_or_notify_cancel():
        try:
            call.future.set_result(call.do())
        except BaseException as error:  # noqa: BLE001 - passed on through the future
            call.future.set_exception(error)
