"""When a run was last looked at, and when that is to be written: who is on call must see that somebody looks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.status import Status
from rolloutplan.engine.memory.future import TOLERATED

LOOK_EVERY: Final = timedelta(minutes=1)
"""How often a run is looked at at least, and says so: who is on call must see within minutes that nobody looks. More
than one write a minute for each run would be too much for that."""
LOOK_AGAIN: Final = timedelta(seconds=5)
"""When that is written again where the plan had changed meanwhile, or another write of it was in flight."""


class Looks:
    """The looks at one run."""

    def __init__(self, now: datetime) -> None:
        self.at: datetime | None = None
        """When it was last decided upon with all that it needs, and all queries that were due were asked."""
        self._again_at = now
        """Before this, nothing is written only to say so."""

    def looked(self, now: datetime) -> None:
        """The run has been looked at."""
        self.at = now

    def due_at(self, status: Status, now: datetime) -> datetime:
        """When the next look is to be written: a minute after the last one. One from the future says nothing."""
        last = status.last_look
        is_known = last is not None and last <= now + TOLERATED
        return max(last + LOOK_EVERY, self._again_at) if last is not None and is_known else self._again_at

    def next_at(self, status: Status, now: datetime) -> datetime:
        """When to look at the run again only to say so."""
        return max(self.due_at(status, now), now + LOOK_AGAIN)

    def writing(self, now: datetime) -> None:
        """A look is being written."""
        self._again_at = now + LOOK_EVERY

    def not_written(self, now: datetime) -> None:
        """The plan had changed when a look was written."""
        self._again_at = now + LOOK_AGAIN

    def turn_back(self, now: datetime) -> None:
        """The clock was put back to `now`."""
        self._again_at = min(self._again_at, now)
