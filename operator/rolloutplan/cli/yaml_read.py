"""Read YAML as kubectl does, and know the line and column of everything in it.

Text comes from inputs.py; documents with their nodes go to files.py. The parser is libyaml, which kubectl's is a copy
of, where PyYAML was built with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

import yaml

from rolloutplan.cli.yaml_faults import LINE_BREAK, explain, needs_quotes

MAX_PARTS: Final = 200_000
"""The most parts a document may have. The content of an alias counts at each use, because it is read at each use."""
MAX_DEPTH: Final = 500
"""The most levels in each other: libyaml's recursion ends the process at some ten thousand, and no object of a cluster
has more than some dozen."""
MAX_PARTS_OF_FILE: Final = 1_000_000
"""Of all documents of a file together: a file of the largest size has fewer, unless its aliases multiply them."""
_MERGE: Final = "tag:yaml.org,2002:merge"
_BOOL: Final = "tag:yaml.org,2002:bool"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_COMPARISONS: Final = ("is", "vsOld")
"""Fields whose values often begin with >, and are never of several lines."""
_PAIR: Final = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})+)")
"""Characters beyond 16 bits as JSON escapes them, which YAML does not know."""
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


class UnreadableError(Exception):
    """A file cannot be read; line and column count from 1."""

    def __init__(self, words: str, line: int = 1, column: int = 1) -> None:
        super().__init__(words)
        self.place = Place(line, column)


class Place(NamedTuple):
    """Where something is in a file, counted from 1."""

    line: int
    column: int


class OddKey(NamedTuple):
    """A key that its mapping has already, or one that YAML does not read as a text."""

    place: Place
    words: str


class Document(NamedTuple):
    """One document: its nodes, which know their places, its content, and its keys that a cluster would refuse."""

    node: yaml.Node
    raw: Any
    odd_keys: tuple[OddKey, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the faster of two that are alike
    """Parses unquoted values as kubectl does: 22:00 and 2026-12-20 are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in looks if tag.rpartition(":")[2] in ("bool", "null", "merge")]
    for first, looks in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _look in (
    ("int", "[-+]?(0b[01][01_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]*|[1-9][0-9_]*)$"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_look), list("-+.0123456789"))


def documents(text: str) -> Iterator[Document]:
    """Yield the documents that are not empty. Raises UnreadableError at invalid YAML, after the documents before it."""
    if text.lstrip().startswith("{"):
        text = _PAIR.sub(lambda pair: pair[1] + json.loads(f'"{pair[2]}"'), text)
    try:
        _check_depth(text)
        loader, checks = _Loader(text), _Checks()
        while loader.check_node():
            node = loader.get_node()
            odd_keys = checks.odd_keys(node)  # before its merges are resolved: what is merged may be written again
            raw = loader.construct_document(node)
            if raw is not None:
                yield Document(node, raw, odd_keys)
    except yaml.reader.ReaderError as error:
        place = _place_of(text, error.position)
        raise UnreadableError(f"not valid text: {error.reason}", *place) from None
    except yaml.MarkedYAMLError as error:
        fault = explain(text, error)
        raise UnreadableError(fault.words, fault.line + 1, fault.column + 1) from None
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise UnreadableError(f"invalid YAML: {error}") from None


def parts(text: str) -> list[tuple[int, int]]:
    """Where each document begins and ends, its `---` included; what is before the first `---` belongs to the first."""
    events = yaml.parse(text, Loader=_Loader)
    marks = [each.start_mark for each in events if isinstance(each, yaml.DocumentStartEvent)]
    begins = [0, *(mark.index for mark in marks[1:] if mark)]
    return list(zip(begins, [*begins[1:], len(text)], strict=True))


def _check_depth(text: str) -> None:
    """Raise UnreadableError before the recursion of the parser ends the process. Invalid YAML is reported later."""
    depth = 0
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                mark = event.start_mark
                raise UnreadableError("nested too deeply", *(place_of_mark(mark) if mark else (1, 1)))


