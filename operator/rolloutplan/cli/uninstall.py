"""Check what an uninstall of the operator would leave behind: runs, finalizers that nobody removes, and owned routes.

It reads the plans and HTTPRoutes of the cluster, and prints for each what ends it. It changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from rolloutplan.api import safe_get
from rolloutplan.api.printable import printable
from rolloutplan.api.route import HTTP_ROUTE
from rolloutplan.api.status import RUNNING, Status, read_status
from rolloutplan.cli.options import namespace_option
from rolloutplan.cli.output import times_of
from rolloutplan.cli.screen import Output, show_objects
from rolloutplan.cli.session import session
from rolloutplan.cli.undo import NothingToUndoError, undo_from_status
from rolloutplan.cluster.client import Raw, if_there
from rolloutplan.cluster.paths import PLANS, Kind
from rolloutplan.engine.model.snapshot import FINALIZER
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.owned import is_ours, source_name

NOTHING_LEFT, LEFT = 0, 1


def uninstall(
    check: Annotated[bool, typer.Option("--check", help="list, and change nothing")],  # noqa: ARG001 - there is no other
    output: Output = "text",
    namespace: Annotated[
        str | None,
        namespace_option("only this namespace (default: all)"),
    ] = None,
) -> int:
    """List the plans and routes that still need the operator, with what ends that; nothing is changed.

    Exit 0 where there are none, 1 where there are some or the cluster cannot be asked.
    """
    plans, routes = asyncio.run(_found(namespace))
    left = [(raw, lines) for raw in plans if (lines := [*_left(raw)])]
    left += [(raw, [*_owned(raw)]) for raw in routes]
    if output != "text":
        show_objects([raw for raw, _ in left], output)
        return LEFT if left else NOTHING_LEFT
    where = f"in namespace {namespace}" if namespace else "in the cluster"
    read = times_of(len(plans), "plan")
    if not left:
        print(f"{read} {where}: no run is in progress and no finalizer is set, the operator can be removed")
        return NOTHING_LEFT
    print(printable("\n".join(line for _, lines in left for line in lines)))
    owned = f" and {times_of(len(routes), 'route')}" if routes else ""
    needing = f"{len(left) - len(routes)} of {read}{owned}"
    print(f"{needing} {where} still need the operator: remove it when this check finds none")
    return LEFT


async def _found(namespace: str | None) -> tuple[Sequence[Raw], Sequence[Raw]]:
    """The plans, and the routes that the operator owns."""
    group, version, plural, _ = ROUTE_KINDS[HTTP_ROUTE].resource
    async with session(namespace, everywhere=namespace is None) as cluster:
        plans = await cluster.objects(PLANS)
        routes = await if_there(cluster.objects(Kind(group, version, plural))) or []  # some may have lost their label
    return plans, [raw for raw in routes if is_ours(raw)]


def _owned(raw: Raw) -> Iterator[str]:
    """What a route that the operator owns would leave, and how the route in Git takes its traffic over."""
    namespace, name = safe_get.text(raw, "metadata", "namespace"), safe_get.text(raw, "metadata", "name")
    source = source_name(raw)
    yield f"{namespace}/{name}: has the traffic of {HTTP_ROUTE} {source}, which nothing that is written there changes"
    deletes = "the operator then deletes this route, unless ownedRoutes.enabled is off"
    yield f"  end its run, and give {source} the weights of {name}: {deletes}"
    yield f"  without an operator: the same, and kubectl -n {namespace} delete httproute {name}"


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
