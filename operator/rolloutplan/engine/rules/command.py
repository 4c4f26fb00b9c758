"""Commands of a person: carried out at once, once for each token, and always answered.

`abort` and `revert` need only the weights from before the run, and are near the top of RULES. The other commands are
below every rollback, so that none overrides a failure. A command that cannot be carried out is rejected, with the
reason and what to send instead. Each verb has one function. All eight are in this file because they share how a command
is read and answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from rolloutplan.api.changes import change_stage, change_task, change_weights
from rolloutplan.api.command import ANNOTATION, Command, CommandError, Verb, read_command
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Held, Paused, Phase, Status
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.analysis.stages import is_last, more_time, next_stage
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.routes import live_weights, route_exists
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import is_valid_snapshot, pair, share
from rolloutplan.engine.policy.gate import CONTRACT
from rolloutplan.engine.policy.preconditions import paused_words
from rolloutplan.engine.rules.tasks import old_side_gone
from rolloutplan.engine.run.decision_log import CommandSource, span
from rolloutplan.engine.run.jobs import job_name
from rolloutplan.engine.run.transition import (
    enter_hold,
    leave_hold,
    note_decision,
    reset_run,
    start_rollback,
    transition,
)

_BEFORE_A_PAUSE = frozenset(
    {
        HoldReason.CONFLICT,
        HoldReason.INVALID,
        HoldReason.METRICS_UNAVAILABLE,
        HoldReason.INCIDENT,
        HoldReason.NEW_SIDE_AWAY,
    }
)
"""These reasons of a hold stay in the status during a pause; the pause is shown when they are over."""
_UNREADABLE = "unread-"
_SOMEBODY = "somebody"


class _DeniedError(Exception):
    """The command cannot be carried out now; has the reason, and what to do instead."""


@dataclass(frozen=True, slots=True)
class _CommandContext:
    """A snapshot with a new command."""

    snapshot: Snapshot
    command: Command
    commanded_by: CommandSource

    @property
    def words(self) -> str:
        reason = f": {self.command.reason}" if self.command.reason else ""
        return f"{self.command.verb} by {self.commanded_by.by}{reason}"


def abort_or_revert(snapshot: Snapshot) -> ReconcileResult | None:
    """Roll back on `abort` or `revert`. It needs only the weights from before the run.

    It is near the top, so that a person can restore the old weights whatever is missing, slow or broken.
    """
    try:
        context = _new_command(snapshot)
    except CommandError:
        return None  # answered by `other_commands`
    return _carry_out(context) if context is not None and context.command.verb in (Verb.ABORT, Verb.REVERT) else None


def other_commands(snapshot: Snapshot) -> ReconcileResult | None:
    """Carry out any other new command in the plan's annotations, or reject it with the reason.

    It is below every rollback rule, so that no command overrides a failure.
    """
    try:
        context = _new_command(snapshot)
    except CommandError as error:
        token = _UNREADABLE + hashlib.sha256(snapshot.plan.command.encode()).hexdigest()[:12]
        if token in snapshot.status.tokens:
            return None
        return _reject(snapshot, CommandSource(snapshot.plan.command_by or _SOMEBODY, token), f"{ANNOTATION}: {error}")
    if context is not None:
        return _carry_out(context)
    return _reject_replaced(snapshot)


def _reject_replaced(snapshot: Snapshot) -> ReconcileResult | None:
    """Reject a command that a newer one replaced before it was carried out: only the newest counts."""
    for text, by in snapshot.plan.replaced:
        with suppress(CommandError):
            command = read_command(text)
            if command.token not in snapshot.status.tokens:
                words = f"{command.verb} by {by or _SOMEBODY}: replaced by a newer command before it was processed"
                return _reject(snapshot, CommandSource(by or _SOMEBODY, command.token), words)
    return None


def _new_command(snapshot: Snapshot) -> _CommandContext | None:
    """The command without an answer so far, if any. Raises CommandError for an invalid one."""
    if not snapshot.plan.command:
        return None
    command = read_command(snapshot.plan.command)
    commanded_by = CommandSource(snapshot.plan.command_by or _SOMEBODY, command.token)
    return _CommandContext(snapshot, command, commanded_by) if command.token not in snapshot.status.tokens else None


def _carry_out(context: _CommandContext) -> ReconcileResult | None:
    try:
        return _HANDLERS[context.command.verb](context)
    except _DeniedError as rejection:
        return _reject(context.snapshot, context.commanded_by, f"{context.words}: {rejection}")


def _reject(snapshot: Snapshot, commanded_by: CommandSource, words: str) -> ReconcileResult:
    return note_decision(snapshot, TransitionName.COMMAND_REJECTED, words, commanded_by=commanded_by)


# ---- abort and revert ------------------------------------------------------------------------------------------------


def _abort(context: _CommandContext) -> ReconcileResult:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.effective_phase is Phase.CONTRACTING and (gone := old_side_gone(snapshot)):
        raise _DeniedError(gone)
    if _snapshot_known(status) and status.phase in TRANSITIONS[TransitionName.FAILED].sources:
        return start_rollback(
            snapshot, StatusReason.ABORTED, context.words, commanded_by=context.commanded_by, paused=None
        )
    if status.phase in TRANSITIONS[TransitionName.ABORTED].sources and not snapshot.plan.finalizer:
        return ReconcileResult(_ended_early(context))
    if status.phase is Phase.SUCCEEDED:
        raise _DeniedError("the run has ended: `revert` puts the old weights back")
    if status.phase is Phase.ROLLED_BACK:
        raise _DeniedError("there is nothing to abort: the run has ended and the old weights are restored")
    command = (
        snapshot.plan.undo_annotation or status.revert or "the command in the route's annotation rolloutplan.dev/revert"
    )
    raise _DeniedError(f"the weights before the run are no longer known: run {command}")


def _snapshot_known(status: Status) -> bool:
    weights = status.weights
    return is_valid_snapshot(weights.snapshot, weights.old, weights.new)


def _ended_early(context: _CommandContext) -> Status:
    """End the run before any weight has moved. It starts again only for a changed plan or pod template, or `retry`."""
    snapshot, spec = context.snapshot, context.snapshot.plan.written
    task = snapshot.status.task
    left = f"; Job {task.job} is not deleted" if task is not None and task.made else ""
    words = f"{context.words}; no weight was moved{left}"
    return transition(
        snapshot,
        TransitionName.ABORTED,
        words,
        reason=StatusReason.ABORTED,
        commanded_by=context.commanded_by,
        failed=words[:1024],
        paused=None,
        plan_hash=spec.plan_hash() if spec else "",
        revision=snapshot.new.revision if snapshot.new else "",
    )


def _revert(context: _CommandContext) -> ReconcileResult:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase is not Phase.SUCCEEDED:
        return _abort(context)
    routes = {route.id for route in status.weights.snapshot}
    if not _snapshot_known(status) or not any(route_exists(snapshot, route) for route in routes):
        raise _DeniedError("the weights before the run, or their routes, are gone: there is nothing to restore")
    if gone := old_side_gone(snapshot):
        raise _DeniedError(gone)
    if conflict := next(
        (conflict.key for conflict in snapshot.route_conflicts if conflict.running and conflict.routes & routes), None
    ):
        raise _DeniedError(f"plan {conflict} uses the route now: abort that plan first")
    return start_rollback(
        snapshot, StatusReason.REVERTED, context.words, commanded_by=context.commanded_by, paused=None
    )


# ---- retry, pause and resume -----------------------------------------------------------------------------------------


def _retry(context: _CommandContext) -> ReconcileResult | None:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase not in TRANSITIONS[TransitionName.RETRIED].sources:
        raise _DeniedError(f"the run has not ended (phase {status.phase}): send `retry` after it has ended")
    if snapshot.plan.finalizer:
        return None  # `finished` removes the finalizer first
    return ReconcileResult(
        reset_run(snapshot, TransitionName.RETRIED, context.words, commanded_by=context.commanded_by, paused=None)
    )


def _pause(context: _CommandContext) -> ReconcileResult:
    snapshot, status = context.snapshot, context.snapshot.status
    paused = Paused(at=snapshot.now, by=context.commanded_by.by, reason=context.command.reason)
    if status.paused is not None:
        raise _DeniedError(f"the run is already paused, by {status.paused.by}")
    if status.phase in TRANSITIONS[TransitionName.BLOCKED].sources:
        return ReconcileResult(
            transition(
                snapshot,
                TransitionName.BLOCKED,
                paused_words(paused),
                reason=HoldReason.PAUSED,
                commanded_by=context.commanded_by,
                paused=paused,
            )
        )
    if status.phase not in {*TRAFFIC_SHIFTED_PHASES, Phase.CONTRACTING}:
        raise _DeniedError(f"there is nothing to pause in phase {status.phase}")
    held = status.held_for
    if held in (HoldReason.FAILED, HoldReason.CONTRACT_FAILED):
        raise _DeniedError(f"the run is already held: {held}, until a person ends the hold")
    if status.intent is not None or held in _BEFORE_A_PAUSE:
        words = f"{context.words}; paused once {'the new weight is accepted' if status.intent else f'{held} is over'}"
        return ReconcileResult(
            transition(
                snapshot,
                TransitionName.PAUSED,
                words,
                commanded_by=context.commanded_by,
                message=status.message,
                paused=paused,
            )
        )
    stays = "the weights stay, the guards stay on"
    if status.effective_phase is Phase.CONTRACTING:
        stays = "nothing more of the old side is removed"
    return enter_hold(
        snapshot, HoldReason.PAUSED, f"{context.words}; {stays}", commanded_by=context.commanded_by, paused=paused
    )


def _resume(context: _CommandContext) -> ReconcileResult:
    snapshot, status, held = context.snapshot, context.snapshot.status, context.snapshot.status.held
    reason = status.held_for
    match reason:
        case HoldReason.PAUSED:
            assert held is not None
            words = f"{context.words}, after {span(held.since, snapshot.now)}"
            return ReconcileResult(leave_hold(snapshot, held, words, context.commanded_by, paused=None))
        case HoldReason.UNDECIDED:
            return ReconcileResult(_deadline_extended(context))
        case HoldReason.CONTRACT_FAILED:
            assert held is not None
            return ReconcileResult(_task_retried(context, held))
        case HoldReason.CONFLICT if status.effective_phase is not Phase.CONTRACTING:
            return ReconcileResult(_stage_restarted(context))
    if status.paused is not None:
        return ReconcileResult(
            transition(
                snapshot,
                TransitionName.PAUSE_ENDED,
                context.words,
                commanded_by=context.commanded_by,
                message=status.message,
                paused=None,
            )
        )
    if reason:
        raise _DeniedError(f"the run is held: {reason}, which `resume` does not end: {status.message}")
    raise _DeniedError(f"the run is not held: its phase is {status.phase}")


def _task_retried(context: _CommandContext, held: Held) -> Status:
    """Start the failed task again; its Job gets a new name."""
    snapshot, task = context.snapshot, context.snapshot.status.task
    if task is not None:
        attempt, until = task.attempt + 1, snapshot.now + (task.deadline_at - task.since)
        job = job_name(snapshot.plan.name, snapshot.status.run, task.name, attempt) if task.job else ""
        task = change_task(task, since=snapshot.now, deadline_at=until, made=False, attempt=attempt, job=job)
    words = f"{context.words}; the failed task is retried"
    return leave_hold(snapshot, held, words, context.commanded_by, task=task, paused=None)


def _deadline_extended(context: _CommandContext) -> Status:
    """Extend the deadline by the time that the stage has between soak and deadline."""
    snapshot, status, spec = context.snapshot, context.snapshot.status, context.snapshot.plan.spec
    held, stage = status.held, current_stage(spec, status) if spec else None
    assert held is not None
    if spec is None or stage is None or status.stage is None:
        raise _DeniedError("the plan is invalid, or no longer has this stage")
    until = snapshot.now + more_time(spec, stage)
    at = change_stage(status.stage, deadline_at=until)
    return leave_hold(
        snapshot,
        held,
        f"{context.words}; deadline extended to {until:%H:%M:%S}",
        context.commanded_by,
        stage=at,
        paused=None,
    )


def _stage_restarted(context: _CommandContext) -> Status:
    """Request the stage's weight again and judge the stage from its beginning, starting from the present weights."""
    snapshot, status = context.snapshot, context.snapshot.status
    weights = status.weights
    live = live_weights(snapshot, weights.snapshot, weights)
    pairs = [pair(rule, weights.old, weights.new) for route in live for rule in route.rules]
    if len(pairs) < sum(len(route.rules) for route in weights.snapshot) or snapshot.old is None:
        raise _DeniedError(f"an object that the run needs is missing, create it again first: {status.message}")
    if not all(sum(each) for each in pairs):
        raise _DeniedError(
            f"both sides have weight 0 in one rule; give {weights.old} its traffic first: {status.message}"
        )
    now = format_weight(share(live, weights.old, weights.new))
    return transition(
        snapshot,
        TransitionName.STAGE_RESTARTED,
        f"{context.words}; the stage starts again from {now}",
        reason=StatusReason.SHIFTING,
        commanded_by=context.commanded_by,
        held=None,
        paused=None,
        stage=status.stage and change_stage(status.stage, verified_at=None, next_stage=""),
        weights=change_weights(weights, desired=now, written=live),
        repaired_at=(),
    )


