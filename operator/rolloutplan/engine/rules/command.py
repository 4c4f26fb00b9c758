"""Commands of a person: carried out at once, once each, and always answered.

`abort` and `revert` need only the weights from before the run, and are near the top of RULES. The other commands are
below every rollback, so that none overrides a failure. A command that cannot be carried out is rejected, with the
reason and what to send instead. Each verb has one function. All of them are in this file because they share how a
command is read and answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolloutplan.api.changes import RunChange, change_stage, change_task, change_weights
from rolloutplan.api.command import (
    ANNOTATION,
    AnsweredCommand,
    Command,
    CommandError,
    Verb,
    answer_to,
    read_answered,
    read_command,
    record_answer,
)
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import EventReason, HoldReason, StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import RUNNING, TOKENS_KEPT, Held, Paused, Phase, StageStatus, Status
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.analysis.stages import is_last, more_time, next_stage
from rolloutplan.engine.model.actions import ReconcileResult, RunPreflight
from rolloutplan.engine.model.routes import live_weights, meets_on, route_exists
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import is_valid_snapshot, pair, share
from rolloutplan.engine.policy.demands import CONTRACT, demanded_soak, demands_approval, demands_seal
from rolloutplan.engine.policy.endpoints import old_side_down, revert_refused
from rolloutplan.engine.policy.gate import is_approved
from rolloutplan.engine.policy.grants import left_as_it_is
from rolloutplan.engine.policy.lost_run import LostRunError, is_lost, lost_run, may_be_lost, restore_by_hand
from rolloutplan.engine.policy.policies import longest_freeze, soak_factor
from rolloutplan.engine.policy.preconditions import paused_words
from rolloutplan.engine.policy.seal import seal_of
from rolloutplan.engine.rules.adopt import adopted
from rolloutplan.engine.rules.tasks import old_side_gone
from rolloutplan.engine.run.decision_log import CommandSource, span
from rolloutplan.engine.run.end_state import starts_again
from rolloutplan.engine.run.jobs import job_name
from rolloutplan.engine.run.stop import is_stopped, stop_former
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
        HoldReason.OLD_SIDE_DOWN,
        HoldReason.WRONG_ENDPOINTS,
        HoldReason.ENDPOINTS_UNKNOWN,
        HoldReason.NOT_GRANTED,
        HoldReason.OLD_SIDE_IN_USE,
    }
)
"""These reasons of a hold stay in the status during a pause; the pause is shown when they are over."""
MOST_ANSWERED = 60
ANSWERED_WITHIN = timedelta(hours=1)
"""More commands to one plan in this time are no person's. At this rate a token stays spent for three hours at least."""
_TOO_MANY = f"more than {MOST_ANSWERED} commands within an hour"
_UNREADABLE = "unread-"
_CONTRACT = "contract"
"""How `approve` names the removal of the old side."""
_SOMEBODY = "somebody"
_AGAIN = "send `revert` again"
ASKS_TWICE_AFTER = timedelta(hours=24)
"""After this a success is no longer what people just watched, so an old annotation or a slip must not undo it."""
AGAIN_WITHIN = timedelta(minutes=10)
"""Long enough to look at what would come back, and too short for a command that is forgotten in between."""


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
        tokens = (*snapshot.status.tokens, token)[-TOKENS_KEPT:]
        source = CommandSource(snapshot.plan.command_by or _SOMEBODY, token, tokens)
        return _reject(snapshot, source, f"{ANNOTATION}: {error}")
    if context is not None:
        waits = answers_again_at(snapshot) is not None and context.command.verb is not Verb.PAUSE
        return _tell_flood(snapshot) if waits else _carry_out(context)
    return _reject_replaced(snapshot) or _used_before(snapshot)


def answers_again_at(snapshot: Snapshot) -> datetime | None:
    """When commands are answered again, where there were too many of them; None: now.

    Each answer is a write and an Event, and its token takes the place of another one that must stay spent.
    """
    times = snapshot.answered_at
    until = times[0] + ANSWERED_WITHIN if len(times) >= MOST_ANSWERED else None
    return until if until is not None and snapshot.now < until else None


