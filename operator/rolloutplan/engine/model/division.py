"""How a kind of route can divide traffic: the smallest whole numbers that hold a share, and the finest step.

Weights come from routes, in whole numbers of 1/`units` of their kind; what comes out goes into the intent, the checks
before a run, and `lint`. A share is held where the weights are right to half a permille. Where a kind divides weights
among pods, what the pods get must also be near enough that the measured share is no mismatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from math import gcd, lcm
from typing import Final, NamedTuple

from rolloutplan.api.route_kind import WeightRules
from rolloutplan.stats.traffic_share import TOLERANCE

FULL: Final = 1000
"""All of the traffic, in permille."""
MOST_TOTALS: Final = 1024
"""How many totals are tried. Any share is right to half a permille with a total of 1,000 and more, so further ones
only help where weights are divided among pods."""


class PodCounts(NamedTuple):
    """The pods of both sides, for kinds that divide a weight among them."""

    old: int
    new: int


class Limits(NamedTuple):
    """What a kind allows, in its smallest units."""

    largest: int
    fixed: bool
    """Whether the total must stay as it is."""
    least: int
    """The least total of a rule in which the kind divides traffic finely."""
    pods: PodCounts | None
    """None where the kind does not divide weights among pods, or where their number is not known."""
    rescales: bool
    """Whether the kind divides in its largest numbers, whatever numbers are written."""


class Division(NamedTuple):
    """The weights of both sides and of the other backends of a rule, and what both sides get by them."""

    old: int
    new: int
    others: tuple[int, ...]
    gets: int
    """What the new side gets, of `of`."""
    of: int

    @property
    def largest(self) -> int:
        return max(self.old, self.new, *self.others)

    @property
    def permille(self) -> int:
        """The new side's share by the weights."""
        return as_permille(self.new, self.old + self.new)

    @property
    def received(self) -> int:
        """The share that the new side gets, where that may differ from its share of the weights."""
        return as_permille(self.gets, self.of)


def limits(kind: WeightRules, pods: PodCounts | None = None) -> Limits:
    """What a kind allows. One that divides among pods and needs no least total takes its largest numbers itself."""
    known = pods if kind.per_endpoint and pods is not None and min(pods) > 0 else None
    return Limits(kind.max * kind.units, kind.sum is not None, kind.scale * kind.units, known, kind.scale == 1)


@lru_cache(maxsize=4096)
def divide(both: int, others: tuple[int, ...], permille: int, limit: Limits, usual: int = 0) -> Division:
    """The weights nearest to `permille` of what both sides hold, at which the others keep their share of the rule.

    The total of both sides stays as it is, or becomes the `usual` one, where that holds the share exactly; else it is
    the smallest that does, or, where the largest weight does not allow that, the smallest that holds it. Weights are
    above the largest one only where no total is small enough; then none is held (`is_held`).
    """
    found: list[Division] = []
    for total in _totals(both, others, permille, limit, usual):
        division = _at(total, both, others, permille, limit)
        if division.largest > limit.largest:
            continue
        if division.permille == division.received == permille:
            return division
        found.append(division)
    return min(
        found,
        key=lambda each: (abs(each.permille - permille), abs(each.gets * FULL - permille * each.of) / each.of),
        default=_at(both, both, others, permille, limit),
    )


def _totals(both: int, others: tuple[int, ...], permille: int, limit: Limits, usual: int) -> Iterator[int]:
    """The totals of both sides to try: those that hold the share exactly, then all at which the others keep theirs."""
    if not limit.fixed:
        unit = both // gcd(both, *others)
        exact = lcm(unit, FULL // gcd(permille, FULL))
        least = -(-limit.least * both // (both + sum(others)))
        yield from (total for total in (usual, both) if total >= max(least, 1) and total % exact == 0)
        heaviest = max(both * permille, both * (FULL - permille), *(other * FULL for other in others))
        for step in (exact, unit):
            first = max(-(-least // step), 1)
            totals = (step * times for times in range(first, first + MOST_TOTALS))
            yield from takewhile(lambda total: total * heaviest <= (limit.largest + 1) * both * FULL, totals)
    yield both


def _at(total: int, both: int, others: tuple[int, ...], permille: int, limit: Limits) -> Division:
    new = nearest(total * permille, FULL)
    rest = tuple(other * total // both for other in others)
    return Division(total - new, new, rest, *_received(total - new, new, limit))


def _received(old: int, new: int, limit: Limits) -> tuple[int, int]:
    """What the new side gets, and both: their weights, or what their pods get of these, at least 1 each."""
    if limit.pods is None or not old or not new:
        return new, old + new
    pods = limit.pods
    times, part = 1, 1
    if limit.rescales:
        heavier = old * pods.new >= new * pods.old
        times, part = (limit.largest * pods.old, old) if heavier else (limit.largest * pods.new, new)
    of_old = pods.old * max(1, old * times // (pods.old * part))
    of_new = pods.new * max(1, new * times // (pods.new * part))
    return of_new, of_old + of_new


def is_held(division: Division, permille: int, limit: Limits) -> bool:
    """Whether a kind allows the weights and they hold a share."""
    if division.largest > limit.largest or division.permille != permille:
        return False
    if division.received == permille:
        return True
    odds, wanted = division.gets * (FULL - permille), permille * (division.of - division.gets)
    return wanted <= odds * TOLERANCE and odds <= wanted * TOLERANCE


def neighbours(both: int, others: tuple[int, ...], permille: int, limit: Limits) -> tuple[int, ...]:
    """The shares next to one that cannot be held that can be, in permille: below it and above it."""
    found = (
        next((each for each in shares if is_held(divide(both, others, each, limit), each, limit)), None)
        for shares in (range(permille - 1, 0, -1), range(permille + 1, FULL + 1))
    )
    return tuple(each for each in found if each is not None)


def finest(both: int, others: tuple[int, ...], limit: Limits) -> int:
    """The smallest share of the new side that can be held, in permille, or that its pods then get."""
    smallest = min(neighbours(both, others, 0, limit), default=FULL)
    return max(smallest, divide(both, others, smallest, limit).received)


def finest_of(kind: WeightRules) -> int:
    """The smallest share that a rule of a kind can give the new side, without other backends, in permille."""
    return finest(total_of(kind), (), limits(kind))


def total_of(kind: WeightRules) -> int:
    """A total of both sides from which every one that a kind allows follows: its sum, or 1."""
    return (kind.sum or 1) * kind.units


def nearest(numerator: int, denominator: int) -> int:
    """The quotient as the nearest whole number, a half upwards."""
    return (2 * numerator + denominator) // (2 * denominator)


def as_permille(part: int, whole: int) -> int:
    """A share in permille; 1,000 only where nothing is left of the whole."""
    return min(nearest(FULL * part, whole), FULL - 1 if part < whole else FULL) if part else 0
