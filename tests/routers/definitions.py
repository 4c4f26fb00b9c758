"""Definitions of the kinds of route: those of their projects, else loose ones with the ranges of the description."""

from collections.abc import Sequence
from typing import Any

from rolloutplan.api.object_path import Each, Path, parse
from rolloutplan.api.route_kind import RouteKindSpec
from tests.bed import until
from tests.bed.api import Api, ApiError, Manifest

PROJECTS = ("contour-kinds", "gloo", "istio-kinds", "knative", "skipper-kinds", "tcproutes", "traefik", "udproutes")
"""Those of tests/bed/extras.py that have definitions. The bed itself has those of the Gateway API, and Ingress."""
WRITTEN = {"LinkerdHTTPRoute": 1, "MeshHTTPRoute": 1, "MeshTCPRoute": 1, "OpenShiftRoute": 100}
"""What the API server writes for a weight that is missing, where the definition of a kind has a default."""
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def minimal(kind: str, spec: RouteKindSpec, sample: Manifest) -> Manifest:
    """A definition of a kind, by its description: takes all, except weights out of their range."""
    rules, weight = spec.weights, {"type": "integer" if spec.weights.units == 1 else "number", "minimum": 0}
    weight |= {"maximum": rules.sum or rules.max} | ({"default": WRITTEN[kind]} if kind in WRITTEN else {})
    schema: dict[str, Any] = dict(OPEN)
    for path in _weights(spec):
        _put(schema, path, weight)
    served = {"served": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    stored = sample["apiVersion"].partition("/")[2]
    names = {"kind": sample["kind"], "plural": spec.resource, "singular": sample["kind"].lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{spec.resource}.{spec.group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": spec.group,
            "scope": "Namespaced",
            "names": {**names, "listKind": f"{sample['kind']}List"},
            "versions": [{"name": stored, "storage": True, **served}],
        },
    }


def _weights(spec: RouteKindSpec) -> Sequence[Path]:
    """Where weights are in an object; none where they are in annotations."""
    if spec.share is not None:
        return [parse(spec.share.field)] if spec.share.field else []
    weight = parse(spec.weight)
    lists = [(rule, part) for rule, items in spec.rules.items() for part in items.split(" + ")]
    return [(*parse(rule), *parse(part), *weight) for rule, part in lists]


def _put(node: dict[str, Any], path: Path, leaf: dict[str, Any]) -> None:
    """Give the schema below a node a leaf at a path."""
    step, *rest = path
    if step is Each.VALUE:
        node.update({"type": "object"})
        below = node.setdefault("additionalProperties", {})
    elif isinstance(step, str):
        node.update(OPEN)
        below = node.setdefault("properties", {}).setdefault(step, {})
    elif isinstance(rest[0], int):  # an item is a list itself, and others are not
        node.update({"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": True}})
        return
    else:
        node.update({"type": "array"})
        below = node.setdefault("items", {})
    if rest:
        _put(below, tuple(rest), leaf)
    else:
        below.update(leaf)


def served_version(api: Api, spec: RouteKindSpec) -> str:
    """The first version of a kind that is served, as the operator finds it; empty where none is."""
    return next((version for version in spec.versions if _serves(api, spec, version)), "")


def _serves(api: Api, spec: RouteKindSpec, version: str) -> bool:
    try:
        api.get(f"/apis/{spec.group}/{version}/{spec.resource}?limit=1")
    except ApiError:
        return False
    return True


def await_served(api: Api, spec: RouteKindSpec) -> None:
    until(lambda: bool(served_version(api, spec)), 60, f"the API of {spec.resource}.{spec.group}")
