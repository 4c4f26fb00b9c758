"""How much of the memory the objects of a namespace, and all of them together, may take.

A plan over the budget is `Invalid: TooLarge`, and nothing but its metadata and its status is kept. Plans in a run, and
those that can be reverted, keep what they hold, and then the oldest have a place. Namespaces share what all may take
(metrics/fair_share.py has the same pattern): each may hold as much as it leaves free, and none loses what it holds to
another. So nobody takes a place from a run, nor from who was there before, nor from another namespace.

The chart's memory limit follows from these figures (tests/unit/test_memory_limit.py).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from rolloutplan.api.limits import KIB, kib

MAX_PLANS: Final = 1000
"""Plans of a namespace. The largest clusters that we know of have as many in all."""
MAX_BYTES: Final = 2048 * KIB
"""Of a namespace's plans: five hundred plans of 4 KiB, or five of the largest."""
MAX_TOTAL: Final = 8192 * KIB
"""Of all plans: two thousand plans of 4 KiB."""
OVER: Final = (
    f"spec: {{}} more do not fit beside the plans of this namespace: at most {MAX_PLANS} plans with {kib(MAX_BYTES)}"
    f" together, and no more than is left free of {kib(MAX_TOTAL)} for all namespaces, are read; delete plans that"
    " have ended, or write smaller ones"
)
MAX_SHARED: Final = 256
"""PredicateTemplates, MetricSources and Notifiers of a namespace together: more than one for each plan that runs."""
MAX_SHARED_BYTES: Final = 512 * KIB
"""Of their specs: as many of 2 KiB, or eight of the largest sources."""
MAX_SHARED_TOTAL: Final = 2048 * KIB
"""Of the specs of those of all namespaces: a thousand of 2 KiB."""
SHARED_OVER: Final = (
    f"spec: it does not fit beside the other PredicateTemplates, MetricSources and Notifiers of this namespace: at most"
    f" {MAX_SHARED} with {kib(MAX_SHARED_BYTES)} together, and no more than is left free of {kib(MAX_SHARED_TOTAL)} for"
    " all namespaces, are read; delete those that nobody needs"
)


class Limits(NamedTuple):
    """How many objects a namespace may have read, and the most bytes of these, and of those of all namespaces."""

    most: int
    size: int
    total: int

    @property
    def ceiling(self) -> int:
        """So many objects of a namespace are known; of more, only the keys: each costs kilobytes without a place."""
        return 2 * self.most


class Entry(NamedTuple):
    """What a plan takes of the budget."""

    namespace: str
    running: bool
    """Whether its run goes on, or can be reverted: it keeps what it holds."""
    created: datetime
    uid: str
    size: int
    """Bytes of its spec, and of what is kept of its metadata."""
    edited: bool = False
    """Whether this is not the spec with which its run began. Where nothing is known from before, it holds nothing."""

    @property
    def rank(self) -> tuple[bool, datetime, str]:
        """By this order the plans of a namespace have a place."""
        return not self.running, self.created, self.uid


class _Room(NamedTuple):
    """The most bytes of a namespace: with its first object, and with others."""

    first: int
    others: int


_Place = tuple[bool, datetime, str, str]
"""The rank of an entry, and its key."""


@dataclass(slots=True)
class _Namespace:
    """The entries of a namespace. One with a place is not in `over`; a run without one still holds what it had."""

    entries: dict[str, Entry] = field(default_factory=dict)
    order: list[_Place] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    """The bytes that each holds."""
    over: dict[str, int] = field(default_factory=dict)
    """The bytes for which there is no place."""
    beyond: set[str] = field(default_factory=set)
    """Those of which only the key is known."""
    taken: int = 0
    loose: int = 0
    """Of `taken`, what no run holds."""
    youngest: _Place | None = None
    """No entry with a place comes after this one."""

    @property
    def count(self) -> int:
        """How many have a place."""
        return len(self.entries) - len(self.over)

    def drop(self, key: str) -> Entry | None:
        """Remove an entry, and what it holds; return it."""
        entry = self.entries.pop(key, None)
        if entry is not None:
            del self.order[bisect_left(self.order, (*entry.rank, key))]
            self.hold(entry, key, 0)
            del self.held[key]
            self.over.pop(key, None)
        return entry

    def add(self, key: str, entry: Entry, held: int) -> None:
        """Add an entry that has no place yet, but holds so much."""
        self.entries[key] = entry
        insort(self.order, (*entry.rank, key))
        self.held[key] = 0
        self.hold(entry, key, held)
        self.over[key] = entry.size - held

    def hold(self, entry: Entry, key: str, size: int) -> None:
        more = size - self.held[key]
        self.held[key], self.taken = size, self.taken + more
        self.loose += 0 if entry.running else more

    def place(self, key: str, room: _Room, most: int) -> bool:
        """Give an entry its place, if it fits into the room and is not one too many; return whether it does."""
        entry, more = self.entries[key], self.over[key]
        if more > 0 and self.taken + more > (room.others if self.taken else room.first):
            return False
        if not entry.running and self.count >= most:
            return False
        self.hold(entry, key, max(entry.size, self.held[key]))
        del self.over[key]
        found = (*entry.rank, key)
        self.youngest = max(self.youngest or found, found)
        return True

    def fill(self, room: _Room, most: int) -> set[str]:
        """Give places to those without, in the order of the ranks, and take none; return the keys that won one."""
        return {key for *_, key in self.order if key in self.over and self.place(key, room, most)}

    def place_all(self, room: _Room, most: int) -> set[str]:
        """Give places in the order of the ranks; return the keys that won or lost one."""
        before, self.youngest = frozenset(self.over), None
        for *_, key in self.order:
            entry = self.entries[key]
            if not entry.running:
                self.hold(entry, key, 0)
            self.over[key] = entry.size - self.held[key]
        for *_, key in self.order:
            self.place(key, room, most)
        return {*(before ^ self.over.keys())}

    def bound(self, limits: Limits) -> set[str]:
        """Keep no more entries than the ceiling, and name one of the others when there are few; return these keys."""
        if len(self.order) > limits.ceiling:
            newest = next((key for *_, key in reversed(self.order) if key in self.over), None)
            if newest is not None and not self.entries[newest].running:
                self.drop(newest)
                self.beyond.add(newest)
                return {newest}
        elif self.beyond and len(self.order) < limits.most:
            return {self.beyond.pop()}
        return set()


