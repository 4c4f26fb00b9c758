"""Checks queries: what Prometheus refuses, variables that nobody fills in, and what does not mean what was meant.

`lint_query` checks a query, `lint_counter` a counter of `events`, `lint_alerts` the matchers of alerts. Queries come
from tools/lint/plans.py, and the findings go back to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from rolloutplan.tools.promql.codes import code_traps
from rolloutplan.tools.promql.names import COUNTER, GAUGE, is_counter
from rolloutplan.tools.promql.nodes import Matcher, Node, PromqlError, Range, Selector, Subquery, Text, walk
from rolloutplan.tools.promql.parse import TooLargeError
from rolloutplan.tools.promql.syntax import UnclearError
from rolloutplan.tools.promql.text import FilledText
from rolloutplan.tools.promql.traps import TRAPS, Asking, ParsedQuery, Severity, is_instant
from rolloutplan.tools.promql.tree import read_tree
from rolloutplan.tools.promql.types import check
from rolloutplan.tools.promql.variables import unfilled


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to change: its path (from `spec` on), the rule, the severity, and a message with the fix.

    An error is refused, or cannot work. A warning works, but probably not as intended. Whether a hint matters depends
    on the data.
    """

    path: str
    rule: str
    severity: Severity
    words: str
    offset: int | None = None
    """Where in the text at `path` it is, in characters from its start; None where it is about all of it."""


Check: TypeAlias = Callable[[ParsedQuery], Iterator[Finding]]
"""A further check of a query that can be read."""


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
    try:
        tree = read_tree(text)
    except (PromqlError, TooLargeError, UnclearError):
        return ()
    found = (_instant_selector(part) for part, above in walk(tree) if is_instant(part, above))
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _instant_selector(selector: Node) -> InstantSelector | None:
    if not isinstance(selector, Selector):
        return None
    matchers = ",".join(_as_promql(each) for each in selector.matchers if each.label != "__name__")
    named = ",".join(_as_promql(each) for each in selector.matchers if each.label == "__name__")
    inside = ",".join(part for part in (named, matchers) if part)
    return InstantSelector(f"{selector.name}{{{inside}}}" if inside else selector.name, matchers)


def _as_promql(matcher: Matcher) -> str:
    plain = matcher.label.isidentifier() and matcher.label.isascii()
    label = matcher.label if plain else json.dumps(matcher.label, ensure_ascii=False)
    return f"{label}{matcher.op}{json.dumps(matcher.value, ensure_ascii=False)}"


_LONGEST_REMEMBERED: Final = 1000
"""Characters. With 4,096 texts, what is remembered stays below 20 MiB whatever plans ask."""
_remembered: Final = lru_cache(maxsize=4096)(_instant_selectors)


def lint_query(
    query: str | FilledText, asking: Asking, path: str = "query", checks: Iterable[Check] = ()
) -> tuple[Finding, ...]:
    """Find what is wrong with a query whose answer must be one number, and what further checks find in it."""
    text = FilledText.plain(query) if isinstance(query, str) else query
    tree, found = parsed(text, path, asking.flavor)
    if tree is None or any(each.rule == "type" for each in found):
        return found
    asked = ParsedQuery.of(text, tree, asking)
    traps = (
        Finding(path, rule, severity, words, text.place(part.span.start))
        for rule, trap in TRAPS.items()
        for severity, words, part in trap(asked)
    )
    further = (finding for check in checks for finding in check(asked))
    return once((*found, *_no_number(text, tree, path, asking.flavor), *traps, *_codes(asked, path), *further))


