"""Weights on routes: descriptions of kinds of route, read by one interpreter. Pure: it builds patches, the loop writes.

Route objects come from the watches and become `RouteView`s; target weights come from the engine's effects.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.replicas import Replicas
from rolloutplan.traffic.undo import UnreadableError, read_patches

ROUTE_KINDS: Final[Mapping[str, RouteKind]] = {
    **{kind: DescribedKind(kind, spec) for kind, spec in BUILT_IN.items()},
    Replicas.kind: Replicas(),
}
"""Every supported kind of route, by its name in plans."""


def undo_command(
    namespace: str, snapshot: RouteWeights, view: RouteView | None = None, target: RouteWeights | None = None
) -> str:
    """The command that restores the weights of a snapshot with kubectl alone, for any kind of route.

    It takes away too what runs have added to the route as it is seen, or as it will be with a target.
    """
    return ROUTE_KINDS[snapshot.kind].undo_command(namespace, snapshot, view, target)


def read_undo(namespace: str, texts: Iterable[str]) -> tuple[RouteWeights, ...]:
    """The weights that the first readable one of these undo commands restores; empty where none can be read."""
    kinds = {kind.kind.lower(): kind for kind in ROUTE_KINDS.values()}
    for text in filter(None, texts):
        try:
            patches = read_patches(namespace, text)
            return tuple(kinds[kind].read_undo(namespace, name, operations) for kind, name, operations in patches)
        except (UnreadableError, KeyError):
            continue
    return ()
