"""Show what applying files would change in the cluster, and what that does to runs. Nothing is written.

The API server checks each edit in a dry run; who may not write there gets a comparison on this side. The meaning of an
edit comes from tools/edit.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.printable import printable
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.status import Status, read_status
from rolloutplan.cli.files import ParsedObject, cannot_all_be_read, format_diagnostic, read_files
from rolloutplan.cli.objects import read_objects
from rolloutplan.cli.options import Files, Namespace
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.screen import Output, show_objects
from rolloutplan.cli.session import Session, explain, session
from rolloutplan.cluster import paths
from rolloutplan.cluster import policies as cluster_policies
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.engine.model.policy_view import Labels, PolicyView
from rolloutplan.engine.policy.demands import unmet_demand
from rolloutplan.engine.policy.policies import in_force
from rolloutplan.tools.edit import (
    Difference,
    Other,
    conflicts,
    differences,
    held_by,
    lines,
    locked_stages,
    merge_patch,
    run_effect,
)

SAME, CHANGED, REFUSED = 0, 1, 2
_KINDS: Final[Mapping[str, paths.Kind]] = {
    "RolloutPlan": paths.PLANS,
    "MetricSource": paths.SOURCES,
    "ClusterMetricSource": paths.CLUSTER_SOURCES,
    "PredicateTemplate": paths.TEMPLATES,
    "ClusterPredicateTemplate": paths.CLUSTER_TEMPLATES,
    "RolloutPolicy": paths.POLICIES,
    "RouteKind": paths.ROUTE_KINDS,
    "Notifier": paths.NOTIFIERS,
    "ClusterNotifier": paths.CLUSTER_NOTIFIERS,
}
_META: Final = ("labels", "annotations")


@dataclass(slots=True)
class Edit:
    """An object of the files against that of the cluster; `before` is None where it does not exist."""

    wanted: Raw
    before: Raw | None
    differences: tuple[Difference, ...]
    refused: str = ""
    effects: list[str] = field(default_factory=list)

    @property
    def change(self) -> str:
        if self.refused:
            return "Refused"
        return "Created" if self.before is None else "Changed" if self.differences else "Same"


def diff(files: Files, namespace: Namespace = None, output: Output = "text") -> int:
    """Plans, templates, metric sources, policies and kinds of route are compared, field by field; others are named.

    Of a plan it says what becomes of its run, which other plans it waits for, and which policies hold it. Exit 0 if
    nothing changes, 1 if something does, 2 if something is refused or cannot be read.
    """
    objects, unreadable = read_files(files)
    if cannot_all_be_read(unreadable):
        raise CliError(format_diagnostic(unreadable[0]), REFUSED)
    ours = [each for each in objects if each.is_ours]
    if not ours:
        raise CliError("these files have no plan and nothing that belongs to one: see kubectl diff", REFUSED)
    if invalid := [row for each in ours for row in each.checked[1] if row.finding.severity == "error"]:
        for row in invalid:
            fail(format_diagnostic(row), REFUSED)
        return REFUSED
    try:
        edits = asyncio.run(_compare(ours, namespace))
    except CliError as error:
        raise CliError(str(error), REFUSED) from error
    if others := [each.subject for each in objects if not each.is_ours]:
        words = f"not compared: {', '.join(others)}: kubectl diff shows them"
        fail(f"{words}; another pod template of the new side begins another run, too", SAME)
    if output == "text":
        print(printable("\n".join(line for edit in edits for line in _as_text(edit))))
    elif output == "name":
        show_objects([edit.wanted for edit in edits if edit.change != "Same"], output)
    else:
        show_objects([_as_object(edit) for edit in edits], output)
    found = {edit.change for edit in edits}
    return REFUSED if "Refused" in found else CHANGED if found - {"Same"} else SAME


# ---- asking the cluster ----------------------------------------------------------------------------------------------


async def _compare(ours: Sequence[ParsedObject], namespace: str | None) -> list[Edit]:
    async with session(namespace) as cluster:
        edits = [await _edit(_in(cluster, found), found) for found in ours]
        for found, edit in zip(ours, edits, strict=True):
            if found.kind == "RolloutPlan" and edit.change != "Same":
                edit.effects += lines(await _effects(_in(cluster, found), found, edit))
        return edits


def _in(cluster: Session, found: ParsedObject) -> Session:
    """The cluster, at the namespace of an object."""
    return replace(cluster, namespace=found.name[0] or cluster.namespace)


async def _edit(cluster: Session, found: ParsedObject) -> Edit:
    kind, name = _KINDS[found.kind], found.name[1]
    where = paths.path(kind, cluster.namespace, name)
    try:
        before = await cluster.api.get(where)
    except ApiError as error:
        if error.status != 404 or f'"{name}"' not in error.message:
            raise
        return await _created(cluster, kind, found.raw)
    body = _patch(before, found.raw)
    edit = Edit(found.raw, before, tuple(_differences(before, found.raw)))
    if not body:
        return edit
    try:
        after = await cluster.api.patch(where, body, dry_run=True)
    except ApiError as error:
        _take(edit, error)
        return edit
    edit.differences = tuple(_differences(before, after))
    return edit


async def _created(cluster: Session, kind: paths.Kind, raw: Raw) -> Edit:
    edit = Edit(raw, None, ())
    body = {**raw, "metadata": {**safe_get.mapping(raw, "metadata"), "namespace": cluster.namespace}}
    if not kind.namespaced:
        del body["metadata"]["namespace"]
    try:
        await cluster.api.create(paths.path(kind, cluster.namespace), body, dry_run=True)
    except ApiError as error:
        _take(edit, error)
    return edit


def _take(edit: Edit, error: ApiError) -> None:
    """Note that the API server refuses an edit; without the right to ask it, that this is not known."""
    if error.status == 403 and "cannot" in error.message:
        edit.effects.append(
            "the API server was not asked, because you may not write here: what it fills in shows as removed"
        )
    elif 400 <= error.status < 500:
        edit.refused = " ".join(explain(error).split())
    else:
        raise error


def _patch(before: Raw, wanted: Raw) -> dict[str, Any]:
    """The patch that makes the spec that of the file, and sets its labels and annotations."""
    body: dict[str, Any] = {}
    if spec := merge_patch(safe_get.mapping(before, "spec"), safe_get.mapping(wanted, "spec")):
        body["spec"] = spec
    for key in _META:
        had = safe_get.mapping(before, "metadata", key)
        new = {k: v for k, v in safe_get.mapping(wanted, "metadata", key).items() if had.get(k) != v}
        if new:
            body.setdefault("metadata", {})[key] = new
    return body


def _differences(before: Raw, after: Raw) -> Iterator[Difference]:
    yield from differences(safe_get.mapping(before, "spec"), safe_get.mapping(after, "spec"), "spec")
    for key in _META:
        had, has = safe_get.mapping(before, "metadata", key), safe_get.mapping(after, "metadata", key)
        yield from differences({k: v for k, v in had.items() if k in has}, has, f"metadata.{key}")


# ---- what it means for a plan ----------------------------------------------------------------------------------------


async def _effects(cluster: Session, found: ParsedObject, edit: Edit) -> list[str]:
    spec = found.checked[0]
    assert isinstance(spec, PlanSpec)
    status, before = read_status(safe_get.value(edit.before or {}, "status")), _spec(edit.before or {})
    if before is not None and (locked := locked_stages(status, before, spec)):
        words = f"{', '.join(locked)} of run {status.run} has started and is locked: edit later stages, or end the run"
        return [f"{words} (rolloutplan abort {found.name[1]})"]
    effect = run_effect(status, spec)
    effects = [effect.words]
    if effect.begins:
        effects += conflicts(spec, await _others(cluster, found.name[1]))
    policies = await _policies(cluster, found, status)
    if policies is None:
        return [*effects, "policies were not compared: you may not read them"]
    return [*effects, *held_by(policies, spec, _unmet(found, spec, policies), datetime.now(UTC))]


async def _others(cluster: Session, name: str) -> list[Other]:
    """The other plans of the namespace that can be read."""
    found = []
    for plan in await cluster.plans():
        spec = _spec(plan.raw)
        if spec is not None and plan.name != name:
            found.append(Other(plan.name, spec, plan.status))
    return found


def _spec(raw: Raw) -> PlanSpec | None:
    try:
        return read_plan_spec(safe_get.mapping(raw, "spec"))
    except SpecError:
        return None


async def _policies(cluster: Session, found: ParsedObject, status: Status) -> Sequence[PolicyView] | None:
    """The policies that select a plan as it is in the file; None where they may not be read."""
    try:
        raws = await replace(cluster, namespace="").objects(paths.POLICIES)
    except ApiError:
        return None
    try:
        raw = await cluster.api.get(paths.path(paths.NAMESPACES, name=cluster.namespace))
        around: Mapping[str, str] | None = safe_get.mapping(raw, "metadata", "labels")
    except ApiError:
        around = None
    labels = Labels(safe_get.mapping(found.raw, "metadata", "labels"), around)
    return in_force(map(cluster_policies.view, raws), cluster.namespace, labels, status)


def _unmet(found: ParsedObject, spec: PlanSpec, policies: Sequence[PolicyView]) -> str:
    among = read_objects([found])
    return unmet_demand(replace(among.snapshot(among.plans[0]), policies=tuple(policies)), spec, 0)


# ---- showing ---------------------------------------------------------------------------------------------------------


def _as_text(edit: Edit) -> Iterator[str]:
    meta = safe_get.mapping(edit.wanted, "metadata")
    name = "/".join(str(meta[key]) for key in ("namespace", "name") if key in meta)
    what = {"Same": "stays as it is", "Created": "is created", "Changed": "changes", "Refused": "is refused"}
    yield f"{edit.wanted['kind']} {name} {what[edit.change]}{f': {edit.refused}' if edit.refused else ''}"
    yield from (f"  {each.words}" for each in edit.differences)
    yield from (f"  -> {each}" for each in edit.effects)


def _as_object(edit: Edit) -> dict[str, Any]:
    meta = safe_get.mapping(edit.wanted, "metadata")
    return {
        "kind": edit.wanted["kind"],
        "namespace": meta.get("namespace", ""),
        "name": meta.get("name", ""),
        "change": edit.change,
        "refused": edit.refused,
        "fields": [each._asdict() for each in edit.differences],
        "effects": edit.effects,
    }
