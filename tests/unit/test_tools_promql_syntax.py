"""Which texts are one closed expression to every server, and how much work it takes to find out."""

import contextlib
import threading
import time

import pytest

from rolloutplan.tools.promql.parse import HARDEST, ParseError, TooLargeError, parse_bounded
from rolloutplan.tools.promql.queries import Finding, instant_selectors, lint_query
from rolloutplan.tools.promql.syntax import MAX_NESTING, UnclearError, read_syntax, tokens
from rolloutplan.tools.promql.traps import Asking

CLEAR = [
    "up",
    "up{}",
    'sum by (a, "b c",) (rate(x{a="b",}[5m]))',
    "sum(x) by (a)",
    "-x ^ -2 % +.5e-3 or 0x1F",
    "x[5m] @ start() offset -1h30m",
    "max_over_time(x[1h:5m])[1h:] @ -12.5",
    "x[300] offset 5",
    "a / on(b) group_left c",
    "a >= bool ignoring() group_right(d, e) b",
    "a atan2 b and c unless d",
    "time() + inf * NaN",
    "'it\\'s' == bool \"\\\"\\u00e9\\x41\\101\\n\"",
    "`\\d{2}\n\\n\"'`",
    "a # a comment ( \"\n+ # another '\r\n b # the last `",
    "start + end + sum + by_a + on_b",
    'x{on="a", by!="b", offset=~"c", nan!~"d"}',
]
UNCLEAR = [
    "",
    " \n",
    "# only a comment",
    "up # \r",
    "up # a\rb\n",
    "up\x0b",
    "up\u00a0",
    "\ufeffup",
    "up;",
    "$up",
    "a b",
    "a,b",
    "(a,b)",
    "f(a,)",
    "f(,a)",
    "(a",
    "a)",
    "a]",
    "a}",
    "a{",
    'a{b="c"',
    'a{b="c"}}',
    'a{b="c" d="e"}',
    'a{b="c" or d="e"}',
    'a{b="c"}{d="e"}',
    "a{b=c}",
    "a{,}",
    "a[5m",
    "a[5x]",
    "a[5m:1m:1m]",
    "a[]",
    "a @ b",
    "a offset b",
    "a +",
    "* a",
    "a == = b",
    "a =~ b",
    "a on(b) c",
    "a group_left b",
    "by (a)",
    "1 2",
    "1.5h",
    "5mm",
    "1_000x",
    "a.b",
    '"a',
    '"a\n"',
    '"a\r"',
    '"a\\"',
    '"\\z"',
    '"\\\'"',
    "'\\\"'",
    '"\\400"',
    "`a",
    "`a\\`",
    '"\ud800"',
    "sum by a (b)",
    "sum by (a) b",
    "f(a)(b)",
]


@pytest.mark.parametrize("text", CLEAR, ids=ascii)
def test_what_is_one_closed_expression(text: str) -> None:
    syntax = read_syntax(text)
    assert read_syntax(f"label_replace(\n{text}\n, 'a', 'b', '', '')").calls == ("label_replace", *syntax.calls)
    assert all(text[token.start : token.end] == token.text for token in syntax.tokens)


@pytest.mark.parametrize("text", UNCLEAR, ids=ascii)
def test_what_is_not(text: str) -> None:
    with pytest.raises(UnclearError) as unclear:
        read_syntax(text)
    assert str(unclear.value).startswith("character ")
    assert str(unclear.value).isprintable()


def test_the_nesting_is_bounded() -> None:
    deep = "(" * MAX_NESTING + "x" + ")" * MAX_NESTING
    assert len(read_syntax(deep).tokens) == 2 * MAX_NESTING + 1
    with pytest.raises(UnclearError, match="more than 64 parentheses"):
        read_syntax(f"({deep})")


LARGE = [
    "x+",
    "-",
    "(",
    "f(",
    "'a'+",
    "a{b='c'}+",
    "#\n",
    "#\r",
    '"',
    '\\"',
    "`",
    "[5m]",
    " ",
    "1",
    "a{",
    "a,",
    "0x",
    "1e",
]


