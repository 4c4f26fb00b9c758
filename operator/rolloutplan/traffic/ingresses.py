"""The Services to which an Ingress gives traffic, whichever controller reads it. Pure.

An Ingress has no weights of its own: its paths name Services, and annotations of some controllers divide a path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.traffic.annotation_json import read_json
from rolloutplan.traffic.described import DescribedKind

RESOURCE: Final = "ingresses.networking.k8s.io"
KIND: Final = "Ingress"
"""Its name in messages: kinds of route with names of their own read annotations of it."""
_ANNOTATED: Final = {
    name: spec.annotations
    for name, spec in BUILT_IN.items()
    if spec.resource == "ingresses" and spec.annotations is not None
}
_MAPS: Final = tuple(f"{BUILT_IN[name].prefix}/{where.map}" for name, where in _ANNOTATED.items() if where.map)
"""Annotations that divide a path among its Services."""
_ACTIONS: Final = tuple(DescribedKind(name, BUILT_IN[name]) for name, where in _ANNOTATED.items() if where.rules)
"""Kinds of which annotations name Services, in the place of those of a path."""
_BY_ACTION: Final = "use-annotation"
"""The name of a port where a path names such an annotation, and no Service."""


def services(raw: Mapping[str, Any]) -> frozenset[str]:
    """The Services of its namespace. Where several are at one path, those alone that an annotation gives a weight."""
    named: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in safe_get.items(raw, "spec", "rules"):
        for path in safe_get.items(rule, "http", "paths"):
            place = safe_get.text(rule, "host"), safe_get.text(path, "path")
            named[place].update(_service(safe_get.mapping(path, "backend")))
    weighted = {service for name in _MAPS for service in _weighted(raw, name)}
    used = (found & weighted or found if len(found) > 1 else found for found in named.values())
    by_action = (action.gives(raw) for action in _ACTIONS)
    return frozenset(_service(safe_get.mapping(raw, "spec", "defaultBackend"))).union(*used, *by_action)


def _service(backend: Mapping[str, Any]) -> Iterator[str]:
    """The Service of a backend, if it names one."""
    name = safe_get.text(backend, "service", "name")
    if name and safe_get.text(backend, "service", "port", "name") != _BY_ACTION:
        yield name


def _weighted(raw: Mapping[str, Any], annotation: str) -> Iterator[str]:
    """The Services to which an annotation gives a weight. Without any, all at a path get the same."""
    content = read_json(safe_get.text(raw, "metadata", "annotations", annotation))
    weights = content if isinstance(content, dict) else {}
    yield from (service for service, weight in weights.items() if weight != 0)
