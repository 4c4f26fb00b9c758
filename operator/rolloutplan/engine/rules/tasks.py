"""The tasks of a run, one after another: Jobs, scalings, and the queries of assumptions.

A task is written to the status before it starts, and the status determines the name of its Job. So after a crash the
next leader finds the task, and neither starts it twice nor leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from rolloutplan.api.changes import change, change_task
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import Reason, StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Status, Task
from rolloutplan.api.tasks import JobTemplate, Observation
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.engine.model.actions import QueryOnce, ReconcileResult, RunJob, Scale
from rolloutplan.engine.model.queries import ValueQuery
from rolloutplan.engine.model.snapshot import PASSES_WITHIN, JobView, Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.run.decision_log import undecided_reason
from rolloutplan.engine.run.jobs import SCALE_OLD, job_name, manifest
from rolloutplan.engine.run.transition import transition
from rolloutplan.engine.run.value_text import value_text
from rolloutplan.stats.verdict import Outcome

SCALE_NEW = "scale new"
"""The name of the task. It has a space, so no Job can have it."""
SKIPPED_AUTOSCALED = "leave old"
"""Recorded instead of `SCALE_OLD` where an autoscaler scales the old side."""
SCALE_WITHIN = timedelta(minutes=5)
READ_EVERY = timedelta(seconds=2)
"""How often a Job is read while it runs."""
TRY_AGAIN = timedelta(seconds=10)
"""How often the creation of a Job, or a scaling, is tried again."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of a task, with the text for messages."""

    succeeded: bool
    words: str
    refused: bool = False
    """Whether it never started, because the API server refuses the Job."""
    skipped: bool = False
    """Whether nothing was done, because an autoscaler scales the Deployment."""
    stop: bool = False
    """Whether its Job has not begun, and must not begin later."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task of the plan: its time limit, and the status message while it runs."""

    kind: Literal["Assumption", "Expand", "Scale", "Contract"]
    name: str
    time_limit: timedelta
    running_message: str
    template: JobTemplate | None = None
    replicas: int = 0


def refuse_job(snapshot: Snapshot, result: TaskResult) -> Status:
    """The status after the API server refused a Job: the plan is Invalid until it is changed."""
    return transition(snapshot, TransitionName.REFUSED, result.words[:1024], reason=StatusReason.JOB_REFUSED)


def added_words(status: Status, spec: PlanSpec) -> str:
    """What this run has added and nothing removes, as text."""
    jobs = [job.name for job in spec.expand.jobs if job.name in status.completed_tasks]
    parts = [f"Job {', '.join(jobs)} is done"] if jobs else []
    parts += [f"{spec.new.deployment} keeps its size"] if SCALE_NEW in status.completed_tasks else []
    return f", and what was added is kept ({'; '.join(parts)})" if parts else ""


def current_task(snapshot: Snapshot, task_spec: TaskSpec) -> Task | None:
    """The current task, if it is this one.

    A task that a former leader recorded without creating its Job is started again, with its full time from then on.
    """
    task = snapshot.status.task
    if task is None or task.name != task_spec.name or (not task.made and snapshot.status.epoch != snapshot.epoch):
        return None
    return task


def start_task(snapshot: Snapshot, task_spec: TaskSpec, attempt: int = 1) -> Status:
    """The status with a task recorded; nothing of it is done yet.

    One that was recorded before keeps the name of its Job, which another version of the operator may have built: there
    may be such a Job.
    """
    status, before = snapshot.status, snapshot.status.task
    name = job_name(snapshot.plan, status.run, task_spec.name, attempt)
    if before is not None and before.job and (before.name, before.attempt) == (task_spec.name, attempt):
        name = before.job
    task = Task(
        kind=task_spec.kind,
        name=task_spec.name,
        job=name if task_spec.template else "",
        attempt=attempt,
        replicas=task_spec.replicas,
        replicas_before=snapshot.old.wanted if task_spec.name == SCALE_OLD and snapshot.old else 0,
        since=snapshot.now,
        deadline_at=snapshot.now + task_spec.time_limit,
    )
    return _with_message(
        change(status, task=task, epoch=snapshot.epoch), StatusReason(status.phase), task_spec.running_message
    )


def old_side_gone(snapshot: Snapshot) -> str:
    """Why the traffic cannot go back to the old side, which the run scaled down; empty where it can."""
    old, new = snapshot.old, snapshot.new
    if not _scaled_down(snapshot) or (old and new and min(old.ready, old.wanted) >= new.wanted):
        return ""
    name, needed = old.name if old else "of the old side", f" to {new.wanted}" if new else ""
    ready = f"{old.ready} ready pods" if old else "no pods"
    return (
        f"the old side was scaled down at the end of the run and has {ready}: scale Deployment {name} up{needed} "
        "first, and send the command again when its pods are ready"
    )


