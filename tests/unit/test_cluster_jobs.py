"""A Job in the API server: read, made where there is none, and never taken for another's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from rolloutplan.api.status import Task
from rolloutplan.api.tasks import JobTemplate
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.cluster.jobs import end_of, is_ours, last_words, run
from rolloutplan.engine.model.actions import RunJob
from rolloutplan.engine.model.snapshot import JobView
from rolloutplan.engine.run.jobs import manifest
from tests.refusals import JOB, changed
from tests.unit.test_loop_back import Server
from tests.world import START, World

TASK = Task(kind="Expand", name="cache", job="plan-1-cache", since=START, deadline_at=START)
MANIFEST = manifest(World().plan(), 1, TASK, JobTemplate.model_validate(JOB["template"]))
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
