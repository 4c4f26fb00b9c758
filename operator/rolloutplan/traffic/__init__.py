"""Weights on routes: one file for each kind of route. Pure: it builds patches, and the loop writes them.

Route objects come from the watches and become `RouteView`s; target weights come from the engine's effects.
"""

from collections.abc import Mapping
from typing import Final

from rolloutplan.api.status import RouteWeights
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.httproute import HTTPRoute

ROUTE_KINDS: Final[Mapping[str, RouteKind]] = {kind.kind: kind for kind in (HTTPRoute(),)}
"""Every supported kind of route, by its name in plans."""


def undo_command(namespace: str, snapshot: RouteWeights) -> str:
    """The command that restores the weights of a snapshot with kubectl alone, for any kind of route."""
    return ROUTE_KINDS[snapshot.kind].undo_command(namespace, snapshot)
