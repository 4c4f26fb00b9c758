"""Not knowing is a doubt: a guard or `fail` predicate without a verdict ends no stage and no bake."""

from collections.abc import Mapping
from typing import Any

import pytest

from rolloutplan.engine.analysis.doubts import NO_OLD_SIDE
from rolloutplan.stats.verdict import Why
from tests.situations import (
    ALL,
    BACK,
    HALF,
    OLD_WEIGHTS,
    UP,
    Case,
    P,
    baking,
    fresh,
    ids,
    judging,
    m,
    put,
    run,
    s,
    say,
    says,
    silent_bake,
    then,
    wait,
)
from tests.world import World

CLEAR = {"guards[0].noData": "Clear"}
GOOD = {"hits": 1.0, "wrong": 0.0}
GAPS = [
    Why.NO_DATA,
    Why.NAN,
    Why.MANY_SERIES,
    Why.WARNINGS,
    Why.PARTIAL,
    Why.QUERY_REJECTED,
    Why.STALE_SAMPLES,
]
VS_OLD = {"guards": [{"name": "errors", "query": "errors{$deployment}[$window]", "vsOld": "> 1.5x", "window": "2m"}]}
COUNTED = {"guards": [{"name": "many", "events": {"bad": "bad{$service}", "total": "all{$service}"}, "is": "> 5%"}]}
BOTH_COUNTED = {
    "guards": [{"name": "many", "events": {"bad": "bad{$service}", "total": "all{$service}"}, "vsOld": "> 1.5x"}]
}
OLD = "errors/old"
UNAVAILABLE = {"action": "Hold", "after": "10m", "then": "Rollback"}


