"""Tell: one Event for each decision, posted after everything else and never twice."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog

from rolloutplan.cluster import events
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.loop.memory import LONGEST_UNTOLD, Memory, pause
from rolloutplan.loop.routes import reference
from rolloutplan.loop.schedule import Schedule, now
from rolloutplan.loop.store import Plan, Store
from rolloutplan.plan.status import Decision, Status

RECENT = timedelta(hours=1)
"""What is older and was not told by then stays untold: an Event lives no longer."""
POST_WITHIN = 2.0
"""Seconds: an Event that hangs keeps others waiting."""
_REFUSED_FOR_GOOD = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""The Event itself is refused, and would be again."""

log = structlog.stdlib.get_logger("rolloutplan")


class Teller:
    """Posts the Events of decisions that have none yet."""

    def __init__(
        self,
        api: ResourceClient,
        store: Store,
        schedule: Schedule,
        *,
        instance: str,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._api, self._store, self._schedule = api, store, schedule
        self._instance, self._spawn = instance, spawn

    def tell(self, plan: Plan, memory: Memory) -> None:
        """Start posting what is not told yet; a decision that is still owed to the status is not told before."""
        if memory.told is None:
            memory.told = _told_before(plan.status)
        if plan.status.seq > memory.told and not memory.telling and not plan.owed:
            memory.telling = True
            self._spawn(self._tell(plan.view.key, memory))

    async def _tell(self, key: str, memory: Memory) -> None:
        try:
            while (plan := self._store.plans.get(key)) and (decision := _next(plan, memory)):
                await self._post(plan, decision)
                memory.told, memory.untold = decision.seq, 0
        except ApiError as error:
            memory.untold += 1
            delay = max(pause(memory.untold, LONGEST_UNTOLD), error.retry_after or 0.0)
            log.warning("an Event could not be posted", plan=key, error=str(error), in_seconds=round(delay, 2))
            self._schedule.at(key, now() + timedelta(seconds=delay))
        finally:
            memory.telling = False

    async def _post(self, plan: Plan, decision: Decision) -> None:
        status = plan.status
        raw = events.event(
            plan.view,
            decision,
            instance=self._instance,
            related=next((reference(plan.view.namespace, route.id) for route in status.weights.snapshot), None),
            plan_hash=status.plan_hash,
            revert=status.revert,
        )
        try:
            await events.post(self._api, raw, timeout=POST_WITHIN)
        except ApiError as error:
            if error.status not in _REFUSED_FOR_GOOD:
                raise
            log.warning("an Event is refused for what it says; the next ones are posted", error=str(error))


def _told_before(status: Status) -> int:
    """The newest decision that need not be told again after a start: the operator may have died before it told one."""
    untold = (d.seq for d in status.decisions if d.seq > status.told and d.at > now() - RECENT)
    return next(untold, status.seq + 1) - 1


def _next(plan: Plan, memory: Memory) -> Decision | None:
    told = memory.told or 0
    return next((decision for decision in plan.status.decisions if decision.seq > told), None)
