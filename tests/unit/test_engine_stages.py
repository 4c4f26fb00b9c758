"""Stages without weights: what they add to a route is judged like a weight, and taken away to the byte."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from rolloutplan.traffic.overlay import ADDED
from tests.neighbours import on_rules
from tests.refusals import DARK, STAFF, STICKY
from tests.situations import (
    ALL,
    HALF,
    OLD_WEIGHTS,
    UP,
    P,
    fresh,
    judging,
    m,
)
from tests.undoing import run_by_hand
from tests.world import PLAN, World, crash, http_route

WEIGHTLESS: Final[dict[str, Any]] = {
    "stages": [{**DARK, "soak": "2m"}, {**STAFF, "soak": "2m"}, *PLAN["stages"]],
}
MIRROR: Final = {
    "type": "RequestMirror",
    "requestMirror": {"backendRef": {"name": "v2", "port": 80}, "percent": 10},
}
TESTERS: Final = {
    "backendRefs": [{"name": "v2", "port": 80}],
    "matches": [
        {
            "path": {"type": "PathPrefix", "value": "/"},
            "headers": [{"name": "x-staff", "type": "Exact", "value": "yes"}],
        }
    ],
}
STAGES: Final = ("dark", "staff", "canary", "half", "all")


def rules(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.routes["shop"]["spec"]["rules"]
    return found


def is_bare(world: World) -> bool:
    """Whether nothing is left on the route of what was added."""
    raw = world.routes["shop"]
    return rules(world) == http_route("shop", [OLD_WEIGHTS])["spec"]["rules"] and not raw["metadata"][
        "annotations"
    ].get(ADDED)


def by_hand(world: World) -> list[dict[str, Any]]:
    """The rules of the route after the undo command of the status was run."""
    found: list[dict[str, Any]] = run_by_hand(world.routes["shop"], world.status.revert)["spec"]["rules"]
    return found


def test_the_mirror_ends_with_its_stage_and_testers_stay_until_the_last_weight() -> None:
    world, seen = fresh(WEIGHTLESS)(), {}
    for stage in STAGES:
        world.until(P.JUDGING, stage=stage)
        seen[stage] = copy.deepcopy(rules(world))
    assert seen["dark"] == [{**http_route("shop", [OLD_WEIGHTS])["spec"]["rules"][0], "filters": [MIRROR]}]
    weights = {"staff": OLD_WEIGHTS, "canary": UP, "half": HALF}
    for stage, split in weights.items():
        assert seen[stage] == [TESTERS, *http_route("shop", [split])["spec"]["rules"]], stage
    assert seen["all"] == http_route("shop", [ALL])["spec"]["rules"]
    world.until(P.SUCCEEDED)
    assert ADDED not in world.routes["shop"]["metadata"]["annotations"]


def test_each_stage_is_told_and_recorded_as_what_it_is() -> None:
    world = fresh(WEIGHTLESS)().until(P.JUDGING, stage="staff")
    notes = [each.note for each in world.status.decisions]
    for words in (
        "stage 1/5 dark: mirror 10% for v2; ",
        "mirror 10% for v2 is in force (HTTPRoute shop read back and accepted)",
        "dark is proved at mirror 10% after 120s",
        "stage 2/5 staff: header x-staff=yes for v2; ",
    ):
        assert any(note.startswith(words) for note in notes), words
    assert world.status.stage
    assert (world.status.stage.weight, world.status.weights.desired) == ("header x-staff=yes", "0%")
    (route,) = world.status.weights.written
    assert route.rules[0].added == ("header x-staff=yes to v2",)


@pytest.mark.parametrize("stage", STAGES)
def test_a_rollback_takes_away_what_was_added_to_the_byte(stage: str) -> None:
    world = judging(WEIGHTLESS, stage)()
    world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK)
    assert is_bare(world)
    began = next(each.note for each in world.status.decisions if each.reason == "RollbackStarted")
    there = {"dark": ", and mirror 10% to v2 is removed", "all": "from 100% to 0%"}
    assert began.endswith(there.get(stage, ", and header x-staff=yes to v2 is removed"))


@pytest.mark.parametrize("stage", STAGES)
def test_the_undo_command_works_by_hand_at_each_stage(stage: str) -> None:
    world = judging(WEIGHTLESS, stage)()
    assert by_hand(world) == http_route("shop", [OLD_WEIGHTS])["spec"]["rules"]
    on_route = world.routes["shop"]["metadata"]["annotations"]["rolloutplan.dev/revert"]
    assert on_route == world.status.revert == world.undo_annotation


@pytest.mark.parametrize("stage", STAGES[:3])
@pytest.mark.parametrize("point", ["record", "recorded", "route", "routed"])
def test_a_crash_leaves_nothing_behind(stage: str, point: str) -> None:
    world = fresh(WEIGHTLESS)()
    if stage != STAGES[0]:
        world.until(P.JUDGING, stage=STAGES[STAGES.index(stage) - 1])
    world.interrupted(point, crash)
    world.until(P.JUDGING)
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert is_bare(world)


def test_a_crash_in_the_way_back_leaves_nothing_behind() -> None:
    for point in ("record", "recorded", "route", "routed"):
        world = judging(WEIGHTLESS, "canary")()
        world.says["errors"] = 0.2
        world.interrupted(point, crash)
        world.until(P.ROLLED_BACK)
        assert is_bare(world), point


@pytest.mark.parametrize("stage", ["dark", "staff"])
def test_a_tool_that_applies_the_route_without_it_holds_the_run_and_resume_adds_it_again(stage: str) -> None:
    world = judging(WEIGHTLESS, stage)()
    with_it = copy.deepcopy(rules(world))
    raw = copy.deepcopy(world.routes["shop"])
    raw["spec"]["rules"] = http_route("shop", [OLD_WEIGHTS])["spec"]["rules"]
    world._put("shop", raw, by="argocd")
    world.settle()
    assert (world.phase, world.status.reason) == (P.HELD, "Conflict")
    assert (
        f"has nothing in addition to its weights, not {'mirror 10%' if stage == 'dark' else 'header'}"
        in world.status.message
    )
    world.say("resume r1")
    world.until(P.JUDGING)
    assert rules(world) == with_it


def test_a_rule_that_its_author_adds_shifts_nothing() -> None:
    world = judging(WEIGHTLESS, "canary")()
    raw, health = copy.deepcopy(world.routes["shop"]), {"backendRefs": [{"name": "v1", "port": 80, "weight": 1}]}
    raw["spec"]["rules"] = [health, *raw["spec"]["rules"]]
    world._put("shop", raw, by="kubectl-edit")
    world.until(P.JUDGING, stage="half")
    assert rules(world) == [health, TESTERS, *http_route("shop", [HALF])["spec"]["rules"]]
    world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK)
    assert rules(world) == [health, *http_route("shop", [OLD_WEIGHTS])["spec"]["rules"]]


def test_a_mirror_is_no_wrong_share() -> None:
    world = fresh({**WEIGHTLESS, "guards": [{"name": "errors", "vsOld": "> 1.5x", "events": EVENTS}]})()
    world.counts("errors", new=(0, 1), old=(0, 10))
    world.until(P.JUDGING, stage="staff")
    assert "NotEffective" not in [each.reason for each in world.status.decisions]
    assert not world.status.weights.measured


EVENTS: Final = {"bad": "bad", "total": "total"}


def test_a_gateway_that_cannot_mirror_is_refused_before_the_run_with_what_can() -> None:
    traefik = {"can": frozenset({"header", "cookie"}), "controllers": ("traefik.io/gateway-controller",)}
    world = fresh(WEIGHTLESS, another=traefik)()
    world.settle()
    assert (world.phase, world.status.reason) == (P.INVALID, "StageNotPossible")
    assert world.status.message.startswith(
        "HTTPRoute ns/shop, for which traefik.io/gateway-controller answers, cannot mirror requests: leave the stage "
        "dark out"
    )


def test_a_share_that_a_kind_cannot_mirror_is_refused() -> None:
    world = fresh({"stages": [{**DARK, "mirror": "0.5%"}, *PLAN["stages"]]})()
    world.settle()
    assert world.status.reason == "StageNotPossible"
    assert "can mirror shares in steps of 1%, not 0.5%: " in world.status.message


def test_a_sticky_cookie_is_refused_where_the_kind_has_none() -> None:
    world = fresh({"traffic.sticky": STICKY})()
    world.settle()
    assert world.status.reason == "StageNotPossible"
    assert "cannot keep users on a side by a cookie: leave spec.traffic.sticky out" in world.status.message


def test_a_deleted_plan_takes_away_what_it_added() -> None:
    world = judging(WEIGHTLESS, "dark")()
    world.delete()
    world.settle()
    assert world.gone
    assert is_bare(world)


@pytest.mark.parametrize(("stage", "again"), [("dark", "mirror 10%"), ("staff", "header x-staff=yes"), ("half", "50%")])
def test_a_run_whose_status_is_lost_is_taken_up_where_it_was(stage: str, again: str) -> None:
    world = judging(WEIGHTLESS, stage)()
    world.status_raw = {}
    world.trail.clear()
    world.version += 1
    world.crash()
    world.settle()
    assert world.status.reason == "StatusLost"
    world.say("adopt a1")
    world.until(P.HELD)
    assert f"again at {again}" in world.status.message
    world.say("abort a2")
    world.until(P.ROLLED_BACK)
    assert is_bare(world)


def test_testers_by_two_conditions_stay_in_the_order_of_their_stages() -> None:
    beta = {"name": "beta", "match": {"cookie": {"name": "beta", "value": "1.0"}}, "soak": "2m"}
    world = fresh({"stages": [STAFF, beta, *PLAN["stages"]]})().until(P.JUDGING, stage="canary")
    first, second, _ = rules(world)
    assert first == TESTERS
    assert second["matches"][0]["headers"] == [
        {"name": "Cookie", "type": "RegularExpression", "value": "(^|.*; )beta=1[.]0(;.*|$)"}
    ]
    world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK)
    assert is_bare(world)


def test_as_many_pods_as_the_copies_need_must_be_available() -> None:
    world = fresh({"stages": [{**DARK, "mirror": "80%", "approval": "Required"}, *PLAN["stages"]]})().until(P.HELD)
    world.pods(ready=3, available=3)
    world.say("approve dark")
    world.advance(m(1))
    assert (world.phase, world.status.reason) == (P.HELD, "Capacity")
    assert "mirror 80% needs 4 available pods of v2, only 3 are available" in world.status.message


OTHER: Final = {
    "matches": [{"path": {"type": "PathPrefix", "value": "/other"}}],
    "backendRefs": [{"name": "else", "port": 80, "weight": 1}],
}
MOVES: Final[dict[str, Any]] = {
    "to the end": lambda copied, base: [base, copied],
    "before another rule": lambda copied, base: [copied, OTHER, base],
}


def moved(name: str) -> World:
    """A run that is held, because somebody moved its copy for testers away from its rule."""
    world = judging(WEIGHTLESS, "staff")()
    raw = copy.deepcopy(world.routes["shop"])
    raw["spec"]["rules"] = MOVES[name](*raw["spec"]["rules"])
    world._put("shop", raw, by="kubectl-edit")
    return world.until(P.HELD)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("end", ["a guard", "abort", "resume"])
def test_a_copy_that_was_moved_is_gone_at_every_end(name: str, end: str) -> None:
    world = moved(name)
    others = [rule for rule in rules(world) if rule == OTHER]
    if end == "a guard":
        world.says["errors"] = 0.2
    else:
        world.say(f"{end} a1")
    if end == "resume":
        world.until(P.JUDGING)
        assert rules(world)[:-1] == [*others, TESTERS], "directly before its rule, and once"
        world.until(P.SUCCEEDED)
    else:
        world.until(P.ROLLED_BACK)
    split = ALL if end == "resume" else OLD_WEIGHTS
    assert rules(world) == [*others, *http_route("shop", [split])["spec"]["rules"]]
    assert ADDED not in world.routes["shop"]["metadata"]["annotations"]


@pytest.mark.parametrize("end", ["guard", "Succeeded"])
def test_a_wider_rule_of_the_author_for_the_same_testers_stays_and_holds_nothing(end: str) -> None:
    own = {**copy.deepcopy(TESTERS), "timeouts": {"request": "9s"}}
    raw = http_route("shop", [OLD_WEIGHTS])
    raw["spec"]["rules"].insert(0, own)
    world = World(routes={"shop": raw})
    world.edit(WEIGHTLESS)
    world.until(P.JUDGING, stage="staff")
    if end == "guard":
        world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK if end == "guard" else P.SUCCEEDED)
    assert rules(world)[0] == own
    assert len(rules(world)) == 2


def test_an_edited_copy_is_left_to_its_editor_and_the_run_says_so() -> None:
    world = judging(WEIGHTLESS, "staff")()
    raw = copy.deepcopy(world.routes["shop"])
    raw["spec"]["rules"][0]["matches"][0]["path"]["value"] = "/x"
    world._put("shop", raw, by="kubectl-edit")
    left = "on HTTPRoute shop header x-staff=yes to v2 at rule 0 was edited: that is left to its editor"
    world.until(P.HELD)
    assert left in world.status.message
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert left in world.status.message
    began = next(each.note for each in world.status.decisions if each.reason == "RollbackStarted")
    assert left in began
    assert "is removed" not in began
    assert rules(world) == raw["spec"]["rules"]


def test_two_plans_with_testers_on_one_route_can_be_undone_by_hand_in_either_order() -> None:
    """The one that came first is told of what the other added: its undo command is renewed, on plan and route."""
    pair = on_rules([OLD_WEIGHTS, OLD_WEIGHTS], first=WEIGHTLESS, second=WEIGHTLESS, named=False)
    first, second = pair.worlds
    pair.advance(m(3))
    assert [world.status.stage and world.status.stage.name for world in pair.worlds] == ["staff", "staff"]
    bare = http_route("shop", [OLD_WEIGHTS, OLD_WEIGHTS])["spec"]["rules"]
    for one, other in ((first, second), (second, first)):
        assert one.undo_annotation == one.status.revert
        raw = copy.deepcopy(one.routes["shop"])
        assert len(raw["spec"]["rules"]) == 4
        for world in (one, other):
            raw = run_by_hand(raw, world.status.revert)
        assert raw["spec"]["rules"] == bare
        assert ADDED not in raw["metadata"]["annotations"]


def test_an_undo_command_follows_what_others_do_to_the_route() -> None:
    world = fresh()().until(P.JUDGING)
    before = world.status.revert
    rules(world).insert(0, {"matches": [{"path": {"type": "Exact", "value": "/new"}}], "backendRefs": []})
    world.touch("shop")
    world.advance(m(1))
    assert world.status.revert == world.undo_annotation != before
    assert by_hand(world)[1:] == http_route("shop", [OLD_WEIGHTS])["spec"]["rules"]


def with_rules(total: int, moved: int) -> World:
    """A plan with testers for these first rules of a route with so many."""
    changes = {"stages": [STAFF, *PLAN["stages"]], "traffic.routes[0].rules": [*range(moved)]}
    world = fresh(changes)()
    world.routes["shop"] = http_route("shop", [OLD_WEIGHTS] * total)
    return world


def test_more_rules_than_the_gateway_api_takes_are_refused_before_the_run() -> None:
    world = with_rules(total=15, moved=2)
    world.settle()
    assert (world.phase, world.status.reason, world.moves) == (P.INVALID, "StageNotPossible", [])
    assert world.status.message == (
        "HTTPRoute shop would have 17 rules with those for testers in stage staff, and may have 16: name fewer of its "
        "rules in traffic.routes[].rules, or leave the stage out"
    )
    with_rules(total=15, moved=1).until(P.JUDGING, stage="staff")
