"""A value against a bound, in every form that a bound can have."""

from math import inf

import pytest

from rolloutplan.api.quantities import parse_is, parse_vs_old
from rolloutplan.stats.threshold import judge
from rolloutplan.stats.verdict import Answer, Outcome, Why

PROVED, REFUTED, UNDECIDED = Outcome.PROVED, Outcome.REFUTED, Outcome.UNDECIDED
GAPS = [Why.NO_DATA, Why.NAN, Why.MANY_SERIES, Why.WARNINGS, Why.SOURCE_DOWN, Why.QUERY_REJECTED]


@pytest.mark.parametrize(
    ("operator", "below", "at", "above"),
    [
        ("<", PROVED, REFUTED, REFUTED),
        ("<=", PROVED, PROVED, REFUTED),
        (">", REFUTED, REFUTED, PROVED),
        (">=", REFUTED, PROVED, PROVED),
        ("==", REFUTED, PROVED, REFUTED),
        ("!=", PROVED, REFUTED, PROVED),
    ],
)
@pytest.mark.parametrize("form", ["3", "300%", "+1", "+50%", "1.5x"])
def test_below_a_bound_at_it_and_above_it(
    operator: str, form: str, below: Outcome, at: Outcome, above: Outcome
) -> None:
    """Every form here means 3 where the old side has 2."""
    versus = form.startswith("+") or form.endswith("x")
    bound = (parse_vs_old if versus else parse_is)(f"{operator} {form}")
    for value, outcome in ((2.99, below), (3.0, at), (3.01, above)):
        verdict = judge(bound, Answer(value), Answer(2.0) if versus else None)
        assert (verdict.outcome, verdict.holds) == (outcome, outcome is PROVED), f"{value} {bound.text}"


@pytest.mark.parametrize(
    ("bound", "value", "outcome"),
    [
        ("> 0.9", 0.91, PROVED),
        ("> 0.9", 0.9, REFUTED),
        ("< 1%", 0.0099, PROVED),
        ("< 1%", 0.01, REFUTED),
        ("<= 1%", 0.01, PROVED),
        ("> -1", 0.0, PROVED),
        ("< 1e-3", 0.0009, PROVED),
        ("> 0", 1e-300, PROVED),
        (">= 0", -0.0, PROVED),
    ],
)
def test_a_value_against_a_number(bound: str, value: float, outcome: Outcome) -> None:
    verdict = judge(parse_is(bound), Answer(value))
    assert (verdict.outcome, verdict.value) == (outcome, value)


@pytest.mark.parametrize(
    ("bound", "new", "old", "outcome"),
    [
        ("> 5%", inf, None, PROVED),
        ("> 5%", -inf, None, REFUTED),
        ("<= 0.5", inf, None, REFUTED),
        ("> 1.5x", inf, 1.0, PROVED),
        ("> 1.5x", 1.0, inf, REFUTED),
        ("<= +5%", inf, 1.0, REFUTED),
        ("<= +5%", 1.0, inf, PROVED),
        ("> +0.2", inf, 0.0, PROVED),
        ("> 1.5x", inf, inf, UNDECIDED),
        ("<= +5%", inf, inf, UNDECIDED),
        ("> +0.2", inf, inf, UNDECIDED),
        ("< -50%", 1.0, inf, UNDECIDED),
    ],
)
def test_infinite_values_compare_but_not_with_each_other(
    bound: str, new: float, old: float | None, outcome: Outcome
) -> None:
    comparison = parse_is(bound) if old is None else parse_vs_old(bound)
    assert judge(comparison, Answer(new), None if old is None else Answer(old)).outcome is outcome


def test_an_infinite_number_of_samples_is_none() -> None:
    verdict = judge(parse_is("> 5%"), Answer(1.0), samples=Answer(inf), at_least=5)
    assert (verdict.outcome, verdict.why) == (UNDECIDED, Why.NAN)


