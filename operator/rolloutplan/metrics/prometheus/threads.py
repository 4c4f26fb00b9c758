"""Threads for blocking calls, shared by all sources and shared out fairly among the namespaces that ask.

`source.py` submits HTTP requests and gets futures. The threads never delay the exit of the process
(`ThreadPoolExecutor` waits for all of its threads), and end a moment after nothing is left to do.
"""

from __future__ import annotations

import _thread
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
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


class _Key(NamedTuple):
    """Whose calls wait in one row."""

    lane: Lane
    namespace: str
    slow: bool


class _Call(NamedTuple):
    at: float
    """The monotonic instant at which it was submitted."""
    key: _Key
    do: Callable[[], Any]
    future: Future[Any]


class Threads:
    """At most `most` daemon threads, started when they are needed.

    The next call is one of the namespace that has the fewest calls under way, and of these the one that waits longest.
    A namespace may hold as many threads as it leaves free. Whoever submits never waits for a thread, not even for the
    lock: who holds it does what has come meanwhile.
    """

    def __init__(self, most: int = MOST_THREADS, idle: float = IDLE) -> None:
        self.number = 0
        """Threads that there are."""
        self._idle_for = idle
        self._places = FairShare(most)
        self._lock = threading.Lock()
        self._submitted: deque[_Call] = deque()
        self._ended: deque[_Call] = deque()
        self._rows: dict[_Key, deque[_Call]] = {}
        """The calls that wait."""
        self._idle: list[queue.SimpleQueue[_Call | None]] = []
        """Where each idle thread gets its next call; the last one idle works first, so that the others end."""

    def lane(self, most: int, patience: float = math.inf) -> Lane:
        """A lane of calls, of which at most `most` are under way; see `Lane`."""
        return Lane(self, most, patience)

    def put(self, call: _Call) -> None:
        """Take a call on."""
        self._submitted.append(call)
        self._turn()

    def waiting(self, lane: Lane, namespace: str, *, slow: bool) -> int:
        """How many calls of a kind wait."""
        return len(self._rows.get(_Key(lane, namespace, slow), ()))

    def _turn(self) -> None:
        """Start what can start after calls were submitted or have ended."""
        while (self._submitted or self._ended) and self._lock.acquire(blocking=False):
            try:
                while self._submitted:
                    self._add(self._submitted.popleft())
                while self._ended:
                    call = self._ended.popleft()
                    call.key.lane.count(call.key, -1)
                    self._places.give(call.key.namespace)
                    while (row := self._next()) is not None:
                        self._start(row)
            finally:
                self._lock.release()

    def _add(self, call: _Call) -> None:
        call.key.lane.asked(call)
        row = self._rows.setdefault(call.key, deque())
        row.append(call)
        if self._may_start(call.key, row):
            self._start(row)

    def _next(self) -> deque[_Call] | None:
        """The row whose turn it is."""
        if self._places.used >= self._places.total:
            return None
        rows = [row for key, row in list(self._rows.items()) if self._may_start(key, row)]
        return min(rows, key=lambda row: (self._places.held(row[0].key.namespace), row[0].at), default=None)

    def _may_start(self, key: _Key, row: deque[_Call]) -> bool:
        if not (self._places.has_room(key.namespace) and key.lane.has_room(key)):
            return False
        while row and row[0].future.cancelled():
            row.popleft()
        if not row:
            del self._rows[key]
        return bool(row)

    def _start(self, row: deque[_Call]) -> None:
        """Start the next call of a row."""
        impatient = time.monotonic() - row[0].at > row[0].key.lane.patience
        call = row.pop() if impatient else row.popleft()
        if not row:
            del self._rows[call.key]
        self._places.add(call.key.namespace)
        call.key.lane.count(call.key, 1)
        if self._idle:
            self._idle.pop().put(call)
        else:
            self._start_thread(call)

    def _start_thread(self, call: _Call) -> None:
        """Have a new thread do a call. Where the system gives none, the call fails and its place comes free."""
        try:
            _thread.start_new_thread(self._work, (call,))  # Thread.start would wait until it runs, on the event loop
        except RuntimeError as error:
            self._ended.append(call)
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(error)
        else:
            self.number += 1

    def _work(self, call: _Call) -> None:
        inbox: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        following: _Call | None = call
        while following is not None:
            _run(following)
            with self._lock:
                self._idle.append(inbox)
            self._ended.append(following)
            self._turn()
            following = self._wait(inbox)

    def _wait(self, inbox: queue.SimpleQueue[_Call | None]) -> _Call | None:
        try:
            return inbox.get(timeout=self._idle_for)
        except queue.Empty:
            with self._lock:
                if ends := inbox in self._idle:
                    self._idle.remove(inbox)
                    self.number -= 1
            self._turn()  # somebody may have submitted meanwhile, and not got the lock
            return None if ends else inbox.get()  # a call was given to it at the last moment


class Lane:
    """The calls of one source. At most half of them are slow, so that slow ones cannot delay the others.

    Where several namespaces use it, each may have as many calls under way as it leaves room for others. The calls of
    one namespace run in the order of submission; once one has waited for longer than `patience` seconds, the latest
    runs first: under overload the oldest calls would be too late, and would make all others late too.
    """

    def __init__(self, threads: Threads, most: int, patience: float) -> None:
        self.patience = patience
        self._threads = threads
        self._places = FairShare(most)
        self._slow_places = FairShare(max(1, most // 2))
        self._asked: dict[str, float] = {}
        """When each namespace asked last."""
        self._closed = False

    def saturated(self, namespace: str) -> bool:
        """Whether at least as many slow calls of a namespace wait as can run at the same time."""
        places = self._slow_places.total // (2 if self._is_shared() else 1)
        return self._threads.waiting(self, namespace, slow=True) >= max(1, places)

    def submit(self, do: Callable[[], T], *, namespace: str = "", slow: bool = False) -> Future[T]:
        """Run a call in a thread; one cancelled before it starts is skipped. Raises RuntimeError once closed."""
        if self._closed:
            raise RuntimeError("closed")
        future: Future[T] = Future()
        self._threads.put(_Call(time.monotonic(), _Key(self, namespace, slow), do, future))
        return future

    def close(self) -> None:
        """Accept no more calls. Those already submitted still run; does not wait for them."""
        self._closed = True

    def asked(self, call: _Call) -> None:
        """Note that a namespace asked."""
        self._asked.pop(call.key.namespace, None)
        self._asked[call.key.namespace] = call.at
        while call.at - self._asked[(oldest := next(iter(self._asked)))] > REMEMBERED:
            del self._asked[oldest]

    def count(self, key: _Key, step: int) -> None:
        """Count a call that starts (1) or ends (-1)."""
        for places in self._limits(key):
            (places.add if step > 0 else places.give)(key.namespace)

    def has_room(self, key: _Key) -> bool:
        """Whether a call may start, as far as this source goes."""
        if self._is_shared():
            return all(places.has_room(key.namespace) for places in self._limits(key))
        return all(places.used < places.total for places in self._limits(key))

    def _limits(self, key: _Key) -> tuple[FairShare, ...]:
        return (self._places, self._slow_places) if key.slow else (self._places,)

    def _is_shared(self) -> bool:
        return len(self._asked) > 1


def _run(call: _Call) -> None:
    if call.future.set_running_or_notify_cancel():
        try:
            call.future.set_result(call.do())
        except BaseException as error:  # noqa: BLE001 - passed on through the future
            call.future.set_exception(error)
