"""What was refused, by whom and how often; what may be refused only because its object has changed; when to try again.

A write that is refused as if its object had changed is in doubt: if the object has changed, the write is decided anew,
if not, it was refused. A write that was accepted and changed nothing is refused too, by somebody unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RUNNING
from rolloutplan.engine.analysis.availability import lists_pods
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.effects import (
    MARKS,
    PODS,
    STATUS,
    WRITES,
    Effect,
    Failure,
    Key,
    Publish,
    key_of,
    name_of,
    target_of,
    version_of,
)
from rolloutplan.engine.model.snapshot import FAULT, NO_EFFECT, Facts, Refusal, RouteView, Snapshot

SHORTEST_PAUSE: Final = timedelta(milliseconds=50)
LONGEST_PAUSE: Final = timedelta(seconds=2)
"""Between attempts that may succeed the next time. In a rollback `LONGEST_PAUSE_URGENT`."""
LONGEST_PAUSE_URGENT: Final = timedelta(seconds=1)
LONGEST_PAUSE_REFUSED: Final = timedelta(seconds=10)
"""Between attempts after a definite refusal: a person must fix the cause, and then need not wait long."""
LONGEST_PAUSE_WITHOUT_EFFECT: Final = timedelta(minutes=1)
"""Between writes that are accepted and change nothing: soon enough for whoever has mended the cause of it."""
LONGEST_PAUSE_PUBLISHING: Final = timedelta(seconds=15)
NO_EFFECT_WORDS: Final = "accepted, and the weights did not change: look for a webhook that sets them back"
FAULT_OVER_AFTER: Final = timedelta(minutes=1)
"""How long an exception in a query or a read is reported after it could have been tried again."""
MAX_CONFLICTS_IN_A_ROW: Final = 8
"""So many times in a row a write may find its object changed before the next attempt waits too."""

_REPORTED_KINDS: Final = WRITES | {"publication", "preflight", "stop", PODS.kind}
"""The kinds of effects whose refusal is a fact for decisions. For all others the missing answer is the fact."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A write was refused as if its object had changed. `version` is the version on which it was based."""

    version: str
    effect: Effect
    failure: Failure
    read: bool = False
    """Whether the object has been read since."""


