"""Feature flags: both sides are variants of one Deployment, and a run moves the share of a flag and takes it back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import Phase
from rolloutplan.engine.analysis.variables import is_side_specific, variables_for
from rolloutplan.engine.model.sides import as_plan_sees
from rolloutplan.engine.model.snapshot import REVERT, EndpointsView, Facts, RouteView, ServiceView
from rolloutplan.tools.lint.plans import lint_plan
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind
from tests.refusals import GONE, changed
from tests.situations import SELDOM
from tests.unit.test_traffic_flags import feature_flag
from tests.world import PLAN, Deployment, Rules, World, labels, workload

KIND = ROUTE_KINDS["FeatureFlag"]
SIDES = Names("v1/off", "v1/on")
FLAG: dict[str, Any] = {
    "old": {"deployment": "v1", "variant": "off"},
    "new": {"deployment": "v1", "variant": "on"},
    "traffic": {"routes": [{"kind": "FeatureFlag", "name": "checkout", "flag": "new-cart"}]},
    "traffic.drain": "0s",
    "traffic.share": "Ignore",
    **SELDOM,
}
BAD, TOTAL = 'carts_total{variant="$variant",code=~"5.."}', 'carts_total{variant="$variant"}'
COUNTED: dict[str, Any] = {
    **FLAG,
    "traffic.share": "Verify",
    "guards": [{"name": "errors", "events": {"bad": BAD, "total": TOTAL}, "vsOld": "> 1.5x"}],
    "stages[0].pass": GONE,
}
OF_VARIANT = 'rate(carts_total{variant="$variant",code=~"5.."}[$window])'


@dataclass
class Flagged(World):
    """One Deployment whose flag new-cart is off for everybody."""

    route_kind: RouteKind = KIND

    def __post_init__(self) -> None:
        if self.spec == PLAN:
            self.spec = changed(copy.deepcopy(PLAN), FLAG)
        self.routes = self.routes or {"checkout": feature_flag([["off", 100], ["on", 0]])}
        self.routes["checkout"]["metadata"]["namespace"] = "ns"
        self.new, self.services, self.selects = None, frozenset({"v1"}), {"v1": ServiceView(labels("v1"))}

    def facts(self) -> Facts:
        return replace(super().facts(), new=workload(self.old))

    def endpoints(self) -> dict[str, EndpointsView]:
        ready = self.old.ready if self.old else 0
        return {"v1": EndpointsView((("v1", ready),) if ready else ())}

    def weights(self, route: str = "checkout") -> Rules:
        flags = self.routes[route]["spec"]["flagSpec"]["flags"]
        pairs = flags["new-cart"]["targeting"].get("fractional", [])
        return (dict(pairs),)

    def route_view(self, name: str) -> RouteView:
        return as_plan_sees(KIND.view(self.routes[name]), Names("off", "on"), SIDES, KIND.plain, "new-cart")


def test_a_flag_is_moved_to_its_new_variant() -> None:
    world = Flagged()
    seen = []
    for stage in ("canary", "half", "all"):
        world.until(Phase.JUDGING, stage=stage)
        seen.append(world.weights()[0])
    assert seen == [{"off": 95, "on": 5}, {"off": 50, "on": 50}, {"off": 0, "on": 100}]
    world.until(Phase.SUCCEEDED)
    assert "v1/on serves 100% of the traffic" in world.status.message
    assert (world.status.weights.old, world.status.weights.new, world.status.weights.service) == (*SIDES, "v1")
    assert world.resized == []


def flag_of(world: Flagged) -> Any:
    return world.routes["checkout"]["spec"]["flagSpec"]["flags"]["new-cart"]


def test_variants_whose_values_are_swapped_hold_the_run_until_they_are_put_back() -> None:
    world = Flagged()
    world.until(Phase.JUDGING, stage="half")
    before = flag_of(world)["variants"]
    for variants in ({**before, "on": before["off"], "off": before["on"]}, {**before, "on": "blue"}):
        flag_of(world)["variants"] = variants
        world.until(Phase.HELD)
        assert world.status.held_for == "Conflict"
        assert "the values of the variants that this run moves were changed since it began" in world.status.message
        flag_of(world)["variants"] = before
        world.until(Phase.JUDGING, stage="half")
    flag_of(world)["variants"] = {**before, "red": 7}
    flag_of(world)["metadata"] = {"owner": "cart"}
    world.until(Phase.SUCCEEDED)


def test_variants_with_one_value_are_no_two_sides() -> None:
    world = Flagged()
    flag_of(world)["variants"] = {"on": True, "off": True}
    world.settle()
    assert (world.phase, world.status.reason) == (Phase.INVALID, "FlagNotUsable")
    assert 'variants "off" and "on" of flag new-cart have the same value' in world.status.message
    flag_of(world)["variants"] = {"on": 1, "off": True}
    world.until(Phase.JUDGING)
    flag_of(world)["variants"] = {"on": True, "off": True}
    world.until(Phase.HELD)
    assert 'variants "off" and "on" of flag new-cart have the same value' in world.status.message


def test_the_share_is_proved_by_the_requests_that_the_application_counts_for_each_variant() -> None:
    world = Flagged(spec=changed(PLAN, COUNTED))
    for stage, share in (("canary", 5), ("half", 50), ("all", 100)):
        world.until(Phase.SHIFTING, stage=stage)
        world.counts("errors", old=(0, 100 - share), new=(0, share))
    world.until(Phase.SUCCEEDED)
    assert world.status.weights.measured == "100.0%"


def test_a_flag_that_nobody_follows_is_held() -> None:
    world = Flagged(spec=changed(PLAN, COUNTED))
    world.counts("errors", old=(0, 100), new=(0, 0))
    world.until(Phase.HELD)
    assert world.status.held_for == "WeightNotEffective"


def test_a_guard_that_trips_turns_the_flag_back_to_the_byte() -> None:
    world = Flagged()
    before = copy.deepcopy(world.routes["checkout"]["spec"])
    world.until(Phase.JUDGING, stage="half")
    assert "featureflag" in world.status.revert
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK)
    assert world.routes["checkout"]["spec"] == before
    assert REVERT not in world.routes["checkout"]["metadata"]["annotations"]


def test_pods_that_crash_turn_the_flag_back() -> None:
    world = Flagged().until(Phase.JUDGING, stage="half")
    world.old = Deployment("v1", ready=1, failed="CrashLoopBackOff: exit code 1")
    world.until(Phase.ROLLED_BACK, limit=timedelta(minutes=2))
    assert world.weights() == ({"off": 100, "on": 0},)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (feature_flag([["off", 1]]), 'FeatureFlag ns/checkout: fractional of flag new-cart must hold "on" once'),
        (feature_flag([], state="DISABLED"), "FeatureFlag ns/checkout: flag new-cart is DISABLED"),
        (feature_flag([], targeting={}), "no fractional directly in its targeting"),
    ],
)
def test_a_flag_that_cannot_be_divided_is_refused_before_the_run(flag: dict[str, Any], words: str) -> None:
    world = Flagged(routes={"checkout": flag}).until(Phase.INVALID)
    assert world.status.reason == "FlagNotUsable"
    assert words in world.status.message


def spec(**more: Any) -> dict[str, Any]:
    return changed(PLAN, {**FLAG, **more})


def test_only_the_variant_tells_the_sides_of_one_deployment_apart() -> None:
    plan = read_plan_spec(spec())
    assert is_side_specific(plan, OF_VARIANT)
    assert not is_side_specific(plan, 'errors{deployment="$deployment",service="$service"}')
    named: Mapping[str, str] = variables_for(plan, namespace="ns", plan="p", stage="s", side="old", window=timedelta(1))
    assert (named["variant"], named["deployment"], named["service"]) == ("off", "v1", "v1")


def test_lint_asks_for_the_variant_in_each_query() -> None:
    by_deployment = {"name": "errors", "query": 'rate(errors_total{deployment="$deployment"}[$window])', "is": "> 1"}
    found = [each.words for each in lint_plan(read_plan_spec(spec(guards=[by_deployment])), None)]
    assert any("neither by a variable nor as off or on" in words and "$variant" in words for words in found), found
    by_variant = {**by_deployment, "query": OF_VARIANT}
    found = [each.words for each in lint_plan(read_plan_spec(spec(guards=[by_variant])), None)]
    assert not any("does not say which side it asks" in words for words in found if "errors" in words), found
