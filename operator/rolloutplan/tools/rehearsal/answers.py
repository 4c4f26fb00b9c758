"""What the query of a predicate answers in a rehearsal, as far as its form and the names in it say what it measures.

Counts of events are counted. A share, a rate and a count of requests are computed from the same counters. How long
requests usually take is not known: three fifths of the bound, so that twice that is beyond it. Of all other queries
nothing is known: they get a value with which all is well, unless a person says which (`given`). The reading tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import Comparison
from rolloutplan.api.rendering import VARIABLE
from rolloutplan.engine.model.queries import CountQuestion, Series, Side
from rolloutplan.stats.threshold import compare
from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.tools.fault import quantile_of, scale_of_share
from rolloutplan.tools.promql.meaning import Meaning, meaning_of
from rolloutplan.tools.promql.nodes import Node, PromqlError, Range, walk
from rolloutplan.tools.promql.parse import TooLargeError
from rolloutplan.tools.promql.syntax import UnclearError
from rolloutplan.tools.promql.tree import read_tree
from rolloutplan.tools.rehearsal.traffic import Increase, Traffic

How: TypeAlias = Literal["counted", "share", "rate", "count", "latency", "alert", "given", "healthy"]
_OF_REQUESTS: Final = re.compile("request|_rq|http|grpc|rpc|calls|error|fail", re.IGNORECASE)
"""What a metric must be called for its rate to be taken for that of the requests."""
_OLD: Final = 1.0
"""The usual value of the old side, where only the difference counts."""
_OTHERS: Final = re.compile("cache|hit|miss", re.IGNORECASE)
"""The names of shares that are none of requests that go well."""
_SLOW_FACTOR: Final = 10.0
"""How much longer a slow request takes than usual: beyond any bound."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a query is answered."""

    how: How
    good: bool = False
    """Whether it measures what goes well."""
    slow: bool = False
    """Whether it is about slow requests, and not about those that go wrong."""
    of_all: bool = False
    """Of a rate and a count, whether it is that of all requests."""
    scale: float = 1.0
    usual: float = 0.0
    """The usual value, where that is not computed."""
    usual_old: float | None = None
    """That of the old side, where it is another."""
    quantile: float | None = None
    """Of a latency; None for a mean."""

    def words(self, name: str) -> str:
        """How the predicate is answered, for a person."""
        return _WORDS[self.how].format(usual=f"{self.usual:.6g}", name=name, what=self._what)

    @property
    def _what(self) -> str:
        if self.of_all:
            return "all"
        if self.slow:
            return "fast" if self.good else "slow"
        return "good" if self.good else "bad"


_WORDS: Final[Mapping[How, str]] = {
    "counted": "the counters of the simulated requests",
    "share": "the share of {what} ones among the simulated requests",
    "rate": "the rate of {what} simulated requests",
    "count": "the number of {what} simulated requests",
    "latency": "{usual} as usual, which is assumed (--answer {name}=VALUE says another), longer with latency=...",
    "alert": "no alert fires (--fault 'answer {name}=1' lets one fire)",
    "given": "{usual}, as given",
    "healthy": (
        "taken as healthy ({usual}), because its query does not say what it measures: give --answer {name}=VALUE, and"
        " --fault 'answer {name}=VALUE' for what goes wrong"
    ),
}


def reading_of(predicate: Predicate, role: str, given: float | None) -> Reading:
    """How the query of a predicate without references is answered; `given` is what a person says of it."""
    comparison = predicate.comparison
    if predicate.alert is not None:
        return Reading("alert") if given is None else Reading("given", usual=given)
    if predicate.events is not None:
        # A guard against too few counts good ones, and so does a proof of many.
        good = (comparison.op in ("<", "<=")) != (role == "pass")
        return Reading("counted", good=good, slow=predicate.events.kind == "histogram")
    meaning = _meaning(predicate.query or "")
    found = _of_requests(predicate, meaning, role)
    if found is None and meaning.kind == "latency":
        reading = Reading("latency", quantile=quantile_of(predicate.query or ""))
    else:
        reading = found or Reading("healthy" if given is None else "given")
    if given is not None:
        return replace(reading, how="latency" if reading.how == "latency" else "given", usual=given)
    usual = healthy(comparison, holds=role == "pass")
    return replace(reading, usual=usual, usual_old=None if comparison.kind == "value" else _OLD)


def _of_requests(predicate: Predicate, meaning: Meaning, role: str) -> Reading | None:
    """The reading of a share, a rate or a number of requests; None for anything else."""
    above = predicate.comparison.op in (">", ">=", "==", "!=")
    fails_above = above != (role == "pass")
    slow = predicate.judges_latency
    if _OTHERS.search(predicate.query or ""):
        return None
    if meaning.kind == "share" and meaning.whole:
        good = not fails_above if meaning.good is None else meaning.good
        return Reading("share", good=good, slow=slow, scale=meaning.scale)
    if meaning.kind in ("rate", "count") and _OF_REQUESTS.search(meaning.metric) and not slow:
        how: How = "rate" if meaning.kind == "rate" else "count"
        return Reading(how, good=bool(meaning.good), of_all=meaning.good is None, scale=meaning.scale)
    scale = scale_of_share(predicate)
    return Reading("share", good=not fails_above, slow=slow, scale=scale) if scale else None


