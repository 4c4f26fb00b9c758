"""Unfinished changes of weights: complete them, give them up, or take them over from a former leader."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rolloutplan.api.changes import change, change_stage, change_weights
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import EventReason, HoldReason, StatusReason
from rolloutplan.api.status import Held, Intent, Phase, Status
from rolloutplan.engine.analysis.availability import LISTED_WITHIN, is_suspended, missing_by_no_fault
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.analysis.stages import control_group
from rolloutplan.engine.model.acceptance import (
    NotAccepted,
    accepted_within,
    not_accepted,
    route_warnings,
    settling_routes,
)
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.routes import (
    is_under_way,
    kept_weights,
    live_weights,
    not_put_back,
    route_exists,
    route_mismatch,
    route_patches,
    unread_words,
)
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TransitionName
from rolloutplan.engine.model.weights import is_valid_snapshot, share
from rolloutplan.engine.policy.endpoints import old_side_down
from rolloutplan.engine.rules.rollback import release_at
from rolloutplan.engine.run.stop import stop_actions
from rolloutplan.engine.run.transition import (
    fencing_token,
    rollback_patches,
    start_rollback,
    start_stage_timers,
    token_seq,
    transition,
    try_rollback,
)

REQUEST_AGAIN_AFTER = timedelta(seconds=5)
"""A weight written later than this after its request is requested again, so that the gateway has its full time."""
VERIFY_WITHIN = timedelta(minutes=5)
"""How long a weight may be unverified. An operator that was down for less completes the change."""
LONGER_THAN_ACCEPTED = timedelta(minutes=3)
"""How much longer than `acceptedWithin` that is at least."""


def resume_rollback(snapshot: Snapshot) -> ReconcileResult | None:
    """Write the snapshot until every route has it and its gateway accepts it. It needs only the routes.

    It is the first rule, so that a rollback in progress waits for nothing. Where the pods of the new side went missing
    through no fault of their version, the run is then held instead of ended.
    """
    status, weights = snapshot.status, snapshot.status.weights
    if status.phase is not Phase.ROLLING_BACK or not is_valid_snapshot(weights.snapshot, weights.old, weights.new):
        return None
    result = _restore(snapshot)
    if result is None or result.status is not None:
        return result
    return replace(result, actions=(*result.actions, *stop_actions(snapshot, status.task)))


def _restore(snapshot: Snapshot) -> ReconcileResult | None:
    status, weights = snapshot.status, snapshot.status.weights
    since = status.intent.at if status.intent else status.entered_at or snapshot.now
    there = [route for route in weights.snapshot if route_exists(snapshot, route.id)]
    differs = route_mismatch(snapshot, there, weights, back=True)
    patches = rollback_patches(snapshot, status)
    if differs or patches:
        if _is_over(snapshot):
            return None
        if not patches and status.message != differs:
            return ReconcileResult(change(status, message=differs), wake_at=snapshot.now + accepted_within(snapshot))
        return ReconcileResult(None, patches, urgent=True, wake_at=snapshot.now + accepted_within(snapshot))
    if unread_words(snapshot, (route.id for route in weights.snapshot)):
        return None if _is_over(snapshot) else ReconcileResult(wake_at=snapshot.now + accepted_within(snapshot))
    problem = not_accepted(snapshot, weights.snapshot)
    accept_deadline = since + accepted_within(snapshot, problem)
    settling = problem is not None and problem.until is not None
    if problem is not None and not snapshot.plan.deleting and (settling or snapshot.now < accept_deadline):
        return ReconcileResult(wake_at=problem.ends_at(accept_deadline))
    refused = problem.words if problem and not settling else ""
    if is_suspended(status) and not snapshot.plan.deleting and not not_put_back(snapshot, there):
        began = status.entered_at or snapshot.now
        if (no_fault := _no_fault(snapshot, began)) is None:
            return ReconcileResult(wake_at=began + LISTED_WITHIN)
        if no_fault:
            return ReconcileResult(_withdrawn(snapshot, refused))
    return ReconcileResult(_restored(snapshot, refused))


def _is_over(snapshot: Snapshot) -> bool:
    """Whether a deletion no longer tries to restore the weights."""
    at = release_at(snapshot)
    return at is not None and snapshot.now >= at


def _no_fault(snapshot: Snapshot, began: datetime) -> bool | None:
    """Whether the pods are missing through no fault of their version; None while their list is waited for."""
    new = snapshot.new
    if new is None or snapshot.status.reason == HoldReason.NEW_SIDE_AWAY:
        return new is not None
    if new.wanted == 0 or (new.pods_at is not None and new.pods_at >= began):
        return missing_by_no_fault(new)
    return None if snapshot.now < began + LISTED_WITHIN else False


def _withdrawn(snapshot: Snapshot, refused: str) -> Status:
    """Hold the run at the old weights. Its stage starts again when its pods are available."""
    status, weights, at = snapshot.status, snapshot.status.weights, snapshot.status.stage
    words = f"{_cause(snapshot)}; the old weights are restored, and the stage starts again when its pods are available"
    if refused:
        words = f"{words}; but the gateway has not accepted the weights: {refused}"
    since = status.held.since if status.held else snapshot.now
    return transition(
        snapshot,
        TransitionName.WITHDRAWN,
        words[:1024],
        reason=HoldReason.NEW_SIDE_AWAY,
        held=Held(reason=HoldReason.NEW_SIDE_AWAY, since=since, reason_since=snapshot.now, back_to=Phase.SHIFTING),
        intent=None,
        counted_since=None,
        stage=at and change_stage(at, judged_since=None, verified_at=None, soak_until=None, deadline_at=None),
        weights=change_weights(weights, written=kept_weights(snapshot, weights.snapshot, weights)),
    )


def _cause(snapshot: Snapshot) -> str:
    """Why the weights went back, from the decision that began it; with what the pods said since."""
    status, new = snapshot.status, snapshot.new
    if status.failed:
        return status.failed
    notes = (each.note for each in reversed(status.decisions) if each.reason == EventReason.ROLLBACK_STARTED)
    cause = next(notes, status.message).partition("; weights go back")[0]
    if new is None or new.wanted == 0:
        return cause
    no_fault = new.pods is not None and new.pods.away and not new.pods.failed
    why = f": {new.pods.away}" if new.pods is not None and no_fault else new.why
    return cause if why in cause else f"{cause}{why}"


def _restored(snapshot: Snapshot, refused: str) -> Status:
    status, weights, cause = snapshot.status, snapshot.status.weights, _cause(snapshot)
    gone = [str(route.id) for route in weights.snapshot if not route_exists(snapshot, route.id)]
    words = f"the old weights are back ({weights.desired} on {weights.new or 'the new side'}) after {cause}"
    if gone:
        words = f"{', '.join(gone)} is gone, so there was nothing to put back there; {words}"
    if lacks := not_put_back(snapshot, weights.snapshot):
        words = f"not all could be put back: {lacks}; {words}"
    if silent := ", ".join(str(view.id) for view in settling_routes(snapshot)):
        words = f"{words}; nothing reports that {silent} is followed: check that {weights.new} gets no more requests"
    warnings = route_warnings(snapshot, (route.id for route in weights.snapshot))
    kept = (warnings.get(reason) for reason in ("EmptySideBreaksRoute", "SessionPersistence"))
    words = "; ".join((words, *filter(None, kept)))
    if refused:
        words = f"{words}; but the gateway has not accepted it: {refused}"
    return transition(
        snapshot,
        TransitionName.RESTORED,
        words,
        reason=StatusReason.RESTORED_NOT_ACCEPTED if refused else None,
        shares=(_shift_before(status), weights.desired),
        intent=None,
        held=None,
        failed=cause[:1024],
        weights=change_weights(weights, written=live_weights(snapshot, weights.snapshot, weights)),
    )


def _shift_before(status: Status) -> str:
    """The new side's share before the rollback, from the decision that started it."""
    return next((d.weight_from for d in reversed(status.decisions) if d.reason == EventReason.ROLLBACK_STARTED), "")


