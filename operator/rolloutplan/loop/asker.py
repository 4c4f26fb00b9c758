"""Ask: put the questions that are due, and fold the answers into what is known of a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final, TypeAlias
from zlib import crc32

import structlog

from rolloutplan.engine.ask import count, needs, note_asked, speaks_against, weigh
from rolloutplan.engine.counting import CountQuestion
from rolloutplan.engine.look import Look, Question, Track
from rolloutplan.engine.policy import doubt_factor
from rolloutplan.judge.verdict import Answer
from rolloutplan.loop.evaluator import evaluate
from rolloutplan.loop.memory import Memory
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.store import Plan, Store, source_view
from rolloutplan.metrics.base import Provider
from rolloutplan.metrics.pool import Sources
from rolloutplan.telemetry.metrics import Metrics

LOOKED_A_SECOND: Final = 125
"""Plans that ask for what they count at the same instant, while no look was missed."""

Asked: TypeAlias = Question | CountQuestion

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

    def source(self, plan: Plan) -> Provider | None:
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
            counts = [part for part in parts if isinstance(part, CountQuestion)]
            if counts:
                self._spawn(self._count(plan, memory, name, counts, source, look.now))
            else:
                self._spawn(self._hear(plan.view.key, memory, name, parts, source, look.now))

    async def _hear(
        self, key: str, memory: Memory, name: str, questions: Sequence[Asked], source: Provider, asked_at: datetime
    ) -> None:
        try:
            found = await evaluate(source, questions)
        finally:
            memory.asking.discard(name)
        plan = self._store.plans.get(key)
        if plan is None or plan.view.spec is None or plan.view.uid != memory.uid:
            return
        parts = {part: said for part, said in found.items() if isinstance(said, Answer)}
        told = [q.at for q in questions if isinstance(q, Question) and q.part in parts and parts[q.part].gap is None]
        if told:
            self._metrics.answered(self._store.source(plan.view).key.title, max(told))
        memory.ledger = weigh(plan.view.spec, plan.status, memory.ledger, name, parts, asked_at)
        self._judged(plan, memory, name)

    async def _count(
        self,
        plan: Plan,
        memory: Memory,
        name: str,
        questions: Sequence[CountQuestion],
        source: Provider,
        asked_at: datetime,
    ) -> None:
        """Hear the counters of both sides, for one look or for all that were missed."""
        found = self._store.source(plan.view)
        assert found.spec is not None
        try:
            await asyncio.sleep(self._its_turn(plan, questions))
            answers = await evaluate(source, questions)
        finally:
            memory.asking.discard(name)
        now = self._store.plans.get(plan.view.key)
        view = source_view(found.spec)
        if now is None or now.view.spec is None or now.view.uid != memory.uid:
            return
        doubt = doubt_factor(now.policies)
        memory.ledger = count(now.view.spec, now.status, view, memory.ledger, name, answers, asked_at, doubt)
        if not any(isinstance(each, Answer) for each in answers.values()):
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
