"""Draws: what a seed draws is always the same, and has the mean and the spread of its distribution."""

from math import sqrt

import pytest

from rolloutplan.tools.rehearsal.draws import EXACT_UP_TO, Draws

NUMBER = 4000


def test_a_seed_draws_the_same_on_every_machine() -> None:
    draws = Draws(7)
    assert [draws.poisson(3.0), draws.binomial(1000, 0.01), draws.poisson(1e6)] == [2, 4, 998136]
    assert Draws(8).uniform() != Draws(7).uniform()


def spread(drawn: list[int]) -> tuple[float, float]:
    mean = sum(drawn) / len(drawn)
    return mean, sum((each - mean) ** 2 for each in drawn) / len(drawn)


@pytest.mark.parametrize("mean", [0.001, 0.5, 7.0, EXACT_UP_TO, EXACT_UP_TO + 1, 1e5])
def test_counts_of_events_have_their_mean_as_their_variance(mean: float) -> None:
    draws = Draws(1)
    found, variance = spread([draws.poisson(mean) for _ in range(NUMBER)])
    assert abs(found - mean) < 5 * sqrt(mean / NUMBER)
    assert abs(variance / mean - 1) < 0.1 or mean < 0.01


@pytest.mark.parametrize("chance", [0.001, 0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("trials", [1, 40, 10_000])
def test_hits_have_the_mean_and_the_variance_of_their_chance(trials: int, chance: float) -> None:
    draws = Draws(2)
    drawn = [draws.binomial(trials, chance) for _ in range(NUMBER)]
    mean, variance = trials * chance, trials * chance * (1 - chance)
    assert abs(spread(drawn)[0] - mean) < 5 * sqrt(variance / NUMBER)
    assert abs(spread(drawn)[1] / variance - 1) < 0.2 or variance < 0.1
    assert all(0 <= each <= trials for each in drawn)


@pytest.mark.parametrize(("trials", "chance", "hits"), [(0, 0.5, 0), (10, 0.0, 0), (10, 1.0, 10), (-1, 0.5, 0)])
def test_what_is_certain_is_not_drawn(trials: int, chance: float, hits: int) -> None:
    assert Draws(3).binomial(trials, chance) == hits


def test_nothing_happens_where_nothing_is_expected() -> None:
    assert Draws(3).poisson(0.0) == 0
