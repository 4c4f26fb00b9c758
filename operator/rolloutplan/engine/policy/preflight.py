"""The queries that are tried before the first weight moves, so that a faulty one is found before it can do harm."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from rolloutplan.api.predicate import Predicate
from rolloutplan.engine.analysis.counting import rendered, sides_asked
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.queries import AlertQuery, CountQuery, Query, Side, ValueQuery


class Tried(NamedTuple):
    """A query to try, and the predicate or assumption that it belongs to."""

    name: str
    """The name of the predicate, or of the assumption as `assumption NAME`."""
    query: Query


def queries_to_try(plan: PlanView, now: datetime) -> Iterator[Tried]:
    """Every query of a plan, rendered for each stage; the same query may occur more than once."""
    spec = plan.spec
    if spec is None:
        return

    def words(stage: str, window: timedelta, side: Side = "new") -> dict[str, str]:
        return variables_for(spec, namespace=plan.namespace, plan=plan.name, stage=stage, window=window, side=side)

    for assumption in spec.assumptions:
        if (asked := assumption.predicate) is not None:
            yield Tried(assumption.called, ValueQuery(render(asked.query, words("", asked.window))))
    for stage in spec.steps():
        for predicate in (*spec.guards, *stage.predicates):
            for side in sides_asked(predicate):
                for query in _queries(predicate, words(stage.name, predicate.window, side), now):
                    yield Tried(predicate.name, query)


def _queries(predicate: Predicate, words: dict[str, str], now: datetime) -> Iterator[Query]:
    if predicate.query is not None:
        yield ValueQuery(render(predicate.query, words))
    if predicate.alert is not None:
        yield AlertQuery(render(predicate.alert.matchers, words), since=now)
    if predicate.events is not None:
        yield CountQuery(rendered(predicate.events, words))
    if predicate.min_samples is not None:
        yield ValueQuery(render(predicate.min_samples.query, words))
