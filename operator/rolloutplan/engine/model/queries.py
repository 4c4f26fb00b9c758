"""Queries to a metric source, as data without a query language.

`engine/analysis` makes them, with variables already filled in. A provider (metrics/base.py) translates them into the
language of its source. `str(query)` is the text in status, records and Events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from rolloutplan.api.predicate import Events
from rolloutplan.api.quantities import format_duration
from rolloutplan.stats.counts import Sample


@dataclass(frozen=True, slots=True)
class ValueQuery:
    """The one number of a query that a person wrote in the language of the source.

    With `since`, a sample from before that instant is no answer: it says nothing about the weight since then.
    """

    text: str
    since: datetime | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """How many alerts fire whose labels match; with `since`, how many of them did not fire at that instant."""

    matchers: str
    """As written in the plan: `severity="page",team=~"shop|cart"`."""
    since: datetime | None = None

    def __str__(self) -> str:
        if self.since is None:
            return f"firing alerts with {self.matchers}"
        return f"alerts with {self.matchers} that began to fire after {self.since:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class CountQuery:
    """The raw counters of all events and of the bad ones, of each instance that reports them."""

    events: Events

    def __str__(self) -> str:
        events = self.events
        if events.histogram is not None and events.slower_than is not None:
            return f"{events.histogram} slower than {format_duration(events.slower_than)}"
        return f"{events.bad} of {events.total}"


NumberQuery: TypeAlias = ValueQuery | AlertQuery
"""Queries whose answer is one number."""
Query: TypeAlias = NumberQuery | CountQuery

Series: TypeAlias = Sequence[tuple[datetime, Sample]]
"""The raw counters of one side, by instant, the earliest first."""


Side: TypeAlias = Literal["new", "old"]


@dataclass(frozen=True, slots=True)
class Question:
    """One query to a metric source: for predicate `name`, about one side, at a fixed instant."""

    name: str
    part: Literal["new", "old", "samples", "oldSamples", "oldBefore"]
    """`oldBefore` is the old side's value before the stage's weight was set."""
    query: NumberQuery
    at: datetime
    optional: bool = False
    """Whether the verdict does not wait for its answer."""


@dataclass(frozen=True, slots=True)
class CountQuestion:
    """The counters of one side for predicate `name`, at `start`, `start + step`, ... up to `end`."""

    name: str
    part: Side
    query: CountQuery
    start: datetime
    end: datetime
    step: timedelta
