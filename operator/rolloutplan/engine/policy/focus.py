"""The focus that shifts by itself: to Stability while too many of the last releases fail, and back.

A policy that has shifted goes back at half of its bound, so that one release more or less does not move it to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from rolloutplan.api.focus import Shift
from rolloutplan.api.policy import Selector
from rolloutplan.engine.policy.policies import selects_in


class Release(NamedTuple):
    """A run that has ended: when it began, its number, and whether its weights went back."""

    namespace: str
    plan: str
    """The value of its label: the name, or of a long one its beginning and a hash."""
    began: datetime
    run: int
    failed: bool
    labels: Mapping[str, str]
    """The labels of its plan, as far as they are known."""


def failures(
    releases: Mapping[str, Sequence[Release]],
    selector: Selector,
    namespaces: Mapping[str, Mapping[str, str]],
    over: int,
) -> int:
    """How many of the last `over` releases of the selected plans failed.

    `releases` has those of each namespace, the oldest first, and `namespaces` its labels, as far as they are known.
    """
    last: list[Release] = []
    for namespace, known in releases.items():
        if selects_in(selector, namespace, namespaces.get(namespace)):
            chosen = (each for each in reversed(known) if selector.match_labels.items() <= each.labels.items())
            last += islice(chosen, over)
    last.sort(key=lambda each: (each.began, each.namespace, each.plan, each.run), reverse=True)
    return sum(each.failed for each in last[:over])


def is_unstable(shift: Shift, failed: int, *, shifted: bool) -> bool:
    """Whether the focus is Stability, with so many failures among the last releases; `shifted`: it was before."""
    if shifted:
        return 2 * 100 * failed > shift.failure_rate * shift.over
    return 100 * failed > shift.failure_rate * shift.over


def why(shift: Shift, failed: int, base: str, *, shifted: bool) -> str:
    """The failure rate against the bound that decides next, and what follows."""
    rate = f"{failed} of the last {shift.over} releases failed ({_percent(100 * failed, shift.over)})"
    if shifted:
        return f"{rate}: {base} again at {_percent(shift.failure_rate, 2)} or less"
    return f"{rate}: Stability above {shift.failure_rate}%"


def _percent(count: int, of: int) -> str:
    return f"{round(count / of, 1):g}%"
