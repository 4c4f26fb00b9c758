"""What else gives a Service traffic: objects of the kinds that no watch follows, listed before a removal.

Lists come from the API server and go to loop/executor.py. Routes of the kinds that plans name are watched
(loop/store.py), and not listed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.route_kinds import BUILT_IN
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
_WEIGHING: Final = tuple(
    f"{spec.prefix}/{spec.annotations.map}"
    for spec in BUILT_IN.values()
    if spec.resource == "ingresses" and spec.annotations is not None and spec.annotations.map
)
"""Annotations that divide an Ingress's path among its Services."""


def users(kind: str, listed: Mapping[str, Any], service: str) -> Iterator[str]:
    """Yield `KIND NAME` for each object in a list that gives this Service of its namespace traffic."""
    for raw in safe_get.items(listed, "items"):
        if service in services_of(kind, raw):
            yield f"{kind} {safe_get.text(raw, 'metadata', 'name')}"


def services_of(kind: str, raw: object) -> set[str]:
    """The Services of its namespace to which an object of one of these kinds gives traffic."""
    return _ingress_services(raw) if kind == "Ingress" else _route_services(raw)


def _ingress_services(raw: object) -> set[str]:
    """The Services of its paths. Where several are at one path, those alone to which an annotation gives a weight."""
    named: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in safe_get.items(raw, "spec", "rules"):
        for each in safe_get.items(rule, "http", "paths"):
            place = safe_get.text(rule, "host"), safe_get.text(each, "path")
            named[place].add(safe_get.text(each, "backend", "service", "name"))
    weights = _weights(raw)
    used = (services & weights or services if len(services) > 1 else services for services in named.values())
    return {safe_get.text(raw, "spec", "defaultBackend", "service", "name")}.union(*used)


def _weights(raw: object) -> set[str]:
    """The Services to which an annotation gives a weight. Without any, all at a path get the same."""
    texts = (safe_get.text(raw, "metadata", "annotations", name) for name in _WEIGHING)
    found = (_read(text) for text in texts if text)
    return {service for weights in found for service, weight in weights.items() if weight != 0}


def _read(text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


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
