"""What a metric source of any kind must be able to do: the seam between the engine's queries and a query language."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeAlias

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.queries import CountQuery, NumberQuery, Query, Series
from rolloutplan.stats.verdict import Answer

ObserveRequest: TypeAlias = Callable[[int, float], None]
"""Told of each request to a server, in the thread that made it: its HTTP status (0: no answer), seconds."""


class CheckResult(NamedTuple):
    """What a source says of queries before a run depends on them. That it has no data yet is no fault."""

    refused: Mapping[Query, str]
    """Those that it will never answer, each with a sentence that says why."""
    down: str
    """Why it could not be asked; empty where it answered."""


class Provider(Protocol):
    """One metric source that plans ask.

    It says each query in the language of its source, and no other module knows that language. It never raises: what
    cannot be answered is an Answer with a gap, in the source's own words. Every method ends within the spec's timeout,
    or soon after, whatever the server does: whoever waits for an answer also decides about rollbacks. Many questions
    come at once, most of them for the same instant; how they go to the server is the provider's business, and so is
    how many of them go at the same time (`maxConcurrency`).

    All instants are those of the samples: the ingestion delay of the source is taken off already. A provider is used by
    one event loop, where it must not block.
    """

    async def evaluate(self, query: NumberQuery, at: datetime) -> Answer:
        """Answer with the one finite number of a query at an instant, or with a gap.

        `SourceDown` means that the source did not answer; any other gap that it did, and had no such number.
        """
        ...

    async def counters(self, query: CountQuery, start: datetime, end: datetime, step: timedelta) -> Series | Answer:
        """Return the raw counters of each instance at `start`, `start + step`, ... up to `end`.

        They are as they were scraped: not rates, and not adjusted for resets. An instant at which nothing could have
        been counted may be left out. A gap is for all of it.
        """
        ...

    async def check(self, queries: Collection[Query], at: datetime) -> CheckResult:
        """Try each query once, before a run depends on it."""
        ...

    def lint(self, spec: PlanSpec) -> str:
        """Say in a line what the queries of a plan can hardly mean; empty where nothing is found, or nobody can say.

        Asks nothing of the source. May take long: call it in a thread.
        """
        ...

    def close(self) -> None:
        """Take no more questions. Those under way still end, and nothing waits for them."""
        ...
