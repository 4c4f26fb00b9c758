"""The pitfalls of PromQL: queries that a server accepts and that do not mean what the author meant.

`lint_query` checks a query and `lint_counter` a counter of `events`, both with their variables filled in. Queries come
from tools/lint.py, and the findings go back to it. Nothing is refused here: a newer server may parse what this parser
cannot, and the server decides. All checks are in this file, because each is a few lines on the same parsed tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from promql_parser import (
    AggModifierType,
    AggregateExpr,
    AtModifierType,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    ValueType,
    VectorMatchCardinality,
    VectorSelector,
)

from rolloutplan.api.quantities import format_duration
from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.text_format import QUOTED
from rolloutplan.tools.promql_parse import TooLargeError, operator_and_value, parse_bounded, pins, shown

Severity: TypeAlias = Literal["error", "warning", "hint"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to change: its path (from `spec` on), the rule, the severity, and a message with the fix.

    The operator refuses an error. It accepts a warning, but the query does not mean what was intended. Whether a hint
    matters depends on the data.
    """

    path: str
    rule: str
    severity: Severity
    words: str
    offset: int | None = None
    """Where in the text at `path` it is, in characters from its start; None where it is about all of it."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a query is run, as far as it is known."""

    reach: timedelta | None = None
    """The time at the weight when the query first runs. Older data that it reads is not of this stage."""
    scrape: timedelta | None = None
    sampled: bool = False
    """Whether minSamples prevents a verdict without traffic."""
    proves: bool = False
    """Whether a true comparison counts for the new side."""


SCRAPES: Final = 4
"""The fewest scrapes that a range must hold, so that a rate remains when one scrape is late."""

_RATES: Final = ("rate", "irate", "increase")
_ABSENT: Final = ("absent", "absent_over_time")
_OF_BUCKETS: Final = ("histogram_quantile", "histogram_quantiles", "histogram_fraction")
_NOT_OF_VALUES: Final = (*_ABSENT, "count_over_time", "present_over_time", "timestamp", "resets", "changes")
_COUNTS: Final = ("count", "group")
_PICKS: Final = ("topk", "bottomk", "limitk")
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")
_DIVISIONS: Final = ("/", "%")

_TIMES_OF_SAMPLES: Final = ("push_time_seconds", "push_failure_time_seconds")
"""Series whose values are times: who asks for them compares the age himself."""

_COUNTER: Final = ("_total", "_count", "_bucket")
_KNOWN_COUNTERS: Final = frozenset({"envoy_cluster_upstream_rq", "nginx_ingress_controller_requests"})
"""Counters of common exporters whose names do not look like counters."""
_GAUGE: Final = re.compile(
    "(^|_)(up|ratio|info|percent|celsius|temperature|timestamp|usage|utilization|current|in_?flight|active|idle|pending"
    "|connections|goroutines|threads|fds|replicas|ready|queued?|depth|length|size|limit|capacity|memory|available|free"
    "|used|min|max|age|working_set|load(1|5|15))(_(bytes|seconds))?$"
)

_Found: TypeAlias = Iterator[tuple[Severity, str]]


@dataclass(frozen=True, slots=True)
class _Query:
    top: Expr
    parts: tuple[tuple[Expr, tuple[Expr, ...]], ...]
    """The parts of `top`, as `_walk` yields them."""
    asking: Asking

    def selectors(self) -> Iterator[tuple[VectorSelector, tuple[Expr, ...]]]:
        yield from ((part, above) for part, above in self.parts if isinstance(part, VectorSelector))

    def calls(self, *names: str) -> Iterator[Call]:
        yield from (part for part, _ in self.parts if isinstance(part, Call) and part.func.name in names)

    def operations(self, *operators: str) -> Iterator[BinaryExpr]:
        yield from (part for part, _ in self.parts if isinstance(part, BinaryExpr) and str(part.op) in operators)


@dataclass(frozen=True, slots=True)
class InstantSelector:
    """A selector without a range: it gives the last sample of the last minutes, however old it is."""

    text: str
    matchers: str
    """Its label matchers without braces, as PromQL."""


