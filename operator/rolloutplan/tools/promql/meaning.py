"""What a query measures: a share of requests, a latency, a rate, a count, and whether more of it is better. Pure.

It is read from the form of the query and the names in it. What is not certain is left open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from rolloutplan.tools.promql.goodness import goodness, goodness_of, goodness_of_name
from rolloutplan.tools.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Node,
    Number,
    PromqlError,
    Range,
    Selector,
    Subquery,
    Unary,
    selectors,
)
from rolloutplan.tools.promql.parse import TooLargeError
from rolloutplan.tools.promql.syntax import UnclearError
from rolloutplan.tools.promql.tree import read_tree

Kind: TypeAlias = Literal["share", "latency", "rate", "count", "gauge", "other"]
Unit: TypeAlias = Literal["s", "ms", "us", "ns", "bytes", "percent", "cores", ""]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a value is."""

    kind: Kind
    good: bool | None = None
    """Whether more is better; None where it is not known."""
    unit: Unit = ""
    scale: float = 1.0
    """What the value in its unit is multiplied by: 100 where a share is written as a percentage."""
    name: str = "this"
    """What it is called in a message."""
    metric: str = ""
    whole: bool = True
    """Of a share, whether the rest is the opposite: what is not bad is good."""


_OTHER: Final = Meaning("other")
_SMALLEST: Final = 1e-12
"""Nobody multiplies what is measured by less, and by numbers near 0 or without an end nothing can be computed."""
_SUFFIXES: Final = ("_max", "_avg", "_mean", "_bucket", "_count", "_sum", "_total")
_KNOWN_UNITS: Final[dict[str, Unit]] = {"envoy_cluster_upstream_rq_time": "ms", "envoy_http_downstream_rq_time": "ms"}
"""Of common exporters whose names do not say them."""
_UNITS: Final[dict[str, Unit]] = {
    "seconds": "s", "sec": "s", "secs": "s", "milliseconds": "ms", "millis": "ms", "ms": "ms", "msec": "ms",
    "microseconds": "us", "us": "us", "usec": "us", "nanoseconds": "ns", "ns": "ns", "bytes": "bytes",
    "percent": "percent", "percentage": "percent", "pct": "percent",
}  # fmt: skip
_TIMES: Final = frozenset({"s", "ms", "us", "ns"})
_OF_LATENCY: Final = re.compile(
    "duration|latency|latencies|response_time|elapsed|requests?_(milli)?seconds|_rq_time|took"
)
_SATURATED: Final = re.compile("usage|used|utili[sz]ation|working_set|saturation|throttled")
_LIMITS: Final = re.compile(
    "limit|capacity|size|max|total|quota|allocatable|spec|desired|replicas|periods|reads|lookups"
)
_CORES: Final = re.compile("cpu_(usage_)?seconds")
_SAME_FIRST: Final = frozenset(
    {"abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max", "sort", "sort_desc", "scalar", "vector"}
    | {"label_replace", "label_join", "avg_over_time", "max_over_time", "min_over_time", "last_over_time"}
)
_SAME_LAST: Final = frozenset({"quantile_over_time"})
_KEEPS: Final = frozenset({"sum", "avg", "min", "max", "topk", "bottomk", "quantile", "limitk"})


def meaning_of(node: Node) -> Meaning:
    """What a query measures."""
    match node:
        case Selector():
            return _of_selector(node)
        case Range():
            return meaning_of(node.selector)
        case Subquery():
            return meaning_of(node.expr)
        case Unary():
            return meaning_of(node.expr) if node.op == "+" else _OTHER
        case Aggregate() if node.op in _KEEPS:
            inner = meaning_of(node.expr)
            # A sum of shares is no share, and a sum of latencies no latency.
            summed = node.op == "sum" and inner.kind in ("share", "latency")
            return _OTHER if summed and _has_series_of_its_own(node.expr) else inner
        case Call():
            return _of_call(node)
        case Binary():
            return _of_binary(node)
    return _OTHER


def _has_series_of_its_own(node: Node) -> bool:
    """Whether it can have more than one series: a sum of what is summed already changes nothing."""
    return not isinstance(node, Aggregate) or bool(node.grouping)


