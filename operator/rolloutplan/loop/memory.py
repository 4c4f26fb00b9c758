"""What the loop remembers of a plan between looks. Losing all of it loses nothing but time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rolloutplan.engine.look import EMPTY_LEDGER, Heard, JobView, Ledger, Observed, Probe, Scaled

_SHORTEST, _LONGEST = 0.05, 2.0
_LONGEST_URGENT = 1.0
LONGEST_UNTOLD = 15.0
"""Seconds between attempts to post an Event."""


@dataclass(slots=True)
class Memory:
    uid: str
    count_restarts_at: datetime
    """From when on the pods may be listed for their restarts, where these are not known."""
    ledger: Ledger = field(default_factory=lambda: EMPTY_LEDGER)
    warned: tuple[str | None, str] = (None, "")
    """The hash of the plan as it is judged whose queries were looked through, and what was found."""
    probe: Probe | None = None
    heard: Heard | None = None
    job: JobView | None = None
    observed: Observed | None = None
    scaled: Scaled | None = None
    short_since: datetime | None = None
    restarts: int | None = None
    worst: str = ""
    read_at: datetime | None = None
    """When the routes of an unfinished change were last read, without waiting for the watch."""
    asking: set[str] = field(default_factory=set)
    """Predicates whose answers are awaited."""
    told: int | None = None
    """The newest decision that has its Event."""
    telling: bool = False
    untold: int = 0
    """Failed attempts in a row to post an Event."""
    looking_at_pods: bool = False
    failures: int = 0
    """Failed attempts in a row."""

    def backoff(self, *, urgent: bool) -> float:
        """Seconds until the next attempt: the first at once, then longer, for a rollback never long."""
        self.failures += 1
        if self.failures == 1 and urgent:
            return 0.0
        return pause(self.failures, _LONGEST_URGENT if urgent else _LONGEST)


def pause(failures: int, longest: float) -> float:
    """Seconds until the next attempt after so many that failed in a row."""
    return min(longest, _SHORTEST * 2.0 ** min(failures, 12))
