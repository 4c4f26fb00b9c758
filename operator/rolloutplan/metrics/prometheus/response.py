"""Parses a source's HTTP response into numbers and counters. Pure. `http.py` passes status and body.

Every failure is an answer too: anything but a number becomes a gap with the source's message.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from rolloutplan.metrics.prometheus.limits import LONGEST_INSTANCE, LONGEST_WORDS, MOST_INSTANCES
from rolloutplan.stats.verdict import Answer, Why

T = TypeVar("T")

LONGEST_DETAIL: Final = 300
_WARNINGS: Final = 10
"""Warnings that are read; the detail holds a few."""

Counts: TypeAlias = Mapping[str, float]
"""Counters at one instant, by `job/instance`; empty where there are none."""

_KINDS: Final = ("scalar", "vector", "matrix", "string")
"""The result types of Prometheus."""
_ERROR_TYPES: Final = (
    "bad_data", "canceled", "execution", "internal", "not_acceptable", "not_found", "timeout", "too_large_entry",
    "too_many_requests", "unavailable",
)  # fmt: skip
"""The error types of Prometheus and Mimir. VictoriaMetrics writes the HTTP status."""
_NO_ACCESS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_ROW_BYTES: Final = 8
"""Random bytes of a row label: nobody guesses 64 bits within the seconds of one request."""
_SHOWN_LABELS: Final = 20
"""Labels of a series that are written down; the detail holds a few."""
_OUTAGES: Final = frozenset({"timeout", "canceled", "internal", "unavailable", "too_many_requests"})
_RANGE_TOO_LONG: Final = re.compile(r"time range exceeds|max-query-(length|expression)|too long query", re.IGNORECASE)
"""The words of a query that asks for too long a time: servers find it while they fetch the series."""
_FAULT_OF_STORE: Final = re.compile(
    r"expand\w* series|too many samples|too many (outstanding|concurrent)|not enough memory|maxSamples|maxUnique"
    r"|matching timeseries exceeds|query exceeded the maximum|rpc error|\bEOF\b|connection|timeout|deadline"
    r"|unavailable|unhealthy|healthy|remote.?read|vmstorage|storage node|store-gateway|ingester|fetch|context canceled",
    re.IGNORECASE,
)
"""The words of an evaluation whose data could not be had: Prometheus with its remote read, Thanos, Mimir,
VictoriaMetrics."""
_FAULT_OF_QUERY: Final = re.compile(
    r"many-to-(many|one)|match group|multiple matches for labels|grouping labels|same labelset"
    r"|duplicate (time ?)?series"
    r"|invalid (parameter|quantile|label|destination|source label|reg|expression|type|argument|metric name)"
    r"|pars(e|ing)|unparsed|unsupported|unknown (func|aggr)|unhandled expression|expected|not allowed",
    re.IGNORECASE,
)
"""The words of an expression that cannot be evaluated, whatever the data."""


class Result(NamedTuple):
    """The result of Prometheus: `kind` is its resultType, `rows` its result."""

    kind: object
    rows: Any


class RowLabels(NamedTuple):
    """The label of one batch that says whose a series is: its name, and the value of each query.

    Both are random for each request, so that nobody can write a query that answers for another.
    """

    name: str
    values: tuple[str, ...]

    @classmethod
    def new(cls, number: int) -> RowLabels:
        text = secrets.token_hex(_ROW_BYTES * (number + 1))
        parts = [text[i : i + 2 * _ROW_BYTES] for i in range(0, len(text), 2 * _ROW_BYTES)]
        return cls(f"row_{parts[0]}", tuple(parts[1:]))


Read: TypeAlias = Callable[[Result], T | Answer]
"""Parses a result, or returns the reason why it cannot."""


def parse_response(status: int, body: bytes, read: Read[T], flavor: str = "Prometheus") -> T | Answer:
    """Parse an HTTP status and body of the query API: the value that `read` returns, or the gap."""
    try:
        response = json.loads(body, parse_int=float)  # reading thousands of digits as an int takes long
    except (ValueError, RecursionError):
        response = None
    if not isinstance(response, dict):
        return _foreign(status)
    if response.get("status") != "success" or status >= HTTPStatus.BAD_REQUEST:
        return _refusal(status, response)
    data = response.get("data") or {}
    if not isinstance(data, dict) or data.get("resultType") not in _KINDS:
        return undecided(Why.SOURCE_DOWN, "the answer is not in the JSON format of Prometheus")
    if warnings := response.get("warnings"):
        # Thanos warns only of stores that did not answer.
        return undecided(Why.PARTIAL if flavor == "Thanos" else Why.WARNINGS, _joined(warnings))
    if response.get("isPartial"):
        return undecided(Why.PARTIAL, "the answer is partial: not all storage nodes answered")
    try:
        return read(Result(data.get("resultType"), data.get("result")))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return undecided(Why.SOURCE_DOWN, "the answer is not in the JSON format of Prometheus")


def number(result: Result) -> Answer:
    """The one number of a result; it may be infinite."""
    kind, rows = result
    match kind:
        case "scalar":
            return _value(rows[1])
        case "vector" if not rows:
            return undecided(Why.NO_DATA, "the query returns no series")
        case "vector" if len(rows) > 1:
            two = " and ".join(_labels(row["metric"]) for row in rows[:2])
            return undecided(Why.MANY_SERIES, f"{len(rows)} series instead of one, such as {two}")
        case "vector" if "value" not in rows[0]:
            return undecided(Why.QUERY_REJECTED, "the query returns a histogram, not a number")
        case "vector":
            return _value(rows[0]["value"][1])
        case "matrix":
            return undecided(
                Why.QUERY_REJECTED, "the query returns a range of samples, not one value: wrap it in a function"
            )
        case _:
            return undecided(Why.QUERY_REJECTED, f"the query returns a {_text(kind)}, not a number")


def counts(result: Result) -> Counts | Answer:
    """The number of each instance in a vector."""
    if result.kind != "vector":
        return undecided(Why.QUERY_REJECTED, f"the query returns a {_text(result.kind)}, not counters")
    instances = _by_instance(result.rows, "value")
    if isinstance(instances, Answer):
        return instances
    found = {}
    for key, (_, text) in instances.items():
        found[key] = float(text)
        if not math.isfinite(found[key]):
            return undecided(Why.NAN, f"the value is {text} for {key}")
    return found


@dataclass(frozen=True, slots=True)
class Instants:
    """Parses a range query: what `counts` would return at each of its instants.

    An instant with a number that is not finite is left out: nothing can be counted there.
    """

    start: datetime
    step: timedelta
    number: int

    def __call__(self, result: Result) -> list[tuple[datetime, Counts]] | Answer:
        if result.kind != "matrix":
            return undecided(Why.QUERY_REJECTED, f"the query returns a {_text(result.kind)}, not counters over a time")
        instances = _by_instance(result.rows, "values")
        if isinstance(instances, Answer):
            return instances
        first, step = _milliseconds(self.start.timestamp()), self.step // timedelta(milliseconds=1)
        found: dict[int, dict[str, float]] = {first + i * step: {} for i in range(self.number)}
        for key, samples in instances.items():
            for at, text in samples:
                found[_milliseconds(at)][key] = float(text)
        looks = enumerate(found.values())
        return [(self.start + i * self.step, counts) for i, counts in looks if all(map(math.isfinite, counts.values()))]


def each(reads: Sequence[Callable[[Result], Any]], rows: RowLabels, result: Result) -> list[Any] | Answer:
    """The result of each query of a batch, in their order; a gap where a series belongs to none of them."""
    if len(reads) == 1:
        return [reads[0](result)]
    own: dict[str, list[Any]] = {value: [] for value in rows.values}
    for row in result.rows:
        labels = dict(row["metric"])
        found = own.get(labels.pop(rows.name, ""))
        if found is None or result.kind != "vector":
            return undecided(Why.SOURCE_DOWN, "the answer to several queries has a series that belongs to none of them")
        found.append({**row, "metric": labels})
    return [read(Result("vector", found)) for read, found in zip(reads, own.values(), strict=True)]


def undecided(why: Why, detail: str) -> Answer:
    printable = "".join(c if c.isprintable() else " " for c in detail[:LONGEST_WORDS])
    return Answer(gap=why, detail=" ".join(printable.split())[:LONGEST_DETAIL])


def _milliseconds(seconds: float) -> int:
    """Milliseconds, rounded as in the parameter `time=`."""
    return int(f"{seconds:.3f}".replace(".", ""))


def _by_instance(rows: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any] | Answer:
    if len(rows) > MOST_INSTANCES:
        return undecided(Why.MANY_SERIES, f"{len(rows)} series, more than {MOST_INSTANCES}: count fewer pods together")
    found: dict[str, Any] = {}
    for row in rows:
        labels = row["metric"]
        key = sys.intern(f"{labels.get('job', '')}/{labels.get('instance', '')}")  # one text for all that count it
        if len(key) > LONGEST_INSTANCE:
            words = f"the labels job and instance have {len(key)} characters, more than {LONGEST_INSTANCE}"
            return undecided(Why.NOT_COUNTERS, f"{words}, in {key}")
        if key in found:
            return undecided(Why.MANY_SERIES, f"more than one series of {key}, such as {_labels(labels)}")
        if what not in row:
            return undecided(Why.QUERY_REJECTED, "the query returns histograms, not counters")
        found[key] = row[what]
    return found


def _refusal(status: int, response: Mapping[str, Any]) -> Answer:
    kind, words = _text(response.get("errorType", "")), _text(response.get("error") or "no message")
    if response.get("status") != "error" or not (kind == str(status) or kind in _ERROR_TYPES):
        return _foreign(status)
    rejected = status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY) and kind not in _OUTAGES
    if rejected and _is_fault_of_query(status, kind, words):
        return undecided(Why.QUERY_REJECTED, words)
    return undecided(Why.SOURCE_DOWN, f"{_http(status)}: {words}")


def _foreign(status: int) -> Answer:
    """What is said of an answer that is not from Prometheus. None of its text is: a source may point to anything."""
    if status in _NO_ACCESS:
        return undecided(Why.SOURCE_DOWN, f"{_http(status)}: it wants other credentials; check auth of the source")
    return undecided(Why.SOURCE_DOWN, f"{_http(status)}, and the answer is not in the JSON format of Prometheus")


def _is_fault_of_query(status: int, kind: str, words: str) -> bool:
    """Whether the same query would fail again, however well the source is.

    422 says only that an evaluation failed. Where that is all (`execution`), it is the source's, unless the words are
    those of a faulty query: a source that cannot answer for a while must not look like a query that never will.
    """
    if _RANGE_TOO_LONG.search(words):
        return True
    if kind == "execution":
        return bool(_FAULT_OF_QUERY.search(words)) and not _FAULT_OF_STORE.search(words)
    return status == HTTPStatus.BAD_REQUEST or kind == "bad_data" or not _FAULT_OF_STORE.search(words)


def _text(value: object) -> str:
    """The beginning of a text of the source, or of how Python writes what should have been one."""
    return (value if isinstance(value, str) else reprlib.repr(value))[:LONGEST_WORDS]


def _joined(texts: object) -> str:
    return "; ".join(map(_text, texts[:_WARNINGS])) if isinstance(texts, list) else _text(texts)


def _value(text: str) -> Answer:
    value = float(text)
    return undecided(Why.NAN, f"the value is {text}") if math.isnan(value) else Answer(value)


def _labels(metric: Mapping[str, str]) -> str:
    shown = sorted(metric.items())[:_SHOWN_LABELS]
    return "{" + ", ".join(f'{name}="{value}"'[:LONGEST_DETAIL] for name, value in shown) + "}"


def _http(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
