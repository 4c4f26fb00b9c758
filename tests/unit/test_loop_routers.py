"""What a plan waits for, and what it says, while the routes of its kinds are not known."""

from dataclasses import dataclass, field

import pytest

from rolloutplan.api.reasons import StatusReason
from rolloutplan.cluster.paths import Kind
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.loop.routers import Trouble, forbidden, not_installed, silent
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import PLANS, Store
from rolloutplan.traffic import ROUTE_KINDS
from tests.unit.test_loop_store import KEY, ROUTES, made, plan
from tests.world import START

PLACE = place_of(ROUTE_KINDS["HTTPRoute"])
RUNNING = {"phase": "Judging", "weights": {"snapshot": [{"kind": "HTTPRoute", "name": "checkout", "rules": []}]}}


@dataclass
class Watched:
    """A store whose routes are watched on demand."""

    store: Store = field(default_factory=Store)
    calls: int = 0

    def __post_init__(self) -> None:
        self.store.routers_changed = self.changed

    def changed(self) -> None:
        self.calls += 1

    def facts(self) -> Facts:
        found = self.store.facts(KEY, epoch=1, claim_at=lambda _: START)
        assert found is not None
        return found

    @property
    def wanted(self) -> set[str]:
        return set(self.store.routes_wanted())


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
    assert watched.store.awaits(KEY)
    assert watched.store.routes_listed(ROUTES) == {KEY}
    assert not watched.store.awaits(KEY)
    assert watched.store.routes_listed(ROUTES) == set(), "the next list is no news"


@pytest.mark.parametrize(
    ("trouble", "reason", "says", "unread"),
    [
        (not_installed(PLACE), StatusReason.ROUTER_NOT_INSTALLED, "install its CRD", set()),
        (
            forbidden(PLACE),
            StatusReason.NOT_GRANTED,
            "add HTTPRoute to `routers` of the chart",
            {"httproutes/checkout"},
        ),
        (silent(PLACE, "no answer"), StatusReason.ROUTE_NOT_FOUND, "no answer", {"httproutes/checkout"}),
    ],
    ids=["not installed", "forbidden", "silent"],
)
def test_a_resource_in_trouble_is_said_and_a_run_takes_only_what_is_not_served_for_gone(
    trouble: Trouble, reason: StatusReason, says: str, unread: set[str]
) -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan(status=RUNNING))
    assert watched.store.routes_failed(ROUTES, trouble) == {KEY}
    assert watched.store.routes_failed(ROUTES, trouble) == set(), "the same once more is no news"
    assert not watched.store.awaits(KEY)
    found = watched.facts()
    assert found.routers["HTTPRoute"].reason is reason
    assert says in found.routers["HTTPRoute"].words
    assert found.unread == unread
    assert watched.store.routes_listed(ROUTES) == {KEY}
    assert not watched.facts().routers


def test_what_was_known_of_a_resource_is_forgotten_with_the_last_plan_that_names_it() -> None:
    watched = Watched()
    watched.store.apply(PLANS, "ADDED", plan())
    watched.store.apply(ROUTES, None, made(ROUTES, "checkout", 5))
    watched.store.routes_listed(ROUTES)
    watched.store.apply(PLANS, "DELETED", plan(version=9))
    watched.store.routes_unwanted(ROUTES)
    assert not watched.store.routes
    assert watched.store.version((ROUTES, "shop", "checkout")) == ""
    watched.store.apply(PLANS, "ADDED", plan(version=10, uid="another"))
    assert watched.store.awaits(KEY), "it is listed anew"
    assert watched.store.apply(ROUTES, None, made(ROUTES, "checkout", 5)) == {KEY}


def test_a_resource_has_its_group_in_its_name() -> None:
    assert Kind("networking.istio.io", "v1", "virtualservices").resource == "virtualservices.networking.istio.io"
    assert Kind("", "v1", "services").resource == "services"
