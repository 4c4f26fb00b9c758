"""Which objects give a Service traffic, as all kinds of route on their resource read them.

Pure: loop/users.py lists the objects, before a removal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.route import REPLICAS
from rolloutplan.traffic import ROUTE_KINDS, ingresses
from rolloutplan.traffic.base import RouteKind

Raw = Mapping[str, Any]


class Reader(NamedTuple):
    """How objects of a resource are read, and what they are called in messages."""

    kind: str
    gives: Callable[[Raw, Sequence[Raw]], frozenset[str]]
    needs_siblings: bool = False


_INGRESS = Reader(ingresses.KIND, lambda raw, _: ingresses.services(raw))


def readers(kinds: Iterable[RouteKind]) -> list[Reader]:
    """The readers for the objects of one resource on which these kinds are; none where no object names a Service.

    An Ingress is read as a whole, and not by each kind for its own annotation.
    """
    found: dict[str, Reader] = {}
    for kind in kinds:
        is_ingress = kind.resource.word == ingresses.RESOURCE and kind.kind in ROUTE_KINDS
        reader = _INGRESS if is_ingress else Reader(kind.kind, kind.gives, kind.needs_siblings)
        found[reader.kind] = reader
    found.pop(REPLICAS, None)
    return list(found.values())


def user(found: Iterable[Reader], raw: Raw, siblings: Sequence[Raw], service: str) -> str:
    """`KIND NAME` of an object that gives this Service of its namespace traffic; empty for another one.

    Siblings only take traffic away, so they are read for few objects.
    """
    givers = (each for each in found if service in each.gives(raw, ()))
    kind = next((each.kind for each in givers if not each.needs_siblings or service in each.gives(raw, siblings)), "")
    return f"{kind} {safe_get.text(raw, 'metadata', 'name')}" if kind else ""
