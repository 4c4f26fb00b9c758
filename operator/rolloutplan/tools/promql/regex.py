"""Which regular expressions RE2 refuses, as Go reads them: Prometheus matches labels with them. Pure, linear in length.

Python's `re` and the parser of the library read other expressions: look-around, back references, `&&` in a class.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

MOST_REPEATS: Final = 1000
"""The largest count of a repetition, and of repetitions within each other: Go's limit."""
_DEEPEST: Final = 1000
"""Go's limit for expressions within each other."""
_CLASSES: Final = frozenset(
    {"alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word"}
    | {"xdigit"}
)
_COUNT: Final = re.compile(r"\{(0|[1-9][0-9]*+)(?:(,)(0|[1-9][0-9]*+|))?\}", re.ASCII)
_GROUP: Final = re.compile(r"\(\?(?:P?<([A-Za-z_0-9]++)>|[imsU]*+(?:-[imsU]++)?([:)]))", re.ASCII)
_HEX: Final = re.compile(r"x(?:[0-9a-fA-F]{2}|\{([0-9a-fA-F]{1,8})\})")
_PROPERTY: Final = re.compile(r"[pP](?:\{\^?[A-Za-z_]+\}|[A-Z])", re.ASCII)
_OCTAL: Final = re.compile("[0-7]{0,2}")
_LOOKS: Final = {
    "?=": "look-ahead",
    "?!": "look-ahead",
    "?<=": "look-behind",
    "?<!": "look-behind",
    "?>": "atomic groups",
}


@dataclass(slots=True)
class _Open:
    """An open group: where it begins, and the largest product of counts of what was read in it."""

    start: int
    repeats: int = 1


def refusal(pattern: str) -> tuple[str, int] | None:
    """Why RE2 refuses a pattern, and at which of its characters; None where it takes it."""
    reader = _Reader(pattern)
    try:
        reader.read()
    except _BadPatternError as error:
        return str(error), error.at
    return None


def fits(pattern: str, text: str) -> bool:
    """Whether an expression fits a whole short text; False where finding that out could take long.

    Python tries an expression in every way there is. So only few repetitions without a bound are tried, none of them of
    a group, and the work grows with no more than the square of the text.
    """
    hard = len(pattern) > _LONGEST_TRIED or len(_OPEN.findall(pattern)) > _MOST_OPEN or _REPEATED_GROUP.search(pattern)
    if hard or refusal(pattern):
        return False
    with suppress(re.error, OverflowError, RecursionError):
        return re.fullmatch(pattern, text) is not None
    return False


_LONGEST_TRIED: Final = 200
"""Characters of an expression that is tried; people write forty."""
_MOST_OPEN: Final = 2
"""Repetitions without a bound, or with a large one, in an expression that is tried."""
_OPEN: Final = re.compile(r"[*+]|\{[0-9]{0,4},[0-9]{0,4}\}|\{[0-9]{3,4}\}")
_REPEATED_GROUP: Final = re.compile(r"\)[*+?{]")


