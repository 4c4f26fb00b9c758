"""Before and after a run: start it or report what blocks it; clean up the plan, and start the next run."""

from __future__ import annotations

from rolloutplan.api.changes import RunChange, change
from rolloutplan.api.printable import printable
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_digest import spec_digest
from rolloutplan.api.status import STARTING, Phase, Status, Weights
from rolloutplan.engine.model.acceptance import not_accepted, route_warnings, unconfirmed
from rolloutplan.engine.model.actions import Action, PatchPlanMetadata, ReconcileResult, RunPreflight
from rolloutplan.engine.model.revision import is_same_version
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.policy.endpoints import not_serving
from rolloutplan.engine.policy.preconditions import PROBE_EVERY, UnmetPrecondition, end_state, unmet_precondition
from rolloutplan.engine.rules.expand import expand
from rolloutplan.engine.rules.match import Rule, first_match, spec_of
from rolloutplan.engine.rules.probe import probe_assumptions
from rolloutplan.engine.rules.unguarded import report_unguarded
from rolloutplan.engine.run.conditions import reported_change
from rolloutplan.engine.run.end_state import starts_again, unjudged_change
from rolloutplan.engine.run.stop import AGAIN_AFTER, is_over, stop_actions
from rolloutplan.engine.run.transition import note_decision, reset_run, sealed, transition
from rolloutplan.engine.run.undo import plan_undo


def stop_jobs(snapshot: Snapshot) -> ReconcileResult | None:
    """After the end of a run, suspend its unfinished Job, until it is certain that nothing of it runs on.

    It is above `finished`, so that no new run begins before.
    """
    status, task = snapshot.status, snapshot.status.task
    if status.phase is not Phase.ROLLED_BACK or task is None or task.kind != "Stop":
        return None
    if is_over(snapshot, task):
        return ReconcileResult(change(status, task=None))
    actions = stop_actions(snapshot, task)
    return ReconcileResult(actions=actions, wake_at=min(snapshot.now + AGAIN_AFTER, task.deadline_at))


def finished(snapshot: Snapshot) -> ReconcileResult | None:
    """After the end of a run: clean up the plan's metadata; start again only for a changed plan or pod template.

    A pod template that changes while the new side serves starts no run, and is reported once. It is below the commands,
    because `retry` and `revert` are sent after the end.
    """
    status, plan = snapshot.status, snapshot.plan
    if status.phase not in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        return None
    if plan.finalizer:
        return ReconcileResult(actions=(PatchPlanMetadata(finalizer=False, undo_annotation=plan_undo(snapshot)),))
    if again := starts_again(snapshot):
        return ReconcileResult(reset_run(snapshot, TransitionName.RUN_AGAIN, again))
    words = unjudged_change(snapshot, status)
    if words and snapshot.new is not None and f"(revision {snapshot.new.revision})" not in reported_change(status):
        return note_decision(snapshot, TransitionName.UNJUDGED_CHANGE, words)
    return ReconcileResult()


def start(snapshot: Snapshot) -> ReconcileResult | None:
    """Before any weight has moved, apply STARTING_RULES. No later rule applies to such a plan."""
    before_any_weight = snapshot.status.phase in {*STARTING, Phase.PENDING, Phase.INVALID}
    return first_match(STARTING_RULES, snapshot) if before_any_weight else None


def finish_without_run(snapshot: Snapshot) -> ReconcileResult | None:
    """End with success where the routes hold the plan's last weight already, once the new side can serve it.

    It is above the preconditions: with nothing to move and nothing to evaluate, the run needs neither the old
    Deployment nor a metric source.
    """
    routes = end_state(snapshot) if snapshot.status.phase in (Phase.PENDING, Phase.INVALID) else ()
    if not routes or snapshot.new is None:
        return None
    if snapshot.status.phase is Phase.INVALID:
        return _unblocked(snapshot)
    spec = spec_of(snapshot)
    (old, new), last = spec.names, format_weight(spec.steps()[-1].permille)
    found = f"the routes already give {new} {last} of the traffic, as the last stage would"
    problem = not_accepted(snapshot, routes)
    if waits_for := not_serving(snapshot, spec) or (problem.words if problem else ""):
        return _wait(snapshot, f"{found}; waiting until it can serve it: {waits_for}")
    words = f"{found}: nothing to do; no weight was moved, and nothing was evaluated"
    if spec.contract.wanted:
        words = f"{words}; nothing was removed either: `contract` is a part of a run"
    blind = unconfirmed(snapshot, (route.id for route in routes))
    run_fields: RunChange = {
        "run": snapshot.status.run + 1,
        "plan_hash": spec.plan_hash(),
        "revision": snapshot.new.revision,
        "weights": Weights(
            desired=last, old=old, new=new, service=spec.shared_service, written=routes, unconfirmed=blind
        ),
    }
    return ReconcileResult(
        reset_run(snapshot, TransitionName.ALREADY_DONE, words, reason=StatusReason.SUCCEEDED, **run_fields)
    )


