"""Plans on different rules of one route run side by side, and neither takes the other's writes for anybody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.fence import fence_of, others_wrote_last, read_fences, with_fence
from rolloutplan.engine.model.snapshot import EndpointsView, RouteConflict
from rolloutplan.traffic import ROUTE_KINDS
from tests.neighbours import Neighbours, on_rules
from tests.situations import ALL, BEGUN, HALF, OLD_WEIGHTS, SHIFTED, UP, P, m, s
from tests.world import SHOP, START, Deployment, World

BOTH = [OLD_WEIGHTS, OLD_WEIGHTS]
LIFE = [*BEGUN, "StageProved", *SHIFTED, "StageProved", *SHIFTED, "StageProved", "Succeeded"]
SHORT: Mapping[str, Any] = {"stages": [{"weight": "100%", "soak": "1m"}]}
W = {"w1": 100, "w2": 0}
OTHER_SIDES: Mapping[str, Any] = {"old": {"deployment": "w1"}, "new": {"deployment": "w2"}}


def told(pair: Neighbours) -> list[list[str]]:
    return [world.told() for world in pair.worlds]


def phases(pair: Neighbours) -> list[P]:
    return [world.phase for world in pair.worlds]


def until(pair: Neighbours, *wanted: P) -> Neighbours:
    for _ in range(2000):
        if phases(pair) == list(wanted):
            return pair
        pair.advance(s(5))
    raise AssertionError(f"{phases(pair)}: {[world.status.message for world in pair.worlds]}")


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by place"])
def test_both_succeed_side_by_side(*, named: bool) -> None:
    pair = on_rules(BOTH, named=named)
    pair.settle()
    assert phases(pair) == [P.JUDGING, P.JUDGING]
    assert pair.worlds[0].weights() == (UP, UP)
    pair.until_the_end()
    assert told(pair) == [LIFE, LIFE]
    assert pair.worlds[0].weights() == (ALL, ALL)


def test_a_plan_that_moves_the_same_object_as_another_kind_is_refused_with_both_names() -> None:
    """An Ingress may be a route of several kinds; two plans on it would write over each other's marks."""
    theirs = RouteId("AlbIngress", "shop")
    rival = RouteConflict(
        "ns/other", frozenset({theirs}), running=True, waiting=False, created=START, uid="0", others={SHOP: theirs}
    )
    world = World(route_conflicts=(rival,))
    world.advance(m(1))
    assert (world.phase, world.status.reason, world.moves) == (P.PENDING, "Conflict", [])
    assert world.status.message.startswith(
        "HTTPRoute shop is one object with AlbIngress shop, which plan ns/other moves"
    )
    assert "name the same kind in both" in world.status.message
    world.route_conflicts = ()
    world.until(P.JUDGING)


def test_a_plan_waits_for_one_that_sizes_its_deployment() -> None:
    """Where the number of pods is a weight, two plans that write it would push each other's."""
    rival = RouteConflict("ns/other", frozenset(), True, False, START, "0", sizes=frozenset({"v1"}))
    world = World(route_conflicts=(rival,))
    world.advance(m(1))
    assert (world.phase, world.status.reason, world.moves) == (P.PENDING, "Conflict", [])
    assert world.status.message.startswith("Deployment v1 is sized by plan ns/other too, and its number of pods is a ")
    world.route_conflicts = ()
    world.until(P.JUDGING)


def test_rules_that_hold_different_services_need_no_names() -> None:
    second = {**OTHER_SIDES, "traffic.routes[0].rules": []}
    pair = on_rules([OLD_WEIGHTS, W], first={"traffic.routes[0].rules": []}, second=second)
    other = pair.worlds[1]
    other.old, other.new = Deployment("w1"), Deployment("w2")
    other.services = frozenset({"w1", "w2"})
    pair.until_the_end()
    assert told(pair) == [LIFE, LIFE]
    assert other.weights() == (ALL, {"w1": 0, "w2": 100})


def test_plans_for_the_same_rule_wait_for_each_other() -> None:
    pair = on_rules(BOTH, second={"traffic.routes[0].rules": ["first", "second"]})
    pair.settle()
    waiting = pair.worlds[1].status
    assert (phases(pair), waiting.reason) == ([P.JUDGING, P.PENDING], "Conflict")
    assert "HTTPRoute shop is in use by plan ns/first: wait until that plan ends, or delete it" in waiting.message
    assert "plans that move other rules run side by side (traffic.routes[].rules)" in waiting.message


