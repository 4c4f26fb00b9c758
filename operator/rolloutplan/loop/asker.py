"""Ask: put the questions that are due, and fold the answers into what is known of a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from zlib import crc32

import structlog

from rolloutplan.engine.ask import count, needs, note_asked, speaks_against, weigh
from rolloutplan.engine.counting import CountQuestion, Series
from rolloutplan.engine.look import Look, Question, Track
from rolloutplan.engine.policy import doubt_factor
from rolloutplan.judge.counts import Sample
from rolloutplan.judge.verdict import Answer
from rolloutplan.loop.memory import Memory
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.store import Plan, Store, source_view
from rolloutplan.metrics.pool import Sources
from rolloutplan.metrics.prometheus.counters import counter_queries
from rolloutplan.metrics.prometheus.response import Counts
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.telemetry.metrics import Metrics

LOOKED_A_SECOND: Final = 125
"""Plans that ask for what they count at the same instant, while no look was missed."""

BESIDE: Final = 0.1
"""So many seconds later than the others an answer beside them may come."""

log = structlog.stdlib.get_logger("rolloutplan")


class Asker:
    """Asks each predicate on its own, so that the first decisive one acts and waits for none that is slower."""

    def __init__(
        self,
        store: Store,
        sources: Sources,
        schedule: Schedule,
        metrics: Metrics,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store, self._sources, self._schedule, self._spawn = store, sources, schedule, spawn
        self._metrics = metrics

    def source(self, plan: Plan) -> Source | None:
        """Where this plan asks; None where there is no source that it may use."""
        found = self._store.source(plan.view)
        return self._sources.get(found.key, found.spec) if found.spec else None

    def ask(self, plan: Plan, memory: Memory, look: Look) -> None:
        """Put what is due, except what is still being answered."""
        source = self.source(plan)
        questions = needs(look.plan, look.status, look.source, look.ledger, look.now)
        due = [question for question in questions if question.name not in memory.asking]
        if source is None or not due:
            return
        memory.ledger = note_asked(look.status, memory.ledger, due, look.now)
        memory.asking |= {question.name for question in due}
        for name, group in groupby(due, key=lambda question: question.name):
            parts = list(group)
            values = [part for part in parts if isinstance(part, Question)]
            counts = [part for part in parts if isinstance(part, CountQuestion)]
            if values:
                self._spawn(self._hear(plan.view.key, memory, name, values, source, look.now))
            else:
                self._spawn(self._count(plan, memory, name, counts, look.now))

    async def _hear(
        self, key: str, memory: Memory, name: str, questions: Sequence[Question], source: Source, asked_at: datetime
    ) -> None:
        try:
            parts = await answers_to(questions, source.ask)
        finally:
            memory.asking.discard(name)
        plan = self._store.plans.get(key)
        if plan is None or plan.view.spec is None or plan.view.uid != memory.uid:
            return
        self._note_newest(plan, [(question, parts[question.part]) for question in questions if question.part in parts])
        memory.ledger = weigh(plan.view.spec, plan.status, memory.ledger, name, parts, asked_at)
        self._judged(plan, memory, name)

    async def _count(
        self, plan: Plan, memory: Memory, name: str, questions: Sequence[CountQuestion], asked_at: datetime
    ) -> None:
        """Hear the counters of both sides, for one look or for all that were missed."""
        found = self._store.source(plan.view)
        assert found.spec is not None
        source = self._sources.get(found.key, found.spec)
        try:
            await asyncio.sleep(self._its_turn(plan, questions))
            said = await asyncio.gather(*(series(source, question) for question in questions))
        finally:
            memory.asking.discard(name)
        now = self._store.plans.get(plan.view.key)
        view = source_view(found.spec)
        if now is None or now.view.spec is None or now.view.uid != memory.uid:
            return
        doubt = doubt_factor(now.policies)
        answers: dict[str, Series | Answer] = {q.part: each for q, each in zip(questions, said, strict=True)}
        memory.ledger = count(now.view.spec, now.status, view, memory.ledger, name, answers, asked_at, doubt)
        if not any(isinstance(each, Answer) for each in said):
            self._metrics.answered(found.key.title, max(question.end for question in questions))
        self._judged(now, memory, name)

    def _its_turn(self, plan: Plan, questions: Sequence[CountQuestion]) -> float:
        """Seconds. Looks are about the same instants whoever takes them: each plan asks at a place of its own after."""
        if any(question.start != question.end for question in questions):
            return 0.0  # looks were missed
        return len(self._store.plans) / LOOKED_A_SECOND * (crc32(plan.view.uid.encode()) / 2**32)

    def _judged(self, plan: Plan, memory: Memory, name: str) -> None:
        track = memory.ledger.get(name, Track())
        if track.verdict:
            self._metrics.judged(track.verdict.outcome)
        if plan.view.spec and track.verdict and speaks_against(plan.view.spec, plan.status, name, track):
            stage = plan.status.stage.name if plan.status.stage else ""
            words = {"plan": plan.view.key, "run": plan.status.run, "stage": stage, "value": track.verdict.value}
            log.warning("proved against the new side", predicate=name, **words)
        self._schedule.soon(plan.view.key)

    def _note_newest(self, plan: Plan, answers: Iterable[tuple[Question, Answer]]) -> None:
        told = [question.at for question, answer in answers if answer.gap is None]
        if told:
            self._metrics.answered(self._store.source(plan.view).key.title, max(told))


async def answers_to(
    questions: Iterable[Question], ask: Callable[[str, datetime], Coroutine[Any, Any, Answer]]
) -> dict[str, Answer]:
    """The answers by the questions' parts. Those beside that are not there soon after the others are left out.

    They are asked in a turn of their own: what goes to the source as one must not be slower for them.
    """

    async def later(question: Question) -> Answer:
        await asyncio.sleep(0)
        return await ask(question.query, question.at)

    awaited = {q.part: asyncio.ensure_future(ask(q.query, q.at)) for q in questions if not q.beside}
    beside = {q.part: asyncio.ensure_future(later(q)) for q in questions if q.beside}
    try:
        await asyncio.gather(*awaited.values())
        if beside:
            await asyncio.wait(beside.values(), timeout=BESIDE)
        return {part: task.result() for part, task in (awaited | beside).items() if task.done()}
    finally:
        for task in beside.values():
            task.cancel()


async def series(source: Source, question: CountQuestion) -> Series | Answer:
    """The counters of one side at every instant of a question; an Answer where a part of them is missing."""
    total, bad = counter_queries(question.events, native=source.native)
    if question.start == question.end:
        at = question.start
        totals, bads = await asyncio.gather(source.sample(total, at), source.sample(bad, at))
        if isinstance(totals, Answer) or isinstance(bads, Answer):
            return totals if isinstance(totals, Answer) else bads if isinstance(bads, Answer) else []
        return [(at, _sample(totals, bads))]
    span = question.start, question.end, question.step
    all_totals, all_bads = await asyncio.gather(source.samples(total, *span), source.samples(bad, *span))
    if isinstance(all_totals, Answer) or isinstance(all_bads, Answer):
        return all_totals if isinstance(all_totals, Answer) else all_bads if isinstance(all_bads, Answer) else []
    wrong = dict(all_bads)
    return [(at, _sample(totals, wrong[at])) for at, totals in all_totals if at in wrong]


def _sample(totals: Counts, bads: Counts) -> Sample:
    return {instance: (total, bads.get(instance)) for instance, total in totals.items()}
