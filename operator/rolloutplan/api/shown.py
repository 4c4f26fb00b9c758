"""Values in messages, as YAML shows them: `true`, `null`, `"text"`, `[5%, 25%]`, and never more than a line of them."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from rolloutplan.api.printable import masked

LONGEST: Final = 100
"""Characters of a value: enough for a comparison, a name or an address, and little enough for one line of a log."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_$./%+][-A-Za-z0-9_$./%+]*( [-A-Za-z0-9_$./%+]+)*")
"""Texts that need no quotes between brackets."""

_WORDS: Final = {None: "null", True: "true", False: "false"}


def shown(value: object) -> str:
    """A value as its author wrote it in YAML, on one line, shortened to LONGEST characters."""
    if isinstance(value, str):
        return f'"{_shortened(value)}"'
    text = ""
    for part in _flow(value):
        text += part
        if len(text) > LONGEST:
            return text[:LONGEST] + "..."
    return text


def _flow(value: object) -> Iterator[str]:
    """The parts of a value in flow style; those that nobody asks for are not made."""
    if isinstance(value, Mapping):
        yield "{"
        for i, (key, below) in enumerate(value.items()):
            yield f"{', ' if i else ''}{_shortened(str(key))}: "
            yield from _flow(below)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for i, below in enumerate(value):
            yield ", " if i else ""
            yield from _flow(below)
        yield "]"
    elif isinstance(value, str):
        text = _shortened(value)
        yield text if _PLAIN.fullmatch(text) else f'"{text}"'
    elif value is None or isinstance(value, bool):
        yield _WORDS[value]
    elif isinstance(value, int) and value.bit_length() > LONGEST:  # Python refuses to write out the longest
        yield "a huge number"
    else:
        yield _shortened(str(value))


def _shortened(text: str) -> str:
    text = masked(text)  # before the @ that ends a password is cut off
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
