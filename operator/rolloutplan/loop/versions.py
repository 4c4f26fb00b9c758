"""Which of two states of an object is the newer one, also where one of them is that it is gone.

Watch events, lists and the answers to our own requests reach the store by ways of their own, so that an older state may
come after a newer one. Within one history of the cluster its resourceVersion tells. A history may begin anew: a
cluster that is restored from a backup counts from there again, and then a complete list is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TOMBSTONES: Final = 10_000
"""Objects that are gone whose last version is kept, the newest. What may bring one back is the answer to a request that
was sent before it went, and a request takes 10 s at most: no API server deletes a thousand objects a second."""

Id = tuple[str, str, str]
"""Kind (its plural), namespace (empty for cluster kinds) and name."""
Names = frozenset[tuple[str, str]]
"""Namespace ("" where there is none) and name of each object."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list of a kind: what is not in it is gone."""

    kind: str
    """Its plural."""
    namespace: str | None
    """The namespace that was listed; None: everywhere."""
    names: Names
    version: str = ""
    """The resourceVersion of the list; empty where the kind is not served, or not ours to list."""
    anew: bool = False
    """Whether it is older than what was told before of this kind: the cluster's history has begun anew."""

    def covers(self, ident: Id) -> bool:
        """Whether this object would be in the list if it were there."""
        return ident[0] == self.kind and self.namespace in (None, ident[1])


def name_of(raw: Mapping[str, Any]) -> tuple[str, str]:
    """The namespace ("" where there is none) and the name of an object."""
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def version_of(raw: Mapping[str, Any]) -> str:
    """The resourceVersion of an object or of a list; empty where there is none."""
    return str((raw.get("metadata") or {}).get("resourceVersion") or "")


def is_older(version: str, than: str) -> bool:
    """Whether one resourceVersion is older than another: by the API's contract they are numbers.

    Of a server that does not keep to it nobody knows, and then nothing is older than anything.
    """
    return _is_number(version) and _is_number(than) and int(version) < int(than)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdigit()


@dataclass(slots=True)
class Versions:
    """The version of every object that is held, and of the newest of those that are gone."""

    _held: dict[Id, str] = field(default_factory=dict)
    # Oldest first: who is buried again is taken out before.
    _gone: dict[Id, str] = field(default_factory=dict)

    def held(self, ident: Id) -> str:
        """The version of an object as it is held; empty where none is."""
        return self._held.get(ident, "")

    def covered(self, listing: Listing) -> list[Id]:
        """The objects that are held of those that a list would name."""
        return [ident for ident in self._held if listing.covers(ident)]

    def is_news(self, ident: Id, version: str) -> bool:
        """Whether an object of this version is not older than what is known of it."""
        gone = self._gone.get(ident)
        if gone is not None:
            return version != gone and not is_older(version, gone)
        return not is_older(version, self.held(ident))

    def is_overruled(self, ident: Id, listing: Listing) -> bool:
        """Whether a list that has an older version of an object than is known is right all the same.

        It is where history has begun anew, and where what is known would have been in the list: that was undone.
        """
        return listing.anew or not is_older(listing.version, self._gone.get(ident, self.held(ident)))

    def hold(self, ident: Id, version: str) -> None:
        self._gone.pop(ident, None)
        self._held[ident] = version

    def bury(self, ident: Id, version: str) -> None:
        """Note that an object is gone, as of this version, or of the last that is known."""
        known = self._gone.pop(ident, "") or self.held(ident)
        self._held.pop(ident, None)
        last = known if not version or is_older(version, known) else version
        if last:
            self._gone[ident] = last
        if len(self._gone) > TOMBSTONES:
            del self._gone[next(iter(self._gone))]

    def restart(self, listing: Listing) -> None:
        """History has begun anew: what was gone may be made again with a lower version."""
        self._gone = {ident: version for ident, version in self._gone.items() if not listing.covers(ident)}
