"""The rollback rules. They use nothing that can be missing, slow or broken."""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_digest import changes, spec_digest
from rolloutplan.api.status import STARTING, Held, Phase
from rolloutplan.engine.analysis.availability import LISTED_WITHIN, missing_by_no_fault, restarted_too_often
from rolloutplan.engine.analysis.measurements import enforced_predicates, left_predicates, verdict_of
from rolloutplan.engine.model.actions import PatchPlanMetadata, ReconcileResult
from rolloutplan.engine.model.revision import is_same_version
from rolloutplan.engine.model.routes import route_exists, unread_words
from rolloutplan.engine.model.snapshot import Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import is_valid_snapshot, share
from rolloutplan.engine.policy.endpoints import new_side_unserved, old_side_down
from rolloutplan.engine.policy.lost_run import LostRunError, is_lost, lost_run
from rolloutplan.engine.rules.adapt import is_live_edit
from rolloutplan.engine.run.decision_log import bound_of, span
from rolloutplan.engine.run.shared_outage import is_shared_outage
from rolloutplan.engine.run.transition import on_fail, reset_run, rollback_patches, try_rollback
from rolloutplan.engine.run.value_text import against, value_text
from rolloutplan.stats.verdict import Outcome

RELEASE_AFTER = timedelta(minutes=1)
"""How long a deletion tries to restore the weights, from the first attempt that failed."""


def handle_deletion(snapshot: Snapshot) -> ReconcileResult | None:
    """Restore the weights of a plan that is deleted during a run, then remove the finalizer.

    The finalizer is removed at once where nothing is to be restored, and at `release_at` otherwise, so that no deletion
    hangs. However old the deletion is, the weights are tried first. They are restored without our finalizer too: the
    plan may stand for a while because of another's. The rule is above every other decision, because the plan will be
    gone.
    """
    deleting = snapshot.plan.deleting
    if deleting is None:
        return None
    snapshot = _with_lost_weights(snapshot)
    status, weights, plan = snapshot.status, snapshot.status.weights, snapshot.plan
    release = ReconcileResult(
        actions=(PatchPlanMetadata(finalizer=False, undo_annotation=plan.undo_annotation),) if plan.finalizer else ()
    )
    keep = snapshot.plan.written is not None and snapshot.plan.written.deletion_policy == "Keep"
    ended = status.phase is Phase.ROLLED_BACK or status.effective_phase in (Phase.CONTRACTING, Phase.SUCCEEDED)
    at = release_at(snapshot)
    over = at is not None and snapshot.now >= at
    known = is_valid_snapshot(weights.snapshot, weights.old, weights.new)
    moved = [route.id for route in weights.snapshot]
    there = any(route_exists(snapshot, route) for route in moved)
    gone = not known or not (there or unread_words(snapshot, moved))
    if keep or ended or over or gone:
        return release
    if status.phase is Phase.ROLLING_BACK:
        return None
    if status.phase not in TRANSITIONS[TransitionName.FAILED].sources:
        return release
    if is_lost(snapshot) and old_side_down(snapshot):
        until = deleting + RELEASE_AFTER
        return release if snapshot.now >= until else ReconcileResult(wake_at=until)
    back = try_rollback(snapshot, StatusReason.DELETED, "the plan was deleted during the run")
    if back is not None or status.held is None:
        return back
    until = max(status.held.reason_since or status.held.since, deleting) + RELEASE_AFTER
    return release if snapshot.now >= until else ReconcileResult(wake_at=until)


def _with_lost_weights(snapshot: Snapshot) -> Snapshot:
    """The snapshot; of a run whose status is lost, with the weights from its undo command, where they are known."""
    if not is_lost(snapshot):
        return snapshot
    try:
        return lost_run(snapshot)
    except LostRunError:
        return snapshot


