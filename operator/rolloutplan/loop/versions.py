"""Which of two states of an object is newer, including the state "deleted".

loop/store.py asks this for watch events, lists and the answers to the operator's own requests. These arrive separately,
so an older state may arrive after a newer one. Within one history of the cluster, the resourceVersion decides. A
cluster restored from a backup starts a new history with lower versions, and then a complete list is the truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_NUMBER: Final = re.compile("[0-9]{1,40}")

MAX_DELETED: Final = 10_000
"""The number of deleted objects whose last version is kept, the newest. Only the answer to a request sent before the
deletion could bring one back. A request takes 10 s at most; no API server deletes a thousand objects a second."""

Id = tuple[str, str, str]
"""Resource with its group (`deployments.apps`), namespace (empty for cluster kinds) and name."""
Names = frozenset[tuple[str, str]]
"""Namespace ("" where there is none) and name of each object."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list of a kind: an object that is not in it is gone."""

    kind: str
    """The resource, with its group."""
    namespace: str | None
    """The namespace that was listed; None: everywhere."""
    names: Names
    version: str = ""
    """The resourceVersion of the list; empty where the kind is not served, or the operator may not list it."""
    is_new_history: bool = False
    """Whether it is older than what was received before of this kind: the cluster has a new history."""

    def covers(self, ident: Id) -> bool:
        """Whether the list would contain this object if the object existed."""
        return ident[0] == self.kind and self.namespace in (None, ident[1])


def name_of(raw: Mapping[str, Any]) -> tuple[str, str]:
    """Return the namespace ("" where there is none) and the name of an object."""
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def version_of(raw: Mapping[str, Any]) -> str:
    """Return the resourceVersion of an object or of a list; empty where there is none."""
    return str((raw.get("metadata") or {}).get("resourceVersion") or "")


def is_older(version: str, than: str) -> bool:
    """Whether one resourceVersion is older than another: by the API's contract they are numbers.

    Versions that are not numbers cannot be compared, and then neither counts as older.
    """
    return _is_number(version) and _is_number(than) and int(version) < int(than)


def _is_number(version: str) -> bool:
    return _NUMBER.fullmatch(version) is not None


class History:
    """Notices that the cluster has a new history, by an object that is read again and again: its versions fall.

    A stream does not tell: asked to go on from a version that the new history has not reached yet, it stays silent.
    """

    def __init__(self, restored: Callable[[], None]) -> None:
        """`restored` is called each time that this is noticed."""
        self._restored, self._newest = restored, ""

    def saw(self, version: str) -> None:
        """Take the next version of that object."""
        before, self._newest = self._newest, version
        if is_older(version, before):
            self._restored()


@dataclass(slots=True)
class Versions:
    """The version of every stored object, and the last version of the objects deleted most recently."""

    _versions: dict[Id, str] = field(default_factory=dict)
    # Oldest first: an object that is deleted again is removed first and appended.
    _deleted: dict[Id, str] = field(default_factory=dict)

    def version(self, ident: Id) -> str:
        """Return the version of a stored object; empty where it is not stored."""
        return self._versions.get(ident, "")

    def is_deleted(self, ident: Id) -> bool:
        """Whether an object was deleted, of the most recent ones."""
        return ident in self._deleted

    def covered(self, listing: Listing) -> list[Id]:
        """Return the stored objects that the list covers."""
        return [ident for ident in self._versions if listing.covers(ident)]

    def is_current(self, ident: Id, version: str) -> bool:
        """Whether this version of an object is not older than the known one, and is not its deleted version."""
        gone = self._deleted.get(ident)
        if gone is not None:
            return version != gone and not is_older(version, gone)
        return not is_older(version, self.version(ident))

    def forget(self, listing: Listing) -> list[Id]:
        """Forget the objects that a list would cover, as if none of them had ever been seen; return them."""
        gone = self.covered(listing)
        for ident in gone:
            del self._versions[ident]
        self.restart(listing)
        return gone

    def list_wins(self, ident: Id, listing: Listing) -> bool:
        """Whether a list is right although its version of an object is older than the known one.

        It is right where the cluster has a new history. It is also right where the list is not older than the known
        version: the list would contain that version if it had not been undone.
        """
        return listing.is_new_history or not is_older(listing.version, self._deleted.get(ident, self.version(ident)))

    def record_version(self, ident: Id, version: str) -> None:
        self._deleted.pop(ident, None)
        self._versions[ident] = version

    def record_deletion(self, ident: Id, version: str) -> None:
        """Record that an object is gone, at this version or at the last known one."""
        known = self._deleted.pop(ident, "") or self.version(ident)
        self._versions.pop(ident, None)
        last = known if not version or is_older(version, known) else version
        if last:
            self._deleted[ident] = last
        if len(self._deleted) > MAX_DELETED:
            del self._deleted[next(iter(self._deleted))]

    def restart(self, listing: Listing) -> None:
        """Start a new history: a deleted object may be created again with a lower version."""
        self._deleted = {ident: version for ident, version in self._deleted.items() if not listing.covers(ident)}
