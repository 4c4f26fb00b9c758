"""The host of all runs: gives each `PlanRun` its facts when the plan is due, and has its effects carried out.

Facts come from the store, which is filled by the watches and by the answers to the operator's own requests. Effects go
to the executor, each in its own task. The result goes back to the run, and the plan is reconciled again at once.
engine/plan_run.py decides what is done and in which order. This module handles leadership, scheduling and tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.status import RUNNING
from rolloutplan.clock import now
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError, ResourceClient
from rolloutplan.engine.model.effects import Effect, Effects, Failure, Key, Record
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.endpoints import Service
from rolloutplan.loop.executor import Executor
from rolloutplan.loop.journal import Journal, context
from rolloutplan.loop.limiter import Priority, RequestLimiter
from rolloutplan.loop.notifiers import KINDS as NOTIFIERS
from rolloutplan.loop.routers import Trouble
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.stagger import Stagger
from rolloutplan.loop.store import CLUSTER_SOURCES, SOURCES, Store
from rolloutplan.loop.versions import Id, Listing, name_of
from rolloutplan.metrics.access import NOWHERE
from rolloutplan.metrics.pool import Sources
from rolloutplan.publish.base import DecisionSink, view_of
from rolloutplan.publish.events import EventSink
from rolloutplan.publish.notifications import Notifications
from rolloutplan.publish.object_events import ObjectEventSink
from rolloutplan.publish.records import RecordSink
from rolloutplan.publish.traces import Send, TraceSink
from rolloutplan.telemetry.metrics import Metrics

CLAIMED_A_SECOND: Final = 100
"""Running plans that a new leader claims per second, where none of their writes is half done."""
COUNTED_A_SECOND: Final = 125
"""Plans per second that send count queries for the same instant. At this rate no evaluation was missed."""
NOTED_A_SECOND: Final = 50
"""Plans per second whose looks are recorded where many are due at the same instant: half a core of an API server."""
AFTER_WEIGHTS: Final = timedelta(milliseconds=50)
"""How long a plan waits after its rollback's weights are written, so that rollbacks of other plans go first."""
AFTER_AN_ERROR: Final = timedelta(seconds=10)
"""The delay until a plan is reconciled again after an exception that its status cannot report."""

FETCHED_WITHIN: Final = 2.0
"""Seconds for which a plan without a run waits for an object that it has just named, before it counts as missing."""
FETCHED_AGAIN: Final = 1.0
"""Seconds until an object is read again that could not be read: a run goes no further without it."""

log = structlog.stdlib.get_logger("rolloutplan")


