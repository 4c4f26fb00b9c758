"""Chooses the next step of a plan, from its spec and status, for the rules that shift weights."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import Status
from rolloutplan.engine.analysis.measurements import current_stage


def next_stage(spec: PlanSpec, status: Status) -> Stage:
    """The stage to shift to: the one after the last verified stage, unless a person named another.

    After a warning the run goes half way to it first, and then all the way.
    """
    steps, stage, at = spec.steps(), current_stage(spec, status), status.stage
    if stage is None or at is None:
        return steps[0]
    if named := next((each for each in steps if each.name == at.next_stage), None):
        return named
    if at.verified_at is None:
        return stage
    if stage.half:
        return steps[stage.index]
    following = steps[min(stage.index + 1, len(steps) - 1)]
    return following.halved(stage.permille) if at.warned else following


def more_time(spec: PlanSpec, stage: Stage) -> timedelta:
    """How much longer an undecided stage is judged that gets more time: what it has between soak and deadline."""
    return max(stage.deadline - stage.soak, spec.interval)


def is_last(spec: PlanSpec, stage: Stage) -> bool:
    """Whether no weight is left after that of this stage, at its present weight."""
    return not stage.half and stage.index + 1 == len(spec.steps())
