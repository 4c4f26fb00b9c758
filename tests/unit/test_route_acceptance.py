"""What the status of each kind of route says of its weights, and what its controllers do in another way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.traffic.own import described
from tests.routers.samples import SAMPLES


def condition(kind: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, **more}


READY = condition("RoutesReady", "True")
IN_FORCE = [{"revisionName": "web-00001", "percent": 100}]
SPLIT = [{"revisionName": "web-00001", "percent": 95}, {"revisionName": "web-00002", "percent": 5}]

# fmt: off
ANSWERS = [
    ("HTTPProxy", {}, None, ""),
    ("HTTPProxy", {"conditions": [condition("Valid", "True", observedGeneration=2)]}, None, ""),
    ("HTTPProxy", {"conditions": [condition("Valid", "False", observedGeneration=3, reason="ErrorPresent",
                                            message="no such Service")]}, False, "ErrorPresent: no such Service"),
    ("HTTPProxy", {"conditions": [condition("Valid", "False", observedGeneration=3, reason="ErrorPresent",
                                            message="At least one error present, see Errors for details",
                                            errors=[{"message": 'service "shop/web-v2" not found'}])]}, False,
     'ErrorPresent: service "shop/web-v2" not found'),
    ("HTTPProxy", {"conditions": [condition("Valid", "False", observedGeneration=3, errors=[7], message="so")]}, False,
     "Valid: so"),
    ("HTTPProxy", {"conditions": [condition("Valid", "False", observedGeneration=2)]}, None, ""),
    ("ApisixRoute", {"conditions": [condition("Accepted", "True", observedGeneration=1)]}, True, ""),
    ("KnativeService", {"observedGeneration": 5, "conditions": [READY], "traffic": SPLIT}, None,
     "its status does not report these weights yet"),
    ("KnativeService", {"observedGeneration": 4, "conditions": [READY], "traffic": IN_FORCE}, None, ""),
    ("KnativeService", {"conditions": [READY], "traffic": IN_FORCE}, None, ""),
    ("KnativeService", {"observedGeneration": 5, "conditions": [READY], "traffic": IN_FORCE}, True, ""),
    ("KnativeService", {"observedGeneration": 5, "conditions": [condition("RoutesReady", "False", reason="Missing")],
                        "traffic": IN_FORCE}, False, "Missing"),
    ("VirtualServer", {"state": "Valid"}, True, ""),
    ("VirtualServer", {"state": "Invalid", "message": "the host is taken"}, False, "Invalid: the host is taken"),
    ("VirtualServer", {"state": "Pending"}, None, ""),
    ("VirtualServer", {"state": 7, "message": []}, None, ""),
    ("OpenShiftRoute", {}, None, "no gateway has answered for this route yet"),
    ("OpenShiftRoute", {"ingress": [{"conditions": [condition("Admitted", "True")]},
                                    {"conditions": [condition("Admitted", "False", reason="HostAlreadyClaimed")]}]},
     False, "HostAlreadyClaimed"),
    ("RouteTable", {"statuses": {"a": {"state": "Accepted"}, "b": {"state": 2, "reason": "no upstream"}}}, False,
     "2: no upstream"),
    ("RouteTable", {"statuses": {"a": {"state": 1}, "b": {"state": "Pending"}}}, None, ""),
    ("ServiceSplitter", {"conditions": [condition("Synced", "False", reason="ConsulAgentError")]}, False,
     "ConsulAgentError"),
]
# fmt: on


@pytest.mark.parametrize(("name", "status", "accepted", "why"), ANSWERS)
def test_what_a_status_says(name: str, status: dict[str, Any], accepted: bool | None, why: str) -> None:
    raw = SAMPLES[name].object | {"status": status}
    seen = SAMPLES[name].view(raw)
    assert (seen.accepted, seen.accepted_why) == (accepted, why)
    assert seen.undated == ""


@pytest.mark.parametrize("name", SAMPLES)
def test_what_nobody_reports_takes_a_time_to_settle(name: str) -> None:
    said = BUILT_IN[name].accepted
    seen = SAMPLES[name].view(SAMPLES[name].object)
    assert seen.settle == said.settle
    assert bool(said.generation or said.generation_at) == (said.settle is None)
    assert (seen.settle or timedelta(seconds=1)) > timedelta()
    if not said.conditions and not said.value:
        assert seen.accepted


@pytest.mark.parametrize(
    ("controller", "weights"),
    [
        ("gateway.envoyproxy.io/gatewayclass-controller", {"missing": 1, "max": 1_000_000}),
        ("gateway.k8s.aws/alb", {"missing": 1, "max": 999}),
        ("konghq.com/kic-gateway-controller", {"missing": 1, "max": 65535, "scale": 10000, "perEndpoint": True}),
    ],
)
def test_what_a_controller_does_in_another_way(controller: str, weights: dict[str, Any]) -> None:
    raw = SAMPLES["HTTPRoute"].object
    raw["status"]["parents"][0]["controllerName"] = controller
    seen = SAMPLES["HTTPRoute"].view(raw)
    assert seen.controllers == (controller,)
    assert seen.weights.model_dump(by_alias=True).items() >= weights.items()


def test_a_total_that_is_raised_makes_a_share_finer() -> None:
    raw = SAMPLES["NginxCanary"].object
    assert SAMPLES["NginxCanary"].view(raw).weights.sum == 1000
    for text in ("50", "odd", "9" * 30):
        raw["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight-total"] = text
        assert SAMPLES["NginxCanary"].view(raw).weights.sum == 100


OWN: dict[str, Any] = {
    "group": "example.dev", "versions": ["v1"], "resource": "ourroutes", "rules": {"": "spec.targets[]"},
    "name": ["service"], "weight": "share",
}  # fmt: skip
WORD = {
    "value": "status.state", "goodWords": ["Valid"], "badWords": ["Invalid"], "generationAt": "status.seen"
}  # fmt: skip


def own(accepted: dict[str, Any], status: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether a route of an own kind is accepted in its ninth generation, and why not."""
    targets = [{"service": "web", "share": 9}, {"service": "web-v2", "share": 1}]
    metadata = {"name": "web", "namespace": "shop", "generation": 9}
    raw = {"metadata": metadata, "spec": {"targets": targets}, "status": status}
    seen = described("ourroute", OWN | {"accepted": accepted}).view(raw)
    return seen.accepted, seen.accepted_why


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        ({"state": "Valid", "seen": 9}, (True, "")),
        ({"state": "Valid", "seen": 8}, (None, "")),
        ({"state": "Valid"}, (None, "")),
        ({"state": "Invalid", "seen": 9}, (False, "Invalid")),
        ({"state": "Invalid", "seen": 8}, (None, "")),
    ],
)
def test_a_word_counts_for_the_generation_that_the_status_names(
    status: dict[str, Any], accepted: tuple[bool | None, str]
) -> None:
    assert own(WORD, status) == accepted


def test_weights_that_are_reported_count_when_they_are_those_of_the_route() -> None:
    said = {"settle": "2s", "echo": "status.targets[]"}
    reported = [{"service": "web", "share": 9}, {"service": "web-v2", "share": 1}]
    assert own(said, {"targets": reported}) == (True, "")
    assert own(said, {"targets": reported[:1]}) == (None, "its status does not report these weights yet")
    assert own(said, {}) == (None, "its status does not report these weights yet")
