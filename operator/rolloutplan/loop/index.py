"""Indexes: which plans use an object, which routes a Service gets traffic from, the queues of concurrency groups.

loop/store.py has them filled on each change of a plan, and loop/facts.py reads them. They return what a scan over all
plans would return. A waiting plan reconciles every few seconds, and with a thousand plans that costs no more than with
ten.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import islice

from rolloutplan.api.policy_status import NAMED, Places
from rolloutplan.api.route import RouteId
from rolloutplan.engine.model.policy_view import Queue, QueueEntry
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import receiving
from rolloutplan.engine.policy.policies import MAX_NAMED
from rolloutplan.loop.versions import Id
from rolloutplan.traffic.mentions import words_of


@dataclass(slots=True)
class Uses:
    """Which objects each plan uses, and which plans use each object."""

    _of: dict[str, frozenset[Id]] = field(default_factory=dict)
    _users: defaultdict[Id, set[str]] = field(default_factory=lambda: defaultdict(set))
    _by_kind: defaultdict[str, set[Id]] = field(default_factory=lambda: defaultdict(set))
    """The objects of each kind that are used."""

    def put(self, key: str, idents: frozenset[Id]) -> None:
        """Replace the set of objects that a plan uses."""
        before = self._of.pop(key, frozenset())
        for ident in before - idents:
            self._users[ident].discard(key)
            if not self._users[ident]:
                del self._users[ident]
                self._by_kind[ident[0]].discard(ident)
        for ident in idents - before:
            self._by_kind[ident[0]].add(ident)
            self._users[ident].add(key)
        if idents:
            self._of[key] = idents

    def of(self, key: str) -> frozenset[Id]:
        """Return the objects that a plan uses."""
        return self._of.get(key, frozenset())

    def kinds(self) -> frozenset[str]:
        """Return the kinds of the objects that any plan uses."""
        return frozenset(kind for kind, idents in self._by_kind.items() if idents)

    def named(self, kind: str) -> Iterator[Id]:
        """Yield every object of a kind that any plan uses."""
        return iter(self._by_kind.get(kind, ()))

    def users(self, *idents: Id) -> frozenset[str]:
        """Return the plans that use any of these objects."""
        return frozenset(key for ident in idents for key in self._users.get(ident, ()))


@dataclass(slots=True)
class RoutesByService:
    """Which routes give a Service traffic, in its namespace and in others. A Service is namespace and name."""

    _routes: defaultdict[tuple[str, str], set[tuple[str, RouteId]]] = field(default_factory=lambda: defaultdict(set))

    def put(
        self, namespace: str, route: RouteId, before: RouteView | None, after: RouteView | None
    ) -> set[tuple[str, str]]:
        """Replace a route. Returns the Services that it gives traffic, or gave it before."""
        gone, now = receivers(namespace, before), receivers(namespace, after)
        for service in gone - now:
            self._routes[service].discard((namespace, route))
            if not self._routes[service]:
                del self._routes[service]
        for service in now - gone:
            self._routes[service].add((namespace, route))
        return gone | now

    def of(self, service: tuple[str, str]) -> list[tuple[str, RouteId]]:
        """Return the routes that give a Service traffic, each with its namespace, in a fixed order."""
        return sorted(self._routes.get(service, ()))


def receivers(namespace: str, route: RouteView | None) -> set[tuple[str, str]]:
    """Return the Services that a route of this namespace gives traffic, each as namespace and name."""
    rules = [(rule, route.weights) for rule in route.rules] if route else []
    named = {backend.service for rule, weights in rules for backend in receiving(rule, weights)}
    return {service for name in named if (service := _service(namespace, name)) is not None}


def _service(namespace: str, backend: str) -> tuple[str, str] | None:
    """The Service of a backend of a route in this namespace; None for another kind (see traffic/httproute.py)."""
    match backend.split("/"):
        case [name]:
            return namespace, name
        case ["Service", home, name]:
            return home, name
        case _:
            return None


_Age = tuple[datetime, str, str]
"""When a plan was created, its uid and its key."""


@dataclass(slots=True)
class Unheld:
    """Routes of which no plan needs anything: a key, and a hash of 4 bytes for each word (traffic/mentions.py)."""

    _words: dict[Id, array[int]] = field(default_factory=dict)

    def put(self, ident: Id, words: Iterable[str]) -> None:
        """Keep a route by its words."""
        self._words[ident] = array("i", map(_short_hash, words))

    def forget(self, ident: Id) -> None:
        self._words.pop(ident, None)

    def givers(self, services: Iterable[tuple[str, str]]) -> frozenset[Id]:
        """Return the routes that have all words of one of these Services, and so may give it traffic."""
        wanted = [[*map(_short_hash, words_of(*service))] for service in services]
        found = self._words.items() if wanted else ()
        return frozenset(ident for ident, words in found if any(all(w in words for w in each) for each in wanted))


def _short_hash(word: str) -> int:
    return hash(word) & 0x7FFFFFFF


@dataclass(slots=True)
class _Group:
    """A concurrency group. `starting` is sorted by age, `holders` by key; inserting moves a few KB.

    `waiting` is sorted by age within each namespace; a namespace without waiting plans is not in it.
    """

    waiting: dict[str, list[_Age]] = field(default_factory=dict)
    starting: list[_Age] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    """The number of holders of each namespace."""
    _positions: dict[str, int] | None = None
    """The position of each waiting plan; None after a change, until a plan asks for it."""

    def add(self, entry: QueueEntry) -> None:
        self._positions = None
        if entry.at == "waiting":
            insort(self.waiting.setdefault(entry.namespace, []), (*entry.age, entry.key))
            return
        insort(self.holders, entry.key)
        self.held[entry.namespace] += 1
        if entry.at == "starting":
            insort(self.starting, (*entry.age, entry.key))

    def remove(self, entry: QueueEntry) -> None:
        self._positions = None
        if entry.at == "waiting":
            line = self.waiting[entry.namespace]
            del line[bisect_left(line, (*entry.age, entry.key))]
            if not line:
                del self.waiting[entry.namespace]
            return
        del self.holders[bisect_left(self.holders, entry.key)]
        self.held[entry.namespace] -= 1
        if not self.held[entry.namespace]:
            del self.held[entry.namespace]
        if entry.at == "starting":
            del self.starting[bisect_left(self.starting, (*entry.age, entry.key))]

    def view(self, entry: QueueEntry, own_entry: QueueEntry | None) -> Queue:
        """Return what a plan needs of the others in this group; `own_entry` is its entry here, if any."""
        own = own_entry is not None and own_entry.at != "waiting"
        starting = len(self.starting) - (own_entry is not None and own_entry.at == "starting")
        named = islice((key for key in self.holders if key != entry.key), MAX_NAMED)
        older_starting = bisect_left(self.starting, (*entry.age, ""))
        running = len(self.holders) - own - starting
        waits = own_entry is not None and own_entry.at == "waiting"
        ahead = self._position(entry.key) if waits else self._ahead(entry, own=own)
        return Queue(running, starting, tuple(named), ahead, older_starting)

    def _position(self, key: str) -> int:
        """The position of a plan that waits here: sorted once after each change, however many plans ask."""
        if self._positions is None:
            order = self.next(sum(map(len, self.waiting.values())))
            self._positions = {each: position for position, each in enumerate(order)}
        return self._positions[key]

    def _ahead(self, entry: QueueEntry, *, own: bool) -> int:
        """The waiting plans whose turn comes before that of a plan which does not wait here."""
        age = (*entry.age, "")
        ahead = bisect_left(self.waiting.get(entry.namespace, ()), age)
        turn = ahead + self.held[entry.namespace] - own
        for namespace, line in self.waiting.items():
            if namespace == entry.namespace:
                continue
            before = turn - self.held[namespace]  # so many of its line have an earlier turn
            ahead += max(0, min(before, len(line)))
            ahead += 0 <= before < len(line) and line[before] < age
        return ahead

    def next(self, count: int) -> list[str]:
        """Return the waiting plans whose turn comes first."""
        turns = [(self.held[namespace], line[0], namespace, 0) for namespace, line in self.waiting.items()]
        heapify(turns)
        found: list[str] = []
        while turns and len(found) < count:
            turn, age, namespace, at = heappop(turns)
            found.append(age[-1])
            if at + 1 < len(self.waiting[namespace]):
                heappush(turns, (turn + 1, self.waiting[namespace][at + 1], namespace, at + 1))
        return found


@dataclass(slots=True)
class Queues:
    """The concurrency groups, and the position of each plan in them."""

    slots: dict[str, int] = field(default_factory=dict)
    """The number of places in each group."""
    _entries: dict[str, QueueEntry] = field(default_factory=dict)
    # An empty group may stay: there are only as many as names that policies ever had.
    _groups: defaultdict[str, _Group] = field(default_factory=lambda: defaultdict(_Group))

    def put(self, key: str, entry: QueueEntry | None) -> frozenset[str]:
        """Replace a plan's entry; None: the plan neither holds a place nor wants one.

        Returns the keys of the plans that may take a place now; none where the entry did not change.
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
        """Return what a plan needs of the others in each of its groups."""
        known = self._entries.get(me.key)
        return {
            group: self._groups[group].view(me, known if known and group in known.groups else None)
            for group in me.groups
        }

    def places(self, group: str, of: int) -> Places:
        """Return who has the places of a group, and who waits for one."""
        known = self._groups.get(group, _Group())
        return Places(
            group=group,
            taken=len(known.holders),
            of=of,
            holders=tuple(known.holders[:NAMED]),
            waiting=sum(map(len, known.waiting.values())),
            next=tuple(known.next(NAMED)),
        )

    def _next(self, group: str) -> list[str]:
        """Return the waiting plans for which there is a free place, in their order."""
        found = self._groups[group]
        return found.next(max(0, self.slots.get(group, 0) - len(found.holders)))
