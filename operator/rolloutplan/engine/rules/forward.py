"""The end of a stage: its deadline, its proof, the next weight, the bake. Below all rules that roll back or hold."""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.api.changes import change_stage, change_weights
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.api.status import Intent, Phase, StageStatus, Status
from rolloutplan.engine.analysis.doubts import Doubt, answer_timeout, bake_doubts, leans_to_failure, stage_doubts
from rolloutplan.engine.analysis.measurements import (
    active_predicates,
    current_stage,
    enforced_predicates,
    measurement_of,
    missing_answer_timeout,
    verdict_of,
)
from rolloutplan.engine.analysis.stages import control_group, control_group_words, is_last, more_time, next_stage
from rolloutplan.engine.analysis.traffic_share import unproved_share
from rolloutplan.engine.analysis.variables import predicates_hash
from rolloutplan.engine.analysis.warmup import begin_warmup
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.routes import kept_weights, route_patches, shift_routes
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.policy.committed import warn_of_appliers
from rolloutplan.engine.rules.metadata import await_metadata
from rolloutplan.engine.run.decision_log import bound_of, span, stage_predicates
from rolloutplan.engine.run.transition import enter_hold, fencing_token, on_fail, transition, try_rollback
from rolloutplan.engine.run.value_text import against, value_text
from rolloutplan.stats.verdict import Outcome


def is_stage_proved(snapshot: Snapshot) -> bool:
    """Whether this weight is proved: every pass predicate is Proved, and no guard or `fail` predicate is in doubt.

    Where no gateway reports which weights it follows, the measured share has to prove the last one.
    Something must judge it, but for the step after a bake, which was judged by the stages before.
    """
    spec = snapshot.plan.spec
    stage = current_stage(spec, snapshot.status) if spec else None
    if spec is None or stage is None:
        return False
    judged = stage.completes or bool(enforced_predicates(spec, snapshot.status, snapshot.source))
    return judged and not stage_doubts(snapshot) and not unproved_share(snapshot)


def end_at_deadline(snapshot: Snapshot) -> ReconcileResult | None:
    """End a stage that is not proved at its deadline: by `onFail` if it is refuted, by `onUndecided` if undecided.

    It waits for answers that are due. It is above the rules that go forward, which a proved stage takes.
    """
    status, spec, at = snapshot.status, snapshot.plan.spec, snapshot.status.stage
    if status.phase is not Phase.JUDGING or spec is None or at is None or at.deadline_at is None:
        return None
    stage = current_stage(spec, status)
    if stage is None or snapshot.now < at.deadline_at or is_stage_proved(snapshot):
        return None
    items = enforced_predicates(spec, status, snapshot.source)
    due = [item for item in items if not item.is_failure_signal and item.first_at <= at.deadline_at]
    within = missing_answer_timeout(spec, snapshot.source) if snapshot.source else timedelta(0)
    late = max(at.deadline_at, snapshot.taken_up_at or at.deadline_at) + within
    if snapshot.now < late and any(measurement_of(snapshot, item).verdict is None for item in due):
        return None
    refuted = [i for i in items if not i.is_failure_signal and verdict_of(snapshot, i).outcome is Outcome.REFUTED]
    if refuted:
        verdict = verdict_of(snapshot, refuted[0])
        value = value_text(refuted[0].predicate.comparison, verdict)
        shown = against(value, bound_of(refuted[0].predicate), holds=False)
        words = f"at its deadline {stage.name} is refuted: {refuted[0].name}: {shown}"
        return on_fail(snapshot, StatusReason.PASS_REFUTED, words, refuted)
    until = snapshot.now + more_time(spec, stage)
    longer = change_stage(at, deadline_at=until)
    return _undecided(snapshot, spec, f"at its deadline {stage.name}", stage_doubts(snapshot), longer, until)


def end_at_bake_deadline(snapshot: Snapshot) -> ReconcileResult | None:
    """Apply `onUndecided` when the bake is over and a guard had no verdict in it, or cannot be asked now.

    It waits for a verdict that is due, and is above the end of the bake, which a decided bake takes.
    """
    status, spec, at = snapshot.status, snapshot.plan.spec, snapshot.status.stage
    stage = current_stage(spec, status) if spec else None
    if status.phase is not Phase.BAKING or spec is None or at is None or stage is None or snapshot.source is None:
        return None
    if at.soak_until is None:
        return None
    doubts = tuple(doubt for doubt in bake_doubts(snapshot) if not leans_to_failure(snapshot, doubt.item))
    # A warmup of new pods may end later than the bake.
    items = [doubt.item for doubt in doubts]
    decidable = max((at.soak_until, *(max(item.first_at, item.warm_at or item.first_at) for item in items)))
    if snapshot.taken_up_at and any(measurement_of(snapshot, item).verdict is None for item in items):
        decidable = max(decidable, snapshot.taken_up_at)
    late = max(at.deadline_at or at.soak_until, decidable + answer_timeout(spec, snapshot.source))
    if not doubts or snapshot.now < late:
        return None
    until = snapshot.now + more_time(spec, stage)
    return _undecided(snapshot, spec, "the bake is over and", doubts, change_stage(at, deadline_at=until), until)