@pytest.mark.parametrize("part", LARGE, ids=ascii)
def test_reading_takes_time_that_grows_with_the_length(part: str) -> None:
    """Of the processor, in one of three tries. Where it grew with the square, it would be 256 times as much."""

    def seconds(length: int) -> float:
        text, began = part * (length // len(part)), time.thread_time()
        with contextlib.suppress(UnclearError):
            read_syntax(text).form()
        return time.thread_time() - began

    assert any(seconds(64_000) < 60 * seconds(4_000) + 0.01 for _ in range(3))


# ---- the work of the parser ----------------------------------------------------------------------------------------

HIDING = {
    "behind a comment that ends at a carriage return": "a" + "#\r+a" * 1_000,
    "between quotes that stand in comments": 'a # "\n' + "+a" * 1_000 + ' # "',
    "between quotes that stand in comments, with a carriage return": "a # '\r" + "+a" * 1_000 + " # '\r",
    "between backticks of which one is behind a backslash": "a{b=`\\`}" + "+a" * 1_000 + "+`\\`",
    "in unary signs": "-" * 1_000 + "a",
    "in words": " and ".join(["a"] * 200),
    "in words in capitals": " ATAN2 ".join(["a"] * 200),
}


@pytest.mark.parametrize("text", HIDING.values(), ids=HIDING)
def test_no_operator_hides_from_the_bound(text: str) -> None:
    with pytest.raises(TooLargeError, match="more than 100 operators"):
        parse_bounded(text)
    assert instant_selectors(text) == ()
    (finding,) = lint_query(text, Asking())
    assert (finding.rule, finding.severity) == ("too-large", "hint")


BOMBS = {
    "counts": "(x{1,100}){800}",
    "counts in counts": "((x{1,1000}){1000}){1000}",
    "classes": "\\\\w\\\\pL" * 20,
    "many": "(?i)[^a][^b]|[^c]",
}


@pytest.mark.parametrize("operator", ["=~", "!~", "=~ ", "!~\n"])
@pytest.mark.parametrize("expression", BOMBS.values(), ids=BOMBS)
def test_the_parser_does_not_compile_what_a_plan_matches_with(expression: str, operator: str) -> None:
    """A hundred such matchers took it ten seconds, in which the operator did nothing else."""
    many = ",".join(f'a{i}{operator}"{expression}"' for i in range(100))
    began = time.thread_time()
    (selector,) = instant_selectors(f'up{{{many},b="c"}}')
    lint_query(f"sum(up{{{many}}})", Asking())
    assert time.thread_time() - began < 2
    assert selector.matchers.count(operator.strip() + '"') == 100
    assert selector.matchers.endswith('b="c"')


def test_a_matcher_is_shown_as_it_was_written() -> None:
    (selector,) = instant_selectors('up{a=~"x{2}",b!~`\\d{3}"`,c="d",e!="=~"}')
    assert selector.matchers == 'a=~"x{2}",b!~"\\\\d{3}\\"",c="d",e!="=~"'
    assert selector.text == f"up{{{selector.matchers}}}"
    (finding, *_) = lint_query('rate(sum(up{a=~"x{2}"})[5m:])', Asking())
    assert isinstance(finding, Finding)
    assert [each for each in lint_query('up{a=~"x{2}"} > 1', Asking()) if '=~"x{2}"' in each.words]


def test_a_matcher_that_is_hidden_from_the_parser_gives_a_label_no_one_value() -> None:
    assert [each.rule for each in lint_query('sum by (a) (x{a=~"b{2}"})', Asking())] == ["many-series"]
    assert lint_query('sum by (a) (x{a="b{2}"})', Asking()) == ()


def test_the_hardest_query_needs_little_stack() -> None:
    """Threads of the operator have at least a megabyte; the parser calls itself for each operator."""
    nested = "(" * HARDEST + "a" + ")" * HARDEST
    texts = ["+".join(["a"] * HARDEST), nested, "-" * HARDEST + "a", " and ".join(["a"] * HARDEST)]
    found: list[tuple[Finding, ...]] = []
    before = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=lambda: found.extend(lint_query(text, Asking()) for text in texts))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert len(found) == len(texts)


def test_what_the_parser_does_not_read_is_said_in_its_words() -> None:
    with pytest.raises(ParseError, match="unknown function with name 'foo'"):
        parse_bounded("foo(up)")
    assert [token.text for token in tokens("a  +b # c")] == ["a", "+", "b"]
