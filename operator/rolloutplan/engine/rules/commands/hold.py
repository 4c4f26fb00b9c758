"""`pause` and `resume`, and what takes a run up again: `retry`, and `adopt` where its status is lost."""

from __future__ import annotations

from rolloutplan.api.changes import change_stage, change_task, change_weights
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.status import Held, Paused, Phase, Status
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.analysis.stages import more_time
from rolloutplan.engine.model.actions import ReconcileResult, RunPreflight
from rolloutplan.engine.model.routes import live_weights
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import pair, share
from rolloutplan.engine.policy.lost_run import LostRunError, is_lost, lost_run, may_be_lost
from rolloutplan.engine.policy.preconditions import paused_words
from rolloutplan.engine.rules.adopt import adopted
from rolloutplan.engine.rules.commands.back import deny_where_rival_runs
from rolloutplan.engine.rules.commands.context import CommandContext, DeniedError
from rolloutplan.engine.run.decision_log import span
from rolloutplan.engine.run.jobs import job_name
from rolloutplan.engine.run.stop import is_stopped
from rolloutplan.engine.run.transition import enter_hold, leave_hold, reset_run, transition

_BEFORE_A_PAUSE = frozenset(
    {
        HoldReason.CONFLICT,
        HoldReason.INVALID,
        HoldReason.METRICS_UNAVAILABLE,
        HoldReason.INCIDENT,
        HoldReason.NEW_SIDE_AWAY,
        HoldReason.OLD_SIDE_DOWN,
        HoldReason.WRONG_ENDPOINTS,
        HoldReason.ENDPOINTS_UNKNOWN,
        HoldReason.NOT_GRANTED,
        HoldReason.OLD_SIDE_IN_USE,
    }
)
"""These reasons of a hold stay in the status during a pause; the pause is shown when they are over."""


def retry(context: CommandContext) -> ReconcileResult | None:
    """Start a run that has ended again."""
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase not in TRANSITIONS[TransitionName.RETRIED].sources:
        raise DeniedError(f"the run has not ended (phase {status.phase}): send `retry` after it has ended")
    if snapshot.plan.finalizer:
        return None  # `finished` removes the finalizer first
    if status.task is not None and status.task.kind == "Stop" and not is_stopped(snapshot, status.task):
        return None  # `stop_jobs` suspends what the last run left first
    return ReconcileResult(
        reset_run(snapshot, TransitionName.RETRIED, context.words, commanded_by=context.commanded_by, paused=None)
    )


def pause(context: CommandContext) -> ReconcileResult:
    """Hold the run where it is, or once what holds it now is over."""
    snapshot, status = context.snapshot, context.snapshot.status
    paused = Paused(at=snapshot.now, by=context.commanded_by.by, reason=context.command.reason)
    if status.paused is not None:
        raise DeniedError(f"the run is already paused, by {status.paused.by}")
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
        raise DeniedError(f"there is nothing to pause in phase {status.phase}")
    held = status.held_for
    if held in (HoldReason.FAILED, HoldReason.CONTRACT_FAILED):
        raise DeniedError(f"the run is already held: {held}, until a person ends the hold")
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


def resume(context: CommandContext) -> ReconcileResult:
    """End a pause, or a hold that a person may end."""
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
        raise DeniedError(f"the run is held: {reason}, which `resume` does not end: {status.message}")
    raise DeniedError(f"the run is not held: its phase is {status.phase}")


def _task_retried(context: CommandContext, held: Held) -> Status:
    """Start the failed task again; its Job gets a new name."""
    snapshot, task = context.snapshot, context.snapshot.status.task
    if task is not None:
        attempt, until = task.attempt + 1, snapshot.now + (task.deadline_at - task.since)
        job = job_name(snapshot.plan, snapshot.status.run, task.name, attempt) if task.job else ""
        task = change_task(task, since=snapshot.now, deadline_at=until, made=False, attempt=attempt, job=job)
    words = f"{context.words}; the failed task is retried"
    return leave_hold(snapshot, held, words, context.commanded_by, task=task, paused=None)


def _deadline_extended(context: CommandContext) -> Status:
    """Extend the deadline by the time that the stage has between soak and deadline."""
    snapshot, status, spec = context.snapshot, context.snapshot.status, context.snapshot.plan.spec
    held, stage = status.held, current_stage(spec, status) if spec else None
    assert held is not None
    if spec is None or stage is None or status.stage is None:
        raise DeniedError("the plan is invalid, or no longer has this stage")
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


def _stage_restarted(context: CommandContext) -> Status:
    """Request the stage's weight again and judge the stage from its beginning, starting from the present weights."""
    snapshot, status = context.snapshot, context.snapshot.status
    weights = status.weights
    live = live_weights(snapshot, weights.snapshot, weights)
    pairs = [pair(rule, weights.old, weights.new) for route in live for rule in route.rules]
    if len(pairs) < sum(len(route.rules) for route in weights.snapshot) or snapshot.old is None:
        raise DeniedError(f"an object that the run needs is missing, create it again first: {status.message}")
    if not all(sum(each) for each in pairs):
        raise DeniedError(
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


def adopt(context: CommandContext) -> ReconcileResult:
    """Take up a run whose status is lost. What the pods have restarted so far does not count against it."""
    snapshot, spec, new = context.snapshot, context.snapshot.plan.spec, context.snapshot.new
    if not may_be_lost(snapshot):
        raise DeniedError(f"the status of the run is not lost: its phase is {snapshot.status.phase}")
    if spec is None or not snapshot.plan.readable:
        raise DeniedError(f"the plan is invalid: {snapshot.plan.problem}")
    if new is None:
        raise DeniedError(f"Deployment {spec.new.deployment} does not exist: create it, or send `abort`")
    try:
        known = lost_run(snapshot)
    except LostRunError as problem:
        raise DeniedError(str(problem)) from None
    weights, routes = known.status.weights, {route.id for route in known.status.weights.snapshot}
    if weights.written == weights.snapshot and not is_lost(snapshot):
        raise DeniedError("the routes have the weights from before the run, so there is nothing to take up")
    deny_where_rival_runs(snapshot, routes)
    probe = snapshot.preflight
    if probe is None or probe.judged_hash != spec.judged_hash():
        return ReconcileResult(actions=(RunPreflight(),))
    paused = Paused(at=snapshot.now, by=context.commanded_by.by, reason=context.command.reason)
    return ReconcileResult(adopted(known, spec, new, probe, paused, context.commanded_by))
