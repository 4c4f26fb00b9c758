"""Weights on routes: descriptions of kinds of route, read by one interpreter. Pure: it builds patches, the loop writes.

Route objects come from the watches and become `RouteView`s; target weights come from the engine's effects.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.own import kept_kind
from rolloutplan.traffic.replicas import Replicas
from rolloutplan.traffic.undo import Patch, UnreadableError, read_patches

ROUTE_KINDS: Final[Mapping[str, RouteKind]] = {
    **{kind: DescribedKind(kind, spec) for kind, spec in BUILT_IN.items()},
    Replicas.kind: Replicas(),
}
"""Every supported kind of route, by its name in plans."""


def kind_of(name: str, kept: Mapping[str, str]) -> RouteKind | None:
    """The kind of this name: a built-in one, or one of those that a run keeps as JSON; None where it is neither."""
    return ROUTE_KINDS.get(name) or (kept_kind(name, kept[name]) if name in kept else None)


def undo_command(
    namespace: str,
    snapshot: RouteWeights,
    view: RouteView | None = None,
    target: RouteWeights | None = None,
    owner: str = "",
    *,
    kept: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The command that restores the weights of a snapshot with kubectl alone, for any kind of route.

    It takes away too what the plan with this part of its uid has added to the route as it is seen, or as it will be
    with a target. `kept` are the kinds that the run keeps. Raises LookupError for a kind that is not known.
    """
    if (kind := kind_of(snapshot.kind, kept)) is None:
        raise LookupError(f"{snapshot.kind} is no kind of route that is known")
    return kind.undo_command(namespace, snapshot, view, target, owner)


def read_undo(namespace: str, texts: Iterable[str], own: Iterable[RouteKind] = ()) -> tuple[RouteWeights, ...]:
    """The weights that the first readable one of these undo commands restores; empty where none can be read.

    Routes are of the built-in kinds, or of the cluster's `own` ones.
    """
    kinds = (*ROUTE_KINDS.values(), *own)
    for text in filter(None, texts):
        with suppress(UnreadableError):
            return tuple(_read_all(namespace, patches, kinds) for patches in read_patches(namespace, text))
    return ()


def _read_all(namespace: str, patches: Sequence[Patch], kinds: Sequence[RouteKind]) -> RouteWeights:
    """The weights that each of several patches of a route restores. Raises UnreadableError."""
    first, *others = (_read(namespace, patch, kinds) for patch in patches)
    if any(other != first for other in others):
        raise UnreadableError("it restores other weights where the first patch does not fit")
    return first


def _read(namespace: str, patch: Patch, kinds: Sequence[RouteKind]) -> RouteWeights:
    """The weights that a patch restores, as the first kind of its resource that can read it. Raises UnreadableError."""
    for kind in kinds:
        if patch.resource in (kind.resource.word, kind.kind.lower()):
            with suppress(UnreadableError):
                return kind.read_undo(namespace, patch.name, patch.operations)
    raise UnreadableError(f"no kind of route reads it: {patch.resource} {patch.name}")
