"""An edit in mid-run: what has not had its turn may be changed, and the trail says what was.

An edit of anything else makes it another hypothesis, which goes back first (`superseded`).
"""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.engine.gate import CONTRACT
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import move
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import TABLE, Cause
from rolloutplan.plan.changes import RunChange, change_stage
from rolloutplan.plan.outline import allowed, changes, outline, stage_part
from rolloutplan.plan.quantities import parse_duration
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Phase, Status


def adapts(look: Look) -> bool:
    """Whether the plan was edited in nothing but what has not had its turn, and can be judged as it is now."""
    status, spec = look.status, look.plan.spec
    if spec is None or spec.plan_hash() == status.plan_hash:
        return False
    started = status.stage.index + 1 if status.stage else 0
    return allowed(status.outline, outline(spec), started)


def adapted(look: Look) -> Step | None:
    """Take over an edit of what has not had its turn, with the difference on the trail; an approval of it is void.

    It stands below the ways back, so that an edit hides no failure, and above all that goes by the plan.
    """
    status, spec = look.status, look.plan.spec
    if spec is None or status.phase not in TABLE[Cause.ADAPTED].sources or not adapts(look):
        return None
    parts = outline(spec)
    differences = changes(status.outline, parts)
    edited: RunChange = {"plan_hash": spec.plan_hash(), "outline": parts, "templates": look.plan.templates}
    if {"contract" if status.approved == CONTRACT else stage_part(status.approved)} & differences.keys():
        edited["approved"] = ""
    edited.update(_ending(status, spec, "bake" in differences))
    by = f" by {look.plan.edited_by}" if look.plan.edited_by else ""
    told = "; ".join(f"{name}: {change}" for name, change in differences.items())
    words = f"the plan was edited in mid-run{by}: {told}"
    if status.phase is Phase.BAKING and _climbs(status, spec):
        return Step(move(look, Cause.ADAPTED_ON, words, reason=StatusReason.SHIFTING, **edited))
    edited["message"] = status.message
    return Step(move(look, Cause.ADAPTED, words, **edited))


def _climbs(status: Status, spec: PlanSpec) -> bool:
    """Whether there are weights now above the one that was the last."""
    return status.stage is not None and status.stage.index + 1 < len(spec.ladder())


def _ending(status: Status, spec: PlanSpec, bake: bool) -> RunChange:
    """What an edit changes of a run that bakes: how long it does, or whether its weight is the last at all."""
    stage, held = status.stage, status.held
    if status.stands_in is not Phase.BAKING or stage is None or stage.soak_until is None:
        return {}
    if held is not None and _climbs(status, spec):
        return {"held": held.going_on_in(Phase.SHIFTING)}
    before = next((part.text for part in status.outline if part.name == "bake"), "0s")
    longer = spec.bake - parse_duration(before) if bake else timedelta(0)
    return {"stage": change_stage(stage, soak_until=stage.soak_until + longer)}