def instant_selectors(text: str) -> tuple[InstantSelector, ...]:
    """Return the selectors of a query that are read at its instant alone; none where the query cannot be parsed."""
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _instant_selectors(text)


def _instant_selectors(text: str) -> tuple[InstantSelector, ...]:
    tree = _read(text, "")
    if isinstance(tree, Finding):
        return ()
    found = (_instant_selector(part) for part, above in _walk(tree) if _is_instant(part, above))
    return tuple(dict.fromkeys(found))


_LONGEST_REMEMBERED: Final = 1000
"""Characters. With 4,096 texts, what is remembered stays below 20 MiB whatever plans ask."""
_remembered: Final = lru_cache(maxsize=4096)(_instant_selectors)


def lint_query(text: str, asking: Asking, path: str = "query") -> tuple[Finding, ...]:
    """Find the pitfalls in a query whose answer must be one number."""
    tree = _read(text, path)
    if isinstance(tree, Finding):
        return (tree,)
    query = _Query(tree, tuple(_walk(tree)), asking)
    found = (Finding(path, rule, severity, words) for rule, check in _TRAPS.items() for severity, words in check(query))
    return tuple(dict.fromkeys(found))


def lint_counter(text: str, path: str, *, histogram: bool = False) -> tuple[Finding, ...]:
    """Find the pitfalls in a counter as it is scraped, or in a histogram given by its own name."""
    tree = _read(text, path)
    if isinstance(tree, Finding):
        return (tree,)
    if not isinstance(tree, VectorSelector) or tree.offset or tree.at:
        words = "is not a plain counter: write it as it is scraped, without rate(), range or offset"
        return (Finding(path, "no-counter", "warning", words),)
    check = _histogram if histogram else _counter
    query = _Query(tree, ((tree, ()),), Asking())
    found = [("no-counter", *found) for found in check(tree)] + [("unknown-word", *found) for found in _words(query)]
    return tuple(Finding(path, rule, severity, words) for rule, severity, words in found)


def firing_alerts(matchers: str) -> str:
    """Return the query for all matching alerts that fire: Prometheus keeps firing alerts in the series `ALERTS`."""
    return f'ALERTS{{alertstate="firing",{matchers}}}'


def lint_alerts(matchers: str, path: str) -> tuple[Finding, ...]:
    """Find the pitfalls in the matchers of alerts, with their variables filled in."""
    tree = _read(firing_alerts(matchers), path)
    if isinstance(tree, Finding):
        return (tree,)
    query = _Query(tree, tuple(_walk(tree)), Asking())
    return tuple(Finding(path, "unknown-word", severity, words) for severity, words in _words(query))


# ---- parsing -------------------------------------------------------------------------------------

_LEFT: Final = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")

_FIXES: Final = {
    "expected type matrix": ': write a range after the selector, and the sum outside: "sum(rate(x[$window]))"',
    "got matrix": ': put a function around the range, such as "rate(x[$window])"',
    "expected type": "",
    "only scalar and instant vector": ": a range needs a function around it, and a number no quotes",
    "only allowed on expressions of type": "",
    "must use BOOL": ": write bool after the operator",
}
"""The parser's messages for a wrong type, and what to write instead."""


def _read(text: str, path: str) -> Expr | Finding:
    try:
        tree = _bare(parse_bounded(text))
        _check_times(tree)
    except TooLargeError as error:
        return Finding(path, "too-large", "hint", f"too large to check ({error}): move parts of it to recording rules")
    except (ValueError, OverflowError) as error:  # of the parser, or of a time that is too long to calculate with
        if left := _LEFT.search(QUOTED.sub("", text)):
            return Finding(path, "unknown-word", "warning", _unknown(left))
        return Finding(path, *_refusal(str(error)))
    return tree


def _check_times(tree: Expr) -> None:
    """Raise OverflowError for times that are too long to calculate with."""
    sum((abs(time) for part in below(tree) for time in _times(part)), timedelta())


