"""Reads PromQL as text: its tokens, whether it is one closed expression, and where its selectors stand. Pure.

`read_syntax` reads a whole query or raises UnclearError. It reads only what every server with PromQL reads in the same
way, because its readers put the query into a text of their own: a batch, or a query with more matchers. What one server
reads otherwise than another is unclear, such as a comment that ends at a carriage return. Types are not checked.

The work is linear in the length of the text, and nothing here calls itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_NESTING: Final = 64
"""The most parentheses within each other. People write ten; servers and parsers that call themselves bear thousands."""

_STRING: Final = (
    r'"(?:[^"\\\r\n\ud800-\udfff]|\\(?:[abfnrtv\\"]|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*+"'
    r"|'(?:[^'\\\r\n\ud800-\udfff]|\\(?:[abfnrtv\\']|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*+'"
    # VictoriaMetrics reads a backslash before the closing backtick as an escape, and Prometheus does not.
    r"|`(?:[^`\\\ud800-\udfff]|\\[^`\ud800-\udfff])*+`"
)
_DURATION: Final = r"(?:[0-9]++(?:ms|[smhdwy]))++"
_NUMBER: Final = r"0[xX][0-9a-fA-F]++|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?"
_TIME: Final = rf"(?:{_DURATION}|{_NUMBER})(?![\w.])"
_TOKEN: Final = re.compile(
    rf"""(?P<space>[ \t\r\n]++|\#[^\r\n]*+(?=\r?\n|\Z))
    |(?P<word>[A-Za-z_:][A-Za-z0-9_:]*+)
    |(?P<string>{_STRING})
    |(?P<number>{_TIME})
    |(?P<range>\[[ \t\r\n]*+{_TIME}[ \t\r\n]*+(?::[ \t\r\n]*+(?:{_TIME}[ \t\r\n]*+)?)?\])
    |(?P<mark>==|!=|<=|>=|=~|!~|[-+*/%^<>=@(){{}},])
    """,
    re.VERBOSE | re.ASCII,
)
_WHOLE_SECONDS: Final = re.compile(r"\b[0-9]+s\b")

_OPERATORS: Final = frozenset({"+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">=", "and", "or", "unless"})
_MATCHES: Final = frozenset({"=", "!=", "=~", "!~"})
_GROUPS: Final = frozenset({"by", "without"})
_SPOKEN: Final = frozenset({"and", "or", "unless", "atan2"})
_NO_NAMES: Final = _SPOKEN | _GROUPS | {"bool", "on", "ignoring", "group_left", "group_right", "offset"}
"""Words that no metric is called here, although some servers take some of them."""
AGGREGATIONS: Final = frozenset(
    {"sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile"}
    | {"limitk", "limit_ratio"}
)
"""What aggregates series, in lower case."""
_CALL, _GROUPED_CALL, _PAREN = "call", "grouped call", "parenthesis"


class UnclearError(ValueError):
    """The text is not one closed expression, or not to every server; its message says where and why."""


class Token(NamedTuple):
    """A token: what it is (`word`, `string`, `number`, `range`, `mark`), its text, and where that begins."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class SelectorPlace(NamedTuple):
    """Where a selector stands: from `start`; more matchers go in at `into`."""

    start: int
    into: int
    braces: bool
    """Whether `into` is within its braces; else it has none, and `into` is the end of its name."""
    empty: bool
    """Whether no matcher follows in its braces."""


class Syntax(NamedTuple):
    """One closed expression."""

    tokens: tuple[Token, ...]
    """Without spaces and comments."""
    selectors: tuple[SelectorPlace, ...]
    """Every part that reads series, in their order."""
    calls: tuple[str, ...]
    """The functions and aggregations, in lower case."""

    def form(self) -> tuple[str, ...]:
        """The tokens, without the content of strings and without whole seconds: what queries of one template share."""
        return tuple(_form(token) for token in self.tokens)


def read_syntax(text: str) -> Syntax:
    """Read a query that is one closed expression. Raises UnclearError."""
    return _Reader(tuple(tokens(text)), len(text)).expression()


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text, without spaces and comments. Raises UnclearError at what is none."""
    at, end = 0, len(text)
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise UnclearError(f"character {at + 1}: {_what(text, at)}")
        kind = found.lastgroup
        if kind != "space":
            yield Token(str(kind), found[0], at)
        at = found.end()


def _what(text: str, at: int) -> str:
    """Why no token begins here."""
    match text[at]:
        case "#":
            return "the comment ends at a carriage return, which not every server takes for a line end"
        case '"' | "'" | "`":
            return "the string does not end, or has an escape or a line end that not every server takes"
        case "[":
            return "write a range with durations, such as [5m] or [1h:1m]"
        case other:
            return f"{ascii(other)[:12]} is not part of PromQL here"


def _form(token: Token) -> str:
    if token.kind == "string":
        return '""'
    if token.kind in ("range", "number"):
        return _WHOLE_SECONDS.sub("s", token.text)
    return token.text


class _Reader:
    """Reads tokens as an expression: operands, operators between them, and a stack of what is open."""

    def __init__(self, found: tuple[Token, ...], length: int) -> None:
        self._end = Token("end", "", length)
        self._tokens = (*found, self._end)
        self._at = 0
        self._open: list[str] = []
        self._selectors: list[SelectorPlace] = []
        self._calls: list[str] = []

    def expression(self) -> Syntax:
        while True:
            if not self._operand():
                continue  # something was opened, or had a sign: an operand must follow
            while self._after_operand():
                pass
            if self._peek() is self._end:
                break
            self._between()
        if self._open:
            raise self._unclear("a closing parenthesis is missing")
        return Syntax(self._tokens[:-1], tuple(self._selectors), tuple(self._calls))

    # ---- operands ----------------------------------------------------------------------------------------------------

    def _operand(self) -> bool:
        """Take an operand, or what stands before one; return whether the operand is complete."""
        token = self._take()
        if token.kind in ("number", "string"):
            return True
        if token.kind == "word":
            return self._word(token)
        match token.text:
            case "+" | "-":
                return False
            case "(":
                self._push(_PAREN)
                return False
            case "{":
                self._braces(token.start)
                return True
        raise self._unclear("a metric, number or function is missing", token)

    def _word(self, token: Token) -> bool:
        word, following = token.text.lower(), self._peek()
        if word in _NO_NAMES:
            raise self._unclear(f"{token.text} has nothing before it", token)
        if word in ("inf", "nan"):
            return True
        if word in AGGREGATIONS and following.text.lower() in _GROUPS:
            self._take()
            self._labels()
            self._expect("(")
            return self._call(word, _GROUPED_CALL)
        if following.text == "(":
            self._take()
            return self._call(word, _CALL)
        if following.text == "{":
            self._take()
            self._braces(token.start)
        else:
            self._selectors.append(SelectorPlace(token.start, token.end, braces=False, empty=True))
        return True

    def _call(self, word: str, opened: str) -> bool:
        self._calls.append(word)
        if self._peek().text == ")":
            self._take()
            return True
        self._push(opened)
        return False

    def _braces(self, start: int) -> None:
        """Read matchers and the closing brace."""
        into, empty = self._tokens[self._at - 1].end, self._peek().text == "}"
        self._selectors.append(SelectorPlace(start, into, braces=True, empty=empty))
        while (label := self._take()).text != "}":
            if label.kind == "word" and ":" not in label.text:
                self._matcher()
            elif label.kind != "string":
                raise self._unclear("a label is missing", label)
            elif self._peek().text in _MATCHES:
                self._matcher()
            if self._peek().text == ",":
                self._take()
            elif self._peek().text != "}":
                raise self._unclear("a comma or } is missing", self._peek())

    def _matcher(self) -> None:
        operator, value = self._take(), self._take()
        if operator.text not in _MATCHES or value.kind != "string":
            raise self._unclear('a matcher such as label="value" is missing', operator)

    def _labels(self) -> None:
        """Read a list of labels in parentheses."""
        self._expect("(")
        while (label := self._take()).text != ")":
            if (label.kind != "word" or ":" in label.text) and label.kind != "string":
                raise self._unclear("a label is missing", label)
            if self._peek().text == ",":
                self._take()
            elif self._peek().text != ")":
                raise self._unclear("a comma or ) is missing", self._peek())

    # ---- after an operand --------------------------------------------------------------------------------------------

    def _after_operand(self) -> bool:
        """Take what belongs to the operand before it; return whether there was any."""
        token = self._peek()
        if token.kind == "range":
            self._take()
        elif token.text == ")":
            self._take()
            self._close(token)
        elif token.text == "@":
            self._take()
            self._instant()
        elif token.kind == "word" and token.text.lower() == "offset":
            self._take()
            self._number()
        else:
            return False
        return True

    def _close(self, token: Token) -> None:
        if not self._open:
            raise self._unclear("no parenthesis is open here", token)
        if self._open.pop() == _CALL and self._peek().text.lower() in _GROUPS:
            self._take()
            self._labels()

    def _instant(self) -> None:
        if self._peek().text.lower() in ("start", "end"):
            self._take()
            self._expect("(")
            self._expect(")")
        else:
            self._number()

    def _number(self) -> None:
        if self._peek().text in ("+", "-"):
            self._take()
        if (token := self._take()).kind != "number":
            raise self._unclear("a number or duration is missing", token)

    def _between(self) -> None:
        """Take an operator with its modifiers, or the comma between two arguments."""
        token = self._take()
        if token.text == "," and self._open and self._open[-1] != _PAREN:
            return
        word = token.text.lower()
        if word not in _OPERATORS and word not in _SPOKEN:
            raise self._unclear("an operator or the end is missing", token)
        if self._peek().text.lower() == "bool":
            self._take()
        if self._peek().text.lower() in ("on", "ignoring"):
            self._take()
            self._labels()
            if self._peek().text.lower() in ("group_left", "group_right"):
                self._take()
                if self._peek().text == "(":
                    self._labels()

    # ---- tokens ------------------------------------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        """Take the next token; the end stays the next one for ever."""
        token = self._tokens[self._at]
        if token is not self._end:
            self._at += 1
        return token

    def _expect(self, mark: str) -> None:
        if (token := self._take()).text != mark:
            raise self._unclear(f"{mark} is missing", token)

    def _push(self, opened: str) -> None:
        self._open.append(opened)
        if len(self._open) > MAX_NESTING:
            raise self._unclear(f"more than {MAX_NESTING} parentheses are open", self._tokens[self._at - 1])

    def _unclear(self, words: str, token: Token | None = None) -> UnclearError:
        return UnclearError(f"character {(token or self._end).start + 1}: {words}")