def release_at(snapshot: Snapshot) -> datetime | None:
    """When a deletion gives up restoring the weights; None where it does not, or before an attempt has failed.

    The time counts from the first attempt of this leader that failed, never from the deletion: no operator may have
    been there to see that, or its clock may be ahead. Where nothing can be written it counts from the rollback.
    """
    status, deleting = snapshot.status, snapshot.plan.deleting
    if deleting is None or status.phase is not Phase.ROLLING_BACK:
        return None
    began = status.intent.at if status.intent else status.entered_at or deleting
    failed = [refusal.since for refusal in snapshot.refusals if refusal.kind == "route" and refusal.urgent]
    if not failed and rollback_patches(snapshot, status):
        return None
    return max(min(failed, default=began), deleting) + RELEASE_AFTER


def superseded(snapshot: Snapshot) -> ReconcileResult | None:
    """Roll back when the plan or the pod template was changed: what was judged is no longer what runs.

    A restart is no change. Before any weight has moved, the run starts again instead. The rule is above all verdicts,
    because these are about the former version.
    """
    status, spec = snapshot.status, snapshot.plan.written
    if spec is None or status.phase not in TRAFFIC_SHIFTED_PHASES | STARTING:
        return None
    if spec.plan_hash() != status.plan_hash and (status.phase in STARTING or not is_live_edit(snapshot)):
        what = f"the plan was changed during the run{_change_words(snapshot, spec)}"
    elif snapshot.new is not None and not is_same_version(snapshot.new.revision, status.revision):
        what = f"the pod template of {snapshot.new.name} was changed during the run"
    else:
        return None
    if status.phase in STARTING:
        return ReconcileResult(reset_run(snapshot, TransitionName.CHANGED_BEFORE_SHIFT, what))
    return try_rollback(snapshot, StatusReason.SUPERSEDED, what)


def _change_words(snapshot: Snapshot, spec: PlanSpec) -> str:
    """What was changed, and the problem of the new plan, as text; empty where neither is known."""
    found = changes(snapshot.status.spec_digest, spec_digest(spec)) if snapshot.status.spec_digest else {}
    words = [f"{name}: {change}" for name, change in found.items()] + [snapshot.plan.problem]
    details = "; ".join(word for word in words if word)
    return f" ({details[:600]})" if details else ""


def new_side_unavailable(snapshot: Snapshot) -> ReconcileResult | None:
    """Apply `onFail` when the new side is gone, down, short of ready pods, or restarts too often.

    Where its pods are missing through no fault of its version, the weights go back, and the run is held. The rule needs
    only the Deployment, and is above all predicates, because dead pods send no metrics.
    """
    spec, status, new = snapshot.plan.written, snapshot.status, snapshot.new
    if spec is None or status.phase not in TRAFFIC_SHIFTED_PHASES or _begins_without_pods(snapshot):
        return None
    if new is None and f"deployments/{spec.new.deployment}" in snapshot.unread:
        return None
    if new is None:
        return on_fail(snapshot, StatusReason.NEW_SIDE_GONE, f"Deployment {spec.new.deployment} is gone")
    if (loss := _loss(snapshot, new, spec)) is not None:
        return _lost(snapshot, new, *loss)
    if words := new_side_unserved(snapshot):
        return _lost(snapshot, new, StatusReason.NEW_SIDE_DOWN, words, told_first=True)
    if new.pods is not None and (
        often := restarted_too_often(status.restarted_before, new.pods, new.wanted, spec.availability.max_restarts)
    ):
        words = f"the containers of {new.name} {often}{new.why}"
        return on_fail(snapshot, StatusReason.NEW_SIDE_RESTARTING, words)
    return None


def _begins_without_pods(snapshot: Snapshot) -> bool:
    """Whether the new side has no pods because the first weight, which is a number of pods, is not in force yet."""
    status, weights = snapshot.status, snapshot.status.weights
    by_pods = any(view.ready_pods is not None for view in snapshot.routes.values())
    return by_pods and status.effective_phase is Phase.SHIFTING and not share(weights.written, weights.old, weights.new)


