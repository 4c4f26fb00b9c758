"""A cluster's own kinds of route: RouteKind objects, and the runs that began with them."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RouteWeights
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine.model.snapshot import REVERT, Facts
from rolloutplan.loop import kind_status
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.kind_status import KindStatus
from rolloutplan.loop.routers import forbidden
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.store import DEPLOYMENTS, OWN_KINDS, PLANS, Store
from rolloutplan.traffic import undo_command
from rolloutplan.traffic.own import described
from tests.unit.test_loop_store import KEY, made, plan
from tests.world import START

Raw = dict[str, Any]
ROUTE = RouteId("ourroute", "checkout")
SPEC: Raw = {
    "group": "example.dev",
    "versions": ["v1"],
    "resource": "ourroutes",
    "rules": {"": "spec.targets[]"},
    "name": ["service"],
    "weight": "share",
    "weights": {"missing": 0, "max": 1000},
    "accepted": {"settle": "2s"},
}
OURS = "ourroutes.example.dev"
KEPT = {"ourroute": json.dumps(SPEC)}


def kind(spec: Raw = SPEC, version: int = 1, **more: Any) -> Raw:
    return {
        "metadata": {"name": "ourroute", "resourceVersion": str(version), "generation": version},
        "spec": spec,
        **more,
    }


def route(version: int = 5) -> Raw:
    targets = [{"service": "checkout-v1", "share": 100, "old": 7}, {"service": "checkout-v2", "share": 0, "old": 3}]
    return made(OURS, "checkout", version, {"targets": targets})


def named(version: int = 1, **status: Any) -> Raw:
    refs = [{"kind": "ourroute", "name": "checkout"}]
    return plan(version=version, status=status, changes={"traffic.routes": refs}, generation=version)


def running(spec: Raw = SPEC) -> Raw:
    snapshot = {"kind": "ourroute", "name": "checkout", "rules": []}
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    weights = {"old": "checkout-v1", "new": "checkout-v2", "snapshot": [snapshot], "kinds": {"ourroute": text}}
    return {"phase": "Judging", "weights": weights}


def facts(store: Store) -> Facts:
    found = PlanFacts(store).of(KEY, epoch=1, claim_at=lambda _: START)
    assert found is not None
    return found


def weights(store: Store) -> list[int]:
    return [backend.weight for rule in facts(store).routes[ROUTE].rules for backend in rule.backends]


def test_a_plan_waits_for_a_kind_that_does_not_exist_and_moves_it_when_it_does() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", named())
    problem = facts(store).routers["ourroute"]
    assert problem.reason is StatusReason.ROUTE_KIND_NOT_FOUND
    assert problem.words == "RouteKind ourroute does not exist: create it, or correct spec.traffic.routes[].kind"
    assert store.routes_wanted() == {}
    assert store.apply(OWN_KINDS, "ADDED", kind()) == {KEY}
    assert set(store.routes_wanted()) == {OURS}
    assert store.apply(OURS, "ADDED", route()) == {KEY}
    assert not facts(store).routers
    assert weights(store) == [100, 0]
    assert json.loads(facts(store).own_kinds["ourroute"]) == SPEC
    assert store.apply(OWN_KINDS, "MODIFIED", kind(version=2, status={"served": "v1"})) == frozenset(), "no news"
    assert store.apply(OWN_KINDS, "DELETED", kind(version=3)) == {KEY}
    assert facts(store).routers["ourroute"].reason is StatusReason.ROUTE_KIND_NOT_FOUND


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rules": {}}, "needs one place of weights"),
        ({"weight": ""}, "write weight"),
        ({"weihgt": "share"}, "weihgt"),
        ({"rules": {"spec[": "targets[]"}}, "spec"),
        ({"group": "apps", "resource": "deployments"}, "deployments.apps is read by the operator for another purpose"),
        ({"group": "rolloutplan.dev", "resource": "rolloutplans"}, "rolloutplans.rolloutplan.dev is read"),
    ],
)
def test_a_kind_that_cannot_be_read_says_why_and_stops_no_other_plan(change: Raw, says: str) -> None:
    store = Store()
    store.apply(PLANS, "ADDED", named())
    store.apply(PLANS, "ADDED", plan("other", version=2))
    assert store.apply(OWN_KINDS, "ADDED", kind({**SPEC, **change})) == {KEY}
    words = facts(store).routers["ourroute"].words
    assert words.startswith("RouteKind ourroute: ")
    assert says in words
    other = PlanFacts(store).of("shop/other", epoch=1, claim_at=lambda _: START)
    assert other is not None
    assert not other.routers


WATCHED = (
    paths.PLANS, paths.NAMESPACES, paths.DEPLOYMENTS, paths.LEASES, paths.JOBS, paths.PODS, paths.CORE_EVENTS,
    paths.SERVICE_ACCOUNTS, paths.ENDPOINT_SLICES, paths.ACCESS_REVIEWS, paths.SELF_REVIEWS,
)  # fmt: skip


@pytest.mark.parametrize("place", WATCHED, ids=lambda place: place.resource)
def test_no_own_kind_is_one_of_the_objects_that_the_operator_has_for_itself(place: paths.Kind) -> None:
    kinds = RouteKinds()
    kinds.put(kind({**SPEC, "group": place.group, "resource": place.plural}))
    assert f"spec.resource: {place.resource} is read by the operator" in kinds.problem("ourroute")
    assert not kinds.reads(place.resource)


def test_how_the_rights_on_an_own_kind_are_given_is_said() -> None:
    store = Store()
    store.apply(OWN_KINDS, "ADDED", kind())
    store.apply(PLANS, "ADDED", named())
    store.routes_failed(OURS, forbidden(store.routes_wanted()[OURS]))
    words = facts(store).routers["ourroute"].words
    assert "the operator may not list and watch ourroutes.example.dev: give it get, list, watch and patch" in words
    assert 'the label rolloutplan.dev/routers: "true"' in words


def test_a_run_goes_on_with_the_kind_with_which_it_began() -> None:
    """Another path of the weight would have it restore other numbers than it has moved."""
    store, edited = Store(), {**SPEC, "weight": "old"}
    store.apply(OWN_KINDS, "ADDED", kind())
    store.apply(PLANS, "ADDED", named(**running()))
    store.apply(OURS, "ADDED", route())
    for version, event, spec in ((2, "MODIFIED", edited), (3, "DELETED", edited)):
        store.apply(OWN_KINDS, event, kind(spec, version))
        assert weights(store) == [100, 0]
        assert OURS in store.routes_wanted()
    undo = PlanFacts(store).undo_command(
        KEY, "shop", RouteWeights(kind="ourroute", name="checkout", rules=facts(store).routes[ROUTE].rules)
    )
    assert '"path":"/spec/targets/0/share"' in undo
    store.apply(PLANS, "MODIFIED", named(version=4))
    assert ROUTE not in facts(store).routes, "the next run begins with what is there then"


def test_a_leader_that_starts_after_the_kind_was_deleted_still_has_the_way_back() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", named(**running()))
    assert set(store.routes_wanted()) == {OURS}
    store.apply(OURS, "ADDED", route())
    assert weights(store) == [100, 0]


def test_no_status_makes_a_route_of_what_is_none() -> None:
    store = Store()
    store.apply(PLANS, "ADDED", named(**running({**SPEC, "group": "apps", "resource": "deployments"})))
    assert store.routes_wanted() == {}
    store.apply(DEPLOYMENTS, "ADDED", made(DEPLOYMENTS, "checkout-v1", 5))
    assert set(store.workloads) == {("shop", "checkout-v1")}


def test_a_kind_in_a_status_that_cannot_be_read_counts_as_the_present_one() -> None:
    store, status = Store(), running()
    status["weights"]["kinds"]["ourroute"] = "{nonsense"
    store.apply(OWN_KINDS, "ADDED", kind())
    store.apply(PLANS, "ADDED", named(**status))
    store.apply(OURS, "ADDED", route())
    assert weights(store) == [100, 0]


# ---- Ready -----------------------------------------------------------------------------------------------------------


class Server:
    """An API server that serves `ourroutes`, and allows some verbs on them."""

    def __init__(self, *, versions: tuple[str, ...] = ("v1",), allowed: tuple[str, ...] = kind_status.VERBS) -> None:
        self.versions, self.allowed = versions, allowed
        self.written: list[Raw] = []
        self.requests = 0

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        self.requests += 1
        version = path.split("/")[3:]
        if not self.versions or (version and version[0] not in self.versions):
            raise ApiError(404, "NotFound")
        served = {"versions": [{"version": each} for each in self.versions]}
        return {"resources": [{"name": "ourroutes"}]} if version else served

    async def create(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> Raw:
        self.requests += 1
        asked = body["spec"]["resourceAttributes"]
        assert (path, asked["group"]) == ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "example.dev")
        return {"status": {"allowed": asked["verb"] in self.allowed}}

    async def patch(self, path: str, body: Mapping[str, Any]) -> Raw:
        assert path == "/apis/rolloutplan.dev/v1alpha1/routekinds/ourroute/status"
        self.written.append(body["status"])
        return {}


def looked_at(server: Server, raw: Raw | None = None, *, leading: bool = True, looks: int = 1) -> list[Raw]:
    async def run() -> None:
        kinds = RouteKinds()
        if raw is not None:
            kinds.put(raw)
        status = KindStatus(server, kinds, leading=lambda: leading)
        running = asyncio.create_task(status.run())
        for _ in range(looks):
            await asyncio.sleep(0.02)
            for written in server.written[-1:]:
                assert raw is not None
                kinds.put({**raw, "status": written})
            status.changed()
        await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    return server.written


@pytest.mark.parametrize(
    ("server", "spec", "status", "reason", "says"),
    [
        (Server(), SPEC, "True", "Served", "plans may name it"),
        (Server(versions=()), SPEC, "False", "RouterNotInstalled", "does not serve ourroutes.example.dev"),
        (Server(versions=("v2",)), SPEC, "False", "RouterNotInstalled", "in v2 only, and it can be read in v1"),
        (Server(allowed=("get", "list")), SPEC, "False", "Forbidden", "may not watch, patch ourroutes.example.dev"),
        (Server(), {**SPEC, "weight": ""}, "False", "Invalid", "write weight"),
    ],
    ids=["ready", "not installed", "another version", "not granted", "invalid"],
)
def test_a_kind_is_ready_when_it_is_served_and_may_be_moved(
    server: Server, spec: Raw, status: str, reason: str, says: str
) -> None:
    (written,) = looked_at(server, kind(spec, version=3), looks=3)
    (condition,) = written["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", status, reason)
    assert says in condition["message"]
    assert (written["observedGeneration"], condition["observedGeneration"]) == (3, 3)


def test_without_kinds_and_without_leading_nothing_is_asked() -> None:
    for server, raw, leading in ((Server(), None, True), (Server(), kind(), False)):
        assert looked_at(server, raw, leading=leading) == []
        assert server.requests == 0


@pytest.mark.parametrize("status", [{}, {"weights": {"kinds": running()["weights"]["kinds"]}}], ids=["lost", "edited"])
def test_the_undo_command_of_a_kind_of_ones_own_is_read_back(status: Raw) -> None:
    store = Store()
    store.apply(OWN_KINDS, "ADDED", kind())
    before = described("ourroute", SPEC).view(route())
    command = undo_command("shop", RouteWeights(kind="ourroute", name="checkout", rules=before.rules), kept=KEPT)
    raw = named(**status)
    raw["metadata"]["annotations"] = {REVERT: command}
    store.apply(PLANS, "ADDED", raw)
    (found,) = facts(store).undo
    assert [(each.service, each.weight) for each in found.rules[0].backends] == [
        ("checkout-v1", 100),
        ("checkout-v2", 0),
    ]
