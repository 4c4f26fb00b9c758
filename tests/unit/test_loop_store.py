"""The store: the newest of everything, whoever brings it and in whatever order."""

from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.api.changes import change
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import STARTING, Backend, Phase, RouteWeights, RuleWeights, SourceStatus, Status
from rolloutplan.engine.model.plan_view import NeedsTemplates, Readable
from rolloutplan.engine.model.snapshot import REVERT, SEQ
from rolloutplan.loop import versions
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import (
    CLUSTER_SOURCES,
    CLUSTER_TEMPLATES,
    DEPLOYMENTS,
    NAMESPACES,
    PLANS,
    POLICIES,
    SOURCES,
    TEMPLATES,
    Store,
)
from rolloutplan.loop.versions import Listing
from rolloutplan.metrics.access import SourceHosts
from rolloutplan.traffic import ROUTE_KINDS, undo_command
from tests.refusals import PLAN, TEMPLATE, changed
from tests.world import START

Raw = dict[str, Any]
ROUTES = place_of(ROUTE_KINDS["HTTPRoute"]).resource


def made(kind: str, name: str, version: object = 1, spec: Any = None, **meta: Any) -> Raw:
    namespace = {} if kind in (CLUSTER_SOURCES, CLUSTER_TEMPLATES) else {"namespace": "shop"}
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        **namespace,
        **meta,
    }
    return {"metadata": metadata, "spec": spec or {}}


def plan(name: str = "checkout", version: int = 1, status: Any = None, changes: Any = None, **meta: Any) -> Raw:
    return made(PLANS, name, version, changed(PLAN, changes or {}), **meta) | {"status": status or {}}


def source(url: str, **more: Any) -> Raw:
    return {"prometheus": {"url": url}, **more}


KEY = "shop/checkout"
DELETING: Raw = {"deletionTimestamp": "2026-03-01T09:00:00Z"}
SNAPSHOT = [{"kind": "HTTPRoute", "name": "former", "rules": []}]


def test_an_older_object_changes_nothing() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(version=7, status={"phase": "Judging"}))
    assert store.apply(PLANS, "MODIFIED", plan(version=6, status={"phase": "Succeeded"})) == frozenset()
    assert store.plans["shop/checkout"].status.phase is Phase.JUDGING


@pytest.mark.parametrize(("ownership", "counts"), [("Owned", True), ("Weights", False)])
def test_after_a_success_the_route_in_git_counts_where_the_operator_owned_another(ownership: str, counts: bool) -> None:
    store, status = Store(), {"phase": "Succeeded", "weights": {"old": "checkout-v1", "new": "checkout-v2"}}
    store.apply(PLANS, "ADDED", plan(status=status, changes={"traffic.ownership": ownership}))
    rules = [{"backendRefs": [{"name": "checkout-v1", "port": 80}]}]
    assert store.apply(ROUTES, "ADDED", made(ROUTES, "checkout", 2, {"rules": rules})) == {KEY}
    assert [view.id.name for view in PlanFacts(store).routes_to_old(store.plans[KEY])] == ["checkout"] * counts


def test_an_object_of_the_version_that_is_known_changes_nothing() -> None:
    """The watch brings every answer to a write of ours once more."""
    store = Store()
    store.apply(ROUTES, "MODIFIED", made(ROUTES, "checkout", 7))
    store.apply(PLANS, "MODIFIED", plan(version=8))
    assert not store.apply(ROUTES, "MODIFIED", made(ROUTES, "checkout", 7))
    assert not store.apply(PLANS, "MODIFIED", plan(version=8))


def test_the_owners_are_those_of_plans_that_can_be_read() -> None:
    store = Store()
    owned = {"team": "team-checkout", "unowned": None, "broken": "not a team"}
    for name, owner in owned.items():
        store.apply(PLANS, "ADDED", plan(name, changes={"owner": owner}))
    assert store.owners() == [("shop", "team", "team-checkout")]


EVERY_KIND = [PLANS, ROUTES, DEPLOYMENTS, SOURCES, CLUSTER_SOURCES, POLICIES, TEMPLATES, CLUSTER_TEMPLATES]


def any_object(kind: str, version: int, **meta: Any) -> Raw:
    return plan("x", version, **meta) if kind == PLANS else made(kind, "x", version, **meta)


def here(store: Store) -> bool:
    return bool(
        store.plans
        or store.objects.views
        or store.workloads
        or store.shared.sources
        or store.policies.views
        or store.shared.templates
    )


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_was_answered_before_an_object_went_does_not_bring_it_back(kind: str) -> None:
    """The answer to a write may be read after the event that says that the object is gone."""
    store = Store()
    store.apply(kind, "ADDED", any_object(kind, 5))
    store.apply(kind, "DELETED", any_object(kind, 8))
    assert not store.apply(kind, "MODIFIED", any_object(kind, 7))
    assert not here(store)
    store.apply(kind, "ADDED", any_object(kind, 9, uid="another"))
    assert here(store), "one that is made anew is taken"


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_a_request_did_not_find_is_not_brought_back_by_what_was_known(kind: str) -> None:
    store, ident = Store(), (kind, "" if kind in (CLUSTER_SOURCES, CLUSTER_TEMPLATES) else "shop", "x")
    store.apply(kind, "ADDED", any_object(kind, 5))
    store.remove(ident)
    assert not store.apply(kind, "MODIFIED", any_object(kind, 5))
    assert not here(store)
    assert not store.apply(kind, "DELETED", any_object(kind, 6))
    store.apply(kind, "ADDED", any_object(kind, 9, uid="another"))
    assert here(store)


