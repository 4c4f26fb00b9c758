"""Read what no watch delivers: Services, pods, whether the metric source accepts every query, the gate's queries.

The data comes from the API server and the metric source; loop/executor.py returns it to the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NamedTuple

from rolloutplan.api.spec import PlanSpec
from rolloutplan.cluster import accounts, paths, pods, scale, workloads
from rolloutplan.cluster.client import ApiError, ResourceClient, if_there
from rolloutplan.engine.model.actions import QueryOnce
from rolloutplan.engine.model.grants import Grants
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.queries import AlertQuery, Query
from rolloutplan.engine.model.snapshot import (
    GateAnswers,
    Pods,
    PreflightResult,
    QueryResult,
    ServiceView,
    Snapshot,
    WorkloadView,
)
from rolloutplan.engine.policy.grants import account_of, jobs_of
from rolloutplan.engine.policy.preflight import PreflightQuery, preflight_queries
from rolloutplan.metrics.base import CheckResult, Provider
from rolloutplan.stats.threshold import judge
from rolloutplan.stats.verdict import Answer, Why

RENDERED_AT_ONCE: Final = 50
"""Queries that are rendered between two turns of the loop: 8 KiB each, in 5 ms."""
TRIED_AT_ONCE: Final = 256
"""Queries that are given to a source together; it joins those of one kind."""

ACCOUNTS_WITHIN: Final = 5.0
"""Seconds for all ServiceAccounts of a plan together, as for each other request of the checks."""


async def run_checks(
    api: ResourceClient, snapshot: Snapshot, provider: Provider | None, clock: Callable[[], datetime]
) -> PreflightResult:
    """Run the preflight checks; the result has the time of the last. Queries are tried until the source accepts all."""
    plan, before, new, spec = snapshot.plan, snapshot.preflight, snapshot.new, snapshot.plan.spec
    assert spec is not None
    names = {*spec.services}
    found = await asyncio.gather(*(_service(api, paths.service(plan.namespace, name)) for name in sorted(names)))
    seen = Pods()
    if new is not None and new.selector:
        listed = await api.list(paths.pods(plan.namespace), labelSelector=new.selector)
        seen = pods.read(listed, new.containers)
    autoscaler = await _autoscaler(api, plan.namespace, new) if new is not None and new.wanted == 0 else ""
    scaled = await _autoscalers(api, plan.namespace, spec) if spec.replicas is not None else {}
    judged_hash = spec.judged_hash()
    tried = TriedQueries()
    if before is not None and before.judged_hash == judged_hash and not before.down and not before.rejected:
        tried = TriedQueries(warnings=before.warnings)
    elif provider:
        tried = await try_queries(plan, provider, clock())
    services = {name: view for name, view in zip(sorted(names), found, strict=True) if view is not None}
    return PreflightResult(
        clock(),
        judged_hash,
        services,
        tried.refused,
        tried.down,
        seen,
        tried.warnings,
        autoscaler=autoscaler,
        autoscalers=scaled,
        accounts=await _accounts(api, plan, spec, snapshot.grants),
    )


async def _accounts(api: ResourceClient, plan: PlanView, spec: PlanSpec, grants: Grants) -> dict[str, str]:
    """Why no Job may run under a ServiceAccount of the plan; empty too where no plan may run Jobs.

    All are asked for at the same time: a plan may name dozens, and the run gives the checks up after a minute.
    """
    names = sorted({account_of(template) for template in jobs_of(spec).values()} if grants.jobs else set())
    asked = (accounts.problem(api, plan.namespace, name, own_account=grants.own_account) for name in names)
    try:
        async with asyncio.timeout(ACCOUNTS_WITHIN):
            found = await asyncio.gather(*asked)
    except TimeoutError:
        words = f"the ServiceAccounts of the plan's Jobs could not be read within {ACCOUNTS_WITHIN:g} s"
        raise ApiError(0, "Timeout", words) from None
    return {name: problem for name, problem in zip(names, found, strict=True) if problem}


class TriedQueries(NamedTuple):
    """What the source said to the queries of a plan."""

    refused: Mapping[str, str] = MappingProxyType({})
    """The predicates and assumptions whose queries are refused, with the reason."""
    down: str = ""
    """Why the source did not answer; empty where it did."""
    warnings: str = ""
    """Which predicates will have no answer, as far as the source knows, and why."""


async def try_queries(plan: PlanView, provider: Provider, now: datetime) -> TriedQueries:
    """Send each query of a plan once."""
    return await _try(await _rendered(preflight_queries(plan, now)), provider, now)


async def _rendered(queries: Iterable[PreflightQuery]) -> list[PreflightQuery]:
    """The queries, each once; rendering thousands takes a while, in which the loop serves all else."""
    found = dict[PreflightQuery, None]()
    for number, query in enumerate(queries, start=1):
        found[query] = None
        if number % RENDERED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return list(found)


async def silent_alerts(plan: PlanView, provider: Provider, now: datetime) -> str:
    """Which alert predicates will have no answer, as far as the source knows, and why."""
    alerts = [each for each in preflight_queries(plan, now) if isinstance(each.query, AlertQuery)]
    return (await _try(alerts, provider, now)).warnings if alerts else ""


async def _try(queries: Sequence[PreflightQuery], provider: Provider, now: datetime) -> TriedQueries:
    result = await _check(list(dict.fromkeys(each.query for each in queries)), provider, now)
    refused: dict[str, str] = {}
    for each in queries:
        if each.query in result.refused:
            refused.setdefault(each.name, result.refused[each.query])
    unanswered: dict[str, list[str]] = {}
    for each in queries:
        if each.query in result.warnings and each.name not in unanswered.get(result.warnings[each.query], ()):
            unanswered.setdefault(result.warnings[each.query], []).append(each.name)
    warnings = "; ".join(f"{', '.join(names)}: {words}" for words, names in unanswered.items())
    return TriedQueries(refused, result.down, warnings)


SourceFor = Callable[[QueryOnce], tuple[Provider | None, str]]
"""From a question to the provider that it is for; where there is none, with the reason."""


async def _check(queries: Sequence[Query], provider: Provider, now: datetime) -> CheckResult:
    """Try queries, some hundred at a time; no more of them once the source does not answer."""
    refused: dict[Query, str] = {}
    warnings: dict[Query, str] = {}
    for start in range(0, max(len(queries), 1), TRIED_AT_ONCE):
        found = await provider.check(queries[start : start + TRIED_AT_ONCE], now)
        refused |= found.refused
        warnings |= found.warnings
        if found.down:
            return CheckResult(refused, found.down, warnings)
    return CheckResult(refused, "", warnings)


async def check_gate(questions: Iterable[QueryOnce], source_for: SourceFor, now: datetime) -> GateAnswers:
    """Run all queries of the gate at once and return their verdicts."""
    queries = tuple(questions)
    sources = [source_for(question) for question in queries]
    results = await asyncio.gather(
        *(
            query_once(question, provider, now, timedelta(0), why)
            for question, (provider, why) in zip(queries, sources, strict=True)
        )
    )
    return GateAnswers(now, {question: each.verdict for question, each in zip(queries, results, strict=True)})


async def query_once(
    question: QueryOnce, provider: Provider | None, now: datetime, delay: timedelta, why: str = ""
) -> QueryResult:
    """Run one query now; `delay` is how long a sample takes until it can be queried, `why` why there is no provider."""
    no_source = Answer(gap=Why.SOURCE_DOWN, detail=why or "no metric source")
    answer = await provider.evaluate(question.query, now - delay) if provider else no_source
    return QueryResult(question.name, now, judge(question.comparison, answer))


async def _autoscaler(api: ResourceClient, namespace: str, new: WorkloadView) -> str:
    """What scaled the new side to no pods; empty where nothing did, or the operator may not know."""
    try:
        return scale.what_scales(await api.list(paths.autoscalers(namespace)), new.name)
    except ApiError as error:
        if error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise
        return ""


async def _autoscalers(api: ResourceClient, namespace: str, spec: PlanSpec) -> dict[str, str]:
    """What scales either side, by its Deployment. Raises ApiError, also where the operator may not know."""
    listed = await api.list(paths.autoscalers(namespace))
    found = {name: scale.what_scales(listed, name) for name in (spec.old.deployment, spec.new.deployment)}
    return {name: words for name, words in found.items() if words}


async def _service(api: ResourceClient, path: str) -> ServiceView | None:
    raw = await if_there(api.get(path))
    return workloads.service(raw) if raw is not None else None