def recover_interrupted_rollback(snapshot: Snapshot) -> ReconcileResult | None:
    """Roll back when a route has a newer fencing token than the status: an operator stopped during a rollback.

    It had restored weights and not yet recorded that. The rule is above all rules that judge or move the run, because
    the routes are newer than the status. While nobody answers on the old side nothing is decided, because a decision
    would make the status as new as the routes.
    """
    status = snapshot.status
    if status.phase not in {*TRAFFIC_SHIFTED_PHASES, Phase.CONTRACTING}:
        return None
    views = (snapshot.routes.get(route.id) for route in status.weights.snapshot)
    newest = max((token_seq(snapshot, view.seq) for view in views if view is not None), default=0)
    if newest <= status.seq:
        return None
    if words := old_side_down(snapshot):
        words = f"a rollback was interrupted, and {words}; it is finished when the old side has endpoints"
        return ReconcileResult(change(status, message=words) if status.message != words else None)
    return start_rollback(
        snapshot, StatusReason.INTERRUPTED, "the operator stopped during a rollback, before it recorded the reason"
    )


def claim_after_failover(snapshot: Snapshot) -> ReconcileResult | None:
    """Claim the routes of a run that another leader served, in its turn, so that many claims delay no evaluation.

    It is above all rules that go on with the run. `decide` claims a run at once where a rule above writes.
    """
    return claim(snapshot) if _claim_is_due(snapshot) else None


