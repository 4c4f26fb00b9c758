"""Waiting is safe. A run that may not go on and has no cause to go back is held, and says why."""

from __future__ import annotations

from rolloutplan.engine.ask import binding, current_stage, patience, track_of
from rolloutplan.engine.checks import paused_words, status_lost
from rolloutplan.engine.gate import GATED, Closed, answered_against, closed_to, must_ask
from rolloutplan.engine.incident import incident
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, clocks, hold, move, resumed
from rolloutplan.engine.narrate import span
from rolloutplan.engine.rules.drift import external_change
from rolloutplan.engine.rules.forward import all_shown
from rolloutplan.engine.share import moved_words, not_moved
from rolloutplan.engine.stages import next_stage
from rolloutplan.engine.step import AskGate, Step
from rolloutplan.engine.table import MOVED, Cause
from rolloutplan.engine.weights import sound
from rolloutplan.plan.changes import change
from rolloutplan.plan.quantities import format_duration
from rolloutplan.plan.reasons import HoldReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import RUNNING, STARTING, Held, Phase, Status

_CLOCKED = (Phase.JUDGING, Phase.BAKING, Phase.CONTRACTING)


def inconsistent(look: Look) -> Step | None:
    """A status that was edited into contradiction: nothing is done on such ground, and it says so.

    It stands above all that would act on what the status says, and below a person's word to go back.
    """
    status, spec = look.status, look.plan.spec
    if status.phase not in RUNNING - STARTING:
        return None
    ours = spec is not None and spec.plan_hash() == status.plan_hash
    unknown = ours and spec is not None and status.stage is not None and current_stage(spec, status) is None
    if _consistent(status) and not unknown:
        return None
    lost = status_lost(look)
    return Step(move(look, Cause.LOST, lost.message, reason=lost.reason, predicates=(), task=None, done=()))


def _consistent(status: Status) -> bool:
    weights, stage = status.weights, status.stage
    phase = status.stands_in
    routes = (weights.snapshot, weights.written, *((status.intent.routes,) if status.intent else ()))
    if not all(sound(each, weights.old, weights.new) for each in routes):
        return False
    if phase is Phase.SHIFTING:
        return status.intent is None or status.intent.action != "Shift" or stage is not None
    clocks = (stage.judged_since, stage.verified_at, stage.soak_until) if stage else (None,)
    if phase is Phase.JUDGING and stage is not None:
        clocks = (*clocks, stage.deadline_at)
    return phase is Phase.REVERTING or (phase in _CLOCKED and None not in clocks)


def stay_failed(look: Look) -> Step | None:
    """A failure that is held waits for a person: nothing that changes meanwhile lets it go on, or holds it anew."""
    return Step() if look.status.held_for == HoldReason.FAILED else None


def ask_gate(look: Look) -> Step | None:
    """Before an increment, ask what the gate must know, if nothing else is in the way and it was not asked just now."""
    spec = look.plan.spec
    if look.status.phase not in MOVED or spec is None or not _at_the_gate(look.status) or _in_the_way(look):
        return None
    questions = must_ask(look, next_stage(spec, look.status))
    return Step(actions=(AskGate(questions),)) if questions else None


def hold_run(look: Look) -> Step | None:
    """Hold for the first thing that is in the way, and say so while it is. Nothing goes forward past this rule.

    The ways back stand above it: what holds a run never keeps it from going back.
    """
    status = look.status
    found = _found(look)
    if found is None:
        return None
    if found.reason is HoldReason.BLIND and (step := _blind_too_long(look, found.words)) is not None:
        return step
    held = status.held if status.phase is Phase.HELD else None
    if held is not None and (found.reason == held.reason or _is_undecided_and_blind(held, found)):
        says = (found.reason in GATED or found.again) and found.words != status.message
        return Step(change(status, message=found.words) if says else None, wake_at=found.again)
    return hold(look, found.reason, found.words, found.evidence)


def resume_run(look: Look) -> Step | None:
    """Go on where nothing is in the way any more; what was undecided goes on when it is decided."""
    held = look.status.held if look.status.phase is Phase.HELD else None
    if held is None or (held.reason == HoldReason.UNDECIDED and not all_shown(look)):
        return None
    return Step(_goes_on(look, held))


