"""The Jobs of a run. Plan, run and task alone determine a Job's name, so that none is made twice."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from rolloutplan.api.status import Task
from rolloutplan.api.tasks import JobTemplate
from rolloutplan.engine.model.plan_view import PlanView

GROUP: Final = "rolloutplan.dev"
LONGEST_NAME: Final = 63
"""The Job's name is a label of its pods."""


def job_name(plan: str, run: int, task: str, attempt: int = 1) -> str:
    """The name of the Job that does a task in a run; one that is too long ends in a hash of the whole."""
    whole = f"{plan}-{run}-{task}" if attempt == 1 else f"{plan}-{run}-{task}-{attempt}"
    if len(whole) <= LONGEST_NAME:
        return whole
    mark = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole[: LONGEST_NAME - 9].rstrip('-.')}-{mark}"


def manifest(plan: PlanView, run: int, task: Task, template: JobTemplate) -> dict[str, Any]:
    """The Job that does a task: it goes with its plan, and says of which run it is."""
    marks = {f"{GROUP}/plan": plan.name, f"{GROUP}/run": str(run), f"{GROUP}/task": task.name}
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
        "spec": template.spec,
    }
