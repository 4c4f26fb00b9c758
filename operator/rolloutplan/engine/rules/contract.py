"""Phase Contracting: after the bake the old side is removed, if the plan says so. No rule here rolls back.

A rollback of the weights cannot restore what was removed. So before each task everything is checked again: the weights
are as written, the new side has all its pods, and no pause, approval or policy blocks the removal.
"""

from __future__ import annotations

from datetime import datetime

from rolloutplan.api.changes import change
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, Task
from rolloutplan.engine.model.actions import FindUsers, PatchPlanMetadata, ReconcileResult
from rolloutplan.engine.model.plan_view import Unreadable
from rolloutplan.engine.model.routes import divides_as_desired, live_weights, route_fault, route_mismatch, route_patches
from rolloutplan.engine.model.snapshot import Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.policy.blocked import Blocked
from rolloutplan.engine.policy.committed import end_weights
from rolloutplan.engine.policy.empty_sides import breaking_contract
from rolloutplan.engine.policy.endpoints import (
    USERS_VALID_FOR,
    block_by_routes,
    block_by_users,
    endpoints_awaited,
    is_shared,
)
from rolloutplan.engine.policy.gate import GATED, block_on_contract
from rolloutplan.engine.policy.grants import not_granted_in_contract
from rolloutplan.engine.policy.preconditions import paused_words
from rolloutplan.engine.rules.adapt import accept_edit
from rolloutplan.engine.rules.commands.answer import other_commands
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.queue import release_place
from rolloutplan.engine.rules.tasks import (
    SCALE_WITHIN,
    SKIPPED_AUTOSCALED,
    TaskResult,
    TaskSpec,
    current_task,
    run_job,
    run_scaling,
    start_task,
)
from rolloutplan.engine.run.decision_log import span
from rolloutplan.engine.run.jobs import SCALE_OLD
from rolloutplan.engine.run.transition import enter_hold, fencing_token, leave_hold, transition
from rolloutplan.engine.run.undo import ScaleUp, read_scale_up


def clean_up_old(snapshot: Snapshot) -> ReconcileResult | None:
    """After the bake, apply CONTRACTING_RULES. No later rule applies to such a run.

    It is above the automatic rollbacks, because the removed part of the old side cannot serve traffic.
    """
    return first_match(CONTRACTING_RULES, snapshot) if snapshot.status.effective_phase is Phase.CONTRACTING else None


def stay_contract_failed(snapshot: Snapshot) -> ReconcileResult | None:
    """After a failed removal, wait for a person, whatever else blocks the run or not."""
    return ReconcileResult() if snapshot.status.held_for == HoldReason.CONTRACT_FAILED else None


def find_users(snapshot: Snapshot) -> ReconcileResult | None:
    """Before a task of the removal, look through all kinds of route for what gives the old Service traffic.

    It is above `hold_contract`, which holds for what was found, and waits until nothing else blocks. Where both sides
    are behind one Service, that goes on being used.
    """
    users, spec = snapshot.users, snapshot.plan.written
    if snapshot.status.task is not None or _find_other_block(snapshot, spec) is not None or _draining_until(snapshot):
        return None
    if spec is None or _next_task(snapshot, spec) is None or is_shared(snapshot):
        return None
    service = snapshot.status.weights.old
    if users is not None and users.service == service and snapshot.now < users.at + USERS_VALID_FOR:
        return None
    return ReconcileResult(actions=(FindUsers(service),))


def hold_contract(snapshot: Snapshot) -> ReconcileResult | None:
    """Hold the removal while plan, weights, a pause, an approval, a policy or too few pods block it.

    It is above all rules that remove something, because moving weights cannot undo a removal.
    """
    status, blocked = snapshot.status, _find_block(snapshot, snapshot.plan.written)
    if blocked is None:
        return None
    if status.held_for != blocked.reason:
        return enter_hold(snapshot, blocked.reason, blocked.words)
    is_changed = blocked.reason in GATED and blocked.words != status.message
    return ReconcileResult(change(status, message=blocked.words) if is_changed else None, wake_at=blocked.again)


def await_endpoints_again(snapshot: Snapshot) -> ReconcileResult | None:
    """Before a task of the removal, wait until the endpoints are known. It takes a moment after a start."""
    return ReconcileResult() if snapshot.status.task is None and endpoints_awaited(snapshot) else None