@dataclass(slots=True)
class Budget:
    """The plans (or other objects), and which of them have a place."""

    limits: Limits | None = None
    """None: those of plans."""
    _namespaces: dict[str, _Namespace] = field(default_factory=dict)
    _taken: int = 0
    """Bytes that all hold."""

    def put(self, key: str, namespace: str, entry: Entry | None) -> frozenset[str]:
        """Replace a plan's entry; None: it is gone. Returns the other plans that now have a place, or none any more.

        Among them are plans of which only the key was known, once there may be a place for them.
        """
        found = self._namespaces.get(namespace) or _Namespace()
        if entry is not None and found.entries.get(key) == entry:
            return frozenset()
        before, limits = self._taken, self._limits()
        self._taken -= found.taken
        changed = self._remove(found, key) if entry is None else self._add(found, key, entry)
        changed |= found.bound(limits)
        self._taken += found.taken
        if found.entries or found.beyond:
            self._namespaces[namespace] = found
        else:
            self._namespaces.pop(namespace, None)
        changed |= self._shrink() if self._taken > limits.total else set()
        changed |= self._refill() if self._taken < before else set()
        return frozenset(changed - {key})

    def size(self, key: str, namespace: str) -> int:
        """Return the bytes of a known plan; 0 for another."""
        found = self._namespaces.get(namespace)
        return found.entries[key].size if found and key in found.entries else 0

    def is_over(self, key: str, namespace: str) -> bool:
        """Whether a plan has no place."""
        found = self._namespaces.get(namespace)
        return found is not None and key in found.over

    def is_beyond(self, key: str, namespace: str) -> bool:
        """Whether there are so many plans that no more than the key of this one may be kept."""
        found = self._namespaces.get(namespace)
        return found is not None and key in found.beyond

    def totals(self) -> tuple[int, int]:
        """Return the bytes of all plans with a place, and the number of plans without one."""
        return self._taken, sum(len(each.over) + len(each.beyond) for each in self._namespaces.values())

    def _limits(self) -> Limits:
        return self.limits or Limits(MAX_PLANS, MAX_BYTES, MAX_TOTAL)

    def _room(self, least: int) -> _Room:
        """Return the room of a namespace that does not count in `_taken`: it may hold `least` at least."""
        limits = self._limits()
        left = limits.total - self._taken
        return _Room(max(least, min(limits.size, left)), max(least, min(limits.size, left // 2)))

    def _remove(self, found: _Namespace, key: str) -> set[str]:
        found.beyond.discard(key)
        if found.drop(key) is None or not found.over:
            return set()
        return found.fill(self._room(found.taken), self._limits().most)

    def _add(self, found: _Namespace, key: str, entry: Entry) -> set[str]:
        """Replace an entry. Only where that may change the place of another one, all places are given again."""
        least, most = found.taken, self._limits().most
        held, placed = found.held.get(key, 0), key not in found.over
        found.beyond.discard(key)
        before = found.drop(key)
        holds = before is not None and before.uid == entry.uid and (before.running or placed)
        began = held if holds else 0 if entry.edited else entry.size
        room = self._room(least)
        last = before is None and (found.youngest is None or (*entry.rank, key) > found.youngest)
        alone = not found.over
        found.add(key, entry, began if entry.running else 0)
        fits = found.taken <= room.first and (not entry.running or found.count < most)
        if (last or alone) and fits:
            placed = found.place(key, room, most)
            if placed or last:
                return set()
        return found.place_all(room, most)

    def _shrink(self) -> set[str]:
        """Take places back where runs hold more than was free: from the namespace with the most, the newest first.

        That can be at a start, when plans are seen before the runs of other namespaces.
        """
        limits, changed = self._limits(), set[str]()
        while (excess := self._taken - limits.total) > 0:
            loose = [each for each in self._namespaces.values() if each.loose]
            if not loose:
                break
            largest = max(loose, key=lambda each: each.taken)
            self._taken -= largest.taken
            most = max(largest.taken - excess, 0)
            changed |= largest.place_all(_Room(most, most), limits.most)
            self._taken += largest.taken
        return changed

    def _refill(self) -> set[str]:
        """Give places that have become free, first to the namespaces that hold least."""
        most, changed = self._limits().most, set[str]()
        waiting = [each for each in self._namespaces.values() if each.over and each.count < most]
        for each in sorted(waiting, key=lambda each: each.taken):
            self._taken -= each.taken
            room = self._room(each.taken)
            if each.taken + min(each.over.values()) <= (room.others if each.taken else room.first):
                changed |= each.fill(room, most)
            self._taken += each.taken
        return changed


def shared_budget() -> Budget:
    """Make the budget of PredicateTemplates, MetricSources and Notifiers."""
    return Budget(Limits(MAX_SHARED, MAX_SHARED_BYTES, MAX_SHARED_TOTAL))
