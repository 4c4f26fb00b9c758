"""The effects whose results a run waits for, one a key. A late result is ignored; one that is lost is given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.effects import Effect, Evaluate, Failure, Key, Work
from rolloutplan.engine.model.snapshot import Snapshot

LOST_AFTER: Final = timedelta(minutes=1)
"""After this an effect without a result is given up: no request of ours may take nearly as long."""
LOST_AFTER_URGENT: Final = timedelta(seconds=10)
"""The same in a rollback, for its status writes too: while one may still succeed, it is unknown whether weights must be
written again. Writing twice has the effect of writing once."""


class InFlight:
    """The effects in flight, each with the instant at which it is given up."""

    def __init__(self) -> None:
        self._number = 0
        self._effects: dict[Key, tuple[Effect, datetime]] = {}

    def start(self, key: Key, work: Work, snapshot: Snapshot, *, urgent: bool) -> Effect:
        """A new effect; the result of a former one of its key counts no more."""
        self._number += 1
        effect = Effect(self._number, key, work, snapshot, urgent)
        back = urgent or snapshot.status.phase is Phase.ROLLING_BACK
        self._effects[key] = effect, snapshot.now + (LOST_AFTER_URGENT if back else LOST_AFTER)
        return effect

    def ended(self, effect: Effect) -> bool:
        """Note that the result of an effect is there; return whether it was waited for."""
        known = self.get(effect.key)
        if known is None or known.number != effect.number:
            return False
        self.forget(effect.key)
        return True

    def get(self, key: Key) -> Effect | None:
        """The effect of a key that is in flight."""
        found = self._effects.get(key)
        return found[0] if found else None

    def forget(self, key: Key) -> None:
        """Wait no longer for the effect of a key."""
        self._effects.pop(key, None)

    def forget_evaluations(self) -> None:
        """Wait for no answer to what was asked so far."""
        self._effects = {key: each for key, each in self._effects.items() if not isinstance(each[0].work, Evaluate)}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._effects)

    def __len__(self) -> int:
        return len(self._effects)

    def asked(self) -> dict[str, datetime]:
        """When the predicates were asked whose answers are waited for."""
        return {
            key.name: effect.snapshot.now
            for key, (effect, _) in self._effects.items()
            if isinstance(effect.work, Evaluate)
        }

    def given_up(self, now: datetime) -> list[tuple[Effect, Failure]]:
        """What has waited too long, with the failure to apply for it."""
        return [
            (effect, Failure(0, "Lost", f"no result within {(until - effect.snapshot.now).total_seconds():.0f} s"))
            for effect, until in self._effects.values()
            if now >= until
        ]

    def wake_at(self) -> list[datetime]:
        """When each is given up."""
        return [until for _, until in self._effects.values()]

    def turn_back(self, now: datetime) -> None:
        """The clock was put back to `now`: nothing is waited for until a far instant, nor for answers of before."""
        self.forget_evaluations()
        self._effects = {key: (effect, min(until, now + LOST_AFTER)) for key, (effect, until) in self._effects.items()}
