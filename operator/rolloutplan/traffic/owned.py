"""The route that the operator owns in place of one in Git (`traffic.ownership: Owned`). Pure: it writes nothing.

loop/owned_routes.py reads and writes.

A pipeline may write the HTTPRoute of a plan again at any time, with the weights in Git. The owned route has the same
parents, hosts and rules, and weights of its own. It takes the traffic because each of its matches names a method: the
Gateway API prefers that, where hosts and paths are the same. All but the weights follows the route in Git.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.route import HTTP_ROUTE, owned_name
from rolloutplan.traffic.overlay import ADDED

Raw = Mapping[str, Any]
Backend = tuple[str, str, str, str]
"""Group, kind, namespace and name of a backend."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""All that an HTTPRoute can match. A request of another method goes by the route in Git."""
MOST_MATCHES: Final = 64
"""Of a rule, as the Gateway API allows."""
MOST_IN_ALL: Final = 128
"""Of all rules together, as the Gateway API allows."""
LABEL: Final = "rolloutplan.dev/owned"
"""The label of routes that the operator owns. None of the user's labels is copied: a pipeline would prune by it."""

FOLLOWS: Final = "rolloutplan.dev/follows"
"""The annotation of an owned route that says what of the route in Git it was made from: a hash, without weights."""


class NotOwnableError(Exception):
    """The operator cannot make a route of its own from this one, or not go on with it as it is now; says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What plans want of an owned route: that it is there (`used`), and that a run `moving` its weights goes on."""

    used: bool = False
    moving: bool = False


@dataclass(frozen=True, slots=True)
class Make:
    """Create the owned route."""

    body: Raw


@dataclass(frozen=True, slots=True)
class Follow:
    """Give the owned route what has changed in the route in Git: a JSON Patch of the version that was read."""

    operations: Sequence[Raw]


@dataclass(frozen=True, slots=True)
class HandBack:
    """Delete the owned route at this version: the route in Git divides the traffic in the same way."""

    version: str


Step = Make | Follow | HandBack
"""What to do with an owned route."""


def next_step(source: Raw | None, own: Raw | None, wanted: Wanted) -> Step | None:
    """What the owned route needs now; None where nothing. Raises NotOwnableError.

    `source` is the route in Git. It owns the operator's one, so that both are gone together.
    """
    if source is None or safe_get.text(source, "metadata", "deletionTimestamp"):
        if wanted.used:
            raise NotOwnableError("it does not exist: create it, or correct spec.traffic.routes")
        return None
    if own is None:
        return Make(_made(source)) if wanted.used else None
    if not is_ours(own):
        name = safe_get.text(own, "metadata", "name")
        raise NotOwnableError(f"{HTTP_ROUTE} {name} is there already, and not by the operator: delete it or rename it")
    if safe_get.text(own, "metadata", "deletionTimestamp"):
        return None
    if _follows(own) != _hash(source) or _owner(source) not in safe_get.items(own, "metadata", "ownerReferences"):
        if safe_get.text(own, "metadata", "annotations", ADDED):
            raise NotOwnableError("it has changed, which is taken over at the end of the stage that adds to the route")
        return Follow(_patch(source, own, _spec(source, own, moving=wanted.moving)))
    if not wanted.used and _divides_alike(source, own):
        return HandBack(safe_get.text(own, "metadata", "resourceVersion"))
    return None


def is_ours(raw: Raw) -> bool:
    """Whether a route is one that the operator owns."""
    return safe_get.text(raw, "metadata", "labels", LABEL) == "true"


def source_name(own: Raw) -> str:
    """The name of the route in Git in whose place a route is; empty where it names none."""
    owners = safe_get.items(own, "metadata", "ownerReferences")
    return next((safe_get.text(each, "name") for each in owners if safe_get.text(each, "kind") == HTTP_ROUTE), "")


def _made(source: Raw) -> Raw:
    meta = {
        "name": owned_name(safe_get.text(source, "metadata", "name")),
        "namespace": safe_get.text(source, "metadata", "namespace"),
        "labels": {LABEL: "true"},
        "annotations": {FOLLOWS: _hash(source)},
        "ownerReferences": [_owner(source)],
    }
    spec = _spec(source, None, moving=False)
    return {"apiVersion": source["apiVersion"], "kind": HTTP_ROUTE, "metadata": meta, "spec": spec}


def _owner(source: Raw) -> Raw:
    meta = {key: safe_get.text(source, "metadata", key) for key in ("name", "uid")}
    return {"apiVersion": source["apiVersion"], "kind": HTTP_ROUTE, **meta, "controller": True}


def _patch(source: Raw, own: Raw, spec: Raw) -> list[Raw]:
    annotations = {**safe_get.mapping(own, "metadata", "annotations"), FOLLOWS: _hash(source)}
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": own["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "add", "path": "/metadata/ownerReferences", "value": [_owner(source)]},
        {"op": "add", "path": "/spec", "value": spec},
    ]


