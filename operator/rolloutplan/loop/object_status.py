"""The status of an object that configures the operator, such as a RouteKind: written only when it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from rolloutplan.api import safe_get
from rolloutplan.api.status_patch import merge_patch
from rolloutplan.cluster import paths


class Writer(Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]: ...


async def write_status(
    api: Writer, kind: paths.Kind, raw: Mapping[str, Any], status: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Write the status of an object as it was seen last. Raises ApiError.

    Returns the object as it is then; None where its status is this one already, and no request was sent.
    """
    change = merge_patch(safe_get.mapping(raw, "status"), status)
    if not change:
        return None
    namespace, name = safe_get.text(raw, "metadata", "namespace"), safe_get.text(raw, "metadata", "name")
    return await api.patch(paths.path(kind, namespace, name, "status"), {"status": change})


def ready_condition(raw: Mapping[str, Any], now: datetime, *, ready: bool, reason: str, message: str) -> dict[str, Any]:
    """The condition Ready of an object; it keeps the time of its last change."""
    conditions = safe_get.items(raw, "status", "conditions")
    before = next((each for each in conditions if safe_get.text(each, "type") == "Ready"), None)
    word = "True" if ready else "False"
    since = safe_get.text(before, "lastTransitionTime") if safe_get.text(before, "status") == word else ""
    return {
        "type": "Ready",
        "status": word,
        "reason": reason,
        "message": message,
        "observedGeneration": safe_get.number(raw, "metadata", "generation"),
        "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
