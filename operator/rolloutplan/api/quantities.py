"""The quantities of a plan: durations, weights, confidences and comparisons.

Each has a `TextFormat` and a parser to an exact value: whole milliseconds, whole permille, a fraction, or one operator
with one number.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from rolloutplan.api import suggestions
from rolloutplan.api.shown import shown
from rolloutplan.api.text_format import TextFormat

# ---- durations: in Go's form, in whole milliseconds ----------------------------------------------

_PART: Final = r"[0-9]{1,5}(\.[0-9]{1,3})?[hms]|[0-9]{1,5}ms"
DURATION: Final = TextFormat(
    called="duration",
    pattern=rf"^([0-9]{{1,4}}d({_PART}){{0,3}}|({_PART}){{1,4}})$",
    longest=24,
    fix='is not a duration: write a number with its unit (d, h, m, s, ms), such as "10s", "1h30m" or "1d12h"',
    suggest=suggestions.duration,
)
RESPONSE_TIME: Final = replace(DURATION, suggest=suggestions.response_time)
"""The same for the time that one request takes, which people write in milliseconds or as a part of a second."""
_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LONGEST: Final = timedelta(hours=99_999)
_TOO_LONG: Final = "is too long: write at most 99999h"


def parse_duration(text: object, form: TextFormat = DURATION) -> timedelta:
    """Parse `1d12h`, `1h30m`, `1.5h`, `10s` or `500ms`. Raises ValueError with the fix."""
    parts = re.findall(r"([0-9.]{1,9})(ms|d|h|m|s)", form.read(text))
    duration = timedelta(milliseconds=int(sum(Decimal(number) * _MILLISECONDS[unit] for number, unit in parts)))
    if duration > _LONGEST:
        raise ValueError(f'"{text}" {_TOO_LONG}')
    return duration


def duration_in_cel(text: str) -> str:
    """The duration of a text in CEL, whose own `duration` has no days: a day is an hour and 23 more.

    There are no products of durations, and no durations of numbers but as the difference of two times.
    """
    more = f"timestamp(int({text}.find('^[0-9]+')) * {23 * 3600}) - timestamp(0)"
    days = f"duration({text}.replace('d', 'h')) + ({more})"
    return f"({text}.contains('d') ? {days} : duration({text}))"


def format_duration(duration: timedelta) -> str:
    """The short form of a duration of whole milliseconds: `36h`, `1h30m`, `10s`, `1.5s`, `500ms`, `0s`."""
    rest = duration // timedelta(milliseconds=1)
    if 0 < rest < _MILLISECONDS["s"]:
        return f"{rest}ms"
    hours, rest = divmod(rest, _MILLISECONDS["h"])
    minutes, rest = divmod(rest, _MILLISECONDS["m"])
    parts = ((str(hours), "h"), (str(minutes), "m"), (_decimal(rest, _MILLISECONDS["s"]), "s"))
    return "".join(number + unit for number, unit in parts if number != "0") or "0s"


DURATION_SCHEMA: Final = DURATION.schema((f"{duration_in_cel('self')} <= duration('99999h')", _TOO_LONG))


def _reader(form: TextFormat) -> BeforeValidator:
    return BeforeValidator(lambda value: value if isinstance(value, timedelta) else parse_duration(value, form))


Duration = Annotated[
    timedelta,
    _reader(DURATION),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(DURATION_SCHEMA),
]
ResponseTime = Annotated[
    timedelta,
    _reader(RESPONSE_TIME),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(DURATION_SCHEMA),
]


def at_least(floor: str) -> AfterValidator:
    """A validator that refuses a duration below `floor`."""

    def check(duration: timedelta) -> timedelta:
        if duration < parse_duration(floor):
            raise ValueError(f"{format_duration(duration)} is below the minimum of {floor}: write {floor} or more")
        return duration

    return AfterValidator(check)


def at_most(ceiling: str) -> AfterValidator:
    """A validator that refuses a duration above `ceiling`."""

    def check(duration: timedelta) -> timedelta:
        if duration > parse_duration(ceiling):
            raise ValueError(f"{format_duration(duration)} is above the limit of {ceiling}: write {ceiling} or less")
        return duration

    return AfterValidator(check)


# ---- weights: percentages of traffic or replicas, in whole permille -------------------------------

_PERCENTAGE: Final = TextFormat(
    called="percentage",
    pattern=r"^(100(\.0)?|[1-9]?[0-9](\.[0-9])?)%$",
    longest=6,
    fix='is not a percentage: write 0% to 100% in steps of 0.1%, such as "5%" or "0.5%"',
    suggest=suggestions.percentage,
    whole=range(101),
)
_OF_PODS: Final = replace(
    _PERCENTAGE,
    called="percentage of pods",
    fix='is not a percentage of pods: write 0% to 100% in steps of 0.1%, such as "50%"; without %, from 10 on',
    whole=range(10, 101),
)
"""Elsewhere in Kubernetes a small number about pods is a number of pods: `maxUnavailable: 2`. So it needs its %."""
_WEIGHT: Final = replace(
    _PERCENTAGE,
    called="weight",
    pattern=r"^(100(\.0)?|[1-9][0-9]?(\.[0-9])?|0\.[1-9])%$",
    fix='is not a percentage above 0%: write 0.1% to 100% in steps of 0.1%, such as "5%" or "0.5%"',
    whole=range(1, 101),
)


def parse_percentage(value: object) -> int:
    """Parse `5%`, or 5, to 50 and `0.5%` to 5: permille. Raises ValueError with the fix."""
    return _permille(_PERCENTAGE.read(value))


def parse_weight(value: object) -> int:
    """The same, but for 0%, which moves no traffic. Raises ValueError with the fix."""
    return _permille(_WEIGHT.read(value))


def _permille(text: str) -> int:
    return int(Decimal(text.removesuffix("%")) * 10)


def format_weight(permille: int) -> str:
    """Format permille: 50 as `5%`, 5 as `0.5%`."""
    return f"{_decimal(permille, 10)}%"


def _decimal(count: int, parts: int) -> str:
    """Format count / parts, where parts is a power of ten, without trailing zeros."""
    whole, fraction = divmod(count, parts)
    digits = str(fraction).zfill(len(str(parts)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


Permille = Annotated[
    int,
    BeforeValidator(parse_percentage),
    PlainSerializer(format_weight, return_type=str),
    WithJsonSchema(_PERCENTAGE.schema()),
]
"""A share from 0 to 1000 permille."""

PermilleOfPods = Annotated[
    int,
    BeforeValidator(lambda value: _permille(_OF_PODS.read(value))),
    PlainSerializer(format_weight, return_type=str),
    WithJsonSchema(_OF_PODS.schema()),
]

Weight = Annotated[
    int,
    BeforeValidator(parse_weight),
    PlainSerializer(format_weight, return_type=str),
    WithJsonSchema(_WEIGHT.schema()),
]
"""The weight of a stage, from 1 to 1000 permille."""


# ---- confidences: how sure a test must be --------------------------------------------------------

_CONFIDENCE: Final = TextFormat(
    called="confidence",
    pattern=r"^(50\.(0[1-9]|[1-9][0-9]?)|(5[1-9]|[6-9][0-9])(\.[0-9]{1,2})?)%$",
    longest=8,
    fix='is not a confidence: write more than 50% and at most 99.99%, such as "95%" or "99.9%"',
    suggest=suggestions.confidence,
    whole=range(51, 100),
)


def parse_confidence(value: object) -> Fraction:
    """Parse `95%`, or 95, to 19/20: exact, so that 1 / (1 - confidence) is 20. Raises ValueError with the fix."""
    return Fraction(_CONFIDENCE.read(value).removesuffix("%")) / 100


def format_confidence(confidence: Fraction) -> str:
    """Format 19/20 as `95%`."""
    return f"{_decimal(int(confidence * 10_000), 100)}%"


Confidence = Annotated[
    Fraction,
    BeforeValidator(lambda value: value if isinstance(value, Fraction) else parse_confidence(value)),
    PlainSerializer(format_confidence, return_type=str),
    WithJsonSchema(_CONFIDENCE.schema()),
]
"""An exact fraction of 1, from 0.5001 to 0.9999."""


# ---- rates: how much traffic there is ------------------------------------------------------------

_RATE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(|[a-z]{0,8}/[a-z]{1,7}|rps|qps|rpm|rph)", re.IGNORECASE)
_PER: Final[Mapping[str, int]] = {
    **dict.fromkeys(("", "rps", "qps", "s", "sec", "second"), 1),
    **dict.fromkeys(("rpm", "m", "min", "minute"), 60),
    **dict.fromkeys(("rph", "h", "hr", "hour"), 3600),
    "d": 86_400,
    "day": 86_400,
}
_OF_REQUESTS: Final = ("", "r", "req", "reqs", "request", "requests")


def parse_rate(text: str) -> float:
    """Requests per second: of `12`, `12/s`, `12rps`, `700/m`, `500/h`. Raises ValueError with the fix."""
    found = _RATE.fullmatch(text.strip())
    what, _, per = found[2].lower().rpartition("/") if found else ("", "", "?")
    if not found or what not in _OF_REQUESTS or per not in _PER or not float(found[1]):
        raise ValueError(
            f"{shown(text)} is not a rate: write requests per second, minute or hour, such as 12/s or 500/h"
        )
    return float(found[1]) / _PER[per]


# ---- comparisons: what the value of a predicate is compared with ---------------------------------

Operator: TypeAlias = Literal["<", "<=", ">", ">=", "==", "!="]
Kind: TypeAlias = Literal["value", "relative", "absolute", "ratio"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One operator and one number.

    `kind` is the left operand, where new and old are the values of the two sides: the `value` itself, the `relative`
    change new / old - 1, the `absolute` change new - old, or the `ratio` new / old. `number` is a plain number: 1% is
    0.01, +5% is 0.05, 1.5x is 1.5. `text` is the written form, with one space.
    """

    op: Operator
    number: float
    kind: Kind
    text: str


