"""Whether the new side stands: how many of its pods must be ready, and how often their containers were restarted.

What a side is measured against is what it had before: a pod that was only just asked for says nothing against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.availability import Availability
from rolloutplan.api.status import Phase, PodRestarts, Status
from rolloutplan.engine.model.snapshot import Pods, Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES

PODS_A_SHARE: Final = 4
"""`maxRestarts` is allowed once for every so many pods of the side, and for each pod alone."""
LISTED_WITHIN: Final = timedelta(seconds=10)
"""How long the list of the pods may take that tells whose fault it is that they are missing."""
TOLD_AFTER: Final = timedelta(seconds=5)
"""How long pods may be missing before that is told."""
BASELINES_KEPT: Final = 200
"""The pods whose earlier restarts a status keeps, those with most first. The earlier ones of others would count."""


@dataclass(frozen=True, slots=True)
class Stood:
    """What a side had, as far as it is remembered: the largest number of available pods, and since when it grows."""

    available: int = 0
    grows_since: datetime | None = None
    """Since when it should have more pods than it ever had available."""
    short_since: datetime | None = None
    unserved_since: datetime | None = None
    """Since when its Service has no ready endpoint."""
    lacks_since: datetime | None = None
    """Since when pods are missing that it should have, or are of a former template that cannot be replaced."""

    def seen(self, new: WorkloadView, asked: Availability, now: datetime, *, unserved: bool) -> Stood:
        """What is known after another look. `unserved` means that its Service is known to have no ready endpoint.

        Pods that a smaller side gave up are forgotten, so that a later increase gets its time again.
        """
        lost = new.pods.lost if new.pods and new.pods_fresh else 0
        available = min(max(self.available, new.available + lost), new.wanted)
        grows = (self.grows_since or now) if new.wanted > available else None
        known = replace(self, available=available, grows_since=grows)
        short = is_short(new.ready, known.expected(new, asked, now), asked)
        return replace(
            known,
            short_since=(self.short_since or now) if short else None,
            unserved_since=(self.unserved_since or now) if unserved else None,
            lacks_since=(self.lacks_since or now) if _lacks(new) else None,
        )

    def until(self, now: datetime) -> Stood:
        """The same without later instants: the clock was put back."""
        names = ("grows_since", "short_since", "unserved_since", "lacks_since")
        instants = {name: getattr(self, name) for name in names}
        return replace(self, **{name: at and min(at, now) for name, at in instants.items()})

    def expected(self, new: WorkloadView, asked: Availability, now: datetime) -> int:
        """How many pods must be ready. Added pods count once they were available, or failed by themselves for long."""
        late = self.grows_since is not None and now >= self.grows_since + asked.ready_within
        failing = new.pods is not None and new.pods.failed
        return new.wanted if late and failing else min(self.available, new.wanted)


def is_suspended(status: Status) -> bool:
    """Whether the weights go back, and it is not known yet that the run has failed."""
    return status.phase is Phase.ROLLING_BACK and status.held is not None


def lists_pods(status: Status) -> bool:
    """Whether the pods of the new side are listed."""
    return status.phase in TRAFFIC_SHIFTED_PHASES or is_suspended(status)


def awaits_pods(snapshot: Snapshot) -> bool:
    """Whether a run needs a list of the new side's pods before it goes forward: their restarts are not known.

    The last one failed; or a leader that took the run over is to end what it judges, and has seen none yet.
    """
    phase, new = snapshot.status.phase, snapshot.new
    if new is None or phase not in TRAFFIC_SHIFTED_PHASES:
        return False
    return new.unlisted or (new.pods is None and phase in (Phase.JUDGING, Phase.BAKING))


def missing_by_no_fault(new: WorkloadView) -> bool:
    """Whether the pods that the new side lacks are missing for a reason that says nothing against its version."""
    if new.wanted == 0:
        return bool(new.autoscaler)
    return new.pods is not None and not new.pods.failed and bool(new.pods.away or new.hindered)


def scaled_to_zero(new: WorkloadView, autoscaler: str) -> str:
    """That the new side should have no pods, by whom, and the way out. `autoscaler` is its name where that is known."""
    if by := autoscaler or new.autoscaler:
        fix = "give it minReplicaCount 1 (of a HorizontalPodAutoscaler: minReplicas) for the run"
        return f"{new.name} is scaled to 0 by {by}: {fix}"
    return f"{new.name} is scaled to 0: give it replicas, or write expand.scale"


def stands(new: WorkloadView, asked: Availability) -> bool:
    """Whether the new side has enough available pods to take up a stage again."""
    return new.available > 0 and new.wanted > 0 and not is_short(new.available, new.wanted, asked)


def is_short(ready: int, expected: int, asked: Availability) -> bool:
    """Whether fewer pods are ready than `minReady` of those that are expected."""
    return ready * 1000 < asked.min_ready * expected


def _lacks(new: WorkloadView) -> bool:
    return new.available < new.wanted or bool(new.outdated and new.hindered)


def missing_pods(new: WorkloadView, now: datetime) -> str:
    """Which pods the new side lacks, and why, as text; empty where it lacks none, or only for a moment."""
    if new.lacks_since is None or now < new.lacks_since + TOLD_AFTER:
        return ""
    if new.available < new.wanted:
        return f"{new.available} of {new.wanted} pods of {new.name} are available{new.why}"
    return f"{new.outdated} pods of {new.name} are of its former template{new.why}"


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
