"""Change values in the text of a YAML file, and nothing else of it: comments, order and style stay as they are.

The places come from the nodes of yaml_read.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from rolloutplan.cli.output import CliError
from rolloutplan.cli.yaml_read import find, place_of_mark

_PLAIN: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./@%]*(:[-A-Za-z0-9_./@%]+)*")
"""Texts that need no quotes, in flow style neither, unless YAML takes them for something else."""
_WORD: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]*")


@dataclass(slots=True)
class Editor:
    """The changes of one text, by their places in it; `file` is for messages."""

    text: str
    file: str
    changes: dict[tuple[int, int], str] = field(default_factory=dict)

    def set(self, node: yaml.Node | None, value: str | int) -> bool:
        """Give a value another one; say whether it differs. A node that is none, or no single value, stays.

        Raises CliError for a value with an anchor or a tag, which would be lost, or be that of an alias elsewhere.
        """
        if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">") or node.value == str(value):
            return False
        at = (node.start_mark.index, node.end_mark.index)
        if self.text[at[0]] in "&!":
            place = place_of_mark(node.start_mark)
            words = f"{node.value} has an anchor or a tag here: write the value without an anchor or a tag"
            raise CliError(f"{self.file}:{place.line}:{place.column}: {words}")
        self.changes[at] = _written(value, node.style or "")
        return True

    def rename(self, node: yaml.Node | None, words: Mapping[str, str]) -> bool:
        """Replace whole words in all values of a node, in `checkout/v1` and `checkout-v1.shop.svc` too."""
        renamed = False
        for scalar in scalars(node):
            value = words.get(scalar.value) or _WORD.sub(lambda word: words.get(word[0], word[0]), scalar.value)
            renamed |= self.set(scalar, value)
        return renamed

    def within(self, begin: int, end: int) -> str:
        """A part of the text with its changes."""
        parts, at = [], begin
        for (start, stop), value in sorted(self.changes.items()):
            if begin <= start and stop <= end:
                parts += [self.text[at:start], value]
                at = stop
        return "".join((*parts, self.text[at:end]))


def scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """The single values of a node, without the keys."""
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from scalars(each)
    elif isinstance(node, yaml.MappingNode):
        for _, each in node.value:
            yield from scalars(each)


def at(node: yaml.Node, path: str) -> yaml.Node | None:
    """The node of a field; None where there is none."""
    return find(node, path)[1]


def _written(value: str | int, style: str) -> str:
    if isinstance(value, int):
        return f"{value}"
    if style == "'":
        return "'" + value.replace("'", "''") + "'"
    plain: Any = yaml.safe_load(value) if _PLAIN.fullmatch(value) else None
    return value if not style and plain == value else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