def _follows(own: Raw) -> str:
    return safe_get.text(own, "metadata", "annotations", FOLLOWS)


def _hash(source: Raw) -> str:
    """What an owned route takes over of a route: all of its spec but the weights."""
    spec = dict(safe_get.mapping(source, "spec"))
    spec["rules"] = [
        {**rule, "backendRefs": [{**ref, "weight": 0} for ref in _backends(rule)]}
        for rule in safe_get.items(spec, "rules")
    ]
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def _spec(source: Raw, own: Raw | None, *, moving: bool) -> dict[str, Any]:
    """What the owned route has as its spec: that of the source, with its own matches and weights."""
    spec, before = dict(safe_get.mapping(source, "spec")), safe_get.items(own, "spec", "rules")
    rules = [_with_methods(i, rule) for i, rule in enumerate(safe_get.items(spec, "rules"))]
    if (number := sum(len(rule["matches"]) for rule in rules)) > MOST_IN_ALL:
        raise NotOwnableError(f"its rules would have {number} matches, one for each method, of at most {MOST_IN_ALL}")
    spec["rules"] = [_with_weights(i, rule, _same(rule, i, before), moving=moving) for i, rule in enumerate(rules)]
    return spec


def _with_methods(index: int, rule: Raw) -> dict[str, Any]:
    """A rule whose matches all name a method."""
    matches = safe_get.items(rule, "matches") or [{"path": {"type": "PathPrefix", "value": "/"}}]
    if len(_backends(rule)) > 1 and any("method" in match for match in matches):
        words = "names a method, so the operator's route would not win over it: remove the method from the rule"
        raise NotOwnableError(f"rule {index} {words}, or leave spec.traffic.ownership out")
    each = [{**match, "method": method} for match in matches for method in _methods(match)]
    if len(each) > MOST_MATCHES:
        raise NotOwnableError(
            f"rule {index} would have {len(each)} matches, one for each method, of at most {MOST_MATCHES}: divide it"
        )
    return {**rule, "matches": each}


def _methods(match: Raw) -> Sequence[str]:
    """Which methods a match comes to: the one that it names, or all."""
    return (safe_get.text(match, "method"),) if "method" in match else METHODS


def _same(rule: Raw, index: int, before: Sequence[Raw]) -> Raw | None:
    """What a rule was in the owned route: the one of its name, else the one of its matches."""
    name = safe_get.text(rule, "name")
    named = (each for each in before if name and safe_get.text(each, "name") == name)
    alike = (each for each in (*before[index : index + 1], *before) if each.get("matches") == rule["matches"])
    return next(named, None) or next(alike, None)


def _with_weights(index: int, rule: Raw, before: Raw | None, *, moving: bool) -> Raw:
    """A rule with the weights that the owned route had; as in Git where that has none of its backends with traffic."""
    had, refs = dict(_weights(before)), safe_get.items(rule, "backendRefs")
    there = [backend for backend, _ in _weights(rule)]
    if moving and (lost := [backend for backend, weight in had.items() if weight and backend not in there]):
        words = f"rule {index} has no {lost[0][1]} {lost[0][3]} any more, which has weight {had[lost[0]]} in a run"
        raise NotOwnableError(f"{words}: nothing of the change is taken over; add it again, or abort the run first")
    if len(set(there)) < len(there) or not any(had.get(backend) for backend in there):
        return rule
    weights = (had.get(backend, 0) for backend in there)
    return {**rule, "backendRefs": [{**ref, "weight": weight} for ref, weight in zip(refs, weights, strict=True)]}


def _backends(rule: Raw | None) -> Sequence[Raw]:
    return safe_get.items(rule, "backendRefs")


def _weights(rule: Raw | None) -> Iterator[tuple[Backend, int]]:
    """Each backend of a rule with its weight, which is 1 where it is not written."""
    for ref in _backends(rule):
        keys = ("group", "kind", "namespace", "name")
        backend = tuple(safe_get.text(ref, key) or ("Service" if key == "kind" else "") for key in keys)
        yield (*backend,), safe_get.number(ref, "weight") if "weight" in ref else 1  # type: ignore[misc]


def _divides_alike(source: Raw, own: Raw) -> bool:
    """Whether two routes have as many rules, and divide the traffic of each in the same way."""
    theirs, ours = (safe_get.items(each, "spec", "rules") for each in (source, own))
    return [_shares(rule) for rule in theirs] == [_shares(rule) for rule in ours]


def _shares(rule: Raw) -> list[tuple[Backend, Fraction]]:
    found = [*_weights(rule)]
    total = sum(weight for _, weight in found)
    return [(backend, Fraction(weight, total or 1)) for backend, weight in found]