def resume_contract(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on when nothing blocks the removal any more."""
    held = snapshot.status.held if snapshot.status.phase is Phase.HELD else None
    if held is None:
        return None
    return ReconcileResult(leave_hold(snapshot, held, f"{held.reason} is over after {span(held.since, snapshot.now)}"))


def drain(snapshot: Snapshot) -> ReconcileResult | None:
    """Wait for `drain` since all traffic left the old side, so that open connections can end."""
    until = _draining_until(snapshot)
    return ReconcileResult(wake_at=until) if until else None


def finish_contract(snapshot: Snapshot) -> ReconcileResult | None:
    """End the run with success when nothing is left to remove. Other sides that the plan names now are not touched."""
    status, spec = snapshot.status, _spec(snapshot)
    if _next_task(snapshot, spec) is not None:
        return None
    left = (
        ""
        if _same_sides(snapshot, spec)
        else "; the rest of the old side is kept, because the plan names other sides now"
    )
    words = f"{status.weights.new} serves {status.weights.desired} of the traffic{left}"
    return ReconcileResult(
        transition(snapshot, TransitionName.FINISHED, words, reason=StatusReason.SUCCEEDED, task=None)
    )


def begin_contract_task(snapshot: Snapshot) -> ReconcileResult | None:
    """Record the next task before it starts, with the undo command that is valid after it."""
    spec = _spec(snapshot)
    task_spec = _next_task(snapshot, spec)
    return (
        _record_task(snapshot, spec, task_spec)
        if task_spec is not None and current_task(snapshot, task_spec) is None
        else None
    )


def run_contract_task(snapshot: Snapshot) -> ReconcileResult | None:
    """Carry out the current task until it is done or has failed. A failure is held, not rolled back."""
    spec = _spec(snapshot)
    task_spec = _next_task(snapshot, spec)
    task = current_task(snapshot, task_spec) if task_spec else None
    if task_spec is None or task is None:
        return None
    if task_spec.template is not None:
        result = run_job(snapshot, task, task_spec)
    else:
        result = _write_undo_command(snapshot) or run_scaling(snapshot, task, snapshot.old, spec.old.deployment)
    return _record_result(snapshot, task, result) if isinstance(result, TaskResult) else result


CONTRACTING_RULES: tuple[Rule, ...] = (
    other_commands,
    accept_edit,
    release_place,
    stay_contract_failed,
    find_users,
    hold_contract,
    await_endpoints_again,
    resume_contract,
    drain,
    finish_contract,
    begin_contract_task,
    run_contract_task,
)


def _spec(snapshot: Snapshot) -> PlanSpec:
    assert snapshot.plan.written is not None  # `hold_contract` holds where it is not
    return snapshot.plan.written


def _draining_until(snapshot: Snapshot) -> datetime | None:
    """The end of `drain`; None where it is over."""
    at = snapshot.status.stage
    until = (at.verified_at if at and at.verified_at else snapshot.now) + _spec(snapshot).traffic.drain
    return until if snapshot.now < until else None


def _find_block(snapshot: Snapshot, spec: PlanSpec | None) -> Blocked | None:
    """Why nothing may be removed now. A running task waits only for plan, weights, a pause and other routes."""
    return _find_other_block(snapshot, spec) or (None if snapshot.status.task else block_by_users(snapshot))


def _find_other_block(snapshot: Snapshot, spec: PlanSpec | None) -> Blocked | None:
    """Why nothing may be removed now, beside what no watch shows."""
    status, weights = snapshot.status, snapshot.status.weights
    if spec is None or isinstance(snapshot.plan.content, Unreadable):
        return Blocked(HoldReason.INVALID, f"the plan is now invalid, so nothing is removed: {snapshot.plan.problem}")
    differs = route_mismatch(snapshot, weights.written, weights)
    if differs and not divides_as_desired(snapshot, weights.written, weights):
        fix = f"put the weights back as they were, and commit them first ({end_weights(snapshot)}), to go on"
        return Blocked(HoldReason.CONFLICT, f"{differs}: the old side is not removed; {fix}")
    if fault := route_fault(snapshot):
        return Blocked(HoldReason.CONFLICT, f"{fault}, to go on; the old side is not removed")
    if status.paused is not None:
        return Blocked(HoldReason.PAUSED, paused_words(status.paused))
    if _next_task(snapshot, spec) is None:
        return None
    if (found := not_granted_in_contract(snapshot.grants, spec)) is not None:
        return Blocked(HoldReason.NOT_GRANTED, f"the old side is not removed: {found.words}"[:1024])
    if blocked := block_by_routes(snapshot):
        return blocked
    if SCALE_OLD not in status.completed_tasks and (words := breaking_contract(snapshot, spec)):
        return Blocked(HoldReason.OLD_SIDE_IN_USE, words)
    return None if status.task is not None else block_on_contract(snapshot, spec)


def _same_sides(snapshot: Snapshot, spec: PlanSpec) -> bool:
    """Whether the plan still names the sides of this run."""
    weights = snapshot.status.weights
    return spec.names == (weights.old, weights.new)


def _next_task(snapshot: Snapshot, spec: PlanSpec) -> TaskSpec | None:
    """The next task of the removal; None where nothing is left.

    A Job that was begun ends first, also where the old Deployment, which was gone, is there again: one that is put
    aside could be begun twice.
    """
    done, contract, task = snapshot.status.completed_tasks, spec.contract, snapshot.status.task
    if not _same_sides(snapshot, spec):
        return None
    begun = task.name if task is not None and task.made else ""
    jobs = [job for job in contract.jobs if job.name not in done]
    job = next((job for job in jobs if job.name == begun), None)
    scaled = {SCALE_OLD, SKIPPED_AUTOSCALED} & {*done} or snapshot.old is None
    if job is None and contract.scale_old is not None and not scaled:
        message = f"Deployment {spec.old.deployment} is scaled to {contract.scale_old} replicas"
        return TaskSpec("Scale", SCALE_OLD, SCALE_WITHIN, message, replicas=contract.scale_old)
    job = job or next(iter(jobs), None)
    if job is None:
        return None
    return TaskSpec("Contract", job.name, job.deadline, f"Job {job.name} removes the old side", job.template)


def _record_task(snapshot: Snapshot, spec: PlanSpec, task_spec: TaskSpec) -> ReconcileResult:
    """Record a task. Before the old side is scaled down, the undo command gets the command that scales it up again."""
    before = snapshot.status.task
    status = start_task(
        snapshot, task_spec, before.attempt if before is not None and before.name == task_spec.name else 1
    )
    old, revert = snapshot.old, status.revert
    if task_spec.name == SCALE_OLD and old is not None and revert and read_scale_up(revert) is None:
        up = ScaleUp(snapshot.plan.namespace, spec.old.deployment, max(old.wanted, 1))
        status = change(status, revert=f"{up}{revert}")
    return ReconcileResult(status)


def _write_undo_command(snapshot: Snapshot) -> ReconcileResult | None:
    """Write the undo command to plan and routes, before the old side is scaled down.

    The write succeeds only if the routes are still as in the snapshot, so their weights have not been moved since.
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


def _record_result(snapshot: Snapshot, task: Task, result: TaskResult) -> ReconcileResult:
    status = snapshot.status
    if result.succeeded:
        done = (*status.completed_tasks, SKIPPED_AUTOSCALED if result.skipped else task.name)
        return ReconcileResult(
            transition(
                snapshot,
                TransitionName.CONTRACTED,
                result.words[:1024],
                reason=StatusReason.CONTRACTING,
                task=None,
                completed_tasks=done,
            )
        )
    return enter_hold(snapshot, HoldReason.CONTRACT_FAILED, f"{result.words}; {_both_sides(snapshot)}"[:1024])


def _both_sides(snapshot: Snapshot) -> str:
    """The pods and traffic of both sides, and what a person can do."""
    status, old, new = snapshot.status, snapshot.old, snapshot.new
    sides = f"{_pods(new)} with {status.weights.desired} of the traffic, {_pods(old)} with the rest"
    return f"{sides}; `resume` tries it again, `abort` puts the weights back while the old side exists"


def _pods(side: WorkloadView | None) -> str:
    return f"{side.name} has {side.ready} of {side.wanted} pods ready" if side else "a Deployment is gone"
