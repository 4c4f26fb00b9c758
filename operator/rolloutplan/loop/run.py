"""The operator as a whole: watches, loop and probes, from start to SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence

import structlog

from rolloutplan import __version__
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.schedule import now
from rolloutplan.loop.store import Store
from rolloutplan.loop.watch import Watch
from rolloutplan.metrics.pool import Sources
from rolloutplan.telemetry.health import Health

WATCHED = (paths.PLANS, paths.ROUTES, paths.DEPLOYMENTS, paths.SOURCES, paths.CLUSTER_SOURCES)

log = structlog.stdlib.get_logger("rolloutplan")


async def run(namespaces: Sequence[str], health_port: int) -> None:
    """Run until SIGTERM or SIGINT. Raises ApiError where there is no way to reach an API server."""
    api, sources = await Api.connect(), Sources()
    instance = f"rolloutplan-{socket.gethostname()}"
    reconciler = Reconciler(api, Store(), sources, instance=instance, ready=lambda: watch.synced())  # noqa: PLW0108 - made below
    watch = Watch(WATCHED, offer=reconciler.offer, listed=reconciler.listed, namespaces=namespaces)

    def idle() -> float:
        return (now() - reconciler.schedule.turned_at).total_seconds()

    health = Health(idle=idle, missing=watch.missing)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("starting", version=__version__, namespaces=list(namespaces) or "all")
    await health.start(health_port)
    watch.start()
    turning = asyncio.create_task(reconciler.schedule.run())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((turning, stopped), return_when=asyncio.FIRST_COMPLETED)
        if turning.done():
            turning.result()
    finally:
        log.info("stopping")
        for task in (turning, stopped):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(turning, stopped, return_exceptions=True)
        await reconciler.close()
        await watch.stop()
        sources.close()
        await health.close()
        await api.close()
