"""Rungs 6 to 8: waiting is safe. A run that may not go on and has no cause to go back is held, and says why."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.engine.ask import in_force, track_of, verdict_of
from rolloutplan.engine.checks import status_lost
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, hold, move
from rolloutplan.engine.narrate import span
from rolloutplan.engine.routes import unlike
from rolloutplan.engine.rungs.forward import all_shown
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import MOVED, Cause
from rolloutplan.judge.verdict import Why
from rolloutplan.plan.quantities import format_duration
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import RUNNING, Held, Phase, Status

_GOES_ON_AS = {Phase.SHIFTING: "Shifting", Phase.JUDGING: "Soaking", Phase.BAKING: "Baking"}


def inconsistent(look: Look) -> Step | None:
    """A status that was edited into contradiction: nothing is done on such ground, and it says so."""
    status = look.status
    if status.phase not in RUNNING - {Phase.EXPANDING} or _consistent(status):
        return None
    lost = status_lost(look)
    return Step(move(look, Cause.LOST, lost.message, reason=lost.reason, predicates=()))


def _consistent(status: Status) -> bool:
    stage = status.stage
    clocked = stage is not None and None not in (stage.verified_at, stage.soak_until)
    if not status.weights.snapshot or (status.phase is Phase.HELD and status.held is None):
        return False
    phase = status.held.back_to if status.phase is Phase.HELD and status.held else status.phase
    return clocked if phase in (Phase.JUDGING, Phase.BAKING) else phase in (Phase.SHIFTING, Phase.REVERTING)


def waiting(look: Look) -> Step | None:
    """Hold for what stands in the way; go on when it is gone."""
    status = look.status
    if status.phase not in MOVED:
        return None
    held = status.held if status.phase is Phase.HELD else None
    if held is not None and held.reason == "Failed":
        return Step(status)
    found = _in_the_way(look)
    if found is not None:
        reason, words = found
        if reason == "Blind" and (step := _blind_too_long(look, words)) is not None:
            return step
        if held is not None and held.reason in (reason, "Undecided"):
            return Step(status)
        return hold(look, reason, words)
    if held is None or (held.reason == "Undecided" and not all_shown(look)):
        return None
    return Step(_resumed(look, held))


def _in_the_way(look: Look) -> tuple[str, str] | None:
    """Rungs 6 to 8 in one line each: the reason of a hold and its words."""
    spec, weights = look.plan.spec, look.status.weights
    if spec is None:
        return "Invalid", f"the plan can no longer be read, so nothing can be judged: {look.plan.problem}"
    if differs := unlike(look, weights.written, weights):
        return "Conflict", f"{differs}: put them back as they were to go on, or delete the plan to restore"
    if look.old is None:
        return "Conflict", f"Deployment {spec.old.deployment}, the way back, is gone: bring it back to go on"
    if words := _blind(look, spec):
        return "Blind", words
    return None


def _blind(look: Look, spec: PlanSpec) -> str:
    """Why nothing can be seen; empty while something can. One answer that is late is not blindness."""
    status = look.status
    held = status.held if status.phase is Phase.HELD and status.held and status.held.reason == "Blind" else None
    if look.source is None:
        return look.source_problem or "the metric source is gone"
    items = in_force(spec, status, look.source)
    asked = [item for item in items if track_of(look, item).asked_at is not None]
    heard = [at for item in asked if (at := track_of(look, item).answered_at) is not None]
    if held is not None:
        return "" if not items or any(at > held.since for at in heard) else status.message
    down = [verdict_of(look, item) for item in asked]
    if not down or any(verdict.why is not Why.SOURCE_DOWN for verdict in down):
        return ""
    last = max(heard, default=min(item.first_at for item in asked))
    if look.now < last + _patience(look, spec):
        return ""
    return f"the metric source has not answered for {span(last, look.now)}: {down[0].detail}"


def _patience(look: Look, spec: PlanSpec) -> timedelta:
    timeout = look.source.timeout if look.source else timedelta(0)
    return max(3 * spec.interval, spec.interval + timeout)


def _blind_too_long(look: Look, words: str) -> Step | None:
    spec, held = look.plan.spec, look.status.held
    if spec is None:
        return None
    rule = spec.on_blind
    if rule.action == "Rollback":
        return back(look, "Blind", f"onBlind is Rollback: {words}")
    blind_since = held.since if held and held.reason == "Blind" else look.now
    if rule.after and rule.then == "Rollback" and look.now >= blind_since + rule.after:
        return back(look, "Blind", f"blind for {format_duration(rule.after)}, and onBlind.then is Rollback: {words}")
    return None


def _resumed(look: Look, held: Held) -> Status:
    """Go on where it was held, with every clock moved by the time held.

    After a conflict over the weights the windows start anew: meanwhile another weight was measured.
    """
    stage, pause = look.status.stage, look.now - held.since
    if stage is not None and stage.verified_at is not None:
        stage = stage.model_copy(
            update={
                "verified_at": look.now if held.reason == "Conflict" else stage.verified_at,
                "soak_until": stage.soak_until and stage.soak_until + pause,
                "deadline_at": stage.deadline_at and stage.deadline_at + pause,
            }
        )
    words = f"{held.reason} is over after {span(held.since, look.now)}; the stage's clocks are moved by that time"
    return move(look, Cause.RESUMED, words, reason=_GOES_ON_AS.get(held.back_to, "Soaking"), held=None, stage=stage)
