"""No wake-up is lost: whoever is decided upon by what has changed is told to look again.

A plan that waits says when it looks again, or waits to be told: that the plan before it has ended, was deleted, paused,
edited to other routes, left its concurrency group. What comes from the watch, from lists and from answers is made up
here, in every order, with old versions among it; what a plan is decided by is worked out anew from all there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.policy_view import QueueEntry
from rolloutplan.engine.model.snapshot import RouteConflict
from rolloutplan.engine.policy.policies import concurrency_groups, queue_position
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.plan_routes import named_routes
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import (
    BEFORE_WEIGHTS,
    CLUSTER_SOURCES,
    CLUSTER_TEMPLATES,
    DEPLOYMENTS,
    PLANS,
    POLICIES,
    SOURCES,
    TEMPLATES,
    Store,
)
from rolloutplan.loop.stored_plan import Plan, queue_entry, route_conflict
from rolloutplan.loop.versions import Id, Listing
from rolloutplan.traffic import ROUTE_KINDS
from tests.queues import queues
from tests.refusals import PLAN, TEMPLATE, changed
from tests.repetition import times

Raw = dict[str, Any]
ROUTES = place_of(ROUTE_KINDS["HTTPRoute"]).resource
CLUSTER_KINDS = (POLICIES, CLUSTER_SOURCES, CLUSTER_TEMPLATES)

STATUSES: tuple[Raw, ...] = (
    {"phase": "Pending"},
    {"phase": "Pending", "reason": "Waiting"},
    {"phase": "Pending", "reason": "Conflict"},
    {"phase": "Pending", "reason": "Frozen"},
    {"phase": "Pending", "paused": {"by": "kubectl", "at": "2026-03-01T09:00:00Z"}},
    {"phase": "Invalid", "reason": "TemplateNotFound"},
    {"phase": "Probing"},
    {"phase": "Expanding"},
    {"phase": "Judging"},
    {"phase": "RollingBack", "weights": {"snapshot": [{"kind": "HTTPRoute", "name": "r1", "rules": []}]}},
    {"phase": "Succeeded"},
    {"phase": "RolledBack"},
)
SPECS: tuple[Raw, ...] = (
    PLAN,
    changed(PLAN, {"traffic.routes[0].name": "r1"}),
    changed(PLAN, {"traffic.routes[0].name": "r2", "metrics": {"source": "other"}}),
    changed(PLAN, {"traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in ("r1", "r2")]}),
    changed(PLAN, {"traffic.routes[0].name": "r1", "guards[0]": {"template": "t"}}),
    changed(PLAN, {"traffic.routes[0].name": "r1", "new.deployment": "v3"}),
    changed(PLAN, {"stages": []}),
)
SOURCE: Raw = {"prometheus": {"url": "http://prometheus"}}
OTHERS: dict[str, tuple[tuple[str, ...], tuple[Raw, ...]]] = {
    ROUTES: (("r1", "r2"), ({"rules": []}, {"hostnames": ["a"], "rules": []})),
    DEPLOYMENTS: (("checkout-v2", "v3"), ({"replicas": 1}, {"replicas": 2})),
    SOURCES: (("default", "other"), (SOURCE, SOURCE | {"scrapeInterval": "1s"}, {})),
    CLUSTER_SOURCES: (("default",), (SOURCE, SOURCE | {"namespaces": ["bank"]})),
    TEMPLATES: (("t",), (TEMPLATE, changed(TEMPLATE, {"is": "> 0.2"}), {})),
    CLUSTER_TEMPLATES: (("t",), (TEMPLATE,)),
    POLICIES: (
        ("one", "two"),
        (
            {"maxConcurrent": 1},
            {"maxConcurrent": 2},
            {"maxConcurrent": 1, "selector": {"matchLabels": {"team": "a"}}},
            {"lockGroup": "x"},
            {"selector": {"matchLabels": {"team": "b"}}, "freeze": {"now": "no"}},
            {"maxConcurrent": 0},
        ),
    ),
}
PLAN_CHANGES = st.tuples(
    st.just(PLANS),
    st.sampled_from(("p1", "p2", "p3", "p4")),
    st.fixed_dictionaries(
        {
            "spec": st.integers(0, len(SPECS) - 1),
            "status": st.integers(0, len(STATUSES) - 1),
            "team": st.sampled_from("ab"),
            "hour": st.integers(8, 9),
            "deleting": st.sampled_from((False, False, False, True)),
        }
    ),
)
OTHER_CHANGES = st.one_of(
    [
        st.tuples(
            st.just(kind), st.sampled_from(names), st.fixed_dictionaries({"spec": st.integers(0, len(specs) - 1)})
        )
        for kind, (names, specs) in OTHERS.items()
    ]
)
How = Literal["MODIFIED", "DELETED", "not found", "old", "listed", "listed anew"]
HOWS = st.sampled_from(("MODIFIED",) * 8 + ("DELETED", "not found", "old", "listed", "listed anew"))
HAPPENS = st.lists(st.tuples(HOWS, st.one_of(PLAN_CHANGES, PLAN_CHANGES, OTHER_CHANGES)), max_size=25)


@dataclass
class Cluster:
    """What brings changes to a store, and which plans it said should look again."""

    store: Store = field(default_factory=Store)
    version: int = 100
    generation: int = 1

    def happens(self, how: How, kind: str, name: str, what: dict[str, Any]) -> frozenset[str]:
        self.version += 1
        self.generation += 1
        raw = self.made(kind, name, what)
        ident: Id = (kind, raw["metadata"].get("namespace", ""), name)
        match how:
            case "MODIFIED" | "DELETED":
                return self.store.apply(kind, how, raw)
            case "old":
                raw["metadata"]["resourceVersion"] = str(self.version - 20)
                return self.store.apply(kind, "MODIFIED", raw)
            case "not found":
                return self.store.remove(ident)
        anew = how == "listed anew"
        self.version -= 50 if anew else 0
        raw["metadata"]["resourceVersion"] = str(self.version)
        touched = self.store.apply(kind, None, raw)
        names = frozenset({ident[1:]}) | {other[1:] for other in self.others(ident)}
        return touched | self.store.listed(Listing(kind, None, names, str(self.version), anew))

    def others(self, ident: Id) -> Iterator[Id]:
        """The plans that are in the list too, some of those that are known."""
        if ident[0] == PLANS:
            yield from ((PLANS, "shop", key.partition("/")[2]) for key in sorted(self.store.plans)[::2])

    def made(self, kind: str, name: str, what: dict[str, Any]) -> Raw:
        meta: Raw = {"name": name, "uid": f"uid-{name}", "generation": self.generation}
        meta |= {"resourceVersion": str(self.version)} | ({} if kind in CLUSTER_KINDS else {"namespace": "shop"})
        if kind != PLANS:
            return {"metadata": meta, "spec": OTHERS[kind][1][what["spec"]]}
        meta |= {"creationTimestamp": f"2026-03-01T{what['hour']:02}:00:00Z", "labels": {"team": what["team"]}}
        meta |= {"deletionTimestamp": "2026-03-01T10:00:00Z"} if what["deleting"] else {}
        return {"metadata": meta, "spec": SPECS[what["spec"]], "status": STATUSES[what["status"]]}


def facts(store: Store, plan: Plan) -> dict[str, Any]:
    """All that a decision about a plan may depend on, of what the store has; none of it from an index."""
    view, spec = plan.view, plan.view.written
    names = (spec.old.deployment, spec.new.deployment) if spec else ()
    found: dict[str, Any] = {
        "plan": view,
        "status": plan.status,
        "routes": PlanFacts(store).routes_of(plan),
        "workloads": [store.workloads.get((view.namespace, name)) for name in names],
    }
    if spec is not None:
        found["source"] = store.shared.source(view, plan.status)
    if plan.status.phase not in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        found["policies"] = plan.policies
    if plan.status.phase in BEFORE_WEIGHTS:
        found["rivals"] = route_conflicts(store, plan)
    return found


def route_conflicts(store: Store, plan: Plan) -> tuple[RouteConflict, ...]:
    """By a scan: the other plans on a route of this one that hold it, or are about to."""
    seen = (route_conflict(other) for _, other in sorted(store.plans.items()) if other is not plan)
    return tuple(rival for rival in seen if rival is not None and rival.routes & named_routes(plan))


def entries(store: Store) -> dict[str, QueueEntry]:
    seen = {key: queue_entry(plan) for key, plan in store.plans.items()}
    return {key: entry for key, entry in seen.items() if entry is not None}


def may_start(store: Store) -> set[str]:
    """By a scan: the plans that wait in line and for which every concurrency group has a place."""
    known = entries(store)
    return {
        key
        for key, me in known.items()
        if me.at == "waiting"
        and not queue_position(
            "waiting",
            concurrency_groups(store.plans[key].policies, store.plans[key].view.namespace),
            queues(me, [other for other in known.values() if other is not me]),
        )
    }


def agrees(store: Store) -> None:
    """The indexes say of every plan what a scan says."""
    known = entries(store)
    for key, plan in store.plans.items():
        assert PlanFacts(store).route_conflicts(plan) == route_conflicts(store, plan)
        if plan.status.phase in BEFORE_WEIGHTS:
            me = QueueEntry(key, plan.groups, "waiting", plan.view.created, plan.view.uid)
            assert PlanFacts(store).queues(plan) == queues(me, [entry for each, entry in known.items() if each != key])


@settings(max_examples=times(100), deadline=None)
@given(HAPPENS)
def test_whoever_is_decided_upon_by_what_has_changed_looks_again(
    happens: list[tuple[How, tuple[str, str, dict[str, Any]]]],
) -> None:
    cluster = Cluster()
    store = cluster.store
    for how, (kind, name, what) in happens:
        before = {key: facts(store, plan) for key, plan in store.plans.items()}
        could = may_start(store)
        woken = cluster.happens(how, kind, name, what)
        after = {key: facts(store, plan) for key, plan in store.plans.items()}
        for key in before.keys() | after.keys():
            changed_ = [
                of for of in after.get(key, {}) if before.get(key, {}).get(of, after[key][of]) != after[key][of]
            ]
            assert key in woken or (key in before and key in after and not changed_), (how, kind, key, changed_)
        assert may_start(store) - could <= woken, "a place is free, and nobody says so"
        agrees(store)