def _tell_flood(snapshot: Snapshot) -> ReconcileResult | None:
    """Tell once that commands wait, without spending a token. The run goes on meanwhile."""
    told = (each for each in reversed(snapshot.status.decisions) if each.note.startswith(_TOO_MANY))
    last = next(told, None)
    if last is not None and snapshot.now < last.at + ANSWERED_WITHIN:
        return None
    until = answers_again_at(snapshot) or snapshot.now
    words = f"{_TOO_MANY}, the last by {snapshot.plan.command_by or _SOMEBODY}: others wait until {until:%H:%M:%S}; "
    return note_decision(snapshot, TransitionName.COMMAND_REJECTED, f"{words}`abort`, `revert` and `pause` do not")


def _reject_replaced(snapshot: Snapshot) -> ReconcileResult | None:
    """Reject a command that a newer one replaced before it was carried out: only the newest counts."""
    for text, by in snapshot.plan.replaced:
        with suppress(CommandError):
            command = read_command(text)
            if answer_to(snapshot.status.tokens, command) is None:
                words = f"{command.verb} by {by or _SOMEBODY}: replaced by a newer command before it was processed"
                return _reject(snapshot, _source(snapshot, command, by), words)
    return None


def _used_before(snapshot: Snapshot) -> ReconcileResult | None:
    """Tell a person that the command in the annotation was answered before and is not carried out again.

    It is told once in a run, where it came back after another one, or was away since a former run. A command that
    stands there since it was answered is not told: GitOps tools write it again and again.
    """
    plan, status = snapshot.plan, snapshot.status
    if not plan.command or not status.tokens:
        return None
    command = read_command(plan.command)
    known = answer_to(status.tokens, command)
    if known is None or known.run is None or known.told == status.run:
        return None
    came_back = not read_answered(status.tokens[-1]).is_of(command)
    if not came_back and not (plan.rewritten and known.run < status.run):
        return None
    source = _source(snapshot, command, plan.command_by, AnsweredCommand(known.identity, known.run, status.run))
    write = " ".join(word for word in (command.verb, "<new token>", command.stage) if word)
    words = (
        f"{command.verb} by {source.by}: this token was used in run {known.run}, and a command is carried out once: "
        f"write a new token, `{write}`"
    )
    return _reject(snapshot, source, words)


def _source(snapshot: Snapshot, command: Command, by: str, answered: AnsweredCommand | None = None) -> CommandSource:
    """Who wrote a command, with the record of its answer.

    A command between two runs belongs to the next one, but for those that only put back the weights of the last one.
    """
    status, plan = snapshot.status, snapshot.plan
    of_this = status.phase in RUNNING or command.verb in (Verb.ABORT, Verb.REVERT)
    entry = answered or AnsweredCommand(command.identity, status.run if of_this else status.run + 1)
    tokens = record_answer(status.tokens, entry, plan.command, TOKENS_KEPT)
    return CommandSource(by or _SOMEBODY, command.token, tokens)


def _new_command(snapshot: Snapshot) -> _CommandContext | None:
    """The command without an answer so far, if any. Raises CommandError for an invalid one."""
    if not snapshot.plan.command:
        return None
    command = read_command(snapshot.plan.command)
    if answer_to(snapshot.status.tokens, command) is not None:
        return None
    return _CommandContext(snapshot, command, _source(snapshot, command, snapshot.plan.command_by))


def _carry_out(context: _CommandContext) -> ReconcileResult | None:
    try:
        return _HANDLERS[context.command.verb](context)
    except _DeniedError as rejection:
        return _reject(context.snapshot, context.commanded_by, f"{context.words}: {rejection}")


def _reject(snapshot: Snapshot, commanded_by: CommandSource, words: str) -> ReconcileResult | None:
    if answers_again_at(snapshot) is not None:
        return _tell_flood(snapshot)
    return note_decision(snapshot, TransitionName.COMMAND_REJECTED, words, commanded_by=commanded_by)


