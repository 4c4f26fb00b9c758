"""`decide`: from a snapshot to a result. The rules are in an ordered list; the first match wins.

The order is the safety logic. It is in `RULES` and in the lists that some of its rules apply (`INNER_RULES`), and
nowhere else. The rules that roll back (a command, another revision, a new side without pods, a proved failure) come
before all rules that need something that could be missing, slow or broken, and use none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from rolloutplan.api.changes import change
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.analysis.availability import TOLD_AFTER
from rolloutplan.engine.analysis.measurements import active_predicates, ask_at, current_stage
from rolloutplan.engine.analysis.warmup import warm_new_pods
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.rules.adapt import accept_edit
from rolloutplan.engine.rules.commands.answer import abort_or_revert, answers_again_at, other_commands
from rolloutplan.engine.rules.contract import CONTRACTING_RULES, clean_up_old
from rolloutplan.engine.rules.drift import correct_drift
from rolloutplan.engine.rules.end_state import keep_end_state
from rolloutplan.engine.rules.expand import EXPANDING_RULES, expand
from rolloutplan.engine.rules.forecast import forecast
from rolloutplan.engine.rules.forward import begin_stage, end_at_bake_deadline, end_at_deadline, finish_bake, pass_stage
from rolloutplan.engine.rules.hold import (
    ask_gate,
    await_endpoints,
    await_pods,
    hold_run,
    inconsistent,
    resume_run,
    stay_failed,
)
from rolloutplan.engine.rules.intents import (
    claim,
    claim_after_failover,
    record_claim,
    recover_interrupted_rollback,
    resume_rollback,
    resume_shift,
    shift_timed_out,
)
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.metadata import restore_metadata
from rolloutplan.engine.rules.probe import PROBING_RULES, probe_assumptions
from rolloutplan.engine.rules.queue import place_lost_at, release_place, retake_place
from rolloutplan.engine.rules.refused import clear_past_refusal, report_refusal, shift_refused
from rolloutplan.engine.rules.rollback import (
    failure_detected,
    handle_deletion,
    new_side_unavailable,
    release_at,
    superseded,
)
from rolloutplan.engine.rules.source import sealed_late, source_changed
from rolloutplan.engine.rules.start import STARTING_RULES, finished, start, stop_jobs
from rolloutplan.engine.rules.undo import restore_undo, tell_foreign_undo
from rolloutplan.engine.rules.unguarded import report_unguarded
from rolloutplan.engine.rules.waiting import waiting_for
from rolloutplan.engine.rules.warn import warning_detected
from rolloutplan.engine.run.conditions import (
    is_awaited_right_reported,
    is_capacity_reported,
    is_ownership_reported,
    is_publication_reported,
    last_measured_at,
    query_warnings,
    reported_change,
    verdicts_only,
    with_conditions,
    with_shortage,
)
from rolloutplan.engine.run.decision_log import predicate_statuses
from rolloutplan.engine.run.end_state import unjudged_change

PUBLISH_EVERY = timedelta(seconds=30)
"""Changed verdicts are written to the status between decisions, but not more often than this."""


def decide(snapshot: Snapshot) -> ReconcileResult:
    """The result for a snapshot: always the same for the same snapshot. No content of a cluster makes it raise.

    A run that another leader served is claimed before anything but a rollback is decided.
    """
    result = first_match(WHILE_UNREAD if snapshot.unread else RULES, snapshot) or ReconcileResult()
    if result.status is not None and not result.urgent:
        result = claim(snapshot) or result
    result = restore_undo(snapshot, restore_metadata(snapshot, result))
    if result.status is None and (report := first_match(REPORTING_RULES, snapshot)) is not None:
        instants = [at for at in (result.wake_at, report.wake_at) if at is not None]
        result = replace(result, status=report.status, wake_at=min(instants, default=None), only_reports_refusals=True)
    after = _derived(snapshot, result.status) if result.status is not None else None
    if after is not None and after != snapshot.status:
        return replace(result, status=after, wake_at=result.wake_at or snapshot.now)
    waits = answers_again_at(snapshot) if snapshot.plan.command else None
    instants = [instant for instant in (result.wake_at, _wake_at(snapshot), waits) if instant is not None]
    return ReconcileResult(
        _updated_status(snapshot, result), result.actions, min(instants, default=None), result.urgent
    )


def decide_way_back(snapshot: Snapshot) -> ReconcileResult:
    """The result of the first rule that leads back and applies, where `decide` raised. It never raises.

    Each rule is tried on its own, and one that raises is passed over: what makes another part of the decision raise
    must not keep a bad release in traffic. Nothing here goes forward.
    """
    result = ReconcileResult()
    for rule in WAY_BACK_RULES:
        if (found := _tried(rule, snapshot)) is not None:
            result = found
            break
    if result.status is None:
        return result
    if not result.urgent and (claimed := _tried(claim, snapshot)) is not None:
        return claimed
    try:
        return replace(result, status=_derived(snapshot, result.status))
    except Exception:  # noqa: BLE001 - the conditions are less than the weights
        return result


def _tried(rule: Rule, snapshot: Snapshot) -> ReconcileResult | None:
    try:
        return rule(snapshot)
    except Exception:  # noqa: BLE001 - `PlanRun.report_fault` tells of the first one
        return None


def _derived(snapshot: Snapshot, status: Status) -> Status:
    """The status with all that follows from the rest of it."""
    status = with_shortage(snapshot, status)
    return with_conditions(snapshot, change(status, waiting_for=waiting_for(snapshot, status)))


def _wake_at(snapshot: Snapshot) -> datetime | None:
    """The next instant at which a rule could decide differently; None where only an event can change the decision."""
    status, spec, at = snapshot.status, snapshot.plan.spec, snapshot.status.stage
    lost_at = place_lost_at(snapshot)
    if spec is None or status.phase not in TRAFFIC_SHIFTED_PHASES:
        ends = (release_at(snapshot) if snapshot.plan.finalizer else None, lost_at)
        return min((instant for instant in ends if instant is not None), default=None)
    instants = [] if lost_at is None else [lost_at]
    if snapshot.source is not None:
        rows = active_predicates(spec, status, snapshot.source)
        instants += [ask_at(row, spec, status, snapshot.source, snapshot.measurements) for row in rows]
    if at is not None and status.phase in (Phase.JUDGING, Phase.BAKING):
        instants += [instant for instant in (at.soak_until, at.deadline_at) if instant is not None]
    if snapshot.new is not None and snapshot.new.short_since is not None:
        instants.append(snapshot.new.short_since + spec.availability.grace)
    if snapshot.new is not None and snapshot.new.lacks_since is not None:
        instants.append(snapshot.new.lacks_since + TOLD_AFTER)
    if (
        status.held is not None
        and status.held.reason == HoldReason.METRICS_UNAVAILABLE
        and spec.on_metrics_unavailable.after
    ):
        instants.append((status.held.reason_since or status.held.since) + spec.on_metrics_unavailable.after)
    if status.held is not None and status.held.reason == HoldReason.INCIDENT:
        instants.append((status.held.reason_since or status.held.since) + spec.on_incident.after)
    if status.epoch != snapshot.epoch and snapshot.claim_at is not None:
        instants.append(snapshot.claim_at)
    return min((instant for instant in instants if instant > snapshot.now), default=None)


def _updated_status(snapshot: Snapshot, step: ReconcileResult) -> Status | None:
    """The status with what changed without a decision; None where nothing is to be written.

    An outdated status is corrected at once. Changed verdicts are written at most every `PUBLISH_EVERY`, and not before
    that by a new leader, which has to ask first: all of its plans would lose what the former one measured.
    """
    status = _warmed(snapshot, clear_past_refusal(snapshot, nothing_to_do=not step.actions))
    status = sealed_late(snapshot, status)
    outdated = status.observed_generation != snapshot.plan.generation or not status.reason
    outdated = outdated or status.waiting_for != waiting_for(snapshot, status)
    outdated = (
        outdated
        or query_warnings(status) != snapshot.warnings
        or status != snapshot.status
        or with_shortage(snapshot, status) != status
        or not is_publication_reported(snapshot)
        or reported_change(status) != unjudged_change(snapshot, status)
        or not is_ownership_reported(snapshot)
        or not is_capacity_reported(snapshot)
        or not is_awaited_right_reported(snapshot)
    )
    if outdated and not snapshot.plan.deleting:
        return _derived(snapshot, status)
    if status.phase not in TRAFFIC_SHIFTED_PHASES or not status.predicates:
        return None
    last = last_measured_at(status.predicates)
    if last and snapshot.now < max(last, snapshot.taken_up_at or last) + PUBLISH_EVERY:
        return None
    now = predicate_statuses(snapshot, status)
    if verdicts_only(now) == verdicts_only(status.predicates):
        return None
    return _derived(snapshot, change(status, predicates=now))


def _warmed(snapshot: Snapshot, status: Status) -> Status:
    """The status with the warmup of the pods that became ready during a stage or in the bake."""
    spec, at, new = snapshot.plan.spec, status.stage, snapshot.new
    if spec is None or at is None or new is None or new.newest_ready_at is None:
        return status
    stage = current_stage(spec, status) if status.phase in TRAFFIC_SHIFTED_PHASES else None
    warmed = warm_new_pods(spec, stage, at, new.newest_ready_at) if stage is not None else at
    return change(status, stage=warmed) if warmed != at else status


RULES: tuple[Rule, ...] = (
    resume_rollback,
    handle_deletion,
    abort_or_revert,
    inconsistent,
    recover_interrupted_rollback,
    clean_up_old,
    superseded,
    new_side_unavailable,
    failure_detected,
    shift_refused,
    shift_timed_out,
    accept_edit,
    source_changed,
    other_commands,
    keep_end_state,
    stop_jobs,
    finished,
    start,
    claim_after_failover,
    correct_drift,
    resume_shift,
    release_place,
    stay_failed,
    ask_gate,
    hold_run,
    await_endpoints,
    resume_run,
    warning_detected,
    forecast,
    report_unguarded,
    end_at_deadline,
    end_at_bake_deadline,
    await_pods,
    finish_bake,
    pass_stage,
    retake_place,
    begin_stage,
    record_claim,
)
WAY_BACK_RULES: tuple[Rule, ...] = (
    resume_rollback,
    handle_deletion,
    abort_or_revert,
    inconsistent,
    recover_interrupted_rollback,
    superseded,
    new_side_unavailable,
    failure_detected,
    shift_refused,
    shift_timed_out,
)
"""Those of RULES, in their order, that lead back or find that nothing may be decided."""
WHILE_UNREAD: tuple[Rule, ...] = (*WAY_BACK_RULES, other_commands)
"""Those of RULES that apply while something that a run needs could not be read: it goes no further, and listens."""
REPORTING_RULES: tuple[Rule, ...] = (report_refusal, tell_foreign_undo)
"""Applied when no other rule writes a status; their status goes with the actions of the other rule."""
INNER_RULES: Mapping[Rule, tuple[Rule, ...]] = {
    clean_up_old: CONTRACTING_RULES,
    start: STARTING_RULES,
    probe_assumptions: PROBING_RULES,
    expand: EXPANDING_RULES,
}
"""The rules that apply a list of their own. In their phase no later rule applies."""
