"""The host of all runs: gives each `PlanRun` its facts when the plan is due, and has its effects carried out.

Facts come from the store, which loop/feed.py fills. Effects go to the executor, each in its own task. The result goes
back to the run, and the plan is reconciled again at once. engine/plan_run.py decides what is done and in which order.
This module handles leadership, scheduling and tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from rolloutplan.api.status import RUNNING
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
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.sinks import Sinks
from rolloutplan.loop.stagger import Offsets
from rolloutplan.loop.store import Store
from rolloutplan.loop.tasks import Tasks
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
        self.feed = Feed(store, sources, metrics, client, wake=self.schedule.soon)
        self.led: Callable[[], None] = lambda: None
        """Called when this replica begins to lead."""
        self.plan_gone: Callable[[str, str], None] = lambda *_: None
        """Called with the namespace and the name of a plan that had a run and is gone."""
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
            still_wanted=self._still_wanted,
        )
        self._epoch: int | None = None
        self._led_since = now()
        self._runs: dict[str, PlanRun] = {}
        self._failing: set[str] = set()
        self._unwritable: dict[str, str] = {}
        """The right for want of which the status of a plan cannot be written, by the plan's key."""
        """Keys of the plans whose last look raised, or whose status reports a fault of the operator."""

    def failing(self) -> int:
        """Return the number of plans on which the operator itself fails; 0 while it does not lead."""
        return len(self._failing)

    def waits_for(self) -> list[str]:
        """Return which right is missing to write statuses; nothing where none is."""
        if not self._unwritable:
            return []
        key, lacking = next(iter(self._unwritable.items()))
        others = f" (and {len(self._unwritable) - 1} more)" if len(self._unwritable) > 1 else ""
        return [f"the status of plan {key}{others} cannot be written: {lacking}"]

    def oldest_look(self) -> float | None:
        """Return the seconds since the last look at the run that has waited for one the longest; 0 without a run.

        None while it does not lead.
        """
        if self._epoch is None:
            return None
        at = now()
        running = (key for key, plan in self.store.plans.items() if plan.status.phase in RUNNING)
        looks = (self._runs[key].looked_at if key in self._runs else None for key in running)
        return max(((at - (look or self._led_since)).total_seconds() for look in looks), default=0.0)

    async def close(self) -> None:
        """Cancel all tasks in flight. Every step is safe to abandon and to resume."""
        await self._tasks.close()
        await self.feed.close()

    # ---- leadership ----------------------------------------------------------------------------------------------

    def lead(self, epoch: int) -> None:
        """Begin to act. The store already holds what the watches delivered."""
        self._epoch, self._led_since = epoch, now()
        plans = self.store.plans.values()
        shifted = (plan.view.uid for plan in plans if plan.status.phase in TRAFFIC_SHIFTED_PHASES)
        self._offsets.lead(self._led_since, shifted)
        self.feed.wake_all()
        self.led()

    def follow(self) -> None:
        """Stop acting at once: cancel all tasks in flight and discard what was not written."""
        self._epoch = None
        self.forget_runs()

    def forget_runs(self) -> None:
        """Discard what is not in the API server. It was decided on objects of which there may be others now."""
        self._tasks.cancel()
        self._runs.clear()
        self._offsets.clear()
        self._failing.clear()
        self._unwritable.clear()

    # ---- reconcile -----------------------------------------------------------------------------------------------

    def _reconcile(self, key: str) -> None:
        """Reconcile one plan. An error affects this plan only."""
        if self._epoch is None or self.store.needs.awaits(key):
            return
        try:
            facts = self.facts.of(key, epoch=self._epoch, claim_at=self._offsets.claim_at)
        except Exception as error:  # noqa: BLE001 - reported, and the schedule of all other plans goes on
            self._report_unreadable(key, self._epoch, error)
            return
        self._offsets.update(key, facts.status.phase if facts is not None else None)
        if facts is None:
            if self._runs.pop(key, None) is not None:
                self.plan_gone(*key.split("/"))
            self._failing.discard(key)
            self._unwritable.pop(key, None)
            self.schedule.forget(key)
            return
        self._look(key, facts, lambda run: self._advance(key, run, facts))

    def _report_unreadable(self, key: str, epoch: int, error: Exception) -> None:
        """Report that the facts of a plan cannot be put together; what leads back is tried on those that can."""
        self._failing.add(key)
        log.error("the facts of a plan could not be read", plan=key, error=f"{type(error).__name__}: {error}")
        try:
            core = self.facts.core(key, epoch=epoch, claim_at=self._offsets.claim_at)
        except Exception:
            log.exception("not even what leads back could be read", plan=key)
            core = None
        if core is None:
            self.schedule.at(key, now() + AFTER_AN_ERROR)
            return
        self._look(key, core, lambda run: run.report_fault(core, error, now()))

    def _look(self, key: str, facts: Facts, advance: Callable[[PlanRun], Effects]) -> None:
        """Look at a plan once, and start what follows."""
        with structlog.contextvars.bound_contextvars(**context(facts)):
            try:
                effects = advance(self._run_of(key, facts))
            except Exception:
                log.exception("an exception could not be reported in the status of its plan")
                self._failing.add(key)
                self.schedule.at(key, now() + AFTER_AN_ERROR)
                return
            self._journal.log_decisions(effects.decided)
            self._note_right(key, self._runs[key].right_to_record)
            for effect in effects.todo:
                self._tasks.start((key, effect.key), self._carry_out(key, self._runs[key], effect))
        self.schedule.at(key, effects.wake_at)
        self.schedule.at(key, effects.look_at)

    def _note_right(self, key: str, lacking: str) -> None:
        """Note which right is missing to write the status of a plan: the log and the probe say what no status can."""
        if not lacking:
            self._unwritable.pop(key, None)
        elif key not in self._unwritable:
            self._unwritable[key] = lacking
            log.warning("the status of a plan cannot be written", why=lacking)

    def _advance(self, key: str, run: PlanRun, facts: Facts) -> Effects:
        """Return the effects of a pass; after an exception, those that report it and that may lead back."""
        try:
            effects = run.advance(facts, now())
        except Exception as error:
            if key not in self._failing:
                log.exception("a plan could not be reconciled; other plans are not affected")
            self._failing.add(key)
            return run.report_fault(facts, error, now())
        (self._failing.add if run.fails else self._failing.discard)(key)
        return effects

    def _run_of(self, key: str, facts: Facts) -> PlanRun:
        run = self._runs.get(key)
        if run is None or run.uid != facts.plan.uid:
            run = PlanRun(facts, now(), undo_command=partial(self.facts.undo_command, key))
            self._runs[key] = run
        return run

    async def _carry_out(self, key: str, run: PlanRun, effect: Effect) -> None:
        try:
            result = await self._executor.carry_out(effect)
        except Exception as error:
            log.exception("a request failed with an exception; retrying")
            result = Failure.internal(error)
        run.on_result(effect, result, now())
        self._journal.log_result(run, effect, result)
        self.schedule.at(key, now() + AFTER_WEIGHTS if effect.urgent and not isinstance(effect.work, Record) else now())

    def _still_wanted(self, effect: Effect) -> bool:
        run = self._runs.get(effect.snapshot.plan.key)
        return run is not None and run.still_wants(effect)
