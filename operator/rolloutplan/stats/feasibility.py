"""How long counts need until they prove something, at the traffic that is there. A forecast, not a promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, log1p

from rolloutplan.stats.sequential import RATIOS, SHARES, Hypothesis, onset_weight


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests a second of each side, and the bad ratio that is usual: the old side's, or the new one's own."""

    new: float
    old: float
    bad: float

    def at(self, share: float) -> Traffic:
        """The same requests of both sides together, with this share of them on the new one."""
        both = self.new + self.old
        return Traffic(both * share, both * (1 - share), self.bad)


def decided_after(of: Hypothesis, traffic: Traffic, confidence: float, every: float) -> float:
    """Seconds until it is proved, in looks `every` so many seconds; inf where it never is.

    A pass predicate is asked of a new side that is as bad as is usual; a fail predicate of one that is twice as bad as
    its bound, or half as bad where it fails below. Evidence is let grow by its mean, which tells the middle of many
    runs to within a third or so.
    """
    growth, needed = _growth(of, traffic, every), 1 / (1 - confidence)
    if max(growth) <= 0:
        return inf
    few, many = 0, 1
    while _grown(growth, many) < needed:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if _grown(growth, middle) < needed else (few, middle)
    return many * every


def words(seconds: float, rate: float, share: float) -> str:
    """Say it to a person: at 12 requests/s x 5 % this needs about 104 min."""
    at = f"at {rate:g} requests/s x {100 * share:g} %"
    if seconds == inf:
        return f"{at} this is never decided"
    return f"{at} this needs about " + (f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min")


def _growth(of: Hypothesis, traffic: Traffic, every: float) -> Sequence[float]:
    """By how much the logarithm of each alternative's evidence grows in a mean look."""
    new, old = traffic.new * every, traffic.old * every
    if of.paired and not (new and old):
        return [0.0]
    hits, trials, chance = new * _new_bad(of, traffic), new, of.bound
    if of.paired:
        trials, chance = hits + old * traffic.bad, of.bound * new / (of.bound * new + old)
    if not of.above:
        hits, chance = trials - hits, 1 - chance
    return [hits * log(ratio) - trials * log1p((ratio - 1) * chance) for ratio in RATIOS]


def _new_bad(of: Hypothesis, traffic: Traffic) -> float:
    """The new side's bad ratio in the forecast."""
    if of.role == "pass":
        return traffic.bad
    bound = of.bound * traffic.bad if of.paired else of.bound
    return min(2 * bound, 1.0) if of.above else bound / 2


def _grown(growth: Sequence[float], looks: int) -> float:
    """The evidence after so many looks, for what was there from the first."""
    logs = (min(looks * rate, 700.0) for rate in growth)
    gathered: float = sum(share * exp(grown) for share, grown in zip(SHARES, logs, strict=True))
    return 1 - onset_weight(1) + onset_weight(1) * gathered
