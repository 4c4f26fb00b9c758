"""Drift: weights that somebody else changed. The weights that are judged must be the desired ones.

Weights moved towards the new side are corrected at once, at the current stage; after repeated drift the run rolls
back. Weights moved towards the old side may be somebody's rollback: they hold the run (rules/hold.py), and are not
raised again until a person sends `resume` or the stage is judged again.
"""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.changes import change, change_stage, change_weights
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.status import Intent, Phase, RouteWeights, Status
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.model.acceptance import accepted_within, not_accepted
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.routes import at_least_desired, is_under_way, route_mismatch, route_patches
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.policy.endpoints import old_side_down
from rolloutplan.engine.rules.intents import late_words
from rolloutplan.engine.run.transition import enter_hold, fencing_token, start_stage_timers, transition, try_rollback

MAX_REPAIRS = 3
REPAIRS_WITHIN = timedelta(minutes=10)
"""More repairs than this within this time mean that another writer competes: the run then rolls back."""


def correct_drift(snapshot: Snapshot) -> ReconcileResult | None:
    """Correct weights that were moved towards the new side, and wait until the correction is read back.

    It is above the shift: the weights must be the desired ones before a further change is requested. A run that is held
    does not go on with a change of weights: its former weights are written again.
    """
    status, weights, intent = snapshot.status, snapshot.status.weights, snapshot.status.intent
    if status.phase not in TRAFFIC_SHIFTED_PHASES:
        return None
    differs = external_change(snapshot)
    if not differs:
        return _corrected(snapshot, intent) if intent is not None and not _is_shifting(status) else None
    if not at_least_desired(snapshot, weights.written, weights):
        given_up = intent is not None and status.held_for != HoldReason.FAILED
        return _accept_external(snapshot, intent, differs) if intent is not None and given_up else None
    if down := old_side_down(snapshot):  # the correction would take traffic from a side that answers
        known = status.held_for in (HoldReason.OLD_SIDE_DOWN, HoldReason.FAILED)
        return None if known else enter_hold(snapshot, HoldReason.OLD_SIDE_DOWN, f"{differs}; {down}")
    shifting = _is_shifting(status) and status.phase is not Phase.HELD
    desired = _desired_routes(status) if shifting else weights.written
    if intent is not None and intent.corrects == differs and shifting == _is_shifting(status):
        again = route_patches(snapshot, desired, weights, fencing_token(snapshot, status), status.revert)
        return ReconcileResult(actions=again, wake_at=intent.at + accepted_within(snapshot))
    recent = tuple(at for at in status.repaired_at if at > snapshot.now - REPAIRS_WITHIN)
    if len(recent) >= MAX_REPAIRS:
        times = f"{len(recent) + 1} times within {format_duration(REPAIRS_WITHIN)}"
        return try_rollback(
            snapshot, StatusReason.WEIGHT_CONFLICT, f"somebody else changed the weights {times}: {differs}"
        )
    to = intent.to if intent is not None and shifting else _written_share(status)
    words = f"{differs}; {to} is written again"
    after = transition(
        snapshot,
        TransitionName.DRIFTED,
        words,
        message=status.message if status.phase is Phase.HELD else words,
        intent=Intent(
            action="Shift" if shifting else "Repair",
            at=snapshot.now,
            to=to,
            routes=desired,
            corrects=differs,
            leaves=intent.leaves if intent is not None and shifting else "",
        ),
        repaired_at=(*recent, snapshot.now),
        weights=weights if shifting else change_weights(weights, desired=to),
    )
    return ReconcileResult(
        after, route_patches(snapshot, desired, weights, fencing_token(snapshot, after), status.revert)
    )


def external_change(snapshot: Snapshot) -> str:
    """The first weights that are neither the desired nor the formerly written ones, as text; empty if none are."""
    status, weights = snapshot.status, snapshot.status.weights
    for target, before in zip(_desired_routes(status), weights.written, strict=False):
        differs = route_mismatch(snapshot, (target,), weights)
        moved = differs and route_mismatch(snapshot, (before,), weights)
        if moved and not is_under_way(snapshot, _desired_routes(status)):
            return moved if status.phase is Phase.HELD else differs
    return ""


def _is_shifting(status: Status) -> bool:
    return status.intent is not None and status.intent.action == "Shift"


def _desired_routes(status: Status) -> tuple[RouteWeights, ...]:
    return status.intent.routes if status.intent is not None and _is_shifting(status) else status.weights.written


def _written_share(status: Status) -> str:
    weights = status.weights
    return format_weight(share(weights.written, weights.old, weights.new))


def _accept_external(snapshot: Snapshot, intent: Intent, differs: str) -> ReconcileResult:
    """Somebody moved the weights back while they were being written: the run accepts that and holds."""
    status, weights = snapshot.status, snapshot.status.weights
    stage = status.stage and change_stage(status.stage, judged_since=status.stage.judged_since or snapshot.now)
    accepted = change_weights(weights, desired=_written_share(status))
    words = f"while {intent.to} was being written: {differs}; `resume` starts the stage again, `abort` rolls back"
    return enter_hold(snapshot, HoldReason.CONFLICT, words, intent=None, weights=accepted, stage=stage)


def _corrected(snapshot: Snapshot, intent: Intent) -> ReconcileResult | None:
    """The weights are correct again. The stage starts again, because part of it was measured at another weight."""
    status, spec, problem = snapshot.status, snapshot.plan.spec, not_accepted(snapshot, intent.routes)
    within = accepted_within(snapshot, problem)
    if problem is not None and (problem.until is not None or snapshot.now < intent.at + within):
        return ReconcileResult(wake_at=problem.ends_at(intent.at + within))
    if problem is not None:
        return try_rollback(snapshot, StatusReason.WEIGHT_NOT_ACCEPTED, late_words(intent, within, problem))
    at, stage = status.stage, current_stage(spec, status) if spec else None
    if at is not None and stage is not None and at.deadline_at is not None:
        at = start_stage_timers(snapshot, at, stage)
        if status.held is not None:  # `leave_hold` adds the whole time held
            pause = snapshot.now - status.held.since
            soak, end = at.soak_until, at.deadline_at
            at = change_stage(at, soak_until=soak and soak - pause, deadline_at=end and end - pause)
    elif at is not None:
        at = change_stage(at, judged_since=snapshot.now)
    return ReconcileResult(change(status, intent=None, stage=at))
