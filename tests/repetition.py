"""How much is drawn at random: a little in the suite, so many times as much in `make bench-model`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

STORIES: Final = int(os.environ.get("STORIES", "1"))
"""The factor for examples and seeds."""


def times(number: int) -> int:
    """How many examples or seeds to draw, where the suite draws this number."""
    return number * STORIES


def seeds(chosen: Sequence[int]) -> Sequence[int]:
    """The seeds that are chosen for the suite, and others where more than the suite is drawn."""
    return sorted({*chosen, *range(times(12) - 12)})
