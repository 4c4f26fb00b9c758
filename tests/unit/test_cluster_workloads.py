"""Deployments and pods: when a side stands, and what the worst of its pods says."""

from typing import Any

import pytest

from rolloutplan.cluster import workloads

Raw = dict[str, Any]

TEMPLATE: Raw = {"spec": {"containers": [{"name": "app", "image": "x:1"}]}}


def deployment(wanted: int | None = 3, generation: int = 2, **status: int) -> Raw:
    spec: Raw = {"template": TEMPLATE, **({} if wanted is None else {"replicas": wanted})}
    return {"metadata": {"name": "web", "generation": generation}, "spec": spec, "status": status}


STANDING = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}


@pytest.mark.parametrize(
    ("raw", "wanted", "ready", "settled"),
    [
        (deployment(**STANDING), 3, 3, True),
        (deployment(**{**STANDING, "readyReplicas": 1}), 3, 1, True),
        (deployment(**{**STANDING, "observedGeneration": 1}), 3, 3, False),
        (deployment(**{**STANDING, "updatedReplicas": 2}), 3, 3, False),
        (deployment(**{**STANDING, "replicas": 4}), 3, 3, False),
        (deployment(5, **STANDING), 5, 3, False),
        (deployment(), 3, 0, False),
        (deployment(None, observedGeneration=2), 1, 0, False),
        (deployment(0, observedGeneration=3), 0, 0, True),
        ({"metadata": {"name": "web"}}, 1, 0, False),
    ],
)
def test_reads_a_deployment(raw: Raw, wanted: int, ready: int, settled: bool) -> None:
    seen = workloads.view(raw)
    assert (seen.name, seen.wanted, seen.ready, seen.settled) == ("web", wanted, ready, settled)
    assert (seen.restarts, seen.worst, seen.short_since) == (None, "", None)


def test_the_revision_is_of_the_template_alone() -> None:
    one = workloads.view(deployment(**STANDING)).revision
    assert len(one) == 16
    assert int(one, 16) >= 0
    assert workloads.view(deployment(9, generation=7)).revision == one
    assert workloads.revision({"b": 1, "a": [1, 2]}) == workloads.revision({"a": [1, 2], "b": 1})
    assert workloads.revision({"a": [1, 2]}) != workloads.revision({"a": [2, 1]})


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        (
            {
                "matchLabels": {"a": "1"},
                "matchExpressions": [
                    {"key": "t", "operator": "In", "values": ["x", "y"]},
                    {"key": "u", "operator": "NotIn", "values": ["z"]},
                    {"key": "v", "operator": "Exists"},
                    {"key": "w", "operator": "DoesNotExist"},
                ],
            },
            "a=1,t in (x,y),u notin (z),v,!w",
        ),
        ({}, ""),
    ],
)
def test_the_selector_as_a_list_takes_it(selector: Raw, text: str) -> None:
    assert workloads.selector({"spec": {"selector": selector}}) == text


# ---- pods --------------------------------------------------------------------------------------------


def container(restarts: int = 0, ready: bool = True, **states: Raw) -> Raw:
    return {"name": "app", "ready": ready, "restartCount": restarts, **states}


def waiting(reason: str, message: str = "", last: Raw | None = None) -> Raw:
    return container(ready=False, state={"waiting": {"reason": reason, "message": message}}, lastState=last or {})


def ended(code: int, reason: str = "Error") -> Raw:
    return {"terminated": {"exitCode": code, "reason": reason}}


def no(kind: str, reason: str = "", message: str = "") -> Raw:
    return {"type": kind, "status": "False", "reason": reason, "message": message}


def pod(name: str, *containers: Raw, conditions: list[Raw] | None = None, **more: Any) -> Raw:
    status = {"containerStatuses": list(containers), "conditions": conditions or [], **more.pop("status", {})}
    return {"metadata": {"name": name, **more}, "status": status}


UNREADY = no("Ready", "ContainersNotReady", "containers with unready status: [app]")
RUNNING = container(state={"running": {}})