def clear(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The same plan, whose guards take no data for good news."""
    return {"guards": [{**guard, "noData": "Clear"} for guard in plan["guards"]]}


STAGES = [
    *(
        Case(f"a guard without any verdict, beside a pass predicate that is proved: {why}", judging(says={}),
             then(says(errors=why, wrong=0.0, hits=0.95), wait(m(15))), P.HELD, "Undecided", ["Held"],
             f"at its deadline canary is undecided: errors ({why}: no number for errors)", UP)
        for why in GAPS
    ),
    Case("a fail predicate without any verdict", fresh(says={"errors": 0.0, "hits": 0.95, "wrong": Why.NO_DATA}),
         wait(m(15)), P.HELD, "Undecided", None, "wrong (NoData: no number for wrong)", UP),
    Case("all that is in doubt is named", fresh(says={"errors": Why.NAN, "hits": 0.95, "wrong": Why.NO_DATA}),
         wait(m(15)), P.HELD, "Undecided", None, "wrong (NoData: no number for wrong)", UP),
    Case("onUndecided: Rollback", fresh({"onUndecided": "Rollback"}, says={"errors": Why.NO_DATA, **GOOD}),
         wait(m(15)), P.ROLLED_BACK, "Undecided", None, "errors (NoData", OLD_WEIGHTS),
    Case("one verdict in the stage is enough", judging(), then(says(errors=Why.NO_DATA), wait(s(120))), P.JUDGING, "",
         ["StageProved", "StageStarted", "WeightShifted"], "", HALF),
    Case("a verdict of the stage before is not", judging(stage="half"),
         then(lambda w: w.until(P.JUDGING, stage="all"), says(errors=Why.NO_DATA), wait(m(11))), P.HELD, "Undecided",
         None, "at its deadline all is undecided: errors (NoData", ALL),
    Case("held for it, it goes on with the first verdict", fresh(says={"errors": Why.NAN, **GOOD}),
         then(wait(m(20)), says(errors=0.0), wait(s(20))), P.JUDGING, "", None, "", HALF),
    Case("a dry run is no doubt", fresh({"stages[0].fail[0].dryRun": True},
         says={"errors": 0.0, "hits": 0.95, "wrong": Why.NO_DATA}), wait(m(4)), P.JUDGING, "", None, "", HALF),
    Case("a verdict is remembered by the next leader", judging(),
         then(wait(s(40)), World.crash, says(errors=Why.NO_DATA), wait(s(120))), P.JUDGING, "", None, "", HALF),
]  # fmt: skip

SILENCE = [
    Case("noData: Clear says that silence is good news", fresh(CLEAR, says={"errors": Why.NO_DATA, **GOOD}),
         wait(m(15)), P.SUCCEEDED, "", None, "", ALL),
    *(
        Case(f"noData: Clear is about no other gap: {why}", fresh(CLEAR, says={"errors": why, **GOOD}),
             wait(m(15)), P.HELD, "Undecided", None, f"errors ({why}", UP)
        for why in GAPS if why is not Why.NO_DATA
    ),
    Case("nor about a source that is down", judging(CLEAR), then(put(down="timeout"), wait(m(2))), P.HELD,
         "MetricsUnavailable", ["Held"], "timeout", UP),
    Case("nor about too few samples", fresh({**CLEAR, "guards[0].minSamples": {"query": "reads", "atLeast": 100}},
         says={"errors": Why.NO_DATA, "errors/samples": 5.0, **GOOD}), wait(m(15)), P.HELD, "Undecided",
         None, "errors (TooFewSamples: 5 samples, 100 are needed)", UP),
    Case("a guard that trips after a silence is not held up", judging(CLEAR),
         then(says(errors=Why.NO_DATA), wait(m(1)), says(errors=0.2), wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK,
         "", OLD_WEIGHTS),
    Case("compared with the old side, its silence alone is no good news",
         fresh(clear(VS_OLD), says={"errors": 0.2, OLD: Why.NO_DATA, **GOOD}), wait(m(15)), P.HELD,
         "Undecided", None, "errors (NoData: old side: ", UP),
]  # fmt: skip

BAKES = [
    Case("a bake in which the guard never has data does not end", silent_bake(), wait(m(12)), P.HELD, "Undecided",
         ["Held"], "the bake is over and is undecided: errors (NoData: no number for errors)", ALL),
    Case("it goes on with the first verdict", silent_bake(), then(wait(m(12)), says(errors=0.0), wait(s(20))),
         P.SUCCEEDED, "", ["Held", "Resumed", "Succeeded"], "", ALL),
    Case("a guard that trips while it is held so rolls back", silent_bake(),
         then(wait(m(12)), says(errors=0.2), wait(s(20))), P.ROLLED_BACK, "GuardTripped", ["Held", *BACK], "",
         OLD_WEIGHTS),
    Case("onUndecided: Rollback", silent_bake({"onUndecided": "Rollback"}), wait(m(10)), P.ROLLED_BACK, "Undecided",
         BACK, "onUndecided is Rollback", OLD_WEIGHTS),
    Case("onUndecided: Extend, and decided in the new time", silent_bake({"onUndecided": "Extend"}),
         then(wait(m(6)), says(errors=0.0), wait(s(20))), P.SUCCEEDED, "", ["DeadlineExtended", "Succeeded"], "", ALL),
    Case("resume gives it more time", silent_bake(), then(wait(m(10)), say("resume r1 --reason on"), wait(m(5))),
         P.BAKING, "", ["Held", "Resumed"], "deadline extended to", ALL),
    Case("and then it is held again", silent_bake(), then(wait(m(10)), say("resume r1 --reason on"), wait(m(15))),
         P.HELD, "Undecided", ["Held", "Resumed", "Held"], "", ALL),
    Case("a verdict late in the bake is awaited for a few intervals", silent_bake(),
         then(wait(m(4) + s(5)), says(errors=0.0), wait(s(20))), P.SUCCEEDED, "", ["Succeeded"], "", ALL),
    Case("a guard that the source refuses in the bake does not let it end", baking,
         then(says(errors=Why.QUERY_REJECTED), wait(m(10))), P.HELD, "Undecided", ["Held"], "errors (QueryRejected",
         ALL),
    Case("nor one of two that the source does not answer", fresh({"guards": [
             {"name": "errors", "query": "errors[$window]", "is": "> 1%"},
             {"name": "slow", "query": "slow[$window]", "is": "> 1"}]}, says={"errors": 0.0, "slow": 0.0, **GOOD}),
         then(lambda w: w.until(P.BAKING), says(slow=Why.SOURCE_DOWN), wait(m(10))), P.HELD, "Undecided", None,
         "slow (SourceDown", ALL),
    Case("a source that is down in the bake holds it, and after a while rolls back as the plan says",
         lambda: fresh({"onMetricsUnavailable": UNAVAILABLE})().until(P.BAKING),
         then(put(down="HTTP 422: expanding series"), wait(m(12))), P.ROLLED_BACK, "MetricsUnavailable",
         ["Held", *BACK], "metrics unavailable for 10m", OLD_WEIGHTS),
    Case("noData: Clear lets it end", silent_bake(CLEAR), wait(m(5)), P.SUCCEEDED, "", ["Succeeded"], "", ALL),
    Case("without a bake the verdicts of the last stage count", fresh({"bake": "0s"}), wait(m(8)), P.SUCCEEDED, "",
         None, "", ALL),
]  # fmt: skip


def compared(changes: Mapping[str, Any], old: float | Why = 0.0) -> World:
    made = fresh(changes, says={"errors": 0.0, OLD: old, "hits": 0.95, "wrong": 0.0})()
    made.until(P.JUDGING, stage="all")
    return made


NO_SIDE = [
    Case("at 100% a guard has no old side to compare with, and does not hold the run", lambda: compared(VS_OLD),
         then(says(**{OLD: Why.NAN}), wait(m(15))), P.SUCCEEDED, "", None, "", ALL),
    Case("but where it is the new side that has no data, it is a doubt", lambda: compared(VS_OLD),
         then(says(errors=Why.NO_DATA, **{OLD: Why.NO_DATA}), wait(m(15))), P.HELD, "Undecided", None,
         "errors (NoData: no number for errors)", ALL),
    Case("a guard that has never compared anything, in a plan with one stage, is a doubt",
         fresh({**VS_OLD, "stages": [{"name": "all", "weight": "100%", "soak": "2m", "deadline": "10m",
                                     "pass": [{"name": "hits", "query": "hits", "is": "> 0.9"}]}]},
               says={"errors": 0.0, OLD: Why.NO_DATA, "hits": 0.95}), wait(m(15)), P.HELD, "Undecided", None,
         "errors (NoData: old side", ALL),
    Case("nor does one whose stages a person has passed over", fresh(VS_OLD,
             says={"errors": 0.0, OLD: Why.NO_DATA, "hits": 0.95, "wrong": 0.0}),
         then(lambda w: w.until(P.JUDGING), wait(m(1)), say("promote p1"), wait(m(15))), P.HELD, "Undecided", None,
         "errors (NoData: old side", ALL),
]  # fmt: skip


@pytest.mark.parametrize("case", STAGES, ids=ids)
def test_a_stage_is_not_proved_beside_an_undecided_guard(case: Case) -> None:
    world = run(case)
    assert "StageProved" not in world.told() or case.phase is not P.HELD or "all" in case.says


@pytest.mark.parametrize("case", SILENCE, ids=ids)
def test_silence_is_good_news_only_where_the_plan_says_so(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", BAKES, ids=ids)
def test_a_bake_ends_only_if_its_guards_had_a_verdict(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", NO_SIDE, ids=ids)
def test_a_comparison_without_an_old_side(case: Case) -> None:
    run(case)


def test_the_status_says_that_no_old_side_is_left() -> None:
    world = compared(VS_OLD)
    world.says[OLD] = Why.NAN
    world.until(P.SUCCEEDED)
    assert NO_OLD_SIDE in world.status.predicates[0].why


@pytest.mark.parametrize(
    ("plan", "silent", "end"),
    [
        (COUNTED, {}, P.SUCCEEDED),
        (BOTH_COUNTED, {}, P.SUCCEEDED),
        (COUNTED, {"new": (0.0, 0.0)}, P.HELD),
        (BOTH_COUNTED, {"new": (0.0, 0.0)}, P.HELD),
        (BOTH_COUNTED, {"old": (0.0, 0.0)}, P.HELD),
        (clear(COUNTED), {"new": (0.0, 0.0)}, P.SUCCEEDED),
    ],
)
def test_a_guard_on_counts_needs_requests_of_each_side_at_each_weight(
    plan: Mapping[str, Any], silent: Mapping[str, tuple[float, float]], end: P
) -> None:
    world = fresh({"traffic.share": "Ignore", **plan, "stages[0].pass": [], "stages[0].fail": []})()
    world.counts("many", new=(0.1, 10.0), old=(0.1, 10.0))
    world.until(P.JUDGING, stage="half")
    world.counts("many", **{"new": (0.1, 10.0), "old": (0.1, 10.0), **silent})
    world.advance(m(11))
    if end is P.HELD:
        assert (world.phase, world.status.reason) == (P.HELD, "Undecided"), world.told()
        assert "at its deadline half is undecided: many (NoData: no requests counted since 09:03:00)" in (
            world.status.message
        )
    else:
        world.until(end)
