"""Decodes the API server's JSON, however large or deep an object in it is: that must not stop what all plans need.

Python decodes JSON in one piece, without letting another thread run, and fails at about 900 levels. One object of
1.5 MiB, or one with a thousand lists in each other, would stop the watch of its kind for everybody. So the ends of the
parts are looked for first, and a part that is too large or too deep is left out. What is left is a name and a reason.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NamedTuple, Protocol

from rolloutplan.api.limits import KIB, MAX_DEPTH, UNREAD, kib

MAX_PART: Final = 512 * KIB
"""Characters of `metadata`, `spec` or `status`. A spec at its limit has more here, because `<` and `>` are written as
six characters each. To decode this much takes 10 ms."""
MAX_LEVELS: Final = 10 * MAX_DEPTH
"""Levels within a part: less than Python can decode, and more than any object has that can be read."""

_MARK: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A bracket, or a string as a whole; one that does not end goes on to the end of the text."""
_OF_LIST: Final = b'List"'
"""What the `kind` of a list ends with; lists of built-in kinds begin with it."""
_WORD: Final = re.compile(r"[^\s,\]}]+")
_SPACE: Final = re.compile(r"[ \t\r\n]*")


Raw = dict[str, Any]
"""An object of the API server, as decoded from JSON."""


class Part(NamedTuple):
    """Where a value stands in a text, and how many levels it has."""

    start: int
    end: int
    levels: int


class Chunks(Protocol):
    """What is needed of the content of an aiohttp response."""

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]: ...


def load(body: bytes) -> Any:
    """Decode an answer of the API server: an object, or a list. Raises ValueError where it is no JSON.

    In one piece, if that is possible: in pieces it takes five times as long. Only an object alone may be too large.
    """
    if len(body) <= MAX_PART or _OF_LIST in body[:KIB]:
        with contextlib.suppress(RecursionError):
            return json.loads(body)
    try:
        rest, items = decode_list(text := body.decode())
        return {**rest, "items": list(items)} if str(rest.get("kind", "")).endswith("List") else decode(text)
    except IndexError:
        raise ValueError("the JSON does not end") from None


def decode(text: str) -> Raw:
    """Decode one object. A part that is too large or too deep is left out, and named under UNREAD."""
    return _object(text, _part(text, _skip(text, 0)))


def decode_list(text: str) -> tuple[Raw, Iterator[Raw]]:
    """Decode a list: the rest of it, and its items one by one, each as `decode` gives it."""
    body: Raw = {}
    items: list[Part] = []
    for name, part in _members(text, _skip(text, 0)):
        if name == "items" and text[part.start] == "[":
            items = list(_elements(text, part.start))
        else:
            body[name] = _value(text, part)
    return body, (_object(text, part) for part in items)


def decode_event(text: str) -> Raw:
    """Decode an event of a stream: its type, and its object as `decode` gives it."""
    members = dict(_members(text, _skip(text, 0)))
    return {
        name: _object(text, part) if text[part.start] == "{" else _value(text, part) for name, part in members.items()
    }


class Stream:
    """The content of a stream of events, in which a line that cannot be decoded in one piece has been shortened."""

    def __init__(self, content: Chunks) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Yield whole lines."""
        rest = b""
        async for chunk in self._content.iter_chunked(n):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield shortened(line) + b"\n"
        if rest:
            yield shortened(rest)


def shortened(line: bytes) -> bytes:
    """The line of an event; one that is large, or that may be deep, with the parts that `decode` leaves."""
    return line if _is_small(line) else json.dumps(decode_event(line.decode())).encode()


def _is_small(text: bytes) -> bool:
    """Whether a text can be decoded in one piece: it is short, and it has too few brackets to be deep."""
    return len(text) <= MAX_PART and text.count(b"{") + text.count(b"[") < MAX_LEVELS


def _object(text: str, whole: Part) -> Raw:
    found: Raw = {}
    unread: list[str] = []
    for name, part in _members(text, whole.start):
        if name == "metadata" and not _is_readable(part):
            found[name] = {key: _value(text, below) for key, below in _members(text, part.start) if _is_readable(below)}
        elif _is_readable(part):
            found[name] = _value(text, part)
        else:
            size = kib(part.end - part.start)
            unread.append(f"{name}: {size} in {part.levels} levels are too large to read")
    return {**found, UNREAD: "; ".join(unread)} if unread else found


def _is_readable(part: Part) -> bool:
    return part.end - part.start <= MAX_PART and part.levels <= MAX_LEVELS


def _value(text: str, part: Part) -> Any:
    return json.loads(text[part.start : part.end])


def _members(text: str, at: int) -> Iterator[tuple[str, Part]]:
    """The members of the object that begins here."""
    at = _skip(text, at + 1)
    while text[at] != "}":
        key = _part(text, at)
        part = _part(text, _skip(text, _skip(text, key.end) + 1))
        yield _value(text, key), part
        at = _skip(text, part.end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _elements(text: str, at: int) -> Iterator[Part]:
    """The elements of the list that begins here."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        part = _part(text, at)
        yield part
        at = _skip(text, part.end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _part(text: str, start: int) -> Part:
    """The value that begins here. Raises ValueError where it does not end."""
    if text[start] not in '{["':
        found = _WORD.match(text, start)
        if found is None:
            raise ValueError(f"no JSON at character {start}")
        return Part(start, found.end(), 0)
    level = levels = 0
    for mark in _MARK.finditer(text, start):
        if (kind := text[mark.start()]) in "{[":
            level += 1
            levels = max(level, levels)
        elif kind in "}]":
            level -= 1
        if level == 0:
            return Part(start, mark.end(), levels)
    raise ValueError(f"the JSON that begins at character {start} does not end")


def _skip(text: str, at: int) -> int:
    """The next character that is no white space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at
