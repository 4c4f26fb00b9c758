"""A value against its bound, as text that says the same as the verdict."""

from __future__ import annotations

from decimal import Decimal
from math import isinf
from typing import Final

from rolloutplan.api.quantities import Comparison
from rolloutplan.stats.threshold import OPERATORS
from rolloutplan.stats.verdict import Verdict

IN_ALL: Final = " in all"
"""After a value over all evaluations that says otherwise than the test, which takes them one after the other."""
_DIGITS: Final = 4
_DIGITS_OF_A_VALUE: Final = 6
_ALL_DIGITS: Final = 17
"""So many digits tell every float from every other one."""


def value_text(comparison: Comparison, verdict: Verdict) -> str:
    """The value in the form of its bound, such as `+6.2%` or `1.8x`.

    It is as short as it may be: never rounded so that it lies on the other side of the bound, or on the bound.
    """
    if verdict.value is None:
        return verdict.detail if verdict.holds is not None else ""
    value = verdict.value
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    plain = comparison.kind == "value" and not comparison.text.endswith("%")
    fewest = _DIGITS_OF_A_VALUE if plain else _DIGITS
    texts = (_text(comparison, value, digits) for digits in range(fewest, _ALL_DIGITS + 1))
    agreeing = (text for text in texts if verdict.holds is None or _says(comparison, text) is verdict.holds)
    shown = next(agreeing, "") or _text(comparison, value, fewest)
    return f"{shown}{IN_ALL}" if verdict.outweighed else shown


def against(value: str, bound: str, *, holds: bool) -> str:
    """A value with its bound, and whether it is true: `21.3% > 1%`, `0.5% is not > 1%`."""
    if value.endswith(IN_ALL):
        return f"{value}, and evaluation by evaluation {'' if holds else 'not '}{bound}"
    return f"{value} {'' if holds else 'is not '}{bound}"


def _text(comparison: Comparison, value: float, digits: int) -> str:
    match comparison.kind:
        case "relative":
            return f"{value:+.{digits}g}" if abs(value) > 100 else f"{100 * value:+.{digits}g}%"
        case "ratio":
            return f"{value:.{digits}g}x"
        case "absolute":
            return f"{value:+.{digits}g}"
    return f"{100 * value:.{digits}g}%" if comparison.text.endswith("%") else f"{value:.{digits}g}"


def _says(comparison: Comparison, text: str) -> bool:
    """Whether the comparison is true of a value as it is printed."""
    number = Decimal(text.rstrip("%x")) / (100 if text.endswith("%") else 1)
    return OPERATORS[comparison.op](float(number), comparison.number)
