"""Random draws from a seed: the same seed always draws the same numbers, on every machine.

The generator is SplitMix64 (Steele, Lea, Flood 2014). Counts are drawn exactly, by inversion, up to a mean of
`EXACT_UP_TO`. Above that they are drawn from the normal distribution with the same mean and variance, rounded: by then
the two differ by less than the noise of any test.
"""

from __future__ import annotations

from math import cos, exp, log, log1p, pi, sqrt
from typing import Final

EXACT_UP_TO: Final = 50.0
"""Inversion adds up one probability after the other: more than this many would take longer than all the rest."""
_MASK: Final = 2**64 - 1


class Draws:
    """One stream of draws."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def uniform(self) -> float:
        """A number from 0 up to, but without, 1, with 53 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / 2.0**53

    def poisson(self, mean: float) -> int:
        """How many independent events happen, where `mean` are expected."""
        if mean <= 0:
            return 0
        if mean > EXACT_UP_TO:
            return max(round(mean + sqrt(mean) * self._normal()), 0)
        left, chance, count = self.uniform(), exp(-mean), 0
        while left >= chance > 0:
            left -= chance
            count += 1
            chance *= mean / count
        return count

    def binomial(self, trials: int, chance: float) -> int:
        """How many of some independent trials hit, each with this chance."""
        if chance > 0.5:
            return trials - self.binomial(trials, 1 - chance)
        if trials <= 0 or chance <= 0:
            return 0
        mean = trials * chance
        if mean > EXACT_UP_TO:
            drawn = round(mean + sqrt(mean * (1 - chance)) * self._normal())
            return min(max(drawn, 0), trials)
        left, odds, count = self.uniform(), chance / (1 - chance), 0
        none = exp(trials * log1p(-chance))
        while left >= none and count < trials:
            left -= none
            none *= odds * (trials - count) / (count + 1)
            count += 1
        return count

    def _normal(self) -> float:
        """A number of the standard normal distribution (Box and Muller 1958)."""
        return sqrt(-2 * log(1 - self.uniform())) * cos(2 * pi * self.uniform())