@pytest.mark.parametrize(
    ("pods", "restarts", "worst"),
    [
        ([], 0, ""),
        ([pod("a", RUNNING)], 0, ""),
        ([pod("a", container(2)), pod("b", container(1), container(3))], 6, ""),
        ([pod("a", container(1), status={"initContainerStatuses": [container(4)]})], 5, ""),
        (
            [pod("a", waiting("ImagePullBackOff", 'Back-off pulling image "x"'), conditions=[UNREADY])],
            0,
            'ImagePullBackOff: Back-off pulling image "x" (pod a)',
        ),
        (
            [pod("a", waiting("CrashLoopBackOff", "back-off 10s", ended(137, "OOMKilled")))],
            0,
            "CrashLoopBackOff: OOMKilled, exit code 137; back-off 10s (pod a)",
        ),
        ([pod("a", waiting("CreateContainerConfigError", 'secret "s" not found'))], 0, 'secret "s" not found (pod a)'),
        ([pod("a", waiting("ContainerCreating"), conditions=[UNREADY])], 0, "ContainersNotReady: containers with"),
        ([pod("a", container(1, ready=False, state=ended(1)))], 1, "Error, exit code 1 (pod a)"),
        ([pod("a", container(1, ready=False, state=ended(1, "")))], 1, "Error, exit code 1 (pod a)"),
        ([pod("a", container(1, ready=False, state={"running": {}}, lastState=ended(2)))], 1, "exit code 2 (pod a)"),
        ([pod("a", container(1, ready=True, state={"running": {}}, lastState=ended(2)))], 1, ""),
        ([pod("a", container(ready=False, state=ended(0, "Completed")))], 0, ""),
        (
            [pod("a", conditions=[no("PodScheduled", "Unschedulable", "0/3 nodes are available")])],
            0,
            "Unschedulable: 0/3 nodes are available (pod a)",
        ),
        ([pod("a", conditions=[UNREADY])], 0, "ContainersNotReady: containers with unready status: [app] (pod a)"),
        ([pod("a", conditions=[no("Ready")])], 0, "not Ready (pod a)"),
        ([pod("a", conditions=[no("Ready", "PodCompleted")])], 0, ""),
        ([pod("a", status={"phase": "Failed", "reason": "Evicted", "message": "disk"})], 0, "Evicted: disk (pod a)"),
        # the worst of all pods, and the first of these by name
        (
            [
                pod("a", conditions=[UNREADY]),
                pod("b", conditions=[no("PodScheduled", "Unschedulable", "full")]),
                pod("c", container(ready=False, state=ended(1))),
                pod("d", waiting("ErrImagePull", "not found")),
            ],
            0,
            "ErrImagePull: not found (pod d)",
        ),
        # on its way out: what it says is no fault
        ([pod("a", container(2, ready=False, state=ended(143)), conditions=[UNREADY], deletionTimestamp="now")], 2, ""),
        ([{"metadata": {"name": "a"}}], 0, ""),
    ],
)
def test_pods(pods: list[Raw], restarts: int, worst: str) -> None:
    counted, said = workloads.pods({"items": pods})
    assert counted == restarts
    assert worst in said
    assert bool(said) is bool(worst)


def test_no_pods_at_all() -> None:
    assert workloads.pods({}) == (0, "")
    assert workloads.pods({"items": None}) == (0, "")


def test_names_the_last_writer_of_the_replicas() -> None:
    """The scale subresource counts; writers of other fields and of the status do not."""
    replicas: Raw = {"f:spec": {"f:replicas": {}}}
    raw = deployment(**STANDING)
    assert workloads.view(raw).sized_by == ""
    raw["metadata"]["managedFields"] = [
        {"manager": "git", "operation": "Apply", "time": "2026-03-01T09:00:02Z", "fieldsV1": replicas},
        {"manager": "us", "operation": "Update", "time": "2026-03-01T09:00:01Z", "subresource": "scale",
         "fieldsV1": replicas},
        {"manager": "kcm", "operation": "Update", "time": "2026-03-01T09:00:09Z", "subresource": "status",
         "fieldsV1": replicas},
        {"manager": "ed", "operation": "Update", "time": "2026-03-01T09:00:08Z", "fieldsV1": {"f:spec": {}}},
    ]  # fmt: skip
    assert workloads.view(raw).sized_by == "git (Apply) at 2026-03-01T09:00:02Z"
