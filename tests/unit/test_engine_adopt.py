"""A run whose status is lost, as by a restore of a backup: it is taken up or rolled back, and no weight is guessed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from rolloutplan.engine.model.snapshot import REVERT, SEQ
from tests.situations import (
    ALL,
    BACK,
    HALF,
    OLD_WEIGHTS,
    RIVAL,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    delete,
    drift,
    fresh,
    ids,
    judging,
    m,
    put,
    run,
    s,
    say,
    says,
    settle,
    then,
    wait,
)
from tests.world import Deployment, World, http_route

LOST = ["Stalled"]
TAKEN_UP = [*LOST, "Adopted"]


def loses_its_status(world: World) -> None:
    """A restore brings the plan with its finalizer and annotations, and without its status."""
    world.status_raw = {}
    world.trail.clear()
    world.version += 1
    world.crash()


def is_created_again(world: World) -> None:
    """The plan is a new object, without anything that the operator had put on it."""
    loses_its_status(world)
    world.uid, world.finalizer, world.undo_annotation = "another-uid", False, ""


def on_another_cluster(world: World) -> None:
    loses_its_status(world)
    world.uid = "another-uid"


def lost(stage: str = "half", *more: Callable[[World], object], how: Any = loses_its_status) -> Situation:
    def make() -> World:
        world = judging(stage=stage)()
        then(how, *more)(world)
        return world

    return make


def undo(text: Any) -> Callable[[World], object]:
    """The undo commands on plan and route are others."""

    def happens(world: World) -> None:
        change = text if callable(text) else lambda _: text
        world.undo_annotation = change(world.undo_annotation)
        annotations = {**world.routes["shop"]["metadata"]["annotations"], REVERT: world.undo_annotation}
        world.routes["shop"] = copy.deepcopy(world.routes["shop"])
        world.routes["shop"]["metadata"]["annotations"] = annotations

    return happens


def reversed_backends(world: World) -> None:
    raw = copy.deepcopy(world.routes["shop"])
    raw["spec"]["rules"][0]["backendRefs"].reverse()
    world.routes["shop"] = raw


ADOPT = then(settle, say("adopt c1"), settle)
RESUMED = then(ADOPT, say("resume c2"), wait(s(1)))

TAKEN = [
    Case("the ways out are told", lost(), settle, P.INVALID, "StatusLost", LOST,
         "`rolloutplan adopt -n ns plan` takes the run up, held at the present weights; `rolloutplan abort -n ns plan`",
         HALF),
    Case("it is held at the weights as they are", lost(), ADOPT, P.HELD, "Paused", TAKEN_UP,
         "held at 50% on v2 with the guards on: `resume` starts stage half again at 50%", HALF),
    Case("for as long as nobody says anything", lost(), then(ADOPT, wait(m(90))), P.HELD, "Paused", TAKEN_UP, "", HALF),
    Case("with the guards on", lost(), then(ADOPT, says(errors=0.2), wait(m(1))), P.ROLLED_BACK, "GuardTripped",
         [*TAKEN_UP, *BACK], "", OLD_WEIGHTS),
    Case("its stage starts again", lost(), RESUMED, P.JUDGING, "Soaking", [*TAKEN_UP, "Resumed", *SHIFTED], "", HALF),
    Case("and it comes to its end", lost(), then(RESUMED, lambda w: w.until(P.SUCCEEDED)), P.SUCCEEDED, "Succeeded",
         None, "", ALL),
    Case("at the last weight too", lost("all"), then(RESUMED, lambda w: w.until(P.SUCCEEDED)), P.SUCCEEDED, "Succeeded",
         None, "", ALL),
    Case("a weight between two stages goes back to the one below", lost("half", drift({"v1": 70, "v2": 30})), RESUMED,
         P.JUDGING, "Soaking", None, "", UP),
    Case("weights that are back already begin with the first stage", lost("half", drift(OLD_WEIGHTS)), RESUMED,
         P.JUDGING, "Soaking", None, "", UP),
    Case("abort puts the old weights back from there", lost(), then(ADOPT, say("abort c2"), settle), P.ROLLED_BACK,
         "Aborted", [*TAKEN_UP, *BACK], "", OLD_WEIGHTS),
    Case("without being taken up too", lost(), then(settle, say("abort c1"), settle), P.ROLLED_BACK, "Aborted",
         [*LOST, *BACK], "", OLD_WEIGHTS),
    Case("on another cluster", lost(how=on_another_cluster), RESUMED, P.JUDGING, "Soaking", None, "", HALF),
    Case("a plan that was created again learns it from the route", lost(how=is_created_again), ADOPT, P.HELD, "Paused",
         TAKEN_UP, "", HALF),
    Case("abort puts its old weights back too", lost(how=is_created_again), then(settle, say("abort c1"), settle),
         P.ROLLED_BACK, "Aborted", [*LOST, *BACK], "", OLD_WEIGHTS),
    Case("and says so", lost(how=is_created_again), settle, P.INVALID, "NewSideAlreadyServing", LOST,
         "if a run of this plan was lost in a restore, `rolloutplan adopt -n ns plan` takes it up", HALF),
]  # fmt: skip

OLD_DOWN = put(old=Deployment("v1", ready=0))
REFUSED = [
    Case("abort, while nobody answers on the old side", lost("half", OLD_DOWN), then(settle, say("abort c1"), settle),
         P.INVALID, "StatusLost", [*LOST, "CommandRejected"], "", HALF),
    Case("without its undo command", lost("half", undo("")), ADOPT, P.INVALID, "StatusLost", None,
         "is gone or changed", HALF),
    Case("with a text that is none", lost("half", undo("rm -rf /")), ADOPT, P.INVALID, "StatusLost", None,
         "is gone or changed", HALF),
    Case("with an operation too many", lost("half", undo(lambda t: t.replace("]", ',{"op":"remove","path":"/spec"}]'))),
         ADOPT, P.INVALID, "StatusLost", None, "is gone or changed", HALF),
    Case("of another namespace", lost("half", undo(lambda t: t.replace("-n ns", "-n other"))), ADOPT, P.INVALID,
         "StatusLost", None, "is gone or changed", HALF),
    Case("of another route", lost("half", undo(lambda t: t.replace("k8s.io shop", "k8s.io api"))), ADOPT,
         P.INVALID, "StatusLost", None, "HTTPRoute api, which the plan does not name", HALF),
    Case("of other backends", lost("half", reversed_backends), ADOPT, P.INVALID, "StatusLost", None,
         "rule 0 has other backends than the undo command names", HALF),
    Case("with weights that no run began with", lost("half", undo(lambda t: t.replace('"value":0', '"value":100'))),
         ADOPT, P.INVALID, "StatusLost", None, "gives v2 more than the first stage does", HALF),
    Case("with a weight that no route takes", lost("half", undo(lambda t: t.replace(":100}", ":1000001}"))), ADOPT,
         P.INVALID, "StatusLost", None, "is gone or changed", HALF),
    Case("beside a plan that runs there", lost("half", put(route_conflicts=(RIVAL,)), how=is_created_again), ADOPT,
         P.PENDING, "Conflict", None, "plan ns/other uses the route now: abort that plan first", HALF),
    Case("without the new Deployment", lost("half", put(new=None)), ADOPT, P.INVALID, "StatusLost", None,
         "Deployment v2 does not exist: create it, or send `abort`", HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", TAKEN, ids=ids)
def test_a_lost_run(case: Case) -> None:
    world = run(case)
    assert world.finalizer is (world.phase not in (P.SUCCEEDED, P.ROLLED_BACK) and bool(world.undo_annotation))
    if world.phase is P.HELD:
        assert "kubectl -n ns patch httproutes.gateway.networking.k8s.io shop" in world.undo_annotation


@pytest.mark.parametrize("case", REFUSED, ids=ids)
def test_nothing_is_guessed(case: Case) -> None:
    world = case.given()
    before = len(world.moves)
    case.when(world)
    assert len(world.moves) == before
    assert "CommandRejected" in world.told()
    assert case.says in world.trail[max(world.trail)].note, world.trail[max(world.trail)].note
    assert (world.phase, world.status.reason, world.weights()[0]) == (case.phase, case.reason, case.weights)


def test_deleting_a_lost_run_puts_its_weights_back() -> None:
    world = lost()()
    then(settle, delete, wait(s(1)))(world)
    assert (world.gone, world.weights()[0]) == (True, OLD_WEIGHTS)


def test_deleting_a_lost_run_puts_nothing_on_a_side_that_is_down_and_is_let_go_in_time() -> None:
    world = lost("half", OLD_DOWN)()
    then(settle, delete, wait(s(30)))(world)
    assert (world.gone, world.weights()[0]) == (False, HALF)
    world.advance(m(1))
    assert (world.gone, world.weights()[0]) == (True, HALF)


def test_deleting_one_of_which_nothing_is_known_hangs_on_nothing() -> None:
    world = lost("half", undo(""))()
    then(settle, delete, wait(s(1)))(world)
    assert (world.gone, world.weights()[0]) == (True, HALF)


def test_a_fresh_plan_on_a_route_with_an_old_undo_command_has_nothing_to_take_up() -> None:
    world = judging()()
    world.says["errors"] = 0.2
    revert = world.status.revert
    world.until(P.ROLLED_BACK)
    is_created_again(world)
    raw = copy.deepcopy(world.routes["shop"])
    raw["metadata"]["annotations"][REVERT] = revert
    world.routes["shop"] = raw
    world.says["errors"] = 0.0
    world.say("adopt c1")
    world.settle()
    assert "CommandRejected" in world.told()
    assert world.phase is P.JUDGING


def test_a_status_of_before_the_routes_last_writes_is_no_interrupted_rollback() -> None:
    """An etcd restore brings an older status back, or none, and the routes keep the tokens of later decisions."""
    world = lost()()
    number = int(world.routes["shop"]["metadata"]["annotations"][SEQ].rpartition("/")[2].split(".")[1])
    then(ADOPT, wait(m(5)))(world)
    assert (world.phase, world.status.reason) == (P.HELD, "Paused")
    assert world.status.seq > number


def test_other_backends_keep_their_share_when_a_lost_run_goes_back() -> None:
    world = fresh(routes={"shop": http_route("shop", [{"v1": 100, "v2": 0, "mirror": 100}])})()
    world.until(P.JUDGING, stage="half")
    loses_its_status(world)
    then(settle, say("abort c1"), settle)(world)
    assert world.weights()[0] == {"v1": 100, "v2": 0, "mirror": 100}


def test_restarts_of_before_do_not_count_against_a_run_that_is_taken_up() -> None:
    world = lost()()
    assert world.new is not None
    world.pods(restarts=40)
    RESUMED(world)
    world.advance(m(1))
    assert world.phase is P.JUDGING


def test_a_weight_that_was_not_written_before_the_lost_run_is_not_there_again() -> None:
    raw = http_route("shop", [{"v1": 99, "v2": 1}])
    del raw["spec"]["rules"][0]["backendRefs"][1]["weight"]
    world = World(routes={"shop": copy.deepcopy(raw)}).until(P.JUDGING)
    assert world.weights()[0] == UP
    loses_its_status(world)
    world.settle()
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert world.routes["shop"]["spec"] == raw["spec"]
