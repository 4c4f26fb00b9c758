"""What many plans do at the same instants is spread over the time that so many of it may take."""

from __future__ import annotations

from zlib import crc32


class Stagger:
    """Gives each of those who take part a place of its own, by a hash of its key: it stays while as many take part.

    Only those count who take part now. A plan that has ended must not make others wait.
    """

    def __init__(self, a_second: float) -> None:
        """`a_second` is how many may do it in a second."""
        self._a_second = a_second
        self._keys: set[str] = set()

    def join(self, key: str) -> None:
        self._keys.add(key)

    def leave(self, key: str) -> None:
        self._keys.discard(key)

    def clear(self) -> None:
        self._keys.clear()

    def offset(self, key: str) -> float:
        """Seconds after the instant that is common to all."""
        return len(self._keys) / self._a_second * (crc32(key.encode()) / 2**32)
