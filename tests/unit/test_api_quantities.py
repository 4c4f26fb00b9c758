"""Durations, weights and comparisons: what they mean, and that writing and reading are inverse."""

import re
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.quantities import (
    Comparison,
    counted,
    format_confidence,
    format_duration,
    format_weight,
    parse_confidence,
    parse_duration,
    parse_is,
    parse_vs_old,
    parse_weight,
)

HOURS = 3600.0


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("0s", 0, "0s"),
        ("0ms", 0, "0s"),
        ("500ms", 0.5, "500ms"),
        ("10s", 10, "10s"),
        ("1500ms", 1.5, "1.5s"),
        ("0.5s", 0.5, "500ms"),
        ("60s", 60, "1m"),
        ("90m", 1.5 * HOURS, "1h30m"),
        ("1.5h", 1.5 * HOURS, "1h30m"),
        ("1h30m", 1.5 * HOURS, "1h30m"),
        ("1h0m5s", HOURS + 5, "1h5s"),
        ("1s1h", HOURS + 1, "1h1s"),
        ("48h", 48 * HOURS, "48h"),
        ("1m0.05s", 60.05, "1m0.05s"),
    ],
)
def test_durations(text: str, seconds: float, written: str) -> None:
    duration = parse_duration(text)
    assert duration == timedelta(seconds=seconds)
    assert format_duration(duration) == written


