"""After the bake: the old is taken away, if the plan says so. Nothing here goes back by itself.

What was taken away cannot be given back by moving weights, so that before each part everything is looked at once more:
that the weights stand as they were written, that the new side has all its pods, and that no person and no policy is
against it.
"""

from __future__ import annotations

from rolloutplan.api.changes import change
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, Task
from rolloutplan.engine.model.actions import PatchPlanMetadata, ReconcileResult
from rolloutplan.engine.model.plan_view import Unreadable
from rolloutplan.engine.model.routes import live_weights, route_mismatch, route_patches
from rolloutplan.engine.model.snapshot import Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.policy.gate import GATED, Blocked, block_on_contract
from rolloutplan.engine.policy.preconditions import paused_words
from rolloutplan.engine.rules.adapt import adapted
from rolloutplan.engine.rules.command import other_commands
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.tasks import (
    SCALE_OLD,
    SCALED_WITHIN,
    SKIPPED_AUTOSCALED,
    TaskResult,
    TaskSpec,
    current_task,
    job_run,
    resized,
    start_task,
)
from rolloutplan.engine.run.decision_log import span
from rolloutplan.engine.run.transition import enter_hold, fencing_token, leave_hold, transition


def clean_up_old(snapshot: Snapshot) -> ReconcileResult | None:
    """Once the bake is over, read CONTRACTING_RULES. They say all that is to be said of a run that is so far.

    It stands above the rules that lead back by themselves: what is taken away could not be served from.
    """
    return first_match(CONTRACTING_RULES, snapshot) if snapshot.status.effective_phase is Phase.CONTRACTING else None


def stay_contract_failed(snapshot: Snapshot) -> ReconcileResult | None:
    """A part that could not be taken away waits for a person, whatever else is in the way or is not."""
    return ReconcileResult() if snapshot.status.held_for == HoldReason.CONTRACT_FAILED else None


def hold_contract(snapshot: Snapshot) -> ReconcileResult | None:
    """Take nothing away while anything is against it: plan, weights, a person, a policy, too few pods.

    It stands above all that takes away: that cannot be undone by moving weights.
    """
    status, closed = snapshot.status, _closed(snapshot, snapshot.plan.written)
    if closed is None:
        return None
    if status.held_for != closed.reason:
        return enter_hold(snapshot, closed.reason, closed.words)
    says = closed.reason in GATED and closed.words != status.message
    return ReconcileResult(change(status, message=closed.words) if says else None, wake_at=closed.again)


