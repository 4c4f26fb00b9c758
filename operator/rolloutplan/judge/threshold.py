"""A value against a bound: the plain comparison, made once for every form a bound can have."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from rolloutplan.judge.verdict import Answer, Outcome, Verdict, Why
from rolloutplan.plan.quantities import Comparison

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
    """What the answers say of a comparison. `old` is needed by every comparison with the old side."""
    if samples is not None and (few := _too_few(samples, at_least)):
        return few
    count = samples.value if samples else None
    for side, answer in (("new", new), ("old", old)):
        if answer is not None and answer.value is None:
            words = answer.detail if side == "new" or old is None else f"old side: {answer.detail}"
            return Verdict(Outcome.UNDECIDED, samples=count, why=answer.gap or Why.NO_DATA, detail=words)
    assert new.value is not None
    if comparison.kind == "value":
        return _verdict(comparison, new.value, comparison.number, new.value, count, "")
    assert old is not None and old.value is not None, f"{comparison.text} needs the old side's answer"
    return _against(comparison, new.value, old.value, count)


def _against(comparison: Comparison, new: float, old: float, samples: float | None) -> Verdict:
    """Compare without dividing, so that an old side of 0 has an answer too: 20 % is more than 1.5x of nothing."""
    words = f"new {new:.6g}, old {old:.6g}"
    change = new - old
    if comparison.kind == "absolute":
        return _verdict(comparison, new, old + comparison.number, change, samples, words)
    if comparison.kind == "relative":
        value = change / abs(old) if old else None
        return _verdict(comparison, new, old + comparison.number * abs(old), value, samples, words)
    return _verdict(comparison, new, comparison.number * old, new / old if old else None, samples, words)


def _verdict(
    comparison: Comparison, left: float, right: float, value: float | None, samples: float | None, words: str
) -> Verdict:
    holds = _OPERATORS[comparison.op](left, right)
    outcome = Outcome.PROVED if holds else Outcome.REFUTED
    return Verdict(outcome, value=value, samples=samples, detail=words, holds=holds)


def _too_few(samples: Answer, at_least: float) -> Verdict | None:
    if samples.gap not in (None, Why.NO_DATA):
        return Verdict(Outcome.UNDECIDED, why=samples.gap, detail=f"minSamples: {samples.detail}")
    count = samples.value or 0.0
    if count >= at_least:
        return None
    words = f"{count:.6g} samples, {at_least:.6g} are needed"
    return Verdict(Outcome.UNDECIDED, samples=count, why=Why.TOO_FEW_SAMPLES, detail=words)
