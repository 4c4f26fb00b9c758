"""Reads the metadata of any kind of route: our two annotations, and the last writer of its rules.

Each kind of route passes the object and its rules; the result is the `RouteView` of the engine's snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RuleWeights
from rolloutplan.engine.model.snapshot import REVERT, SEQ, RouteView


def view(
    kind: str,
    raw: Mapping[str, Any],
    *,
    rules: tuple[RuleWeights, ...],
    accepted: bool | None,
    accepted_why: str = "",
    field: str,
    selective: frozenset[int] = frozenset(),
) -> RouteView:
    """The view of a route: its metadata and what its kind has read. `field` is the field of its spec with the rules."""
    meta = raw["metadata"]
    return RouteView(
        id=RouteId(kind, meta["name"]),
        generation=safe_get.number(meta, "generation"),
        version=str(meta.get("resourceVersion", "")),
        rules=rules,
        accepted=accepted,
        accepted_why=accepted_why,
        seq=safe_get.text(meta, "annotations", SEQ),
        moved_by=_moved_by(meta, f"f:{field}"),
        deleting="deletionTimestamp" in meta,
        annotated=meta.get("annotations") is not None,
        undo_annotation=safe_get.text(meta, "annotations", REVERT),
        selective=selective,
    )


def _moved_by(meta: Mapping[str, Any], field: str) -> str:
    """The last writer of the rules; where that is unknown, the last writer of any field except the status.

    Times are whole seconds, so among writers of the same second the owner of the rules is recognised by its fields.
    """
    entries = safe_get.items(meta, "managedFields")
    writers = [entry for entry in entries if safe_get.value(entry, "subresource") != "status"]
    movers = [entry for entry in writers if field in safe_get.mapping(entry, "fieldsV1", "f:spec")]
    last = max(reversed(movers or writers), key=lambda entry: safe_get.text(entry, "time"), default=None)
    if last is None:
        return ""
    manager, operation, time = (safe_get.text(last, field) for field in ("manager", "operation", "time"))
    return f"{manager or 'unknown'} ({operation or 'Update'}) at {time or 'unknown'}"
