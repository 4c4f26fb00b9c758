"""Objects that several kinds of route read, and objects that a route cannot be read without."""

from dataclasses import replace
from typing import Any

from rolloutplan.api.route import RouteId
from rolloutplan.api.route_kind import AnnotationWeights, RouteKindSpec, ShareWeight, WeightRules
from rolloutplan.engine.model.plan_view import Readable
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.loop.route_objects import RouteObjects
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.store import PLANS, Store
from rolloutplan.loop.versions import Id
from rolloutplan.traffic.described import DescribedKind
from tests.unit.test_loop_store import KEY, made, plan

INGRESSES = "ingresses.networking.k8s.io"
PLACE: dict[str, Any] = {"group": "networking.k8s.io", "versions": ("v1", "v1beta1"), "resource": "ingresses"}
CANARY = DescribedKind(
    "Canary",
    RouteKindSpec(
        **PLACE,
        share=ShareWeight(
            annotation="canary-weight",
            of="spec.rules[].http.paths[].backend.service.name",
            same=("spec.rules[].host",),
            needs={"canary": "true"},
        ),
        weights=WeightRules(missing=0, sum=100),
    ),
)
WEIGHED = DescribedKind(
    "Weighed", RouteKindSpec(**PLACE, annotations=AnnotationWeights(map="weights"), weights=WeightRules(missing=0))
)


def ingress(name: str, version: int, service: str, **annotations: str) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec = {"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]}
    return made(INGRESSES, name, version, spec, annotations=annotations)


def canary(version: int = 6, weight: str = "5") -> dict[str, Any]:
    return ingress("checkout-canary", version, "checkout-v2", canary="true", **{"canary-weight": weight})


def store() -> Store:
    return Store(_objects=RouteObjects(RouteKinds([CANARY, WEIGHED])))


def names(kind: str, route: str, key: str, into: Store) -> None:
    """Have a plan name a route of a kind that the API does not know."""
    found = into.plans[key]
    spec = found.view.spec
    assert spec is not None
    refs = tuple(ref.model_copy(update={"kind": kind, "name": route}) for ref in spec.traffic.routes)
    traffic = spec.traffic.model_copy(update={"routes": refs})
    found.view = replace(found.view, content=Readable(spec.model_copy(update={"traffic": traffic})))
    namespace, _, name = key.partition("/")
    into.apply(PLANS, "MODIFIED", plan(name, version=9, namespace=namespace))


def weights(view: RouteView) -> list[dict[str, int]]:
    return [{backend.service: backend.weight for backend in rule.backends} for rule in view.rules]


def test_each_kind_on_a_resource_reads_its_objects() -> None:
    found = store()
    found.apply(INGRESSES, "ADDED", ingress("main", 5, "checkout-v1", weights='{"checkout-v1": 3, "checkout-v2": 1}'))
    assert weights(found.routes["shop", RouteId("Weighed", "main")]) == [{"checkout-v1": 3, "checkout-v2": 1}]
    assert weights(found.routes["shop", RouteId("Canary", "main")]) == [{}]
    found.apply(INGRESSES, "DELETED", ingress("main", 6, "checkout-v1"))
    assert not found.routes


def test_a_route_is_read_with_the_objects_beside_it_and_again_when_one_of_them_changes() -> None:
    """The share of the old side has no number of its own: the other object says who has it."""
    found = store()
    found.apply(PLANS, "ADDED", plan())
    names("Canary", "checkout-canary", KEY, found)
    found.apply(INGRESSES, "ADDED", canary())
    assert found.apply(INGRESSES, "ADDED", ingress("main", 7, "checkout-v1")) == {KEY}
    route = RouteId("Canary", "checkout-canary")
    assert weights(found.routes["shop", route]) == [{"checkout-v1": 95, "checkout-v2": 5}]
    assert found.apply(INGRESSES, "MODIFIED", ingress("main", 8, "checkout-v3")) == {KEY}
    assert weights(found.routes["shop", route]) == [{"checkout-v3": 95, "checkout-v2": 5}]
    assert found.apply(INGRESSES, "MODIFIED", ingress("main", 9, "checkout-v3", unrelated="x")) == frozenset()


def test_what_stands_beside_a_route_is_kept_and_read_again_where_only_a_key_was_kept() -> None:
    found, asked = store(), list[Id]()
    found.fetch = asked.append
    found.apply(INGRESSES, None, ingress("main", 5, "another"))
    found.apply(INGRESSES, None, canary())
    assert not found.routes, "no plan needs them"
    found.apply(PLANS, "ADDED", plan())
    names("Canary", "checkout-canary", KEY, found)
    assert set(asked) == {(INGRESSES, "shop", "main"), (INGRESSES, "shop", "checkout-canary")}
    assert found.awaits(KEY)
    for raw in (canary(), ingress("main", 5, "checkout-v1")):
        found.apply(INGRESSES, None, raw)
    assert not found.awaits(KEY)
    assert weights(found.routes["shop", RouteId("Canary", "checkout-canary")])[0] == {
        "checkout-v1": 95,
        "checkout-v2": 5,
    }
    found.apply(PLANS, "DELETED", plan(version=20))
    assert not found.routes


def test_all_versions_of_a_kind_can_be_read() -> None:
    kinds = RouteKinds([CANARY, WEIGHED])
    assert kinds.at(INGRESSES).versions == ("v1", "v1beta1")
    kinds.serve(INGRESSES, "v1beta1")
    assert kinds.path("shop", RouteId("Canary", "a")) == "/apis/networking.k8s.io/v1beta1/namespaces/shop/ingresses/a"
