"""Phase Probing: assumptions are checked before anything else, so that a false one ends the run at no cost."""

from __future__ import annotations

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.status import Phase, Status
from rolloutplan.api.tasks import Assumption
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.rules.match import Rule, first_match, spec_of
from rolloutplan.engine.rules.tasks import (
    TaskResult,
    TaskSpec,
    current_task,
    refuse_job,
    run_job,
    run_query,
    start_task,
)
from rolloutplan.engine.run.decision_log import Expectation
from rolloutplan.engine.run.stop import stop_task
from rolloutplan.engine.run.transition import transition


def probe_assumptions(snapshot: Snapshot) -> ReconcileResult | None:
    """In phase Probing, apply PROBING_RULES. Nothing is added to the cluster before all assumptions are proved."""
    return first_match(PROBING_RULES, snapshot) if snapshot.status.phase is Phase.PROBING else None


def finish_probing(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on to expand when no assumption is left. It is the first rule, because the others need one that is left."""
    if _next_assumption(snapshot) is not None:
        return None
    return ReconcileResult(
        transition(
            snapshot,
            TransitionName.PROBING_DONE,
            "all assumptions are true",
            reason=StatusReason.EXPANDING,
            task=None,
        )
    )


def begin_probe(snapshot: Snapshot) -> ReconcileResult | None:
    """Record the next check, that of the highest risk first. It is recorded before it starts, so that none is lost."""
    assumption = _next_assumption(snapshot)
    if assumption is None or current_task(snapshot, _task_spec(assumption)) is not None:
        return None
    return ReconcileResult(start_task(snapshot, _task_spec(assumption)))


def run_probe(snapshot: Snapshot) -> ReconcileResult | None:
    """Run the Job or send the query of the current assumption until it is true, false or late."""
    assumption = _next_assumption(snapshot)
    task = current_task(snapshot, _task_spec(assumption)) if assumption else None
    if assumption is None or task is None:
        return None
    task_spec, observation = _task_spec(assumption), assumption.predicate
    result = (
        run_job(snapshot, task, task_spec)
        if observation is None
        else run_query(snapshot, spec_of(snapshot), task, observation)
    )
    return ReconcileResult(_record_result(snapshot, assumption, result)) if isinstance(result, TaskResult) else result


PROBING_RULES: tuple[Rule, ...] = (finish_probing, begin_probe, run_probe)


def _next_assumption(snapshot: Snapshot) -> Assumption | None:
    return next(
        (each for each in spec_of(snapshot).assumptions_by_risk() if each.name not in snapshot.status.completed_tasks),
        None,
    )


def _task_spec(assumption: Assumption) -> TaskSpec:
    message = f"assumption {assumption.name} is being checked: {assumption.belief}"
    template = assumption.job.template if assumption.job else None
    return TaskSpec("Assumption", assumption.name, assumption.deadline, message, template)


def _record_result(snapshot: Snapshot, assumption: Assumption, result: TaskResult) -> Status:
    status, expectation = snapshot.status, Expectation(assumption.belief, result.words)
    if result.refused:
        return refuse_job(snapshot, result)
    if result.succeeded:
        words = f"assumption {assumption.name} is true: {result.words}"
        done = (*status.completed_tasks, assumption.name)
        return transition(
            snapshot,
            TransitionName.ASSUMPTION_TRUE,
            words[:1024],
            reason=StatusReason.PROBING,
            expectation=expectation,
            task=None,
            completed_tasks=done,
        )
    words = (
        f"assumption {assumption.name} is not known to be true ({assumption.belief}): {result.words}; no weight was "
        "moved: fix the cause and send `retry`, or change the plan, to start a new run"
    )[:1024]
    return transition(
        snapshot,
        TransitionName.ASSUMPTION_FALSE,
        words,
        reason=StatusReason.ASSUMPTION_FALSE,
        expectation=expectation,
        task=stop_task(snapshot) if result.stop else None,
        failed=words,
    )
