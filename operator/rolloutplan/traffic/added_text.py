"""The annotation in which a route keeps what was added to it, as text.

Everybody who may patch a route can write it, so it is read within bounds that every run keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

from rolloutplan.api import safe_get
from rolloutplan.api.added import MOST_ADDED
from rolloutplan.api.object_path import At, pointer
from rolloutplan.traffic.additions import Piece
from rolloutplan.traffic.annotation_json import read_json

_LONGEST: Final = 128 * 1024
"""Characters. All annotations of an object may have 256 KiB together; more than this is none of ours."""


class Entry(NamedTuple):
    """A piece in the annotation."""

    piece: Piece
    made: At = ()
    """The outermost field that was made for it; empty where there is none."""
    owner: str = ""
    """The part of its plan's uid that fencing tokens have; earlier versions wrote none."""


def write(entries: Iterable[Entry]) -> str:
    """The annotation with these pieces. Raises LookupError where they are more than can be read back."""
    kept = [
        {
            "added": piece.text,
            **({"by": owner} if owner else {}),
            piece.how: pointer(piece.at),
            **({"made": pointer(made)} if made else {}),
            "value": piece.value,
        }
        for piece, made, owner in entries
    ]
    text = json.dumps(kept, separators=(",", ":")) if kept else ""
    if len(kept) > MOST_ADDED or len(text) > _LONGEST:
        raise LookupError(
            f"a run would add {len(kept)} things to it, {len(text)} characters long together, and may add {MOST_ADDED} "
            f"of {_LONGEST} characters: name fewer of its rules in spec.traffic.routes"
        )
    return text


def read(text: str) -> tuple[Entry, ...]:
    """The pieces in the annotation. What is none of ours is left out: all, where it is more than a run ever writes."""
    kept = read_json(text) if 0 < len(text) <= _LONGEST else None
    if not isinstance(kept, list) or len(kept) > MOST_ADDED:
        return ()
    return tuple(filter(None, map(_entry, kept)))


def _entry(raw: object) -> Entry | None:
    how = next((each for each in ("before", "in", "as") if safe_get.text(raw, each)), "")
    text, value = safe_get.text(raw, "added"), safe_get.value(raw, "value")
    if not how or not text or value is None:
        return None
    piece = Piece(text, cast("Any", how), place(safe_get.text(raw, how)), value)
    return Entry(piece, place(safe_get.text(raw, "made")), safe_get.text(raw, "by"))


def place(text: str) -> At:
    """The place of a JSON pointer; a step of digits alone is an index."""
    steps = (step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])
    return tuple(int(step) if step.isdecimal() and len(step) < 6 else step for step in steps)
