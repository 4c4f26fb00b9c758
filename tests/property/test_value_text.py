"""What is printed of a value and its bound says the same as the verdict, in every form of bound."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.quantities import Comparison, parse_is, parse_vs_old
from rolloutplan.engine.run.value_text import IN_ALL, against, value_text
from rolloutplan.stats import threshold
from rolloutplan.stats.sequential import CountDelta, make_hypothesis, start, step, verdict
from rolloutplan.stats.verdict import Answer, Outcome, Verdict

OPERATORS = st.sampled_from(["<", "<=", ">", ">="])
BOUNDS = st.sampled_from(["1%", "0.7%", "99.9%", "0.3", "250", "1e-7", "0.1"])
NEAR = st.sampled_from([0.0, 1e-15, -1e-15, 1e-9, -1e-9, 1e-5, -1e-5, 4.9e-4, -0.4417, 1.0])
"""How far a value is from its bound, as a part of it."""


def says(shown: str, comparison: Comparison) -> bool:
    """Whether the comparison is true of what is printed, read as a person reads it."""
    number = Decimal(shown.rstrip("%x")) / (100 if shown.endswith("%") else 1)
    bound = comparison.text.split()[-1]
    limit = Decimal(bound.rstrip("%x")) / (100 if bound.endswith("%") else 1)
    return {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}[comparison.op]


@given(OPERATORS, BOUNDS, NEAR)
@settings(max_examples=100)
def test_a_value_is_never_rounded_to_the_other_side_of_its_bound(operator: str, bound: str, part: float) -> None:
    comparison = parse_is(f"{operator} {bound}")
    found = threshold.judge(comparison, Answer(comparison.number * (1 + part)))
    shown = value_text(comparison, found)
    assert says(shown, comparison) is (found.outcome is Outcome.PROVED), f"{shown} {comparison.text} {found}"


@pytest.mark.parametrize(
    ("text", "new", "old", "shown"),
    [
        ("> 1%", 0.010000001, None, "1.0000001%"),
        ("> 1%", 0.2133, None, "21.33%"),
        ("<= 250", 250.0000001, None, "250.0000001"),
        ("<= +5%", 1.05001, 1.0, "+5.001%"),
        ("<= +5%", 1.0500001, 1.0, "+5.00001%"),
        ("> 1.5x", 1.50001, 1.0, "1.50001x"),
        ("> 1.5x", 3.0, 1.0, "3x"),
        ("> +0.2", 0.40000001, 0.2, "+0.20000001"),
    ],
)
def test_as_many_digits_are_shown_as_tell_it_from_the_bound(
    text: str, new: float, old: float | None, shown: str
) -> None:
    comparison = parse_is(text) if old is None else parse_vs_old(text)
    found = threshold.judge(comparison, Answer(new), None if old is None else Answer(old))
    assert value_text(comparison, found).startswith(shown[:6])
    assert says(value_text(comparison, found), comparison) is (found.outcome is Outcome.PROVED)


def counted(text: str, role: str, evaluations: list[tuple[int, int]]) -> tuple[Comparison, Verdict]:
    comparison = parse_is(text)
    hypothesis = make_hypothesis(comparison, "pass" if role == "pass" else "fail")
    state = start(hypothesis)
    for total, bad in evaluations:
        state = step(hypothesis, state, CountDelta(total, min(bad, total)))
    return comparison, verdict(hypothesis, state, 0.99)


RUNS = st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([0, 0, 3, 30, 300])), min_size=1, max_size=12)


@given(st.sampled_from(["> 1%", "< 1%", "> 5%", "< 5%"]), st.sampled_from(["guard", "pass"]), RUNS)
@settings(max_examples=100)
def test_counts_and_their_verdict_say_the_same(text: str, role: str, evaluations: list[tuple[int, int]]) -> None:
    comparison, found = counted(text, role, evaluations)
    shown = value_text(comparison, found)
    if found.outcome is not Outcome.UNDECIDED and not shown.endswith(IN_ALL):
        assert says(shown, comparison) is (found.outcome is Outcome.PROVED), f"{shown} {text} {found}"


def test_a_fault_that_began_late_is_told_as_such() -> None:
    comparison, found = counted("> 1%", "guard", [(1000, 0)] * 20 + [(1000, 60), (1000, 60)])
    shown = against(value_text(comparison, found), "> 1% at 99%", holds=found.outcome is Outcome.PROVED)
    assert shown == "0.5455% in all, and evaluation by evaluation > 1% at 99%"
