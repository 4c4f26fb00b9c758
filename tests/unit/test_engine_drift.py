"""Weights that somebody else moves: put right where they went up, held where they went back, never a guess.

Whoever moves them is `kubectl-edit`, an `Update` as the API server notes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Kind, Status
from tests.situations import (
    ALL,
    BACK,
    HALF,
    OLD_WEIGHTS,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    awaiting,
    awaiting_the_first,
    baking,
    drift,
    edit,
    held_blind,
    held_conflict,
    held_failed,
    held_frozen,
    held_invalid,
    held_undecided,
    ids,
    judging,
    kept,
    m,
    paused,
    phase_is,
    pods,
    proved,
    put,
    run,
    s,
    same,
    say,
    says,
    settle,
    shifting,
    then,
    two_routes,
    undecided,
    wait,
)
from tests.world import World, crash, http_route

NAMED = "last changed by kubectl-edit (Update) at 2026-03-01T09:"


@kept
def before_the_first() -> World:
    """The snapshot is taken, and no weight has been asked for."""
    world = World()
    while world.phase is not P.SHIFTING:
        world.turn()
    return world


@kept
def shifting_to_half() -> World:
    """The second weight is written, and no gateway has accepted it yet."""
    world = judging()()
    world.lag = None
    world.advance(s(91))
    assert (world.phase, world.weights()[0]) == (P.SHIFTING, HALF)
    return world


# ---- up: put right where it stands -------------------------------------------------------------------------------

STANDS: Mapping[str, tuple[Situation, Mapping[str, int]]] = {
    "judging": (judging(), HALF),
    "judging, by a little": (judging(), {"v1": 949, "v2": 51}),
    "judging, the same share in other numbers": (judging(), {"v1": 950, "v2": 50}),
    "judging, everything": (judging(stage="half"), ALL),
    "baking, the same share in other numbers": (baking, {"v1": 0, "v2": 50}),
    "held blind": (held_blind, HALF),
    "held undecided": (held_undecided, HALF),
    "held after onFail: Hold": (held_failed, HALF),
    "held as unreadable": (held_invalid, HALF),
    "held frozen, before the next weight": (held_frozen, HALF),
    "held for approval of the next weight": (awaiting, HALF),
    "held for approval of the first weight": (awaiting_the_first, HALF),
    "paused": (paused, HALF),
}


def where(status: Status) -> dict[str, Any]:
    """Where a run stands and why, without its clocks."""
    return status.model_dump(include={"phase", "reason", "held", "paused", "weights", "failed", "approved", "run"})


@pytest.mark.parametrize("stands", STANDS)
def test_weights_moved_up_are_put_right_at_once_and_it_stands_where_it_stood(stands: str) -> None:
    given, moved = STANDS[stands]
    world = given()
    world.settle()
    before, weights, seq = world.status, world.weights(), world.status.seq
    world.drift(moved)
    at = world.now
    world.settle()
    assert (world.now, world.weights()) == (at, weights)
    told = world.trail[seq + 1]
    assert (told.reason, told.kind, told.by, world.status.seq) == ("WeightDrift", Kind.PERSIST, "rolloutplan", seq + 1)
    assert NAMED in told.note and "is written again" in told.note
    assert where(world.status) == where(before)
    assert world.status.intent is None
    assert world.status.message == (before.message if before.phase is P.HELD else told.note)


def insists(world: World) -> None:
    """Somebody puts the weights back to what they were before, for as long as others are being written."""
    if world.phase is P.SHIFTING:
        world.drift(UP)
        world.settle()


REPAIRED = [
    Case("before the first weight is asked for", before_the_first, drift(HALF), P.JUDGING, "Soaking",
         ["WeightDrift", *SHIFTED], "50/50, not 100/0", UP),
    Case("while the first weight is being written", shifting(lag=s(10)), then(drift(HALF), wait(s(20))), P.JUDGING,
         "Soaking", ["WeightDrift", "WeightShifted"], "50/50, not 95/5", UP),
    Case("while the next weight is being written", shifting_to_half, then(drift(ALL), put(lag=s(0))), P.JUDGING,
         "Soaking", ["WeightDrift", "WeightShifted"], "0/100, not 50/50", HALF),
    Case("part of the way back while the next weight is being written", shifting_to_half,
         then(drift({"v1": 80, "v2": 20}), put(lag=s(0))), P.JUDGING, "Soaking", ["WeightDrift", "WeightShifted"],
         "80/20, not 50/50", HALF),
    Case("as they were before, while the next weight is being written: that is no drift, and it is written again",
         shifting_to_half, then(drift(UP), put(lag=s(0))), P.JUDGING, "Soaking", ["WeightShifted"], "", HALF),
    Case("and whoever goes on with that gets the old weights within five minutes", shifting_to_half,
         then(put(lag=s(25)), *[insists, wait(s(10))] * 32, wait(s(60))), P.ROLLED_BACK, "", BACK, "", OLD_WEIGHTS),
    Case("in a conflict: as they should be, and that ends it", held_conflict, drift(HALF), P.JUDGING, "Soaking",
         ["WeightDrift", "Resumed"], "", UP),
    Case("by a controller, which is named", judging(), lambda w: w.drift(HALF, by="argocd-controller"), P.JUDGING,
         "Soaking", ["WeightDrift"], "last changed by argocd-controller (Update) at 2026-03-01T09:01:30Z", UP),
    Case("with the old Deployment gone", judging(), then(put(old=None), settle, drift(HALF)), P.HELD, "OldSideDown",
         ["Held"], "", HALF),
    Case("with source and pods gone it is their matter first", judging(), then(pods(ready=0), drift(HALF)),
         P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("a guard that is proved comes first", judging(), then(proved("errors"), drift(HALF)), P.ROLLED_BACK,
         "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("an abort comes first", judging(), then(drift(HALF), say("abort a1")), P.ROLLED_BACK, "Aborted", BACK, "",
         OLD_WEIGHTS),
    Case("the API server takes it later: still one drift", judging(),
         then(put(broken={"route"}), drift(HALF), wait(s(20)), lambda w: same(w.weights()[0], HALF),
              put(broken=set()), wait(s(3))), P.JUDGING, "Soaking", ["WeightDrift", "RequestRefused"], "", UP),
    Case("nothing is written that is not on the record", judging(),
         then(put(broken={"record"}), drift(HALF), wait(s(20)), lambda w: same(w.weights()[0], HALF),
              put(broken=set()), wait(s(3))), P.JUDGING, "Soaking", ["WeightDrift"], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", REPAIRED, ids=ids)
def test_weights_moved_up(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("point", ["record", "recorded", "route", "routed"])
@pytest.mark.parametrize("given", [judging(), paused, shifting_to_half], ids=["judging", "paused", "shifting"])
def test_a_repair_is_done_once_whenever_the_operator_dies(given: Situation, point: str) -> None:
    world = given()
    world.drift(ALL)
    before, wanted = world.told(), world.status.intent.routes if world.status.intent else world.status.weights.written
    world.traps[point] = crash
    world.settle()
    assert not world.traps
    assert world.told() == [*before, "WeightDrift"]
    assert list(world.weights()[0].values()) == [backend.weight for backend in wanted[0].rules[0].backends]


# ---- what was measured meanwhile ---------------------------------------------------------------------------------

CLOCKS = [
    Case("the soak begins anew", judging(), then(drift(HALF), wait(m(3) - s(0.1))), P.JUDGING, "Soaking",
         ["WeightDrift"], "", UP),
    Case("and is over when it is", judging(), then(drift(HALF), wait(m(3))), P.JUDGING, "Soaking",
         ["WeightDrift", "StageProved", *SHIFTED], "", HALF),
    Case("as soon as its gateway has accepted the repair", judging(),
         then(put(lag=s(10)), drift(HALF), wait(m(3) + s(9.9))), P.JUDGING, "Soaking", ["WeightDrift"], "", UP),
    Case("the deadline begins anew", undecided(), then(drift(HALF), wait(m(10) - s(0.1))), P.JUDGING, "Soaking",
         ["WeightDrift"], "", UP),
    Case("and comes", undecided(), then(drift(HALF), wait(m(10))), P.HELD, "Undecided", ["WeightDrift", "Held"], "",
         UP),
    Case("what was decided at another weight is not decided", held_undecided,
         then(says(hits=0.95), wait(s(1)), drift(HALF), wait(m(3) - s(0.1)), lambda w: same(w.weights()[0], UP),
              wait(m(3) + s(20))), P.JUDGING, "Soaking", None, "", HALF),
    Case("the bake goes on: its share was never another", baking,
         then(drift({"v1": 0, "v2": 50}), wait(m(4))), P.SUCCEEDED, "Succeeded", ["WeightDrift", "Succeeded"], "", ALL),
]  # fmt: skip


@pytest.mark.parametrize("case", CLOCKS, ids=ids)
def test_a_stage_begins_anew_with_the_repair(case: Case) -> None:
    run(case)


FAILS: Mapping[str, Callable[[World], object]] = {
    "no pod is ready": pods(ready=0),
    "a guard trips": says(errors=0.2),
}


def held_on_its_way(fails: Callable[[World], object]) -> World:
    """The next weight is requested and no route can be written when the new side fails: the run is held for that."""
    world = judging({"onFail": "Hold"})()
    world.broken = {"route"}
    world.until(P.SHIFTING)
    world.settle()
    fails(world)
    world.until(P.HELD)
    world.broken = set()
    world.advance(m(1))
    assert (world.status.reason, world.weights()[0]) == ("Failed", UP)
    return world


@pytest.mark.parametrize("moved", [30, 60, 100])
@pytest.mark.parametrize("fails", FAILS)
def test_what_moves_the_weights_of_a_run_that_is_held_does_not_lead_it_on(fails: str, moved: int) -> None:
    """The weight that was on its way when the run failed is not written in place of what somebody else wrote."""
    world = held_on_its_way(FAILS[fails])
    world.drift({"v1": 100 - moved, "v2": moved})
    world.advance(m(1))
    assert (world.phase, world.status.reason, world.weights()[0]) == (P.HELD, "Failed", UP)
    assert world.told()[-2:] == ["Held", "WeightDrift"]


@pytest.mark.parametrize("fails", FAILS)
def test_and_abort_leads_back_from_there(fails: str) -> None:
    world = held_on_its_way(FAILS[fails])
    then(drift({"v1": 40, "v2": 60}), wait(s(10)), say("abort c1"), settle)(world)
    assert (world.phase, world.weights()[0]) == (P.ROLLED_BACK, OLD_WEIGHTS)
    assert "weights go back from 5% to 0%" in world.trail[max(world.trail) - 1].note


@pytest.mark.parametrize("fails", FAILS)
def test_weights_that_are_moved_back_make_no_other_hold_of_it(fails: str) -> None:
    """One that `resume` would end, when the failure is over."""
    world = held_on_its_way(FAILS[fails])
    back = drift({"v1": 97, "v2": 3})
    then(pods(ready=4), says(errors=0.0), wait(m(1)), back, settle, say("resume c1"), wait(m(12)))(world)
    assert (world.phase, world.status.reason, world.weights()[0]["v2"]) == (P.HELD, "Failed", 3)
    assert world.told()[-2:] == ["Held", "CommandRejected"]


@pytest.mark.parametrize("given", [judging(), paused, held_frozen, baking, awaiting])
def test_no_question_reaches_back_before_the_repair(given: Situation) -> None:
    world = given()
    world.drift({"v1": 0, "v2": 33})
    world.settle()
    since = world.moves[-1].at
    asked = len(world.asked)
    world.advance(m(2))
    windows = [(q.at, float(str(q.query).partition("[")[2].removesuffix("s]"))) for q in world.asked[asked:]]
    assert windows
    assert all(at - timedelta(seconds=window) >= since for at, window in windows)


# ---- a fight -----------------------------------------------------------------------------------------------------


def fight(*after: timedelta, weights: Mapping[str, int] = HALF) -> Callable[[World], None]:
    """Somebody moves the weights up again, each time after so long."""

    def do(world: World) -> None:
        for each in after:
            world.advance(each)
            world.drift(weights)
            world.settle()

    return do


DRIFTS = ["WeightDrift"] * 3
FIGHTS = [
    Case("three times are put right", judging(), fight(s(1), s(1), s(1)), P.JUDGING, "Soaking", DRIFTS, "", UP),
    Case("the fourth time is a fight, and ends at the old weights", judging(), fight(s(1), s(1), s(1), s(1)),
         P.ROLLED_BACK, "WeightConflict", [*DRIFTS, *BACK],
         "somebody else changed the weights 4 times within 10m: HTTPRoute shop rule 0 has weights 50/50, not 95/5, "
         "last changed by kubectl-edit (Update) at 2026-03-01T09:01:34Z; weights go back from 5% to 0%", OLD_WEIGHTS),
    Case("in other numbers each time", judging(),
         then(fight(s(1)), fight(s(1), weights=ALL), fight(s(1), weights={"v1": 1, "v2": 2}), fight(s(1))),
         P.ROLLED_BACK, "WeightConflict", [*DRIFTS, *BACK], "", OLD_WEIGHTS),
    Case("the fourth within ten minutes", paused, fight(s(1), m(5), m(2), m(3) - s(0.1)), P.ROLLED_BACK,
         "WeightConflict", [*DRIFTS, *BACK], "", OLD_WEIGHTS),
    Case("the fourth when the first is ten minutes ago", paused, fight(s(1), m(5), m(2), m(3)), P.HELD, "Paused",
         [*DRIFTS, "WeightDrift"], "", UP),
    Case("three times, ten quiet minutes, and three times again", paused, fight(s(1), s(1), s(1), m(10), s(1), s(1)),
         P.HELD, "Paused", [*DRIFTS, *DRIFTS], "", UP),
    Case("and once more", paused, fight(s(1), s(1), s(1), m(10), s(1), s(1), s(1)), P.ROLLED_BACK, "WeightConflict",
         [*DRIFTS, *DRIFTS, *BACK], "", OLD_WEIGHTS),
    Case("in a row, before any gateway has accepted a repair", judging(lag=s(3)), fight(s(1), s(1), s(1), s(1)),
         P.ROLLING_BACK, "WeightConflict", [*DRIFTS, "RollbackStarted"], "", OLD_WEIGHTS),
    Case("while a weight is being written", shifting_to_half, fight(s(1), s(1), s(1), s(1), weights=ALL),
         P.ROLLING_BACK,
         "WeightConflict", [*DRIFTS, "RollbackStarted"], "", OLD_WEIGHTS),
    Case("an operator that is killed counts on", judging(),
         then(fight(s(1), s(1)), lambda w: w.crash(), fight(s(1), s(1))), P.ROLLED_BACK, "WeightConflict",
         [*DRIFTS, *BACK], "", OLD_WEIGHTS),
    Case("over stages", judging(), then(fight(s(1), s(1)), wait(m(3)), fight(s(1), s(1), weights=ALL)), P.ROLLED_BACK,
         "WeightConflict", None, "", OLD_WEIGHTS),
    Case("a person's resume counts anew", judging(),
         then(fight(s(1), s(1), s(1)), drift(OLD_WEIGHTS), settle, say("resume r1"), settle, fight(s(1), s(1), s(1))),
         P.JUDGING, "Soaking", [*DRIFTS, "Held", "Resumed", *SHIFTED, *DRIFTS], "", UP),
    Case("the next run counts anew", judging(),
         then(fight(s(1), s(1), s(1), s(1)), say("retry r1"), settle, fight(s(1), s(1), s(1))), P.JUDGING, "Soaking",
         None, "", UP),
    Case("onFail: Hold does not leave a fight alone", judging({"onFail": "Hold"}), fight(s(1), s(1), s(1), s(1)),
         P.ROLLED_BACK, "WeightConflict", None, "", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", FIGHTS, ids=ids)
def test_a_fight(case: Case) -> None:
    run(case)


# ---- back: held --------------------------------------------------------------------------------------------------


def replaced(rules: list[Mapping[str, int]], name: str = "shop") -> Callable[[World], object]:
    """Somebody deletes a route and creates it anew with these weights."""
    return lambda world: world.routes.update({name: http_route(name, rules)})


HELD = [
    Case("moved back, judging", judging(stage="half"), drift(UP), P.HELD, "Conflict", ["Held"], NAMED, UP),
    Case("by a little", judging(), drift({"v1": 951, "v2": 49}), P.HELD, "Conflict", ["Held"], "951/49, not 95/5"),
    Case("to nothing at all", judging(), drift({"v1": 0, "v2": 0}), P.HELD, "Conflict", ["Held"], "0/0, not 95/5"),
    Case("in the bake", baking, drift({"v1": 1, "v2": 99}), P.HELD, "Conflict", ["Held"], "1/99, not 0/100"),
    Case("while frozen", held_frozen, drift(OLD_WEIGHTS), P.HELD, "Conflict", ["Held"], "", OLD_WEIGHTS),
    Case("while awaiting approval", awaiting, drift(OLD_WEIGHTS), P.HELD, "Conflict", ["Held"], "", OLD_WEIGHTS),
    Case("below where it was, while the next weight is being written", shifting_to_half, drift({"v1": 99, "v2": 1}),
         P.HELD, "Conflict", ["Held"], "while 50% was being written: HTTPRoute shop rule 0 has weights 99/1"),
    Case("while a repair is being accepted", judging(), then(put(lag=s(10)), drift(HALF), settle, drift(OLD_WEIGHTS)),
         P.HELD, "Conflict", ["WeightDrift", "Held"], "while 5% was being written", OLD_WEIGHTS),
    Case("moved back and then up: put right, and that ends it", held_conflict, drift({"v1": 1, "v2": 9}), P.JUDGING,
         "Soaking", ["WeightDrift", "Resumed"], "", UP),
    Case("put back as they were while the first weight was being written: the stage is asked for again",
         shifting_to_half, then(drift(OLD_WEIGHTS), settle, drift(UP), put(lag=s(0))), P.JUDGING, "Soaking",
         ["Held", "Resumed", *SHIFTED], "", HALF),
    Case("the route is gone", judging(), lambda w: w.routes.clear(), P.HELD, "Conflict", ["Held"],
         "HTTPRoute shop is gone"),
    Case("the route is gone while a weight is being written", shifting(), lambda w: w.routes.clear(), P.HELD,
         "Conflict", ["Held"], "while 5% was being written: HTTPRoute shop is gone"),
    Case("the route is gone while a repair is being accepted", judging(),
         then(put(lag=s(10)), drift(HALF), settle, lambda w: w.routes.clear()), P.HELD, "Conflict",
         ["WeightDrift", "Held"], "while 5% was being written: HTTPRoute shop is gone"),
    Case("the route is created anew with the weights from before the run", judging(), replaced([OLD_WEIGHTS]), P.HELD,
         "Conflict", ["Held"], "100/0, not 95/5", OLD_WEIGHTS),
    Case("the route is created anew as it was", judging(),
         then(lambda w: w.routes.clear(), settle, replaced([UP])), P.JUDGING, "Soaking", ["Held", "Resumed"], "", UP),
    Case("the new backend is gone", judging(), replaced([{"v1": 95}]), P.HELD, "Conflict", ["Held"],
         "HTTPRoute shop no longer holds both v1 and v2 in one rule", {"v1": 95}),
    Case("the old backend is gone", judging(), replaced([{"v2": 5}]), P.HELD, "Conflict", ["Held"],
         "HTTPRoute shop no longer holds both v1 and v2 in one rule", {"v2": 5}),
    Case("the rules are gone", judging(), replaced([]), P.HELD, "Conflict", ["Held"], "no longer holds both"),
    Case("a rule before it is put in", judging(), replaced([{"v0": 1}, UP]), P.JUDGING, "Soaking", []),
    Case("a proof is still a proof", held_conflict, then(says(errors=0.2), wait(s(20))), P.ROLLED_BACK, "GuardTripped",
         BACK, "", OLD_WEIGHTS),
    Case("one of two routes up, the other back", two_routes,
         then(lambda w: w.drift(HALF, "shop"), lambda w: w.drift(OLD_WEIGHTS, "api")), P.HELD, "Conflict", ["Held"], "",
         HALF),
    Case("one of two routes up, the other gone", two_routes,
         then(lambda w: w.drift(HALF, "shop"), lambda w: w.routes.pop("api")), P.HELD, "Conflict", ["Held"], "", HALF),
    Case("one of two routes up", two_routes, lambda w: w.drift(HALF, "api"), P.JUDGING, "Soaking", ["WeightDrift"],
         "HTTPRoute api rule 0", UP),
    Case("both of two routes up: one decision", two_routes,
         then(lambda w: w.drift(HALF, "shop"), lambda w: w.drift(ALL, "api")), P.JUDGING, "Soaking", ["WeightDrift"],
         "", UP),
    Case("a repair that no gateway accepts goes back", judging(), then(put(lag=None), drift(HALF), wait(m(2))),
         P.ROLLED_BACK, "RestoredNotAccepted", ["WeightDrift", *BACK], "5% was not accepted again within 30s",
         OLD_WEIGHTS),
    Case("a repair that its gateway refuses goes back with its word", judging(),
         then(put(refusal="UnsupportedValue"), drift(HALF), wait(m(2))), P.ROLLED_BACK, "", ["WeightDrift", *BACK],
         "UnsupportedValue", OLD_WEIGHTS),
    Case("before 30 s are over nothing is said", judging(), then(put(lag=None), drift(HALF), wait(s(29.9))), P.JUDGING,
         "Soaking", ["WeightDrift"], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", HELD, ids=ids)
def test_what_is_never_guessed(case: Case) -> None:
    world = run(case)
    assert all(route["metadata"]["name"] != "api" or world.weights("api")[0] in (UP, OLD_WEIGHTS)
               for route in world.routes.values())  # fmt: skip


def test_a_weight_that_was_given_up_is_no_longer_the_one_that_is_wanted() -> None:
    world = shifting_to_half()
    world.drift({"v1": 99, "v2": 1})
    world.settle()
    assert (world.status.weights.desired, world.status.intent) == ("5%", None)


def test_guards_look_on_where_the_first_weight_was_given_up() -> None:
    """Some traffic is on the new side, and nobody knows how much was."""
    world = World(routes={"shop": http_route("shop", [{"v1": 98, "v2": 2}])}, lag=None)
    world.settle()
    world.drift({"v1": 99, "v2": 1})
    world.settle()
    phase_is(world, P.HELD, "Conflict")
    world.says["errors"] = 0.2
    world.advance(m(1))
    assert (world.phase, world.weights()[0]) == (P.ROLLING_BACK, {"v1": 98, "v2": 2})


def test_of_two_rules_one_up_and_one_back_is_held() -> None:
    world = judging(routes={"shop": http_route("shop", [OLD_WEIGHTS, OLD_WEIGHTS])})()
    world.drift(HALF, rule=0)
    world.drift(OLD_WEIGHTS, rule=1)
    world.settle()
    assert (world.phase, world.status.reason, world.weights()) == (P.HELD, "Conflict", (HALF, OLD_WEIGHTS))


@pytest.mark.parametrize(
    ("moved", "v0"),
    [
        ({"v1": 50, "v2": 50}, 9),
        ({"v1": 50, "v2": 50, "v0": 40}, 40),
        ({"v1": 100, "v2": 100, "v0": 18}, 9),
        ({"v1": 5, "v2": 5, "v0": 1}, 10),
    ],
)
def test_another_backend_keeps_the_share_that_it_has(moved: Mapping[str, int], v0: int) -> None:
    world = judging(routes={"shop": http_route("shop", [{**OLD_WEIGHTS, "v0": 9}])})()
    world.drift(moved)
    world.settle()
    assert world.weights()[0] == {**UP, "v0": v0}


UNREAD = [
    Case("it goes on when it can be read, if it was accepted meanwhile", shifting(lag=s(10)),
         then(edit({"stages": []}), wait(s(20)), edit({"stages": World().spec["stages"]})), P.JUDGING, "Soaking",
         ["WeightShifted", "Held", "Resumed"], "", UP),
    Case("and if it could not be written then", World,
         then(put(broken={"route"}), wait(s(1)), edit({"stages": []}), wait(s(5)), put(broken=set()),
              edit({"stages": World().spec["stages"]}), wait(s(5))), P.JUDGING, "Soaking", None, "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", UNREAD, ids=ids)
def test_our_own_weight_is_no_drift_though_the_plan_could_not_be_read_meanwhile(case: Case) -> None:
    run(case)
