"""The text of a query as its author wrote it, and the same with its variables filled in. Pure.

What is parsed is the filled text; what is shown, with its line and column, is the author's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from rolloutplan.api.rendering import BUILTIN_VARIABLES, MAX_QUERY, VARIABLE, rendered_size
from rolloutplan.api.template import PLACEHOLDER

_LONGEST_SHOWN: Final = 60
"""Characters of a query in a message: enough to find the place, and a message stays one line."""


_FILLED_IN: Final = re.compile(f"{PLACEHOLDER.pattern}|{VARIABLE.pattern}")


class Position(NamedTuple):
    """A place in the text of one field as its author wrote it: line and column, both counted from 1.

    The text is the value of the field, after YAML: the first line of a block (`|`) is line 1.
    """

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class FilledText:
    """A query: `written` by its author, and the `text` that is asked."""

    written: str
    text: str
    names: tuple[str, ...] = BUILTIN_VARIABLES
    """The variables that there are."""
    parameters: tuple[str, ...] = ()
    """The parameters of the template, where it is one."""
    _filled: tuple[tuple[int, int, int, int], ...] = ()
    """Of each variable: where it begins and ends in `text`, and in `written`."""
    _before: int = 0
    """How many characters of `text` stand before what was written."""

    @classmethod
    def plain(cls, text: str) -> FilledText:
        """A query without variables."""
        return cls(text, text)

    @classmethod
    def fill(
        cls, written: str, variables: Mapping[str, str], parameters: Mapping[str, str] | None = None
    ) -> FilledText:
        """Fill in variables as `render` does: an unknown one stays, and all stay where the text became too large.

        `parameters` are those of a template, as PromQL has them; they may have variables in them.
        """
        sizes = {name: len(value.encode()) for name, value in variables.items()}
        if rendered_size(written, sizes) > MAX_QUERY:
            return cls(written, written, tuple(variables), tuple(parameters or ()))
        values = {f"$({name})": _rendered(value, variables) for name, value in (parameters or {}).items()}
        values |= {f"${name}": value for name, value in variables.items()}
        values |= {f"${{{name}}}": value for name, value in variables.items()}
        pieces, filled, end, length = [], [], 0, 0
        for found in _FILLED_IN.finditer(written):
            value = values.get(found[0])
            if value is None:
                continue
            before = written[end : found.start()]
            length += len(before)
            filled.append((length, length + len(value), found.start(), found.end()))
            pieces += [before, value]
            length, end = length + len(value), found.end()
        return cls(written, "".join((*pieces, written[end:])), tuple(variables), tuple(parameters or ()), tuple(filled))

    def shown(self, start: int, end: int) -> str:
        """The part of `text` from one place to another, as it was written, in one short line."""
        words = " ".join(self.written[self._place(start) : self._place(end, ends=True)].split())
        return words if len(words) <= _LONGEST_SHOWN else f"{words[: _LONGEST_SHOWN - 3]}..."

    def place(self, at: int) -> int:
        """Which character of `written` gave a place of `text`."""
        return self._place(at)

    def position(self, at: int) -> Position:
        """The line and the column where a place of `text` was written."""
        before = self.written[: self._place(at)]
        return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))

    def between(self, before: str, after: str) -> FilledText:
        """The same with another text around it, of which nothing is shown."""
        return replace(self, text=before + self.text + after, _before=len(before))

    def _place(self, at: int, *, ends: bool = False) -> int:
        at, moved = max(at - self._before, 0), 0
        for begins, stops, written_begins, written_stops in self._filled:
            if at <= begins:
                break
            if at < stops or (at == stops and ends):
                return written_stops if ends else written_begins
            moved = written_stops - stops
        return min(at + moved, len(self.written))


def _rendered(text: str, variables: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), text)
