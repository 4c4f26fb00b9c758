"""Phase Expanding: the new side is added, and its pods must be ready before it gets traffic."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rolloutplan.api.changes import RunChange, change
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, Status, Task, Weights
from rolloutplan.engine.analysis.availability import baseline, scaled_to_zero
from rolloutplan.engine.model.acceptance import NotAccepted, acceptance_deadline, not_accepted, unconfirmed
from rolloutplan.engine.model.actions import ReconcileResult, RunPreflight
from rolloutplan.engine.model.routes import select_rules
from rolloutplan.engine.model.snapshot import Pods, Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.policy.endpoints import new_side_breaks, old_pods, unserved
from rolloutplan.engine.policy.preconditions import PROBE_EVERY
from rolloutplan.engine.rules.match import Rule, first_match, spec_of
from rolloutplan.engine.rules.tasks import (
    SCALE_NEW,
    SCALE_WITHIN,
    TaskResult,
    TaskSpec,
    added_words,
    current_task,
    refuse_job,
    refused_words,
    run_job,
    run_scaling,
    start_task,
)
from rolloutplan.engine.run.stop import stop_task
from rolloutplan.engine.run.transition import transition

READY_FOR = timedelta(seconds=2)
"""How long its pods must have been ready before the first weight: a gateway learns of new endpoints with a delay."""
COUNTED_WITHIN = timedelta(seconds=2)
"""How old the count of restarts that the run starts from may be: an older one may include pods that are gone."""


def expand(snapshot: Snapshot) -> ReconcileResult | None:
    """In phase Expanding, apply EXPANDING_RULES. No weight is moved before the new side is ready."""
    return first_match(EXPANDING_RULES, snapshot) if snapshot.status.phase is Phase.EXPANDING else None


def begin_expand_task(snapshot: Snapshot) -> ReconcileResult | None:
    """Record the next task: the Jobs in the order written, then the scaling. A task is recorded before it starts."""
    task_spec = _next_task(snapshot, spec_of(snapshot))
    if task_spec is None or current_task(snapshot, task_spec) is not None:
        return None
    return ReconcileResult(start_task(snapshot, task_spec))


def run_expand_task(snapshot: Snapshot) -> ReconcileResult | None:
    """Carry out the current task until it is done, has failed or is late. Only then wait for the pods."""
    spec = spec_of(snapshot)
    task_spec = _next_task(snapshot, spec)
    task = current_task(snapshot, task_spec) if task_spec else None
    if task_spec is None or task is None:
        return None
    if task_spec.template is not None:
        result = run_job(snapshot, task, task_spec)
    else:
        result = run_scaling(snapshot, task, snapshot.new, spec.new.deployment)
    return ReconcileResult(_record_result(snapshot, spec, task, result)) if isinstance(result, TaskResult) else result


def new_side_ready(snapshot: Snapshot) -> ReconcileResult | None:
    """Go on when all pods of the new side are available. It is above the deadline rule, so that late pods still count.

    The pods must have been ready for `READY_FOR`, and a route that somebody has just changed must be accepted. Restarts
    count from then on. While the restarts cannot be read, or while it is not known that both Services have ready
    endpoints, the run waits until the deadline. Where pods are the weight, the new side has none yet.
    """
    new, probe = snapshot.new, snapshot.preflight
    assert new is not None  # `report_unmet_precondition` refuses a plan without it
    needs_pods = spec_of(snapshot).replicas is None
    if not (new.settled and new.available >= new.wanted and (new.wanted > 0 or not needs_pods)):
        return None
    if new.ready_since and timedelta(0) <= snapshot.now - new.ready_since < READY_FOR:
        return ReconcileResult(wake_at=new.ready_since + READY_FOR)
    if unserved(snapshot):
        return None
    if (waiting := not_accepted(snapshot, select_rules(snapshot))) is not None:
        return _wait_for_gateway(snapshot, waiting)
    if probe is None or snapshot.now >= probe.at + COUNTED_WITHIN:
        return None if _pods_unreadable(snapshot) else ReconcileResult(actions=(RunPreflight(),))
    return ReconcileResult(_ready(snapshot, spec_of(snapshot), probe.pods))


def new_side_late(snapshot: Snapshot) -> ReconcileResult | None:
    """End the run when the new side is not ready after `readyWithin`, checked once more: every wait has a limit.

    It also ends where the API server refuses to list the pods.
    """
    probe = snapshot.preflight
    if words := _pods_unreadable(snapshot):
        found = f"the pods of {spec_of(snapshot).new.deployment} could not be read within {_within(snapshot)}: {words}"
        return ReconcileResult(_end_not_ready(snapshot, found, "fix that, send `retry`"))
    if probe is None or probe.at < _ready_deadline(snapshot):
        return None
    return ReconcileResult(_end_not_ready(snapshot, f"{_missing(snapshot)} within {_within(snapshot)}", "fix that"))


def await_new_side(snapshot: Snapshot) -> ReconcileResult | None:
    """Say what is missing. Read the pods at intervals, for the reason, and once more at the deadline."""
    if snapshot.preflight is None:
        return ReconcileResult(actions=(RunPreflight(),))
    words, due = (
        f"it waits: {_missing(snapshot)}"[:1024],
        min(snapshot.preflight.at + PROBE_EVERY, _ready_deadline(snapshot)),
    )
    told = change(snapshot.status, message=words) if snapshot.status.message != words else None
    if snapshot.now >= due:
        return ReconcileResult(told, actions=(RunPreflight(),))
    return ReconcileResult(told, wake_at=due)


EXPANDING_RULES: tuple[Rule, ...] = (begin_expand_task, run_expand_task, new_side_ready, new_side_late, await_new_side)


def _ready_deadline(snapshot: Snapshot) -> datetime:
    return (snapshot.status.entered_at or snapshot.plan.created) + spec_of(snapshot).availability.ready_within


def _pods_unreadable(snapshot: Snapshot) -> str:
    """Why the pods cannot be read after the deadline, in the API server's words; empty where they can."""
    return refused_words(snapshot, "preflight") if snapshot.now >= _ready_deadline(snapshot) else ""