def _times(expr: Expr) -> tuple[timedelta, ...]:
    """Return how far back an expression reads by its range and by its offset."""
    match expr:
        case MatrixSelector():
            return (expr.range,)
        case VectorSelector():
            return (expr.offset or timedelta(),)
        case SubqueryExpr():
            return (expr.range or timedelta(), expr.offset or timedelta())
    return ()


def _refusal(message: str) -> tuple[str, Severity, str]:
    for needle, fix in _FIXES.items():
        if needle in message:
            return "type", "warning", message + fix
    return "syntax", "warning", f"{message}: correct it, unless your server supports more than Prometheus 3"


def _unknown(word: re.Match[str]) -> str:
    near = get_close_matches(word[1] or word[2], BUILTIN_VARIABLES, n=1)
    normalized = f"did you mean ${near[0]}?" if near else "define it in variables"
    return f"{word[0]} is not a variable: {normalized}"


def _bare(expr: Expr) -> Expr:
    while isinstance(expr, ParenExpr):
        expr = expr.expr
    return expr


def _parts(expr: Expr) -> tuple[Expr, ...]:
    """Return the direct parts of an expression, without parentheses."""
    parts: tuple[object, ...] = ()
    match expr:
        case BinaryExpr():
            parts = (expr.lhs, expr.rhs)
        case Call():
            parts = tuple(expr.args)
        case AggregateExpr():
            parts = (expr.param, expr.expr)
        case UnaryExpr() | SubqueryExpr():
            parts = (expr.expr,)
        case MatrixSelector():
            parts = (expr.vector_selector,)
    return tuple(_bare(part) for part in parts if isinstance(part, Expr))


def _walk(expr: Expr) -> Iterator[tuple[Expr, tuple[Expr, ...]]]:
    """Yield every part of an expression, itself first, with the parts that contain it, outermost first."""
    waiting: list[tuple[Expr, tuple[Expr, ...]]] = [(expr, ())]
    while waiting:
        part, above = waiting.pop()
        yield part, above
        waiting += [(inner, (*above, part)) for inner in reversed(_parts(part))]


def below(expr: Expr) -> Iterator[Expr]:
    """Yield every part of an expression but parentheses, itself first."""
    yield from (part for part, _ in _walk(_bare(expr)))


def _selectors(expr: Expr) -> list[VectorSelector]:
    return [part for part in below(expr) if isinstance(part, VectorSelector)]


def _said(expr: Expr) -> str:
    text = shown(" ".join(expr.prettify().split()))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(selector: VectorSelector) -> str:
    """Return the metric's name; "" where the selector may match several."""
    named = (m.value for m in selector.matchers.matchers if m.name == "__name__" and pins(m))
    return selector.name or next(named, "")


# ---- the result of an expression -----------------------------------------------------------------


def _no_number(query: _Query) -> _Found:
    match query.top:
        case StringLiteral():
            yield "warning", "the result is a string, and a predicate needs one number: query a metric"
        case MatrixSelector() | SubqueryExpr():
            fix = "put a function around it, such as rate() or avg_over_time()"
            yield "warning", f"the result is a range, and a predicate needs one number: {fix}"


def _many_series(query: _Query) -> _Found:
    if not isinstance(query.top, MatrixSelector | SubqueryExpr) and _width(query.top) == _MANY:
        of_buckets = isinstance(query.top, Call) and query.top.func.name in _OF_BUCKETS
        fix = 'write "sum by (le) (...)" in it' if of_buckets else "put sum(), max() or avg() around it"
        yield "hint", f"the result can have several series, which is Undecided (ManySeries): {fix}"


_NUMBER, _ONE, _MANY = range(3)