def claim(snapshot: Snapshot) -> ReconcileResult | None:
    """Write this leader's fencing token to the routes of a run that another leader served.

    A late write of the former leader expects its own token there, so it is refused.
    """
    status, weights = snapshot.status, snapshot.status.weights
    if status.phase not in TRAFFIC_SHIFTED_PHASES or status.epoch == snapshot.epoch:
        return None
    routes = live_weights(snapshot, weights.snapshot, weights)
    marks = route_patches(snapshot, routes, weights, fencing_token(snapshot, status), status.revert, marks=True)
    return ReconcileResult(actions=marks) if marks else None


def record_claim(snapshot: Snapshot) -> ReconcileResult | None:
    """Record the leader that serves a claimed run. It is the last rule, because every other write records that too."""
    status = snapshot.status
    if status.phase not in TRAFFIC_SHIFTED_PHASES or status.epoch == snapshot.epoch or not _claim_is_due(snapshot):
        return None
    return ReconcileResult(change(status, epoch=snapshot.epoch))


def awaits_claim(snapshot: Snapshot) -> bool:
    """Whether another leader served a run, and this one's turn to claim it has not come."""
    return snapshot.status.epoch != snapshot.epoch and not _claim_is_due(snapshot)


def _claim_is_due(snapshot: Snapshot) -> bool:
    return snapshot.status.intent is not None or snapshot.claim_at is None or snapshot.now >= snapshot.claim_at


def verify_within(snapshot: Snapshot) -> timedelta:
    """How long a weight may be unverified: always longer than its gateways may take."""
    return max(VERIFY_WITHIN, accepted_within(snapshot) + LONGER_THAN_ACCEPTED)


def verify_deadline(snapshot: Snapshot, intent: Intent) -> datetime:
    """When a weight that is still unverified is rolled back: counted from the start of its stage."""
    stage = snapshot.status.stage
    return ((stage.entered_at if stage else None) or intent.at) + verify_within(snapshot)


def shift_timed_out(snapshot: Snapshot) -> ReconcileResult | None:
    """Roll back when a weight is not in force in time or cannot be judged, because nothing watches it meanwhile.

    It is among the rollback rules, above all rules that would go on waiting for the gateway.
    """
    intent = _pending_shift(snapshot)
    if intent is None:
        return None
    status, differs = snapshot.status, route_mismatch(snapshot, intent.routes, snapshot.status.weights)
    longest = verify_within(snapshot)
    if snapshot.now >= verify_deadline(snapshot, intent):
        words = f"could not be judged within {format_duration(longest)}: {differs or 'the status could not be written'}"
        return try_rollback(snapshot, StatusReason.WEIGHT_NOT_ACCEPTED, f"{intent.to} {words}")
    problem, ours = not_accepted(snapshot, intent.routes), status.epoch == snapshot.epoch
    within = accepted_within(snapshot, problem)
    written = not differs or is_under_way(snapshot, intent.routes)
    late = problem is not None and problem.until is None and snapshot.now >= intent.at + within
    if ours and written and problem is not None and late:
        return try_rollback(snapshot, StatusReason.WEIGHT_NOT_ACCEPTED, late_words(intent, within, problem))
    return None


