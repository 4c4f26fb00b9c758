"""Pods: how often they restarted, what the worst of them says, and whose fault it is that one is not ready."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rolloutplan.cluster.pods import read
from rolloutplan.engine.model.snapshot import Pods

Raw = dict[str, Any]


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
        ([pod("a", status={"containerStatuses": [container(1)], "initContainerStatuses": [container(4)]})], 1, ""),
        ([pod("a", container(1), {**container(7), "name": "istio-proxy"})], 1, ""),
        ([pod("a", container(1, lastState=ended(255, "Unknown"))), pod("b", container(2))], 2, ""),
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
    seen = read({"items": pods}, {"app"})
    assert sum(seen.restarts.values()) == restarts
    assert worst in seen.worst
    assert bool(seen.worst) is bool(worst)


def test_no_pods_at_all() -> None:
    assert read({}, {"app"}) == read({"items": None}, {"app"}) == Pods()


def test_restarts_are_counted_for_each_pod_by_its_uid() -> None:
    found = read(
        {"items": [pod("a", container(2), uid="1"), pod("b", container(1), uid="2"), pod("c", RUNNING)]}, {"app"}
    )
    assert found.restarts == {"1": 2, "2": 1, "c": 0}


# ---- whose fault it is -----------------------------------------------------------------------------------------------

FIRST, SOON, LATER = "2026-03-01T09:00:02Z", "2026-03-01T09:00:04Z", "2026-03-01T09:10:00Z"
CRASHED = container(3, ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(1))
NOT_YET = container(ready=False, state={"running": {}})
CREATING = container(ready=False, state={"waiting": {"reason": "ContainerCreating"}})


def unready(since: str = FIRST, reason: str = "ContainersNotReady") -> Raw:
    return {**no("Ready", reason), "lastTransitionTime": since}


def begun(*containers: Raw, since: str = FIRST, **more: Any) -> Raw:
    """A pod that its kubelet has reported on, unready since then."""
    status = {"containerStatuses": list(containers), **more.pop("status", {})}
    initialized = {"type": "Initialized", "status": "True", "lastTransitionTime": FIRST}
    return pod("a", conditions=[unready(since), initialized, *more.pop("conditions", [])], status=status, **more)


DRAINED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
PREEMPTED = {**DRAINED, "reason": "PreemptionByScheduler"}


@pytest.mark.parametrize(
    ("pod", "failed", "away"),
    [
        # it speaks against its version
        (begun(CRASHED), "CrashLoopBackOff", ""),
        (begun(waiting("ImagePullBackOff", "no such image")), "ImagePullBackOff", ""),
        (begun(container(1, ready=False, state={"running": {}}, lastState=ended(137, "OOMKilled"))), "OOMKilled", ""),
        (begun(NOT_YET, since=LATER), "ContainersNotReady", ""),
        (begun(NOT_YET, since=SOON), "ContainersNotReady", ""),
        (begun(status={"phase": "Failed", "reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds "
               "the total limit of containers 1Gi."}), "Evicted", ""),
        # it does not
        (begun(CRASHED, conditions=[DRAINED]), "", "EvictionByEvictionAPI: drained"),
        (begun(NOT_YET, since=LATER, conditions=[PREEMPTED], deletionTimestamp="now"), "", "PreemptionByScheduler"),
        (begun(status={"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}), "",
         "Evicted: The node was low"),
        (begun(status={"phase": "Failed", "reason": "NodeShutdown"}), "", "NodeShutdown"),
        (begun(status={"phase": "Failed", "reason": "Terminated", "message": "shutdown"}), "", "Terminated"),
        (pod("a", conditions=[no("PodScheduled", "Unschedulable", "0/3 fit")]), "", "Unschedulable: 0/3"),
        (begun(RUNNING, since=LATER), "", "its node no longer reports on it"),
        (begun(CREATING), "", "it is starting"),
        (begun(NOT_YET), "", "it is starting"),
        (begun(NOT_YET, deletionTimestamp="now"), "", "it is being deleted"),
        (begun(container(1, ready=False, state={"running": {}}, lastState=ended(255, "Unknown")), since=LATER), "",
         "it is starting"),
        (begun(CREATING, status={"initContainerStatuses": [waiting("CrashLoopBackOff")]}), "", "it is starting"),
        # neither: nobody knows
        (begun(RUNNING, since=LATER, conditions=[]) | {"metadata": {"name": "a"}}, "", "its node"),
        (pod("a", RUNNING, conditions=[{"type": "Ready", "status": "True"}]), "", ""),
    ],
)  # fmt: skip
def test_whose_fault_it_is_that_a_pod_is_not_ready(pod: Raw, failed: str, away: str) -> None:
    seen = read({"items": [pod]}, {"app"})
    assert failed in seen.failed
    assert bool(seen.failed) is bool(failed)
    assert away in seen.away
    assert bool(seen.away) is bool(away)


def test_only_pods_that_were_ready_once_are_lost() -> None:
    found = [
        begun(NOT_YET),
        begun(NOT_YET, since=LATER),
        begun(CRASHED, since=LATER),
        begun(CREATING),
        pod("b", RUNNING),
    ]
    assert read({"items": found}, {"app"}).lost == 2


def test_when_the_ready_pods_became_ready() -> None:
    at = {"type": "Ready", "lastTransitionTime": "2026-03-01T09:00:00Z"}
    found = read(
        {
            "items": [
                pod("a", RUNNING, conditions=[{**at, "status": "True"}], uid="1"),
                pod("b", RUNNING, conditions=[{**at, "status": "False"}], uid="2"),
                pod("c", RUNNING, conditions=[{**at, "status": "True"}], uid="3", deletionTimestamp="now"),
                pod("d", RUNNING, conditions=[{"type": "Ready", "status": "True"}], uid="4"),
                pod("e", RUNNING, uid="5"),
            ]
        },
        (),
    )
    assert found.ready_at == {"1": datetime(2026, 3, 1, 9, tzinfo=UTC)}
