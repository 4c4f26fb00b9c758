"""Explain what is wrong with YAML in words that people know who have never read its specification.

An error of the parser comes from yaml_read.py, with the text; the explanation and its place go back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import yaml

LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML."""
_KEY: Final = r"""[\w.$/-]+|"[^"]*"|'[^']*'"""
_ENTRY: Final = re.compile(rf"\s*(?:[-?]\s+)*(?P<key>{_KEY}):\s+(?P<value>\S.*)")
_KEY_BEFORE: Final = re.compile(rf"(?:^|[\s{{,])(?P<key>{_KEY}):\s+$")
_CRAMPED: Final = re.compile(rf"\s*(?:[-?]\s+)*(?P<key>{_KEY}):(?P<value>[^\s:/][^:]*)$")
_COMMENT: Final = re.compile(r"(?<!\s)\s+#.*$")
_LEFT_OUT: Final = re.compile("(?i)secret|passw|token|key|credential|cookie|authorization")
"""Keys whose values are never repeated: what is printed may be in the log of a pipeline for years."""
_LONGEST: Final = 80
"""The most characters of a value that are repeated: a longer one is recognized by its beginning."""


class Fault(NamedTuple):
    """What is wrong, and where: line and column, counted from 0."""

    words: str
    line: int
    column: int


class _Place(NamedTuple):
    """The line of an error, and the column in it."""

    text: str
    line: int
    column: int
    above: str
    """The last line above it that is not empty."""

    def fault(self, words: str, column: int | None = None) -> Fault:
        return Fault(f"invalid YAML. {words}", self.line, self.column if column is None else column)


class _Error(NamedTuple):
    """An error of the parser: what it says, where it stopped, and where it began what it could not end."""

    problem: str
    context: str
    at: _Place
    start: _Place


def explain(text: str, error: yaml.MarkedYAMLError) -> Fault:
    """Return what is wrong with a text that a parser of YAML refuses."""
    problem, context = error.problem or "", error.context or ""
    words = " ".join(f"{problem} {context}".split())
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Fault(f"invalid YAML: {words}", 0, 0)
    lines, begins = LINE_BREAK.split(text), error.context_mark or mark
    at, start = (_place(lines, each.line, each.column) for each in (mark, begins))
    found = _Error(problem, context, at, start)
    explained = next((rule(found) for pattern, rule in _RULES if re.search(pattern, words)), None)
    fault = _tab(at) or explained
    return fault or Fault(f"invalid YAML: {words}", mark.line, mark.column)


def needs_quotes(key: str, value: str) -> str:
    """Return that a value must be in quotes because of its first character, and how it is written."""
    return f"Values that begin with {value[0]} need quotes{_example(key, value)}"


def _place(lines: list[str], line: int, column: int) -> _Place:
    line = min(line, len(lines) - 1)
    above = next((each for each in reversed(lines[max(line - 20, 0) : line]) if each.strip()), "")
    return _Place(lines[line], line, column, above)


def _tab(at: _Place) -> Fault | None:
    indentation = at.text[: len(at.text) - len(at.text.lstrip())]
    if "\t" not in indentation:
        return None
    return at.fault("Tabs cannot indent YAML: write spaces in place of the tab", indentation.index("\t"))


def _needs_quotes(at: _Place) -> Fault | None:
    """Explain a value whose first character means something to YAML: > | % @ ` * & !."""
    value = _value(at, at.column)
    before = _KEY_BEFORE.search(at.text[: at.column])
    if not value:
        return None
    return at.fault(needs_quotes(before["key"] if before else "", value))


def _value(at: _Place, column: int) -> str:
    """Return the value that begins at a column, without a comment; within braces or brackets, up to their end."""
    rest = _COMMENT.sub("", at.text[column:]).strip()
    inside = at.text[:column].count("{") + at.text[:column].count("[") > 0
    return re.split(r"[,}\]]", rest)[0].strip() if inside else rest


def _example(key: str, value: str) -> str:
    """Return how a value is written in quotes, behind its key; nothing where it may be a secret."""
    if _LEFT_OUT.search(key):
        return ""
    return f": {key}: {quoted(value)}" if key else f": {quoted(value)}"


