"""The place of a run among those that may run at the same time: it is lost in a long hold, and taken again.

engine/policy/gate.py holds a run that has none. loop/stored_plan.py counts no run that lost its place.
"""

from __future__ import annotations

from datetime import datetime

from rolloutplan.api.changes import change
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.policy.policies import release_after
from rolloutplan.engine.run.decision_log import span
from rolloutplan.engine.run.transition import transition


def release_place(snapshot: Snapshot) -> ReconcileResult | None:
    """Give the place of a run that has been held for `releaseAfter` to others. It waits for one when it goes on.

    It is below the rollback rules and the commands, and above what keeps a run held.
    """
    at, found = place_lost_at(snapshot), release_after(snapshot.policies, snapshot.plan.namespace)
    status = snapshot.status
    if at is None or found is None or snapshot.now < at or status.held is None:
        return None
    words = (
        f"held for {span(status.held.since, snapshot.now)} ({status.held.reason}): its place in {found[1]} goes to "
        "others, and it waits for one before its next increase"
    )
    after = transition(
        snapshot,
        TransitionName.PLACE_LOST,
        words,
        message=status.message,
        predicates=status.predicates,
        place="Lost",
    )
    return ReconcileResult(after)


def place_lost_at(snapshot: Snapshot) -> datetime | None:
    """When a held run loses its place; None where it is not held, has none, or keeps it."""
    status, found = snapshot.status, release_after(snapshot.policies, snapshot.plan.namespace)
    if status.phase is not Phase.HELD or status.held is None or status.place == "Lost" or found is None:
        return None
    return status.held.since + found[0]


def retake_place(snapshot: Snapshot) -> ReconcileResult | None:
    """Before an increase, take a place again that was lost, since the gate has found one.

    It is recorded before the weight moves: of two runs that find the same place one goes back, as at a start.
    """
    status = snapshot.status
    if status.phase is not Phase.SHIFTING or status.intent is not None or status.place != "Lost":
        return None
    return ReconcileResult(change(status, place="Retaken"))
