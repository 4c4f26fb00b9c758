"""The places to which the decisions of a plan are published, as far as `PlanRun` knows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rolloutplan.api.status import Status


@dataclass(frozen=True, slots=True)
class SinkView:
    """One sink of a plan: `PlanRun` keeps its cursor under `name`; publish/base.py defines what carries it out."""

    name: str
    keeps: timedelta | None = None
    """A decision that is older than this is not published any more; None: each one is, however late."""
    since: datetime | None = None
    """Decisions before this instant are not for it: it was added later."""

    def published_before(self, status: Status, now: datetime) -> int:
        """The newest decision not to be published again: the former leader may have died before it published more."""
        through, after = status.published_through.get(self.name, 0), self.since
        if self.keeps is not None:
            after = max(now - self.keeps, after) if after else now - self.keeps
        missing = (each.seq for each in status.decisions if each.seq > through and (after is None or each.at > after))
        return next(missing, status.seq + 1) - 1