class _Checks:
    """Checks of the nodes of a file, document by document."""

    def __init__(self) -> None:
        self.parts = 0

    def odd_keys(self, node: yaml.Node) -> tuple[OddKey, ...]:
        """Find keys that are written twice (the API server refuses the second, YAML drops the first) or are no texts.

        Raises UnreadableError at what no cluster would accept and what could not be printed.
        """
        waiting, count = [node], 0
        found: list[OddKey] = []
        while waiting:
            node, count = waiting.pop(), count + 1
            if count > MAX_PARTS:
                words = f"more than {MAX_PARTS} parts in one object"
                raise UnreadableError(words, *place_of_mark(node.start_mark))
            if isinstance(node, yaml.ScalarNode):
                if not node.value.isascii() and _SURROGATE.search(node.value):
                    words = "not valid text: an incomplete character"
                    raise UnreadableError(words, *place_of_mark(node.start_mark))
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                found += _odd_keys(node)
                waiting += [each for pair in node.value for each in pair]
        self.parts += count
        if self.parts > MAX_PARTS_OF_FILE:
            raise UnreadableError(f"more than {MAX_PARTS_OF_FILE} parts in one file: name its objects in several")
        return tuple(found)


def _odd_keys(node: yaml.MappingNode) -> Iterator[OddKey]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        place, name = place_of_mark(key.start_mark), key.value
        if name in lines and key.tag != _MERGE:
            yield OddKey(place, f"{name} is written twice: keep one of them (the first is in line {lines[name]})")
        elif key.tag == _BOOL:
            yield OddKey(place, f'YAML reads the key {name} as true or false: put it in quotes: "{name}"')
        lines.setdefault(name, place.line)


# ---- places --------------------------------------------------------------------------------------


def place_of_mark(mark: Any) -> Place:
    """Return the place of a mark, which counts from 0."""
    return Place(mark.line + 1, mark.column + 1)


def find(node: yaml.Node, path: str) -> tuple[Place, yaml.Node | None]:
    """Return the place of the field at a path, and its node; else the place of its nearest parent, and None."""
    place: Place = place_of_mark(node.start_mark)
    found: yaml.Node | None = node
    for key, index in _STEP.findall(path):
        if isinstance(found, yaml.SequenceNode) and index and int(index) < len(found.value):
            found = found.value[int(index)]
            place = place_of_mark(found.start_mark)
            continue
        fields = found.value if isinstance(found, yaml.MappingNode) else ()
        named = [(name, value) for name, value in fields if name.value == key]
        if not named:
            return place, None
        place, found = place_of_mark(named[-1][0].start_mark), named[-1][1]
    return place, found


def place_in(text: str, node: yaml.ScalarNode, offset: int) -> Place | None:
    """Return the place in the file of a character of a value; None where the two cannot be matched for sure.

    White space of the value may be any white space of the file: a folded line, an indentation.
    """
    at, end = node.start_mark.index, node.end_mark.index
    if node.style in ("|", ">"):
        header = LINE_BREAK.search(text, at, end)
        at = header.end() if header else end
    elif node.style:
        at += 1
    for char in node.value[: offset + 1]:
        if char.isspace():
            at = _after_space(text, at)
            continue
        at = _before_char(text, at, char, node.style)
        if at >= end or text[at] != char:
            return None
        at += 1
    return _place_of(text, at - 1) if node.value[offset : offset + 1].strip() else None


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _before_char(text: str, at: int, char: str, style: str | None) -> int:
    """Skip white space that the value does not have, and what escapes a character in quotes."""
    at = _after_space(text, at)
    escape = {"'": "'", '"': "\\"}.get(style or "")
    return at + 1 if escape and text[at : at + 1] == escape and char in "\"'\\" else at


def _place_of(text: str, index: int) -> Place:
    """Return the place of a character of the text."""
    begins = 0
    line = 1
    for found in LINE_BREAK.finditer(text, 0, index):
        begins, line = found.end(), line + 1
    return Place(line, index - begins + 1)


# ---- values that YAML reads as something else ----------------------------------------------------


def misread(text: str, key: str, node: yaml.Node | None) -> str:
    """Return why a value is not what its author wrote, with how to write it: `is: >5` begins a block. Else nothing."""
    if not isinstance(node, yaml.ScalarNode) or node.style not in ("|", ">"):
        return ""
    header = LINE_BREAK.split(text[node.start_mark.index : node.end_mark.index], maxsplit=1)[0].strip()
    if re.search("[0-9]", header):
        return needs_quotes(key, header)
    return needs_quotes(key, f"> {node.value.strip()}") if key in _COMPARISONS and node.style == ">" else ""
