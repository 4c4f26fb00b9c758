"""What else gives a Service traffic: objects of the kinds that no watch follows, listed before a removal.

Lists come from the API server and go to loop/executor.py. Routes of the kinds that plans name are watched
(loop/store.py), and not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.cluster.paths import Kind

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
_VERSIONS: Final = ("v1", "v1alpha3", "v1alpha2")
KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "Ingress": (Kind("networking.k8s.io", "v1", "ingresses"),),
    "HTTPRoute": (Kind(GATEWAY_GROUP, "v1", "httproutes"), Kind(GATEWAY_GROUP, "v1beta1", "httproutes")),
    "GRPCRoute": (Kind(GATEWAY_GROUP, "v1", "grpcroutes"),),
    "TCPRoute": tuple(Kind(GATEWAY_GROUP, version, "tcproutes") for version in _VERSIONS),
    "TLSRoute": tuple(Kind(GATEWAY_GROUP, version, "tlsroutes") for version in _VERSIONS),
    "UDPRoute": tuple(Kind(GATEWAY_GROUP, version, "udproutes") for version in _VERSIONS),
}
"""The kinds that can give a Service traffic, each in the versions in which clusters serve it.

A cluster need not serve all of them; an object is the same in every version that is served.
"""


def users(kind: str, listed: Mapping[str, Any], service: str) -> Iterator[str]:
    """Yield `KIND NAME` for each object in a list that gives this Service of its namespace traffic."""
    for raw in safe_get.items(listed, "items"):
        if service in services_of(kind, raw):
            yield f"{kind} {safe_get.text(raw, 'metadata', 'name')}"


def services_of(kind: str, raw: object) -> set[str]:
    """The Services of its namespace to which an object of one of these kinds gives traffic."""
    return _ingress_services(raw) if kind == "Ingress" else _route_services(raw)


def _ingress_services(raw: object) -> set[str]:
    rules = safe_get.items(raw, "spec", "rules")
    backends = chain.from_iterable(safe_get.items(rule, "http", "paths") for rule in rules)
    named = {safe_get.text(each, "backend", "service", "name") for each in backends}
    return named | {safe_get.text(raw, "spec", "defaultBackend", "service", "name")}


def _route_services(raw: object) -> set[str]:
    refs = chain.from_iterable(safe_get.items(rule, "backendRefs") for rule in safe_get.items(raw, "spec", "rules"))
    home = safe_get.text(raw, "metadata", "namespace")
    return {
        safe_get.text(ref, "name")
        for ref in refs
        if safe_get.number(ref, "weight", default=1) > 0
        and not safe_get.value(ref, "group")
        and (safe_get.text(ref, "kind") or "Service") == "Service"
        and (safe_get.text(ref, "namespace") or home) == home
    }
