"""A few threads for blocking calls that never hold up the end of the process.

`ThreadPoolExecutor` waits at exit for every thread it ever had; a server that feeds us a byte a second would keep the
operator from ending, and its Lease with it.
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
    """The monotonic instant at which it came."""
    slow: bool
    do: Callable[[], Any]
    future: Future[Any]


class Threads:
    """At most `most` daemon threads, started as they are needed.

    Slow calls never have more than half of them, so they cannot keep the others waiting. Calls are done in the order in
    which they came; once one has waited for longer than `patience` seconds, the latest goes first: where more come than
    can be done, those that have waited longest would be too late, and make all others so.
    """

    def __init__(self, most: int, name: str, patience: float = math.inf) -> None:
        self._most = most
        self._name = name
        self._patience = patience
        self._quick: deque[_Call] = deque()
        self._slow: deque[_Call] = deque()
        self._slots = max(1, most // 2)
        """Of slow calls at the same time."""
        self._running = 0
        """Slow calls that are being done."""
        self._turn = threading.Condition()
        self._idle = 0
        """Threads that wait and that no call has woken."""
        self._started = 0
        self._closed = False

    @property
    def saturated(self) -> bool:
        """Whether as many slow calls wait as can be done at the same time."""
        return len(self._slow) >= self._slots

    def submit(self, do: Callable[[], T], *, slow: bool = False) -> Future[T]:
        """Have a call done; one that is cancelled before its turn is left out. Raises RuntimeError once closed."""
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
        """Take no more calls. Those that were taken are still done; does not wait for them."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            if call.future.set_running_or_notify_cancel():
                try:
                    call.future.set_result(call.do())
                except BaseException as error:  # noqa: BLE001 - goes to whoever waits for it
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
        """Where the next call is to be taken from: where one has waited longest."""
        for row in (self._quick, self._slow):
            while row and row[0].future.cancelled():
                row.popleft()
        rows = [row for row in (self._quick, self._slow if self._running < self._slots else None) if row]
        return min(rows, key=lambda row: row[0].at, default=None)
