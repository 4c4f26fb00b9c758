"""Carry out what the engine decides, for one plan at a time, in the order that is safe.

For a step forward: the status that says what is intended, then the weights, then the Events. For a step back the
weights wait for nothing: the status is written beside them, and later if it cannot be written now. If the operator dies
between the two, the fence that the weights carry says whose they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from zlib import crc32

import structlog

from rolloutplan.cluster import jobs, paths, plans, scale, workloads
from rolloutplan.cluster.client import Api, ApiError, ResourceClient
from rolloutplan.engine.decide import decide
from rolloutplan.engine.look import Look, WorkloadView
from rolloutplan.engine.report import suspected
from rolloutplan.engine.routes import UnusableError, select_rules
from rolloutplan.engine.step import Action, AskGate, Inspect, MarkPlan, Observe, PatchRoute, RunJob, Scale, Step
from rolloutplan.engine.table import MOVED, is_loud
from rolloutplan.loop import routes
from rolloutplan.loop.asker import Asker
from rolloutplan.loop.limiter import Priority, RequestLimiter
from rolloutplan.loop.memory import Memory
from rolloutplan.loop.probe import heard, inspect, observed
from rolloutplan.loop.schedule import Schedule, now
from rolloutplan.loop.store import CLUSTER_SOURCES, DEPLOYMENTS, PLANS, SOURCES, Plan, Store, source_view
from rolloutplan.loop.teller import Teller
from rolloutplan.loop.versions import Listing
from rolloutplan.metrics.pool import Sources
from rolloutplan.plan.changes import change
from rolloutplan.plan.route import RouteId
from rolloutplan.plan.status import Phase, Status
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.traffic import ROUTE_KINDS

ROLLBACK_WITHIN = 2.0
"""Seconds until a rollback's write that is not answered is tried again: it is absolute, so twice is once."""
ADOPTED_A_SECOND = 100
"""Runs that a new leader marks as its own, while nothing in them is half done."""
PASSES = 12
"""Steps of one plan in a row, before the others have their turn."""
AFTER_WEIGHTS = timedelta(milliseconds=50)
"""How long a plan whose weights were just put back leaves the way to others that still wait for theirs."""
LOOK_THROUGH_AFTER = timedelta(seconds=10)
"""After a start, judging comes before warning."""
READ_AGAIN = timedelta(seconds=4)
"""How long a gateway may say nothing before the route itself is asked."""
COUNT_RESTARTS_AFTER = timedelta(seconds=2)
"""After a start, weights that must go back come before the pods are counted."""
COUNT_RESTARTS_AGAIN = timedelta(minutes=1)
"""After the pods could not be listed."""

_STALE = frozenset({HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND})
"""How the API server refuses a write whose object is no longer as it was seen."""

log = structlog.stdlib.get_logger("rolloutplan")


class _StaleError(Exception):
    """The plan is no longer the one that was looked at: look again, decide again."""


