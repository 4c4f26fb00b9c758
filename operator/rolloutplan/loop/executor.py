"""Carry out the effects of runs: one method for each kind of work.

Effects come from loop/reconcile.py and become requests to the API server, a metric source or a sink. Each request to
the API server waits for its turn (loop/limiter.py). Each object in an answer goes to the store before the result goes
to the run. A refusal becomes a `Failure` with the API server's message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Phase, RouteWeights, Status
from rolloutplan.api.status_patch import look_patch
from rolloutplan.clock import now
from rolloutplan.cluster import jobs, paths, plans, pods, scale
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.engine.model.actions import (
    CheckGate,
    FindUsers,
    PatchPlanMetadata,
    PatchRoute,
    QueryOnce,
    RunJob,
    RunPreflight,
    Scale,
    StopJobs,
)
from rolloutplan.engine.model.aims import took_effect
from rolloutplan.engine.model.effects import (
    Answers,
    Effect,
    Evaluate,
    Failure,
    LintQueries,
    ListPods,
    NoEffect,
    Publish,
    ReadPlan,
    ReadRoute,
    Record,
    Result,
    WriteLook,
)
from rolloutplan.engine.model.queries import CountQuestion, Question
from rolloutplan.engine.model.snapshot import (
    GateAnswers,
    JobsStopped,
    JobView,
    Pods,
    PreflightResult,
    QueryResult,
    Scaled,
    ServiceUsers,
    Snapshot,
)
from rolloutplan.loop import preflight, users
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.feed import Feed
from rolloutplan.loop.limiter import Clients, Priority
from rolloutplan.loop.missing_rights import missing_right
from rolloutplan.loop.rights import Rights
from rolloutplan.loop.stagger import Offsets
from rolloutplan.loop.store import DEPLOYMENTS, PLANS, Store
from rolloutplan.loop.waiting import happens
from rolloutplan.metrics.base import Provider
from rolloutplan.metrics.evaluator import evaluate
from rolloutplan.metrics.objects import SourceObject
from rolloutplan.metrics.pool import Sources
from rolloutplan.publish.base import DecisionSink
from rolloutplan.stats.verdict import Answer
from rolloutplan.telemetry.metrics import Metrics

ROLLBACK_WITHIN: Final = 2.0
"""Seconds until a rollback's write without an answer is tried again. Its weights are absolute, so repeating is safe."""

WEIGHTS_FIRST: Final = 0.3
"""Seconds for which the record of a rollback lets the weights of all rollbacks under way go first: fifty of them take
as long. A weight that hangs holds up no record for longer."""

_OBJECT_NOT_FOUND: Final = "NotFound"
"""The reason of a 404 about an object. That of a resource that is not served, as while its CRD changes, has none."""

log = structlog.stdlib.get_logger("rolloutplan")