def unit_of(name: str) -> Unit:
    """The unit that the name of a metric ends with."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return _KNOWN_UNITS.get(name) or _UNITS.get(name.rpartition("_")[2].lower(), "")


def constant(node: Node) -> float | None:
    """The value of an expression without series, where it can be computed."""
    match node:
        case Number():
            return node.value
        case Unary():
            value = constant(node.expr)
            return None if value is None else -value if node.op == "-" else value
        case Binary() if node.op in ("*", "/", "+", "-"):
            lhs, rhs = constant(node.lhs), constant(node.rhs)
            if lhs is None or rhs is None or (node.op == "/" and not rhs):
                return None
            return {"*": lhs * rhs, "+": lhs + rhs, "-": lhs - rhs, "/": lhs / rhs if rhs else 0.0}[node.op]
    return None


# ---- selectors and functions ---------------------------------------------------------------------


def _of_selector(selector: Selector) -> Meaning:
    name = selector.metric
    unit, good = unit_of(name), goodness_of(selector)
    lower = name.lower()
    if unit in _TIMES and (_OF_LATENCY.search(lower) or any(m.label == "quantile" for m in selector.matchers)):
        return Meaning("latency", False, unit, name=_quantile_name(selector), metric=name)
    if re.search("(ratio|share|rate|availability)$", lower) and good is not None and ":" in name:
        return Meaning("share", good, name=name, metric=name)
    if lower.endswith(("_ratio", "_share")) and good is not None:
        return Meaning("share", good, name=name, metric=name)
    if good is None and _SATURATED.search(lower):
        good = False
    return Meaning("gauge", good, unit, name=name or "this", metric=name)


def _quantile_name(selector: Selector) -> str:
    values = [each.value for each in selector.matchers if each.label == "quantile" and each.pins]
    return f"p{values[0].removeprefix('0.')}" if values else "the latency"


def _of_call(call: Call) -> Meaning:
    if call.name in ("rate", "irate", "increase"):
        found = selectors(call)
        name, good = (found[0].metric, goodness(found)) if found else ("", None)
        if call.name != "increase" and _CORES.search(name):
            return Meaning("gauge", False, "cores", name="the CPU", metric=name)
        if unit_of(name) == "bytes" or name.endswith("_sum"):
            return Meaning("other", metric=name)
        kind: Kind = "count" if call.name == "increase" else "rate"
        return Meaning(kind, good, name=f"the {'number' if kind == 'count' else 'rate'} of {name}", metric=name)
    if call.name == "histogram_quantile":
        return _of_histogram(call, _percentile(call.args[0]))
    if call.name == "histogram_avg":
        return _of_histogram(call, "the mean")
    if call.name == "histogram_fraction":
        lower = constant(call.args[0])
        return (
            Meaning("share", True if lower == 0 else None, name="the share of fast requests") if lower == 0 else _OTHER
        )
    if call.name in ("absent", "absent_over_time"):
        return Meaning("count", False, name="what is absent")
    if call.name in _SAME_FIRST:
        return meaning_of(call.args[0])
    return meaning_of(call.args[-1]) if call.name in _SAME_LAST else _OTHER


def _percentile(node: Node) -> str:
    value = constant(node)
    return f"p{100 * value:g}".replace(".", "") if value is not None and 0 < value < 1 else "the quantile"


def _of_histogram(call: Call, name: str) -> Meaning:
    found = selectors(call)
    metric = found[0].metric if found else ""
    unit = unit_of(metric)
    if unit == "bytes":
        return Meaning("gauge", None, unit, name=name, metric=metric)
    latency = unit in _TIMES or _OF_LATENCY.search(metric.lower())
    return Meaning("latency", False, unit, name=name, metric=metric) if latency else _OTHER


# ---- operators -----------------------------------------------------------------------------------


def _of_binary(node: Binary) -> Meaning:
    lhs, rhs = constant(node.lhs), constant(node.rhs)
    if node.op in ("and", "or", "unless") or (node.op in ("<", ">", "<=", ">=", "==", "!=") and not node.returns_bool):
        return meaning_of(node.lhs)
    if node.op == "*" and (lhs or rhs):
        return _scaled(node.rhs, lhs) if lhs else _scaled(node.lhs, rhs or 1.0)
    if node.op == "/" and rhs:
        return _scaled(node.lhs, 1 / rhs)
    if node.op == "/" and lhs is None and rhs is None:
        return _of_quotient(node.lhs, node.rhs)
    if node.op == "-" and lhs is not None:
        return _complement(lhs, meaning_of(node.rhs))
    if node.op == "-" and isinstance(node.lhs, Call) and node.lhs.name == "time":
        return Meaning("gauge", False, name="the age")
    if node.op in ("+", "-"):
        return _of_sum(node)
    return _OTHER


def _scaled(node: Node, factor: float) -> Meaning:
    inner = meaning_of(node)
    scale = inner.scale * factor
    return replace(inner, scale=scale) if inner.kind != "other" and _SMALLEST < abs(scale) < 1 / _SMALLEST else _OTHER


def _complement(whole: float, inner: Meaning) -> Meaning:
    """1 - share, 100 - percentage."""
    of_share = inner.kind == "share" and abs(whole - inner.scale) < 1e-9
    of_percent = inner.unit == "percent" and whole == 100
    if not (of_share or of_percent):
        return _OTHER
    good = None if inner.good is None else not inner.good
    return replace(inner, good=good, name=_name_of_share(good))


def _name_of_share(good: bool | None) -> str:
    return "the share" if good is None else f"the share of {'good' if good else 'bad'} requests"


def _of_sum(node: Binary) -> Meaning:
    """Totals less good ones are bad ones; counts that are added stay what they are."""
    lhs, rhs = meaning_of(node.lhs), meaning_of(node.rhs)
    if lhs.kind != rhs.kind or lhs.kind not in ("rate", "count"):
        return _OTHER
    if node.op == "-" and lhs.good is None and rhs.good is not None:
        return replace(lhs, good=not rhs.good)
    return lhs if node.op == "+" and lhs.good == rhs.good else replace(lhs, good=None)


def _of_quotient(part: Node, whole: Node) -> Meaning:
    upper, lower = selectors(part), selectors(whole)
    if not upper or not lower:
        return _OTHER
    name, of = upper[0].metric, lower[0].metric
    stem = name.removesuffix("_sum")
    if stem != name and of == f"{stem}_count":
        unit = unit_of(name)
        if unit in _TIMES or _OF_LATENCY.search(name.lower()):
            return Meaning("latency", False, unit, name="the mean", metric=name)
        return _OTHER
    if name.endswith("_bucket") and of in (f"{name.removesuffix('_bucket')}_count", name):
        le = [each for each in upper[0].matchers if each.label == "le"]
        return Meaning("share", True, name="the share of fast requests", metric=name) if le else _OTHER
    counted, all_ = meaning_of(part), meaning_of(whole)
    if counted.kind in ("rate", "count") and all_.kind in ("rate", "count"):
        return _share_of_counts(counted, all_, upper, lower)
    return replace(_share_of_gauges(name, of, counted.good), scale=counted.scale)


def _share_of_counts(counted: Meaning, all_: Meaning, upper: list[Selector], lower: list[Selector]) -> Meaning:
    """A share where the one is a part of the other; restarts per request, say, may be above 1."""
    same = counted.metric == all_.metric or any(each.metric == counted.metric for each in lower)
    kin = same or _stem(counted.metric) == _stem(all_.metric)
    if counted.good is None or not kin or (counted.good == all_.good and len(lower) == 1 and upper[0] != lower[0]):
        return _OTHER
    scale = counted.scale / all_.scale
    return Meaning("share", counted.good, scale=scale, name=_name_of_share(counted.good), metric=counted.metric)


def _stem(name: str) -> str:
    """A name without its words of outcome: requests_failed_total and requests_total have the same."""
    words = [each for each in re.split("[_:]+", name.lower()) if goodness_of_name(each) is None]
    kept = [each for each in words if each not in ("total", "count", "all", "reads", "lookups", "attempts", "by")]
    return "_".join(each.rstrip("s") for each in kept)


def _share_of_gauges(name: str, of: str, good: bool | None) -> Meaning:
    """Used of a limit, ready of the desired."""
    if not _LIMITS.search(of.lower()) or name == of:
        return _OTHER
    if good is None and _SATURATED.search(name.lower()):
        good = False
    return Meaning("share", good, name=f"{name} of {of}", metric=name, whole=False) if good is not None else _OTHER


# ---- counts of requests --------------------------------------------------------------------------


def counted_back(text: str) -> timedelta | None:
    """Over which range a query counts all requests with increase(); None where it does something else."""
    try:
        node = read_tree(text)
    except (PromqlError, TooLargeError, UnclearError):
        return None
    while isinstance(node, Aggregate) and node.op == "sum":
        node = node.expr
    if not isinstance(node, Call) or node.name != "increase" or len(node.args) != 1:
        return None
    counted = node.args[0]
    parts_of_all = any(goodness_of(each) is not None for each in selectors(counted))
    return None if parts_of_all or not isinstance(counted, Range) else counted.range
