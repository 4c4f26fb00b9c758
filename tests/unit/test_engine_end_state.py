"""What Git holds of a rollout: its end state on a fresh cluster, rules that are none of its business."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import ROUTES_OWNED
from rolloutplan.engine.model.snapshot import EndpointsView, RouteConflict
from tests.situations import (
    ALL,
    BACK,
    BEGUN,
    CONTRACT,
    HALF,
    OLD_WEIGHTS,
    UP,
    Case,
    P,
    Situation,
    edit,
    fresh,
    ids,
    m,
    pods,
    put,
    run,
    s,
    say,
    settle,
    succeeded,
    then,
    wait,
)
from tests.world import PLAN, SHOP, START, Deployment, World, http_route

NOTHING = ["Succeeded"]
NOBODY = EndpointsView()
API = RouteId("HTTPRoute", "api")
RIVAL = RouteConflict("ns/other", frozenset({SHOP}), running=True, waiting=False, created=START, uid="0")
STOPS = {"stages": PLAN["stages"][:2], "stopAt": "50%"}


def holding(*rules: dict[str, int]) -> dict[str, Any]:
    return {"shop": http_route("shop", rules)}


def with_qa(main: dict[str, int], qa: dict[str, int], match: str = "headers") -> dict[str, Any]:
    """A route with a named rule for everybody, and one for those whose requests are marked."""
    route = http_route("shop", [main, qa])
    for rule, name in zip(route["spec"]["rules"], ("main", "qa"), strict=True):
        rule["name"] = name
    value = "/qa" if match == "path" else [{"name": "x-qa", "value": "1"}]
    route["spec"]["rules"][1]["matches"] = [{match: value}]
    return {"shop": route}


def by_git(weights: dict[str, int]) -> Callable[[World], object]:
    """What Git holds is applied."""
    return lambda world: world.drift(weights, by="kustomize-controller")


def token_of_another(world: World) -> None:
    """A plan that is no longer on its way has written the route since."""
    route = copy.deepcopy(world.routes["shop"])
    route["metadata"]["annotations"]["rolloutplan.dev/seq"] = "another0.7.1"
    world.routes["shop"] = route


def every_repair_was_recorded(world: World) -> None:
    """The status held the intent of each of our writes before it was sent."""
    moves = [move for move in world.moves if move.snapshot and move.snapshot.status.phase is P.SUCCEEDED]
    assert len(moves) == 3
    assert all(move.snapshot and move.snapshot.status.intent for move in moves)


def at_the_end(changes: dict[str, Any] | None = None, **world: Any) -> Situation:
    """A plan that comes to a fresh cluster with the weights of its end."""
    return fresh(changes, **{"routes": holding(ALL), **world})


END_STATE = [
    Case("all that the plan asks is there: there is nothing to do", at_the_end(), settle, P.SUCCEEDED, "Succeeded",
         NOTHING, "the routes already give v2 100% of the traffic, as the last stage would: nothing to do", ALL),
    Case("and nothing follows", at_the_end(), then(settle, lambda w: w.crash(), wait(m(60))), P.SUCCEEDED, "Succeeded",
         NOTHING, "nothing was evaluated", ALL),
    Case("not where another route has its traffic", at_the_end(route_notes={SHOP: "another"}),
         wait(m(30)), P.INVALID, "RouteNotOwned", ["Stalled"], "HTTPRoute ns/shop: another", ALL),
    Case("nor while that other one is not made yet", at_the_end({"traffic.ownership": "Owned"}), wait(m(30)), P.PENDING,
         "RouteNotOwned", [], "waiting for the operator to make HTTPRoute shop-rolloutplan from it", ALL),
    Case("it needs no metrics", at_the_end(source=None, down="refused"), settle, P.SUCCEEDED, "Succeeded", NOTHING),
    Case("nor the old Deployment", at_the_end(old=None), settle, P.SUCCEEDED, "Succeeded", NOTHING),
    Case("nor tasks", at_the_end({"expand": {"scale": {"new": "MatchOld"}}}, job_fails=True), settle, P.SUCCEEDED,
         "Succeeded", NOTHING),
    Case("of several rules", at_the_end(routes=holding(ALL, {"v1": 0, "v2": 1})), settle, P.SUCCEEDED, "Succeeded",
         NOTHING),
    Case("of a plan that stops at half", at_the_end(STOPS, routes=holding(HALF)), settle, P.SUCCEEDED, "Succeeded",
         NOTHING, "give v2 50% of the traffic", HALF),
    Case("it waits for the new pods, and is no failure", at_the_end(new=Deployment("v2", ready=1)), wait(m(30)),
         P.PENDING, "NewSideNotReady", [], "waiting until it can serve it: 1 of 4 pods of v2 are ready", ALL),
    Case("and succeeds with them", at_the_end(new=Deployment("v2", ready=1)), then(wait(m(30)), pods(ready=4), settle),
         P.SUCCEEDED, "Succeeded", NOTHING),
    Case("no pods at all serve nobody", at_the_end(new=Deployment("v2", wanted=0, ready=0)), wait(m(30)), P.PENDING,
         "NewSideNotReady", [], "0 of 0 pods"),
    Case("a route that no gateway takes serves nobody", at_the_end(refusal="BackendNotFound"), wait(m(30)), P.PENDING,
         "NewSideNotReady", [], "BackendNotFound"),
    Case("a Service without endpoints serves nobody", at_the_end(served={"v2": NOBODY}), wait(m(30)), P.PENDING,
         "NewSideNotReady", [], "Service v2 has 0 of 4 ready endpoints"),
    Case("nor does one of which nothing is known yet", at_the_end(served={"v2": None}), wait(m(30)), P.PENDING,
         "NewSideNotReady", [], "the endpoints of Service v2 are not known yet"),
    Case("nor one that can never be known", at_the_end(served={"v2": EndpointsView(unknown="no right")}), wait(m(30)),
         P.PENDING, "NewSideNotReady", [], "are not known: no right; or write traffic.endpoints: Ignore"),
    Case("nor one that sends to others", at_the_end(served={"v2": EndpointsView((("v1", 4), ("v2", 4)))}), wait(m(30)),
         P.PENDING, "NewSideNotReady", [], "sends to pods of v1, not to v2 alone"),
    Case("and succeeds with endpoints", at_the_end(served={"v2": NOBODY}), then(wait(m(1)), put(served={}), settle),
         P.SUCCEEDED, "Succeeded", NOTHING),
    Case("whose endpoints are none of its business", at_the_end({"traffic.endpoints": "Ignore"}, served={"v2": NOBODY}),
         settle, P.SUCCEEDED, "Succeeded", NOTHING),
    Case("nothing is removed without a run, and that is told", at_the_end({"contract": CONTRACT}), wait(m(30)),
         P.SUCCEEDED, "Succeeded", NOTHING, "nothing was removed either: `contract` is a part of a run"),
    Case("without the new Deployment there is something to do", at_the_end(new=None), settle, P.INVALID,
         "DeploymentNotFound", ["Stalled"]),
    Case("what was missing comes", at_the_end(new=None), then(settle, put(new=Deployment("v2")), settle), P.SUCCEEDED,
         "Succeeded", ["Stalled", "Succeeded"]),
    Case("a part of it is not it", at_the_end(routes=holding(HALF)), settle, P.INVALID, "NewSideAlreadyServing",
         ["Stalled"], "HTTPRoute shop rule 0: v2 already has 50% of the traffic", HALF),
    Case("nor is nearly all", at_the_end(routes=holding({"v1": 1, "v2": 100_000})), settle, P.INVALID,
         "NewSideAlreadyServing", ["Stalled"]),
    Case("nor one rule of two", at_the_end(routes=holding(OLD_WEIGHTS, ALL)), settle, P.INVALID,
         "NewSideAlreadyServing", ["Stalled"], "HTTPRoute shop rule 1: v2 already has 100%"),
    Case("nor more than the plan ever gives", at_the_end(STOPS), settle, P.INVALID, "NewSideAlreadyServing",
         ["Stalled"]),
    Case("a person's pause comes first", at_the_end(), then(say("pause a1"), settle), P.PENDING, "Paused", ["Stalled"]),
    Case("there is nothing to revert", at_the_end(), then(settle, say("revert a1"), settle), P.SUCCEEDED, "Succeeded",
         ["Succeeded", "CommandRejected"], "", ALL),
    Case("another plan on the same cluster", at_the_end(), then(settle, edit({"bake": "9m"}), settle), P.SUCCEEDED,
         "Succeeded", ["Succeeded", "Succeeded"], "", ALL),
    Case("a new template of the new side, while it serves, starts no run", at_the_end(),
         then(settle, pods(revision="second"), wait(m(30))), P.SUCCEEDED, "Succeeded", None, "", ALL),
]  # fmt: skip


def handed_back(weights: dict[str, int]) -> Situation:
    """A run that has succeeded with a route that the operator owned, and now Git's route has these weights."""

    def make() -> World:
        world = World(routes={"shop-rolloutplan": http_route("shop-rolloutplan", [{"v1": 100, "v2": 0}])})
        world.edit({"traffic.ownership": "Owned"})
        world.until(P.SUCCEEDED)
        world.routes = {"shop": http_route("shop", [weights])}
        return world

    return make