@pytest.mark.parametrize(
    ("bound", "new", "old", "outcome", "value"),
    [
        # relative: the change as a share of what the old side has
        ("<= +5%", 1.05, 1.0, PROVED, 0.05),
        ("<= +5%", 1.06, 1.0, REFUTED, 0.06),
        ("<= +5%", 0.2, 1.0, PROVED, -0.8),
        ("<= -20%", 0.8, 1.0, PROVED, -0.2),
        ("<= -20%", 0.81, 1.0, REFUTED, -0.19),
        ("> +5%", -0.5, -1.0, PROVED, 0.5),
        ("<= +5%", -1.1, -1.0, PROVED, -0.1),
        ("<= +5%", -0.96, -1.0, PROVED, 0.04),
        # absolute: the difference
        ("<= +0.2", 0.3, 0.1, PROVED, 0.2),
        ("> +0.2", 0.4, 0.1, PROVED, 0.3),
        ("> -0.2", 0.0, 0.1, PROVED, -0.1),
        ("<= +0.2", -0.3, -0.1, PROVED, -0.2),
        # ratio
        ("> 1.5x", 0.16, 0.1, PROVED, 1.6),
        ("> 1.5x", 0.15, 0.1, REFUTED, 1.5),
        ("< 0.5x", 0.04, 0.1, PROVED, 0.4),
        # an old side of 0: any rise is more than any share or multiple of nothing, and no rise is none
        ("<= +5%", 0.0, 0.0, PROVED, None),
        ("<= +5%", 0.1, 0.0, REFUTED, None),
        ("> +50%", 0.0, 0.0, REFUTED, None),
        ("> +50%", 0.1, 0.0, PROVED, None),
        ("> 1.5x", 0.2, 0.0, PROVED, None),
        ("> 1.5x", 0.0, 0.0, REFUTED, None),
        ("< 2x", 0.0, 0.0, REFUTED, None),
        ("<= 2x", 0.0, 0.0, PROVED, None),
        ("> +0.2", 0.3, 0.0, PROVED, 0.3),
        ("<= +0.2", 0.0, 0.0, PROVED, 0.0),
    ],
)
def test_a_value_against_the_old_side(
    bound: str, new: float, old: float, outcome: Outcome, value: float | None
) -> None:
    verdict = judge(parse_vs_old(bound), Answer(new), Answer(old))
    assert verdict.outcome is outcome
    assert verdict.value == (pytest.approx(value) if value is not None else None)
    assert verdict.detail == f"new {new:g}, old {old:g}", "both values are told"


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize(
    ("bound", "side", "words"),
    [("is", "new", "its words"), ("vsOld", "new", "its words"), ("vsOld", "old", "old side: its words")],
)
def test_what_is_not_a_number_is_neither_a_pass_nor_a_failure(bound: str, side: str, words: str, gap: Why) -> None:
    silent, good = Answer(gap=gap, detail="its words"), Answer(1.0)
    new, old = (silent, good) if side == "new" else (good, silent)
    for operator in ("<", ">="):
        if bound == "is":
            verdict = judge(parse_is(f"{operator} 0"), new)
        else:
            verdict = judge(parse_vs_old(f"{operator} 1.5x"), new, old)
        assert (verdict.outcome, verdict.why, verdict.detail) == (UNDECIDED, gap, words)
        assert (verdict.value, verdict.holds) == (None, None), "nothing was compared"


@pytest.mark.parametrize(
    ("samples", "why", "count", "words"),
    [
        (Answer(0.0), Why.TOO_FEW_SAMPLES, 0.0, "0 samples, 500 are needed"),
        (Answer(499.0), Why.TOO_FEW_SAMPLES, 499.0, "499 samples, 500 are needed"),
        (Answer(gap=Why.NO_DATA), Why.TOO_FEW_SAMPLES, 0.0, "0 samples, 500 are needed"),
        (Answer(gap=Why.SOURCE_DOWN, detail="refused"), Why.SOURCE_DOWN, None, "minSamples: refused"),
        (Answer(gap=Why.NAN, detail="NaN"), Why.NAN, None, "minSamples: NaN"),
        (Answer(500.0), None, 500.0, ""),
        (Answer(501.0), None, 501.0, ""),
    ],
)
@pytest.mark.parametrize(("value", "outcome"), [(1.0, PROVED), (-1.0, REFUTED)])
def test_too_few_samples_decide_nothing(
    value: float, outcome: Outcome, samples: Answer, why: Why | None, count: float | None, words: str
) -> None:
    verdict = judge(parse_is("> 0"), Answer(value), samples=samples, at_least=500)
    assert (verdict.outcome, verdict.why) == (outcome if why is None else UNDECIDED, why)
    assert (verdict.samples, verdict.detail) == (count, words)


def test_the_count_is_told_whatever_the_value_is() -> None:
    samples = Answer(700.0)
    assert judge(parse_is("> 0"), Answer(gap=Why.NAN), samples=samples, at_least=1).samples == 700
    assert judge(parse_vs_old("> 2x"), Answer(1.0), Answer(2.0), samples, 1).samples == 700


def test_few_samples_are_the_reason_before_a_gap_that_they_explain() -> None:
    verdict = judge(parse_is("> 0"), Answer(gap=Why.NAN), samples=Answer(0.0), at_least=1)
    assert verdict.why is Why.TOO_FEW_SAMPLES
