"""Why a Job that has not ended does not run: suspended, no pod is let in, a pod that cannot start, or a sidecar.

cluster/jobs.py asks for it while a run waits for its Job; the words go into the status of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.cluster.pods import read as read_pods

_QUEUE: Final = "kueue.x-k8s.io/queue-name"
_PODS_WITHIN: Final = timedelta(seconds=4)
"""How long the Job controller may take for the first pod of a Job."""


def is_suspended(job: Mapping[str, Any]) -> bool:
    return safe_get.value(job, "spec", "suspend") is True


def queue_of(job: Mapping[str, Any]) -> str:
    """The queue that decides when a Job starts; empty where none does."""
    name = safe_get.text(job, "metadata", "labels", _QUEUE)
    return f"Kueue (queue {name})" if name else ""


def active_pods(job: Mapping[str, Any]) -> int:
    """The pods of a Job that have not ended, with those that are being deleted."""
    return safe_get.number(job, "status", "active") + safe_get.number(job, "status", "terminating")


async def why_not_running(api: ResourceClient, namespace: str, job: Mapping[str, Any], pods: str, at: datetime) -> str:
    """Why a Job that has not ended does not run; empty where it does, or has just been created.

    `pods` is the label selector of its pods. Raises ApiError.
    """
    if is_suspended(job):
        by = queue_of(job)
        return f"it is suspended{f' by {by}' if by else ''} (spec.suspend), and starts when that is taken away"
    if safe_get.number(job, "status", "ready"):
        return ""
    listed = await api.list(paths.pods(namespace), labelSelector=pods)
    if found := safe_get.items(listed, "items"):
        return _lingering(found) or read_pods({"items": [pod for pod in found if not _is_over(pod)]}, ()).worst
    created = safe_get.instant(job, "metadata", "creationTimestamp")
    words = await _not_let_in(api, namespace, safe_get.text(job, "metadata", "name"))
    if words or created is None or at < created + _PODS_WITHIN:
        return words
    return "its controller has created no pod for it so far"


def has_started(pod: object) -> bool:
    """Whether a container of a pod runs."""
    kinds = ("initContainerStatuses", "containerStatuses")
    return any(_in_state(safe_get.items(pod, "status", kind), "running") for kind in kinds)


def _is_over(pod: object) -> bool:
    return safe_get.text(pod, "status", "phase") in ("Succeeded", "Failed")


def _lingering(pods: Sequence[Any]) -> str:
    """The pod whose containers have ended but for some: a sidecar keeps it alive, so the Job does not complete."""
    for pod in pods:
        containers = safe_get.items(pod, "status", "containerStatuses")
        ended, runs = _in_state(containers, "terminated"), _in_state(containers, "running")
        if ended and runs and len(ended) + len(runs) == len(containers):
            return (
                f"container {', '.join(ended)} has ended and {', '.join(runs)} has not, so the Job cannot complete: "
                "make that one a native sidecar (an init container with restartPolicy Always), or leave it out "
                f"(pod {safe_get.text(pod, 'metadata', 'name')})"
            )
    return ""


def _in_state(containers: Sequence[Any], state: str) -> list[str]:
    found = (each for each in containers if safe_get.value(each, "state", state) is not None)
    return [safe_get.text(each, "name") for each in found]


async def _not_let_in(api: ResourceClient, namespace: str, name: str) -> str:
    """Why the API server lets no pod of the Job in (a quota, a webhook, PodSecurity), from the Job's newest Event."""
    chosen = f"involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate"
    try:
        listed = await api.list(paths.path(paths.CORE_EVENTS, namespace), fieldSelector=chosen)
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return f"it has no pod, and its Events cannot be read: {error.message}"
    newest = max(safe_get.items(listed, "items"), key=_last_seen, default=None)
    return f"FailedCreate: {safe_get.text(newest, 'message')}" if newest is not None else ""


def _last_seen(event: object) -> str:
    return safe_get.text(event, "lastTimestamp") or safe_get.text(event, "eventTime")
