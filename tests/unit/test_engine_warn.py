"""What only warns: it is told once in a stage, halves the way to the next weight, and holds up nothing else.

The canary of 5 % has a warn predicate, `slow`; the stage after it stands at 50 %.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Decision, StageStatus
from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.tools.replay import ReplayInput as Replay
from rolloutplan.tools.replay import of_run, replay
from rolloutplan.tools.replay_record import answer_line, header, read_record
from tests.refusals import changed
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
    drift,
    edit,
    fresh,
    ids,
    judging,
    kept,
    m,
    pods,
    put,
    ruled,
    run,
    s,
    same,
    say,
    says,
    then,
    wait,
)
from tests.world import PLAN, SOURCE, World, crash

SLOW: dict[str, Any] = {"name": "slow", "query": "slow[$window]", "is": "> 300"}
WARNS: dict[str, Any] = {"stages[0].warn": [SLOW]}
BETWEEN = {"v1": 29, "v2": 11}
"""The weights half way from 5 % to 50 %: the smallest whole numbers that hold 27.5 %. The next ones are as usual."""
WHOLE = {"v1": 50, "v2": 50}
FULL = {"v1": 0, "v2": 100}
PROVED = ["StageProved", *SHIFTED]


def stage(world: World) -> StageStatus:
    assert world.status.stage is not None
    return world.status.stage


def calm(changes: dict[str, Any] | None = None) -> Situation:
    """90 s at the canary of 3 minutes, and nothing warns."""
    return judging(WARNS | (changes or {}), says={**World().says, "slow": 12.0})


def warned(changes: dict[str, Any] | None = None) -> Situation:
    """The same 10 s later, and it was warned."""

    def make() -> World:
        world = calm(changes)()
        world.says["slow"] = 512.0
        world.advance(s(10))
        assert stage(world).warned
        return world

    return kept(make, changes)


def halfway(changes: dict[str, Any] | None = None) -> Situation:
    """At the beginning of the step half way to the second stage; what warned is over."""

    def make() -> World:
        world = warned(changes)()
        world.says["slow"] = 12.0
        world.until(P.JUDGING, stage="half")
        assert stage(world).halfway == 275
        return world

    return kept(make, changes)


def last_stage_halfway() -> World:
    """Half way to the last stage."""
    world = fresh({"stages[1].warn": [SLOW]}, says={**World().says, "slow": 512.0})()
    return world.until(P.JUDGING, stage="all")


WARNINGS = [
    Case("it is told, with what was seen and what comes of it", calm(), then(says(slow=512.0), wait(s(10))), P.JUDGING,
         "Soaking", ["Warned"],
         "canary: warn slow: 512 > 300; the next increase is halved: first 27.5%, then 50%", UP),
    Case("once in a stage", warned(), then(says(slow=12.0), wait(s(20)), says(slow=900.0), wait(s(20))), P.JUDGING,
         "Soaking", [], "", UP),
    Case("it holds up no proof", warned(), wait(s(80)), P.JUDGING, "Soaking", PROVED, "stage 2/3 half half way",
         BETWEEN),
    Case("what does not warn at last has warned", warned(), then(says(slow=12.0), wait(s(80))), P.JUDGING, "Soaking",
         PROVED, "5% -> 27.5%", BETWEEN),
    Case("without a warning it goes straight on", calm(), wait(s(90)), P.JUDGING, "Soaking", PROVED, "5% -> 50%", HALF),
    *(
        Case(f"not known ({why}) is no warning, and no doubt", calm(), then(says(slow=why), wait(s(90))), P.JUDGING,
             "Soaking", PROVED, "", HALF)
        for why in (Why.NO_DATA, Why.NAN, Why.SOURCE_DOWN, Why.QUERY_REJECTED)
    ),
    Case("a dry run warns nobody", calm({"stages[0].warn": [{**SLOW, "dryRun": True}]}),
         then(says(slow=512.0), wait(s(90))), P.JUDGING, "Soaking", PROVED, "", HALF),
    Case("it must hold for as long as it says", calm({"stages[0].warn": [{**SLOW, "for": "30s"}]}),
         then(says(slow=512.0), wait(s(29))), P.JUDGING, "Soaking", [], "", UP),
    Case("and warns then", calm({"stages[0].warn": [{**SLOW, "for": "30s"}]}),
         then(says(slow=512.0), wait(s(40))), P.JUDGING, "Soaking", ["Warned"], "", UP),
    Case("what is proved against the new side goes back beside it", calm(),
         then(says(slow=512.0, wrong=1.0), wait(s(10))), P.ROLLED_BACK, "FailTripped", None, "", OLD_WEIGHTS),
    Case("and after it", warned(), then(says(errors=0.2), wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK, "",
         OLD_WEIGHTS),
    Case("killed after it was told: not told again, and halved", warned(), then(lambda w: w.crash(), wait(s(80))),
         P.JUDGING, "Soaking", PROVED, "", BETWEEN),
    Case("killed before it was told: told then", calm(),
         then(says(slow=512.0), lambda w: w.traps.update(record=crash), wait(s(20))), P.JUDGING, "Soaking", ["Warned"],
         "", UP),
    Case("weights that were put right begin the stage anew, and it stays warned", warned(),
         then(drift(HALF), says(slow=12.0), wait(m(3))), P.JUDGING, "Soaking", ["WeightDrift", *PROVED], "", BETWEEN),
    Case("so does a stage that is taken up again", warned(),
         then(drift(OLD_WEIGHTS), lambda w: w.settle(), say("resume r1"), wait(m(3))), P.JUDGING, "Soaking",
         ["Held", "Resumed", *SHIFTED, *PROVED], "", BETWEEN),
    Case("where no whole permille lies between, it comes in one step",
         warned({"stages[1].weight": "5.1%", "stages[1].name": "more"}), wait(s(80)), P.JUDGING, "Soaking", PROVED,
         "5% -> 5.1%", {"v1": 949, "v2": 51}),
    Case("at the last stage it is only told", judging({"stages[2].warn": [SLOW]}, "all"),
         then(says(slow=512.0), wait(s(29))), P.JUDGING, "Soaking", ["Warned"],
         "no increase is left to halve", ALL),
    Case("and the run succeeds", judging({"stages[2].warn": [SLOW]}, "all"),
         then(says(slow=512.0), wait(m(6))), P.SUCCEEDED, "Succeeded", ["Warned", "StageProved", "Succeeded"], "", ALL),
]  # fmt: skip
HALFWAY = [
    Case("it soaks for as long as in whole", halfway(), wait(s(119)), P.JUDGING, "Soaking", [], "", BETWEEN),
    Case("and the rest follows", halfway(), wait(s(120)), P.JUDGING, "Soaking", PROVED,
         "half half way is proved at 27.5% after 120s", WHOLE),
    Case("and then the next stage in one step", halfway(), wait(m(4)), P.JUDGING, "Soaking", [*PROVED, *PROVED], "",
         FULL),
    Case("its predicates are judged", halfway({"stages[1].fail": [{"name": "bad", "query": "bad", "is": "> 0"}]}),
         then(says(bad=1.0), wait(m(1))), P.ROLLED_BACK, "FailTripped", BACK, "", OLD_WEIGHTS),
    Case("its deadline is kept",
         halfway({"stages[1].pass": [{"name": "good", "query": "good", "is": "> 0"}], "stages[1].deadline": "4m"}),
         wait(m(4)), P.HELD, "Undecided", ["Held"], "at its deadline half is undecided", BETWEEN),
    Case("a warning there halves the next stage, and the rest comes anyway",
         halfway({"stages[1].warn": [{"use": "slow"}]}), then(says(slow=512.0), wait(m(2))), P.JUDGING, "Soaking",
         ["Warned", *PROVED],
         "half half way: warn slow: 512 > 300; the next increase is halved: first 75%, then 100%", WHOLE),
    Case("and is told once in the whole stage", halfway({"stages[1].warn": [{"use": "slow"}]}),
         then(says(slow=512.0), wait(m(4))), P.JUDGING, "Soaking", ["Warned", *PROVED, *PROVED], "",
         {"v1": 25, "v2": 75}),
    Case("a killed operator goes on with the rest", halfway(), then(lambda w: w.crash(), wait(m(2))), P.JUDGING,
         "Soaking", PROVED, "", WHOLE),
    Case("weights that somebody moves up are put right half way", halfway(), drift(ALL), P.JUDGING, "Soaking",
         ["WeightDrift"], "27.5% is written again", BETWEEN),
    Case("after a conflict it is taken up again half way", halfway(),
         then(drift(OLD_WEIGHTS), lambda w: w.settle(), say("resume r1")), P.JUDGING, "Soaking",
         ["Held", "Resumed", *SHIFTED], "0% -> 27.5%", BETWEEN),
    Case("and the rest follows after that, too", halfway(),
         then(drift(OLD_WEIGHTS), lambda w: w.settle(), say("resume r1"), wait(m(2))), P.JUDGING, "Soaking",
         ["Held", "Resumed", *SHIFTED, *PROVED], "", WHOLE),
    Case("`skip` passes over the step alone", halfway(), say("skip k1"), P.JUDGING, "Soaking",
         ["StageSkipped", *SHIFTED], "half half way is skipped", WHOLE),
    Case("`skip` of what was warned goes half way", warned(), say("skip k1"), P.JUDGING, "Soaking",
         ["StageSkipped", *SHIFTED], "", BETWEEN),
    Case("`promote` goes straight to the last weight: a person answers", warned(), say("promote p1"), P.JUDGING,
         "Soaking", ["Promoted", *SHIFTED], "5% -> 100%", ALL),
    Case("half way, too", halfway(), say("promote p1"), P.JUDGING, "Soaking", ["Promoted", *SHIFTED], "", FULL),
    Case("half way to the last stage `skip` goes on to its weight", last_stage_halfway, say("skip k1"), P.JUDGING,
         "Soaking", ["StageSkipped", *SHIFTED], "75% -> 100%", ALL),
    Case("as does `promote`", last_stage_halfway, say("promote p1"), P.JUDGING, "Soaking", ["Promoted", *SHIFTED],
         "75% -> 100%", ALL),
    Case("half way to the last stage is no end", last_stage_halfway, wait(s(125)), P.JUDGING, "Soaking", PROVED, "",
         ALL),
    Case("the bake comes after the whole of it", last_stage_halfway, wait(m(9.5)), P.SUCCEEDED, "Succeeded",
         [*PROVED, "StageProved", "Succeeded"], "", ALL),
    Case("half as many pods are needed half way", warned(), then(pods(ready=2), wait(s(80))), P.JUDGING, "Soaking",
         PROVED, "", BETWEEN),
    Case("a freeze closes the gate before each step", halfway(),
         then(put(policies=(ruled(freeze={"now": "incident 42"}),)), wait(m(2))), P.HELD, "Frozen",
         ["StageProved", "Held"], "", BETWEEN),
    Case("another plan goes back from there", halfway(), edit({"interval": "20s"}), P.JUDGING, "", None, "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", WARNINGS, ids=ids)
def test_a_warning(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", HALFWAY, ids=ids)
def test_half_way(case: Case) -> None:
    run(case)


def test_a_stage_is_approved_once() -> None:
    world = warned({"stages[1].approval": "Required"})()
    world.until(P.HELD)
    same((world.status.reason, world.weights()[0]), ("AwaitingApproval", UP))
    world.say("approve a1")
    world.settle()
    same(world.weights()[0], BETWEEN)
    world.advance(m(2))
    same((world.phase, world.weights()[0]), (P.JUDGING, WHOLE))


def test_the_status_says_where_it_stands_and_what_warned() -> None:
    world = halfway()()
    at = stage(world)
    assert (at.name, at.display, at.weight, at.halfway) == ("half", "2/3 half half way", "27.5%", 275)
    assert stage(warned()()).warned == "slow: 512 > 300"
    world.advance(m(2))
    at = stage(world)
    assert (at.display, at.weight, at.halfway, at.warned) == ("2/3 half", "50%", None, "")


def test_the_trail_holds_the_predicate_as_evidence() -> None:
    (told,) = [decision for decision in warned()().trail.values() if decision.reason == "Warned"]
    (seen,) = told.evidence
    assert (told.kind, told.stage) == ("Persist", "canary")
    assert (seen.predicate, seen.role, seen.value, seen.bound, seen.verdict) == (
        "slow",
        "warn",
        "512",
        "> 300",
        "Tripped",
    )
    assert "slow: 512 > 300" in told.observed


def test_a_warning_says_nothing_of_the_stage_as_a_whole() -> None:
    world = warned()()
    assert [p.verdict for p in world.status.predicates if p.role == "warn"] == ["Tripped"]
    assert world.status.verdict != "Refuted"


def test_both_steps_have_seals_of_their_own_and_the_same_predicates() -> None:
    world = halfway()()
    half = stage(world).predicates_hash, [(p.name, p.role, p.query) for p in world.status.predicates]
    world.advance(m(2))
    whole = stage(world).predicates_hash, [(p.name, p.role, p.query) for p in world.status.predicates]
    assert half[0] != whole[0]
    assert half[1] == whole[1]


def test_counts_of_the_stage_begin_anew_at_its_whole_weight() -> None:
    few = {"name": "few", "events": {"bad": "bad", "total": "all"}, "is": "< 5%"}
    world = warned({"stages[1].pass": [few]})()
    world.counts("few", new=(0.0, 100.0))
    world.until(P.JUDGING, stage="half")
    world.advance(s(110))
    before = world.operator.measurements["few"].count
    world.advance(s(40))
    after = world.operator.measurements["few"].count
    assert stage(world).halfway is None
    assert before is not None and after is not None
    assert after.since == stage(world).verified_at
    assert after.state.seen.new_total < before.state.seen.new_total


def test_what_only_warns_is_not_asked_of_both_sides() -> None:
    asks = {**SLOW, "query": 'slow{deployment="$deployment"}[$window]'}
    world = calm({"stages[0].warn": [asks]})()
    assert {question.part for question in world.asked if question.name == "slow"} == {"new"}


@pytest.mark.parametrize(
    ("before", "own", "between"), [(50, 500, 275), (50, 51, None), (50, 52, 51), (999, 1000, None), (5, 10, 7)]
)
def test_half_way_is_a_whole_permille_rounded_down(before: int, own: int, between: int | None) -> None:
    half = replace(read_plan_spec(PLAN).steps()[1], permille=own).halved(before)
    assert (half.permille, half.half) == (between or own, between is not None)


# ---- replayed ----------------------------------------------------------------------------------------------------


@kept
def lived() -> World:
    """A run that was warned at its canary, up to its end."""
    return fresh(WARNS, says={**World().says, "slow": 512.0})().until(P.SUCCEEDED)


def through(given: Replay) -> tuple[list[Decision], str, list[str]]:
    """The decisions, how it ends, and the record, as this world answers."""
    says, lines = {**World().says, "slow": 512.0}, []
    turns = replay(given)
    try:
        due = next(turns)
        while True:
            values = [says[question.name] for question in due.questions]
            answers = [Answer(value) for value in values if not isinstance(value, Why)]
            lines += [answer_line(due.now, q, answer) for q, answer in zip(due.questions, answers, strict=True)]
            due = turns.send(answers)
    except StopIteration as end:
        return list(end.value.decisions), end.value.ended, lines


def test_a_run_that_was_warned_is_replayed_step_by_step() -> None:
    world = lived()
    given = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    assert list(given.verified_at or {}) == ["canary", "half half way", "half", "all"]
    decisions, ended, _ = through(given)
    told = [world.trail[seq] for seq in sorted(world.trail)]
    first = next(i for i, decision in enumerate(told) if decision.reason == "StageStarted")
    assert [(d.reason, d.at, d.note) for d in decisions] == [(d.reason, d.at, d.note) for d in told[first:]]
    assert ended == "the replay ends in phase Succeeded"


def test_a_run_whose_looks_warn_of_nothing_ends_where_it_went_half_way() -> None:
    world = lived()
    given = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    _, ended, _ = through(replace(given, raw=changed(world.spec, {"stages[0].warn": []})))
    assert "the run went on to half half way, but" in ended


def test_a_record_holds_the_steps() -> None:
    world = lived()
    given = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    again, _ = read_record([header(given)])
    assert again.verified_at == given.verified_at


def test_over_any_time_a_warning_halves_too() -> None:
    given = Replay("ns", "plan", changed(PLAN, WARNS), SOURCE, World().now, World().now + timedelta(minutes=30))
    decisions, ended, _ = through(given)
    shares = [d.weight_to for d in decisions if d.reason == "WeightShifted"]
    assert (shares, ended) == (["5%", "27.5%", "50%", "100%"], "the replay ends in phase Succeeded")
