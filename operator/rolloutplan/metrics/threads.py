"""A few threads for blocking calls that never hold up the end of the process.

`ThreadPoolExecutor` waits at exit for every thread it ever had; a server that feeds us a byte a second would keep the
operator from ending, and its Lease with it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads(Generic[T]):
    """At most `most` daemon threads, started as they are needed, that do calls in the order in which they came."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._calls: deque[tuple[Future[T], Callable[[], T]]] = deque()
        self._turn = threading.Condition()
        self._idle = 0
        """Threads that wait and that no call has woken."""
        self._started = 0
        self._closed = False

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call done; one that is cancelled before its turn is left out. Raises RuntimeError once closed."""
        future: Future[T] = Future()
        with self._turn:
            if self._closed:
                raise RuntimeError("closed")
            self._calls.append((future, call))
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
        while (taken := self._next()) is not None:
            future, call = taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - goes to whoever waits for it
                    future.set_exception(error)

    def _next(self) -> tuple[Future[T], Callable[[], T]] | None:
        with self._turn:
            while not self._calls:
                if self._closed:
                    return None
                self._idle += 1
                self._turn.wait()
            return self._calls.popleft()
