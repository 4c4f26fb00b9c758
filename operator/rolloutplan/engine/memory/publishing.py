"""What each sink has of a plan's decisions, and the notices: what no status records, and is told to every sink once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import Decision, Kind, Status
from rolloutplan.engine.model.effects import Key, Publish
from rolloutplan.engine.model.sinks import RECORDS, SinkView, cursors
from rolloutplan.engine.model.snapshot import Refusal, Snapshot

RECORDED_WITHIN: Final = timedelta(seconds=10)
"""How long a deletion waits for the record of its run, from the newest decision, or from when this leader took it up:
no deletion hangs because a record cannot be written."""
FAULT_TOLD_EVERY: Final = timedelta(minutes=10)
"""A fault of the operator is published at most so often: the exception may come at every look."""


class Publishing:
    """The cursors of the sinks of one run."""

    def __init__(self) -> None:
        self.through: dict[str, int] = {}
        """By sink the newest decision that it has, or that is not for it."""
        self._unwritten_told = ""
        """The reason of the refused status write that was published as a notice."""
        self._fault_told: datetime | None = None
        """When a fault of the operator was last published as a notice."""

    def follow(self, sinks: Iterable[SinkView], status: Status, now: datetime) -> None:
        """Sinks come and go during a run; one that is gone keeps its cursor in the status."""
        self.through = {
            sink.name: self.through[sink.name] if sink.name in self.through else sink.published_before(status, now)
            for sink in sinks
        }

    def due(self, sinks: Iterable[SinkView], decisions: Sequence[Decision]) -> Iterator[tuple[Key, Publish]]:
        """The next decision for each sink, of those that the API server has. Only followed sinks get any."""
        for sink in sinks:
            through = self.through.get(sink.name)
            decision = next((each for each in decisions if through is not None and each.seq > through), None)
            if decision is not None:
                kind = "notification" if sink.own_status else "publication"
                yield Key(kind, sink.name), Publish(sink.name, decision)

    def cursors(self, status: Status) -> dict[str, int]:
        """What a status is to say of the sinks: those that are gone keep their cursors."""
        return cursors(status.published_through, self.through)

    def only_known_here(self, sinks: Iterable[SinkView], status: Status, now: datetime) -> dict[str, int]:
        """The cursors of the notifiers to which a new leader would send again what they have."""
        present = {sink: self.through.get(sink.name, 0) for sink in sinks if sink.own_status}
        return {sink.name: seq for sink, seq in present.items() if sink.published_before(status, now) < seq}

    def published(self, work: Publish) -> None:
        """A sink has a decision, or refuses it for good: the next one is due."""
        if work.recorded:
            self.through[work.sink] = work.decision.seq

    def record_awaited_until(self, decisions: Iterable[Decision], taken_up_at: datetime) -> datetime | None:
        """Until when a deleted plan waits for the record of its run; None where that has every decision."""
        through, kept = self.through.get(RECORDS), tuple(decisions)
        if through is None or not any(each.seq > through for each in kept):
            return None
        # Not from the deletion: the clock of the API server may be ahead.
        return max(taken_up_at, *(each.at for each in kept)) + RECORDED_WITHIN

    # ---- notices -------------------------------------------------------------------------------------------------

    def clock_notices(self, snapshot: Snapshot, words: str) -> Iterator[tuple[Key, Publish]]:
        """Tell of instants in the future."""
        if words:
            yield from self._notices(_notice(snapshot, Kind.PERSIST, EventReason.CLOCK_BEHIND, words))

    def unwritten_notices(self, snapshot: Snapshot, refusal: Refusal | None) -> Iterator[tuple[Key, Publish]]:
        """Tell once that the status cannot be written: no status can hold it."""
        if refusal is None:
            self._unwritten_told = ""
        elif refusal.is_due(snapshot.now) and self._unwritten_told != refusal.reason:
            self._unwritten_told = refusal.reason
            yield from self._notices(unwritten_notice(snapshot, refusal))

    def fault_notices(self, snapshot: Snapshot, words: str) -> Iterator[tuple[Key, Publish]]:
        """Tell once what failed, and again only after a while: the same exception may come at every look."""
        told = self._fault_told
        if told is None or snapshot.now >= told + FAULT_TOLD_EVERY:
            self._fault_told = snapshot.now
            yield from self._notices(_notice(snapshot, Kind.HOLD, EventReason.OPERATOR_FAULT, words))

    def _notices(self, notice: Decision) -> Iterator[tuple[Key, Publish]]:
        for sink in self.through:
            yield Key("notice", sink), Publish(sink, notice, recorded=False)


def unwritten_notice(snapshot: Snapshot, refusal: Refusal) -> Decision:
    """The notice that the status cannot be written."""
    note = f"{refusal.what} cannot be written: {refusal.words}; rollbacks still work, but the run does not go forward"
    return _notice(snapshot, Kind.HOLD, EventReason.STATUS_NOT_WRITTEN, note)


def _notice(snapshot: Snapshot, kind: Kind, reason: EventReason, note: str) -> Decision:
    status = snapshot.status
    return Decision(seq=status.seq, at=snapshot.now, kind=kind, reason=reason, note=note[:1024], run=status.run)
