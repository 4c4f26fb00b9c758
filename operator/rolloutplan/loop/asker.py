"""Ask: put the questions that are due, and fold the answers into what is known of a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import structlog

from rolloutplan.engine.ask import needs, note_asked, speaks_against, weigh
from rolloutplan.engine.look import Look, Question, Track
from rolloutplan.judge.verdict import Answer
from rolloutplan.loop.memory import Memory
from rolloutplan.loop.probe import Ask
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.store import Plan, Store
from rolloutplan.metrics.pool import Sources
from rolloutplan.telemetry.metrics import Metrics

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

    def source(self, plan: Plan) -> Ask | None:
        """Where this plan asks; None where there is no source that it may use."""
        found = self._store.source(plan.view)
        return self._sources.get(found.key, found.spec).ask if found.spec else None

    def ask(self, plan: Plan, memory: Memory, look: Look) -> None:
        """Put what is due, except what is still being answered."""
        ask = self.source(plan)
        questions = needs(look.plan, look.status, look.source, look.ledger, look.now)
        due = [question for question in questions if question.name not in memory.asking]
        if ask is None or not due:
            return
        memory.ledger = note_asked(look.status, memory.ledger, due, look.now)
        memory.asking |= {question.name for question in due}
        for name, parts in groupby(due, key=lambda question: question.name):
            self._spawn(self._hear(plan.view.key, memory, name, list(parts), ask, look.now))

    async def _hear(
        self, key: str, memory: Memory, name: str, questions: Sequence[Question], ask: Ask, asked_at: datetime
    ) -> None:
        try:
            answers = await asyncio.gather(*(ask(question.query, question.at) for question in questions))
        finally:
            memory.asking.discard(name)
        plan = self._store.plans.get(key)
        if plan is None or plan.view.spec is None or plan.view.uid != memory.uid:
            return
        self._note_newest(plan, questions, answers)
        parts: dict[str, Answer] = {question.part: answer for question, answer in zip(questions, answers, strict=True)}
        memory.ledger = weigh(plan.view.spec, plan.status, memory.ledger, name, parts, asked_at)
        track = memory.ledger.get(name, Track())
        if track.verdict:
            self._metrics.judged(track.verdict.outcome)
        if track.verdict and speaks_against(plan.view.spec, plan.status, name, track):
            stage = plan.status.stage.name if plan.status.stage else ""
            words = {"plan": key, "run": plan.status.run, "stage": stage, "value": track.verdict.value}
            log.warning("proved against the new side", predicate=name, **words)
        self._schedule.soon(key)

    def _note_newest(self, plan: Plan, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        told = [question.at for question, answer in zip(questions, answers, strict=True) if answer.gap is None]
        if told:
            self._metrics.answered(self._store.source(plan.view).key.title, max(told))
