"""Edits during a run: parts that have not started may be changed, and a decision records the difference.

Any other edit makes it another plan, and the run rolls back first (`superseded`).
"""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.changes import RunChange, change_stage
from rolloutplan.api.quantities import parse_duration
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_digest import changes, is_allowed_edit, spec_digest, stage_part
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.policy.demands import CONTRACT
from rolloutplan.engine.run.transition import transition


def is_live_edit(snapshot: Snapshot) -> bool:
    """Whether the plan was edited only in parts that have not started, and is readable."""
    return snapshot.plan.spec is not None and is_live(snapshot.status, snapshot.plan.spec)


def is_live(status: Status, spec: PlanSpec) -> bool:
    """Whether a plan differs from that of the run only in parts that have not started."""
    if spec.plan_hash() == status.plan_hash:
        return False
    started = status.stage.index + 1 if status.stage else 0
    return is_allowed_edit(status.spec_digest, spec_digest(spec), started)


def accept_edit(snapshot: Snapshot) -> ReconcileResult | None:
    """Take over an edit of parts that have not started, and record it. An approval of an edited part becomes void.

    It is below the rollback rules, so that an edit hides no failure, and above all rules that go on with the plan.
    """
    status, spec = snapshot.status, snapshot.plan.spec
    if spec is None or status.phase not in TRANSITIONS[TransitionName.ADAPTED].sources or not is_live_edit(snapshot):
        return None
    parts = spec_digest(spec)
    differences = changes(status.spec_digest, parts)
    edited: RunChange = {"plan_hash": spec.plan_hash(), "spec_digest": parts, "templates": snapshot.plan.templates}
    if _part(status.approved) in differences:
        edited["approved"] = ""
    ahead = tuple(name for name in status.approved_ahead if _part(name) not in differences)
    if ahead != status.approved_ahead:
        edited["approved_ahead"] = ahead
    edited.update(_bake_changes(status, spec, "bake" in differences))
    by = f" by {snapshot.plan.edited_by}" if snapshot.plan.edited_by else ""
    details = "; ".join(f"{name}: {change}" for name, change in differences.items())
    words = f"the plan was edited during the run{by}: {details}"
    if status.phase is Phase.BAKING and _has_next_stage(status, spec):
        return ReconcileResult(
            transition(snapshot, TransitionName.ADAPTED_ON, words, reason=StatusReason.SHIFTING, **edited)
        )
    edited["message"] = status.message
    return ReconcileResult(transition(snapshot, TransitionName.ADAPTED, words, **edited))


def _part(approved: str) -> str:
    """The part of the plan that an approval is for."""
    return "contract" if approved == CONTRACT else stage_part(approved)


def _has_next_stage(status: Status, spec: PlanSpec) -> bool:
    """Whether the plan now has weights above the current one, which was the last."""
    return status.stage is not None and status.stage.index < spec.bake_step.index


def _bake_changes(status: Status, spec: PlanSpec, bake: bool) -> RunChange:
    """What an edit changes during the bake: the length of the bake, or whether the current weight is the last one."""
    stage, held = status.stage, status.held
    if status.effective_phase is not Phase.BAKING or stage is None or stage.soak_until is None:
        return {}
    if held is not None and _has_next_stage(status, spec):
        return {"held": held.going_on_in(Phase.SHIFTING)}
    before = next((part.text for part in status.spec_digest if part.name == "bake"), "0s")
    longer = spec.bake_for - parse_duration(before) if bake else timedelta(0)
    return {"stage": change_stage(stage, soak_until=stage.soak_until + longer)}
