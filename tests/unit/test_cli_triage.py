"""What a person sees who decides about a run, and that each command on the screen is one that is carried out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rolloutplan.api.command import ANNOTATION
from rolloutplan.api.quantities import parse_is
from rolloutplan.api.status import Phase
from rolloutplan.cli.session import Plan
from rolloutplan.cli.views import triage
from rolloutplan.cli.views.triage import Cost, cost_of, ways_of
from rolloutplan.stats.sequential import CountDelta, counted, make_hypothesis, pack, start, step
from rolloutplan.stats.verdict import Why
from tests import looked_at
from tests.looked_at import HOSTILE, WIDTHS
from tests.situations import (
    Situation,
    awaiting,
    awaiting_the_first,
    baking,
    blocked,
    contract_failed,
    contracting,
    expanding,
    fresh,
    held_blind,
    held_conflict,
    held_failed,
    held_frozen,
    held_undecided,
    invalid,
    judging,
    m,
    paused,
    paused_before_start,
    probing,
    rolled_back,
    s,
    shifting,
    silent_bake,
    succeeded,
)
from tests.world import World

GUARD = make_hypothesis(parse_is("> 5%"), "fail")


def plan_of(world: World, **spec: Any) -> Plan:
    """The plan as the API server has it."""
    meta = {"namespace": "ns", "name": world.name, "uid": world.uid, "generation": world.generation}
    return Plan({"metadata": meta, "spec": {**world.spec, **spec}, "status": world.status.to_raw()})


def shown(plan: Plan, now: datetime, width: int) -> list[str]:
    return looked_at.shown(triage.rendered(plan, now, width), width)


def counting(state: str, **spec: Any) -> tuple[Plan, World]:
    """A minute after the deadline of the canary; its guard has counted so far, as its state says."""
    world = held_undecided()
    world.advance(m(1))
    plan = plan_of(world, **spec)
    guard = next(each for each in plan.raw["status"]["predicates"] if each["name"] == "errors")
    guard["state"] = state
    return plan, world


def undecided_at_the_end() -> World:
    world = judging(stage="all")()
    world.says["errors"] = Why.NO_DATA
    return world.until(Phase.HELD)


def old_side_gone() -> World:
    world = judging()()
    world.old = None
    return world.until(Phase.HELD)


ALL: dict[str, Situation] = {
    "before it begins": fresh(),
    "blocked": blocked,
    "invalid": invalid,
    "probing": probing(),
    "expanding": expanding,
    "shifting": shifting(),
    "judging": judging(),
    "judging the last stage": judging(stage="all"),
    "undecided": held_undecided,
    "undecided at the last stage": undecided_at_the_end,
    "undecided in the bake": lambda: silent_bake()().until(Phase.HELD),
    "with nobody on the old side": old_side_gone,
    "failed": held_failed,
    "without metrics": held_blind,
    "in conflict": held_conflict,
    "frozen": held_frozen,
    "paused": paused,
    "paused before its start": paused_before_start,
    "awaiting an approval": awaiting,
    "awaiting the first approval": awaiting_the_first,
    "baking": baking,
    "contracting": contracting(),
    "contract failed": contract_failed,
    "succeeded": succeeded,
    "succeeded, the old side is gone": lambda: contracting()().until(Phase.SUCCEEDED),
    "rolled back": rolled_back,
}


@pytest.mark.parametrize("name", ALL)
def test_every_command_on_the_screen_is_carried_out(name: str) -> None:
    world = ALL[name]()
    for way in ways_of(plan_of(world)):
        for typed in way.commands:
            program, verb, option, namespace, plan, *options = typed.split()
            if (program, verb) in {("kubectl", "edit"), ("rolloutplan", "undo")}:
                continue  # no command to the operator
            assert (program, option, namespace, plan) == ("rolloutplan", "-n", "ns", world.name)
            told = world.twin()
            told.say(" ".join((verb, "t-1", *options)))
            told.settle()
            answers = [each for each in told.trail.values() if each.token == "t-1"]
            assert [each.reason for each in answers if each.reason == "CommandRejected"] == [], answers[-1].note


WAYS = {
    "judging": (["skip"], "stage half, stage all, bake", ["abort"]),
    "judging the last stage": ([], "edit bake, contract", ["abort"]),
    "undecided": (["resume", "skip"], "stage half", ["abort"]),
    "undecided at the last stage": (["resume"], "edit bake", ["abort"]),
    "undecided in the bake": (["resume"], "edit bake", ["abort"]),
    "with nobody on the old side": ([], "stage half", []),
    "failed": ([], "another version of the new side", ["abort"]),
    "awaiting an approval": (["approve"], "stage", ["abort"]),
    "paused": (["resume"], "stage half", ["abort"]),
    "expanding": ([], "no weight was moved", ["abort"]),
    "succeeded": ([], "another run", ["revert"]),
    "succeeded, the old side is gone": ([], "another run", ["undo"]),
    "contract failed": (["resume"], "edit bake", ["undo"]),
    "rolled back": (["retry"], "another run", []),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_three_ways_on(name: str) -> None:
    persist, adapt, kill = ways_of(plan_of(ALL[name]()))
    verbs = [[each.split()[1] for each in way.commands] for way in (persist, kill)]
    assert (verbs[0], verbs[1]) == (WAYS[name][0], WAYS[name][2])
    assert WAYS[name][1] in adapt.words


def test_after_a_superseded_run_there_is_nothing_to_retry() -> None:
    plan = plan_of(rolled_back())
    plan.raw["status"]["reason"] = "Superseded"
    persist, _, _ = ways_of(Plan(plan.raw))
    assert (persist.words, persist.commands) == ("nothing to type: the run of the changed version follows", ())


@pytest.mark.parametrize("width", WIDTHS)
def test_what_was_believed_seen_and_paid(width: int) -> None:
    plan, world = counting(pack(GUARD, step(GUARD, start(GUARD), CountDelta(1200, 3))), runbook="https://wiki/checkout")
    lines = shown(plan, world.now, width)
    said = " ".join(" ".join(lines).split())
    stage = world.status.stage
    assert stage is not None
    parts = (
        "ns/plan Held Undecided",
        f"believed {world.spec['hypothesis']}",
        f"fixed before the weight moved (hash {stage.predicates_hash})",
        f"seen {world.status.message}",
        "cost so far 11m with traffic, 11m at this stage, 60s on hold, now 5%",
        "1200 requests, 3 of them bad, as errors counts",
        "Knowing this, would it be started today?",
        'Persist go on all the same rolloutplan resume -n ns plan --reason "..."',
        "Kill restore the old weights now and end the run",
        "runbook https://wiki/checkout",
    )
    places = [said.index(" ".join(part.split())) for part in parts]
    assert places == sorted(places), "the ways on come after what is known"


def test_after_a_rollback_it_costs_no_more() -> None:
    world = rolled_back()
    before = cost_of(world.status, world.now)
    assert before.with_traffic is not None
    assert cost_of(world.status, world.now + m(60)) == before


def test_the_cost_of_a_run_that_has_moved_nothing() -> None:
    world = fresh()()
    assert cost_of(world.status, world.now + s(5)) == Cost("", None, None, None, None, None, "")


def test_for_programs() -> None:
    plan, world = counting(pack(GUARD, step(GUARD, start(GUARD), CountDelta(1200, 3))))
    found = triage.as_object(plan, world.now)
    times = {"atStage": 660, "withTraffic": 660, "held": 60}
    assert found["cost"] == {"weight": "5%", **times, "requests": 1200, "bad": 3, "countedBy": "errors"}
    assert [each["way"] for each in found["ways"]] == ["Persist", "Adapt", "Kill"]
    assert len(found["seen"]) == len(found["believed"]["predicates"]) == len(world.status.predicates)


@pytest.mark.parametrize("state", ["", "x", "AAAA", "=" * 9, "é", "A" * 64, "A" * 400])
def test_a_state_that_somebody_broke_is_no_fault(state: str) -> None:
    seen = counted(state)
    assert seen is None or seen == CountDelta(0, 0)
    plan, world = counting(state)
    assert shown(plan, world.now, 80)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("phase", [*Phase, HOSTILE])
def test_texts_of_others_are_shown_and_not_obeyed(phase: str, width: int) -> None:
    evil = {
        "metadata": {"name": HOSTILE, "namespace": "shop", "annotations": {ANNOTATION: HOSTILE}},
        "spec": dict.fromkeys(("hypothesis", "runbook", "owner", "stages"), HOSTILE),
        "status": {
            **dict.fromkeys(("reason", "message", "waitingFor", "revert", "failed"), HOSTILE),
            "phase": phase,
            "weights": {"desired": HOSTILE},
            "stage": {"name": HOSTILE, "index": 0, "predicatesHash": HOSTILE},
            "predicates": [
                {"role": "guard", **dict.fromkeys(("name", "value", "bound", "verdict", "samples", "why"), HOSTILE)}
            ],
        },
    }
    lines = shown(Plan(evil), datetime.fromisoformat("2026-03-01T09:30:00Z"), width)
    assert all(line.isprintable() for line in lines)
    assert "[red]" in " ".join(lines)


@pytest.mark.parametrize("raw", [{}, {"metadata": 7, "spec": [], "status": "x"}, {"status": {"stage": 3}}], ids=str)
def test_what_cannot_be_read_is_left_out(raw: Any) -> None:
    assert shown(Plan(raw), datetime.fromisoformat("2026-03-01T09:30:00Z"), 40)