def healthy(comparison: Comparison, *, holds: bool) -> float:
    """A value of the new side with which a comparison is true, or is not; that of the old side, where that does."""
    bound, old = comparison.number, None if comparison.kind == "value" else _OLD
    absolute = (0.6 * bound, 2 * bound, bound, bound - 1, bound + 1)
    relative = (1.0, 0.5, 2.0, 0.0, -abs(bound), 2 * abs(bound) + 2)
    candidates = absolute if old is None else relative
    return next((each for each in candidates if compare(comparison, each, old).holds == holds), candidates[0])


def _meaning(query: str) -> Meaning:
    tree = _tree(VARIABLE.sub(_filled, query))
    return meaning_of(tree) if tree is not None else Meaning("other")


def _filled(found: re.Match[str]) -> str:
    return "1m" if (found[1] or found[2]) in ("window", "elapsed") else "x"


@lru_cache(maxsize=512)
def _tree(text: str) -> Node | None:
    try:
        return read_tree(text)
    except (PromqlError, TooLargeError, UnclearError):
        return None


@lru_cache(maxsize=2048)
def _range(text: str) -> timedelta | None:
    """The longest range that a query reads."""
    tree = _tree(text)
    return max((part.range for part, _ in walk(tree) if isinstance(part, Range)), default=None) if tree else None


# ---- answers ---------------------------------------------------------------------------------------------------------


def value_of(
    reading: Reading, text: str, side: Side, at: datetime, window: timedelta, traffic: Traffic, times: float
) -> Answer:
    """The answer to a query for one number. `times` is by what slowed requests take longer."""
    usual = reading.usual if side == "new" or reading.usual_old is None else reading.usual_old
    if reading.how in ("given", "healthy", "alert"):
        return Answer(usual)
    span = _range(text) or window
    seen = traffic.increase(side, at, span)
    if seen is None:
        return Answer(gap=Why.NO_DATA, detail="no two scrapes are in the window")
    if reading.how == "latency":
        return _latency(usual, reading.quantile, seen, times)
    counted, bad = seen.counted, seen.counted.slow if reading.slow else seen.counted.bad
    part = counted.total if reading.of_all else counted.total - bad if reading.good else bad
    if reading.how == "count":
        return Answer(reading.scale * part * _extrapolated(seen, span))
    if reading.how == "rate":
        return Answer(reading.scale * part / seen.seconds)
    if not counted.total:
        return Answer(gap=Why.NAN, detail="0 of 0 requests")
    return Answer(reading.scale * part / counted.total)


def _extrapolated(seen: Increase, span: timedelta) -> float:
    """By what increase() multiplies a count, whose scrapes do not reach to the ends of its range."""
    return span.total_seconds() / seen.seconds


def _latency(usual: float, quantile: float | None, seen: Increase, times: float) -> Answer:
    """A quantile is what most requests take that are not above it; a mean is that of all."""
    counted = seen.counted
    if not counted.total:
        return Answer(gap=Why.NAN, detail="no requests")
    slow, slowed = counted.slow / counted.total, counted.slowed / counted.total
    if quantile is None:
        return Answer(usual * (1 + (_SLOW_FACTOR - 1) * slow) * (1 + (times - 1) * slowed))
    above = 1 - quantile
    if slow > above:
        return Answer(usual * max(_SLOW_FACTOR, times))
    return Answer(usual * (times if slowed > above else 1.0))


def samples_of(text: str, at_least: int, side: Side, at: datetime, window: timedelta, traffic: Traffic) -> Answer:
    """The answer to a query that counts samples: those of the side's requests where it is one, else enough."""
    tree = _tree(text)
    meaning = meaning_of(tree) if tree is not None else Meaning("other")
    span = _range(text) or window
    seen = traffic.increase(side, at, span)
    if meaning.kind not in ("rate", "count"):
        return Answer(float(at_least))
    if seen is None:
        return Answer(gap=Why.NO_DATA, detail="no two scrapes are in the window")
    total = float(seen.counted.total)
    return Answer(total * _extrapolated(seen, span) if meaning.kind == "count" else total / seen.seconds)


def counters_of(reading: Reading, question: CountQuestion, pods: int, traffic: Traffic) -> Series:
    """The counters of a side, at the instants that a question names: its requests are spread over its pods."""
    found = []
    at = question.start
    while at <= question.end:
        counted = traffic.at(question.part, at)
        if counted is not None:
            bad = counted.slow if reading.slow else counted.bad
            shown = counted.total - bad if reading.good else bad
            found.append((at, _spread(counted.total, shown, pods)))
        at += question.step
    return found


def _spread(total: int, bad: int, pods: int) -> dict[str, tuple[float, float | None]]:
    """The counters of each pod. They never fall, because each is a fixed part of a sum that does not."""
    return {f"rehearsal/{i}": (float((total + i) // pods), float((bad + i) // pods)) for i in range(pods)}
