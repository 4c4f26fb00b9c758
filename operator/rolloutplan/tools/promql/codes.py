"""Find matchers of status codes that fit no code, and labels in which a well-known metric has none. Pure.

Both accept every answer as a good one: what counts the bad ones counts nothing. Queries come from promql.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from rolloutplan.tools.promql.goodness import CODES
from rolloutplan.tools.promql.nodes import Matcher, Selector
from rolloutplan.tools.promql.regex import fits
from rolloutplan.tools.promql.traps import ParsedQuery, Severity

_LABELS: Final = (
    (re.compile("http_(server|client)_requests_seconds(_count|_sum|_bucket|_max)?"), "status"),
    (re.compile("traefik_(service|entrypoint|router)_request(s_total|s_bytes_total|_duration_seconds_.*)"), "code"),
    (re.compile("istio_request(s_total|_duration_milliseconds_.*)"), "response_code"),
    (re.compile("nginx_ingress_controller_request(s|_duration_seconds_.*)"), "status"),
    (re.compile("envoy_(cluster_upstream|http_downstream)_rq_xx"), "envoy_response_code_class"),
    (re.compile("envoy_cluster_upstream_rq"), "envoy_response_code"),
)
"""The label with the status code of metrics that are the same wherever they are scraped."""
_CLASS: Final = "envoy_response_code_class"
_CODES: Final = tuple(map(str, range(100, 600)))
_CLASSES: Final = tuple("12345")
_OTHERS: Final = (*map(str, range(17)), "000", "499", *(f"{each}{x}" for each in _CLASSES for x in ("xx", "XX")))
"""How else servers write codes: those of gRPC, 0 or 000 for no answer, and 5xx."""
_LIKE_A_CODE: Final = re.compile(r"(?=.*[0-9])[0-9xX<>=.,|*+?()\[\]^$\\d\s-]{1,20}")
"""A text without words, which is a code or an expression of codes: status="UNKNOWN" is not judged."""
_EXPRESSION: Final = re.compile(r"[.*+?\[\]|^$\\]")
"""What no code contains, and an expression does."""
_NOT_TRIED: Final = re.compile(r"[(\\]|[*+].*[*+]")
"""Expressions that may be too much work to try, of which `fits` then says that they fit nothing."""
_SURELY_CODES: Final = re.compile("[<>=,xX-]|[1-5][0-9]{2}")
"""What is meant as codes of HTTP, also where the metric is not known: status="20" may be anything."""
_OF_CLASSES: Final = re.compile(r"[1-5][xX]{2}(\.\*)?")


def label_of(*selectors: Selector) -> str:
    """The label with the status code: that of the metric, else the one that is written, else `code`."""
    known = (_known(each) for each in selectors)
    written = (matcher.label for each in selectors for matcher in each.matchers if matcher.label in CODES)
    return next((each for each in (*known, *written) if each), "code")


def bad_ones(*selectors: Selector) -> str:
    """The matcher of the bad requests, as somebody would write it for these counters."""
    label = label_of(*selectors)
    return f'{label}="5"' if label == _CLASS else f'{label}=~"5.."'


def selects_codes(selector: Selector) -> bool:
    """Whether it takes some codes out of a counter of all."""
    return any(each.label.lower() in CODES and _LIKE_A_CODE.fullmatch(each.value) for each in selector.matchers)


def code_traps(query: ParsedQuery) -> Iterator[tuple[Severity, str, int]]:
    """Yield the severity, the words and the place of each matcher of codes that cannot be meant."""
    for selector, _ in query.selectors():
        known = _known(selector)
        for matcher in selector.matchers:
            if matcher.label.lower() not in CODES:
                continue
            shown = query.text.shown(*matcher.span)
            if known and matcher.label != known and not _has(selector.matchers, known):
                words = f"{selector.metric} has the status code in the label {known}, so {shown} {_effect(matcher)}"
                yield "warning", f"{words}: write {_fixed(matcher, known, known)}", matcher.span.start
            elif found := _of_value(matcher, known, shown):
                yield *found, matcher.span.start


def _known(selector: Selector) -> str:
    return next((label for names, label in _LABELS if names.fullmatch(selector.metric)), "")


def _has(matchers: Iterable[Matcher], label: str) -> bool:
    return any(each.label == label for each in matchers)


def _of_value(matcher: Matcher, known: str, shown: str) -> tuple[Severity, str] | None:
    value, expression = matcher.value, matcher.op in ("=~", "!~")
    if not _LIKE_A_CODE.fullmatch(value):
        return None
    fix = f"write {_fixed(matcher, matcher.label, known)}"
    if not expression and _EXPRESSION.search(value):
        return "warning", f"{shown} {_effect(matcher)}, because {matcher.op} compares letters: {fix}"
    if expression and _NOT_TRIED.search(value):
        return None
    samples = _CLASSES if known == _CLASS else _CODES if known else (*_CODES, *_OTHERS)
    if not any(fits(value, each) if expression else value == each for each in samples):
        sure = known or _SURELY_CODES.search(value)
        return ("warning", f"{shown} {_effect(matcher)}: {fix}") if sure else None
    if not known and _OF_CLASSES.fullmatch(value) and "class" not in matcher.label.lower():
        text = value.removesuffix(".*")
        return "hint", f"{shown} is the text {text}, and most servers write 500: {fix}, unless yours writes {text}"
    return None


def _effect(matcher: Matcher) -> str:
    return "fits no request" if matcher.op in ("=", "=~") else "leaves out no request"


def _fixed(matcher: Matcher, label: str, known: str) -> str:
    """The matcher that was probably meant."""
    positive = matcher.op in ("=", "=~")
    classes = "".join(dict.fromkeys(re.findall(r"(?:^|[^0-9])([1-5])", matcher.value)))
    if known == _CLASS:
        op, value = ("=" if positive else "!=", classes) if len(classes) == 1 else ("=~" if positive else "!~", "5")
    elif re.fullmatch("[1-5][0-9]{2}", matcher.value):
        op, value = matcher.op, matcher.value
    else:
        op, value = "=~" if positive else "!~", f"[{classes}].." if len(classes) > 1 else f"{classes or 5}.."
    return f'{label}{op}"{value}"'