@pytest.mark.parametrize(
    "text", ["", "10", "1d", "-5s", "+5s", "5 s", "5S", "s", ".5s", "1.5ms", "5s\n", "\u0665s", "1e3s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a duration: write a number with its unit .* such as "10s"'):
        parse_duration(text)


@pytest.mark.parametrize("raw", [5, 5.0, True, None, ["5s"]])
def test_a_duration_is_a_text(raw: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(raw)


def test_a_duration_that_could_not_be_written_again() -> None:
    assert parse_duration("99999h") == timedelta(hours=99_999)
    with pytest.raises(ValueError, match="at most 99999h"):
        parse_duration("99999h1s")


@given(st.integers(0, 99_999 * 3_600_000))
def test_every_duration_is_read_as_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1, max_size=4))
def test_every_duration_has_one_canonical_form(parts: list[tuple[int, str]]) -> None:
    written = format_duration(parse_duration("".join(f"{number}{unit}" for number, unit in parts)))
    assert format_duration(parse_duration(written)) == written


@pytest.mark.parametrize(
    ("text", "permille", "written"),
    [("5%", 50, "5%"), ("0.5%", 5, "0.5%"), ("5.0%", 50, "5%"), ("0%", 0, "0%"), ("100.0%", 1000, "100%")],
)
def test_weights(text: str, permille: int, written: str) -> None:
    assert parse_weight(text) == permille
    assert format_weight(permille) == written


@pytest.mark.parametrize(
    "raw", ["5", "101%", "100.1%", "-1%", "0.55%", "05%", "5 %", "%", ".5%", "5%\n", 5, 0.5, True, None]
)
def test_what_is_no_weight(raw: object) -> None:
    with pytest.raises(
        ValueError, match=r'is not a share: write 0% to 100% in steps of 0\.1%, such as "5%" or "0\.5%"'
    ):
        parse_weight(raw)


@given(st.integers(0, 1000))
def test_every_weight_is_read_as_written(permille: int) -> None:
    assert parse_weight(format_weight(permille)) == permille


@pytest.mark.parametrize(
    ("text", "op", "number", "written"),
    [
        ("> 0.9", ">", 0.9, "> 0.9"),
        (">0.9", ">", 0.9, "> 0.9"),
        ("<  1%", "<", 0.01, "< 1%"),
        ("<= 12.5%", "<=", 0.125, "<= 12.5%"),
        (">= -3", ">=", -3.0, ">= -3"),
        ("== 0", "==", 0.0, "== 0"),
        ("!= 1e-3", "!=", 0.001, "!= 1e-3"),
    ],
)
def test_comparisons_with_a_number(text: str, op: str, number: float, written: str) -> None:
    comparison = parse_is(text)
    assert (comparison.op, comparison.number, comparison.kind, comparison.text) == (op, number, "value", written)
    assert parse_is(comparison.text) == comparison


@pytest.mark.parametrize(
    ("text", "op", "number", "kind"),
    [
        ("<= +5%", "<=", 0.05, "relative"),
        ("> -10%", ">", -0.1, "relative"),
        ("<= +0.2", "<=", 0.2, "absolute"),
        ("> -0.1", ">", -0.1, "absolute"),
        ("<= +0", "<=", 0.0, "absolute"),
        ("> 1.5x", ">", 1.5, "ratio"),
        ("< 11x", "<", 11.0, "ratio"),
        ("< 0.1x", "<", 0.1, "ratio"),
        ("> 1.01x", ">", 1.01, "ratio"),
        ("> +100%", ">", 1.0, "relative"),
    ],
)
def test_comparisons_with_the_old_side(text: str, op: str, number: float, kind: str) -> None:
    comparison = parse_vs_old(text)
    assert (comparison.op, comparison.number, comparison.kind, comparison.text) == (op, number, kind, text)


@pytest.mark.parametrize(
    "raw", ["about 5", "5", ">", "> x", "=> 5", "= 5", "> 2x", "> 1e999", "> NaN", "> 1_0", " > 1", 5]
)
def test_what_is_no_comparison(raw: object) -> None:
    with pytest.raises(ValueError, match=r'is not a comparison: write an operator and a number, such as "> 0\.9"'):
        parse_is(raw)


@pytest.mark.parametrize("raw", ["about 5", "> 5", "> 5%", "> +5x", "> x", "<= +", 5])
def test_what_is_no_comparison_with_the_old_side(raw: object) -> None:
    with pytest.raises(ValueError, match=r'"<= \+5%".*"<= \+0\.2".*"> 1\.5x"'):
        parse_vs_old(raw)


@pytest.mark.parametrize("text", ["> 1x", "<1x", ">= 1.0x", "< 01.000x", "> +0%", "<= -0.00%"])
def test_what_noise_alone_decides(text: str) -> None:
    with pytest.raises(ValueError, match="gives false alarms from noise alone: allow a difference"):
        parse_vs_old(text)


@pytest.mark.parametrize(
    ("text", "confidence", "needed", "written"),
    [
        ("95%", Fraction(19, 20), 20, "95%"),
        ("99%", Fraction(99, 100), 100, "99%"),
        ("99.90%", Fraction(999, 1000), 1000, "99.9%"),
        ("99.99%", Fraction(9999, 10_000), 10_000, "99.99%"),
        ("50.01%", Fraction(5001, 10_000), Fraction(10_000, 4999), "50.01%"),
        ("60.0%", Fraction(3, 5), 2.5, "60%"),
    ],
)
def test_confidences_are_exact(text: str, confidence: Fraction, needed: object, written: str) -> None:
    assert parse_confidence(text) == confidence
    assert 1 / (1 - parse_confidence(text)) == needed
    assert format_confidence(confidence) == written


@pytest.mark.parametrize("raw", ["50%", "50.0%", "50.00%", "49.99%", "100%", "99.999%", "095%", "95", "95 %", 0.95, 95])
def test_what_is_no_confidence(raw: object) -> None:
    with pytest.raises(
        ValueError, match=r'is not a confidence: write more than 50% and at most 99\.99%, such as "95%"'
    ):
        parse_confidence(raw)


@pytest.mark.parametrize(
    ("comparison", "bound"),
    [
        (parse_vs_old("> 1.5x"), 1.5),
        (parse_vs_old("<= 0.5x"), 0.5),
        (parse_vs_old("<= +5%"), 1.05),
        (parse_vs_old(">= -99%"), 0.01),
        (parse_is("< 1%"), 0.01),
        (parse_is(">= 0.5"), 0.5),
    ],
)
def test_what_counts_are_tested_against(comparison: Comparison, bound: float) -> None:
    assert counted(comparison) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("comparison", "fix"),
    [
        (parse_vs_old("!= 2x"), "write < or >"),
        (parse_is("== 1%"), "write < or >"),
        (parse_vs_old("> +0.2"), 'is an absolute change, which counts cannot prove: write a ratio, such as "> 1.5x"'),
        (parse_vs_old("> 0x"), "write one above 0"),
        (parse_vs_old("> -100%"), "write one above 0"),
        (parse_is("> 0%"), "write one between 0% and 100%"),
        (parse_is("< 100%"), "write one between 0% and 100%"),
        (parse_is("< -0.1"), "write one between 0% and 100%"),
    ],
)
def test_what_counts_cannot_prove(comparison: Comparison, fix: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(chr(34) + comparison.text)}.*{re.escape(fix)}"):
        counted(comparison)


@given(st.decimals(0, 10**6, places=4), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_per_cent_are_hundredths(number: Decimal, op: str) -> None:
    assert parse_is(f"{op} {number}%").number == pytest.approx(float(number) / 100)
