"""The queries that are tried before the first weight moves, so that a faulty one is found before it can do harm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.rendering import names_the_stage, texts_of
from rolloutplan.engine.analysis.counting import render_events, sides_of
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.queries import AlertQuery, CountQuery, Query, Side, ValueQuery


class PreflightQuery(NamedTuple):
    """A query to try, and the predicate or assumption that it belongs to."""

    name: str
    """The name of the predicate, or of the assumption as `assumption NAME`."""
    query: Query


def preflight_queries(plan: PlanView, now: datetime) -> Iterator[PreflightQuery]:
    """Every query of a plan, rendered for each stage; the same query may occur more than once.

    A guard that does not name the stage is the same at each of them, and is rendered once.
    """
    spec = plan.spec
    if spec is None:
        return

    def words(stage: str, window: timedelta, side: Side = "new") -> dict[str, str]:
        return variables_for(spec, namespace=plan.namespace, plan=plan.name, stage=stage, window=window, side=side)

    for assumption in spec.assumptions:
        if (asked := assumption.predicate) is not None:
            yield PreflightQuery(assumption.called, ValueQuery(render(asked.query, words("", asked.window))))
    for stage in spec.steps():
        repeated = () if stage.index else spec.guards
        for predicate in (*(repeated or _differing(spec.guards)), *stage.predicates):
            for side in sides_of(predicate):
                for query in _queries(predicate, words(stage.name, predicate.window, side), now):
                    yield PreflightQuery(predicate.name, query)


def _differing(guards: Iterable[Predicate]) -> Iterator[Predicate]:
    """The guards that differ from stage to stage."""
    return (guard for guard in guards if any(names_the_stage(each.text) for each in texts_of("", guard, 1)))


def _queries(predicate: Predicate, variables: dict[str, str], now: datetime) -> Iterator[Query]:
    if predicate.query is not None:
        yield ValueQuery(render(predicate.query, variables))
    if predicate.alert is not None:
        yield AlertQuery(render(predicate.alert.matchers, variables), since=now)
    if predicate.events is not None:
        yield CountQuery(render_events(predicate.events, variables))
    if predicate.min_samples is not None:
        yield ValueQuery(render(predicate.min_samples.query, variables))
