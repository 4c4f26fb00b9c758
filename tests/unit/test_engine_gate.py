"""What the policies of the cluster say: asked before a run and before every increase, and never in the way back.

The world's clock begins at 09:00 on a Sunday, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest

from rolloutplan.engine.model.policy_view import PolicyView, QueueEntry
from rolloutplan.stats.verdict import Why
from tests.situations import (
    ALL,
    BACK,
    BEGUN,
    FROZEN,
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
    delete,
    edit,
    expanding,
    fresh,
    held_frozen,
    ids,
    judging,
    kept,
    m,
    phase_is,
    pods,
    proved,
    put,
    ruled,
    run,
    s,
    say,
    says,
    settle,
    shifting,
    then,
    wait,
)
from tests.world import START, World

Happens = Callable[[World], object]


def policies(*policies: PolicyView) -> Happens:
    return put(policies=policies)


def window(name: str = "production", **times: Any) -> PolicyView:
    return ruled(name, freeze={"windows": [{"reason": "quiet", **times}]})


MORNING = window(daily={"from": "09:02", "to": "09:15"})
BROKEN = PolicyView("broken", None, "spec.focus: 'Speed' is not one of the choices")
BUDGET = ruled(errorBudget={"query": "budget", "atLeast": "20%"})

# ---- freezes -----------------------------------------------------------------------------------------------------

FREEZES = [
    Case("nothing starts", fresh(policies=(FROZEN,)), wait(timedelta(days=2)), P.PENDING, "Frozen", ["Stalled"],
         "frozen by policy production: incident 42", OLD_WEIGHTS),
    Case("it starts when it is thawed", fresh(policies=(FROZEN,)), then(wait(m(5)), policies()), P.JUDGING, "Soaking",
         ["Stalled", *BEGUN], "", UP),
    Case("what has started waits for its new side all the same", expanding, then(policies(FROZEN), wait(s(10))),
         P.EXPANDING, "Expanding", [], "", OLD_WEIGHTS),
    Case("and is held before its first weight", expanding, then(policies(FROZEN), pods(ready=4)), P.HELD, "Frozen",
         ["NewSideReady", "Held"], "", OLD_WEIGHTS),
    Case("a stage in mid-soak is judged on", judging(), then(policies(FROZEN), wait(s(89.9))), P.JUDGING, "Soaking",
         [], "", UP),
    Case("until its end, and held before the next weight", judging(), then(policies(FROZEN), wait(s(90))), P.HELD,
         "Frozen", ["StageProved", "Held"], "frozen by policy production: incident 42", UP),
    Case("for as long as it lasts", held_frozen, wait(m(10)), P.HELD, "Frozen", [], "", UP),
    Case("it goes on when it is thawed", held_frozen, then(wait(m(5)), policies()), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "Frozen is over after 300s", HALF),
    Case("a killed operator does not thaw it", held_frozen, then(lambda w: w.crash(), wait(m(5))), P.HELD, "Frozen", [],
         "", UP),
    Case("a weight that is being written is finished", shifting(lag=s(10)), then(policies(FROZEN), wait(s(20))),
         P.JUDGING, "Soaking", ["WeightShifted"], "", UP),
    Case("a bake is no increase", baking, then(policies(FROZEN), wait(m(4))), P.SUCCEEDED, "Succeeded", ["Succeeded"],
         "", ALL),
    Case("approval comes before it", awaiting, policies(FROZEN), P.HELD, "AwaitingApproval", [], "", UP),
    Case("of several the one that lasts longest is named", judging(),
         then(policies(MORNING, FROZEN), wait(s(90))), P.HELD, "Frozen", ["StageProved", "Held"], "incident 42", UP),
    Case("another freeze is told of, and is no new decision", held_frozen,
         policies(ruled(freeze={"now": "incident 43"})), P.HELD, "Frozen", [], "incident 43", UP),
    Case("another plan: the old weights at once, the next run when it is thawed", held_frozen,
         edit({"interval": "20s"}), P.PENDING, "Frozen", [*BACK, "Stalled"], "", OLD_WEIGHTS),
    Case("before its window a run starts", fresh(policies=(MORNING,)), wait(s(0)), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("and is held in it", fresh(policies=(MORNING,)), wait(m(4)), P.HELD, "Frozen", None,
         "frozen by policy production: quiet, until 2026-03-01T09:15:00Z", UP),
    Case("until it ends", fresh(policies=(MORNING,)), wait(m(15) - s(0.1)), P.HELD, "Frozen", None, "", UP),
    Case("and goes on by itself then", fresh(policies=(MORNING,)), wait(m(15)), P.JUDGING, "Soaking",
         [*BEGUN, "StageProved", "Held", "Resumed", *SHIFTED], "", HALF),
    Case("one window after the other: held on, and told of", fresh(policies=(MORNING,
         window("second", daily={"from": "09:10", "to": "11:00"}))), wait(m(16)), P.HELD, "Frozen",
         [*BEGUN, "StageProved", "Held"], "policy second: quiet, until 2026-03-01T11:00:00Z", UP),
    Case("in its window nothing starts", fresh(policies=(window(weekly={"from": "Fri 16:00", "to": "Mon 08:00"}),)),
         wait(m(60)), P.PENDING, "Frozen", ["Stalled"], "quiet, until 2026-03-02T08:00:00Z", OLD_WEIGHTS),
    Case("a window that is over says nothing", fresh(policies=(window(**{"from": "2026-02-01T00:00:00Z",
         "to": "2026-03-01T09:00:00Z"}),)), wait(s(0)), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("a policy that cannot be read lets nothing start", fresh(policies=(BROKEN,)), wait(m(5)), P.PENDING, "Frozen",
         ["Stalled"], "policy broken is invalid, so the run waits: correct or delete it: spec.focus",
         OLD_WEIGHTS),
    Case("nor go on", judging(policies=()), then(policies(BROKEN), wait(m(5))), P.HELD, "Frozen",
         ["StageProved", "Held"], "policy broken is invalid", UP),
    Case("but when it can be read", judging(), then(policies(BROKEN), wait(m(5)), policies(ruled("broken"))), P.JUDGING,
         "Soaking", ["StageProved", "Held", "Resumed", *SHIFTED], "", HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", FREEZES, ids=ids)
def test_a_freeze(case: Case) -> None:
    run(case)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-01T{clock}Z")


@kept
def approved_in_the_window() -> World:
    world = awaiting_the_first()
    world.policies = (window(daily={"from": "08:00", "to": "10:00"}),)
    world.say("approve a1")
    world.settle()
    phase_is(world, P.HELD, "Frozen")
    return world


@pytest.mark.parametrize(
    "given",
    [fresh(policies=(window(daily={"from": "08:00", "to": "10:00"}),)), approved_in_the_window],
    ids=["before the start", "before the first weight"],
)
def test_it_sleeps_until_the_window_ends(given: Situation) -> None:
    world = given()
    world.advance(s(15))  # its queries are looked at, and its pods
    assert world.wake_at == at("10:00:00")
    world.until(P.JUDGING)
    assert world.now == at("10:00:00")


def test_an_instant_freeze_has_no_end_to_wait_for() -> None:
    world = World(policies=(FROZEN,))
    world.advance(s(15))
    assert world.wake_at is None


# ---- places ------------------------------------------------------------------------------------------------------

ONE = ruled(maxConcurrent=1)


def peer(name: str, where: Literal["waiting", "starting", "running"], age: int = 60, *lines: str) -> QueueEntry:
    """Another plan of the same line, created so many minutes before the world began; ours was one minute before."""
    return QueueEntry(f"ns/{name}", frozenset(lines or ("policy production",)), where, START - m(age), uid=name)


def peers(*peers: QueueEntry) -> Happens:
    return put(peers=peers)


RUNNING, ELDER, YOUNGER = peer("a", "running"), peer("b", "waiting"), peer("c", "waiting", age=-60)


def waiting(*who: QueueEntry, rules: tuple[PolicyView, ...] = (ONE,)) -> Situation:
    def make() -> World:
        world = World(policies=rules, peers=who)
        world.settle()
        phase_is(world, P.PENDING, "Waiting")
        return world

    return kept(make, who, rules)


PLACES = [
    Case("no place is left: it waits, and says for whom and where it stands", fresh(policies=(ONE,), peers=(RUNNING,)),
         wait(m(5)), P.PENDING, "Waiting", ["Stalled"],
         "1st in the queue for a place in policy production (1 of 1 is taken: ns/a)", OLD_WEIGHTS),
    Case("its place in the line changes: told, and no new decision", waiting(RUNNING), peers(RUNNING, ELDER), P.PENDING,
         "Waiting", [], "2nd in the queue", OLD_WEIGHTS),
    Case("who holds the place changes: told, and no new decision", waiting(RUNNING), peers(peer("z", "running")),
         P.PENDING, "Waiting", [], "taken: ns/z", OLD_WEIGHTS),
    Case("a younger one that waits changes nothing", waiting(RUNNING), peers(RUNNING, YOUNGER), P.PENDING, "Waiting",
         [], "1st in the queue", OLD_WEIGHTS),
    Case("a place is free: it starts", waiting(RUNNING), peers(), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("a place is free, and an elder waits", waiting(RUNNING), peers(ELDER), P.PENDING, "Waiting", [],
         "2nd in the queue for a place in policy production (0 of 1 are taken)", OLD_WEIGHTS),
    Case("a place is free, and a younger one waits", waiting(RUNNING), peers(YOUNGER), P.JUDGING, "Soaking", BEGUN, "",
         UP),
    Case("there are places enough", fresh(policies=(ruled(maxConcurrent=2),), peers=(RUNNING,)), wait(s(0)), P.JUDGING,
         "Soaking", BEGUN, "", UP),
    Case("peers of other lines", fresh(policies=(ONE,), peers=(peer("a", "running", 60, "policy other"),)), wait(s(0)),
         P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("every line must have a place", waiting(RUNNING, rules=(ONE, ruled("second", lockGroup="payments"))),
         peers(peer("a", "running", 60, "lock group payments")), P.PENDING, "Waiting", [],
         "1st in the queue for a place in lock group payments", OLD_WEIGHTS),
    Case("two that started at the same instant: the younger gives way", expanding,
         then(policies(ONE), peers(peer("a", "starting"))), P.PENDING, "Waiting", ["Stalled"], "ns/a", OLD_WEIGHTS),
    Case("the elder does not", expanding, then(policies(ONE), peers(peer("a", "starting", age=-60)), pods(ready=4)),
         P.JUDGING, "Soaking", ["NewSideReady", *SHIFTED], "", UP),
    Case("it gave way, and starts when its turn has come", expanding,
         then(policies(ONE), peers(peer("a", "starting")), settle, peers(peer("a", "running")), wait(m(1)),
              pods(ready=4), peers()), P.JUDGING, "Soaking", ["Stalled", *BEGUN], "run 2", UP),
    Case("no run that has begun to shift gives way", shifting(lag=s(10)),
         then(policies(ONE), peers(peer("a", "starting"), RUNNING), wait(s(20))), P.JUDGING, "Soaking",
         ["WeightShifted"], "", UP),
    Case("nor is one asked again before an increase", judging(), then(policies(ONE), peers(RUNNING), wait(s(90))),
         P.JUDGING, "Soaking", ["StageProved", *SHIFTED], "", HALF),
    Case("frozen, and no place: the freeze is told first", fresh(policies=(ONE, FROZEN), peers=(RUNNING,)), wait(s(0)),
         P.PENDING, "Frozen", ["Stalled"]),
    Case("waiting, and frozen then", waiting(RUNNING), policies(ONE, FROZEN), P.PENDING, "Frozen", ["Stalled"]),
    Case("waiting, and what it needs goes away", waiting(RUNNING), put(new=None), P.INVALID, "DeploymentNotFound",
         ["Stalled"]),
    Case("waiting, and aborted", waiting(RUNNING), then(say("abort a1"), peers(), wait(m(5))), P.ROLLED_BACK, "Aborted",
         ["Aborted"], "", OLD_WEIGHTS),
    Case("waiting, and paused", waiting(RUNNING), then(say("pause a1"), peers(), wait(m(5))), P.PENDING, "Paused",
         ["Stalled"], "", OLD_WEIGHTS),
    Case("waiting, and deleted", waiting(RUNNING), delete, P.PENDING, "Waiting", []),
]  # fmt: skip


@pytest.mark.parametrize("case", PLACES, ids=ids)
def test_a_place(case: Case) -> None:
    run(case)


def test_one_that_waits_comes_by_again() -> None:
    world = waiting(RUNNING)()
    assert world.wake_at == world.now + s(10)


# ---- focus -------------------------------------------------------------------------------------------------------

STABILITY = ruled(focus="Stability")
FOCUS = [
    Case("Stability doubles the soak", fresh(policies=(STABILITY,)), wait(m(6) - s(0.1)), P.JUDGING, "Soaking", BEGUN,
         "judged for 6m at least, decided within 13m", UP),
    Case("and no more", fresh(policies=(STABILITY,)), wait(m(6)), P.JUDGING, "Soaking",
         [*BEGUN, "StageProved", *SHIFTED], "", HALF),
    Case("the deadline comes as much later", fresh(policies=(STABILITY,)),
         then(says(hits=Why.NO_DATA), wait(m(13) - s(0.1))), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("and comes", fresh(policies=(STABILITY,)), then(says(hits=Why.NO_DATA), wait(m(13))), P.HELD, "Undecided",
         [*BEGUN, "Held"], "", UP),
    Case("a soak that has begun is not made longer", judging(), then(policies(STABILITY), wait(s(90))), P.JUDGING,
         "Soaking", ["StageProved", *SHIFTED], "judged for 4m at least", HALF),
    Case("nor shorter", judging(policies=(STABILITY,)), then(policies(), wait(m(4.5) - s(0.1))), P.JUDGING, "Soaking",
         [], "", UP),
    Case("a drift begins it anew, doubled", judging(policies=(STABILITY,)),
         then(lambda w: w.drift(HALF), wait(m(6) - s(0.1))), P.JUDGING, "Soaking", ["WeightDrift"], "", UP),
    Case("Throughput makes no soak shorter", fresh(policies=(ruled(focus="Throughput"),)), wait(m(3) - s(0.1)),
         P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("the bake is as written", fresh(policies=(STABILITY,)), wait(m(6 + 4 + 4 + 5)), P.SUCCEEDED),
]  # fmt: skip


@pytest.mark.parametrize("case", FOCUS, ids=ids)
def test_focus(case: Case) -> None:
    run(case)


# ---- error budgets -----------------------------------------------------------------------------------------------


def left(share: float | Why, policy: str = "production") -> Happens:
    return says(**{policy: share})


def budgeted(share: float | Why) -> Situation:
    """A plan that was applied just now, and so much of its error budget is left."""
    return lambda: World(policies=(BUDGET,), says={**World().says, "production": share})


@kept
def spent() -> World:
    """The canary is proved, and too little of the error budget is left for more."""
    world = budgeted(0.5)().until(P.JUDGING)
    world.says["production"] = 0.1
    world.until(P.HELD)
    phase_is(world, P.HELD, "BudgetSpent")
    return world


@kept
def paused_at_the_gate() -> World:
    world = awaiting()
    world.say("pause p1")
    world.settle()
    return world


BUDGETS = [
    Case("enough is left", budgeted(0.5), wait(m(3)), P.JUDGING, "Soaking", [*BEGUN, "StageProved", *SHIFTED], "",
         HALF),
    Case("exactly what must be left is enough", budgeted(0.2), wait(s(0)), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("too little is left: held before the first weight", budgeted(0.1999), wait(m(5)), P.HELD, "BudgetSpent",
         ["Started", "NewSideReady", "Held"],
         "policy production: 19.99% of the error budget is left; at least 20% must be left", OLD_WEIGHTS),
    *(
        Case(f"not known ({why}) is not left", budgeted(why), wait(m(5)), P.HELD, "BudgetSpent", None,
             f"the error budget is unknown ({why})", OLD_WEIGHTS)
        for why in (Why.NO_DATA, Why.NAN, Why.MANY_SERIES, Why.WARNINGS, Why.SOURCE_DOWN, Why.QUERY_REJECTED)
    ),
    Case("a stage in mid-soak is judged on", judging(), then(policies(BUDGET), left(0.0), wait(s(89.9))), P.JUDGING,
         "Soaking", [], "", UP),
    Case("it is asked again before each increase", budgeted(0.5), then(wait(m(1)), left(0.1), wait(m(4))), P.HELD,
         "BudgetSpent", [*BEGUN, "StageProved", "Held"], "10% of the error budget is left", UP),
    Case("as it becomes less it is told, and no new decision", spent, then(left(0.05), wait(s(10))), P.HELD,
         "BudgetSpent", [], "5% of the error budget is left", UP),
    Case("it heals by itself", spent, then(left(0.3), wait(s(10))), P.JUDGING, "Soaking", ["Resumed", *SHIFTED],
         "BudgetSpent is over", HALF),
    Case("not before it is asked again", spent, then(left(0.3), wait(s(9.9))), P.HELD, "BudgetSpent", [], "", UP),
    Case("a killed operator asks anew", spent, then(left(0.3), lambda w: w.crash()), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "", HALF),
    Case("the policy is taken away", spent, policies(), P.JUDGING, "Soaking", ["Resumed", *SHIFTED], "", HALF),
    Case("of two budgets both must be left", spent,
         then(policies(BUDGET, ruled("second", errorBudget={"query": "b", "atLeast": "90%"})), left(0.9),
              left(0.8, "second"), wait(s(10))), P.HELD, "BudgetSpent", [], "policy second: 80% of the error budget",
         UP),
    Case("the bake is no increase", baking, then(policies(BUDGET), left(0.0), wait(m(4))), P.SUCCEEDED, "Succeeded",
         ["Succeeded"], "", ALL),
    Case("a plan that cannot be read asks nothing", spent, then(edit({"stages": []}), wait(m(1))), P.HELD, "Invalid",
         ["Held"], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", BUDGETS, ids=ids)
def test_an_error_budget(case: Case) -> None:
    run(case)


def test_a_budget_is_asked_at_the_gate_and_nowhere_else() -> None:
    world = budgeted(0.5)()
    world.until(P.JUDGING)
    assert asked_at(world) == START
    world.advance(m(2))
    assert asked_at(world) == START
    world.until(P.JUDGING, stage="half")
    assert asked_at(world) == world.now


def asked_at(world: World) -> datetime | None:
    """When the gate was asked last."""
    heard = world.snapshot().gate_answers
    return heard.at if heard else None


@pytest.mark.parametrize("given", [awaiting, awaiting_the_first, held_frozen, paused_at_the_gate])
def test_a_budget_is_not_asked_while_something_else_is_waited_for(given: Situation) -> None:
    world = given()
    world.policies = (*world.policies, BUDGET)
    world.advance(m(1))
    assert world.snapshot().gate_answers is None


# ---- never in the way back ---------------------------------------------------------------------------------------


@kept
def all_closed() -> World:
    world = awaiting()
    world.policies = (FROZEN, MORNING, BROKEN, BUDGET, ONE, STABILITY)
    world.peers = (RUNNING, ELDER)
    world.says["production"] = Why.SOURCE_DOWN
    world.advance(m(1))
    return world


CLOSED: Mapping[str, Situation] = {
    "frozen": held_frozen,
    "spent": spent,
    "awaiting approval": awaiting,
    "all of them, and a policy that cannot be read": all_closed,
}
WAYS_BACK: Mapping[str, tuple[Happens, str]] = {
    "a guard is proved": (proved("errors"), "GuardTripped"),
    "a fail predicate is proved": (proved("wrong"), "FailTripped"),
    "no pod is ready": (pods(ready=0), "NewSideDown"),
    "the new Deployment is gone": (put(new=None), "NewSideGone"),
    "somebody says abort": (say("abort a1"), "Aborted"),
    "the plan is deleted": (delete, "Deleted"),
}


@pytest.mark.parametrize("way", WAYS_BACK)
@pytest.mark.parametrize("closed", CLOSED)
def test_whatever_is_closed_the_way_back_is_open(closed: str, way: str) -> None:
    world = CLOSED[closed]()
    happens, reason = WAYS_BACK[way]
    happens(world)
    at = world.now
    world.settle()
    assert (world.now, world.phase, world.status.reason) == (at, P.ROLLED_BACK, reason)
    assert world.weights()[0] == OLD_WEIGHTS