def listing(
    kind: str, *names: str, version: int, namespace: str | None = None, is_new_history: bool = False
) -> Listing:
    return Listing(kind, namespace, frozenset(("shop", name) for name in names), str(version), is_new_history)


def test_what_is_missing_in_a_list_is_gone_and_no_older_answer_brings_it_back() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(version=5))
    store.apply(PLANS, "ADDED", plan("there", version=6))
    store.apply(PLANS, None, plan("there", version=6))
    assert KEY in store.listed(listing(PLANS, "there", version=20))
    assert not store.apply(PLANS, "MODIFIED", plan(version=15))
    assert set(store.plans) == {"shop/there"}


def test_a_list_says_nothing_of_other_kinds_and_namespaces() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(version=5))
    assert not store.listed(listing(ROUTES, version=20))
    assert not store.listed(listing(PLANS, version=20, namespace="bank"))
    assert store.listed(listing(PLANS, version=20, namespace="shop")) == {KEY}


@pytest.mark.parametrize(
    ("version", "anew", "taken"),
    [(6, False, False), (9, False, True), (6, True, True), (9, True, True)],
    ids=[
        "the answer to a write is newer than the list",
        "it would be in the list: the cluster was restored, and counts on from where it was",
        "the list is older than what was told before: the cluster was restored",
        "both",
    ],
)
def test_a_list_with_an_older_version_than_is_known_is_right_where_history_began_anew(
    version: int, anew: bool, taken: bool
) -> None:
    store = Store()
    store.apply(PLANS, "MODIFIED", plan(version=8, status={"phase": "Judging"}))
    assert not store.apply(PLANS, None, plan(version=5, status={"phase": "Shifting"}))
    touched = store.listed(listing(PLANS, "checkout", version=version, is_new_history=anew))
    assert touched == ({KEY} if taken else set())
    assert store.plans[KEY].status.phase is (Phase.SHIFTING if taken else Phase.JUDGING)
    store.apply(PLANS, "MODIFIED", plan(version=7, status={"phase": "Held"}))
    assert (store.plans[KEY].status.phase is Phase.HELD) is taken, "and it counts from there"


def test_an_object_is_taken_under_a_lower_version_than_it_went_with_where_history_began_anew() -> None:
    store = Store()
    store.apply(PLANS, "DELETED", plan(version=100))
    store.listed(listing(PLANS, version=50, is_new_history=True))
    store.apply(PLANS, "ADDED", plan(version=51))
    assert KEY in store.plans
    store.apply(PLANS, "DELETED", plan(version=60))
    store.apply(PLANS, None, plan(version=40))
    store.listed(listing(PLANS, "checkout", version=45, is_new_history=True))
    assert KEY in store.plans, "in the list too"


def test_a_list_that_broke_off_leaves_nothing_behind() -> None:
    store = Store()
    store.apply(PLANS, "MODIFIED", plan(version=8, status={"phase": "Judging"}))
    store.apply(PLANS, None, plan(version=5, status={"phase": "Shifting"}))
    store.apply(PLANS, None, plan(version=9, status={"phase": "Held"}))
    store.listed(listing(PLANS, "checkout", version=9, is_new_history=True))
    assert store.plans[KEY].status.phase is Phase.HELD


