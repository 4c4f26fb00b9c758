"""How much of the memory the plans of a namespace, and all plans together, may take.

A plan over the budget is `Invalid: TooLarge`, and nothing but its metadata and its status is kept. Running plans always
have a place, and then the oldest have: so nobody takes a place from a run, nor from who was there before.

The chart's memory limit follows from these figures (tests/unit/test_memory_limit.py).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from rolloutplan.api.limits import KIB, kib

MAX_PLANS: Final = 1000
"""Plans of a namespace. The largest clusters that we know of have as many in all."""
MAX_BYTES: Final = 2048 * KIB
"""Of the specs of a namespace's plans: five hundred plans of 4 KiB, or five of the largest."""
MAX_TOTAL: Final = 8192 * KIB
"""Of the specs of all plans: four namespaces at their limit, or two thousand plans of 4 KiB."""
OVER: Final = (
    f"spec: {{}} more do not fit beside the plans of this namespace: at most {MAX_PLANS} plans with {kib(MAX_BYTES)}"
    f" together, and {kib(MAX_TOTAL)} in all namespaces, are read; delete plans that have ended, or write smaller ones"
)


class Entry(NamedTuple):
    """What a plan takes of the budget."""

    namespace: str
    running: bool
    created: datetime
    uid: str
    size: int
    """Bytes of its spec."""

    @property
    def rank(self) -> tuple[bool, datetime, str]:
        """By this order the plans of a namespace have a place."""
        return not self.running, self.created, self.uid


@dataclass(slots=True)
class Budget:
    """The plans, and which of them have a place."""

    _entries: defaultdict[str, dict[str, Entry]] = field(default_factory=lambda: defaultdict(dict))
    _over: dict[str, frozenset[str]] = field(default_factory=dict)
    """The plans without a place, by namespace; only those that have some."""
    _taken: dict[str, int] = field(default_factory=dict)
    """Bytes of the plans with a place, by namespace."""

    def put(self, key: str, namespace: str, entry: Entry | None) -> frozenset[str]:
        """Replace a plan's entry; None: it is gone. Returns the other plans that now have a place, or none any more."""
        entries = self._entries[namespace]
        if entries.get(key) == entry:
            return frozenset()
        entries.pop(key, None)
        if entry is not None:
            entries[key] = entry
        before = self._over.pop(namespace, frozenset())
        left = min(MAX_BYTES, MAX_TOTAL - sum(self._taken.values()) + self._taken.pop(namespace, 0))
        over, taken, places = set[str](), 0, MAX_PLANS
        for each in sorted(entries, key=lambda each: entries[each].rank):
            size, running = entries[each].size, entries[each].running
            if running or (places > 0 and taken + size <= left):
                taken, places = taken + size, places - 1
            else:
                over.add(each)
        if over:
            self._over[namespace] = frozenset(over)
        if entries:
            self._taken[namespace] = taken
        else:
            del self._entries[namespace]
        return (before ^ over) - {key}

    def size(self, key: str, namespace: str) -> int:
        """Return the bytes of a known plan; 0 for another."""
        entry = self._entries.get(namespace, {}).get(key)
        return entry.size if entry else 0

    def is_over(self, key: str, namespace: str) -> bool:
        """Whether a plan has no place."""
        return key in self._over.get(namespace, ())

    def totals(self) -> tuple[int, int]:
        """Return the bytes of all plans with a place, and the number of plans without one."""
        return sum(self._taken.values()), sum(map(len, self._over.values()))