def resume_shift(snapshot: Snapshot) -> ReconcileResult | None:
    """Write the requested weights until they are read back and accepted. Then soak and deadline of the stage start.

    It is below the rollback rules and above every hold: an unfinished change is completed before the run waits.
    """
    intent = _pending_shift(snapshot)
    if intent is None:
        return None
    status, weights, problem = snapshot.status, snapshot.status.weights, not_accepted(snapshot, intent.routes)
    differs = route_mismatch(snapshot, intent.routes, weights)
    if not differs and problem is None:
        return ReconcileResult(_verified(snapshot, intent))
    wake_at = intent.at + accepted_within(snapshot, problem)
    wake_at = wake_at if problem is None else problem.ends_at(wake_at)
    # A late write gets its full time from now on, and a new leader may not have seen the gateway's answer.
    again = None
    late = differs and not is_under_way(snapshot, intent.routes) and snapshot.now >= intent.at + REQUEST_AGAIN_AFTER
    if status.epoch != snapshot.epoch or late:
        again = change(status, intent=intent.asked_again(snapshot.now), epoch=snapshot.epoch)
    written = (
        route_patches(snapshot, intent.routes, weights, fencing_token(snapshot, status), status.revert)
        if differs
        else ()
    )
    return ReconcileResult(again, written, wake_at=wake_at)


def late_words(intent: Intent, within: timedelta, problem: NotAccepted) -> str:
    """Why a weight goes back that its gateways did not accept in time."""
    again = " again" if intent.action == "Repair" else ""
    words = f"{intent.to} was not accepted{again} within {format_duration(within)}: {problem.words}"
    return words if problem.refused else f"{words}; spec.traffic.acceptedWithin may be longer for a slow gateway"


def _pending_shift(snapshot: Snapshot) -> Intent | None:
    """The unfinished shift of a readable plan."""
    intent = snapshot.status.intent
    on_its_way = snapshot.status.phase is Phase.SHIFTING and intent is not None and intent.action == "Shift"
    return intent if on_its_way and snapshot.plan.spec is not None else None


def _until(snapshot: Snapshot, at: datetime | None) -> str:
    return format_duration(at - snapshot.now) if at else "0s"


def _verified(snapshot: Snapshot, intent: Intent) -> Status:
    status, spec = snapshot.status, snapshot.plan.spec
    stage = current_stage(spec, status) if spec else None
    assert stage is not None and status.stage is not None
    before = share(status.weights.written, status.weights.old, status.weights.new)
    at = start_stage_timers(snapshot, status.stage, stage)
    names = ", ".join(str(route.id) for route in intent.routes)
    silent = ", ".join(str(view.id) for view in settling_routes(snapshot))
    accepted = (
        "read back; not all gateways report acceptance" if status.weights.unconfirmed else "read back and accepted"
    )
    if silent:
        accepted = f"read back; nothing reports that {silent} is followed, so the measured share must prove it"
    group = control_group(spec, status) if spec else ""
    in_force = f"{intent.to} of the traffic is on {status.weights.new}"
    if stage.moves_no_weight:
        in_force = f"{stage.title} for {status.weights.new} is in force"
    return transition(
        snapshot,
        TransitionName.VERIFIED,
        f"{in_force} ({names} {accepted}); {f'{group}; ' if group else ''}"
        f"judged for {_until(snapshot, at.soak_until)} at least, decided within {_until(snapshot, at.deadline_at)}",
        reason=StatusReason.SOAKING,
        shares=(format_weight(before), intent.to),
        stage=at,
        counted_since=status.counted_since or snapshot.now,
        intent=None,
        weights=change_weights(status.weights, written=live_weights(snapshot, intent.routes, status.weights)),
    )
