"""A pool of threads for blocking calls that never delays the exit of the process.

`source.py` submits HTTP requests and gets futures. `ThreadPoolExecutor` waits at exit for all of its threads, so a
server that sends one byte a second would keep the operator from exiting and from releasing its Lease.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Call(NamedTuple):
    at: float
    """The monotonic instant at which it was submitted."""
    slow: bool
    do: Callable[[], Any]
    future: Future[Any]


class Threads:
    """At most `most` daemon threads, started when they are needed.

    Slow calls use at most half of them, so that they cannot delay the others. Calls run in the order of submission.
    Once one has waited for longer than `patience` seconds, the latest runs first: under overload the oldest calls would
    be too late, and would make all others late too.
    """

    def __init__(self, most: int, name: str, patience: float = math.inf) -> None:
        self._most = most
        self._name = name
        self._patience = patience
        self._quick: deque[_Call] = deque()
        self._slow: deque[_Call] = deque()
        self._slots = max(1, most // 2)
        """Most slow calls at the same time."""
        self._running = 0
        """Slow calls that are running."""
        self._turn = threading.Condition()
        self._idle = 0
        """Threads that wait and were not notified yet."""
        self._started = 0
        self._closed = False

    @property
    def saturated(self) -> bool:
        """Whether at least as many slow calls wait as can run at the same time."""
        return len(self._slow) >= self._slots

    def submit(self, do: Callable[[], T], *, slow: bool = False) -> Future[T]:
        """Run a call in a thread; one cancelled before it starts is skipped. Raises RuntimeError once closed."""
        future: Future[T] = Future()
        with self._turn:
            if self._closed:
                raise RuntimeError("closed")
            (self._slow if slow else self._quick).append(_Call(time.monotonic(), slow, do, future))
            if self._idle:
                self._idle -= 1
                self._turn.notify()
            elif self._started < self._most:
                self._started += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Accept no more calls. Those already submitted still run; does not wait for them."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            if call.future.set_running_or_notify_cancel():
                try:
                    call.future.set_result(call.do())
                except BaseException as error:  # noqa: BLE001 - passed on through the future
                    call.future.set_exception(error)
            if call.slow:
                with self._turn:
                    self._running -= 1

    def _next(self) -> _Call | None:
        with self._turn:
            while (row := self._row()) is None:
                if self._closed:
                    return None
                self._idle += 1
                self._turn.wait()
            impatient = time.monotonic() - row[0].at > self._patience
            call = row.pop() if impatient else row.popleft()
            self._running += call.slow
            return call

    def _row(self) -> deque[_Call] | None:
        """The queue with the call that has waited longest, from which the next one is taken."""
        for row in (self._quick, self._slow):
            while row and row[0].future.cancelled():
                row.popleft()
        rows = [row for row in (self._quick, self._slow if self._running < self._slots else None) if row]
        return min(rows, key=lambda row: row[0].at, default=None)
