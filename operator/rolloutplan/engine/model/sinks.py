"""The places to which the decisions of a plan are published, as far as `PlanRun` knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.status import RUNNING, Status

RECORDS: Final = "records"
"""The sink of the records of runs: until it has a decision, that stays in the status."""


GONE_KEPT: Final = 8
"""Cursors of sinks that are gone and may come again, such as that of a notifier which is corrected: a few of them."""


def cursors(status: Mapping[str, int], present: Mapping[str, int]) -> dict[str, int]:
    """The cursors to write: those of all present sinks, and of the others the newest."""
    gone = sorted((name for name in status if name not in present), key=lambda name: (-status[name], name))
    kept = {*gone[:GONE_KEPT], *present}
    return {name: through for name, through in {**status, **present}.items() if name in kept}


@dataclass(frozen=True, slots=True)
class SinkView:
    """One sink of a plan: `PlanRun` keeps its cursor under `name`; publish/base.py defines what carries it out."""

    name: str
    keeps: timedelta | None = None
    """A decision that is older than this is not published any more; None: each one is, however late."""
    since: datetime | None = None
    """Decisions before this instant are not for it: it was added later."""
    own_status: bool = False
    """Whether what is wrong with it is in a status of its own, and not in that of the plan."""

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