def test_a_server_that_does_not_number_its_versions_is_taken_at_its_word() -> None:
    store = Store()
    for event, version in (("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "c"), ("ADDED", "a")):
        assert store.apply(ROUTES, event, made(ROUTES, "checkout", version=version)) == set()
    assert store.versions.version((ROUTES, "shop", "checkout")) == "a"
    store.apply(ROUTES, "DELETED", made(ROUTES, "checkout", version="d"))
    assert not store.objects.views


def test_of_what_is_gone_only_the_newest_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MAX_DELETED", 2)
    store = Store()
    for version, name in enumerate("abcb", 10):
        store.apply(ROUTES, "DELETED", made(ROUTES, name, version))
    for name in "abc":
        store.apply(ROUTES, "MODIFIED", made(ROUTES, name, 5))
    assert {route.name for _, route in store.objects.views} == {"a"}


def test_an_object_that_was_made_anew_is_not_deleted_by_what_is_said_of_the_former() -> None:
    store = Store()
    store.apply(ROUTES, "ADDED", made(ROUTES, "checkout", 3))
    store.apply(ROUTES, "DELETED", made(ROUTES, "checkout", 4))
    store.apply(ROUTES, "ADDED", made(ROUTES, "checkout", 6))
    store.apply(ROUTES, "DELETED", made(ROUTES, "checkout", 5))
    assert ("shop", RouteId("HTTPRoute", "checkout")) in store.objects.views


@pytest.mark.parametrize(
    ("kind", "name", "ours"),
    [
        (ROUTES, "checkout", True),
        (ROUTES, "former", True),
        (ROUTES, "another", False),
        (DEPLOYMENTS, "checkout-v1", True),
        (DEPLOYMENTS, "checkout-v2", True),
        (DEPLOYMENTS, "another", False),
        (SOURCES, "default", True),
        (SOURCES, "another", False),
        (CLUSTER_SOURCES, "default", True),
        (CLUSTER_SOURCES, "another", False),
    ],
)
def test_what_a_plan_depends_on_touches_the_plan_and_nothing_else_does(kind: str, name: str, ours: bool) -> None:
    """The routes of the snapshot too: a plan that was changed during the run still has them to put back."""
    store, touched = Store(), {KEY} if ours else set()
    store.apply(PLANS, "ADDED", plan(status={"weights": {"snapshot": SNAPSHOT}}))
    assert store.apply(kind, "ADDED", made(kind, name, spec=source("http://prom"))) == touched
    assert store.apply(kind, "MODIFIED", made(kind, name, 2, spec=source("http://other"))) == touched
    assert store.apply(kind, "DELETED", made(kind, name, 3)) == touched


@pytest.mark.parametrize("kind", [ROUTES, DEPLOYMENTS, SOURCES])
def test_the_same_name_in_another_namespace_is_another_object(kind: str) -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan())
    for name in ("checkout", "checkout-v2", "default"):
        assert not store.apply(kind, "ADDED", made(kind, name, namespace="bank"))


def test_what_a_plan_no_longer_names_touches_it_no_longer() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan())
    store.apply(PLANS, "MODIFIED", plan(version=2, changes={"new.deployment": "checkout-v3"}, generation=2))
    assert not store.apply(DEPLOYMENTS, "ADDED", made(DEPLOYMENTS, "checkout-v2"))
    assert store.apply(DEPLOYMENTS, "ADDED", made(DEPLOYMENTS, "checkout-v3")) == {KEY}


@pytest.mark.parametrize("kind", [ROUTES, DEPLOYMENTS, SOURCES, CLUSTER_SOURCES, TEMPLATES, CLUSTER_TEMPLATES])
def test_what_is_gone_is_gone(kind: str) -> None:
    store = Store()
    for event in ("ADDED", "DELETED"):
        store.apply(kind, event, made(kind, "default", spec=source("http://prom")))
    assert not (store.objects.views or store.workloads or store.shared.sources or store.shared.templates)
    assert not store.versions.version((kind, "" if kind.startswith("cluster") else "shop", "default"))


def test_a_plan_that_is_gone_is_forgotten_with_all_that_it_named() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan())
    assert store.apply(PLANS, "DELETED", plan(version=2)) == {KEY}
    assert not store.plans
    assert not store.apply(DEPLOYMENTS, "ADDED", made(DEPLOYMENTS, "checkout-v2"))
    assert not store.apply(PLANS, "DELETED", plan(version=3))


@pytest.mark.parametrize(
    ("rival", "running", "waiting"),
    [
        (plan("rival", status={"phase": "Judging"}), True, False),
        (plan("rival", status={"phase": "Expanding"}), True, False),
        (plan("rival", status={"phase": "RollingBack"}, **DELETING), True, False),
        (plan("rival"), False, True),
        (plan("rival", **DELETING), False, False),
        (plan("rival", status={"phase": "Pending", "reason": "Conflict"}), False, False),
        (plan("rival", status={"phase": "Invalid"}), False, False),
        (plan("rival", status={"phase": "Succeeded"}), False, False),
        (plan("rival", changes={"guards": []}, status={"weights": {"snapshot": [{"name": "checkout"}]}}), False, False),
    ],
    ids=["judging", "expanding", "reverting", "new", "deleted", "waiting for us", "invalid", "done", "unreadable"],
)
def test_plans_on_one_route_know_what_to_expect_of_each_other(rival: Raw, running: bool, waiting: bool) -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan())
    store.apply(PLANS, "ADDED", rival)
    store.apply(PLANS, "ADDED", plan("elsewhere", changes={"traffic.routes[0].name": "another"}))
    conflicts = PlanFacts(store).route_conflicts(store.plans[KEY])
    found = [(each.key, each.routes, each.running, each.waiting) for each in conflicts]
    routes = frozenset({RouteId("HTTPRoute", "checkout")})
    assert found == ([("shop/rival", routes, running, waiting)] if running or waiting else [])


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", ["MODIFIED", "DELETED"])
def test_whose_turn_it_may_be_is_looked_at_when_another_plan_moves_on(event: str, phase: Phase) -> None:
    """Plans during the run and at their ends do not care who else names their route."""
    store = Store()
    store.apply(PLANS, "ADDED", plan(status={"phase": phase.value}))
    store.apply(PLANS, "ADDED", plan("first", status={"phase": "Judging"}))
    touched = store.apply(PLANS, event, plan("first", version=2, status={"phase": "Succeeded"}))
    waits = phase in {*STARTING, Phase.PENDING, Phase.INVALID}
    assert touched == {"shop/first"} | ({KEY} if waits else set())


