"""Whether the traffic moved: a share that is off is found, and one that is not is left alone."""

from collections.abc import Iterator
from math import comb
from random import Random

import pytest

from rolloutplan.stats.traffic_share import LOOKS, STRAY, TOLERANCE, Share, dispersion, evidence, mismatch, update
from rolloutplan.stats.verdict import Outcome
from tests.world import START

WEIGHTS = (0.01, 0.05, 0.25, 0.5, 0.9)


def beyond(asked: float, factor: float) -> float:
    """The share whose odds are so many times those of another."""
    odds = factor * asked / (1 - asked)
    return odds / (1 + odds)


def looks(asked: float, true: float, requests: int, count: int, seed: int, clump: int = 1) -> Iterator[Share]:
    """What is known after each look at requests of which each clump comes to one side."""
    chance, share = Random(seed), Share(START, asked)
    for _ in range(count):
        new = clump * sum(chance.random() < true for _ in range(requests // clump))
        share = update(share, new, requests // clump * clump - new)
        yield share


def found(asked: float, true: float, requests: int, count: int = 60, seed: int = 1, clump: int = 1) -> Outcome:
    """The first thing that is proved."""
    outcomes = (mismatch(share) for share in looks(asked, true, requests, count, seed, clump))
    return next((outcome for outcome in outcomes if outcome is not Outcome.UNDECIDED), Outcome.UNDECIDED)


@pytest.mark.parametrize("asked", WEIGHTS)
@pytest.mark.parametrize("factor", [1 / 20, 1 / 3, 3, 20])
def test_a_share_that_is_off_is_found(asked: float, factor: float) -> None:
    assert found(asked, beyond(asked, factor), requests=1000) is Outcome.PROVED


@pytest.mark.parametrize("asked", WEIGHTS)
@pytest.mark.parametrize("true", [0.0, 1.0])
def test_a_weight_that_is_ignored_is_found_at_the_first_look_that_may_say_so(asked: float, true: float) -> None:
    states = looks(asked, true, 1000, LOOKS, seed=1)
    assert [mismatch(share) is Outcome.PROVED for share in states] == [False] * (LOOKS - 1) + [True]


@pytest.mark.parametrize("asked", WEIGHTS)
@pytest.mark.parametrize("factor", [1 / TOLERANCE, 1 / 1.3, 1, 1.3, TOLERANCE])
def test_within_the_tolerance_it_is_never_off(asked: float, factor: float) -> None:
    true = beyond(asked, factor)
    assert Outcome.PROVED not in {found(asked, true, requests=200, seed=seed) for seed in range(10)}


@pytest.mark.parametrize("asked", [0.95, 0.99, 0.999])
def test_a_few_requests_past_the_route_do_not_hold_a_run_whose_old_side_has_hardly_any(asked: float) -> None:
    """Probes and direct callers, above all where a small control group stays for the bake."""
    assert Outcome.PROVED not in {found(asked, asked - STRAY, requests=1000, seed=seed) for seed in range(10)}
    assert found(asked, asked - 2 * STRAY, requests=1000) is Outcome.PROVED
    assert found(1 - asked, 1 - asked + STRAY, requests=1000) is Outcome.PROVED, "what the new side has too much counts"


@pytest.mark.parametrize("asked", WEIGHTS)
def test_a_share_as_it_was_asked_for_is_proved_to_be_so(asked: float) -> None:
    assert found(asked, asked, requests=2000) is Outcome.REFUTED


@pytest.mark.parametrize(("asked", "connections"), [(0.05, 100), (0.25, 20), (0.5, 20)])
def test_clients_that_stay_on_their_connections_are_no_proof(asked: float, connections: int) -> None:
    """Each look has the requests of so many connections, and each connection keeps to one side."""
    sticky = [found(asked, asked, requests=2000, seed=seed, clump=2000 // connections) for seed in range(50)]
    assert Outcome.PROVED not in sticky


def test_a_share_that_varies_much_is_told_from_chance() -> None:
    *_, plain = looks(0.25, 0.25, 1000, 40, seed=1)
    *_, sticky = looks(0.25, 0.25, 1000, 40, seed=1, clump=50)
    assert dispersion(plain) < 2
    assert 25 < dispersion(sticky) < 75


@pytest.mark.parametrize("asked", [0.0, 1.0])
def test_where_all_traffic_is_asked_for_nothing_is_tested(asked: float) -> None:
    assert found(asked, 0.5, requests=1000) is Outcome.UNDECIDED


def test_looks_without_requests_are_none() -> None:
    share = Share(START, 0.25)
    assert update(share, 0, 0) == share


def test_the_measured_share_is_known_when_enough_looks_were_taken() -> None:
    states = list(looks(0.25, 1.0, 10, LOOKS, seed=1))
    assert [share.measured for share in states] == [None] * (LOOKS - 1) + [1.0]


def test_both_sides_are_judged_alike() -> None:
    one = other = Share(START, 0.5)
    for new, old in [(90, 10), (70, 30), (85, 15), (95, 5), (80, 20), (75, 25)]:
        one, other = update(one, new, old), update(other, old, new)
        assert mismatch(one) is mismatch(other)
    assert mismatch(one) is Outcome.PROVED


@pytest.mark.parametrize("chance", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("trials", [1, 7, 40])
def test_at_the_bound_the_evidence_is_one_on_average_and_below_it_less(chance: float, trials: int) -> None:
    def mean(true: float) -> float:
        likely = [comb(trials, k) * true**k * (1 - true) ** (trials - k) for k in range(trials + 1)]
        return sum(p * evidence(k, trials, chance) for k, p in enumerate(likely))

    assert mean(chance) == pytest.approx(1)
    assert mean(0.9 * chance) < 1