# ---- abort and revert ------------------------------------------------------------------------------------------------


def _abort(context: _CommandContext) -> ReconcileResult | None:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.effective_phase is Phase.CONTRACTING:
        if snapshot.scaling:
            return None  # whether the old side is scaled down is known when the request is answered
        if gone := old_side_gone(snapshot):
            raise _DeniedError(gone)
    if _snapshot_known(status) and status.phase in TRANSITIONS[TransitionName.FAILED].sources:
        _deny_rollback_to_nobody(snapshot)
        return start_rollback(
            snapshot, StatusReason.ABORTED, context.words, commanded_by=context.commanded_by, paused=None
        )
    before_weights = status.phase in TRANSITIONS[TransitionName.ABORTED].sources and not snapshot.plan.finalizer
    if before_weights and not _moved_by_lost_run(snapshot):
        return ReconcileResult(_ended_early(context))
    if status.phase is Phase.SUCCEEDED:
        raise _DeniedError("the run has ended: `revert` puts the old weights back")
    if status.phase is Phase.ROLLED_BACK:
        raise _DeniedError("there is nothing to abort: the run has ended and the old weights are restored")
    return _abort_lost(context)


def _abort_lost(context: _CommandContext) -> ReconcileResult:
    """Roll back a run whose status is lost, to the weights in its undo command."""
    snapshot = context.snapshot
    try:
        known = lost_run(snapshot)
    except LostRunError as problem:
        words = f"the weights before the run are no longer known; {restore_by_hand(snapshot)}"
        raise _DeniedError(f"{words} ({problem})") from None
    _deny_rollback_to_nobody(known)
    return start_rollback(known, StatusReason.ABORTED, context.words, commanded_by=context.commanded_by, paused=None)


def _moved_by_lost_run(snapshot: Snapshot) -> bool:
    """Whether a run of which nothing is known any more has moved weights: its plan was created again."""
    if not may_be_lost(snapshot):
        return False
    try:
        weights = lost_run(snapshot).status.weights
    except LostRunError:
        return False
    return weights.written != weights.snapshot


def _deny_rollback_to_nobody(snapshot: Snapshot) -> None:
    if words := old_side_down(snapshot):
        raise _DeniedError(f"{words}; scale the old side up, and send it again when its pods are ready")


def _deny_beside_rival(snapshot: Snapshot, routes: Collection[RouteId]) -> None:
    running = (conflict for conflict in snapshot.route_conflicts if conflict.running)
    if rival := next((each.key for each in running if meets_on(snapshot, each, routes)), None):
        raise _DeniedError(f"plan {rival} uses the route now: abort that plan first")


def _snapshot_known(status: Status) -> bool:
    weights = status.weights
    return is_valid_snapshot(weights.snapshot, weights.old, weights.new)


def _ended_early(context: _CommandContext) -> Status:
    """End the run before any weight has moved. It starts again only for a changed plan or pod template, or `retry`."""
    snapshot, spec = context.snapshot, context.snapshot.plan.written
    task = snapshot.status.task
    stops = f"; Job {task.job} is suspended" if task is not None and task.job else ""
    stops = f"; {left}" if (left := left_as_it_is(snapshot)) else stops
    words = f"{context.words}; no weight was moved{stops}"
    return transition(
        snapshot,
        TransitionName.ABORTED,
        words,
        reason=StatusReason.ABORTED,
        commanded_by=context.commanded_by,
        failed=words[:1024],
        paused=None,
        task=stop_former(snapshot),
        plan_hash=spec.plan_hash() if spec else "",
        revision=snapshot.new.revision if snapshot.new else "",
    )