def by_pods(service: str) -> Raw:
    routes = [{"kind": "Replicas", "name": service}]
    return {"old.service": service, "new.service": service, "traffic.routes": routes}


BY_PODS: Raw = by_pods("all")
AFTER: Raw = {"contract": {"scaleOld": 0}}


@pytest.mark.parametrize(
    ("ours", "theirs", "sizes"),
    [
        (BY_PODS, by_pods("other"), {"checkout-v1", "checkout-v2"}),
        (BY_PODS, {**AFTER, "traffic.routes[0].name": "other"}, {"checkout-v1"}),
        ({**AFTER, "traffic.routes[0].name": "other"}, BY_PODS, {"checkout-v1"}),
        (BY_PODS, {"expand": {"scale": {"new": "MatchOld"}}, "traffic.routes[0].name": "other"}, {"checkout-v2"}),
        (BY_PODS, {"traffic.routes[0].name": "other"}, set()),
        (AFTER, {**AFTER, "traffic.routes[0].name": "other"}, set()),
        (BY_PODS, {**AFTER, "old.deployment": "checkout-v0", "traffic.routes[0].name": "other"}, set()),
    ],
    ids=[
        "both by Replicas",
        "one is scaled down",
        "the other way round",
        "one is scaled up",
        "the other sizes nothing",
        "no weight of either",
        "another one",
    ],
)
def test_plans_that_size_one_deployment_know_of_each_other(ours: Raw, theirs: Raw, sizes: set[str]) -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(changes=ours))
    touched = store.apply(PLANS, "ADDED", plan("rival", changes=theirs, status={"phase": "Judging"}))
    found = [(each.key, set(each.sizes)) for each in PlanFacts(store).route_conflicts(store.plans[KEY])]
    assert found == ([("shop/rival", sizes)] if sizes else [])
    assert not sizes or KEY in touched
    ends = store.apply(PLANS, "MODIFIED", plan("rival", version=2, changes=theirs, status={"phase": "Succeeded"}))
    assert PlanFacts(store).route_conflicts(store.plans[KEY]) == ()
    assert not sizes or KEY in ends


GRPCROUTES = place_of(ROUTE_KINDS["GRPCRoute"]).resource


def on_grpc(store: Store, name: str) -> None:
    """Have a plan name a GRPCRoute, which the API does not let it write."""
    found = store.plans[f"shop/{name}"]
    spec = found.view.spec
    assert spec is not None
    refs = tuple(ref.model_copy(update={"kind": "GRPCRoute"}) for ref in spec.traffic.routes)
    traffic = spec.traffic.model_copy(update={"routes": refs})
    found.view = replace(found.view, content=Readable(spec.model_copy(update={"traffic": traffic})))
    store.apply(PLANS, "MODIFIED", plan(name, version=2))


def test_routes_of_two_kinds_with_one_name_are_two_routes() -> None:
    store, http, grpc = Store(), RouteId("HTTPRoute", "checkout"), RouteId("GRPCRoute", "checkout")
    for name in ("checkout", "other"):
        store.apply(PLANS, "ADDED", plan(name))
    on_grpc(store, "other")
    assert store.apply(ROUTES, "ADDED", made(ROUTES, "checkout", 3)) == {KEY}
    assert store.apply(GRPCROUTES, "ADDED", made(GRPCROUTES, "checkout", 2)) == {"shop/other"}
    assert [*PlanFacts(store).routes_of(store.plans[KEY])] == [http]
    assert [*PlanFacts(store).routes_of(store.plans["shop/other"])] == [grpc]
    assert store.apply(GRPCROUTES, "DELETED", made(GRPCROUTES, "checkout", 4)) == {"shop/other"}
    assert [*store.objects.views] == [("shop", http)]


def test_plans_on_routes_of_two_kinds_with_one_name_are_no_rivals() -> None:
    store = Store()
    for name in ("checkout", "other"):
        store.apply(PLANS, "ADDED", plan(name))
    assert [rival.key for rival in PlanFacts(store).route_conflicts(store.plans[KEY])] == ["shop/other"]
    on_grpc(store, "other")
    assert not any(PlanFacts(store).route_conflicts(store.plans[key]) for key in (KEY, "shop/other"))
    assert store.apply(PLANS, "DELETED", plan("other", version=3)) == {"shop/other"}


RULED: Raw = {"maxConcurrent": 1}


def in_line() -> Store:
    """Two plans of which one may run at a time: `first` runs, and ours waits."""
    store = Store()
    store.apply(POLICIES, "ADDED", made(POLICIES, "one", spec=RULED))
    store.apply(PLANS, "ADDED", plan("first", status={"phase": "Judging"}))
    store.apply(PLANS, "ADDED", elsewhere(status={"phase": "Pending", "reason": "Waiting"}))
    return store


