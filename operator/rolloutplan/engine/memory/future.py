"""Instants of a status that are in the future: its writer's clock was ahead, or ours has been put back.

They are replaced by now before anything is decided. Else nothing would be asked, and no answer would count, until
the clock is there again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.changes import change, change_stage, change_task
from rolloutplan.api.status import PredicateStatus, StageStatus, Status
from rolloutplan.engine.model.snapshot import Facts

TOLERATED: Final = timedelta(seconds=5)
"""Clocks of two machines are seldom nearer to each other than some hundred milliseconds. So much only delays."""


class Future:
    """The status that had instants in the future, and what is to be told of it."""

    def __init__(self) -> None:
        self._known: tuple[Status, Status] | None = None
        """A status with such instants, and the same without them."""
        self._words = ""

    def removed(self, facts: Facts, now: datetime) -> Facts:
        """The facts with a status without such instants. The next status that is written keeps that."""
        if self._known is None or self._known[0] != facts.status:
            excess = ahead(facts.status, now)
            self._known = (facts.status, without_future(facts.status, now)) if excess else None
            if excess:
                self._words = (
                    f"the status has instants up to {excess.total_seconds():.0f} s ahead of this operator's clock: "
                    f"they count as now, so the stage's soak starts again; check the clocks of the nodes"
                )
        return replace(facts, status=self._known[1]) if self._known is not None else facts

    def words(self) -> str:
        """What is to be told of it; empty once it is told."""
        words, self._words = self._words, ""
        return words


def ahead(status: Status, now: datetime) -> timedelta:
    """How far the latest instant of what has happened is in the future; 0 within what is tolerated."""
    stage, held, intent, task = status.stage, status.held, status.intent, status.task
    instants = [
        status.entered_at,
        status.counted_since,
        *((stage.entered_at, stage.judged_since, stage.verified_at, stage.warmup_since) if stage else ()),
        *((held.since, held.reason_since) if held else ()),
        intent.at if intent else None,
        task.since if task else None,
        *(each for predicate in status.predicates for each in (predicate.at, predicate.looked_at)),
    ]
    latest = max((each for each in instants if each is not None), default=now)
    return latest - now if latest > now + TOLERATED else timedelta(0)


def without_future(status: Status, now: datetime) -> Status:
    """The status with now in the place of later instants; what is to end ends as long after them as before."""
    held, intent, task = status.held, status.intent, status.task
    return change(
        status,
        entered_at=_past(status.entered_at, now),
        counted_since=_past(status.counted_since, now),
        stage=_stage(status.stage, now) if status.stage else None,
        held=held.model_copy(
            update={"since": min(held.since, now), "reason_since": _past(held.reason_since, now)}
        ) if held else None,
        intent=intent.asked_again(min(intent.at, now)) if intent else None,
        task=change_task(
            task, since=min(task.since, now), deadline_at=task.deadline_at - max(task.since - now, timedelta(0))
        ) if task else None,
        predicates=tuple(_predicate(each, now) for each in status.predicates),
    )  # fmt: skip


def _past(at: datetime | None, now: datetime) -> datetime | None:
    return min(at, now) if at is not None else None


def _stage(stage: StageStatus, now: datetime) -> StageStatus:
    began = stage.verified_at or stage.judged_since or stage.entered_at or now
    excess = max(began - now, timedelta(0))
    return change_stage(
        stage,
        entered_at=_past(stage.entered_at, now),
        judged_since=_past(stage.judged_since, now),
        verified_at=_past(stage.verified_at, now),
        soak_until=stage.soak_until and stage.soak_until - excess,
        deadline_at=stage.deadline_at and stage.deadline_at - excess,
        warmup_since=_past(stage.warmup_since, now),
        warmup_until=stage.warmup_until and stage.warmup_until - max((stage.warmup_since or now) - now, timedelta(0)),
    )


def _predicate(predicate: PredicateStatus, now: datetime) -> PredicateStatus:
    instants = {name: _past(getattr(predicate, name), now) for name in ("at", "looked_at", "decided_at")}
    return predicate.model_copy(update=instants)
