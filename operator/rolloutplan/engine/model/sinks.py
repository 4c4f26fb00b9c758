"""The places to which the decisions of a plan are published, as far as `PlanRun` knows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.status import RUNNING, Status

RECORDS: Final = "records"
"""The sink of the records of runs: until it has a decision, that stays in the status."""


@dataclass(frozen=True, slots=True)
class SinkView:
    """One sink of a plan: `PlanRun` keeps its cursor under `name`; publish/base.py defines what carries it out."""

    name: str
    keeps: timedelta | None = None
    """A decision that is older than this is not published any more; None: each one is, however late."""
    since: datetime | None = None
    """Decisions before this instant are not for it: it was added later."""

    def published_before(self, status: Status, now: datetime) -> int:
        """The newest decision not to be published again: the former leader may have died before it published more.

        Without a cursor the plan had no such sink so far: it begins with the present run, or with what comes next.
        """
        through, after = status.published_through.get(self.name), self.since
        if through is None:
            met = status.phase in RUNNING
            through = next((each.seq - 1 for each in status.decisions if met and each.run == status.run), status.seq)
        if self.keeps is not None:
            after = max(now - self.keeps, after) if after else now - self.keeps
        missing = (each.seq for each in status.decisions if each.seq > through and (after is None or each.at > after))
        return next(missing, status.seq + 1) - 1