def _width(expr: Expr, gone: frozenset[str] = frozenset()) -> int:
    """Return the kind of result: a number, at most one series, or many that differ in labels other than `gone`."""
    match expr:
        case NumberLiteral():
            return _NUMBER
        case VectorSelector():
            recorded_for_one = ":" in _name(expr) and bool(_pinned(expr))
            return _ONE if recorded_for_one else _MANY
        case AggregateExpr():
            return _width_of_aggregate(expr, gone)
        case BinaryExpr():
            return _width_of_pairs(expr, gone)
        case Call() if expr.func.return_type == ValueType.Scalar:
            return _NUMBER
        case Call() if expr.func.name in _ABSENT:
            return _ONE
        case Call() if expr.func.name in _OF_BUCKETS:
            gone |= {"le"}
    widths = [_width(part, gone) for part in _parts(expr)]
    return max(widths if isinstance(expr, UnaryExpr) else [_ONE, *widths])


def _width_of_aggregate(expr: AggregateExpr, gone: frozenset[str]) -> int:
    op, by, inner = str(expr.op), expr.modifier, _bare(expr.expr)
    if op == "count_values":
        return _MANY
    if op in _PICKS and isinstance(expr.param, NumberLiteral) and expr.param.val == 1 and by is None:
        return _ONE
    if op in (*_PICKS, "limit_ratio") or (by is not None and by.type == AggModifierType.Without):
        return _width(inner, gone)
    return _ONE if by is None or set(by.labels) <= gone | _pinned(inner) else _MANY


def _pinned(expr: Expr) -> set[str]:
    """Return the labels that have one value in all selectors."""
    pinned = [{m.name for m in s.matchers.matchers if pins(m)} for s in _selectors(expr)]
    return set.intersection(*pinned) if pinned else set()


def _width_of_pairs(expr: BinaryExpr, gone: frozenset[str]) -> int:
    lhs, rhs = (_width(part, gone) for part in _parts(expr))
    card = expr.modifier.card if expr.modifier else VectorMatchCardinality.OneToOne
    if str(expr.op) in ("and", "unless") or card == VectorMatchCardinality.ManyToOne:
        return lhs
    if card == VectorMatchCardinality.OneToMany:
        return rhs
    return max(lhs, rhs) if str(expr.op) == "or" or _NUMBER in (lhs, rhs) else min(lhs, rhs)


# ---- answers that exist when they should not, and are missing when they should exist --------------


def _hides_gaps(query: _Query) -> _Found:
    for either in query.operations("or"):
        filler = next((part for part in reversed(_parts(either)) if _measures_nothing(part)), None)
        if filler is not None:
            fix = "remove it; for failures that may have no series yet, write 0 * (all requests) instead"
            yield "warning", f'"or {_said(filler)}" hides missing data: {fix}'


def _measures_nothing(expr: Expr) -> bool:
    selections = (above for part, above in _walk(expr) if isinstance(part, VectorSelector))
    return all(any(isinstance(part, Call) and part.func.name in _ABSENT for part in above) for above in selections)


def _filtered(query: _Query) -> _Found:
    yield from _filters(query.top, "warning")


def _filters(expr: Expr, severity: Severity) -> _Found:
    """Find expressions that have no answer when they are false, unless they are used for exactly that."""
    parts = _parts(expr)
    match expr:
        case BinaryExpr() if _is_filter(expr):
            fix = f'compare with "is" or "vsOld", or write bool after {expr.op}'
            yield severity, f'"{_said(expr)}" returns nothing when it is false, which is Undecided, not false: {fix}'
            return
        case Call() if expr.func.name in _ABSENT:
            fix = "query what must exist, such as count(x)"
            yield severity, f'"{_said(expr)}" returns nothing while there is data, which is Undecided, not false: {fix}'
            return
        case BinaryExpr() if str(expr.op) in ("and", "unless"):
            parts = parts[:1]
        case BinaryExpr() if str(expr.op) == "or":
            parts = tuple(part for part in parts[1:] if not _measures_nothing(part))
        case BinaryExpr() if str(expr.op) in _DIVISIONS and _is_filter(parts[1]):
            parts = parts[:1]
        case AggregateExpr() if str(expr.op) not in _COUNTS:
            severity = "hint"
    for part in parts:
        yield from _filters(part, severity)


