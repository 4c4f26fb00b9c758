"""RolloutPlans as they stand in the API server: reading them, writing their status, marking them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw, ResourceClient
from rolloutplan.engine.look import FINALIZER, REVERT, PlanView
from rolloutplan.plan import lenient
from rolloutplan.plan.command import ANNOTATION as COMMAND
from rolloutplan.plan.spec import SpecError, read_plan_spec

COMMANDS_KEPT: Final = 5
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def view(raw: Mapping[str, Any], known: PlanView | None = None) -> PlanView:
    """Read a plan. Never raises: a spec that cannot be read is None, and `problem` says why.

    A spec with references is `unresolved` until they are replaced. Where `known` is a view of the same generation, all
    that was made of its spec is taken over: reading one is most of the work. Where it is one of a generation before
    and this one cannot be read, the plan that it holds stays.
    """
    meta = raw["metadata"]
    if known and (known.uid, known.generation) == (meta["uid"], lenient.number(meta, "generation")):
        made = {name: getattr(known, name) for name in _MADE}
    else:
        made = _made(raw.get("spec"))
        if made.get("problem") and known and known.uid == meta["uid"]:
            made |= {"spec": known.spec, "templates": known.templates}
    return PlanView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=lenient.number(meta, "generation"),
        created=lenient.instant(meta, "creationTimestamp") or _EPOCH,
        deleting=lenient.instant(meta, "deletionTimestamp"),
        finalizer=FINALIZER in lenient.items(meta, "finalizers"),
        breadcrumb=lenient.text(meta, "annotations", REVERT),
        command=lenient.text(meta, "annotations", COMMAND),
        command_by=_commander(meta),
        edited_by=_writer(meta, "f:spec"),
        replaced=_replaced(known, meta),
        labels=lenient.mapping(meta, "labels"),
        version=str(meta.get("resourceVersion", "")),
        finalizers=tuple(map(str, lenient.items(meta, "finalizers"))),
        annotated=meta.get("annotations") is not None,
        **made,
    )


def _replaced(known: PlanView | None, meta: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The commands that were seen before the one that stands there; the engine knows which it has answered."""
    if known is None or known.uid != meta["uid"]:
        return ()
    new = lenient.text(meta, "annotations", COMMAND)
    if not known.command or not new or known.command == new:
        return known.replaced
    return (*known.replaced, (known.command, known.command_by))[-COMMANDS_KEPT:]


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


_MADE: Final = ("spec", "problem", "unresolved", "wrong", "templates")
"""What is made of a plan's spec."""


def _made(raw: object) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {"spec": None, "problem": "spec: required, and not there: write it"}
    try:
        spec = read_plan_spec(raw)
    except SpecError as error:
        return {"spec": None, "problem": str(error)}
    return {"spec": None, "unresolved": spec} if spec.refers else {"spec": spec}


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
