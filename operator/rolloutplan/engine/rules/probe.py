"""Phase Probing: assumptions are checked before anything else, so that a false one ends the run at no cost."""

from __future__ import annotations

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, Status
from rolloutplan.api.tasks import Assumption
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.tasks import (
    TaskResult,
    TaskSpec,
    current_task,
    job_refused,
    job_run,
    query_result,
    start_task,
)
from rolloutplan.engine.run.decision_log import Belief
from rolloutplan.engine.run.transition import transition


def probe_assumptions(snapshot: Snapshot) -> ReconcileResult | None:
    """In phase Probing, apply PROBING_RULES. Nothing is added to the cluster before all assumptions are proved."""
    return first_match(PROBING_RULES, snapshot) if snapshot.status.phase is Phase.PROBING else None


def all_true(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on to expand when no assumption is left. It is the first rule, because the others need one that is left."""
    if _next(snapshot) is not None:
        return None
    return ReconcileResult(
        transition(
            snapshot, TransitionName.PROBED, "all assumptions are true", reason=StatusReason.EXPANDING, task=None
        )
    )


def begin_probe(snapshot: Snapshot) -> ReconcileResult | None:
    """Record the next check, that of the highest risk first. It is recorded before it starts, so that none is lost."""
    assumption = _next(snapshot)
    if assumption is None or current_task(snapshot, _wanted(assumption)) is not None:
        return None
    return ReconcileResult(start_task(snapshot, _wanted(assumption)))


def probe(snapshot: Snapshot) -> ReconcileResult | None:
    """Run the Job or send the query of the current assumption until it is true, false or late."""
    assumption = _next(snapshot)
    task = current_task(snapshot, _wanted(assumption)) if assumption else None
    if assumption is None or task is None:
        return None
    wanted, asked = _wanted(assumption), assumption.predicate
    found = job_run(snapshot, task, wanted) if asked is None else query_result(snapshot, _spec(snapshot), task, asked)
    return ReconcileResult(_probed(snapshot, assumption, found)) if isinstance(found, TaskResult) else found


PROBING_RULES: tuple[Rule, ...] = (all_true, begin_probe, probe)


def _spec(snapshot: Snapshot) -> PlanSpec:
    assert snapshot.plan.spec is not None  # a plan without one cannot start
    return snapshot.plan.spec


def _next(snapshot: Snapshot) -> Assumption | None:
    return next(
        (each for each in _spec(snapshot).assumptions_by_risk() if each.name not in snapshot.status.completed_tasks),
        None,
    )


def _wanted(assumption: Assumption) -> TaskSpec:
    says = f"assumption {assumption.name} is being checked: {assumption.belief}"
    template = assumption.job.template if assumption.job else None
    return TaskSpec("Assumption", assumption.name, assumption.deadline, says, template)


def _probed(snapshot: Snapshot, assumption: Assumption, ended: TaskResult) -> Status:
    status, belief = snapshot.status, Belief(assumption.belief, ended.words)
    if ended.refused:
        return job_refused(snapshot, ended)
    if ended.good:
        words = f"assumption {assumption.name} is true: {ended.words}"
        done = (*status.completed_tasks, assumption.name)
        return transition(
            snapshot,
            TransitionName.BELIEVED,
            words[:1024],
            reason=StatusReason.PROBING,
            belief=belief,
            task=None,
            completed_tasks=done,
        )
    words = (
        f"assumption {assumption.name} is not known to be true ({assumption.belief}): {ended.words}; no weight was "
        "moved: fix the cause and send `retry`, or change the plan, to start a new run"
    )[:1024]
    return transition(
        snapshot,
        TransitionName.DISBELIEVED,
        words,
        reason=StatusReason.ASSUMPTION_FALSE,
        belief=belief,
        task=None,
        failed=words,
    )
