"""What gives a Service traffic, listed of every kind of route before a removal: what cannot be known is said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from rolloutplan.api.limits import UNREAD
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.engine.memory.in_flight import LOST_AFTER
from rolloutplan.engine.model.snapshot import ServiceUsers
from rolloutplan.loop import users
from rolloutplan.loop.route_watch import CHUNK
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.users import LISTED_WITHIN
from tests.world import START

ROUTE = {"metadata": {"name": "a", "namespace": "ns"}, "spec": {"rules": [{"backendRefs": [{"name": "v1"}]}]}}
LONE = {"metadata": {"name": "b", "namespace": "ns"}, "spec": {"http": [{"route": [{"destination": {"host": "v1"}}]}]}}
INGRESS = {"metadata": {"name": "c", "namespace": "ns"}, "spec": {"defaultBackend": {"service": {"name": "v1"}}}}
OWN = {
    "metadata": {"name": "ours"},
    "spec": {
        "group": "example.net", "versions": ["v1"], "resource": "routes", "rules": {"spec.to[]": "services[]"},
        "name": ["name"], "weight": "weight", "accepted": {"settle": "2s"},
    },
}  # fmt: skip
RESOURCES = {name: f"{spec.resource}.{spec.group}" for name, spec in BUILT_IN.items()}
FORBIDDEN = ApiError(403, "Forbidden", "no")


@dataclass
class Cluster:
    """An API server with these objects of each resource of every kind of route; `versions` are those of all groups."""

    answers: Mapping[str, list[Any] | ApiError]
    versions: tuple[str, ...] = tuple({version for spec in BUILT_IN.values() for version in spec.versions})
    groups: tuple[str, ...] = tuple({spec.group for spec in BUILT_IN.values()} | {"example.net"})
    asked: list[str] = field(default_factory=list)
    slow: float = 0.0
    groups_error: ApiError | None = None

    async def get(self, path: str) -> dict[str, Any]:
        assert path == "/apis"
        if self.groups_error is not None:
            raise self.groups_error
        served = [{"version": version} for version in self.versions]
        return {"groups": [{"name": group, "versions": served} for group in self.groups]}

    async def list(self, path: str, *, timeout: float | None = None, **query: str) -> dict[str, Any]:
        await asyncio.sleep(self.slow)
        *_, group, version, _, namespace, plural = path.split("/")
        assert (group in self.groups, version in self.versions, namespace) == (True, True, "ns")
        self.asked.append(f"{plural}.{group}")
        answer = self.answers.get(f"{plural}.{group}", ApiError(404, "NotFound", "no such kind"))
        if isinstance(answer, ApiError):
            raise answer
        start, limit = int(query.get("continue", 0)), int(query["limit"])
        if not isinstance(answer, list):
            return {"items": answer}
        rest = {"continue": str(start + limit)} if len(answer) > start + limit else {}
        return {"items": answer[start : start + limit], "metadata": rest}


def found(cluster: Cluster, kinds: RouteKinds | None = None) -> ServiceUsers:
    return asyncio.run(users.find_users(cast("Api", cluster), kinds or RouteKinds(), "ns", "v1", lambda: START))


def answer(**answers: list[Any] | ApiError) -> ServiceUsers:
    return found(Cluster({RESOURCES[name]: each for name, each in answers.items()}))


def test_what_gives_a_service_traffic_is_found_in_all_kinds_that_the_cluster_serves() -> None:
    seen = answer(SkipperIngress=[INGRESS], TLSRoute=[ROUTE], VirtualService=[LONE])
    assert seen.found == ("Ingress c", "TLSRoute a", "VirtualService b")
    assert answer() == ServiceUsers(START, "v1")


def test_every_resource_is_asked_for_once_and_no_group_that_is_not_served() -> None:
    cluster = Cluster({resource: [] for resource in RESOURCES.values()})
    assert found(cluster) == ServiceUsers(START, "v1")
    assert sorted(cluster.asked) == sorted({*RESOURCES.values()})
    istio = Cluster({}, groups=("networking.istio.io",), versions=("v1",))
    found(istio)
    assert istio.asked == ["virtualservices.networking.istio.io"]


@pytest.mark.parametrize("version", ["v1", "v1alpha3", "v1alpha2"])
def test_a_route_is_found_in_whatever_version_it_is_served(version: str) -> None:
    assert found(Cluster({RESOURCES["TLSRoute"]: [ROUTE]}, (version,))).found == ("TLSRoute a",)


def test_all_pages_of_a_list_are_looked_at() -> None:
    others = [{"metadata": {"name": f"r{number}"}} for number in range(2 * CHUNK)]
    assert answer(HTTPRoute=[*others, ROUTE]).found == ("HTTPRoute a",)
    canary = {"metadata": {"name": "canary"}, "spec": {"prefix": "/", "service": "v2", "weight": 100}}
    main = {"metadata": {"name": "main"}, "spec": {"prefix": "/", "service": "v1"}}
    assert answer(Mapping=[main, *others]).found == ("Mapping main",)
    assert answer(Mapping=[main, *others, canary]).found == (), "it has all, on another page"


def test_kinds_that_may_not_be_listed_are_named_together_and_do_not_hide_what_others_give() -> None:
    seen = answer(HTTPRoute=[ROUTE], GRPCRoute=FORBIDDEN, IngressRoute=FORBIDDEN)
    assert seen.found == ("HTTPRoute a",)
    assert seen.unknown.startswith(
        "the operator may not list grpcroutes.gateway.networking.k8s.io, ingressroutes.traefik.io: give it that right"
    )
    every = found(Cluster(dict.fromkeys(RESOURCES.values(), FORBIDDEN)))
    assert f" and {len({*RESOURCES.values()}) - 5} more: " in every.unknown
    assert len(every.unknown) < 512


@pytest.mark.parametrize(
    "error",
    [ApiError(500, "InternalError", "conversion webhook failed"), ApiError(0, "Timeout", "no answer within 5 s")],
    ids=str,
)
def test_a_kind_that_cannot_be_listed_is_named_and_does_not_hide_what_others_give(error: ApiError) -> None:
    seen = answer(HTTPRoute=error, IngressRoute=error, VirtualService=[LONE])
    assert seen.found == ("VirtualService b",)
    named = "httproutes.gateway.networking.k8s.io, ingressroutes.traefik.io"
    assert seen.unknown == f"{named} cannot be listed: {error}"


@pytest.mark.parametrize("status", [403, 500, 503])
def test_all_kinds_are_looked_at_where_the_groups_cannot_be_read(status: int) -> None:
    """An API server that aggregates others may fail here because of one of them."""
    seen = found(Cluster({RESOURCES["VirtualService"]: [LONE]}, groups_error=ApiError(status, "Broken", "no")))
    assert (seen.found, seen.unknown) == (("VirtualService b",), "")


def test_an_api_server_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(ApiError, match="no answer"):
        found(Cluster({}, groups_error=ApiError(0, "Timeout", "no answer")))


def test_an_answer_without_a_list_holds_only_its_own_kind() -> None:
    seen = answer(HTTPRoute=cast("Any", 5), VirtualService=[LONE])
    assert seen.found == ("VirtualService b",)
    assert seen.unknown.startswith("httproutes.gateway.networking.k8s.io cannot be listed: ")


def test_an_api_server_of_which_everything_fails_has_a_short_message() -> None:
    every = {name: ApiError(500, "InternalError", f"{name} {'x' * 9999}") for name in RESOURCES.values()}
    assert len(found(Cluster(every)).unknown) < 640


def test_a_kind_of_the_clusters_own_is_looked_at_too() -> None:
    kinds = RouteKinds()
    kinds.put(OWN)
    routes = [
        {"metadata": {"name": "d", "namespace": "ns"}, "spec": {"to": [{"services": [{"name": "v1", "weight": 1}]}]}}
    ]
    assert found(Cluster({"routes.example.net": routes}), kinds).found == ("ours d",)
    denied = found(Cluster({"routes.example.net": FORBIDDEN}), kinds).unknown
    assert "may not list routes.example.net: give it that right by a ClusterRole" in denied


def test_an_object_that_was_too_large_to_read_is_not_taken_for_one_that_names_nothing() -> None:
    large = {"metadata": {"name": "large", "namespace": "ns"}, UNREAD: "spec: 700 KiB are too large to read"}
    assert answer(HTTPRoute=[large]).unknown == "HTTPRoute large cannot be read: make it smaller, or remove it"


def test_lists_that_take_too_long_are_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "LISTED_WITHIN", 0.01)
    seen = found(Cluster({RESOURCES["HTTPRoute"]: []}, slow=1))
    assert "took more than 0.01 s, and are asked again" in seen.unknown
    assert LOST_AFTER.total_seconds() - LISTED_WITHIN >= 10, "the run has given the look up before it says so"


def test_what_failed_before_the_lists_took_too_long_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "LISTED_WITHIN", 0.05)
    seen = found(Cluster(dict.fromkeys(RESOURCES.values(), FORBIDDEN), slow=0.02))
    assert seen.unknown.startswith("the operator may not list ")
    assert seen.unknown.endswith("and are asked again")