def test_what_is_said_of_an_owned_route_after_the_run_is_in_the_status_while_it_holds() -> None:
    world, own = handed_back(ALL)(), RouteId("HTTPRoute", "shop-rolloutplan")
    in_git, world.routes = world.routes, {own.name: http_route(own.name, [ALL])}

    def said() -> tuple[str, str]:
        settle(world)
        assert world.status.phase is P.SUCCEEDED
        condition = world.status.condition(ROUTES_OWNED)
        return (condition.reason, condition.message) if condition else ("", "")

    assert said() == ("", "")
    for note in ("nobody hands its traffic back", "give it the weights"):
        world.route_notes = {own: note}
        assert said() == ("RouteNotOwned", f"HTTPRoute shop: {note}")
    world.route_notes, world.routes = {}, in_git
    assert said() == (
        "HandedBack",
        "HTTPRoute shop in Git has the traffic again: commit the weights of v1 there to go back",
    ), "revert has nothing to move any more"
    world.routes, world.unread_routes = {}, {own: "the API server is not there"}
    assert said() == ("", ""), "nobody knows whether it is gone"


def new_image(world: World) -> None:
    world.new = replace(world.new, revision="2") if world.new else None


HANDED_BACK = [
    Case("the route in Git keeps the promise", handed_back(ALL), wait(m(5)), P.SUCCEEDED, "Succeeded", []),
    Case("it is told where that gives the old side traffic again", handed_back({"v1": 100, "v2": 0}), wait(m(5)),
         P.SUCCEEDED, "WeightsSetBack", ["WeightsSetBack"],
         "HTTPRoute shop gives v1 traffic again, and HTTPRoute shop-rolloutplan is no longer there"),
    Case("another image of the side that serves starts no run", handed_back(ALL), then(new_image, wait(m(5))),
         P.SUCCEEDED, "Succeeded", ["UnjudgedChange"], "v2 serves 100% of the traffic"),
]  # fmt: skip


