"""One evaluation of one predicate: sends all its questions to the provider and gathers the answers that come in time.

The questions come from an `Evaluate` effect; the answers are its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from rolloutplan.engine.model.queries import CountQuestion, Question, Series
from rolloutplan.metrics.base import Provider
from rolloutplan.stats.verdict import Answer

OPTIONAL_WITHIN: Final = 0.1
"""Seconds after the last required answer for which optional ones are awaited."""


async def evaluate(provider: Provider, questions: Sequence[Question | CountQuestion]) -> Mapping[str, Answer | Series]:
    """The answers by the questions' parts; an optional one that is late is left out. Never raises.

    Optional questions are asked in a later turn of the loop, so that they do not slow down the batch of the others.
    """

    async def later(question: Question | CountQuestion) -> Answer | Series:
        await asyncio.sleep(0)
        return await ask(provider, question)

    required = {q.part: asyncio.ensure_future(ask(provider, q)) for q in questions if not _optional(q)}
    optional = {q.part: asyncio.ensure_future(later(q)) for q in questions if _optional(q)}
    try:
        await asyncio.gather(*required.values())
        if optional:
            await asyncio.wait(optional.values(), timeout=OPTIONAL_WITHIN)
        return {part: task.result() for part, task in (required | optional).items() if task.done()}
    finally:
        for task in optional.values():
            task.cancel()


async def ask(provider: Provider, question: Question | CountQuestion) -> Answer | Series:
    """Send one question to the source."""
    if isinstance(question, CountQuestion):
        return await provider.counters(question.query, question.start, question.end, question.step)
    return await provider.evaluate(question.query, question.at)


def _optional(question: Question | CountQuestion) -> bool:
    return isinstance(question, Question) and question.optional
