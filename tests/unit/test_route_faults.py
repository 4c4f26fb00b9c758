"""Objects of a kind of route in which something is wrong: what a plan says of them, with the place and the fix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import FEATURE_FLAG
from rolloutplan.api.status import RouteWeights
from rolloutplan.api.traffic import RouteRef
from rolloutplan.engine.model.routes import UnusableError, select_in
from rolloutplan.engine.model.snapshot import RouteView
from tests.routers.samples import SAMPLES, Raw, Sample
from tests.world import World

NGINX, SKIPPER = "nginx.ingress.kubernetes.io", "zalando.org/backend-weights"
ALB = "alb.ingress.kubernetes.io/actions.web"
GONE: Any = object()


def changed(raw: Raw, where: tuple[Any, ...], value: Any) -> Raw:
    holder: Any = raw
    for step in where[:-1]:
        holder = holder[step]
    if value is GONE:
        del holder[where[-1]]
    else:
        holder[where[-1]] = value
    return raw


def selected(sample: Sample, view: RouteView) -> RouteWeights:
    """The rules of a route that a plan moves."""
    snapshot = replace(World().snapshot(), routes={view.id: view})
    flag = {"flag": "checkout"} if sample.name == FEATURE_FLAG else {}
    return select_in(snapshot, RouteRef(kind=sample.name, name=view.id.name, **flag), sample.old, sample.new)


# fmt: off
FAULTS = [
    ("AlbIngress", ("metadata", "annotations", ALB), "{", "RouteUnreadable",
     "/metadata/annotations/alb.ingress.kubernetes.io~1actions.web is not JSON: correct its text"),
    ("AlbIngress", ("metadata", "annotations", ALB), '{"type": "redirect"}', "RouteWithoutBothServices",
     "add the missing one to targetGroups"),
    ("SkipperIngress", ("metadata", "annotations", SKIPPER), '{"web": "95", "web-v2": 5}', "RouteUnreadable",
     '/metadata/annotations/zalando.org~1backend-weights: web is "95": write a number'),
    ("SkipperIngress", ("metadata", "annotations", SKIPPER), GONE, "RouteWithoutBothServices",
     f"its rules hold no Service ({SKIPPER}): add the missing one to {SKIPPER}"),
    ("VirtualService", ("spec", "http", 0, "route", 0, "weight"), "95", "RouteUnreadable",
     '/spec/http/0/route/0/weight is "95": write a number'),
    ("TraefikService", ("spec", "weighted", "services", 0, "weight"), 1.5, "RouteUnreadable",
     "/spec/weighted/services/0/weight is 1.5: write a whole number from 0 on"),
    ("TraefikService", ("spec", "weighted"), GONE, "RouteWithoutBothServices",
     "its rules hold no Service (spec.weighted.services[]): add the missing one to services"),
    ("HTTPProxy", ("spec", "routes", 0, "services", 1, "weight"), -1, "RouteUnreadable",
     "/spec/routes/0/services/1/weight is -1: write a whole number from 0 on"),
    ("OpenShiftRoute", ("spec", "alternateBackends"), GONE, "RouteWithoutBothServices", "its rules hold web:"),
    ("VirtualServer", ("spec", "upstreams", 1, "service"), "other", "RouteWithoutBothServices",
     "its rules hold other, web"),
    ("NginxCanary", ("metadata", "annotations", f"{NGINX}/canary"), "false", "RouteUnreadable",
     '/metadata/annotations/nginx.ingress.kubernetes.io~1canary is not "true": write it'),
    ("NginxCanary", ("metadata", "annotations", f"{NGINX}/canary-weight"), "5%", "RouteUnreadable",
     '/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight is "5%": write a number'),
    ("NginxCanary", ("spec", "rules", 0, "host"), "another.example.com", "RouteUnreadable",
     "no other object has the same spec.rules[].host and spec.rules[].http.paths[].path: create the old side's"),
    ("Mapping", ("spec", "prefix"), "/new", "RouteUnreadable", "create the old side's"),
    ("FeatureFlag", ("spec", "flagSpec", "flags", "checkout", "targeting", "fractional", 1), ["off", "90"],
     "RouteUnreadable", '/spec/flagSpec/flags/checkout/targeting/fractional/1/1 is "90": write a number'),
]
# fmt: on


@pytest.mark.parametrize(("name", "where", "value", "reason", "words"), FAULTS)
def test_what_is_wrong_is_named_with_its_place(
    name: str, where: tuple[Any, ...], value: Any, reason: str, words: str
) -> None:
    sample = SAMPLES[name]
    view = sample.view(changed(sample.object, where, value))
    with pytest.raises(UnusableError) as refused:
        selected(sample, view)
    assert refused.value.reason == StatusReason(reason)
    assert refused.value.message.startswith((f"{name} ns/{view.id.name} ", f"{name} ns/{view.id.name}: "))
    assert words in refused.value.message


def test_a_fault_in_a_rule_that_the_plan_does_not_move_is_none_of_its_business() -> None:
    sample = SAMPLES["HTTPRoute"]
    view = sample.view(changed(sample.object, ("spec", "rules", 2, "backendRefs", 0, "weight"), "1"))
    assert view.faults.keys() == {2}
    assert [rule.index for rule in selected(sample, view).rules] == [0, 1]


def test_a_companion_that_goes_during_a_run_does_not_stop_the_way_back() -> None:
    """The new side's object alone holds the weight."""
    sample = SAMPLES["NginxCanary"]
    seen, alone = sample.view(sample.object), sample.kind.view(sample.object)
    assert alone.rules[0].backends[1] == seen.rules[0].backends[1]
    assert alone.faults
