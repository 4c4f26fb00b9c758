"""Tell: one Event for each decision, posted after everything else and never twice."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import structlog

from rolloutplan.cluster import events
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.loop.lanes import Lane, Lanes
from rolloutplan.loop.memory import Memory
from rolloutplan.loop.schedule import Schedule, now
from rolloutplan.loop.store import Plan, Store
from rolloutplan.plan.status import Decision

RECENT = timedelta(hours=1)
"""Decisions as young as this are told again after a start: the operator may have died before it told them. An Event
lives no longer."""
RETRY = timedelta(seconds=5)

log = structlog.stdlib.get_logger("rolloutplan")


class Teller:
    """Posts the Events of decisions that have none yet."""

    def __init__(
        self,
        api: Api,
        store: Store,
        lanes: Lanes,
        schedule: Schedule,
        *,
        instance: str,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._api, self._store, self._lanes, self._schedule = api, store, lanes, schedule
        self._instance, self._spawn = instance, spawn

    def tell(self, plan: Plan, memory: Memory) -> None:
        """Start posting what is not told yet; a decision that is still owed to the status is not told before."""
        if memory.told is None:
            memory.told = _told_before(plan)
        if plan.status.seq > memory.told and not memory.telling and not plan.owed:
            memory.telling = True
            self._spawn(self._tell(plan.view.key, memory))

    async def _tell(self, key: str, memory: Memory) -> None:
        try:
            while (plan := self._store.plans.get(key)) and (decision := _next(plan, memory)):
                await self._post(plan, decision)
                memory.told = decision.seq
        except ApiError as error:
            log.warning("an Event could not be posted", plan=key, error=str(error))
            self._schedule.at(key, now() + RETRY)
        finally:
            memory.telling = False

    async def _post(self, plan: Plan, decision: Decision) -> None:
        status = plan.status
        raw = events.event(
            plan.view,
            decision,
            instance=self._instance,
            route=next((route.name for route in status.weights.snapshot), None),
            plan_hash=status.plan_hash,
            revert=status.revert,
        )
        async with self._lanes.take(Lane.TELL):
            await events.post(self._api, raw)


def _told_before(plan: Plan) -> int:
    """The newest decision that need not be told again after a start."""
    young = [decision.seq for decision in plan.status.decisions if decision.at > now() - RECENT]
    return young[0] - 1 if young else plan.status.seq


def _next(plan: Plan, memory: Memory) -> Decision | None:
    told = memory.told or 0
    return next((decision for decision in plan.status.decisions if decision.seq > told), None)