def test_one_rolls_back_and_the_other_goes_on() -> None:
    pair = on_rules(BOTH)
    pair.advance(m(1))
    pair.worlds[0].says["errors"] = 0.2
    pair.until_the_end()
    assert phases(pair) == [P.ROLLED_BACK, P.SUCCEEDED]
    assert pair.worlds[0].weights() == (OLD_WEIGHTS, ALL)
    assert pair.worlds[1].told() == LIFE


@pytest.mark.parametrize("lag", [s(0), s(20)], ids=["at once", "late"])
def test_both_roll_back_at_once_while_the_gateway_lags(lag: Any) -> None:
    pair = on_rules(BOTH, lag=lag)
    pair.advance(m(2))
    for world in pair.worlds:
        world.says["errors"] = 0.2
    pair.until_the_end()
    assert phases(pair) == [P.ROLLED_BACK, P.ROLLED_BACK]
    assert pair.worlds[0].weights() == (OLD_WEIGHTS, OLD_WEIGHTS)
    assert [len([move for move in world.moves if move.snapshot]) for world in pair.worlds] == [2, 2]


def test_the_other_runs_writes_do_not_keep_a_weight_from_being_accepted() -> None:
    """The gateway needs 20 s for a generation, and each plan has 30 s; the neighbour makes a new one each 15 s."""
    pair = on_rules(BOTH, lag=s(20))
    first, second = pair.worlds
    second.say("pause p1")
    pair.settle()
    raised = 0
    for _ in range(60):
        pair.advance(s(15))
        meta = first.routes["shop"]["metadata"]
        first.routes["shop"] = {**first.routes["shop"], "metadata": {**meta, "generation": meta["generation"] + 1}}
        first._changed_at["shop"] = first.now
        raised += 1
    assert raised == 60
    assert "RollbackStarted" not in first.told()
    assert first.phase in (P.JUDGING, P.BAKING, P.SUCCEEDED, P.SHIFTING)


def test_a_write_that_the_other_run_came_before_is_repeated_at_once() -> None:
    pair = on_rules(BOTH)
    first, second = pair.worlds
    pair.advance(m(2) + s(55))
    before = len(first.done)

    def neighbour_writes(world: World) -> None:
        second.now = world.now
        second.say("abort a1")
        second.settle()

    first.traps["route"] = neighbour_writes
    pair.advance(m(1))
    assert second.phase is P.ROLLED_BACK
    assert (first.phase, first.weights()) == (P.JUDGING, (HALF, OLD_WEIGHTS))
    writes = [effect for effect in first.done[before:] if effect.key.kind == "route"]
    assert len(writes) == 2
    assert "WeightDrift" not in first.told()
    assert [each.reason for each in first.status.conditions if each.type == "RequestsAccepted"] == []


def test_the_other_runs_undo_command_stays_when_one_rolls_back() -> None:
    pair = on_rules(BOTH)
    pair.settle()
    first, second = pair.worlds
    annotations = first.routes["shop"]["metadata"]["annotations"]
    assert annotations["rolloutplan.dev/revert"] == second.status.revert
    first.says["errors"] = 0.2
    pair.advance(m(1))
    assert (first.phase, first.plan().undo_annotation) == (P.ROLLED_BACK, "")
    assert first.routes["shop"]["metadata"]["annotations"]["rolloutplan.dev/revert"] == second.status.revert
    second.says["errors"] = 0.2
    pair.advance(m(1))
    assert "rolloutplan.dev/revert" not in first.routes["shop"]["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("undo", "after"),
    [
        pytest.param("mine", "second/b.1.1 first/a.1.1", id="another undo command: it is the last writer now"),
        pytest.param("theirs", "first/a.1.1 second/b.1.1", id="the one that is there: nothing changes hands"),
        pytest.param("", "first/a.1.1 second/b.1.1", id="none: that of the other run stays"),
    ],
)
def test_who_writes_the_undo_command_on_a_route_is_the_last_in_its_tokens(undo: str, after: str) -> None:
    world = on_rules(BOTH).worlds[0]
    route = world.routes["shop"]
    marks = {"rolloutplan.dev/seq": "first/a.1.1 second/b.1.1", "rolloutplan.dev/revert": "theirs"}
    route["metadata"]["annotations"] = marks
    kind = ROUTE_KINDS["HTTPRoute"]
    patch = kind.patch(
        kind.view(route), RouteWeights(kind="HTTPRoute", name="shop", rules=()), token="first/a.1.1", undo=undo
    )
    patched = jsonpatch.apply_patch(route, [*patch])["metadata"]["annotations"]
    assert patched["rolloutplan.dev/seq"] == after


