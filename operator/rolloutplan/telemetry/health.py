"""The HTTP servers of the operator: the probes on one port, its metrics on another one.

The probes are /livez (the loop runs), /readyz (all watches have listed once, the CRDs fit, no other installation serves
the cluster, and statuses may be written) and /leading. The answers come from callables of the loop; the kubelet and
Prometheus read them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

from rolloutplan.telemetry.port import Port

STUCK_AFTER: Final = 10.0
"""Seconds without a turn of the loop after which /livez fails."""


def probes(
    *,
    idle: Callable[[], float],
    missing: Callable[[], Sequence[str]],
    leading: Callable[[], int | None],
) -> Port:
    """The port for the kubelet.

    `idle` returns the seconds since the last turn of the loop, `missing` what it waits for.
    `leading` returns the epoch in which this replica leads, None where another one does. A replica that does not lead
    is also ready: it could take over at once.
    """

    async def livez(_: web.Request) -> web.Response:
        if (stuck := idle()) > STUCK_AFTER:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, f"the event loop has been blocked for {stuck:.0f} s")
        return _answer(HTTPStatus.OK, "alive")

    async def readyz(_: web.Request) -> web.Response:
        if waits := missing():
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "not ready: " + "; ".join(waits))
        return _answer(HTTPStatus.OK, "ready")

    async def leads(_: web.Request) -> web.Response:
        if (epoch := leading()) is None:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "this replica does not lead")
        return _answer(HTTPStatus.OK, f"epoch {epoch}")

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/leading", leads)
    return Port(app)


def metrics_page(page: Callable[[], Awaitable[tuple[bytes, str]]]) -> Port:
    """The port for Prometheus: `page` returns what /metrics shows, and its content type."""

    async def shown(_: web.Request) -> web.Response:
        body, kind = await page()
        return web.Response(body=body, headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_get("/metrics", shown)
    return Port(app)


def _answer(status: HTTPStatus, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n")
