"""The values of PromQL's tokens, and why other text is no token. Pure."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from datetime import timedelta
from math import inf
from typing import Final

from rolloutplan.tools.promql.nodes import PromqlError
from rolloutplan.tools.promql.syntax import Token

_UNITS: Final = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION: Final = re.compile(
    r"(?:[0-9]+y)?(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?", re.ASCII
)
_DURATION_PART: Final = re.compile(r"(?<![0-9])([0-9]++)(ms|[ywdhms])", re.ASCII)
_LONGEST_TIME: Final = 2**63 / 1e9
"""Seconds. Prometheus keeps durations as nanoseconds in 64 bits."""


_SHORT_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    **{each: each for each in "\\\"'"},
}
_ANY_ESCAPE: Final = re.compile(
    r"""\\(?:[abfnrtv\\"']|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"""
)


def unquoted(token: Token) -> str:
    """The value of a string, whose form the tokens have checked."""
    if token.text.startswith("`"):
        return token.text[1:-1]

    def unescaped(found: re.Match[str]) -> str:
        if (short := found[0][1]) in _SHORT_ESCAPES:
            return _SHORT_ESCAPES[short]
        code = int(found[1], 8) if found[1] else int(found[2], 16)
        if code > sys.maxunicode or 0xD800 <= code < 0xE000:  # the half of a character
            raise PromqlError(f"{found[0]} is not a character", token.start, token.end)
        return chr(code)

    return _ANY_ESCAPE.sub(unescaped, token.text[1:-1]) if "\\" in token.text else token.text[1:-1]


def number_of(token: Token) -> float:
    text = token.text.lower()
    if text.startswith("0x"):
        return _hexadecimal(text)
    with suppress(ValueError):
        return float(text)
    return time_of(text, token).total_seconds()


def _hexadecimal(text: str) -> float:
    number = int(text, 16)
    return float(number) if number < 2**63 else inf


def time_of(text: str, token: Token) -> timedelta:
    """A duration, or a number of seconds."""
    if not text.lower().startswith("0x") and _DURATION_PART.match(text):
        if not _DURATION.fullmatch(text):
            words = f'"{text}" is not a duration: write the largest unit first and each once, such as 1h30m'
            raise PromqlError(words, token.start, token.end)
        seconds = sum(float(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text))
    else:
        seconds = _hexadecimal(text) if text.lower().startswith("0x") else float(text)
    if seconds >= _LONGEST_TIME:
        raise PromqlError(f'"{text}" is too long for a duration', token.start, token.end)
    return timedelta(seconds=min(seconds, 1e12))


# ---- what no token begins with -------------------------------------------------------------------

_INSTEAD: Final = {
    "&": 'write "and"', "|": 'write "or"', "!": 'write "!=" or "unless"', ";": "a query is one expression: remove it",
    "\u201c": 'write straight quotes: "', "\u201d": 'write straight quotes: "', "\u2018": "write straight quotes: '",
    "\u2019": "write straight quotes: '", "$": "no variable begins here", "~": 'write "=~"',
    "?": "PromQL has no ?: write bool after a comparison", "\u2212": 'write a plain "-"', "\u2013": 'write a plain "-"',
    "\u00a0": "this is a no-break space: write a plain one",
}  # fmt: skip
_ESCAPE: Final = re.compile(r"""\\(?![abfnrtv\\"']|[0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})(.?)""")
_NUMBER_LIKE: Final = re.compile(r"[0-9.][0-9A-Za-z_.]*")
_PLAIN_STRING: Final = re.compile(r"""(["'])((?:[^"'\\\n\r]|\\[^\n\r]|(?!\1)["'])*)(\1?)""")


def no_token(text: str, start: int) -> PromqlError | None:
    """Why no token of ours begins here; None where Prometheus may take it nevertheless."""
    first = text[start : start + 1]
    match first:
        case "#" | "`":
            if first == "`" and "`" not in text[start + 1 :]:
                return PromqlError("this string does not end: write ` after it", start, start + 1)
            return None
        case '"' | "'":
            return _no_string(text, start)
        case "[":
            return _no_range(text, start)
        case _ if first.isascii() and (first.isdigit() or first == "."):
            written = _NUMBER_LIKE.match(text, start)
            word = written[0] if written else first
            if "_" in word:
                return None
            return PromqlError(f'"{word}" is not a number or a duration{_duration_fix(word)}', start, start + len(word))
    fix = _INSTEAD.get(first, "remove it, or write it in quotes")
    return PromqlError(
        f"{ascii(first)[1:-1] if not first.isprintable() else first} is not part of PromQL: {fix}", start, start + 1
    )


def _no_string(text: str, start: int) -> PromqlError | None:
    found = _PLAIN_STRING.match(text, start)
    if "\r" in text[start:]:
        return None  # Prometheus takes it in a string, and others do not
    if found is None or not found[3]:
        return PromqlError(f"this string does not end: write {text[start]} after it", start, start + 1)
    if bad := _ESCAPE.search(found[2].replace("\\\\", "\x00\x00")):
        at = found.start(2) + bad.start()
        fix = f"write \\\\{bad[1]}" + (" or [0-9]" if bad[1] == "d" else "")
        return PromqlError(f"\\{bad[1]} is not an escape of a string: {fix}", at, at + 2)
    return None


def _no_range(text: str, start: int) -> PromqlError | None:
    end = text.find("]", start)
    if end < 0:
        return PromqlError('"[" is never closed: write "]"', start, start + 1)
    inside = text[start + 1 : end].strip()
    if re.search(r"[-+*/%^()_]", inside):
        return None  # servers may calculate with durations
    if not inside:
        return PromqlError("the range is empty: write [$window]", start, end + 1)
    word = next((each for each in re.split(r"[\s:]+", inside) if not _DURATION.fullmatch(each)), inside)
    return PromqlError(f'"{word}" is not a duration{_duration_fix(word)}', start, end + 1)


_LONG_UNITS: Final = re.compile(r"([0-9.]+) ?(milli|min|sec|hour|hr|day|week|mo|year)[a-z]*", re.IGNORECASE)


def _duration_fix(word: str) -> str:
    if word[:1].isdigit() and _DURATION.fullmatch(word.lower()):
        return f": write {word.lower()}"
    if found := _LONG_UNITS.fullmatch(word):
        unit = {"milli": "ms", "min": "m", "sec": "s", "hr": "h"}.get(found[2].lower(), found[2][0].lower())
        return f": write {found[1]}{unit}"
    if re.fullmatch(r"[0-9]*\.[0-9]+[smhdwy]", word):
        return ": PromQL has no fractions of a unit, write 1h30m for one and a half hours"
    return ": write one such as 5m" if word[:1].isdigit() else ""
