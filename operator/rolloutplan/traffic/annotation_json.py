"""Reads JSON in annotations: everybody who may patch an object can write anything there."""

from __future__ import annotations

import json
from typing import Final

DEEPEST: Final = 64
"""Levels. No route has half as many. Copying a value takes a few calls a level, of which Python allows 1000."""


def read_json(text: object) -> object:
    """What a text holds as JSON; None where it holds none, or is nested deeper than DEEPEST. It never raises."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return found if _is_shallow(found) else None


def _is_shallow(found: object) -> bool:
    level = [found]
    for _ in range(DEEPEST):
        level = [below for each in level for below in _below(each)]
        if not level:
            return True
    return False


def _below(found: object) -> list[object]:
    if isinstance(found, dict):
        return [*found.values()]
    return found if isinstance(found, list) else []
