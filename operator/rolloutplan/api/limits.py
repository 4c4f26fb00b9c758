"""How large what people write may be. What is larger is refused before it is read, with the field and the limit.

Everything here is read on the loop that also renews the Lease and moves the weights of everybody, in each replica. The
limits are such that the largest object is read in less than 50 ms (tests/bench/limits.py measures it), and such that
the status of a run always fits into its object.

Sizes are bytes of UTF-8, of the compact JSON of a `spec`: that is what etcd stores and what memory holds.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.parsing import SpecError

KIB: Final = 1024
MAX_PLAN: Final = 384 * KIB
"""A plan of 50 stages with 16 predicates each, with queries of 300 characters, has 270 KiB. Together with a status at
its limit it stays below the 1.5 MiB that etcd takes."""
MAX_BEGUN: Final = 512 * KIB
"""Of a plan with which a run began before there was a limit: no more is decoded of any object."""
MAX_TEMPLATE: Final = 32 * KIB
"""Two queries of 4,096 characters, and 16 parameters with their descriptions."""
MAX_TEMPLATES_KEPT: Final = 128 * KIB
"""Of all templates that a plan names: its status keeps them as they were when the run began."""
MAX_TEMPLATES_FILLED: Final = 256 * KIB
"""A template counts once for each predicate that names it, because it is read again with the values of each."""
MAX_POLICY: Final = 64 * KIB
"""256 namespaces and 32 freeze windows."""
MAX_SOURCE: Final = 64 * KIB
"""256 namespaces and 16 headers of 1,024 characters."""
MAX_NOTIFIER: Final = 64 * KIB
"""256 namespaces and owners, and 16 headers of 1,024 characters."""
MAX_JOBS: Final = 128 * KIB
"""Of all Jobs of a plan: 48 of 2 KiB. As lists in lists they are 40,000, which are read in 10 ms."""
MAX_DEPTH: Final = 64
"""Levels of mappings and lists in each other. A Job has about 12; Python's JSON gives up at about 900."""
UNREAD: Final = "x-unread"
"""The key under which an object says which of its parts were too large to be decoded (cluster/decoding.py). No API
server stores such a field."""
_TOO_DEEP: Final = f"more than {MAX_DEPTH} levels of mappings and lists in each other: write fewer"


class TooLargeError(SpecError):
    """An object that is too large to be read."""


def spec_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `spec` of an object. Raises TooLargeError where it was not even decoded."""
    if UNREAD in raw:
        raise TooLargeError(str(raw[UNREAD]))
    return safe_get.mapping(raw, "spec")


def is_unread(raw: Mapping[str, Any], part: str) -> bool:
    """Whether a part of an object was too large to be decoded: what is in it is unknown, and not empty."""
    return f"; {part}: " in f"; {safe_get.text(raw, UNREAD)}"


def check_size(raw: Mapping[str, Any], limit: int) -> None:
    """Refuse a `spec` with more bytes than the limit. Raises TooLargeError."""
    try:
        size = size_of(raw)
    except RecursionError:
        raise TooLargeError(f"spec: {_TOO_DEEP}") from None
    if size > limit:
        raise TooLargeError(f"spec: {kib(size)} are too large to read: write at most {kib(limit)}")


def check_jobs(jobs: Mapping[str, object]) -> None:
    """Refuse the Jobs of a plan, by their paths, if they have too many bytes together, or too many levels.

    Nothing else of a plan is open: only in a Job may mappings and lists be nested, and as many as one likes. Raises
    TooLargeError.
    """
    total = 0
    for path, job in jobs.items():
        total += size_of(job)
        if total > MAX_JOBS:
            words = f"the Jobs of the plan have {kib(total)} together"
            raise TooLargeError(
                f"spec.{path}: {words}: write at most {kib(MAX_JOBS)}, and put the rest into a ConfigMap"
            )
        if _is_deep(job):
            raise TooLargeError(f"spec.{path}: {_TOO_DEEP}")


def size_of(value: object) -> int:
    """The bytes of a value as compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode(errors="replace"))


def kib(size: int) -> str:
    """A size in words: `384 KiB`, rounded up."""
    return f"{-(-size // KIB)} KiB"


def _is_deep(value: object) -> bool:
    """Whether a value has more than MAX_DEPTH levels, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        mappings = [each for each in level if isinstance(each, dict)]
        lists = [each for each in level if isinstance(each, list)]
        level = [below for each in mappings for below in each.values()] + [below for each in lists for below in each]
        if not level:
            return False
    return True
