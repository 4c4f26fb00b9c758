"""Phase Expanding: the new side is added, and its pods must be ready before it gets traffic."""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.api.changes import RunChange
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, Status, Task, Weights
from rolloutplan.engine.model.actions import ReconcileResult, RunPreflight
from rolloutplan.engine.model.routes import select_rules
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.policy.preconditions import PROBE_EVERY
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.tasks import (
    SCALE_NEW,
    SCALED_WITHIN,
    TaskResult,
    TaskSpec,
    added,
    current_task,
    job_refused,
    job_run,
    refused_words,
    resized,
    start_task,
)
from rolloutplan.engine.run.transition import transition

STANDS_FOR = timedelta(seconds=2)
"""How long its pods must have been ready before the first weight: a gateway learns of new endpoints with a delay."""
COUNTED_WITHIN = timedelta(seconds=2)
"""How old the count of restarts that the run starts from may be: an older one may include pods that are gone."""


def expand(snapshot: Snapshot) -> ReconcileResult | None:
    """In phase Expanding, apply EXPANDING_RULES. No weight is moved before the new side is ready."""
    return first_match(EXPANDING_RULES, snapshot) if snapshot.status.phase is Phase.EXPANDING else None


def begin_expansion(snapshot: Snapshot) -> ReconcileResult | None:
    """Record the next task: the Jobs in the order written, then the scaling. A task is recorded before it starts."""
    wanted = _to_add(snapshot, _spec(snapshot))
    if wanted is None or current_task(snapshot, wanted) is not None:
        return None
    return ReconcileResult(start_task(snapshot, wanted))


def add(snapshot: Snapshot) -> ReconcileResult | None:
    """Carry out the current task until it is done, has failed or is late. Only then wait for the pods."""
    spec = _spec(snapshot)
    wanted = _to_add(snapshot, spec)
    task = current_task(snapshot, wanted) if wanted else None
    if wanted is None or task is None:
        return None
    if wanted.template is not None:
        found = job_run(snapshot, task, wanted)
    else:
        found = resized(snapshot, task, snapshot.new, spec.new.deployment)
    return ReconcileResult(_added(snapshot, spec, task, found)) if isinstance(found, TaskResult) else found