def once(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings without those that say the same of another place in the same text."""
    return tuple({(each.path, each.rule, each.words): each for each in reversed(tuple(found))}.values())[::-1]


def lint_counter(
    query: str | FilledText,
    path: str,
    *,
    histogram: bool = False,
    flavor: str = "Prometheus",
    checks: Iterable[Check] = (),
) -> tuple[Finding, ...]:
    """Find what is wrong with a counter as it is scraped, or with a histogram given by its own name."""
    text = FilledText.plain(query) if isinstance(query, str) else query
    tree, found = parsed(text, path, flavor)
    if tree is None:
        return found
    if not isinstance(tree, Selector) or tree.offset or tree.at is not None:
        words = "is not a plain counter: write it as it is scraped, without rate(), range or offset"
        return (Finding(path, "no-counter", "warning", words, text.place(tree.span.start)),)
    problems = (_histogram if histogram else _counter)(tree)
    asked = ParsedQuery.of(text, tree, Asking(flavor=flavor))
    further = (finding for check in checks for finding in check(asked))
    unlike = (Finding(path, "no-counter", severity, words) for severity, words in problems)
    return once((*unlike, *found, *_codes(asked, path), *further))


def _codes(query: ParsedQuery, path: str) -> Iterator[Finding]:
    for severity, words, start in code_traps(query):
        yield Finding(path, "status-code", severity, words, query.text.place(start))


def firing_alerts(matchers: str) -> str:
    """Return the query for all matching alerts that fire: Prometheus keeps firing alerts in the series `ALERTS`."""
    return f"{_ALERTS}{matchers}}}"


_ALERTS: Final = 'ALERTS{alertstate="firing",'


def lint_alerts(matchers: FilledText, path: str, flavor: str = "Prometheus") -> tuple[Finding, ...]:
    """Find what is wrong with the matchers of alerts."""
    return parsed(matchers.between(_ALERTS, "}"), path, flavor)[1]


# ---- reading -------------------------------------------------------------------------------------


def parsed(text: FilledText, path: str, flavor: str) -> tuple[Node | None, tuple[Finding, ...]]:
    """The tree of a query, None where it has none, and what is refused of it or not filled in."""
    tree, refused, doubts = None, None, list[Finding]()
    severity: Severity = "error" if flavor == "Prometheus" else "warning"
    suffix = "" if flavor == "Prometheus" else f" ({flavor} may support it)"
    try:
        tree = read_tree(text.text)
        doubts = [
            Finding(path, "experimental", "warning", words, text.place(span.start))
            for words, span in check(text.text, tree)
        ]
    except TooLargeError as error:
        refused = Finding(
            path, "too-large", "hint", f"too large to check ({error}): move parts of it to recording rules"
        )
    except UnclearError as error:
        refused = Finding(
            path, "unclear", "hint", f"cannot be checked, because servers read it in different ways: {error}"
        )
    except PromqlError as error:
        rule = "syntax" if tree is None else "type"
        at = text.place(error.start)
        refused = Finding(path, rule, severity, f"{_place(text, error, rule)}: {error.words}{suffix}", at)
    unknown = tuple(
        Finding(path, "unknown-variable", "error", found.words, found.start) for found in unfilled(text, tree)
    )
    if refused is None:
        return tree, (*unknown, *doubts)
    return (tree if refused.rule == "type" else None), unknown or (refused,)


_SHOWN: Final = 25
"""Characters from where a query is refused: enough to see which of several parentheses it is."""


def _place(text: FilledText, error: PromqlError, rule: str) -> str:
    """Where in the author's text something is refused, with the text that begins there."""
    line, column = text.position(error.start)
    place = f"line {line}, column {column}" if "\n" in text.written.strip() else f"column {column}"
    least = error.start + (_SHOWN if rule == "syntax" else 0)
    shown = text.shown(error.start, max(error.end, min(least, len(text.text))))
    return f"{place}, at '{shown}'" if shown else f"{place}, at the end"


def _no_number(text: FilledText, tree: Node, path: str, flavor: str) -> Iterator[Finding]:
    match tree:
        case Text():
            words = "the result is a string, and a predicate needs one number: query a metric"
        case Range() | Subquery():
            counts = isinstance(tree, Range) and is_counter(tree.selector.metric)
            fix = f"put a function around it: {'rate' if counts else 'avg_over_time'}({text.shown(*tree.span)})"
            words = f"the result is a range, and a predicate needs one number: {fix}"
        case _:
            return
    severity: Severity = "error" if flavor == "Prometheus" else "warning"
    yield Finding(path, "no-number", severity, words, text.place(tree.span.start))


# ---- counters as they are scraped ----------------------------------------------------------------


def _counter(selector: Selector) -> Iterator[tuple[Severity, str]]:
    name = selector.metric
    if not name:
        yield "warning", "has no metric name, so every series with these labels is counted: write the counter's name"
    elif GAUGE.search(name):
        yield "warning", f"{name} looks like a gauge, which cannot be counted: write a counter, such as x_total"
    elif not is_counter(name):
        yield "hint", f"{name} is not named like a counter: write a counter, such as x_total"


def _histogram(selector: Selector) -> Iterator[tuple[Severity, str]]:
    name = selector.metric
    if name.endswith((*COUNTER, "_sum")):
        yield "warning", f"{name} is a counter: write the name of the histogram, without its suffix"
    if any(matcher.label == "le" for matcher in selector.matchers):
        yield "warning", "le selects one bucket: remove it; slowerThan selects the bucket"