# ---- approve, skip and promote ---------------------------------------------------------------------------------------


def _approve(context: _CommandContext) -> ReconcileResult:
    snapshot, status, held = context.snapshot, context.snapshot.status, context.snapshot.status.held
    spec = snapshot.plan.written
    if held is None or held.reason != HoldReason.AWAITING_APPROVAL or spec is None:
        raise _DeniedError("nothing waits for approval: send `approve` when the plan is Held: AwaitingApproval")
    if status.effective_phase is Phase.CONTRACTING:
        words = f"{context.words}; the old side may be removed"
        return ReconcileResult(leave_hold(snapshot, held, words, context.commanded_by, approved=CONTRACT))
    stage = next_stage(spec, status)
    words = f"{context.words}; stage {stage.name} may begin"
    return ReconcileResult(leave_hold(snapshot, held, words, context.commanded_by, approved=stage.name))


def _skip(context: _CommandContext) -> ReconcileResult:
    snapshot, status, spec = context.snapshot, context.snapshot.status, _skippable_plan(context)
    at, stage = status.stage, current_stage(spec, status)
    if status.held is not None and status.held.reason == HoldReason.AWAITING_APPROVAL:
        raise _DeniedError(
            f"the stage is proved and the next one waits for approval: send `approve` ({status.message})"
        )
    if status.phase is Phase.SHIFTING:
        raise _DeniedError("there is nothing to skip: the next weight is being set")
    if at is None or stage is None or at.verified_at is None:
        raise _DeniedError("no stage is being judged: send it during a stage")
    if is_last(spec, stage):
        raise _DeniedError(f"{stage.name} is the last stage, which cannot be skipped: it ends when it is proved")
    words = f"{context.words}; {stage.step} is skipped after {span(at.verified_at, snapshot.now)}"
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.SKIPPED,
            words,
            reason=StatusReason.SHIFTING,
            commanded_by=context.commanded_by,
            held=None,
        )
    )


