"""The store: the newest of everything, whoever brings it and in whatever order."""

from typing import Any

import pytest

from rolloutplan.loop.store import CLUSTER_SOURCES, DEPLOYMENTS, PLANS, ROUTES, SOURCES, Store
from rolloutplan.plan.status import Phase
from tests.refusals import PLAN

Raw = dict[str, Any]


def made(kind: str, name: str, version: int = 1, spec: Any = None, **meta: Any) -> Raw:
    namespace = {} if kind == CLUSTER_SOURCES else {"namespace": "shop"}
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        **namespace,
        **meta,
    }
    return {"metadata": metadata, "spec": spec or {}}


def plan(name: str = "checkout", version: int = 1, status: Any = None) -> Raw:
    raw = made(PLANS, name, version, dict(PLAN))
    return raw | {"status": status or {}}


def names(raw: Raw) -> tuple[str, str]:
    """The names of the new Deployment and of the first route in a plan."""
    return raw["spec"]["new"]["deployment"], raw["spec"]["traffic"]["routes"][0]["name"]


def test_an_older_object_changes_nothing() -> None:
    store = Store()
    store.offer(PLANS, "ADDED", plan(version=7, status={"phase": "Judging"}))
    assert store.offer(PLANS, "MODIFIED", plan(version=6, status={"phase": "Succeeded"})) == frozenset()
    assert store.plans["shop/checkout"].status.phase is Phase.JUDGING


@pytest.mark.parametrize("kind", [ROUTES, DEPLOYMENTS])
def test_what_a_plan_names_touches_the_plan_and_nothing_else_does(kind: str) -> None:
    store, raw = Store(), plan()
    store.offer(PLANS, "ADDED", raw)
    deployment, route = names(raw)
    ours = route if kind == ROUTES else deployment
    assert store.offer(kind, "ADDED", made(kind, ours)) == {"shop/checkout"}
    assert store.offer(kind, "ADDED", made(kind, "another")) == frozenset()
    assert store.offer(kind, "DELETED", made(kind, ours, 2)) == {"shop/checkout"}


def test_a_plan_that_is_gone_is_forgotten_with_all_that_it_named() -> None:
    store, raw = Store(), plan()
    store.offer(PLANS, "ADDED", raw)
    assert store.offer(PLANS, "DELETED", plan(version=2)) == {"shop/checkout"}
    assert not store.plans
    assert store.offer(DEPLOYMENTS, "ADDED", made(DEPLOYMENTS, names(raw)[0])) == frozenset()


def test_a_status_that_is_owed_survives_what_the_watch_brings() -> None:
    store = Store()
    store.offer(PLANS, "ADDED", plan(status={"phase": "Judging"}))
    held = store.plans["shop/checkout"]
    held.status, held.owed = held.status.model_copy(update={"phase": Phase.REVERTING}), True
    store.offer(PLANS, "MODIFIED", plan(version=2, status={"phase": "Judging"}))
    assert store.plans["shop/checkout"].status.phase is Phase.REVERTING
    assert store.plans["shop/checkout"].meta["resourceVersion"] == "2", "but it is written against the newest version"


def test_plans_on_one_route_know_of_each_other() -> None:
    store = Store()
    store.offer(PLANS, "ADDED", plan("first", status={"phase": "Judging"}))
    assert store.offer(PLANS, "ADDED", plan("second")) == {"shop/second"}
    (rival,) = store.rivals(store.plans["shop/second"])
    assert (rival.key, rival.running) == ("shop/first", True)
    ended = store.offer(PLANS, "MODIFIED", plan("first", version=2, status={"phase": "Succeeded"}))
    assert ended == {"shop/first", "shop/second"}, "whose turn it is now is looked at"


@pytest.mark.parametrize(
    ("there", "url", "problem"),
    [
        ([], None, "neither MetricSource shop/default nor ClusterMetricSource default exists"),
        ([(CLUSTER_SOURCES, {"prometheus": {"url": "http://all:9090"}})], "http://all:9090", ""),
        (
            [
                (CLUSTER_SOURCES, {"prometheus": {"url": "http://all:9090"}}),
                (SOURCES, {"prometheus": {"url": "http://own:9090"}}),
            ],
            "http://own:9090",
            "",
        ),
        (
            [(CLUSTER_SOURCES, {"prometheus": {"url": "http://all:9090"}, "namespaces": ["bank"]})],
            None,
            "does not admit",
        ),
        ([(CLUSTER_SOURCES, {"prometheus": {"url": "nowhere"}})], None, "ClusterMetricSource default"),
    ],
)
def test_a_plan_asks_the_source_of_its_namespace_else_that_of_the_cluster(
    there: list[tuple[str, Raw]], url: str | None, problem: str
) -> None:
    store = Store()
    store.offer(PLANS, "ADDED", plan())
    for kind, spec in there:
        store.offer(kind, "ADDED", made(kind, "default", spec=spec))
    found = store.source(store.plans["shop/checkout"].view)
    assert (found.spec.prometheus.url if found.spec else None) == url
    assert problem in found.problem