def elsewhere(**how: Any) -> Raw:
    """Our plan, on a route of its own."""
    return plan(changes={"traffic.routes[0].name": "another"}, **how)


def test_who_waits_for_a_place_is_woken_by_the_answer_to_the_write_that_frees_it() -> None:
    """By then the plan itself holds what was written."""
    store = in_line()
    held = store.plans["shop/first"]
    held.status = held.status.model_copy(update={"phase": Phase.SUCCEEDED})
    assert KEY in store.apply(PLANS, "MODIFIED", plan("first", version=2, status={"phase": "Succeeded"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"phase": "RolledBack"}},
        {"status": {"phase": "Invalid"}},
        {"labels": {"team": "b"}, "status": {"phase": "Judging"}},
    ],
    ids=["it ends", "it becomes invalid", "it leaves the group"],
)
def test_who_waits_for_a_place_is_woken_by_every_way_in_which_it_comes_free(changes: Raw) -> None:
    store = in_line()
    selecting = RULED | {"selector": {"matchLabels": {"team": "a"}}}
    store.apply(POLICIES, "MODIFIED", made(POLICIES, "one", 2, spec=selecting))
    store.apply(PLANS, "MODIFIED", plan("first", version=2, labels={"team": "a"}, status={"phase": "Judging"}))
    ours: Raw = {"labels": {"team": "a"}, "status": {"phase": "Pending", "reason": "Waiting"}}
    store.apply(PLANS, "MODIFIED", elsewhere(version=2, **ours))
    changes = {"labels": {"team": "a"}} | changes
    assert store.apply(PLANS, "MODIFIED", plan("first", version=3, **changes)) == {"shop/first", KEY}


def test_who_waits_for_a_route_is_woken_when_the_other_is_edited_to_another_route() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan())
    store.apply(PLANS, "ADDED", plan("first"))
    moved = plan("first", version=2, changes={"traffic.routes[0].name": "another"}, generation=2)
    assert store.apply(PLANS, "MODIFIED", moved) == {"shop/first", KEY}


def test_who_waits_for_a_route_is_woken_when_a_template_of_the_other_goes() -> None:
    """It can no longer be read, and is not about to start any more."""
    store = Store()
    store.apply(TEMPLATES, "ADDED", made(TEMPLATES, "success-rate", spec=OWN_TEMPLATE))
    store.apply(PLANS, "ADDED", plan())
    store.apply(PLANS, "ADDED", plan("first", changes=REFERS))
    assert store.apply(TEMPLATES, "DELETED", made(TEMPLATES, "success-rate", 2)) == {"shop/first", KEY}


def test_what_says_nothing_new_of_a_plan_wakes_nobody_else() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan())
    store.apply(PLANS, "ADDED", plan("first", status={"phase": "Judging"}))
    told = plan("first", version=2, status={"phase": "Judging", "message": "all is well"})
    assert store.apply(PLANS, "MODIFIED", told) == {"shop/first"}


NOT_ALLOWED = (
    "MetricSource default: spec.prometheus.url: own:9091 is not among the hosts that namespaced sources may point to:"
    " have it added to the operator's --source-hosts (sourceHosts of the chart), or use a ClusterMetricSource"
)
ALL, OWN = source("http://all:9090"), source("http://own:9090")


@pytest.mark.parametrize(
    ("there", "url", "problem"),
    [
        ([], None, "neither MetricSource shop/default nor ClusterMetricSource default exists: create one"),
        ([(SOURCES, OWN)], "http://own:9090", ""),
        ([(CLUSTER_SOURCES, ALL)], "http://all:9090", ""),
        ([(CLUSTER_SOURCES, ALL), (SOURCES, OWN)], "http://own:9090", ""),
        ([(CLUSTER_SOURCES, ALL | {"namespaces": ["bank", "shop"]})], "http://all:9090", ""),
        (
            [(CLUSTER_SOURCES, ALL | {"namespaces": ["bank"]})],
            None,
            "ClusterMetricSource default does not admit namespace shop: add it to spec.namespaces",
        ),
        ([(CLUSTER_SOURCES, ALL | {"namespaces": ["bank"]}), (SOURCES, OWN)], "http://own:9090", ""),
        ([(CLUSTER_SOURCES, source("nowhere"))], None, "ClusterMetricSource default: spec.prometheus.url"),
        ([(SOURCES, source("nowhere"))], None, "MetricSource default: spec.prometheus.url"),
        ([(CLUSTER_SOURCES, ALL), (SOURCES, source("nowhere"))], None, "MetricSource default: spec.prometheus.url"),
        (
            [(CLUSTER_SOURCES, ALL), (SOURCES, source("http://own:9091"))],
            None,
            NOT_ALLOWED,
        ),
    ],
)
def test_a_plan_asks_the_source_of_its_namespace_else_that_of_the_cluster(
    there: list[tuple[str, Raw]], url: str | None, problem: str
) -> None:
    store = Store(SourceHosts.read(["own:9090"]))
    store.apply(PLANS, "ADDED", plan())
    for kind, spec in there:
        store.apply(kind, "ADDED", made(kind, "default", spec=spec))
    found = store.shared.source(store.plans[KEY].view, Status())
    assert (found.spec.prometheus.url if found.spec else None) == url
    assert found.problem.startswith(problem) if problem else not found.problem


