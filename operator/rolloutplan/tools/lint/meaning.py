"""Find comparisons that do not fit what the query measures: the wrong way round, another unit, other counters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Final

from rolloutplan.api.predicate import MinSamples
from rolloutplan.api.quantities import Comparison, format_duration
from rolloutplan.tools.lint.comparisons import LONG_WORK, Role, judge_old, judge_value
from rolloutplan.tools.promql.codes import bad_ones, selects_codes
from rolloutplan.tools.promql.goodness import goodness_of
from rolloutplan.tools.promql.meaning import Meaning, meaning_of
from rolloutplan.tools.promql.nodes import Binary, Selector
from rolloutplan.tools.promql.queries import Check, Finding, parsed
from rolloutplan.tools.promql.text import FilledText
from rolloutplan.tools.promql.traps import ParsedQuery


def comparison_check(role: Role, comparison: Comparison, path: str) -> Check:
    """A check of a query against the comparison of its predicate, and of the functions that it divides."""
    field = "is" if comparison.kind == "value" else "vsOld"

    def check(query: ParsedQuery) -> Iterator[Finding]:
        if sum(isinstance(part, Binary) for part, _ in query.parts) > _MOST_OPERATIONS:
            return
        yield from _mixed(query, f"{path}.query")
        meaning = meaning_of(query.top)
        traps = (
            judge_value(role, meaning, comparison)
            if comparison.kind == "value"
            else judge_old(role, meaning, comparison, counts=False)
        )
        yield from (Finding(f"{path}.{field}", rule, "warning", words) for rule, words in traps)

    return check


_MOST_OPERATIONS: Final = 20
"""A query with more of them is not looked into: the work grows with their square, and people write five."""
_DIVISIONS: Final = 3
"""The outermost divisions that are looked into: each is read whole, and a query may have a hundred."""


def _mixed(query: ParsedQuery, path: str) -> Iterator[Finding]:
    """Find an increase over a range that is divided by a rate per second, or the other way."""
    for division in islice(query.operations("/"), _DIVISIONS):
        upper, lower = meaning_of(division.lhs), meaning_of(division.rhs)
        if {upper.kind, lower.kind} == {"rate", "count"}:
            words = "divides an increase over the window by a rate per second, or the other way: write rate() in both"
            yield Finding(path, "unit", "warning", words, query.text.place(division.at_op.start))


def samples_check(samples: MinSamples, path: str) -> Check:
    """A check that the samples are counted, and not their rate per second."""

    def check(query: ParsedQuery) -> Iterator[Finding]:
        if meaning_of(query.top).kind == "rate":
            call = next(query.calls("rate", "irate"))
            words = (
                f"{query.shown(call)} is a number per second, so atLeast asks for {samples.at_least:,} requests each"
                " second: write increase() for their number in the window"
            )
            yield Finding(f"{path}.query", "unit", "warning", words, query.text.place(call.span.start))

    return check


def lint_events(role: Role, comparison: Comparison, counters: Mapping[str, FilledText], path: str) -> Iterator[Finding]:
    """Find comparisons of counted events the wrong way round, and bad counters that are not."""
    slow = "histogram" in counters
    meaning = Meaning("share", False, name=f"the share of {'slow' if slow else 'bad'} requests")
    if comparison.kind == "value":
        traps = judge_value(role, meaning, comparison)
    else:
        traps = judge_old(role, meaning, comparison, counts=True)
    field = "is" if comparison.kind == "value" else "vsOld"
    yield from (Finding(f"{path}.{field}", rule, "warning", words) for rule, words in traps)
    if slow:
        return
    trees = {field: parsed(text, path, "Prometheus")[0] for field, text in counters.items()}
    bad, total = trees.get("bad"), trees.get("total")
    where = f"{path}.events.bad"
    if not isinstance(bad, Selector) or not isinstance(total, Selector):
        return
    if (bad.metric, set(_written(bad))) == (total.metric, set(_written(total))):
        words = "is the same counter as total, so all requests are bad: select the bad ones, such as "
        words += bad_ones(bad, total)
        yield Finding(where, "bad-is-total", "warning", words)
    elif goodness_of(bad) is True and goodness_of(total) is not True:
        shown = counters["bad"].shown(*bad.span)
        words = f"{shown} counts good requests: select the bad ones, such as {bad_ones(bad, total)}"
        yield Finding(where, "inverted", "warning", words)
    elif goodness_of(total) is False and total.metric == bad.metric:
        words = f"{counters['total'].shown(*total.span)} counts only bad requests: count all of them here"
        yield Finding(f"{path}.events.total", "inverted", "warning", words)
    elif _differ(bad.metric, total.metric) and selects_codes(bad):
        words = f"{bad.metric} is not the counter of total ({total.metric}), so this is no share of its requests: "
        words += "select the bad ones of the same counter"
        yield Finding(where, "other-counter", "warning", words)
    elif labels := _other_requests(bad, total):
        words = f"bad and total do not both select by {labels}, so they count different requests: write it in both"
        yield Finding(where, "other-requests", "warning", words)


_OF_REQUESTS: Final = frozenset(
    {"namespace", "deployment", "pod", "service", "job", "container", "instance", "app", "workload", "cluster"}
    | {"handler", "path", "route", "uri", "url", "endpoint", "method", "host", "region"}
)
"""Labels that say which requests, and never how they ended: those of the result may be in bad alone."""


def _other_requests(bad: Selector, total: Selector) -> str:
    """The labels by which only one of the two selects requests of the same counter."""
    if bad.metric != total.metric:
        return ""
    one, other = ({each.label for each in part.matchers} for part in (bad, total))
    return " and ".join(sorted((one ^ other) & _OF_REQUESTS))


def _differ(bad: str, total: str) -> bool:
    """Whether two counters with names differ. Recording rules have a name for each part."""
    return bool(bad and total) and bad != total and ":" not in bad + total


def lint_slowness(slower_than: timedelta, histogram: FilledText, path: str) -> Iterator[Finding]:
    """Find a bound of slow requests that no request reaches: milliseconds written as seconds."""
    if slower_than <= _LONGEST_REQUEST or LONG_WORK.search(histogram.text.partition("{")[0].lower()):
        return
    meant = slower_than / 1000
    words = f"{format_duration(slower_than)} is longer than gateways wait for an answer, so no request counts as slow"
    fix = f": did you mean {format_duration(meant)}?" if meant >= timedelta(milliseconds=1) else ""
    yield Finding(f"{path}.events.slowerThan", "unit", "warning", words + fix)


_LONGEST_REQUEST: Final = timedelta(seconds=60)
"""The longest usual timeout of gateways and load balancers."""


def _written(selector: Selector) -> Iterator[tuple[str, str, str]]:
    return ((each.label, each.op, each.value) for each in selector.matchers)
