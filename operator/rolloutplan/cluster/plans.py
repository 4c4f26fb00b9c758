"""RolloutPlans as they stand in the API server: reading them, writing their status, marking them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw, ResourceClient
from rolloutplan.engine.look import FINALIZER, REVERT, NeedsTemplates, PlanContent, PlanView, Readable, Unreadable
from rolloutplan.plan import lenient
from rolloutplan.plan.command import ANNOTATION as COMMAND
from rolloutplan.plan.command import CommandError, read_command
from rolloutplan.plan.spec import SpecError, read_plan_spec

COMMANDS_KEPT: Final = 5
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def view(raw: Mapping[str, Any], known: PlanView | None = None) -> PlanView:
    """Read a plan. Never raises: its content says why it cannot be read.

    A spec with references is without its templates until they are looked up. Where `known` is a view of the same
    generation, all that was made of its spec is taken over: reading one is most of the work. Where it is one of a
    generation before and this one cannot be read, the plan that it holds stays.
    """
    meta = raw["metadata"]
    before = known if known and known.uid == meta["uid"] else None
    if before and before.generation == lenient.number(meta, "generation"):
        content = before.content
    else:
        content = _content(raw.get("spec"), before.last_good if before else None)
    return PlanView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=lenient.number(meta, "generation"),
        created=lenient.instant(meta, "creationTimestamp") or _EPOCH,
        content=content,
        deleting=lenient.instant(meta, "deletionTimestamp"),
        finalizer=FINALIZER in lenient.items(meta, "finalizers"),
        breadcrumb=lenient.text(meta, "annotations", REVERT),
        command=lenient.text(meta, "annotations", COMMAND),
        command_by=_commander(meta),
        edited_by=_writer(meta, "f:spec"),
        replaced=replaced(before, lenient.text(meta, "annotations", COMMAND), lenient.items(raw, "status", "tokens")),
        labels=lenient.mapping(meta, "labels"),
        version=str(meta.get("resourceVersion", "")),
        finalizers=tuple(map(str, lenient.items(meta, "finalizers"))),
        annotated=meta.get("annotations") is not None,
    )


def replaced(before: PlanView | None, command: str, answered: Collection[object]) -> tuple[tuple[str, str], ...]:
    """The commands that were seen before the one that stands there, and who wrote them; not those that were answered.

    `answered` are the tokens of those that were: the engine forgets them in the end, and would answer once more.
    """
    if before is None:
        return ()
    seen = before.replaced
    if before.command and command and before.command != command:
        seen = (*seen, (before.command, before.command_by))[-COMMANDS_KEPT:]
    return tuple(each for each in seen if _token(each[0]) not in answered)


def _token(command: str) -> str:
    try:
        return read_command(command).token
    except CommandError:
        return ""


def _commander(meta: Mapping[str, Any]) -> str:
    """The field manager that wrote the command; "" where there is none, or nobody knows."""
    if not lenient.text(meta, "annotations", COMMAND):
        return ""
    return _writer(meta, "f:metadata", "f:annotations", f"f:{COMMAND}")


def _writer(meta: Mapping[str, Any], *path: str) -> str:
    """The field manager that wrote last what stands under this path; "" where nobody knows."""
    *above, field = path
    owned = (
        entry for entry in lenient.items(meta, "managedFields") if field in lenient.mapping(entry, "fieldsV1", *above)
    )
    last = max(owned, key=lambda entry: lenient.text(entry, "time"), default=None)
    return lenient.text(last, "manager")


def _content(raw: object, last_good: Readable | None) -> PlanContent:
    if not isinstance(raw, Mapping):
        return Unreadable("spec: required, and not there: write it", last_good)
    try:
        spec = read_plan_spec(raw)
    except SpecError as error:
        return Unreadable(str(error), last_good)
    return NeedsTemplates(spec) if spec.refers else Readable(spec)


async def write_status(api: ResourceClient, plan: PlanView, patch: Mapping[str, Any]) -> Raw:
    """Write what differs in a status; returns the plan as it is then.

    Raises ApiError; 409 says that the plan is no longer at the version of its view: read again and decide again.
    """
    body = {"metadata": {"resourceVersion": plan.version}, "status": patch}
    return await api.patch(paths.plan(plan.namespace, plan.name, "status"), body)


async def mark(api: ResourceClient, plan: PlanView, *, finalizer: bool, breadcrumb: str) -> Raw | None:
    """Put our finalizer on a plan or take it off, and show the revert command ("" takes it away).

    Returns the plan as it is then, None where nothing had to be done. Raises ApiError; 422 says that the plan is no
    longer as it was seen.
    """
    patch = mark_patch(plan, finalizer=finalizer, breadcrumb=breadcrumb)
    return await api.patch(paths.plan(plan.namespace, plan.name), patch, kind="json") if patch else None


def mark_patch(plan: PlanView, *, finalizer: bool, breadcrumb: str) -> list[dict[str, Any]]:
    """The JSON Patch for `mark`; empty where all is as wanted. Others' finalizers and annotations stay."""
    patch: list[dict[str, Any]] = []
    if finalizer and not plan.finalizer:
        last = {"path": "/metadata/finalizers/-", "value": FINALIZER}
        only = {"path": "/metadata/finalizers", "value": [FINALIZER]}
        patch.append({"op": "add", **(last if plan.finalizers else only)})
    elif not finalizer and plan.finalizer:
        patch.append({"op": "remove", "path": f"/metadata/finalizers/{plan.finalizers.index(FINALIZER)}"})
    here = f"/metadata/annotations/{REVERT.replace('/', '~1')}"
    if breadcrumb and plan.breadcrumb != breadcrumb:
        if not plan.annotated:
            patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        patch.append({"op": "add", "path": here, "value": breadcrumb})
    elif not breadcrumb and plan.breadcrumb:
        patch.append({"op": "remove", "path": here})
    if patch:
        patch.insert(0, {"op": "test", "path": "/metadata/resourceVersion", "value": plan.version})
    return patch