def _loss(snapshot: Snapshot, new: WorkloadView, spec: PlanSpec) -> tuple[StatusReason, str] | None:
    """What the new side lacks of the pods that it must have: reason and words; None where that is nothing."""
    if new.wanted == 0:
        by = f" by its autoscaler ({new.autoscaler})" if new.autoscaler else ""
        return StatusReason.NEW_SIDE_DOWN, f"{new.name} is scaled to 0{by}"
    if new.ready == 0:
        return StatusReason.NEW_SIDE_DOWN, f"none of {new.wanted} pods of {new.name} is ready{new.why}"
    if new.short_since and snapshot.now >= new.short_since + spec.availability.grace:
        lasts = span(new.short_since, snapshot.now)
        words = f"only {new.ready} of {new.expected} pods of {new.name} are ready, for {lasts}{new.why}"
        return StatusReason.NEW_SIDE_SHORT, words
    return None


def _lost(
    snapshot: Snapshot, new: WorkloadView, reason: StatusReason, words: str, *, told_first: bool = False
) -> ReconcileResult | None:
    """What follows from missing pods. The weights go back at once, also while nobody knows whose fault it is.

    Where `onFail` is Hold they stay if it is the version's, so the list of the pods is waited for, for a short time.
    With `told_first` the endpoints are gone before the Deployment says so, so what was listed of its pods is too old.
    Nothing is waited for before the routes are claimed: the former leader may still write to them.
    """
    if snapshot.plan.written is not None and snapshot.plan.written.replicas is not None:
        return on_fail(snapshot, reason, words)  # without its weight it has no pods that could come back
    known = not told_first and (new.wanted == 0 or (new.pods_fresh and new.pods is not None))
    no_fault = known and missing_by_no_fault(new)
    match snapshot.status.held_for:
        case HoldReason.FAILED:
            return None
        case HoldReason.NEW_SIDE_AWAY:
            failed = known and new.pods is not None and bool(new.pods.failed)
            return on_fail(snapshot, reason, words) if failed else None
    if known and not no_fault:
        return on_fail(snapshot, reason, words)
    suspended = Held(reason=HoldReason.NEW_SIDE_AWAY, since=snapshot.now, back_to=Phase.SHIFTING)
    if no_fault:
        return try_rollback(snapshot, HoldReason.NEW_SIDE_AWAY, words, suspended=suspended)
    if snapshot.plan.written is None or snapshot.plan.written.on_fail == "Rollback":
        return try_rollback(snapshot, reason, words, suspended=suspended)
    claimed = snapshot.status.epoch == snapshot.epoch
    since = new.unserved_since if told_first and claimed else new.short_since
    until = since + LISTED_WITHIN if since else snapshot.now
    return ReconcileResult(wake_at=until) if snapshot.now < until else on_fail(snapshot, reason, words)


def failure_detected(snapshot: Snapshot) -> ReconcileResult | None:
    """Apply `onFail` when a guard or a fail predicate trips, or a pass predicate on events is refuted.

    It is above all rules that wait: mitigate first, investigate later. A failure of both sides is a shared outage, and
    proves nothing against the new side. Until the next weight is in force, answers that were asked at the stage that is
    being left still count.
    """
    spec, status = snapshot.plan.spec, snapshot.status
    if spec is None or status.phase not in TRAFFIC_SHIFTED_PHASES:
        return None
    left = left_predicates(spec, status, snapshot.source)
    for item in (*enforced_predicates(spec, status, snapshot.source), *left):
        verdict = verdict_of(snapshot, item)
        value = value_text(item.predicate.comparison, verdict)
        if item.is_failure_signal and verdict.outcome is Outcome.PROVED and not is_shared_outage(snapshot, item):
            words = f"{item.role} {item.name} tripped: {against(value, bound_of(item.predicate), holds=True)}"
            return on_fail(
                snapshot,
                StatusReason.FAIL_TRIPPED if item.role == "fail" else StatusReason.GUARD_TRIPPED,
                words,
                [item],
            )
        if item.predicate.events and not item.is_failure_signal and verdict.outcome is Outcome.REFUTED:
            words = f"pass {item.name} is refuted: {against(value, bound_of(item.predicate), holds=False)}"
            return on_fail(snapshot, StatusReason.PASS_REFUTED, words, [item])
    return None
