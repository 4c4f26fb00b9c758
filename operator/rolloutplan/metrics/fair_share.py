"""A limit that namespaces share: each may hold as much as it leaves free, so that a newcomer always finds room.

`metrics/prometheus/` shares out places for requests, bytes of answers and waiting questions. One namespace alone can
have half of a limit; of several that want all of it, each gets the same part, and the same part again stays free.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable


class FairShare:
    """So much of something, for all namespaces together. May be used from any thread."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._held: dict[Hashable, int] = {}
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How much of it all hold."""
        return self._used

    def held(self, who: Hashable) -> int:
        """How much of it `who` holds."""
        return self._held.get(who, 0)

    def has_room(self, who: Hashable, size: int = 1) -> bool:
        """Whether `who` may take so much. One that holds nothing yet may take all that is free."""
        held = self._held.get(who, 0)
        left = self.total - self._used - size
        return left >= (held + size if held else 0)

    def take(self, who: Hashable, size: int = 1) -> bool:
        """Take so much where there is room; return whether there was."""
        with self._lock:
            if not self.has_room(who, size):
                return False
            self._add(who, size)
            return True

    def add(self, who: Hashable, size: int = 1) -> None:
        """Take so much without asking for room."""
        with self._lock:
            self._add(who, size)

    def give(self, who: Hashable, size: int = 1) -> None:
        """Give back what was taken."""
        with self._lock:
            left = self._held.get(who, 0) - size
            if left > 0:
                self._held[who] = left
            else:
                self._held.pop(who, None)
            self._used -= size

    def _add(self, who: Hashable, size: int) -> None:
        self._held[who] = self._held.get(who, 0) + size
        self._used += size
