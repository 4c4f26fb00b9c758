"""A person's word: done at once, once for each token, and answered in any case by a decision in that person's name.

Each row is a promise. Whoever says it is `kubectl`, and the token is `c1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from rolloutplan.api.command import Verb
from rolloutplan.api.status import Decision, Kind
from rolloutplan.engine.run.choice import QUESTION
from rolloutplan.stats.verdict import Why
from tests.refusals import changed
from tests.situations import (
    ALL,
    BACK,
    BEGUN,
    FROZEN,
    HALF,
    NAMESAKE,
    OLD_WEIGHTS,
    RIVAL,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    awaiting,
    awaiting_the_first,
    baking,
    blocked,
    drift,
    edit,
    expanding,
    fresh,
    held_blind,
    held_conflict,
    held_failed,
    held_frozen,
    held_invalid,
    held_undecided,
    ids,
    invalid,
    judging,
    kept,
    m,
    nothing,
    paused,
    paused_before_start,
    phase_is,
    pods,
    proved,
    put,
    reverting,
    rolled_back,
    run,
    s,
    say,
    says,
    settle,
    shifting,
    silent_bake,
    status_lost,
    succeeded,
    then,
    trap,
    two_routes,
    undecided,
    wait,
)
from tests.world import PLAN, SHOP, StaleError, World, crash, http_route, refuse

DAYS = timedelta(days=2)
BECAUSE = ' --reason "few requests at night"'


WRECKED = then(edit({"stages": []}), put(down="connection refused", source=None, old=None, new=None))
"""The plan cannot be read, the metric source is down and gone, and so are both Deployments."""


def answer(world: World, token: str = "c1") -> Decision:
    """The one decision that answers a command."""
    found = [decision for decision in world.trail.values() if decision.token == token]
    assert [decision.by for decision in found] == ["kubectl"], [d.note for d in world.trail.values()]
    return found[0]


def obeyed(case: Case) -> World:
    """What has become of it; the command was answered, and not by a refusal."""
    world = run(case)
    assert answer(world).reason != "CommandRejected", answer(world).note
    return world


# ---- back --------------------------------------------------------------------------------------------------------

MID_RUN: Mapping[str, Situation] = {
    "the first weight is being written": shifting(lag=s(10)),
    "the first stage is judged": judging(),
    "a later stage is judged": judging(stage="half"),
    "held for a conflict": held_conflict,
    "held blind": held_blind,
    "held undecided": held_undecided,
    "held after onFail: Hold": held_failed,
    "held as unreadable": held_invalid,
    "held frozen": held_frozen,
    "held for approval": awaiting,
    "held for approval of the first weight": awaiting_the_first,
    "paused": paused,
    "baking": baking,
}
"""Every sort of place in a run in which there is a snapshot."""


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.REVERT])
@pytest.mark.parametrize("wrecked", [False, True], ids=["", "wrecked"])
@pytest.mark.parametrize("given", MID_RUN)
def test_in_mid_run_abort_and_revert_put_the_old_weights_back(given: str, wrecked: bool, verb: Verb) -> None:
    happens = then(WRECKED if wrecked else nothing, say(f"{verb} c1 --reason checkout is slow"), wait(s(20)))
    world = obeyed(Case("", MID_RUN[given], happens, P.ROLLED_BACK, "Aborted", None, "", OLD_WEIGHTS))
    assert world.told()[-2:] == BACK
    assert answer(world).note.startswith(f"{verb} by kubectl: checkout is slow; weights go back from ")
    assert not world.finalizer


@pytest.mark.parametrize("given", [judging(stage="half"), held_conflict, baking])
def test_an_abort_writes_the_old_weights_in_the_turn_that_sees_it(given: Situation) -> None:
    world = given()
    world.say("abort c1")
    world.turn()
    assert world.weights()[0] == OLD_WEIGHTS


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.REVERT])
def test_a_weight_that_was_on_its_way_when_it_was_aborted_does_not_arrive(verb: Verb) -> None:
    """The route holds the old weights still, and is fenced all the same."""
    world = World()
    late = world.interrupted("route", refuse)
    world.say(f"{verb} c1")
    world.settle()
    assert (world.phase, world.moves) == (P.ROLLED_BACK, [])
    (effect,) = late.weights
    with pytest.raises(StaleError):
        world.write_weights(effect)


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.REVERT])
@pytest.mark.parametrize("wrecked", [False, True], ids=["", "wrecked"])
@pytest.mark.parametrize("given", [World, blocked, invalid, expanding, paused_before_start])
def test_before_the_first_weight_they_end_the_run(given: Situation, wrecked: bool, verb: Verb) -> None:
    happens = then(WRECKED if wrecked else nothing, say(f"{verb} c1"), wait(DAYS))
    world = obeyed(Case("", given, happens, P.ROLLED_BACK, "Aborted", ["Aborted"], "no weight was moved", OLD_WEIGHTS))
    assert (answer(world).kind, world.moves) == (Kind.KILL, [])


@kept
def aborted_early() -> World:
    world = World(services=frozenset({"v1"}))
    world.say("abort a1")
    world.settle()
    return world


@kept
def reverted() -> World:
    world = succeeded()
    world.say("revert r1")
    world.settle()
    return world


ENDED = [
    Case("revert after a success puts the old weights back", succeeded, say("revert c1 --reason of the bill"),
         P.ROLLED_BACK, "Reverted", BACK, "revert by kubectl: of the bill; weights go back from 100% to 0%",
         OLD_WEIGHTS),
    Case("it needs neither spec nor pods nor metrics", succeeded, then(WRECKED, say("revert c1")), P.ROLLED_BACK,
         "Reverted", BACK, "", OLD_WEIGHTS),
    Case("a plan that is no longer on its way holds it up no more than one that waits", succeeded,
         then(put(route_conflicts=(replace(RIVAL, running=False, waiting=True),)), say("revert c1")), P.ROLLED_BACK,
         "Reverted",
         BACK, "", OLD_WEIGHTS),
    Case("nor one that is on its way on another route", succeeded,
         then(put(route_conflicts=(replace(RIVAL, routes=frozenset({replace(SHOP, name="api")})),)), say("revert c1")),
         P.ROLLED_BACK, "Reverted", BACK, "", OLD_WEIGHTS),
    Case("nor one that is on its way on a route of another kind that has the same name", succeeded,
         then(put(route_conflicts=(NAMESAKE,)), say("revert c1")), P.ROLLED_BACK, "Reverted", BACK, "", OLD_WEIGHTS),
    Case("retry after an abort", reverted, then(wait(DAYS), say("retry c1")), P.JUDGING, "Soaking",
         ["Retried", *BEGUN], "retry by kubectl", UP),
    Case("retry after a rollback, though nothing has changed", rolled_back, say("retry c1"), P.JUDGING, "Soaking",
         ["Retried", *BEGUN], "run 2", UP),
    Case("retry after an abort before the first weight", aborted_early,
         then(put(services=frozenset({"v1", "v2"})), wait(DAYS), say("retry c1")), P.JUDGING, "Soaking",
         ["Retried", *BEGUN], "", UP),
    Case("retry, and what was in the way still is", aborted_early, say("retry c1"), P.INVALID, "ServiceNotFound",
         ["Retried", "Stalled"], "", OLD_WEIGHTS),
    Case("retry after a success has nothing to do while the new side serves", succeeded, say("retry c1"), P.SUCCEEDED,
         "Succeeded", ["Retried", "Succeeded"], "nothing to do", ALL),
    Case("retry after a pause starts", paused_before_start, then(say("abort a1"), settle, say("retry c1")), P.JUDGING,
         "Soaking", ["Aborted", "Retried", *BEGUN], "", UP),
    Case("retry that was said while the weights went back starts when they are", reverting(),
         then(say("retry c1"), settle, says(errors=0.0), put(broken=set()), wait(s(2))), P.JUDGING, "Soaking",
         ["RolledBack", "Retried", *BEGUN], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", ENDED, ids=ids)
def test_after_the_end_of_a_run(case: Case) -> None:
    obeyed(case)


STAYS = [
    Case("an aborted run does not start again, whatever is mended", aborted_early,
         then(put(services=frozenset({"v1", "v2"})), lambda w: w.crash(), wait(DAYS)), P.ROLLED_BACK, "Aborted", []),
    Case("but for another plan", aborted_early,
         then(put(services=frozenset({"v1", "v2"})), edit({"bake": "1m"})), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("but for another template", aborted_early,
         then(put(services=frozenset({"v1", "v2"})), pods(revision="second")), P.JUDGING, "Soaking", BEGUN, "", UP),
    Case("a reverted run does not start again", reverted, then(lambda w: w.crash(), wait(DAYS)), P.ROLLED_BACK,
         "Reverted", [], "", OLD_WEIGHTS),
    Case("but for another template", reverted, pods(revision="second"), P.JUDGING, "Soaking", BEGUN, "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", STAYS, ids=ids)
def test_what_a_person_has_ended_stays_so(case: Case) -> None:
    run(case)


READABLE = edit({"stages": World().spec["stages"]})

# ---- not now -----------------------------------------------------------------------------------------------------

PAUSES = [
    Case("in mid-soak: the weights stay", judging(), then(say("pause c1 --reason lunch"), wait(m(6))), P.HELD,
         "Paused", ["Held"], "pause by kubectl: lunch; the weights stay", UP),
    Case("in the bake", baking, then(say("pause c1"), wait(m(6))), P.HELD, "Paused", ["Held"], "", ALL),
    Case("while a weight is being written that weight is finished first", shifting(lag=s(10)),
         then(say("pause c1"), settle, lambda w: phase_is(w, P.SHIFTING, "Shifting"), wait(m(6))), P.HELD, "Paused",
         ["Paused", "WeightShifted", "Held"], "", UP),
    Case("while a drift is being repaired that is finished first", judging(),
         then(put(lag=s(10)), drift(HALF), settle, say("pause c1"), settle, lambda w: phase_is(w, P.JUDGING, "Soaking"),
              wait(m(6))), P.HELD, "Paused", ["WeightDrift", "Paused", "Held"], "", UP),
    Case("a weight that is not accepted goes back while paused too", shifting(), then(say("pause c1"), wait(m(2))),
         P.ROLLED_BACK, "", ["Paused", *BACK], "was not accepted within 30s", OLD_WEIGHTS),
    Case("blind: when it sees again", held_blind,
         then(say("pause c1"), settle, lambda w: phase_is(w, P.HELD, "MetricsUnavailable"), put(down=""),
         wait(s(15))), P.HELD,
         "Paused", ["Paused", "Held"], "once MetricsUnavailable is over", UP),
    Case("in conflict: when the weights are as they were", held_conflict,
         then(say("pause c1"), settle, lambda w: phase_is(w, P.HELD, "Conflict"), drift(UP)), P.HELD, "Paused",
         ["Paused", "Held"], "once Conflict is over", UP),
    Case("unreadable: when it can be read", held_invalid,
         then(say("pause c1"), settle, lambda w: phase_is(w, P.HELD, "Invalid"), READABLE), P.HELD, "Paused",
         ["Paused", "Held"], "once Invalid is over", UP),
    Case("undecided", held_undecided, say("pause c1"), P.HELD, "Paused", ["Held"], "", UP),
    Case("frozen", held_frozen, say("pause c1"), P.HELD, "Paused", ["Held"], "", UP),
    Case("awaiting approval", awaiting, say("pause c1"), P.HELD, "Paused", ["Held"], "", UP),
    Case("before the start it keeps it from starting", World, then(say("pause c1"), wait(DAYS)), P.PENDING, "Paused",
         ["Stalled"], "paused by kubectl; `resume` ends the pause", OLD_WEIGHTS),
    Case("before the new side is ready too", expanding, then(say("pause c1"), wait(DAYS)), P.PENDING, "Paused",
         ["Stalled"], "", OLD_WEIGHTS),
    Case("a killed operator does not forget it", judging(),
         then(say("pause c1"), settle, say(""), lambda w: w.crash(), wait(m(6))), P.HELD, "Paused", ["Held"], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", PAUSES, ids=ids)
def test_a_pause(case: Case) -> None:
    obeyed(case)


@kept
def paused_to_go_back_blind() -> World:
    world = judging({"onMetricsUnavailable": {"action": "Rollback"}})()
    world.say("pause p1")
    world.settle()
    return world


WHILE_PAUSED = [
    Case("a guard that is proved", paused, then(says(errors=0.2), wait(s(20))), P.ROLLED_BACK, "GuardTripped", BACK, "",
         OLD_WEIGHTS),
    Case("a fail predicate that is proved", paused, then(says(wrong=1), wait(s(20))), P.ROLLED_BACK, "FailTripped",
         BACK,
         "", OLD_WEIGHTS),
    Case("a new side that is down", paused, pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("a deletion", paused, lambda w: w.delete(), P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS),
    Case("weights that somebody moves up are put right", paused, drift(HALF), P.HELD, "Paused", ["WeightDrift"], "",
         UP),
    Case("weights that somebody moves back stay", paused, drift(OLD_WEIGHTS), P.HELD, "Conflict", ["Held"], "",
         OLD_WEIGHTS),
    Case("and when they are as they were it is still paused", paused, then(drift(OLD_WEIGHTS), settle, drift(UP)),
         P.HELD, "Paused", ["Held", "Held"], "", UP),
    Case("another template puts the old weights back, and the next run waits", paused, pods(revision="second"),
         P.PENDING, "Paused", None, "", OLD_WEIGHTS),
    Case("a source that is down is told of", paused, then(put(down="timeout"), wait(m(6))), P.HELD,
         "MetricsUnavailable", ["Held"],
         "", UP),
    Case("and when it answers it is still paused", paused,
         then(put(down="timeout"), wait(m(1)), put(down=""), wait(m(2))), P.HELD, "Paused", ["Held", "Held"], "", UP),
    Case("and onMetricsUnavailable is done", paused_to_go_back_blind, then(put(down="timeout"), wait(m(1))),
         P.ROLLED_BACK, "MetricsUnavailable",
         BACK, "onMetricsUnavailable is Rollback", OLD_WEIGHTS),
    Case("neither soak nor deadline ends", paused, then(says(hits=Why.NO_DATA), wait(m(6))), P.HELD, "Paused", [], "",
         UP),
]  # fmt: skip


@pytest.mark.parametrize("case", WHILE_PAUSED, ids=ids)
def test_while_it_is_paused(case: Case) -> None:
    run(case)


# ---- go on -------------------------------------------------------------------------------------------------------


@kept
def paused_while_writing() -> World:
    world = shifting(lag=s(10))()
    world.say("pause p1")
    world.settle()
    return world


@kept
def paused_in_the_bake() -> World:
    world = baking()
    world.say("pause p1")
    world.settle()
    return world


@kept
def paused_and_unreadable() -> World:
    world = paused_before_start()
    world.edit({"stages": []})
    world.settle()
    assert world.phase is P.INVALID
    return world


RESUMES = [
    Case("paused: judged on where it was", paused, then(wait(m(6)), say("resume c1")), P.JUDGING, "Soaking",
         ["Resumed"], "resume by kubectl, after 360s", UP),
    Case("the time paused does not count for the soak", paused, then(wait(m(6)), say("resume c1"), wait(s(89.9))),
         P.JUDGING, "Soaking", ["Resumed"], "", UP),
    Case("nor is the soak any longer for it", paused, then(wait(m(6)), say("resume c1"), wait(s(90))), P.JUDGING,
         "Soaking", ["Resumed", "StageProved", *SHIFTED], "", HALF),
    Case("nor does it count for the deadline", paused,
         then(says(hits=Why.NO_DATA), wait(m(6)), say("resume c1"), wait(m(8.5) - s(0.1))), P.JUDGING, "",
         ["Resumed"]),
    Case("which comes all the same", paused,
         then(says(hits=Why.NO_DATA), wait(m(6)), say("resume c1"), wait(m(8.5))), P.HELD, "Undecided",
         ["Resumed", "Held"]),
    Case("nor for the bake", paused_in_the_bake, then(wait(m(6)), say("resume c1"), wait(m(4) - s(0.1))), P.BAKING,
         "Baking", ["Resumed"], "", ALL),
    Case("which ends all the same", paused_in_the_bake, then(wait(m(6)), say("resume c1"), wait(m(4))), P.SUCCEEDED,
         "Succeeded", ["Resumed", "Succeeded"], "", ALL),
    Case("paused, and weights put right meanwhile: soaked anew, and the time paused does not count", paused,
         then(wait(m(5)), drift(HALF), wait(m(1)), say("resume c1"), wait(m(3) - s(0.1))), P.JUDGING, "Soaking",
         ["WeightDrift", "Resumed"], "", UP),
    Case("nor make the new soak longer", paused,
         then(wait(m(5)), drift(HALF), wait(m(1)), say("resume c1"), wait(m(3))), P.JUDGING, "Soaking",
         ["WeightDrift", "Resumed", "StageProved", *SHIFTED], "", HALF),
    Case("paused before the start: it starts", paused_before_start, then(wait(DAYS), say("resume c1")), P.JUDGING,
         "Soaking", ["Resumed", *BEGUN], "", UP),
    Case("paused while a weight is being written: the pause is taken back", paused_while_writing,
         then(say("resume c1"), wait(s(10))), P.JUDGING, "Soaking", ["Resumed", "WeightShifted"], "", UP),
    Case("paused, and unreadable since: it starts once it can be read", paused_and_unreadable,
         then(say("resume c1"), settle, READABLE), P.JUDGING, "Soaking", None, "", UP),
    Case("paused, and blind since: the pause is taken back", paused,
         then(put(down="timeout"), wait(m(1)), say("resume c1"), settle, lambda w: phase_is(w, P.HELD,
         "MetricsUnavailable"),
              put(down=""), wait(s(15))), P.JUDGING, "Soaking", ["Held", "Resumed", "Resumed"], "", UP),
    Case("paused, and rolled back since: the pause is taken back", paused,
         then(pods(ready=0), settle, say("resume c1"), settle, pods(ready=4, revision="second")), P.JUDGING, "Soaking",
         [*BACK, "Resumed", *BEGUN], "run 2", UP),
    Case("undecided: judged on for as long as from soak to deadline", held_undecided,
         then(wait(m(6)), say(f"resume c1{BECAUSE}"), wait(m(7) - s(0.1))), P.JUDGING, "Soaking", ["Resumed"],
         "deadline extended to 09:23:00", UP),
    Case("undecided: held again at the new deadline", held_undecided,
         then(wait(m(6)), say(f"resume c1{BECAUSE}"), wait(m(7))), P.HELD, "Undecided", ["Resumed", "Held"], "", UP),
    Case("undecided: decided in the new time", held_undecided,
         then(say(f"resume c1{BECAUSE}"), wait(m(3)), says(hits=0.95), wait(s(20))), P.JUDGING, "Soaking",
         ["Resumed", "StageProved", *SHIFTED], "", HALF),
    Case("in conflict: the stage is asked for again", held_conflict, then(wait(m(6)), say("resume c1")), P.JUDGING,
         "Soaking", ["Resumed", *SHIFTED], "the stage starts again from 0%", UP),
    Case("in conflict: what stands is where it begins", judging(),
         then(drift({"v1": 98, "v2": 2}), settle, say("resume c1")), P.JUDGING, "Soaking",
         ["Held", "Resumed", *SHIFTED], "stage 1/3 canary: 2% -> 5%", UP),
    Case("in conflict: the whole soak anew", held_conflict, then(say("resume c1"), wait(m(3) - s(0.1))), P.JUDGING,
         "Soaking", ["Resumed", *SHIFTED], "", UP),
    Case("in conflict: and no more than that", held_conflict, then(say("resume c1"), wait(m(3))), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED, "StageProved", *SHIFTED], "", HALF),
    Case("in conflict at a later stage: that stage", judging(stage="half"),
         then(drift(UP), settle, say("resume c1")), P.JUDGING, "Soaking", ["Held", "Resumed", *SHIFTED],
         "stage 2/3 half: 5% -> 50%", HALF),
    Case("in conflict in the bake: the last stage is judged again", baking,
         then(drift(HALF), settle, say("resume c1"), wait(m(2) - s(0.1))), P.JUDGING, "Soaking",
         ["Held", "Resumed", *SHIFTED], "", ALL),
    Case("in conflict, and paused before: one word for both", paused,
         then(drift(OLD_WEIGHTS), settle, say("resume c1")), P.JUDGING, "Soaking", ["Held", "Resumed", *SHIFTED], "",
         UP),
    Case("in conflict, and killed then", held_conflict, then(say("resume c1"), trap(recorded=crash)), P.JUDGING,
         "Soaking", ["Resumed", *SHIFTED], "", UP),
    Case("what was measured before is no proof after it", undecided(),
         then(wait(m(1)), drift(OLD_WEIGHTS), settle, says(hits=0.95), say("resume c1"), wait(m(3) - s(0.1))),
         P.JUDGING, "Soaking", None, "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", RESUMES, ids=ids)
def test_resume(case: Case) -> None:
    obeyed(case)


# ---- approval ----------------------------------------------------------------------------------------------------

TWICE = {"stages[1].approval": "Required", "stages[2].approval": "Required"}
APPROVALS = [
    Case("a stage that wants approval waits for it before its weight", awaiting, wait(m(6)), P.HELD,
         "AwaitingApproval", [], "stage half needs approval: `rolloutplan approve -n ns plan`", UP),
    Case("a proof against it while it waits", awaiting, then(says(errors=0.2), wait(s(20))), P.ROLLED_BACK,
         "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("a fail predicate of the stage before", awaiting, then(says(wrong=1), wait(s(20))), P.ROLLED_BACK,
         "FailTripped", BACK, "", OLD_WEIGHTS),
    Case("a new side that is down while it waits", awaiting, pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "",
         OLD_WEIGHTS),
    Case("the first stage waits before any weight", awaiting_the_first, wait(DAYS), P.HELD, "AwaitingApproval", [], "",
         OLD_WEIGHTS),
    Case("what was approved in one run is not in the next", awaiting,
         then(say("approve a1"), settle, pods(revision="second"), wait(m(4))), P.HELD, "AwaitingApproval", None,
         "", UP),
    Case("of several weights the first one waits", lambda: fresh({"stages": [
            {"weights": ["5%", "50%"], "soak": "1m", "approval": "Required"}, {"weight": "100%"}]})().until(P.HELD),
         then(say("approve a1"), wait(m(1.5))), P.JUDGING, "Soaking", ["Resumed", *SHIFTED, "StageProved", *SHIFTED],
         "", HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", APPROVALS, ids=ids)
def test_approval_is_waited_for(case: Case) -> None:
    run(case)


APPROVES = [
    Case("the stage begins", awaiting, then(wait(m(6)), say("approve c1")), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "approve by kubectl; stage half may begin", HALF),
    Case("the first stage begins", awaiting_the_first, say("approve c1"), P.JUDGING, "Soaking", ["Resumed", *SHIFTED],
         "", UP),
    Case("exactly that stage: the next one waits for its own", lambda: fresh(TWICE)().until(P.HELD),
         then(say("approve c1"), wait(m(6))), P.HELD, "AwaitingApproval",
         ["Resumed", *SHIFTED, "StageProved", "Held"], "stage all needs approval", HALF),
    Case("frozen: it begins when it is thawed", awaiting,
         then(put(policies=(FROZEN,)), say("approve c1"), settle, lambda w: phase_is(w, P.HELD, "Frozen"),
              put(policies=())), P.JUDGING, "Soaking", ["Resumed", "Held", "Resumed", *SHIFTED], "", HALF),
    Case("it holds for the same stage after a conflict", awaiting,
         then(say("approve c1"), settle, drift(UP), settle, say("resume r1")), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED, "Held", "Resumed", *SHIFTED], "", HALF),
    Case("killed then, it is not asked for twice", awaiting, then(say("approve c1"), trap(recorded=crash)), P.JUDGING,
         "Soaking", ["Resumed", *SHIFTED], "", HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", APPROVES, ids=ids)
def test_approve(case: Case) -> None:
    obeyed(case)


GATES = {"stages.1.approval": "Required", "contract": {"scaleOld": 0, "approval": "Required"}}
"""Stage half and the contract need approval; canary and all do not."""


def not_held(world: World) -> None:
    """It went through without a hold."""
    assert "Held" not in world.told(), world.told()


@pytest.mark.parametrize("text", ["approve c1 half", "approve half c1", "approve half"])
@pytest.mark.parametrize("turns", [0, 1, 4], ids=["with the plan", "as it starts", "in mid-run"])
def test_an_approval_that_names_its_stage_is_kept_until_its_turn(text: str, turns: int) -> None:
    world = World(spec=changed(PLAN, {"stages.1.approval": "Required"}))
    for _ in range(turns):
        world.turn()
    world.say(text)
    world.settle()
    world.say("", "")
    world.crash()
    world.until(P.SUCCEEDED)
    not_held(world)
    assert world.told().count("Approved") == 1


def test_the_contract_may_be_approved_before_its_turn_too() -> None:
    world = World(spec=changed(PLAN, GATES))
    world.until(P.HELD)
    said(world, "approve c1 contract")
    assert (world.phase, world.status.reason) == (P.HELD, "AwaitingApproval")
    said(world, "approve c1")
    world.until(P.SUCCEEDED)
    assert (world.told().count("Held"), world.old and world.old.wanted) == (1, 0)


def test_an_approval_that_comes_with_the_next_plan_is_one_of_its_run() -> None:
    world = World(spec=changed(PLAN, {"stages.1.approval": "Required", "bake": "0s"}))
    said(world, "approve a1 half")
    world.until(P.JUDGING)
    said(world, "abort a2")
    assert world.phase is P.ROLLED_BACK
    world.edit({"hypothesis": "another"})
    world.say("approve a3 half")
    world.until(P.SUCCEEDED)
    not_held(world)


def test_an_approval_does_not_outlive_its_run() -> None:
    world = World(spec=changed(PLAN, {"stages.1.approval": "Required"}))
    world.until(P.JUDGING)
    said(world, "approve a1 half")
    world.pods(revision="second")
    world.until(P.HELD)
    assert world.status.reason == "AwaitingApproval"


def test_an_approval_of_a_stage_that_is_edited_is_void() -> None:
    world = World(spec=changed(PLAN, {"stages.1.approval": "Required"}))
    world.until(P.JUDGING)
    said(world, "approve a1 half")
    world.edit({"stages.1.soak": "1m"})
    world.until(P.HELD)
    assert world.status.reason == "AwaitingApproval"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("approve c1", "or name the stage before its turn: `approve <new token> half`"),
        ("approve c1 all", "stage all needs no approval"),
        ("approve c1 haft", 'the plan has no stage "haft"; those that need approval are half, contract'),
    ],
)  # fmt: skip
def test_an_approval_that_cannot_be_kept_says_what_to_write(text: str, words: str) -> None:
    world = World(spec=changed(PLAN, GATES))
    world.until(P.JUDGING)
    refused(world, text, words)


@pytest.mark.parametrize(
    ("phase", "words"),
    [(P.JUDGING, "half is approved already"), (P.SUCCEEDED, "the run has ended (it is Succeeded)")],
)
def test_an_approval_that_changes_nothing_is_refused(phase: P, words: str) -> None:
    world = World(spec=changed(PLAN, {"stages.1.approval": "Required"}))
    refused(said(world, "approve a0 half").until(phase), "approve c1 half", words)


# ---- on, unproved ------------------------------------------------------------------------------------------------

SKIPS = [
    Case("in mid-soak", judging(), say("skip c1"), P.JUDGING, "Soaking", ["StageSkipped", *SHIFTED],
         "canary is skipped after 90s", HALF),
    Case("with a pass predicate that is false", judging(), then(says(hits=0.1), wait(s(5)), say("skip c1")), P.JUDGING,
         "Soaking", ["StageSkipped", *SHIFTED], "", HALF),
    Case("undecided", held_undecided, say(f"skip c1{BECAUSE}"), P.JUDGING, "Soaking",
         ["StageSkipped", *SHIFTED], "", HALF),
    Case("the next stage is soaked and judged", judging(), then(say("skip c1"), wait(m(2) - s(0.1))), P.JUDGING,
         "Soaking", ["StageSkipped", *SHIFTED], "", HALF),
    Case("the next stage needs approval", judging({"stages[1].approval": "Required"}), say("skip c1"), P.HELD,
         "AwaitingApproval", ["StageSkipped", "Held"], "", UP),
    Case("frozen before the next stage", judging(), then(put(policies=(FROZEN,)), say("skip c1")), P.HELD, "Frozen",
         ["StageSkipped", "Held"], "", UP),
    Case("killed then, one stage is skipped and no more", judging(), then(say("skip c1"), trap(recorded=crash)),
         P.JUDGING, "Soaking", ["StageSkipped", *SHIFTED], "", HALF),
]  # fmt: skip
PROMOTES = [
    Case("in mid-soak: straight to the last stage", judging(), say("promote c1"), P.JUDGING, "Soaking",
         ["Promoted", *SHIFTED], "the next stage is all at 100%", ALL),
    Case("undecided", held_undecided, say(f"promote c1{BECAUSE}"), P.JUDGING, "Soaking",
         ["Promoted", *SHIFTED], "", ALL),
    Case("awaiting approval, and the last stage wants it too: it is scaled to", lambda: fresh(TWICE)().until(P.HELD),
         say("promote c1"), P.JUDGING, "Soaking", ["Promoted", *SHIFTED], "", ALL),
    Case("the last stage is soaked", judging(), then(say("promote c1"), wait(m(2) - s(0.1))), P.JUDGING, "Soaking",
         ["Promoted", *SHIFTED], "", ALL),
    Case("and baked", judging(), then(say("promote c1"), wait(m(2))), P.BAKING, "Baking",
         ["Promoted", *SHIFTED, "StageProved"], "", ALL),
    Case("and judged", judging(), then(say("promote c1"), settle, says(errors=0.2), wait(m(1))), P.ROLLED_BACK,
         "GuardTripped", ["Promoted", *SHIFTED, *BACK], "", OLD_WEIGHTS),
    Case("frozen: to the last stage when it is thawed", judging(),
         then(put(policies=(FROZEN,)), say("promote c1"), wait(m(6)), put(policies=())), P.JUDGING, "Soaking",
         ["Promoted", "Held", "Resumed", *SHIFTED], "", ALL),
    Case("killed then, it is still the last stage", judging(), then(say("promote c1"), trap(recorded=crash)),
         P.JUDGING, "Soaking", ["Promoted", *SHIFTED], "", ALL),
]  # fmt: skip


@pytest.mark.parametrize("case", SKIPS, ids=ids)
def test_skip(case: Case) -> None:
    obeyed(case)


@pytest.mark.parametrize("case", PROMOTES, ids=ids)
def test_promote(case: Case) -> None:
    obeyed(case)


WATCHED_LAST = {"stages[2].fail": [{"name": "late", "query": "late", "is": "> 0"}]}
PROVED_THEN: Mapping[str, tuple[Situation, Callable[[World], object], str]] = {
    "a guard in mid-stage": (judging(), proved("errors"), "GuardTripped"),
    "a fail predicate in mid-stage": (judging(), proved("wrong"), "FailTripped"),
    "the new side is down in mid-stage": (judging(), pods(ready=0), "NewSideDown"),
    "a guard at the last stage": (judging(stage="all"), proved("errors"), "GuardTripped"),
    "a fail predicate of the last stage": (judging(WATCHED_LAST, stage="all"), proved("late"), "FailTripped"),
    "a guard in the bake": (baking, proved("errors"), "GuardTripped"),
    "the new side is down in the bake": (baking, pods(ready=0), "NewSideDown"),
}


@pytest.mark.parametrize("verb", [Verb.SKIP, Verb.PROMOTE, Verb.RESUME, Verb.PAUSE])
@pytest.mark.parametrize("name", PROVED_THEN)
def test_no_word_leads_past_a_failure_that_is_proved_in_the_same_moment(name: str, verb: Verb) -> None:
    given, happens, reason = PROVED_THEN[name]
    run(Case("", given, then(happens, say(f"{verb} c1")), P.ROLLED_BACK, reason, None, "", OLD_WEIGHTS))


# ---- what cannot be done is answered -----------------------------------------------------------------------------


@kept
def rolled_back_while_paused() -> World:
    world = paused()
    world.pods(ready=0)
    world.settle()
    phase_is(world, P.ROLLED_BACK, "NewSideDown")
    return world


def bake_undecided() -> World:
    world = silent_bake()().until(P.HELD)
    phase_is(world, P.HELD, "Undecided")
    return world


NOT_ENDED = "the run has not ended"
NO_STAGE = "no stage is being judged"
IN_BAKE = "the run is in the bake at its last weight, which cannot be skipped"
NOTHING_WAITS = "nothing waits for approval: send `approve` when the plan is Held: AwaitingApproval"
NOT_LOST = "the status of the run is not lost"
ROWS: Mapping[str, tuple[Situation, Mapping[str, str]]] = {
    "blocked by another plan": (blocked, {
        "resume": "the run is not held: its phase is Pending", "approve": NOTHING_WAITS,
        "retry": f"{NOT_ENDED} (phase Pending)",
        "skip": f"{NO_STAGE} (phase Pending)", "promote": f"{NO_STAGE} (phase Pending)",
    }),
    "invalid": (invalid, {
        "resume": "the run is not held: its phase is Invalid", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "skip": NO_STAGE, "promote": NO_STAGE,
    }),
    "paused before the start": (paused_before_start, {
        "pause": "the run is already paused, by kubectl", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "skip": NO_STAGE, "promote": NO_STAGE,
    }),
    "waiting for the new side": (expanding, {
        "resume": "the run is not held: its phase is Expanding", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "skip": NO_STAGE, "promote": NO_STAGE,
    }),
    "while a weight is being written": (shifting(), {
        "resume": "the run is not held: its phase is Shifting", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "skip": f"{NO_STAGE} (phase Shifting)", "promote": f"{NO_STAGE} (phase Shifting)",
    }),
    "judging": (judging(), {
        "resume": "the run is not held: its phase is Judging", "approve": NOTHING_WAITS,
        "retry": f"{NOT_ENDED} (phase Judging)",
    }),
    "at the last stage": (judging(stage="all"), {
        "promote": "the run is already at the last stage", "skip": "all is the last stage, which cannot be skipped",
        "resume": "the run is not held: its phase is Judging", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
    }),
    "held for a conflict": (held_conflict, {
        "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "skip": "the run is held: Conflict, which must end first", "promote": "the run is held: Conflict, which must",
    }),
    "held blind": (held_blind, {
        "resume": "the run is held: MetricsUnavailable, which `resume` does not end: the metric source has not",
        "approve": NOTHING_WAITS, "retry": NOT_ENDED, "skip": "the run is held: MetricsUnavailable, which must",
        "promote": "the run is held: MetricsUnavailable, which must",
    }),
    "held undecided": (held_undecided, {"approve": NOTHING_WAITS, "retry": NOT_ENDED}),
    "held after onFail: Hold": (held_failed, {
        "pause": "the run is already held: Failed, until a person ends the hold",
        "resume": "the run is held: Failed, which `resume` does not end: guard errors",
        "approve": NOTHING_WAITS, "retry": NOT_ENDED, "skip": "the run is held: Failed, which must",
        "promote": "the run is held: Failed, which must",
    }),
    "held as unreadable": (held_invalid, {
        "resume": "the run is held: Invalid, which `resume` does not end: the plan is now invalid",
        "approve": NOTHING_WAITS, "retry": NOT_ENDED, "skip": NO_STAGE, "promote": NO_STAGE,
    }),
    "held frozen": (held_frozen, {
        "resume": "the run is held: Frozen, which `resume` does not end: frozen by policy production: incident 42",
        "approve": NOTHING_WAITS, "retry": NOT_ENDED, "skip": "the run is held: Frozen, which must",
        "promote": "the run is held: Frozen, which must",
    }),
    "held for approval": (awaiting, {
        "resume": "the run is held: AwaitingApproval, which `resume` does not end: stage half needs approval",
        "retry": NOT_ENDED,
        "skip": "the next one waits for approval: send `approve` (stage half needs approval",
    }),
    "held for approval of the first weight": (awaiting_the_first, {
        "skip": "the next one waits for approval: send `approve` (stage canary needs approval",
        "promote": f"{NO_STAGE}: send it during a stage", "retry": NOT_ENDED,
        "resume": "the run is held: AwaitingApproval, which `resume` does not end: stage canary needs approval",
    }),
    "paused": (paused, {
        "pause": "the run is already paused, by kubectl", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "skip": "the run is held: Paused, which must end first", "promote": "the run is held: Paused, which must",
    }),
    "baking": (baking, {
        "resume": "the run is not held: its phase is Baking", "approve": NOTHING_WAITS, "retry": NOT_ENDED,
        "promote": f"{IN_BAKE}: it ends at ", "skip": "to end it sooner, write a shorter `bake` in the plan",
    }),
    "baking, and undecided at its end": (bake_undecided, {
        "promote": f"{IN_BAKE}: it waits for a verdict of its guards", "skip": "`resume` gives it more time",
        "approve": NOTHING_WAITS, "retry": NOT_ENDED,
    }),
    "succeeded": (succeeded, {
        "abort": "the run has ended: `revert` puts the old weights back", "pause": "there is nothing to pause",
        "resume": "the run is not held", "approve": NOTHING_WAITS, "skip": NO_STAGE, "promote": NO_STAGE,
    }),
    "rolled back": (rolled_back, {
        "abort": "there is nothing to abort: the run has ended and the old weights are restored",
        "revert": "there is nothing to abort: the run has ended and the old weights are restored",
        "pause": "there is nothing to pause in phase RolledBack",
        "resume": "the run is not held: its phase is RolledBack",
        "approve": NOTHING_WAITS, "skip": NO_STAGE, "promote": NO_STAGE,
    }),
    "rolled back while paused": (rolled_back_while_paused, {
        "abort": "there is nothing to abort", "revert": "there is nothing to abort",
        "pause": "the run is already paused, by kubectl", "approve": NOTHING_WAITS, "skip": NO_STAGE,
        "promote": NO_STAGE,
    }),
}  # fmt: skip


REFUSED = {name: (given, {"adopt": NOT_LOST, **rows}) for name, (given, rows) in ROWS.items()}


def refused(world: World, command: str, words: str) -> None:
    """The command is answered with these words, and the run is as it was but for that answer."""
    world.settle()
    before, weights = world.status, world.weights()
    world.say(command)
    world.settle()
    told = answer(world)
    assert (told.reason, told.kind) == ("CommandRejected", Kind.HOLD), told.note
    assert told.note.startswith(f"{command.split(maxsplit=1)[0]} by kubectl: ")
    assert words in told.note, told.note
    answered = {"seq", "decisions", "tokens", "predicates", "conditions", "published_through", "last_look"}
    assert world.status.model_dump(exclude=answered) == before.model_dump(exclude=answered)
    assert (world.status.seq, world.weights()) == (before.seq + 1, weights)


@pytest.mark.parametrize("verb", ["resume", "skip", "promote"])
def test_to_go_on_past_an_undecided_step_needs_a_reason(verb: str) -> None:
    refused(held_undecided(), f"{verb} c1", f'`rolloutplan {verb} -n ns plan --reason "..."`')


@pytest.mark.parametrize("verb", ["abort", "revert", "pause"])
def test_to_stop_needs_no_reason(verb: str) -> None:
    world = held_undecided()
    world.say(f"{verb} c1")
    world.settle()
    assert answer(world).reason in ("RollbackStarted", "Held")


CHOSEN = [
    ("resume", held_undecided, Kind.PERSIST, "kubectl says yes"),
    ("skip", held_undecided, Kind.PERSIST, "kubectl says yes"),
    ("promote", held_undecided, Kind.PERSIST, "kubectl says yes"),
    ("abort", held_undecided, Kind.KILL, "kubectl says no"),
    ("abort", held_failed, Kind.KILL, "kubectl says no"),
    ("abort", held_blind, Kind.KILL, "kubectl says no"),
    ("skip", judging(), Kind.ADVANCE, ""),
    ("abort", judging(), Kind.ROLLBACK, ""),
    ("resume", paused, Kind.RESUME, ""),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "given", "kind", "says"), CHOSEN)
def test_a_choice_has_the_evidence_and_the_answer_to_the_question(
    verb: str, given: Situation, kind: Kind, says: str
) -> None:
    world = given()
    world.say(f"{verb} c1{BECAUSE}")
    world.settle()
    told = answer(world)
    assert told.kind is kind
    assert told.why.endswith(f"asked: {QUESTION} {says}" if says else ""), told.why
    assert bool(told.evidence) is bool(says)
    assert "few requests at night" in told.note


@pytest.mark.parametrize(
    ("situation", "verb", "words"),
    [(name, verb, words) for name, (_, rows) in REFUSED.items() for verb, words in rows.items()],
)
def test_what_makes_no_sense_is_refused_and_says_what_would(situation: str, verb: str, words: str) -> None:
    refused(REFUSED[situation][0](), f"{verb} c1", words)


def test_every_verb_is_answered_in_every_situation() -> None:
    """What is not refused above is done: no verb is without a row where it is neither."""
    done = {
        "blocked by another plan": {"pause"},
        "invalid": {"pause"},
        "paused before the start": {"resume"},
        "waiting for the new side": {"pause"},
        "while a weight is being written": {"pause"},
        "judging": {"pause", "skip", "promote"},
        "at the last stage": {"pause"},
        "held for a conflict": {"pause", "resume"},
        "held blind": {"pause"},
        "held undecided": {"pause", "resume", "skip", "promote"},
        "held after onFail: Hold": set(),
        "held as unreadable": {"pause"},
        "held frozen": {"pause"},
        "held for approval": {"pause", "approve", "promote"},
        "held for approval of the first weight": {"pause", "approve"},
        "paused": {"resume"},
        "baking": {"pause"},
        "baking, and undecided at its end": {"pause", "resume"},
        "succeeded": {"retry", "revert"},
        "rolled back": {"retry"},
        "rolled back while paused": {"resume", "retry"},
    }
    assert set(done) == set(REFUSED)
    for name, verbs in done.items():
        ends = set() if name in ("succeeded", "rolled back", "rolled back while paused") else {"abort", "revert"}
        assert verbs | ends | set(REFUSED[name][1]) == set(Verb), name


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("situation", REFUSED)
def test_every_verb_is_answered_though_everything_breaks_in_the_same_moment(situation: str, verb: Verb) -> None:
    world = REFUSED[situation][0]()
    WRECKED(world)
    world.say(f"{verb} c1")
    world.advance(s(31))  # a way back that has begun is seen through first
    answer(world)


def succeeded_owned() -> World:
    owned = World(routes={"shop-rolloutplan": http_route("shop-rolloutplan", [{"v1": 100, "v2": 0}])})
    owned.edit({"traffic.ownership": "Owned"})
    return owned.until(P.SUCCEEDED)


DENIED = [
    ("resume", "OldSideDown, which `resume` does not end", lambda: judging()().until(P.JUDGING), put(old=None)),
    ("resume", "create it again first", judging(), lambda w: w.routes.clear()),
    ("resume", "create it again first", two_routes, lambda w: w.routes.pop("api")),
    ("resume", "weight 0", judging(), drift({"v1": 0, "v2": 0})),
    ("revert", "plan ns/other uses the route now: abort that plan first", succeeded, put(route_conflicts=(RIVAL,))),
    (
        "revert",
        "plan ns/other sizes Deployment v1 now: abort that plan first",
        succeeded,
        put(route_conflicts=(replace(RIVAL, routes=frozenset(), sizes=frozenset({"v1"})),)),
    ),
    ("revert", "there is nothing to restore", succeeded, lambda w: w.routes.clear()),
    ("revert", "commit the old weights there", succeeded_owned, lambda w: w.routes.clear()),
    ("revert", "another has its traffic", succeeded, put(route_notes={SHOP: "another has its traffic"})),
]


@pytest.mark.parametrize(("verb", "words", "given", "happens"), DENIED)
def test_what_cannot_be_put_right_by_a_word(
    verb: str, words: str, given: Situation, happens: Callable[[World], object]
) -> None:
    world = given()
    happens(world)
    world.settle()
    before = world.status.phase, world.status.reason, world.moves
    world.say(f"{verb} c1")
    world.settle()
    assert answer(world).reason == "CommandRejected"
    assert words in answer(world).note
    assert (world.status.phase, world.status.reason, world.moves) == before


@pytest.mark.parametrize("verb", [Verb.SKIP, Verb.PROMOTE])
def test_between_two_stages_there_is_nothing_to_skip(verb: Verb) -> None:
    world = judging()()
    while (world.phase, world.status.intent) != (P.SHIFTING, None):
        if not world.turn():
            world.now = world.next() or world.now
    world.say(f"{verb} c1")
    world.settle()
    assert world.weights()[0] == (ALL if verb is Verb.PROMOTE else HALF)
    assert answer(world).reason == ("Promoted" if verb is Verb.PROMOTE else "CommandRejected")


@pytest.mark.parametrize("verb", Verb)
def test_during_a_rollback_every_verb_is_answered_when_it_has_ended(verb: Verb) -> None:
    world = reverting()()
    world.says["errors"] = 0.0
    world.say(f"{verb} c1")
    world.advance(m(1))
    assert world.phase is P.ROLLING_BACK
    world.broken = set()
    world.advance(s(2))
    assert world.told()[-2:] == ["RolledBack", "CommandRejected"] or verb is Verb.RETRY
    assert answer(world).note.startswith(f"{verb} by kubectl")


# ---- once for each token -----------------------------------------------------------------------------------------

ONCE: Mapping[str, tuple[Situation, P, str]] = {
    "abort": (judging(), P.ROLLED_BACK, "Aborted"),
    "revert": (succeeded, P.ROLLED_BACK, "Reverted"),
    "retry": (rolled_back, P.JUDGING, "Soaking"),
    "pause": (judging(), P.HELD, "Paused"),
    "resume": (paused, P.JUDGING, "Soaking"),
    "approve": (awaiting, P.JUDGING, "Soaking"),
    "skip": (judging(), P.JUDGING, "Soaking"),
    "promote": (judging(), P.JUDGING, "Soaking"),
    "adopt": (status_lost, P.HELD, "Paused"),
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("point", ["record", "recorded", "route", "routed"])
def test_a_command_is_done_once_whenever_the_operator_dies(verb: Verb, point: str) -> None:
    given, phase, reason = ONCE[verb]
    whole, killed = given(), given()
    for world in (whole, killed):
        world.say(f"{verb} c1")
    killed.traps[point] = crash
    for world in (whole, killed):
        world.settle()
        assert (world.phase, world.status.reason) == (phase, reason)
    answer(killed)
    assert (killed.told(), killed.weights()) == (whole.told(), whole.weights())


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize(
    "again",
    [
        lambda w: None,
        lambda w: w.say(w.command),
        lambda w: w.say("", ""),
        lambda w: (w.crash(), w.say(w.command)),
    ],
    ids=["it stays", "it is written again", "it is pruned", "after a restart"],
)
def test_a_token_is_answered_once(verb: Verb, again: Callable[[World], object]) -> None:
    given, phase, reason = ONCE[verb]
    world = given()
    world.say(f"{verb} c1")
    world.settle()
    seq = world.status.seq
    again(world)
    world.advance(s(30))
    assert (world.phase, world.status.reason, world.status.seq) == (phase, reason, seq)
    answer(world)


def said(world: World, *commands: str) -> World:
    for command in commands:
        world.say(command)
        world.settle()
    return world


@pytest.mark.parametrize("crashes", [False, True])
def test_an_old_command_that_comes_back_from_git_does_nothing_and_is_told_once(crashes: bool) -> None:
    world = said(judging()(), "pause a1", "resume a2")
    for _ in range(3):
        for command in ("pause a1", "resume a2"):
            if crashes:
                world.crash()
            said(world, command)
    world.advance(s(30))
    assert (world.phase, world.told()[-4:]) == (P.JUDGING, ["Held", "Resumed", "CommandRejected", "CommandRejected"])
    assert "this token was used in run 1" in world.trail[world.status.seq].note


@pytest.mark.parametrize("again", [lambda w: None, lambda w: said(w, "", "abort a1", "", "abort a1")])
def test_a_command_of_a_former_run_does_nothing_and_is_told_once_with_what_to_write(
    again: Callable[[World], object],
) -> None:
    """Git may still hold it, or a person may copy it out of a runbook."""
    world = said(judging()(), "abort a1", "")
    world.pods(revision="second")
    world.until(P.JUDGING)
    said(world, "abort a1")
    again(world)
    world.crash()
    world.advance(s(30))
    assert (world.phase, world.status.run, world.told().count("CommandRejected")) == (P.JUDGING, 2, 1)
    told = next(each for each in world.trail.values() if each.reason == "CommandRejected")
    assert told.note == (
        "abort by kubectl: this token was used in run 1, and a command is carried out once: write a new token, "
        "`abort <new token>`"
    )


def test_a_command_that_still_stands_there_from_a_former_run_is_not_told() -> None:
    world = said(judging()(), "abort a1")
    for revision in ("second", "third"):
        world.pods(revision=revision)
        world.until(P.JUDGING)
        world.crash()
        world.say("abort a1")
        world.advance(s(30))
    assert (world.status.run, world.told().count("CommandRejected")) == (3, 0)


def test_the_command_that_began_a_run_is_not_told_in_it() -> None:
    world = said(judging()(), "abort a1", "retry a2")
    world.advance(m(1))
    assert (world.phase, world.status.run, world.told().count("CommandRejected")) == (P.JUDGING, 2, 0)


def test_one_token_with_two_verbs_is_two_commands() -> None:
    world = said(judging()(), "pause 1")
    assert (world.phase, world.status.reason) == (P.HELD, "Paused")
    said(world, "resume 1")
    assert world.phase is P.JUDGING
    said(world, "abort 1")
    assert (world.phase, world.status.reason) == (P.ROLLED_BACK, "Aborted")


def test_one_token_with_another_reason_is_another_command() -> None:
    world = said(judging()(), "pause 1 --reason lunch", "resume 1", "pause 1 --reason fire")
    assert world.phase is P.HELD
    assert world.status.message.startswith("pause by kubectl: fire; ")


def test_a_token_that_an_earlier_version_answered_stays_answered() -> None:
    """It kept the tokens alone."""
    world = judging()()
    world.status_raw = {**world.status_raw, "tokens": ["a1"]}
    said(world, "abort a1")
    assert (world.phase, world.told().count("CommandRejected")) == (P.JUDGING, 0)


def test_a_command_that_comes_with_the_plan_is_obeyed_before_anything_starts() -> None:
    world = World(command="pause c1", command_by="argocd")
    world.settle()
    assert (world.phase, world.status.reason, world.told()) == (P.PENDING, "Paused", ["Stalled"])
    assert world.trail[1].by == "argocd"


def test_a_command_of_which_nobody_knows_who_wrote_it_is_somebodys() -> None:
    world = judging()()
    world.say("pause c1", by="")
    world.settle()
    assert world.trail[world.status.seq].by == "somebody"


def told_of(world: World, token: str) -> tuple[str, str]:
    found = [decision for decision in world.trail.values() if decision.token == token]
    assert len(found) == 1, [decision.note for decision in found]
    return found[0].reason, found[0].by


def test_of_two_commands_at_once_the_newest_counts_and_both_are_on_record() -> None:
    world = judging()()
    world.say("promote a1", by="argocd")
    world.say("pause a2")
    world.settle()
    assert (world.phase, world.status.reason, world.weights()[0]) == (P.HELD, "Paused", UP)
    assert told_of(world, "a1") == ("CommandRejected", "argocd")
    assert told_of(world, "a2") == ("Held", "kubectl")


@pytest.mark.parametrize("newest", ["abort a9", "revert a9"])
def test_a_way_back_waits_for_no_older_command(newest: str) -> None:
    world = judging()()
    for command in ("skip a1", "pause a2", "promote a3", newest):
        world.say(command)
    world.turn()
    assert world.weights()[0] == OLD_WEIGHTS
    world.settle()
    assert {told_of(world, token)[0] for token in ("a1", "a2", "a3")} == {"CommandRejected"}


@pytest.mark.parametrize("point", ["record", "recorded", "route", "routed"])
def test_two_commands_at_once_are_answered_once_each_whenever_the_operator_dies(point: str) -> None:
    """Of a command that was replaced before it was answered an operator that is started then knows nothing."""
    world = judging()()
    world.say("pause a1")
    world.say("abort a2")
    world.traps[point] = crash
    world.settle()
    assert (world.phase, told_of(world, "a2")) == (P.ROLLED_BACK, ("RollbackStarted", "kubectl"))
    assert len([decision for decision in world.trail.values() if decision.token == "a1"]) <= 1


# ---- what cannot be read -----------------------------------------------------------------------------------------


def unread(world: World, text: str, words: str) -> None:
    """It is told once, with the fix, and changes nothing."""
    phase, seq = world.phase, world.status.seq
    world.say(text)
    world.settle()
    world.crash()
    world.settle()
    decision = world.trail[seq + 1]
    assert (decision.reason, decision.by, world.phase, world.status.seq) == (
        "CommandRejected",
        "kubectl",
        phase,
        seq + 1,
    )
    assert words in decision.note


@pytest.mark.parametrize(
    "given", [blocked, invalid, expanding, shifting(), judging(), paused, baking, succeeded, rolled_back]
)
def test_what_cannot_be_read_is_told_once_with_the_fix(given: Situation) -> None:
    world = given()
    world.settle()
    unread(world, "puase a1", '"puase" is not a command: did you mean pause?')
    unread(world, "abort", 'no token: write "abort <token>"')
    unread(world, "abort a/1", "is not a token")


def test_a_command_after_one_that_cannot_be_read_is_obeyed() -> None:
    world = judging()()
    for text in ("abort", "abrot c1", "abort c1"):
        world.say(text)
        world.settle()
    assert (world.phase, world.status.reason) == (P.ROLLED_BACK, "Aborted")
    answer(world)
