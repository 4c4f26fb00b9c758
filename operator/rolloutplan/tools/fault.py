"""How large a fault is that `simulate` asks about, and whether a predicate shows one of this size at all.

A size is one of three forms, and means something exact for each kind of predicate:

- `10%`: this share of the new side's requests goes wrong. Where a predicate is about time, that many are slower than
  its bound.
- `2x`: the share of requests that go wrong, and how long each takes, is so many times the usual.
- `all`: every request goes wrong.

Nothing says what a query measures but its form and its bound. Where they do not, the answer is None: whoever wrote the
query knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from promql_parser import BinaryExpr, Expr, NumberLiteral, ParenExpr, VectorSelector

from rolloutplan.api.predicate import Predicate
from rolloutplan.stats.threshold import compare
from rolloutplan.tools.promql.parse import ParseError, TooLargeError, below, parse_bounded

USUAL_FAULT: Final = "10%"
"""What is assumed where nothing is said: one request in ten. It is large enough for any guard that is worth having, and
small enough that a person would not see it at 5 % of the traffic."""
_TIMES: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)x")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_ROUNDING: Final = 1e-9
"""1 - 0.99 is a little more than 1 %."""
_QUANTILE: Final = re.compile(r"\bhistogram_quantile\s*\(\s*(0?\.[0-9]+)\s*,")


@dataclass(frozen=True, slots=True)
class Fault:
    """A size: `times` the usual, or the `share` of the requests that go wrong (1 for all); the other one is None."""

    text: str
    times: float | None = None
    share: float | None = None

    def bad_share(self, usual: float) -> float:
        """The share of the new side's requests that go wrong, where `usual` is the usual one."""
        return min(self.times * usual, 1.0) if self.times is not None else max(self.share or 0.0, usual)


def read_fault(text: str) -> Fault:
    """Parse a size. Raises ValueError with the fix."""
    if text == "all":
        return Fault(text, share=1.0)
    if (found := _TIMES.fullmatch(text)) and float(found[1]) > 1:
        return Fault(text, times=float(found[1]))
    if (found := _SHARE.fullmatch(text)) and 0 < float(found[1]) <= 100:
        return Fault(text, share=float(found[1]) / 100)
    raise ValueError(
        f'"{text}" is not the size of a fault: write 10% (so many of the requests go wrong), 2x (so many times the '
        f"usual share or latency, more than 1x) or all"
    )


def shows(fault: Fault, predicate: Predicate, usual: float) -> bool | None:
    """Whether a guard or `fail` predicate is true for a fault of this size once its whole window lies in it.

    `usual` is the usual share of requests that go wrong. None where neither query nor bound says what is measured.
    """
    if predicate.alert is not None or predicate.has_references:
        return None
    if scale := 1.0 if predicate.events is not None else scale_of_share(predicate):
        new, old = (scale * share for share in shares_of(fault, predicate, usual))
        return compare(predicate.comparison, new, None if predicate.comparison.kind == "value" else old).holds
    if predicate.judges_latency:
        return _latency_crosses(fault, predicate)
    factor = predicate.comparison.kind in ("ratio", "relative") and fault.times is not None
    return _factor_crosses(fault.times or 1.0, predicate) if factor else None


def shares_of(fault: Fault, predicate: Predicate, usual: float) -> tuple[float, float]:
    """What a share is, with this fault on the new side and as usual on the old one.

    A predicate that fails above its bound measures what goes wrong, one that fails below it what goes well.
    """
    new = fault.bad_share(usual)
    return (new, usual) if predicate.comparison.op in (">", ">=", "==", "!=") else (1 - new, 1 - usual)


def _latency_crosses(fault: Fault, predicate: Predicate) -> bool | None:
    """A quantile is beyond any bound if more requests are slow than lie above it. Nothing is known of an average."""
    quantile = quantile_of(predicate.query or "")
    if fault.times is not None:
        compared = predicate.comparison.kind in ("ratio", "relative")
        return _factor_crosses(fault.times, predicate) if compared else None
    if fault.share == 1 or quantile is None:
        return True if fault.share == 1 else None
    return (fault.share or 0.0) > 1 - quantile + _ROUNDING


def _factor_crosses(times: float, predicate: Predicate) -> bool:
    """Whether a figure that is so many times the old side's crosses the bound; a good figure is so many times less."""
    above = predicate.comparison.op in (">", ">=", "==", "!=")
    return compare(predicate.comparison, times if above else 1 / times, 1.0).holds


def quantile_of(query: str) -> float | None:
    """The quantile of a histogram that a query asks for; None where it asks for none."""
    found = _QUANTILE.search(query)
    return float(found[1]) if found else None


def scale_of_share(predicate: Predicate) -> float:
    """What a share of requests is multiplied by, 100 for a percentage; 0 where a query does not measure a share."""
    if predicate.query is None:
        return 0.0
    try:
        scale = _scale(parse_bounded(predicate.query.replace("$window", "1m").replace("$", "_")))
    except (ParseError, TooLargeError):
        return 0.0
    comparison = predicate.comparison
    number = comparison.number if comparison.kind in ("value", "absolute") else 0.0
    return scale if abs(number) <= scale else 0.0


def _scale(tree: Expr) -> float:
    """The scale of some of a metric by more of it, of one less that, or of a multiple; 0 for anything else."""
    if isinstance(tree, ParenExpr):
        return _scale(tree.expr)
    if not isinstance(tree, BinaryExpr):
        return 0.0
    if str(tree.op) == "-":
        scale = _scale(tree.rhs)
        return scale if isinstance(tree.lhs, NumberLiteral) and tree.lhs.val == scale else 0.0
    if str(tree.op) == "*":
        factor, rest = _factored(tree)
        return factor * _scale(rest) if rest is not tree else 0.0
    factor, counted = _factored(tree.lhs)
    above, of = _metrics(counted), _metrics(tree.rhs)
    alike = str(tree.op) == "/" and len(above) == len(of) == 1 and _are_of_one(above.pop(), of.pop())
    return factor if alike else 0.0


def _factored(tree: Expr) -> tuple[float, Expr]:
    """A number that the rest is multiplied by, and the rest; 1 and all of it where there is none."""
    if isinstance(tree, BinaryExpr) and str(tree.op) == "*":
        if isinstance(tree.lhs, NumberLiteral):
            return tree.lhs.val, tree.rhs
        if isinstance(tree.rhs, NumberLiteral):
            return tree.rhs.val, tree.lhs
    return 1.0, tree


def _metrics(tree: Expr) -> set[str]:
    return {each.name or "" for each in below(tree) if isinstance(each, VectorSelector)}


def _are_of_one(name: str, other: str) -> bool:
    """Whether two metrics count the same requests: one name, or names that begin alike; a sum of seconds is none."""
    if name.endswith("_sum") or other.endswith("_sum"):
        return False
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))
    return 2 * alike >= max(len(name), len(other)) > 0
