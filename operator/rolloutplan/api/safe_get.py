"""What a cluster holds, read leniently: what is missing, or is not what it should be, is as if it were not there.

The API server sees to the types of what it stores. That is no reason to fall over an object that another version of it,
or another controller, has left behind. A path leads through mappings alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

_SANE_YEARS: Final = range(2000, 2201)


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
    found = value(raw, *path)
    return found if isinstance(found, str) else ""


def number(raw: object, *path: str, default: int = 0) -> int:
    """Give a whole number."""
    found = value(raw, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def instant(raw: object, *path: str) -> datetime | None:
    """Give an instant of this age, with its time zone; UTC where none is written."""
    try:
        at = datetime.fromisoformat(text(raw, *path))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) if at.year in _SANE_YEARS else None
