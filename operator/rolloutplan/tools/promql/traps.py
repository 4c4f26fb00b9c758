"""The traps of PromQL: queries that a server accepts, and whose answer is not what the author meant. Pure.

Each trap yields its severity, a message with the fix, and the part of the query. `promql.py` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from rolloutplan.api.quantities import format_duration
from rolloutplan.tools.promql.names import GAUGE, is_counter, is_summed
from rolloutplan.tools.promql.nodes import (
    COMPARISONS,
    Aggregate,
    Binary,
    Call,
    Node,
    Number,
    Range,
    Selector,
    Subquery,
    parts,
    selectors,
    walk,
)
from rolloutplan.tools.promql.text import FilledText
from rolloutplan.tools.promql.width import MANY, OF_BUCKETS, PICKS, width

Severity: TypeAlias = Literal["error", "warning", "hint"]


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
    flavor: str = "Prometheus"
    """Of the metric source. What Prometheus refuses may be right for others."""


SCRAPES: Final = 4
"""The fewest scrapes that a range must hold, so that a rate remains when one scrape is late."""

RATES: Final = ("rate", "irate", "increase")
ABSENT: Final = ("absent", "absent_over_time")
_NOT_OF_VALUES: Final = (*ABSENT, "count_over_time", "present_over_time", "timestamp", "resets", "changes")
_COUNTS: Final = ("count", "group")
_DIVISIONS: Final = ("/", "%")

_TIMES_OF_SAMPLES: Final = ("push_time_seconds", "push_failure_time_seconds")
"""Series whose values are times: who asks for them compares the age himself."""

_Found: TypeAlias = Iterator[tuple[Severity, str, Node]]


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query that a server can read, and how it is run."""

    text: FilledText
    top: Node
    parts: tuple[tuple[Node, tuple[Node, ...]], ...]
    """The parts of `top`, as `walk` yields them."""
    asking: Asking

    @classmethod
    def of(cls, text: FilledText, top: Node, asking: Asking) -> ParsedQuery:
        return cls(text, top, tuple(walk(top)), asking)

    def shown(self, node: Node) -> str:
        """A part as its author wrote it, in one short line."""
        return self.text.shown(*node.span)

    def selectors(self) -> Iterator[tuple[Selector, tuple[Node, ...]]]:
        yield from ((part, above) for part, above in self.parts if isinstance(part, Selector))

    def calls(self, *names: str) -> Iterator[Call]:
        yield from (part for part, _ in self.parts if isinstance(part, Call) and part.name in names)

    def operations(self, *operators: str) -> Iterator[Binary]:
        yield from (part for part, _ in self.parts if isinstance(part, Binary) and part.op in operators)


# ---- the result of an expression -----------------------------------------------------------------


def _many_series(query: ParsedQuery) -> _Found:
    if not isinstance(query.top, Range | Subquery) and width(query.top) == MANY:
        of_buckets = isinstance(query.top, Call) and query.top.name in OF_BUCKETS
        fix = 'write "sum by (le) (...)" in it' if of_buckets else "put sum(), max() or avg() around it"
        words = f"the result can have several series, which is Undecided (ManySeries): {fix}"
        yield "hint", words, query.top


def _no_quantile(query: ParsedQuery) -> _Found:
    for part, _ in query.parts:
        name = part.name if isinstance(part, Call) else part.op if isinstance(part, Aggregate) else ""
        if name not in ("histogram_quantile", "quantile", "quantile_over_time") or not isinstance(
            part, Call | Aggregate
        ):
            continue
        quantile = part.args[0]
        if isinstance(quantile, Number) and quantile.value > 1:
            meant = f": did you mean {quantile.value / 100:g}?" if quantile.value < 100 else ""
            yield "warning", f"a quantile is from 0 to 1, and {quantile.value:g} gives +Inf{meant}", quantile


# ---- answers that exist when they should not, and are missing when they should exist --------------


