"""What to write instead of a value that is refused, where it can be seen what was meant.

Each function takes the value as its author wrote it and returns the words after "write", such as `"30m"`; an empty text
where nothing can be said that is not true of every wrong value. A suggestion is read by people alone: no value is ever
taken for another because of it.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

_LONGEST: Final = 64
"""Characters of a text that is looked at: no quantity that was meant is longer."""


def _written(value: object) -> str:
    """A text or a number as text; empty for anything else, and for what is too long to be meant."""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if abs(value) < 1e15 else ""  # inf and NaN are out too
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value.bit_length() < _LONGEST else ""
    return value.strip() if isinstance(value, str) and len(value) <= _LONGEST else ""


def _number(text: str) -> str:
    """A number as we write it: `.5` as 0.5, `1,5` as 1.5, `5.0` as 5; empty where it is none."""
    found = re.fullmatch(r"([0-9]{0,15})(?:[.,]([0-9]{1,12}))?", text)
    if not found or not any(found.groups()):
        return ""
    whole, fraction = found[1].lstrip("0") or "0", (found[2] or "").rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _either(texts: Iterable[str]) -> str:
    return " or ".join(f'"{text}"' for text in dict.fromkeys(texts))


# ---- durations -----------------------------------------------------------------------------------

_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "wk", "week", "weeks"), "w"),
}
_PART: Final = re.compile(r"([0-9]{0,7}(?:[.,][0-9]{1,6})?)([a-z]{1,12})")
_ISO: Final = re.compile(r"p(?:([0-9]{1,4})d)?(?:t(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,5})s)?)?")
_READ: Final = re.compile(r"([0-9]{1,3}d)?([0-9]{1,5}(\.[0-9]{1,3})?[hms]|[0-9]{1,5}ms){0,3}")
"""What is read, but for a few longer texts that nobody writes."""
_DAY: Final = 24
_WEEK: Final = 7


def duration(value: object) -> str:
    """For `30`, `30min`, `1 h`, `1.5d`, `2w` or `PT30M`."""
    text = re.sub(r"[\s_]|and", "", _written(value).lower()).removeprefix("+")
    if number := _number(text):
        return '"0s"' if number == "0" else f'"{number}s", "{number}m" or "{number}h"'
    if (iso := _ISO.fullmatch(text)) and any(iso.groups()):
        return f'"{"".join(f"{n}{u}" for n, u in zip(iso.groups(), "dhms", strict=True) if n)}"'
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return ""
    if not all(_number(number) and unit in _UNITS for number, unit in parts):
        return ""
    ordered = sorted(parts, key=lambda part: "wdhms".index(_UNITS[part[1]][0]))
    made = "".join(_part(_number(number), _UNITS[unit]) for number, unit in ordered)
    return f'"{made}"' if _READ.fullmatch(made) else ""


def response_time(value: object) -> str:
    """The same for the time that one request takes: `500` is of milliseconds, and `0.5` of seconds."""
    number = _number(re.sub(r"[\s_]", "", _written(value)))
    if not number or Decimal(number) == 0:
        return duration(value)
    exact = Decimal(number)
    if exact >= _LEAST_MILLISECONDS:
        return f'"{number}ms"' if "." not in number else ""
    milliseconds = _number(format(exact * 1000, "f"))
    if "." in milliseconds:
        return ""
    return f'"{milliseconds}ms"' if exact < 1 else f'"{number}s"'


_LEAST_MILLISECONDS: Final = 20
"""A bound of a histogram is seldom at 20 s and above, so a larger number is meant in milliseconds."""


def _part(number: str, unit: str) -> str:
    """One part of a duration, in the units that are read: whole days, no weeks, whole milliseconds."""
    if unit == "w":
        number, unit = _number(str(Decimal(number) * _WEEK)), "d"
    if unit == "d" and "." in number:
        number, unit = _number(str(Decimal(number) * _DAY)), "h"
    if unit == "ms" and "." in number:
        number = str(round(Decimal(number)))
    return number + unit


# ---- percentages ---------------------------------------------------------------------------------

_SHARE: Final = re.compile(r"([0-9.,]+)\s*(%|per ?cent|pct|percent)?", re.IGNORECASE)


def percentage(value: object) -> str:
    """For `0.5`, `"5"`, `5 %`, `5 percent` or `12.5`: in steps of 0.1%."""
    return _share(value, places=1, above=Decimal(0), most=Decimal(100))


def holdback(value: object) -> str:
    """The same, up to 50%."""
    return _share(value, places=1, above=Decimal(0), most=Decimal(50))


def confidence(value: object) -> str:
    """For `0.95`, `"95"` or `95 %`: in steps of 0.01%, above 50%."""
    return _share(value, places=2, above=Decimal(50), most=Decimal("99.99"))


def _share(value: object, *, places: int, above: Decimal, most: Decimal) -> str:
    found = _SHARE.fullmatch(_written(value))
    number = _number(found[1]) if found else ""
    if not found or not number:
        return ""
    exact = Decimal(number)
    meant = [exact] if found[2] or exact > 1 or not isinstance(value, str | float) else [exact * 100, exact]
    fit = [each for each in meant if above < each <= most and each == round(each, places)]
    return _either(f"{_number(format(each, 'f'))}%" for each in fit)


# ---- comparisons ---------------------------------------------------------------------------------

_OPERATORS: Final[Mapping[str, str]] = {
    **dict.fromkeys((">", "gt", "above", "over", "greater", "more", "greater than", "more than", "is above"), ">"),
    **dict.fromkeys((">=", "=>", "\u2265", "ge", "gte", "at least", "min", "not below"), ">="),
    **dict.fromkeys(("<", "lt", "below", "under", "less", "less than", "lower than", "is below"), "<"),
    **dict.fromkeys(("<=", "=<", "\u2264", "le", "lte", "at most", "max", "up to", "not above"), "<="),
    **dict.fromkeys(("==", "=", "===", "eq", "is", "equal", "equals", "equal to"), "=="),
    **dict.fromkeys(("!=", "<>", "\u2260", "ne", "neq", "not", "=!"), "!="),
}
_COMPARISON: Final = re.compile(
    r"([<>=!\u2264\u2265\u2260]*|[a-z]+(?: [a-z]+)?) ?([-+]?) ?([0-9.,]+) ?(%|[a-z]+|\u00d7)?", re.IGNORECASE
)
_TIMES: Final = ("x", "times", "\u00d7", "fold")
_PERCENT: Final = ("%", "percent", "pct", "pc")
_SECONDS: Final[Mapping[str, Decimal]] = {
    "ms": Decimal("0.001"),
    **dict.fromkeys(("s", "sec"), Decimal(1)),
    **dict.fromkeys(("m", "min"), Decimal(60)),
    "h": Decimal(3600),
}


def _compared(value: object) -> tuple[str, str, str, str] | None:
    """Operator (empty where none is written), sign, number and unit of what may be a comparison; None if it is none."""
    found = _COMPARISON.fullmatch(re.sub(r"\s+", " ", _written(value)))
    if not found:
        return None
    op, number = _OPERATORS.get(found[1].lower(), ""), _number(found[3])
    if not number or (found[1] and not op):
        return None
    return op, found[2], number, (found[4] or "").lower()


def comparison(value: object) -> str:
    """For `5%`, `> 5 %`, `=> 5`, `gt 5`, `> .5`, `> 200ms` or `> 1.5x`: with a number."""
    compared = _compared(value)
    if compared is None:
        return ""
    op, sign, number, unit = compared
    if unit in _TIMES:
        return "" if number == "1" else f'vsOld: "{op or ">"} {number}x" instead, which compares with the old side'
    if unit in _SECONDS:
        seconds = _number(format(Decimal(number) * _SECONDS[unit], "f"))
        return f"the number alone, in the unit of the query: {_with_operators(op, seconds)} for seconds"
    if unit and unit not in _PERCENT:
        return ""
    return _with_operators(op, f"{sign.strip('+')}{number}{'%' if unit else ''}")


def comparison_with_old(value: object) -> str:
    """For `> 1.5`, `> 50%`, `1.5x`, `> 1.5 times` or `=> +5%`: with the old side."""
    compared = _compared(value)
    if compared is None:
        return ""
    op, sign, number, unit = compared
    if unit in _TIMES and not sign:
        return "" if number == "1" else _with_operators(op, f"{number}x")
    if unit in _PERCENT:
        return "" if number == "0" else _with_operators(op, f"{sign or '+'}{number}%")
    if unit:
        return ""
    if sign:
        return _with_operators(op, f"{sign}{number}")
    op = op or ">"
    ratio = f'"{op} {number}x" for {number} times the old value, ' if number not in ("0", "1") else ""
    change = f', or "{op} +{number}%" for {number}% more' if number != "0" else ""
    return f'{ratio}"{op} +{number}" for a difference of {number}{change}'


def _with_operators(op: str, rest: str) -> str:
    return _either(f"{each} {rest}" for each in ((op,) if op else (">", "<")))


# ---- addresses -----------------------------------------------------------------------------------

_ADDRESS: Final = re.compile(
    r"(?:(https?)://)?(?:([^/@\s]*)@)?([-A-Za-z0-9.]+(?::[0-9]{1,5})?)((?:/[-A-Za-z0-9_.]+)*)/?"
)


def address(value: object) -> str:
    """For `prom:9090`, or one with a user and a password, which are not repeated."""
    found = _ADDRESS.fullmatch(_written(value))
    if not found or (found[1] and found[2] is None):
        return ""
    credentials = ", and the user and password as auth of a ClusterMetricSource" if found[2] else ""
    return f'"{found[1] or "http"}://{found[3]}{found[4]}"{credentials}'


# ---- credentials ---------------------------------------------------------------------------------

_RANDOM: Final = 40
"""A text as long, of small and capital letters and digits, is no name that a person gives to a file."""
_LONGEST_NAME: Final = 253
_HEX: Final = re.compile("[0-9a-f]{32,}")


def credential_file(value: object) -> str:
    """For a token, a key or a certificate where the name of its file belongs. It is not repeated."""
    text = value.strip() if isinstance(value, str) else ""
    begin = text[: _LONGEST_NAME + 1]
    mixed = all(any(map(kind, begin)) for kind in (str.isdigit, str.islower, str.isupper))
    random = len(text) >= _RANDOM and mixed
    known = begin.startswith(("eyJ", "LS0tLS1", "-----BEGIN")) and len(text) > len("-----BEGIN")
    if not (known or random or _HEX.fullmatch(begin)):
        return ""
    return (
        "the name of a file of the chart's value credentials, which is mounted; this looks like what belongs into the"
        " file: take it out of Git, and revoke it if it is a token or a key"
    )


# ---- names ---------------------------------------------------------------------------------------


def name(value: object) -> str:
    """For `Check_Out` or `shop/checkout`: a label of DNS."""
    return _name(value, "[^a-z0-9]+", "lower-case letters, digits and '-'")


def dotted_name(value: object) -> str:
    """For `Check_Out` or `deployment/checkout`: the name of an object."""
    return _name(value, "[^a-z0-9.]+", "lower-case letters, digits, '-' and '.'")


def _name(value: object, refused: str, rule: str) -> str:
    _, slash, last = _written(value).rpartition("/")
    made = re.sub(refused, "-", re.sub("(?<=[a-z0-9])(?=[A-Z])", "-", last).lower()).strip("-.")
    if made in ("", _written(value)):
        return ""
    return f'the name alone: "{made}"' if slash else f'{rule}, such as "{made}"'
