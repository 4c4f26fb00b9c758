"""A listening port for small GET requests that strangers can reach and cannot exhaust.

aiohttp answers the requests. This module bounds what it has no bounds for: how long a connection lives, how many there
are, and how many files they leave for the API server. Half requests of one address never keep the kubelet out.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import defaultdict
from typing import Final

from aiohttp import web

CONNECTION_WITHIN: Final = 10.0
"""Seconds for a connection in all: its head, the answer, and reading that. A kubelet gives up after 5."""
MOST_CONNECTIONS: Final = 64
"""More than kubelets and Prometheus open at a time, and about 1 MiB of memory."""
ACCEPTED_AT_ONCE: Final = 8
"""Connections that are accepted in one turn of the loop: a flood costs it little, and a request that is complete is
answered some turns later, before MOST_CONNECTIONS others have come."""
WAITING: Final = 1024
"""Connections that the kernel keeps until then; one that finds no place there is tried again after a second."""
RESERVED_FILES: Final = 128
"""Files that no connection of a port takes: the API server, its watches and the Lease need fewer than that."""


def raise_file_limit() -> int:
    """Raise the limit of open files to what the system allows. Returns it; container runtimes may start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Port:
    """Serves an application on one port. Every connection is for one request, and is closed after its answer."""

    def __init__(
        self, app: web.Application, *, most: int = MOST_CONNECTIONS, within: float = CONNECTION_WITHIN
    ) -> None:
        app.on_response_prepare.append(_close_after)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=within)
        self._server: asyncio.Server | None = None
        self._most, self._within = most, within
        self._open: defaultdict[str, list[_Connection]] = defaultdict(list)
        """The connections of each address, the oldest first."""

    async def start(self, port: int, host: str | None = None) -> int:
        """Serve on `port` (0: any free one) of `host` (every address by default); returns the port.

        Raises OSError where the port is in use.
        """
        await self._runner.setup()
        listening = _listen(host, port)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=listening, backlog=ACCEPTED_AT_ONCE)
        listening.listen(WAITING)  # asyncio has made the kernel's queue as short as what it accepts at once
        return int(listening.getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in [each for connections in self._open.values() for each in connections]:
            connection.abort()
        await self._runner.cleanup()

    def admit(self, connection: _Connection) -> asyncio.Protocol | None:
        """Make room for a connection; returns who serves it, None where it is not served.

        The oldest connection of the address with the most of them goes first. So a flood ends its own connections, and
        one request in time is answered before its turn comes.
        """
        if self._runner.server is None or _takes_reserve(connection.file):
            return None
        self._open[connection.address].append(connection)
        if sum(map(len, self._open.values())) > self._most:
            max(self._open.values(), key=len)[0].abort()
        connection.ends = asyncio.get_running_loop().call_later(self._within, connection.abort)
        return self._runner.server()

    def leave(self, connection: _Connection) -> None:
        """Forget a connection that has ended."""
        if connection.ends is not None:
            connection.ends.cancel()
        connections = self._open.get(connection.address, [])
        if connection in connections:
            connections.remove(connection)
        if not connections:
            self._open.pop(connection.address, None)


class _Connection(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's protocol, once it was admitted."""

    address, file = "", -1
    ends: asyncio.TimerHandle | None = None

    def __init__(self, port: Port) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None

    def abort(self) -> None:
        self._port.leave(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address, self.file = str(peer[0]) if peer else "", transport.get_extra_info("socket").fileno()
        self._inner = self._port.admit(self)
        if self._inner is None:
            transport.abort()
        else:
            self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._port.leave(self)
        self._transport = None
        if self._inner is not None:
            self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()


def _listen(host: str | None, port: int) -> socket.socket:
    """A socket on an address, or on all of both families. Raises OSError."""
    if host is None and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((host or "", port))


async def _close_after(_: web.Request, response: web.StreamResponse) -> None:
    response.force_close()
    response.headers["Connection"] = "close"


def _takes_reserve(file: int) -> bool:
    """Whether a file of this number leaves too few: the system gives the lowest number that is free."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit != resource.RLIM_INFINITY and file >= limit - RESERVED_FILES
