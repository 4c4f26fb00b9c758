"""Compares a value with a bound, for every form of bound.

The answers come from a metric source, through `engine/analysis`, which also gets the verdict.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rolloutplan.api.quantities import Comparison
from rolloutplan.stats.verdict import Answer, Outcome, Verdict, Why

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
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
    for side, answer in (("new", new), ("old", old)):
        if answer is not None and answer.value is None:
            words = answer.detail if side == "new" or old is None else f"old side: {answer.detail}"
            return Verdict(Outcome.UNDECIDED, samples=count, why=answer.gap or Why.NO_DATA, detail=words)
    assert new.value is not None
    found = compare(comparison, new.value, old.value if old else None)
    outcome = Outcome.PROVED if found.holds else Outcome.REFUTED
    words = "" if comparison.kind == "value" or old is None else f"new {new.value:.6g}, old {old.value:.6g}"
    return Verdict(outcome, value=found.value, samples=count, detail=words, holds=found.holds)


class Compared(NamedTuple):
    """The left operand, None where it cannot be computed; and whether the comparison is true."""

    value: float | None
    holds: bool


def compare(comparison: Comparison, new: float, old: float | None = None) -> Compared:
    """Compare without dividing, so that an old side of 0 has a result too: 20 % is more than 1.5x of 0."""
    holds, number = _OPERATORS[comparison.op], comparison.number
    if comparison.kind == "value":
        return Compared(new, holds(new, number))
    assert old is not None, f"{comparison.text} needs the old side's answer"
    if comparison.kind == "absolute":
        return Compared(new - old, holds(new, old + number))
    if comparison.kind == "relative":
        return Compared((new - old) / abs(old) if old else None, holds(new, old + number * abs(old)))
    return Compared(new / old if old else None, holds(new, number * old))


def _too_few(samples: Answer, at_least: float) -> Verdict | None:
    if samples.gap not in (None, Why.NO_DATA):
        return Verdict(Outcome.UNDECIDED, why=samples.gap, detail=f"minSamples: {samples.detail}")
    count = samples.value or 0.0
    if count >= at_least:
        return None
    words = f"{count:.6g} samples, {at_least:.6g} are needed"
    return Verdict(Outcome.UNDECIDED, samples=count, why=Why.TOO_FEW_SAMPLES, detail=words)
