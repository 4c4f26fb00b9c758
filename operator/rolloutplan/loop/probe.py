"""Asking around for what no watch tells: Services, pods, whether the source takes every query, what the gate asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from http import HTTPStatus

from rolloutplan.cluster import paths, workloads
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.engine.alerts import how_many_new
from rolloutplan.engine.counting import rendered
from rolloutplan.engine.look import Heard, Observed, PlanView, Probe
from rolloutplan.engine.step import Observe
from rolloutplan.engine.words import render, words_for
from rolloutplan.judge.threshold import judge
from rolloutplan.judge.verdict import Answer, Why
from rolloutplan.metrics.prometheus.counters import bounds_query, counter_queries, no_bound
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.plan.predicate import Predicate
from rolloutplan.plan.spec import PlanSpec


async def inspect(
    api: ResourceClient, plan: PlanView, before: Probe | None, source: Source | None, selector: str, now: datetime
) -> Probe:
    """What is found now. The queries are tried until the source has taken all of them, once for each text of them."""
    spec = plan.spec
    assert spec is not None
    names = {spec.old.service_name, spec.new.service_name}
    found = await asyncio.gather(*(_exists(api, paths.service(plan.namespace, name)) for name in sorted(names)))
    restarts, worst = 0, ""
    if selector:
        restarts, worst = workloads.pods(await api.list(paths.pods(plan.namespace), labelSelector=selector))
    judged_hash = spec.judged_hash()
    if before is not None and before.judged_hash == judged_hash and not before.down and not before.rejected:
        source = None
    rejected, down = await _try(plan, spec, source, now) if source else ({}, "")
    services = frozenset(name for name, there in zip(sorted(names), found, strict=True) if there)
    return Probe(now, judged_hash, services, rejected, down, restarts, worst)


async def heard(questions: Iterable[Observe], source: Source | None, now: datetime) -> Heard:
    """What is answered to the questions of the gate, all asked at once."""
    asked = tuple(questions)
    said = await asyncio.gather(*(observed(question, source, now, timedelta(0)) for question in asked))
    return Heard(now, {question: each.verdict for question, each in zip(asked, said, strict=True)})


async def observed(question: Observe, source: Source | None, now: datetime, delay: timedelta) -> Observed:
    """What is answered now; `delay` is how long a sample needs until it can be asked for."""
    silent = Answer(gap=Why.SOURCE_DOWN, detail="no metric source")
    answer = await source.ask(question.query, now - delay) if source else silent
    return Observed(question.name, now, judge(question.comparison, answer))


async def _exists(api: ResourceClient, path: str) -> bool:
    try:
        await api.get(path)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True


async def _try(plan: PlanView, spec: PlanSpec, source: Source, now: datetime) -> tuple[dict[str, str], str]:
    """Put every query once. Only a refusal and silence count: that there is no data yet is no fault."""
    asked = list(_queries(plan, spec, now, native=source.native))
    texts = list(dict.fromkeys(query for _, query in asked))
    answers = dict(zip(texts, await asyncio.gather(*(source.ask(query, now) for query in texts)), strict=True))
    refused = {
        name.partition(":")[0]: f"the metric source refuses the query: {answers[query].detail}"
        for name, query in asked
        if answers[query].gap is Why.QUERY_REJECTED
    }
    silent = [answer.detail for answer in answers.values() if answer.gap is Why.SOURCE_DOWN]
    return refused | await _unbound(plan, spec, source, now), silent[0] if silent else ""


async def _unbound(plan: PlanView, spec: PlanSpec, source: Source, now: datetime) -> dict[str, str]:
    """Predicates whose `slowerThan` is no bound of their histogram's buckets, with the bounds that are."""
    slow = [
        (predicate.name, rendered(predicate.events, words))
        for predicate, words in _predicates(plan, spec)
        if predicate.events is not None and predicate.events.histogram is not None
    ]
    found = await asyncio.gather(*(source.sample(bounds_query(events), now) for _, events in slow))
    return {
        name: f"events.slowerThan: {problem}"
        for (name, events), bounds in zip(slow, found, strict=True)
        if not isinstance(bounds, Answer) and (problem := no_bound(events, bounds))
    }


def _predicates(plan: PlanView, spec: PlanSpec) -> Iterator[tuple[Predicate, dict[str, str]]]:
    """Every predicate at every stage, with the words that are filled in for it."""
    for stage in spec.ladder():
        for predicate in (*spec.guards, *stage.predicates):
            yield (
                predicate,
                words_for(spec, namespace=plan.namespace, plan=plan.name, stage=stage.name, window=predicate.window),
            )


def _queries(plan: PlanView, spec: PlanSpec, now: datetime, *, native: bool) -> Iterator[tuple[str, str]]:
    """Every query of the plan, rendered, under the predicate's name and the part."""
    for assumption in spec.assumptions:
        if (asked := assumption.predicate) is not None:
            words = words_for(spec, namespace=plan.namespace, plan=plan.name, stage="", window=asked.window)
            yield f"{assumption.called}:value", render(asked.query, words)
    for predicate, words in _predicates(plan, spec):
        if predicate.query is not None:
            yield f"{predicate.name}:value", render(predicate.query, words)
        if predicate.alert is not None:
            yield f"{predicate.name}:value", how_many_new(predicate.alert, words, now)
        if predicate.events is not None:
            total, bad = counter_queries(rendered(predicate.events, words), native=native)
            yield from ((f"{predicate.name}:total", f"sum({total})"), (f"{predicate.name}:bad", f"sum({bad})"))
        if predicate.min_samples is not None:
            yield f"{predicate.name}:samples", render(predicate.min_samples.query, words)
