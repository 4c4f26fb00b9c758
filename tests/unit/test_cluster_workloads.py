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
    assert (seen.pods, seen.why, seen.short_since) == (None, "", None)


@pytest.mark.parametrize(
    ("status", "available"),
    [
        ({**STANDING, "availableReplicas": 3}, 3),
        ({**STANDING, "availableReplicas": 1}, 1),
        (STANDING, 0),
        ({**STANDING, "readyReplicas": 1, "availableReplicas": 3}, 1),
    ],
)
def test_available_are_those_that_have_been_ready_for_long_enough(status: dict[str, int], available: int) -> None:
    assert workloads.view(deployment(**status)).available == available


def told(kind: str, status: str, reason: str, message: str = "") -> Raw:
    return {"type": kind, "status": status, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("spec", "conditions", "why"),
    [
        ({}, [], ""),
        ({"paused": True}, [], ": the Deployment is paused: run `kubectl rollout resume deployment web`"),
        ({}, [told("ReplicaFailure", "True", "FailedCreate", "exceeded quota")], ": FailedCreate: exceeded quota"),
        ({}, [told("ReplicaFailure", "False", "FailedCreate", "exceeded quota")], ""),
        (
            {},
            [
                told("Progressing", "False", "ProgressDeadlineExceeded", "timed out"),
                told("ReplicaFailure", "True", "FailedCreate", "webhook denied"),
            ],
            ": FailedCreate: webhook denied",
        ),
        ({}, [told("Progressing", "False", "ProgressDeadlineExceeded", "timed out")], ": ProgressDeadlineExceeded"),
        ({}, [told("Progressing", "True", "NewReplicaSetAvailable")], ""),
        ({}, [None, {"type": "ReplicaFailure", "status": "True"}], ": ReplicaFailure"),
    ],
)
def test_what_keeps_a_deployment_from_its_pods(spec: Raw, conditions: list[Raw], why: str) -> None:
    raw = deployment(**STANDING)
    raw = {**raw, "spec": {**raw["spec"], **spec}, "status": {**raw["status"], "conditions": conditions}}
    seen = workloads.view(raw).why
    assert seen.startswith(why)
    assert bool(seen) is bool(why)


def wrote(manager: str, time: str, subresource: str = "", **fields: Raw) -> Raw:
    entry = {"manager": manager, "time": time, "fieldsV1": {"f:spec": fields or {"f:replicas": {}}}}
    return {**entry, "subresource": subresource} if subresource else entry


TEMPLATE_ONLY: Raw = {"f:template": {}}
EARLY, LATE = "2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z"


@pytest.mark.parametrize(
    ("entries", "autoscaler"),
    [
        ([], ""),
        ([wrote("keda", LATE, "scale")], "keda"),
        ([wrote("kube-controller-manager", LATE, "scale")], "kube-controller-manager"),
        ([wrote("kubectl", LATE, "scale")], ""),
        ([wrote("keda", EARLY, "scale"), wrote("kubectl", LATE, "scale")], ""),
        ([wrote("kubectl", EARLY), wrote("keda", LATE, "scale")], "keda"),
        ([wrote("kube-controller-manager", LATE, "scale", **TEMPLATE_ONLY), None, "x"], ""),
    ],
)
def test_who_gave_it_its_size_where_that_is_an_autoscaler(entries: list[Any], autoscaler: str) -> None:
    raw = deployment(0, **STANDING)
    assert workloads.view({**raw, "metadata": {**raw["metadata"], "managedFields": entries}}).autoscaler == autoscaler


def test_the_containers_are_those_of_its_own_template() -> None:
    assert workloads.view(deployment(**STANDING)).containers == {"app"}


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
