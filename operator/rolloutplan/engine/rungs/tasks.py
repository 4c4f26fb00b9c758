"""What a run does beside moving weights, one task after another.

A task is written to the status before it is begun, and its Job has a name that follows from the status: whoever comes
after a crash finds what was begun, and neither begins it again nor passes it over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rolloutplan.engine.jobs import JOB_NOT_OURS, JOB_REFUSED, job_name, manifest
from rolloutplan.engine.look import JobView, Look
from rolloutplan.engine.move import move
from rolloutplan.engine.narrate import Seen, doubt, value_text
from rolloutplan.engine.step import Observe, RunJob, Step
from rolloutplan.engine.table import Cause
from rolloutplan.engine.words import render, words_for
from rolloutplan.judge.verdict import Outcome
from rolloutplan.plan.quantities import format_duration
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Status, Task
from rolloutplan.plan.tasks import Assumption, JobTemplate, Observation

READ_EVERY = timedelta(seconds=2)
"""How often a Job is read while it runs."""
TRY_AGAIN = timedelta(seconds=10)
"""How often a Job is tried that cannot be made now."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task has ended, with the words for it."""

    good: bool
    words: str


def probing(look: Look, spec: PlanSpec) -> Step:
    """Probe what the plan assumes, the most dangerous first, until one is false or all are true."""
    status = look.status
    assumption = next((each for each in spec.beliefs() if each.name not in status.done), None)
    if assumption is None:
        return Step(move(look, Cause.PROBED, "all that it assumes is true", reason="Expanding", task=None))
    task = status.task
    if task is None or task.name != assumption.name or _begun_by_another(look, task):
        return Step(_begun(look, assumption))
    if assumption.job is not None:
        found = job_run(look, task, assumption.job.template, _probing_words(task, assumption))
    else:
        assert assumption.predicate is not None
        found = _observed(look, spec, task, assumption.predicate)
    return Step(_probed(look, assumption, found)) if isinstance(found, Ended) else found


def _begun_by_another(look: Look, task: Task) -> bool:
    """Whether a leader before this one has begun it and made nothing of it: it has its whole time from now on."""
    return not task.made and look.status.epoch != look.epoch


def _begun(look: Look, assumption: Assumption) -> Status:
    status, job = look.status, ""
    if assumption.job is not None:
        job = job_name(look.plan.name, status.run, assumption.name)
    task = Task(
        kind="Assumption",
        name=assumption.name,
        job=job,
        since=look.now,
        deadline_at=look.now + assumption.deadline,
    )
    words = {"reason": "Probing", "message": _probing_words(task, assumption)}
    return status.model_copy(update={"task": task, "epoch": look.epoch, **words})


def _probing_words(task: Task, assumption: Assumption) -> str:
    how, within = f"Job {task.job}" if task.job else "its predicate", format_duration(assumption.deadline)
    return f"assumption {task.name} is probed by {how}, for {within} at most: {assumption.belief}"[:1024]


def _probed(look: Look, assumption: Assumption, ended: Ended) -> Status:
    status, seen = look.status, Seen(assumption.belief, ended.words)
    if ended.good:
        words = f"assumption {assumption.name} is true: {ended.words}"
        done = (*status.done, assumption.name)
        return move(look, Cause.BELIEVED, words[:1024], reason="Probing", seen=seen, task=None, done=done)
    words = (
        f"assumption {assumption.name} is not known to be true ({assumption.belief}): {ended.words}; no weight was "
        "moved: change what it is about or the plan, or say `retry`, and a new run starts"
    )[:1024]
    return move(look, Cause.DISBELIEVED, words, reason="AssumptionFalse", seen=seen, task=None, failed=words)


# ---- Jobs --------------------------------------------------------------------------------------------------------