def _hides_gaps(query: ParsedQuery) -> _Found:
    for either in query.operations("or"):
        filler = next((part for part in (either.rhs, either.lhs) if _measures_nothing(part)), None)
        if filler is not None:
            fix = "remove it; for failures that may have no series yet, write 0 * (all requests) instead"
            yield "warning", f'"or {query.shown(filler)}" hides missing data: {fix}', filler


def _measures_nothing(node: Node) -> bool:
    selections = (above for part, above in walk(node) if isinstance(part, Selector))
    return all(any(isinstance(part, Call) and part.name in ABSENT for part in above) for above in selections)


def _filtered(query: ParsedQuery) -> _Found:
    yield from _filters(query, query.top, "warning")


def _filters(query: ParsedQuery, node: Node, severity: Severity) -> _Found:
    """Find expressions that have no answer when they are false, unless they are used for exactly that."""
    if is_filter(node) or (isinstance(node, Call) and node.name in ABSENT):
        when, fix = "while there is data", "query what must exist, such as count(x)"
        if isinstance(node, Binary):
            when, fix = "when it is false", f'compare with "is" or "vsOld", or write bool after {node.op}'
        yield severity, f'"{query.shown(node)}" returns nothing {when}, which is Undecided, not false: {fix}', node
        return
    if isinstance(node, Aggregate) and node.op not in _COUNTS:
        severity = "hint"
    for part in _passed_on(node):
        yield from _filters(query, part, severity)


def _passed_on(node: Node) -> tuple[Node, ...]:
    """The parts without whose answer a part has none."""
    match node:
        case Binary() if node.op in ("and", "unless") or (node.op in _DIVISIONS and is_filter(node.rhs)):
            return (node.lhs,)
        case Binary() if node.op == "or":
            return () if _measures_nothing(node.rhs) else (node.rhs,)
    return parts(node)


def is_filter(node: Node) -> bool:
    """Whether it leaves out what does not compare, instead of giving 0 or 1."""
    return isinstance(node, Binary) and node.op in COMPARISONS and not node.returns_bool


def _divides_by_zero(query: ParsedQuery) -> _Found:
    if query.asking.sampled:
        return
    for division in query.operations(*_DIVISIONS):
        if not _never_zero(division.rhs):
            words = "without traffic it is 0 / 0, and NaN is Undecided: require enough traffic with minSamples"
            yield "hint", words, division
            return


def _never_zero(node: Node) -> bool:
    match node:
        case Call() if node.name in ("clamp_min", "clamp"):
            return isinstance(node.args[1], Number) and node.args[1].value > 0
        case Aggregate() if node.op in _COUNTS:
            return True
    return is_filter(node) or not selectors(node)


# ---- counters ------------------------------------------------------------------------------------


def _rate_after_sum(query: ParsedQuery) -> _Found:
    for call in query.calls(*RATES):
        inner = call.args[0]
        if isinstance(inner, Subquery) and any(isinstance(part, Aggregate) for part, _ in walk(inner)):
            fix = f'apply {call.name}() first: "sum({call.name}(x[$window]))"'
            words = f"{call.name}() of a sum counts the restart of one pod as a restart of all: {fix}"
            yield "warning", words, call


def _rate_of_gauge(query: ParsedQuery) -> _Found:
    for selector, above in query.selectors():
        calls = [part.name for part in above if isinstance(part, Call)]
        rate, name = next((call for call in calls if call in RATES), ""), selector.metric
        native = any(call.startswith("histogram_") for call in calls)
        if not rate or not name or native or ":" in name or is_summed(name):
            continue
        fix = "for a gauge write avg_over_time(), delta() or deriv()"
        if GAUGE.search(name):
            words = f"{name} looks like a gauge, and {rate}() treats every decrease as a restart: {fix}"
            yield "warning", words, selector
        else:
            words = f"{name} is not named like a counter, and {rate}() treats every decrease as a restart: {fix}"
            yield "hint", words, selector