class _BadPatternError(ValueError):
    def __init__(self, words: str, at: int) -> None:
        super().__init__(words)
        self.at = at


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._groups = [_Open(-1)]
        self._before = 0
        """0 where nothing that can be repeated stands before, -1 for a repetition, else the product of its counts."""

    def read(self) -> None:
        pattern = self._pattern
        while self._at < len(pattern):
            self._one(pattern[self._at])
        if len(self._groups) > 1:
            raise _BadPatternError('"(" is never closed', self._groups[-1].start)

    def _one(self, char: str) -> None:
        if char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "|":
            self._before, self._at = 0, self._at + 1
        elif char == "[":
            self._class()
            self._item(1)
        elif char in "*+?":
            self._repeat(self._at + 1, 0)
        elif char == "{" and (count := _COUNT.match(self._pattern, self._at)):
            self._counted(count)
        elif char == "\\":
            self._escape(in_class=False)
            self._item(1)
        else:
            self._at += 1
            self._item(1)

    def _item(self, repeats: int) -> None:
        self._before = repeats
        self._groups[-1].repeats = max(self._groups[-1].repeats, repeats)

    def _open(self) -> None:
        start, pattern = self._at, self._pattern
        if pattern.startswith("(?", start):
            found = _GROUP.match(pattern, start)
            if found is None:
                looks = next((name for sign, name in _LOOKS.items() if pattern.startswith(sign, start + 1)), "")
                raise _BadPatternError(f"RE2 has no {looks}" if looks else '"(?" begins no group', start)
            self._at = found.end()
            if found[2] == ")":
                self._before = abs(
                    self._before
                )  # flags stand for nothing, but what is before them may be repeated again
                return
        else:
            self._at += 1
        self._groups.append(_Open(start))
        self._before = 0
        if len(self._groups) > _DEEPEST:
            raise _BadPatternError("groups are nested too deeply", start)

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise _BadPatternError('")" closes nothing', self._at)
        self._at += 1
        self._item(self._groups.pop().repeats)

    def _repeat(self, end: int, count: int) -> None:
        """Take a repetition that ends there, and the ? behind it."""
        start, sign = self._at, self._pattern[self._at : end]
        if self._before == 0:
            raise _BadPatternError(f'"{sign}" has nothing before it to repeat', start)
        if self._before < 0:
            raise _BadPatternError(f'"{sign}" repeats a repetition: write parentheses between them', start)
        if count >= 2 and self._before * count > MOST_REPEATS:
            raise _BadPatternError(f"{sign} repeats more than {MOST_REPEATS} times in all", start)
        self._item(self._before * max(count, 1))
        self._before = -1
        self._at = end + self._pattern.startswith("?", end)

    def _counted(self, count: re.Match[str]) -> None:
        least = int(count[1][:6])
        most = int(count[3][:6]) if count[3] else least
        if most < least or max(least, most) > MOST_REPEATS:
            raise _BadPatternError(f"{count[0]} is no count from 0 to {MOST_REPEATS}", self._at)
        self._repeat(count.end(), most)

    def _class(self) -> None:
        """Take a class such as [a-z], to its closing bracket."""
        start, pattern = self._at, self._pattern
        self._at += 1 + pattern.startswith("^", start + 1)
        first = True
        while first or not pattern.startswith("]", self._at):
            if self._at >= len(pattern):
                raise _BadPatternError('"[" is never closed', start)
            first = False
            if pattern.startswith("[:", self._at) and (end := pattern.find(":]", self._at + 2)) >= 0:
                name = pattern[self._at + 2 : end].removeprefix("^")
                if name not in _CLASSES:
                    raise _BadPatternError(f"[:{name}:] is not a class", self._at)
                self._at = end + 2
                continue
            if pattern.startswith("\\", self._at) and pattern[self._at + 1 : self._at + 2] in tuple("pPdDsSwW"):
                self._escape(in_class=True)
                continue
            self._range_in_class(start)
        self._at += 1

    def _range_in_class(self, start: int) -> None:
        pattern, low_at = self._pattern, self._at
        low = self._char(start)
        if pattern.startswith("-", self._at) and not pattern.startswith("-]", self._at) and self._at + 1 < len(pattern):
            self._at += 1
            high = self._char(start)
            if high < low:
                raise _BadPatternError(f"{pattern[low_at : self._at]} is a range that runs backwards", low_at)

    def _char(self, start: int) -> int:
        """Take one character of a class."""
        if self._at >= len(self._pattern):
            raise _BadPatternError('"[" is never closed', start)
        if self._pattern[self._at] == "\\":
            return self._escape(in_class=True)
        self._at += 1
        return ord(self._pattern[self._at - 1])

    def _escape(self, *, in_class: bool) -> int:
        """Take an escape; return the character that it means, or 0 where it means several."""
        pattern, start = self._pattern, self._at
        char = pattern[start + 1 : start + 2]
        if not char:
            raise _BadPatternError('"\\" stands at the end', start)
        self._at += 2
        if char in "dDsSwW" or (char in "AbBz" and not in_class):
            return 0
        if char == "Q" and not in_class:
            end = pattern.find("\\E", self._at)
            self._at = len(pattern) if end < 0 else end + 2
            return 0
        if char in "pP" and (found := _PROPERTY.match(pattern, start + 1)):
            self._at = found.end()
            return 0
        if char == "x" and (hexed := _HEX.match(pattern, start + 1)):
            self._at = hexed.end()
            return int(hexed[1] or hexed[0][1:], 16)
        if char in "01234567":
            return self._octal(start, char)
        if char in "afnrtv":
            return ord({"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}[char])
        if char.isascii() and not char.isalnum():
            return ord(char)
        if char in "89":
            raise _BadPatternError(f"RE2 has no back references such as \\{char}", start)
        raise _BadPatternError(f"\\{char} is not an escape of RE2", start)

    def _octal(self, start: int, char: str) -> int:
        following = self._pattern[self._at : self._at + 1]
        if char != "0" and (not following or following not in "01234567"):
            raise _BadPatternError(f"RE2 has no back references such as \\{char}", start)
        digits = _OCTAL.match(self._pattern, self._at)
        assert digits is not None  # none is a match, too
        self._at = digits.end()
        return int(char + digits[0], 8)
