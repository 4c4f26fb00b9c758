"""The plans on which the operator itself fails, or whose status it may not write.

loop/reconcile.py notes them; metrics, log and probe say what no status can.
"""

from __future__ import annotations

import structlog

log = structlog.stdlib.get_logger("rolloutplan")


class Troubles:
    """What a leader cannot do. Plans are named by their keys."""

    def __init__(self) -> None:
        self._failing: set[str] = set()
        self._unwritable: dict[str, str] = {}

    def note_fault(self, key: str, *, fails: bool = True) -> bool:
        """Note whether the operator fails on a plan: it raised, or says so in its status. Returns whether it did so."""
        failed = key in self._failing
        (self._failing.add if fails else self._failing.discard)(key)
        return failed

    def note_right(self, key: str, lacking: str) -> None:
        """Note which right is missing to write the status of a plan; empty: none is."""
        if not lacking:
            self._unwritable.pop(key, None)
        elif key not in self._unwritable:
            self._unwritable[key] = lacking
            log.warning("the status of a plan cannot be written", why=lacking)

    def forget(self, key: str) -> None:
        """Forget a plan that is gone."""
        self._failing.discard(key)
        self._unwritable.pop(key, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._failing.clear()
        self._unwritable.clear()

    def failing(self) -> int:
        """Return the number of plans on which the operator fails; 0 while it does not lead."""
        return len(self._failing)

    def waits_for(self) -> list[str]:
        """Return which right is missing to write statuses; nothing where none is."""
        if not self._unwritable:
            return []
        key, lacking = next(iter(self._unwritable.items()))
        others = f" (and {len(self._unwritable) - 1} more)" if len(self._unwritable) > 1 else ""
        return [f"the status of plan {key}{others} cannot be written: {lacking}"]
