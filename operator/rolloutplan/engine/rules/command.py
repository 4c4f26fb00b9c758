"""A person's word: done at once, once for each token, and answered in any case.

`abort` and `revert` look at nothing but the snapshot, and stand high in the list. The others stand below every way
back, so that none passes over a failure; where they make no sense they are refused, with what to say instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from rolloutplan.engine.ask import current_stage
from rolloutplan.engine.checks import paused_words
from rolloutplan.engine.gate import CONTRACT
from rolloutplan.engine.jobs import job_name
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, fresh, hold, move, noted, resumed
from rolloutplan.engine.narrate import Said, span
from rolloutplan.engine.routes import live_weights, route_exists
from rolloutplan.engine.rules.tasks import old_side_gone
from rolloutplan.engine.stages import is_last, next_stage
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import MOVED, TABLE, Cause
from rolloutplan.engine.weights import pair, share, sound
from rolloutplan.plan.changes import change_stage, change_task, change_weights
from rolloutplan.plan.command import ANNOTATION, Command, CommandError, Verb, read_command
from rolloutplan.plan.quantities import format_weight
from rolloutplan.plan.reasons import HoldReason, StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Held, Paused, Phase, Status

_BEFORE_A_PAUSE = frozenset({HoldReason.CONFLICT, HoldReason.INVALID, HoldReason.BLIND, HoldReason.INCIDENT})
"""What a run is held for goes on standing in its status: a pause begins to show when that is over."""
_UNREAD = "unread-"
_SOMEBODY = "somebody"


class _DeniedError(Exception):
    """It cannot be done now; holds why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A look with a command in it."""

    look: Look
    command: Command
    said: Said

    @property
    def words(self) -> str:
        because = f": {self.command.because}" if self.command.because else ""
        return f"{self.command.verb} by {self.said.by}{because}"


def abort_or_revert(look: Look) -> Step | None:
    """Go back because a person says so, with `abort` or `revert`. Needs the snapshot alone.

    It stands near the top: whatever is missing, slow or broken, a person can have the old weights back.
    """
    try:
        order = _new_order(look)
    except CommandError:
        return None  # answered by `other_commands`
    return _done(order) if order is not None and order.command.verb in (Verb.ABORT, Verb.REVERT) else None


def other_commands(look: Look) -> Step | None:
    """Do what else a person asks for in the plan's annotations, if that was not answered yet, or say why not.

    It stands below every way back, so that no word of a person passes over a failure.
    """
    try:
        order = _new_order(look)
    except CommandError as error:
        token = _UNREAD + hashlib.sha256(look.plan.command.encode()).hexdigest()[:12]
        if token in look.status.tokens:
            return None
        return _denied(look, Said(look.plan.command_by or _SOMEBODY, token), f"{ANNOTATION}: {error}")
    if order is not None:
        return _done(order)
    return _passed_over(look)


def _passed_over(look: Look) -> Step | None:
    """Answer a command that a newer one replaced before it was done: the newest counts."""
    for text, by in look.plan.replaced:
        with suppress(CommandError):
            command = read_command(text)
            if command.token not in look.status.tokens:
                words = (
                    f"{command.verb} by {by or _SOMEBODY}: a newer command came before it was seen, and counts alone"
                )
                return _denied(look, Said(by or _SOMEBODY, command.token), words)
    return None


def _new_order(look: Look) -> _Order | None:
    """The command that was not answered yet. Raises CommandError for one that cannot be read."""
    if not look.plan.command:
        return None
    command = read_command(look.plan.command)
    said = Said(look.plan.command_by or _SOMEBODY, command.token)
    return _Order(look, command, said) if command.token not in look.status.tokens else None


def _done(order: _Order) -> Step | None:
    try:
        return _DONE[order.command.verb](order)
    except _DeniedError as denial:
        return _denied(order.look, order.said, f"{order.words}: {denial}")


def _denied(look: Look, said: Said, words: str) -> Step:
    return noted(look, Cause.DENIED, words, said=said)


# ---- back ------------------------------------------------------------------------------------------------------------


def _abort(order: _Order) -> Step:
    look, status = order.look, order.look.status
    if status.stands_in is Phase.CONTRACTING and (gone := old_side_gone(look)):
        raise _DeniedError(gone)
    if _snapshot_known(status) and status.phase in TABLE[Cause.FAILED].sources:
        return back(look, StatusReason.ABORTED, order.words, said=order.said, paused=None)
    if status.phase in TABLE[Cause.ABORTED].sources and not look.plan.finalizer:
        return Step(_ended_early(order))
    if status.phase is Phase.SUCCEEDED:
        raise _DeniedError("the run has ended: `revert` puts the old weights back")
    if status.phase is Phase.ROLLED_BACK:
        raise _DeniedError("nothing is left to abort: the run has ended and its weights are back")
    command = look.plan.breadcrumb or status.revert or "the command in the route's annotation rolloutplan.dev/revert"
    raise _DeniedError(f"the weights before the run are not known any more: run {command}")


def _snapshot_known(status: Status) -> bool:
    weights = status.weights
    return sound(weights.snapshot, weights.old, weights.new)


def _ended_early(order: _Order) -> Status:
    """End it before any weight has moved; it does not start again before something else is tried."""
    look, spec = order.look, order.look.plan.written
    task = look.status.task
    left = f"; Job {task.job} is left as it is" if task is not None and task.made else ""
    words = f"{order.words}; no weight was moved{left}"
    return move(
        look,
        Cause.ABORTED,
        words,
        reason=StatusReason.ABORTED,
        said=order.said,
        failed=words[:1024],
        paused=None,
        plan_hash=spec.plan_hash() if spec else "",
        revision=look.new.revision if look.new else "",
    )


def _revert(order: _Order) -> Step:
    look, status = order.look, order.look.status
    if status.phase is not Phase.SUCCEEDED:
        return _abort(order)
    routes = {route.id for route in status.weights.snapshot}
    if not _snapshot_known(status) or not any(route_exists(look, route) for route in routes):
        raise _DeniedError("the weights before the run, or their routes, are gone: there is nothing to put back")
    if gone := old_side_gone(look):
        raise _DeniedError(gone)
    if rival := next((rival.key for rival in look.rivals if rival.running and rival.routes & routes), None):
        raise _DeniedError(f"plan {rival} holds the route now: abort that one first")
    return back(look, StatusReason.REVERTED, order.words, said=order.said, paused=None)


# ---- again, and not now ----------------------------------------------------------------------------------------------


def _retry(order: _Order) -> Step | None:
    look, status = order.look, order.look.status
    if status.phase not in TABLE[Cause.RETRIED].sources:
        raise _DeniedError(f"it has not ended (it is {status.phase}): there is nothing to try again yet")
    if look.plan.finalizer:
        return None  # its end is tidied up first
    return Step(fresh(look, Cause.RETRIED, order.words, said=order.said, paused=None))


def _pause(order: _Order) -> Step:
    look, status = order.look, order.look.status
    paused = Paused(at=look.now, by=order.said.by, because=order.command.because)
    if status.paused is not None:
        raise _DeniedError(f"it is paused already, by {status.paused.by}")
    if status.phase in TABLE[Cause.BLOCKED].sources:
        return Step(
            move(look, Cause.BLOCKED, paused_words(paused), reason=HoldReason.PAUSED, said=order.said, paused=paused)
        )
    if status.phase not in {*MOVED, Phase.CONTRACTING}:
        raise _DeniedError(f"there is nothing to pause: it is {status.phase}")
    held = status.held_for
    if held in (HoldReason.FAILED, HoldReason.CONTRACT_FAILED):
        raise _DeniedError(f"it is held already: {held}, and never goes on by itself")
    if status.intent is not None or held in _BEFORE_A_PAUSE:
        words = f"{order.words}; once {'what is being written is in force' if status.intent else f'{held} is over'}"
        return Step(move(look, Cause.PAUSED, words, said=order.said, message=status.message, paused=paused))
    stays = "the weights stay, the guards stay on"
    if status.stands_in is Phase.CONTRACTING:
        stays = "nothing more of the old is taken away"
    return hold(look, HoldReason.PAUSED, f"{order.words}; {stays}", said=order.said, paused=paused)


def _resume(order: _Order) -> Step:
    look, status, held = order.look, order.look.status, order.look.status.held
    reason = status.held_for
    match reason:
        case HoldReason.PAUSED:
            assert held is not None
            words = f"{order.words}, after {span(held.since, look.now)}"
            return Step(resumed(look, held, words, order.said, paused=None))
        case HoldReason.UNDECIDED:
            return Step(_given_time(order))
        case HoldReason.CONTRACT_FAILED:
            assert held is not None
            return Step(_tried_again(order, held))
        case HoldReason.CONFLICT if status.stands_in is not Phase.CONTRACTING:
            return Step(_taken_up(order))
    if status.paused is not None:
        return Step(move(look, Cause.RELEASED, order.words, said=order.said, message=status.message, paused=None))
    if reason:
        raise _DeniedError(f"held as {reason}, which this does not end: {status.message}")
    raise _DeniedError(f"it is not held: it is {status.phase}")


def _tried_again(order: _Order, held: Held) -> Status:
    """Begin the task that failed once more, under a name of its own."""
    look, task = order.look, order.look.status.task
    if task is not None:
        attempt, until = task.attempt + 1, look.now + (task.deadline_at - task.since)
        job = job_name(look.plan.name, look.status.run, task.name, attempt) if task.job else ""
        task = change_task(task, since=look.now, deadline_at=until, made=False, attempt=attempt, job=job)
    words = f"{order.words}; what failed is tried again"
    return resumed(look, held, words, order.said, task=task, paused=None)


def _given_time(order: _Order) -> Status:
    """Judge on for as long again as the stage has from its soak to its deadline."""
    look, status, spec = order.look, order.look.status, order.look.plan.spec
    held, stage = status.held, current_stage(spec, status) if spec else None
    assert held is not None
    if spec is None or stage is None or status.stage is None:
        raise _DeniedError("the plan cannot be read, or the stage is no longer in it")
    until = look.now + max(stage.deadline - stage.soak, spec.interval)
    at = change_stage(status.stage, deadline_at=until)
    return resumed(look, held, f"{order.words}; judged on until {until:%H:%M:%S}", order.said, stage=at, paused=None)


def _taken_up(order: _Order) -> Status:
    """Ask for the stage again and judge it from its beginning; what stands now is where it begins."""
    look, status = order.look, order.look.status
    weights = status.weights
    stands = live_weights(look, weights.snapshot, weights)
    pairs = [pair(rule, weights.old, weights.new) for route in stands for rule in route.rules]
    if len(pairs) < sum(len(route.rules) for route in weights.snapshot) or look.old is None:
        raise _DeniedError(f"what is missing must be brought back first: {status.message}")
    if not all(sum(each) for each in pairs):
        raise _DeniedError(
            f"both sides have weight 0 somewhere; give {weights.old} its traffic first: {status.message}"
        )
    now = format_weight(share(stands, weights.old, weights.new))
    return move(
        look,
        Cause.TAKEN_UP,
        f"{order.words}; the stage begins anew from {now}",
        reason=StatusReason.SHIFTING,
        said=order.said,
        held=None,
        paused=None,
        stage=status.stage and change_stage(status.stage, verified_at=None, then=""),
        weights=change_weights(weights, desired=now, written=stands),
        drifts=(),
    )


# ---- on --------------------------------------------------------------------------------------------------------------


def _approve(order: _Order) -> Step:
    look, status, held = order.look, order.look.status, order.look.status.held
    spec = look.plan.written
    if held is None or held.reason != HoldReason.AWAITING_APPROVAL or spec is None:
        raise _DeniedError("nothing waits for approval: say it when it is Held as AwaitingApproval")
    if status.stands_in is Phase.CONTRACTING:
        words = f"{order.words}; the old may be taken away"
        return Step(resumed(look, held, words, order.said, approved=CONTRACT))
    stage = next_stage(spec, status)
    words = f"{order.words}; stage {stage.name} may begin"
    return Step(resumed(look, held, words, order.said, approved=stage.name))


def _skip(order: _Order) -> Step:
    look, status, spec = order.look, order.look.status, _unhindered(order)
    at, stage = status.stage, current_stage(spec, status)
    if status.held is not None and status.held.reason == HoldReason.AWAITING_APPROVAL:
        raise _DeniedError(f"nothing is left to judge, and the next stage waits: say `approve` ({status.message})")
    if status.phase is Phase.SHIFTING:
        raise _DeniedError("nothing is left to judge here: the next weight is on its way")
    if at is None or stage is None or at.verified_at is None:
        raise _DeniedError("no stage is being judged: say it when one is")
    if is_last(spec, stage):
        raise _DeniedError(f"{stage.name} is the last stage: nothing comes after it, and it ends by itself when proved")
    words = f"{order.words}; {stage.step} is taken as passed after {span(at.verified_at, look.now)}"
    return Step(move(look, Cause.SKIPPED, words, reason=StatusReason.SHIFTING, said=order.said, held=None))


def _promote(order: _Order) -> Step:
    look, status, spec = order.look, order.look.status, _unhindered(order)
    last, at, stage = spec.ladder()[-1], status.stage, current_stage(spec, status)
    if status.phase not in TABLE[Cause.PROMOTED].sources or at is None or stage is None or at.verified_at is None:
        raise _DeniedError("no stage is being judged: say it when one is")
    if is_last(spec, stage):
        raise _DeniedError("it stands at the last stage already, and ends by itself when that is proved")
    return Step(
        move(
            look,
            Cause.PROMOTED,
            f"{order.words}; straight to {last.name} at {format_weight(last.permille)}",
            reason=StatusReason.SHIFTING,
            said=order.said,
            held=None,
            approved=last.name,
            stage=change_stage(at, then=last.name),
        )
    )


def _unhindered(order: _Order) -> PlanSpec:
    """The plan, if a person may answer here for what was not proved: not for what is broken, and not for others."""
    look, status = order.look, order.look.status
    spec, held = look.plan.spec, status.held
    if spec is None or not look.plan.readable or status.phase not in MOVED or status.intent is not None:
        raise _DeniedError(f"no stage is being judged (it is {status.phase}): say it when one is")
    if held is not None and held.reason not in (HoldReason.UNDECIDED, HoldReason.AWAITING_APPROVAL):
        raise _DeniedError(f"it is held as {held.reason}, and that comes first: {status.message}")
    if status.failed:
        raise _DeniedError(f"it was refuted and never goes forward again: {status.failed}")
    return spec


_DONE: Mapping[Verb, Callable[[_Order], Step | None]] = {
    Verb.ABORT: _abort,
    Verb.REVERT: _revert,
    Verb.RETRY: _retry,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.APPROVE: _approve,
    Verb.SKIP: _skip,
    Verb.PROMOTE: _promote,
}
