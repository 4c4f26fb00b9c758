"""The increase of raw counters between two scrapes, subtracted for each instance.

The samples come from a metric source (`engine/analysis/counting.py`); the increase goes to the sequential test.

- A new instance counts nothing at its first sample: that is only the baseline, for all and for bad requests alike, so
  that the ratio is not biased.
- An instance whose total fell was restarted: both of its counters count from 0.
- An instance that is gone keeps what was counted for it.
- An instance without a bad series had no bad requests so far.
- Counters that contradict each other give no count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import TypeAlias

from rolloutplan.stats.verdict import Answer, Why

Sample: TypeAlias = Mapping[str, tuple[float, float | None]]
"""Raw counters at one instant: for each instance all requests, and the bad ones (None: no such series yet)."""

ROUNDING = 1e-6
"""How far a count may be from a whole number: sums of floats are not exact."""
LARGEST = 2.0**53
"""Above it, floats cannot represent every whole number."""


def counter_delta(before: Sample, after: Sample) -> tuple[int, int] | Answer:
    """All and bad requests between two samples; an Answer with the reason where they cannot be counted."""
    total = bad = 0
    for instance in sorted(before.keys() & after.keys()):
        counted = _counted(before[instance], after[instance])
        if isinstance(counted, Answer):
            return replace(counted, detail=f"{instance}: {counted.detail}")
        total, bad = total + counted[0], bad + counted[1]
    return total, bad


def _counted(before: tuple[float, float | None], after: tuple[float, float | None]) -> tuple[int, int] | Answer:
    """The counts of one instance, or the reason why there are none."""
    (total_then, bad_then), (total, bad) = ((t, b or 0.0) for t, b in (before, after))
    if not all(isfinite(number) for number in (total_then, bad_then, total, bad)):
        return Answer(gap=Why.NAN, detail=f"{bad:g} bad of {total:g} are not numbers")
    if not all(0 <= number <= LARGEST for number in (total_then, bad_then, total, bad)):
        return _contradiction(f"{bad:g} bad of {total:g} are not counts")
    if total < total_then:
        total_then = bad_then = 0.0
    if bad < bad_then:
        return _contradiction(f"the counter of bad requests fell from {bad_then:g} to {bad:g} while the total did not")
    all_, wrong = total - total_then, bad - bad_then
    if max(abs(all_ - round(all_)), abs(wrong - round(wrong))) > ROUNDING:
        return _contradiction(f"{wrong:g} bad of {all_:g} are not whole numbers: write the counter as it is scraped")
    if round(wrong) > round(all_) or bad > total + ROUNDING:
        return _contradiction(f"{wrong:g} bad of only {all_:g}: bad must be a part of total")
    return round(all_), round(wrong)


def _contradiction(words: str) -> Answer:
    return Answer(gap=Why.NOT_COUNTERS, detail=words)
