"""Spread what many plans do at the same instant over time.

Keys come from loop/reconcile.py; the offsets delay its claims of routes and its count queries.
"""

from __future__ import annotations

from zlib import crc32


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

    def offset(self, key: str) -> float:
        """Return the seconds to wait after the common instant."""
        return len(self._keys) / self._a_second * (crc32(key.encode()) / 2**32)
