"""`skip` and `promote`: forward past what is not proved here, and never past a failure."""

from __future__ import annotations

from rolloutplan.api.changes import RunChange, change_stage
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import Phase, StageStatus
from rolloutplan.engine.analysis.measurements import current_stage
from rolloutplan.engine.analysis.stages import is_last
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TRANSITIONS, TransitionName
from rolloutplan.engine.policy.demands import demanded_soak, demands_approval, demands_seal
from rolloutplan.engine.policy.seal import seal_of
from rolloutplan.engine.rules.commands.context import CommandContext, DeniedError
from rolloutplan.engine.run.decision_log import span
from rolloutplan.engine.run.transition import transition


def skip(context: CommandContext) -> ReconcileResult:
    """End the stage that is judged now as if it were proved."""
    snapshot, status, spec = context.snapshot, context.snapshot.status, _skippable_plan(context)
    _deny_in_bake(snapshot)
    at, stage = status.stage, current_stage(spec, status)
    if status.held is not None and status.held.reason == HoldReason.AWAITING_APPROVAL:
        raise DeniedError(f"the stage is proved and the next one waits for approval: send `approve` ({status.message})")
    if status.phase is Phase.SHIFTING:
        raise DeniedError("there is nothing to skip: the next weight is being set")
    if at is None or stage is None or at.verified_at is None:
        raise DeniedError("no stage is being judged: send it during a stage")
    if is_last(spec, stage):
        raise DeniedError(f"{stage.name} is the last stage, which cannot be skipped: it ends when it is proved")
    _deny_short_soak(snapshot, stage, at)
    words = f"{context.words}; {stage.step} is skipped after {span(at.verified_at, snapshot.now)}"
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.SKIPPED,
            words,
            reason=StatusReason.SHIFTING,
            commanded_by=context.commanded_by,
            held=None,
        )
    )


def promote(context: CommandContext) -> ReconcileResult:
    """Let the last stage follow the one that is judged now."""
    snapshot, status, spec = context.snapshot, context.snapshot.status, _skippable_plan(context)
    _deny_in_bake(snapshot)
    last, at, stage = spec.bake_step, status.stage, current_stage(spec, status)
    if (
        status.phase not in TRANSITIONS[TransitionName.PROMOTED].sources
        or at is None
        or stage is None
        or at.verified_at is None
    ):
        raise DeniedError("no stage is being judged: send it during a stage")
    if is_last(spec, stage):
        raise DeniedError("the run is already at the last stage, which ends when it is proved")
    _deny_short_soak(snapshot, stage, at)
    words = f"{context.words}; the next stage is {last.name} at {format_weight(last.permille)}"
    seals = {**status.approved_seals, last.name: seal_of(spec, last.name)}
    changes: RunChange = {"held": None, "stage": change_stage(at, next_stage=last.name)}
    sealed = demands_seal(snapshot.policies) if last.approval else ""
    if policy := demands_approval(snapshot.policies, spec, last.name) or sealed:
        words = f"{words}, once it is approved, as policy {policy} demands"
    else:
        changes["approved"], changes["approved_seals"] = last.name, seals
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.PROMOTED,
            words,
            reason=StatusReason.SHIFTING,
            commanded_by=context.commanded_by,
            **changes,
        )
    )


def _deny_short_soak(snapshot: Snapshot, stage: Stage, at: StageStatus) -> None:
    """Raise DeniedError before the shortest soak that a policy demands is over."""
    least, policy = demanded_soak(snapshot.policies)
    if at.soak_until is None or not least:
        return
    begun = at.soak_until - (2 if at.stability else 1) * stage.soak
    if snapshot.now < min(begun + least, at.soak_until):
        until = f"{min(begun + least, at.soak_until):%H:%M:%S}"
        raise DeniedError(
            f"policy {policy} demands that every stage soaks for {format_duration(least)}: send it after {until}"
        )


def _deny_in_bake(snapshot: Snapshot) -> None:
    """Raise DeniedError in the bake: no stage follows it, and an edit of the plan makes it shorter."""
    status, at = snapshot.status, snapshot.status.stage
    if status.effective_phase is not Phase.BAKING or at is None or at.soak_until is None:
        return
    over = snapshot.now >= at.soak_until
    waits = "it waits for a verdict of its guards" if over else f"it ends at {at.soak_until:%H:%M:%S}"
    ways = "`resume` gives it more time" if over else "to end it sooner, write a shorter `bake` in the plan"
    words = f"the run is in the bake at its last weight, which cannot be skipped: {waits}"
    raise DeniedError(f"{words}; {ways}, and `abort` rolls back")


def _skippable_plan(context: CommandContext) -> PlanSpec:
    """The plan, if a person may skip what was not proved here. Failures, and holds for other reasons, are refused."""
    snapshot, status = context.snapshot, context.snapshot.status
    spec, held = snapshot.plan.spec, status.held
    if (
        spec is None
        or not snapshot.plan.readable
        or status.phase not in TRAFFIC_SHIFTED_PHASES
        or status.intent is not None
    ):
        raise DeniedError(f"no stage is being judged (phase {status.phase}): send it during a stage")
    if held is not None and held.reason not in (HoldReason.UNDECIDED, HoldReason.AWAITING_APPROVAL):
        raise DeniedError(f"the run is held: {held.reason}, which must end first: {status.message}")
    if status.failed:
        raise DeniedError(f"the run failed and cannot go forward: {status.failed}")
    return spec
