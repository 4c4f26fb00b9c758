"""Indexes over all plans: which of them use an object, and where each stands in the queues for a place.

They answer what a scan over all plans would answer, and one of a thousand plans that wait and look again every few
seconds costs no more than one of ten.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from rolloutplan.engine.model.policy_view import Queue, QueueEntry
from rolloutplan.engine.policy.policies import NAMED
from rolloutplan.loop.versions import Id


@dataclass(slots=True)
class Uses:
    """Which objects each plan has to do with, and which plans each object."""

    _of: dict[str, frozenset[Id]] = field(default_factory=dict)
    _users: defaultdict[Id, set[str]] = field(default_factory=lambda: defaultdict(set))

    def put(self, key: str, idents: frozenset[Id]) -> None:
        """Say anew with which objects a plan has to do."""
        before = self._of.pop(key, frozenset())
        for ident in before - idents:
            self._users[ident].discard(key)
            if not self._users[ident]:
                del self._users[ident]
        for ident in idents - before:
            self._users[ident].add(key)
        if idents:
            self._of[key] = idents

    def of(self, key: str) -> frozenset[Id]:
        """The objects with which a plan has to do."""
        return self._of.get(key, frozenset())

    def users(self, *idents: Id) -> frozenset[str]:
        """The plans that have to do with any of these objects."""
        return frozenset(key for ident in idents for key in self._users.get(ident, ()))


@dataclass(slots=True)
class _Group:
    """A concurrency group. `waiting` and `starting` are sorted by age, `holders` by key; inserting moves a few KB."""

    waiting: list[tuple[datetime, str, str]] = field(default_factory=list)
    starting: list[tuple[datetime, str, str]] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)

    def add(self, entry: QueueEntry) -> None:
        if entry.at == "waiting":
            insort(self.waiting, (*entry.age, entry.key))
            return
        insort(self.holders, entry.key)
        if entry.at == "starting":
            insort(self.starting, (*entry.age, entry.key))

    def remove(self, entry: QueueEntry) -> None:
        if entry.at == "waiting":
            del self.waiting[bisect_left(self.waiting, (*entry.age, entry.key))]
            return
        del self.holders[bisect_left(self.holders, entry.key)]
        if entry.at == "starting":
            del self.starting[bisect_left(self.starting, (*entry.age, entry.key))]

    def view(self, me: QueueEntry, known: QueueEntry | None) -> Queue:
        """What a plan must know of the others; `known` is what stands here of itself."""
        starting = len(self.starting) - (known is not None and known.at == "starting")
        holders = len(self.holders) - (known is not None and known.at != "waiting")
        named = islice((key for key in self.holders if key != me.key), NAMED)
        older = [bisect_left(line, (*me.age, "")) for line in (self.waiting, self.starting)]
        return Queue(holders - starting, starting, tuple(named), *older)


@dataclass(slots=True)
class Queues:
    """The concurrency groups, and where each plan is in them."""

    places: Mapping[str, int] = field(default_factory=dict)
    """How many each group has."""
    _entries: dict[str, QueueEntry] = field(default_factory=dict)
    # An empty one may stay: there are as many as policies ever had names.
    _groups: defaultdict[str, _Group] = field(default_factory=lambda: defaultdict(_Group))

    def put(self, key: str, entry: QueueEntry | None) -> frozenset[str]:
        """Say anew where a plan is; None: it neither holds a place nor wants one.

        Returns the keys of the plans that may have a place now, where that changes anything.
        """
        before = self._entries.pop(key, None)
        if entry is not None:
            self._entries[key] = entry
        if entry == before:
            return frozenset()
        if before is not None:
            for group in before.groups:
                self._groups[group].remove(before)
        if entry is not None:
            for group in entry.groups:
                self._groups[group].add(entry)
        changed = {*(before.groups if before else ()), *(entry.groups if entry else ())}
        return frozenset(key for group in changed for key in self._next(group))

    def of(self, me: QueueEntry) -> dict[str, Queue]:
        """What a plan must know of the others in each of its groups."""
        known = self._entries.get(me.key)
        return {
            group: self._groups[group].view(me, known if known and group in known.groups else None)
            for group in me.groups
        }

    def _next(self, group: str) -> list[str]:
        """Those that wait and for which there is a place, the oldest first."""
        found = self._groups[group]
        free = max(0, self.places.get(group, 0) - len(found.holders))
        return [key for *_, key in found.waiting[:free]]