def new_side_ready(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on when all pods of the new side are ready. It is above the deadline rule, so that late pods still count.

    The pods must have been ready for `STANDS_FOR`. Restarts count from then on. While the restarts cannot be read, the
    run waits until the deadline.
    """
    new, probe = snapshot.new, snapshot.preflight
    assert new is not None  # `obstructed` refuses a plan without it
    if not (new.settled and new.wanted > 0 and new.ready >= new.wanted):
        return None
    if new.stood_since and timedelta(0) <= snapshot.now - new.stood_since < STANDS_FOR:
        return ReconcileResult(wake_at=new.stood_since + STANDS_FOR)
    if probe is None or snapshot.now >= probe.at + COUNTED_WITHIN:
        return None if _unseen(snapshot) else ReconcileResult(actions=(RunPreflight(),))
    return ReconcileResult(_ready(snapshot, _spec(snapshot), probe.restarts))


def new_side_late(snapshot: Snapshot) -> ReconcileResult | None:
    """End the run when the new side is not ready after `readyWithin`, checked once more: every wait has a limit.

    It also ends where the API server refuses to list the pods.
    """
    probe = snapshot.preflight
    if words := _unseen(snapshot):
        name, within = _spec(snapshot).new.deployment, format_duration(_spec(snapshot).availability.ready_within)
        found = f"the pods of {name} could not be read within {within}: {words}"
        return ReconcileResult(_never_ready(snapshot, found, "fix that, send `retry`"))
    if probe is None or probe.at < _late(snapshot):
        return None
    return ReconcileResult(_never_ready(snapshot, _not_ready(snapshot, probe.worst), "fix the Deployment"))


def await_new_side(snapshot: Snapshot) -> ReconcileResult | None:
    """Read the pods at intervals, for the reason why they are not ready, and once more at the deadline."""
    if snapshot.preflight is None:
        return ReconcileResult(actions=(RunPreflight(),))
    due = min(snapshot.preflight.at + PROBE_EVERY, _late(snapshot))
    return ReconcileResult(actions=(RunPreflight(),)) if snapshot.now >= due else ReconcileResult(wake_at=due)


EXPANDING_RULES: tuple[Rule, ...] = (begin_expansion, add, new_side_ready, new_side_late, await_new_side)


def _spec(snapshot: Snapshot) -> PlanSpec:
    assert snapshot.plan.spec is not None  # a plan without one cannot start
    return snapshot.plan.spec


def _late(snapshot: Snapshot) -> datetime:
    return (snapshot.status.entered_at or snapshot.plan.created) + _spec(snapshot).availability.ready_within


def _unseen(snapshot: Snapshot) -> str:
    """Why the pods cannot be read after the deadline, in the API server's words; empty where they can."""
    return refused_words(snapshot, "preflight") if snapshot.now >= _late(snapshot) else ""


def _to_add(snapshot: Snapshot, spec: PlanSpec) -> TaskSpec | None:
    done, size = snapshot.status.completed_tasks, spec.expand.scale.new
    job = next((job for job in spec.expand.jobs if job.name not in done), None)
    if job is not None:
        return TaskSpec("Expand", job.name, job.deadline, f"Job {job.name} runs before any traffic moves", job.template)
    if size == "None" or SCALE_NEW in done or snapshot.old is None:
        return None
    replicas = snapshot.old.wanted if size == "MatchOld" else int(size)
    says = f"Deployment {spec.new.deployment} is scaled to {replicas} replicas"
    return TaskSpec("Scale", SCALE_NEW, SCALED_WITHIN, says, replicas=replicas)


def _added(snapshot: Snapshot, spec: PlanSpec, task: Task, ended: TaskResult) -> Status:
    status = snapshot.status
    if ended.refused:
        return job_refused(snapshot, ended)
    if ended.good:
        over: RunChange = {
            "task": None,
            "completed_tasks": (*status.completed_tasks, task.name),
            "entered_at": snapshot.now,
        }
        if task.kind == "Scale" and not ended.left:
            over["scaled_to"] = task.replicas
        return transition(snapshot, TransitionName.EXPANDED, ended.words[:1024], reason=StatusReason.EXPANDING, **over)
    left = f"no weight was moved{added(status, spec)}"
    words = f"{ended.words}; {left}: fix the cause and send `retry`, or change the plan, to start a new run"[:1024]
    return transition(
        snapshot, TransitionName.EXPAND_FAILED, words, reason=StatusReason.EXPAND_FAILED, task=None, failed=words
    )


def _ready(snapshot: Snapshot, spec: PlanSpec, restarts: int) -> Status:
    new = snapshot.new
    assert new is not None
    before = select_rules(snapshot)
    old_service, new_service = spec.old.service_name, spec.new.service_name
    held = format_weight(share(before, old_service, new_service))
    weights = Weights(desired=held, old=old_service, new=new_service, written=before, snapshot=before)
    return transition(
        snapshot,
        TransitionName.READY,
        f"{new.ready} of {new.wanted} pods of {new.name} are ready; a rollback restores {held} on {new_service}",
        reason=StatusReason.SHIFTING,
        weights=weights,
        restarts=restarts,
        revert=snapshot.undo_command,
    )


def _not_ready(snapshot: Snapshot, worst: str) -> str:
    new = snapshot.new
    assert new is not None
    within = format_duration(_spec(snapshot).availability.ready_within)
    found = f"{new.ready} of {new.wanted} pods of {new.name} were ready within {within}"
    return f"{found}{f': {worst}' if worst else ''}"


def _never_ready(snapshot: Snapshot, found: str, fix: str) -> Status:
    left = f"no weight was moved{added(snapshot.status, _spec(snapshot))}"
    words = f"{found}; {left}: {fix}, and a new run starts"
    return transition(snapshot, TransitionName.NEVER_READY, words, reason=StatusReason.NEW_SIDE_NOT_READY)
