"""A run moves its own rules only, whatever others do to the route in the meantime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Backend, Phase, RuleWeights
from rolloutplan.engine.model.routes import locate
from rolloutplan.engine.model.snapshot import RouteView
from tests.situations import m
from tests.unit.test_engine_flags import Flagged

Flag = dict[str, Any]
OTHERS = {"fractional": [["off", 1], ["on", 1]]}


def flag_of(world: Flagged, name: str = "new-cart") -> Flag:
    flag: Flag = world.routes["checkout"]["spec"]["flagSpec"]["flags"][name]
    return flag


def edit(world: Flagged, change: Callable[[Flag], object]) -> None:
    """Somebody edits the flag."""
    world.routes = copy.deepcopy(world.routes)
    meta = world.routes["checkout"]["metadata"]
    meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
    change(flag_of(world))


def wrap(flag: Flag) -> None:
    flag["targeting"] = {"if": [{"in": ["a", {"var": "x"}]}, "on", flag["targeting"]]}


WITHOUT_WEIGHTS = pytest.mark.parametrize(
    "change",
    [
        pytest.param(wrap, id="wrapped in if"),
        pytest.param(lambda flag: flag["targeting"].clear(), id="fractional deleted"),
        pytest.param(lambda flag: flag["targeting"]["fractional"].pop(0), id="one variant taken out"),
    ],
)


@WITHOUT_WEIGHTS
def test_a_flag_without_its_weights_holds_the_run_and_no_other_flag_is_moved(change: Callable[[Flag], object]) -> None:
    world = Flagged().until(Phase.JUDGING, stage="half")
    edit(world, change)
    world.until(Phase.HELD, limit=m(2)).advance(m(30))
    assert world.status.held_for == "Conflict"
    assert "its rule new-cart" in world.status.message
    assert flag_of(world, "a-flag")["targeting"] == OTHERS


@WITHOUT_WEIGHTS
def test_a_rollback_waits_for_its_own_flag_and_moves_no_other(change: Callable[[Flag], object]) -> None:
    world = Flagged().until(Phase.JUDGING, stage="half")
    before = copy.deepcopy(flag_of(world)["targeting"])
    edit(world, change)
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK).advance(m(10))
    assert world.phase is Phase.ROLLING_BACK
    assert "no longer holds both v1/off and v1/on in its rule new-cart" in world.status.message
    edit(world, lambda flag: flag.update(targeting=before))
    world.until(Phase.ROLLED_BACK)
    assert world.weights() == ({"off": 100, "on": 0},)
    assert flag_of(world, "a-flag")["targeting"] == OTHERS


def rule(index: int, name: str, *services: str, at: str = "") -> RuleWeights:
    backends = tuple(Backend(service=service, weight=1) for service in services)
    return RuleWeights(index=index, name=name, at=at, backends=backends)


def view(*rules: RuleWeights, keyed: bool) -> RouteView:
    return RouteView(RouteId("Any", "shop"), 1, rules, "1", accepted=True, keyed=keyed)


@pytest.mark.parametrize("name", ["", "main"])
def test_a_rule_with_a_key_is_found_under_no_other(name: str) -> None:
    ours = rule(0, name, "v1", "v2", at="/metadata/annotations/main")
    others = rule(0, "other" if name else "", "v1", "v2", at="/metadata/annotations/other")
    assert locate(view(others, keyed=True), ours, ("v1", "v2")) is None
    moved = ours.model_copy(update={"index": 1})
    assert locate(view(others, moved, keyed=True), ours, ("v1", "v2")) == moved


def test_a_named_rule_that_lost_a_side_is_found_under_no_other_name() -> None:
    ours, others = rule(0, "main", "v1", "v2"), rule(1, "other", "v1", "v2")
    assert locate(view(rule(0, "main", "v1"), others, keyed=False), ours, ("v1", "v2")) is None
    assert locate(view(rule(0, "", "v1", "v2"), others, keyed=False), ours, ("v1", "v2")) is not None
