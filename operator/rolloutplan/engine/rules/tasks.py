"""What a run does beside moving weights, one task after another.

A task is written to the status before it is begun, and its Job has a name that follows from the status: whoever comes
after a crash finds what was begun, and neither begins it again nor passes it over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from rolloutplan.engine.jobs import job_name, manifest
from rolloutplan.engine.look import PASSES_WITHIN, JobView, Look, WorkloadView
from rolloutplan.engine.move import move
from rolloutplan.engine.narrate import doubt, value_text
from rolloutplan.engine.queries import ValueQuery
from rolloutplan.engine.step import Observe, RunJob, Scale, Step
from rolloutplan.engine.table import Cause
from rolloutplan.engine.words import render, words_for
from rolloutplan.judge.verdict import Outcome
from rolloutplan.plan.changes import change, change_task
from rolloutplan.plan.quantities import format_duration
from rolloutplan.plan.reasons import Reason, StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Status, Task
from rolloutplan.plan.tasks import JobTemplate, Observation

SCALE_NEW = "scale new"
"""The name of that task, which no Job can have."""
SCALE_OLD = "scale old"
LEFT_OLD = "leave old"
"""What is done instead, where an autoscaler scales the old side."""
SCALED_WITHIN = timedelta(minutes=5)
READ_EVERY = timedelta(seconds=2)
"""How often a Job is read while it runs."""
TRY_AGAIN = timedelta(seconds=10)
"""How often a Job is tried that cannot be made now."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task has ended, with the words for it."""

    good: bool
    words: str
    refused: bool = False
    """Whether it was never begun, since the API server takes no such Job."""
    left: bool = False
    """Whether it was left to an autoscaler."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task as the plan has it: how long it may take, and what is said while it is under way."""

    kind: Literal["Assumption", "Expand", "Scale", "Contract"]
    name: str
    within: timedelta
    says: str
    template: JobTemplate | None = None
    replicas: int = 0


def job_refused(look: Look, ended: Ended) -> Status:
    """A Job that the API server does not take ends the start, until the plan has another one."""
    return move(look, Cause.REFUSED, ended.words[:1024], reason=StatusReason.JOB_REFUSED)


def added(status: Status, spec: PlanSpec) -> str:
    """What this run has added and nobody takes away, in words."""
    jobs = [job.name for job in spec.expand.jobs if job.name in status.done]
    parts = [f"Job {', '.join(jobs)} is done"] if jobs else []
    parts += [f"{spec.new.deployment} keeps its size"] if SCALE_NEW in status.done else []
    return f", what was added stays ({'; '.join(parts)})" if parts else ""


def under_way(look: Look, wanted: Wanted) -> Task | None:
    """The task under way, if it is this one.

    One that a leader before this one has begun, and made nothing of, is begun anew: it has its whole time from then on.
    """
    task = look.status.task
    if task is None or task.name != wanted.name or (not task.made and look.status.epoch != look.epoch):
        return None
    return task


def begun(look: Look, wanted: Wanted, attempt: int = 1) -> Status:
    """The status in which a task is intended; nothing of it is done yet."""
    status = look.status
    task = Task(
        kind=wanted.kind,
        name=wanted.name,
        job=job_name(look.plan.name, status.run, wanted.name, attempt) if wanted.template else "",
        attempt=attempt,
        replicas=wanted.replicas,
        since=look.now,
        deadline_at=look.now + wanted.within,
    )
    return _said(change(status, task=task, epoch=look.epoch), StatusReason(status.phase), wanted.says)


def old_side_gone(look: Look) -> str:
    """Why the traffic cannot go back to the old side, which the run has scaled down; empty where it can."""
    old, new = look.old, look.new
    if not _made_smaller(look) or (old and new and min(old.ready, old.wanted) >= new.wanted):
        return ""
    name, needed = old.name if old else "of the old side", f" to {new.wanted}" if new else ""
    ready = f"{old.ready} ready pods" if old else "no pods"
    return (
        f"the old side was scaled down at the end of the run and has {ready}: scale Deployment {name} up{needed} "
        "first, and say it again when its pods are ready"
    )


def _made_smaller(look: Look) -> bool:
    task, seen = look.status.task, look.scaled
    if task is None or task.name != SCALE_OLD:
        return SCALE_OLD in look.status.done
    asked = seen is not None and seen.at >= task.since and not (seen.hindered or seen.autoscaler)
    return asked or look.old is None or look.old.wanted <= task.replicas


# ---- Jobs --------------------------------------------------------------------------------------------------------


def job_run(look: Look, task: Task, wanted: Wanted) -> Step | Ended:
    """Make the Job of the task under way, once, and wait for its end until the deadline."""
    assert wanted.template is not None
    status, now, late = look.status, look.now, task.deadline_at
    make = not task.made and now < late
    read = RunJob(task.job, manifest(look.plan, status.run, task, wanted.template), make)
    job = look.job if look.job is not None and look.job.name == task.job and look.job.at >= task.since else None
    if job is None:
        words = refused_words(look, "job")
        if words and now >= late:
            return Ended(False, _late_words(JobView(task.job, now, hindered=words), task))
        return Step(actions=(read,))
    if job.refused:
        fix = "correct its template"
        return Ended(False, f"the API server takes no such Job for {task.name}: {job.refused}: {fix}", refused=True)
    if job.found and job.ours:
        if job.ended:
            return Ended(job.ended == "Complete", _end_words(job))
        if not task.made:
            made = change(status, task=change_task(task, made=True))
            return Step(_said(made, StatusReason(status.phase), wanted.says))
    elif task.made and not job.hindered:
        return Ended(False, f"Job {job.name} is gone, and its end was not seen")
    if now >= late:
        unread = job.at < late and not (job.hindered or refused_words(look, "job"))
        return Step(actions=(read,)) if unread else Ended(False, _late_words(job, task))
    ours = job.found and job.ours
    if not ours and (waits := _said(status, *_stands(look, job))) != status:
        return Step(waits)
    again = job.at + (READ_EVERY if ours else TRY_AGAIN)
    return Step(actions=(read,)) if now >= again else Step(wake_at=min(again, late))


