"""After a success: weights that somebody sets back are reported, and restored while the old side cannot serve."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from rolloutplan.api.changes import RunChange, change
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Intent, Phase, RouteWeights
from rolloutplan.engine.model.actions import PatchRoute, ReconcileResult
from rolloutplan.engine.model.routes import route_patches
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.policy.endpoints import no_endpoints, only_new_side_answers, receiver
from rolloutplan.engine.run.end_state import MOST_REPAIRS, REPAIRS_WITHIN, weights_set_back
from rolloutplan.engine.run.transition import fencing_token, transition

CALM_FOR = timedelta(minutes=1)
"""How long restored weights must stay before they are reported as restored: another writer may set them back again."""
_OFTEN = "sets them back each time"


def keep_end_state(snapshot: Snapshot) -> ReconcileResult | None:
    """After a success, report weights that somebody set back. Restore them only while nobody answers on the old side.

    It is above the rule that starts the next run, because an outage must not wait for a new version to be ready.
    """
    status = snapshot.status
    if status.phase is not Phase.SUCCEEDED:
        return None
    differs, set_back = weights_set_back(snapshot)
    told = status.reason == StatusReason.WEIGHTS_SET_BACK
    if not differs:
        return _set_forward_again(snapshot) if told else None
    if not set_back or not only_new_side_answers(snapshot):
        back = "; to go back for good, send `revert`" if set_back else ""
        return _report(snapshot, f"{differs}: {_only_told(snapshot)}{back}", {"intent": None})
    due = tuple(route for route in set_back if _next_repair(snapshot, route.id) <= snapshot.now)
    again = min(_next_repair(snapshot, route.id) for route in set_back)
    often = _OFTEN if not due or (told and _OFTEN in status.message) else ""
    if not due and told and _OFTEN in status.message and status.intent is None:
        return ReconcileResult(wake_at=again)
    words = f"{differs}: {_repaired(snapshot, often=bool(often))}"[:1024]
    if not due:
        return _report(snapshot, words, {"intent": None}, again)
    if told and status.message == words and status.intent is not None:
        return ReconcileResult(actions=_patches(snapshot, due))
    intent = Intent(
        action="Repair", at=snapshot.now, to=status.weights.desired, routes=status.weights.written, corrects=differs
    )
    return _report(
        snapshot, words, {"intent": intent, "repaired_at": (*status.repaired_at, snapshot.now)[-MOST_REPAIRS:]}
    )


def _report(
    snapshot: Snapshot, words: str, fields: RunChange, wake_at: datetime | None = None
) -> ReconcileResult | None:
    """Say it in the status. The first time is a decision, and so is the first time that repairs do not last.

    None where that was said, and nothing is to be repaired: the next run may start.
    """
    status, words = snapshot.status, words[:1024]
    told = status.reason == StatusReason.WEIGHTS_SET_BACK
    if told and status.message == words and status.intent == fields.get("intent"):
        return ReconcileResult(wake_at=wake_at) if wake_at else None
    if told and (_OFTEN in status.message or _OFTEN not in words):
        fields["message"] = words
        return ReconcileResult(change(status, **fields))
    return ReconcileResult(
        transition(snapshot, TransitionName.SET_BACK, words, reason=StatusReason.WEIGHTS_SET_BACK, **fields)
    )


def _next_repair(snapshot: Snapshot, route: RouteId) -> datetime:
    """When a route may be restored again; now, or earlier, where it may."""
    recent = [at for at in snapshot.repairs.get(route, ()) if at > snapshot.now - REPAIRS_WITHIN]
    return recent[-MOST_REPAIRS] + REPAIRS_WITHIN if len(recent) >= MOST_REPAIRS else snapshot.now


def _fix(snapshot: Snapshot) -> str:
    weights = snapshot.status.weights
    return f"commit {weights.desired} for {weights.new}, or leave the weights out of what is applied"


def _only_told(snapshot: Snapshot) -> str:
    weights = snapshot.status.weights
    done = f"the run succeeded with {weights.desired} for {weights.new}"
    return f"{done}; {_fix(snapshot)}"


def _repaired(snapshot: Snapshot, *, often: bool) -> str:
    """Why the weights are written again, and what to do."""
    old, desired = receiver(snapshot, "old"), snapshot.status.weights.desired
    ready = snapshot.old is not None and snapshot.old.ready > 0
    why = no_endpoints(old) if ready else "no pod of the old side is ready"
    if not often:
        return f"{why}, so {desired} is written again; {_fix(snapshot)}"
    within = format_duration(REPAIRS_WITHIN)
    return (
        f"{why}, so {desired} is written again, at most {MOST_REPAIRS} times within {within}, because that writer "
        f"{_OFTEN}: stop it; {_fix(snapshot)}"
    )


def _patches(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> tuple[PatchRoute, ...]:
    status, weights = snapshot.status, snapshot.status.weights
    return route_patches(snapshot, routes, weights, fencing_token(snapshot, status), status.revert)


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
