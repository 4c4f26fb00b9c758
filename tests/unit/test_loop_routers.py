"""What a plan waits for, and what it says, while the routes of its kinds are not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.cluster import paths
from rolloutplan.cluster.paths import Kind
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.snapshot import Facts, RouteView
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.feed import Feed
from rolloutplan.loop.routers import Trouble, forbidden, not_installed, silent
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import PLANS, Store
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.described import DescribedKind
from tests.unit.test_loop_store import KEY, ROUTES, made, plan
from tests.world import START

ROUTE = RouteId("HTTPRoute", "checkout")
PLACE = place_of(ROUTE_KINDS["HTTPRoute"])
RUNNING = {"phase": "Judging", "weights": {"snapshot": [{"kind": "HTTPRoute", "name": "checkout", "rules": []}]}}


@dataclass
class Watched:
    """A store whose routes are watched on demand."""

    store: Store = field(default_factory=Store)
    calls: int = 0

    def __post_init__(self) -> None:
        self.store.needs.routers_changed = self.changed

    def changed(self) -> None:
        self.calls += 1

    def facts(self) -> Facts:
        found = PlanFacts(self.store).of(KEY, epoch=1, claim_at=lambda _: START)
        assert found is not None
        return found

    @property
    def wanted(self) -> set[str]:
        return set(self.store.routes_wanted())


def fed(watched: Watched, woken: list[str]) -> Feed:
    """What feeds the store; of metrics, sources and the API server it needs nothing here."""
    return Feed(watched.store, cast("Any", None), cast("Any", None), cast("Any", None), wake=woken.append)


def test_a_resource_is_wanted_from_the_first_plan_to_the_last() -> None:
    watched = Watched()
    assert watched.wanted == set()
    watched.store.apply(PLANS, "ADDED", plan())
    watched.store.apply(PLANS, "ADDED", plan("other", version=2))
    assert (watched.wanted, watched.calls) == ({ROUTES}, 1)
    assert watched.store.routes_wanted()[ROUTES].versions[0] == PLACE.version
    watched.store.apply(PLANS, "DELETED", plan(version=3))
    assert (watched.wanted, watched.calls) == ({ROUTES}, 1)
    watched.store.apply(PLANS, "DELETED", plan("other", version=4))
    assert (watched.wanted, watched.calls) == (set(), 2)


def test_a_route_that_a_run_may_have_to_put_back_is_wanted_though_the_plan_cannot_be_read() -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING) | {"spec": {"nonsense": 1}})
    assert watched.wanted == {ROUTES}


@pytest.mark.parametrize("status", [{}, RUNNING], ids=["before a run", "in a run"])
def test_a_plan_waits_until_its_routes_have_been_listed(status: dict[str, object]) -> None:
    """Until then no route is known, and a run would take its own for gone."""
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=status))
    assert watched.store.needs.awaits(KEY)
    assert watched.store.routes_listed(ROUTES) == {KEY}
    assert not watched.store.needs.awaits(KEY)
    assert watched.store.routes_listed(ROUTES) == set(), "the next list is no news"


@pytest.mark.parametrize(
    ("trouble", "reason", "says"),
    [
        (not_installed(PLACE), StatusReason.ROUTER_NOT_INSTALLED, "install its CRD"),
        (not_installed(PLACE, ("v9",)), StatusReason.ROUTER_NOT_INSTALLED, "in v9 only"),
        (forbidden(PLACE), StatusReason.FORBIDDEN, "add HTTPRoute to `routers` of the chart"),
        (silent(PLACE, "no answer"), StatusReason.ROUTE_NOT_FOUND, "no answer"),
    ],
    ids=["not installed", "another version", "forbidden", "silent"],
)
def test_a_resource_in_trouble_is_said_and_a_run_takes_none_of_its_routes_for_gone(
    trouble: Trouble, reason: StatusReason, says: str
) -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING))
    assert watched.store.routes_failed(ROUTES, trouble) == {KEY}
    assert watched.store.routes_failed(ROUTES, trouble) == set(), "the same once more is no news"
    assert not watched.store.needs.awaits(KEY)
    found = watched.facts()
    assert found.routers["HTTPRoute"].reason is reason
    assert says in found.routers["HTTPRoute"].words
    assert found.unread == {"httproutes/checkout"}
    assert found.unread_routes == {ROUTE: trouble.words}
    assert watched.store.routes_listed(ROUTES) == {KEY}
    assert not watched.facts().routers
    assert not watched.facts().unread_routes, "a list without it shows that it is gone"


@pytest.mark.parametrize(
    ("kind", "where", "subject"),
    [
        (paths.DEPLOYMENTS, None, "deployments/checkout-v2"),
        (paths.DEPLOYMENTS, "shop", "deployments/checkout-v2"),
        (paths.CLUSTER_SOURCES, None, "clustermetricsources/default"),
        (paths.PLANS, None, "rolloutplans/checkout"),
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [{}, RUNNING], ids=["before a run", "in a run"])
def test_a_run_may_not_trust_what_may_not_be_watched_any_more(
    kind: Kind, where: str | None, subject: str, status: dict[str, object]
) -> None:
    watched, woken = Watched(), list[str]()
    watched.store.apply(PLANS, "ADDED", plan(status=status))
    watched.store.routes_listed(ROUTES)
    feed = fed(watched, woken)
    feed.watch_allowed(kind, where, False)
    found = watched.facts()
    assert woken == [KEY]
    if not status:
        assert not found.unread and not found.unseen, "its preconditions are read when it starts"
        return
    assert subject in found.unread
    why = found.unseen[subject]
    assert isinstance(why, MissingRight)
    assert f"may not list and watch {kind.resource}" in why and "install the release again" in why
    feed.watch_allowed(kind, where, True)
    assert not watched.facts().unread and not watched.facts().unseen
    assert woken == [KEY, KEY]


def test_another_namespace_that_may_not_be_watched_is_nothing_to_a_run() -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING))
    watched.store.routes_listed(ROUTES)
    fed(watched, []).watch_allowed(paths.DEPLOYMENTS, "other", False)
    assert not watched.facts().unread


def test_what_was_seen_of_a_route_stays_while_its_resource_is_not_served() -> None:
    """Only an event, a later list, or a 404 about the object shows that it is gone."""
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING))
    watched.store.apply(ROUTES, None, made(ROUTES, "checkout", 5))
    watched.store.routes_listed(ROUTES)
    watched.store.routes_failed(ROUTES, not_installed(PLACE))
    found = watched.facts()
    assert (set(found.routes), dict(found.unread_routes)) == ({ROUTE}, {})
    assert found.unread == {"httproutes/checkout"}, "it goes no further"


def test_a_route_whose_deletion_was_seen_before_its_crd_went_is_gone() -> None:
    """An API server deletes the objects of a CRD before the CRD."""
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING))
    watched.store.apply(ROUTES, None, made(ROUTES, "checkout", 5))
    watched.store.routes_listed(ROUTES)
    watched.store.apply(ROUTES, "DELETED", made(ROUTES, "checkout", 6))
    watched.store.routes_failed(ROUTES, not_installed(PLACE))
    assert (dict(watched.facts().routes), dict(watched.facts().unread_routes)) == ({}, {})


class Unreadable(DescribedKind):
    """A kind that cannot read what is marked so."""

    def view(
        self, raw: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]] = (), before: RouteView | None = None
    ) -> RouteView:
        if "cannot be read" in raw["metadata"].get("annotations", {}):
            raise RuntimeError
        return super().view(raw, siblings)


def marked(version: int) -> dict[str, Any]:
    """A route that cannot be read."""
    raw = made(ROUTES, "checkout", version)
    return {**raw, "metadata": {**raw["metadata"], "annotations": {"cannot be read": ""}}}


@pytest.fixture
def _unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = ROUTE_KINDS["HTTPRoute"]
    assert isinstance(kind, DescribedKind)
    monkeypatch.setitem(cast("dict[str, RouteKind]", ROUTE_KINDS), "HTTPRoute", Unreadable("HTTPRoute", kind.spec))


@pytest.mark.usefixtures("_unreadable")
@pytest.mark.parametrize("status", [{}, RUNNING], ids=["before a run", "in a run"])
def test_a_route_that_cannot_be_read_any_more_is_as_it_was_last_read(status: dict[str, object]) -> None:
    watched = Watched()
    store = watched.store
    store.apply(PLANS, "ADDED", plan(status=status))
    store.apply(ROUTES, None, made(ROUTES, "checkout", 5))
    store.routes_listed(ROUTES)
    before = watched.facts().routes[ROUTE]
    assert not watched.facts().unread_routes
    assert store.apply(ROUTES, "MODIFIED", marked(6)) == {KEY}
    assert watched.facts().routes[ROUTE] == before
    assert "cannot be read (RuntimeError)" in watched.facts().unread_routes[ROUTE]
    assert bool(watched.facts().unread) is bool(status), "a run goes no further"
    store.apply(ROUTES, "MODIFIED", made(ROUTES, "checkout", 7))
    assert not watched.facts().unread_routes
    assert watched.facts().routes[ROUTE].version == "7"
    store.apply(ROUTES, "MODIFIED", marked(8))
    store.apply(ROUTES, "DELETED", marked(9))
    assert (dict(watched.facts().routes), dict(watched.facts().unread_routes)) == ({}, {})


@pytest.mark.usefixtures("_unreadable")
def test_a_route_that_could_never_be_read_is_not_gone() -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING))
    watched.store.apply(ROUTES, None, marked(5))
    watched.store.routes_listed(ROUTES)
    assert (dict(watched.facts().routes), set(watched.facts().unread_routes)) == ({}, {ROUTE})


def test_what_was_known_of_a_resource_is_forgotten_with_the_last_plan_that_names_it() -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan())
    watched.store.apply(ROUTES, None, made(ROUTES, "checkout", 5))
    watched.store.routes_listed(ROUTES)
    watched.store.apply(PLANS, "DELETED", plan(version=9))
    watched.store.routes_unwanted(ROUTES)
    assert not watched.store.objects.views
    assert watched.store.versions.version((ROUTES, "shop", "checkout")) == ""
    watched.store.apply(PLANS, "ADDED", plan(version=10, uid="another"))
    assert watched.store.needs.awaits(KEY), "it is listed anew"
    assert watched.store.apply(ROUTES, None, made(ROUTES, "checkout", 5)) == {KEY}


def test_a_resource_has_its_group_in_its_name() -> None:
    assert Kind("networking.istio.io", "v1", "virtualservices").resource == "virtualservices.networking.istio.io"
    assert Kind("", "v1", "services").resource == "services"
