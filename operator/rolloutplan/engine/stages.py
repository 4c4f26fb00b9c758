"""Which stage comes next on the ladder of a plan."""

from __future__ import annotations

from rolloutplan.engine.ask import current_stage
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import Status


def next_stage(spec: PlanSpec, status: Status) -> Stage:
    """The stage to shift to: the one after the last that was verified, unless a person named another.

    After a warning it comes half way first, and then in whole.
    """
    ladder, stage, at = spec.ladder(), current_stage(spec, status), status.stage
    if stage is None or at is None:
        return ladder[0]
    if named := next((each for each in ladder if each.name == at.then), None):
        return named
    if at.verified_at is None:
        return stage
    if stage.half:
        return ladder[stage.index]
    following = ladder[min(stage.index + 1, len(ladder) - 1)]
    return following.halved(stage.permille) if at.warned else following


def is_last(spec: PlanSpec, stage: Stage) -> bool:
    """Whether no weight is left to take after that of this stage, as it stands."""
    return not stage.half and stage.index + 1 == len(spec.ladder())
