"""A metric source for tests: it answers every query in the same way, and tests override what they are about."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.queries import CountQuery, NumberQuery, Query, Series
from rolloutplan.metrics.access import SourceHosts
from rolloutplan.metrics.base import CheckResult, Connection, Provider
from rolloutplan.stats.verdict import Answer

HOSTS: Final = SourceHosts.read(["nowhere"])
"""Where the MetricSources of tests that ask none may point."""


class FakeProvider(Provider, Connection):
    """A source where every number is 0, nothing is counted, and that takes every query, whoever asks."""

    def of(self, namespace: str) -> Provider:
        return self

    async def evaluate(self, query: NumberQuery, at: datetime) -> Answer:
        return Answer(0.0)

    async def counters(self, query: CountQuery, start: datetime, end: datetime, step: timedelta) -> Series | Answer:
        return []

    async def check(self, queries: Collection[Query], at: datetime) -> CheckResult:
        return CheckResult({}, "")

    def lint(self, spec: PlanSpec) -> str:
        return ""

    def close(self) -> None: ...
