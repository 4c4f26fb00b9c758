"""Decodes the API server's JSON, however large or deep an object in it is: that must not stop what all plans need.

Python decodes JSON in one piece, without letting another thread run, and fails at about 900 levels. One object of
1.5 MiB, or one with a thousand lists in each other, would stop the watch of its kind for everybody. So each object is
measured first, and a part that is too large is left out of it. What is left is a name, a status and a reason.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol

from rolloutplan.api.limits import KIB, MAX_DEPTH, UNREAD, kib
from rolloutplan.api.status_size import MAX_STATUS

MAX_PART: Final = 512 * KIB
"""Characters of an object or of its `spec`, where an escaped one counts once: a spec at its limit has 384 KiB. To
decode this much takes 20 ms at worst."""
MAX_STATUS_PART: Final = 6 * MAX_STATUS + 64 * KIB
"""Characters of a `status`: the API server writes each `<`, `>` and `&` as six, and a run is lost without it.
Its schema keeps out brackets that nobody needs."""
MAX_BRACKETS: Final = 50_000
"""Mappings and lists: the Jobs of a plan may have 44,000. To decode this many takes 10 ms."""
MAX_LEVELS: Final = MAX_DEPTH + 10
"""Levels of a value that is found in one step: those of a Job, and of what it stands in."""
FEW_BRACKETS: Final = 500
"""So few cannot be too deep for Python."""

_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
"""One that does not end takes the rest of the text, so that no quote in it begins another."""
_SCALAR: Final = r'[^\s,\[\]{}"]++'


def _nested(levels: int) -> str:
    begin, end = rf'[\[{{](?:[^\[\]{{}}"]++|{_STRING}|', r")*+[\]}]"
    return f"{begin * levels}(?!){end * levels}"


_VALUE: Final = re.compile(f"{_nested(MAX_LEVELS)}|{_STRING}|{_SCALAR}", re.DOTALL)
_STEP: Final = re.compile(rf'(?:{_nested(3)}|{_STRING}|[^\[\]{{}}"]++)++|[\[\]{{}}]', re.DOTALL)
"""A bracket of a deep value, or all that is flat up to the next one."""
_BRACKETS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_KEY: Final = re.compile(rf"({_STRING})\s*:\s*", re.DOTALL)
_BEGINS: Final = re.compile(r"[\[{]\s*")
_NEXT: Final = re.compile(r"\s*+(?:,\s*+)?")
_STATUS: Final = ',"status":'
_LIST: Final = re.compile(
    rf'\s*\{{(?:\s*"\w+"\s*:\s*(?:{_STRING}|\{{[^{{}}]*+\}})\s*,)*+\s*"items"\s*:\s*\[', re.DOTALL
)
_EVENT: Final = re.compile(r'\s*\{\s*"type"\s*:\s*"(\w+)"\s*,\s*"object"\s*:')

Raw = dict[str, Any]
"""An object of the API server, as decoded from JSON."""


class Chunks(Protocol):
    """What is needed of the content of an aiohttp response."""

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]: ...


def load(body: bytes) -> Any:
    """Decode an answer of the API server: an object, or a list. Raises ValueError where it is no JSON."""
    if not _LIST.match(text := body.decode()):
        return decode(text)
    rest, items = decode_list(text)
    return {**rest, "items": list(items)}


def decode(text: str) -> Any:
    """Decode one object. A part that is too large or too deep is left out, and named under UNREAD."""
    if not _excess(text):
        with contextlib.suppress(RecursionError):
            return json.loads(text)
    found: Raw = {}
    unread: list[str] = []
    text = text.strip()
    for name, start, end in _members(text, _end_in_object):
        value, why = _value(text[start:end], name)
        if why and name == "metadata":
            members = ((key, *_value(text[a:b])) for key, a, b in _members(text, _end, start))
            found[name] = {key: below for key, below, why in members if not why}
        elif why:
            unread.append(f"{name}: {why} are too large to read")
        else:
            found[name] = value
    return {**found, UNREAD: "; ".join(unread)} if unread else found


def decode_list(text: str) -> tuple[Raw, Iterator[Raw]]:
    """Decode a list: the rest of it, and its items one by one, each as `decode` gives it."""
    items: list[tuple[int, int]] = []
    text = text.strip()

    def end(text: str, name: str, start: int) -> int:
        if name != "items" or text[start : start + 1] != "[":
            return _end(text, name, start)
        at = _after(_BEGINS, text, start)
        while text[at : at + 1] != "]":
            items.append((at, at := _end(text, name, at)))
            at = _after(_NEXT, text, at)
        return at + 1

    body = {name: json.loads(text[a:b]) for name, a, b in _members(text, end) if name != "items"}
    return body, (decode(text[start:end]) for start, end in items)


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
    """The line of an event; one that is large or deep, without the parts that `decode` leaves out."""
    if len(line) <= MAX_PART and line.count(b"{") + line.count(b"[") < FEW_BRACKETS:
        return line
    text = line.decode()
    found = _EVENT.match(text)
    if found is None or (not _excess(text) and _VALUE.match(text)):
        return line
    return json.dumps({"type": found[1], "object": decode(text[found.end() : text.rindex("}")])}).encode()


def _value(text: str, name: str = "") -> tuple[Any, str]:
    """A part of an object, or what is too much in it."""
    if why := _excess(text, status=name == "status"):
        return None, why
    try:
        return json.loads(text), ""
    except RecursionError:
        return None, f"{kib(len(text))} in hundreds of levels"


def _excess(text: str, *, status: bool = False) -> str:
    """What is too much in a text to decode it at once; empty where nothing is."""
    size = len(text) - 5 * text.count("\\u00")
    if size > (MAX_STATUS_PART if status else MAX_PART):
        return kib(size)
    if not status and text.count("{") + text.count("[") > MAX_BRACKETS:
        bare = _STRINGS.sub("", text)
        if (brackets := bare.count("{") + bare.count("[")) > MAX_BRACKETS:
            return f"{brackets} mappings and lists"
    return ""


def _members(text: str, ends: Callable[[str, str, int], int], at: int = 0) -> Iterator[tuple[str, int, int]]:
    """The members of the object that begins here: their names, where they start, and where they end."""
    at = _after(_BEGINS, text, at)
    while key := _KEY.match(text, at):
        name, start = json.loads(key[1]), key.end()
        end = ends(text, name, start)
        yield name, start, end
        at = _after(_NEXT, text, end)
    if text[at : at + 1] != "}":
        raise ValueError(f"character {at} of the JSON begins no member of an object, and does not end it")


def _end_in_object(text: str, name: str, start: int) -> int:
    """The end of a member of the only object in a text. A large `spec` is not looked at, as a rule: `status` follows.

    Whatever is in the `spec`, more than one bracket follows what looks like a status there.
    """
    at = text.rfind(_STATUS)
    if name == "spec" and at > start and _excess(text[start:at]):
        status = _VALUE.match(text, at + len(_STATUS))
        if status and text[status.end() :].strip() == "}":
            return at
    return _end(text, name, start)


def _end(text: str, _: str, start: int) -> int:
    """The end of the value that begins here. Raises ValueError where it does not end."""
    if found := _VALUE.match(text, start):
        return found.end()
    level = 0
    for step in _STEP.finditer(text, start):
        level += _BRACKETS.get(step[0], 0)
        if level <= 0:
            return step.end()
    raise ValueError(f"the JSON that begins at character {start} does not end")


def _after(what: re.Pattern[str], text: str, at: int) -> int:
    """Where something ends that begins here. Raises ValueError where it does not."""
    if found := what.match(text, at):
        return found.end()
    raise ValueError(f"character {at} of the JSON is not what is expected there")