def _revert(context: _CommandContext) -> ReconcileResult | None:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase is not Phase.SUCCEEDED:
        return _abort(context)
    routes = {route.id for route in status.weights.snapshot}
    if not _snapshot_known(status) or not any(route_exists(snapshot, route) for route in routes):
        raise _DeniedError("the weights before the run, or their routes, are gone: there is nothing to restore")
    if gone := old_side_gone(snapshot) or revert_refused(snapshot):
        raise _DeniedError(gone)
    _deny_beside_rival(snapshot, routes)
    _ask_twice(snapshot)
    freeze = longest_freeze(snapshot.policies, snapshot.now)
    words = f"{context.words}, although frozen by {freeze.words}" if freeze else context.words
    return start_rollback(snapshot, StatusReason.REVERTED, words, commanded_by=context.commanded_by, paused=None)


def _ask_twice(snapshot: Snapshot) -> None:
    """Raise _DeniedError for the first `revert` of a run that ended long ago."""
    status, ended = snapshot.status, snapshot.status.entered_at
    if ended is None or snapshot.now - ended <= ASKS_TWICE_AFTER:
        return
    for told in reversed(status.decisions):
        if told.reason == EventReason.COMMAND_REJECTED and _AGAIN in told.note:
            if snapshot.now - told.at <= AGAIN_WITHIN:
                return
            break
    within = format_duration(AGAIN_WITHIN)
    raise _DeniedError(
        f"the run ended at {ended:%Y-%m-%dT%H:%M:%SZ}, and what was released since may need {status.weights.new}: to "
        f"put {status.weights.old} back all the same, {_AGAIN} within {within}, with another token"
    )


# ---- retry, pause and resume -----------------------------------------------------------------------------------------


def _retry(context: _CommandContext) -> ReconcileResult | None:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase not in TRANSITIONS[TransitionName.RETRIED].sources:
        raise _DeniedError(f"the run has not ended (phase {status.phase}): send `retry` after it has ended")
    if snapshot.plan.finalizer:
        return None  # `finished` removes the finalizer first
    if status.task is not None and status.task.kind == "Stop" and not is_stopped(snapshot, status.task):
        return None  # `stop_jobs` suspends what the last run left first
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


def _adopt(context: _CommandContext) -> ReconcileResult:
    """Take up a run whose status is lost. What the pods have restarted so far does not count against it."""
    snapshot, spec, new = context.snapshot, context.snapshot.plan.spec, context.snapshot.new
    if not may_be_lost(snapshot):
        raise _DeniedError(f"the status of the run is not lost: its phase is {snapshot.status.phase}")
    if spec is None or not snapshot.plan.readable:
        raise _DeniedError(f"the plan is invalid: {snapshot.plan.problem}")
    if new is None:
        raise _DeniedError(f"Deployment {spec.new.deployment} does not exist: create it, or send `abort`")
    try:
        known = lost_run(snapshot)
    except LostRunError as problem:
        raise _DeniedError(str(problem)) from None
    weights, routes = known.status.weights, {route.id for route in known.status.weights.snapshot}
    if weights.written == weights.snapshot and not is_lost(snapshot):
        raise _DeniedError("the routes have the weights from before the run, so there is nothing to take up")
    _deny_beside_rival(snapshot, routes)
    probe = snapshot.preflight
    if probe is None or probe.judged_hash != spec.judged_hash():
        return ReconcileResult(actions=(RunPreflight(),))
    paused = Paused(at=snapshot.now, by=context.commanded_by.by, reason=context.command.reason)
    return ReconcileResult(adopted(known, spec, new, probe, paused, context.commanded_by))


# ---- approve, skip and promote ---------------------------------------------------------------------------------------


def _approve(context: _CommandContext) -> ReconcileResult | None:
    """Let the stage that waits begin. An approval that names another stage is kept until the turn of that stage."""
    snapshot, held = context.snapshot, context.snapshot.status.held
    spec, waits = snapshot.plan.written, _awaits_approval(context.snapshot)
    named = _named_stage(context, spec) if spec is not None else ""
    if held is not None and waits and named in ("", waits):
        seals = _checked_seal(context, waits)
        may = "the old side may be removed" if waits == CONTRACT else f"stage {waits} may begin"
        words = f"{context.words}; {may}"
        return ReconcileResult(
            leave_hold(snapshot, held, words, context.commanded_by, approved=waits, approved_seals=seals)
        )
    if not named or spec is None:
        ahead = _awaited_approvals(snapshot, spec) if spec is not None else ()
        by_name = f"; or name the stage before its turn: `approve <new token> {_shown(ahead[0])}`" if ahead else ""
        raise _DeniedError(
            f"nothing waits for approval: send `approve` when the plan is Held: AwaitingApproval{by_name}"
        )
    return _approved_ahead(context, spec, named)