def _found(look: Look) -> Closed | None:
    """What is in the way, if the gate has its answers."""
    status, spec = look.status, look.plan.spec
    if status.phase not in MOVED:
        return None
    found = _in_the_way(look)
    if found is None and spec is not None and _at_the_gate(status):
        return answered_against(look, next_stage(spec, status))
    return found


def _is_undecided_and_blind(held: Held, found: Closed) -> bool:
    """Whether it is held for want of proof, and now sees nothing at all: that is no news."""
    return held.reason == HoldReason.UNDECIDED and found.reason is HoldReason.BLIND


def _goes_on(look: Look, held: Held) -> Status:
    """What it waited for is over. Traffic that has moved only now makes the weight real: the stage begins anew."""
    spec, at = look.plan.spec, look.status.stage
    stage, after = current_stage(spec, look.status) if spec else None, span(held.since, look.now)
    if held.reason == HoldReason.NOT_EFFECTIVE and at is not None and stage is not None:
        words = f"{held.reason} is over after {after}: {moved_words(look)}; the stage begins anew"
        return resumed(look, held, words, stage=clocks(look, at, stage))
    words = f"{held.reason} is over after {after}; the stage's clocks are moved by that time"
    return resumed(look, held, words)


def _in_the_way(look: Look) -> Closed | None:
    """In a line each: what holds the run."""
    spec, status = look.plan.spec, look.status
    if spec is None:
        return Closed(
            HoldReason.INVALID, f"the plan can no longer be read, so nothing can be judged: {look.plan.problem}"
        )
    if not look.plan.readable:
        words = f"the plan can no longer be read, and is judged by what it was until it can: {look.plan.problem}"
        return Closed(HoldReason.INVALID, words)
    if differs := external_change(look):
        fix = "put them back as they were, or say `resume` to have the stage begin anew; `abort` restores"
        return Closed(HoldReason.CONFLICT, f"{differs}: {fix}")
    if look.old is None:
        return Closed(
            HoldReason.CONFLICT, f"Deployment {spec.old.deployment}, the way back, is gone: bring it back to go on"
        )
    if words := _blind(look, spec):
        return Closed(HoldReason.BLIND, words)
    words, evidence = incident(look)
    if words:
        return Closed(HoldReason.INCIDENT, words, evidence=evidence)
    if status.paused is not None:
        return Closed(HoldReason.PAUSED, paused_words(status.paused))
    if words := not_moved(look):
        return Closed(HoldReason.NOT_EFFECTIVE, words)
    return closed_to(look, next_stage(spec, status)) if _at_the_gate(status) else None


def _at_the_gate(status: Status) -> bool:
    """Whether the next thing to do is an increment."""
    return status.stands_in is Phase.SHIFTING and status.intent is None


def _blind(look: Look, spec: PlanSpec) -> str:
    """Why nothing can be seen; empty while something can. One answer that is late is not blindness."""
    status = look.status
    if look.source is None:
        return look.source_problem or "the metric source is gone"
    tracks = {item.name: track_of(look, item) for item in binding(spec, status, look.source)}
    asked = [track for track in tracks.values() if track.verdict is not None]
    silent = [track.silent_since for track in asked if track.silent_since is not None]
    if status.held_for == HoldReason.BLIND:
        return "" if not tracks or len(silent) < len(asked) else status.message
    if not asked or len(silent) < len(asked) or look.now < max(silent) + patience(spec, look.source):
        return ""
    detail = next(track.verdict.detail for track in asked if track.verdict is not None)
    return f"the metric source has not answered for {span(max(silent), look.now)}: {detail}"


def _blind_too_long(look: Look, words: str) -> Step | None:
    spec, held = look.plan.spec, look.status.held
    if spec is None:
        return None
    rule = spec.on_blind
    if rule.action == "Rollback":
        return back(look, HoldReason.BLIND, f"onBlind is Rollback: {words}")
    since = (held.reason_since or held.since) if held and held.reason == HoldReason.BLIND else look.now
    if rule.after and rule.then == "Rollback" and look.now >= since + rule.after:
        return back(
            look, HoldReason.BLIND, f"blind for {format_duration(rule.after)}, and onBlind.then is Rollback: {words}"
        )
    return None
