"""Spread what many plans do at the same instant over time.

Keys come from loop/reconcile.py; the offsets delay its claims of routes, its count queries and its records of looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from zlib import crc32

from rolloutplan.api.status import RUNNING, Phase
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES

CLAIMED_A_SECOND: Final = 100
"""Running plans that a new leader claims per second, where none of their writes is half done."""
JUDGED_A_SECOND: Final = 400
"""Running plans that a new leader looks at for the first time, and asks about, per second on one core."""
COUNTED_A_SECOND: Final = 125
"""Plans per second that send count queries for the same instant. At this rate no evaluation was missed."""
NOTED_A_SECOND: Final = 50
"""Plans per second whose looks are recorded where many are due at the same instant: half a core of an API server."""


class Stagger:
    """Gives each member an offset by a hash of its key. The offset changes only with the number of members.

    Only present members count. A plan that has ended must not make others wait.
    """

    def __init__(self, a_second: float) -> None:
        """`a_second` is how many members may act in a second."""
        self._a_second = a_second
        self._keys: set[str] = set()

    def join(self, key: str) -> None:
        self._keys.add(key)

    def leave(self, key: str) -> None:
        self._keys.discard(key)

    def clear(self) -> None:
        self._keys.clear()

    def __len__(self) -> int:
        return len(self._keys)

    def offset(self, key: str) -> float:
        """Return the seconds to wait after the common instant."""
        return len(self._keys) / self._a_second * (crc32(key.encode()) / 2**32)


class Offsets:
    """The offset of each plan at what the plans of a leader would do all at once."""

    def __init__(self) -> None:
        self._led_since = datetime.min.replace(tzinfo=UTC)
        self._claims = Stagger(CLAIMED_A_SECOND)
        """The uids of the plans whose traffic had shifted when this term of the leader began."""
        self._counting = Stagger(COUNTED_A_SECOND)
        """Keys of the plans that count events now."""
        self._noting = Stagger(NOTED_A_SECOND)
        """Keys of the plans with a run whose looks are recorded."""

    def lead(self, at: datetime, shifted: Iterable[str]) -> None:
        """Begin a term of the leader, with the uids of the plans whose traffic has shifted."""
        self._led_since = at
        self._claims.clear()
        for uid in shifted:
            self._claims.join(uid)

    def clear(self) -> None:
        """Forget which plans count and are noted."""
        self._counting.clear()
        self._noting.clear()

    def update(self, key: str, phase: Phase | None) -> None:
        """Leave out a plan where its phase does no more of it; None: it is gone."""
        if phase not in TRAFFIC_SHIFTED_PHASES:
            self._counting.leave(key)
        if phase not in RUNNING:
            self._noting.leave(key)

    def claim_at(self, uid: str) -> datetime:
        """Return when to claim a run: when all are judged again, each at its own offset."""
        judged = len(self._claims) / JUDGED_A_SECOND
        return self._led_since + timedelta(seconds=judged + self._claims.offset(uid))

    def count_delay(self, key: str) -> float:
        """Return seconds. All plans count at about the same instants, so each sends its queries at its own offset."""
        self._counting.join(key)
        return self._counting.offset(key)

    def look_delay(self, key: str) -> float:
        """Return seconds. After a take-over the looks of all runs are due at once: each has its own offset."""
        self._noting.join(key)
        return self._noting.offset(key)