def _approved_ahead(context: _CommandContext, spec: PlanSpec, named: str) -> ReconcileResult | None:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        if starts_again(snapshot):
            return None  # `finished` starts the next run first
        raise _DeniedError(f"the run has ended (it is {status.phase}): send it when the next run has begun")
    if status.failed:
        raise _DeniedError(f"the run failed and cannot go forward: {status.failed}")
    if is_approved(snapshot, named):
        raise _DeniedError(f"{_shown(named)} is approved already")
    if named != CONTRACT and named not in _awaited_approvals(snapshot, spec):
        raise _DeniedError(f"stage {named} has begun already")
    seals = _checked_seal(context, named)
    turn = "the old side may be removed" if named == CONTRACT else f"stage {named} may begin"
    words = f"{context.words}; {turn} when its turn comes"
    ahead = (*(each for each in status.approved_ahead if each != named), named)
    kept = transition(
        snapshot,
        TransitionName.APPROVED,
        words,
        commanded_by=context.commanded_by,
        message=status.message,
        predicates=status.predicates,
        approved_ahead=ahead,
        approved_seals=seals,
    )
    return ReconcileResult(kept)


def _checked_seal(context: _CommandContext, name: str) -> dict[str, str]:
    """`status.approved_seals` with the approval of this stage, or of the contract: it is for what the plan says now.

    Raises _DeniedError where the command names another seal, or none and a policy demands one.
    """
    snapshot, given, spec = context.snapshot, context.command.seal, context.snapshot.plan.spec
    seal = seal_of(spec, name) if spec is not None else ""
    what = "removing the old side" if name == CONTRACT else f"stage {name}"
    if given and given != seal:
        edits = (each.note for each in reversed(snapshot.status.decisions) if each.reason == EventReason.ADAPTED)
        edit = f"; the last edit was: {last[:300]}" if (last := next(edits, "")) else ""
        raise _DeniedError(f"the seal of {what} is {seal or 'not known'}, not {given}: it was changed since{edit}")
    if not given and (policy := demands_seal(snapshot.policies)):
        plan = f"{snapshot.plan.name} -n {snapshot.plan.namespace}"
        raise _DeniedError(
            f"policy {policy} demands the seal of what is approved: look at {what}, then "
            f"`rolloutplan approve {plan} --seal {seal}`"
        )
    known = snapshot.status.approved_seals
    return {**known, name: seal} if seal else {key: value for key, value in known.items() if key != name}


def _awaits_approval(snapshot: Snapshot) -> str:
    """The stage, or the contract, that waits for approval now; empty where none does."""
    status, spec = snapshot.status, snapshot.plan.written
    asks = (HoldReason.AWAITING_APPROVAL, HoldReason.WEIGHTS_NOT_COMMITTED)
    if status.held_for not in asks or spec is None:
        return ""
    return CONTRACT if status.effective_phase is Phase.CONTRACTING else next_stage(spec, status).name