class Reconciler:
    """Drives the run of each plan while it leads. A follower only stores what the watches deliver."""

    def __init__(
        self,
        api: Api,
        store: Store,
        sources: Sources,
        metrics: Metrics,
        *,
        instance: str,
        notifications: Notifications | None = None,
        send_spans: Send | None = None,
    ) -> None:
        """Runs are sent as traces where `send_spans` is given."""
        self.store = store
        self.schedule = Schedule(self._reconcile, late=metrics.observe_lag)
        self._api, self._sources, self._metrics, self._journal = api, sources, metrics, Journal(metrics)
        self._limiter = RequestLimiter()
        sinks: list[DecisionSink] = [
            EventSink(self.client(Priority.EVENTS), instance=instance),
            RecordSink(self.client(Priority.ROLLOUT_RECORDS), ended=self._ended, written=metrics.changes.count),
            ObjectEventSink(self.client(Priority.OBJECT_EVENTS), instance=instance),
        ]
        if send_spans is not None:
            sinks.append(
                TraceSink(self.client(Priority.ROLLOUT_RECORDS), send_spans, partial(metrics.count_spans, "lost", 1))
            )
        self._sinks = {sink.name: sink for sink in sinks}
        self.notifications = notifications or Notifications(NOWHERE)
        store.sinks = tuple(view_of(sink) for sink in self._sinks.values())
        self._executor = Executor(
            self.client,
            store,
            sources,
            metrics,
            self._sink,
            apply=self.apply,
            remove=self.remove,
            count_delay=self._count_delay,
            look_delay=self._look_delay,
            still_wanted=self._still_wanted,
        )
        self.run_ended: Callable[[str, str], None] = lambda *_: None
        """Called with the namespace and the name of a plan when a run of it has ended, or when it is gone."""
        self.led: Callable[[], None] = lambda: None
        """Called when this replica begins to lead."""
        self.notifiers_changed: Callable[[], None] = lambda: None
        """Called when a Notifier or a ClusterNotifier has changed."""
        self.seen: Callable[[Id], None] = lambda _: None
        """Called with each object that has changed, or is gone; without a name where that may be any of its kind."""
        self._epoch: int | None = None
        self._led_since = now()
        self._runs: dict[str, PlanRun] = {}
        self._tasks: dict[tuple[str, Key], asyncio.Task[None]] = {}
        self._fetching: set[asyncio.Task[None]] = set()
        self._claims = Stagger(CLAIMED_A_SECOND)
        """The uids of the plans whose traffic had shifted when this term of the leader began."""
        self._counting = Stagger(COUNTED_A_SECOND)
        """Keys of the plans that count events now."""
        self._noting = Stagger(NOTED_A_SECOND)
        """Keys of the plans with a run whose looks are recorded."""
        self._failing: set[str] = set()
        """Keys of the plans whose last look raised, or whose status reports a fault of the operator."""

    def _ended(self, namespace: str, plan: str) -> None:
        self.run_ended(namespace, plan)

    def _sink(self, namespace: str, name: str) -> DecisionSink | None:
        """Return a sink of the plans of a namespace: one of all plans, or that of a notifier."""
        if (found := self._sinks.get(name)) is not None:
            return found
        notifier = self.store.notifiers.of_sink(namespace, name)
        return self.notifications.sink(notifier) if notifier is not None else None

    def failing(self) -> int:
        """Return the number of plans on which the operator itself fails; 0 while it does not lead."""
        return len(self._failing)

    def oldest_look(self) -> float | None:
        """Return the seconds since the last look at the run that has waited for one the longest; 0 without a run.

        None while it does not lead.
        """
        if self._epoch is None:
            return None
        at = now()
        running = (key for key, plan in self.store.plans.items() if plan.status.phase in RUNNING)
        looks = (self._runs[key].looked_at if key in self._runs else None for key in running)
        return max(((at - (look or self._led_since)).total_seconds() for look in looks), default=0.0)

    def client(self, priority: Priority) -> ResourceClient:
        """Return the client for this priority. Each of its requests waits for its turn."""
        return self._limiter.client(self._api, priority)

    async def close(self) -> None:
        """Cancel all tasks in flight. Every step is safe to abandon and to resume."""
        tasks = [*self._tasks.values(), *self._fetching]
        for task in self._fetching:
            task.cancel()
        self._cancel_tasks()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel_tasks(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    # ---- leadership ----------------------------------------------------------------------------------------------

    def lead(self, epoch: int) -> None:
        """Begin to act. The store already holds what the watches delivered."""
        self._epoch, self._led_since = epoch, now()
        self._claims.clear()
        for plan in self.store.plans.values():
            if plan.status.phase in TRAFFIC_SHIFTED_PHASES:
                self._claims.join(plan.view.uid)
        self.requeue_all()
        self.led()

    def follow(self) -> None:
        """Stop acting at once: cancel all tasks in flight and discard what was not written."""
        self._epoch = None
        self.forget_runs()

    def forget_runs(self) -> None:
        """Discard what is not in the API server. It was decided on objects of which there may be others now."""
        self._cancel_tasks()
        self._runs.clear()
        self._counting.clear()
        self._noting.clear()
        self._failing.clear()

    # ---- changes of objects --------------------------------------------------------------------------------------

    def apply(self, kind: str, event: str | None, raw: dict[str, Any]) -> None:
        """Store an object from a watch or an answer; the affected plans are reconciled at once."""
        self._requeue_affected(kind, self.store.apply(kind, event, raw))
        self.seen((kind, *name_of(raw)))

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Remove an object that is gone; the affected plans are reconciled at once."""
        self._requeue_affected(kind, self.store.remove((kind, namespace, name)))
        self.seen((kind, namespace, name))

    def listed(self, listing: Listing) -> None:
        """Handle a complete list: stored objects that are not in it are gone."""
        self._requeue_affected(listing.kind, self.store.listed(listing))
        self.seen((listing.kind, "", ""))
        self.requeue_all()

    def fetch(self, ident: Id) -> None:
        """Read an object of which the store kept only a key, and which a plan names now."""
        task = asyncio.get_running_loop().create_task(self._fetch(ident))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, ident: Id) -> None:
        kind, namespace, name = ident
        watched = (paths.PLANS, paths.DEPLOYMENTS, paths.TEMPLATES, paths.SOURCES, paths.NOTIFIERS)
        others = {each.resource: each for each in watched}
        resource = others.get(kind) or self.store.kinds.served(kind)
        chosen = f"metadata.name={name}"  # a list of one: the operator may list every kind that it watches
        while True:
            try:
                priority = Priority.WEIGHTS if self.store.is_urgent(ident) else Priority.FORWARD
                async with asyncio.timeout(FETCHED_WITHIN):
                    found = await self.client(priority).list(paths.path(resource, namespace), fieldSelector=chosen)
                break
            except (ApiError, TimeoutError) as error:
                log.warning("an object that a plan names could not be read; trying again", object=ident, error=error)
                self._requeue_affected(kind, self.store.give_up(ident, unread=True))
                await asyncio.sleep(FETCHED_AGAIN)
        if raw := next(iter(safe_get.items(found, "items")), None):
            self.apply(kind, None, raw)
        else:
            self.remove(kind, namespace, name)
        self._requeue_affected(kind, self.store.give_up(ident))

    def routes_wanted(self) -> Mapping[str, paths.Kind]:
        """Return the resources of the kinds of route that plans name."""
        return self.store.routes_wanted()

    def routes_served(self, place: paths.Kind) -> None:
        """Use the version in which a resource of routes is served."""
        self.store.kinds.serve(place.resource, place.version)

    def routes_listed(self, resource: str) -> None:
        """Look at the plans that waited for the routes of a resource."""
        self._requeue_affected(resource, self.store.routes_listed(resource))

    def routes_failed(self, resource: str, trouble: Trouble) -> None:
        """Look at the plans whose routes are of a resource that cannot be watched."""
        if affected := self.store.routes_failed(resource, trouble):
            log.warning("routes cannot be watched", resource=resource, why=trouble.words)
            self._requeue_affected(resource, affected)

    def routes_unwanted(self, resource: str) -> None:
        """Forget the routes of a resource that no plan names."""
        self.store.routes_unwanted(resource)

    def services(self, namespace: str | None) -> frozenset[Service]:
        """Return the Services that plans name, in a namespace or everywhere."""
        return self.store.services(namespace)

    def endpoints_listed(
        self, namespace: str | None, services: Iterable[Service], items: Iterable[Mapping[str, Any]]
    ) -> None:
        """Handle a complete list of the EndpointSlices of these Services, the only ones that are followed there."""
        self._look_at(self.store.endpoints.listed(namespace, services, items))

    def endpoints_changed(self, event: str, raw: Mapping[str, Any]) -> None:
        """Handle a watch event of an EndpointSlice."""
        self._look_at(self.store.endpoints.changed(event, raw))

    def endpoints_failed(self, services: Iterable[Service], why: str, *, outdated: bool) -> None:
        """Handle a failure to follow the EndpointSlices of these Services."""
        self._look_at(self.store.endpoints.failed(services, why, outdated=outdated))

    def _look_at(self, services: Iterable[Service]) -> None:
        for key in self.store.users_of(services):
            self.schedule.soon(key)

    def requeue_all(self) -> None:
        """Reconcile every plan: the watches have just become complete, or complete again."""
        for key in self.store.plans:
            self.schedule.soon(key)

    def _requeue_affected(self, kind: str, affected: Iterable[str]) -> None:
        """Queue the plans that the store returned for a change of an object of this kind. No other code queues them."""
        if kind in (SOURCES, CLUSTER_SOURCES):
            used = {source.key for source in self.store.sources.values()}
            self._sources.keep(used)
            self._metrics.keep_sources({key.title for key in used})
        if kind in NOTIFIERS:
            self._metrics.keep_notifiers({each.title for each in self.store.notifiers})
            self.notifiers_changed()
        for key in affected:
            self.schedule.soon(key)

    # ---- reconcile -----------------------------------------------------------------------------------------------

    def _reconcile(self, key: str) -> None:
        """Reconcile one plan. An error affects this plan only."""
        if self._epoch is None or self.store.awaits(key):
            return
        try:
            facts = self.store.facts(key, epoch=self._epoch, claim_at=self._claim_at)
        except Exception as error:  # noqa: BLE001 - reported, and the schedule of all other plans goes on
            self._report_unreadable(key, self._epoch, error)
            return
        if facts is None or facts.status.phase not in TRAFFIC_SHIFTED_PHASES:
            self._counting.leave(key)
        if facts is None or facts.status.phase not in RUNNING:
            self._noting.leave(key)
        if facts is None:
            if self._runs.pop(key, None) is not None:
                self._ended(*key.split("/"))
            self._failing.discard(key)
            self.schedule.forget(key)
            return
        self._look(key, facts, lambda run: self._advance(key, run, facts))

    def _report_unreadable(self, key: str, epoch: int, error: Exception) -> None:
        """Report that the facts of a plan cannot be put together; what leads back is tried on those that can."""
        self._failing.add(key)
        log.error("the facts of a plan could not be read", plan=key, error=f"{type(error).__name__}: {error}")
        try:
            core = self.store.core_facts(key, epoch=epoch, claim_at=self._claim_at)
        except Exception:
            log.exception("not even what leads back could be read", plan=key)
            core = None
        if core is None:
            self.schedule.at(key, now() + AFTER_AN_ERROR)
            return
        self._look(key, core, lambda run: run.report_fault(core, error, now()))

    def _look(self, key: str, facts: Facts, advance: Callable[[PlanRun], Effects]) -> None:
        """Look at a plan once, and start what follows."""
        with structlog.contextvars.bound_contextvars(**context(facts)):
            try:
                effects = advance(self._run_of(key, facts))
            except Exception:
                log.exception("an exception could not be reported in the status of its plan")
                self._failing.add(key)
                self.schedule.at(key, now() + AFTER_AN_ERROR)
                return
            self._journal.log_decisions(effects.decided)
            for effect in effects.todo:
                self._start(key, effect)
        self.schedule.at(key, effects.wake_at)
        self.schedule.at(key, effects.look_at)

    def _advance(self, key: str, run: PlanRun, facts: Facts) -> Effects:
        """Return the effects of a pass; after an exception, those that report it and that may lead back."""
        try:
            effects = run.advance(facts, now())
        except Exception as error:
            if key not in self._failing:
                log.exception("a plan could not be reconciled; other plans are not affected")
            self._failing.add(key)
            return run.report_fault(facts, error, now())
        (self._failing.add if run.fails else self._failing.discard)(key)
        return effects

    def _run_of(self, key: str, facts: Facts) -> PlanRun:
        run = self._runs.get(key)
        if run is None or run.uid != facts.plan.uid:
            run = PlanRun(facts, now(), undo_command=partial(self.store.undo_command, key))
            self._runs[key] = run
        return run

    def _claim_at(self, uid: str) -> datetime:
        """Return when to claim a run. Claims are spread at CLAIMED_A_SECOND, each run at its own offset."""
        return self._led_since + timedelta(seconds=self._claims.offset(uid))

    def _start(self, key: str, effect: Effect) -> None:
        """Carry out an effect in a task. It replaces a task in flight with the same key."""
        run, ident = self._runs[key], (key, effect.key)
        if (former := self._tasks.pop(ident, None)) is not None:
            former.cancel()
        task = self._tasks[ident] = asyncio.get_running_loop().create_task(self._carry_out(key, run, effect))

        def on_done(_: object) -> None:
            if self._tasks.get(ident) is task:
                del self._tasks[ident]

        task.add_done_callback(on_done)

    async def _carry_out(self, key: str, run: PlanRun, effect: Effect) -> None:
        try:
            result = await self._executor.carry_out(effect)
        except Exception as error:
            log.exception("a request failed with an exception; retrying")
            result = Failure.internal(error)
        run.on_result(effect, result, now())
        self._journal.log_result(run, effect, result)
        self.schedule.at(key, now() + AFTER_WEIGHTS if effect.urgent and not isinstance(effect.work, Record) else now())

    def _still_wanted(self, effect: Effect) -> bool:
        run = self._runs.get(effect.snapshot.plan.key)
        return run is not None and run.still_wants(effect)

    def _count_delay(self, key: str) -> float:
        """Return seconds. All plans count at about the same instants, so each sends its queries at its own offset."""
        self._counting.join(key)
        return self._counting.offset(key)

    def _look_delay(self, key: str) -> float:
        """Return seconds. After a take-over the looks of all runs are due at once: each has its own offset."""
        self._noting.join(key)
        return self._noting.offset(key)
