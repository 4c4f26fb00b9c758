"""One evaluation: answers that are waited for, and optional ones beside them that are not."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from rolloutplan.api.predicate import Events
from rolloutplan.engine.model.queries import CountQuery, CountQuestion, NumberQuery, Question, Series, ValueQuery
from rolloutplan.metrics.evaluator import OPTIONAL_WITHIN, evaluate
from rolloutplan.stats.verdict import Answer, Why
from tests.provider import FakeProvider

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Slow(FakeProvider):
    """A source that takes so many seconds for each query, by its text."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    """The most queries that were under way at the same time."""
    _under_way: int = 0

    async def evaluate(self, query: NumberQuery, at: datetime) -> Answer:
        await self._take(str(query))
        return Answer(1.0)

    async def counters(self, query: CountQuery, start: datetime, end: datetime, step: timedelta) -> Series | Answer:
        await self._take(str(query))
        if "gone" in str(query):
            return Answer(gap=Why.SOURCE_DOWN)
        return [(start + i * step, {"job/pod": (10.0, 1.0)}) for i in range((end - start) // step + 1)]

    async def _take(self, text: str) -> None:
        self.asked.append(text)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        await asyncio.sleep(self.seconds.get(text, 0))
        self._under_way -= 1


def value(part: Literal["new", "old"], *, optional: bool = False) -> Question:
    return Question("errors", part, ValueQuery(part), AT, optional=optional)


def counted(part: Literal["new", "old"], total: str) -> CountQuestion:
    events = Events(total=total, bad=f"bad_{total}")
    return CountQuestion("errors", part, CountQuery(events), AT, AT + 2 * MINUTE, MINUTE)


def heard(new: float, old: float, *, optional: bool = True) -> tuple[set[str], float, list[str]]:
    """Which parts are heard if they take so many seconds, how long that takes, and in which order they were asked."""
    source, start = Slow({"new": new, "old": old}), time.monotonic()
    parts = asyncio.run(evaluate(source, [value("old", optional=optional), value("new")]))
    return set(parts), time.monotonic() - start, source.asked


@pytest.mark.parametrize("new", [0.0, 0.2])
def test_an_optional_answer_that_is_there_in_time_is_heard(new: float) -> None:
    parts, _, asked = heard(new, 0.0)
    assert (parts, asked) == ({"new", "old"}, ["new", "old"])


def test_an_optional_answer_that_is_late_is_left_out_and_hardly_waited_for() -> None:
    parts, took, _ = heard(0.0, 30.0)
    assert parts == {"new"}
    assert OPTIONAL_WITHIN <= took < 25


def test_what_is_not_optional_is_waited_for() -> None:
    parts, took, _ = heard(0.0, 0.5, optional=False)
    assert (parts, took >= 0.5) == ({"new", "old"}, True)


def test_the_counters_of_both_sides_are_asked_at_once_and_waited_for() -> None:
    source = Slow({"bad_a of a": 0.3, "bad_b of b": 0.3})
    parts = asyncio.run(evaluate(source, [counted("new", "a"), counted("old", "b")]))
    assert source.at_once == 2
    series = parts["new"]
    assert not isinstance(series, Answer)
    assert [at for at, _ in series] == [AT, AT + MINUTE, AT + 2 * MINUTE]
    assert parts.keys() == {"new", "old"}


def test_a_gap_of_one_side_is_its_answer_and_keeps_the_other_from_nothing() -> None:
    parts = asyncio.run(evaluate(Slow(), [counted("new", "a"), counted("old", "gone")]))
    assert parts["old"] == Answer(gap=Why.SOURCE_DOWN)
    assert not isinstance(parts["new"], Answer)
