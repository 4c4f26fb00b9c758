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
from rolloutplan.plan.status import Status

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


async def write_status(
    api: ResourceClient, namespace: str, name: str, *, before: object, after: Status, resource_version: str
) -> Raw | None:
    """Write what differs between the raw status `before` and `after`; returns the plan as it is then.

    None where nothing differs: no request is made. Raises ApiError; 409 says that the plan is no longer at
    `resource_version`: read again and decide again.
    """
    difference = merge_patch(before if isinstance(before, Mapping) else {}, after.to_raw())
    if not difference:
        return None
    body = {"metadata": {"resourceVersion": resource_version}, "status": difference}
    return await api.patch(paths.plan(namespace, name, "status"), body)


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Merge Patch (RFC 7396) from one object to another: maps by key, lists whole, null for what is gone."""
    patch: dict[str, Any] = {key: None for key in before if key not in after and before[key] is not None}
    for key, value in after.items():
        former = before.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            if inner := merge_patch(former, value):
                patch[key] = inner
        elif key not in before or former != value:
            patch[key] = value
    return patch


async def mark(
    api: ResourceClient, raw: Mapping[str, Any], *, finalizer: bool | None = None, breadcrumb: str | None = None
) -> Raw:
    """Set our marks on a plan; returns the plan as it is then, `raw` itself where nothing had to be done.

    `finalizer`: True puts ours on, False takes it off, None leaves it. `breadcrumb`: the revert command to show, ""
    takes it away, None leaves it. Raises ApiError; 422 says that the plan is no longer as in `raw`.
    """
    meta = raw["metadata"]
    patch = mark_patch(meta, finalizer=finalizer, breadcrumb=breadcrumb)
    if not patch:
        return dict(raw)
    return await api.patch(paths.plan(meta["namespace"], meta["name"]), patch, kind="json")


def mark_patch(meta: Mapping[str, Any], *, finalizer: bool | None, breadcrumb: str | None) -> list[dict[str, Any]]:
    """The JSON Patch for `mark`; empty where all is as wanted. Others' finalizers and annotations stay."""
    patch: list[dict[str, Any]] = []
    finalizers = [*lenient.items(meta, "finalizers")]
    if finalizer is True and FINALIZER not in finalizers:
        last = {"path": "/metadata/finalizers/-", "value": FINALIZER}
        only = {"path": "/metadata/finalizers", "value": [FINALIZER]}
        patch.append({"op": "add", **(last if finalizers else only)})
    elif finalizer is False and FINALIZER in finalizers:
        patch.append({"op": "remove", "path": f"/metadata/finalizers/{finalizers.index(FINALIZER)}"})
    annotations = meta.get("annotations")
    here = f"/metadata/annotations/{REVERT.replace('/', '~1')}"
    if breadcrumb and lenient.text(meta, "annotations", REVERT) != breadcrumb:
        if annotations is None:
            patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        patch.append({"op": "add", "path": here, "value": breadcrumb})
    elif breadcrumb == "" and REVERT in lenient.mapping(meta, "annotations"):
        patch.append({"op": "remove", "path": here})
    if patch:
        patch.insert(0, {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]})
    return patch