class Executor:
    """Carries out each kind of work.

    `sink` returns the sink of a plan of a namespace by its name; None where it is gone. `feed` gets every object in an
    answer, and what is gone. `still_wanted` tells whether a Job or a scaling is still the current task of its plan, and
    whether a look is still to be recorded.
    """

    def __init__(
        self,
        client: Clients,
        facts: PlanFacts,
        store: Store,
        sources: Sources,
        metrics: Metrics,
        sink: Callable[[str, str], DecisionSink | None],
        feed: Feed,
        offsets: Offsets,
        *,
        still_wanted: Callable[[Effect], bool],
    ) -> None:
        self._client, self._facts, self._store, self._sources = client, facts, store, sources
        self._metrics, self._sink = metrics, sink
        self._feed, self._offsets, self._still_wanted = feed, offsets, still_wanted
        self._rights = Rights()
        self._urgent, self._calm = 0, asyncio.Event()
        """How many urgent effects are being carried out; set while there are none."""
        self._calm.set()
        self._handlers: Mapping[type, Callable[[Effect, Any], Awaitable[Result]]] = {
            Record: self._record,
            WriteLook: self._write_look,
            PatchRoute: self._patch_route,
            PatchPlanMetadata: self._patch_plan_metadata,
            ReadPlan: self._read_plan,
            ReadRoute: self._read_route,
            Evaluate: self._evaluate,
            RunPreflight: self._run_preflight,
            CheckGate: self._check_gate,
            FindUsers: self._find_users,
            QueryOnce: self._query_once,
            RunJob: self._run_job,
            StopJobs: self._stop_jobs,
            Scale: self._scale,
            ListPods: self._list_pods,
            LintQueries: self._lint,
            Publish: self._publish,
        }

    async def carry_out(self, effect: Effect) -> Result:
        """Carry out an effect and return its result."""
        try:
            with self._counted(effect):
                return await self._handlers[type(effect.work)](effect, effect.work)
        except ApiError as error:
            return Failure(error.status, error.reason, missing_right(error) or error.message, error.retry_after)

    @contextmanager
    def _counted(self, effect: Effect) -> Iterator[None]:
        """Count an effect while it is urgent."""
        self._urgent += effect.urgent
        if self._urgent:
            self._calm.clear()
        try:
            yield
        finally:
            self._urgent -= effect.urgent
            if not self._urgent:
                self._calm.set()

    # ---- writing -------------------------------------------------------------------------------------------------

    async def _record(self, effect: Effect, work: Record) -> None:
        if work.status.phase is Phase.ROLLING_BACK:
            await happens(self._calm, WEIGHTS_FIRST)
        client = self._client(Priority.RECORDS if work.is_awaited else Priority.PROGRESS)
        raw = await plans.write_status(client, effect.snapshot.plan, work.patch)
        self._feed.apply(PLANS, "MODIFIED", raw)

    async def _write_look(self, effect: Effect, work: WriteLook) -> None:
        """Record a look at the plan's own offset, over its newest version: nobody waits for it."""
        key = effect.snapshot.plan.key
        await asyncio.sleep(self._offsets.look_delay(key))
        plan = self._store.plans.get(key)
        if plan is None or not self._still_wanted(effect):
            return
        raw = await plans.write_status(self._client(Priority.LOOKS), plan.view, look_patch(work.at, work.published))
        self._feed.apply(PLANS, "MODIFIED", raw)

    async def _patch_plan_metadata(self, effect: Effect, work: PatchPlanMetadata) -> None:
        client = self._client(Priority.RECORDS)
        raw = await plans.patch_metadata(
            client, effect.snapshot.plan, finalizer=work.finalizer, undo_annotation=work.undo_annotation
        )
        if raw is not None and "spec" in raw:
            self._feed.apply(PLANS, "MODIFIED", raw)

    async def _patch_route(self, effect: Effect, work: PatchRoute) -> Failure | NoEffect | None:
        """Patch weights against the snapshot of the decision; a rollback patches against the newest known route."""
        namespace, route, snapshot = effect.snapshot.plan.namespace, work.target.id, effect.snapshot
        seen = snapshot.routes[route]
        known = self._store.plans.get(snapshot.plan.key) if effect.urgent else None
        view = self._facts.routes_of(known).get(route, seen) if known is not None else seen
        kinds, kept = self._store.kinds, snapshot.status.weights.kinds
        kind, ident = kinds.get(route.kind, kept), kinds.ident(namespace, route, kept)
        if kind is None or ident is None:
            return Failure(HTTPStatus.NOT_FOUND, "UnknownKind", f"there is no kind of route {route.kind}")
        try:
            patch = kind.patch(view, work.target, token=work.fencing_token, undo=work.undo_command)
        except LookupError as error:
            return Failure(HTTPStatus.CONFLICT, "RouteChanged", str(error))
        except Exception as error:
            log.exception("a route could not be patched as it is", route=str(route))
            words = f"{route} cannot be patched as it is ({type(error).__name__}: {error}): put it back as it was"
            return Failure(HTTPStatus.UNPROCESSABLE_ENTITY, "RouteUnreadable", words[:512])
        if not patch:
            return None if took_effect(view, work.target) else NoEffect(view)
        client = self._client(Priority.WEIGHTS if effect.urgent else Priority.SHIFTS)
        limit = ROLLBACK_WITHIN if effect.urgent else None
        raw = await client.patch(kinds.path(ident), patch, kind="json", timeout=limit)
        if work.target.rules:
            log.info("weights written", route=route.name, weights=_weights(work), reverting=effect.urgent)
        else:
            log.info("undo command put right", route=route.name)
        if effect.urgent and (since := _known_since(snapshot.status)):
            self._metrics.observe_write_delay((now() - since).total_seconds())
        self._feed.apply(ident[0], "MODIFIED", raw)
        for size in kind.scalings(view, work.target):
            if (failure := await self._resize(effect, size)) is not None:
                return failure
        return self._effect_on(snapshot.plan.key, route, raw, work.target)

    def _effect_on(self, key: str, route: RouteId, raw: Mapping[str, Any], target: RouteWeights) -> NoEffect | None:
        """`NoEffect` where the object in the answer to a write does not have what was written."""
        plan = self._store.plans.get(key)
        view = self._facts.routes_of(plan).get(route) if plan is not None else None
        if (
            view is None
            or view.ready_pods is not None
            or view.version != safe_get.text(raw, "metadata", "resourceVersion")
        ):
            return None
        return None if took_effect(view, target) else NoEffect(view)

    async def _resize(self, effect: Effect, size: Scale) -> Failure | None:
        """Write a size that is a weight, and read the Deployment: the next one is decided on what it has then.

        Forward, an autoscaler has the last word about its Deployment. On the way back nothing is asked first.
        """
        namespace, limit = effect.snapshot.plan.namespace, ROLLBACK_WITHIN if effect.urgent else None
        client = self._client(Priority.WEIGHTS if effect.urgent else Priority.SHIFTS)
        found = {} if effect.urgent else await client.list(paths.autoscalers(namespace))
        if by := scale.what_scales(found, size.deployment):
            words = f"{by} sets the number of pods of Deployment {size.deployment}, which is the weight: remove it"
            return Failure(HTTPStatus.FORBIDDEN, "Autoscaled", words)
        await scale.resize(client, namespace, size, timeout=limit)
        log.info("number of pods written", deployment=size.deployment, pods=size.replicas, reverting=effect.urgent)
        chosen = f"metadata.name={size.deployment}"  # a list of one: the operator may list Deployments, and not get one
        listed = await client.list(paths.path(paths.DEPLOYMENTS, namespace), timeout=limit, fieldSelector=chosen)
        for raw in safe_get.items(listed, "items"):
            self._feed.apply(DEPLOYMENTS, "MODIFIED", raw)
        return None

    async def _run_job(self, effect: Effect, work: RunJob) -> JobView:
        client, namespace = self._client(Priority.FORWARD), effect.snapshot.plan.namespace
        own = effect.snapshot.grants.own_account
        return await jobs.run(client, namespace, work, now(), lambda: self._still_wanted(effect), own_account=own)

    async def _stop_jobs(self, effect: Effect, _: StopJobs) -> JobsStopped:
        plan = effect.snapshot.plan
        return await jobs.suspend(self._client(Priority.FORWARD), plan.namespace, plan.name, now())

    async def _scale(self, effect: Effect, work: Scale) -> Scaled:
        client, namespace = self._client(Priority.FORWARD), effect.snapshot.plan.namespace
        return await scale.to(client, namespace, work, now(), lambda: self._still_wanted(effect))

    async def _publish(self, effect: Effect, work: Publish) -> None:
        sink = self._sink(effect.snapshot.plan.namespace, work.sink)
        if sink is not None:
            await sink.publish(effect.snapshot, work.decision, recorded=work.recorded)

    # ---- reading -------------------------------------------------------------------------------------------------

    async def _read_plan(self, effect: Effect, _: ReadPlan) -> None:
        plan = effect.snapshot.plan
        await self._read(effect, PLANS, paths.plan(plan.namespace, plan.name), plan.name)

    async def _read_route(self, effect: Effect, work: ReadRoute) -> None:
        namespace, kinds = effect.snapshot.plan.namespace, self._store.kinds
        if ident := kinds.ident(namespace, work.route, effect.snapshot.status.weights.kinds):
            await self._read(effect, ident[0], kinds.path(ident), work.route.name)

    async def _read(self, effect: Effect, kind: str, path: str, name: str) -> None:
        """Read an object again. The weights of a rollback wait for an urgent read, so it takes their places."""
        client = self._client(Priority.WEIGHTS if effect.urgent else Priority.RECORDS)
        try:
            raw = await client.get(path, timeout=ROLLBACK_WITHIN)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND or error.reason != _OBJECT_NOT_FOUND:
                raise
            self._feed.remove(kind, effect.snapshot.plan.namespace, name)
        else:
            self._feed.apply(kind, "MODIFIED", raw)

    async def _list_pods(self, effect: Effect, work: ListPods) -> Pods:
        client = self._client(Priority.READS)
        found = await client.list(paths.pods(effect.snapshot.plan.namespace), labelSelector=work.selector)
        return pods.read(found, work.containers)

    # ---- asking --------------------------------------------------------------------------------------------------

    async def _evaluate(self, effect: Effect, work: Evaluate) -> Answers:
        """Query at once; delay count queries by the plan's offset, since all plans count at about the same instants."""
        found, provider = self._source(effect.snapshot)
        if provider is None:
            return {}
        questions = work.questions
        if isinstance(questions[0], CountQuestion) and questions[0].start == questions[0].end:
            await asyncio.sleep(self._offsets.count_delay(effect.snapshot.plan.key))
        answers = await evaluate(provider, questions)
        self._report_answers(found, questions, answers)
        return answers

    def _report_answers(
        self, found: SourceObject, questions: tuple[Question, ...] | tuple[CountQuestion, ...], answers: Answers
    ) -> None:
        known: list[datetime] = []
        for question in questions:
            answer = answers.get(question.part)
            if answer is not None and not (isinstance(answer, Answer) and answer.gap is not None):
                known.append(question.end if isinstance(question, CountQuestion) else question.at)
        if known:
            self._metrics.record_answer(found.key.title, max(known))

    async def _run_preflight(self, effect: Effect, _: RunPreflight) -> PreflightResult:
        snapshot, provider = effect.snapshot, self._source(effect.snapshot)[1]
        client = self._client(Priority.READS)
        found = await preflight.run_checks(client, snapshot, provider, now)
        return replace(found, not_movable=await self._not_movable(client, snapshot))

    async def _not_movable(self, client: ResourceClient, snapshot: Snapshot) -> dict[RouteId, str]:
        """The routes of a plan that the operator may not patch, with the reason."""
        spec, kinds = snapshot.plan.spec, self._store.kinds
        routes = {ref.id for ref in spec.traffic.routes} if spec else set[RouteId]()
        places = {route: kinds.place(route.kind, snapshot.status.weights.kinds) for route in sorted(routes)}
        known = {route: place for route, place in places.items() if place is not None}
        return await self._rights.missing(client, snapshot.plan.namespace, known)

    async def _check_gate(self, effect: Effect, work: CheckGate) -> GateAnswers:
        return await preflight.check_gate(work.questions, partial(self._source_for, effect.snapshot), now())

    def _source_for(self, snapshot: Snapshot, question: QueryOnce) -> tuple[Provider | None, str]:
        """Return the provider that a question is for, and why there is none."""
        if not question.source:
            found, provider = self._source(snapshot)
            return provider, found.problem
        found = self._store.shared.cluster_source(question.source, snapshot.plan.namespace)
        return self._provider(found, snapshot.plan.namespace), found.problem

    async def _find_users(self, effect: Effect, work: FindUsers) -> ServiceUsers:
        client, namespace = self._client(Priority.READS), effect.snapshot.plan.namespace
        return await users.find_users(client, self._store.kinds, namespace, work.service, now)

    async def _query_once(self, effect: Effect, work: QueryOnce) -> QueryResult:
        found, provider = self._source(effect.snapshot)
        delay = found.spec.ingestion_delay if found.spec else timedelta(0)
        return await preflight.query_once(work, provider, now(), delay)

    async def _lint(self, effect: Effect, _: LintQueries) -> str:
        snapshot, provider = effect.snapshot, self._source(effect.snapshot)[1]
        if snapshot.plan.spec is None or provider is None:
            return ""
        found = await asyncio.to_thread(provider.lint, snapshot.plan.spec)
        # A leader that took a run over has no result of the checks before it, of which the alerts were a part.
        alerts = "" if snapshot.preflight else await preflight.silent_alerts(snapshot.plan, provider, now())
        return "; ".join(filter(None, (alerts, found)))

    def _source(self, snapshot: Snapshot) -> tuple[SourceObject, Provider | None]:
        """Return a plan's metric source and its provider; the provider is None where the plan may use no source."""
        found = self._store.shared.source(snapshot.plan, snapshot.status)
        return found, self._provider(found, snapshot.plan.namespace)

    def _provider(self, found: SourceObject, namespace: str) -> Provider | None:
        return None if found.spec is None else self._sources.get(found.key, found.spec).of(namespace)


def _weights(work: PatchRoute) -> dict[str, int]:
    return {backend.service: backend.weight for rule in work.target.rules for backend in rule.backends}


def _known_since(status: Status) -> datetime | None:
    """Return the instant that was queried for the newest decision's first evidence."""
    last = status.decisions[-1] if status.decisions else None
    return last.evidence[0].at if last and last.evidence else None