class Refusals:
    """The refusals of one run, by the key of what was refused."""

    def __init__(self) -> None:
        self._refused: dict[Key, Refusal] = {}
        self._doubts: dict[Key, _Doubt] = {}
        self._without_effect: dict[Key, RouteView] = {}
        """The routes as they were after a write without effect: another one is of use once they have changed."""
        self._conflicts: dict[Key, int] = {}
        """How often in a row the object of a write had changed."""

    # ---- what follows from them ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._refused)

    def get(self, key: Key) -> Refusal | None:
        """The refusal of a key, if it was refused last."""
        return self._refused.get(key)

    def blocks(self, key: Key, now: datetime, *, urgent: bool) -> bool:
        """Whether it is too early to try: the last attempt is in doubt, or just refused. A rollback waits for none."""
        doubt, refusal = self._doubts.get(key), self._refused.get(key)
        if doubt is not None and (not urgent or doubt.effect.urgent):
            return True
        return refusal is not None and now < refusal.retry_at and not (urgent and not refusal.urgent)

    def is_open(self, key: Key) -> bool:
        """Whether the last attempt was refused, or is in doubt."""
        return key in self._refused or key in self._doubts

    def is_in_doubt(self, key: Key) -> bool:
        """Whether it is unknown why the last attempt was refused."""
        return key in self._doubts

    def reported(self) -> tuple[Refusal, ...]:
        """Those that are facts for decisions."""
        return tuple(each for key, each in self._refused.items() if key.kind in _REPORTED_KINDS or each.internal)

    def has_fault(self) -> bool:
        """Whether one of them is a fault of the operator itself."""
        return any(each.internal for each in self._refused.values())

    def routes_to_read(self) -> set[RouteId]:
        """The routes in doubt that have not been read since."""
        return {target_of(each.effect) for key, each in self._doubts.items() if key.kind == "route" and not each.read}

    def must_read_plan(self) -> bool:
        """Whether a write of the plan is in doubt, and it has not been read since."""
        return any(key in self._doubts and not self._doubts[key].read for key in (STATUS, MARKS))

    def wake_at(self, now: datetime) -> Iterator[datetime]:
        """When to try again what may not be tried yet."""
        return (each.retry_at for each in self._refused.values() if each.retry_at > now)

    # ---- what becomes of them ------------------------------------------------------------------------------------

    def refused(self, effect: Effect, failure: Failure, now: datetime) -> None:
        """Remember a refusal and when to retry: in a rollback at once, then soon, whatever the answer was."""
        known = self._refused.get(effect.key)
        known = known if known is not None and known.urgent == effect.urgent else None
        failures = known.failures + 1 if known else 1
        pause = min(SHORTEST_PAUSE * 2 ** min(failures, 12), _longest_pause(effect, failure))
        if effect.urgent and failure.reason != NO_EFFECT:
            pause = timedelta(0) if failures == 1 else pause
        elif failure.retry_after is not None:
            pause = max(pause, timedelta(seconds=failure.retry_after))
        self._refused[effect.key] = Refusal(
            kind=effect.key.kind,
            what=name_of(effect),
            reason=failure.reason,
            words=failure.told,
            definite=failure.definite,
            urgent=effect.urgent,
            since=known.since if known else now,
            retry_at=now + pause,
            failures=failures,
            uncertain=failure.uncertain or (known is not None and known.uncertain),
        )

    def had_no_effect(self, effect: Effect, seen: RouteView, now: datetime) -> None:
        """Remember a write that was accepted and changed nothing, and the route as it was after it."""
        self._without_effect[effect.key] = seen
        self.refused(effect, Failure(HTTPStatus.OK, NO_EFFECT, NO_EFFECT_WORDS), now)

    def doubted(self, effect: Effect, failure: Failure) -> bool:
        """Whether a refusal leaves a doubt, which is remembered: not where the object has changed too often."""
        if not failure.may_be_stale:
            return False
        self._conflicts[effect.key] = self._conflicts.get(effect.key, 0) + 1
        if self._conflicts[effect.key] > MAX_CONFLICTS_IN_A_ROW:
            return False
        self._doubts[effect.key] = _Doubt(version_of(effect), effect, failure)
        return True

    def succeeded(self, key: Key) -> None:
        """An attempt has succeeded: what was refused before counts no more."""
        self._refused.pop(key, None)
        self._conflicts.pop(key, None)

    def read(self, *keys: Key) -> None:
        """The objects of these have been read."""
        for key in keys:
            if key in self._doubts:
                self._doubts[key] = replace(self._doubts[key], read=True)

    def settle(self, facts: Facts, now: datetime) -> None:
        """Settle doubts by the objects as they are now; a route that a write did not change may have changed since."""
        for key, doubt in [*self._doubts.items()]:
            route = facts.routes.get(target_of(doubt.effect)) if key.kind == "route" else None
            version = (route.version if route else "") if key.kind == "route" else facts.plan.version
            if version != doubt.version or doubt.read:
                del self._doubts[key]
            if version == doubt.version and doubt.read:
                self.refused(doubt.effect, doubt.failure, now)
        for key, seen in [*self._without_effect.items()]:
            if facts.routes.get(seen.id) != seen:
                del self._without_effect[key]
                if key in self._refused and self._refused[key].reason == NO_EFFECT:
                    del self._refused[key]

    def forget_obsolete(self, snapshot: Snapshot, step: ReconcileResult, *, is_unwritten: bool) -> bool:
        """Forget refusals of what is no longer to be done, before they are reported; return whether there were any.

        While the plan is being deleted they are kept: they say how long that has tried to restore the weights.
        """
        if snapshot.plan.deleting or (step.status is not None and not step.only_reports_refusals):
            return False
        wanted = {key_of(action) for action in step.actions}
        has_task = snapshot.status.task is not None and snapshot.status.phase in RUNNING
        over = [
            key
            for key, refusal in self._refused.items()
            if (key.kind in ("route", "marks", "preflight", "stop") and key not in wanted)
            or (key.kind in ("job", "scale") and not has_task and key not in wanted)
            or (key == STATUS and not is_unwritten and step.status is None)
            or (key == PODS and not lists_pods(snapshot.status))
            or (key.kind not in _REPORTED_KINDS and snapshot.now >= refusal.retry_at + FAULT_OVER_AFTER)
        ]
        for key in over:
            del self._refused[key]
        return bool(over)

    def turn_back(self, now: datetime) -> None:
        """The clock was put back to `now`: nothing waits until a far instant."""
        self._refused = {
            key: replace(each, since=min(each.since, now), retry_at=min(each.retry_at, now + LONGEST_PAUSE))
            for key, each in self._refused.items()
        }


def _longest_pause(effect: Effect, failure: Failure) -> timedelta:
    if isinstance(effect.work, Publish):
        return LONGEST_PAUSE_PUBLISHING
    if failure.reason == NO_EFFECT:
        return LONGEST_PAUSE_WITHOUT_EFFECT
    if effect.urgent:
        return LONGEST_PAUSE_URGENT
    return LONGEST_PAUSE_REFUSED if failure.definite or failure.reason == FAULT else LONGEST_PAUSE
