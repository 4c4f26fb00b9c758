"""What is asked around for before a run: a fault in a query is found before a weight moves."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import pytest

from rolloutplan.api.quantities import parse_is
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Status
from rolloutplan.clock import now
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.engine.model.actions import QueryOnce
from rolloutplan.engine.model.grants import Grants
from rolloutplan.engine.model.queries import AlertQuery, CountQuery, Query, ValueQuery
from rolloutplan.engine.model.snapshot import PreflightResult, Snapshot
from rolloutplan.loop import preflight
from rolloutplan.loop.preflight import (
    RENDERED_AT_ONCE,
    TRIED_AT_ONCE,
    check_gate,
    run_checks,
    try_queries,
)
from rolloutplan.metrics.base import CheckResult
from rolloutplan.stats.verdict import Outcome, Why
from tests.provider import FakeProvider
from tests.refusals import alert, changed
from tests.situations import JOB
from tests.world import PLAN, START, Deployment, World, workload

SLOW = {
    "name": "slow",
    "events": {"histogram": 'latency_seconds{deployment="$deployment"}', "slowerThan": "300ms"},
    "vsOld": "> 1.5x",
}


@dataclass
class Cluster:
    """An API server in which everything exists."""

    autoscalers: Any = None
    """What it lists, or how it refuses to."""
    accounts: int = 0
    """How many ServiceAccounts must be asked for before one is answered."""
    asked: set[str] = field(default_factory=set)

    async def get(self, path: str) -> dict[str, Any]:
        if "/serviceaccounts/" in path:
            self.asked.add(path)
            while len(self.asked) < self.accounts:  # noqa: ASYNC110 - one more turn of the loop
                await asyncio.sleep(0)
        return {"metadata": {"name": path}}

    async def list(self, path: str, **_: str) -> dict[str, Any]:
        if path == paths.pods("ns"):
            return {"items": [{"metadata": {"uid": "1"}, "status": {"containerStatuses": [{"restartCount": 2}]}}]}
        assert path == paths.autoscalers("ns")
        if isinstance(self.autoscalers, ApiError):
            raise self.autoscalers
        return {"items": self.autoscalers}


@dataclass
class Refusing(FakeProvider):
    """A source that answers 0, and refuses everything that it is asked to check."""

    down: str = ""
    checked: list[Query] = field(default_factory=list)

    async def check(self, queries: Collection[Query], at: datetime) -> CheckResult:
        assert len(set(queries)) == len(queries), "tried twice"
        self.checked += queries
        return CheckResult({} if self.down else {query: f"no: {query}" for query in queries}, self.down)


def rejected(source: Refusing, **changes: Any) -> dict[str, str]:
    spec = changed(PLAN, {"guards": [SLOW], **changes})
    plan = World(spec=spec).plan()
    assert plan.written == read_plan_spec(spec)
    probe = asyncio.run(run_checks(cast("Api", Cluster()), Snapshot(plan, Status(), START), source, now))
    assert probe.down == source.down
    return dict(probe.rejected)


def test_what_the_source_refuses_is_refused_under_the_predicates_name_and_in_its_words() -> None:
    assert rejected(Refusing())["slow"] == 'no: latency_seconds{deployment="v2"} slower than 300ms'


def test_what_is_compared_with_the_old_side_is_tried_of_both() -> None:
    """A new side that serves nothing yet has no buckets from which a bound could be refused."""
    source = Refusing()
    rejected(source)
    histograms = [query.events.histogram for query in source.checked if isinstance(query, CountQuery)]
    assert histograms == ['latency_seconds{deployment="v2"}', 'latency_seconds{deployment="v1"}']


def test_that_the_source_is_down_is_known_and_refuses_nothing() -> None:
    assert rejected(Refusing(down="Connection refused")) == {}


def test_what_the_source_refuses_of_an_assumption_is_refused_under_its_own_name() -> None:
    """A predicate may have the same name, and may be a dry run."""
    assumed = [{"name": "slow", "belief": "b", "impact": 1, "uncertainty": 1, "predicate": {"query": "a", "is": "> 0"}}]
    assert {"slow", "assumption slow"} <= rejected(Refusing(), assumptions=assumed).keys()


def test_a_query_that_two_ask_is_tried_once_and_refused_of_both() -> None:
    """One of them may be a dry run, for which no run is kept from its start."""
    again = [{"name": "again", "use": "slow", "dryRun": True}]
    assert {"slow", "again"} <= rejected(Refusing(), **{"stages[0].fail": again}).keys()


def test_alerts_are_tried_as_they_will_be_asked_for_and_warnings_and_samples_too() -> None:
    source, before = Refusing(), now()
    stage = {
        "stages[0].fail": [alert("page"), {"name": "few", "query": "few", "is": "> 1"}],
        "stages[0].fail[1].minSamples": {"query": "n", "atLeast": 10},
        "stages[0].warn": [{"name": "busy", "query": "busy", "is": "> 1"}],
    }
    assert {"page", "busy", "few"} <= rejected(source, **stage).keys()
    assert {ValueQuery("busy"), ValueQuery("n")} <= set(source.checked)
    (page,) = [query for query in source.checked if isinstance(query, AlertQuery)]
    assert page.matchers == 'severity="page"'
    assert page.since is not None and before <= page.since <= now()


def test_many_queries_are_rendered_and_tried_in_slices_between_which_the_loop_turns() -> None:
    """Thousands of them at once would hold up the weights of all other plans."""
    sizes, turns = list[int](), 0
    guards = [{"name": f"g{i}", "query": f"up + {i}", "is": "> 1"} for i in range(15)]
    stages = [
        {
            "weight": f"{2 * i}%",
            "fail": [{"name": f"p{i}-{j}", "query": f"$stage + {j}", "is": "> 1"} for j in range(16)],
        }
        for i in range(1, 51)
    ]
    plan = World(spec=changed(PLAN, {"guards": guards, "stages": stages})).plan()

    class Counting(FakeProvider):
        async def check(self, queries: Collection[Query], at: datetime) -> CheckResult:
            sizes.append(len(queries))
            return CheckResult(dict.fromkeys(queries, "no"), "")

    async def run() -> None:
        nonlocal turns

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        found = await try_queries(plan, Counting(), START)
        turning.cancel()
        assert len(found.refused) == 815

    asyncio.run(run())
    assert sum(sizes) == 815, "a guard that is the same at each stage is tried once"
    assert max(sizes) <= TRIED_AT_ONCE
    assert turns >= 815 // RENDERED_AT_ONCE


def test_what_the_gate_asks_is_answered_all_together() -> None:
    calm = QueryOnce("guard page", AlertQuery('severity="page"'), parse_is("== 0"))
    left = QueryOnce("policy p", ValueQuery("b"), parse_is(">= 20%"))
    at = now()
    found = asyncio.run(check_gate((calm, left), lambda _: (Refusing(), ""), at))
    assert ({question.name: verdict.outcome for question, verdict in found.verdicts.items()}, found.at) == (
        {"guard page": Outcome.PROVED, "policy p": Outcome.REFUTED},
        at,
    )
    apart = asyncio.run(check_gate((calm, left), lambda question: (None, "no such source") if question is left
                                   else (Refusing(), ""), at))  # fmt: skip
    assert apart.verdicts[calm].outcome is Outcome.PROVED
    assert (apart.verdicts[left].why, apart.verdicts[left].detail) == (Why.SOURCE_DOWN, "no such source")


def of_accounts(*names: str) -> dict[str, Any]:
    """A plan with a Job before the run under each of these accounts."""
    pods = [changed(JOB, {"template.spec.template.spec.serviceAccountName": name}) for name in names]
    return changed(PLAN, {"expand": {"jobs": [{"name": f"job-{i}", **job} for i, job in enumerate(pods)]}})


def checked(cluster: Cluster, spec: dict[str, Any]) -> PreflightResult:
    snapshot = Snapshot(World(spec=spec).plan(), Status(), START, grants=Grants(jobs=True))
    assert snapshot.plan.spec is not None, snapshot.plan.problem
    return asyncio.run(run_checks(cast("Api", cluster), snapshot, None, now))


def test_all_accounts_of_a_plans_jobs_are_asked_for_at_the_same_time() -> None:
    found = checked(Cluster(accounts=3), of_accounts("a", "b", "c"))
    assert sorted(found.accounts) == ["a", "b", "c"], "none has the label"


def test_accounts_that_are_not_answered_do_not_hold_the_checks_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "ACCOUNTS_WITHIN", 0.01)
    with pytest.raises(ApiError, match=r"ServiceAccounts of the plan's Jobs could not be read within 0.01 s"):
        checked(Cluster(accounts=9), of_accounts("a"))


HPA = {"metadata": {"name": "by-load"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "v2"}}}


def looked_at(size: int, autoscalers: Any = None) -> PreflightResult:
    new = workload(Deployment("v2", size, size))
    snapshot = Snapshot(World().plan(), Status(), START, new=new)
    return asyncio.run(run_checks(cast("Api", Cluster(autoscalers)), snapshot, None, now))


def test_the_pods_are_listed_and_no_autoscaler_is_asked_for_while_there_are_some() -> None:
    found = looked_at(2)
    assert (found.pods.restarts, found.autoscaler) == ({"1": 2}, "")


def test_what_scaled_the_new_side_to_no_pods_is_named() -> None:
    assert looked_at(0, [HPA]).autoscaler == "HorizontalPodAutoscaler by-load"
    assert looked_at(0, []).autoscaler == ""
    assert looked_at(0, ApiError(403, "Forbidden")).autoscaler == ""
    with pytest.raises(ApiError):
        looked_at(0, ApiError(500, "InternalError"))
