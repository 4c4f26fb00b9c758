"""Print the command that restores the weights from before a plan's run with kubectl alone, built from its status.

Nothing is taken from annotations, which everybody who may patch the plan or its route can write. The status is a
subresource of its own, which only the operator needs the right to write. The routes are read too: the command names
their rules where these are now, and takes away what is there of what the run has added, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Phase, RouteWeights, Status, read_status
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME
from rolloutplan.cli.options import Namespace, PlanName
from rolloutplan.cli.output import fail
from rolloutplan.cli.session import session
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError, Raw
from rolloutplan.engine.model.snapshot import REVERT, RouteView
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.run.jobs import is_scaling_old
from rolloutplan.engine.run.undo import read_scale_up
from rolloutplan.traffic import kind_of, undo_command
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.overlay import ADDED

PRINTED, NOTHING = 0, 3


class NothingToUndoError(Exception):
    """There is no command; the message says why, and what to do."""


def undo(plan: PlanName, namespace: Namespace = None) -> int:
    """The weights are those from before the run, in the plan's status; annotations are not read for it.

    Exit 0, 1 if the plan cannot be read, 3 if there is nothing to undo.
    """
    raw, namespace, views, problems, gone = asyncio.run(_read(namespace, plan))
    status = read_status(safe_get.value(raw, "status"))
    try:
        command = undo_from_status(namespace, status, views, safe_get.text(raw, "metadata", "uid")[:8])
    except NothingToUndoError as problem:
        return fail(f"{namespace}/{plan}: {problem}", NOTHING)
    if gone and not views:
        words = f"{', '.join(map(str, gone))} does not exist any more: commit the old weights to the route in Git"
        return fail(f"{namespace}/{plan}: {words}", NOTHING)
    print(command)
    for unread in problems:
        fail(f"{unread}: its rules are named as they were; what the annotation {ADDED} names stays", PRINTED)
    written = safe_get.text(raw, "metadata", "annotations", REVERT)
    if written and written != command:
        fail(f"the annotation {REVERT} of the plan has another command, which is not to be trusted", PRINTED)
    return PRINTED


class _Read(NamedTuple):
    plan: Raw
    namespace: str
    views: dict[RouteId, RouteView]
    """The routes of the run as they are, by which it is seen where its rules are now."""
    problems: list[str]
    """Why such a route could not be read."""
    gone: list[RouteId]
    """Those that do not exist."""


async def _read(given: str | None, plan: str) -> _Read:
    async with session(given) as cluster:
        namespace = cluster.namespace
        found = _Read((await cluster.plan(plan)).raw, namespace, {}, [], [])
        status = read_status(safe_get.value(found.plan, "status"))
        for route in _routes(namespace, status):
            kind = kind_of(route.kind, status.weights.kinds)
            assert kind is not None, "only routes of known kinds are sound"
            try:
                found.views[route] = kind.view(await _get(cluster.api, kind, namespace, route.name))
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    found.gone.append(route)
                found.problems.append(f"{route} cannot be read: {error.message}")
        return found


async def _get(api: Api, kind: RouteKind, namespace: str, name: str) -> Raw:
    """A route, in the first version of its kind that is served. Raises ApiError."""
    group, version, plural, older = kind.resource
    *others, last = (paths.Kind(group, each, plural) for each in (version, *older))
    for each in others:
        with suppress(ApiError):
            return await api.get(paths.path(each, namespace, name))
    return await api.get(paths.path(last, namespace, name))


def _routes(namespace: str, status: Status) -> list[RouteId]:
    """The routes of the run that can be read."""
    kept, routes = status.weights.kinds, status.weights.snapshot
    return [route.id for route in routes] if _is_sound(namespace, routes, kept) else []


def undo_from_status(
    namespace: str, status: Status, views: Mapping[RouteId, RouteView] = MappingProxyType({}), owner: str = ""
) -> str:
    """The command from the weights before the run. Raises NothingToUndoError.

    `views` are the routes as they are. It takes away from them what the plan with this part of its uid has added. Where
    the old side was scaled down, the command first scales it up to the number that the status has.
    """
    weights = status.weights
    if status.phase is Phase.ROLLED_BACK:
        raise NothingToUndoError("there is nothing to undo: the run has ended, and the old weights are back")
    if "weights" in status.damaged or "status" in status.damaged:
        raise NothingToUndoError(
            "the weights in its status cannot be read: restore the weights of its route as Git has them"
        )
    if not weights.snapshot:
        raise NothingToUndoError("there is nothing to undo: its status knows of no weight that a run has moved")
    if not is_valid_snapshot(weights.snapshot, weights.old, weights.new) or not _is_sound(
        namespace, weights.snapshot, weights.kinds
    ):
        raise NothingToUndoError(
            "the weights in its status contradict themselves: restore those of its route as Git has them"
        )
    patches = " && ".join(
        undo_command(namespace, route, views.get(route.id), None, owner, kept=weights.kinds)
        for route in weights.snapshot
    )
    scale = read_scale_up(status.revert)
    if scale is not None and scale.namespace == namespace:
        return f"{scale}{patches}"
    if is_scaling_old(status):
        raise NothingToUndoError(
            f"the old side was scaled down, and its status has no number of pods for it: scale {weights.old} up, wait "
            f"until its pods are ready, then run: {patches}"
        )
    return patches


def _is_sound(namespace: str, routes: Sequence[RouteWeights], kept: Mapping[str, str]) -> bool:
    """Whether all names are names that the API server takes, so that no text of another kind is printed."""
    named = all(kind_of(route.kind, kept) is not None and DNS_NAME.matches(route.name) for route in routes)
    return named and DNS_LABEL.matches(namespace)
