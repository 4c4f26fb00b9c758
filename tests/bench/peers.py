"""The rules by which others roll back, each from what is published of it. Every one gives the look at which it does.

All but the z-test and Mann-Whitney know the new side only, and a limit for its bad ratio that somebody chose.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import NormalDist, median

from rolloutplan.stats.sequential import CountDelta

Rule = Callable[[Sequence[CountDelta]], int | None]

LIMIT = 0.01
"""The bad ratio from which on a look is a failure: 1 % errors, as their examples have it (a success rate of 99 %)."""


def first_breach(looks: Sequence[CountDelta]) -> int | None:
    """An alert, or Argo Rollouts as it comes (failureLimit 0): back at the first failure."""
    return failures(looks, 1)


def flagger(looks: Sequence[CountDelta]) -> int | None:
    """Flagger: back when, over the whole analysis, `threshold` checks (5 in its tutorials) have failed."""
    return failures(looks, 5)


def argo(looks: Sequence[CountDelta]) -> int | None:
    """Argo Rollouts: back when more measurements have failed than its `failureLimit` (3 in its documentation)."""
    return failures(looks, 4)


def failures(looks: Sequence[CountDelta], count: int, limit: float = LIMIT) -> int | None:
    """Back at so many looks over the limit, in a row or not."""
    for at, delta in enumerate(looks, 1):
        count -= delta.new_bad > limit * delta.new_total
        if not count:
            return at
    return None


def z_test(looks: Sequence[CountDelta], level: float = 0.05) -> int | None:
    """A test of two proportions on all counts so far, one-sided, again at each look."""
    needed = NormalDist().inv_cdf(1 - level)
    new_total = new_bad = old_total = old_bad = 0
    for at, delta in enumerate(looks, 1):
        new_total, new_bad = new_total + delta.new_total, new_bad + delta.new_bad
        old_total, old_bad = old_total + delta.old_total, old_bad + delta.old_bad
        pooled = (new_bad + old_bad) / (new_total + old_total)
        deviation = sqrt(pooled * (1 - pooled) * (1 / new_total + 1 / old_total))
        if deviation and new_bad / new_total - old_bad / old_total > needed * deviation:
            return at
    return None


def mann_whitney(looks: Sequence[CountDelta], confidence: float = 0.98, tolerance: float = 0.25) -> int | None:
    """Kayenta's judge: the ratios of all looks, old against new, at the end of the analysis.

    High, where the lower end of the confidence interval of their shift is above a part of its estimate (Hodges and
    Lehmann's). Without the corrections for ties and continuity.
    """
    shifts = sorted(a.new_bad / a.new_total - b.old_bad / b.old_total for a in looks for b in looks)
    count = len(looks)
    spread = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(count * count * (2 * count + 1) / 12)
    lower = shifts[max(0, int(count * count / 2 - spread))]
    return count if lower > tolerance * abs(median(shifts)) else None


PEERS: Mapping[str, Rule] = {
    "first breach": first_breach,
    "Flagger": flagger,
    "Argo": argo,
    "z-test": z_test,
    "Mann-Whitney": mann_whitney,
}