CLUSTER, NAMESPACED = "ClusterMetricSource", "MetricSource"


@pytest.mark.parametrize(
    ("began", "there", "url", "problem"),
    [
        (CLUSTER, [(CLUSTER_SOURCES, ALL), (SOURCES, OWN)], "http://all:9090", ""),
        (CLUSTER, [(SOURCES, OWN)], None, "ClusterMetricSource default, with which the run began, is gone: create it"),
        (NAMESPACED, [(CLUSTER_SOURCES, ALL)], None, "MetricSource default, with which the run began, is gone"),
        (NAMESPACED, [(CLUSTER_SOURCES, ALL), (SOURCES, OWN)], "http://own:9090", ""),
    ],
)
def test_a_run_asks_the_source_with_which_it_began_whatever_gets_its_name(
    began: str, there: list[tuple[str, Raw]], url: str | None, problem: str
) -> None:
    store = Store(SourceHosts.read(["own:9090"]))
    status = Status(phase=Phase.JUDGING, source=SourceStatus(kind=began, name="default"))
    store.apply(PLANS, "ADDED", plan(status=status.to_raw()))
    for kind, spec in there:
        store.apply(kind, "ADDED", made(kind, "default", spec=spec))
    facts = PlanFacts(store).of(KEY, epoch=1, claim_at=lambda _: START)
    assert facts is not None
    found = store.shared.source(facts.plan, facts.status)
    assert (found.spec.prometheus.url if found.spec else None) == url
    assert found.problem.startswith(problem) if problem else not found.problem
    asked = facts.source.object if facts.source else None
    assert (asked.kind if asked else None) == (began if url else None)
    assert (asked.shadowed_by if asked else "") == ("uid-default" if url == "http://all:9090" else "")
    ended = change(status, phase=Phase.SUCCEEDED)
    assert store.shared.source(facts.plan, ended).key.kind == there[-1][0]


@pytest.mark.parametrize(
    ("changes", "is_another"),
    [
        ({"prometheus.url": "http://evil:9090"}, True),
        ({"prometheus.flavor": "Thanos"}, True),
        ({"headers": {"X-Scope-OrgID": "platform"}}, True),
        ({"timeout": "9s", "scrapeInterval": "1s", "ingestionDelay": "9s", "maxConcurrency": 1}, False),
    ],
)
def test_another_source_is_one_that_may_answer_otherwise(changes: Raw, is_another: bool) -> None:
    def digest(spec: Raw) -> str:
        store = Store(SourceHosts.read(["own", "evil"]))
        store.apply(SOURCES, "ADDED", made(SOURCES, "default", spec=spec))
        store.apply(PLANS, "ADDED", plan())
        facts = PlanFacts(store).of(KEY, epoch=1, claim_at=lambda _: START)
        assert facts is not None and facts.source is not None and facts.source.object is not None
        return facts.source.object.digest

    assert (digest(OWN) != digest(changed(OWN, changes))) is is_another


def test_an_error_budget_is_asked_of_the_cluster_whatever_the_namespace_has() -> None:
    store = Store(SourceHosts.read(["own:9090"]))
    store.apply(SOURCES, "ADDED", made(SOURCES, "default", spec=OWN))
    missing = store.shared.cluster_source("default", "shop").problem
    assert missing.startswith("ClusterMetricSource default does not exist")
    store.apply(CLUSTER_SOURCES, "ADDED", made(CLUSTER_SOURCES, "default", spec=ALL))
    found = store.shared.cluster_source("default", "shop").spec
    assert found is not None
    assert found.prometheus.url == "http://all:9090"
    store.apply(CLUSTER_SOURCES, "MODIFIED", made(CLUSTER_SOURCES, "default", 2, spec=ALL | {"namespaces": ["bank"]}))
    assert store.shared.cluster_source("default", "shop").problem == (
        "ClusterMetricSource default does not admit namespace shop: add it to spec.namespaces"
    )


def test_policies_by_labels_of_a_namespace_follow_them() -> None:
    store, by_labels = Store(), {"selector": {"namespaceLabels": {"tier": "prod"}}, "freeze": {"now": "x"}}
    store.apply(POLICIES, "ADDED", made(POLICIES, "prod", spec=by_labels))
    store.apply(PLANS, "ADDED", plan())

    def found() -> list[tuple[str, bool]]:
        facts = PlanFacts(store).of(KEY, epoch=1, claim_at=lambda _: START)
        assert facts is not None
        return [(policy.name, policy.spec is not None) for policy in facts.policies]

    assert found() == [("prod", False)]
    meta = {"name": "shop", "resourceVersion": "2", "labels": {"tier": "prod"}}
    assert store.apply(NAMESPACES, "ADDED", {"metadata": meta}) == {KEY}
    assert found() == [("prod", True)]
    assert store.apply(NAMESPACES, "MODIFIED", {"metadata": meta | {"resourceVersion": "3"}}) == frozenset()
    assert store.apply(NAMESPACES, "MODIFIED", {"metadata": meta | {"resourceVersion": "4", "labels": {}}}) == {KEY}
    assert found() == []
    assert store.apply(NAMESPACES, "DELETED", {"metadata": meta | {"resourceVersion": "5"}}) == {KEY}
    assert found() == [("prod", False)]


