"""The route that the operator owns in place of one in Git (`traffic.ownership: Owned`). Pure: it writes nothing.

loop/owned_routes.py reads and writes.

A pipeline may write the HTTPRoute of a plan again at any time, with the weights in Git. The owned route has the same
parents, hosts and rules, and weights of its own. It takes the traffic because each of its matches names a method: the
Gateway API prefers that, where hosts and paths are the same. All but the weights follows the route in Git.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.route import HTTP_ROUTE, owned_name
from rolloutplan.traffic import added_text
from rolloutplan.traffic.overlay import ADDED
from rolloutplan.traffic.precedence import matches_of, place_of

Raw = Mapping[str, Any]
Backend = tuple[str, str, str, str, int]
"""Group, kind, namespace and name of a backend, and the how many-th of these in its rule it is."""

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
GIT_WEIGHTS: Final = "rolloutplan.dev/git-weights"
"""The annotation of an owned route with the weights in Git of each rule: a rule that has these was never moved."""


class NotOwnableError(Exception):
    """The operator cannot make a route of its own from this one, or not go on with it as it is now; says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What plans want of an owned route: that it is there (`used`), and that a run `moving` its weights goes on.

    `rival` is a plan whose run moves the weights of the route in Git itself; empty where there is none.
    """

    used: bool = False
    moving: bool = False
    rival: str = ""


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
    if is_ours(source):
        raise NotOwnableError(f"it is one of the operator's own, made from {source_name(source)}: name that instead")
    if own is None:
        return _make(source, wanted)
    _check_ours(source, own, moving=wanted.moving)
    if safe_get.text(own, "metadata", "deletionTimestamp"):
        return None
    if _differs(source, own):
        if wanted.moving and added_text.read(safe_get.text(own, "metadata", "annotations", ADDED)):
            raise NotOwnableError("it has changed, which is taken over once the run takes away what it adds there")
        return Follow(_patch(source, own, moving=wanted.moving))
    if not wanted.used and _may_take_over(source, own):
        return HandBack(safe_get.text(own, "metadata", "resourceVersion"))
    if not wanted.moving and _git_weights(own) != _all_weights(source):
        return Follow(_patch(source, own, moving=False))
    return None


def left_behind(source: Raw | None, own: Raw | None, wanted: Wanted) -> str:
    """What becomes of an owned route where the installation lends none any more, and what mends it; empty: nothing.

    It still follows the route in Git, and its weights are moved. But nobody may delete it.
    """
    if source is None or own is None or not is_ours(own) or safe_get.text(own, "metadata", "deletionTimestamp"):
        return ""
    namespace, name = safe_get.text(own, "metadata", "namespace"), safe_get.text(own, "metadata", "name")
    words = (
        f"the operator's {HTTP_ROUTE} {name} takes its traffic, and nobody hands that back, as the installation lends "
        "no routes any more: have whoever runs the operator set ownedRoutes.enabled in the chart again (--owned-routes)"
    )
    if wanted.used:
        return words
    first = (
        "" if _may_take_over(source, own) else f"give it the weights of {name}, wait until its gateway has them, and "
    )
    return f"{words}; or {first}run `kubectl -n {namespace} delete httproute {name}`"


def _may_take_over(source: Raw, own: Raw) -> bool:
    """Whether the route in Git divides the traffic as the owned one does, and the gateways have taken that."""
    return _divides_alike(source, own) and _taken(own) <= _taken(source)


def _check_ours(source: Raw, own: Raw, *, moving: bool) -> None:
    """Raise where the route of the owned name is another one, or where a run cannot tell whether it is."""
    namespace, name = (safe_get.text(own, "metadata", key) for key in ("namespace", "name"))
    there, meant = f"{HTTP_ROUTE} {name} is there already", source_name(own)
    if not is_ours(own):
        mark = f"`kubectl -n {namespace} label httproute {name} {LABEL}=true`"
        if moving:
            words = f"the label, the annotation and the owner of {HTTP_ROUTE} {name} were taken away in a run"
            raise NotOwnableError(f"{words}, so nothing of a change is taken over: {mark} lets it follow again")
        raise NotOwnableError(
            f"{there}, and not by the operator: delete it or rename it; if the operator made it, {mark}"
        )
    if meant and meant != safe_get.text(source, "metadata", "name"):
        raise NotOwnableError(f"{there}, made from {meant}: give one of both a shorter name")


def refusal(source: Raw) -> str:
    """Why the operator cannot make a route of its own from this one; empty where it can."""
    try:
        _spec(source, None, moving=False)
    except NotOwnableError as error:
        return str(error)
    return ""


def is_ours(raw: Raw) -> bool:
    """Whether a route is one that the operator owns: its label, its annotation or its owner says so.

    A tool may take away what it does not know.
    """
    name = safe_get.text(raw, "metadata", "name")
    return _is_labelled(raw) or bool(_follows(raw)) or name == owned_name(source_name(raw))


def source_name(own: Raw) -> str:
    """The name of the route in Git in whose place a route is; empty where it names none."""
    owners = safe_get.items(own, "metadata", "ownerReferences")
    return next((safe_get.text(each, "name") for each in owners if safe_get.text(each, "kind") == HTTP_ROUTE), "")


def _make(source: Raw, wanted: Wanted) -> Make | None:
    if not wanted.used:
        return None
    if wanted.rival:
        raise NotOwnableError(f"plan {wanted.rival} moves its weights: wait until that run ends, or abort it")
    return Make(_made(source))


def _differs(source: Raw, own: Raw) -> bool:
    """Whether an owned route is not as it has to be by the route in Git, except for its weights."""
    is_its = _owner(source) in safe_get.items(own, "metadata", "ownerReferences")
    return _follows(own) != _hash(source) or not is_its or not _is_labelled(own)


def _is_labelled(raw: Raw) -> bool:
    return safe_get.text(raw, "metadata", "labels", LABEL) == "true"


def _taken(route: Raw) -> set[tuple[str, str]]:
    """The gateways that have taken a route as it is now, each as its parent and its controller."""
    generation = safe_get.number(route, "metadata", "generation")
    found = set()
    for each in safe_get.items(route, "status", "parents"):
        said = {safe_get.text(one, "type"): one for one in safe_get.items(each, "conditions")}
        accepted, refs = said.get("Accepted", {}), said.get("ResolvedRefs", {})
        behind = 0 < safe_get.number(accepted, "observedGeneration") < generation
        if accepted.get("status") == "True" and refs.get("status") != "False" and not behind:
            parent = json.dumps(safe_get.mapping(each, "parentRef"), sort_keys=True)
            found.add((parent, safe_get.text(each, "controllerName")))
    return found


def _made(source: Raw) -> Raw:
    meta = {
        "name": owned_name(safe_get.text(source, "metadata", "name")),
        "namespace": safe_get.text(source, "metadata", "namespace"),
        "labels": {LABEL: "true"},
        "annotations": _annotations(source, _all_weights(source)),
        "ownerReferences": [_owner(source)],
    }
    spec, _ = _spec(source, None, moving=False)
    return {"apiVersion": source["apiVersion"], "kind": HTTP_ROUTE, "metadata": meta, "spec": spec}


def _annotations(source: Raw, weights: Sequence[Sequence[int]]) -> dict[str, str]:
    return {FOLLOWS: _hash(source), GIT_WEIGHTS: json.dumps(weights, separators=(",", ":"))}


def _owner(source: Raw) -> Raw:
    meta = {key: safe_get.text(source, "metadata", key) for key in ("name", "uid")}
    return {"apiVersion": source["apiVersion"], "kind": HTTP_ROUTE, **meta, "controller": True}


def _patch(source: Raw, own: Raw, *, moving: bool) -> list[Raw]:
    spec, weights = _spec(source, own, moving=moving)
    kept = {key: value for key, value in safe_get.mapping(own, "metadata", "annotations").items() if key != ADDED}
    labels = {**safe_get.mapping(own, "metadata", "labels"), LABEL: "true"}
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": own["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/metadata/annotations", "value": {**kept, **_annotations(source, weights)}},
        {"op": "add", "path": "/metadata/labels", "value": labels},
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


def _spec(source: Raw, own: Raw | None, *, moving: bool) -> tuple[dict[str, Any], list[list[int]]]:
    """The spec of the owned route: that of the source, with its own matches and weights; and what Git's weights were.

    In a run these are the ones from before it, so that what Git says meanwhile is taken over at its end.
    """
    spec, before = dict(safe_get.mapping(source, "spec")), safe_get.items(own, "spec", "rules")
    written, recorded = safe_get.items(spec, "rules"), _git_weights(own) if own is not None else []
    taken = {(place_of(match), method) for rule in written for match in matches_of(rule) for method in _whole(match)}
    rules = [_with_methods(i, rule, taken) for i, rule in enumerate(written)]
    if (number := sum(len(rule["matches"]) for rule in rules)) > MOST_IN_ALL:
        raise NotOwnableError(f"its rules would have {number} matches, one for each method, of at most {MOST_IN_ALL}")
    same, weights = [_same(rule, i, before) for i, rule in enumerate(rules)], _all_weights(source)
    if moving:
        _check_kept(before, same)
    spec["rules"] = []
    for i, (rule, place) in enumerate(zip(rules, same, strict=True)):
        had = _numbers(before[place]) if place is not None else []
        record = recorded[place] if place is not None and place < len(recorded) else None
        if place is None or (not moving and had == record):
            spec["rules"].append(rule)
            continue
        spec["rules"].append(_with_weights(i, rule, before[place], moving=moving))
        if moving and record is not None and _names(before[place]) == _names(rule):
            weights[i] = record
    return spec, weights


def _check_kept(before: Sequence[Raw], same: Sequence[int | None]) -> None:
    """Raise where a rule is gone that divides traffic in a run."""
    gone = next((rule for i, rule in enumerate(before) if i not in same and len(_backends(rule)) > 1), None)
    if gone is not None:
        names = " and ".join(backend[3] for backend in _names(gone)[:2])
        words = f"it has no rule with {names} any more, which divides traffic in a run"
        raise NotOwnableError(f"{words}: nothing of the change is taken over; add it again, or abort the run first")


def _whole(match: Raw) -> Sequence[str]:
    """The method of which a match takes all requests of its path; none where it looks at headers or parameters too."""
    more = safe_get.items(match, "headers") or safe_get.items(match, "queryParams")
    return (safe_get.text(match, "method"),) if "method" in match and not more else ()


def _with_methods(index: int, rule: Raw, taken: Collection[tuple[tuple[str, str], str]]) -> dict[str, Any]:
    """A rule whose matches all name a method: each those that no other match of the route has `taken` for this path."""
    matches = matches_of(rule)
    if len(_backends(rule)) > 1 and any("method" in match for match in matches):
        words = "names a method, so the operator's route would not win over it: remove the method from the rule"
        raise NotOwnableError(f"rule {index} {words}, or leave spec.traffic.ownership out")
    each: list[Raw] = [
        {**match, "method": method}
        for match in matches
        if "method" not in match
        for method in METHODS
        if (place_of(match), method) not in taken
    ]
    each += [match for match in matches if "method" in match]
    if len(each) > MOST_MATCHES:
        raise NotOwnableError(
            f"rule {index} would have {len(each)} matches, one for each method, of at most {MOST_MATCHES}: divide it"
        )
    return {**rule, "matches": each or [*matches]}


def _same(rule: Raw, index: int, before: Sequence[Raw]) -> int | None:
    """Which rule of the owned route a rule was: the one of its name, else of its matches, else of its backends.

    None where none of these has one of its backends.
    """
    name, names = safe_get.text(rule, "name"), _names(rule)
    places = (*range(index, min(index + 1, len(before))), *range(len(before)))
    order = [i for i in places if not {*names}.isdisjoint(_names(before[i]))]
    named = (i for i in order if name and safe_get.text(before[i], "name") == name)
    alike = (i for i in order if before[i].get("matches") == rule["matches"])
    pair = (i for i in order if len(names) > 1 and sorted(_names(before[i])) == sorted(names))
    return next((i for found in (named, alike, pair) for i in found), None)


def _with_weights(index: int, rule: Raw, before: Raw, *, moving: bool) -> Raw:
    """A rule with the weights that the owned route had; as in Git where that has none of its backends with traffic."""
    had, refs = dict(_weights(before)), safe_get.items(rule, "backendRefs")
    there = _names(rule)
    if moving and len(had) > 1 and (lost := [each for each, weight in had.items() if weight and each not in there]):
        words = f"rule {index} has no {lost[0][1]} {lost[0][3]} any more, which has weight {had[lost[0]]} in a run"
        raise NotOwnableError(f"{words}: nothing of the change is taken over; add it again, or abort the run first")
    if not any(had.get(backend) for backend in there):
        return rule
    weights = (had.get(backend, 0) for backend in there)
    return {**rule, "backendRefs": [{**ref, "weight": weight} for ref, weight in zip(refs, weights, strict=True)]}


def _backends(rule: Raw) -> Sequence[Raw]:
    return safe_get.items(rule, "backendRefs")


def _names(rule: Raw) -> list[Backend]:
    return [backend for backend, _ in _weights(rule)]


def _numbers(rule: Raw) -> list[int]:
    return [weight for _, weight in _weights(rule)]


def _all_weights(route: Raw) -> list[list[int]]:
    return [_numbers(rule) for rule in safe_get.items(route, "spec", "rules")]


def _git_weights(own: Raw) -> list[list[int]]:
    """What the weights in Git were of each rule of an owned route; empty where that is not known."""
    try:
        found = json.loads(safe_get.text(own, "metadata", "annotations", GIT_WEIGHTS) or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _weights(rule: Raw) -> Iterator[tuple[Backend, int]]:
    """Each backend of a rule with its weight, which is 1 where it is not written."""
    seen: Counter[tuple[str, ...]] = Counter()
    for ref in _backends(rule):
        group, kind, namespace, name = (safe_get.text(ref, key) for key in ("group", "kind", "namespace", "name"))
        backend = (group, kind or "Service", namespace, name)
        yield (*backend, seen[backend]), safe_get.number(ref, "weight") if "weight" in ref else 1
        seen[backend] += 1


def _divides_alike(source: Raw, own: Raw) -> bool:
    """Whether two routes have as many rules, and divide the traffic of each in the same way."""
    theirs, ours = (safe_get.items(each, "spec", "rules") for each in (source, own))
    return [_shares(rule) for rule in theirs] == [_shares(rule) for rule in ours]


def _shares(rule: Raw) -> list[tuple[Backend, Fraction]]:
    found = [*_weights(rule)]
    total = sum(weight for _, weight in found)
    return [(backend, Fraction(weight, total or 1)) for backend, weight in found]
