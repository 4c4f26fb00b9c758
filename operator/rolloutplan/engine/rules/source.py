"""The metric source of a run: it keeps the one with which it began, and no change of that goes unsaid.

The loop's store chooses the source (metrics/objects.py): a run keeps its kind, so that a MetricSource which gets the
name of a ClusterMetricSource in mid-run is not asked.
"""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.changes import change
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import SourceStatus, Status
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.run.transition import sealed, transition

TOLD_AGAIN = timedelta(minutes=10)
"""A source that is edited all the time is told of so often; what it was edited to by then is told together."""


def source_changed(snapshot: Snapshot) -> ReconcileResult | None:
    """Record that the source was edited, made anew, or shadowed. What is asked from then on is asked of it as it is.

    It is below the rollback rules, so that it delays none, and above all rules that go on.
    """
    status, now = snapshot.status, snapshot.source.object if snapshot.source else None
    before = status.source
    if now is None or before is None or status.phase not in TRANSITIONS[TransitionName.SOURCE_CHANGED].sources:
        return None
    words = _difference(before, now, snapshot.plan.namespace)
    if not words or _told_just_now(snapshot):
        return None
    after = transition(
        snapshot,
        TransitionName.SOURCE_CHANGED,
        words,
        message=status.message,
        predicates=status.predicates,
        source=now,
    )
    return ReconcileResult(after)


def sealed_late(snapshot: Snapshot, status: Status) -> Status:
    """The status of a run that keeps no source, with that which it asks now, and with its labels.

    It began under a version that kept neither, or before there was a source.
    """
    running = status.phase in TRANSITIONS[TransitionName.SOURCE_CHANGED].sources
    late = sealed(snapshot)
    if not running or status.source is not None or late["source"] is None:
        return status
    if status.labels or status.namespace_labels:
        return change(status, source=late["source"])
    return change(status, **late)


def _told_just_now(snapshot: Snapshot) -> bool:
    told = [each.at for each in snapshot.status.decisions if each.reason == EventReason.SOURCE_CHANGED]
    return bool(told) and snapshot.now < told[-1] + TOLD_AGAIN


def _difference(before: SourceStatus, now: SourceStatus, namespace: str) -> str:
    """What is to be told of a change; empty where nothing is. That a shadow is gone again is not."""
    name = f"{now.kind} {now.name}"
    if now.uid != before.uid:
        return f"{name} was deleted and made anew during the run: predicates are asked of the new one"
    if now.digest != before.digest:
        return (
            f"{name} was edited during the run, in what decides who answers: predicates are asked of it as it is now, "
            "and what was measured in this stage is measured again"
        )
    if now.shadowed_by and now.shadowed_by != before.shadowed_by:
        return (
            f"MetricSource {namespace}/{now.name} has the name of {name} now: the run goes on asking {name}, with "
            "which it began, and the next run will ask the MetricSource"
        )
    return ""
