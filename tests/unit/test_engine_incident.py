"""Both sides bad together: an incident holds the run, and never keeps a rollback waiting.

The guard asks `errors` of one side; the old side's answer to the same is `errors/old`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.engine.model.queries import Question, ValueQuery
from rolloutplan.stats.verdict import Answer, Why
from tests.situations import (
    BACK,
    HALF,
    OLD_WEIGHTS,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    drift,
    every_second,
    fresh,
    ids,
    judging,
    m,
    pods,
    put,
    run,
    s,
    say,
    then,
    wait,
)
from tests.world import PLAN, World

QUERY = 'errors{deployment="$deployment"}[$window]'
SIDED: dict[str, Any] = {"guards[0].query": QUERY}
SAMPLES = {"query": 'n{deployment="$deployment"}', "atLeast": 100}
WHOLE = SIDED | {"guards[0].minSamples": SAMPLES}
STOPS = SIDED | {"stages": PLAN["stages"][:2], "stopAt": "50%"}
AT_ONCE = SIDED | {"onIncident": {"action": "Rollback"}}
OUTAGE: dict[str, float | Why] = {"errors": 0.2, "old": 0.3, "before": 0.3}
"""One that began before the weight was set."""
BAD = {"errors": 0.2, "errors/old": 0.3}


def told(**says: float | Why) -> dict[str, float | Why]:
    """What the source says, with `old` for the old side's errors."""
    return {{"old": "errors/old", "samples": "errors/samples", "many": "errors/oldSamples",
             "before": "errors/oldBefore"}.get(n, n): v
            for n, v in says.items()}  # fmt: skip


def says(**values: float | Why) -> Any:
    return lambda world: world.says.update(told(**values))


def held(changes: dict[str, Any] | None = None, **more: float | Why) -> Situation:
    """At the first weight, and held for an incident."""

    def make() -> World:
        world = judging(changes or SIDED)()
        world.says |= BAD | told(**more)
        return world.until(P.HELD)

    return make


HOLDS = [
    Case("both are bad: the weights stay, in the words of both", judging(SIDED),
         then(says(errors=0.2, old=0.3), wait(s(10))), P.HELD, "Incident", ["Held"],
         "guard errors tripped for both sides (> 1%: v2 20%, v1 30%)", UP),
    Case("the old side is half as far beyond the bound", judging(SIDED),
         then(says(errors=0.2, old=0.11), wait(s(10))), P.HELD, "Incident", ["Held"], "", UP),
    Case("it stays so as long as it lasts, where it began before the weight", held(before=0.3), wait(m(12)), P.HELD,
         "Incident", [], "", UP),
    Case("or where the plan says so", held(SIDED | {"onIncident": {"then": "Hold"}}), wait(m(12)), P.HELD,
         "Incident", [], "", UP),
    Case("for as long as the plan says", held(SIDED | {"onIncident": {"after": "30m"}}), wait(m(29)), P.HELD,
         "Incident", [], "", UP),
    Case("for five minutes", held(before=0.0), wait(s(290)), P.HELD, "Incident", [], "", UP),
    Case("and no longer than it lasts", held(before=0.0), then(wait(m(4)), says(errors=0.0, old=0.0), wait(s(30))),
         P.JUDGING, "Soaking", ["Resumed"], "Incident is over", UP),
    Case("another leader asks again how it was before", held(before=0.3), then(wait(m(4)), lambda w: w.crash(),
         wait(m(10))), P.HELD, "Incident", [], "", UP),
    Case("it goes on by itself when it is over", held(), then(says(errors=0.0, old=0.0), wait(s(10))), P.JUDGING,
         "Soaking", ["Resumed"], "Incident is over", UP),
    Case("time held is no soak", judging(SIDED), then(says(**OUTAGE), wait(m(10)),
         says(errors=0.0, old=0.0), wait(s(85))), P.JUDGING, "Soaking", ["Held", "Resumed"], "", UP),
    Case("and after it the stage is proved as ever", judging(SIDED), then(says(**OUTAGE), wait(m(10)),
         says(errors=0.0, old=0.0), wait(s(110))), P.JUDGING, "", ["Held", "Resumed", "StageProved", *SHIFTED], "",
         HALF),
    Case("in the bake of a plan that stops below 100%", lambda: fresh(STOPS)().until(P.BAKING),
         then(wait(m(1)), says(errors=0.2, old=0.3), wait(s(10))), P.HELD, "Incident", ["Held"], "", HALF),
    Case("a killed operator is no end of it", held(), lambda w: w.crash(), P.HELD, "Incident", [], "", UP),
    Case("nor is an answer that is missing", held(), then(put(down="timeout"), wait(s(15))), P.HELD, "Incident", [],
         "", UP),
    Case("nor are two that are no number", held(), then(says(errors=Why.NAN, old=Why.NAN), wait(s(20))), P.HELD,
         "Incident", [], "", UP),
    Case("nor is every second one that is missing", held(), every_second(200, **BAD), P.HELD, "Incident", [], "", UP),
    Case("too many in a row that are no number are the end of it", held(), then(says(errors=Why.NAN, old=Why.NAN),
         wait(s(30))), P.JUDGING, "Soaking", ["Resumed"], "", UP),
    Case("an outage of the source is blindness", held(), then(put(down="timeout"), wait(m(1))), P.HELD,
         "MetricsUnavailable",
         ["Held"], "", UP),
    Case("with enough samples on both sides", judging(WHOLE | {"guards[0].window": "1m"}),
         then(says(errors=0.2, old=0.3, samples=500, many=500), wait(s(10))), P.HELD, "Incident"),
    Case("`skip` does not pass over it", held(), say("skip k1"), P.HELD, "Incident", ["CommandRejected"], "", UP),
    Case("a pause said in it holds after it", held(), then(say("pause p1"), wait(s(10)), says(errors=0.0, old=0.0),
         wait(s(10))), P.HELD, "Paused", None, "", UP),
]  # fmt: skip

