"""Cold starts: latency is not judged for the warmup, everything else is, and no version hides behind its new pods."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from rolloutplan.api.predicate import asks_for_latency
from rolloutplan.api.status import StageStatus
from tests.refusals import changed
from tests.situations import BACK, HALF, OLD_WEIGHTS, UP, Case, P, ids, m, put, run, s, say, says, then, wait
from tests.world import HEALTHY, PLAN, World

SLOW = {"name": "slow", "query": "histogram_quantile(0.99, slow[$window])", "is": "> 0.5", "window": "2m"}
EVENTS = {"histogram": 'seconds{deployment="$deployment"}', "slowerThan": "500ms"}
COUNTED = {"name": "slow", "events": EVENTS, "is": "> 1%"}
WARM: dict[str, Any] = {
    "warmup": "2m",
    "guards[1]": SLOW,
    **{f"stages[{i}].{name}": value for i in range(3) for name, value in (("soak", "3m"), ("deadline", "10m"))},
}
NONE = {**WARM, "warmup": "0s"}
GOOD = {**HEALTHY, "slow": 0.1}


def plan(changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    spec = {**PLAN, "guards": [*PLAN["guards"], {}]}
    return changed(changed(spec, changes), more)


def begun(changes: dict[str, Any] = WARM, **more: Any) -> World:
    """The first weight was verified just now, and all is well."""
    return World(spec=plan(changes, **more), says=dict(GOOD)).until(P.JUDGING)


def cold_starts(world: World) -> None:
    """For two minutes after each weight, the new side answers slowly; then never again."""
    while world.phase not in (P.SUCCEEDED, P.ROLLED_BACK, P.HELD):
        stage = world.status.stage
        since = stage.verified_at or stage.entered_at if stage else None
        world.says["slow"] = 5.0 if since and world.now < since + m(2) else 0.1
        at = world.next()
        assert at is not None
        world.now = min(at, world.now + s(5))
        world.settle()


def at(world: World) -> StageStatus:
    assert world.status.stage is not None
    return world.status.stage


def windows(world: World, name: str = "slow") -> list[tuple[datetime, datetime]]:
    """What the queries of a predicate looked at, from and to."""
    asked = [each for each in world.asked if each.name == name and each.part == "new"]
    seconds = [int(str(each.query).rpartition("[")[2].partition("s]")[0]) for each in asked]
    return [(each.at - s(width), each.at) for each, width in zip(asked, seconds, strict=True)]


CASES = [
    Case("cold starts at every weight end no run", begun, cold_starts, P.SUCCEEDED),
    Case("without a warmup they do", lambda: begun(NONE), cold_starts, P.ROLLED_BACK, "GuardTripped", BACK, "slow"),
    Case("the warmup of a stage", lambda: begun(NONE, **{f"stages[{i}].warmup": "2m" for i in range(3)}), cold_starts,
         P.SUCCEEDED),
    Case("a stage may do without the plan's", lambda: begun(WARM, **{"stages[0].warmup": "0s"}), cold_starts,
         P.ROLLED_BACK, "GuardTripped", BACK, "slow"),
    Case("errors are judged at once", begun, then(says(errors=0.2, slow=5.0), wait(s(70))), P.ROLLED_BACK,
         "GuardTripped", BACK, "guard errors tripped", OLD_WEIGHTS),
    Case("pods that crash are seen at once", begun, lambda w: w.pods(ready=0, failed="Error (pod v2-a)"),
         P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("one that is still slow after it goes back", begun, then(says(slow=5.0), wait(m(3) + s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "guard slow tripped", OLD_WEIGHTS),
    Case("and not before", begun, then(says(slow=5.0), wait(m(2) + s(55))), P.JUDGING, "Soaking", [], "", UP),
    Case("no stage ends in it", lambda: begun(WARM, **{"stages[0].soak": "121s"}), wait(s(150)), P.JUDGING, "", [], "",
         UP),
    Case("a stage ends with the first verdict after it", lambda: begun(WARM, **{"stages[0].soak": "121s"}),
         wait(s(195)), P.JUDGING, "", ["StageProved", "StageStarted", "WeightShifted"], "", HALF),
    Case("skip does not end it", begun,
         then(wait(m(1)), say("skip s1"), says(slow=5.0), wait(m(2) + s(50))), P.JUDGING, "", None, "", HALF),
    Case("a pass predicate on latency is asked after it",
         lambda: begun(WARM, **{"stages[0].pass[0]": {**SLOW, "name": "fast", "is": "< 0.5", "window": "1m"}}),
         then(lambda w: w.says.update(fast=5.0), wait(m(2)), lambda w: w.says.update(fast=0.1), wait(m(3))),
         P.JUDGING, "", None, "", HALF),
    Case("the next leader leaves out the same", begun,
         then(says(slow=5.0), wait(m(1)), World.crash, wait(s(110))), P.JUDGING, "Soaking", [], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_warmup(case: Case) -> None:
    run(case)


def test_no_window_of_latency_reaches_into_the_warmup_and_the_others_begin_at_once() -> None:
    world = begun(WARM, **{"guards[1].window": "5m"})
    verified = at(world).verified_at
    world.advance(m(8))
    first = min(start for start, _ in windows(world))
    assert verified is not None
    assert first == verified + m(2)
    assert min(end for _, end in windows(world)) == verified + m(3)
    assert min(start for start, _ in windows(world, "errors")) == verified


def test_the_status_says_what_is_left_out_and_until_when() -> None:
    world = begun()
    world.advance(m(1))
    verified = at(world).verified_at
    assert verified is not None
    assert at(world).warmup_until == verified + m(2)
    found = next(each for each in world.status.predicates if each.name == "slow")
    assert (found.verdict, found.why) == (
        "Undecided", f"Warmup: latency of new pods is left out until {verified + m(2):%H:%M:%S}"
    )  # fmt: skip


# ---- pods that join later --------------------------------------------------------------------------------------------


def in_mid_stage(changes: dict[str, Any] = WARM, **more: Any) -> World:
    """Four minutes in a long stage: latency has been judged for a while."""
    world = begun(changes, **{"stages[0].soak": "20m", "stages[0].deadline": "30m", **more})
    world.advance(m(4) + s(5))
    return world


def joins(*pods: str) -> Callable[[World], object]:
    return lambda world: world.joins(*pods)


LATER = [
    Case("pods that join are cold too", in_mid_stage, then(joins("a", "b"), says(slow=5.0), wait(m(2)), says(slow=0.1),
         wait(m(3))), P.JUDGING, "", [], "", UP),
    Case("and are judged after it", in_mid_stage, then(joins("a"), says(slow=5.0), wait(m(3) + s(10))), P.ROLLED_BACK,
         "GuardTripped", BACK, "guard slow tripped", OLD_WEIGHTS),
    Case("errors of pods that join are judged at once", in_mid_stage, then(joins("a"), says(errors=0.2), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "guard errors tripped", OLD_WEIGHTS),
    Case("one that is slow before they join goes back", in_mid_stage,
         then(says(slow=5.0), wait(s(10)), joins("a"), wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK, "slow"),
    Case("those that joined while nobody led are seen first", in_mid_stage,
         then(joins("a"), says(slow=5.0), World.crash, wait(m(1))), P.JUDGING, "", [], "", UP),
    Case("and not waited for for ever", in_mid_stage,
         then(put(broken={"pods"}), says(slow=5.0), World.crash, wait(s(20))), P.ROLLED_BACK, "GuardTripped", BACK,
         "slow"),
    Case("the next leader sees them", in_mid_stage,
         then(joins("a"), says(slow=5.0), wait(s(20)), World.crash, wait(m(1))), P.JUDGING, "", [], "", UP),
]  # fmt: skip


@pytest.mark.parametrize("case", LATER, ids=ids)
def test_pods_that_join_later(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("every", [5, 20, 45, 90, 130, 200])
def test_a_slow_version_that_makes_its_autoscaler_add_pods_again_and_again_goes_back(every: int) -> None:
    world = in_mid_stage()
    world.says["slow"] = 5.0
    began, number = world.now, 0
    while world.phase is P.JUDGING and world.now < began + m(20):
        number += 1
        world.joins(f"pod-{number}")
        world.advance(s(every))
    assert world.phase is P.ROLLED_BACK
    assert world.now - began <= 2 * m(2) + m(1) + s(every + 20)


def test_a_pod_that_loses_its_readiness_and_gets_it_back_is_not_new() -> None:
    world = in_mid_stage()
    world.joins("a")
    world.advance(m(5))
    before = at(world).warmup_until
    assert world.new is not None
    for _ in range(5):
        world.pods(ready=4)
        world.advance(s(1))
        world.pods(ready=5, joined={"a": world.now})
        world.advance(s(100))
    assert at(world).warmup_until == before


def test_the_deadline_moves_by_the_warmup_of_pods_that_join() -> None:
    world = in_mid_stage()
    before = at(world).deadline_at
    world.joins("a")
    world.advance(s(1))
    assert before is not None
    assert at(world).deadline_at == before + m(2)
    world.advance(m(1))
    world.joins("b")
    world.advance(s(1))
    assert at(world).deadline_at == before + m(3) + s(1)


def test_a_warmup_that_begins_at_the_end_of_the_bake_is_waited_for() -> None:
    world = begun(WARM, onUndecided="Rollback").until(P.BAKING)
    until = at(world).soak_until
    assert until is not None
    world.advance(until - s(10) - world.now)
    world.joins("a")
    world.advance(m(1))
    assert world.status.phase is P.BAKING
    assert world.until(P.SUCCEEDED, limit=m(3))


# ---- counts ----------------------------------------------------------------------------------------------------------


def counted(changes: dict[str, Any] = WARM, **more: Any) -> World:
    """Nothing is known but the counts: 10 requests a second on each side, 1 in 5 of the new ones slow for 2 minutes."""
    world = World(spec=plan({**changes, "guards[1]": COUNTED}, **more), says=dict(GOOD))
    world.counts("slow", new=(0.0, 10.0), old=(0.0, 10.0))
    world.until(P.JUDGING)
    world.counts("slow", new=(2.0, 10.0), old=(0.0, 10.0))
    return world


def test_slow_requests_of_a_cold_start_are_not_counted() -> None:
    world = counted()
    world.advance(m(2) - s(1))
    world.counts("slow", new=(0.0, 10.0))
    world.advance(m(1))
    assert world.phase is P.JUDGING
    progress = world.snapshot().measurements["slow"].count
    assert progress is not None
    assert progress.state.seen.new_bad == 0
    assert 0 < progress.state.seen.new_total <= 600


def test_without_a_warmup_they_end_the_run() -> None:
    world = counted(NONE)
    world.advance(m(2))
    assert world.phase is P.ROLLED_BACK


def test_slow_requests_after_it_end_the_run() -> None:
    world = counted()
    world.advance(m(4))
    assert (world.phase, world.status.reason) == (P.ROLLED_BACK, "GuardTripped")


def test_counts_that_were_missed_in_it_are_left_out_when_they_are_fetched_later() -> None:
    world = counted()
    world.advance(s(40))
    world.down = "timeout"
    world.advance(s(75))
    world.counts("slow", new=(0.0, 10.0))
    world.down = ""
    world.advance(s(40))
    assert world.phase is not P.ROLLED_BACK


def test_the_traffic_share_is_counted_during_it() -> None:
    compared = {"name": "slow", "events": EVENTS, "vsOld": "> 1.5x"}
    world = World(spec=plan({**WARM, "guards[1]": compared}), says=dict(GOOD))
    world.counts("slow", new=(0.0, 10.0), old=(0.0, 10.0))
    world.until(P.JUDGING)
    world.advance(s(110))
    assert world.status.held_for == "WeightNotEffective"


@pytest.mark.parametrize("requests", [0.0, 10.0])
def test_silence_in_it_is_no_good_news(requests: float) -> None:
    changes = {**WARM, "guards[1]": {**COUNTED, "noData": "Clear"}, "stages[0].soak": "121s"}
    world = World(spec=plan(changes), says=dict(GOOD))
    world.counts("slow", new=(0.0, requests))
    world.until(P.JUDGING)
    world.advance(s(122))
    assert world.status.stage is not None
    assert world.status.stage.name == "canary"
    world.advance(s(40))
    assert world.status.stage.name == "half"


def test_a_warmup_at_the_end_of_the_bake_is_waited_for_by_counts() -> None:
    world = World(spec=plan({**WARM, "guards[1]": COUNTED}, onUndecided="Rollback", bake="1m"), says=dict(GOOD))
    world.counts("slow", new=(0.0, 10.0), old=(0.0, 10.0))
    world.until(P.BAKING)
    world.joins("a")
    world.until(P.SUCCEEDED, P.ROLLED_BACK)
    assert world.phase is P.SUCCEEDED


# ---- what judges latency ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "latency"),
    [
        ('histogram_quantile(0.99, sum by (le) (rate(s_bucket{deployment="$deployment"}[$window])))', True),
        ("histogram_quantile (0.5, rate(s[$window]))", True),
        ("histogram_avg(rate(s[$window]))", True),
        ("1 - histogram_fraction(0, 0.5, rate(s[$window]))", True),
        ('sum(rate(s_bucket{le="0.5"}[$window])) / sum(rate(s_count[$window]))', True),
        ('max(rpc_seconds{quantile="0.99",deployment="$deployment"})', True),
        ('max(rpc_seconds{deployment="$deployment", quantile =~ "0.9+"})', True),
        ("sum(rate(s_sum[$window])) / sum(rate(s_count[$window]))", True),
        ("sum(rate(a_sum[$window])) / sum(rate(b_count[$window]))", False),
        ('sum(rate(http_request_duration_seconds_count{code=~"5.."}[$window]))', False),
        ('1 - sum(rate(http_requests_total{code!~"5.."}[$window])) / sum(rate(http_requests_total[$window]))', False),
        ("sum(rate(errors_total[$window])) # not histogram_quantile(", False),
        ("quantile(0.9, errors_ratio)", False),
    ],
)
def test_latency_is_told_by_the_form_of_a_query(query: str, latency: bool) -> None:
    assert asks_for_latency(query) is latency
