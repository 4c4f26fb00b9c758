"""Reads `metadata.managedFields`: who wrote a part of an object last.

The metadata is raw, as the API server sent it; the text goes into messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rolloutplan.api import safe_get


def last_writer(meta: Mapping[str, Any], field: str = "") -> str:
    """The last writer that owns this field of the spec, as `manager (operation) at time`; empty where nobody does.

    Without a field: the last writer of anything but the status. Times are whole seconds, so of writers in the same
    second the last entry counts.
    """
    entries = safe_get.items(meta, "managedFields")
    writers = [entry for entry in entries if safe_get.value(entry, "subresource") != "status"]
    if field:
        writers = [entry for entry in writers if f"f:{field}" in safe_get.mapping(entry, "fieldsV1", "f:spec")]
    last = max(reversed(writers), key=lambda entry: safe_get.text(entry, "time"), default=None)
    if last is None:
        return ""
    manager, operation, time = (safe_get.text(last, name) for name in ("manager", "operation", "time"))
    return f"{manager or 'unknown'} ({operation or 'Update'}) at {time or 'unknown'}"
