"""Check what an uninstall of the operator would leave behind: runs in progress, and finalizers that nobody removes.

It reads the plans of the cluster, and prints for each the command that ends it. It changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from rolloutplan.api import safe_get
from rolloutplan.api.printable import printable
from rolloutplan.api.status import RUNNING, Status, read_status
from rolloutplan.cli.options import namespace_option
from rolloutplan.cli.screen import Output, show_objects
from rolloutplan.cli.session import session
from rolloutplan.cli.undo import NothingToUndoError, undo_from_status
from rolloutplan.cluster.client import Raw
from rolloutplan.cluster.paths import PLANS
from rolloutplan.engine.model.snapshot import FINALIZER

NOTHING_LEFT, LEFT = 0, 1


def uninstall(
    check: Annotated[bool, typer.Option("--check", help="list, and change nothing")],  # noqa: ARG001 - there is no other
    output: Output = "text",
    namespace: Annotated[
        str | None,
        namespace_option("only this namespace (default: all)"),
    ] = None,
) -> int:
    """It lists the plans that still need the operator, with the commands that end them; nothing is changed.

    Exit 0 where there are none, 1 where there are some or the cluster cannot be asked.
    """
    plans = asyncio.run(_plans(namespace))
    left = [(raw, lines) for raw in plans if (lines := [*_left(raw)])]
    if output != "text":
        show_objects([raw for raw, _ in left], output)
        return LEFT if left else NOTHING_LEFT
    where = f"in namespace {namespace}" if namespace else "in the cluster"
    if not left:
        print(f"{len(plans)} plans {where}: no run is in progress and no finalizer is set, the operator can be removed")
        return NOTHING_LEFT
    print(printable("\n".join(line for _, lines in left for line in lines)))
    print(f"{len(left)} of {len(plans)} plans {where} still need the operator: remove it when this check finds none")
    return LEFT


async def _plans(namespace: str | None) -> Sequence[Raw]:
    async with session(namespace, everywhere=namespace is None) as cluster:
        return await cluster.objects(PLANS)


def _left(raw: Raw) -> Iterator[str]:
    """What one plan would leave, and the commands that end it; nothing where it needs no operator."""
    namespace, name = safe_get.text(raw, "metadata", "namespace"), safe_get.text(raw, "metadata", "name")
    status = read_status(safe_get.value(raw, "status"))
    finalizers = safe_get.items(raw, "metadata", "finalizers")
    finalizer = FINALIZER in finalizers
    if not finalizer and status.phase not in RUNNING:
        return
    weight = f" at {status.weights.desired}" if status.weights.desired else ""
    yield f"{namespace}/{name}: {status.phase}{weight}{f', with the finalizer {FINALIZER}' if finalizer else ''}"
    if safe_get.text(raw, "metadata", "deletionTimestamp"):
        yield "  it is being deleted: wait until it is gone"
    elif status.phase in RUNNING:
        yield f"  rolloutplan abort -n {namespace} {name}   # ends the run and restores the old weights"
    else:
        yield "  its run has ended: the operator removes the finalizer by itself, if it runs"
    if finalizer:
        patch = (
            f'kubectl -n {namespace} patch rolloutplan {name} --type=merge -p \'{{"metadata":{{"finalizers":null}}}}\''
        )
        undo, problem = _undo(namespace, status)
        if problem and status.phase in RUNNING and status.weights.desired:
            yield f"  before anything is removed by hand: {problem}"
        yield f"  without an operator: {undo}{patch}"


def _undo(namespace: str, status: Status) -> tuple[str, str]:
    """The undo command from the status, to run before the finalizer is removed; else why there is none."""
    try:
        return f"{undo_from_status(namespace, status)} && ", ""
    except NothingToUndoError as problem:
        return "", str(problem)
