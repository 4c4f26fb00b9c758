"""Warn predicates: a warning is reported once in a stage, and the next increase is taken in two steps."""

from __future__ import annotations

from rolloutplan.api.changes import change_stage
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import Phase
from rolloutplan.engine.analysis.measurements import active_predicates, current_stage, verdict_of
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.run.decision_log import bound_of
from rolloutplan.engine.run.transition import note_decision
from rolloutplan.engine.run.value_text import against, value_text
from rolloutplan.stats.verdict import Outcome


def warning_detected(snapshot: Snapshot) -> ReconcileResult | None:
    """Report the first warning of a stage. It stays in force, whatever the predicate shows later.

    It is above the rules that go forward, because the next increase is then taken in two steps.
    """
    status, spec, at = snapshot.status, snapshot.plan.spec, snapshot.status.stage
    stage = current_stage(spec, status) if spec else None
    if status.phase is not Phase.JUDGING or spec is None or stage is None or at is None or at.warned:
        return None
    for item in active_predicates(spec, status, snapshot.source):
        verdict = verdict_of(snapshot, item)
        if item.role == "warn" and not item.predicate.dry_run and verdict.outcome is Outcome.PROVED:
            value = value_text(item.predicate.comparison, verdict)
            shown = f"{item.name}: {against(value, bound_of(item.predicate), holds=True)}"
            after = change_stage(at, warned=shown[:1024])
            note = f"{stage.step}: warn {shown}; {_consequence(spec, stage)}"
            return note_decision(snapshot, TransitionName.WARNED, note, [item], stage=after)
    return None


def _consequence(spec: PlanSpec, stage: Stage) -> str:
    """The consequence as text: `the next increase is halved: first 37.5%, then 50%`."""
    stage_at_full_weight = spec.steps()[stage.index]
    following = spec.steps()[stage.index + 1 :][:1]
    halves = [half for each in following if (half := each.halved(stage_at_full_weight.permille)).half]
    if not halves:
        return "no increase is left to halve"
    first, then = format_weight(halves[0].permille), format_weight(following[0].permille)
    return f"the next increase is halved: first {first}, then {then}"
