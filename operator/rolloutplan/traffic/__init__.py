"""Weights on routes: one small file a kind of route. Pure: what to write, not the writing."""

from collections.abc import Mapping
from typing import Final

from rolloutplan.api.status import RouteWeights
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.httproute import HTTPRoute

ROUTE_KINDS: Final[Mapping[str, RouteKind]] = {kind.kind: kind for kind in (HTTPRoute(),)}
"""Every kind of route that can be moved, by the name that plans give it."""


def undo_command(namespace: str, snapshot: RouteWeights) -> str:
    """The command that puts the weights of a snapshot back with kubectl alone, whatever kind of route it is."""
    return ROUTE_KINDS[snapshot.kind].undo_command(namespace, snapshot)