def _undecided(
    snapshot: Snapshot, spec: PlanSpec, what: str, doubts: tuple[Doubt, ...], longer: StageStatus, until: datetime
) -> ReconcileResult | None:
    """Hold, roll back or judge on, as `onUndecided` says."""
    items = [doubt.item for doubt in doubts]
    names = ", ".join(f"{doubt.item.name} ({doubt.why})" for doubt in doubts)
    names = names or unproved_share(snapshot) or "nothing was measured"
    words = f"{what} is undecided: {names}"
    if spec.on_undecided == "Rollback":
        return try_rollback(snapshot, HoldReason.UNDECIDED, f"{words}; onUndecided is Rollback", items)
    if spec.on_undecided == "Extend":
        note = f"{words}; onUndecided is Extend: {format_duration(until - snapshot.now)} more"
        reason = StatusReason.JUDGING if snapshot.status.phase is Phase.JUDGING else StatusReason.BAKING
        return ReconcileResult(
            transition(snapshot, TransitionName.EXTENDED, note, reason=reason, evidence=items, stage=longer)
        )
    return enter_hold(
        snapshot, HoldReason.UNDECIDED, f"{words}; onUndecided is Hold: it waits for a verdict, or a person", items
    )


def begin_stage(snapshot: Snapshot) -> ReconcileResult | None:
    """Fix the predicates of the next stage, then request its weight. No other rule increases a weight.

    It is below all other rules, because anything that speaks against an increase must apply first.
    """
    spec, status = snapshot.plan.spec, snapshot.status
    if spec is None or status.phase is not Phase.SHIFTING or status.intent is not None:
        return None
    return _start_next_stage(snapshot, spec)


def finish_bake(snapshot: Snapshot) -> ReconcileResult | None:
    """End the bake when its time is over and no guard is in doubt. What was asked before that is heard first.

    Where the bake had a control group, the step to 100% follows, and the run ends after that.
    """
    spec = snapshot.plan.spec
    if (
        spec is None
        or snapshot.status.phase is not Phase.BAKING
        or not _soak_is_over(snapshot)
        or bake_doubts(snapshot)
    ):
        return None
    if (waiting := _await_answers(snapshot, spec)) is not None:
        return waiting
    stage = current_stage(spec, snapshot.status)
    held_back = stage is not None and stage.held_back
    return ReconcileResult(_held_back_no_more(snapshot, spec) if held_back else _finished(snapshot, spec))


def pass_stage(snapshot: Snapshot) -> ReconcileResult | None:
    """Leave a stage when its soak is over and it is proved. What was asked by the end of the soak is heard first.

    It is below the deadline rule, which skips it. After the step to 100% that follows a bake, the run ends.
    """
    spec = snapshot.plan.spec
    if (
        spec is None
        or snapshot.status.phase is not Phase.JUDGING
        or not _soak_is_over(snapshot)
        or not is_stage_proved(snapshot)
    ):
        return None
    return _await_answers(snapshot, spec) or ReconcileResult(_proved(snapshot, spec))


def _await_answers(snapshot: Snapshot, spec: PlanSpec) -> ReconcileResult | None:
    """Wait for the answers under way of what was asked by the end of the soak, as long as its source may take.

    Behind that end nobody would heed them. What was asked later is not waited for, so that the wait ends.
    """
    at, source = snapshot.status.stage, snapshot.source
    if at is None or at.soak_until is None or source is None:
        return None
    until, rows = at.soak_until + source.timeout, active_predicates(spec, snapshot.status, source)
    asked = [snapshot.awaited.get(row.name) for row in rows if not row.predicate.dry_run]
    late = any(each is not None and each <= at.soak_until for each in asked)
    return ReconcileResult(wake_at=until) if late and snapshot.now < until else None


def _soak_is_over(snapshot: Snapshot) -> bool:
    at = snapshot.status.stage
    return at is not None and at.soak_until is not None and snapshot.now >= at.soak_until