# ---- templates -------------------------------------------------------------------------------------------------------

REFERS = {"guards[0]": {"template": "success-rate"}}
MISSING = "neither PredicateTemplate shop/success-rate nor ClusterPredicateTemplate success-rate exists: create one"
OWN_TEMPLATE, SHARED = changed(TEMPLATE, {"is": "> 0.1"}), changed(TEMPLATE, {"is": "> 0.2"})


def judged(store: Store) -> str:
    """The comparison of the guard that the template makes, else what is in the way."""
    view = store.plans[KEY].view
    if isinstance(view.content, NeedsTemplates):
        return f"{view.content.reason}: {view.problem}"
    assert view.spec is not None
    return view.spec.guards[0].comparison.text


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], f"TemplateNotFound: spec.guards[0]: {MISSING}"),
        ([(CLUSTER_TEMPLATES, SHARED)], "<= 0.2"),
        ([(TEMPLATES, OWN_TEMPLATE)], "<= 0.1"),
        ([(TEMPLATES, OWN_TEMPLATE), (CLUSTER_TEMPLATES, SHARED)], "<= 0.1"),
        ([(TEMPLATES, {}), (CLUSTER_TEMPLATES, SHARED)], "TemplateInvalid: spec.guards[0]: PredicateTemplate"),
    ],
)
@pytest.mark.parametrize("plan_first", [True, False], ids=["the plan comes first", "the templates come first"])
def test_a_plan_is_judged_by_the_template_of_its_namespace_else_that_of_the_cluster(
    plan_first: bool, there: list[tuple[str, Raw]], found: str
) -> None:
    store = Store()
    if plan_first:
        store.apply(PLANS, "ADDED", plan(changes=REFERS))
    for kind, spec in there:
        touched = store.apply(kind, "ADDED", made(kind, "success-rate", spec=spec))
        assert touched == ({KEY} if plan_first else set())
    if not plan_first:
        store.apply(PLANS, "ADDED", plan(changes=REFERS))
    assert judged(store).startswith(found)


def test_a_template_that_changes_or_goes_is_seen_by_the_plans_that_name_it() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(changes=REFERS))
    assert store.apply(TEMPLATES, "ADDED", made(TEMPLATES, "success-rate", spec=OWN_TEMPLATE)) == {KEY}
    assert store.apply(TEMPLATES, "MODIFIED", made(TEMPLATES, "success-rate", 2, spec=SHARED)) == {KEY}
    assert judged(store) == "<= 0.2"
    assert store.apply(TEMPLATES, "DELETED", made(TEMPLATES, "success-rate", 3)) == {KEY}
    assert judged(store).startswith("TemplateNotFound")
    assert not store.apply(TEMPLATES, "ADDED", made(TEMPLATES, "another", spec=TEMPLATE))
    assert not store.apply(TEMPLATES, "ADDED", made(TEMPLATES, "success-rate", namespace="bank", spec=TEMPLATE))


def test_what_a_run_began_with_stays_whatever_becomes_of_the_template() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(changes=REFERS))
    store.apply(TEMPLATES, "ADDED", made(TEMPLATES, "success-rate", spec=OWN_TEMPLATE))
    kept = [each.model_dump(by_alias=True) for each in store.plans[KEY].view.templates]
    store.apply(PLANS, "MODIFIED", plan(version=2, changes=REFERS, status={"phase": "Judging", "templates": kept}))
    store.apply(TEMPLATES, "MODIFIED", made(TEMPLATES, "success-rate", 2, spec=SHARED))
    assert judged(store) == "<= 0.1"
    store.apply(PLANS, "MODIFIED", plan(version=3, changes=REFERS, status={"phase": "Succeeded", "templates": kept}))
    assert judged(store) == "<= 0.2", "and the next run has it as it is then"


def test_a_plan_without_its_template_still_says_what_it_depends_on() -> None:
    """Its Deployments and routes must be known when the template comes, and others must know whose routes they are."""
    store = Store()
    store.apply(PLANS, "ADDED", plan(changes=REFERS))
    assert store.apply(DEPLOYMENTS, "ADDED", made(DEPLOYMENTS, "checkout-v2")) == {KEY}
    assert store.apply(SOURCES, "ADDED", made(SOURCES, "default", spec=source("http://prom"))) == {KEY}
    store.apply(PLANS, "ADDED", plan("rival"))
    assert PlanFacts(store).route_conflicts(store.plans["shop/rival"]) == (), "it is not about to start"
    store.apply(PLANS, "MODIFIED", plan(version=2, changes=REFERS, status={"phase": "Judging"}))
    (rival,) = PlanFacts(store).route_conflicts(store.plans["shop/rival"])
    assert (rival.key, rival.running, rival.waiting) == (KEY, True, False)


