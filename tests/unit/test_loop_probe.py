"""What is asked around for before a run: a fault in a query is found before a weight moves."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import pytest

from rolloutplan.cluster.client import Api
from rolloutplan.engine.step import Observe
from rolloutplan.judge.verdict import Answer, Outcome, Why
from rolloutplan.loop.probe import heard, inspect
from rolloutplan.loop.schedule import now
from rolloutplan.metrics.prometheus.response import Counts
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.plan.quantities import parse_is
from rolloutplan.plan.spec import read_plan_spec
from tests.refusals import alert, changed
from tests.world import PLAN, World

SLOW = {
    "name": "slow",
    "events": {"histogram": 'latency_seconds{deployment="$deployment"}', "slowerThan": "300ms"},
    "vsOld": "> 1.5x",
}


class Cluster:
    """An API server in which everything exists."""

    async def get(self, path: str) -> dict[str, Any]:
        return {"metadata": {"name": path}}


@dataclass
class Prometheus:
    """A source whose histogram has these bounds, in seconds."""

    bounds: tuple[str, ...] = ("0.25", "0.5", "1.0", "+Inf")
    native: bool = True
    said: Answer = field(default_factory=lambda: Answer(1.0))
    asked: list[str] = field(default_factory=list)

    async def ask(self, query: str, at: datetime) -> Answer:
        self.asked.append(query)
        return self.said

    async def sample(self, query: str, at: datetime) -> Counts | Answer:
        return {f"/{bound}": 1.0 for bound in self.bounds}


def rejected(source: Prometheus, slower_than: str = "300ms", **changes: Any) -> dict[str, str]:
    spec = changed(PLAN, {"guards": [changed(SLOW, {"events.slowerThan": slower_than})], **changes})
    plan = World(spec=spec).plan()
    assert plan.written == read_plan_spec(spec)
    probe = asyncio.run(inspect(cast("Api", Cluster()), plan, None, cast("Source", source), "", now()))
    return dict(probe.rejected)


def test_a_time_that_is_no_bound_of_the_buckets_is_refused_with_those_that_are() -> None:
    assert rejected(Prometheus()) == {
        "slow": "events.slowerThan: 300ms is no bound of the histogram's buckets: write one of 250ms, 500ms, 1s"
    }


@pytest.mark.parametrize(
    ("source", "slower_than"),
    [
        pytest.param(Prometheus(), "500ms", id="it is a bound"),
        pytest.param(Prometheus(bounds=()), "300ms", id="nothing is known yet"),
    ],
)
def test_nothing_is_refused_where_it_can_be_counted_or_nobody_knows(source: Prometheus, slower_than: str) -> None:
    assert rejected(source, slower_than) == {}


@pytest.mark.parametrize("native", [True, False])
def test_a_source_without_native_histograms_is_not_asked_for_them(native: bool) -> None:
    source = Prometheus(native=native)
    rejected(source)
    assert any("histogram_fraction" in query for query in source.asked) is native


def test_what_the_source_refuses_is_refused() -> None:
    source = Prometheus(said=Answer(gap=Why.QUERY_REJECTED, detail="parse error"))
    assert rejected(source, "500ms")["slow"] == "the metric source refuses the query: parse error"


def test_what_the_source_refuses_of_an_assumption_is_refused_under_its_own_name() -> None:
    """A predicate may have the same name, and may be a dry run."""
    source = Prometheus(said=Answer(gap=Why.QUERY_REJECTED, detail="parse error"))
    assumed = [{"name": "slow", "belief": "b", "impact": 1, "uncertainty": 1, "predicate": {"query": "a", "is": "> 0"}}]
    assert {"slow", "assumption slow"} <= rejected(source, "500ms", assumptions=assumed).keys()


def test_a_query_that_two_ask_is_refused_of_both() -> None:
    """One of them may be a dry run, for which no run is kept from its start."""
    source = Prometheus(said=Answer(gap=Why.QUERY_REJECTED, detail="parse error"))
    again = [{"name": "again", "use": "slow", "dryRun": True}]
    assert {"slow", "again"} <= rejected(source, "500ms", **{"stages[0].fail": again}).keys()


def test_alerts_are_tried_as_they_will_be_asked_for_and_warnings_too() -> None:
    source = Prometheus(said=Answer(gap=Why.QUERY_REJECTED, detail="parse error"))
    stage = {"stages[0].fail": [alert("page")], "stages[0].warn": [{"name": "busy", "query": "busy", "is": "> 1"}]}
    assert {"page", "busy"} <= rejected(source, "500ms", **stage).keys()
    series = 'ALERTS{alertstate="firing",severity="page"}'
    assert [q for q in source.asked if q.startswith(f"count({series} unless {series} @ ")]


def test_what_the_gate_asks_is_answered_all_together() -> None:
    calm, left = Observe("guard page", "count(a)", parse_is("== 0")), Observe("policy p", "b", parse_is(">= 20%"))
    source, at = Prometheus(said=Answer(0.0)), now()
    found = asyncio.run(heard((calm, left), cast("Source", source), at))
    assert ({question.name: verdict.outcome for question, verdict in found.verdicts.items()}, found.at) == (
        {"guard page": Outcome.PROVED, "policy p": Outcome.REFUTED},
        at,
    )
    silent = asyncio.run(heard((calm,), None, at))
    assert [verdict.why for verdict in silent.verdicts.values()] == [Why.SOURCE_DOWN]
