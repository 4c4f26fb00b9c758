"""Print the command that restores the weights from before a plan's run with kubectl alone, built from its status.

Nothing is taken from annotations, which everybody who may patch the plan or its route can write. The status is a
subresource of its own, which only the operator needs the right to write.
"""

from __future__ import annotations

import asyncio

from rolloutplan.api import safe_get
from rolloutplan.api.status import Phase, Status, read_status
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME
from rolloutplan.cli.command import explain
from rolloutplan.cli.output import fail
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError, Raw, read_namespace
from rolloutplan.engine.model.snapshot import REVERT
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.run.jobs import SCALE_OLD
from rolloutplan.engine.run.undo import read_scale_up
from rolloutplan.traffic import ROUTE_KINDS, undo_command

PRINTED, FAILED, NOTHING = 0, 1, 3


class NothingToUndoError(Exception):
    """There is no command; the message says why, and what to do."""


def undo(plan: str, namespace: str | None) -> int:
    """Print the undo command of a plan. Returns 0; 1 where the plan cannot be read; 3 where it has none."""
    try:
        namespace = namespace or read_namespace()
        raw = asyncio.run(_read(namespace, plan))
    except ApiError as error:
        return fail(explain(error, plan, namespace), FAILED)
    status = read_status(safe_get.value(raw, "status"))
    try:
        command = undo_from_status(namespace, status)
    except NothingToUndoError as problem:
        return fail(f"{namespace}/{plan}: {problem}", NOTHING)
    print(command)
    written = safe_get.text(raw, "metadata", "annotations", REVERT)
    if written and written != command:
        fail(f"the annotation {REVERT} of the plan has another command, which is not to be trusted", PRINTED)
    return PRINTED


async def _read(namespace: str, plan: str) -> Raw:
    api = await Api.connect()
    try:
        return await api.get(paths.plan(namespace, plan))
    finally:
        await api.close()


def undo_from_status(namespace: str, status: Status) -> str:
    """The command from the weights before the run. Raises NothingToUndoError.

    Where the old side was scaled down, the command first scales it up to the number that the status has.
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
    if not is_valid_snapshot(weights.snapshot, weights.old, weights.new) or not _is_sound(namespace, status):
        raise NothingToUndoError(
            "the weights in its status contradict themselves: restore those of its route as Git has them"
        )
    patches = " && ".join(undo_command(namespace, route) for route in weights.snapshot)
    scale = read_scale_up(status.revert)
    if scale is not None and scale.namespace == namespace:
        return f"{scale}{patches}"
    removing = SCALE_OLD in status.completed_tasks or (status.task is not None and status.task.name == SCALE_OLD)
    if removing:
        raise NothingToUndoError(
            f"the old side was scaled down, and its status has no number of pods for it: scale {weights.old} up, wait "
            f"until its pods are ready, then run: {patches}"
        )
    return patches


def _is_sound(namespace: str, status: Status) -> bool:
    """Whether all names are names that the API server takes, so that no text of another kind is printed."""
    routes = status.weights.snapshot
    named = all(route.kind in ROUTE_KINDS and DNS_NAME.matches(route.name) for route in routes)
    return named and DNS_LABEL.matches(namespace)
