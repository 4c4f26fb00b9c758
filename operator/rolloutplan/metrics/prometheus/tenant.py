"""A metric source as the plans of one namespace ask it. `provider.py` asks; the questions go to `source.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rolloutplan.metrics.prometheus.response import Counts
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.stats.verdict import Answer


class Tenant:
    """One namespace's questions to a source that others may use too. The methods are those of Source."""

    def __init__(self, source: Source, namespace: str) -> None:
        self._source, self._namespace = source, namespace

    async def ask(self, query: str, at: datetime) -> Answer:
        """Query one value at the instant `at`."""
        return await self._source.ask(query, at, self._namespace)

    async def sample(self, query: str, at: datetime) -> Counts | Answer:
        """Query counters at the instant `at`."""
        return await self._source.sample(query, at, self._namespace)

    async def samples(
        self, query: str, start: datetime, end: datetime, step: timedelta
    ) -> Sequence[tuple[datetime, Counts]] | Answer:
        """Query counters at many instants."""
        return await self._source.samples(query, start, end, step)
