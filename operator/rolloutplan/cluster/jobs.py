"""Jobs: creates them once, reads them while they run, and reads the termination message of their last pod.

A `RunJob` action comes from the engine through the executor; the `JobView` goes back as its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal

from rolloutplan.api import safe_get
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.engine.model.actions import RunJob
from rolloutplan.engine.model.snapshot import JobView

_WRONG: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses that refuse the Job itself: the same request would be refused again."""
_MARKS: Final = "rolloutplan.dev/"


async def run(api: ResourceClient, namespace: str, wanted: RunJob, at: datetime) -> JobView:
    """Read a Job, and create it where there is none. Raises ApiError where its state is unknown."""
    found = await _read(api, namespace, wanted.name)
    if found is None and wanted.make:
        try:
            found = await api.create(paths.job(namespace), wanted.manifest)
        except ApiError as error:
            if error.status in _WRONG:
                return JobView(wanted.name, at, refused=error.message or str(error))
            if error.reason != "AlreadyExists":
                raise
            found = await _read(api, namespace, wanted.name)
    if found is None:
        return JobView(wanted.name, at)
    ended, words = end_of(found)
    ours = is_ours(found, wanted.manifest)
    if ended and ours:
        chosen = f"batch.kubernetes.io/job-name={wanted.name}"
        words = last_words(await api.list(paths.pods(namespace), labelSelector=chosen)) or words
    return JobView(wanted.name, at, found=True, ours=ours, ended=ended, message=words[:512])


async def _read(api: ResourceClient, namespace: str, name: str) -> Mapping[str, Any] | None:
    try:
        return await api.get(paths.job(namespace, name))
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


def is_ours(raw: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether a Job is the expected one: of the same plan object, run and task."""
    wanted = manifest["metadata"]
    owners = {safe_get.text(owner, "uid") for owner in safe_get.items(raw, "metadata", "ownerReferences")}
    marks = {key: value for key, value in wanted["labels"].items() if key.startswith(_MARKS)}
    return (
        wanted["ownerReferences"][0]["uid"] in owners
        and marks.items() <= safe_get.mapping(raw, "metadata", "labels").items()
    )


def end_of(raw: Mapping[str, Any]) -> tuple[Literal["", "Complete", "Failed"], str]:
    """How a Job has ended, and its controller's message for a failure; both empty while it runs."""
    for condition in safe_get.items(raw, "status", "conditions"):
        if safe_get.text(condition, "status") == "True":
            match safe_get.text(condition, "type"):
                case "Complete":
                    return "Complete", ""
                case "Failed":
                    said = (safe_get.text(condition, "reason"), safe_get.text(condition, "message"))
                    return "Failed", ": ".join(part for part in said if part)
    return "", ""


def last_words(raw: Mapping[str, Any]) -> str:
    """The termination message of the newest pod in a list that has one."""
    newest_first = sorted(
        safe_get.items(raw, "items"), key=lambda pod: safe_get.text(pod, "metadata", "creationTimestamp"), reverse=True
    )
    for pod in newest_first:
        for container in safe_get.items(pod, "status", "containerStatuses"):
            if message := safe_get.text(container, "state", "terminated", "message").strip():
                return message
    return ""
