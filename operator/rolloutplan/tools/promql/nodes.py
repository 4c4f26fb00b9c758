"""The parts of a parsed query, each with its place in the text: characters counted from 0. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias


class PromqlError(ValueError):
    """Prometheus refuses the text; `start` and `end` say which part of it, the message why and what to write."""

    def __init__(self, words: str, start: int, end: int) -> None:
        super().__init__(words)
        self.words, self.start, self.end = words, start, end


class Span(NamedTuple):
    """From one character of the text to before another."""

    start: int
    end: int


class Matcher(NamedTuple):
    """A label matcher."""

    label: str
    op: str
    value: str
    span: Span
    at_value: Span

    @property
    def pins(self) -> bool:
        """Whether it leaves the label one value."""
        return self.op == "="


@dataclass(frozen=True, slots=True)
class Number:
    span: Span
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    span: Span
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """Series at one instant. `matchers` are those in braces, with `__name__` if it is written there."""

    span: Span
    name: str
    matchers: tuple[Matcher, ...]
    offset: timedelta | None = None
    at: float | str | None = None
    """The instant after @: seconds, or `start` or `end`."""

    @property
    def metric(self) -> str:
        """The metric's name; "" where the selector may match several."""
        named = (each.value for each in self.matchers if each.label == "__name__" and each.pins)
        return self.name or next(named, "")


@dataclass(frozen=True, slots=True)
class Range:
    span: Span
    selector: Selector
    range: timedelta


@dataclass(frozen=True, slots=True)
class Subquery:
    span: Span
    expr: Node
    range: timedelta
    offset: timedelta | None = None
    at: float | str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    span: Span
    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    span: Span
    op: str
    args: tuple[Node, ...]
    """The parameter, where it has one, and what is aggregated."""
    grouping: str = ""
    """`by`, `without`, or nothing."""
    labels: tuple[str, ...] = ()

    @property
    def expr(self) -> Node:
        return self.args[-1]

    @property
    def param(self) -> Node | None:
        return self.args[0] if len(self.args) > 1 else None


@dataclass(frozen=True, slots=True)
class Binary:
    span: Span
    op: str
    lhs: Node
    rhs: Node
    at_op: Span
    returns_bool: bool = False
    matching: str = ""
    """`on`, `ignoring`, or nothing."""
    labels: tuple[str, ...] = ()
    group: str = ""
    """`group_left`, `group_right`, or nothing."""
    included: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unary:
    span: Span
    op: str
    expr: Node


Node: TypeAlias = Number | Text | Selector | Range | Subquery | Call | Aggregate | Binary | Unary

COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
SETS: Final = frozenset({"and", "or", "unless"})


def parts(node: Node) -> tuple[Node, ...]:
    """Return the direct parts of a part."""
    match node:
        case Binary():
            return node.lhs, node.rhs
        case Call() | Aggregate():
            return node.args
        case Unary() | Subquery():
            return (node.expr,)
        case Range():
            return (node.selector,)
    return ()


def walk(node: Node) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Yield every part, itself first, with the parts that contain it, outermost first."""
    waiting: list[tuple[Node, tuple[Node, ...]]] = [(node, ())]
    while waiting:
        part, above = waiting.pop()
        yield part, above
        waiting += [(inner, (*above, part)) for inner in reversed(parts(part))]


def selectors(node: Node) -> list[Selector]:
    """Return every selector in a part, in their order."""
    return [part for part, _ in walk(node) if isinstance(part, Selector)]
