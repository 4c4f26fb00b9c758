"""A Job in the API server: read, made where there is none, and never taken for another's."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from rolloutplan.api.status import Task
from rolloutplan.api.tasks import JOBS_LABEL, JobTemplate
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.cluster.jobs import end_of, is_ours, last_words, run, suspend
from rolloutplan.engine.model.actions import RunJob
from rolloutplan.engine.model.snapshot import JobsStopped, JobView
from rolloutplan.engine.run.jobs import manifest
from tests.refusals import JOB, changed
from tests.unit.test_loop_back import ACCOUNT, Raw, Server
from tests.world import START, World

TASK = Task(kind="Expand", name="cache", job="plan-1-cache", since=START, deadline_at=START)
MANIFEST = manifest(World().plan(), 1, TASK, JobTemplate.model_validate(JOB["template"]), timedelta(minutes=5))
NAME = "plan-1-cache"


def tried(server: Server, *, make: bool = True) -> JobView:
    return asyncio.run(run(cast("Api", server), "ns", RunJob(NAME, MANIFEST, make), START))


def test_one_that_is_not_there_is_made_and_then_read() -> None:
    server = Server()
    assert tried(server, make=False) == JobView(NAME, START)
    assert tried(server) == tried(server) == tried(server, make=False) == JobView(NAME, START, found=True)
    assert [method for method, _, _ in server.log].count("POST") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata.ownerReferences": []},
        {"metadata.ownerReferences[0].uid": "another"},
        {"metadata.labels": {}},
        {"metadata.labels": {**MANIFEST["metadata"]["labels"], "rolloutplan.dev/run": "2"}},
    ],
    ids=["nobody's", "of another plan", "without marks", "of another run"],
)
def test_what_is_not_of_this_run_is_not_ours(changes: dict[str, Any]) -> None:
    assert is_ours(MANIFEST, MANIFEST)
    assert not is_ours(changed(MANIFEST, changes), MANIFEST)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ApiError(422, "Invalid", "no restartPolicy"), JobView(NAME, START, refused="no restartPolicy")),
        (ApiError(400, "BadRequest", "unknown type"), JobView(NAME, START, refused="unknown type")),
    ],
    ids=["refused", "not understood"],
)
def test_why_it_cannot_be_made(error: ApiError, found: JobView) -> None:
    server = Server()
    server.refuses = lambda method, path: error if method == "POST" else None
    assert tried(server) == found


def test_what_may_be_otherwise_the_next_time_is_an_error() -> None:
    for error in (ApiError(500, "InternalError"), ApiError(0, "Timeout"), ApiError(403, "Forbidden", "a quota")):
        server = Server()
        server.refuses = lambda method, path, error=error: error if method == "POST" else None  # type: ignore[misc]
        with pytest.raises(ApiError):
            tried(server)


def condition(kind: str, **more: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", **more}


@pytest.mark.parametrize(
    ("conditions", "end"),
    [
        ([], ("", "")),
        ([condition("Suspended")], ("", "")),
        ([condition("FailureTarget", reason="BackoffLimitExceeded")], ("", "")),
        ([{"type": "Complete", "status": "False"}], ("", "")),
        ([condition("SuccessCriteriaMet"), condition("Complete")], ("Complete", "")),
        (
            [condition("Failed", reason="DeadlineExceeded", message="too long")],
            ("Failed", "DeadlineExceeded: too long"),
        ),
    ],
)
def test_a_job_is_over_when_its_condition_says_so(conditions: list[dict[str, Any]], end: tuple[str, str]) -> None:
    assert end_of({"status": {"conditions": conditions}}) == end


def pod(created: str, message: str) -> dict[str, Any]:
    statuses = [{"state": {"terminated": {"exitCode": 1, "message": message}}}]
    return {"metadata": {"creationTimestamp": created}, "status": {"containerStatuses": statuses}}


def test_the_last_words_are_those_of_the_newest_pod_that_left_any() -> None:
    pods = [
        pod("2026-03-01T09:00:00Z", "first"),
        pod("2026-03-01T09:01:00Z", "second\n"),
        pod("2026-03-01T09:02:00Z", ""),
    ]
    assert last_words({"items": pods}) == "second"
    assert last_words({"items": [{"metadata": {}}]}) == ""


# ---- Jobs side by side -----------------------------------------------------------------------------------------------


class Listing(Server):
    """It has these Jobs, pods and Events too. `patched` are the Jobs that were changed."""

    def __init__(self, jobs: Sequence[Raw] = (), pods: Sequence[Raw] = (), events: Sequence[Raw] = ()) -> None:
        super().__init__()
        self.lists = {"/jobs": jobs, "/pods": pods, "/events": events}
        self.patched: list[tuple[str, Any]] = []

    async def list(self, path: str, **_: object) -> Raw:
        self._heard("LIST", path)
        return {"items": next(list(found) for end, found in self.lists.items() if path.endswith(end))}

    async def patch(self, path: str, body: Any, **_: object) -> Raw:
        self._heard("PATCH", path)
        self.patched.append((path.rpartition("/")[2], body))
        return {}


def former(
    name: str = "plan-1-cache-0", /, status: Raw | None = None, *, suspended: bool = False, queue: str = ""
) -> Raw:
    marks = {"rolloutplan.dev/plan": "plan", "rolloutplan.dev/run": "0", "rolloutplan.dev/task": "cache"}
    labels = {**marks, **({"kueue.x-k8s.io/queue-name": queue} if queue else {})}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"suspend": suspended}, "status": status or {}}


def of_job(name: str, phase: str) -> Raw:
    return {
        "metadata": {"name": f"{name}-x", "labels": {"batch.kubernetes.io/job-name": name}},
        "status": {"phase": phase},
    }


COMPLETE = {"conditions": [condition("Complete")]}


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (Listing([former(status={"active": 2})]), "Job plan-1-cache-0 of run 0 has 2 active pods"),
        (Listing([former()]), "Job plan-1-cache-0 of run 0 has not ended"),
        (
            Listing([former(status={"terminating": 1}, suspended=True)]),
            "of run 0, which is suspended, has 1",
        ),
        (
            Listing([former(suspended=True, queue="batch")]),
            "of run 0 is suspended, and Kueue (queue batch) may start it",
        ),
        (Listing(pods=[of_job("plan-1-old", "Running")]), "pod plan-1-old-x of Job plan-1-old has not ended"),
        (Listing([former(suspended=True)]), ""),
        (Listing([former(status=COMPLETE)], [of_job("plan-1-cache-0", "Succeeded")]), ""),
        (Listing([former(NAME, {"active": 1})]), ""),
        (Listing(pods=[of_job(NAME, "Running")]), f"pod {NAME}-x of Job {NAME} has not ended"),
        (Listing(["nonsense", {}, {"metadata": None}, former(status={**COMPLETE, "active": "two"})], [None]), ""),  # type: ignore[list-item]
    ],
    ids=[
        "active",
        "about to",
        "being suspended",
        "queued",
        "its Job is gone",
        "suspended",
        "complete",
        "itself",
        "a deleted one of its name",
        "broken",
    ],
)
def test_a_job_is_made_only_when_no_other_job_of_the_plan_runs(server: Listing, words: str) -> None:
    view = tried(server)
    assert (view.found, bool(view.waits_for)) == (not words, bool(words))
    assert words in view.waits_for


@pytest.mark.parametrize(("state", "suspended"), [("running", False), ("waiting", True), ("terminated", True)])
def test_a_former_job_that_does_not_run_is_suspended_and_one_that_runs_is_waited_for(
    state: str, suspended: bool
) -> None:
    pod = of_job("plan-1-cache-0", "Running")
    pod["status"]["containerStatuses"] = [{"name": "main", "state": {state: {}}}]
    server = Listing([former(status={"active": 1})], [pod])
    assert "has 1 active pod" in tried(server).waits_for
    assert [name for name, _ in server.patched] == (["plan-1-cache-0"] if suspended else [])


def test_a_job_that_is_not_wanted_any_more_is_not_made() -> None:
    server = Server()
    api = cast("Api", server)
    assert asyncio.run(run(api, "ns", RunJob(NAME, MANIFEST, True), START, lambda: False)) == JobView(NAME, START)
    assert "POST" not in {method for method, _, _ in server.log}


def test_all_jobs_of_the_plan_that_have_not_ended_are_suspended_and_nobody_elses() -> None:
    anothers = {"metadata": {"name": "mine", "labels": {"rolloutplan.dev/plan": "plan"}}}
    server = Listing([former("a", {"active": 1}), former("b", suspended=True), former("c", COMPLETE), anothers])
    stopped = asyncio.run(suspend(cast("Api", server), "ns", "plan", START))
    assert stopped == JobsStopped(START, ("a", "b"))
    assert server.patched == [("a", {"spec": {"suspend": True}})]


# ---- why one does not run --------------------------------------------------------------------------------------------


def waiting(reason: str, message: str) -> Raw:
    container = {"name": "main", "state": {"waiting": {"reason": reason, "message": message}}}
    return {"metadata": {"name": "p"}, "status": {"phase": "Pending", "containerStatuses": [container]}}


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
SIDECAR = {
    "metadata": {"name": "p"},
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {"name": "main", "state": {"terminated": {"exitCode": 0}}},
            {"name": "istio-proxy", "state": {"running": {}}, "ready": True},
        ],
    },
}
QUEUED = {**MANIFEST["metadata"]["labels"], "kueue.x-k8s.io/queue-name": "q"}
QUOTA = {"message": 'pods "x" is forbidden: exceeded quota: pods', "lastTimestamp": "2026-03-01T09:00:02Z"}
OLDER = {"message": "older", "lastTimestamp": "2026-03-01T09:00:01Z"}


@pytest.mark.parametrize(
    ("changes", "server", "why"),
    [
        ({"spec.suspend": True}, Listing(), "it is suspended (spec.suspend)"),
        (
            {"spec.suspend": True, "metadata.labels": QUEUED},
            Listing(),
            "it is suspended by Kueue (queue q)",
        ),
        ({}, Listing(events=[OLDER, QUOTA, {"message": "x"}]), 'FailedCreate: pods "x" is forbidden: exceeded quota'),
        ({}, Listing(pods=[waiting("ImagePullBackOff", "no such image")]), "ImagePullBackOff: no such image (pod p)"),
        ({}, Listing(pods=[waiting("CreateContainerConfigError", "no secret")]), "CreateContainerConfigError"),
        (
            {},
            Listing(pods=[{"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [UNSCHEDULABLE]}}]),
            "Unschedulable: 0/3 nodes",
        ),
        ({}, Listing(pods=[SIDECAR]), "container main has ended and istio-proxy has not, so the Job cannot complete"),
        ({"metadata.creationTimestamp": "2026-03-01T08:59:00Z"}, Listing(), "created no pod"),
        ({"metadata.creationTimestamp": "2026-03-01T08:59:59Z"}, Listing(), ""),
        ({"status": {"ready": 1, "active": 1}}, Listing(), ""),
        ({}, Listing(pods=[None, {}, {"status": {"containerStatuses": [None]}}]), ""),  # type: ignore[list-item]
    ],
    ids=["suspended", "queued", "quota", "image", "config", "no node", "sidecar", "no pod", "new", "runs", "broken"],
)
def test_why_a_job_does_not_run(changes: dict[str, Any], server: Listing, why: str) -> None:
    server.keep(f"/apis/batch/v1/namespaces/ns/jobs/{NAME}", changed(MANIFEST, changes))
    view = tried(server)
    assert (view.found, view.ended, bool(view.why)) == (True, "", bool(why))
    assert why in view.why


def test_events_that_may_not_be_read_are_no_error() -> None:
    server = Listing()
    server.keep(f"/apis/batch/v1/namespaces/ns/jobs/{NAME}", copy.deepcopy(MANIFEST))
    server.refuses = lambda method, path: ApiError(403, "Forbidden", "no events") if path.endswith("/events") else None
    assert "its Events cannot be read: no events" in tried(server).why


# ---- the ServiceAccount ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "own", "words"),
    [
        ({"labels": {JOBS_LABEL: "true"}}, "", ""),
        ({"labels": {JOBS_LABEL: "true"}}, "other/jobs", ""),
        ({"labels": {JOBS_LABEL: "true"}}, "ns/jobs", "jobs is the ServiceAccount of the operator itself"),
        ({"labels": {JOBS_LABEL: "yes"}}, "", 'ServiceAccount ns/jobs has no label rolloutplan.dev/jobs: "true"'),
        ({"annotations": {JOBS_LABEL: "true"}}, "", "has no label"),
        ({}, "", "has no label"),
        (None, "", "ServiceAccount ns/jobs does not exist: create it, with the label"),
    ],
)
def test_a_job_is_made_only_under_an_account_that_the_namespace_has_named_for_jobs(
    account: Raw | None, own: str, words: str
) -> None:
    server = Server()
    server.objects.pop(ACCOUNT)
    if account is not None:
        server.objects[ACCOUNT] = {"metadata": account}
    wanted = RunJob(NAME, MANIFEST, True)
    view = asyncio.run(run(cast("Api", server), "ns", wanted, START, own_account=own))
    assert (view.found, bool(view.retry_reason)) == (not words, bool(words))
    assert words in view.retry_reason
    assert ("POST" in {method for method, _, _ in server.log}) == (not words)
