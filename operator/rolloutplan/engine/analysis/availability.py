"""Whether the new side stands: how many of its pods must be ready, and how often their containers were restarted.

What a side is measured against is what it had before: a pod that was only just asked for says nothing against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rolloutplan.api.spec import Availability
from rolloutplan.api.status import PodRestarts
from rolloutplan.engine.model.snapshot import Pods, WorkloadView

PODS_A_SHARE: Final = 4
"""`maxRestarts` is allowed once for every so many pods of the side, and for each pod alone."""
BASELINES_KEPT: Final = 200
"""The pods whose earlier restarts a status keeps, those with most first. The earlier ones of others would count."""


@dataclass(frozen=True, slots=True)
class Stood:
    """What a side had, as far as it is remembered: the largest number of available pods, and since when it grows."""

    available: int = 0
    grows_since: datetime | None = None
    """Since when it should have more pods than it ever had available."""
    short_since: datetime | None = None

    def seen(self, new: WorkloadView, asked: Availability, now: datetime, *, fresh: bool) -> Stood:
        """What is known after another look. `fresh`: whether its pods were listed as it is now.

        Pods that a smaller side gave up are forgotten, so that a later increase gets its time again.
        """
        pods = new.pods
        before = max(self.available, new.available + (pods.lost if fresh and pods else 0))
        available = max(new.available, min(before, new.wanted))
        grows = (self.grows_since or now) if new.wanted > available else None
        known = replace(self, available=available, grows_since=grows)
        short = is_short(new.ready, known.expected(new, asked, now), asked)
        return replace(known, short_since=(self.short_since or now) if short else None)

    def expected(self, new: WorkloadView, asked: Availability, now: datetime) -> int:
        """How many pods must be ready. Added pods count once they were available, or failed by themselves for long."""
        late = self.grows_since is not None and now >= self.grows_since + asked.ready_within
        failing = new.pods is not None and new.pods.failed
        return new.wanted if late and failing else min(self.available, new.wanted)


def is_short(ready: int, expected: int, asked: Availability) -> bool:
    """Whether fewer pods are ready than `minReady` of those that are expected."""
    return ready * 1000 < asked.min_ready * expected


def baseline(pods: Pods) -> tuple[PodRestarts, ...]:
    """The restarts that do not count against a run that starts now."""
    before = sorted(pods.restarts.items(), key=lambda pod: (-pod[1], pod[0]))
    return tuple(PodRestarts(pod=uid, restarts=count) for uid, count in before[:BASELINES_KEPT] if count)


def restarted_too_often(before: tuple[PodRestarts, ...], pods: Pods, wanted: int, allowed: int) -> str:
    """Which pods restarted more often than they may since the baseline, as text; empty where none did.

    A single pod may restart `allowed` times; all together may do so once for every `PODS_A_SHARE` of them.
    """
    counts = _since(before, pods.restarts)
    together = allowed * max(-(-max(wanted, len(counts)) // PODS_A_SHARE), 1)
    most, total = max(counts.values(), default=0), sum(counts.values())
    if total > together:
        return f"restarted {total} times, {together} are allowed"
    if most > allowed:
        return f"restarted {most} times in one pod, {allowed} are allowed"
    return ""


def _since(before: tuple[PodRestarts, ...], now: Mapping[str, int]) -> Mapping[str, int]:
    known = {each.pod: each.restarts for each in before}
    return {uid: max(count - known.get(uid, 0), 0) for uid, count in now.items()}
