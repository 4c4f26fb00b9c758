"""Parses PromQL into a tree with bounded work, whatever a plan's author wrote. Pure.

The parser's time grows with the square of the operators, its recursion with the nesting, and it compiles each regular
expression, for which `(x{1,100}){800}` takes it a tenth of a second. So a text with too many operators is refused, and
expressions that are not plain are hidden from it; `operator_and_value` and `shown` give them back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    Matcher,
    MatchOp,
    MatrixSelector,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    parse,
)

from rolloutplan.tools.promql.syntax import Token, UnclearError, tokens

LONGEST: Final = 32_768
"""The most characters that are parsed: five times the longest query of a plan, as the counters of a histogram have it.
Only what is counted below takes the parser more than linear time."""
HARDEST: Final = 100
"""The most operators and parentheses that are parsed, which takes about 10 ms."""

_HARD: Final = re.compile(r"[-+*/%^(<>]|[=!]=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_REGEX: Final = re.compile(r"""(=~|!~)([ \t\r\n]*+["'`]?)""")
_PLAIN: Final = re.compile(r"""(["'])[^\\{]{0,40}\1""")
_MOST_PLAIN: Final = 20
"""The most regular expressions in a query that are left to the parser, so that it names a bad one. All must be short,
without counts and escapes."""
_MATCHES, _MATCHES_NOT = "\ue000", "\ue001"
"""Characters without a meaning of their own, which stand before a hidden expression of `=~` and of `!~`."""
_MARKS: Final = {"=~": _MATCHES, "!~": _MATCHES_NOT}
_OPERATORS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_HIDDEN: Final = re.compile(f'="([{_MATCHES}{_MATCHES_NOT}])')


class TooLargeError(ValueError):
    """The text has more operators or characters than are parsed."""


class ParseError(ValueError):
    """The text is not PromQL to this parser; the message is the parser's, in one line."""


def parse_bounded(text: str) -> Expr:
    """Parse a query. Raises TooLargeError and ParseError."""
    if len(text) > LONGEST:
        raise TooLargeError(f"more than {LONGEST:,} characters")
    difficulty, readable = _prepared(text)
    if difficulty > HARDEST:
        raise TooLargeError(f"more than {HARDEST} operators and parentheses")
    try:
        return parse(readable)
    except BaseException as error:
        # A panic of the parser is a BaseException and no Exception, so it is recognised by its name.
        if not isinstance(error, ValueError | OverflowError) and type(error).__name__ != "PanicException":
            raise
        raise ParseError(shown(" ".join(str(error).split())[:200])) from None


def below(expr: Expr) -> Iterator[Expr]:
    """Yield every part of an expression but parentheses, itself first."""
    waiting = [expr]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, ParenExpr):
            yield part
        waiting += reversed(_parts(part))


def _parts(expr: Expr) -> tuple[Expr, ...]:
    parts: tuple[object, ...] = ()
    match expr:
        case BinaryExpr():
            parts = (expr.lhs, expr.rhs)
        case Call():
            parts = tuple(expr.args)
        case AggregateExpr():
            parts = (expr.param, expr.expr)
        case UnaryExpr() | SubqueryExpr() | ParenExpr():
            parts = (expr.expr,)
        case MatrixSelector():
            parts = (expr.vector_selector,)
    return tuple(part for part in parts if isinstance(part, Expr))


def pins(matcher: Matcher) -> bool:
    """Whether it leaves a label one value."""
    return matcher.op == MatchOp.Equal and not matcher.value.startswith((_MATCHES, _MATCHES_NOT))


def operator_and_value(matcher: Matcher) -> tuple[str, str]:
    """The operator and the value of a matcher, as they were written."""
    mark = matcher.value[:1]
    if matcher.op == MatchOp.Equal and mark in (_MATCHES, _MATCHES_NOT):
        return "=~" if mark == _MATCHES else "!~", matcher.value[1:]
    return _OPERATORS[str(matcher.op)], matcher.value


def shown(text: str) -> str:
    """The text of a part of the tree, with the operators that were written."""
    return _HIDDEN.sub(lambda found: '=~"' if found[1] == _MATCHES else '!~"', text)


def hardness(text: str, found: Sequence[Token] | None) -> int:
    """How many operators and parentheses there are.

    Where it is unclear where strings and comments end (`found` is None), the operators in them count, as a parser may
    think otherwise.
    """
    if found is None:
        return len(_HARD.findall(text))
    return sum(_HARD.fullmatch(token.text) is not None for token in found if token.kind in ("mark", "word"))


def _prepared(text: str) -> tuple[int, str]:
    """How many operators and parentheses there are, and the text as the parser can read it."""
    try:
        found = list(tokens(text))
    except UnclearError:
        return hardness(text, None), _REGEX.sub(_hidden, text)
    return hardness(text, found), " ".join(_readable(found))


def _hidden(found: re.Match[str]) -> str:
    return f"={found[2]}{_MARKS[found[1]] if found[2].rstrip() else ''}"


def _readable(found: Sequence[Token]) -> Iterator[str]:
    """The tokens with expressions hidden. Strings in backticks get other quotes: the parser reads escapes there."""
    expressions = [after for before, after in pairwise(found) if before.text in _MARKS]
    hides = len(expressions) > _MOST_PLAIN or not all(_PLAIN.fullmatch(each.text) for each in expressions)
    before = ""
    for token in found:
        mark = _MARKS.get(before, "") if hides and token.kind == "string" else ""
        if hides and token.text in _MARKS:
            yield "="
        elif token.text.startswith("`"):
            yield json.dumps(mark + token.text[1:-1], ensure_ascii=False)
        else:
            yield token.text[:1] + mark + token.text[1:]
        before = token.text
