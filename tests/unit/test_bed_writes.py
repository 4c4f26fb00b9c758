"""What a write says is the same in however many pieces, and however often, an operator writes it."""

from typing import Any

import pytest

from tests.bed.writes import MEASURED, Write, facts, plan_of

NAMESPACE = "/apis/{}/namespaces/shop/"
PLAN = NAMESPACE.format("rolloutplan.dev/v1alpha1") + "rolloutplans/checkout"
NAME = "checkout-0a1b2c3d-1"
RECORD = NAMESPACE.format("rolloutplan.dev/v1alpha1") + f"rolloutrecords/{NAME}"
ROUTE = NAMESPACE.format("gateway.networking.k8s.io/v1") + "httproutes/web"
STARTED = {"seq": 1, "reason": "Started", "note": "after 3 s"}
READY = {"seq": 2, "reason": "NewSideReady", "note": "2 of 2 pods"}
ADDED = {"seq": 3, "reason": "Expanded", "note": "Job checkout-1-add-0f1e2d3c is complete"}
LARGER = {"seq": 4, "reason": "Expanded", "note": "3 of 3 pods"}


def status(**fields: Any) -> Write:
    return Write("PATCH", f"{PLAN}/status", {"metadata": {"resourceVersion": "7"}, "status": fields}, 0.0)


def patch(path: str, *operations: tuple[str, str, Any]) -> Write:
    body = [{"op": op, "path": where, "value": value} for op, where, value in operations]
    return Write("PATCH", path, body, 0.0)


def created(resource: str, body: dict[str, Any]) -> Write:
    return Write("POST", NAMESPACE.format("v1") + resource, body, 0.0)


def event(reason: str, note: str, **annotations: str) -> Write:
    marks = {f"rolloutplan.dev/{key}": value for key, value in annotations.items()}
    metadata = {"name": "checkout.1234.3", "annotations": marks}
    return created("events", {"metadata": metadata, "reason": reason, "note": note, "regarding": {"name": "checkout"}})


def record(*decisions: dict[str, Any]) -> Write:
    return created("rolloutrecords", {"metadata": {"name": NAME}, "status": {"decisions": [*decisions]}})


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (status(phase="Probing", decisions=[STARTED]), ["decision Started", "phase Probing"]),
        (record(STARTED), ["record of Started"]),
        (patch(RECORD, ("add", "/status/decisions/-", READY)), ["record of NewSideReady"]),
        (patch(RECORD, ("add", "/status/outcome", "Superseded")), ["record"]),
        (status(decisions=[STARTED, READY]), ["decision Started", "decision NewSideReady"]),
        (
            status(decisions=[{"reason": "StageStarted", "stage": "w50", "weightTo": "50%", "note": "at 09:01"}]),
            ["decision StageStarted w50 50%"],
        ),
        (
            status(decisions=[ADDED, LARGER]),
            ["decision Expanded Job -1-add is complete", "decision Expanded 3 of 3 pods"],
        ),
        (status(decisions=[STARTED, STARTED]), ["decision Started", "decision Started, 2 times"]),
        (status(intent={"action": "Shift", "to": "50%"}), ["intent Shift"]),
        (status(intent={"at": "09:02"}), ["intent has other at"]),
        (status(intent=None, phase="Judging"), ["intent is over", "phase Judging"]),
        (status(task={"name": "probe", "job": "checkout-1-probe"}), ["task probe"]),
        (status(task={"made": True}), ["task has other made"]),
        (status(held={"reason": "Paused"}, task=None), ["task is over", "held Paused"]),
        (status(predicates=[{"value": "3%"}], verdict="Undecided"), [MEASURED]),
        (
            patch(PLAN, ("test", "/metadata/resourceVersion", "7"), ("add", "/metadata/finalizers", ["ours"])),
            ["plan: add finalizers"],
        ),
        (
            patch(
                ROUTE,
                ("test", "/spec/rules/0/backendRefs/0/weight", 100),
                ("replace", "/spec/rules/0/backendRefs/0/weight", 50),
                ("replace", "/spec/rules/0/backendRefs/1/weight", 50),
                ("add", "/metadata/annotations/rolloutplan.dev~1seq", "3.1"),
                ("add", "/metadata/annotations/rolloutplan.dev~1revert", "kubectl patch ..."),
            ),
            ["route: weights 50 50", "route: add revert"],
        ),
        (event("StageStarted", "at 09:01", stage="w50", **{"weight-to": "50%"}), ["Event StageStarted w50 50%"]),
        (event("Expanded", "Job checkout-1-add-0f1e2d3c is complete"), ["Event Expanded Job -1-add is complete"]),
        (created("jobs", {"metadata": {"labels": {"rolloutplan.dev/task": "add"}}}), ["Job add"]),
        (
            Write("PATCH", NAMESPACE.format("apps/v1") + "deployments/new/scale", {"spec": {"replicas": 3}}, 0.0),
            ["new of 3 pods"],
        ),
        (created("configmaps", {"metadata": {"name": "other"}}), ["POST configmaps other"]),
        (Write("POST", "/apis/a.k8s.io/v1/reviews", {}, 0.0), ["POST /apis/a.k8s.io/v1/reviews "]),
        (Write("DELETE", NAMESPACE.format("v1") + "configmaps/other", "", 0.0), ["DELETE configmaps other"]),
    ],
)
def test_what_a_write_says(write: Write, said: list[str]) -> None:
    assert facts(write) == said


def test_two_writes_say_together_what_one_says_that_has_both() -> None:
    first, second = status(phase="Probing", decisions=[STARTED]), status(phase="Shifting", decisions=[STARTED, READY])
    both = status(phase="Shifting", decisions=[STARTED, READY], task=None)
    assert {*facts(both)} - {*facts(first), *facts(second)} == {"task is over"}


def on_deployment() -> Write:
    """A short Event on a Deployment of the plan: no point to die at."""
    about = {"kind": "Deployment", "name": "checkout-v1"}
    return created("events", {"reason": "Started", "note": "", "metadata": {}, "regarding": about})


@pytest.mark.parametrize(
    ("write", "plan"),
    [
        (status(), "checkout"),
        (patch(PLAN), "checkout"),
        (patch(ROUTE), ""),
        (event("Started", ""), "checkout"),
        (on_deployment(), "Deployment checkout-v1"),
        (created("jobs", {"metadata": {"labels": {"rolloutplan.dev/plan": "checkout"}}}), "checkout"),
        (record(STARTED), "checkout"),
        (patch(RECORD, ("add", "/status/outcome", "Superseded")), "checkout"),
    ],
)
def test_whose_write_it_is(write: Write, plan: str) -> None:
    assert plan_of(write) == plan
