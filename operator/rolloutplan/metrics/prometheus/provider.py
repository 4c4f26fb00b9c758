"""A provider for servers with the HTTP API of Prometheus: translates the engine's queries to PromQL.

The queries come from the loop; the answers of `Tenant` go back as answers, series or check results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.queries import AlertQuery, CountQuery, NumberQuery, Query, Series
from rolloutplan.metrics.access import Access
from rolloutplan.metrics.base import CheckResult, Connection, ObserveRequest, Provider
from rolloutplan.metrics.prometheus.alerts import ANY_ALERT, NO_ALERTS, alert_query
from rolloutplan.metrics.prometheus.capacity import Capacity
from rolloutplan.metrics.prometheus.counters import bounds_query, counter_queries, no_bound, unreadable
from rolloutplan.metrics.prometheus.freshness import oldest_sample, stale
from rolloutplan.metrics.prometheus.response import Counts, undecided
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.tenant import Tenant
from rolloutplan.stats.counts import Sample
from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.tools.lint.plans import warnings_of
from rolloutplan.tools.promql.queries import instant_selectors


class PrometheusConnection(Connection):
    """Prometheus, Thanos, Mimir or VictoriaMetrics, for the plans of all namespaces that may use it."""

    def __init__(
        self,
        spec: MetricSourceSpec,
        observe: ObserveRequest | None = None,
        capacity: Capacity | None = None,
        access: Access | None = None,
    ) -> None:
        """No request is sent yet. `observe` is called for each HTTP request; `capacity` is shared with others.

        Without `access`, somebody gave the address by hand: it may be any.
        """
        self._spec, self._source = spec, Source(spec, observe, capacity, access)

    def of(self, namespace: str) -> PrometheusProvider:
        """Return the source as the plans of a namespace ask it."""
        flavor, scrape = self._spec.prometheus.flavor, self._spec.scrape_interval
        tenant = Tenant(self._source, namespace, self._spec.enforced(namespace))
        native = flavor != "VictoriaMetrics"
        return PrometheusProvider(tenant, native_histograms=native, scrape_interval=scrape, flavor=flavor)

    def close(self) -> None:
        """Accept no more queries."""
        self._source.close()


class PrometheusProvider(Provider):
    """Such a source, as the plans of one namespace ask it."""

    def __init__(
        self,
        source: Tenant,
        *,
        native_histograms: bool = True,
        scrape_interval: timedelta | None = None,
        flavor: str = "Prometheus",
    ) -> None:
        self._source, self._native, self._scrape, self._flavor = source, native_histograms, scrape_interval, flavor

    async def evaluate(self, query: NumberQuery, at: datetime) -> Answer:
        """Query one number."""
        if isinstance(query, AlertQuery):
            return await self._alerts(query, at)
        if query.since is None:
            return await self._source.ask(query.text, at)
        selectors = instant_selectors(query.text)
        answer, *ages = await asyncio.gather(
            self._source.ask(query.text, at),
            *(self._source.ask(oldest_sample(selector), at) for selector in selectors),
        )
        gaps = [stale(selector, age, query.since) for selector, age in zip(selectors, ages, strict=True)]
        return next((gap for gap in gaps if gap is not None and answer.gap is None), answer)

    async def _alerts(self, query: AlertQuery, at: datetime) -> Answer:
        """How many alerts fire; a gap where there are no alerts of any kind, which would look the same."""
        answer = await self._source.ask(alert_query(query), at)
        if answer.gap is not Why.NO_DATA:
            return answer
        known = await self._source.ask(ANY_ALERT, at)
        if known.gap is Why.NO_DATA:
            return Answer(gap=Why.NO_ALERT_SERIES, detail=NO_ALERTS)
        return known if known.value is None else Answer(0.0)

    async def counters(self, query: CountQuery, start: datetime, end: datetime, step: timedelta) -> Series | Answer:
        """Query all events and the bad ones, at one instant or at many."""
        if problem := unreadable(query.events):
            return undecided(Why.QUERY_REJECTED, problem)
        total, bad = counter_queries(query.events, native=self._native)
        if start == end:
            totals, bads = await asyncio.gather(self._source.sample(total, start), self._source.sample(bad, start))
            if isinstance(totals, Answer) or isinstance(bads, Answer):
                return _gap(totals, bads)
            sample = _sample(totals, bads)
            return sample if isinstance(sample, Answer) else [(start, sample)]
        span = start, end, step
        all_totals, all_bads = await asyncio.gather(
            self._source.samples(total, *span), self._source.samples(bad, *span)
        )
        if isinstance(all_totals, Answer) or isinstance(all_bads, Answer):
            return _gap(all_totals, all_bads)
        wrong = dict(all_bads)
        samples = [(at, _sample(totals, wrong[at])) for at, totals in all_totals if at in wrong]
        found = [(at, sample) for at, sample in samples if not isinstance(sample, Answer)]
        # One instant that contradicts itself is left out, or what follows it could never be counted.
        return found if found or not samples else _gap(*(sample for _, sample in samples))

    async def check(self, queries: Collection[Query], at: datetime) -> CheckResult:
        """Send each query once, and query the bounds of the histograms that are counted."""
        broken: dict[Query, str] = {
            q: words for q in queries if isinstance(q, CountQuery) and (words := unreadable(q.events))
        }
        texts = {query: self._texts(query) for query in queries if query not in broken}
        once = list(dict.fromkeys(text for each in texts.values() for text in each))
        counted = [q for q in texts if isinstance(q, CountQuery) and q.events.histogram is not None]
        checks, bounds = await asyncio.gather(
            asyncio.gather(*(self._source.ask(text, at) for text in once)),
            asyncio.gather(*(self._source.sample(bounds_query(query.events), at) for query in counted)),
        )
        answers = dict(zip(once, checks, strict=True))
        refused: dict[Query, str] = broken.copy()
        refused |= {
            query: f"the metric source refuses the query: {answers[text].detail}"
            for query, each in texts.items()
            for text in each
            if answers[text].gap is Why.QUERY_REJECTED
        }
        for query, found in zip(counted, bounds, strict=True):
            if not isinstance(found, Answer) and (problem := no_bound(query.events, found)):
                refused[query] = f"events.slowerThan: {problem}"
        all_answers = (*answers.values(), *(found for found in bounds if isinstance(found, Answer)))
        outages = (answer.detail for answer in all_answers if answer.gap is Why.SOURCE_DOWN)
        silent = [q for q in texts if isinstance(q, AlertQuery) and answers[promql(q)].gap is Why.NO_DATA]
        alerts = await asyncio.gather(*(self._alerts(query, at) for query in silent))
        unseen: dict[Query, str] = {
            q: each.detail for q, each in zip(silent, alerts, strict=True) if each.gap is Why.NO_ALERT_SERIES
        }
        return CheckResult(refused, next(outages, ""), unseen)

    def lint(self, spec: PlanSpec) -> str:
        """Find common mistakes in the PromQL of a plan."""
        return warnings_of(spec, self._scrape, self._flavor)

    def _texts(self, query: Query) -> tuple[str, ...]:
        """PromQL queries with one number each, to try a query."""
        if isinstance(query, CountQuery):
            total, bad = counter_queries(query.events, native=self._native)
            return f"sum({total})", f"sum({bad})"
        return (promql(query),)


def promql(query: NumberQuery) -> str:
    """The PromQL of a query whose answer is one number."""
    return alert_query(query) if isinstance(query, AlertQuery) else query.text


def _gap(*answers: object) -> Answer:
    return next(answer for answer in answers if isinstance(answer, Answer))


def _sample(totals: Counts, bads: Counts) -> Sample | Answer:
    """The counters of each instance; a bad one without a total would be a part of nothing."""
    if alone := sorted(bads.keys() - totals.keys()):
        words = f"bad is counted for {_key(alone[0])}, and total is not: count both on the same instances"
        return undecided(Why.NOT_COUNTERS, f"{words}, with the labels job and instance")
    return {instance: (total, bads.get(instance)) for instance, total in totals.items()}


def _key(instance: str) -> str:
    return instance if instance.strip("/") else "series without the labels job and instance"