def resume_contract(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on where nothing is against it any more."""
    held = snapshot.status.held if snapshot.status.phase is Phase.HELD else None
    if held is None:
        return None
    return ReconcileResult(leave_hold(snapshot, held, f"{held.reason} is over after {span(held.since, snapshot.now)}"))


def drain(snapshot: Snapshot) -> ReconcileResult | None:
    """Wait until nobody uses the old any more: for `drain` since all traffic has left it."""
    at = snapshot.status.stage
    until = (at.verified_at if at and at.verified_at else snapshot.now) + _spec(snapshot).traffic.drain
    return ReconcileResult(wake_at=until) if snapshot.now < until else None


def finish_contract(snapshot: Snapshot) -> ReconcileResult | None:
    """Where nothing is left to take away, the run has succeeded. What other sides the plan names now is not touched."""
    status, spec = snapshot.status, _spec(snapshot)
    if _to_take(snapshot, spec) is not None:
        return None
    left = "" if _ours(snapshot, spec) else ", and what is left of the old stays: the plan has other sides now"
    words = f"{status.weights.new} serves {status.weights.desired} of the traffic{left}"
    return ReconcileResult(
        transition(snapshot, TransitionName.FINISHED, words, reason=StatusReason.SUCCEEDED, task=None)
    )


def begin_contract_task(snapshot: Snapshot) -> ReconcileResult | None:
    """Intend the next part: it is recorded before it is begun, with the way back that is true after it."""
    spec = _spec(snapshot)
    wanted = _to_take(snapshot, spec)
    return _begun(snapshot, spec, wanted) if wanted is not None and current_task(snapshot, wanted) is None else None


def take_away(snapshot: Snapshot) -> ReconcileResult | None:
    """Do the part under way, until it is done or has failed. Nothing goes back by itself from here."""
    spec = _spec(snapshot)
    wanted = _to_take(snapshot, spec)
    task = current_task(snapshot, wanted) if wanted else None
    if wanted is None or task is None:
        return None
    if wanted.template is not None:
        found = job_run(snapshot, task, wanted)
    else:
        found = _announced(snapshot) or resized(snapshot, task, snapshot.old, spec.old.deployment)
    return _ended(snapshot, task, found) if isinstance(found, TaskResult) else found


CONTRACTING_RULES: tuple[Rule, ...] = (
    other_commands,
    adapted,
    stay_contract_failed,
    hold_contract,
    resume_contract,
    drain,
    finish_contract,
    begin_contract_task,
    take_away,
)


def _spec(snapshot: Snapshot) -> PlanSpec:
    assert snapshot.plan.written is not None  # `hold_contract` holds where it is not
    return snapshot.plan.written


def _closed(snapshot: Snapshot, spec: PlanSpec | None) -> Blocked | None:
    """Why nothing may be taken away now. A part that is under way waits for weights and persons alone."""
    status, weights = snapshot.status, snapshot.status.weights
    if spec is None or isinstance(snapshot.plan.content, Unreadable):
        return Blocked(
            HoldReason.INVALID, f"the plan can no longer be read, so nothing is removed: {snapshot.plan.problem}"
        )
    if differs := route_mismatch(snapshot, weights.written, weights):
        return Blocked(
            HoldReason.CONFLICT, f"{differs}: the old side is not removed; put the weights back as they were to go on"
        )
    if status.paused is not None:
        return Blocked(HoldReason.PAUSED, paused_words(status.paused))
    return None if status.task is not None or _to_take(snapshot, spec) is None else block_on_contract(snapshot, spec)


def _ours(snapshot: Snapshot, spec: PlanSpec) -> bool:
    """Whether the plan still speaks of the sides of this run."""
    weights = snapshot.status.weights
    return (spec.old.service_name, spec.new.service_name) == (weights.old, weights.new)


def _to_take(snapshot: Snapshot, spec: PlanSpec) -> TaskSpec | None:
    """The next part of what is to be taken away."""
    done, contract = snapshot.status.completed_tasks, spec.contract
    if not _ours(snapshot, spec):
        return None
    if contract.scale_old is not None and not {SCALE_OLD, SKIPPED_AUTOSCALED} & {*done} and snapshot.old is not None:
        says = f"Deployment {spec.old.deployment} is scaled to {contract.scale_old} replicas"
        return TaskSpec("Scale", SCALE_OLD, SCALED_WITHIN, says, replicas=contract.scale_old)
    job = next((job for job in contract.jobs if job.name not in done), None)
    if job is None:
        return None
    return TaskSpec("Contract", job.name, job.deadline, f"Job {job.name} removes the old side", job.template)


def _begun(snapshot: Snapshot, spec: PlanSpec, wanted: TaskSpec) -> ReconcileResult:
    """Intend a part. Before the old side is made smaller, the way back says how it is made larger again."""
    before = snapshot.status.task
    status = start_task(snapshot, wanted, before.attempt if before is not None and before.name == wanted.name else 1)
    old, revert = snapshot.old, status.revert
    if wanted.name == SCALE_OLD and old is not None and revert and not revert.startswith("kubectl scale"):
        where = f"deployment/{spec.old.deployment} -n {snapshot.plan.namespace}"
        up = f"kubectl scale {where} --replicas={max(old.wanted, 1)} && kubectl rollout status {where}"
        status = change(status, revert=f"{up} && {revert}")
    return ReconcileResult(status)


def _announced(snapshot: Snapshot) -> ReconcileResult | None:
    """Leave the way back on plan and routes, before the old side is made smaller.

    The write tests that the routes are still as they were looked at: their weights cannot have been moved since.
    """
    status, weights = snapshot.status, snapshot.status.weights
    if snapshot.plan.undo_annotation != status.revert:
        return ReconcileResult(
            actions=(PatchPlanMetadata(finalizer=snapshot.plan.finalizer, undo_annotation=status.revert),)
        )
    if snapshot.scaled is not None and status.task is not None and snapshot.scaled.at >= status.task.since:
        return None
    routes = live_weights(snapshot, weights.written, weights)
    marks = route_patches(snapshot, routes, weights, fencing_token(snapshot, status), status.revert, marks=True)
    return ReconcileResult(actions=marks) if marks else None


def _ended(snapshot: Snapshot, task: Task, ended: TaskResult) -> ReconcileResult:
    status = snapshot.status
    if ended.good:
        done = (*status.completed_tasks, SKIPPED_AUTOSCALED if ended.left else task.name)
        return ReconcileResult(
            transition(
                snapshot,
                TransitionName.CONTRACTED,
                ended.words[:1024],
                reason=StatusReason.CONTRACTING,
                task=None,
                completed_tasks=done,
            )
        )
    return enter_hold(snapshot, HoldReason.CONTRACT_FAILED, f"{ended.words}; {_both_sides(snapshot)}"[:1024])


def _both_sides(snapshot: Snapshot) -> str:
    """How both sides stand, and what a person can do."""
    status, old, new = snapshot.status, snapshot.old, snapshot.new
    sides = f"{_pods(new)} with {status.weights.desired} of the traffic, {_pods(old)} with the rest"
    return f"{sides}; `resume` tries it again, `abort` puts the weights back while the old side exists"


def _pods(side: WorkloadView | None) -> str:
    return f"{side.name} has {side.ready} of {side.wanted} pods ready" if side else "a Deployment is gone"
