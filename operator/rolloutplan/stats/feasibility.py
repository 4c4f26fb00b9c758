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
    return Shortage(expected, required / (rate * window), required / (rate * share))


def decided_after(hypothesis: Hypothesis, traffic: Traffic, confidence: float, every: float) -> float:
    """Seconds until the hypothesis is proved, with an evaluation `every` so many seconds; inf where it never is.

    For a pass predicate the new side is assumed to have the usual bad ratio. For a fail predicate it is assumed to be
    twice as bad as its bound, or half as bad where the predicate fails below. Evidence grows by its mean, which gives
    the median of many runs to within about a third.
    """
    growth, needed = _growth(hypothesis, traffic, every), 1 / (1 - confidence)
    if max(growth) <= 0:
        return inf
    few, many = 0, 1
    while _grown(growth, many) < needed:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if _grown(growth, middle) < needed else (few, middle)
    return many * every


def describe(seconds: float, rate: float, share: float) -> str:
    """The forecast as text: at 12 requests/s x 5 % this needs about 104 min."""
    at = f"at {rate:g} requests/s x {100 * share:g} %"
    if seconds == inf:
        return f"{at} this is never decided"
    return f"{at} this needs about " + (f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min")


def _growth(hypothesis: Hypothesis, traffic: Traffic, every: float) -> Sequence[float]:
    """The mean growth of the logarithm of each alternative's evidence in one evaluation."""
    new, old = traffic.new * every, traffic.old * every
    if hypothesis.paired and not (new and old):
        return [0.0]
    hits, trials, chance = new * _new_bad(hypothesis, traffic), new, hypothesis.bound
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


def _grown(growth: Sequence[float], looks: int) -> float:
    """The evidence after so many evaluations, for a fault that exists from the first one on."""
    logs = (min(looks * rate, 700.0) for rate in growth)
    gathered: float = sum(share * exp(grown) for share, grown in zip(SHARES, logs, strict=True))
    return 1 - onset_weight(1) + onset_weight(1) * gathered