def job_run(look: Look, task: Task, template: JobTemplate, words: str) -> Step | Ended:
    """Make the Job of the task under way, once, and wait for its end until the deadline; `words` are said meanwhile."""
    status, now, late = look.status, look.now, task.deadline_at
    make = not task.made and now < late
    read = RunJob(task.job, manifest(look.plan, status.run, task.name, template), make)
    job = look.job if look.job is not None and look.job.name == task.job and look.job.at >= task.since else None
    if job is None:
        return Step(status, (read,))
    if job.refused:
        refused = f"the API server takes no Job as the plan has it for {task.name}: {job.refused}: correct its template"
        return Step(move(look, Cause.REFUSED, refused[:1024], reason=JOB_REFUSED))
    if job.found and job.ours:
        if job.ended:
            return Ended(job.ended == "Complete", _end_words(job))
        if not task.made:
            made = task.model_copy(update={"made": True})
            return Step(_said(status, str(status.phase), words, task=made))
    elif task.made:
        return Ended(False, f"Job {job.name} is gone, and its end was not seen")
    if now >= late:
        return Step(status, (read,)) if job.at < late and not job.hindered else Ended(False, _late_words(job, task))
    waits = _said(status, *_stands(look, job)) if not (job.found and job.ours) else status
    again = job.at + (READ_EVERY if job.found and job.ours else TRY_AGAIN)
    if waits is not status:
        return Step(waits)
    return Step(status, (read,)) if now >= again else Step(status, wake_at=min(again, late))


def _end_words(job: JobView) -> str:
    words = f"Job {job.name} {'is complete' if job.ended == 'Complete' else 'has failed'}"
    return f"{words}: {job.message}" if job.message else words


def _late_words(job: JobView, task: Task) -> str:
    within = format_duration(task.deadline_at - task.since)
    if job.found and job.ours:
        return f"Job {job.name} has not ended within {within}, and is left as it is"
    why = job.hindered or ("another Job has its name" if job.found else "the API server did not answer")
    return f"Job {job.name} could not be made within {within}: {why}"


def _stands(look: Look, job: JobView) -> tuple[str, str]:
    """Why a Job of ours could not be made yet, as reason and words."""
    if job.found:
        words = f"Job {look.plan.namespace}/{job.name} exists and is not of this run: delete it, and this goes on"
        return JOB_NOT_OURS, words
    return "JobNotMade", f"Job {job.name} is not made yet, and tried again: {job.hindered}"


def _said(status: Status, reason: str, message: str, **changes: object) -> Status:
    """The status with these words; the same where nothing is new."""
    news = {"reason": reason, "message": message[:1024], **changes}
    return (
        status
        if all(getattr(status, name) == value for name, value in news.items())
        else status.model_copy(update=news)
    )


# ---- predicates --------------------------------------------------------------------------------------------------


def _observed(look: Look, spec: PlanSpec, task: Task, asked: Observation) -> Step | Ended:
    """Ask for what is to be observed until it is decided."""
    status, seen, late = look.status, look.observed, task.deadline_at
    words = words_for(spec, namespace=look.plan.namespace, plan=look.plan.name, stage="", window=asked.window)
    query = render(asked.query, words)
    ask = Observe(task.name, query, asked.is_)
    if seen is None or seen.name != task.name or seen.at < task.since:
        return Step(status, (ask,))
    value, bound = value_text(asked.is_, seen.verdict), asked.is_.text
    if seen.verdict.outcome is Outcome.PROVED:
        return Ended(True, f"{value} {bound} of {query}")
    if seen.verdict.outcome is Outcome.REFUTED:
        return Ended(False, f"{value} is not {bound} of {query}")
    if seen.at >= late:
        return Ended(False, f"undecided after {format_duration(late - task.since)} ({doubt(seen.verdict)}) of {query}")
    waits = _said(status, "Probing", f"{task.name} is undecided so far: {doubt(seen.verdict)}")
    again = min(seen.at + spec.interval, late)
    if waits is not status:
        return Step(waits)
    return Step(status, (ask,)) if look.now >= again else Step(status, wake_at=again)
