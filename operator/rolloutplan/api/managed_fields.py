"""Reads `metadata.managedFields`: who wrote a part of an object last.

The metadata is raw, as the API server sent it; the text goes into messages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.printable import printable

Fields = Collection[tuple[str, ...]]
"""Fields of an object, each as the keys that lead to it: `("spec", "rules")`."""


def last_writer(meta: Mapping[str, Any], fields: Fields = ()) -> str:
    """The last writer that owns one of these fields, as `manager (operation) at time`; empty where nobody does.

    Without fields: the last writer of anything but the status. Times are whole seconds, so of writers in the same
    second the last entry counts.
    """
    writers = _entries(meta)
    if fields:
        writers = [entry for entry in writers if owns_any(entry, fields)]
    last = max(reversed(writers), key=lambda entry: safe_get.text(entry, "time"), default=None)
    return "" if last is None else writer(last)


def writer(entry: object) -> str:
    """An entry as `manager (operation) at time`."""
    manager, operation, time = (safe_get.text(entry, name) for name in ("manager", "operation", "time"))
    return printable(f"{manager or 'unknown'} ({operation or 'Update'}) at {time or 'unknown'}")


def overruled_appliers(meta: Mapping[str, Any], fields: Fields) -> list[Any]:
    """The entries of server-side appliers of the spec that own none of these fields.

    An applier owns all that it applies, until somebody else writes another value. One that applies the same value as
    the present one owns it too.
    """
    applied = [entry for entry in _entries(meta) if safe_get.text(entry, "operation") == "Apply"]
    agreeing = {safe_get.text(entry, "manager") for entry in applied if owns_any(entry, fields)}
    return [entry for entry in applied if _owns(entry, "f:spec") and safe_get.text(entry, "manager") not in agreeing]


def annotation_writer(meta: Mapping[str, Any], annotation: str) -> Mapping[str, Any]:
    """The last entry that owns an annotation; empty where none does."""
    return next((e for e in reversed(_entries(meta)) if _owns(e, "f:metadata", "f:annotations", f"f:{annotation}")), {})


def annotation_written_by(meta: Mapping[str, Any], annotation: str) -> str:
    """Who wrote an annotation last, as `manager (operation) at time`; empty where nobody owns it."""
    entry = annotation_writer(meta, annotation)
    return writer(entry) if entry else ""


def owns_any(entry: object, fields: Fields) -> bool:
    """Whether an entry owns one of these fields."""
    return any(_owns(entry, *(f"f:{key}" for key in field)) for field in fields)


def _entries(meta: Mapping[str, Any]) -> list[Any]:
    """All entries but those of the status."""
    return [e for e in safe_get.items(meta, "managedFields") if safe_get.value(e, "subresource") != "status"]


def _owns(entry: object, *path: str) -> bool:
    return path[-1] in safe_get.mapping(entry, "fieldsV1", *path[:-1])
