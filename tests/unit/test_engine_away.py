"""Pods that go missing through no fault of their version: the weights go back, and the run is taken up again."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rolloutplan.engine.model.snapshot import EndpointsView
from tests.situations import (
    BACK,
    HALF,
    OLD_WEIGHTS,
    SHIFTED,
    UP,
    Case,
    P,
    edit,
    fresh,
    judging,
    m,
    phase_is,
    pods,
    put,
    run,
    s,
    say,
    settle,
    then,
    wait,
)
from tests.world import SHORT_OF_TIME, Deployment, World, crash, http_route

LONE = Deployment("v2", 1, 1)
AWAY = ["RollbackStarted", "Held"]
DRAINED = "EvictionByEvictionAPI: drained (pod v2-abc)"
EVICTED = pods(ready=0, away=DRAINED)
UNSERVED = put(served={"v2": EndpointsView()})
BACK_AGAIN = pods(ready=1, away="")


def lone(stage: str = "half", **changes: object) -> World:
    return judging(dict(changes), stage=stage, new=LONE)()


def evicted() -> World:
    world = lone()
    EVICTED(world)
    world.settle()
    return world


def in_the_bake() -> World:
    world = fresh({"bake": "1h"}, new=LONE)().until(P.BAKING)
    world.advance(m(1))
    return world


AT_NIGHT = pods(wanted=0, ready=0, autoscaler="keda")

CASES = [
    Case("evicted: the weights go back at once, and the run waits", lone, EVICTED, P.HELD, "NewSideAway", AWAY,
         f"none of 1 pods of v2 is ready: {DRAINED}; the old weights are restored", OLD_WEIGHTS),
    Case("its stage starts again when the pod is back", evicted, then(wait(m(5)), BACK_AGAIN), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "", HALF),
    Case("not before it is available", evicted, then(wait(m(5)), pods(ready=1, available=0)), P.HELD, "NewSideAway",
         [], "0 of 1 pods of v2 are available", OLD_WEIGHTS),
    Case("it waits as long as it takes, and says for what", evicted,
         then(pods(away="", worst="Unschedulable: 0/3 nodes"), wait(m(60))), P.HELD, "NewSideAway", [],
         "0 of 1 pods of v2 are available: Unschedulable: 0/3 nodes", OLD_WEIGHTS),
    Case("in the bake, at full traffic", in_the_bake, then(EVICTED, wait(m(1)), BACK_AGAIN, wait(m(3))), P.BAKING, "",
         [*AWAY, "Resumed", *SHIFTED, "StageProved"]),
    Case("at the first weight", lambda: lone("canary"), then(EVICTED, wait(m(1)), BACK_AGAIN), P.JUDGING, "",
         [*AWAY, "Resumed", *SHIFTED], "", UP),
    Case("while a weight is being written", lone, then(put(lag=None), wait(s(31)), EVICTED, put(lag=s(0)), wait(s(5)),
         BACK_AGAIN), P.JUDGING, "", ["StageProved", "StageStarted", *AWAY, "Resumed", *SHIFTED]),
    Case("whatever onFail says", lambda: lone(onFail="Hold"), EVICTED, P.HELD, "NewSideAway", AWAY, "", OLD_WEIGHTS),
    Case("three of four are evicted with their node", judging(stage="half"),
         then(pods(ready=1, away=DRAINED), wait(s(10))), P.HELD, "NewSideAway", AWAY,
         "only 1 of 4 pods of v2 are ready, for 10s", OLD_WEIGHTS),
    Case("a quota refuses the pod that would take its place", lone,
         pods(ready=0, hindered="FailedCreate: exceeded quota"), P.HELD, "NewSideAway", AWAY, "exceeded quota",
         OLD_WEIGHTS),
    Case("scaled to zero by its autoscaler at night", lone, AT_NIGHT, P.HELD, "NewSideAway", AWAY,
         "v2 is scaled to 0 by its autoscaler (keda); the old weights are restored", OLD_WEIGHTS),
    Case("the way out is named", lone, then(AT_NIGHT, settle), P.HELD, "NewSideAway", AWAY, "minReplicaCount 1",
         OLD_WEIGHTS),
    Case("and it goes on in the morning", lone, then(AT_NIGHT, wait(m(90)), pods(wanted=1), wait(m(1)), pods(ready=1)),
         P.JUDGING, "", [*AWAY, "Resumed", *SHIFTED], "", HALF),
    Case("its endpoint is gone before its Deployment says so", lone, then(pods(away=DRAINED), UNSERVED), P.HELD,
         "NewSideAway", AWAY, "Service v2 has no ready endpoint", OLD_WEIGHTS),
    Case("and so it is with Hold, as soon as the Deployment says so", lambda: lone(onFail="Hold"),
         then(UNSERVED, wait(s(2)), EVICTED), P.HELD, "NewSideAway", AWAY, DRAINED, OLD_WEIGHTS),
    # what speaks against the version ends the run
    Case("a Service that selects nothing any more ends the run", lone, UNSERVED, P.ROLLED_BACK, "NewSideDown", BACK,
         "after Service v2 has no ready endpoint (1 of 1 pods of v2 are ready)", OLD_WEIGHTS),
    Case("and with Hold it is held for a person", lambda: lone(onFail="Hold"), then(UNSERVED, wait(s(11))), P.HELD,
         "Failed", ["Held"], "onFail is Hold", HALF),
    Case("a container that failed ends the run", lone, pods(ready=0, failed="OOMKilled", worst="OOMKilled"),
         P.ROLLED_BACK, "NewSideDown", BACK, "after none of 1 pods of v2 is ready", OLD_WEIGHTS),
    Case("nobody knows why: as a failure", lone, pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("the pod that took its place crashes", evicted,
         then(wait(s(20)), pods(failed="CrashLoopBackOff", worst="CrashLoopBackOff")), P.ROLLED_BACK, "NewSideDown",
         BACK, "CrashLoopBackOff", OLD_WEIGHTS),
    Case("it crashes, and its Deployment does not change", evicted,
         then(wait(s(20)), lambda w: setattr(w, "new", w.new), pods(failed="CrashLoopBackOff")), P.ROLLED_BACK,
         "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("scaled to zero by a person", lone, pods(wanted=0, ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "",
         OLD_WEIGHTS),
    Case("a list of the pods that cannot be had ends it, in time", lone,
         then(put(refuses={"pods": SHORT_OF_TIME}), EVICTED, wait(m(1))), P.ROLLED_BACK,
         "NewSideDown", None, "", OLD_WEIGHTS),
    # what else may happen meanwhile
    Case("another version while it waits", evicted, then(pods(ready=1, away="", revision="second"), wait(s(10))),
         P.JUDGING, "", [*BACK, "Started", "NewSideReady", *SHIFTED], "", UP),
    Case("an abort while it waits", evicted, say("abort a1"), P.ROLLED_BACK, "Aborted", BACK, "", OLD_WEIGHTS),
    Case("a pause while it waits is kept", evicted, then(say("pause p1"), wait(m(1)), BACK_AGAIN), P.HELD, "Paused",
         ["Paused", "Held"], "", OLD_WEIGHTS),
    Case("and ends by resume", evicted,
         then(say("pause p1"), wait(m(1)), BACK_AGAIN, wait(s(5)), say("resume p2")), P.JUDGING, "",
         ["Paused", "Held", "Resumed", *SHIFTED], "", HALF),
    Case("a guard that trips afterwards says nothing about this side", evicted,
         then(put(says={"errors": 0.9, "hits": 0.95, "wrong": 0.0}), wait(m(5))), P.HELD, "NewSideAway", [], "",
         OLD_WEIGHTS),
    Case("the operator dies while it waits", evicted, then(lambda w: w.crash(), wait(m(1)), BACK_AGAIN),
         P.JUDGING, "", ["Resumed", *SHIFTED], "", HALF),
    Case("an edit of a later stage", evicted, then(edit({"stages[2].soak": "3m"}), wait(s(5)), BACK_AGAIN), P.JUDGING,
         "", ["Adapted", "Resumed", *SHIFTED], "", HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_pods_that_are_away_hold_the_run_and_failed_ones_end_it(case: Case) -> None:
    run(case)


@pytest.mark.parametrize(
    ("what", "happens"),
    [
        ("the plan becomes invalid", edit({"guards[0].is": "about 5"})),
        ("the old Deployment is gone", put(old=None)),
        ("the metric source is gone", put(source=None)),
        ("a person pauses", say("pause t1")),
    ],
)
def test_whatever_happens_meanwhile_the_weights_go_back_once(what: str, happens: Callable[[World], object]) -> None:
    world = evicted()
    happens(world)
    world.settle()
    world.advance(m(5))
    assert world.told().count("RollbackStarted") == 1, what
    phase_is(world, P.HELD, "NewSideAway")
    assert world.weights() == (OLD_WEIGHTS,)


def test_the_whole_soak_is_served_again() -> None:
    world = evicted()
    world.advance(m(5))
    BACK_AGAIN(world)
    world.settle()
    began = world.now
    world.until(P.JUDGING, stage="all")
    assert world.now - began >= timedelta(minutes=2)


def test_the_weights_are_written_before_anybody_knows_why() -> None:
    world = lone()
    EVICTED(world)
    world.broken = {"record"}
    world.advance(s(1))
    assert world.weights() == (OLD_WEIGHTS,)
    world.broken = set()
    world.advance(s(10))
    phase_is(world, P.HELD, "NewSideAway")


@pytest.mark.parametrize("point", ["routed", "recorded"])
def test_an_operator_that_is_killed_meanwhile_leaves_the_old_weights(point: str) -> None:
    world = lone()
    EVICTED(world)
    world.traps = {point: crash}
    world.advance(m(1))
    assert world.weights() == (OLD_WEIGHTS,)
    assert world.phase in (P.HELD, P.ROLLED_BACK)


# ---- before the run --------------------------------------------------------------------------------------------------

ZERO = Deployment("v2", 0, 0)
SCALED = Deployment("v2", 0, 0, autoscaler="ScaledObject checkout")
STARTS = [
    Case("scaled to 0 by KEDA: said before the run", fresh(new=SCALED), wait(m(1)), P.INVALID, "NewSideScaledToZero",
         ["Stalled"], "v2 is scaled to 0 by ScaledObject checkout: give it minReplicaCount 1", OLD_WEIGHTS),
    Case("by nobody that is known", fresh(new=ZERO), wait(m(1)), P.INVALID, "NewSideScaledToZero", ["Stalled"],
         "v2 is scaled to 0: give it replicas, or write expand.scale", OLD_WEIGHTS),
    Case("it heals by itself", fresh(new=SCALED), then(wait(m(1)), pods(wanted=1, ready=1, autoscaler=""), wait(s(5))),
         P.JUDGING),
    Case("with expand.scale it is made larger", fresh({"expand": {"scale": {"new": 2}}}, new=ZERO), wait(s(5)),
         P.JUDGING),
    Case("which an autoscaler keeps from it, and that is said",
         fresh({"expand": {"scale": {"new": 2}}}, new=SCALED, autoscaled=frozenset({"v2"})), wait(m(1)), P.EXPANDING,
         "", None, "it waits: v2 is scaled to 0 by ScaledObject checkout: give it minReplicaCount 1", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", STARTS, ids=lambda case: case.promise)
def test_a_new_side_without_pods_is_named_before_the_run(case: Case) -> None:
    run(case)


TWO_ROUTES = {"traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in ("shop", "api")]}


@pytest.mark.parametrize("pods_away", [EVICTED, AT_NIGHT], ids=["evicted", "scaled to zero"])
@pytest.mark.parametrize("goes_first", [True, False], ids=["before the weights are back", "after it"])
def test_a_route_that_goes_meanwhile_holds_the_run_and_is_shifted_when_it_is_there_again(
    pods_away: Callable[[World], object], *, goes_first: bool
) -> None:
    routes = {name: http_route(name, [{"v1": 100, "v2": 0}]) for name in ("shop", "api")}
    world = judging(TWO_ROUTES, stage="half", new=LONE, routes=routes)()
    world.lag = None if goes_first else s(0)
    pods_away(world)
    if not goes_first:
        world.settle()
    del world.routes["api"]
    world.lag = s(0)
    world.advance(m(5))
    assert world.status.held_for == "NewSideAway"
    assert world.told().count("RollbackStarted") == 1, "held for one thing and the other in turn"
    world.pods(wanted=1, ready=1, away="", autoscaler="")
    world.advance(m(1))
    assert (world.phase, world.status.reason) == (P.HELD, "Conflict"), "a route of the run is gone"
    world.routes["api"] = http_route("api", [{"v1": 100, "v2": 0}])
    world.until(P.JUDGING, stage="half")
    assert world.weights("api") == world.weights("shop") == (HALF,)
