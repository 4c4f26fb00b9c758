"""What is read of the metadata of any kind of route: our two annotations, and who wrote its rules last."""

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
) -> RouteView:
    """A route as its metadata and what its kind has read of it. `field` is the one of its spec that holds the rules."""
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
    )


def _moved_by(meta: Mapping[str, Any], field: str) -> str:
    """Who wrote the rules last, and only where nobody is known for them, who wrote anything; status never counts.

    Times are whole seconds: the owner of the rules is told from whoever wrote something else in the same second.
    """
    entries = safe_get.items(meta, "managedFields")
    writers = [entry for entry in entries if safe_get.value(entry, "subresource") != "status"]
    movers = [entry for entry in writers if field in safe_get.mapping(entry, "fieldsV1", "f:spec")]
    last = max(reversed(movers or writers), key=lambda entry: safe_get.text(entry, "time"), default=None)
    if last is None:
        return ""
    manager, operation, time = (safe_get.text(last, field) for field in ("manager", "operation", "time"))
    return f"{manager or 'unknown'} ({operation or 'Update'}) at {time or 'unknown'}"