def refused_words(look: Look, kind: str) -> str:
    """The API server's words for what it refuses of this kind, and has not just begun to; empty where it does not."""
    found = (refusal for refusal in look.refusals if refusal.kind == kind and refusal.told_at(look.now))
    return next((refusal.words for refusal in found), "")


def _end_words(job: JobView) -> str:
    words = f"Job {job.name} {'is complete' if job.ended == 'Complete' else 'has failed'}"
    return f"{words}: {job.message}" if job.message else words


def _late_words(job: JobView, task: Task) -> str:
    within = format_duration(task.deadline_at - task.since)
    if job.found and job.ours:
        return f"Job {job.name} has not ended within {within}, and is left as it is"
    why = job.hindered or ("another Job has its name" if job.found else "the API server did not answer")
    return f"Job {job.name} could not be made within {within}: {why}"


def _stands(look: Look, job: JobView) -> tuple[StatusReason, str]:
    """Why a Job of ours could not be made yet, as reason and words."""
    if job.found:
        words = f"Job {look.plan.namespace}/{job.name} exists and is not of this run: delete it, and this goes on"
        return StatusReason.JOB_NOT_OURS, words
    return StatusReason.JOB_NOT_MADE, f"Job {job.name} is not made yet, and tried again: {job.hindered}"


def _said(status: Status, reason: Reason, message: str) -> Status:
    """The status with these words."""
    return change(status, reason=str(reason), message=message[:1024])


# ---- replicas ----------------------------------------------------------------------------------------------------


def resized(look: Look, task: Task, side: WorkloadView | None, deployment: str) -> Step | Ended:
    """Give a Deployment its replicas, and wait until it is seen to have them."""
    status, now, late = look.status, look.now, task.deadline_at
    seen = look.scaled
    if seen is None or seen.name != deployment or seen.at < task.since:
        words = refused_words(look, "scale")
        if words and now >= late:
            return Ended(False, _not_resized(task, deployment, words))
        return Step(actions=(Scale(deployment, task.replicas),))
    if seen.autoscaler:
        words = f"HorizontalPodAutoscaler {seen.autoscaler} scales {deployment}: it is left to that"
        return Ended(True, words, left=True)
    if side is not None and side.wanted == task.replicas:
        return Ended(True, f"{deployment} has {task.replicas} replicas")
    if now >= late:
        return Ended(False, _not_resized(task, deployment, seen.hindered))
    waits = _said(status, StatusReason.NOT_SCALED, f"{deployment}: {seen.hindered}")
    if seen.hindered and waits != status:
        return Step(waits)
    again = min(seen.at + TRY_AGAIN, late)
    return Step(actions=(Scale(deployment, task.replicas),)) if now >= again else Step(wake_at=again)


def _not_resized(task: Task, deployment: str, hindered: str) -> str:
    within = format_duration(task.deadline_at - task.since)
    words = f"{deployment} was not given {task.replicas} replicas within {within}"
    return f"{words}: {hindered}" if hindered else words


# ---- predicates --------------------------------------------------------------------------------------------------


def observed(look: Look, spec: PlanSpec, task: Task, asked: Observation) -> Step | Ended:
    """Ask for what is to be observed until it is decided."""
    status, seen, late = look.status, look.observed, task.deadline_at
    words = words_for(spec, namespace=look.plan.namespace, plan=look.plan.name, stage="", window=asked.window)
    query = render(asked.query, words)
    ask = Observe(task.name, ValueQuery(query), asked.is_)
    if seen is None or seen.name != task.name or seen.at < task.since:
        if look.now >= late + PASSES_WITHIN:
            return Ended(False, f"no answer within {format_duration(late - task.since)} to {query}")
        return Step(actions=(ask,), wake_at=late + PASSES_WITHIN)
    value, bound = value_text(asked.is_, seen.verdict), asked.is_.text
    if seen.verdict.outcome is Outcome.PROVED:
        return Ended(True, f"{value} {bound} of {query}")
    if seen.verdict.outcome is Outcome.REFUTED:
        return Ended(False, f"{value} is not {bound} of {query}")
    if seen.at >= late:
        return Ended(False, f"undecided after {format_duration(late - task.since)} ({doubt(seen.verdict)}) of {query}")
    waits = _said(status, StatusReason.PROBING, f"{task.name} is undecided so far: {doubt(seen.verdict)}")
    if waits != status:
        return Step(waits)
    again = min(seen.at + spec.interval, late)
    return Step(actions=(ask,)) if look.now >= again else Step(wake_at=again)
