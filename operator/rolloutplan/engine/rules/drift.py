"""Weights that somebody else moved. What is judged must be what is asked.

Weights moved towards the new side are put right at once, where the run stands; whoever goes on moving them gets the
snapshot. Weights moved towards the old side may be somebody's way to safety: they hold the run (rules/wait.py), and are
never pushed forward again without a person's word or a fresh judgement.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.engine.ask import current_stage
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, clocks, fence, hold, move
from rolloutplan.engine.routes import acceptance_problem, at_least_desired, route_mismatch, route_patches
from rolloutplan.engine.rules.intents import ACCEPTED_WITHIN
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import MOVED, Cause
from rolloutplan.engine.weights import share
from rolloutplan.plan.changes import change, change_stage, change_weights
from rolloutplan.plan.quantities import format_duration, format_weight
from rolloutplan.plan.reasons import HoldReason, StatusReason
from rolloutplan.plan.status import Intent, Phase, RouteWeights, Status

REPAIRS = 3
WITHIN = timedelta(minutes=10)
"""More repairs than this within this time are a fight, and a fight ends at the safe weight."""


def correct_drift(look: Look) -> Step | None:
    """Put weights right that were moved towards the new side, and wait until that is read back.

    It stands above the shift: what is judged must be what is asked, before anything more is asked for.
    """
    status, weights, intent = look.status, look.status.weights, look.status.intent
    if status.phase not in MOVED:
        return None
    shifting, asked, differs = _shifting(status), _asked(status), external_change(look)
    if not differs:
        return _mended(look, intent) if intent is not None and not shifting else None
    if not at_least_desired(look, weights.written, weights):
        return _given_up(look, intent, differs) if intent is not None else None
    if intent is not None and intent.mends == differs:
        again = route_patches(look, asked, weights, fence(look, status), status.revert)
        return Step(actions=again, wake_at=_late(intent))
    recent = tuple(at for at in status.drifts if at > look.now - WITHIN)
    if len(recent) >= REPAIRS:
        times = f"{len(recent) + 1} times within {format_duration(WITHIN)}"
        return back(look, StatusReason.WEIGHT_CONFLICT, f"weights were moved by somebody else {times}: {differs}")
    to = intent.to if intent is not None and shifting else _stands(status)
    words = f"{differs}; {to} is written again"
    after = move(
        look,
        Cause.DRIFTED,
        words,
        message=status.message if status.phase is Phase.HELD else words,
        intent=Intent(action="Shift" if shifting else "Repair", at=look.now, to=to, routes=asked, mends=differs),
        drifts=(*recent, look.now),
    )
    return Step(after, route_patches(look, asked, weights, fence(look, after), status.revert))


def external_change(look: Look) -> str:
    """What some route holds that is neither asked for nor what was written before; empty where nothing is."""
    weights = look.status.weights
    for target, before in zip(_asked(look.status), weights.written, strict=False):
        if (differs := route_mismatch(look, (target,), weights)) and route_mismatch(look, (before,), weights):
            return differs
    return ""


def _shifting(status: Status) -> bool:
    return status.intent is not None and status.intent.action == "Shift"


def _asked(status: Status) -> tuple[RouteWeights, ...]:
    return status.intent.routes if status.intent is not None and _shifting(status) else status.weights.written


def _late(intent: Intent) -> datetime:
    return intent.at + ACCEPTED_WITHIN


def _stands(status: Status) -> str:
    weights = status.weights
    return format_weight(share(weights.written, weights.old, weights.new))


def _given_up(look: Look, intent: Intent, differs: str) -> Step:
    """Somebody moved the weights back while they were being written: their word counts."""
    status, weights = look.status, look.status.weights
    stage = status.stage and change_stage(status.stage, judged_since=status.stage.judged_since or look.now)
    stands = change_weights(weights, desired=_stands(status))
    words = f"while {intent.to} was being written: {differs}"
    return hold(look, HoldReason.CONFLICT, words, intent=None, weights=stands, stage=stage)


def _mended(look: Look, intent: Intent) -> Step:
    """The weights are right again: the stage begins anew, since part of it was measured at another weight."""
    status, spec, late = look.status, look.plan.spec, intent.at + ACCEPTED_WITHIN
    refused = acceptance_problem(look, intent.routes)
    if refused and look.now < late:
        return Step(wake_at=late)
    if refused:
        within = format_duration(ACCEPTED_WITHIN)
        return back(
            look, StatusReason.WEIGHT_NOT_ACCEPTED, f"{intent.to} was not in force again within {within}: {refused}"
        )
    at, stage = status.stage, current_stage(spec, status) if spec else None
    if at is not None and stage is not None and at.deadline_at is not None:
        at = clocks(look, at, stage)
        if status.held is not None:  # when it goes on, the whole time held is added
            pause = look.now - status.held.since
            soak, end = at.soak_until, at.deadline_at
            at = change_stage(at, soak_until=soak and soak - pause, deadline_at=end and end - pause)
    elif at is not None:
        at = change_stage(at, judged_since=look.now)
    return Step(change(status, intent=None, stage=at))