@pytest.mark.parametrize("name", ["a" * 64, "v1.v2"])
def test_a_name_that_no_service_can_have_is_not_followed(name: str) -> None:
    """The API server would refuse the list of all of them for it."""
    store = Store()
    store.apply(PLANS, "ADDED", plan(changes={"old.deployment": "v1", "new.deployment": name}))
    assert store.needs.services(None) == {("shop", "v1")}


def test_a_service_of_an_edited_status_is_not_followed_by_a_name_that_none_can_have() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan(status={"phase": "Judging", "weights": {"old": "v1,v2)", "new": "v2"}}))
    assert all(service.isalnum() or "-" in service for _, service in store.needs.services("shop"))
    assert ("shop", "v1,v2)") not in store.needs.services(None)


def test_a_plan_that_names_other_rules_wakes_those_that_wait_for_its_routes() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", plan("older"))
    store.apply(PLANS, "ADDED", plan("younger"))
    other = {"traffic.routes": [{"kind": "HTTPRoute", "name": "checkout", "rules": ["api"]}]}
    assert "shop/younger" in store.apply(PLANS, "MODIFIED", plan("older", 2, changes=other, generation=2))


def test_plans_of_namespaces_that_are_not_served_cannot_be_read_and_a_run_keeps_its_guards() -> None:
    store = Store(unserved=frozenset({"shop"}))
    store.apply(PLANS, "ADDED", plan(version=1, status={"phase": "Judging"}))
    running = store.plans[KEY].view
    assert (running.readable, running.spec is not None) == (False, True)
    store.apply(PLANS, "MODIFIED", plan(version=2, status={"phase": "RolledBack"}))
    ended = store.plans[KEY].view
    assert (ended.spec, "plans in shop are not served" in ended.problem) == (None, True)
    store.apply(PLANS, "ADDED", plan("another", version=1))
    assert store.plans["shop/another"].view.spec is None
    elsewhere = Store(unserved=frozenset({"kube-system"}))
    elsewhere.apply(PLANS, "ADDED", plan(version=1))
    assert elsewhere.plans[KEY].view.readable


def test_a_run_in_a_namespace_that_is_not_served_is_judged_with_the_templates_that_it_keeps() -> None:
    served, store = Store(), Store(unserved=frozenset({"shop"}))
    served.apply(PLANS, "ADDED", plan(changes=REFERS))
    served.apply(TEMPLATES, "ADDED", made(TEMPLATES, "success-rate", spec=OWN_TEMPLATE))
    begun = served.plans[KEY].view
    assert begun.spec is not None
    kept = [each.model_dump(by_alias=True) for each in begun.templates]
    store.apply(PLANS, "ADDED", plan(changes=REFERS, status={"phase": "Judging", "templates": kept}))
    found = store.plans[KEY].view
    assert (found.readable, found.spec) == (False, begun.spec)


def test_a_refused_plan_of_a_run_is_judged_with_the_templates_that_the_run_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served, store = Store(), Store()
    served.apply(PLANS, "ADDED", plan(changes=REFERS))
    served.apply(TEMPLATES, "ADDED", made(TEMPLATES, "success-rate", spec=OWN_TEMPLATE))
    begun = served.plans[KEY].view
    assert begun.spec is not None
    kept = [each.model_dump(by_alias=True) for each in begun.templates]
    status = {"phase": "Judging", "templates": kept, "planHash": begun.spec.plan_hash()}
    monkeypatch.setattr("rolloutplan.api.spec.MAX_PLAN", 10)
    store.apply(PLANS, "ADDED", plan(changes=REFERS, status=status))
    found = store.plans[KEY].view
    assert (found.readable, found.spec) == (False, begun.spec)


@pytest.mark.parametrize(
    ("writer", "is_ours"),
    [("uid-checkout", True), ("uid-other", False), ("uid-nobody", True)],
    ids=["its own run", "a run of another plan on the route", "a plan that is gone, as this one before a restore"],
)
def test_an_undo_command_on_a_route_is_that_of_the_plan_that_wrote_last(writer: str, *, is_ours: bool) -> None:
    store = Store()
    weights = (Backend(service="v1", weight=100), Backend(service="v2", weight=0))
    before = RouteWeights(kind="HTTPRoute", name="web", rules=(RuleWeights(index=0, backends=weights),))
    marks = {SEQ: f"0/{writer[:8]}.3.1", REVERT: undo_command("shop", before)}
    refs = [{"backendRefs": [{"name": "v1", "weight": 95}, {"name": "v2", "weight": 5}]}]
    store.apply(ROUTES, "ADDED", made(ROUTES, "web", 1, {"rules": refs}, annotations=marks))
    routes = {"traffic.routes": [{"kind": "HTTPRoute", "name": "web"}]}
    for name in ("checkout", "other"):
        store.apply(PLANS, "ADDED", plan(name, changes=routes, uid=f"uid-{name}"))
    facts = PlanFacts(store).of(KEY, epoch=1, claim_at=lambda _: START)
    assert facts is not None
    assert bool(facts.undo) is is_ours
