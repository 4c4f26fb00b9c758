"""An edit during the run: what has not had its turn may change and is told; anything else goes back first."""

from __future__ import annotations

import pytest

from tests.refusals import GONE
from tests.situations import (
    ALL,
    BACK,
    BEGUN,
    HALF,
    OLD_WEIGHTS,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    awaiting,
    baking,
    contract_failed,
    edit,
    expanding,
    fresh,
    held_frozen,
    ids,
    job,
    judging,
    kept,
    m,
    paused,
    pods,
    put,
    reverting,
    run,
    s,
    say,
    says,
    settle,
    shifting,
    then,
    wait,
)
from tests.world import PLAN, World

LATE = {"name": "late", "query": "wrong[$window]", "is": "> 0"}
LATER = {"stages[2].soak": "4m"}


AGAIN = [*BACK, *BEGUN]


@kept
def ends_at_half() -> World:
    return fresh({"stages": PLAN["stages"][:2], "stopAt": "50%"})().until(P.BAKING)


@kept
def ends_at_half_paused() -> World:
    world = ends_at_half()
    world.say("pause p1")
    world.settle()
    assert world.phase is P.HELD
    return world


GO_ON = edit({"stages": PLAN["stages"], "stopAt": GONE})

CASES = [
    Case("a later stage", judging(), edit(LATER), P.JUDGING, "Soaking", ["Adapted"],
         "the plan was edited during the run: stage all: 100% soak 2m deadline 10m -> 100% soak 4m deadline 10m", UP),
    Case("by whom, where that is known", judging(), then(put(edited_by="argocd"), edit(LATER)), P.JUDGING, "Soaking",
         ["Adapted"], "edited during the run by argocd: stage all", UP),
    Case("how long it bakes", judging(), edit({"bake": "1m"}), P.JUDGING, "Soaking", ["Adapted"], "bake: 5m -> 1m"),
    Case("what is taken away in the end", judging(), edit({"contract": {"scaleOld": 0}}), P.JUDGING, "Soaking",
         ["Adapted"], 'contract: left out -> {"scaleOld": 0}'),
    Case("a stage between", judging(), then(edit({"stages": [*PLAN["stages"][:2], {"weight": "75%", "soak": "2m"},
         PLAN["stages"][2]]}), wait(m(4))), P.JUDGING, "Soaking", None, "stage w75: left out -> 75% soak 2m",
         {"v1": 25, "v2": 75}),
    Case("a stage less", judging(), then(edit({"stages": [PLAN["stages"][0], PLAN["stages"][2]]}), wait(m(2))),
         P.JUDGING, "Soaking", ["Adapted", "StageProved", *SHIFTED], "stage half: 50% soak 2m deadline 10m -> left out",
         ALL),
    Case("no stage more: this was the last", judging(), then(edit({"stages": PLAN["stages"][:1], "stopAt": "5%"}),
         wait(m(4))), P.BAKING, "Baking", ["Adapted", "StageProved"], "stage all: ", UP),
    Case("two edits, one after the other", judging(), then(edit(LATER), settle, edit({"bake": "1m"})), P.JUDGING,
         "Soaking", ["Adapted", "Adapted"], "bake: 5m -> 1m", UP),
    Case("taken back before it was seen, it is none", judging(), then(edit(LATER), edit({"stages[2].soak": "2m"})),
         P.JUDGING, "Soaking", [], "", UP),
    Case("while the weight is written", shifting(s(5)), then(edit(LATER), wait(s(10))), P.JUDGING, "Soaking", None,
         "stage all: ", UP),
    Case("while it is held", held_frozen, edit(LATER), P.HELD, "Frozen", ["Adapted"], "stage all: ", UP),
    Case("while a person has it wait", paused, edit(LATER), P.HELD, "Paused", ["Adapted"], "stage all: ", UP),
    Case("the stage that is waited for: it is approved as it is now", awaiting, then(edit({"stages[1].soak": "9m"}),
         settle, say("approve a1")), P.JUDGING, "Soaking", ["Adapted", "Resumed", *SHIFTED], "", HALF),
    Case("an approved stage wants approval again", held_frozen, then(edit({"stages[1].approval": "Required"}), settle,
         say("approve a1"), settle, edit({"stages[1].soak": "9m"}), put(policies=())), P.HELD, "AwaitingApproval",
         None, "stage half needs approval", UP),
    Case("it bakes for longer", baking, then(edit({"bake": "9m"}), wait(m(7))), P.BAKING, "Baking", ["Adapted"],
         "bake: 5m -> 9m", ALL),
    Case("and is over when it says so", baking, then(edit({"bake": "2m"}), wait(m(1))), P.SUCCEEDED, "Succeeded",
         ["Adapted", "Succeeded"], "bake: 5m -> 2m", ALL),
    Case("from the last weight that no longer is it climbs on", ends_at_half, then(GO_ON, wait(s(10))),
         P.JUDGING, "Soaking", ["Adapted", *SHIFTED], "", ALL),
    Case("and where it is held there, when it goes on", ends_at_half_paused, then(GO_ON, settle, say("resume r1"),
         wait(s(10))), P.JUDGING, "Soaking", ["Adapted", "Resumed", *SHIFTED], "", ALL),
    Case("what could not be taken away is mended and tried again", contract_failed, then(edit({"contract.jobs[0]":
         job("drop", deadline="9m")}), settle, say("resume r1"), wait(m(1))), P.SUCCEEDED, "Succeeded",
         ["Adapted", "Resumed", "Contracted", "Contracted", "Succeeded"], "contract: #", ALL),
    Case("a proof against the new side comes first", judging(), then(says(errors=0.2), wait(s(9)), edit(LATER),
         wait(s(9))), P.ROLLED_BACK, "GuardTripped", None, "", OLD_WEIGHTS),
    Case("so do dead pods", judging(), then(pods(ready=0), edit(LATER)), P.EXPANDING, "Expanding",
         [*BACK, "Started"], "none of 4 pods", OLD_WEIGHTS),
    Case("a stage that has started goes back first", judging(), edit({"stages[0].soak": "9m"}), P.JUDGING, "Soaking",
         AGAIN, "stage canary: 5% soak 3m deadline 10m", UP),
    Case("so does one that is passed", judging(stage="half"), edit({"stages[0].soak": "9m"}), P.JUDGING, "Soaking",
         AGAIN, "stage canary: ", UP),
    Case("so does a later stage of which a started one uses a predicate",
         judging({"stages[0].fail": [{"use": "late"}], "stages[2].fail": [LATE]}),
         edit({"stages[2].fail[0].is": "> 9"}), P.JUDGING, "Soaking", AGAIN, "stage canary: ", UP),
    Case("so do the guards", judging(), edit({"guards[0].is": "> 2%"}), P.JUDGING, "Soaking", AGAIN,
         "guards: ", UP),
    Case("so does another new side", judging(), edit({"new.deployment": "v3"}), P.INVALID, "", [*BACK, "Stalled"],
         'new: {"deployment": "v2"} -> {"deployment": "v3"}', OLD_WEIGHTS),
    Case("so does a later stage that names what is not there", judging(),
         edit({"stages[2].pass": [{"template": "no"}]}),
         P.INVALID, "TemplateNotFound", [*BACK, "Stalled"], "no template no exists", OLD_WEIGHTS),
    Case("on its way back it is none", reverting(), then(edit(LATER), put(broken=set()), wait(s(9))), P.JUDGING, "",
         None, "", UP),
    Case("before any weight it begins anew", expanding, then(edit(LATER), wait(s(1))), P.EXPANDING, "Expanding",
         ["Started"], "", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_an_edit_in_mid_run(case: Case) -> None:
    run(case)


OWNED = {"owner": "team-checkout", "runbook": "https://wiki/checkout"}


@pytest.mark.parametrize(
    "given", [fresh(), judging(), baking, paused, held_frozen], ids=("fresh", "judging", "baking", "paused", "frozen")
)
def test_who_answers_for_a_run_and_what_to_read_is_no_part_of_it(given: Situation) -> None:
    world = given()
    twin = world.twin()
    world.edit(OWNED)
    for each in (world, twin):
        each.advance(m(1))
    assert world.status.plan_hash == twin.status.plan_hash
    assert world.status.decisions == twin.status.decisions, "an edit of it is told, or begins a run"


def test_where_a_person_may_be_needed_the_conditions_name_the_runbook() -> None:
    world = judging(OWNED)()
    told = {P.JUDGING: world.status}
    for command, phase in (("pause p1", P.HELD), ("abort a1", P.ROLLED_BACK)):
        world.say(command)
        told[phase] = world.until(phase).status
    named = {
        phase: {each.type for each in status.conditions if each.message.endswith("; runbook: https://wiki/checkout")}
        for phase, status in told.items()
    }
    assert named == {P.JUDGING: set(), P.HELD: {"Ready", "Reconciling"}, P.ROLLED_BACK: {"Ready", "Stalled"}}
