"""A metric source as the plans of one namespace ask it. `provider.py` asks; the questions go to `source.py`.

Every query of the operator goes through here, those of plans and those that it writes itself. So here, and nowhere
else, the labels are put in that the source enforces; what they cannot be put in is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from rolloutplan.metrics.prometheus.enforce import CannotEnforceError, enforced
from rolloutplan.metrics.prometheus.response import Counts, undecided
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.stats.verdict import Answer, Why


class Tenant:
    """One namespace's questions to a source that others may use too. The methods are those of Source."""

    def __init__(self, source: Source, namespace: str, enforce: Mapping[str, str] = MappingProxyType({})) -> None:
        """`enforce` has the labels, with their values, that every selector of every query must match."""
        self._source, self._namespace, self._enforce = source, namespace, enforce

    async def ask(self, query: str, at: datetime) -> Answer:
        """Query one value at the instant `at`."""
        text = self._bound(query)
        return text if isinstance(text, Answer) else await self._source.ask(text, at, self._namespace)

    async def sample(self, query: str, at: datetime) -> Counts | Answer:
        """Query counters at the instant `at`."""
        text = self._bound(query)
        return text if isinstance(text, Answer) else await self._source.sample(text, at, self._namespace)

    async def samples(
        self, query: str, start: datetime, end: datetime, step: timedelta
    ) -> Sequence[tuple[datetime, Counts]] | Answer:
        """Query counters at many instants."""
        text = self._bound(query)
        return text if isinstance(text, Answer) else await self._source.samples(text, start, end, step, self._namespace)

    def _bound(self, query: str) -> str | Answer:
        """The query as it may be sent, or the gap where it may not."""
        try:
            return enforced(query, self._enforce)
        except CannotEnforceError as error:
            labels = ", ".join(f'{label}="{value}"' for label, value in self._enforce.items())
            words = f"this source enforces {labels} in every selector, and here that cannot be done for sure: {error}"
            return undecided(Why.QUERY_REJECTED, words)
