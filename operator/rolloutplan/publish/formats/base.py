"""What the forms of notifications share: the body of a request, and how texts and evidence are cut to a limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from rolloutplan.publish.notification import Notification


class Body(NamedTuple):
    """The body of a request, and what it is."""

    content_type: str
    content: bytes


Format: TypeAlias = Callable[[Notification], Body]

LONGEST: Final = 64 << 10
"""Bytes of JSON: what every receiver of CloudEvents has to take."""


SHORTENED: Final = "shortened"
"""True where the decision has no evidence, or shorter texts, only because the whole would have been too long."""
_SHORT: Final = 1024
"""Bytes of each text of a decision, where leaving out the evidence was not enough: a status edited by hand."""


def as_json(value: object) -> bytes:
    """JSON without spaces; half a character, which no receiver could read, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def size_in_json(text: str) -> int:
    """The bytes that a text takes as a part of a text in JSON."""
    return len(as_json(text)) - 2


def bounded(facts: dict[str, Any], longest: int = LONGEST) -> dict[str, Any]:
    """The facts of a notification in so many bytes: without evidence, then without the undo command and long texts."""
    if len(as_json(facts)) <= longest:
        return facts
    decision = {name: value for name, value in facts["decision"].items() if name != "evidence"}
    facts = {**facts, "decision": decision, SHORTENED: True}
    if len(as_json(facts)) <= longest:
        return facts
    texts = {name: cut(value, _SHORT, size_in_json) for name, value in decision.items() if isinstance(value, str)}
    return {name: value for name, value in facts.items() if name != "undo"} | {"decision": decision | texts}


def cut(text: str, most: int, size: Callable[[str], int] = len) -> str:
    """The beginning of a text, with an ellipsis where it is cut; `size` measures one character."""
    taken, fits = 0, 0
    room = most - size("…")
    for place, character in enumerate(text):
        taken += size(character)
        if taken > most:
            return f"{text[:fits]}…"
        if taken <= room:
            fits = place + 1
    return text
