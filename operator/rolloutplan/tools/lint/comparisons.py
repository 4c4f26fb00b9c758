"""Comparisons that can hardly be meant: the wrong way round, or in another unit than the value. Pure.

`judge_value` checks a value against a number, `judge_old` a comparison with the old side. Both know what the value is
only where its query says it, and are silent where it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from rolloutplan.api.quantities import Comparison, Operator, format_duration
from rolloutplan.tools.promql.meaning import Meaning

Role: TypeAlias = Literal["pass", "fail", "guard", "warn", "assumption", "success", "failure"]
"""Where a predicate stands; of a template, what it indicates."""
Trap: TypeAlias = tuple[str, str]
"""The rule, and the message."""

_WHEN_TRUE: Final[dict[Role, str]] = {
    "guard": "a guard acts when this is true",
    "fail": "a fail predicate acts when this is true",
    "warn": "a warn predicate slows the rollout down when this is true",
    "failure": "a template that indicates Failure is true for a bad version",
    "pass": "pass needs this to be true",
    "assumption": "an assumption is false unless this is true",
    "success": "a template that indicates Success is true for a good version",
}
_WANTS_TRUE: Final = ("pass", "assumption", "success")
_OTHER_WAY: Final[dict[Operator, Operator]] = {"<": ">", "<=": ">", ">": "<", ">=": "<", "==": "!=", "!=": "=="}
_LARGER: Final = (">", ">=")
_SMALLER: Final = ("<", "<=")

LONG_WORK: Final = re.compile("job|batch|backup|build|task|import|export|sync|cron|age|queue|wait|compaction|reconcile")
"""Names of what may take minutes."""
_REQUESTS: Final = re.compile("request|http|grpc|rpc|response|latency|query")
_SECONDS_OF_REQUESTS: Final = 30
"""Seconds. Nobody bounds requests by more: it is the usual timeout of gateways."""
_SECONDS_OF_WORK: Final = 100
"""Seconds. A bound above that for anything else that is named like a latency is more likely in milliseconds."""
_MILLISECONDS: Final = 1.0
"""A bound below one millisecond is more likely in seconds."""
_BYTES: Final = 10_000
"""Below this, a bound of memory or of a size is no number of bytes."""
_CORES: Final = 10
"""More cores than that are rarely allowed to one version; it is more likely a percentage."""
_FEW_PERCENT: Final = 0.05
"""A relative change of up to 5 % of a share is lost in noise; points were meant."""
_HALF: Final = 0.5
_NEARLY_ALL: Final = 0.9
"""Nobody waits until nine of ten requests fail."""


def judge_value(role: Role, meaning: Meaning, comparison: Comparison) -> Iterator[Trap]:
    """Find what cannot be meant by a comparison of the value with a number."""
    fixed = _in_its_unit(meaning, comparison)
    if fixed is not None:
        words, comparison = fixed
        yield "unit", words
    yield from _other_way_round(role, meaning, comparison)


# ---- the wrong way round -------------------------------------------------------------------------


def _other_way_round(role: Role, meaning: Meaning, comparison: Comparison) -> Iterator[Trap]:
    good, op = meaning.good, comparison.op
    if good is None or meaning.kind == "other" or (good and meaning.kind in ("rate", "count")):
        return
    wants_much = good == (role in _WANTS_TRUE)
    if op in ("==", "!="):
        yield from _equal(role, meaning, comparison)
    elif wants_much == (op in _LARGER):
        yield from _other_end(role, meaning, comparison)
    elif _always_fits(role, meaning, comparison):
        return
    else:
        fix = _turned(meaning, comparison)
        yield "inverted", _inverted(role, f"{meaning.name} {comparison.text}", fix)


def _other_end(role: Role, meaning: Meaning, comparison: Comparison) -> Iterator[Trap]:
    """A bound for bad requests that says what was meant for good ones: bad > 99%, good < 1%."""
    share = comparison.number / meaning.scale
    if meaning.kind == "share" and meaning.whole and meaning.good is False and comparison.op == ">=" and share == 1:
        fix = "" if comparison.text.endswith("%") or meaning.scale != 1 else ': did you mean ">= 1%"?'
        yield "inverted", f'"{meaning.name} {comparison.text}" is true only when all requests are bad{fix}'
    if meaning.kind != "share" or not meaning.whole or not (0 < share < 1):
        return
    if (share >= _NEARLY_ALL) if not meaning.good else (share <= 1 - _NEARLY_ALL):
        fix = _written(comparison, comparison.op, meaning.scale - comparison.number)
        when = "even if" if role in _WANTS_TRUE else "only when"
        said = f'"{meaning.name} {comparison.text}" is true {when} nearly all requests are bad'
        yield "inverted", f'{said}: did you mean "{fix}"?'


def _always_fits(role: Role, meaning: Meaning, comparison: Comparison) -> bool:
    """Whether it asks for nothing but that there is something: pass with "> 0"."""
    return (
        role in _WANTS_TRUE and meaning.kind in ("latency", "gauge") and meaning.good is False and not comparison.number
    )


def _equal(role: Role, meaning: Meaning, comparison: Comparison) -> Iterator[Trap]:
    """A value that is exactly the best there is: no failures, or all of them good."""
    best = meaning.scale if meaning.good else 0.0
    if meaning.good and meaning.metric != "up" and meaning.kind != "share":
        return
    if meaning.kind not in ("share", "count", "rate") and meaning.metric != "up":
        return
    if comparison.number == best and (comparison.op == "==") != (role in _WANTS_TRUE):
        op = "<" if meaning.good else ">"
        fix = _written(comparison, op if role not in _WANTS_TRUE else "==", best)
        yield "inverted", _inverted(role, f"{meaning.name} {comparison.text}", fix)


def _turned(meaning: Meaning, comparison: Comparison) -> str:
    """The comparison the other way round; of a share, with the other part, where that is what the number says."""
    number, whole = comparison.number, meaning.scale
    part = meaning.kind == "share" and meaning.whole and 0 < number < whole
    if not number:
        # Nothing is below 0: what is meant is that there is none, or not one.
        op: Operator = "<" if meaning.good else "=="
        return _written(comparison, op, whole if meaning.good else 0) if comparison.op in _LARGER else f"> {number:g}"
    of_other_part = part and (number > whole * _HALF) != bool(meaning.good)
    return _written(comparison, _OTHER_WAY[comparison.op], whole - number if of_other_part else number)


def _inverted(role: Role, said: str, fix: str) -> str:
    true = "false" if role in _WANTS_TRUE else "true"
    return f'{_WHEN_TRUE[role]}, and "{said}" is {true} for a healthy version: did you mean "{fix}"?'


def _written(comparison: Comparison, op: str, number: float) -> str:
    """A comparison with another number, in the form of this one."""
    number = round(number, 12)
    return f"{op} {round(100 * number, 10):g}%" if comparison.text.endswith("%") else f"{op} {number:g}"


# ---- another unit --------------------------------------------------------------------------------


def _in_its_unit(meaning: Meaning, comparison: Comparison) -> tuple[str, Comparison] | None:
    """Why the number is in another unit than the value, and the comparison that was probably meant."""
    percent = comparison.text.endswith("%")
    if meaning.kind == "share" and meaning.unit != "percent":
        return _of_share(meaning, comparison, percent=percent)
    if meaning.unit == "percent" or (meaning.kind == "gauge" and meaning.scale == 100):
        return _of_percentage(meaning, comparison, percent=percent)
    if percent and meaning.kind in ("latency", "rate", "count"):
        return _percent_of_no_share(meaning, comparison)
    if meaning.kind == "latency":
        return _of_latency(meaning, comparison)
    if meaning.unit == "bytes" and comparison.number and comparison.number / meaning.scale < _BYTES:
        fix = "write bytes, such as 500e6 for 500 MB, or divide by the limit for a share"
        if meaning.scale == 1:
            return f'{meaning.metric} is in bytes, and "{comparison.text}" is {_bytes(comparison)}: {fix}', comparison
    if meaning.unit == "cores" and meaning.scale == 1 and comparison.number >= _CORES:
        fix = "divide by the limit for a share, or write cores"
        return (
            f'{meaning.name} is in cores, and "{comparison.text}" is {comparison.number:g} of them: {fix}',
            comparison,
        )
    return None


def _bytes(comparison: Comparison) -> str:
    return f"{comparison.number:g} byte{'s' * (comparison.number != 1)}"


def _of_share(meaning: Meaning, comparison: Comparison, *, percent: bool) -> tuple[str, Comparison] | None:
    number, whole = comparison.number, meaning.scale
    if whole == 100 and percent:
        fixed = _with(comparison, 100 * number, f"{100 * number:g}")
        words = (
            f'{meaning.name} is multiplied by 100, and {100 * number:g}% is {number:g}: did you mean "{fixed.text}"?'
        )
        return words, fixed
    if number < whole or (number == whole and not (meaning.whole and comparison.op in (">", "<="))):
        return None
    never = f'{meaning.name} is from 0 to {whole:g}, so "{comparison.text}" is {_always(comparison)} true'
    if not percent and number <= 100 and whole == 1:
        fixed = _with(comparison, number / 100, f"{number:g}%")
        return f'{never}: did you mean "{fixed.text}"?', fixed
    return f"{never}: write a bound between 0 and {'100%' if whole == 1 else f'{whole:g}'}", comparison


def _always(comparison: Comparison) -> str:
    return "always" if comparison.op in (*_SMALLER, "!=") else "never"


def _of_percentage(meaning: Meaning, comparison: Comparison, *, percent: bool) -> tuple[str, Comparison] | None:
    number = comparison.number
    what = f"{meaning.metric or meaning.name} is a percentage, from 0 to 100"
    least = 0.1 if meaning.good is False and not re.search("usage|used|utili|cpu|memory", meaning.metric) else 1
    if percent:
        fixed = _with(comparison, 100 * number, f"{100 * number:g}")
        return f'{what}, and {100 * number:g}% is {number:g}: did you mean "{fixed.text}"?', fixed
    if 0 < number < least:
        fixed = _with(comparison, 100 * number, f"{100 * number:g}")
        return f'{what}, and {number:g} is {number:g}%: did you mean "{fixed.text}"?', fixed
    return None


def _percent_of_no_share(meaning: Meaning, comparison: Comparison) -> tuple[str, Comparison]:
    what = {"latency": "a time", "rate": "a number per second", "count": "a number"}[meaning.kind]
    fix = (
        'compare with the old side, vsOld: "> +5%"'
        if meaning.kind == "latency"
        else "divide by all requests for a share"
    )
    shown = comparison.text.lstrip("<>=! ")
    return f"{meaning.name} is {what} and no share, so {shown} is {comparison.number:g}: {fix}", comparison


_OF_A_SECOND: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_CALLED: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _of_latency(meaning: Meaning, comparison: Comparison) -> tuple[str, Comparison] | None:
    """A latency in seconds, against milliseconds; and the other way."""
    if meaning.unit not in _OF_A_SECOND or not comparison.number:
        return None
    per_second = round(_OF_A_SECOND[meaning.unit] * meaning.scale, 9)
    seconds = comparison.number / per_second
    name = meaning.metric.lower()
    longest = _SECONDS_OF_REQUESTS if _REQUESTS.search(name) else _SECONDS_OF_WORK
    unit = next((_CALLED[unit] for unit, each in _OF_A_SECOND.items() if each == per_second), "")
    if not unit:
        return None
    said = f'{meaning.name} is in {unit}, and "{comparison.text}" is'
    if seconds > longest and not LONG_WORK.search(name) and per_second == 1:
        fixed = _with(comparison, comparison.number / 1000, f"{comparison.number / 1000:g}")
        return f'{said} {_long(seconds)}: did you mean "{fixed.text}"?', fixed
    if per_second > 1 and 0 < seconds * 1000 < _MILLISECONDS and comparison.number < 1:
        number = comparison.number * per_second
        fixed = _with(comparison, number, f"{number:g}")
        return f'{said} {comparison.number:g} {unit}: did you mean "{fixed.text}"?', fixed
    return None


def _long(seconds: float) -> str:
    whole = timedelta(seconds=min(round(seconds), 10**9))
    if whole < timedelta(minutes=2):
        return format_duration(whole)
    return f"{round(whole / timedelta(minutes=1))} minutes" if whole < timedelta(hours=2) else format_duration(whole)


def _with(comparison: Comparison, number: float, written: str) -> Comparison:
    return Comparison(comparison.op, number, comparison.kind, f"{comparison.op} {written}")


# ---- compared with the old side ------------------------------------------------------------------


def judge_old(role: Role, meaning: Meaning, comparison: Comparison, *, counts: bool) -> Iterator[Trap]:
    """Find what cannot be meant by a comparison with the old side. `counts` says that events are counted."""
    yield from _few_percent(meaning, comparison, counts=counts)
    unchanged = 1.0 if comparison.kind == "ratio" else 0.0
    same = _compares(comparison.op, unchanged, comparison.number)
    wants_much = None if meaning.good is None else meaning.good == (role in _WANTS_TRUE)
    turned = wants_much is not None and comparison.op not in ("==", "!=") and wants_much != (comparison.op in _LARGER)
    failing = role not in _WANTS_TRUE
    if (same and failing) or (turned and (failing or not same)):
        fix = f"{_OTHER_WAY[comparison.op]} {comparison.text.lstrip('<>=! ')}"
        if turned and not same and failing:
            fix = _mirrored(comparison)
        true = "true" if failing else "false"
        who = "for a version that is just as the old one" if same == failing else "for a version that is better"
        yield "inverted", f'{_WHEN_TRUE[role]}, and "{comparison.text}" is {true} {who}: did you mean "{fix}"?'


def _mirrored(comparison: Comparison) -> str:
    """Better by so much, as worse by so much."""
    op, written = _OTHER_WAY[comparison.op], comparison.text.lstrip("<>=! ")
    if comparison.kind == "ratio":
        return f"{op} {1 / comparison.number:.3g}x" if comparison.number else f"{op} 1.5x"
    sign = {"+": "-", "-": "+"}[written[0]]
    return f"{op} {sign}{written[1:]}"


def _compares(op: Operator, left: float, right: float) -> bool:
    return {
        "<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right,
        "!=": left != right,
    }[op]  # fmt: skip


def _few_percent(meaning: Meaning, comparison: Comparison, *, counts: bool) -> Iterator[Trap]:
    """A relative change of a share by a few percent, which is read as points."""
    if comparison.kind != "relative" or meaning.kind != "share" or meaning.good is not False:
        return
    if not 0 < abs(comparison.number) <= _FEW_PERCENT:
        return
    sign = "+" if comparison.number > 0 else "-"
    percent = abs(100 * comparison.number)
    times = f"{1 + comparison.number:.6g}x the share of the old side"
    points = f"{comparison.op} {sign}{abs(comparison.number) * meaning.scale:g}"
    fix = (
        'write a ratio that is a real change, such as "> 1.5x"' if counts else f'did you mean points? Write "{points}"'
    )
    yield "unit", f'"{comparison.text}" is relative, {times}, and not {percent:g} percentage points: {fix}'
