"""Did the traffic move? What the requests of both sides prove of the new side's share, after any number of looks.

Every request is a trial and one that came to the new side a hit. The weight asked fixes the odds of a hit; the share is
off where the true odds are beyond `TOLERANCE` of those, either way. The evidence against a bound is that of
`sequential`, its likelihood ratios over its alternatives:

    LR_j = r_j^hits / (1 + (r_j - 1) p)^trials        E = sum of q_j LR_j^(1 / phi)

At one weight p is the same at every look, so the sums are all that has to be kept. Clients that stay on their
connections come in clumps: phi, never below 1, is how much more than by chance the looks' shares vary. It may be taken
from the very looks that are judged: no LR_j^(1 / phi) is above both LR_j and 1, so E is never above 1 + E without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import exp, log, log1p
from typing import Final

from rolloutplan.stats.sequential import CEILING, RATIOS, SHARES
from rolloutplan.stats.verdict import Outcome

TOLERANCE: Final = 1.5
"""Odds within this factor of those asked are never off."""
CONFIDENCE: Final = 0.999
"""A run that is held needs somebody to look at it."""
LOOKS: Final = 5
"""With fewer, one scrape more of one side and one less of the other are beyond the tolerance: (5 + 1) / (5 - 1)."""

_NEEDED: Final = 2 / (1 - CONFIDENCE)
_STEEPEST: Final = log(CEILING)


@dataclass(frozen=True, slots=True)
class Share:
    """What was counted at one weight."""

    since: datetime
    """From when on."""
    asked: float
    """The new side's share as it is asked for, between 0 and 1."""
    looks: int = 0
    new: int = 0
    total: int = 0
    """Requests of the new side, and of both."""
    scatter: float = 0.0
    """The sum of new^2 / total over the looks."""

    @property
    def measured(self) -> float | None:
        """The new side's share of the requests; None while too little was counted to say."""
        return self.new / self.total if self.looks >= LOOKS else None


def update(share: Share, new: int, old: int) -> Share:
    """The share after one look more, at which so many requests came to either side."""
    both = new + old
    if not both:
        return share
    return replace(
        share,
        looks=share.looks + 1,
        new=share.new + new,
        total=share.total + both,
        scatter=share.scatter + new * new / both,
    )


def dispersion(share: Share) -> float:
    """How much more than by chance the looks' shares vary: Pearson's statistic, and never below 1."""
    if share.looks < 2 or not 0 < share.new < share.total:
        return 1.0
    mean = share.new / share.total
    pearson = (share.scatter - share.new * mean) / (mean * (1 - mean))
    return max(1.0, pearson / (share.looks - 1))


def mismatch(share: Share) -> Outcome:
    """Whether the share is off; Refuted where it is proved to be within the tolerance."""
    if share.looks < LOOKS or not 0 < share.asked < 1:
        return Outcome.UNDECIDED
    phi = dispersion(share)
    new, old, both = share.new / phi, (share.total - share.new) / phi, share.total / phi
    odds = share.asked / (1 - share.asked)
    high, low = _chance(odds * TOLERANCE), _chance(odds / TOLERANCE)
    if max(evidence(new, both, high), evidence(old, both, 1 - low)) >= _NEEDED:
        return Outcome.PROVED
    if min(evidence(new, both, low), evidence(old, both, 1 - high)) >= _NEEDED:
        return Outcome.REFUTED
    return Outcome.UNDECIDED


def evidence(hits: float, trials: float, chance: float) -> float:
    """How much the hits speak for a chance above this one."""
    gathered: float = sum(
        part * exp(min(hits * log(ratio) - trials * log1p((ratio - 1) * chance), _STEEPEST))
        for ratio, part in zip(RATIOS, SHARES, strict=True)
    )
    return gathered


def _chance(odds: float) -> float:
    return odds / (1 + odds)
