"""How long counts need: the forecast, beside what looks of mean counts take."""

from math import ceil, inf, log, log1p

import pytest

from rolloutplan.api.quantities import parse_is, parse_vs_old
from rolloutplan.stats.feasibility import Traffic, decided_after, describe
from rolloutplan.stats.sequential import CountDelta, Role, make_hypothesis, start, step, verdict
from rolloutplan.stats.verdict import Outcome

MINUTE = 60


def without_failures(bound: float, confidence: float) -> int:
    """Requests without one failure that any test needs to prove a bad ratio below the bound."""
    return ceil(log(1 - confidence) / log1p(-bound))


def forecast(bound: str, role: Role, traffic: Traffic, confidence: float = 0.95, every: float = MINUTE) -> float:
    """In looks."""
    comparison = parse_vs_old(bound) if bound.endswith("x") else parse_is(bound)
    return decided_after(make_hypothesis(comparison, role), traffic, confidence, every) / every


@pytest.mark.parametrize(
    ("bound", "role", "traffic", "new_bad"),
    [
        ("> 1.5x", "fail", Traffic(100, 900, 0.002), 0.006),
        ("> 1.5x", "fail", Traffic(10, 90, 0.002), 0.006),
        ("> 1.5x", "fail", Traffic(5, 95, 0.002), 0.006),
        ("< 2x", "pass", Traffic(10, 90, 0.002), 0.002),
        ("< 2x", "pass", Traffic(10, 90, 0.02), 0.02),
        ("< 1%", "pass", Traffic(10, 0, 0.002), 0.002),
        ("< 1%", "pass", Traffic(10, 0, 0.0), 0.0),
        ("> 1%", "fail", Traffic(1, 0, 0.002), 0.02),
        ("< 0.5x", "fail", Traffic(10, 90, 0.02), 0.005),
    ],
)
def test_the_forecast_is_what_mean_looks_take(bound: str, role: Role, traffic: Traffic, new_bad: float) -> None:
    of = make_hypothesis(parse_vs_old(bound) if bound.endswith("x") else parse_is(bound), role)
    looks, state, seen = 0, start(of), CountDelta(0, 0)
    while verdict(of, state, 0.95).outcome is not Outcome.PROVED:
        looks += 1
        rates = (traffic.new, traffic.new * new_bad, traffic.old, traffic.old * traffic.bad)
        upto = CountDelta(*(round(rate * MINUTE * looks) for rate in rates))
        state = step(of, state, CountDelta(*(now - before for now, before in zip(upto, seen, strict=True))))
        seen = upto
    assert forecast(bound, role, traffic) == pytest.approx(looks, rel=0.35, abs=1)


@pytest.mark.parametrize(
    ("bound", "role", "traffic"),
    [
        pytest.param("< 2x", "pass", Traffic(10, 90, 0.0), id="nothing is ever bad"),
        pytest.param("< 2x", "pass", Traffic(0, 100, 0.002), id="no requests on the new side"),
        pytest.param("< 2x", "pass", Traffic(100, 0, 0.002), id="none on the old side"),
        pytest.param("< 0.5x", "pass", Traffic(10, 90, 0.002), id="as good as old is not twice as good"),
        pytest.param("< 1%", "pass", Traffic(10, 0, 0.02), id="usually above the bound"),
        pytest.param("< 1%", "pass", Traffic(0, 0, 0.002), id="no requests"),
    ],
)
def test_what_never_can_be_decided(bound: str, role: Role, traffic: Traffic) -> None:
    assert forecast(bound, role, traffic) == inf


def test_less_traffic_and_more_confidence_take_longer() -> None:
    usual = forecast("< 2x", "pass", Traffic(10, 90, 0.002))
    assert forecast("< 2x", "pass", Traffic(5, 95, 0.002)) > 1.5 * usual
    assert forecast("< 2x", "pass", Traffic(10, 90, 0.001)) > 1.5 * usual
    assert forecast("< 2x", "pass", Traffic(10, 90, 0.002), confidence=0.99) > 1.2 * usual


@pytest.mark.parametrize(
    ("bound", "confidence", "requests"), [(0.01, 0.95, 299), (0.001, 0.95, 2995), (0.01, 0.99, 459), (0.5, 0.95, 5)]
)
def test_without_failures_so_many_requests_are_needed(bound: float, confidence: float, requests: int) -> None:
    assert without_failures(bound, confidence) == requests


def test_no_test_is_quicker_than_that() -> None:
    looks = forecast("< 1%", "pass", Traffic(1, 0, 0.0), every=1)
    assert without_failures(0.01, 0.95) < looks < 2 * without_failures(0.01, 0.95)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (6240, "at 12 requests/s x 5 % this needs about 104 min"),
        (90, "at 12 requests/s x 5 % this needs about 90 s"),
        (inf, "at 12 requests/s x 5 % this is never decided"),
    ],
)
def test_how_it_is_said(seconds: float, said: str) -> None:
    assert describe(seconds, 12, 0.05) == said