def _next_task(snapshot: Snapshot, spec: PlanSpec) -> TaskSpec | None:
    done, size = snapshot.status.completed_tasks, spec.expand.scale.new
    job = next((job for job in spec.expand.jobs if job.name not in done), None)
    if job is not None:
        return TaskSpec("Expand", job.name, job.deadline, f"Job {job.name} runs before any traffic moves", job.template)
    if size == "None" or SCALE_NEW in done or snapshot.old is None:
        return None
    replicas = snapshot.old.wanted if size == "MatchOld" else int(size)
    message = f"Deployment {spec.new.deployment} is scaled to {replicas} replicas"
    return TaskSpec("Scale", SCALE_NEW, SCALE_WITHIN, message, replicas=replicas)


def _record_result(snapshot: Snapshot, spec: PlanSpec, task: Task, result: TaskResult) -> Status:
    status = snapshot.status
    if result.refused:
        return refuse_job(snapshot, result)
    if result.succeeded:
        finished: RunChange = {
            "task": None,
            "completed_tasks": (*status.completed_tasks, task.name),
            "entered_at": snapshot.now,
        }
        if task.kind == "Scale" and not result.skipped:
            finished["scaled_to"] = task.replicas
        return transition(
            snapshot, TransitionName.EXPANDED, result.words[:1024], reason=StatusReason.EXPANDING, **finished
        )
    left = f"no weight was moved{added_words(status, spec)}"
    words = f"{result.words}; {left}: fix the cause and send `retry`, or change the plan, to start a new run"[:1024]
    return transition(
        snapshot,
        TransitionName.EXPAND_FAILED,
        words,
        reason=StatusReason.EXPAND_FAILED,
        task=stop_task(snapshot) if result.stop else None,
        failed=words,
    )


def _wait_for_gateway(snapshot: Snapshot, waiting: NotAccepted) -> ReconcileResult:
    """Wait until a gateway has accepted a route; at the deadline that is a precondition of the run."""
    words = f"waiting for the gateway before the first weight: {waiting.words}"[:1024]
    deadlines = [acceptance_deadline(snapshot, snapshot.routes[ref.id]) for ref in spec_of(snapshot).traffic.routes]
    known = snapshot.status.message == words
    return ReconcileResult(
        None if known else change(snapshot.status, message=words),
        wake_at=min((at for at in deadlines if at > snapshot.now), default=None),
    )


def _ready(snapshot: Snapshot, spec: PlanSpec, pods: Pods) -> Status:
    new = snapshot.new
    assert new is not None
    before = select_rules(snapshot)
    old, new_name = spec.names
    live = format_weight(share(before, old, new_name))
    weights = Weights(
        desired=live,
        old=old,
        new=new_name,
        service=spec.shared_service,
        kinds=dict(snapshot.own_kinds),
        written=before,
        snapshot=before,
        unconfirmed=unconfirmed(snapshot, (route.id for route in before)),
    )
    return transition(
        snapshot,
        TransitionName.READY,
        f"{new.available} of {new.wanted} pods of {new.name} are available; a rollback restores {live} on {new_name}",
        reason=StatusReason.SHIFTING,
        weights=weights,
        restarted_before=baseline(pods),
        old_pods=old_pods(snapshot),
        revert=snapshot.undo_command,
    )


def _within(snapshot: Snapshot) -> str:
    return format_duration(spec_of(snapshot).availability.ready_within)


def _missing(snapshot: Snapshot) -> str:
    """What the new side still lacks, with the reason that it or a pod of it gives."""
    new, probe = snapshot.new, snapshot.preflight
    assert new is not None
    seen = replace(new, pods=probe.pods) if probe is not None else new
    if new.wanted and new.available >= new.wanted and not new.settled:
        return f"{new.outdated or 'some'} pods of {new.name} are not of its newest template{seen.why}"
    if new.wanted == 0 and spec_of(snapshot).replicas is None:
        return scaled_to_zero(new, probe.autoscaler if probe is not None else "")
    words = f"{new.available} of {new.wanted} pods of {new.name} are available{seen.why}{new_side_breaks(snapshot)}"
    if new.available >= new.wanted and (served := unserved(snapshot)):
        return f"{words}, but {served}"
    return words


def _end_not_ready(snapshot: Snapshot, found: str, fix: str) -> Status:
    left = f"no weight was moved{added_words(snapshot.status, spec_of(snapshot))}"
    words = f"{found}; {left}: {fix}, and a new run starts"
    return transition(snapshot, TransitionName.NEVER_READY, words, reason=StatusReason.NEW_SIDE_NOT_READY)