class Reconciler:
    """Brings each plan a step further whenever its time has come, while it leads. A follower only takes in."""

    def __init__(self, api: Api, store: Store, sources: Sources, metrics: Metrics, *, instance: str) -> None:
        self._api, self.store = api, store
        self._sources, self._metrics = sources, metrics
        self._epoch: int | None = None
        self._led_since = now()
        self.schedule = Schedule(self._due, late=metrics.late)
        self._limiter = RequestLimiter()
        self._asker = Asker(store, sources, self.schedule, metrics, spawn=self._spawn)
        events = self._client(Priority.EVENTS)
        self._teller = Teller(events, store, self.schedule, instance=instance, spawn=self._spawn)
        self._memories: dict[str, Memory] = {}
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def _client(self, priority: Priority) -> ResourceClient:
        """What every request goes through: it waits for its turn."""
        return self._limiter.client(self._api, priority)

    async def close(self) -> None:
        """Let go of what is under way: every step is safe to abandon and to take up again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- who -----------------------------------------------------------------------------------------------------

    def lead(self, epoch: int) -> None:
        """Begin to act: what the watches have brought is there already."""
        self._epoch, self._led_since = epoch, now()
        self.everything()

    def follow(self) -> None:
        """Stop acting at once. What is under way is let go, and what was not written is forgotten."""
        self._epoch = None
        for task in self._tasks:
            task.cancel()
        self._memories.clear()
        self.store.forget_owed()

    # ---- when ----------------------------------------------------------------------------------------------------

    def offer(self, kind: str, event: str | None, raw: dict[str, Any]) -> None:
        """Take in what a watch or an answer brought; the plans that it touches are looked at at once."""
        touched = self.store.offer(kind, event, raw)
        if kind == DEPLOYMENTS and self._epoch is not None:
            self._look_at_pods(raw["metadata"]["name"], touched)
        self._take(kind, touched)

    def listed(self, listing: Listing) -> None:
        """A list is complete: what is held and not in it is gone."""
        self._take(listing.kind, self.store.listed(listing))
        self.everything()

    def _take(self, kind: str, touched: Iterable[str]) -> None:
        """Act upon what the store says of a change of an object of this kind: nobody else will."""
        if kind in (SOURCES, CLUSTER_SOURCES):
            self._sources.keep({source.key for source in self.store.sources.values()})
        for key in touched:
            self.schedule.soon(key)

    def everything(self) -> None:
        """Look at every plan: the watches have just become complete, or complete again."""
        for key in self.store.plans:
            self.schedule.soon(key)

    def _due(self, key: str) -> None:
        if self._epoch is None:
            return
        if key in self._busy:
            self._again.add(key)
            return
        self._busy.add(key)
        # Not in the turn itself: one that is cancelled before its first step never reaches its `finally`.
        self._spawn(self._turn(key)).add_done_callback(lambda _: self._turned(key))

    def _turned(self, key: str) -> None:
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.schedule.soon(key)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _turn(self, key: str) -> None:
        """One plan's turn. Whatever goes wrong in it stays with this plan."""
        with structlog.contextvars.bound_contextvars(plan=key):
            try:
                await self._reconcile(key)
            except ApiError as error:
                self._retry(key, error)
            except Exception:
                log.exception("a plan could not be looked at; the others go on")
                self.schedule.at(key, now() + timedelta(seconds=10))

    def _retry(self, key: str, error: ApiError) -> None:
        plan, memory = self.store.plans.get(key), self._memories.get(key)
        if plan is None or memory is None:
            return
        urgent = plan.status.phase is Phase.REVERTING
        delay = max(memory.backoff(urgent=urgent), 0.0 if urgent else error.retry_after or 0.0)
        log.warning("the API server refused; trying again", error=str(error), in_seconds=round(delay, 2))
        self.schedule.at(key, now() + timedelta(seconds=delay))

    # ---- look, decide, act -----------------------------------------------------------------------------------------

    async def _reconcile(self, key: str) -> None:
        for _ in range(PASSES):
            plan = self.store.plans.get(key)
            if plan is None:
                self._memories.pop(key, None)
                self.schedule.forget(key)
                return
            memory = self._memory(plan)
            if memory.restarts is None and plan.status.phase in MOVED and now() > memory.count_restarts_at:
                self._look_at_pods(_new_name(plan), [key])
            unread = memory.warned[0] != _judged(plan) and self._asker.source(plan) is not None
            if unread and now() > self._led_since + LOOK_THROUGH_AFTER:
                self._spawn(self._look_through(plan, memory))
            _bind(plan.status)
            try:
                look = self.look(plan, memory, now())
                step = decide(look)
                if not step.urgent:
                    self._asker.ask(plan, memory, look)
                moved = await self._carry_out(plan, memory, look, step)
                if plan.owed and not moved:
                    moved = await self._record(plan, plan.status)
            except _StaleError:
                continue
            if step.urgent and moved:
                self.schedule.at(key, now() + AFTER_WEIGHTS)
                return
            if not moved:
                memory.failures = 0
                self.schedule.at(key, step.wake_at)
                self._do_not_trust_the_watch(plan, memory)
                return
        self.schedule.soon(key)

    def _do_not_trust_the_watch(self, plan: Plan, memory: Memory) -> None:
        """Where a change of weights waits for its gateway, read the routes now and then: a stream may be down."""
        intent = plan.status.intent
        if intent is None:
            return
        again = max(memory.read_at or intent.at, intent.at) + READ_AGAIN
        if now() >= again:
            memory.read_at = now()
            priority = Priority.RECORDS if plan.status.phase is Phase.REVERTING else Priority.READS
            for route in intent.routes:
                self._spawn(self._read_route(plan.view.namespace, route.id, priority))
            again = memory.read_at + READ_AGAIN
        self.schedule.at(plan.view.key, again)

    async def _read_route(self, namespace: str, route: RouteId, priority: Priority) -> None:
        with suppress(ApiError):
            raw = await self._client(priority).get(routes.path(namespace, route), timeout=ROLLBACK_WITHIN)
            self.offer(routes.plural(route), "MODIFIED", raw)

    def _memory(self, plan: Plan) -> Memory:
        memory = self._memories.get(plan.view.key)
        if memory is None or memory.uid != plan.view.uid:
            memory = self._memories[plan.view.key] = Memory(
                uid=plan.view.uid,
                count_restarts_at=now() + COUNT_RESTARTS_AFTER,
                warned=(None, suspected(plan.status)),
            )
        return memory

    def look(self, plan: Plan, memory: Memory, at: datetime) -> Look:
        """One picture of all that a decision about this plan may depend on."""
        view, store, spec = plan.view, self.store, plan.view.written
        namespace = view.namespace
        found = store.source(view)
        look = Look(
            plan=view,
            status=plan.status,
            now=at,
            routes=store.routes_of(plan),
            old=self._workload(namespace, spec.old.deployment) if spec else None,
            new=self._new_side(plan, memory, at),
            source=source_view(found.spec) if found.spec else None,
            source_problem=found.problem,
            probe=memory.probe,
            ledger=memory.ledger,
            rivals=store.rivals(plan),
            policies=plan.policies,
            peers=store.peers(plan),
            heard=memory.heard,
            job=memory.job,
            observed=memory.observed,
            scaled=memory.scaled,
            warnings=memory.warned[1],
            epoch=self._epoch or 0,
            adopt_at=self._adopt_at(view.uid),
        )
        return replace(look, revert=_revert(look)) if view.spec and plan.status.phase is Phase.EXPANDING else look

    def _adopt_at(self, uid: str) -> datetime:
        """Spread over the time that so many writes may take, each plan at a place of its own."""
        return self._led_since + timedelta(
            seconds=len(self.store.plans) / ADOPTED_A_SECOND * (crc32(uid.encode()) / 2**32)
        )

    def _workload(self, namespace: str, name: str) -> WorkloadView | None:
        found = self.store.workloads.get((namespace, name))
        return found.view if found else None

    def _new_side(self, plan: Plan, memory: Memory, at: datetime) -> WorkloadView | None:
        spec = plan.view.written
        new = self._workload(plan.view.namespace, spec.new.deployment) if spec else None
        if spec is None or new is None:
            return None
        short = new.ready * 1000 < spec.availability.min_ready * new.wanted
        memory.short_since = (memory.short_since or at) if short else None
        return replace(new, restarts=memory.restarts, worst=memory.worst, short_since=memory.short_since)

    async def _carry_out(self, plan: Plan, memory: Memory, look: Look, step: Step) -> bool:
        """Write, act, tell. Returns whether the world may have changed, so that it has to be looked at again."""
        changed = step.status is not None
        if step.status is not None and step.urgent:
            plan.status, plan.owed = step.status, True
            self._say(look.status, step.status)
        elif step.status is not None:
            changed = await self._record(plan, step.status)
            self._say(look.status, step.status)
        done = [self._act(plan, memory, action) for action in step.actions]
        if changed and step.urgent:
            done.append(self._record_if_possible(plan))
        for failure in await asyncio.gather(*done, return_exceptions=True):
            if failure is not None:
                raise failure
        self._teller.tell(plan, memory)
        return changed or bool(step.actions)

    async def _record(self, plan: Plan, status: Status) -> bool:
        """Write the status, on condition that the plan is still the one that was looked at. False: nothing differed."""
        view, told = plan.view, self._memory(plan).told
        if told is not None and told != status.told:
            status = change(status, told=told)
        try:
            raw = await plans.write_status(
                self._client(Priority.RECORDS),
                view.namespace,
                view.name,
                before=plan.raw_status,
                after=status,
                resource_version=plan.meta["resourceVersion"],
            )
        except ApiError as error:
            if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise
            await self._read_again(PLANS, view.namespace, view.name, Priority.RECORDS)
            raise _StaleError from error
        plan.status, plan.owed = status, False
        if raw is not None:
            self.offer(PLANS, "MODIFIED", raw)
        return raw is not None

    async def _record_if_possible(self, plan: Plan) -> None:
        """Write the status of a rollback, beside its weights; what cannot be written now stays owed."""
        try:
            await self._record(plan, plan.status)
        except (ApiError, _StaleError) as error:
            log.warning("the record of a rollback is written later", error=str(error) or type(error).__name__)

    async def _act(self, plan: Plan, memory: Memory, action: Action) -> None:
        match action:
            case PatchRoute():
                await self._patch_route(plan, action)
            case MarkPlan():
                await self._mark(plan, action)
            case Inspect():
                workload = self.store.workloads.get((plan.view.namespace, _new_name(plan)))
                found = await inspect(
                    self._client(Priority.READS),
                    plan.view,
                    memory.probe,
                    self._asker.source(plan),
                    workload.selector if workload else "",
                    now(),
                )
                # As old as its answers, however long they took: else it would be too old as soon as it is there.
                memory.probe = replace(found, at=now())
            case AskGate():
                memory.heard = await heard(action.questions, self._asker.source(plan), now())
            case RunJob():
                memory.job = await jobs.run(self._client(Priority.FORWARD), plan.view.namespace, action, now())
            case Scale():
                memory.scaled = await scale.to(self._client(Priority.FORWARD), plan.view.namespace, action, now())
            case Observe():
                delay = spec.ingestion_delay if (spec := self.store.source(plan.view).spec) else timedelta(0)
                memory.observed = await observed(action, self._asker.source(plan), now(), delay)

    async def _patch_route(self, plan: Plan, action: PatchRoute) -> None:
        namespace, route = plan.view.namespace, action.target.id
        view = self.store.routes.get((namespace, route))
        priority = Priority.WEIGHTS if plan.status.phase is Phase.REVERTING else Priority.FORWARD
        if view is None:
            return
        try:
            patch = ROUTE_KINDS[route.kind].patch(view, action.target, token=action.fence, undo=action.revert)
            limit = ROLLBACK_WITHIN if priority is Priority.WEIGHTS else None
            raw = await self._client(priority).patch(routes.path(namespace, route), patch, kind="json", timeout=limit)
        except (LookupError, ApiError) as error:
            await self._changed_or_raise(routes.plural(route), namespace, route.name, error, priority)
            log.info("the route is not as it was seen; looking again", route=route.name, error=str(error))
            return
        log.info("weights written", route=route.name, weights=_numbers(action), reverting=priority is Priority.WEIGHTS)
        if priority is Priority.WEIGHTS and (known := _known_since(plan.status)):
            self._metrics.written((now() - known).total_seconds())
        self.offer(routes.plural(route), "MODIFIED", raw)

    async def _mark(self, plan: Plan, action: MarkPlan) -> None:
        view = plan.view
        raw = {"metadata": plan.meta}
        client = self._client(Priority.RECORDS)
        try:
            raw = await plans.mark(client, raw, finalizer=action.finalizer, breadcrumb=action.breadcrumb)
        except ApiError as error:
            await self._changed_or_raise(PLANS, view.namespace, view.name, error, Priority.RECORDS)
            return
        if "spec" in raw:
            self.offer(PLANS, "MODIFIED", raw)

    async def _changed_or_raise(
        self, kind: str, namespace: str, name: str, error: Exception, priority: Priority
    ) -> None:
        """Return if a write was refused because the object has changed since it was seen; else raise the refusal."""
        if isinstance(error, ApiError) and error.status not in _STALE:
            raise error
        before = self.store.version((kind, namespace, name))
        await self._read_again(kind, namespace, name, priority)
        if self.store.version((kind, namespace, name)) == before:
            raise error

    async def _read_again(self, kind: str, namespace: str, name: str, priority: Priority) -> None:
        """See how an object is now, before trying again; when to try again is the caller's to say."""
        resource = paths.PLANS if kind == PLANS else routes.RESOURCES[routes.BY_PLURAL[kind].kind]
        try:
            self.offer(kind, "MODIFIED", await self._client(priority).get(paths.path(resource, namespace, name)))
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self._take(kind, self.store.drop((kind, namespace, name)))

    def _say(self, before: Status, after: Status) -> None:
        for decision in after.decisions:
            if decision.seq > before.seq:
                self._metrics.decided(decision.kind, decision.reason)
                level = log.warning if is_loud(decision) else log.info
                level(decision.note, decision=decision.reason, seq=decision.seq, by=decision.by)

    async def _look_through(self, plan: Plan, memory: Memory) -> None:
        """Look for queries that cannot mean what they say: once for each plan as it is judged, beside the loop."""
        judged, spec, source = _judged(plan), plan.view.spec, self._asker.source(plan)
        memory.warned = judged, memory.warned[1]
        words = await asyncio.to_thread(source.lint, spec) if spec and source else ""
        if words != memory.warned[1]:
            memory.warned = judged, words
            self.schedule.soon(plan.view.key)

    # ---- pods ------------------------------------------------------------------------------------------------------

    def _look_at_pods(self, deployment: str, keys: Iterable[str]) -> None:
        """The new side has changed in mid-run: see why. What is known decides meanwhile."""
        for key in keys:
            plan = self.store.plans[key]
            memory = self._memory(plan)
            if plan.status.phase in MOVED and _new_name(plan) == deployment and not memory.looking_at_pods:
                memory.looking_at_pods = True
                self._spawn(self._see_pods(plan, memory))

    async def _see_pods(self, plan: Plan, memory: Memory) -> None:
        workload = self.store.workloads.get((plan.view.namespace, _new_name(plan)))
        try:
            if workload is not None:
                client = self._client(Priority.READS)
                found = await client.list(paths.pods(plan.view.namespace), labelSelector=workload.selector)
                memory.restarts, memory.worst = workloads.pods(found)
        except ApiError as error:
            memory.count_restarts_at = now() + COUNT_RESTARTS_AGAIN
            log.warning("the pods of the new side could not be listed", plan=plan.view.key, error=str(error))
        finally:
            memory.looking_at_pods = False
        self.schedule.soon(plan.view.key)


def _new_name(plan: Plan) -> str:
    return plan.view.written.new.deployment if plan.view.written else ""


def _judged(plan: Plan) -> str:
    return plan.view.spec.judged_hash() if plan.view.spec else ""


def _revert(look: Look) -> str:
    """The command that would put the routes back to the weights they have now."""
    try:
        snapshot = select_rules(look)
    except UnusableError:
        return ""
    return " && ".join(ROUTE_KINDS[route.kind].undo_command(look.plan.namespace, route) for route in snapshot)


def _numbers(action: PatchRoute) -> dict[str, int]:
    return {backend.service: backend.weight for rule in action.target.rules for backend in rule.backends}


def _bind(status: Status) -> None:
    """Put the run and its stage on every line that is logged from here on in this plan's turn."""
    structlog.contextvars.bind_contextvars(run=status.run, stage=status.stage.name if status.stage else "")


def _known_since(status: Status) -> datetime | None:
    """The instant that the question was about whose answer is behind the newest decision."""
    last = status.decisions[-1] if status.decisions else None
    return last.evidence[0].at if last and last.evidence else None
