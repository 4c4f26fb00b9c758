"""A forecast of how long the sequential test needs at a given traffic. It is an estimate, not a guarantee.

The traffic comes from the caller (a running plan or the offline tools); the forecast goes into messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, log1p

from rolloutplan.stats.sequential import RATIOS, SHARES, Hypothesis, onset_weight


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per second of each side, and the usual bad ratio: that of the old side, or of the new one."""

    new: float
    old: float
    bad: float

    def at(self, share: float) -> Traffic:
        """The same total traffic, with this share of it on the new side."""
        both = self.new + self.old
        return Traffic(both * share, both * (1 - share), self.bad)


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too few requests for a required count. `expected` are those that come on the mean.

    `share` is the smallest share of all traffic, and `seconds` the shortest window, that gives enough of them; a share
    above 1 is not possible.
    """

    expected: float
    share: float
    seconds: float


def shortage(required: int, rate: float, share: float, window: float) -> Shortage | None:
    """How the requests of one side in a window fall short of a required count; None where they are enough.

    `rate` are the requests per second of both sides together, `share` the part of this side, `window` in seconds.
    """
    expected = rate * share * window
    if expected >= required:
        return None
    return Shortage(expected, required / (rate * window), samples_after(required, rate * share))


def decided_after(
    hypothesis: Hypothesis,
    traffic: Traffic,
    confidence: float,
    every: float,
    *,
    new_bad: float | None = None,
    before: int = 0,
) -> float:
    """Seconds until the hypothesis is proved, with an evaluation `every` so many seconds; inf where it never is.

    `new_bad` is the new side's bad ratio. Without it the new side of a pass predicate is assumed to have the usual one,
    and that of a fail predicate to be twice as bad as its bound, or half as bad where the predicate fails below.
    `before` is the number of evaluations before the fault began: the more there were, the more evidence it takes.
    Evidence grows by its mean, which gives the median of many runs to within about a third.
    """
    bad = _new_bad(hypothesis, traffic) if new_bad is None else new_bad
    growth, needed = _growth(hypothesis, traffic, every, bad), 1 / (1 - confidence)
    if max(growth) <= 0:
        return inf
    few, many = 0, 1
    while _grown(growth, many, before) < needed:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if _grown(growth, middle, before) < needed else (few, middle)
    return many * every


def samples_after(at_least: int, rate: float) -> float:
    """Seconds until so many requests have come at `rate` requests per second; inf where none come."""
    return at_least / rate if rate > 0 else inf


def describe(seconds: float, rate: float, share: float) -> str:
    """The forecast as text: at 12 requests/s x 5 % this needs about 104 min."""
    at = f"at {rate:g} requests/s x {100 * share:g} %"
    if seconds == inf:
        return f"{at} this is never decided"
    return f"{at} this needs about " + (f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min")


def _growth(hypothesis: Hypothesis, traffic: Traffic, every: float, new_bad: float) -> Sequence[float]:
    """The mean growth of the logarithm of each alternative's evidence in one evaluation."""
    new, old = traffic.new * every, traffic.old * every
    if hypothesis.paired and not (new and old):
        return [0.0]
    hits, trials, chance = new * new_bad, new, hypothesis.bound
    if hypothesis.paired:
        trials, chance = hits + old * traffic.bad, hypothesis.bound * new / (hypothesis.bound * new + old)
    if not hypothesis.above:
        hits, chance = trials - hits, 1 - chance
    return [hits * log(ratio) - trials * log1p((ratio - 1) * chance) for ratio in RATIOS]


def _new_bad(hypothesis: Hypothesis, traffic: Traffic) -> float:
    """The bad ratio that the forecast assumes for the new side."""
    if hypothesis.role == "pass":
        return traffic.bad
    bound = hypothesis.bound * traffic.bad if hypothesis.paired else hypothesis.bound
    return min(2 * bound, 1.0) if hypothesis.above else bound / 2


def _grown(growth: Sequence[float], looks: int, before: int) -> float:
    """The evidence after so many evaluations of a fault that began after `before` of them."""
    logs = (min(looks * rate, 700.0) for rate in growth)
    gathered: float = sum(share * exp(grown) for share, grown in zip(SHARES, logs, strict=True))
    rest = 0.0 if before else 1 - onset_weight(1)
    return rest + onset_weight(before + 1) * gathered
