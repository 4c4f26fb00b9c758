"""Objects that several kinds of route read, and objects that a route cannot be read without."""

from typing import Any

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.store import PLANS, Store
from rolloutplan.loop.versions import Id
from rolloutplan.traffic.described import DescribedKind
from tests.unit.test_loop_store import KEY, made, plan
from tests.world import START

INGRESSES = "ingresses.networking.k8s.io"
VIRTUAL_SERVICES = "virtualservices.networking.istio.io"
CANARY, WEIGHED = "NginxCanary", "SkipperIngress"
"""Two of the kinds that read an Ingress."""


def ingress(name: str, version: int, service: str, **annotations: str) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec = {"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]}
    return made(INGRESSES, name, version, spec, annotations=annotations)


def canary() -> dict[str, Any]:
    prefix = "nginx.ingress.kubernetes.io"
    marks = {f"{prefix}/canary": "true", f"{prefix}/canary-weight": "5"}
    return ingress("checkout-canary", 6, "checkout-v2", **marks)


def named(*routes: tuple[str, str], name: str = "checkout", version: int = 1, **status: Any) -> dict[str, Any]:
    refs = [{"kind": kind, "name": route} for kind, route in routes]
    return plan(name, version, status=status, changes={"traffic.routes": refs}, generation=version)


def weights(view: RouteView) -> list[dict[str, int]]:
    return [{backend.service: backend.weight for backend in rule.backends} for rule in view.rules]


def test_each_kind_on_a_resource_reads_its_objects() -> None:
    found, split = Store(), '{"checkout-v1": 3, "checkout-v2": 1}'
    found.apply(INGRESSES, "ADDED", ingress("main", 5, "checkout-v1", **{"zalando.org/backend-weights": split}))
    assert weights(found.objects.views["shop", RouteId(WEIGHED, "main")]) == [{"checkout-v1": 300, "checkout-v2": 100}]
    assert weights(found.objects.views["shop", RouteId(CANARY, "main")]) in ([], [{}])
    found.apply(INGRESSES, "DELETED", ingress("main", 6, "checkout-v1"))
    assert not found.objects.views


def test_a_route_is_read_with_the_objects_beside_it_and_again_when_one_of_them_changes() -> None:
    """The share of the old side has no number of its own: the other object says who has it."""
    found, route = Store(), RouteId(CANARY, "checkout-canary")
    found.apply(PLANS, "ADDED", named((CANARY, "checkout-canary")))
    found.apply(INGRESSES, "ADDED", canary())
    assert found.apply(INGRESSES, "ADDED", ingress("main", 7, "checkout-v1")) == {KEY}
    assert weights(found.objects.views["shop", route]) == [{"checkout-v1": 95, "checkout-v2": 5}]
    assert found.apply(INGRESSES, "MODIFIED", ingress("main", 8, "checkout-v3")) == {KEY}
    assert weights(found.objects.views["shop", route]) == [{"checkout-v3": 95, "checkout-v2": 5}]
    assert found.apply(INGRESSES, "MODIFIED", ingress("main", 9, "checkout-v3", unrelated="x")) == frozenset()


def test_what_stands_beside_a_route_is_kept_and_read_again_where_only_a_key_was_kept() -> None:
    found, asked = Store(), list[Id]()
    found.needs.fetch = asked.append
    found.apply(INGRESSES, None, ingress("main", 5, "another"))
    found.apply(INGRESSES, None, canary())
    assert not found.objects.views, "no plan needs them"
    found.apply(PLANS, "ADDED", named((CANARY, "checkout-canary")))
    assert set(asked) == {(INGRESSES, "shop", "main"), (INGRESSES, "shop", "checkout-canary")}
    assert found.needs.awaits(KEY)
    for raw in (canary(), ingress("main", 5, "checkout-v1")):
        found.apply(INGRESSES, None, raw)
    assert not found.needs.awaits(KEY)
    view = found.objects.views["shop", RouteId(CANARY, "checkout-canary")]
    assert weights(view) == [{"checkout-v1": 95, "checkout-v2": 5}]
    found.apply(PLANS, "DELETED", plan(version=20))
    assert not found.objects.views


def test_two_plans_that_move_one_object_as_two_kinds_meet_on_it() -> None:
    found, ours, theirs = Store(), RouteId(CANARY, "main"), RouteId(WEIGHED, "main")
    found.apply(PLANS, "ADDED", named((CANARY, "main")))
    found.apply(PLANS, "ADDED", named((WEIGHED, "main"), name="other", version=2, phase="Judging"))
    (rival,) = PlanFacts(found).route_conflicts(found.plans[KEY])
    assert (rival.key, rival.others) == ("shop/other", {ours: theirs})
    assert rival.meets(ours, frozenset({7})), "whatever the rules"
    found.apply(PLANS, "MODIFIED", named((WEIGHED, "elsewhere"), name="other", version=3, phase="Judging"))
    assert not PlanFacts(found).route_conflicts(found.plans[KEY])


def test_kinds_of_two_groups_with_one_plural_do_not_meet() -> None:
    found = Store()
    found.apply(PLANS, "ADDED", named(("VirtualService", "main")))
    found.apply(PLANS, "ADDED", named(("GlooVirtualService", "main"), name="other", version=2, phase="Judging"))
    assert not PlanFacts(found).route_conflicts(found.plans[KEY])
    assert {"virtualservices.networking.istio.io", "virtualservices.gateway.solo.io"} == set(found.routes_wanted())


def test_a_plan_that_names_one_object_as_two_kinds_is_told_so() -> None:
    found = Store()
    found.apply(PLANS, "ADDED", named((CANARY, "main"), (WEIGHED, "main")))
    facts = PlanFacts(found).of(KEY, epoch=1, claim_at=lambda _: START)
    assert facts is not None
    assert facts.routers[WEIGHED].words.startswith("NginxCanary main is the same object")


def test_all_versions_of_a_kind_can_be_read() -> None:
    kinds, resource = RouteKinds(), "virtualservices.networking.istio.io"
    assert kinds.at(resource).versions == ("v1", "v1beta1", "v1alpha3")
    kinds.serve(resource, "v1beta1")
    path = "/apis/networking.istio.io/v1beta1/namespaces/shop/virtualservices/a"
    assert kinds.path((resource, "shop", "a")) == path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the VirtualServices whose rules are read, in order."""
    found, read = list[str](), DescribedKind.view

    def view(self: DescribedKind, raw: Any, siblings: Any = (), before: RouteView | None = None) -> RouteView:
        found.append(raw["metadata"]["name"])
        return read(self, raw, siblings, before)

    monkeypatch.setattr(DescribedKind, "view", view)
    return found


def virtual_service(name: str, version: int, *hosts: str) -> dict[str, Any]:
    rules = [{"route": [{"destination": {"host": host}, "weight": 100}]} for host in hosts]
    return made(VIRTUAL_SERVICES, name, version, {"http": rules})


def test_the_rules_of_a_route_are_read_once_a_version_and_only_where_a_plan_may_need_them(reads: list[str]) -> None:
    """One of 16,000 rules takes seconds, in which the loop serves nobody."""
    found = Store()
    found.needs.fetch = list[Id]().append
    found.apply(PLANS, "ADDED", named(("VirtualService", "main")))
    for version in (5, 6):
        found.apply(VIRTUAL_SERVICES, "MODIFIED", virtual_service("unrelated", version, "another", "checkout-v9"))
    assert reads == []
    for version in (7, 7):
        found.apply(VIRTUAL_SERVICES, "MODIFIED", virtual_service("main", version, "checkout-v1"))
        found.apply(VIRTUAL_SERVICES, "MODIFIED", virtual_service("giver", version, "checkout-v1.shop.svc"))
    assert reads == ["main", "giver"]


def test_a_route_that_was_left_unread_is_read_again_for_a_plan_that_names_a_service_of_it(reads: list[str]) -> None:
    found, asked = Store(), list[Id]()
    found.needs.fetch = asked.append
    found.apply(VIRTUAL_SERVICES, "ADDED", virtual_service("giver", 5, "checkout-v1"))
    found.apply(VIRTUAL_SERVICES, "ADDED", virtual_service("unrelated", 6, "another"))
    found.apply(PLANS, "ADDED", named(("VirtualService", "main")))
    assert (reads, asked) == ([], [(VIRTUAL_SERVICES, "shop", "giver")])
