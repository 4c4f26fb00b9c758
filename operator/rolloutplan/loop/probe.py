"""Asking around for what no watch tells: Services, pods, whether the metric source takes every query, error budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from http import HTTPStatus

from rolloutplan.cluster import paths, workloads
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.engine.counting import rendered
from rolloutplan.engine.gate import budget_left
from rolloutplan.engine.look import Budgets, PlanView, Probe
from rolloutplan.engine.policy import PolicyView
from rolloutplan.engine.words import render, words_for
from rolloutplan.judge.verdict import Answer, Verdict, Why
from rolloutplan.metrics.counters import counter_queries
from rolloutplan.plan.policy import ErrorBudget
from rolloutplan.plan.spec import PlanSpec

Ask = Callable[[str, datetime], Awaitable[Answer]]


async def inspect(
    api: Api, plan: PlanView, before: Probe | None, ask: Ask | None, selector: str, now: datetime
) -> Probe:
    """What is found now. The queries are tried until the source has taken all of them, once for each plan hash."""
    spec = plan.spec
    assert spec is not None
    names = {spec.old.service_name, spec.new.service_name}
    found = await asyncio.gather(*(_exists(api, paths.service(plan.namespace, name)) for name in sorted(names)))
    restarts, worst = 0, ""
    if selector:
        restarts, worst = workloads.pods(await api.list(paths.pods(plan.namespace), labelSelector=selector))
    plan_hash = spec.plan_hash()
    if before is not None and before.plan_hash == plan_hash and not before.down and not before.rejected:
        ask = None
    rejected, down = await _try(plan, spec, ask, now)
    services = frozenset(name for name, there in zip(sorted(names), found, strict=True) if there)
    return Probe(now, plan_hash, services, rejected, down, restarts, worst)


async def budgets(plan: PlanView, policies: Iterable[PolicyView], ask: Ask | None, now: datetime) -> Budgets:
    """How much is left of the error budgets that the policies name, asked of the plan's own source."""
    spec = plan.spec
    assert spec is not None
    named = {policy.name: policy.spec.error_budget for policy in policies if policy.spec and policy.spec.error_budget}
    words = words_for(spec, namespace=plan.namespace, plan=plan.name, stage="", window=spec.interval)

    async def left(budget: ErrorBudget) -> Verdict:
        silent = Answer(gap=Why.SOURCE_DOWN, detail="no metric source")
        return budget_left(budget, await ask(render(budget.query, words), now) if ask else silent)

    verdicts = await asyncio.gather(*(left(budget) for budget in named.values()))
    return Budgets(now, dict(zip(named, verdicts, strict=True)))


async def _exists(api: Api, path: str) -> bool:
    try:
        await api.get(path)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True


async def _try(plan: PlanView, spec: PlanSpec, ask: Ask | None, now: datetime) -> tuple[dict[str, str], str]:
    """Put every query once. Only a refusal and silence count: that there is no data yet is no fault."""
    if ask is None:
        return {}, ""
    queries = dict(_queries(plan, spec))
    asked = {query: name for name, query in queries.items()}
    answers = dict(zip(asked, await asyncio.gather(*(ask(query, now) for query in asked)), strict=True))
    refused = {asked[q].partition(":")[0]: a.detail for q, a in answers.items() if a.gap is Why.QUERY_REJECTED}
    silent = [answer.detail for answer in answers.values() if answer.gap is Why.SOURCE_DOWN]
    return refused, silent[0] if silent else ""


def _queries(plan: PlanView, spec: PlanSpec) -> Iterator[tuple[str, str]]:
    """Every query of the plan, rendered, under the predicate's name and the part."""
    for stage in spec.ladder():
        for predicate in (*spec.guards, *stage.fail, *stage.pass_):
            words = words_for(spec, namespace=plan.namespace, plan=plan.name, stage=stage.name, window=predicate.window)
            if predicate.query is not None:
                yield f"{predicate.name}:value", render(predicate.query, words)
            if predicate.events is not None:
                total, bad = counter_queries(rendered(predicate.events, words))
                yield from ((f"{predicate.name}:total", f"sum({total})"), (f"{predicate.name}:bad", f"sum({bad})"))
            if predicate.min_samples is not None:
                yield f"{predicate.name}:samples", render(predicate.min_samples.query, words)
