"""Answers that are waited for, and those beside them that are not."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Literal

import pytest

from rolloutplan.engine.look import Question
from rolloutplan.judge.verdict import Answer
from rolloutplan.loop.asker import BESIDE, answers_to

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)


def question(part: Literal["new", "old"], *, beside: bool = False) -> Question:
    return Question("errors", part, part, AT, beside=beside)


def heard(new: float, old: float, *, beside: bool = True) -> tuple[set[str], float, list[str]]:
    """Which parts are heard if they take so many seconds, how long that takes, and in which order they were asked."""
    asked: list[str] = []

    async def ask(query: str, _: datetime) -> Answer:
        asked.append(query)
        await asyncio.sleep({"new": new, "old": old}[query])
        return Answer(1.0)

    async def all_of_it() -> set[str]:
        return set(await answers_to([question("old", beside=beside), question("new")], ask))

    start = time.monotonic()
    return asyncio.run(all_of_it()), time.monotonic() - start, asked


@pytest.mark.parametrize("new", [0.0, 0.2])
def test_an_answer_beside_that_is_there_in_time_is_heard(new: float) -> None:
    parts, _, asked = heard(new, 0.0)
    assert (parts, asked) == ({"new", "old"}, ["new", "old"])


def test_an_answer_beside_that_is_late_is_left_out_and_hardly_waited_for() -> None:
    parts, took, _ = heard(0.0, 30.0)
    assert parts == {"new"}
    assert BESIDE <= took < 5


def test_what_is_not_beside_is_waited_for() -> None:
    parts, took, _ = heard(0.0, 0.5, beside=False)
    assert (parts, took >= 0.5) == ({"new", "old"}, True)
