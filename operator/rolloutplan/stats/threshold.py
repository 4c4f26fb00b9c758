"""Compares a value with a bound, for every form of bound.

The answers come from a metric source, through `engine/analysis`, which also gets the verdict.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import isinf, isnan
from typing import NamedTuple

from rolloutplan.api.quantities import Comparison
from rolloutplan.stats.verdict import Answer, Outcome, Verdict, Why

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def judge(
    comparison: Comparison,
    new: Answer,
    old: Answer | None = None,
    samples: Answer | None = None,
    at_least: float = 0,
) -> Verdict:
    """The verdict on a comparison. Every comparison with the old side needs `old`."""
    if samples is not None and (few := _too_few(samples, at_least)):
        return few
    count = samples.value if samples else None
    if new.value is None:
        return Verdict(Outcome.UNDECIDED, samples=count, why=new.gap or Why.NO_DATA, detail=new.detail)
    if old is not None and old.value is None:
        why, words = old.gap or Why.NO_DATA, f"old side: {old.detail}"
        lacks_old = why in (Why.NO_DATA, Why.NAN, Why.STALE_SAMPLES)
        return Verdict(Outcome.UNDECIDED, samples=count, why=why, detail=words, lacks_old=lacks_old)
    if old is not None and old.value is not None and not _comparable(comparison, new.value, old.value):
        words = f"new {new.value:.6g}, old {old.value:.6g}: infinite values of both sides cannot be compared"
        return Verdict(Outcome.UNDECIDED, samples=count, why=Why.NAN, detail=words)
    found = compare(comparison, new.value, old.value if old else None)
    outcome = Outcome.PROVED if found.holds else Outcome.REFUTED
    words = "" if comparison.kind == "value" or old is None else f"new {new.value:.6g}, old {old.value:.6g}"
    return Verdict(outcome, value=found.value, samples=count, detail=words, holds=found.holds)


def _comparable(comparison: Comparison, new: float, old: float) -> bool:
    """Whether new is above or below the bound that old gives; two infinite values may be neither."""
    bound = _bound(comparison, old)
    return not isnan(bound) and not (isinf(new) and new == bound)


def _bound(comparison: Comparison, old: float) -> float:
    """What the new side's value is compared with."""
    match comparison.kind:
        case "absolute":
            return old + comparison.number
        case "relative":
            return old + comparison.number * abs(old)
        case "ratio":
            return comparison.number * old
        case "value":
            return comparison.number


class Compared(NamedTuple):
    """The left operand, None where it cannot be computed; and whether the comparison is true."""

    value: float | None
    holds: bool


def compare(comparison: Comparison, new: float, old: float | None = None) -> Compared:
    """Compare without dividing, so that an old side of 0 has a result too: 20 % is more than 1.5x of 0."""
    holds = OPERATORS[comparison.op]
    if comparison.kind == "value":
        return Compared(new, holds(new, comparison.number))
    assert old is not None, f"{comparison.text} needs the old side's answer"
    true = holds(new, _bound(comparison, old))
    if comparison.kind == "absolute":
        return Compared(new - old, true)
    if isinf(old):
        return Compared(None, true)
    if comparison.kind == "relative":
        return Compared((new - old) / abs(old) if old else None, true)
    return Compared(new / old if old else None, true)


def _too_few(samples: Answer, at_least: float) -> Verdict | None:
    if samples.gap not in (None, Why.NO_DATA):
        return Verdict(Outcome.UNDECIDED, why=samples.gap, detail=f"minSamples: {samples.detail}")
    count = samples.value or 0.0
    if isinf(count):
        return Verdict(Outcome.UNDECIDED, why=Why.NAN, detail=f"minSamples: {count} is no number of samples")
    if count >= at_least:
        return None
    words = f"{count:.6g} samples, {at_least:.6g} are needed"
    return Verdict(Outcome.UNDECIDED, samples=count, why=Why.TOO_FEW_SAMPLES, detail=words)