def _start_next_stage(snapshot: Snapshot, spec: PlanSpec) -> ReconcileResult | None:
    """Fix the predicates of the next stage in the status first, then write its weights to the routes."""
    status, weights = snapshot.status, snapshot.status.weights
    if (waiting := await_metadata(snapshot)) is not None:
        return waiting
    stage, steps = next_stage(spec, status), spec.steps()
    predicates, group = stage_predicates(snapshot, spec, stage), control_group_words(stage, weights.old)
    shifted = shift_routes(snapshot, kept_weights(snapshot, weights.written, weights), weights, stage.permille)
    routes = tuple(route.with_added(stage.additions) for route in shifted)
    # The plan's own weights are held exactly; half way to one there may only be a share near that.
    to = format_weight(share(routes, weights.old, weights.new) if stage.half else stage.permille)
    moves = f"{stage.title} for {weights.new}" if stage.moves_no_weight else f"{weights.desired} -> {to}"
    revert = snapshot.undo_after(routes) or status.revert
    fixed_hash, at = predicates_hash(stage, spec.guards), status.stage
    started = StageStatus(
        name=stage.name,
        index=stage.index,
        display=f"{stage.index + 1}/{len(steps)} {stage.step}",
        weight=stage.title if stage.moves_no_weight else to,
        predicates_hash=fixed_hash,
        entered_at=snapshot.now,
        judged_since=at.judged_since if at else snapshot.now,
        halfway=stage.permille if stage.half else None,
        warned=at.warned if at and at.name == stage.name else "",
        warmup_since=at.warmup_since if at else None,
        warmup_until=at.warmup_until if at else None,
    )
    after = transition(
        snapshot,
        TransitionName.START_STAGE,
        f"stage {stage.index + 1}/{len(steps)} {stage.step}: {moves}; "
        f"{f'{group}; ' if group else ''}{len(predicates)} predicates fixed (hash {fixed_hash})",
        reason=StatusReason.SHIFTING,
        shares=(weights.desired, to),
        stage=begin_warmup(spec, stage, started, snapshot.now),
        locked_stages=spec.entries(stage),
        weights=change_weights(weights, desired=to),
        predicates=predicates,
        place="",
        revert=revert,
        intent=Intent(
            action="Shift", at=snapshot.now, to=to, routes=routes, leaves=at.name if at and at.verified_at else ""
        ),
    )
    return ReconcileResult(after, route_patches(snapshot, routes, weights, fencing_token(snapshot, after), revert))


def _proved(snapshot: Snapshot, spec: PlanSpec) -> Status:
    status, items = snapshot.status, active_predicates(spec, snapshot.status, snapshot.source)
    at, stage = status.stage, current_stage(spec, status)
    assert at is not None and stage is not None
    words = f"{stage.step} is proved at {at.weight} after {span(at.verified_at, snapshot.now)}"
    if stage.completes:
        return _finished(snapshot, spec)
    if not is_last(spec, stage):
        return transition(snapshot, TransitionName.PROVED, words, reason=StatusReason.SHIFTING, evidence=items)
    baking = start_bake(snapshot, spec, at)
    if baking.soak_until and baking.soak_until > snapshot.now:
        lasts, group = span(snapshot.now, baking.soak_until), control_group(spec, status)
        last = f"{group}, after which the step to 100% follows" if group else "it is the last weight"
        words += f"; {last}, and the guards stay on for {lasts}"
    return transition(
        snapshot, TransitionName.PROVED_LAST, words, reason=StatusReason.BAKING, evidence=items, stage=baking
    )


def start_bake(snapshot: Snapshot, spec: PlanSpec, at: StageStatus) -> StageStatus:
    """The last stage during the bake, which lasts at least until a side at weight 0 is drained."""
    until = snapshot.now + spec.bake_for
    if spec.bake_step.permille == FULL:
        until = max(until, (at.verified_at or snapshot.now) + spec.traffic.drain)
    return change_stage(at, soak_until=until, deadline_at=None)


def _held_back_no_more(snapshot: Snapshot, spec: PlanSpec) -> Status:
    """The bake of a control group is over: the step to 100% is next, and goes through the gate like any increase."""
    status, items = snapshot.status, active_predicates(spec, snapshot.status, snapshot.source)
    group = format_weight(spec.holdback)
    words = (
        f"the bake at {status.weights.desired} is over, and no guard tripped with {group} on {status.weights.old} to "
        f"compare with; the last step gives {status.weights.new} {format_weight(FULL)}"
    )
    return transition(snapshot, TransitionName.BAKED_BELOW_FULL, words, reason=StatusReason.SHIFTING, evidence=items)


def _finished(snapshot: Snapshot, spec: PlanSpec) -> Status:
    status, items = snapshot.status, active_predicates(spec, snapshot.status, snapshot.source)
    left = "keeps the rest" if spec.steps()[-1].permille < FULL else "has none left"
    words = f"{status.weights.new} serves {status.weights.desired} of the traffic; {status.weights.old} {left}"
    if spec.contract.wanted:
        return transition(
            snapshot,
            TransitionName.CONTRACT,
            "; ".join(filter(None, (f"{words}: the old side is removed", warn_of_appliers(snapshot)))),
            reason=StatusReason.CONTRACTING,
            evidence=items,
        )
    return transition(snapshot, TransitionName.BAKED, words, reason=StatusReason.SUCCEEDED, evidence=items)
