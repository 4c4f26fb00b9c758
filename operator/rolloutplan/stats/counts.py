"""What came between two scrapes of raw counters, subtracted instance by instance.

An instance that is seen for the first time gives only what later looks are subtracted from, its bad requests and all of
them alike, so that the ratio is not bent. One whose total fell began again: both count from 0. One that is gone keeps
what it gave. One whose bad series is not born yet had no bad requests. Counters that contradict each other give none.
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
"""How far from a whole number a count may be: sums of floats are not quite whole."""
LARGEST = 2.0**53
"""Beyond it floats leave whole numbers out."""


def counter_delta(before: Sample, after: Sample) -> tuple[int, int] | Answer:
    """All requests and the bad ones between two samples; an Answer with the reason where they cannot be counted."""
    total = bad = 0
    for instance in sorted(before.keys() & after.keys()):
        counted = _counted(before[instance], after[instance])
        if isinstance(counted, Answer):
            return replace(counted, detail=f"{instance}: {counted.detail}")
        total, bad = total + counted[0], bad + counted[1]
    return total, bad


def _counted(before: tuple[float, float | None], after: tuple[float, float | None]) -> tuple[int, int] | Answer:
    """The counts of one instance, or why they are none."""
    (total_then, bad_then), (total, bad) = ((t, b or 0.0) for t, b in (before, after))
    if not all(isfinite(number) for number in (total_then, bad_then, total, bad)):
        return Answer(gap=Why.NAN, detail=f"{bad:g} bad of {total:g} are no numbers")
    if not all(0 <= number <= LARGEST for number in (total_then, bad_then, total, bad)):
        return _contradiction(f"{bad:g} bad of {total:g} are no counts")
    if total < total_then:
        total_then = bad_then = 0.0
    if bad < bad_then:
        return _contradiction(f"the bad requests ran backwards, from {bad_then:g} to {bad:g}, and the total did not")
    all_, wrong = total - total_then, bad - bad_then
    if max(abs(all_ - round(all_)), abs(wrong - round(wrong))) > ROUNDING:
        return _contradiction(f"{wrong:g} bad of {all_:g} are no whole numbers: name the counter as it is scraped")
    if round(wrong) > round(all_) or bad > total + ROUNDING:
        return _contradiction(f"{wrong:g} bad of only {all_:g}: bad must be a part of total")
    return round(all_), round(wrong)


def _contradiction(words: str) -> Answer:
    return Answer(gap=Why.NOT_COUNTERS, detail=words)