def _scaled_down(snapshot: Snapshot) -> bool:
    task, result = snapshot.status.task, snapshot.scaled
    if task is None or task.name != SCALE_OLD:
        return SCALE_OLD in snapshot.status.completed_tasks
    requested = result is not None and result.at >= task.since and not (result.retry_reason or result.autoscaler)
    return requested or snapshot.old is None or snapshot.old.wanted <= task.replicas


# ---- Jobs --------------------------------------------------------------------------------------------------------


def run_job(snapshot: Snapshot, task: Task, task_spec: TaskSpec) -> ReconcileResult | TaskResult:
    """Create the Job of the current task, once, and wait for its end until the deadline."""
    assert task_spec.template is not None
    status, now, late = snapshot.status, snapshot.now, task.deadline_at
    make = not task.made and now < late
    read = RunJob(task.job, manifest(snapshot.plan, status.run, task, task_spec.template, task_spec.time_limit), make)
    job = (
        snapshot.job
        if snapshot.job is not None and snapshot.job.name == task.job and snapshot.job.at >= task.since
        else None
    )
    if job is None:
        words = refused_words(snapshot, "job")
        if words and now >= late:
            return TaskResult(False, _late_words(JobView(task.job, now, retry_reason=words), task_spec))
        return ReconcileResult(actions=(read,))
    if job.refused:
        fix = "correct its template"
        return TaskResult(False, f"the API server refuses the Job for {task.name}: {job.refused}: {fix}", refused=True)
    if job.found and job.ours:
        if job.ended:
            return TaskResult(job.ended == "Complete", _end_words(job))
        if not task.made:
            made = change(status, task=change_task(task, made=True, deadline_at=now + task_spec.time_limit))
            return ReconcileResult(_with_message(made, StatusReason(status.phase), task_spec.running_message))
    elif task.made and not job.retry_reason:
        gone = f"Job {job.name} was deleted before its result was seen"
        return TaskResult(False, f"{gone}: by a person, or by a ttlSecondsAfterFinished that a policy set")
    return _await_job(snapshot, task, task_spec, job, read)


def _await_job(
    snapshot: Snapshot, task: Task, task_spec: TaskSpec, job: JobView, read: RunJob
) -> ReconcileResult | TaskResult:
    """Wait for a Job that has not ended, or was not created yet, and say for what."""
    status, now, late = snapshot.status, snapshot.now, task.deadline_at
    if now >= late:
        unread = job.at < late and not (job.retry_reason or job.waits_for or refused_words(snapshot, "job"))
        if unread:
            return ReconcileResult(actions=(read,))
        idle = job.found and job.ours and not job.active
        return TaskResult(False, _late_words(job, task_spec), stop=idle)
    ours = job.found and job.ours
    if (waiting := _with_message(status, *_job_problem(snapshot, job, task_spec, late))) != status:
        return ReconcileResult(waiting)
    again = job.at + (READ_EVERY if ours or job.waits_for else TRY_AGAIN)
    return ReconcileResult(actions=(read,)) if now >= again else ReconcileResult(wake_at=min(again, late))


def refused_words(snapshot: Snapshot, kind: str) -> str:
    """The API server's message for a refusal of this kind that is due to be reported; empty where there is none."""
    found = (refusal for refusal in snapshot.refusals if refusal.kind == kind and refusal.is_due(snapshot.now))
    return next((refusal.words for refusal in found), "")


def _end_words(job: JobView) -> str:
    words = f"Job {job.name} {'is complete' if job.ended == 'Complete' else 'has failed'}"
    return f"{words}: {job.message}" if job.message else words


def _late_words(job: JobView, task_spec: TaskSpec) -> str:
    within = format_duration(task_spec.time_limit)
    if job.found and job.ours:
        left = "is not deleted" if job.active else "is suspended, because it had not begun"
        return f"Job {job.name} has not ended within {within} and {left}{f' ({job.why})' if job.why else ''}"
    other = "another Job has its name" if job.found else "the API server did not answer"
    why = job.retry_reason or job.waits_for or other
    return f"Job {job.name} could not be created within {within}: {why}"