def _raw_counter(query: ParsedQuery) -> _Found:
    for selector, above in query.selectors():
        changes = any(isinstance(part, Call) and part.name in (*RATES, *_NOT_OF_VALUES) for part in above)
        counted = any(isinstance(part, Aggregate) and part.op in _COUNTS for part in above)
        if is_counter(selector.metric, known=False) and not changes and not counted:
            name = selector.metric
            fix = f'write "rate({name}[$window])"'
            yield "hint", f"{name} counts from the start of its process, long before this stage: {fix}", selector


def _no_le(query: ParsedQuery) -> _Found:
    for call in query.calls(*OF_BUCKETS):
        for part, _ in walk(call):
            if isinstance(part, Aggregate) and not _keeps_le(part) and _of_buckets(part):
                fix = f'write "{part.op} by (le) (...)"'
                yield "warning", f"{call.name}() needs the label le, and this {part.op} removes it: {fix}", part


def _keeps_le(node: Aggregate) -> bool:
    return node.op in PICKS or (bool(node.grouping) and ("le" in node.labels) == (node.grouping == "by"))


def _of_buckets(node: Node) -> bool:
    return any(selector.metric.endswith("_bucket") for selector in selectors(node))


# ---- time ----------------------------------------------------------------------------------------


def _short_range(query: ParsedQuery) -> _Found:
    scrape = query.asking.scrape
    for part, _ in query.parts:
        if scrape and isinstance(part, Range) and part.range < SCRAPES * scrape:
            fix = f"write a window of {_time(SCRAPES * scrape)} or more"
            words = f"[{_time(part.range)}] is shorter than {SCRAPES} scrapes of {_time(scrape)}: {fix}"
            yield "warning", words, part


def _before_stage(query: ParsedQuery) -> _Found:
    reach = query.asking.reach
    for selector, above in query.selectors():
        timed = [part for part in (selector, *above) if isinstance(part, Selector | Subquery)]
        ranged = [part for part in above if isinstance(part, Range | Subquery)]
        offset = sum((part.offset for part in timed if part.offset), timedelta())
        back = sum((abs(part.range) for part in ranged), offset)
        if any(isinstance(part.at, float) for part in timed):
            yield "warning", "@ reads the same instant at every evaluation, before this stage: remove it", selector
        elif offset < timedelta():
            yield "warning", "a negative offset reads data that does not exist yet: remove it", selector
        elif reach is not None and back > reach:
            fix = 'write "[$window]"' + (" without offset" if offset else "")
            first = f"{_time(reach)} old at the first evaluation"
            words = f"{query.shown(selector)} reads {_time(back)} back, to before this stage ({first}): {fix}"
            yield "warning", words, selector


def is_instant(part: Node, above: tuple[Node, ...]) -> bool:
    """Whether it is a selector whose last sample is taken as it is."""
    if not isinstance(part, Selector) or part.offset or part.at is not None or part.metric in _TIMES_OF_SAMPLES:
        return False
    ranged = any(isinstance(each, Range | Subquery) for each in above)
    asks_for_time = any(isinstance(each, Call) and each.name in ("timestamp", *ABSENT) for each in above)
    return not ranged and not asks_for_time


def _old_samples(query: ParsedQuery) -> _Found:
    if not query.asking.proves:
        return
    for part, above in query.selectors():
        if is_instant(part, above):
            fix = f'write a range, such as "max_over_time({part.metric or "x"}[$window])"'
            words = f"{query.shown(part)} may be a sample from before this stage, which then is no answer: {fix}"
            yield "warning", words, part


def _time(time: timedelta) -> str:
    return format_duration(time - time % timedelta(milliseconds=1))


TRAPS: Final[Mapping[str, Callable[[ParsedQuery], _Found]]] = {
    "hidden-gap": _hides_gaps,
    "filter": _filtered,
    "no-quantile": _no_quantile,
    "rate-after-sum": _rate_after_sum,
    "rate-of-gauge": _rate_of_gauge,
    "no-le": _no_le,
    "short-range": _short_range,
    "before-stage": _before_stage,
    "old-samples": _old_samples,
    "raw-counter": _raw_counter,
    "many-series": _many_series,
    "zero-division": _divides_by_zero,
}
"""By rule. Each yields severity, words and the part of the query."""
