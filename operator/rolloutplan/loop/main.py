"""The operator process: builds watches, leadership, reconciler and probes, and runs them from start to SIGTERM.

`Options` come from the command line (cli/serve.py).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import structlog

from rolloutplan import __version__, clock
from rolloutplan.cluster.client import CONNECTIONS, NO_LIMIT, TIMEOUT, Api, read_config
from rolloutplan.loop.definitions import Compare, Definitions
from rolloutplan.loop.housekeeping import housekeeping
from rolloutplan.loop.leadership import Leadership
from rolloutplan.loop.limiter import Clients, RequestLimiter
from rolloutplan.loop.options import Options
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.sinks import Sinks
from rolloutplan.loop.store import Store
from rolloutplan.loop.watches import Watches
from rolloutplan.metrics.access import Access
from rolloutplan.metrics.pool import Sources
from rolloutplan.publish.notifications import Notifications
from rolloutplan.publish.traces import Send
from rolloutplan.telemetry.health import metrics_page, probes
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.telemetry.port import Port, raise_file_limit

LEASE_TIMEOUT = 3.0
UNAUTHENTICATED = (
    "no admission policy checks who sends a command: the sender that a decision names is the field manager, which every"
    " client chooses for itself. Name groups in admission.approvers of the chart: then the API server admits approve,"
    " promote and skip only from their members, and a command only in its sender's own name"
)

COLLECT_AFTER = (20_000, 20, 20)
"""Objects, and younger collections, before Python's collector looks through a generation. What is listed stays: with
its own figures (700, 10, 10) it would look through a thousand plans for a sixth of a start."""
STACK = 8 << 20
"""Bytes of a thread's stack, as glibc has it; only what is used takes memory. The parser of PromQL calls itself for
each operator, for which the 128 KiB of musl are too few."""

log = structlog.stdlib.get_logger("rolloutplan")


async def run(options: Options, compare: Compare) -> None:
    """Run until SIGTERM or SIGINT. Raises ApiError where no API server can be reached.

    `compare` tells how the CRDs of the cluster differ from those of this program.
    """
    threading.stack_size(STACK)
    gc.freeze()  # what is loaded stays: looking it through again and again stops everything for tens of milliseconds
    gc.set_threshold(*COLLECT_AFTER)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("starting", version=__version__, namespaces=list(options.namespaces) or "all", identity=options.identity)
    if not options.authenticated_commands:
        log.warning(UNAUTHENTICATED)
    async with AsyncExitStack() as closing:
        turning = await _start(options, closing, compare)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((*turning, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        log.info("stopping")
        for task in turning:
            if task.done():
                task.result()


async def _start(options: Options, closing: AsyncExitStack, compare: Compare) -> tuple[asyncio.Task[None], ...]:
    """Start everything; return the tasks that never end by themselves. `closing` ends them all, the last first."""
    log.info("limit of open files", files=raise_file_limit())
    metrics = Metrics(clock.now, clock.ahead)
    closing.callback(metrics.close)
    api = await closing.enter_async_context(_api(metrics))
    lease_api = await closing.enter_async_context(_api(metrics, LEASE_TIMEOUT))
    streams = await closing.enter_async_context(_api(metrics, connections=NO_LIMIT))
    client: Clients = partial(RequestLimiter().client, api)
    reconciler = await _reconciler(client, metrics, options, closing)
    watches = Watches(streams, reconciler.store, reconciler.feed, namespaces=options.namespaces)
    definitions = await _definitions(compare, reconciler.store, watches)

    def restored() -> None:
        log.warning("the cluster was restored from a backup: everything is listed again")
        reconciler.forget_runs()
        watches.restart()

    leadership = Leadership(lease_api, reconciler, metrics, options, restored)
    watches.synced = leadership.synced
    api.may_write = leadership.elector.may_write
    await leadership.serving.look()
    await _serve(closing, _health(reconciler, watches, definitions, leadership), options.health_port)
    if options.metrics_port:
        await _serve(closing, metrics_page(metrics.page), options.metrics_port)
    watches.kinds.start()
    closing.push_async_callback(watches.kinds.stop)
    closing.push_async_callback(leadership.elector.release)
    closing.push_async_callback(reconciler.close)
    running = (
        reconciler.schedule.run(), leadership.elector.run(), watches.endpoints.run(), watches.routes.run(),
        definitions.run(), leadership.serving.run(),
        *housekeeping(api, client, reconciler, leadership.leading, options, metrics),
    )  # fmt: skip
    turning = tuple(map(asyncio.create_task, running))
    closing.push_async_callback(_end, *turning)
    return turning


async def _definitions(compare: Compare, store: Store, watches: Watches) -> Definitions:
    """What compares the CRDs of the cluster with those of this program, and has done so once."""

    def fit(lack: str) -> None:
        store.crds_lack = lack
        watches.kinds.restart()

    definitions = Definitions(compare, fit)
    watches.listed = definitions.listed
    await definitions.look()
    return definitions


def _health(reconciler: Reconciler, watches: Watches, definitions: Definitions, leadership: Leadership) -> Port:
    """The probes of this replica."""

    def idle() -> float:
        return (clock.now() - reconciler.schedule.turned_at).total_seconds()

    def missing() -> list[str]:
        waiting = (definitions, leadership, reconciler.troubles)
        return [*watches.kinds.missing(), *(words for each in waiting for words in each.waits_for())]

    return probes(idle=idle, missing=missing, leading=leadership.epoch)


async def _reconciler(client: Clients, metrics: Metrics, options: Options, closing: AsyncExitStack) -> Reconciler:
    """The host of all runs, with what it asks and what it tells."""
    api_hosts = await _api_hosts()
    asks = Access(options.source_hosts, api_hosts, options.credentials)
    sources = Sources(metrics.count_source_request, metrics.count_limit, options.source_ceilings, asks)
    closing.callback(sources.close)
    tells = Access(options.notifier_hosts, api_hosts, options.credentials)
    store = Store(
        options.source_hosts,
        options.notifier_hosts,
        grants=options.grants,
        unserved=options.unserved,
        authenticated_commands=options.authenticated_commands,
    )
    sinks = Sinks(
        client,
        store.shared.notifiers,
        metrics,
        instance=options.identity,
        notifications=Notifications(tells, metrics.count_notification),
        send_spans=_span_sender(metrics, options, closing),
    )
    reconciler = Reconciler(client, store, sources, metrics, sinks)
    troubles, runs = reconciler.troubles, reconciler.runs
    metrics.set_plan_counter(store.phases, troubles.failing, runs.oldest_look, store.owners)
    metrics.set_budget(store.budget.totals)
    return reconciler


def _span_sender(metrics: Metrics, options: Options, closing: AsyncExitStack) -> Send | None:
    """What sends spans; None where no receiver of traces is named."""
    if not options.traces:
        return None
    from rolloutplan.telemetry.traces import Traces  # noqa: PLC0415 - it needs an extra of the package

    traces = Traces(options.traces, metrics.count_spans, instance=options.identity)
    closing.callback(traces.close)
    return traces.send


async def _serve(closing: AsyncExitStack, port: Port, number: int) -> None:
    """Serve a port until the end."""
    closing.push_async_callback(port.close)
    await port.start(number)


async def _api_hosts() -> tuple[str, ...]:
    """The hosts of the API server: as this process reaches it, and as every pod does."""
    config = await read_config()
    hosts = (urlsplit(config.host).hostname, os.environ.get("KUBERNETES_SERVICE_HOST"))
    return tuple(filter(None, hosts))


@asynccontextmanager
async def _api(metrics: Metrics, timeout: float = TIMEOUT, *, connections: int = CONNECTIONS) -> AsyncIterator[Api]:
    api = await Api.connect(
        timeout=timeout,
        observe=metrics.count_api_request,
        compare_clock=clock.compare,
        connections=connections,
    )
    try:
        yield api
    finally:
        await api.close()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
