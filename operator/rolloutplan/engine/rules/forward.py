"""Every wait ends, and forward only when nothing above speaks."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.engine.ask import InForce, binding, current_stage, in_force, patience, track_of, verdict_of
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, fence, hold, move, on_fail
from rolloutplan.engine.narrate import bound_of, sealed_predicates, span, value_text
from rolloutplan.engine.routes import live_weights, route_patches, shifted
from rolloutplan.engine.stages import is_last, next_stage
from rolloutplan.engine.step import MarkPlan, Step
from rolloutplan.engine.table import Cause
from rolloutplan.engine.words import seal
from rolloutplan.judge.verdict import Outcome, Verdict, Why
from rolloutplan.plan.changes import change_stage, change_weights
from rolloutplan.plan.quantities import format_duration, format_weight
from rolloutplan.plan.reasons import HoldReason, StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.stage import FULL
from rolloutplan.plan.status import Intent, Phase, StageStatus, Status


def all_shown(look: Look) -> bool:
    """Whether nothing is left to show at this weight: every pass is Proved, and what could speak against it was heard.

    A fail predicate that could not be asked says nothing for the new side, and one that holds but not yet long enough
    speaks against it. Where there are no pass predicates, at least one measurement must have spoken for the new side:
    nothing measured is never a pass.
    """
    spec = look.plan.spec
    items = binding(spec, look.status, look.source) if spec else ()
    for item in items:
        verdict = verdict_of(look, item)
        if not item.against and verdict.outcome is not Outcome.PROVED:
            return False
        unheard = track_of(look, item).answered_at is None or verdict.why in (Why.SOURCE_DOWN, Why.QUERY_REJECTED)
        if item.against and (unheard or _leans_against(look, item)):
            return False
    return any(_has_spoken(item, verdict_of(look, item)) for item in items)


def _leans_against(look: Look, item: InForce) -> bool:
    """Whether it holds, but not yet long enough; an answer that is missing does not end that.

    Of counts only the proof counts: they lean by chance.
    """
    return track_of(look, item).since is not None and item.predicate.events is None


def _has_spoken(item: InForce, verdict: Verdict) -> bool:
    """Whether something was measured. Counts have spoken when there were any."""
    if verdict.outcome in (Outcome.PROVED, Outcome.REFUTED):
        return True
    return item.predicate.events is not None and verdict.why is Why.NOT_YET and bool(verdict.samples)


def deadline(look: Look) -> Step | None:
    """At its deadline a stage ends that is not proved: refuted as `onFail` says, undecided as `onUndecided` says.

    It waits for answers that are on their way. Above the way forward, which a stage that is proved takes.
    """
    status, spec, at = look.status, look.plan.spec, look.status.stage
    if status.phase is not Phase.JUDGING or spec is None or at is None or at.deadline_at is None:
        return None
    stage = current_stage(spec, status)
    if stage is None or look.now < at.deadline_at or all_shown(look):
        return None
    items = binding(spec, status, look.source)
    due = [item for item in items if not item.against and item.first_at <= at.deadline_at]
    late = at.deadline_at + (patience(spec, look.source) if look.source else timedelta(0))
    if look.now < late and any(track_of(look, item).verdict is None for item in due):
        return None
    false = [i for i in items if not i.against and verdict_of(look, i).outcome is Outcome.REFUTED]
    if false:
        verdict = verdict_of(look, false[0])
        value = value_text(false[0].predicate.comparison, verdict)
        bound = bound_of(false[0].predicate)
        words = f"at its deadline {stage.name} is refuted: {false[0].name} is {value}, not {bound}"
        return on_fail(look, StatusReason.PASS_REFUTED, words, false)
    open_ = [item for item in items if verdict_of(look, item).outcome is Outcome.UNDECIDED]
    doubts = ", ".join(f"{item.name} ({verdict_of(look, item).why})" for item in open_) or "nothing was measured"
    words = f"at its deadline {stage.name} is undecided: {doubts}"
    if spec.on_undecided == "Rollback":
        return back(look, HoldReason.UNDECIDED, f"{words}; onUndecided is Rollback", open_)
    if spec.on_undecided == "Extend":
        longer = max(stage.deadline - stage.soak, spec.interval)
        new = change_stage(at, deadline_at=look.now + longer)
        note = f"{words}; onUndecided is Extend: {format_duration(longer)} more"
        return Step(move(look, Cause.EXTENDED, note, reason=StatusReason.JUDGING, evidence=open_, stage=new))
    return hold(look, HoldReason.UNDECIDED, f"{words}; onUndecided is Hold: goes on when it is decided", open_)


def begin_stage(look: Look) -> Step | None:
    """Fix what will judge the next stage, then ask for its weight. Only here does a weight go up by itself.

    It stands below everything: what could speak against an increment has spoken by now.
    """
    spec, status = look.plan.spec, look.status
    if spec is None or status.phase is not Phase.SHIFTING or status.intent is not None:
        return None
    return _seal_next(look, spec)


def finish_bake(look: Look) -> Step | None:
    """End the bake when its time is over, and no guard is in doubt."""
    spec = look.plan.spec
    if spec is None or look.status.phase is not Phase.BAKING or not _soaked(look) or _doubted(look, spec):
        return None
    return Step(_baked(look, spec))


def pass_stage(look: Look) -> Step | None:
    """Leave a stage that has soaked and has nothing left to show; below the deadline, which needs less than that."""
    spec = look.plan.spec
    if spec is None or look.status.phase is not Phase.JUDGING or not _soaked(look) or not all_shown(look):
        return None
    return Step(_proved(look, spec))


def _soaked(look: Look) -> bool:
    at = look.status.stage
    return at is not None and at.soak_until is not None and look.now >= at.soak_until


def _doubted(look: Look, spec: PlanSpec) -> bool:
    """Whether a guard holds, but not yet long enough, or was not answered when it was last asked."""
    items = binding(spec, look.status, look.source)
    return any(_leans_against(look, item) or track_of(look, item).silent_since is not None for item in items)


def _seal_next(look: Look, spec: PlanSpec) -> Step | None:
    """Fix what will judge the next stage, then ask for its weight: status first, weights second."""
    status, weights = look.status, look.status.weights
    if not look.plan.finalizer or look.plan.breadcrumb != status.revert:
        return Step(actions=(MarkPlan(finalizer=True, breadcrumb=status.revert),))
    stage, ladder = next_stage(spec, status), spec.ladder()
    to, predicates = format_weight(stage.permille), sealed_predicates(look, spec, stage)
    routes = shifted(look, live_weights(look, weights.written, weights), weights, stage.permille)
    sealed = seal(stage, spec.guards)
    after = move(
        look,
        Cause.SEAL,
        f"stage {stage.index + 1}/{len(ladder)} {stage.step}: {weights.desired} -> {to}; "
        f"{len(predicates)} predicates are fixed as {sealed}",
        reason=StatusReason.SHIFTING,
        shares=(weights.desired, to),
        stage=StageStatus(
            name=stage.name,
            index=stage.index,
            display=f"{stage.index + 1}/{len(ladder)} {stage.step}",
            weight=to,
            seal=sealed,
            entered_at=look.now,
            judged_since=status.stage.judged_since if status.stage else None,
            halfway=stage.permille if stage.half else None,
            warned=status.stage.warned if status.stage and status.stage.name == stage.name else "",
        ),
        locked_stages=spec.entries(stage),
        weights=change_weights(weights, desired=to),
        predicates=predicates,
        intent=Intent(action="Shift", at=look.now, to=to, routes=routes),
    )
    return Step(after, route_patches(look, routes, weights, fence(look, after), status.revert))


def _proved(look: Look, spec: PlanSpec) -> Status:
    status, items = look.status, in_force(spec, look.status, look.source)
    at, stage = status.stage, current_stage(spec, status)
    assert at is not None and stage is not None
    words = f"{stage.step} is proved at {at.weight} after {span(at.verified_at, look.now)}"
    if not is_last(spec, stage):
        return move(look, Cause.PROVED, words, reason=StatusReason.SHIFTING, evidence=items)
    baking = bakes(look, spec, at)
    if baking.soak_until and baking.soak_until > look.now:
        words += f"; it is the last weight, and the guards stay on for {span(look.now, baking.soak_until)}"
    return move(look, Cause.PROVED_LAST, words, reason=StatusReason.BAKING, evidence=items, stage=baking)


def bakes(look: Look, spec: PlanSpec, at: StageStatus) -> StageStatus:
    """The last stage as it stands through the bake, and until the old side is drained where nothing is left on it."""
    until = look.now + spec.bake
    if spec.ladder()[-1].permille == FULL:
        until = max(until, (at.verified_at or look.now) + spec.traffic.drain)
    return change_stage(at, soak_until=until, deadline_at=None)


def _baked(look: Look, spec: PlanSpec) -> Status:
    status, items = look.status, in_force(spec, look.status, look.source)
    left = "keeps the rest" if spec.ladder()[-1].permille < FULL else "has none left"
    words = f"{status.weights.new} serves {status.weights.desired} of the traffic; {status.weights.old} {left}"
    if spec.contract.wanted:
        return move(look, Cause.CONTRACT, f"{words}: it is taken away", reason=StatusReason.CONTRACTING, evidence=items)
    return move(look, Cause.BAKED, words, reason=StatusReason.SUCCEEDED, evidence=items)
