"""The host of all runs: gives each `PlanRun` its facts when the plan is due, and has its effects carried out.

Facts come from the store, which loop/feed.py fills. Effects go to the executor, each in its own task. The result goes
back to the run, and the plan is reconciled again at once. engine/plan_run.py decides what is done and in which order.
This module handles leadership, scheduling and tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from rolloutplan.clock import now
from rolloutplan.engine.model.effects import Effect, Effects, Failure, Record
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.executor import Executor
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.feed import Feed
from rolloutplan.loop.journal import Journal, context
from rolloutplan.loop.limiter import Clients
from rolloutplan.loop.runs import Runs
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.sinks import Sinks
from rolloutplan.loop.stagger import Offsets
from rolloutplan.loop.store import Store
from rolloutplan.loop.tasks import Tasks
from rolloutplan.loop.troubles import Troubles
from rolloutplan.metrics.pool import Sources
from rolloutplan.telemetry.metrics import Metrics

AFTER_WEIGHTS: Final = timedelta(milliseconds=50)
"""How long a plan waits after its rollback's weights are written, so that rollbacks of other plans go first."""
AFTER_AN_ERROR: Final = timedelta(seconds=10)
"""The delay until a plan is reconciled again after an exception that its status cannot report."""

log = structlog.stdlib.get_logger("rolloutplan")


class Reconciler:
    """Drives the run of each plan while it leads. A follower only stores what the watches deliver."""

    def __init__(self, client: Clients, store: Store, sources: Sources, metrics: Metrics, sinks: Sinks) -> None:
        self.store, self.facts, self.sinks = store, PlanFacts(store, sinks.views), sinks
        self.schedule = Schedule(self._reconcile, late=metrics.observe_lag)
        self.feed = Feed(store, sources, metrics, client, wake=self._wake)
        self.led: Callable[[], None] = lambda: None
        """Called when this replica begins to lead."""
        self.plan_gone: Callable[[str, str], None] = lambda *_: None
        """Called with the namespace and the name of a plan that had a run and is gone."""
        self.runs, self.troubles = Runs(store.plans, self.facts), Troubles()
        self._journal, self._offsets, self._tasks = Journal(metrics), Offsets(), Tasks()
        self._executor = Executor(
            client,
            self.facts,
            store,
            sources,
            metrics,
            sinks.of,
            self.feed,
            self._offsets,
            still_wanted=self.runs.still_want,
        )
        self._epoch: int | None = None

    async def close(self) -> None:
        """Cancel all tasks in flight. Every step is safe to abandon and to resume."""
        await self._tasks.close()
        await self.feed.close()

    # ---- leadership ----------------------------------------------------------------------------------------------

    def lead(self, epoch: int) -> None:
        """Begin to act. The store already holds what the watches delivered."""
        self._epoch, since = epoch, now()
        self.runs.lead(since)
        plans = self.store.plans.values()
        shifted = (plan.view.uid for plan in plans if plan.status.phase in TRAFFIC_SHIFTED_PHASES)
        self._offsets.lead(since, shifted)
        self.feed.wake_all()
        self.led()

    def follow(self) -> None:
        """Stop acting at once: cancel all tasks in flight and discard what was not written."""
        self._epoch = None
        self.runs.lead(None)
        self.forget_runs()

    def forget_runs(self) -> None:
        """Discard what is not in the API server. It was decided on objects of which there may be others now."""
        self._tasks.cancel()
        self.runs.clear()
        self._offsets.clear()
        self.troubles.clear()

    # ---- reconcile -----------------------------------------------------------------------------------------------

    def _wake(self, key: str) -> None:
        """Reconcile a plan as soon as possible. A follower does nothing: it looks at all plans when it leads."""
        if self._epoch is not None:
            self.schedule.soon(key)

    def _reconcile(self, key: str, at: datetime) -> None:
        """Reconcile one plan as things are at an instant. An error affects this plan only."""
        if self._epoch is None or self.store.needs.awaits(key):
            return
        try:
            facts = self.facts.of(key, epoch=self._epoch, claim_at=self._offsets.claim_at)
        except Exception as error:  # noqa: BLE001 - reported, and the schedule of all other plans goes on
            self._report_unreadable(key, self._epoch, error, at)
            return
        self._offsets.update(key, facts.status.phase if facts is not None else None)
        if facts is None:
            if self.runs.forget(key):
                self.plan_gone(*key.split("/"))
            self.troubles.forget(key)
            self.schedule.forget(key)
            return
        self._look(key, facts, lambda run: self._advance(key, run, facts, at), at)

    def _report_unreadable(self, key: str, epoch: int, error: Exception, at: datetime) -> None:
        """Report that the facts of a plan cannot be put together; what leads back is tried on those that can."""
        self.troubles.note_fault(key)
        log.error("the facts of a plan could not be read", plan=key, error=f"{type(error).__name__}: {error}")
        try:
            core = self.facts.core(key, epoch=epoch, claim_at=self._offsets.claim_at)
        except Exception:
            log.exception("not even what leads back could be read", plan=key)
            core = None
        if core is None:
            self.schedule.at(key, at + AFTER_AN_ERROR)
            return
        self._look(key, core, lambda run: run.report_fault(core, error, at), at)

    def _look(self, key: str, facts: Facts, advance: Callable[[PlanRun], Effects], at: datetime) -> None:
        """Look at a plan once, and start what follows."""
        with structlog.contextvars.bound_contextvars(**context(facts)):
            try:
                run = self.runs.of(key, facts, at)
                effects = advance(run)
            except Exception:
                log.exception("an exception could not be reported in the status of its plan")
                self.troubles.note_fault(key)
                self.schedule.at(key, at + AFTER_AN_ERROR)
                return
            self._journal.log_decisions(effects.decided)
            self.troubles.note_right(key, run.right_to_record)
            for effect in effects.todo:
                self._tasks.start((key, effect.key), self._carry_out(key, run, effect))
        self.schedule.at(key, effects.wake_at)
        self.schedule.at(key, effects.look_at)

    def _advance(self, key: str, run: PlanRun, facts: Facts, at: datetime) -> Effects:
        """Return the effects of a pass; after an exception, those that report it and that may lead back."""
        try:
            effects = run.advance(facts, at)
        except Exception as error:
            if not self.troubles.note_fault(key):
                log.exception("a plan could not be reconciled; other plans are not affected")
            return run.report_fault(facts, error, at)
        self.troubles.note_fault(key, fails=run.fails)
        return effects

    async def _carry_out(self, key: str, run: PlanRun, effect: Effect) -> None:
        try:
            result = await self._executor.carry_out(effect)
        except Exception as error:
            log.exception("a request failed with an exception; retrying")
            result = Failure.internal(error)
        run.on_result(effect, result, now())
        self._journal.log_result(run, effect, result)
        self.schedule.at(key, now() + AFTER_WEIGHTS if effect.urgent and not isinstance(effect.work, Record) else now())
