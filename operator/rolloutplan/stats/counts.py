"""The increase of raw counters from one evaluation to the next, for each instance.

The samples come from a metric source (`engine/analysis/counting.py`); the increase goes to the sequential test.

- A new instance counts nothing at its first sample: that is only the baseline, for all and for bad requests alike, so
  that the ratio is not biased. An instance that is gone keeps what was counted for it.
- An instance without a bad series had no bad requests so far.
- A total that fell may be an older answer: replicas of a source are behind each other by up to a scrape. Nothing of
  that instance is counted until it is no longer behind, and then everything since its last count.
- It was a restart if the total is what one process can have served since, and the fall is too deep or lasts too long
  for a replica: then both counters count from 0.
- After a restart, a total as before it is an older answer too.
- Any other total that stays behind hides several processes under one key, of which one has left. It could return with
  all that it ever counted, so nothing of that key is counted until it is no longer behind, and then from there on.
  A key without an instance is one of several from the start: it has no restarts, and is counted once its pace is known.
- An instance may have been restarted just before it was seen first. A leap of a new instance, to more than it had ever
  served and faster than most serve, may then be the answer of a replica from before the restart: it counts once the
  next sample confirms it.
- Counters that contradict each other give no count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final, TypeAlias

from rolloutplan.stats.verdict import Answer, Why

Sample: TypeAlias = Mapping[str, tuple[float, float | None]]
"""Raw counters at one instant: for each instance all requests, and the bad ones (None: no such series yet)."""

ROUNDING: Final = 1e-6
"""How far a count may be from a whole number: sums of floats are not exact."""
LARGEST: Final = 2.0**53
"""Above it, floats cannot represent every whole number."""
LAG: Final = 120.0
"""Seconds that an answer may be older than the one before it."""
_BURST: Final = 4.0
"""How much faster than before an instance may serve after a restart."""
_STEADY: Final = 1.5
"""How much faster than lately it may have served since."""
_LEAP: Final = 20.0
"""How much faster than before one key may count, and `_MANY` requests at once, unless processes came back to it."""
_MANY: Final = 1000
_FAST: Final = 1000.0
"""Requests a second that a new instance may serve before that is a leap."""
_FIX: Final = (
    "one key counts several pods, of which one has left: keep the labels job and instance of each pod in what is"
    " scraped, recorded and aggregated"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of one instance: its counters when they were counted last. Instants are in seconds."""

    total: float
    bad: float
    at: float
    anchor: tuple[float, float]
    """An earlier total and its instant, from which the pace is measured."""
    pace: float | None = None
    """Requests a second, lately; None until they have been counted for as long as a replica can be behind."""
    behind: float | None = None
    """Since when the counters are below these."""
    low: tuple[float, float] = (0.0, 0.0)
    """The lowest total since then, and its instant."""
    former: tuple[float, float] | None = None
    """The total before the last restart, and when that was counted."""
    broken: bool = False
    """Whether it hides several processes, of which one has left."""
    leap: tuple[float, float] | None = None
    """The total to which a new instance leapt, and since when it does; nothing of that has been counted so far."""


Marks: TypeAlias = Mapping[str, Mark]


@dataclass(frozen=True, slots=True)
class Increase:
    """What a sample adds to the marks before it; nothing where the counters contradict them."""

    marks: Marks
    """The marks after it."""
    since: float
    """The earliest instant from which it was counted."""
    total: int = 0
    bad: int = 0
    problem: Answer | None = None


def first_marks(sample: Sample, at: float) -> Marks:
    """The baseline: nothing is counted before it."""
    return {instance: _mark(counters, at) for instance, counters in sample.items()}


def counter_increase(marks: Marks, sample: Sample, at: float) -> Increase:
    """What was counted since the marks; of several contradictions the first by name is told."""
    after: dict[str, Mark] = {}
    total, bad, since, problem = 0, 0, at, None
    for instance in sorted(sample):
        known = marks.get(instance)
        if known is None:
            after[instance] = _mark(sample[instance], at)
            continue
        step = _step(known, _mark(sample[instance], at), merged=instance.endswith("/"))
        after[instance] = step.mark
        if step.problem is not None and problem is None:
            problem = replace(step.problem, detail=f"{instance}: {step.problem.detail}")
        if step.total:
            total, bad, since = total + step.total, bad + step.bad, min(since, known.at)
    return Increase(after, at, problem=problem) if problem else Increase(after, since, total, bad)


@dataclass(frozen=True, slots=True)
class _Step:
    mark: Mark
    total: int = 0
    bad: int = 0
    problem: Answer | None = None


def _mark(counters: tuple[float, float | None], at: float) -> Mark:
    return Mark(counters[0], counters[1] or 0.0, at, (counters[0], at))


