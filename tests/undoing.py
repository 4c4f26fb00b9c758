"""Runs an undo command for one route on an object, as a shell and the API server would."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from typing import Any

import jsonpatch

REFUSED = (jsonpatch.JsonPatchConflict, jsonpatch.JsonPatchTestFailed)
"""How a patch that does not fit is refused: nothing is written."""


def run_by_hand(raw: Any, line: str) -> Any:
    """The object after the first patch of the command that fits. Raises the refusal of the last one where none does."""
    words = shlex.split(line)
    patches = [json.loads(patch) for word, patch in pairwise(words) if word == "-p"]
    for patch in patches[:-1]:
        try:
            return jsonpatch.apply_patch(raw, patch)
        except REFUSED:
            continue
    return jsonpatch.apply_patch(raw, patches[-1])
