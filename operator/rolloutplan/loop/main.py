"""The operator process: builds watches, elector, reconciler and probes, and runs them from start to SIGTERM.

`Options` come from the command line (cli/serve.py). The watches feed the reconciler; the elector starts and stops it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from rolloutplan import __version__, clock
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import CONNECTIONS, NO_LIMIT, TIMEOUT, Api, ApiError, read_config
from rolloutplan.cluster.lease import Elector
from rolloutplan.cluster.serving import Serving
from rolloutplan.loop.definitions import Compare, Definitions
from rolloutplan.loop.endpoint_watch import EndpointWatch
from rolloutplan.loop.kind_status import KindStatus
from rolloutplan.loop.limiter import Clients, Priority, RequestLimiter
from rolloutplan.loop.missing_rights import why
from rolloutplan.loop.notifier_status import NotifierStatuses
from rolloutplan.loop.options import Options
from rolloutplan.loop.owned_routes import OwnedRoutes
from rolloutplan.loop.policy_status import PolicyStatuses
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.record_pruning import RecordPruning
from rolloutplan.loop.releases import Releases
from rolloutplan.loop.route_watch import RouteWatch
from rolloutplan.loop.sinks import Sinks
from rolloutplan.loop.store import Store
from rolloutplan.loop.versions import History, Listing
from rolloutplan.loop.watch import Watch
from rolloutplan.metrics.access import Access
from rolloutplan.metrics.pool import Sources
from rolloutplan.publish.events import create_once
from rolloutplan.publish.installation_events import served_elsewhere
from rolloutplan.publish.notifications import Notifications
from rolloutplan.publish.traces import Send
from rolloutplan.telemetry.health import metrics_page, probes
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.telemetry.port import Port, raise_file_limit

WATCHED = (
    paths.PLANS, paths.DEPLOYMENTS, paths.SOURCES, paths.CLUSTER_SOURCES, paths.TEMPLATES, paths.CLUSTER_TEMPLATES,
    paths.POLICIES, paths.ROUTE_KINDS, paths.NOTIFIERS, paths.CLUSTER_NOTIFIERS, paths.NAMESPACES,
)  # fmt: skip
LEASE_TIMEOUT = 3.0
UNAUTHENTICATED = (
    "no admission policy checks who sends a command: the sender that a decision names is the field manager, which every"
    " client chooses for itself. Name groups in admission.approvers of the chart: then the API server admits approve,"
    " promote and skip only from their members, and a command only in its sender's own name"
)

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
    client: Clients = partial(RequestLimiter().client, api)
    reconciler = await _reconciler(client, metrics, options, closing)
    store = reconciler.store
    metrics.set_plan_counter(store.phases, reconciler.troubles.failing, reconciler.runs.oldest_look, store.owners)
    metrics.set_budget(store.budget.totals)
    synced, ready = asyncio.Event(), asyncio.Event()

    def may_lead() -> None:
        (ready.set if synced.is_set() and not serving.elsewhere else ready.clear)()

    def listed(listing: Listing) -> None:
        reconciler.feed.listed(listing)
        definitions.listed(listing.kind)
        if watch.synced() and not synced.is_set():
            store.needs.loaded()
            synced.set()
            may_lead()

    streams = await closing.enter_async_context(_api(metrics, connections=NO_LIMIT))
    endpoint_watch, route_watch = _follow(streams, reconciler, options.namespaces)
    watch = Watch(WATCHED, apply=reconciler.feed.apply, listed=listed, namespaces=options.namespaces)

    def fit(lack: str) -> None:
        store.crds_lack = lack
        watch.restart()

    definitions = Definitions(compare, fit)
    await definitions.look()

    def restored() -> None:
        log.warning("the cluster was restored from a backup: everything is listed again")
        reconciler.forget_runs()
        watch.restart()
        endpoint_watch.restart()
        route_watch.restart()

    elector = _elector(lease_api, reconciler, metrics, options, ready, restored)
    api.may_write = elector.may_write
    serving = _serving(lease_api, options, elector, may_lead)
    await serving.look()

    def idle() -> float:
        return (clock.now() - reconciler.schedule.turned_at).total_seconds()

    await _serve(
        closing,
        probes(
            idle=idle,
            missing=lambda: [
                *watch.missing(),
                *definitions.waits_for(),
                *serving.waits_for(),
                *reconciler.troubles.waits_for(),
                *([f"this replica cannot lead: {why(elector.forbidden)}"] if elector.forbidden else ()),
            ],
            leading=lambda: elector.epoch if elector.leading else None,
        ),
        options.health_port,
    )
    if options.metrics_port:
        await _serve(closing, metrics_page(metrics.page), options.metrics_port)
    watch.start()
    closing.push_async_callback(watch.stop)
    closing.push_async_callback(elector.release)
    closing.push_async_callback(reconciler.close)
    running = (
        reconciler.schedule.run(), elector.run(), endpoint_watch.run(), route_watch.run(), definitions.run(),
        serving.run(), *_housekeeping(api, client, reconciler, elector, options, metrics),
    )  # fmt: skip
    turning = tuple(map(asyncio.create_task, running))
    closing.push_async_callback(_end, *turning)
    return turning


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
    store.needs.loading = True
    sinks = Sinks(
        client,
        store.shared.notifiers,
        metrics,
        instance=options.identity,
        notifications=Notifications(tells, metrics.count_notification),
        send_spans=_span_sender(metrics, options, closing),
    )
    return Reconciler(client, store, sources, metrics, sinks)


def _span_sender(metrics: Metrics, options: Options, closing: AsyncExitStack) -> Send | None:
    """What sends spans; None where no receiver of traces is named."""
    if not options.traces:
        return None
    from rolloutplan.telemetry.traces import Traces  # noqa: PLC0415 - it needs an extra of the package

    traces = Traces(options.traces, metrics.count_spans, instance=options.identity)
    closing.callback(traces.close)
    return traces.send


def _follow(streams: Api, reconciler: Reconciler, namespaces: Sequence[str]) -> tuple[EndpointWatch, RouteWatch]:
    """The watches of what plans name, and of nothing else."""
    store = reconciler.store
    endpoint_watch = EndpointWatch(streams, store.needs, reconciler.feed, namespaces=namespaces)
    route_watch = RouteWatch(streams, store, reconciler.feed, namespaces=namespaces)
    needs, store.list_again = store.needs, route_watch.restart
    needs.services_changed, needs.routers_changed = endpoint_watch.changed, route_watch.changed
    needs.fetch = reconciler.feed.fetch
    return endpoint_watch, route_watch


def _housekeeping(
    api: Api, client: Clients, reconciler: Reconciler, elector: Elector, options: Options, metrics: Metrics
) -> tuple[Coroutine[Any, Any, None], ...]:
    """What else a leader does: the statuses of RouteKinds, policies and notifiers, and the end of old records."""
    store, feed, sinks, namespaces = reconciler.store, reconciler.feed, reconciler.sinks, options.namespaces

    def leading() -> bool:
        return elector.leading

    kinds = KindStatus(api, store.kinds, leading=leading, namespaces=namespaces)
    store.kinds_changed = kinds.changed
    releases = Releases(store.plans, namespaces)
    pruning = RecordPruning(
        api, store.plans, options.records, leading=leading, namespaces=namespaces, listed=releases.listed
    )
    sinks.records.ended = reconciler.plan_gone = pruning.ended
    policies = PolicyStatuses(
        client(Priority.LOOKS),
        store.policies,
        releases,
        leading=leading,
        apply=feed.apply,
        instance=options.identity,
        report=metrics.set_places,
    )

    notifiers = NotifierStatuses(
        client(Priority.LOOKS),
        store.shared.notifiers,
        sinks.notifications,
        leading=leading,
        apply=feed.apply,
    )
    owned = OwnedRoutes(
        api,
        store,
        lent=options.grants.owned_routes,
        leading=leading,
        wake=reconciler.schedule.soon,
        apply=feed.apply,
        namespaces=namespaces,
    )
    feed.seen = owned.seen
    feed.notifiers_changed = sinks.notifications.changed = notifiers.changed

    def led() -> None:
        kinds.changed()
        pruning.led()
        notifiers.changed()
        owned.led()

    reconciler.led = led
    return kinds.run(), pruning.run(), policies.run(), notifiers.run(), owned.run()


def _elector(
    api: Api,
    reconciler: Reconciler,
    metrics: Metrics,
    options: Options,
    ready: asyncio.Event,
    restored: Callable[[], None],
) -> Elector:
    """What elects the leader among the replicas of this installation; `restored` is called after a backup."""

    def gained(epoch: int) -> None:
        metrics.set_leader(epoch)
        reconciler.lead(epoch)

    def lost(_: str) -> None:
        metrics.set_leader(None)
        reconciler.follow()

    return Elector(
        api,
        namespace=options.lease_namespace,
        name=options.lease_name,
        identity=options.identity,
        gained=gained,
        lost=lost,
        ready=ready,
        saw=History(restored).saw,
        clock=_since_boot,
    )


def _serving(api: Api, options: Options, elector: Elector, may_lead: Callable[[], None]) -> Serving:
    """What sees whether another installation serves the cluster; `may_lead` is called when that changes."""

    async def changed(elsewhere: str) -> None:
        may_lead()
        if elsewhere:
            await _tell(api, options, "; ".join(serving.waits_for()))

    serving = Serving(
        api,
        namespace=options.cluster_lease,
        installation=f"{options.lease_namespace}/{options.lease_name}",
        leading=lambda: elector.leading,
        changed=changed,
        clock=_since_boot,
    )
    return serving


async def _tell(api: Api, options: Options, note: str) -> None:
    """Create the Event that says why this installation does nothing; the log and the probe say it as well."""
    where = (options.lease_namespace, options.lease_name)
    try:
        await create_once(api, where[0], served_elsewhere(*where, note, clock.now(), instance=options.identity))
    except ApiError as error:
        log.warning("no Event could be created", error=str(error))


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


def _since_boot() -> float:
    """Return seconds since boot, with suspended time where the system counts it: a Lease expires then too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
