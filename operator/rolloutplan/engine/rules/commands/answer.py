"""The rules that read a new command, carry it out by the function of its verb, and answer it.

`abort` and `revert` need only the weights from before the run, and are near the top of RULES. The other commands are
below every rollback, so that none overrides a failure. A command that cannot be carried out is rejected, with the
reason and what to send instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

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
from rolloutplan.api.status import RUNNING, TOKENS_KEPT, Kind
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.rules.commands.approve import approve
from rolloutplan.engine.rules.commands.back import abort, revert
from rolloutplan.engine.rules.commands.context import AskedAgainError, CommandContext, DeniedError
from rolloutplan.engine.rules.commands.forward import promote, skip
from rolloutplan.engine.rules.commands.hold import adopt, pause, resume, retry
from rolloutplan.engine.run.decision_log import CommandSource
from rolloutplan.engine.run.transition import note_decision

MOST_ANSWERED = 60
ANSWERED_WITHIN = timedelta(hours=1)
"""More commands to one plan in this time are no person's. At this rate a token stays spent for three hours at least."""
_TOO_MANY = f"more than {MOST_ANSWERED} commands within an hour"
_GOING_ON = frozenset({Verb.RESUME, Verb.SKIP, Verb.PROMOTE})
_UNREADABLE = "unread-"
_SOMEBODY = "somebody"


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


def _new_command(snapshot: Snapshot) -> CommandContext | None:
    """The command without an answer so far, if any. Raises CommandError for an invalid one."""
    if not snapshot.plan.command:
        return None
    command = read_command(snapshot.plan.command)
    if answer_to(snapshot.status.tokens, command) is not None:
        return None
    return CommandContext(snapshot, command, _source(snapshot, command, snapshot.plan.command_by))


def _carry_out(context: CommandContext) -> ReconcileResult | None:
    try:
        result = _HANDLERS[context.command.verb](context)
        _demand_reason(context, result)
    except AskedAgainError as asked:  # in a flood too: there is one in ten minutes at most, because the next one acts
        snapshot, by = context.snapshot, context.commanded_by
        words = f"{context.words}: {asked}"
        return note_decision(
            snapshot, TransitionName.COMMAND_REJECTED, words, commanded_by=by, revert_asked=snapshot.now
        )
    except DeniedError as rejection:
        return _reject(context.snapshot, context.commanded_by, f"{context.words}: {rejection}")
    return result


def _demand_reason(context: CommandContext, result: ReconcileResult | None) -> None:
    """Raise DeniedError where a person goes on past an undecided step and does not say why: the record must have it.

    It comes last, so that what cannot be carried out is told before. What leads back needs no reason.
    """
    command, plan, status = context.command, context.snapshot.plan, result.status if result else None
    if command.reason or command.verb not in _GOING_ON or status is None:
        return
    if status.decisions[-1].kind is Kind.PERSIST:
        raise DeniedError(
            f"this goes on past a step that is {context.snapshot.status.held_for}, and needs a reason, which stays in "
            f'the record: send `{command.verb} <new token> --reason "..."`, or '
            f'`rolloutplan {command.verb} -n {plan.namespace} {plan.name} --reason "..."`'
        )


def is_accepted(snapshot: Snapshot, verb: Verb, seal: str = "") -> bool:
    """Whether this command, with a new token and a reason, would not be rejected now."""
    command = Command(verb, "offered", reason="offered", seal=seal)
    try:
        _HANDLERS[verb](CommandContext(snapshot, command, CommandSource(_SOMEBODY, command.token, (), offered=True)))
    except AskedAgainError:
        return True
    except DeniedError:
        return False
    return True


def _reject(snapshot: Snapshot, commanded_by: CommandSource, words: str) -> ReconcileResult | None:
    if answers_again_at(snapshot) is not None:
        return _tell_flood(snapshot)
    return note_decision(snapshot, TransitionName.COMMAND_REJECTED, words, commanded_by=commanded_by)


_HANDLERS: Mapping[Verb, Callable[[CommandContext], ReconcileResult | None]] = {
    Verb.ABORT: abort,
    Verb.REVERT: revert,
    Verb.RETRY: retry,
    Verb.PAUSE: pause,
    Verb.RESUME: resume,
    Verb.APPROVE: approve,
    Verb.SKIP: skip,
    Verb.PROMOTE: promote,
    Verb.ADOPT: adopt,
}
