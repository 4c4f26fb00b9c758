"""Durations, weights and comparisons: what they mean, and that writing and reading are inverse."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api import suggestions
from rolloutplan.api.quantities import (
    VS_OLD,
    Comparison,
    counted,
    format_confidence,
    format_duration,
    format_weight,
    parse_confidence,
    parse_duration,
    parse_is,
    parse_percentage,
    parse_rate,
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
        ("1d", 24 * HOURS, "24h"),
        ("1d12h", 36 * HOURS, "36h"),
        ("2d1h1m1.5s", 49 * HOURS + 61.5, "49h1m1.5s"),
        ("0d", 0, "0s"),
        ("1m0.05s", 60.05, "1m0.05s"),
    ],
)
def test_durations(text: str, seconds: float, written: str) -> None:
    duration = parse_duration(text)
    assert duration == timedelta(seconds=seconds)
    assert format_duration(duration) == written


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        *((text, 'a number with its unit (d, h, m, s, ms), such as "10s", "1h30m" or "1d12h"') for text in (
            "", "-5s", "s", "\u0665s", "1e3s", "soon", "5us", "1h 30", "1.5.5h", "h1", "1d1d",
        )),
        ("10", '"10s", "10m" or "10h"'),
        ("0", '"0s"'),
        ("+5s", '"5s"'),
        ("5 s", '"5s"'),
        ("5S", '"5s"'),
        (".5s", '"0.5s"'),
        ("1,5h", '"1.5h"'),
        ("1.5ms", '"2ms"'),
        ("5s\n", '"5s"'),
        ("30min", '"30m"'),
        ("1 hour and 30 minutes", '"1h30m"'),
        ("1.5d", '"36h"'),
        ("2w", '"14d"'),
        ("12h1d", '"1d12h"'),
        ("PT1H30M", '"1h30m"'),
    ],
)  # fmt: skip
def test_what_is_no_duration(text: str, fix: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'{chr(34)}{text}{chr(34)} is not a duration: write {fix}')}$"):
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
    assert parse_percentage(text) == permille
    assert format_weight(permille) == written


@pytest.mark.parametrize(
    ("raw", "fix"),
    [
        *((raw, '0% to 100% in steps of 0.1%, such as "5%" or "0.5%"') for raw in (
            "101%", "100.1%", "-1%", "0.55%", "%", "half", -1, 101, 10**40, True, None, ["5%"], {"a": 1}, float("nan"),
        )),
        ("5", '"5%"'),
        ("05%", '"5%"'),
        ("5 %", '"5%"'),
        ("5 percent", '"5%"'),
        (".5%", '"0.5%"'),
        ("5%\n", '"5%"'),
        (0.5, '"50%" or "0.5%"'),
        (0.05, '"5%"'),
        (12.5, '"12.5%"'),
        (5.0, '"5%"'),
        (1.0, '"100%" or "1%"'),
    ],
)  # fmt: skip
def test_what_is_no_percentage(raw: object, fix: str) -> None:
    with pytest.raises(ValueError, match=rf"is not a percentage: write {re.escape(fix)}$"):
        parse_percentage(raw)


@pytest.mark.parametrize("number", [1, 5, 99, 100])
def test_a_whole_number_is_a_percentage(number: int) -> None:
    assert parse_percentage(number) == parse_percentage(f"{number}%") == parse_weight(number) == 10 * number


@pytest.mark.parametrize("nothing", [0, "0%", "0.0%"])
def test_nothing_is_a_percentage_and_no_weight(nothing: object) -> None:
    assert parse_percentage(nothing) == 0
    with pytest.raises(ValueError, match=r"is not a percentage above 0%: write 0\.1% to 100%"):
        parse_weight(nothing)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("12", 12),
        ("12/s", 12),
        ("12rps", 12),
        ("0.5 req/s", 0.5),
        ("720/m", 12),
        ("90/min", 1.5),
        ("500/h", 500 / 3600),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1/s", "12/x", "12 apples/s", "fast", "1e3", "12/", ".", "1/s/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate: write requests per second, minute or hour, such as 12/s"):
        parse_rate(text)


@given(st.integers(0, 1000))
def test_every_percentage_is_read_as_written(permille: int) -> None:
    assert parse_percentage(format_weight(permille)) == permille


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
    ("raw", "fix"),
    [
        *((raw, 'an operator and a number, such as "> 0.9" or "<= 5%"') for raw in (
            "about 5", ">", "> x", "> 1e999", "> NaN", "> 1_0", "> 1k", "5 <", "", None, True, {"min": 99},
        )),
        ("5", '"> 5" or "< 5"'),
        (5, '"> 5" or "< 5"'),
        (0.99, '"> 0.99" or "< 0.99"'),
        ("5%", '"> 5%" or "< 5%"'),
        ("> 5 %", '"> 5%"'),
        (" > 1", '"> 1"'),
        ("=> 5", '">= 5"'),
        ("= 5", '"== 5"'),
        ("gt 5", '"> 5"'),
        ("at least 99%", '">= 99%"'),
        ("\u2264 5", '"<= 5"'),
        ("> .5", '"> 0.5"'),
        ("> 1,5", '"> 1.5"'),
        ("> 200ms", 'the number alone, in the unit of the query: "> 0.2" for seconds'),
        ("> 2x", 'vsOld: "> 2x" instead, which compares with the old side'),
    ],
)  # fmt: skip
def test_what_is_no_comparison(raw: object, fix: str) -> None:
    with pytest.raises(ValueError, match=f"is not a comparison: write {re.escape(fix)}$"):
        parse_is(raw)


@pytest.mark.parametrize(
    ("raw", "fix"),
    [
        *((raw, VS_OLD.fix.partition("write ")[2]) for raw in ("about 5", "> +5x", "> x", "<= +", "> 5s", None, "")),
        ("> 5%", '"> +5%"'),
        ("> 50 %", '"> +50%"'),
        ("+5%", '"> +5%" or "< +5%"'),
        ("1.5x", '"> 1.5x" or "< 1.5x"'),
        ("> 1.5 times", '"> 1.5x"'),
        ("=> 1.5X", '">= 1.5x"'),
        ("> 1.5", '"> 1.5x" for 1.5 times the old value, "> +1.5" for a difference of 1.5, or "> +1.5%" for 1.5% more'),
        (2, '"> 2x" for 2 times the old value, "> +2" for a difference of 2, or "> +2%" for 2% more'),
    ],
)  # fmt: skip
def test_what_is_no_comparison_with_the_old_side(raw: object, fix: str) -> None:
    with pytest.raises(ValueError, match=f"is not a comparison with the old side: write {re.escape(fix)}$"):
        parse_vs_old(raw)


GUESSED = st.from_regex(
    r"(>|<|=>|gt |at least )?[ +-]?[0-9]{1,3}([.,][0-9]{1,2})? ?(%|x|ms|s|min|h|d|w| percent| times)?"
    r"( ?[0-9]{1,2}[dhms])?",
    fullmatch=True,
)


@pytest.mark.parametrize("parse", [parse_duration, parse_percentage, parse_confidence, parse_vs_old, parse_is])
@given(written=GUESSED)
def test_what_is_suggested_is_taken(parse: Callable[[object], object], written: str) -> None:
    try:
        parse(written)
    except ValueError as refused:
        if "write" in str(refused) and "such as" not in str(refused) and "in quotes" not in str(refused):
            for suggested in re.findall('"([^"]*)"', str(refused).partition("write ")[2]):
                (parse_vs_old if "instead" in str(refused) else parse)(suggested)


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


@pytest.mark.parametrize("raw", ["50%", "50.0%", "50.00%", "49.99%", "100%", "99.999%", 50, 100, 0.5])
def test_what_is_no_confidence(raw: object) -> None:
    with pytest.raises(
        ValueError, match=r'is not a confidence: write more than 50% and at most 99\.99%, such as "95%"'
    ):
        parse_confidence(raw)


@pytest.mark.parametrize("raw", ["95", "95 %", 0.95, "0.95", "95 percent", 95.0, "095%"])
def test_a_confidence_in_another_form(raw: object) -> None:
    assert parse_confidence(95) == parse_confidence("95%")
    with pytest.raises(ValueError, match=r'is not a confidence: write "95%"$'):
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


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (500, '"500ms"'),
        ("250", '"250ms"'),
        (0.5, '"500ms"'),
        ("0,25", '"250ms"'),
        (2, '"2s"'),
        (2.5, '"2.5s"'),
        ("0.0005", ""),
        ("500 ms", '"500ms"'),
        ("half a second", ""),
    ],
)
def test_the_time_of_a_request_is_meant_in_milliseconds_or_as_a_part_of_a_second(value: object, meant: str) -> None:
    assert suggestions.response_time(value) == meant
