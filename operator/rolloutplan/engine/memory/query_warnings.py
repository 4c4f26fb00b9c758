"""What is probably wrong with a plan's queries: when to look for it, and what was found."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.run.conditions import query_warnings

LINT_AFTER: Final = timedelta(seconds=10)
"""After a start, evaluations come before linting."""
LONGEST_WARNINGS: Final = 2048
"""Characters of the message about queries that are probably wrong."""


class QueryWarnings:
    """The warnings of one run; at first those of its status."""

    def __init__(self, status: Status, now: datetime) -> None:
        self._lint_at = now + LINT_AFTER
        self._linted, self._found = "", query_warnings(status)
        self._unanswered = ""
        """Which predicates had no answer before the run, of those that need one."""

    @property
    def text(self) -> str:
        """All of them in one line; empty where there are none."""
        return "; ".join(filter(None, (self._unanswered, self._found)))[:LONGEST_WARNINGS]

    def is_due(self, snapshot: Snapshot) -> bool:
        """Whether to look for them now."""
        at = self.lint_at(snapshot)
        return at is not None and snapshot.now >= at

    def lint_at(self, snapshot: Snapshot) -> datetime | None:
        """When to look for them: once for each version of what the plan may still be judged by."""
        spec, ended = snapshot.plan.spec, snapshot.status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        if spec is None or snapshot.source is None or ended or spec.judged_hash() == self._linted:
            return None
        return self._lint_at

    def asked(self, snapshot: Snapshot) -> None:
        """Note that this version is being looked through."""
        self._linted = snapshot.plan.spec.judged_hash() if snapshot.plan.spec is not None else ""

    def found(self, text: str) -> None:
        """Note what was found; what the source says itself is not said twice."""
        self._found = text.removeprefix(self._unanswered).removeprefix("; ")

    def unanswered(self, text: str) -> None:
        """Note what the source said before the run; a status of before may say the same."""
        if text != self._unanswered:
            self._found = self._found.removeprefix(text).removeprefix("; ")
            self._unanswered = text

    def turn_back(self, now: datetime) -> None:
        """The clock was put back to `now`."""
        self._lint_at = min(self._lint_at, now + LINT_AFTER)
