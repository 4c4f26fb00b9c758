"""Keeps a status so small that its object can always be written: a run must never become unwritable.

etcd takes objects of 1.5 MiB. What a run needs to go on or back is never cut. What only explains it is, the oldest
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from rolloutplan.api.limits import KIB, size_of

MAX_STATUS: Final = 704 * KIB
"""Bytes of UTF-8. With a spec of 384 KiB, annotations of 256 KiB and its managedFields an object has 1.4 MiB."""
QUERY_CUT: Final = 256
"""Bytes of each query of a predicate, where everything else was not enough."""


def bounded(raw: dict[str, Any]) -> dict[str, Any]:
    """The status as it may be written: itself, unless it is too large."""
    size = size_of(raw)
    if size <= MAX_STATUS:
        return raw
    raw = {**raw, "decisions": [*raw.get("decisions", ())], "predicates": [*raw.get("predicates", ())]}
    for shorten in _ways(raw):
        size -= shorten()
        if size <= MAX_STATUS:
            break
    return {key: value for key, value in raw.items() if value != []}


def _ways(raw: dict[str, Any]) -> Iterator[Callable[[], int]]:
    """What makes a status shorter, the least loss first; each returns the bytes that it saved."""
    decisions, predicates = raw["decisions"], raw["predicates"]

    def without_evidence(place: int) -> int:
        before = decisions[place]
        decisions[place] = {key: value for key, value in before.items() if key != "evidence"}
        return size_of(before) - size_of(decisions[place])

    def with_short_query(place: int) -> int:
        before = predicates[place]
        predicates[place] = {**before, "query": cut(before["query"], QUERY_CUT)} if "query" in before else before
        return size_of(before) - size_of(predicates[place])

    def without_oldest() -> int:
        return size_of(decisions.pop(0)) + 1

    for place in range(len(decisions) - 1):
        yield lambda place=place: without_evidence(place)  # type: ignore[misc]  # a default binds it now
    for place in range(len(predicates)):
        yield lambda place=place: with_short_query(place)  # type: ignore[misc]
    for _ in range(len(decisions) - 1):
        yield without_oldest


def cut(text: str, size: int) -> str:
    """The beginning of a text, of at most so many bytes of UTF-8; no character is cut in two."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")
