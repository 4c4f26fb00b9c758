"""After a success: weights that somebody sets back are reported, and restored while the old side cannot serve."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.changes import RunChange, change
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.status import Intent, Phase
from rolloutplan.engine.model.actions import PatchRoute, ReconcileResult
from rolloutplan.engine.model.routes import route_patches
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.run.end_state import weights_set_back
from rolloutplan.engine.run.transition import fencing_token, transition

CALM_FOR = timedelta(minutes=1)
"""How long restored weights must stay before they are reported as restored: another writer may set them back again."""
_REPAIRS_KEPT = 3


def keep_end_state(snapshot: Snapshot) -> ReconcileResult | None:
    """After a success, report weights that somebody set back. Restore them only while the old side has no ready pods.

    It is above the rule that starts the next run, because an outage must not wait for a new version to be ready.
    """
    status = snapshot.status
    if status.phase is not Phase.SUCCEEDED:
        return None
    differs = weights_set_back(snapshot)
    if not differs:
        return _set_forward_again(snapshot) if status.reason == StatusReason.WEIGHTS_SET_BACK else None
    repairs = _repairs(snapshot)
    words = f"{differs}: {_consequence(snapshot, repairs=repairs)}"[:1024]
    told = status.reason == StatusReason.WEIGHTS_SET_BACK
    if told and status.message == words and repairs is (status.intent is not None):
        return ReconcileResult(actions=_patches(snapshot)) if repairs else None
    fields: RunChange = {"message": words, "intent": None}
    if repairs:
        fields = {
            "message": words,
            "intent": _repair(snapshot, differs),
            "repaired_at": (*status.repaired_at, snapshot.now)[-_REPAIRS_KEPT:],
        }
    if told:
        return ReconcileResult(change(status, **fields))
    return ReconcileResult(
        transition(snapshot, TransitionName.SET_BACK, words, reason=StatusReason.WEIGHTS_SET_BACK, **fields)
    )


def _repairs(snapshot: Snapshot) -> bool:
    """Whether the weights are restored: the old side cannot serve, and the new side can."""
    old_serves = snapshot.old is not None and snapshot.old.ready > 0
    return not old_serves and snapshot.new is not None and snapshot.new.ready > 0


def _consequence(snapshot: Snapshot, *, repairs: bool) -> str:
    weights = snapshot.status.weights
    fix = f"commit {weights.desired} for {weights.new}, or leave the weights out of what is applied"
    if repairs:
        return f"no pod of the old side is ready, so {weights.desired} is written again; {fix}"
    return f"the run succeeded with {weights.desired} for {weights.new}; {fix}; to go back for good, send `revert`"


def _repair(snapshot: Snapshot, differs: str) -> Intent:
    weights = snapshot.status.weights
    return Intent(action="Repair", at=snapshot.now, to=weights.desired, routes=weights.written, corrects=differs)


def _patches(snapshot: Snapshot) -> tuple[PatchRoute, ...]:
    status, weights = snapshot.status, snapshot.status.weights
    return route_patches(snapshot, weights.written, weights, fencing_token(snapshot, status), status.revert)


def _set_forward_again(snapshot: Snapshot) -> ReconcileResult:
    status, weights = snapshot.status, snapshot.status.weights
    if status.intent is not None:
        return ReconcileResult(change(status, intent=None))
    calm_at = max(status.repaired_at, default=snapshot.now - CALM_FOR) + CALM_FOR
    if snapshot.now < calm_at:
        return ReconcileResult(wake_at=calm_at)
    words = f"the routes give {weights.new} {weights.desired} of the traffic again"
    return ReconcileResult(
        transition(snapshot, TransitionName.SET_FORWARD_AGAIN, words, reason=StatusReason.SUCCEEDED, repaired_at=())
    )