def _is_filter(expr: Expr) -> bool:
    if not isinstance(expr, BinaryExpr) or str(expr.op) not in _COMPARISONS:
        return False
    return not (expr.modifier and expr.modifier.return_bool)


def _divides_by_zero(query: _Query) -> _Found:
    if query.asking.sampled:
        return
    for division in query.operations(*_DIVISIONS):
        if not _never_zero(_bare(division.rhs)):
            fix = "require enough traffic with minSamples"
            yield "hint", f"without traffic it is 0 / 0, and NaN is Undecided: {fix}"


def _never_zero(expr: Expr) -> bool:
    match expr:
        case Call() if expr.func.name in ("clamp_min", "clamp"):
            return isinstance(expr.args[1], NumberLiteral) and expr.args[1].val > 0
        case AggregateExpr() if str(expr.op) in _COUNTS:
            return True
    return _is_filter(expr) or not _selectors(expr)


# ---- counters ------------------------------------------------------------------------------------


def _is_counter(name: str) -> bool:
    return name.endswith(_COUNTER) or name in _KNOWN_COUNTERS


def _rate_after_sum(query: _Query) -> _Found:
    for call in query.calls(*_RATES):
        inner = _bare(call.args[0])
        if isinstance(inner, SubqueryExpr) and any(isinstance(part, AggregateExpr) for part in below(inner)):
            name = call.func.name
            fix = f'apply {name}() first: "sum({name}(x[$window]))"'
            yield "warning", f"{name}() of a sum counts the restart of one pod as a restart of all: {fix}"


def _rate_of_gauge(query: _Query) -> _Found:
    for selector, above in query.selectors():
        calls = [part.func.name for part in above if isinstance(part, Call)]
        rate, name = next((call for call in calls if call in _RATES), ""), _name(selector)
        native = any(call.startswith("histogram_") for call in calls)
        if not rate or not name or native or ":" in name or _is_counter(name) or name.endswith("_sum"):
            continue
        fix = "for a gauge write avg_over_time(), delta() or deriv()"
        if _GAUGE.search(name):
            yield "warning", f"{name} looks like a gauge, and {rate}() treats every decrease as a restart: {fix}"
        else:
            yield "hint", f"{name} is not named like a counter, and {rate}() treats every decrease as a restart: {fix}"


def _raw_counter(query: _Query) -> _Found:
    for selector, above in query.selectors():
        name = _name(selector)
        changes = any(isinstance(part, Call) and part.func.name in (*_RATES, *_NOT_OF_VALUES) for part in above)
        counted = any(isinstance(part, AggregateExpr) and str(part.op) in _COUNTS for part in above)
        if name.endswith(_COUNTER) and not changes and not counted:
            fix = f'write "rate({name}[$window])"'
            yield "hint", f"{name} counts from the start of its process, long before this stage: {fix}"


def _no_le(query: _Query) -> _Found:
    for call in query.calls(*_OF_BUCKETS):
        for part in below(call):
            if isinstance(part, AggregateExpr) and not _keeps_le(part) and _of_buckets(part):
                fix = f'write "{part.op} by (le) (...)"'
                yield "warning", f"{call.func.name}() needs the label le, and this {part.op} removes it: {fix}"


def _keeps_le(expr: AggregateExpr) -> bool:
    if str(expr.op) in _PICKS:
        return True
    return expr.modifier is not None and ("le" in expr.modifier.labels) == (expr.modifier.type == AggModifierType.By)


def _of_buckets(expr: Expr) -> bool:
    return any(_name(selector).endswith("_bucket") for selector in _selectors(expr))


# ---- time ----------------------------------------------------------------------------------------


def _short_range(query: _Query) -> _Found:
    scrape = query.asking.scrape
    for part, _ in query.parts:
        if scrape and isinstance(part, MatrixSelector) and part.range < SCRAPES * scrape:
            fix = f"write a window of {_time(SCRAPES * scrape)} or more"
            yield "warning", f"[{_time(part.range)}] is shorter than {SCRAPES} scrapes of {_time(scrape)}: {fix}"


