"""Applies transitions: a row of the table and the snapshot give the new status, with its decision.

The rules call these functions; the results go to `decide`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Unpack

from rolloutplan.api.changes import RunChange, change, change_stage, change_task, change_weights
from rolloutplan.api.printable import shortened
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import EventReason, HoldReason, Reason, StatusReason
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import RUNNING, Held, Intent, Phase, StageStatus, Status, Weights
from rolloutplan.engine.analysis.measurements import ActivePredicate, current_stage
from rolloutplan.engine.analysis.warmup import begin_warmup
from rolloutplan.engine.model.actions import PatchRoute, ReconcileResult
from rolloutplan.engine.model.fence import fence_seq
from rolloutplan.engine.model.routes import edited, left_to_editors, route_patches
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES, TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.policy.endpoints import old_side_down
from rolloutplan.engine.policy.grants import left_as_it_is
from rolloutplan.engine.policy.policies import wants_stability
from rolloutplan.engine.run.decision_log import CommandSource, Expectation, append_decision, predicate_statuses
from rolloutplan.engine.run.stop import stop_actions, stop_task

_WEIGHTS_STAY = "the weights stay as they are"
_REASON_AFTER_HOLD = {
    Phase.SHIFTING: StatusReason.SHIFTING,
    Phase.JUDGING: StatusReason.SOAKING,
    Phase.BAKING: StatusReason.BAKING,
    Phase.CONTRACTING: StatusReason.CONTRACTING,
}


def transition(
    snapshot: Snapshot,
    cause: TransitionName,
    note: str,
    *,
    reason: Reason | None = None,
    why: str = "",
    evidence: Iterable[ActivePredicate] = (),
    shares: tuple[str, str] = ("", ""),
    commanded_by: CommandSource | None = None,
    expectation: Expectation | None = None,
    **changes: Unpack[RunChange],
) -> Status:
    """The status after a transition: phase, reason and message, further changes, and the decision.

    The note begins with the cause: what does not fit is cut off at its end.

    Without a `reason` the status keeps its own. Fails an assertion where the table does not allow the transition.

    Of a command that is only offered nothing is recorded: a plan that waits asks for its commands at every look.
    """
    row, before, note = TRANSITIONS[cause], snapshot.status, shortened(note)
    assert before.phase in row.sources, f"{cause} is not allowed from {before.phase}"
    to = row.target_phase(before)
    new: RunChange = {"message": note, **changes}
    if to is not before.phase:
        new["entered_at"] = snapshot.now
    if to not in RUNNING or (to is Phase.ROLLING_BACK and new.get("held") is None):
        new["locked_stages"], new["spec_digest"] = (), ()
    offered = commanded_by is not None and commanded_by.offered
    if before.predicates and "predicates" not in new and not offered:
        new["predicates"] = predicate_statuses(snapshot, before)
    reason_text = str(reason or before.reason)
    tokens = before.tokens if commanded_by is None else commanded_by.tokens
    after = change(before, phase=to, reason=reason_text, epoch=snapshot.epoch, tokens=tokens, **new)
    if offered:
        return after
    return append_decision(
        snapshot,
        after,
        cause,
        note,
        why=why,
        evidence=evidence,
        shares=shares,
        commanded_by=commanded_by,
        expectation=expectation,
    )


def note_decision(
    snapshot: Snapshot,
    cause: TransitionName,
    note: str,
    evidence: Iterable[ActivePredicate] = (),
    *,
    commanded_by: CommandSource | None = None,
    **changes: Unpack[RunChange],
) -> ReconcileResult:
    """Record a decision without changing message, predicates and stage, unless they are given."""
    status = snapshot.status
    kept: RunChange = {"message": status.message, "predicates": status.predicates, "stage": status.stage, **changes}
    return ReconcileResult(transition(snapshot, cause, note, evidence=evidence, commanded_by=commanded_by, **kept))


def start_rollback(
    snapshot: Snapshot,
    reason: Reason,
    note: str,
    evidence: Iterable[ActivePredicate] = (),
    *,
    commanded_by: CommandSource | None = None,
    suspended: Held | None = None,
    **changes: Unpack[RunChange],
) -> ReconcileResult:
    """Restore the snapshot: intent and writes are one result, and the writes wait for nothing.

    With `suspended` the run may go on afterwards, and has not failed yet: `resume_rollback` decides about that.

    Every route gets the new fencing token, even if its weights are right: late writes of former decisions must fail.
    """
    weights = snapshot.status.weights
    note = "; ".join(filter(None, (note, left_as_it_is(snapshot), left_to_editors(snapshot, weights.snapshot))))
    safe = format_weight(share(weights.snapshot, weights.old, weights.new))
    fields: RunChange = {
        **changes,
        "failed": "" if suspended else note[:1024],
        "held": suspended,
        "intent": Intent(action="Restore", at=snapshot.now, to=safe, routes=weights.snapshot),
        "task": stop_task(snapshot),
        "weights": change_weights(weights, desired=safe),
    }
    status = transition(
        snapshot,
        TransitionName.REVERTED if snapshot.status.phase is Phase.SUCCEEDED else TransitionName.FAILED,
        f"{note}; weights go back from {weights.desired} to {safe}{_removed_words(snapshot)}",
        reason=reason,
        evidence=evidence,
        shares=(weights.desired, safe),
        commanded_by=commanded_by,
        **fields,
    )
    actions = (*rollback_patches(snapshot, status), *stop_actions(snapshot, status.task))
    return ReconcileResult(status, actions, urgent=True)


def _removed_words(snapshot: Snapshot) -> str:
    """What goes from the routes with the weights, as text to append; empty where nothing was added to them."""
    written = snapshot.status.weights.written
    kept = edited(snapshot, written)
    every = (each for route in written for rule in route.rules for each in rule.added)
    added = dict.fromkeys(each for each in every if each not in kept)
    return f", and {' and '.join(added)} is removed" if added else ""


def try_rollback(
    snapshot: Snapshot,
    reason: Reason,
    note: str,
    evidence: Iterable[ActivePredicate] = (),
    *,
    suspended: Held | None = None,
) -> ReconcileResult | None:
    """Roll back, unless nobody would answer on the old side while the new one still answers: then hold, and tell why.

    None where that was told already, or where the run is held for a failure.
    """
    status, words = snapshot.status, old_side_down(snapshot)
    if status.phase not in {*TRAFFIC_SHIFTED_PHASES, Phase.CONTRACTING} or not words:
        return start_rollback(snapshot, reason, note, evidence, suspended=suspended)
    if status.held_for == HoldReason.FAILED or (
        status.held_for == HoldReason.OLD_SIDE_DOWN and _WEIGHTS_STAY in status.message
    ):
        return None
    cause, until = f"{reason}: {note}"[:600], "the weights go back when it has endpoints and the cause is still there"
    words = f"{cause}; {_WEIGHTS_STAY}: {words}; {until}"
    return enter_hold(snapshot, HoldReason.OLD_SIDE_DOWN, words[:1024], evidence)


def rollback_patches(snapshot: Snapshot, status: Status) -> tuple[PatchRoute, ...]:
    """What is left to write of a rollback: weights, the fencing token, and the undo command removed.

    The token is that of the decision to roll back, so that later decisions do not make a correct route wrong.
    """
    started = (each.seq for each in reversed(status.decisions) if each.reason == EventReason.ROLLBACK_STARTED)
    mark = fencing_token(snapshot, status, next(started, status.seq))
    return route_patches(snapshot, status.weights.snapshot, status.weights, mark, "", marks=True, back=True)


def enter_hold(
    snapshot: Snapshot,
    reason: HoldReason,
    note: str,
    evidence: Iterable[ActivePredicate] = (),
    *,
    commanded_by: CommandSource | None = None,
    **changes: Unpack[RunChange],
) -> ReconcileResult:
    """Hold the run at its weight. A change of the reason keeps the start of the hold."""
    held = snapshot.status.held if snapshot.status.phase is Phase.HELD else None
    back_to = held.back_to if held else snapshot.status.phase
    since = held.since if held else snapshot.now
    fields: RunChange = {
        "stage": restart_windows(snapshot),
        **changes,
        "held": Held(reason=reason, since=since, reason_since=snapshot.now, back_to=back_to),
    }
    return ReconcileResult(
        transition(
            snapshot, TransitionName.HELD, note, reason=reason, evidence=evidence, commanded_by=commanded_by, **fields
        )
    )


def leave_hold(
    snapshot: Snapshot,
    held: Held,
    words: str,
    commanded_by: CommandSource | None = None,
    /,
    **changes: Unpack[RunChange],
) -> Status:
    """Continue in the phase before the hold, with soak and deadlines moved by the time held."""
    stage, task, pause = restart_windows(snapshot), snapshot.status.task, snapshot.now - held.since
    if task is not None:
        task = change_task(task, deadline_at=task.deadline_at + pause)
    if stage is not None:
        soak, end = stage.soak_until, stage.deadline_at
        stage = change_stage(stage, soak_until=soak and soak + pause, deadline_at=end and end + pause)
    reason = _REASON_AFTER_HOLD.get(held.back_to, StatusReason.SOAKING)
    fields: RunChange = {"stage": stage, "task": task, **changes, "held": None}
    return transition(snapshot, TransitionName.RESUMED, words, reason=reason, commanded_by=commanded_by, **fields)


def restart_windows(snapshot: Snapshot) -> StageStatus | None:
    """The stage, with windows that start now if its weights were in conflict: the old ones cover another weight."""
    stage, held = snapshot.status.stage, snapshot.status.held
    if stage is None or held is None or held.reason != HoldReason.CONFLICT:
        return stage
    restarted = change_stage(stage, judged_since=snapshot.now, verified_at=stage.verified_at and snapshot.now)
    return _with_warmup(snapshot, restarted)


def start_stage_timers(snapshot: Snapshot, at: StageStatus, stage: Stage) -> StageStatus:
    """The stage with soak and deadline started now, when its weight was read back. Policies may lengthen both."""
    stability = wants_stability(snapshot.policies) and not stage.completes  # it waits for the drain, as written
    longer = stage.soak if stability else timedelta(0)
    started = change_stage(
        at,
        judged_since=snapshot.now,
        verified_at=snapshot.now,
        soak_until=snapshot.now + stage.soak + longer,
        deadline_at=snapshot.now + stage.deadline + longer,
        stability=stability or None,
    )
    return _with_warmup(snapshot, started)


def _with_warmup(snapshot: Snapshot, at: StageStatus) -> StageStatus:
    """The stage with a warmup from now on, if it has one."""
    spec = snapshot.plan.spec
    stage = current_stage(spec, snapshot.status) if spec else None
    return begin_warmup(spec, stage, at, snapshot.now) if spec and stage else at


def on_fail(
    snapshot: Snapshot, reason: StatusReason, note: str, evidence: Iterable[ActivePredicate] = ()
) -> ReconcileResult | None:
    """Roll back or hold, as `onFail` says; None where the run is already held for a failure."""
    if snapshot.plan.written is None or snapshot.plan.written.on_fail == "Rollback":
        return try_rollback(snapshot, reason, note, evidence)
    if snapshot.status.held_for == HoldReason.FAILED:
        return None
    return enter_hold(
        snapshot,
        HoldReason.FAILED,
        f"{note}; onFail is Hold, so the weights stay until `abort`",
        evidence,
        failed=note[:1024],
    )


def fencing_token(snapshot: Snapshot, status: Status, seq: int | None = None) -> str:
    """The token that our writes leave on a route: plan, decision, leader. The next write tests that it is unchanged."""
    return f"{snapshot.plan.uid[:8]}.{status.seq if seq is None else seq}.{snapshot.epoch}"


def token_seq(snapshot: Snapshot, mark: str) -> int:
    """The number of our decision in the fencing tokens of a route; 0 where none is ours."""
    return fence_seq(mark, snapshot.plan.uid[:8])


def sealed(snapshot: Snapshot) -> RunChange:
    """What a run keeps to its end of that by which it is bound: the metric source, and the labels for policies."""
    return {
        "source": snapshot.source.object if snapshot.source else None,
        "labels": {**snapshot.labels.plan},
        "namespace_labels": {**(snapshot.labels.namespace or {})},
    }


def reset_run(
    snapshot: Snapshot,
    cause: TransitionName,
    note: str,
    *,
    reason: Reason = StatusReason.PENDING,
    commanded_by: CommandSource | None = None,
    **changes: Unpack[RunChange],
) -> Status:
    """The status for a new run: everything of the last run is removed except its number and its decisions."""
    clean: RunChange = {
        "stage": None,
        "weights": Weights(),
        "predicates": (),
        "failed": "",
        "held": None,
        "intent": None,
        "revert": "",
        "approved": "",
        "approved_ahead": (),
        "approved_seals": {},
        "repaired_at": (),
        "revert_asked": None,
        "counted_since": None,
        "templates": (),
        "place": "",
        "source": None,
        "labels": {},
        "namespace_labels": {},
        "task": None,
        "completed_tasks": (),
        "scaled_to": 0,
        "old_pods": 0,
        **changes,
    }
    return transition(snapshot, cause, note, reason=reason, commanded_by=commanded_by, **clean)
