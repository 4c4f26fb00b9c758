"""What Git holds of a rollout: its end state on a fresh cluster, rules that are none of its business."""

from __future__ import annotations

from typing import Any

import pytest

from tests.situations import (
    ALL,
    BACK,
    BEGUN,
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
    say,
    settle,
    then,
    wait,
)
from tests.world import PLAN, Deployment, World, http_route

NOTHING = ["Succeeded"]
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


def at_the_end(changes: dict[str, Any] | None = None, **world: Any) -> Situation:
    """A plan that comes to a fresh cluster with the weights of its end."""
    return fresh(changes, **{"routes": holding(ALL), **world})


END_STATE = [
    Case("all that the plan asks is there: there is nothing to do", at_the_end(), settle, P.SUCCEEDED, "Succeeded",
         NOTHING, "the routes already give v2 100% of the traffic, as the last stage would: nothing to do", ALL),
    Case("and nothing follows", at_the_end(), then(settle, lambda w: w.crash(), wait(m(60))), P.SUCCEEDED, "Succeeded",
         NOTHING, "nothing was evaluated", ALL),
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


@pytest.mark.parametrize("case", END_STATE, ids=ids)
def test_the_end_state_in_git(case: Case) -> None:
    world = run(case)
    ready = world.status.condition("Ready")
    assert ready is not None
    assert (ready.status == "True") is (world.phase is P.SUCCEEDED)
    assert not world.moves


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
