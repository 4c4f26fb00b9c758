"""Who would receive the traffic: before the first weight, in mid-run, at a rollback, after success, at the removal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import EndpointsView, ServiceView
from rolloutplan.engine.policy.endpoints import block_by_routes
from rolloutplan.engine.policy.preconditions import unmet_precondition
from rolloutplan.traffic import ROUTE_KINDS
from tests.situations import (
    ALL,
    BACK,
    CONTRACT,
    HALF,
    OLD_WEIGHTS,
    UP,
    Case,
    Situation,
    baking,
    contracting,
    delete,
    fresh,
    ids,
    judging,
    m,
    pods,
    put,
    run,
    s,
    say,
    says,
    settle,
    succeeded,
    then,
    wait,
)
from tests.world import HTTPROUTES, Deployment, World, crash, http_route, labels

P = Phase
NOBODY = EndpointsView()
FOUR = EndpointsView((("v2", 4),))
OLD_DOWN = put(old=Deployment("v1", ready=0))
OLD_BACK = put(old=Deployment("v1"))
IGNORED = {"traffic.endpoints": "Ignore"}


def old(ready: int, wanted: int | None = None) -> Any:
    return put(old=Deployment("v1", wanted=ready if wanted is None else wanted, ready=ready))


def served(**views: EndpointsView | None) -> Any:
    """These Services have these endpoints from now on, whatever pods there are."""
    return lambda world: setattr(world, "served", {**world.served, **views})


def selecting(**services: ServiceView) -> Situation:
    return fresh(selects=services)


UNCHECKED: Mapping[str, dict[str, Any]] = {
    "no endpoints": {"served": {"v1": NOBODY, "v2": NOBODY}},
    "not known": {"served": {"v1": None, "v2": None}},
    "no selector": {"selects": {"v2": ServiceView()}},
    "headless": {"selects": {"v1": ServiceView(headless=True)}},
}

BEFORE = [
    Case("a new Service that selects nothing", fresh(served={"v2": NOBODY}), settle, P.INVALID, "NoReadyEndpoints",
         None, "Service v2 has no ready endpoint (4 of 4 pods of v2 are ready)", OLD_WEIGHTS),
    Case("an old Service that selects nothing", fresh(served={"v1": NOBODY}), settle, P.INVALID, "NoReadyEndpoints",
         None, "check its selector, its targetPort and the readiness of its pods", OLD_WEIGHTS),
    Case("an old side without pods", fresh(old=Deployment("v1", wanted=0, ready=0)), settle, P.INVALID,
         "NoReadyEndpoints", None, "0 of 0 pods of v1 are ready", OLD_WEIGHTS),
    Case("a new Service that sends to the old pods too", fresh(served={"v2": EndpointsView((("v1", 4), ("v2", 4)))}),
         settle, P.INVALID, "ServiceSelectsWrongPods", None, "sends to pods of v1, not to v2 alone", OLD_WEIGHTS),
    Case("a new Service that sends to a third Deployment", fresh(served={"v2": EndpointsView((("v3", 4),))}),
         settle, P.INVALID, "ServiceSelectsWrongPods", None, "sends to pods of v3", OLD_WEIGHTS),
    Case("addresses that are no pods", fresh(served={"v2": EndpointsView((("", 1),))}), settle, P.INVALID,
         "ServiceSelectsWrongPods", None, "addresses that are no pods", OLD_WEIGHTS),
    Case("a selector that its pods do not match", selecting(v2=ServiceView(labels("v3"))), settle, P.INVALID,
         "ServiceSelectsWrongPods", None, "selects app=v3, and the pods of Deployment v2 do not have these labels",
         OLD_WEIGHTS),
    Case("a Service without a selector", selecting(v2=ServiceView()), settle, P.INVALID, "ServiceNotUsable", None,
         "has no selector", OLD_WEIGHTS),
    Case("a headless Service", selecting(v1=ServiceView(labels("v1"), headless=True)), settle, P.INVALID,
         "ServiceNotUsable", None, "Service ns/v1 is headless", OLD_WEIGHTS),
    Case("a Service of type ExternalName", selecting(v1=ServiceView(external=True)), settle, P.INVALID,
         "ServiceNotUsable", None, "write traffic.endpoints: Ignore", OLD_WEIGHTS),
    Case("endpoints that cannot be known", fresh(served={"v2": EndpointsView(unknown="no right to list them")}), settle,
         P.INVALID, "EndpointsUnknown", None, "no right to list them", OLD_WEIGHTS),
    Case("endpoints that are not known yet are waited for", fresh(served={"v2": None}), wait(m(1)), P.EXPANDING, "",
         None, "", OLD_WEIGHTS),
    Case("and never known, the run ends and says so", fresh(served={"v2": None}), wait(m(6)), P.ROLLED_BACK,
         "NewSideNotReady", None, "the endpoints of Service v2 are not known yet", OLD_WEIGHTS),
    Case("what is wrong heals by itself", fresh(served={"v2": NOBODY}), then(settle, served(v2=FOUR), wait(m(1))),
         P.JUDGING, "", None, "", UP),
    Case("a new side that is still to be added may have none", fresh({"expand": {"scale": {"new": 4}}},
         new=Deployment("v2", wanted=0, ready=0)), wait(m(1)), P.JUDGING, "", None, "", UP),
    *(Case(f"Ignore: {name}", fresh(IGNORED, **world), wait(m(1)), P.JUDGING, "", None, "", UP)
      for name, world in UNCHECKED.items()),
]  # fmt: skip


MID_RUN = [
    Case("the new side loses all endpoints: it is lost, at once", judging(), served(v2=NOBODY), P.ROLLED_BACK,
         "NewSideDown", BACK, "Service v2 has no ready endpoint (4 of 4 pods of v2 are ready)", OLD_WEIGHTS),
    Case("with onFail Hold the weights stay", judging({"onFail": "Hold"}), then(served(v2=NOBODY), wait(s(11))), P.HELD,
         "Failed", ["Held"], "no ready endpoint", UP),
    Case("what is not known is not lost", judging(), then(served(v1=None, v2=None), wait(s(30))), P.JUDGING, "", []),
    Case("nor what cannot be known", judging(), then(served(v2=EndpointsView(unknown="timeout")), wait(s(30))),
         P.JUDGING, "", []),
    Case("but no weight rises then", judging(), then(served(v2=EndpointsView(unknown="timeout")), wait(m(3))),
         P.HELD, "EndpointsUnknown", None, "the endpoints of Service v2 are not known: timeout", UP),
    Case("nor before they are known for the first time", judging(), then(served(v2=None), wait(m(3))), P.SHIFTING, "",
         ["StageProved"], "", UP),
    Case("the new Service selects the old pods too", judging(), served(v2=EndpointsView((("v1", 4), ("v2", 4)))),
         P.HELD, "WrongEndpoints", ["Held"], "Service v2 sends to pods of v1, not to v2 alone", UP),
    Case("the old Service selects the new pods too", judging(), served(v1=EndpointsView((("v1", 4), ("v2", 4)))),
         P.HELD, "WrongEndpoints", ["Held"], "Service v1 sends to pods of v2", UP),
    Case("and goes on when that is put right", judging(), then(served(v2=EndpointsView((("v1", 4), ("v2", 4)))),
         settle, served(v2=FOUR)), P.JUDGING, "", ["Held", "Resumed"], "", UP),
    Case("too few endpoints for the next weight", judging(), then(served(v2=EndpointsView((("v2", 1),))), wait(m(2))),
         P.HELD, "Capacity", ["StageProved", "Held"], "needs 2 ready endpoints of Service v2, it has 1", UP),
    Case("the old side is down", judging(), OLD_DOWN, P.HELD, "OldSideDown", ["Held"], "no rollback is possible", UP),
    Case("and is back", judging(), then(OLD_DOWN, settle, OLD_BACK), P.JUDGING, "", ["Held", "Resumed"], "", UP),
    Case("in the bake", baking, OLD_DOWN, P.HELD, "OldSideDown", ["Held"], "no rollback is possible", ALL),
    Case("the old side is short: no weight rises", judging(), then(old(1), wait(m(2))), P.HELD, "OldSideShort",
         ["StageProved", "Held"], "Service v1 has 1 ready endpoints, a rollback needs 2", UP),
    Case("nothing else is held for it", judging(), then(old(1), wait(s(30))), P.JUDGING, "", [], "", UP),
    Case("half of it is enough", judging(), then(old(2), wait(m(2))), P.JUDGING, "", None, "", HALF),
    Case("or what the plan says", judging({"availability.old": {"atLeast": "25%"}}), then(old(1), wait(m(2))),
         P.JUDGING, "", None, "", HALF),
    Case("Ignore: nobody looks", judging(IGNORED), then(served(v1=NOBODY, v2=NOBODY), wait(m(2))), P.JUDGING, "", None,
         "", HALF),
]  # fmt: skip


DOWN_AND_BAD = then(OLD_DOWN, says(errors=0.2), wait(s(20)))
ROLLBACK = [
    Case("a failure, and nobody on the old side", judging(), DOWN_AND_BAD, P.HELD, "OldSideDown", ["Held", "Held"],
         "GuardTripped: guard errors tripped", UP),
    Case("told once, however long it lasts", judging(), then(DOWN_AND_BAD, wait(m(12))), P.HELD, "OldSideDown",
         ["Held", "Held"], "an outage for all is worse than a fault for some", UP),
    Case("the old side is back, and the cause is there", judging(), then(DOWN_AND_BAD, OLD_BACK, wait(s(20))),
         P.ROLLED_BACK, "GuardTripped", ["Held", "Held", *BACK], "", OLD_WEIGHTS),
    Case("the old side is back, and the cause is over", judging(), then(DOWN_AND_BAD, says(errors=0.0), wait(m(3)),
         OLD_BACK, wait(s(1))), P.JUDGING, "", ["Held", "Held", "Resumed"], "", UP),
    Case("nobody on either side: the weights go back", judging(), then(OLD_DOWN, pods(ready=0)), P.ROLLED_BACK,
         "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("an old side that is short takes its traffic back all the same", judging(), then(old(1, 4), says(errors=0.2),
         wait(s(20))), P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("endpoints that are not known hinder no rollback", judging(), then(served(v1=None, v2=None), says(errors=0.2),
         wait(s(20))), P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("in the bake", baking, DOWN_AND_BAD, P.HELD, "OldSideDown", None, "the weights stay as they are", ALL),
    Case("another revision", judging(), then(OLD_DOWN, pods(revision="second"), wait(m(1))), P.HELD, "OldSideDown",
         ["Held"], "Superseded", UP),
    Case("abort is refused", judging(), then(OLD_DOWN, settle, say("abort a1"), wait(s(1))), P.HELD, "OldSideDown",
         ["Held", "CommandRejected"], "scale the old side up, and send it again", UP),
    Case("Ignore: it goes back", judging(IGNORED), DOWN_AND_BAD, P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
]  # fmt: skip


def unreadable(world: World) -> None:
    """The plan is edited so that it cannot be read, by an operator that has not seen it before."""
    world.crash()
    world.edit({"stages": "none"})


REVERT = [
    Case("to no pods", succeeded, then(old(0), say("revert r1"), wait(s(1))), P.SUCCEEDED, "", ["CommandRejected"],
         "Service v1 has 0 ready endpoints, and 2 are needed: scale Deployment v1 to 4 first", ALL),
    Case("to a Deployment that is gone", succeeded, then(put(old=None), say("revert r1"), wait(s(1))), P.SUCCEEDED, "",
         ["CommandRejected"], "create it again, with 2 ready pods at least", ALL),
    Case("to too few", succeeded, then(old(1), say("revert r1"), wait(s(1))), P.SUCCEEDED, "", ["CommandRejected"],
         "has 1 ready endpoints, and 2 are needed", ALL),
    Case("to a Service that selects nothing any more", succeeded, then(served(v1=NOBODY), say("revert r1"),
         wait(s(1))), P.SUCCEEDED, "", ["CommandRejected"], "has 0 ready endpoints", ALL),
    Case("to enough", succeeded, then(old(2), say("revert r1"), wait(s(1))), P.ROLLED_BACK, "Reverted", BACK, "",
         OLD_WEIGHTS),
    Case("not known: the ready pods count", succeeded, then(served(v1=None), say("revert r1"), wait(s(1))),
         P.ROLLED_BACK, "Reverted", BACK, "", OLD_WEIGHTS),
    Case("of a plan that cannot be read", succeeded, then(unreadable, put(old=None), served(v1=None), say("revert r1"),
         wait(s(1))), P.ROLLED_BACK, "Reverted", BACK, "", OLD_WEIGHTS),
    Case("away from a side that is down", succeeded, then(old(1), pods(ready=0), say("revert r1"), wait(s(1))),
         P.ROLLED_BACK, "Reverted", BACK, "", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", BEFORE, ids=ids)
def test_before_the_first_weight(case: Case) -> None:
    assert not [move for move in run(case).moves if move.snapshot and case.weights == OLD_WEIGHTS]


@pytest.mark.parametrize("case", MID_RUN, ids=ids)
def test_in_mid_run(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", ROLLBACK, ids=ids)
def test_a_rollback(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", REVERT, ids=ids)
def test_revert(case: Case) -> None:
    run(case)


def test_a_deletion_puts_nothing_on_a_side_that_is_down_and_is_let_go_in_time() -> None:
    world = judging()()
    then(OLD_DOWN, delete)(world)
    world.advance(s(59))
    assert not world.gone
    world.advance(s(2))
    assert (world.gone, world.weights()[0]) == (True, UP)


def test_a_deletion_waits_for_the_old_side_to_come_back() -> None:
    world = judging()()
    then(OLD_DOWN, delete, wait(s(10)), OLD_BACK, wait(s(1)))(world)
    assert (world.gone, world.weights()[0]) == (True, OLD_WEIGHTS)


def test_a_run_that_was_held_for_it_is_a_rollback_for_an_operator_that_comes_later() -> None:
    world = judging()()
    DOWN_AND_BAD(world)
    world.crash()
    then(OLD_BACK, wait(s(30)))(world)
    assert (world.phase, world.weights()[0]) == (P.ROLLED_BACK, OLD_WEIGHTS)


# ---- the condition ---------------------------------------------------------------------------------------------------


def capacity(world: World) -> tuple[str, str] | None:
    found = world.status.condition("RollbackCapacity")
    return (found.status, found.reason) if found else None


@pytest.mark.parametrize("given", [judging(), baking, succeeded], ids=["a stage", "the bake", "after success"])
def test_rollback_capacity_is_told_as_it_is(given: Situation) -> None:
    world = given()
    assert capacity(world) == ("True", "OldSideReady")
    for happens, found in (
        (old(1), ("False", "OldSideShort")),
        (old(0), ("False", "OldSideDown")),
        (served(v1=None), ("False", "OldSideDown")),
        (then(served(v1=EndpointsView((("v1", 4),))), OLD_BACK), ("True", "OldSideReady")),
    ):
        then(happens, settle)(world)
        assert capacity(world) == found


def test_rollback_capacity_is_told_while_the_old_side_stands_and_never_with_ignore() -> None:
    world = succeeded()
    then(put(old=None), settle)(world)
    assert capacity(world) is None
    assert capacity(judging(IGNORED)()) is None
    world = fresh({"contract": {"scaleOld": 0}})().until(P.SUCCEEDED)
    assert capacity(world) is None
    assert capacity(World()) is None


def test_a_plan_that_has_ended_writes_nothing_while_nothing_changes() -> None:
    world = succeeded()
    world.settle()
    before = len(world.done)
    for ready in (4, 3, 2, 3, 4):
        then(old(ready), wait(m(10)))(world)
    assert len(world.done) == before


def test_an_interrupted_rollback_is_finished_when_the_old_side_answers_again() -> None:
    """Two routes, of which the operator restored one before it died; then the old side went down."""
    routes = {name: http_route(name, [OLD_WEIGHTS]) for name in ("api", "shop")}
    world = fresh({"traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in routes]}, routes=routes)()
    world.until(P.JUDGING)
    world.traps = {"routed": crash}
    world.says["errors"] = 0.2
    world.advance(m(1))
    world.says["errors"] = 0.0
    world.traps = {}
    world.old = Deployment("v1", ready=0)
    moved = world.weights("api"), world.weights("shop")
    if world.phase is not P.ROLLED_BACK:
        world.advance(m(5))
        assert (world.weights("api"), world.weights("shop")) == moved
    world.old = Deployment("v1")
    world.advance(m(1))
    assert world.phase is P.ROLLED_BACK, world.status.message
    assert (world.weights("api"), world.weights("shop")) == ((OLD_WEIGHTS,), (OLD_WEIGHTS,))


def test_a_cause_of_any_length_is_told_once_while_nothing_can_go_back() -> None:
    world = judging()()
    OLD_DOWN(world)
    world.settle()
    world.pods(ready=1, failed="x" * 3000, worst="ImagePullBackOff: " + "x" * 3000)
    world.advance(s(15))
    assert world.status.reason == "OldSideDown"
    assert world.told().count("Held") == 2, world.told()


# ---- the removal of the old side -------------------------------------------------------------------------------------


SCALE = {"contract": {"scaleOld": 0}}


def with_routes(rules: Mapping[str, list[dict[str, int]]], changes: Mapping[str, Any]) -> World:
    routes = {name: http_route(name, each) for name, each in rules.items()}
    return fresh(changes, routes=routes)()


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"shop": [OLD_WEIGHTS, {"v1": 1}]}, "HTTPRoute shop rule 1 gives Service v1 the weight 1"),
        ({"shop": [OLD_WEIGHTS], "admin": [{"other": 1}, {"v1": 7}]}, "HTTPRoute admin rule 1 gives Service v1"),
        ({"shop": [OLD_WEIGHTS], "admin": [{"v1": 100, "v2": 0}]}, "HTTPRoute admin rule 0 gives Service v1"),
    ],
    ids=["another rule of its route", "another route", "another route with both"],
)
@pytest.mark.parametrize("contract", [{"scaleOld": 0}, {"jobs": CONTRACT["jobs"]}], ids=["a scaling", "a Job"])
def test_nothing_is_removed_while_a_route_still_uses_the_old_side(
    rules: dict[str, Any], words: str, contract: dict[str, Any]
) -> None:
    world = with_routes(rules, {"contract": contract}).until(P.HELD)
    assert (world.status.reason, words in world.status.message) == ("OldSideInUse", True), world.status.message
    assert (world.resized, world.made) == ([], [])
    condition = world.status.condition("Stalled")
    assert condition is not None
    for name, raw in world.routes.items():
        for place, rule in enumerate(raw["spec"]["rules"]):
            if (name, place) != ("shop", 0):
                rule["backendRefs"] = [{"name": "v2", "port": 80, "weight": 1}]
    world.until(P.SUCCEEDED)


def test_a_rule_that_git_adds_in_mid_run_holds_the_removal() -> None:
    world = contracting(SCALE)()
    raw = world.routes["shop"]
    extra = http_route("shop", [OLD_WEIGHTS])["spec"]["rules"]
    world.routes["shop"] = {**raw, "spec": {"rules": [*raw["spec"]["rules"], *extra]}}
    world.advance(m(10))
    assert (world.phase, world.status.reason, world.resized) == (P.HELD, "OldSideInUse", [])


def test_a_route_of_another_namespace_that_uses_the_old_side_holds_the_removal_by_its_name() -> None:
    world = contracting(SCALE)()
    raw = http_route("edge", [{"other": 1}])
    raw["metadata"]["namespace"] = "gateways"
    raw["spec"]["rules"][0]["backendRefs"] = [{"name": "v1", "namespace": "ns", "port": 80, "weight": 3}]
    given = replace(world.snapshot(), routes_to_old=(HTTPROUTES.view(raw),))
    blocked = block_by_routes(given)
    assert blocked is not None
    assert "HTTPRoute edge of namespace gateways rule 0 gives Service v1 the weight 3" in blocked.words
    raw["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "gateways"
    assert block_by_routes(replace(given, routes_to_old=(HTTPROUTES.view(raw),))) is None


def test_a_route_that_gives_the_old_side_all_without_a_weight_holds_the_removal() -> None:
    """In a VirtualService a lone destination takes all; in an HTTPProxy all get the same where none has a weight."""
    lone: list[dict[str, Any]] = [{"destination": {"host": "v1.ns.svc.cluster.local"}}]
    raw = {"metadata": {"name": "edge", "namespace": "gateways"}, "spec": {"http": [{"route": lone}]}}
    given = contracting(SCALE)().snapshot()
    blocked = block_by_routes(replace(given, routes_to_old=(ROUTE_KINDS["VirtualService"].view(raw),)))
    assert blocked is not None
    assert "VirtualService edge of namespace gateways rule 0 gives Service v1 traffic" in blocked.words
    lone.append({"destination": {"host": "v2.ns.svc.cluster.local"}, "weight": 1})
    assert block_by_routes(replace(given, routes_to_old=(ROUTE_KINDS["VirtualService"].view(raw),))) is None
    services = [{"name": "v1", "port": 80}, {"name": "v2", "port": 80}]
    even = {"metadata": {"name": "edge", "namespace": "ns"}, "spec": {"routes": [{"services": services}]}}
    assert block_by_routes(replace(given, routes_to_old=(ROUTE_KINDS["HTTPProxy"].view(even),))) is not None


def test_a_weight_of_0_and_another_service_hold_nothing() -> None:
    rules = {"shop": [OLD_WEIGHTS], "admin": [{"v1": 0, "other": 5}, {"other": 1}]}
    assert with_routes(rules, SCALE).until(P.SUCCEEDED).resized


@pytest.mark.parametrize(
    ("users", "unknown", "words"),
    [
        (("Ingress shop",), "", "Ingress shop gives Service v1 traffic, so the old side is not removed: take v1 out"),
        (("GRPCRoute a", "GRPCRoute b", "GRPCRoute c", "Ingress d"), "", "GRPCRoute c and 1 more gives Service v1"),
        ((), "the operator may not list ingresses", "it is not known whether anything else gives Service v1 traffic"),
    ],
    ids=["an Ingress", "four", "not known"],
)
def test_nothing_is_removed_while_another_kind_uses_the_old_side(
    users: tuple[str, ...], unknown: str, words: str
) -> None:
    world = contracting(SCALE, users=users, users_unknown=unknown)().until(P.HELD)
    assert (world.status.reason, words in world.status.message) == ("OldSideInUse", True), world.status.message
    world.advance(m(1))
    assert world.resized == []
    world.users, world.users_unknown = (), ""
    assert world.until(P.SUCCEEDED).resized


def test_nothing_is_removed_while_the_new_side_has_no_endpoints_or_they_are_not_known() -> None:
    for view, reason in ((NOBODY, "Capacity"), (EndpointsView((("v3", 4),)), "WrongEndpoints")):
        world = contracting(SCALE)()
        then(served(v2=view), wait(m(10)))(world)
        assert (world.phase, world.status.reason, world.resized) == (P.HELD, reason, [])
    world = contracting(SCALE)()
    then(served(v2=None), wait(m(10)))(world)
    assert (world.phase, world.resized) == (P.CONTRACTING, [])
    then(served(v2=FOUR), wait(m(1)))(world)
    assert world.phase is P.SUCCEEDED


def test_a_service_that_is_edited_before_the_start_is_looked_at_again() -> None:
    world = selecting(v2=ServiceView(labels("v3")))()
    world.settle()
    world.selects = {}
    world.advance(timedelta(minutes=1))
    assert world.phase is P.JUDGING


def test_pods_that_became_ready_just_now_have_a_moment_to_become_endpoints() -> None:
    world = fresh(served={"v2": NOBODY})()
    snapshot = world.snapshot()
    assert snapshot.new is not None
    for seconds, invalid in ((1, False), (9, False), (11, True)):
        new = replace(snapshot.new, ready_since=snapshot.now - s(seconds))
        assert (unmet_precondition(replace(snapshot, new=new)) is not None) is invalid
