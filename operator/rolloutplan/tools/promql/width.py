"""How many series the result of a query can have, as far as the query alone says it. Pure."""

from __future__ import annotations

from typing import Final

from rolloutplan.tools.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Node,
    Number,
    Range,
    Selector,
    Subquery,
    Unary,
    parts,
    selectors,
)
from rolloutplan.tools.promql.types import type_of

NUMBER, ONE, MANY = range(3)
"""A number, at most one series, or many."""
OF_BUCKETS: Final = ("histogram_quantile", "histogram_quantiles", "histogram_fraction")
PICKS: Final = ("topk", "bottomk", "limitk")
"""Aggregations that keep some of the series as they are."""
_ABSENT: Final = ("absent", "absent_over_time")


def width(node: Node, gone: frozenset[str] = frozenset()) -> int:
    """Return the kind of result: a number, at most one series, or many that differ in labels other than `gone`."""
    match node:
        case Number():
            return NUMBER
        case Selector():
            recorded_for_one = ":" in node.metric and bool(_pinned(node))
            return ONE if recorded_for_one else MANY
        case Aggregate():
            return _width_of_aggregate(node, gone)
        case Binary():
            return _width_of_pairs(node, gone)
        case Unary():
            return width(node.expr, gone)
        case Call() if type_of(node) == "s":
            return NUMBER
        case Call() if node.name in _ABSENT:
            return ONE
        case Call() if node.name in OF_BUCKETS:
            gone |= {"le"}
        case Range() | Subquery():
            pass  # as wide as what is in it
    return max([ONE, *(width(part, gone) for part in parts(node))])


def _width_of_aggregate(node: Aggregate, gone: frozenset[str]) -> int:
    if node.op == "count_values":
        return MANY
    if node.op in PICKS and isinstance(node.param, Number) and node.param.value == 1 and not node.grouping:
        return ONE
    if node.op in (*PICKS, "limit_ratio") or node.grouping == "without":
        return width(node.expr, gone)
    return ONE if not node.grouping or set(node.labels) <= gone | _pinned(node.expr) else MANY


def _pinned(node: Node) -> set[str]:
    """Return the labels that have one value in all selectors."""
    pinned = [{each.label for each in selector.matchers if each.pins} for selector in selectors(node)]
    return set.intersection(*pinned) if pinned else set()


def _width_of_pairs(node: Binary, gone: frozenset[str]) -> int:
    lhs, rhs = width(node.lhs, gone), width(node.rhs, gone)
    if node.op in ("and", "unless") or node.group == "group_left":
        return lhs
    if node.group == "group_right":
        return rhs
    return max(lhs, rhs) if node.op == "or" or NUMBER in (lhs, rhs) else min(lhs, rhs)
