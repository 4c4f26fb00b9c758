"""The host of all runs: it hands each `PlanRun` its facts when its time has come, and has its effects carried out.

Facts come from the store, which the watches and the answers to our own requests fill. Effects go to the executor, each
in a task of its own; what comes of one goes back to its run, which is looked at again at once. What is decided, and in
which order things are done, stands in engine/plan_run.py; here is who leads, when to look, and what becomes of tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from rolloutplan.api.status import Phase
from rolloutplan.clock import now
from rolloutplan.cluster.client import Api, ResourceClient
from rolloutplan.engine.model.effects import Effect, Failure, Key, Record
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.executor import Executor
from rolloutplan.loop.journal import Journal, context
from rolloutplan.loop.limiter import Priority, RequestLimiter
from rolloutplan.loop.schedule import Schedule
from rolloutplan.loop.stagger import Stagger
from rolloutplan.loop.store import CLUSTER_SOURCES, SOURCES, Store
from rolloutplan.loop.versions import Listing
from rolloutplan.metrics.pool import Sources
from rolloutplan.publish.events import EventSink
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.traffic import undo_command

CLAIMED_A_SECOND: Final = 100
"""Runs that a new leader marks as its own, while nothing in them is half done."""
COUNTED_A_SECOND: Final = 125
"""Plans that ask for what they count at the same instant, while no look was missed."""
AFTER_WEIGHTS: Final = timedelta(milliseconds=50)
"""How long a plan whose weights were just put back leaves the way to others that still wait for theirs."""
AFTER_AN_ERROR: Final = timedelta(seconds=10)
AFTER_AN_ERROR_ON_THE_WAY_BACK: Final = timedelta(seconds=1)
"""Until a plan is looked at again that could not be: a fault of ours, which must not keep the others waiting."""

log = structlog.stdlib.get_logger("rolloutplan")


class Reconciler:
    """Drives the run of each plan while it leads. A follower only takes in what the watches bring."""

    def __init__(self, api: Api, store: Store, sources: Sources, metrics: Metrics, *, instance: str) -> None:
        self.store = store
        self.schedule = Schedule(self._due, late=metrics.late)
        self._api, self._sources, self._journal = api, sources, Journal(metrics)
        self._limiter = RequestLimiter()
        self._sinks = {sink.name: sink for sink in (EventSink(self._client(Priority.EVENTS), instance=instance),)}
        self._executor = Executor(
            self._client,
            store,
            sources,
            metrics,
            self._sinks,
            take=self.offer,
            drop=self.drop,
            turn_of=self._turn_of,
        )
        self._epoch: int | None = None
        self._led_since = now()
        self._runs: dict[str, PlanRun] = {}
        self._tasks: dict[tuple[str, Key], asyncio.Task[None]] = {}
        self._claims = Stagger(CLAIMED_A_SECOND)
        """The uids of the plans that were in mid-run when this tenure began."""
        self._counting = Stagger(COUNTED_A_SECOND)
        """Plans that count events now."""

    def _client(self, priority: Priority) -> ResourceClient:
        """What every request goes through: it waits for its turn."""
        return self._limiter.client(self._api, priority)

    async def close(self) -> None:
        """Let go of what is under way: every step is safe to abandon and to take up again."""
        tasks = [*self._tasks.values()]
        self._let_go()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _let_go(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    # ---- who -----------------------------------------------------------------------------------------------------

    def lead(self, epoch: int) -> None:
        """Begin to act: what the watches have brought is there already."""
        self._epoch, self._led_since = epoch, now()
        self._claims.clear()
        for plan in self.store.plans.values():
            if plan.status.phase in TRAFFIC_SHIFTED_PHASES:
                self._claims.join(plan.view.uid)
        self.requeue_all()

    def follow(self) -> None:
        """Stop acting at once. What is under way is let go, and what was not written is forgotten."""
        self._epoch = None
        self._let_go()
        self._runs.clear()
        self._counting.clear()

    # ---- what is known -------------------------------------------------------------------------------------------

    def offer(self, kind: str, event: str | None, raw: dict[str, Any]) -> None:
        """Take in what a watch or an answer brought; the plans that it touches are looked at at once."""
        self._take(kind, self.store.offer(kind, event, raw))

    def drop(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object that is gone; the plans that it touches are looked at at once."""
        self._take(kind, self.store.drop((kind, namespace, name)))

    def listed(self, listing: Listing) -> None:
        """A list is complete: what is held and not in it is gone."""
        self._take(listing.kind, self.store.listed(listing))
        self.requeue_all()

    def requeue_all(self) -> None:
        """Snapshot at every plan: the watches have just become complete, or complete again."""
        for key in self.store.plans:
            self.schedule.soon(key)

    def _take(self, kind: str, touched: Iterable[str]) -> None:
        """Act upon what the store says of a change of an object of this kind: nobody else will."""
        if kind in (SOURCES, CLUSTER_SOURCES):
            self._sources.keep({source.key for source in self.store.sources.values()})
        for key in touched:
            self.schedule.soon(key)

    # ---- look, decide, act ---------------------------------------------------------------------------------------

    def _due(self, key: str) -> None:
        """One plan's turn. Whatever goes wrong in it stays with this plan."""
        if self._epoch is None:
            return
        facts = self.store.facts(key, epoch=self._epoch, claim_at=self._claim_at)
        if facts is None or facts.status.phase not in TRAFFIC_SHIFTED_PHASES:
            self._counting.leave(key)
        if facts is None:
            self._runs.pop(key, None)
            self.schedule.forget(key)
            return
        with structlog.contextvars.bound_contextvars(**context(facts)):
            try:
                effects = self._run_of(key, facts).advance(facts, now())
            except Exception:
                log.exception("a plan could not be looked at; the others go on")
                back = facts.status.phase is Phase.ROLLING_BACK
                self.schedule.at(key, now() + (AFTER_AN_ERROR_ON_THE_WAY_BACK if back else AFTER_AN_ERROR))
                return
            self._journal.decided(effects.decided)
            for effect in effects.todo:
                self._start(key, effect)
        self.schedule.at(key, effects.wake_at)

    def _run_of(self, key: str, facts: Facts) -> PlanRun:
        run = self._runs.get(key)
        if run is None or run.uid != facts.plan.uid:
            run = PlanRun(facts, now(), undo_command=undo_command, sinks=tuple(self._sinks))
            self._runs[key] = run
        return run

    def _claim_at(self, uid: str) -> datetime:
        """Spread over the time that so many writes may take, each run at a place of its own."""
        return self._led_since + timedelta(seconds=self._claims.offset(uid))

    def _start(self, key: str, effect: Effect) -> None:
        """Have an effect carried out. A newer one about the same takes the place of one that is still under way."""
        run, ident = self._runs[key], (key, effect.key)
        if (former := self._tasks.pop(ident, None)) is not None:
            former.cancel()
        task = self._tasks[ident] = asyncio.get_running_loop().create_task(self._carry_out(key, run, effect))

        def over(_: object) -> None:
            if self._tasks.get(ident) is task:
                del self._tasks[ident]

        task.add_done_callback(over)

    async def _carry_out(self, key: str, run: PlanRun, effect: Effect) -> None:
        try:
            result = await self._executor.carry_out(effect)
        except Exception as error:
            log.exception("an effect could not be carried out; it is tried again")
            result = Failure(0, type(error).__name__, str(error))
        run.on_result(effect, result, now())
        self._journal.done(run, effect, result)
        self.schedule.at(key, now() + AFTER_WEIGHTS if effect.urgent and not isinstance(effect.work, Record) else now())

    def _turn_of(self, key: str) -> float:
        """Seconds. Instants of counts are about the same for all who count: each asks at a place of its own after."""
        self._counting.join(key)
        return self._counting.offset(key)
