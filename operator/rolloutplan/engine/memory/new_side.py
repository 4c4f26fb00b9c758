"""What a run remembers of the new side from one look to the next: its pods, and since when some are missing.

`PlanRun` brings the Deployment, the lists of its pods and the time, and asks when a list is due. None of it is in a
status: the next leader learns it again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.availability import Availability
from rolloutplan.api.status import Status
from rolloutplan.engine.analysis.availability import Stood, is_suspended
from rolloutplan.engine.model.snapshot import Pods, WorkloadView

LIST_AFTER: Final = timedelta(seconds=2)
"""After a start, rollbacks come before the pods are listed. A new leader lists those of a run that lacks none after it
claims the run."""
LIST_AFTER_FAILURE: Final = timedelta(seconds=5)
"""A run waits for it. It is less than `PASSES_WITHIN`, so that a failure which passes is not told."""
LIST_AGAIN: Final = timedelta(seconds=10)
"""How often the pods are listed while some are not available."""
NEW_PODS_WITHIN: Final = timedelta(seconds=8)
"""How long latency waits for the first list once that is due: it tells which pods are new, if they have a warmup."""


class NewSide:
    """The memory of one run. `version` is that of the Deployment when it was first seen; empty where there was none."""

    def __init__(self, version: str, now: datetime, claim_at: datetime | None = None) -> None:
        self._stood = Stood()
        self._pods: Pods | None = None
        self._pods_at: datetime | None = None
        self._unlisted = False
        """Whether the last list failed."""
        self._pods_of = ""
        """The version of the Deployment when the pods that are known were asked for."""
        self._asked_of = version
        """The version of the Deployment when its pods were last asked for."""
        self._list_at: datetime | None = now + LIST_AFTER
        """When the pods are listed for the first time, or again after a list that failed."""
        self._turn_at = max(now, claim_at or now) + LIST_AFTER
        """When they are listed for the first time where none is missing."""
        self._awaited_until = self._turn_at + NEW_PODS_WITHIN
        self._ready_at: dict[str, datetime] = {}
        """When each pod became ready for the first time, by its uid."""

    def view(self, new: WorkloadView, asked: Availability, now: datetime, *, unserved: bool) -> WorkloadView:
        """The Deployment with what is remembered. `unserved`: its Service is known to have no ready endpoint."""
        fresh = self._pods_of == new.version
        new = replace(new, pods=self._pods, pods_at=self._pods_at, pods_fresh=fresh, unlisted=self._unlisted)
        self._stood = self._stood.seen(new, asked, now, unserved=unserved)
        return replace(
            new,
            expected=self._stood.expected(new, asked, now),
            short_since=self._stood.short_since,
            unserved_since=self._stood.unserved_since,
            lacks_since=self._stood.lacks_since,
            newest_ready_at=max(self._ready_at.values(), default=None),
        )

    def is_list_due(self, new: WorkloadView, status: Status, now: datetime) -> bool:
        """Whether the pods are to be listed: the Deployment changed, there is no good list, or it lacks some.

        A pod that fails before it was ever ready does not change its Deployment.
        """
        at = self.list_at(new, status)
        return new.version != self._asked_of or (at is not None and now >= at)

    def list_at(self, new: WorkloadView, status: Status) -> datetime | None:
        """When the pods are listed even if the Deployment does not change; None: not before it does."""
        if is_suspended(status) and status.entered_at and (self._pods_at is None or self._pods_at < status.entered_at):
            return status.entered_at
        if self._pods_at is None and not self._unlisted and status.stage and status.stage.soak_until and self._list_at:
            return min(self._list_at, status.stage.soak_until)  # nothing is left to wait for but this list
        if self._list_at is not None and self._pods_at is None and new.available >= new.wanted:
            return max(self._list_at, self._turn_at)
        if self._pods_at is None or new.available >= new.wanted:
            return self._list_at
        return self._pods_at + LIST_AGAIN

    def pods_awaited_until(self) -> datetime | None:
        """Until when latency waits for the first list of the pods; None where there was one."""
        return self._awaited_until if self._pods is None else None

    def asked(self, new: WorkloadView) -> None:
        """Note that the pods are being listed."""
        self._asked_of = new.version

    def listed(self, pods: Pods, new: WorkloadView | None, asked_at: datetime) -> None:
        """Note a list. A pod that was ready before does not become new by losing its readiness for a while."""
        ready = {uid: min(ready_at, asked_at) for uid, ready_at in pods.ready_at.items()} | self._ready_at
        self._ready_at = {uid: ready[uid] for uid in pods.restarts if uid in ready}
        self._pods, self._pods_at, self._list_at = pods, asked_at, None
        self._pods_of = new.version if new is not None else ""
        self._unlisted = False

    def not_listed(self, now: datetime) -> None:
        """Note that a list failed."""
        self._list_at, self._unlisted = now + LIST_AFTER_FAILURE, True

    def turn_back(self, now: datetime) -> None:
        """Forget instants after `now`: the clock was put back."""
        self._stood = self._stood.until(now)
        self._list_at = self._list_at and min(self._list_at, now + LIST_AFTER)
        self._turn_at = min(self._turn_at, now + LIST_AFTER)
        self._awaited_until = min(self._awaited_until, now + LIST_AFTER + NEW_PODS_WITHIN)
        self._pods_at = self._pods_at and min(self._pods_at, now)
