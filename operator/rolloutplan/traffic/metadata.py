"""Reads the metadata of any kind of route: our two annotations, and the last writer of its rules.

Each kind of route passes the object and its rules; the result is the `RouteView` of the engine's snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.managed_fields import last_writer
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RuleWeights
from rolloutplan.engine.model.snapshot import REVERT, SEQ, Acceptance, RouteView


def view(
    kind: str,
    raw: Mapping[str, Any],
    *,
    rules: tuple[RuleWeights, ...],
    acceptance: Acceptance,
    field: str,
    selective: frozenset[int] = frozenset(),
    sticky: frozenset[int] = frozenset(),
) -> RouteView:
    """The view of a route: its metadata and what its kind has read. `field` is the field of its spec with the rules."""
    meta = raw["metadata"]
    return RouteView(
        id=RouteId(kind, meta["name"]),
        generation=safe_get.number(meta, "generation"),
        version=str(meta.get("resourceVersion", "")),
        rules=rules,
        accepted=acceptance.accepted,
        accepted_why=acceptance.why,
        accepted_before=acceptance.before,
        undated=acceptance.undated,
        changed_at=_changed_at(meta),
        seq=safe_get.text(meta, "annotations", SEQ),
        moved_by=last_writer(meta, field) or last_writer(meta),
        deleting="deletionTimestamp" in meta,
        annotated=meta.get("annotations") is not None,
        undo_annotation=safe_get.text(meta, "annotations", REVERT),
        selective=selective,
        namespace=safe_get.text(meta, "namespace"),
        sticky=sticky,
    )


def _changed_at(meta: Mapping[str, Any]) -> datetime | None:
    """When the spec was changed last, or when the route was created; None where neither is known."""
    entries = safe_get.items(meta, "managedFields")
    times = [safe_get.text(each, "time") for each in entries if "f:spec" in safe_get.mapping(each, "fieldsV1")]
    try:
        at = datetime.fromisoformat(max([*times, safe_get.text(meta, "creationTimestamp")]))
    except ValueError:
        return None
    return at if at.tzinfo else None
