"""Reads PromQL into a tree whose parts know their places in the text. Pure, with bounded work.

`read_tree` takes what Prometheus 3 reads, without its types (types.py), and raises PromqlError at the first
place that Prometheus refuses. The parser of the library names no places, and its expressions are not those of RE2, so
it stays where a second opinion counts (parse.py). Places are characters of the text, counted from 0.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rolloutplan.tools.promql.nodes import (
    COMPARISONS,
    SETS,
    Aggregate,
    Binary,
    Call,
    Matcher,
    Node,
    Number,
    PromqlError,
    Range,
    Selector,
    Span,
    Subquery,
    Text,
    Unary,
)
from rolloutplan.tools.promql.parse import HARDEST, LONGEST, TooLargeError, hardness
from rolloutplan.tools.promql.syntax import AGGREGATIONS, Token, UnclearError, tokens
from rolloutplan.tools.promql.values import no_token, number_of, time_of, unquoted

_STRENGTH: Final = {
    "or": 1, "and": 2, "unless": 2, **dict.fromkeys(COMPARISONS, 3), "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
    "atan2": 5, "^": 6,
}  # fmt: skip
_OF_SIGN: Final = 5
_IN_RANGE: Final = re.compile(r"\[\s*+([^\s:\]]++)\s*+(:?)\s*+([^\s\]]*+)\s*+\]")
_NEVER_NAMES: Final = frozenset({"bool", "on", "ignoring", "group_left", "group_right", "atan2"})


def read_tree(text: str) -> Node:
    """Read a query. Raises PromqlError; TooLargeError; UnclearError at what Prometheus may take and we do not."""
    if len(text) > LONGEST:
        raise TooLargeError(f"more than {LONGEST:,} characters")
    return _Parser(text).whole()


# ---- the parser ----------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._end = Token("end", "", len(text.rstrip()))
        self._tokens: list[Token] = []
        self._problem: UnclearError | None = None
        try:
            for token in tokens(text):
                self._tokens.append(token)
        except UnclearError as error:
            self._problem = error
        if hardness(text, self._tokens if self._problem is None else None) > HARDEST:
            raise TooLargeError(f"more than {HARDEST} operators and parentheses")
        self._tokens.append(self._end)
        self._at = 0

    def whole(self) -> Node:
        if self._problem is not None:
            self._lexed_to_the_end()
        if self._peek() is self._end:
            raise PromqlError("there is no query: write one that returns a number", 0, len(self._text))
        found = self._expression(0)
        if self._peek() is not self._end:
            raise self._no_operator()
        return found

    # ---- what is not even a token --------------------------------------------------------------------------------

    def _lexed_to_the_end(self) -> None:
        """Raise for the place at which no token begins, unless a refusal stands before it."""
        last = self._tokens[-2].end if len(self._tokens) > 1 else 0
        start = last + len(self._text[last:]) - len(self._text[last:].lstrip(" \t\r\n"))
        problem = no_token(self._text, start)
        if problem is None:
            raise UnclearError(str(self._problem))
        raise problem

    # ---- expressions ---------------------------------------------------------------------------------------------

    def _expression(self, strength: int) -> Node:
        start = self._peek().start
        left = self._operand()
        while True:
            token = self._peek()
            op = token.text.lower()
            if token.kind not in ("mark", "word") or _STRENGTH.get(op, 0) <= strength:
                return left
            self._take()
            modifiers = self._modifiers()
            if self._peek() is self._end or self._peek().text in (")", ",", "}"):
                raise self._operand_missing(token)
            right = self._expression(_STRENGTH[op] - (op == "^"))
            span = Span(start, self._last_end())
            left = replace(modifiers, span=span, op=op, lhs=left, rhs=right, at_op=Span(token.start, token.end))

    def _modifiers(self) -> Binary:
        """Read what stands after an operator, into an operation without operands."""
        nothing = Number(Span(0, 0), 0.0)
        read = Binary(Span(0, 0), "", nothing, nothing, Span(0, 0))
        if self._is_word("bool"):
            self._take()
            read = replace(read, returns_bool=True)
            if self._is_word("bool"):
                raise self._refused("bool is written twice: remove one", self._peek())
        if self._is_word("on", "ignoring"):
            word = self._take().text.lower()
            read = replace(read, matching=word, labels=self._labels(word))
            if self._is_word("group_left", "group_right"):
                group = self._take().text.lower()
                included = self._labels(group) if self._peek().text == "(" else ()
                read = replace(read, group=group, included=included)
        if self._is_word("group_left", "group_right") and self._after().text != "{":
            token = self._peek()
            raise self._refused(f"{token.text} needs on(...) or ignoring(...) before it: write on(label) first", token)
        return read

    def _operand(self) -> Node:
        token = self._peek()
        if token.text in ("+", "-") and token.kind == "mark":
            self._take()
            inner = self._expression(_OF_SIGN)
            return Unary(Span(token.start, self._last_end()), token.text, inner)
        bare = token.text != "("
        found = self._atom()
        while True:
            following = self._peek()
            if following.kind == "range":
                found, bare = self._ranged(found, token.start, bare=bare), True
            elif following.text == "@" or self._is_word("offset"):
                found = self._modified(found, token.start, bare=bare)
            else:
                return found

    def _atom(self) -> Node:
        token = self._take()
        span = Span(token.start, token.end)
        if token.kind == "number":
            return Number(span, number_of(token))
        if token.kind == "string":
            return Text(span, unquoted(token))
        if token.kind == "word":
            return self._word(token)
        if token.text == "(":
            inner = self._expression(0) if self._peek().text != ")" else None
            if inner is None:
                raise self._refused("there is nothing between the parentheses", token)
            self._close(token, ")")
            return inner
        if token.text == "{":
            return self._selector("", token)
        raise self._misplaced(token)

    def _word(self, token: Token) -> Node:
        word, following = token.text.lower(), self._peek()
        if word in ("inf", "nan"):
            return Number(Span(token.start, token.end), float(word))
        if word in AGGREGATIONS and (following.text == "(" or self._is_word("by", "without")):
            return self._aggregate(token)
        if following.text == "(" and word not in SETS and word not in ("by", "without", "offset", *_NEVER_NAMES):
            arguments = self._arguments()
            return Call(Span(token.start, self._last_end()), token.text, arguments)
        if word in _NEVER_NAMES or following.text == "(":
            raise self._misplaced(token)  # any other keyword may be the name of a metric
        if following.text == "{":
            return self._selector(token.text, self._take())
        return Selector(Span(token.start, token.end), token.text, ())

    def _aggregate(self, token: Token) -> Aggregate:
        grouping = ""
        labels: tuple[str, ...] = ()
        if self._peek().text != "(":
            grouping = self._take().text.lower()
            labels = self._labels(grouping)
            if self._peek().text != "(":
                form = f"{token.text} {grouping} (...) (x)"
                words = f"after {grouping} (...) the expression is missing in parentheses: write {form}"
                raise self._refused(words, self._peek())
        arguments = self._arguments()
        if self._is_word("by", "without"):
            second = self._peek()
            if grouping:
                raise self._refused(f"{token.text} has {grouping} already: remove this {second.text}", second)
            grouping = self._take().text.lower()
            labels = self._labels(grouping)
        return Aggregate(Span(token.start, self._last_end()), token.text.lower(), arguments, grouping, labels)

    def _arguments(self) -> tuple[Node, ...]:
        opened, found = self._take(), list[Node]()
        if self._peek().text == ")":
            self._take()
            return ()
        while True:
            found.append(self._expression(0))
            if self._peek().text != ",":
                break
            comma = self._take()
            if self._peek().text == ")":
                raise self._refused("an argument is missing after the last comma: remove the comma", comma)
        self._close(opened, ")")
        return tuple(found)

    def _close(self, opened: Token, closing: str) -> None:
        if self._peek().text == closing:
            self._take()
        elif self._peek() is self._end:
            raise self._refused(f'"{opened.text}" is never closed: write "{closing}"', opened)
        else:
            raise self._no_operator()

    # ---- selectors, ranges and modifiers -------------------------------------------------------------------------

    def _selector(self, name: str, opened: Token) -> Selector:
        start, found = self._tokens[self._at - 2].start if name else opened.start, list[Matcher]()
        while self._peek().text != "}" or self._peek().kind != "mark":
            found.append(self._matcher(opened))
            if self._peek().text == "," and self._peek().kind == "mark":
                self._take()
            elif self._peek() is self._end:
                raise self._refused('"{" is never closed: write "}"', opened)
            elif self._peek().text != "}":
                raise self._refused("a comma is missing between the matchers", self._peek())
        self._take()
        selector = Selector(Span(start, self._last_end()), name, tuple(found))
        names = [name] * bool(name) + [each.value for each in found if each.label == "__name__" and each.op == "="]
        if name and any(each.label == "__name__" for each in found):
            raise PromqlError(
                "the metric has two names: remove __name__, or the name before the braces", *selector.span
            )
        if name and len(names) > 1:
            raise PromqlError("the metric has two names: keep one", *selector.span)
        return selector

    def _matcher(self, opened: Token) -> Matcher:
        label = self._take()
        if label is self._end:
            raise self._refused('"{" is never closed: write "}"', opened)
        if label.kind == "string" and self._peek().text in (",", "}"):
            span = Span(label.start, label.end)
            return Matcher("__name__", "=", unquoted(label), span, span)
        if label.kind not in ("word", "string") or (":" in label.text and label.kind == "word"):
            raise self._refused(f'{_shown(label)} is not a label: write matchers such as code="500"', label)
        op = self._take()
        if op.text not in ("=", "!=", "=~", "!~"):
            if op.text == "==":
                raise self._refused(f'a matcher has one "=": write {label.text}="..."', op)
            raise self._refused(
                f"after the label {label.text}, one of =, !=, =~ and !~ is missing", op if op.text else label
            )
        value = self._take()
        if value.kind != "string":
            fix = f': write {label.text}{op.text}"{value.text}"' if value.kind in ("word", "number") else ""
            raise self._refused(f"the value of {label.text} needs quotes{fix}", value if value.text else op)
        name = unquoted(label) if label.kind == "string" else label.text
        return Matcher(name, op.text, unquoted(value), Span(label.start, value.end), Span(value.start, value.end))

    def _ranged(self, found: Node, start: int, *, bare: bool) -> Range | Subquery:
        token = self._take()
        written = _IN_RANGE.fullmatch(token.text)
        assert written is not None  # the form of the token
        length = time_of(written[1], token)
        if length <= timedelta():
            raise self._refused("a range must be longer than 0", token)
        span = Span(start, token.end)
        if written[2]:
            if written[3]:
                time_of(written[3], token)
            return Subquery(span, found, length)
        if not isinstance(found, Selector) or not bare:
            fix = "write the range after the metric, or [5m:] for a range of an expression"
            raise self._refused(f"{token.text} must stand after a metric, not after an expression: {fix}", token)
        if found.offset is not None or found.at is not None:
            raise self._refused(f"{token.text} must stand before offset and @: write x{token.text} offset 5m", token)
        return Range(span, found, length)

    def _modified(self, found: Node, start: int, *, bare: bool) -> Node:
        token = self._take()
        selector = found.selector if isinstance(found, Range) else found
        word = token.text.lower()
        if not isinstance(selector, Selector | Subquery) or (not bare and isinstance(selector, Selector)):
            raise self._refused(f"{word} must stand after a metric or a range, not after an expression", token)
        if word == "offset":
            if selector.offset is not None:
                raise self._refused("offset is written twice: keep one", token)
            changed = replace(selector, offset=self._signed_time(token), span=Span(start, self._last_end()))
        else:
            if selector.at is not None:
                raise self._refused("@ is written twice: keep one", token)
            changed = replace(selector, at=self._instant(token), span=Span(start, self._last_end()))
        if isinstance(found, Range):
            assert isinstance(changed, Selector)
            return replace(found, selector=changed, span=Span(start, self._last_end()))
        return changed

    def _instant(self, token: Token) -> float | str:
        if self._is_word("start", "end"):
            word = self._take().text.lower()
            for mark in "()":
                if self._take().text != mark:
                    raise self._refused(f"write @ {word}()", token)
            return word
        sign = self._take().text if self._peek().text in ("+", "-") else "+"
        if (number := self._take()).kind != "number":
            raise self._refused("after @ a time is missing: write seconds since 1970, start() or end()", token)
        return number_of(number) * (-1 if sign == "-" else 1)

    def _signed_time(self, token: Token) -> timedelta:
        sign = self._take().text if self._peek().text in ("+", "-") else "+"
        if (number := self._take()).kind != "number":
            raise self._refused("after offset a duration is missing: write offset 5m", token)
        time = time_of(number.text, number)
        return -time if sign == "-" else time

    def _labels(self, word: str) -> tuple[str, ...]:
        """Read a list of labels in parentheses."""
        if (opened := self._peek()).text != "(":
            name = opened.text if opened.kind == "word" else "label"
            raise self._refused(f"{word} needs its labels in parentheses: write {word} ({name})", opened)
        self._take()
        found: list[str] = []
        while (label := self._take()).text != ")":
            if label is self._end:
                raise self._refused('"(" is never closed: write ")"', opened)
            if label.kind == "string":
                found.append(unquoted(label))
            elif label.kind == "word" and ":" not in label.text:
                found.append(label.text)
            else:
                raise self._refused(f"{_shown(label)} is not a label", label)
            if self._peek().text == ",":
                self._take()
            elif self._peek() is self._end:
                raise self._refused('"(" is never closed: write ")"', opened)
            elif self._peek().text != ")":
                raise self._refused("a comma is missing between the labels", self._peek())
        return tuple(found)

    # ---- tokens and messages -------------------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _after(self) -> Token:
        """The token after the next one."""
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def _is_word(self, *words: str) -> bool:
        return self._peek().kind == "word" and self._peek().text.lower() in words

    def _take(self) -> Token:
        """Take the next token; the end stays the next one for ever."""
        token = self._tokens[self._at]
        if token is not self._end:
            self._at += 1
        return token

    def _last_end(self) -> int:
        return self._tokens[self._at - 1].end

    def _refused(self, words: str, token: Token) -> PromqlError:
        return PromqlError(words, token.start, max(token.end, token.start + 1))

    def _operand_missing(self, operator: Token) -> PromqlError:
        if operator.text == "%":
            return self._refused('"%" is the remainder of a division in PromQL: for 5% write 0.05', operator)
        return self._refused(f'after "{operator.text}" a metric, a number or a function is missing', operator)

    def _misplaced(self, token: Token) -> PromqlError:
        if token is self._end:
            return self._refused("the query ends too early: a metric, a number or a function is missing", token)
        if token.text == "=":
            return self._refused('"=" stands only within braces: to compare write "=="', token)
        if token.text == ")":
            opened = sum((each.text == "(") - (each.text == ")") for each in self._tokens[: self._at - 1])
            if opened <= 0:
                return self._refused('this ")" closes nothing: remove it', token)
        return self._refused(f"before {_shown(token)} a metric, a number or a function is missing", token)

    def _no_operator(self) -> PromqlError:
        token = self._peek()
        if token.text == "=":
            return self._refused('"=" stands only within braces: to compare write "=="', token)
        if token.text == ")":
            return self._refused('this ")" closes nothing: remove it', token)
        if token.text == "{" and self._at and self._tokens[self._at - 1].text == "}":
            return self._refused("a metric has one pair of braces: write all matchers into it", token)
        if token.text in ("=~", "!~"):
            return self._refused(f'"{token.text}" stands only within braces, after a label', token)
        if self._is_word("by", "without"):
            return self._refused(f"{token.text} belongs directly after an aggregation such as sum(...)", token)
        if token.text == ",":
            return self._refused('this "," separates nothing: it stands only between arguments', token)
        return self._refused(f"before {_shown(token)} an operator is missing, or a parenthesis", token)


def _shown(token: Token) -> str:
    text = token.text if len(token.text) <= 40 else f"{token.text[:37]}..."
    return text if token.kind == "string" else f'"{text}"'
