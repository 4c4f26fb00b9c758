"""Which routes lose requests to one whose matches name methods, by the precedence of the Gateway API. Pure.

Of matches for the same host and path, the API prefers one with a method; then the one with the most headers; then that
with the most query parameters; then that of the oldest route, or of the first by name (`HTTPRouteRule.matches`). So a
route that is told apart by headers alone gets nothing any more once another one names the methods, although nothing
about it has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.route import HTTP_ROUTE

_ANYTHING = {"path": {"type": "PathPrefix", "value": "/"}}
"""What a rule without matches matches."""
_CONDITIONS = ("headers", "queryParams")


def matches_of(rule: Any) -> Sequence[Any]:
    """The matches of a rule."""
    return safe_get.items(rule, "matches") or [_ANYTHING]


def place_of(match: Any) -> tuple[str, str]:
    """The path of a match: how it is compared, and with what."""
    path = safe_get.mapping(match, "path")
    return safe_get.text(path, "type") or "PathPrefix", safe_get.text(path, "value") or "/"


def loser(source: Any, others: Iterable[Any], own: Any = None) -> str:
    """Which of other HTTPRoutes loses requests to a copy of the source with methods, and what to do; empty: none.

    `own` is that copy where it is there already: one that is still to be made is younger than all others.

    Hosts that are left out count as all: those of the listener are not known.
    """
    for other in others:
        if _id(other) == _id(source) or not (_share_hosts(source, other) and _share_a_parent(source, other)):
            continue
        won, lost = _is_preferred(other, source), _is_preferred(own, other)
        for theirs in _all_matches(other):
            if any(_loses(theirs, ours, won=won, lost=lost) for ours in _all_matches(source)):
                add = "" if "method" in theirs else "name one in each match there, "
                return (
                    f"{HTTP_ROUTE} {'/'.join(_id(other))} has the same host and path {place_of(theirs)[1]}, and the "
                    f"operator's route takes its requests, as each of its matches names a method: {add}make its rules "
                    f"a part of {_id(source)[1]}, or leave spec.traffic.ownership out"
                )
    return ""


def asks(route: Any) -> Any:
    """Which requests a route asks for: what `loser` looks at."""
    spec = safe_get.mapping(route, "spec")
    rules = [safe_get.value(rule, "matches") for rule in safe_get.items(spec, "rules")]
    return spec.get("parentRefs"), spec.get("hostnames"), rules


def created(route: Any) -> str:
    """When a route was created; empty where it is not there yet."""
    return safe_get.text(route, "metadata", "creationTimestamp")


def _is_preferred(route: Any, other: Any) -> bool:
    """Whether a route is preferred to another one with an equal match; False where it is not known."""
    if not created(route) or not created(other):
        return False
    return (created(route), "/".join(_id(route))) < (created(other), "/".join(_id(other)))


def _loses(theirs: Any, ours: Any, *, won: bool, lost: bool) -> bool:
    """Whether a match that is preferred to ours now is not any more when ours names the method.

    Where both are equal, they `won` until now, and have `lost` then.
    """
    if "method" in ours or place_of(theirs) != place_of(ours) or _exclude_each_other(theirs, ours):
        return False
    rank = (int("method" in theirs), *_conditions(theirs))
    before, after = ((method, *_conditions(ours)) for method in (0, 1))
    return (before < rank or (before == rank and won)) and (rank < after or (rank == after and lost))


def _conditions(match: Any) -> tuple[int, ...]:
    return tuple(len(safe_get.items(match, key)) for key in _CONDITIONS)


def _exclude_each_other(one: Any, other: Any) -> bool:
    """Whether no request has both: the same header or parameter has another value in each."""
    for key in _CONDITIONS:
        first, second = _exact(one, key), _exact(other, key)
        if any(first[name] != second[name] for name in first.keys() & second.keys()):
            return True
    return False


def _exact(match: Any, key: str) -> dict[str, str]:
    found = (each for each in safe_get.items(match, key) if safe_get.text(each, "type") in ("", "Exact"))
    named = ((safe_get.text(each, "name"), safe_get.text(each, "value")) for each in found)
    return {name.lower() if key == "headers" else name: value for name, value in named}


def _all_matches(route: Any) -> Iterator[Any]:
    for rule in safe_get.items(route, "spec", "rules"):
        yield from matches_of(rule)


def _share_hosts(one: Any, other: Any) -> bool:
    """Whether both have a host that is written in the same way: of different ones the more special is preferred."""
    first, second = ({*map(str, safe_get.items(each, "spec", "hostnames"))} for each in (one, other))
    return not first or not second or not first.isdisjoint(second)


def _share_a_parent(one: Any, other: Any) -> bool:
    theirs = [*_parents(other)]
    return any(
        ours[:4] == their[:4] and all(not a or not b or a == b for a, b in zip(ours[4:], their[4:], strict=True))
        for ours in _parents(one)
        for their in theirs
    )


def _parents(route: Any) -> Iterator[tuple[Any, ...]]:
    """Group, kind, namespace and name of each parent, and its listener; 0 and empty for all of these."""
    home = _id(route)[0]
    for each in safe_get.items(route, "spec", "parentRefs"):
        group, kind, namespace, name, section = (
            safe_get.text(each, key) for key in ("group", "kind", "namespace", "name", "sectionName")
        )
        group = group if "group" in each else "gateway.networking.k8s.io"
        yield group, kind or "Gateway", namespace or home, name, section, safe_get.number(each, "port")


def _id(route: Any) -> tuple[str, str]:
    return safe_get.text(route, "metadata", "namespace"), safe_get.text(route, "metadata", "name")
