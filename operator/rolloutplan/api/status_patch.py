"""The JSON Merge Patch from the stored status to a new one, which the executor sends to the API server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin

from rolloutplan.api.status import Part, Status


def status_patch(raw: object, status: Status) -> dict[str, Any]:
    """The JSON Merge Patch (RFC 7396) from the stored status to another; empty if nothing differs.

    Fields that this version does not know are kept, in the status and in its parts: another version wrote them.
    """
    stored = raw if isinstance(raw, Mapping) else {}
    return merge_patch(stored, _with_unknown(stored, status.to_raw(), Status))


def look_patch(at: datetime, published: Mapping[str, int] = MappingProxyType({})) -> dict[str, Any]:
    """The patch that says no more than when a run was looked at last, and how far some sinks are."""
    look = Status(last_look=at).model_dump(mode="json", by_alias=True, include={"last_look"})
    return look | ({"publishedThrough": dict(published)} if published else {})


def is_look_alone(patch: Mapping[str, Any]) -> bool:
    """Whether a patch says no more than that, or nothing."""
    return patch.keys() <= {"lastLook"}


def _with_unknown(before: Mapping[str, Any], after: Mapping[str, Any], part: type[Part]) -> dict[str, Any]:
    """A part of the new status, with the unknown fields of the stored one."""
    known, result = _fields(part), dict(after)
    for name, value in before.items():
        if name not in known:
            result[name] = value
            continue
        inner, always = known[name]
        if inner is None or not isinstance(value, Mapping) or not (always or name in after):
            continue
        if kept := _with_unknown(value, after.get(name, {}), inner):
            result[name] = kept
    return result


@cache
def _fields(part: type[Part]) -> Mapping[str, tuple[type[Part] | None, bool]]:
    """The fields of a part by their JSON names: the class of the part in each, if any, and whether it is never null.

    Parts in a list are left out: a list is replaced as a whole.
    """
    fields: dict[str, tuple[type[Part] | None, bool]] = {}
    for name, field in part.model_fields.items():
        if not field.exclude:
            kinds = get_args(field.annotation) if get_origin(field.annotation) is UnionType else (field.annotation,)
            inner = next((each for each in kinds if isinstance(each, type) and issubclass(each, Part)), None)
            fields[field.alias or name] = inner, len(kinds) == 1
    return fields


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Merge Patch from one object to another: maps by key, lists as a whole, null for a removed key."""
    patch: dict[str, Any] = {key: None for key in before if key not in after and before[key] is not None}
    for key, value in after.items():
        former = before.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            if inner := merge_patch(former, value):
                patch[key] = inner
        elif key not in before or former != value:
            patch[key] = value
    return patch
