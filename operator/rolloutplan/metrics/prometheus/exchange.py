"""One HTTP exchange with a server that may do anything: bounded in time, in bytes and in what it costs to read.

`http.py` builds requests and reads answers within an `Exchange`; `BoundedAdapter` gives requests the connections that
obey it. All of an exchange (connect, TLS, head, body) has one deadline. At that instant its socket is shut from
another thread, so that nothing that the server does can keep the thread. Only the look-up of a name cannot be
interrupted; the resolver's own time-outs end it.
"""

from __future__ import annotations

import functools
import http.client
import io
import math
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.retry import Retry

from rolloutplan.api.limits import kib
from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.metrics.prometheus.address import Guard
from rolloutplan.metrics.prometheus.limits import FRAMING, FREE_BYTES, LONGEST_HEAD, MOST_FIELDS, Limit, LimitError
from rolloutplan.stats.verdict import Why

MOST_CONNECTIONS: Final = 256
"""Connections of all sources. Where there are more, none is kept for the next request: a process may have 1,024 open
files where nobody has raised that, and needs some for the API server."""
MOST_NAMESPACES: Final = 1000
"""Namespaces whose seconds are remembered."""
_LOOK_AGAIN: Final = 2.0
"""Seconds after which the thread that ends exchanges ends itself, where there is none."""


class EndedError(Exception):
    """The exchange was ended: its deadline has passed, or its source was closed."""


class _Turns:
    """Lets one exchange compute at a time: of those that wait, one of the namespace that has computed the least.

    All threads share one interpreter lock: where many compute at once, the event loop waits for all of them in turn,
    several milliseconds for each. One that waits for its server does not compute.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: list[tuple[str, threading.Lock]] = []
        self._spent: dict[str, float] = {}
        """Seconds for which each namespace has computed, counted from what the least of all had when it came."""
        self._least = 0.0
        self._holder, self._since = "", 0.0

    def take(self, namespace: str) -> None:
        with self._lock:
            if not self._taken:
                self._give(namespace)
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append((namespace, mine))
        mine.acquire()

    def leave(self) -> None:
        with self._lock:
            self._taken = False
            self._spent[self._holder] += time.monotonic() - self._since
            if self._waiting:
                following = min(self._waiting, key=lambda each: self._spent.get(each[0], self._least))
                self._waiting.remove(following)
                self._give(following[0])
                following[1].release()
            elif len(self._spent) > MOST_NAMESPACES:
                self._spent.clear()

    def _give(self, namespace: str) -> None:
        self._taken = True
        self._holder, self._since = namespace, time.monotonic()
        self._spent[namespace] = max(self._spent.get(namespace, 0.0), self._least)
        self._least = self._spent[namespace]


_computing: Final = _Turns()


class Exchange:
    """One exchange of this thread, which ends at the monotonic instant `until`. Enter it to begin.

    `longest` is the most bytes of a body. `budget` is shared by all exchanges; `namespace` asks. `guard` checks each
    address before a connection to it.
    """

    def __init__(
        self, until: float, longest: int, budget: FairShare, namespace: str, guard: Guard | None = None
    ) -> None:
        self.until, self.longest, self.guard = until, longest, guard
        self._budget, self.namespace = budget, namespace
        self._taken = 0
        """Bytes taken from the budget."""
        self._handle: socket.socket | None = None
        """A handle on the connection, whoever closes the other one."""
        self._ended = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        _of_thread.exchange = self
        _computing.take(self.namespace)
        try:
            _ends.add(self)
        except BaseException:
            self.__exit__(None, None, None)  # else nobody would ever compute again
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _of_thread.exchange = None
        with self._lock:
            self._ended = True
            handle, self._handle = self._handle, None
        _ends.discard(self)
        if handle is not None:
            handle.close()
        self._budget.give(self.namespace, self._taken)
        _computing.leave()

    @property
    def over(self) -> bool:
        """Whether it was ended."""
        return self._ended

    def end(self) -> None:
        """End it now, from any thread: what waits for the server gets an error."""
        with self._lock:
            self._ended = True
            if self._handle is not None:
                with suppress(OSError):  # it is not connected yet, or not any more
                    self._handle.shutdown(socket.SHUT_RDWR)

    def end_by(self, until: float) -> None:
        """Bring its end forward."""
        if until < self.until:
            self.until = until
            _ends.add(self)

    def uses(self, connection: socket.socket) -> None:
        """Say which connection it uses. Raises EndedError."""
        with self._lock:
            if self._ended:
                raise EndedError
            former, self._handle = self._handle, socket.fromfd(connection.fileno(), connection.family, connection.type)
        if former is not None:
            former.close()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for the server: others compute meanwhile. Raises EndedError."""
        if self._ended:
            raise EndedError
        _computing.leave()
        try:
            yield
        finally:
            _computing.take(self.namespace)
        if self._ended:
            raise EndedError

    def count(self, length: int) -> None:
        """Take so much of the budget that a body of `length` bytes is covered. Raises LimitError."""
        if length > self.longest:
            raise self.too_long()
        more = length - FREE_BYTES - self._taken
        if more <= 0:
            return
        if not self._budget.take(self.namespace, more):
            words = f"not read: the answers that namespace {self.namespace} is reading at the same time are too long"
            raise LimitError(
                Limit.BYTES, f"{words} for its share of the {self._budget.total >> 20} MiB for all: select fewer series"
            )
        self._taken += more

    def too_long(self) -> LimitError:
        words = f"the answer is longer than {kib(self.longest)}: aggregate the query, or select fewer series"
        return LimitError(Limit.LENGTH, words, Why.MANY_SERIES)


