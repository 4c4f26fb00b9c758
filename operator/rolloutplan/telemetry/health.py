"""The HTTP server for /livez (the loop runs), /readyz (all watches have listed once), /leading and /metrics.

The answers come from callables of the loop; the kubelet and Prometheus read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

STUCK_AFTER: Final = 10.0
"""Seconds without a turn of the loop after which /livez fails."""


class Health:
    """A small HTTP server for the kubelet and for Prometheus.

    `idle` returns the seconds since the last turn of the loop, `missing` the names of what has not been seen yet.
    `leading` returns the epoch in which this replica leads, None where another one does; `metrics` a page and its
    content type. Without a callable, its path gives 404. A replica that does not lead is also ready: it could take
    over at once.
    """

    def __init__(
        self,
        *,
        idle: Callable[[], float],
        missing: Callable[[], Sequence[str]],
        leading: Callable[[], int | None] | None = None,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
    ) -> None:
        self._idle = idle
        self._missing = missing
        self._leading = leading
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, port: int, host: str | None = None) -> int:
        """Serve on `port` (0: any free one) of `host` (every address by default); returns the port.

        Raises OSError where the port is in use.
        """
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/leading", self._leads)
        app.router.add_get("/metrics", self._counted)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        idle = self._idle()
        if idle > STUCK_AFTER:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, f"the event loop has been blocked for {idle:.0f} s")
        return _answer(HTTPStatus.OK, "alive")

    async def _readyz(self, _: web.Request) -> web.Response:
        missing = self._missing()
        if missing:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "not synced yet: " + ", ".join(missing))
        return _answer(HTTPStatus.OK, "ready")

    async def _leads(self, _: web.Request) -> web.Response:
        if self._leading is None:
            raise web.HTTPNotFound
        epoch = self._leading()
        if epoch is None:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "another replica leads")
        return _answer(HTTPStatus.OK, f"epoch {epoch}")

    async def _counted(self, _: web.Request) -> web.Response:
        if self._metrics is None:
            raise web.HTTPNotFound
        page, kind = self._metrics()
        return web.Response(body=page, headers={"Content-Type": kind})


def _answer(status: HTTPStatus, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n")