def _named_stage(context: _CommandContext, spec: PlanSpec) -> str:
    """The stage that `approve` names: behind its token, or in front of it, or as its token; empty where it names none.

    The removal may be approved where the plan asks for none: it may wait for what is applied from Git. Raises
    _DeniedError where that is no stage which needs approval.
    """
    policies = context.snapshot.policies
    gated = [stage for stage in spec.steps() if stage.approval]
    needed = {name: stage.name for stage in gated for name in (spec.stages[stage.entry].name, stage.name) if name}
    for stage in spec.steps():
        if demands_approval(policies, spec, stage.name):
            needed.setdefault(stage.name, stage.name)
    if spec.contract.approval or (spec.contract.wanted and demands_approval(policies, spec, CONTRACT)):
        needed.setdefault(_CONTRACT, CONTRACT)
    words = (context.command.stage, context.command.token)
    known = {_CONTRACT: CONTRACT, **needed} if spec.contract.wanted else needed
    if found := next((known[word] for word in words if word in known), ""):
        return found
    if not context.command.stage:
        return ""
    if context.command.stage in {name for stage in spec.steps() for name in spec.entries(stage)}:
        raise _DeniedError(f"stage {context.command.stage} needs no approval")
    choice = f"; those that need approval are {', '.join(needed)}" if needed else ""
    raise _DeniedError(f'the plan has no stage "{context.command.stage}"{choice}')


def _awaited_approvals(snapshot: Snapshot, spec: PlanSpec) -> tuple[str, ...]:
    """The stages, and the contract, that need an approval and have not begun in this run."""
    status, policies = snapshot.status, snapshot.policies
    begun = status.stage.index if status.stage is not None and status.phase in RUNNING else -1
    stages = [
        stage.name
        for stage in spec.steps()[begun + 1 :]
        if stage.approval or demands_approval(policies, spec, stage.name)
    ]
    demanded = spec.contract.wanted and demands_approval(policies, spec, CONTRACT)
    contract = [CONTRACT] if spec.contract.approval or demanded else []
    return tuple(name for name in (*stages, *contract) if not is_approved(snapshot, name))


def _shown(name: str) -> str:
    return _CONTRACT if name == CONTRACT else name


def _skip(context: _CommandContext) -> ReconcileResult:
    snapshot, status, spec = context.snapshot, context.snapshot.status, _skippable_plan(context)
    _deny_in_bake(snapshot)
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
    _deny_short_soak(snapshot, stage, at)
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
    _deny_in_bake(snapshot)
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
    _deny_short_soak(snapshot, stage, at)
    words = f"{context.words}; the next stage is {last.name} at {format_weight(last.permille)}"
    seals = {**status.approved_seals, last.name: seal_of(spec, last.name)}
    changes: RunChange = {"held": None, "stage": change_stage(at, next_stage=last.name)}
    sealed = demands_seal(snapshot.policies) if last.approval else ""
    if policy := demands_approval(snapshot.policies, spec, last.name) or sealed:
        words = f"{words}, once it is approved, as policy {policy} demands"
    else:
        changes["approved"], changes["approved_seals"] = last.name, seals
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.PROMOTED,
            words,
            reason=StatusReason.SHIFTING,
            commanded_by=context.commanded_by,
            **changes,
        )
    )


def _deny_short_soak(snapshot: Snapshot, stage: Stage, at: StageStatus) -> None:
    """Raise _DeniedError before the shortest soak that a policy demands is over."""
    least, policy = demanded_soak(snapshot.policies)
    if at.soak_until is None or not least:
        return
    begun = at.soak_until - soak_factor(snapshot.policies) * stage.soak
    if snapshot.now < min(begun + least, at.soak_until):
        until = f"{min(begun + least, at.soak_until):%H:%M:%S}"
        raise _DeniedError(
            f"policy {policy} demands that every stage soaks for {format_duration(least)}: send it after {until}"
        )


def _deny_in_bake(snapshot: Snapshot) -> None:
    """Raise _DeniedError in the bake: no stage follows it, and an edit of the plan makes it shorter."""
    status, at = snapshot.status, snapshot.status.stage
    if status.effective_phase is not Phase.BAKING or at is None or at.soak_until is None:
        return
    over = snapshot.now >= at.soak_until
    waits = "it waits for a verdict of its guards" if over else f"it ends at {at.soak_until:%H:%M:%S}"
    ways = "`resume` gives it more time" if over else "to end it sooner, write a shorter `bake` in the plan"
    words = f"the run is in the bake at its last weight, which cannot be skipped: {waits}"
    raise _DeniedError(f"{words}; {ways}, and `abort` rolls back")


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
    Verb.ADOPT: _adopt,
}
