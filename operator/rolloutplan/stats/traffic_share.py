"""Tests whether the traffic follows the weight: the new side's share of the requests, after any number of evaluations.

The counts come from `engine/analysis/traffic_share.py`; a proved mismatch holds the run.

Every request is a trial, and one to the new side is a hit. The desired weight fixes the odds of a hit. The share
mismatches where the true odds differ from those by more than the factor `TOLERANCE`, either way; above a half also only
where more than `STRAY` of the requests are missing. The evidence against a bound is that of `sequential`, with its
likelihood ratios over its alternatives:

    LR_j = r_j^hits / (1 + (r_j - 1) p)^trials        E = sum of q_j LR_j^(1 / phi)

At one weight p is the same at every evaluation, so only the sums are kept. Requests of clients with persistent
connections are clustered: phi, never below 1, is how much more the shares vary than by chance. It may be estimated from
the same evaluations that are tested: no LR_j^(1 / phi) is above both LR_j and 1, so E is never above 1 + E without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import exp, log, log1p
from typing import Final

from rolloutplan.stats.sequential import CEILING, RATIOS, SHARES
from rolloutplan.stats.verdict import Outcome

TOLERANCE: Final = 1.5
"""Odds within this factor of the desired odds are no mismatch."""
STRAY: Final = 0.05
"""The share of all requests that the old side may have beyond its own, where that is small, and be no mismatch: probes,
and callers that go straight to its Service. At a weight of 99% a hundredth would be too many, and a gateway that does
not follow keeps far more on the old side."""
CONFIDENCE: Final = 0.999
"""High, because a person must attend to a run that is held."""
LOOKS: Final = 5
"""With fewer, one scrape more of one side and one less of the other exceed the tolerance: (5 + 1) / (5 - 1)."""

_HALF: Final = 0.5
"""Above this weight the old side has the smaller share."""

_NEEDED: Final = 2 / (1 - CONFIDENCE)
_STEEPEST: Final = log(CEILING)


@dataclass(frozen=True, slots=True)
class Share:
    """The requests counted at one weight."""

    since: datetime
    """The instant from which on they are counted."""
    desired: float
    """The desired share of the new side, between 0 and 1."""
    looks: int = 0
    new: int = 0
    total: int = 0
    """Requests of the new side, and of both."""
    scatter: float = 0.0
    """The sum of new^2 / total over the evaluations."""

    @property
    def measured(self) -> float | None:
        """The new side's share of the requests; None before `LOOKS` evaluations."""
        return self.new / self.total if self.looks >= LOOKS else None


def update(share: Share, new: int, old: int) -> Share:
    """The share after one more evaluation, with the requests of each side."""
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
    """How much more the shares vary than by chance: Pearson's statistic, never below 1."""
    if share.looks < 2 or not 0 < share.new < share.total:
        return 1.0
    mean = share.new / share.total
    pearson = (share.scatter - share.new * mean) / (mean * (1 - mean))
    return max(1.0, pearson / (share.looks - 1))


def mismatch(share: Share, *, of_all: bool = False) -> Outcome:
    """Whether the share mismatches; Refuted where it is proved to be within the tolerance.

    A share of all requests is tested only with `of_all`: callers that go straight to the old Service are no mismatch of
    a route that is known to be followed.
    """
    if share.looks < LOOKS or not 0 < share.desired <= 1 or (share.desired == 1 and not of_all):
        return Outcome.UNDECIDED
    phi = dispersion(share)
    new, old, both = share.new / phi, (share.total - share.new) / phi, share.total / phi
    high, low = _within(share.desired, TOLERANCE), _within(share.desired, 1 / TOLERANCE)
    if share.desired > _HALF:
        low = min(low, share.desired - STRAY)
    if max(evidence(new, both, high), evidence(old, both, 1 - low)) >= _NEEDED:
        return Outcome.PROVED
    if evidence(new, both, low) >= _NEEDED and (high == 1 or evidence(old, both, 1 - high) >= _NEEDED):
        return Outcome.REFUTED
    return Outcome.UNDECIDED


def evidence(hits: float, trials: float, chance: float) -> float:
    """The evidence that the chance of a hit is above this one."""
    gathered: float = sum(
        part * exp(min(hits * log(ratio) - trials * log1p((ratio - 1) * chance), _STEEPEST))
        for ratio, part in zip(RATIOS, SHARES, strict=True)
    )
    return gathered


def _within(share: float, factor: float) -> float:
    """The share whose odds are so many times those of another."""
    return factor * share / (1 - share + factor * share)
