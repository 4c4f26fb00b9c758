"""Lenient access to objects of the cluster: a value that is missing or has the wrong type gives the empty default.

The API server validates what it stores, but an object may come from another version or another controller, and must
not make the operator fail. A path is a series of mapping keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

SANE_YEARS: Final = range(2000, 2201)


def value(raw: object, *path: str) -> object:
    for name in path:
        raw = raw.get(name) if isinstance(raw, Mapping) else None
    return raw


def mapping(raw: object, *path: str) -> Mapping[str, Any]:
    found = value(raw, *path)
    return found if isinstance(found, Mapping) else {}


def items(raw: object, *path: str) -> Sequence[Any]:
    found = value(raw, *path)
    return found if isinstance(found, list) else ()


def text(raw: object, *path: str) -> str:
    """A text. Half a surrogate pair, which JSON can write and no text can hold, is replaced as the API server does."""
    found = value(raw, *path)
    if not isinstance(found, str):
        return ""
    return found if found.isascii() else found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number(raw: object, *path: str, default: int = 0) -> int:
    """A whole number; a boolean counts as missing."""
    found = value(raw, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def instant(raw: object, *path: str) -> datetime | None:
    """An instant of the years 2000 to 2200, in UTC where it has no time zone; else None."""
    try:
        at = datetime.fromisoformat(text(raw, *path))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) if at.year in SANE_YEARS else None
