"""Whether two revisions of a pod template are the same version (cluster/revision.py makes them)."""

from __future__ import annotations


def is_same_version(one: str, other: str) -> bool:
    """Whether one of their hashes agrees: they differ in marks of a restart, or in what nobody wrote.

    A revision that holds the first hash alone, as former operators recorded it, is compared by that.
    """
    return one == other or any(a == b != "" for a, b in zip(one.split("."), other.split("."), strict=False))
