"""The warmup: for a while after a weight was set, or after new pods became ready, latency is not judged.

The status of the stage has what is left out (`warmupSince`, `warmupUntil`), so that every leader leaves out the
same. Only predicates on latency read it; all others judge at once. Pods that become ready later belong to the warmup
too, but a slow version that makes its autoscaler add pods again and again must not stay unjudged. So they prolong a
warmup up to twice its length, and once they did, or began one, the next begins only after latency was judged for as
long as a verdict needs.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.api.changes import change_stage
from rolloutplan.api.predicate import Predicate
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import StageStatus

_NONE = timedelta(0)


def left_out(stage: Stage, predicate: Predicate) -> timedelta:
    """How much of the time at the weight of a stage a predicate leaves out at its beginning."""
    return stage.warmup if predicate.judges_latency else _NONE


def begin_warmup(spec: PlanSpec, stage: Stage, at: StageStatus, now: datetime) -> StageStatus:
    """The stage with a warmup from now on: its weight is requested or was verified."""
    if not stage.warmup or not _latency(spec, stage):
        return at
    goes_on = at.warmup_since is not None and at.warmup_until is not None and at.warmup_until >= now
    return change_stage(at, warmup_since=at.warmup_since if goes_on else now, warmup_until=now + stage.warmup)


def warm_new_pods(spec: PlanSpec, stage: Stage, at: StageStatus, ready_at: datetime) -> StageStatus:
    """The stage with a warmup of the pods of which the last became ready then; its deadline moves by as much."""
    since, until, verified = at.warmup_since, at.warmup_until, at.verified_at
    if since is None or until is None or verified is None or not stage.warmup:
        return at
    if ready_at <= until:
        longest = max(since, verified) + 2 * stage.warmup
        after = max(until, min(ready_at + stage.warmup, longest))
    elif until == verified + stage.warmup or ready_at >= until + _judged_between(spec, stage):
        since, after = ready_at, ready_at + stage.warmup
    else:
        return at
    longer = after - max(until, since)
    deadline = at.deadline_at and at.deadline_at + longer
    return change_stage(at, warmup_since=since, warmup_until=after, deadline_at=deadline)


def is_left_out(at: StageStatus | None, predicate: Predicate, start: datetime, end: datetime) -> bool:
    """Whether what was counted between these instants is, in part, of a warmup."""
    if at is None or at.warmup_since is None or at.warmup_until is None or not predicate.judges_latency:
        return False
    return start < at.warmup_until and end > at.warmup_since


def _latency(spec: PlanSpec, stage: Stage) -> tuple[Predicate, ...]:
    return tuple(each for each in (*spec.guards, *stage.predicates) if each.judges_latency)


def _judged_between(spec: PlanSpec, stage: Stage) -> timedelta:
    """How long latency is judged at least between two warmups of pods: each of its predicates can be decided then."""
    needed = (each.window + (each.for_ or _NONE) for each in _latency(spec, stage))
    return max(stage.warmup, max(needed, default=_NONE) + 2 * spec.interval)
