"""A value against a bound, in every form that a bound can have."""

import pytest

from rolloutplan.judge.threshold import judge
from rolloutplan.judge.verdict import Answer, Outcome, Why
from rolloutplan.plan.quantities import parse_is, parse_vs_old

PROVED, REFUTED = Outcome.PROVED, Outcome.REFUTED


@pytest.mark.parametrize(
    ("bound", "value", "outcome"),
    [
        ("> 0.9", 0.91, PROVED),
        ("> 0.9", 0.9, REFUTED),
        (">= 0.9", 0.9, PROVED),
        ("< 1%", 0.0099, PROVED),
        ("< 1%", 0.01, REFUTED),
        ("<= 1%", 0.01, PROVED),
        ("== 3", 3.0, PROVED),
        ("!= 3", 3.0, REFUTED),
        ("> -1", 0.0, PROVED),
    ],
)
def test_a_value(bound: str, value: float, outcome: Outcome) -> None:
    verdict = judge(parse_is(bound), Answer(value))
    assert (verdict.outcome, verdict.value) == (outcome, value)


@pytest.mark.parametrize(
    ("bound", "new", "old", "outcome", "value"),
    [
        ("<= +5%", 1.05, 1.0, PROVED, 0.05),
        ("<= +5%", 1.06, 1.0, REFUTED, 0.06),
        ("<= +5%", 0.2, 1.0, PROVED, -0.8),
        ("<= +5%", 0.0, 0.0, PROVED, None),
        ("<= +5%", 0.1, 0.0, REFUTED, None),
        ("> +5%", -0.5, -1.0, PROVED, 0.5),
        ("<= +0.2", 0.3, 0.1, PROVED, 0.2),
        ("> +0.2", 0.4, 0.1, PROVED, 0.3),
        ("> 1.5x", 0.16, 0.1, PROVED, 1.6),
        ("> 1.5x", 0.15, 0.1, REFUTED, 1.5),
        ("> 1.5x", 0.2, 0.0, PROVED, None),
        ("> 1.5x", 0.0, 0.0, REFUTED, None),
        ("< 2x", 0.0, 0.0, REFUTED, None),
    ],
)
def test_a_value_against_the_old_side(
    bound: str, new: float, old: float, outcome: Outcome, value: float | None
) -> None:
    verdict = judge(parse_vs_old(bound), Answer(new), Answer(old))
    assert verdict.outcome is outcome
    assert verdict.value == (pytest.approx(value) if value is not None else None)
    assert "new" in verdict.detail, "both values are told"


@pytest.mark.parametrize("gap", [Why.NO_DATA, Why.NAN, Why.MANY_SERIES, Why.WARNINGS, Why.SOURCE_DOWN])
def test_what_is_not_a_number_is_neither_a_pass_nor_a_failure(gap: Why) -> None:
    silent, good = Answer(gap=gap, detail="its words"), Answer(1.0)
    for verdict in (
        judge(parse_is("> 0"), silent),
        judge(parse_vs_old("> 1.5x"), silent, good),
        judge(parse_vs_old("> 1.5x"), good, silent),
    ):
        assert verdict.outcome is Outcome.UNDECIDED
        assert verdict.why is gap
        assert "its words" in verdict.detail
        assert verdict.holds is None


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (Answer(499.0), Why.TOO_FEW_SAMPLES),
        (Answer(gap=Why.NO_DATA), Why.TOO_FEW_SAMPLES),
        (Answer(gap=Why.SOURCE_DOWN), Why.SOURCE_DOWN),
        (Answer(500.0), None),
    ],
)
def test_too_few_samples_decide_nothing(samples: Answer, why: Why | None) -> None:
    verdict = judge(parse_is("> 0"), Answer(1.0), samples=samples, at_least=500)
    assert verdict.why is why
    assert (verdict.outcome is PROVED) == (why is None)