def _wait(snapshot: Snapshot, words: str) -> ReconcileResult:
    status, reason, message = snapshot.status, StatusReason.NEW_SIDE_NOT_READY, printable(words[:1024])
    told = (status.reason, status.message) == (reason, message)
    return ReconcileResult(None if told else change(status, reason=reason, message=message))


def report_unmet_precondition(snapshot: Snapshot) -> ReconcileResult | None:
    """Report the first thing that blocks the start. It is above what starts a run, so none starts that cannot go on."""
    problem = unmet_precondition(snapshot)
    return _report(snapshot, problem) if problem is not None else None


def run_preflight(snapshot: Snapshot) -> ReconcileResult | None:
    """Run the preflight once for each version of the plan and its templates: it checks what no watch shows.

    A run that has started goes on without it: the deadlines of its tasks do not wait for an answer.
    """
    if snapshot.status.phase in STARTING:
        return None
    spec = spec_of(snapshot)
    unknown = snapshot.preflight is None or snapshot.preflight.judged_hash != spec.judged_hash()
    return ReconcileResult(actions=(RunPreflight(),)) if unknown else None


def return_to_pending(snapshot: Snapshot) -> ReconcileResult | None:
    """Return an invalid plan to Pending when nothing blocks it any more. It is below the rules that find a block."""
    if snapshot.status.phase is not Phase.INVALID:
        return None
    return _unblocked(snapshot)


def _unblocked(snapshot: Snapshot) -> ReconcileResult:
    return ReconcileResult(
        transition(snapshot, TransitionName.UNBLOCKED, "the problem is fixed", reason=StatusReason.PENDING)
    )


def begin_run(snapshot: Snapshot) -> ReconcileResult | None:
    """Start the run: nothing blocks it, and the preflight is done. Assumptions are checked before expand."""
    if snapshot.status.phase is not Phase.PENDING:
        return None
    assert snapshot.new is not None  # else `report_unmet_precondition` applies
    return ReconcileResult(_started(snapshot, spec_of(snapshot), snapshot.new.revision))


STARTING_RULES: tuple[Rule, ...] = (
    finish_without_run,
    report_unmet_precondition,
    run_preflight,
    return_to_pending,
    report_unguarded,
    probe_assumptions,
    expand,
    begin_run,
)


def _started(snapshot: Snapshot, spec: PlanSpec, revision: str) -> Status:
    """The next run, or the same one if it was interrupted before any weight: its completed tasks are not repeated."""
    status, plan_hash = snapshot.status, spec.plan_hash()
    began = bool(status.completed_tasks) or status.task is not None
    same = began and status.plan_hash == plan_hash and is_same_version(status.revision, revision)
    run = status.run if same else status.run + 1
    hypothesis = f": {spec.hypothesis}" if spec.hypothesis else ""
    old, new = spec.titles
    words = f"run {run}: {old} -> {new} in {len(spec.steps())} stages{hypothesis}"
    warnings = route_warnings(snapshot, (route.id for route in spec.traffic.routes)).values()
    words = "; ".join((words, *warnings))[:1024]
    run_fields: RunChange = {
        "run": run,
        "plan_hash": plan_hash,
        "revision": revision,
        "templates": snapshot.plan.templates,
        **sealed(snapshot),
        "spec_digest": spec_digest(spec),
        "completed_tasks": status.completed_tasks if same else (),
        "scaled_to": status.scaled_to if same else 0,
        "approved_ahead": status.approved_ahead,
        "approved_seals": status.approved_seals,
    }
    if spec.assumptions:
        return reset_run(snapshot, TransitionName.START_PROBING, words, reason=StatusReason.PROBING, **run_fields)
    return reset_run(snapshot, TransitionName.START, words, reason=StatusReason.EXPANDING, **run_fields)


def _report(snapshot: Snapshot, problem: UnmetPrecondition) -> ReconcileResult:
    status = snapshot.status
    again = snapshot.preflight.at + PROBE_EVERY if snapshot.preflight and problem.asking else problem.again
    actions: tuple[Action, ...] = (RunPreflight(),) if problem.asking and again and snapshot.now >= again else ()
    if (status.reason, status.message) == (problem.reason, problem.message[:1024]):
        return ReconcileResult(None, actions, wake_at=again)
    if problem.quiet and status.phase is Phase.INVALID:
        return _unblocked(snapshot)
    if problem.quiet:
        return ReconcileResult(change(status, reason=problem.reason, message=problem.message[:1024]), wake_at=again)
    if status.phase is Phase.PENDING and status.reason == problem.reason == StatusReason.WAITING:
        return ReconcileResult(change(status, message=problem.message[:1024]), wake_at=again)
    return ReconcileResult(
        transition(snapshot, problem.cause, problem.message[:1024], reason=problem.reason), actions, wake_at=again
    )
