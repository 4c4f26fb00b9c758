"""What only warns: told once in a stage, and the way to the next weight is taken in two steps."""

from __future__ import annotations

from rolloutplan.engine.ask import current_stage, in_force, verdict_of
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import noted
from rolloutplan.engine.narrate import bound_of, value_text
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import Cause
from rolloutplan.judge.verdict import Outcome
from rolloutplan.plan.changes import change_stage
from rolloutplan.plan.quantities import format_weight
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import Phase


def warning_detected(look: Look) -> Step | None:
    """Say the first thing that is warned of at a stage. It stays said, whatever the predicate shows from then on.

    It stands above the way forward, which is taken in two steps from then on.
    """
    status, spec, at = look.status, look.plan.spec, look.status.stage
    stage = current_stage(spec, status) if spec else None
    if status.phase is not Phase.JUDGING or spec is None or stage is None or at is None or at.warned:
        return None
    for item in in_force(spec, status, look.source):
        verdict = verdict_of(look, item)
        if item.role == "warn" and not item.predicate.dry_run and verdict.outcome is Outcome.PROVED:
            seen = f"{item.name}: {value_text(item.predicate.comparison, verdict)} {bound_of(item.predicate)}"
            after = change_stage(at, warned=seen[:1024])
            note = f"{stage.step}: warn {seen}; {_follows(spec, stage)}"
            return noted(look, Cause.WARNED, note, [item], stage=after)
    return None


def _follows(spec: PlanSpec, stage: Stage) -> str:
    """What comes of it: `the next increment is halved: first 37.5%, then 50%`."""
    whole = spec.ladder()[stage.index]
    following = spec.ladder()[stage.index + 1 :][:1]
    halves = [half for each in following if (half := each.halved(whole.permille)).half]
    if not halves:
        return "no increment is left that could be halved"
    first, then = format_weight(halves[0].permille), format_weight(following[0].permille)
    return f"the next increment is halved: first {first}, then {then}"
