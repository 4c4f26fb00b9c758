"""Jobs: creates them once, reads them while they run, suspends them, and never lets two of one plan run side by side.

A `RunJob` or `StopJobs` action comes from the engine through the executor; the `JobView` or `JobsStopped` goes back as
its result. No Job is deleted. cluster/job_faults.py says why a Job does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal

from rolloutplan.api import safe_get
from rolloutplan.cluster import accounts, paths
from rolloutplan.cluster.client import ApiError, ResourceClient, if_there
from rolloutplan.cluster.job_faults import active_pods, has_started, is_suspended, queue_of, why_not_running
from rolloutplan.engine.model.actions import RunJob
from rolloutplan.engine.model.snapshot import JobsStopped, JobView
from rolloutplan.engine.run.jobs import PLAN, RUN, TASK

_WRONG: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses that refuse the Job itself: the same request would be refused again."""
_MARKS: Final = "rolloutplan.dev/"
_JOB_OF_POD: Final = "batch.kubernetes.io/job-name"


async def run(
    api: ResourceClient,
    namespace: str,
    wanted: RunJob,
    at: datetime,
    still_wanted: Callable[[], bool] = lambda: True,
    *,
    own_account: str = "",
) -> JobView:
    """Read a Job, and create it where there is none, no other Job of the plan runs, and its ServiceAccount allows it.

    `still_wanted` is asked right before the Job is created: a run may have ended meanwhile. Raises ApiError where the
    state of the Job is unknown.
    """
    found = await _read(api, namespace, wanted.name)
    if found is None and wanted.make:
        made = await _create(api, namespace, wanted, at, still_wanted, own_account)
        if made is not None:
            return made
        found = await _read(api, namespace, wanted.name)
    if found is None:
        return JobView(wanted.name, at)
    words, why = end_of(found)[1], ""
    if is_ours(found, wanted.manifest):
        pods = f"{_JOB_OF_POD}={wanted.name}"
        if end_of(found)[0]:
            words = last_words(await api.list(paths.pods(namespace), labelSelector=pods)) or words
        else:
            why = await why_not_running(api, namespace, found, pods, at)
    return _view(found, wanted, at, words, why)


async def _create(
    api: ResourceClient,
    namespace: str,
    wanted: RunJob,
    at: datetime,
    still_wanted: Callable[[], bool],
    own_account: str,
) -> JobView | None:
    """Create a Job, or say why not now; None where one of this name exists by now."""
    if others := await _others_running(api, namespace, wanted):
        return JobView(wanted.name, at, waits_for=others)
    account = safe_get.text(wanted.manifest, "spec", "template", "spec", "serviceAccountName")
    if problem := await accounts.problem(api, namespace, account, own_account=own_account):
        return JobView(wanted.name, at, retry_reason=problem)
    if not still_wanted():
        return JobView(wanted.name, at)
    try:
        return _view(await api.create(paths.job(namespace), wanted.manifest), wanted, at)
    except ApiError as error:
        if error.status in _WRONG:
            return JobView(wanted.name, at, refused=error.message or str(error))
        if error.reason != "AlreadyExists":
            raise
    return None


def _view(found: Mapping[str, Any], wanted: RunJob, at: datetime, words: str = "", why: str = "") -> JobView:
    ended, ours = end_of(found)[0], is_ours(found, wanted.manifest)
    active = active_pods(found)
    return JobView(
        wanted.name, at, found=True, ours=ours, ended=ended, message=words[:512], why=why[:512], active=active
    )


async def suspend(api: ResourceClient, namespace: str, plan: str, at: datetime) -> JobsStopped:
    """Suspend all Jobs of a plan that have not ended: their controller deletes their pods. Raises ApiError."""
    names = []
    for job in await _jobs(api, namespace, plan):
        name = safe_get.text(job, "metadata", "name")
        if end_of(job)[0] or not {RUN, TASK} <= safe_get.mapping(job, "metadata", "labels").keys():
            continue
        names.append(name)
        await _suspend(api, namespace, job)
    return JobsStopped(at, tuple(names))


async def _suspend(api: ResourceClient, namespace: str, job: Mapping[str, Any]) -> None:
    if is_suspended(job):
        return
    path = paths.job(namespace, safe_get.text(job, "metadata", "name"))
    await if_there(api.patch(path, {"spec": {"suspend": True}}))


async def _jobs(api: ResourceClient, namespace: str, plan: str) -> list[Mapping[str, Any]]:
    listed = await api.list(paths.job(namespace), labelSelector=f"{PLAN}={plan}")
    found = (job for job in safe_get.items(listed, "items") if isinstance(job, Mapping))
    return [job for job in found if safe_get.text(job, "metadata", "labels", PLAN) == plan]


async def _others_running(api: ResourceClient, namespace: str, wanted: RunJob) -> str:
    """What still runs of other Jobs of the plan, also of a plan of this name that was deleted; empty where nothing.

    One of which no container runs (no image, a quota, no pod yet) is suspended, so that it cannot begin later.
    """
    plan = wanted.manifest["metadata"]["labels"][PLAN]
    jobs = [job for job in await _jobs(api, namespace, plan) if safe_get.text(job, "metadata", "name") != wanted.name]
    going = [(job, words) for job in jobs if (words := still_running(job))]
    chosen = f"{PLAN}={plan}"
    pods = safe_get.items(await api.list(paths.pods(namespace), labelSelector=chosen), "items")
    for job, _ in going:
        if not any(_job_of(pod) == safe_get.text(job, "metadata", "name") and has_started(pod) for pod in pods):
            await _suspend(api, namespace, job)
    return going[0][1] if going else next(_still_there(pods), "")


def still_running(job: Mapping[str, Any]) -> str:
    """Why a Job of a plan may be at work now or soon, in words; empty where it is not."""
    active, ended, suspended = active_pods(job), end_of(job)[0], is_suspended(job)
    name, number = safe_get.text(job, "metadata", "name"), safe_get.text(job, "metadata", "labels", RUN)
    who = f"Job {name} of run {number}"
    if active:
        ending = ", which is suspended," if suspended else ""
        return f"{who}{ending} has {active} active {'pod' if active == 1 else 'pods'}"
    if ended or (suspended and not queue_of(job)):
        return ""
    return f"{who} is suspended, and {queue_of(job)} may start it" if suspended else f"{who} has not ended"


def _still_there(pods: Sequence[Any]) -> Iterator[str]:
    """The pods of Jobs that have not ended. Their Job may be gone already, also one of the same name."""
    for pod in pods:
        job = _job_of(pod)
        if job and safe_get.text(pod, "status", "phase") not in ("Succeeded", "Failed"):
            yield f"pod {safe_get.text(pod, 'metadata', 'name')} of Job {job} has not ended"


def _job_of(pod: object) -> str:
    return safe_get.text(pod, "metadata", "labels", _JOB_OF_POD)


async def _read(api: ResourceClient, namespace: str, name: str) -> Mapping[str, Any] | None:
    return await if_there(api.get(paths.job(namespace, name)))


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