def _step(known: Mark, now: Mark, *, merged: bool) -> _Step:
    """The counts of one instance, or the reason why there are none."""
    numbers = (known.total, known.bad, now.total, now.bad)
    if not all(isfinite(number) for number in numbers):
        return _Step(now, problem=Answer(gap=Why.NAN, detail=f"{now.bad:g} bad of {now.total:g} are not numbers"))
    if not all(0 <= number <= LARGEST for number in numbers):
        return _Step(now, problem=_contradiction(f"{now.bad:g} bad of {now.total:g} are not counts"))
    fell = now.total < known.total
    restarted = fell and not merged and (_restarted_now(known, now) or _restarted_before(known, now))
    if fell and not restarted:
        return _behind(known, now)
    if now.bad < known.bad and not fell:
        words = f"the counter of bad requests fell from {known.bad:g} to {now.bad:g} while the total did not"
        return _Step(_lower(known, now, broken=_is_late(known, now.at)), problem=_contradiction(words))
    if known.broken:
        return _Step(now)
    if restarted:
        return _counted(Mark(0, 0, known.at, (0, known.at), known.pace, former=(known.total, now.at)), now)
    if _from_before_restart(known, now):
        return _Step(known)
    if known.pace is None and (merged or _leaps(known, now)):
        return _Step(_paced(known, now) if merged else _leapt_to(known, now))
    if merged and known.pace is not None and _leapt(known.pace, known, now):
        words = f"the total leapt from {known.total:.0f} to {now.total:.0f}, as if pods had come back to it: {_FIX}"
        return _Step(now, problem=_contradiction(words))
    return _counted(known, now)


def _counted(before: Mark, now: Mark) -> _Step:
    all_, wrong = now.total - before.total, now.bad - before.bad
    here = _paced(before, now)
    if max(abs(all_ - round(all_)), abs(wrong - round(wrong))) > ROUNDING:
        words = f"{wrong:g} bad of {all_:g} are not whole numbers: write the counter as it is scraped"
        return _Step(here, problem=_contradiction(words))
    if round(wrong) > round(all_) or now.bad > now.total + ROUNDING:
        return _Step(here, problem=_contradiction(f"{wrong:g} bad of only {all_:g}: bad must be a part of total"))
    return _Step(here, round(all_), round(wrong))


def _paced(before: Mark, now: Mark) -> Mark:
    """The mark after it, with the pace; one scrape more or less at its ends matters little in that time."""
    total, at = before.anchor
    if now.at - at < LAG:
        return replace(now, anchor=before.anchor, pace=before.pace, former=before.former)
    pace = max((now.total - total) / (now.at - at), 0.8 * (before.pace or 0.0))
    return replace(now, pace=pace, former=before.former)


def _restarted_now(known: Mark, now: Mark) -> bool:
    """Whether the total is what one process can have served since, and the fall too deep for a replica's lag."""
    if known.broken or known.pace is None or 2 * now.total > known.total:
        return False
    return known.total - now.total > known.pace * LAG and _can_serve(_BURST * known.pace, known, now)


def _restarted_before(known: Mark, now: Mark) -> bool:
    """Whether a total that stayed behind for too long rises as that of a process that began with it."""
    total, at = known.low
    if not _is_late(known, now.at) or now.at <= at:
        return False
    return _can_serve(_STEADY * (now.total - total) / (now.at - at), known, now)


def _from_before_restart(known: Mark, now: Mark) -> bool:
    if known.former is None or known.pace is None or now.at - known.former[1] > LAG:
        return False
    too_many = now.total - known.total > _BURST * known.pace * (now.at - known.at) + 1
    return too_many and now.total > known.former[0] - known.pace * LAG


def _leaps(known: Mark, now: Mark) -> bool:
    """Whether a new instance may not have served all this: no later scrape confirms it yet."""
    fast = _FAST * (now.at - known.at)
    if now.total - known.total <= max(fast, known.total):
        return False
    if known.leap is None:
        return True
    total, at = known.leap
    confirmed = 0 < now.total - total <= max(fast, total - known.total)
    return not confirmed and now.at - at < LAG


def _leapt_to(known: Mark, now: Mark) -> Mark:
    return replace(known, leap=(now.total, known.leap[1] if known.leap else now.at))


def _leapt(pace: float, known: Mark, now: Mark) -> bool:
    return now.total - known.total > _MANY + _LEAP * pace * (now.at - known.at)


def _can_serve(pace: float, known: Mark, now: Mark) -> bool:
    return now.total <= pace * (now.at - known.at) + 1


def _behind(known: Mark, now: Mark) -> _Step:
    """An older answer, as long as no more is missing than a replica can be behind, and not for too long."""
    fall = known.total - now.total
    deep = known.pace is not None and fall > _BURST * known.pace * LAG + 1
    mark = _lower(known, now, broken=deep or _is_late(known, now.at))
    if not mark.broken:
        return _Step(mark)
    words = f"the total fell from {known.total:.0f} to {now.total:.0f}, too little for a restart: {_FIX}"
    return _Step(mark, problem=_contradiction(words))


def _lower(known: Mark, now: Mark, *, broken: bool) -> Mark:
    first = known.behind is None
    low = (now.total, now.at) if first or now.total < known.low[0] else known.low
    return replace(known, behind=now.at if first else known.behind, low=low, broken=known.broken or broken)


def _is_late(known: Mark, at: float) -> bool:
    return known.behind is not None and at - known.behind > LAG


def _contradiction(words: str) -> Answer:
    return Answer(gap=Why.NOT_COUNTERS, detail=words)
