"""Holds: a run that may not go on and has no cause to roll back waits at its weight, which is safe, and says why."""

from __future__ import annotations

from rolloutplan.api.changes import change
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import RUNNING, STARTING, Held, Phase, Status
from rolloutplan.engine.analysis.availability import awaits_pods, scaled_to_zero, stands
from rolloutplan.engine.analysis.doubts import bake_doubts
from rolloutplan.engine.analysis.measurements import (
    current_stage,
    enforced_predicates,
    measurement_of,
    missing_answer_timeout,
)
from rolloutplan.engine.analysis.stages import next_stage
from rolloutplan.engine.analysis.traffic_share import moved_words, traffic_not_shifted
from rolloutplan.engine.model.actions import CheckGate, ReconcileResult
from rolloutplan.engine.model.routes import route_exists, route_fault, route_mismatch
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TransitionName
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.policy.blocked import Blocked
from rolloutplan.engine.policy.endpoints import block_by_endpoints, endpoints_awaited, new_side_unserved
from rolloutplan.engine.policy.gate import GATED, block_by_answers, block_on_stage, gate_queries
from rolloutplan.engine.policy.preconditions import paused_words, status_lost
from rolloutplan.engine.rules.drift import external_change
from rolloutplan.engine.rules.forward import is_stage_proved
from rolloutplan.engine.rules.intents import record_claim
from rolloutplan.engine.run.decision_log import span
from rolloutplan.engine.run.shared_outage import lasted_too_long, shared_outage
from rolloutplan.engine.run.transition import enter_hold, leave_hold, start_stage_timers, transition, try_rollback

_CLOCKED = (Phase.JUDGING, Phase.BAKING, Phase.CONTRACTING)


def inconsistent(snapshot: Snapshot) -> ReconcileResult | None:
    """Stop and report a status that contradicts itself, for example after an edit by hand.

    It is above all rules that act on the status, and below `abort` and `revert`.
    """
    status, spec = snapshot.status, snapshot.plan.spec
    if status.phase not in RUNNING - STARTING:
        return None
    ours = spec is not None and spec.plan_hash() == status.plan_hash
    unknown = ours and spec is not None and status.stage is not None and current_stage(spec, status) is None
    if _consistent(status) and not unknown:
        return None
    lost = status_lost(snapshot)
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.STATUS_LOST,
            lost.message,
            reason=lost.reason,
            predicates=(),
            task=None,
            completed_tasks=(),
        )
    )


def _consistent(status: Status) -> bool:
    weights, stage = status.weights, status.stage
    phase = status.effective_phase
    routes = (weights.snapshot, weights.written, *((status.intent.routes,) if status.intent else ()))
    if not all(is_valid_snapshot(each, weights.old, weights.new) for each in routes):
        return False
    if phase is Phase.SHIFTING:
        return status.intent is None or status.intent.action != "Shift" or stage is not None
    instants = (stage.judged_since, stage.verified_at, stage.soak_until) if stage else (None,)
    if phase is Phase.JUDGING and stage is not None:
        instants = (*instants, stage.deadline_at)
    return phase is Phase.ROLLING_BACK or (phase in _CLOCKED and None not in instants)


def stay_failed(snapshot: Snapshot) -> ReconcileResult | None:
    """After a failure with onFail Hold, wait for a person. No later change resumes the run or changes the hold."""
    return ReconcileResult() if snapshot.status.held_for == HoldReason.FAILED else None


def ask_gate(snapshot: Snapshot) -> ReconcileResult | None:
    """Before an increase, send the queries of the gate, if nothing else blocks it and the answers are not recent."""
    spec = snapshot.plan.spec
    if (
        snapshot.status.phase not in TRAFFIC_SHIFTED_PHASES
        or spec is None
        or not _at_the_gate(snapshot.status)
        or _find_block(snapshot)
    ):
        return None
    questions = gate_queries(snapshot, next_stage(spec, snapshot.status))
    return ReconcileResult(actions=(CheckGate(questions),)) if questions else None


def hold_run(snapshot: Snapshot) -> ReconcileResult | None:
    """Hold the run for the first thing that blocks it, as long as that lasts. Nothing goes forward past this rule.

    The rollback rules are above it, so a hold never prevents a rollback.
    """
    status = snapshot.status
    blocked = _find_block_with_answers(snapshot)
    if blocked is None:
        return None
    if (
        blocked.reason is HoldReason.METRICS_UNAVAILABLE
        and (step := _on_metrics_unavailable(snapshot, blocked.words)) is not None
    ):
        return step
    if blocked.reason is HoldReason.INCIDENT and (why := lasted_too_long(snapshot, blocked.evidence)):
        return try_rollback(snapshot, HoldReason.INCIDENT, why, blocked.evidence)
    held = status.held if status.phase is Phase.HELD else None
    if held is not None and (blocked.reason == held.reason or _keeps_undecided(held, blocked)):
        follows = blocked.reason in GATED or blocked.reason is HoldReason.NEW_SIDE_AWAY or blocked.again
        is_changed = follows and blocked.words != status.message
        return ReconcileResult(change(status, message=blocked.words) if is_changed else None, wake_at=blocked.again)
    return enter_hold(snapshot, blocked.reason, blocked.words, blocked.evidence)


