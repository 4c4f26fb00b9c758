"""The interface of a metric source: between the engine's queries and the query language of a server.

The loop calls a provider with queries of the engine and hands its answers back to `PlanRun`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.queries import CountQuery, NumberQuery, Query, Series
from rolloutplan.stats.verdict import Answer, Why

ObserveRequest: TypeAlias = Callable[[int, float], None]
"""Called for each request to a server, in the thread that made it: its HTTP status (0: no answer), seconds."""


class CheckResult(NamedTuple):
    """The result of trying queries before a run depends on them. A query without data yet is not refused."""

    refused: Mapping[Query, str]
    """The queries that the source will never answer, each with a sentence that says why."""
    down: str
    """Why the source did not answer; empty where it did."""
    warnings: Mapping[Query, str] = MappingProxyType({})
    """The queries whose answers will be none, as far as the source knows now, with a sentence that says why."""


class Connection(Protocol):
    """One metric source, for the plans of all namespaces that may use it."""

    def of(self, namespace: str) -> Provider:
        """Return the source as the plans of one namespace ask it; what they ask cannot touch another's answers."""
        ...

    def close(self) -> None:
        """Accept no more queries. Those in flight still end; does not wait for them."""
        ...


class Provider(Protocol):
    """One metric source, as the plans of one namespace ask it.

    It translates each query into the language of its source; no other module knows that language. It never raises: a
    query that cannot be answered gives an Answer with a gap and the source's message. Every method ends within the
    spec's timeout, or soon after, whatever the server does, because rollbacks are decided on the answers. Many queries
    come at once, most of them for the same instant. The provider decides how it sends them, and how many at the same
    time (`maxConcurrency`).

    All instants are those of the samples: the ingestion delay of the source is already subtracted. One event loop uses
    a provider, and a provider must not block it.
    """

    async def evaluate(self, query: NumberQuery, at: datetime) -> Answer:
        """Return the one number of a query at an instant, which may be infinite, or a gap.

        `SourceDown` means that the source did not answer; any other gap means that it answered without a number.
        """
        ...

    async def counters(self, query: CountQuery, start: datetime, end: datetime, step: timedelta) -> Series | Answer:
        """Return the raw counters of each instance at `start`, `start + step`, ... up to `end`.

        They are as scraped: not rates, and not adjusted for resets. An instant at which nothing could be counted may be
        left out. A gap applies to the whole range.
        """
        ...

    async def check(self, queries: Collection[Query], at: datetime) -> CheckResult:
        """Try each query once, before a run depends on it."""
        ...

    def lint(self, spec: PlanSpec) -> str:
        """One line on queries of a plan that are probably wrong; empty where none is found, or none can be found.

        Sends no request. May take long: call it in a thread.
        """
        ...


class UnusableSource(Connection, Provider):
    """A source that could not be made from its spec: every question gets the same gap, which says so."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def of(self, *_: object) -> Provider:
        """The same for every namespace."""
        return self

    async def evaluate(self, *_: object, **__: object) -> Answer:
        """No number."""
        return Answer(gap=Why.SOURCE_DOWN, detail=self._problem)

    async def counters(self, *_: object, **__: object) -> Series | Answer:
        """No counters."""
        return Answer(gap=Why.SOURCE_DOWN, detail=self._problem)

    async def check(self, *_: object, **__: object) -> CheckResult:
        """Nothing was tried."""
        return CheckResult({}, self._problem)

    def lint(self, *_: object, **__: object) -> str:
        """Nothing is known."""
        return ""

    def close(self) -> None:
        """Nothing is open."""