BACKS = [
    Case("the old side is good", judging(SIDED), then(says(errors=0.2, old=0.0), wait(s(10))), P.ROLLED_BACK,
         "GuardTripped", BACK, "guard errors tripped: 20% > 1%", OLD_WEIGHTS),
    Case("the old side is bad too, but by far not so bad", judging(SIDED), then(says(errors=0.2, old=0.1),
         wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("the new side becomes far worse", held(), then(says(errors=0.9), wait(s(10))), P.ROLLED_BACK,
         "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("the old side has no data", judging(SIDED), then(says(errors=0.2), wait(s(10))), P.ROLLED_BACK,
         "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("the old side is not answered for", judging(SIDED), then(says(errors=0.2, old=Why.SOURCE_DOWN), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("the old side's answer comes too late", judging(SIDED), then(says(errors=0.0, old=0.3), wait(s(10)),
         lambda w: w.answer("errors", {"new": Answer(0.2)}, w.now)), P.ROLLED_BACK, "GuardTripped", BACK, "",
         OLD_WEIGHTS),
    Case("too few samples on the old side", judging(WHOLE), then(says(errors=0.2, old=0.3, samples=500, many=5),
         wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("the old side's samples come too late", judging(WHOLE),
         lambda w: w.answer("errors", {"new": Answer(0.2), "samples": Answer(500), "old": Answer(0.3)}, w.now),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("the plan says so", judging(AT_ONCE), then(says(errors=0.2, old=0.3), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("it began after the weight, and lasts for five minutes", held(before=0.0), wait(s(310)), P.ROLLED_BACK,
         "Incident", BACK, "for 300s, which began after this weight was set", OLD_WEIGHTS),
    Case("it is not known how the old side was before", held(before=Why.NO_DATA), wait(s(310)), P.ROLLED_BACK,
         "Incident", BACK, "", OLD_WEIGHTS),
    Case("the source does not say how the old side was before", held(before=Why.SOURCE_DOWN), wait(s(360)),
         P.ROLLED_BACK, "Incident", BACK, "", OLD_WEIGHTS),
    Case("for as long as the plan says", held(SIDED | {"onIncident": {"after": "1m"}}), wait(s(110)), P.ROLLED_BACK,
         "Incident", BACK, "", OLD_WEIGHTS),
    Case("a killed operator does not begin again to wait", held(before=0.0), then(wait(m(4)), lambda w: w.crash(),
         wait(s(90))), P.ROLLED_BACK, "Incident", BACK, "", OLD_WEIGHTS),
    Case("the query is the same for both sides", judging(), then(says(errors=0.2, old=0.3), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("another predicate is proved against the new side alone", held(), then(says(wrong=1), wait(s(10))),
         P.ROLLED_BACK, "FailTripped", BACK, "fail wrong tripped", OLD_WEIGHTS),
    Case("the old side is good again, and the new one is not", held(), then(says(old=0.0), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("at full traffic, where the old side serves nothing", judging(SIDED, stage="all"),
         then(says(errors=0.2, old=0.3), wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("while a weight is being written", judging(SIDED), then(put(lag=None), wait(s(91)),
         says(errors=0.2, old=0.3), wait(s(10))), P.ROLLING_BACK, "GuardTripped", None, "", OLD_WEIGHTS),
    Case("the pods of the new side are gone", held(), pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "",
         OLD_WEIGHTS),
    Case("a person says so", held(), say("abort a1"), P.ROLLED_BACK, "Aborted", BACK, "", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", HOLDS, ids=ids)
def test_an_incident_holds_the_run(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", BACKS, ids=ids)
def test_what_speaks_against_the_new_side_alone_goes_back(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("old", [0.0, 0.3, Why.NO_DATA, Why.SOURCE_DOWN])
def test_a_guard_is_judged_at_the_same_instant_whatever_the_old_side_says(old: float | Why) -> None:
    """It waits for no second look, and what cannot be heard of the old side alone is no blindness."""
    world = judging(SIDED)()
    at = world.now
    world.says |= told(errors=0.2, old=old)
    world.until(P.HELD, P.ROLLED_BACK)
    assert world.now - at <= s(10)
    assert world.status.reason == ("Incident" if old == 0.3 else "GuardTripped")


def test_the_old_side_is_asked_the_same_at_the_same_instant_and_only_where_it_can_matter() -> None:
    world = judging(WHOLE)()
    snapshot = max(question.at for question in world.asked if question.name == "errors")
    asked = {q.part: q for q in world.asked if q.name == "errors" and q.at == snapshot}
    window = timedelta(seconds=90)
    began = snapshot - window
    assert asked["old"] == Question(
        "errors", "old", ValueQuery(f'errors{{deployment="v1"}}[{window.seconds}s]', began), snapshot, optional=True
    )  # fmt: skip
    assert asked["oldSamples"].query == ValueQuery('n{deployment="v1"}', began)
    assert {part: q.optional for part, q in asked.items()} == {
        "new": False, "samples": False, "old": True, "oldSamples": True,
    }  # fmt: skip
    assert {question.part for question in judging()().asked} == {"new"}
    assert {question.part for question in judging(AT_ONCE)().asked} == {"new"}
    full = judging(SIDED, stage="all")()
    since = full.status.stage.judged_since if full.status.stage else None
    assert {question.part for question in full.asked if since and question.at > since} == {"new"}


def test_weights_that_somebody_moves_in_it_are_put_right_and_it_stays_held() -> None:
    world = held()()
    world.advance(s(3))
    drift({"v1": 80, "v2": 20})(world)
    world.advance(m(2))
    assert (world.phase, world.status.reason, world.weights()[0]) == (P.HELD, "Incident", UP)


def test_the_evidence_is_on_record() -> None:
    (seen,) = next(d for d in held()().trail.values() if d.reason == "Held").evidence
    assert (seen.predicate, seen.verdict, seen.value, seen.query) == (
        "errors", "Tripped", "20%", 'errors{deployment="v2"}[100s]',
    )  # fmt: skip
