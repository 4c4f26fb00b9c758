"""Names and manifests of the Jobs of a run.

The plan object, run, task and attempt determine the name: no Job is created twice, and no two plans mean the same one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.status import Status, Task
from rolloutplan.api.tasks import JobTemplate
from rolloutplan.engine.model.plan_view import PlanView

GROUP: Final = "rolloutplan.dev"
PLAN: Final = f"{GROUP}/plan"
RUN: Final = f"{GROUP}/run"
TASK: Final = f"{GROUP}/task"
"""The labels of a Job and of its pods."""
SCALE_OLD: Final = "scale old"
"""The name of the task that scales the old side down. It has a space, so no Job can have it."""
LONGEST_NAME: Final = 63
"""The Job's name is a label of its pods."""
_MARK_DIGITS: Final = 8
"""Two names that read the same have the same mark once in 4 billion times; a namespace has few that read the same."""


def is_scaling_old(status: Status) -> bool:
    """Whether the run has scaled the old side down, or is about to."""
    return SCALE_OLD in status.completed_tasks or (status.task is not None and status.task.name == SCALE_OLD)


def job_name(plan: PlanView, run: int, task: str, attempt: int = 1) -> str:
    """The name of the Job for a task of a run: at most 63 characters of a DNS label.

    In front are plan, run, task and attempt, to be read; plan and task are cut where they are too long. A hyphen joins
    them, and they may have hyphens themselves: run 1 of plan `a` with task `2-b` reads as run 2 of plan `a-1` with task
    `b`. The mark at the end, a hash of all of them and of the plan's uid, tells the two apart.
    """
    numbers = f"-{run}-", "" if attempt == 1 else f"-{attempt}"
    whole = json.dumps([plan.uid, plan.name, run, task, attempt])
    mark = f"-{hashlib.sha256(whole.encode()).hexdigest()[:_MARK_DIGITS]}"
    room = LONGEST_NAME - len(mark) - sum(map(len, numbers))
    shown = task[: max(room // 2, room - len(plan.name))]
    front = plan.name[: room - len(shown)].replace(".", "-")
    return f"{front}{numbers[0]}{shown}{numbers[1]}{mark}"


def manifest(plan: PlanView, run: int, task: Task, template: JobTemplate, deadline: timedelta) -> dict[str, Any]:
    """The Job for a task. It is owned by its plan, and labelled with plan, run and task, as its pods are.

    Its pods are stopped at the plan's deadline at the latest, and get no token of their ServiceAccount unless the
    template asks for one.
    """
    marks = {PLAN: plan.name, RUN: str(run), TASK: task.name}
    owner = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "RolloutPlan", "name": plan.name, "uid": plan.uid}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": task.job,
            "namespace": plan.namespace,
            "labels": {**template.metadata.labels, **marks},
            "annotations": dict(template.metadata.annotations),
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {
            "activeDeadlineSeconds": math.ceil(deadline.total_seconds()),
            **template.spec,
            "template": _pods(template.spec["template"], marks),
        },
    }


def _pods(template: Mapping[str, Any], marks: Mapping[str, str]) -> dict[str, Any]:
    """The template of the pods with our labels, which find the pods when their Job is gone."""
    labels = {**safe_get.mapping(template, "metadata", "labels"), **marks}
    spec = safe_get.mapping(template, "spec")
    token = spec.get("automountServiceAccountToken")
    spec = {**spec, "automountServiceAccountToken": False if token is None else token}
    return {**template, "metadata": {**safe_get.mapping(template, "metadata"), "labels": labels}, "spec": spec}
