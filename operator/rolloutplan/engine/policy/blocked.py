"""What blocks a run: the common result of the checks before an increase, in mid-run and before a removal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rolloutplan.api.printable import shortened
from rolloutplan.api.reasons import HoldReason
from rolloutplan.engine.analysis.measurements import ActivePredicate


@dataclass(frozen=True, slots=True)
class Blocked:
    """What blocks the run: reason, message, and when to check again (None: at the next event)."""

    reason: HoldReason
    words: str
    again: datetime | None = None
    evidence: tuple[ActivePredicate, ...] = ()

    def __post_init__(self) -> None:
        """Cut the message to what a status shows of it, so that the two can be compared."""
        object.__setattr__(self, "words", shortened(self.words))
