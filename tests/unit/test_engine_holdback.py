"""A bake with a control group: it stands below 100%, both sides are compared to its end, and then the rest follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.stats.verdict import Why
from tests.refusals import GONE
from tests.situations import (
    ALL,
    BACK,
    BEGUN,
    FROZEN,
    HALF,
    OLD_WEIGHTS,
    SELDOM,
    SHIFTED,
    Case,
    P,
    Situation,
    delete,
    drift,
    edit,
    fresh,
    ids,
    job,
    kept,
    m,
    pods,
    put,
    ruled,
    run,
    s,
    say,
    says,
    settle,
    then,
    wait,
)
from tests.world import PLAN, Deployment, World, crash, http_route

HELD_BACK: dict[str, Any] = {"bake": {"for": "5m", "holdback": "1%"}}
GROUP = {"v1": 1, "v2": 99}
"""The weights of the last stage and of the bake."""
WORSE = {"name": "worse", "query": 'worse{deployment="$deployment"}[$window]', "vsOld": "> 1.5x", "window": "1m"}
COMPARED = {**SELDOM, **HELD_BACK, "guards": [*PLAN["guards"], WORSE]}
OF_A_SIDE = {**PLAN["guards"][0], "query": 'errors{deployment="$deployment"}[$window]'}
BOTH = {"guards": [OF_A_SIDE, WORSE]}
ALIKE: dict[str, float | Why] = {"worse": 0.01, "worse/old": 0.01, "errors/old": 0.0, "odd": 0.0}
DRAINED = "EvictionByEvictionAPI: drained (pod v2-abc)"
LAST = ["Baked", *SHIFTED]
END = [*LAST, "Succeeded"]


def in_bake(changes: Mapping[str, Any] | None = None, **world: Any) -> Situation:
    """A minute in the bake of five, at 99%."""

    def make() -> World:
        made = fresh({**COMPARED, **(changes or {})}, says={**World().says, **ALIKE}, **world)().until(P.BAKING)
        made.advance(m(1))
        assert (made.phase, made.weights()[0]) == (P.BAKING, GROUP)
        return made

    return kept(make, changes, world)


def at_the_gate(changes: Mapping[str, Any] | None = None, **world: Any) -> Situation:
    """The bake is over, and a freeze keeps the last step waiting."""

    def make() -> World:
        made = in_bake(changes, **world)()
        made.policies = (FROZEN,)
        made.until(P.HELD)
        assert (made.status.reason, made.weights()[0]) == ("Frozen", GROUP)
        return made

    return kept(make, changes, world)


def at_the_end(changes: Mapping[str, Any] | None = None, **world: Any) -> Situation:
    """The last step: 100% is in force since just now, and the old side drains for two minutes."""

    def make() -> World:
        made = in_bake({"traffic.drain": "2m", **(changes or {})}, **world)()
        made.until(P.JUDGING)
        assert (made.status.stage and made.status.stage.name, made.weights()[0]) == ("all-w100", ALL)
        return made

    return kept(make, changes, world)


@kept
def mute() -> World:
    """From the first moment of the bake on nothing is known of the old side."""
    made = fresh(COMPARED, says={**World().says, **ALIKE})().until(P.BAKING)
    made.says["worse/old"] = Why.NO_DATA
    return made


WHOLE = [
    Case("the bake is at 99%, and one last step follows it", in_bake(), wait(m(6)), P.SUCCEEDED, "Succeeded", END,
         "v2 serves 100% of the traffic; v1 has none left", ALL),
    Case("not before the bake is over", in_bake(), wait(m(4) - s(0.1)), P.BAKING, "Baking", [], "", GROUP),
    Case("it says what stays where, and why", in_bake(), settle, P.BAKING, "Baking", [],
         "1% stays on v1 as the control group until the bake is over, after which the step to 100% follows", GROUP),
    Case("the last step waits until the old side is drained", at_the_end(), wait(m(2) - s(0.1)), P.JUDGING, "", [], "",
         ALL),
    Case("and then the run ends", at_the_end(), wait(m(2)), P.SUCCEEDED, "Succeeded", ["Succeeded"], "", ALL),
    Case("the old side is taken away after the last step, not after the bake",
         at_the_end({"contract": {"scaleOld": 0, "jobs": [job("drop")]}}), wait(m(5)), P.SUCCEEDED, "Succeeded",
         ["ContractStarted", "Contracted", "Contracted", "Succeeded"], "", ALL),
    Case("a plan of one weight has a control group too",
         fresh({**HELD_BACK, "stages": [{"weight": "100%", "soak": "2m"}]}), wait(m(2)), P.BAKING, "Baking", None,
         "w99 is proved at 99%", GROUP),
    Case("a single guard that compares judges the bake", fresh({**HELD_BACK, "guards": [WORSE]}, says={**World().says,
         **ALIKE}), wait(m(20)), P.SUCCEEDED, "Succeeded", None, "", ALL),
    Case("a plan without guards ends as well", fresh({**HELD_BACK, "guards": [], "stages[1].pass": [{"use": "hits"}],
         "stages[2].pass": [{"use": "hits"}]}), wait(m(20)), P.SUCCEEDED, "Succeeded", None, "", ALL),
    Case("a warning does not halve the last step", fresh({**HELD_BACK, "stages[2].warn": [{"name": "slow", "query":
         "slow", "is": "> 300"}]}, says={**World().says, "slow": 512.0}), wait(m(20)), P.SUCCEEDED, "Succeeded", None,
         "slow: 512 > 300; no increase is left to halve", ALL),
    Case("a share of a tenth of a percent", fresh({"bake": {"for": "5m", "holdback": "0.1%"}}), wait(m(8)), P.BAKING,
         "Baking", None, "0.1% stays on v1", {"v1": 1, "v2": 999}),
    Case("half of the traffic", fresh({"bake": {"for": "5m", "holdback": "50%"}, "stages": [PLAN["stages"][0],
         PLAN["stages"][2]]}), wait(m(6)), P.BAKING, "Baking", None, "50% stays on v1", HALF),
]  # fmt: skip

JUDGED = [
    Case("a fault that only a comparison shows is taken back from the bake", in_bake(), then(says(worse=0.05),
         wait(m(2))), P.ROLLED_BACK, "GuardTripped", BACK, "worse", OLD_WEIGHTS),
    Case("what both sides show is no fault of the new one", in_bake(),
         then(says(worse=0.05, **{"worse/old": 0.05}), wait(m(6))), P.SUCCEEDED, "Succeeded", END, "", ALL),
    Case("a value that is bad on both sides holds the bake", in_bake(BOTH),
         then(says(errors=0.2, **{"errors/old": 0.2}), wait(m(1))), P.HELD, "Incident", ["Held"], "", GROUP),
    Case("a value that is bad on the new side alone rolls back", in_bake(BOTH), then(says(errors=0.2), wait(m(1))),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("a comparison without any answer of the old side keeps the bake from ending", mute, wait(m(12)), P.HELD,
         "Undecided", ["Held"], "the bake is over and is undecided: worse", GROUP),
    Case("a proof while the last step waits at the gate", at_the_gate(), then(says(worse=0.05), wait(m(2))),
         P.ROLLED_BACK, "GuardTripped", BACK, "worse", OLD_WEIGHTS),
    Case("a guard in the last step", at_the_end(), then(says(errors=0.2), wait(m(2))), P.ROLLED_BACK, "GuardTripped",
         BACK, "", OLD_WEIGHTS),
    Case("dead pods in the bake", in_bake(), pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("dead pods in the last step", at_the_end(), pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "",
         OLD_WEIGHTS),
    Case("a guard without a verdict keeps the last step from ending", at_the_end(), then(says(errors=Why.NO_DATA),
         wait(m(40))), P.HELD, "Undecided", ["Held"], "at its deadline all-w100 is undecided: errors", ALL),
    Case("what fails only at the stage is not asked for again after it",
         in_bake({"stages[2].fail": [{"name": "odd", "query": "odd", "is": "> 0"}]}),
         then(says(odd=1.0), put(policies=(FROZEN,)), wait(m(10))), P.HELD, "Frozen", None, "", GROUP),
]  # fmt: skip

GATE = [
    Case("a freeze keeps the last step waiting", in_bake(), then(put(policies=(FROZEN,)), wait(m(6))), P.HELD, "Frozen",
         ["Baked", "Held"], "frozen by", GROUP),
    Case("and it follows when that is over", at_the_gate(), then(put(policies=()), wait(m(2))), P.SUCCEEDED, "",
         ["Resumed", *SHIFTED, "Succeeded"], "", ALL),
    Case("too few pods keep it waiting", in_bake(), then(pods(ready=3), wait(m(6))), P.HELD, "Capacity",
         ["Baked", "Held"], "", GROUP),
    Case("an old side that its autoscaler has made small does not", in_bake(),
         then(put(old=Deployment("v1", wanted=1, ready=1)), wait(m(6))), P.SUCCEEDED, "", END, "", ALL),
    Case("one without any pod holds the run before", in_bake(),
         then(put(old=Deployment("v1", wanted=0, ready=0)), wait(m(6))), P.HELD, "OldSideDown", ["Held"], "", GROUP),
    Case("a last stage that wants approval has it for both steps",
         fresh({**HELD_BACK, "stages[2].approval": "Required"}), then(wait(m(6)), say("approve a1"), wait(m(10))),
         P.SUCCEEDED, "Succeeded", None, "", ALL),
    Case("its approval may name the last step", fresh({**HELD_BACK, "stages[2].approval": "Required"}),
         then(wait(m(1)), say("approve a1 all-w100"), wait(m(20))), P.SUCCEEDED, "Succeeded", None,
         "stage all may begin when its turn comes", ALL),
    Case("a policy that wants approval of the last stage wants it before 99%",
         fresh(HELD_BACK, policies=(ruled(require={"approvals": ["Last"]}),)), wait(m(10)), P.HELD, "AwaitingApproval",
         None, "stage all needs", HALF),
    Case("and of the step after that it wants none",
         fresh(HELD_BACK, policies=(ruled(require={"approvals": ["Last"]}),)),
         then(wait(m(10)), say("approve a1"), wait(m(10))), P.SUCCEEDED, "", None, "", ALL),
    Case("nor where it wants one for all stages", fresh(HELD_BACK, policies=(ruled(require={"approvals": ["All"]}),)),
         then(wait(s(1)), say("approve a1"), wait(m(4)), say("approve a2"), wait(m(3)), say("approve a3"), wait(m(10))),
         P.SUCCEEDED, "", None, "", ALL),
    Case("one before the old side goes is asked for after it",
         at_the_end({"contract": {"scaleOld": 0}}, policies=(ruled(require={"approvals": ["Contract"]}),)), wait(m(6)),
         P.HELD, "AwaitingApproval", None, "", ALL),
    Case("the shortest soak of a policy is not one of the last step",
         in_bake(policies=(ruled(require={"soakAtLeast": "2m"}),)), wait(m(6)), P.SUCCEEDED, "", END, "", ALL),
    Case("the stability of a policy lengthens no drain", at_the_end(policies=(ruled(focus="Stability"),)), wait(m(2)),
         P.SUCCEEDED, "", ["Succeeded"], "", ALL),
    Case("weights that cannot leave so little are refused before anything moves",
         fresh(HELD_BACK, routes={"shop": http_route("shop", [{"v1": 1, "v2": 0, "other": 999_999}])}), settle,
         P.INVALID, "WeightsTooLarge", None, "its weights cannot leave v1 1%, as spec.bake.holdback says"),
]  # fmt: skip

PERSONS = [
    Case("`pause` in the bake, and on", in_bake(), then(say("pause p1"), wait(m(9)), say("resume r1"), wait(m(5))),
         P.SUCCEEDED, "", ["Held", "Resumed", *END], "", ALL),
    Case("`pause` before the last step", at_the_gate(), then(say("pause p1"), settle, put(policies=()), wait(m(9))),
         P.HELD, "Paused", None, "", GROUP),
    Case("`pause` in the last step", at_the_end(), then(say("pause p1"), wait(m(9))), P.HELD, "Paused", ["Held"], "",
         ALL),
    Case("`abort` in the bake", in_bake(), say("abort a1"), P.ROLLED_BACK, "Aborted", BACK, "", OLD_WEIGHTS),
    Case("`abort` before the last step", at_the_gate(), say("abort a1"), P.ROLLED_BACK, "Aborted", BACK, "",
         OLD_WEIGHTS),
    Case("`abort` in the last step", at_the_end(), say("abort a1"), P.ROLLED_BACK, "Aborted", BACK, "", OLD_WEIGHTS),
    Case("`revert` in the last step", at_the_end(), say("revert a1"), P.ROLLED_BACK, "", BACK, "", OLD_WEIGHTS),
    Case("`revert` after the end", at_the_end(), then(wait(m(3)), say("revert a1")), P.ROLLED_BACK, "Reverted", None,
         "", OLD_WEIGHTS),
    Case("`skip` in the bake is refused", in_bake(), say("skip k1"), P.BAKING, "", ["CommandRejected"],
         "to end it sooner, write a shorter `bake`", GROUP),
    Case("and `promote` too", in_bake(), say("promote k1"), P.BAKING, "", ["CommandRejected"], "", GROUP),
    Case("`promote` leads to 99%, and past no bake", fresh(HELD_BACK), then(wait(m(1)), say("promote p1"), wait(s(30))),
         P.JUDGING, "", None, "the next stage is all at 99%", GROUP),
    Case("`promote` at 99% is refused", fresh(HELD_BACK), then(wait(m(6)), say("promote p1")), P.JUDGING, "", None,
         "already at the last stage", GROUP),
    Case("`skip` at 99% is refused", fresh(HELD_BACK), then(wait(m(6)), say("skip p1")), P.JUDGING, "", None,
         "all is the last stage, which cannot be skipped", GROUP),
    Case("`promote` before the last step is refused", at_the_gate(), say("promote p1"), P.HELD, "Frozen",
         ["CommandRejected"], "", GROUP),
    Case("`skip` in the last step is refused", at_the_end(), say("skip k1"), P.JUDGING, "", ["CommandRejected"],
         "which cannot be skipped", ALL),
    Case("`promote` in the last step is refused", at_the_end(), say("promote k1"), P.JUDGING, "", ["CommandRejected"],
         "", ALL),
    Case("`retry` before the end is refused", at_the_gate(), say("retry k1"), P.HELD, "", ["CommandRejected"],
         "the run has not ended", GROUP),
    Case("`retry` after a rollback begins from the start", in_bake(), then(say("abort a1"), settle, say("retry r1"),
         wait(m(20))), P.SUCCEEDED, "", None, "", ALL),
    Case("a deleted plan restores from the bake", in_bake(), delete, P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS),
    Case("and from the last step", at_the_end(), delete, P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS),
]  # fmt: skip

OTHERS = [
    Case("who takes the control group away in the bake is corrected", in_bake(), then(drift(ALL), wait(s(5))), P.BAKING,
         "Baking", ["WeightDrift"], "", GROUP),
    Case("also while the last step waits", at_the_gate(), then(drift(ALL), wait(s(5))), P.HELD, "Frozen",
         ["WeightDrift"], "", GROUP),
    Case("who gives the old side its share again after the last step holds the run", at_the_end(), drift(GROUP), P.HELD,
         "Conflict", ["Held"], "1/99, not 0/100", GROUP),
    Case("who takes the new side's traffic away holds the run", in_bake(), drift(HALF), P.HELD, "Conflict", ["Held"],
         "50/50, not 1/99", HALF),
    Case("`resume` after that judges the stage, and bakes, from the start", in_bake(), then(drift(HALF), settle,
         say("resume r1"), wait(m(2.5))), P.BAKING, "", None, "", GROUP),
    Case("in the last step too it goes through the bake", at_the_end(), then(drift(HALF), settle, say("resume r1"),
         wait(m(1))), P.JUDGING, "", None, "stage 3/4 all: 50% -> 99%", GROUP),
    Case("pods that went away by no fault of theirs: from the last step back to 99% and its bake", at_the_end(),
         then(pods(ready=0, away=DRAINED), wait(m(1)), pods(ready=4, away=""), wait(s(30))),
         P.JUDGING, "", None, "stage 3/4 all: 0% -> 99%", GROUP),
    Case("another version goes back first", in_bake(), then(pods(revision="second"), wait(s(30))), P.JUDGING, "", None,
         "", {"v1": 95, "v2": 5}),
]  # fmt: skip

EDITED = [
    Case("a longer bake", in_bake(), then(edit({"bake.for": "9m"}), wait(m(7))), P.BAKING, "Baking", ["Adapted"],
         "bake: 5m -> 9m", GROUP),
    Case("a shorter bake", in_bake(), then(edit({"bake.for": "2m"}), wait(m(2))), P.SUCCEEDED, "", ["Adapted", *END],
         "bake: 5m -> 2m", ALL),
    Case("a bake of no time is refused, and the last valid plan goes on", in_bake(), then(edit({"bake.for": "0s"}),
         wait(s(5))), P.HELD, "Invalid", None, "spec.bake.for: 0s leaves no time", GROUP),
    Case("a control group before the last stage has begun", fresh({"bake": "5m"}),
         then(wait(m(4)), edit(HELD_BACK), wait(m(5))), P.BAKING, "Baking", None,
         "10m -> 99% soak 2m deadline 10m; holdback: left out -> 1%", GROUP),
    Case("another control group before the last stage has begun", fresh(HELD_BACK), then(wait(m(4)),
         edit({"bake.holdback": "10%"}), wait(m(5))), P.BAKING, "Baking", None, "holdback: 1% -> 10%",
         {"v1": 10, "v2": 90}),
    Case("none any more before the last stage has begun", fresh(HELD_BACK), then(wait(m(4)), edit({"bake": "5m"}),
         wait(m(5))), P.BAKING, "Baking", None, "holdback: 1% -> left out", ALL),
    Case("another control group in the bake is another plan", in_bake(), edit({"bake.holdback": "2%"}), P.JUDGING,
         "Soaking", [*BACK, *BEGUN], "holdback: 1% -> 2%", {"v1": 95, "v2": 5}),
    Case("none any more in the bake is another plan", in_bake(), edit({"bake": "5m"}), P.JUDGING, "Soaking",
         [*BACK, *BEGUN], "stage all: 99%", {"v1": 95, "v2": 5}),
    Case("one where 100% is in force already is another plan", lambda: World().until(P.BAKING), edit(HELD_BACK),
         P.JUDGING, "Soaking", [*BACK, *BEGUN], "stage all: 100%", {"v1": 95, "v2": 5}),
    Case("in the last step its length may still be another", at_the_end(), then(edit({"bake.for": "9m"}), wait(m(3))),
         P.SUCCEEDED, "", ["Adapted", "Succeeded"], "bake: 5m -> 9m", ALL),
    Case("in the last step the control group may not", at_the_end(), edit({"bake": "5m"}), P.JUDGING, "Soaking",
         [*BACK, *BEGUN], "", {"v1": 95, "v2": 5}),
    Case("an end below 100% that no longer is one", fresh({"stages": PLAN["stages"][:2], "stopAt": "50%"}),
         then(wait(m(7)), edit({"stages": PLAN["stages"], "stopAt": GONE, **HELD_BACK}), wait(s(30))), P.JUDGING, "",
         None, "", GROUP),
]  # fmt: skip


@pytest.mark.parametrize("case", [*WHOLE, *JUDGED, *GATE, *PERSONS, *OTHERS, *EDITED], ids=ids)
def test_a_bake_with_a_control_group(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("given", [in_bake(), at_the_gate(), at_the_end()], ids=["bake", "gate", "last step"])
def test_it_says_plainly_where_it_stands(given: Situation) -> None:
    status = given().status
    assert status.stage is not None
    assert status.stage.weight == status.weights.desired
    ready = status.condition("Ready")
    assert ready is not None
    assert ready.status != "True", "nothing ends below 100%"
    if status.phase is P.BAKING:
        assert "99%" in ready.message
        assert "1% stays on v1 as the control group" in ready.message
        assert "1% stays on v1 as the control group" in status.waiting_for


@pytest.mark.parametrize("point", ["record", "recorded", "route", "routed"])
@pytest.mark.parametrize("after", [m(1), m(4), m(4) + s(1), m(5)], ids=str)
def test_it_ends_the_same_whenever_the_operator_died(point: str, after: timedelta) -> None:
    world = in_bake()()
    world.advance(after)
    world.traps[point] = crash
    world.until(P.SUCCEEDED)
    told = world.told()
    assert world.weights()[0] == ALL
    assert [told.count(each) for each in ("Baked", "Succeeded")] == [1, 1], told
    assert told.count("StageStarted") == 4, told


def test_it_is_the_first_step_that_a_plan_in_its_old_form_never_has() -> None:
    """A plan that was applied before there was a holdback goes on as it did."""
    world = World().until(P.SUCCEEDED)
    assert "Baked" not in world.told()
    assert world.specs[world.status.plan_hash].steps()[-1] == world.specs[world.status.plan_hash].bake_step