def await_endpoints(snapshot: Snapshot) -> ReconcileResult | None:
    """Before an increase and in the bake, wait until the endpoints of both sides are known for the first time.

    It is above all rules that go forward or end a hold, and below those that hold: it takes a moment after a start.
    """
    status = snapshot.status
    goes_on = _at_the_gate(status) or status.effective_phase is Phase.BAKING
    if status.phase not in TRAFFIC_SHIFTED_PHASES or not goes_on or not endpoints_awaited(snapshot):
        return None
    return ReconcileResult()


def await_pods(snapshot: Snapshot) -> ReconcileResult | None:
    """Go no further while it is not known how often the pods of the new side were restarted.

    It is above all rules that go forward, and below the deadlines of stages, which fail and hold without that.
    """
    return (record_claim(snapshot) or ReconcileResult()) if awaits_pods(snapshot) else None


def resume_run(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on when nothing blocks the run any more. An undecided stage goes on when it is decided."""
    held = snapshot.status.held if snapshot.status.phase is Phase.HELD else None
    if held is None or (held.reason == HoldReason.UNDECIDED and not _decided(snapshot, held)):
        return None
    return ReconcileResult(_resumed(snapshot, held))


def _decided(snapshot: Snapshot, held: Held) -> bool:
    """Whether a run that was held as undecided is decided now."""
    return not bake_doubts(snapshot) if held.back_to is Phase.BAKING else is_stage_proved(snapshot)


def _find_block_with_answers(snapshot: Snapshot) -> Blocked | None:
    """What blocks the run, with the answers for the gate."""
    status, spec = snapshot.status, snapshot.plan.spec
    if status.phase not in TRAFFIC_SHIFTED_PHASES:
        return None
    blocked = _find_block(snapshot)
    if blocked is None and spec is not None and _at_the_gate(status):
        return block_by_answers(snapshot, next_stage(spec, status))
    return blocked


def _keeps_undecided(held: Held, blocked: Blocked) -> bool:
    """Whether it is held as undecided and its metrics are now unavailable: the reason for the hold does not change."""
    return held.reason == HoldReason.UNDECIDED and blocked.reason is HoldReason.METRICS_UNAVAILABLE


def _resumed(snapshot: Snapshot, held: Held) -> Status:
    """The status after the hold. After WeightNotEffective the weight is effective only now: the stage starts again."""
    spec, at = snapshot.plan.spec, snapshot.status.stage
    stage, after = current_stage(spec, snapshot.status) if spec else None, span(held.since, snapshot.now)
    if held.reason == HoldReason.NOT_EFFECTIVE and at is not None and stage is not None:
        words = f"{held.reason} is over after {after}: {moved_words(snapshot)}; the stage starts again"
        return leave_hold(snapshot, held, words, stage=start_stage_timers(snapshot, at, stage))
    if held.reason == HoldReason.NEW_SIDE_AWAY:
        words = f"{held.reason} is over after {after}: its pods are available; the stage starts again"
        return leave_hold(snapshot, held, words)
    words = f"{held.reason} is over after {after}; soak and deadline are extended by that time"
    return leave_hold(snapshot, held, words)


def _find_block(snapshot: Snapshot) -> Blocked | None:
    """The first thing that holds the run, in the order of importance."""
    status = snapshot.status
    goes_on = _at_the_gate(status) or status.effective_phase is Phase.BAKING
    # First, because `try_rollback` holds for this too, whatever else is in the way.
    if status.held_for != HoldReason.NEW_SIDE_AWAY and (blocked := block_by_endpoints(snapshot, going_on=goes_on)):
        return blocked
    return _find_other_block(snapshot)


def _find_other_block(snapshot: Snapshot) -> Blocked | None:
    """The first thing beside the endpoints that holds the run."""
    spec, status = snapshot.plan.spec, snapshot.status
    if spec is None:
        return Blocked(
            HoldReason.INVALID, f"the plan is now invalid, so nothing can be judged: {snapshot.plan.problem}"
        )
    differs = external_change(snapshot)
    # Above what has no say in where the weights are: under another reason, the weights would be sent back again.
    # A route that is gone has none to send back.
    there = [route for route in status.weights.snapshot if route_exists(snapshot, route.id)]
    sends_back = differs and route_mismatch(snapshot, there, status.weights, back=True)
    if not sends_back and (words := _awaited_pods(snapshot, spec)):
        return Blocked(HoldReason.NEW_SIDE_AWAY, f"{words}; {differs}" if differs else words)
    if not snapshot.plan.readable:
        words = f"the plan is now invalid; its last valid version is used until it is fixed: {snapshot.plan.problem}"
        return Blocked(HoldReason.INVALID, words)
    if words := _conflict(snapshot, spec, differs):
        return Blocked(HoldReason.CONFLICT, words)
    if words := _metrics_unavailable(snapshot, spec):
        return Blocked(HoldReason.METRICS_UNAVAILABLE, words)
    words, evidence = shared_outage(snapshot)
    if words:
        return Blocked(HoldReason.INCIDENT, words, evidence=evidence)
    if status.paused is not None:
        return Blocked(HoldReason.PAUSED, paused_words(status.paused))
    if words := traffic_not_shifted(snapshot):
        return Blocked(HoldReason.NOT_EFFECTIVE, words)
    return block_on_stage(snapshot, next_stage(spec, status)) if _at_the_gate(status) else None


def _conflict(snapshot: Snapshot, spec: PlanSpec, differs: str) -> str:
    """What somebody has done to the routes, or to the old side, with the fix; empty where nothing is wrong."""
    fault = route_fault(snapshot)
    if differs and differs != fault:
        fix = "put the weights back as they were, or send `resume` to start the stage again; `abort` rolls back"
        return f"{differs}{fault and f' ({fault})'}: {fix}"
    if fault:
        return f"{fault}, to go on; `abort` rolls back"
    if snapshot.old is None:
        return f"Deployment {spec.old.deployment}, which a rollback needs, is gone: create it again to go on"
    return ""


def _awaited_pods(snapshot: Snapshot, spec: PlanSpec) -> str:
    """What a run waits for whose pods went missing through no fault of their version; empty once they are back."""
    new, restored = snapshot.new, "the old weights are restored, and the stage starts again"
    if snapshot.status.held_for != HoldReason.NEW_SIDE_AWAY or new is None:
        return ""
    if stands(new, spec.availability):
        unserved = new_side_unserved(snapshot)
        return unserved and f"{unserved}; {restored} when it has one"
    if new.wanted == 0:
        return f"{scaled_to_zero(new, '')}; {restored} then"
    return (
        f"{new.available} of {new.wanted} pods of {new.name} are available{new.why}; {restored} when they are available"
    )


def _at_the_gate(status: Status) -> bool:
    """Whether the next action is an increase."""
    return status.effective_phase is Phase.SHIFTING and status.intent is None


def _metrics_unavailable(snapshot: Snapshot, spec: PlanSpec) -> str:
    """Why metrics are unavailable; empty while any predicate gets answers. A single late answer does not count."""
    status = snapshot.status
    if snapshot.source is None:
        return snapshot.source_problem or "the metric source is gone"
    measurements = {
        item.name: measurement_of(snapshot, item) for item in enforced_predicates(spec, status, snapshot.source)
    }
    evaluated = [measurement for measurement in measurements.values() if measurement.verdict is not None]
    silent = [measurement.silent_since for measurement in evaluated if measurement.silent_since is not None]
    if status.held_for == HoldReason.METRICS_UNAVAILABLE:
        return "" if not measurements or len(silent) < len(evaluated) else status.message
    if (
        not evaluated
        or len(silent) < len(evaluated)
        or snapshot.now < max(silent) + missing_answer_timeout(spec, snapshot.source)
    ):
        return ""
    detail = next(measurement.verdict.detail for measurement in evaluated if measurement.verdict is not None)
    return f"the metric source has not answered for {span(max(silent), snapshot.now)}: {detail}"


def _on_metrics_unavailable(snapshot: Snapshot, words: str) -> ReconcileResult | None:
    spec, held = snapshot.plan.spec, snapshot.status.held
    if spec is None:
        return None
    rule = spec.on_metrics_unavailable
    if rule.action == "Rollback":
        return try_rollback(snapshot, HoldReason.METRICS_UNAVAILABLE, f"onMetricsUnavailable is Rollback: {words}")
    since = (
        (held.reason_since or held.since) if held and held.reason == HoldReason.METRICS_UNAVAILABLE else snapshot.now
    )
    if rule.after and rule.then == "Rollback" and snapshot.now >= since + rule.after:
        return try_rollback(
            snapshot,
            HoldReason.METRICS_UNAVAILABLE,
            f"metrics unavailable for {format_duration(rule.after)}, "
            f"and onMetricsUnavailable.then is Rollback: {words}",
        )
    return None
