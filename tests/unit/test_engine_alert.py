"""Alerts: one that begins to fire speaks against the new side, and one that fired before holds the next increase.

`page` is a guard, `ticket` a fail predicate of the second stage, of 50 %.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.resolve import resolve, snapshot_lookup
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.engine.model.queries import AlertQuery
from rolloutplan.engine.policy.gate import ANSWERS_VALID_FOR
from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.tools.detection import Assumed, DetectionTime
from rolloutplan.tools.fault import read_fault
from rolloutplan.tools.lint.plans import lint_plan
from rolloutplan.tools.replay import of_run, replay
from rolloutplan.tools.replay_record import answer_line
from rolloutplan.tools.timeline import timeline
from tests.refusals import alert, changed
from tests.situations import (
    BACK,
    BEGUN,
    HALF,
    OLD_WEIGHTS,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    fresh,
    ids,
    judging,
    kept,
    m,
    proved,
    put,
    ruled,
    run,
    s,
    say,
    says,
    then,
    wait,
)
from tests.world import PLAN, SOURCE, START, World

MATCHERS = 'severity="page",deployment="v2"'
PAGE = alert("page", 'severity="page",deployment="$deployment"')
ALERTS: dict[str, Any] = {
    "guards": [PLAN["guards"][0], PAGE],
    "stages[1].fail": [alert("ticket", 'severity="ticket"')],
}
ONLY: dict[str, Any] = {"guards": [PAGE], "stages[0].pass": [], "stages[0].fail": []}


def fires(name: str = "page") -> Any:
    return lambda world: world.alert(name)


def quiet(name: str = "page") -> Any:
    return lambda world: world.alert(name, fires=False)


def changing(**more: Any) -> dict[str, Any]:
    """The plan with this beside the alert of its guard."""
    return ALERTS | {"guards": [PLAN["guards"][0], {**PAGE, **more}]}


def held(*, stage: bool = True) -> Situation:
    """Before the first weight, or with the canary proved: an alert fires, and holds the next increase."""

    def make() -> World:
        world = judging(ALERTS)() if stage else fresh(ALERTS)()
        world.alert("ticket" if stage else "page")
        return world.until(P.HELD)

    return kept(make, stage)


IN_FORCE = [
    Case("one that begins to fire goes back", judging(ALERTS), then(fires(), wait(s(10))), P.ROLLED_BACK,
         "GuardTripped",
         BACK, "guard page tripped: 1 > 0 alerts", OLD_WEIGHTS),
    Case("that of a fail predicate at its stage", judging(ALERTS, "half"), then(fires("ticket"), wait(s(10))),
         P.ROLLED_BACK, "FailTripped", BACK, "fail ticket tripped: 1 > 0 alerts", OLD_WEIGHTS),
    Case("it must fire for as long as the plan says", judging(changing(**{"for": "30s"})), then(fires(), wait(s(29))),
         P.JUDGING, "Soaking", [], "", UP),
    Case("and goes back then", judging(changing(**{"for": "30s"})), then(fires(), wait(s(40))), P.ROLLED_BACK,
         "GuardTripped", BACK, "1 > 0 alerts for 30s", OLD_WEIGHTS),
    Case("one that ends before is no cause", judging(changing(**{"for": "30s"})),
         then(fires(), wait(s(20)), quiet(), wait(s(50))), P.JUDGING, "Soaking", [], "", UP),
    Case("where nothing fires nothing is against it", fresh(ONLY), wait(m(3)), P.JUDGING, "Soaking",
         [*BEGUN, "StageProved", *SHIFTED], "", HALF),
    Case("it speaks in the bake too", lambda: fresh(ALERTS)().until(P.BAKING), then(fires(), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("a dry run goes back for nothing", judging(changing(dryRun=True)), then(fires(), wait(s(20))), P.JUDGING,
         "Soaking", [], "", UP),
    Case("onFail is Hold: it holds", judging(ALERTS | {"onFail": "Hold"}), then(fires(), wait(s(10))), P.HELD, "Failed",
         ["Held"], "guard page tripped", UP),
    Case("as a warning it warns", judging({"stages[0].warn": [alert("ticket")]}), then(fires("ticket"), wait(s(10))),
         P.JUDGING, "Soaking", ["Warned"], "warn ticket: 1 > 0 alerts", UP),
    Case("a source that does not answer is blindness", judging(ONLY), then(put(down="refused"), wait(m(2))), P.HELD,
         "MetricsUnavailable", ["Held"], "", UP),
    Case("what is not known is no proof", judging(ALERTS), then(says(page=Why.MANY_SERIES), wait(s(20))), P.JUDGING,
         "Soaking", [], "", UP),
    Case("one that fired when the weight was verified does not go back", judging(ALERTS),
         then(put(fires={"page": START}), wait(m(1))), P.JUDGING, "Soaking", [], "", UP),
]  # fmt: skip
AT_THE_GATE = [
    Case("before the first weight it holds", fresh(ALERTS), then(fires(), wait(m(5))), P.HELD, "Incident",
         ["Started", "NewSideReady", "Held"],
         'guard page: 1 alert fires already with severity="page",deployment="v2"', OLD_WEIGHTS),
    Case("before the next one that of its own fail predicates too", judging(ALERTS),
         then(fires("ticket"), wait(s(90))), P.HELD, "Incident", ["StageProved", "Held"], "fail ticket: 1 alert fires",
         UP),
    Case("it stays so as long as it fires", held(), wait(m(12)), P.HELD, "Incident", [], "", UP),
    Case("and goes on by itself when it is over", held(), then(quiet("ticket"), wait(s(10))), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "Incident is over", HALF),
    Case("before the first weight too", held(stage=False), then(quiet(), wait(s(10))), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "", UP),
    Case("not before it is asked again", held(), then(quiet("ticket"), wait(ANSWERS_VALID_FOR - s(0.1))), P.HELD,
         "Incident", [], "", UP),
    Case("a killed operator asks anew", held(), then(quiet("ticket"), lambda w: w.crash()), P.JUDGING, "Soaking",
         ["Resumed", *SHIFTED], "", HALF),
    *(
        Case(f"what is not known ({why}) holds", judging(ALERTS), then(says(ticket=why), wait(m(3))), P.HELD,
             "Incident", ["StageProved", "Held"], f"fail ticket: no answer ({why}) about alerts", UP)
        for why in (Why.NAN, Why.WARNINGS, Why.SOURCE_DOWN, Why.QUERY_REJECTED)
    ),
    Case("that of a later stage does not", judging({"stages[2].fail": [alert("late")]}),
         then(fires("late"), wait(s(90))), P.JUDGING, "Soaking", ["StageProved", *SHIFTED], "", HALF),
    Case("nor a warning", judging({"stages[1].warn": [alert("ticket")]}), then(fires("ticket"), wait(s(90))),
         P.JUDGING, "Soaking", ["StageProved", *SHIFTED], "", HALF),
    Case("nor a dry run", judging({"stages[1].fail": [alert("ticket", dryRun=True)]}),
         then(fires("ticket"), wait(s(90))), P.JUDGING, "Soaking", ["StageProved", *SHIFTED], "", HALF),
    Case("what is used there does", judging({"stages[0].fail": [alert("ticket", dryRun=True)],
         "stages[1].fail": [{"use": "ticket"}]}), then(fires("ticket"), wait(s(90))), P.HELD, "Incident", None,
         "fail ticket", UP),
    Case("the bake is no increase", lambda: fresh(ALERTS)().until(P.BAKING), then(fires("ticket"), wait(m(5))),
         P.SUCCEEDED),
    Case("approval comes before it", judging(ALERTS | {"stages[1].approval": "Required"}),
         then(fires("ticket"), wait(m(2))), P.HELD, "AwaitingApproval", ["StageProved", "Held"], "", UP),
    Case("half way to a stage its alerts are asked for, too",
         judging(ALERTS | {"stages[0].warn": [{"name": "slow", "query": "slow", "is": "> 300"}]},
                 says={**World().says, "slow": 512.0}),
         then(fires("ticket"), wait(m(2))), P.HELD, "Incident", ["StageProved", "Held"], "fail ticket", UP),
    Case("`skip` does not pass over it", held(), say("skip k1"), P.HELD, "Incident", ["CommandRejected"], "", UP),
    Case("a pause said in it holds after it", held(), then(say("pause p1"), quiet("ticket"), wait(m(1))), P.HELD,
         "Paused", None, "", UP),
    Case("a budget is asked for beside it", held(),
         then(put(policies=(ruled(errorBudget={"query": "b", "atLeast": "20%"}),)), says(production=0.1), wait(s(10))),
         P.HELD, "BudgetSpent", ["Held"], "", UP),
    Case("a guard that is proved goes back from there", held(), proved("errors"), P.ROLLED_BACK, "GuardTripped", BACK,
         "", OLD_WEIGHTS),
    Case("one that begins meanwhile goes back, too", held(), then(fires(), wait(s(10))), P.ROLLED_BACK, "GuardTripped",
         BACK, "guard page", OLD_WEIGHTS),
    Case("a person says so", held(), say("abort a1"), P.ROLLED_BACK, "Aborted", BACK, "", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", IN_FORCE, ids=ids)
def test_an_alert_that_begins_to_fire(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", AT_THE_GATE, ids=ids)
def test_an_alert_that_fires_already(case: Case) -> None:
    run(case)


def test_what_is_asked_of_the_source() -> None:
    """Of the new side alone, at the instant of the look, against the instant at which the weight was verified."""
    world = judging(ALERTS)()
    asked = [question for question in world.asked if question.name == "page"]
    assert {question.part for question in asked} == {"new"}
    assert {question.query for question in asked} == {AlertQuery(MATCHERS, since=START)}
    assert [question.at - START for question in asked][:2] == [s(0), s(10)], "there is no window to wait for"
    heard = world.snapshot().gate_answers
    assert heard is not None
    assert [question.query for question in heard.verdicts] == [AlertQuery(MATCHERS)]


def test_what_stands_in_the_status_and_on_the_trail() -> None:
    world = judging(ALERTS)()
    world.alert("page")
    world.until(P.ROLLED_BACK)
    (page,) = [each for each in world.records[-3].status.predicates if each.name == "page"]
    assert (page.role, page.query, page.bound) == ("guard", f"firing alerts with {MATCHERS}", "> 0 alerts")
    (seen,) = next(d for d in world.trail.values() if d.reason == "RollbackStarted").evidence
    assert (seen.value, seen.bound, seen.verdict) == ("1", "> 0 alerts", "Tripped")
    assert seen.query == f"alerts with {MATCHERS} that began to fire after 2026-03-01T09:00:00Z"


def test_the_alerts_that_fire_are_told_anew_as_they_change_and_are_no_new_decision() -> None:
    world = held()()
    before, seq = world.status.message, world.status.seq
    world.says["ticket"] = Why.NAN
    world.advance(s(10))
    assert (world.status.message == before, world.status.seq) == (False, seq)


def test_it_may_be_used_at_other_stages() -> None:
    used = changed(PLAN, {"stages[0].fail": [PAGE], "stages[2].warn": [{"use": "page"}]})
    (page,) = resolve(read_plan_spec(used), snapshot_lookup(())).spec.stages[2].warn
    assert (page.name, page.alert and page.alert.matchers) == ("page", PAGE["alert"]["matchers"])


@pytest.mark.parametrize(
    ("matchers", "traps"),
    [
        ('severity="page",deployment=~"$deployment|$old"', []),
        ("severity=page", ["error syntax"]),
        ('severity="page" team="shop"', ["error syntax"]),
        ('severity="$severty"', ["error unknown-variable"]),
    ],
)
@pytest.mark.parametrize("place", ["guards", "stages[0].fail", "stages[0].warn"])
def test_matchers_are_looked_through(place: str, matchers: str, traps: list[str]) -> None:
    spec = read_plan_spec(changed(PLAN, {place: [alert("page", matchers)]}))
    path = f"spec.{place}[0].alert.matchers"
    found = lint_plan(spec, timedelta(seconds=15))
    assert [f"{each.severity} {each.rule}" for each in found if each.path == path] == traps


def test_an_alert_is_seen_from_when_it_fires() -> None:
    """5 s for an answer and 1 s for the weights; later up to an interval until it is asked for again."""
    assumed = Assumed(SOURCE, read_fault("all"), 0.001)
    (_, seen) = timeline(read_plan_spec(changed(PLAN, ALERTS)), assumed).segments[0].detections[:2]
    assert seen == DetectionTime("page", "guard", s(6), s(16), certain=False)
    alone = timeline(read_plan_spec(changed(PLAN, ONLY | {"stages[0].soak": "0s"})), assumed).segments[0]
    assert (alone.ends.earliest, alone.queries) == (s(0), 6)


def test_a_run_with_alerts_is_replayed() -> None:
    world = fresh(ALERTS)()
    world.alert("page")
    world.advance(m(1))
    world.alert("page", fires=False)
    world.until(P.SUCCEEDED)
    case = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    turns, lines = replay(case), []
    says = {**World().says, "page": 0.0, "ticket": 0.0}
    try:
        due = next(turns)
        while True:
            answers = [Answer(float(says[question.name])) for question in due.questions]
            lines += [answer_line(due.now, q, answer) for q, answer in zip(due.questions, answers, strict=True)]
            due = turns.send(answers)
    except StopIteration as end:
        replayed = end.value
    told = [decision.reason for decision in world.trail.values()]
    assert [decision.reason for decision in replayed.decisions] == told[told.index("StageStarted") :]
    assert any('"predicate":"page"' in line for line in lines)


def test_that_there_are_no_alerts_of_any_kind_is_told_before_the_first_weight_and_is_no_good_news() -> None:
    world = fresh(ALERTS)()
    world.says["page"] = Why.NO_ALERT_SERIES
    world.advance(m(1))
    condition = world.status.condition("QueryWarnings")
    assert condition is not None
    assert condition.message == "page: no alerts"
    assert (world.phase, world.weights()[0]["v2"]) == (P.HELD, 0)
    assert "NoAlertSeries" in world.status.message


def test_that_there_are_no_alerts_any_more_keeps_a_stage_from_being_proved() -> None:
    world = fresh(ALERTS)().until(P.JUDGING)
    world.says["page"] = Why.NO_ALERT_SERIES
    world.advance(m(12))
    assert (world.phase, world.status.reason) == (P.HELD, "Undecided")
    assert "page (NoAlertSeries" in world.status.message


def test_the_next_leader_tells_it_too() -> None:
    world = fresh(ALERTS)().until(P.JUDGING)
    world.says["page"] = Why.NO_ALERT_SERIES
    world.crash()
    world.advance(m(1))
    condition = world.status.condition("QueryWarnings")
    assert condition is not None
    assert condition.message == "page: no alerts"
    world.crash()
    world.advance(m(1))
    assert world.status.condition("QueryWarnings") == condition