_OPERATOR: Final = "(<=|>=|==|!=|<|>) *"
_NUMBER: Final = r"[0-9]{1,15}(\.[0-9]{1,12})?"
"""Few enough digits that a float can still distinguish 1 plus the change from 1."""

IS: Final = TextFormat(
    called="comparison",
    pattern=rf"^{_OPERATOR}[+-]?{_NUMBER}(e[+-]?[0-9]{{1,2}})?%?$",
    longest=48,
    fix='is not a comparison: write an operator and a number, such as "> 0.9" or "<= 5%"',
    suggest=suggestions.comparison,
)
_NOISE: Final = "tests for equality, which gives false alarms from noise alone: allow a difference, such as"
VS_OLD: Final = TextFormat(
    called="comparison with the old side",
    pattern=rf"^{_OPERATOR}([+-]{_NUMBER}%?|{_NUMBER}x)$",
    longest=48,
    fix=(
        "is not a comparison with the old side: write an operator and a relative change with its sign "
        '("<= +5%"), an absolute change with its sign ("<= +0.2") or a ratio ("> 1.5x")'
    ),
    suggest=suggestions.comparison_with_old,
    forbidden=(
        (r"[^0-9.]0*1(\.0*)?x$", f'{_NOISE} "> 1.5x" or "< 1.1x"'),
        (r"[+-]0+(\.0*)?%$", f'{_NOISE} "> +50%" or "<= +10%"'),
    ),
)

