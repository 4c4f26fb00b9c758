"""How much is drawn at random: a little in the suite, so many times as much in `make bench-model`."""

from __future__ import annotations

import os
from typing import Final

STORIES: Final = int(os.environ.get("STORIES", "1"))
"""The factor for examples and seeds."""


def times(number: int) -> int:
    """How many examples or seeds to draw, where the suite draws this number."""
    return number * STORIES
