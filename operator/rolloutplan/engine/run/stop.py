"""Ends what a run had under way at its end: its Job is suspended, and a late scaling of the old side is undone.

A request that was sent before the end of the run may arrive after it. So the task stays in the status as a task of the
kind Stop until it is certain that nothing of it goes on.
"""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.status import Task
from rolloutplan.engine.model.actions import Action, Scale, StopJobs
from rolloutplan.engine.model.snapshot import Snapshot

ARRIVES_WITHIN = timedelta(minutes=1)
"""How long a scaling that was sent before the run ended may take to arrive, and how long suspending is tried."""
CREATED_WITHIN = timedelta(seconds=10)
"""The same for a Job that nobody has seen so far."""
AGAIN_AFTER = timedelta(seconds=2)


def stop_task(snapshot: Snapshot) -> Task | None:
    """The task that ends the current one; None where there is nothing to end."""
    task = snapshot.status.task
    if task is None or task.kind == "Stop" or not (task.job or task.replicas_before):
        return task if task is not None and task.kind == "Stop" else None
    return Task(
        kind="Stop",
        name=task.name,
        job=task.job,
        made=task.made,
        replicas=task.replicas,
        replicas_before=task.replicas_before,
        since=snapshot.now,
        deadline_at=snapshot.now + ARRIVES_WITHIN,
    )


def stop_former(snapshot: Snapshot) -> Task | None:
    """The same, or a task that suspends the Jobs of former runs, if the plan has any Jobs."""
    status, spec = snapshot.status, snapshot.plan.written
    if status.task is not None or not status.run or (spec is not None and not spec.has_jobs):
        return stop_task(snapshot)
    return Task(kind="Stop", name="Jobs", since=snapshot.now, deadline_at=snapshot.now + ARRIVES_WITHIN)


def stop_actions(snapshot: Snapshot, task: Task | None) -> tuple[Action, ...]:
    """What is to be done for a Stop task now."""
    if task is None or task.kind != "Stop":
        return ()
    stopped, scaled, old = snapshot.jobs_stopped, snapshot.scaled, snapshot.old
    asked = stopped is not None and stopped.at >= task.since
    again = stopped is None or snapshot.now >= stopped.at + AGAIN_AFTER
    due = not asked or (again and not is_stopped(snapshot, task))
    actions: list[Action] = [StopJobs()] if snapshot.grants.jobs and due else []
    if not snapshot.grants.scaling:
        return tuple(actions)
    if old is None or not task.replicas_before or old.wanted != task.replicas or old.wanted >= task.replicas_before:
        return tuple(actions)
    if scaled is None or scaled.at < task.since or snapshot.now >= scaled.at + AGAIN_AFTER:
        actions.append(Scale(old.name, task.replicas_before))
    return tuple(actions)


def is_stopped(snapshot: Snapshot, task: Task) -> bool:
    """Whether it is certain that no Job of a Stop task runs on, or nothing more can be done about it."""
    stopped = snapshot.jobs_stopped
    if snapshot.now >= task.deadline_at or not snapshot.grants.jobs:
        return True
    if stopped is None or stopped.at < task.since:
        return False
    seen = not task.job or task.made or task.job in stopped.names
    return seen or stopped.at >= task.since + CREATED_WITHIN


def is_over(snapshot: Snapshot, task: Task) -> bool:
    """Whether nothing is left to do for a Stop task."""
    scaled = not task.replicas_before or not snapshot.grants.scaling or snapshot.now >= task.deadline_at
    return is_stopped(snapshot, task) and scaled