NO_EQUAL_COUNTS: Final = "cannot be proved with counts: write < or >"
NO_ABSOLUTE_COUNTS: Final = 'is an absolute change, which counts cannot prove: write a ratio, such as "> 1.5x"'
NO_RATIO: Final = 'is not a bound for a ratio: write one above 0, such as "> 1.5x"'
NO_SHARE: Final = "is not a bound for a share of bad requests: write one between 0% and 100%"


def parse_is(text: object) -> Comparison:
    """Parse a comparison of a value with a number: `> 0.9`, `< 1%`. Raises ValueError with the fix."""
    op, written = _split(IS.read(text))
    return Comparison(op, _number(written), "value", f"{op} {written}")


def parse_vs_old(text: object) -> Comparison:
    """Parse a comparison of new with old: `<= +5%`, `<= +0.2`, `> 1.5x`. Raises ValueError with the fix."""
    op, written = _split(VS_OLD.read(text))
    kind: Kind = "ratio" if written.endswith("x") else "relative" if written.endswith("%") else "absolute"
    return Comparison(op, _number(written), kind, f"{op} {written}")


_OPPOSITE: Final[Mapping[Operator, Operator]] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


def opposite(comparison: Comparison) -> Comparison:
    """The comparison that is true exactly where this one is false: `>= 99%` becomes `< 99%`."""
    op = _OPPOSITE[comparison.op]
    return replace(comparison, op=op, text=op + comparison.text.removeprefix(comparison.op))


def counted(comparison: Comparison) -> float:
    """The bound that counts are tested against: a ratio of bad ratios (`<= +5%` is 1.05) or a bad ratio (`< 1%`).

    Raises ValueError with the fix where counts of events cannot prove the comparison.
    """
    said = f'"{comparison.text}"'
    bound = 1 + comparison.number if comparison.kind == "relative" else comparison.number
    if comparison.op in ("==", "!="):
        raise ValueError(f"{said} {NO_EQUAL_COUNTS}")
    if comparison.kind == "absolute":
        raise ValueError(f"{said} {NO_ABSOLUTE_COUNTS}")
    if comparison.kind == "value" and not 0 < bound < 1:
        raise ValueError(f"{said} {NO_SHARE}")
    if bound <= 0:
        raise ValueError(f"{said} {NO_RATIO}")
    return bound


def _split(text: str) -> tuple[Operator, str]:
    written = text.lstrip("<>=!")
    return cast("Operator", text.removesuffix(written)), written.strip()


def _number(written: str) -> float:
    """Parse the number after the operator, with Decimal, so that 1% is the float nearest to 0.01."""
    return float(Decimal(written.rstrip("%x")) / (100 if written.endswith("%") else 1))


def _text(comparison: Comparison) -> str:
    return comparison.text


Is = Annotated[
    Comparison,
    BeforeValidator(lambda value: value if isinstance(value, Comparison) else parse_is(value)),
    PlainSerializer(_text, return_type=str),
    WithJsonSchema(IS.schema()),
]
VsOld = Annotated[
    Comparison,
    BeforeValidator(lambda value: value if isinstance(value, Comparison) else parse_vs_old(value)),
    PlainSerializer(_text, return_type=str),
    WithJsonSchema(VS_OLD.schema()),
]