class _OfThread(threading.local):
    exchange: Exchange | None = None


_of_thread: Final = _OfThread()


def _current() -> Exchange:
    exchange = _of_thread.exchange
    assert exchange is not None, "a connection is used by an exchange only"
    return exchange


class _Ends:
    """Ends each exchange at its instant, from a thread of its own that lives while there are any."""

    def __init__(self) -> None:
        self._active: set[Exchange] = set()
        self._changed = threading.Condition()
        self._awaited = math.inf
        """The instant until which the thread sleeps."""
        self._runs = False

    def add(self, exchange: Exchange) -> None:
        with self._changed:
            self._active.add(exchange)
            if not self._runs:
                threading.Thread(target=self._run, name="metrics-deadlines", daemon=True).start()
                self._runs = True
            elif exchange.until < self._awaited:
                self._changed.notify()

    def discard(self, exchange: Exchange) -> None:
        with self._changed:
            self._active.discard(exchange)

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            for exchange in due:
                exchange.end()

    def _wait(self) -> list[Exchange] | None:
        """The exchanges that are due, perhaps none; None where there have been none at all for a while."""
        with self._changed:
            now = time.monotonic()
            due = [exchange for exchange in self._active if exchange.until <= now]
            self._active.difference_update(due)
            if due:
                return due
            none = not self._active
            self._awaited = min((exchange.until for exchange in self._active), default=now + _LOOK_AGAIN)
            self._changed.wait(self._awaited - now)
            if none and not self._active:
                self._runs = False
                return None
            return []


_ends: Final = _Ends()


class _Wire(io.RawIOBase):
    """What a server sends, as it comes: at most `most` bytes of it."""

    def __init__(self, sent: io.RawIOBase, exchange: Exchange) -> None:
        self.limit = LimitError(Limit.HEAD, f"the head of the answer is longer than {LONGEST_HEAD} bytes")
        self.most = LONGEST_HEAD
        self.received = 0
        self._sent, self._exchange = sent, exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.received >= self.most:
            raise self.limit
        with self._exchange.waiting():
            number: int | None = self._sent.readinto(buffer)
        self.received += number or 0
        return number

    def close(self) -> None:
        self._sent.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *more: Any, **named: Any) -> None:
        super().__init__(sock, *more, **named)
        self._exchange = _current()
        self._wire = _Wire(self.fp.detach(), self._exchange)
        self.fp = io.BufferedReader(self._wire)

    def begin(self) -> None:
        super().begin()
        if len(self.headers) > MOST_FIELDS:
            raise LimitError(Limit.HEAD, f"the answer has {len(self.headers)} header lines, more than {MOST_FIELDS}")
        self._wire.most += FRAMING * self._exchange.longest
        self._wire.limit = self._exchange.too_long()


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that accepts, all of them within one time."""
        exchange = _current()
        try:
            return _connect(self._dns_host, self.port, exchange)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "no connection in time") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    def connect(self) -> None:
        with _current().waiting():
            super().connect()
        _connections.add(self)

    def close(self) -> None:
        _connections.discard(self)
        super().close()

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        exchange = _current()
        exchange.uses(self.sock)
        with exchange.waiting():
            super().send(data)


class _SecureConnection(_Connection, HTTPSConnection):
    pass


def _connect(host: str, port: int, exchange: Exchange) -> socket.socket:
    problem: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            if exchange.guard is not None:
                exchange.guard.check(str(address[0]))  # and to this very address: the name may get another one
            exchange.uses(connection)
            connection.settimeout(max(0.001, exchange.until - time.monotonic()))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise problem


_connections: Final[weakref.WeakSet[_Connection]] = weakref.WeakSet()
"""Those that are open."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and len(_connections) > MOST_CONNECTIONS:
            conn.close()
        super()._put_conn(conn)


class _SecurePool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class BoundedAdapter(HTTPAdapter):
    """Carries requests over connections that obey the exchange of their thread.

    `tls` says whom to trust, and is None for plain HTTP; at most `kept` connections are kept.
    """

    def __init__(self, tls: ssl.SSLContext | None, kept: int) -> None:
        self.tls = tls
        super().__init__(max_retries=Retry(total=0), pool_connections=1, pool_maxsize=kept)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self.tls, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def cert_verify(self, conn: Any, url: str | None, verify: Any, cert: Any) -> None:
        """Verify by the context alone; otherwise all CAs would be read again for each connection."""

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        """The address alone tells connections apart."""
        return super().build_connection_pool_key_attributes(request, verify, cert)[0], {}


def new_trust(file: str = "") -> ssl.SSLContext:
    """A context that trusts the CAs in a file, or those of the Python installation."""
    return ssl.create_default_context(cafile=file or DEFAULT_CA_BUNDLE_PATH)


trust: Final = functools.cache(new_trust)
"""The same, one for all: it has all CAs, and takes some memory. Nothing may be added to it."""