@pytest.mark.parametrize("case", HANDED_BACK, ids=ids)
def test_what_a_success_promised_when_the_operator_has_deleted_its_route(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", END_STATE, ids=ids)
def test_the_end_state_in_git(case: Case) -> None:
    world = run(case)
    ready = world.status.condition("Ready")
    assert ready is not None
    assert (ready.status == "True") is (world.phase is P.SUCCEEDED)
    assert (world.moves, world.resized, world.made) == ([], [], [])


TESTERS = [
    Case("is left alone", fresh(routes=with_qa(OLD_WEIGHTS, ALL)), settle, P.JUDGING, "Soaking", BEGUN),
    Case("by query parameters too", fresh(routes=with_qa(OLD_WEIGHTS, ALL, "queryParams")), settle, P.JUDGING,
         "Soaking", BEGUN),
    Case("whatever becomes of the run", fresh(routes=with_qa(OLD_WEIGHTS, ALL)),
         then(settle, lambda w: w.says.update(errors=0.2), wait(m(2))), P.ROLLED_BACK, "GuardTripped",
         [*BEGUN, *BACK]),
    Case("but not where the plan names it", fresh({"traffic.routes[0].rules": ["main", "qa"]},
         routes=with_qa(OLD_WEIGHTS, ALL)), settle, P.INVALID, "NewSideAlreadyServing", ["Stalled"],
         "HTTPRoute shop rule 1 (qa): v2 already has 100% of the traffic"),
    Case("and the way out is in the message", fresh(routes=with_qa(OLD_WEIGHTS, ALL, "path")), settle, P.INVALID,
         "NewSideAlreadyServing", ["Stalled"], "name the others: traffic.routes[].rules: [main]"),
    Case("the way out is a way", fresh({"traffic.routes[0].rules": ["main"]},
         routes=with_qa(OLD_WEIGHTS, ALL, "path")), settle, P.JUDGING, "Soaking", BEGUN),
    Case("a rule that divides what it matches is moved like any other", fresh(routes=with_qa(OLD_WEIGHTS, HALF)),
         settle, P.INVALID, "NewSideAlreadyServing", ["Stalled"], "rule 1 (qa): v2 already has 50%"),
    Case("the end state holds it too", fresh(routes=with_qa(ALL, ALL)), settle, P.SUCCEEDED, "Succeeded", NOTHING),
]  # fmt: skip


@pytest.mark.parametrize("case", TESTERS, ids=ids)
def test_a_rule_for_testers(case: Case) -> None:
    world = run(case)
    before = case.given().weights()
    assert world.weights()[1] == before[1]
    if world.phase is P.JUDGING:
        assert world.weights()[0] == UP


def test_a_route_of_nothing_but_marked_requests_is_moved() -> None:
    routes = with_qa(OLD_WEIGHTS, OLD_WEIGHTS)
    routes["shop"]["spec"]["rules"][0]["matches"] = [{"headers": [{"name": "x-app", "value": "1"}]}]
    world = World(routes=routes)
    world.settle()
    assert world.weights() == (UP, UP)


GONE_OLD = Deployment("v1", wanted=0, ready=0)
SET_BACK = ["WeightsSetBack"]

AFTER_SUCCESS = [
    Case("what Git sets back is told, with who wrote it", succeeded, then(by_git(OLD_WEIGHTS), settle),
         P.SUCCEEDED, "WeightsSetBack", SET_BACK, "HTTPRoute shop rule 0 has weights 100/0, not 0/100, last changed by "
         "kustomize-controller (Update) at", OLD_WEIGHTS),
    Case("and what to commit", succeeded, then(by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "", None,
         "commit 100% for v2, or leave the weights out of what is applied", OLD_WEIGHTS),
    Case("once", succeeded, then(by_git(OLD_WEIGHTS), wait(m(90)), lambda w: w.crash(), wait(m(90))), P.SUCCEEDED,
         "WeightsSetBack", SET_BACK, "", OLD_WEIGHTS),
    Case("a part of it too", succeeded, then(by_git(HALF), settle), P.SUCCEEDED, "WeightsSetBack", SET_BACK, "", HALF),
    Case("to nothing for both sides too", succeeded, then(by_git({"v1": 0, "v2": 0}), settle), P.SUCCEEDED,
         "WeightsSetBack", SET_BACK),
    Case("it is over when Git has it right", succeeded, then(by_git(OLD_WEIGHTS), wait(m(5)), by_git(ALL), settle),
         P.SUCCEEDED, "Succeeded", [*SET_BACK, "Resumed"], "the routes give v2 100% of the traffic again", ALL),
    Case("other numbers for the same shares are the same", succeeded, then(by_git({"v1": 0, "v2": 1}), settle),
         P.SUCCEEDED, "Succeeded", [], "", {"v1": 0, "v2": 1}),
    Case("a person's revert is no such thing", succeeded, then(say("revert r1"), settle, wait(m(60))), P.ROLLED_BACK,
         "Reverted", BACK, "", OLD_WEIGHTS),
    Case("a revert ends it", succeeded, then(by_git(OLD_WEIGHTS), settle, say("revert r1"), settle), P.ROLLED_BACK,
         "Reverted", [*SET_BACK, *BACK], "", OLD_WEIGHTS),
    Case("a plan without a run promised it too", at_the_end(), then(settle, by_git(OLD_WEIGHTS), settle), P.SUCCEEDED,
         "WeightsSetBack", ["Succeeded", *SET_BACK], "", OLD_WEIGHTS),
    Case("a plan that runs on the route moves what it likes", succeeded,
         then(put(route_conflicts=(RIVAL,)), by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "Succeeded", [], "",
         OLD_WEIGHTS),
    Case("a plan that ran on it since answers for it", succeeded, then(token_of_another, by_git(OLD_WEIGHTS), settle),
         P.SUCCEEDED, "Succeeded", [], "", OLD_WEIGHTS),
    Case("while the old side has no pods it is an outage, and put right", succeeded,
         then(put(old=GONE_OLD), by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "WeightsSetBack", SET_BACK,
         "no pod of the old side is ready, so 100% is written again", ALL),
    Case("and over a minute later", succeeded, then(put(old=None), by_git(OLD_WEIGHTS), wait(m(2))), P.SUCCEEDED,
         "Succeeded", [*SET_BACK, "Resumed"], "", ALL),
    Case("however often, told once", succeeded,
         then(put(old=GONE_OLD), *[by_git(OLD_WEIGHTS), wait(s(20))] * 20), P.SUCCEEDED, "WeightsSetBack", SET_BACK, "",
         ALL),
    Case("also twice within a second, by the same hand", succeeded,
         then(put(old=GONE_OLD), *[by_git(OLD_WEIGHTS), settle] * 3, every_repair_was_recorded), P.SUCCEEDED,
         "WeightsSetBack", SET_BACK, "", ALL),
    Case("not where the new side has none either", succeeded,
         then(put(old=GONE_OLD), pods(ready=0), by_git(OLD_WEIGHTS), wait(m(5))), P.SUCCEEDED, "WeightsSetBack",
         SET_BACK, "", OLD_WEIGHTS),
    Case("when the old side loses its pods later", succeeded,
         then(by_git(OLD_WEIGHTS), wait(m(5)), put(old=GONE_OLD), settle), P.SUCCEEDED, "WeightsSetBack", SET_BACK, "",
         ALL),
    Case("when the old Service selects nothing any more", succeeded, then(put(served={"v1": NOBODY}),
         by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "WeightsSetBack", SET_BACK,
         "Service v1 has no ready endpoint (4 of 4 pods of v1 are ready), so 100% is written again", ALL),
    Case("not where the new Service has none either", succeeded, then(put(served={"v1": NOBODY, "v2": NOBODY}),
         by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "WeightsSetBack", SET_BACK, "", OLD_WEIGHTS),
    Case("not where the old Service has others than its pods", succeeded, then(put(old=GONE_OLD,
         served={"v1": EndpointsView((("v0", 1),))}), by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "WeightsSetBack",
         SET_BACK, "", OLD_WEIGHTS),
    Case("by the pods, where endpoints are not known", succeeded, then(put(old=GONE_OLD, served={"v1": None}),
         by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "WeightsSetBack", SET_BACK, "no pod of the old side is ready", ALL),
    Case("a template that comes with it does not delay it", succeeded,
         then(put(old=GONE_OLD), pods(revision="second"), by_git(OLD_WEIGHTS), settle), P.SUCCEEDED, "WeightsSetBack",
         SET_BACK, "", ALL),
]  # fmt: skip


@pytest.mark.parametrize("case", AFTER_SUCCESS, ids=ids)
def test_after_a_success(case: Case) -> None:
    world = run(case)
    status = world.status
    good = status.reason == "Succeeded" and status.phase is P.SUCCEEDED
    assert ("Stalled" in [c.type for c in status.conditions]) is not good
    assert {c.type: c.status for c in status.conditions}["Ready"] == ("True" if good else "False")


def fights(world: World) -> None:
    """Whoever set the weights back does so again, at once, each time they are restored."""
    world.traps["routed"] = fights
    world.drift(OLD_WEIGHTS, by="kustomize-controller")


def fights_unnamed(world: World) -> None:
    fights(world)
    world.traps["routed"] = fights_unnamed
    del world.routes["shop"]["metadata"]["managedFields"]


@pytest.mark.parametrize("writer", [fights, fights_unnamed], ids=["named", "unnamed"])
def test_another_writer_that_never_gives_in_is_told_and_met_at_most_three_times_a_minute(
    writer: Callable[[World], None],
) -> None:
    world = succeeded()
    before = len(world.told())
    world.old = GONE_OLD
    writer(world)
    done = len(world.done)
    world.advance(m(10))
    ours = [move for move in world.moves if move.snapshot and move.snapshot.status.phase is P.SUCCEEDED]
    assert 20 <= len(ours) <= 33
    assert len(world.done) - done < 200
    assert world.told()[before:] == [*SET_BACK, *SET_BACK]
    assert "at most 3 times within 1m, because that writer sets them back each time: stop it" in world.status.message
    world.traps.clear()
    world.advance(m(3))
    assert (world.phase, world.status.reason, world.weights()[0]) == (P.SUCCEEDED, "Succeeded", ALL)
    assert world.told()[before:] == [*SET_BACK, *SET_BACK, "Resumed"]


def test_a_route_that_another_plan_moves_is_not_touched_by_a_repair_of_the_other_route() -> None:
    names = ("shop", "api")
    changes = {"traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in names]}
    world = fresh(changes, routes={name: http_route(name, [OLD_WEIGHTS]) for name in names})().until(P.SUCCEEDED)
    world.old = GONE_OLD
    world.route_conflicts = (RouteConflict("ns/other", frozenset({API}), True, False, START, "0"),)
    world.drift(HALF, route="api")
    world.drift(OLD_WEIGHTS)
    world.settle()
    assert (world.weights(), world.weights("api")) == ((ALL,), (HALF,))


CHANGED = [
    Case("is told", succeeded, then(pods(revision="second"), settle), P.SUCCEEDED, "Succeeded", ["UnjudgedChange"],
         "v2 serves 100% of the traffic, and the pod template of v2 was changed (revision second); no plan"),
    Case("once", succeeded, then(pods(revision="second"), wait(m(60)), lambda w: w.crash(), wait(m(60))), P.SUCCEEDED,
         "Succeeded", ["UnjudgedChange"]),
    Case("each time", succeeded, then(pods(revision="second"), settle, pods(revision="third"), settle), P.SUCCEEDED,
         "Succeeded", ["UnjudgedChange"] * 2),
    Case("where no run was needed", at_the_end(), then(settle, pods(revision="second"), settle), P.SUCCEEDED,
         "Succeeded", ["Succeeded", "UnjudgedChange"]),
    Case("where the plan stops at half", fresh(STOPS), then(lambda w: w.until(P.SUCCEEDED), pods(revision="second"),
         settle), P.SUCCEEDED, "Succeeded", None, "v2 serves 50% of the traffic"),
]  # fmt: skip


@pytest.mark.parametrize("case", CHANGED, ids=ids)
def test_a_change_of_the_side_that_serves(case: Case) -> None:
    world = run(case)
    condition = world.status.condition("UnjudgedChange")
    assert condition is not None
    assert condition.status == "True"
    assert world.wake_at is None
    world.pods(revision="first")
    world.settle()
    assert world.status.condition("UnjudgedChange") is None
    assert not world.turn()
