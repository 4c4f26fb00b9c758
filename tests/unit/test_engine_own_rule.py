"""A run moves its own rules only, whatever others do to the route in the meantime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonpatch
import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import Backend, Phase, RuleWeights
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.sides import as_plan_sees
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.traffic import ROUTE_KINDS
from tests.refusals import changed
from tests.situations import HALF, OLD_WEIGHTS, SELDOM, judging, m
from tests.unit.test_engine_flags import Flagged
from tests.unit.test_engine_mixed_routes import Mixed, Raw
from tests.world import PLAN, World

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
    world = Flagged()
    world.until(Phase.JUDGING, stage="half")
    edit(world, change)
    world.until(Phase.HELD, limit=m(2)).advance(m(12))
    assert world.status.held_for == "Conflict"
    assert "its rule new-cart" in world.status.message
    assert flag_of(world, "a-flag")["targeting"] == OTHERS


@WITHOUT_WEIGHTS
def test_a_rollback_waits_for_its_own_flag_and_moves_no_other(change: Callable[[Flag], object]) -> None:
    world = Flagged()
    world.until(Phase.JUDGING, stage="half")
    before = copy.deepcopy(flag_of(world)["targeting"])
    edit(world, change)
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK).advance(m(3))
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


FAULTS = pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda flag: flag.update(state="DISABLED"), "flag new-cart is DISABLED"),
        (lambda flag: flag["variants"].pop("on"), 'flag new-cart has no variant "on"'),
    ],
    ids=["disabled", "variant lost"],
)


@FAULTS
def test_a_flag_that_nobody_can_follow_holds_the_run_until_it_is_mended(
    change: Callable[[Flag], object], words: str
) -> None:
    world = Flagged()
    world.until(Phase.JUDGING, stage="half")
    before = copy.deepcopy(flag_of(world))
    edit(world, change)
    world.until(Phase.HELD, limit=m(2)).advance(m(12))
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Conflict")
    assert words in world.status.message
    fractional = flag_of(world)["targeting"]
    edit(world, lambda flag: flag.update({**before, "targeting": fractional}))
    world.until(Phase.SUCCEEDED)


@FAULTS
def test_guards_stay_on_while_a_flag_cannot_be_followed(change: Callable[[Flag], object], words: str) -> None:
    world = Flagged()
    world.until(Phase.JUDGING, stage="half")
    edit(world, change)
    world.until(Phase.HELD, limit=m(2))
    assert words in world.status.message
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK, limit=m(2))
    assert world.weights() == ({"off": 100, "on": 0},)


def test_a_fault_in_the_bake_holds_the_run() -> None:
    world = Flagged()
    world.until(Phase.BAKING)
    edit(world, lambda flag: flag.update(state="DISABLED"))
    world.until(Phase.HELD, limit=m(2)).advance(m(12))
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Conflict")


def ingress(name: str, service: str, **annotations: str) -> Raw:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    written = {f"nginx.ingress.kubernetes.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    meta = {"namespace": "ns", "name": name, "generation": 1, "resourceVersion": "7", "annotations": written}
    return {"metadata": meta, "spec": {"rules": [{"host": "shop.example", "http": {"paths": [path]}}]}}


NGINX = ROUTE_KINDS["NginxCanary"]


@dataclass
class Canary(Mixed):
    """A canary Ingress of ingress-nginx, and the main one."""

    siblings: list[Raw] = field(default_factory=lambda: [ingress("shop", "v1")])
    spec: Raw = field(
        default_factory=lambda: changed(
            PLAN, {"traffic.routes": [{"kind": "NginxCanary", "name": "canary"}], "traffic.share": "Ignore", **SELDOM}
        )
    )
    routes: dict[str, Raw] = field(
        default_factory=lambda: {"canary": ingress("canary", "v2", canary="true", canary_weight="0")}
    )

    def route_view(self, name: str) -> RouteView:
        names = Names("v1", "v2")
        return as_plan_sees(NGINX.view(self.routes[name], self.siblings), names, names, NGINX.plain)

    def write_weights(self, effect: Effect) -> None:
        work = effect.work
        assert isinstance(work, PatchRoute)
        view = effect.snapshot.routes[work.target.id]
        patch = NGINX.patch(view, work.target, token=work.fencing_token, undo=work.undo_command)
        raw = jsonpatch.apply_patch(self.routes["canary"], patch)
        raw["metadata"]["generation"] += 1
        self.routes = {"canary": raw}


def test_a_canary_whose_main_ingress_is_gone_holds_the_run_until_it_is_back() -> None:
    world = Canary()
    world.until(Phase.JUDGING, stage="half")
    main = world.siblings.pop()
    world.until(Phase.HELD, limit=m(2)).advance(m(12))
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Conflict")
    assert "NginxCanary canary: no other object has the same" in world.status.message
    assert world.weights("canary") == ({"v1": 50, "v2": 50},)
    world.siblings.append(main)
    world.until(Phase.SUCCEEDED)


def test_a_canary_without_its_main_ingress_goes_back_when_a_guard_trips() -> None:
    world = Canary()
    world.until(Phase.JUDGING, stage="half")
    world.siblings.clear()
    world.until(Phase.HELD, limit=m(2))
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK, limit=m(2))
    assert world.weights("canary") == ({"v1": 100, "v2": 0},)


def inserted(world: World, *, weight: int) -> None:
    """Somebody puts a rule of his own, with both sides, before ours."""
    raw = copy.deepcopy(world.routes["shop"])
    items = [{"name": side, "port": 80, "weight": weight} for side in ("v1", "v2")]
    raw["spec"]["rules"].insert(0, {"matches": [{"path": {"type": "PathPrefix", "value": "/n"}}], "backendRefs": items})
    world._put("shop", raw, by="kubectl-edit")


@pytest.mark.parametrize("weight", [1, 50])
@pytest.mark.parametrize(
    ("errors", "end", "ours"), [(0.5, Phase.ROLLED_BACK, (100, 0)), (0, Phase.SUCCEEDED, (0, 100))]
)
def test_a_rule_that_somebody_puts_before_ours_is_not_moved(
    weight: int, errors: float, end: Phase, ours: tuple[int, int]
) -> None:
    world = judging(stage="half")()
    inserted(world, weight=weight)
    world.says["errors"] = errors
    world.until(end)
    assert world.weights() == ({"v1": weight, "v2": weight}, dict(zip(("v1", "v2"), ours, strict=True)))


def test_a_rule_that_somebody_edits_in_its_place_is_still_ours() -> None:
    world = judging(stage="half")()
    raw = copy.deepcopy(world.routes["shop"])
    raw["spec"]["rules"][0]["timeouts"] = {"request": "1s"}
    world._put("shop", raw, by="kubectl-edit")
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK)
    assert world.weights() == ({"v1": 100, "v2": 0},)


def two_rules(*weights: tuple[int, int]) -> World:
    """A route with a rule for each of these weights of both sides, half way to the new side."""
    paths = [{"path": {"type": "PathPrefix", "value": f"/{number}"}} for number in range(len(weights))]
    rules = [
        {
            "matches": [path],
            "backendRefs": [{"name": "v1", "port": 80, "weight": a}, {"name": "v2", "port": 80, "weight": b}],
        }
        for path, (a, b) in zip(paths, weights, strict=True)
    ]
    world = World()
    world.routes["shop"]["spec"]["rules"] = rules
    return world.until(Phase.JUDGING, stage="half")


@pytest.mark.parametrize("gone", [0, 1])
def test_a_rule_that_somebody_takes_away_leaves_the_others_to_go_back_to_their_own_weights(gone: int) -> None:
    world, before = two_rules((100, 0), (7, 0)), [{"v1": 100, "v2": 0}, {"v1": 7, "v2": 0}]
    raw = copy.deepcopy(world.routes["shop"])
    del raw["spec"]["rules"][gone]
    world._put("shop", raw, by="kubectl-edit")
    world.until(Phase.HELD, limit=m(2)).advance(m(5))
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Conflict")
    assert "HTTPRoute shop no longer holds both v1 and v2 in one rule" in world.status.message
    world.says["errors"] = 0.5
    world.advance(m(5))
    assert world.weights() == (before[1 - gone],)
    assert "HTTPRoute shop no longer holds both v1 and v2 in one rule" in world.status.message


def taken_out(path: str) -> Raw:
    """A rule under a path that gives the old side all requests."""
    match = {"path": {"type": "PathPrefix", "value": path}}
    return {"matches": [match], "backendRefs": [{"name": "v1", "port": 80, "weight": 1}]}


@pytest.mark.parametrize("instead", [[], [taken_out("/shop")]])
def test_a_way_back_ends_where_the_rule_is_gone_though_testers_still_get_the_new_side(instead: list[Raw]) -> None:
    testers = {
        "matches": [{"headers": [{"name": "x-staff", "value": "yes"}]}],
        "backendRefs": [{"name": "v2", "port": 80, "weight": 1}],
    }
    world = judging()()
    raw = copy.deepcopy(world.routes["shop"])
    raw["spec"]["rules"] = [testers, *instead]
    world._put("shop", raw, by="kubectl-edit")
    world.until(Phase.HELD, limit=m(2))
    world.say("abort a1")
    world.until(Phase.ROLLED_BACK, limit=m(5))
    assert world.status.message.startswith(
        "not all could be put back: HTTPRoute shop no longer holds both v1 and v2 in one rule"
    )


def edited_beyond_recognition(raw: Raw) -> None:
    """The one rule of the run is behind another, twice, and each has another match: nothing tells which one it was."""
    (own,) = raw["spec"]["rules"]
    other = {"matches": [{"path": {"type": "Exact", "value": "/up"}}], "backendRefs": [{"name": "v3", "port": 80}]}
    paths = ({"type": "PathPrefix", "value": each} for each in ("/a", "/b"))
    raw["spec"]["rules"] = [other, *({**copy.deepcopy(own), "matches": [{"path": path}]} for path in paths)]


def test_a_way_back_restores_all_rules_that_may_be_those_of_the_run() -> None:
    """Forward none is guessed; on the way back a bad release must not stay in traffic because of an edit."""
    world = judging({}, "half")()
    edited_beyond_recognition(world.routes["shop"])
    world.touch("shop")
    world.until(Phase.HELD)
    assert world.weights() == ({"v3": 1}, HALF, HALF)
    world.say("abort a1")
    world.advance(m(2))
    assert world.weights() == ({"v3": 1}, OLD_WEIGHTS, OLD_WEIGHTS)


def test_a_way_back_restores_no_rule_that_the_plan_does_not_name() -> None:
    world = judging({"traffic.routes[0].rules": [0]}, "half")()
    edited_beyond_recognition(world.routes["shop"])
    world.touch("shop")
    world.until(Phase.HELD)
    world.say("abort a1")
    world.advance(m(2))
    assert world.weights() == ({"v3": 1}, HALF, HALF)
    assert "no longer holds both v1 and v2 in one rule" in world.status.message