def quoted(value: str) -> str:
    """Return a value in the quotes in which it needs the fewest changes."""
    value = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
    if '"' in value or "\\" in value:
        return "'" + value.replace("'", "''") + "'"
    return f'"{value}"'


def _colon(error: _Error) -> Fault:
    at = error.at
    entry = _ENTRY.match(at.text)
    if entry and entry.start("value") <= at.column:
        words = 'A value with ": " in it needs quotes'
        value = _COMMENT.sub("", entry["value"]).strip()
        return at.fault(words + _example(entry["key"], value), entry.start("value"))
    if cramped := _CRAMPED.match(at.above):
        return at.fault(f"The line above needs a space after its colon: {cramped['key']}: ...")
    fix = "correct its indentation, or that of the line above"
    return at.fault(f"This key is deeper than the line above, which has a value already: {fix}")


def _no_colon(error: _Error) -> Fault:
    if cramped := _CRAMPED.match(error.start.text):
        return error.start.fault(f"A space is missing after the colon: {cramped['key']}: ...")
    return error.start.fault("This line is no key with a value: write a colon and a space after the key")


def _quotes(error: _Error) -> Fault:
    start = error.start
    quote = start.text[start.column : start.column + 1]
    if "Unicode" in error.problem:
        return start.fault("An escape in this value is half a character: write the character itself")
    if "escape" in error.problem:
        return start.fault("A backslash in double quotes begins an escape that YAML does not know: use single quotes")
    return start.fault(f"The quote {quote} that begins here is never closed: close it")


def _after_value(error: _Error) -> Fault | None:
    """Explain text behind the end of a value, which comes of a quote in it; else a key that is misplaced."""
    at = error.at
    entry = _ENTRY.match(at.text)
    if entry is None or entry.start("value") >= at.column:
        return (
            at.fault("This line is indented as no line above it: correct its indentation") if at.text.strip() else None
        )
    value, column = _COMMENT.sub("", entry["value"]).strip(), entry.start("value")
    if value[0] in "{[":
        return at.fault(needs_quotes(entry["key"], value), column)
    if value[0] not in "\"'":
        return None
    if at.above.count(value[0]) % 2:
        return at.fault(f"The line above has a quote {value[0]} that is never closed: close it")
    inner = value[1:-1] if value[-1] == value[0] else value[1:]
    words = f"The value ends at its second {value[0]}: use other quotes around it, or a block (|)"
    return at.fault(words + (_example(entry["key"], inner) if value[0] == '"' else ""), column)


def _flow(error: _Error) -> Fault:
    """Explain braces or brackets that are not closed, or that hold a value with such characters."""
    at, start = error.at, error.start
    opening = "{" if "mapping" in error.context else "[" if "sequence" in error.context else ""
    closing = {"{": "}", "[": "]"}.get(opening, "")
    if not opening:
        return at.fault("A value is missing here, or a brace or bracket above is not closed")
    if at.line == start.line and at.column < len(at.text):
        words = f"Within {opening} {closing} a comma is missing here, or a value with , [ ] {{ }} in it needs quotes"
        return at.fault(words)
    return start.fault(f"The {opening} that begins here is not closed by {closing} before line {at.line + 1}")


_RULES: Final[tuple[tuple[str, Callable[[_Error], Fault | None]], ...]] = (
    ("block scalar|an alias|an anchor|a tag", lambda error: _needs_quotes(error.start)),
    ("start any token|undefined alias|for the tag|block node", lambda error: _needs_quotes(error.at)),
    ("mapping values", _colon),
    (
        "sequence entries",
        lambda error: error.at.fault(
            'A list begins on a line of its own: write "- " on the next line, or quote the value'
        ),
    ),
    ("quoted scalar", _quotes),
    ("expected key|<block end>, but found '<scalar>'", _after_value),
    ("expected ':'", _no_colon),
    (
        "'-' indicator",
        lambda error: error.at.fault(
            "This line is neither an item of the list above it nor a part of one: correct its indentation"
        ),
    ),
    ("flow", _flow),
)
"""What a parser says, in the words of libyaml or of PyYAML, and what it means: the first that matches."""