def _promote(context: _CommandContext) -> ReconcileResult:
    snapshot, status, spec = context.snapshot, context.snapshot.status, _skippable_plan(context)
    last, at, stage = spec.steps()[-1], status.stage, current_stage(spec, status)
    if (
        status.phase not in TRANSITIONS[TransitionName.PROMOTED].sources
        or at is None
        or stage is None
        or at.verified_at is None
    ):
        raise _DeniedError("no stage is being judged: send it during a stage")
    if is_last(spec, stage):
        raise _DeniedError("the run is already at the last stage, which ends when it is proved")
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.PROMOTED,
            f"{context.words}; the next stage is {last.name} at {format_weight(last.permille)}",
            reason=StatusReason.SHIFTING,
            commanded_by=context.commanded_by,
            held=None,
            approved=last.name,
            stage=change_stage(at, next_stage=last.name),
        )
    )


def _skippable_plan(context: _CommandContext) -> PlanSpec:
    """The plan, if a person may skip what was not proved here. Failures, and holds for other reasons, are refused."""
    snapshot, status = context.snapshot, context.snapshot.status
    spec, held = snapshot.plan.spec, status.held
    if (
        spec is None
        or not snapshot.plan.readable
        or status.phase not in TRAFFIC_SHIFTED_PHASES
        or status.intent is not None
    ):
        raise _DeniedError(f"no stage is being judged (phase {status.phase}): send it during a stage")
    if held is not None and held.reason not in (HoldReason.UNDECIDED, HoldReason.AWAITING_APPROVAL):
        raise _DeniedError(f"the run is held: {held.reason}, which must end first: {status.message}")
    if status.failed:
        raise _DeniedError(f"the run failed and cannot go forward: {status.failed}")
    return spec


_HANDLERS: Mapping[Verb, Callable[[_CommandContext], ReconcileResult | None]] = {
    Verb.ABORT: _abort,
    Verb.REVERT: _revert,
    Verb.RETRY: _retry,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.APPROVE: _approve,
    Verb.SKIP: _skip,
    Verb.PROMOTE: _promote,
}