def test_a_rollback_that_was_interrupted_is_found_although_the_other_run_wrote_since() -> None:
    pair = on_rules(BOTH)
    pair.advance(m(1))
    first, second = pair.worlds
    first.says["errors"] = 0.2
    first.broken = {"record"}
    first.advance(s(20))
    second.now = first.now
    assert first.weights() == (OLD_WEIGHTS, UP)
    second.advance(m(3))
    assert second.weights() == (OLD_WEIGHTS, HALF)
    first.broken, first.now = set(), second.now
    first.says["errors"] = 0.0
    first.crash()
    pair.settle()
    assert (first.phase, first.status.reason) == (P.ROLLED_BACK, "Interrupted")


def test_both_are_told_when_git_sets_both_back_after_their_success() -> None:
    pair = on_rules(BOTH, second={"bake": "30m"})
    pair.until_the_end()
    first, second = pair.worlds
    for rule in (0, 1):
        first.drift(OLD_WEIGHTS, rule=rule, by="kustomize-controller")
    pair.advance(m(1))
    assert [world.status.reason for world in (first, second)] == ["WeightsSetBack", "WeightsSetBack"]
    assert "HTTPRoute shop rule 0 has weights 100/0" in first.status.message
    assert "HTTPRoute shop rule 1 has weights 100/0" in second.status.message


def test_a_plan_that_ran_on_the_same_rule_since_answers_for_it() -> None:
    later = {"old": {"deployment": "v2"}, "new": {"deployment": "v3"}, "traffic.routes[0].rules": []}
    pair = on_rules([{"v1": 100, "v2": 0, "v3": 0}], named=False, first=SHORT, second=later)
    first, second = pair.worlds
    second.old, second.new, second.services = Deployment("v2"), Deployment("v3"), frozenset({"v2", "v3"})
    until(pair, P.SUCCEEDED, P.SUCCEEDED)
    assert first.weights() == ({"v1": 0, "v2": 0, "v3": 100},)
    assert (first.status.reason, second.status.reason) == ("Succeeded", "Succeeded")


def test_a_revert_waits_for_no_plan_on_other_rules() -> None:
    pair = on_rules(BOTH, first=SHORT, second={"bake": "5h"})
    until(pair, P.SUCCEEDED, P.BAKING)
    first, _ = pair.worlds
    first.say("revert r1")
    pair.advance(s(1))
    assert (first.phase, first.weights()) == (P.ROLLED_BACK, (OLD_WEIGHTS, ALL))


def test_an_outage_of_the_one_is_repaired_beside_the_other() -> None:
    pair = on_rules(BOTH, first=SHORT, second={"bake": "5h"})
    until(pair, P.SUCCEEDED, P.BAKING)
    first, second = pair.worlds
    first.served = {"v1": EndpointsView()}
    first.drift(OLD_WEIGHTS, by="kustomize-controller")
    pair.advance(s(5))
    assert first.weights() == (ALL, ALL)
    assert "WeightDrift" not in second.told()


# ---- the annotation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "entry", "after", "others_last"),
    [
        ("", "main/a.1.1", "main/a.1.1", False),
        ("main/a.1.1", "main/a.2.1", "main/a.2.1", False),
        ("main/a.1.1", "other/b.1.1", "main/a.1.1 other/b.1.1", True),
        ("main/a.1.1 other/b.1.1", "main/a.2.1", "other/b.1.1 main/a.2.1", True),
        ("other/b.1.1 main/a.1.1", "main/a.2.1", "other/b.1.1 main/a.2.1", False),
        ("main+2/a.1.1", "2/c.1.1", "2/c.1.1", False),
        ("a.1.1", "main/b.1.1", "main/b.1.1", False),
        ("main/a.1.1", "b.1.1", "b.1.1", False),
        ("  main/a.1.1\nno token ", "x/b.1.1", "main/a.1.1 x/b.1.1", False),
    ],
)
def test_the_tokens_on_a_route(text: str, entry: str, after: str, *, others_last: bool) -> None:
    assert with_fence(text, entry) == after
    assert others_wrote_last(text, entry) is others_last
    assert fence_of(after, read_fences(entry)[0].owner) == entry.rpartition("/")[2]


def test_a_rule_that_nobody_knows_belongs_to_everybody() -> None:
    claim = on_rules(BOTH).worlds[0].claim()
    route = next(iter(claim.routes))
    assert claim.meets(route, None)
    assert replace(claim, rules={}).meets(route, frozenset({7}))
    assert not claim.meets(route, frozenset({1}))
