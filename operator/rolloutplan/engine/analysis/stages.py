"""Chooses the next step of a plan, from its spec and status, for the rules that shift weights."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import Status
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.model.weights import is_valid_snapshot, share


def next_stage(spec: PlanSpec, status: Status) -> Stage:
    """The stage to shift to: the one after the last verified stage, unless a person named another.

    After a warning the run goes half way to it first, and then all the way. The step to 100% after a bake with a
    control group is never reached from less than the weight of that bake: a run that lost its weights bakes again.
    """
    steps, stage, at = spec.steps(), current_stage(spec, status), status.stage
    if stage is None or at is None:
        return steps[0]
    if named := next((each for each in steps if each.name == at.next_stage), None):
        return named
    if at.verified_at is None:
        below = stage.completes and _written_share(status) < spec.bake_step.permille
        return spec.bake_step if below else stage
    if stage.half:
        return steps[stage.index]
    following = steps[min(stage.index + 1, len(steps) - 1)]
    return following.halved(stage.permille) if at.warned else following


def more_time(spec: PlanSpec, stage: Stage) -> timedelta:
    """How much longer an undecided stage is judged that gets more time: what it has between soak and deadline."""
    return max(stage.deadline - stage.soak, spec.interval)


def is_last(spec: PlanSpec, stage: Stage) -> bool:
    """Whether no stage is left after this one, at its present weight. The step to 100% after a bake is none."""
    return not stage.half and stage.index >= spec.bake_step.index


def control_group(spec: PlanSpec, status: Status) -> str:
    """What stays on the old side at the present weight until the bake is over, as text; empty where nothing does."""
    stage = current_stage(spec, status)
    return control_group_words(stage, status.weights.old) if stage is not None else ""


def control_group_words(stage: Stage, old: str) -> str:
    """What stays on the old side at this stage until the bake is over, as text; empty where nothing does."""
    if not stage.held_back or stage.half:
        return ""
    return f"{format_weight(stage.held_back)} stays on {old} as the control group until the bake is over"


def _written_share(status: Status) -> int:
    weights = status.weights
    valid = is_valid_snapshot(weights.written, weights.old, weights.new)
    return share(weights.written, weights.old, weights.new) if valid else 0