def _job_problem(snapshot: Snapshot, job: JobView, task_spec: TaskSpec, late: datetime) -> tuple[StatusReason, str]:
    """What the run waits for: reason and message."""
    until = f"{late:%H:%M:%S}"
    if job.found and job.ours:
        if not job.why:
            return StatusReason(snapshot.status.phase), task_spec.running_message
        words = f"{task_spec.running_message}; Job {job.name} does not run: {job.why}. It is waited for until {until}"
        return StatusReason.JOB_NOT_RUNNING, words
    if job.waits_for:
        words = (
            f"Job {job.name} is not created yet, because {job.waits_for}: Jobs of a plan never run side by side. Its "
            f"end is waited for until {until}; suspend or delete that Job to go on sooner"
        )
        return StatusReason.JOB_WAITS, words
    if job.found:
        words = f"Job {snapshot.plan.namespace}/{job.name} exists and is not from this run: delete it to go on"
        return StatusReason.JOB_NOT_OURS, words
    return StatusReason.JOB_NOT_MADE, f"Job {job.name} could not be created and is tried again: {job.retry_reason}"


def _with_message(status: Status, reason: Reason, message: str) -> Status:
    """The status with this reason and message."""
    return change(status, reason=str(reason), message=message[:1024])


# ---- replicas ----------------------------------------------------------------------------------------------------


def run_scaling(
    snapshot: Snapshot, task: Task, side: WorkloadView | None, deployment: str
) -> ReconcileResult | TaskResult:
    """Scale a Deployment, and wait until it has the replicas."""
    status, now, late = snapshot.status, snapshot.now, task.deadline_at
    result = snapshot.scaled
    if result is None or result.name != deployment or result.at < task.since:
        words = refused_words(snapshot, "scale")
        if words and now >= late:
            return TaskResult(False, _not_scaled_words(task, deployment, words))
        return ReconcileResult(actions=(Scale(deployment, task.replicas),))
    if result.autoscaler:
        words = f"HorizontalPodAutoscaler {result.autoscaler} scales {deployment}, so the run does not scale it"
        return TaskResult(True, words, skipped=True)
    if side is not None and side.wanted == task.replicas:
        return TaskResult(True, f"{deployment} has {task.replicas} replicas")
    if now >= late:
        return TaskResult(False, _not_scaled_words(task, deployment, result.retry_reason))
    waiting = _with_message(status, StatusReason.NOT_SCALED, f"{deployment}: {result.retry_reason}")
    if result.retry_reason and waiting != status:
        return ReconcileResult(waiting)
    again = min(result.at + TRY_AGAIN, late)
    return (
        ReconcileResult(actions=(Scale(deployment, task.replicas),)) if now >= again else ReconcileResult(wake_at=again)
    )


def _not_scaled_words(task: Task, deployment: str, hindered: str) -> str:
    within = format_duration(task.deadline_at - task.since)
    words = f"{deployment} was not scaled to {task.replicas} replicas within {within}"
    return f"{words}: {hindered}" if hindered else words


# ---- predicates --------------------------------------------------------------------------------------------------


def run_query(snapshot: Snapshot, spec: PlanSpec, task: Task, observation: Observation) -> ReconcileResult | TaskResult:
    """Send the query of an assumption until it is decided or late."""
    status, result, late = snapshot.status, snapshot.query_result, task.deadline_at
    variables = variables_for(
        spec, namespace=snapshot.plan.namespace, plan=snapshot.plan.name, stage="", window=observation.window
    )
    query = render(observation.query, variables)
    ask = QueryOnce(task.name, ValueQuery(query), observation.is_)
    if result is None or result.name != task.name or result.at < task.since:
        if snapshot.now >= late + PASSES_WITHIN:
            return TaskResult(False, f"no answer within {format_duration(late - task.since)} to {query}")
        return ReconcileResult(actions=(ask,), wake_at=late + PASSES_WITHIN)
    value, bound = value_text(observation.is_, result.verdict), observation.is_.text
    if result.verdict.outcome is Outcome.PROVED:
        return TaskResult(True, f"{value} {bound} for {query}")
    if result.verdict.outcome is Outcome.REFUTED:
        return TaskResult(False, f"{value} is not {bound} for {query}")
    if result.at >= late:
        return TaskResult(
            False,
            f"undecided after {format_duration(late - task.since)} ({undecided_reason(result.verdict)}) for {query}",
        )
    waiting = _with_message(
        status, StatusReason.PROBING, f"{task.name} is undecided so far: {undecided_reason(result.verdict)}"
    )
    if waiting != status:
        return ReconcileResult(waiting)
    again = min(result.at + spec.interval, late)
    return ReconcileResult(actions=(ask,)) if snapshot.now >= again else ReconcileResult(wake_at=again)