def _before_stage(query: _Query) -> _Found:
    reach = query.asking.reach
    for selector, above in query.selectors():
        timed = [part for part in (selector, *above) if isinstance(part, VectorSelector | SubqueryExpr)]
        offset = sum((part.offset for part in timed if part.offset), timedelta())
        back = sum((time for part in (selector, *above) for time in _times(part)), timedelta())
        if any(part.at and part.at.type == AtModifierType.At for part in timed):
            yield "warning", "@ reads the same instant at every evaluation, before this stage: remove it"
        elif offset < timedelta():
            yield "warning", "a negative offset reads data that does not exist yet: remove it"
        elif reach is not None and back > reach:
            fix = 'write "[$window]"' + (" without offset" if offset else "")
            first = f"{_time(reach)} old at the first evaluation"
            yield "warning", f"{_said(selector)} reads {_time(back)} back, to before this stage ({first}): {fix}"


def _is_instant(part: Expr, above: tuple[Expr, ...]) -> bool:
    """Whether it is a selector whose last sample is taken as it is."""
    if not isinstance(part, VectorSelector) or part.offset or part.at or _name(part) in _TIMES_OF_SAMPLES:
        return False
    ranged = any(isinstance(each, MatrixSelector | SubqueryExpr) for each in above)
    asks_for_time = any(isinstance(each, Call) and each.func.name in ("timestamp", *_ABSENT) for each in above)
    return not ranged and not asks_for_time


def _instant_selector(selector: Expr) -> InstantSelector:
    assert isinstance(selector, VectorSelector)
    written = ((m.name, *operator_and_value(m)) for m in selector.matchers.matchers if m.name != "__name__")
    matchers = (f"{name}{operator}{json.dumps(value, ensure_ascii=False)}" for name, operator, value in written)
    return InstantSelector(shown(selector.prettify()), ",".join(matchers))


def _old_samples(query: _Query) -> _Found:
    if not query.asking.proves:
        return
    for part, above in query.selectors():
        if _is_instant(part, above):
            fix = f'write a range, such as "max_over_time({_name(part) or "x"}[$window])"'
            yield "warning", f"{_said(part)} may be a sample from before this stage, which then is no answer: {fix}"


def _time(time: timedelta) -> str:
    return format_duration(time - time % timedelta(milliseconds=1))


# ---- variables, and counters as they are scraped -------------------------------------------------


def _words(query: _Query) -> _Found:
    for selector, _ in query.selectors():
        for matcher in selector.matchers.matchers:
            if left := _LEFT.search(operator_and_value(matcher)[1]):
                yield "warning", f"{matcher.name}: {_unknown(left)}"


def _counter(selector: VectorSelector) -> _Found:
    name = _name(selector)
    if not name:
        yield "warning", "has no metric name, so every series with these labels is counted: write the counter's name"
    elif _GAUGE.search(name):
        yield "warning", f"{name} looks like a gauge, which cannot be counted: write a counter, such as x_total"
    elif not _is_counter(name):
        yield "hint", f"{name} is not named like a counter: write a counter, such as x_total"


def _histogram(selector: VectorSelector) -> _Found:
    name = _name(selector)
    if name.endswith((*_COUNTER, "_sum")):
        yield "warning", f"{name} is a counter: write the name of the histogram, without its suffix"
    if any(matcher.name == "le" for matcher in selector.matchers.matchers):
        yield "warning", "le selects one bucket: remove it; slowerThan selects the bucket"


_TRAPS: Final[Mapping[str, Callable[[_Query], _Found]]] = {
    "type": _no_number,
    "hidden-gap": _hides_gaps,
    "filter": _filtered,
    "rate-after-sum": _rate_after_sum,
    "rate-of-gauge": _rate_of_gauge,
    "no-le": _no_le,
    "short-range": _short_range,
    "before-stage": _before_stage,
    "old-samples": _old_samples,
    "unknown-word": _words,
    "raw-counter": _raw_counter,
    "many-series": _many_series,
    "zero-division": _divides_by_zero,
}
