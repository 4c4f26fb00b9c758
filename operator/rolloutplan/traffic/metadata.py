"""Reads the metadata of any kind of route: our two annotations, the last writer of its rules, and who applies it.

Each kind of route passes the object and its rules; the result is the `RouteView` of the engine's snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.managed_fields import (
    Fields,
    annotation_writer,
    annotation_written_by,
    last_writer,
    overruled_appliers,
    owns_any,
    writer,
)
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RuleWeights
from rolloutplan.engine.model.snapshot import REVERT, SEQ, Acceptance, Applier, RouteView
from rolloutplan.traffic.annotation_json import read_json

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""Where a client-side apply keeps what it applied: kubectl, and Argo CD without server-side apply."""
_SYNCING: Final = ("argocd", "configsync", "flux", "helm-controller", "kustomize-controller")
"""How the field managers of the tools begin that keep applying what is in Git."""
_NOT_SYNCED: Final = {
    "kustomize.toolkit.fluxcd.io/reconcile": ("disabled",),
    "kustomize.toolkit.fluxcd.io/ssa": ("IfNotPresent", "Ignore"),
}
"""Annotations by which such a tool leaves an object that exists alone."""

ReadRules = Callable[[Mapping[str, Any]], tuple[RuleWeights, ...]]
"""Reads the rules of an object, leniently."""


def view(
    kind: str,
    raw: Mapping[str, Any],
    *,
    rules: tuple[RuleWeights, ...],
    read_rules: ReadRules,
    acceptance: Acceptance,
    fields: Fields,
) -> RouteView:
    """The view of a route: its metadata and what its kind has read.

    `fields` are those that hold its rules; `read_rules` reads those of the object as it was applied.
    """
    meta = raw["metadata"]
    return RouteView(
        id=RouteId(kind, meta["name"]),
        generation=safe_get.number(meta, "generation"),
        version=str(meta.get("resourceVersion", "")),
        rules=rules,
        accepted=acceptance.accepted,
        accepted_why=acceptance.why,
        accepted_before=acceptance.before,
        accepted_generation=acceptance.generation,
        undated=acceptance.undated,
        changed_at=_changed_at(meta, fields),
        seq=safe_get.text(meta, "annotations", SEQ),
        moved_by=last_writer(meta, fields) or last_writer(meta),
        deleting="deletionTimestamp" in meta,
        annotated=meta.get("annotations") is not None,
        undo_annotation=safe_get.text(meta, "annotations", REVERT),
        undo_by=annotation_written_by(meta, REVERT),
        namespace=safe_get.text(meta, "namespace"),
        reference=dict(_reference(raw)),
        appliers=tuple(_appliers(meta, fields, read_rules)),
        raw=raw,
    )


def _reference(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What an object says of itself, so that others can name it."""
    paths = (("apiVersion",), ("kind",), *(("metadata", key) for key in ("namespace", "name", "uid")))
    return ((path[-1], text) for path in paths if (text := safe_get.text(raw, *path)))


def _appliers(meta: Mapping[str, Any], fields: Fields, read_rules: ReadRules) -> Iterator[Applier]:
    """Who applies the route: server-side, where its rules are others by now; client-side, with what was applied."""
    left_alone = any(safe_get.text(meta, "annotations", key) in values for key, values in _NOT_SYNCED.items())

    def applier(entry: Mapping[str, Any], rules: tuple[RuleWeights, ...] | None) -> Applier:
        syncs = safe_get.text(entry, "manager").startswith(_SYNCING) and not left_alone
        return Applier(writer(entry), safe_get.instant(entry, "time"), rules, syncs)

    overruled = overruled_appliers(meta, fields)
    yield from (applier(entry, None) for entry in overruled)
    applied = _last_applied(meta)
    if applied is not None:
        entry = annotation_writer(meta, LAST_APPLIED) or {"manager": "kubectl-client-side-apply"}
        whole = {**applied, "metadata": {**meta, **safe_get.mapping(applied, "metadata")}}
        try:
            rules = read_rules(whole)
        except Exception:  # noqa: BLE001 - whatever the annotation says, the route itself is read
            return
        yield applier(entry, rules)


def _last_applied(meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object in the annotation of a client-side apply, empty if that is none; None where nothing can be read."""
    found = read_json(safe_get.value(meta, "annotations", LAST_APPLIED))
    return None if found is None else safe_get.mapping(found)


def _changed_at(meta: Mapping[str, Any], fields: Fields) -> datetime | None:
    """When the spec or the rules were changed last, or when the route was created; None where neither is known."""
    entries = safe_get.items(meta, "managedFields")
    times = [safe_get.text(each, "time") for each in entries if owns_any(each, [("spec",), *fields])]
    try:
        at = datetime.fromisoformat(max([*times, safe_get.text(meta, "creationTimestamp")]))
    except ValueError:
        return None
    return at if at.tzinfo and at.year in safe_get.SANE_YEARS else None
