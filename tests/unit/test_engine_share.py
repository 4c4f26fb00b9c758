"""A run is held where the traffic provably did not move, and goes on when it provably has."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest

from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.analysis.traffic_share import FOLLOWS_WITHIN, measured, traffic_not_shifted, update_share
from rolloutplan.engine.decide import decide
from rolloutplan.engine.model.snapshot import CountProgress, Measurement, Snapshot
from rolloutplan.stats import sequential
from rolloutplan.stats.traffic_share import LOOKS, Share
from rolloutplan.stats.verdict import Outcome, Verdict, Why
from tests.refusals import changed
from tests.unit.test_engine_counting import SPEC, STEP, Watcher, judging
from tests.world import PLAN, SOURCE, START, World

HALF = changed(PLAN, {"stages[0].weight": "50%", "stages[1].weight": "75%"})
"""A ladder that begins with as much traffic on either side."""
BALANCED, IGNORED = (500, 500), (0, 1000)
"""Requests of the new and the old side in a look."""
ENOUGH = LOOKS + 1
"""So many looks from a weight on can prove something: the first is left out."""


def begun() -> World:
    return World(spec=HALF).until(Phase.JUDGING)


def seen(status: Status, looks: Iterable[tuple[int, int]], since: datetime, share: Share | None = None) -> Share | None:
    """The share after looks at so many requests of new and old, one after the other."""
    at = since
    for new, old in looks:
        share = update_share(status, share, (at, at + STEP), sequential.CountDelta(new, 0, old, 0))
        at += STEP
    return share


def counted(world: World, **shares: Share | None) -> None:
    """The predicates of these names have counted so much at this weight."""
    for name, share in shares.items():
        verdict = Verdict(Outcome.UNDECIDED, why=Why.NOT_YET)
        count = CountProgress(START, sequential.State(), world.now, {}, share)
        track = replace(world.operator.measurements.get(name, Measurement()), verdict=verdict, count=count)
        world.operator.measurements = {**world.operator.measurements, name: track}


def after(world: World, *looks: tuple[int, int]) -> World:
    """The world when so many looks were taken from now on."""
    share = seen(world.status, looks, world.now)
    world.now += len(looks) * STEP
    counted(world, errors=share)
    world.settle()
    return world


def held() -> World:
    world = after(begun(), *[IGNORED] * ENOUGH)
    assert world.phase is Phase.HELD
    return world


def verified(world: World) -> tuple[str, str]:
    condition = world.status.condition("WeightsVerified")
    assert condition is not None
    return condition.status, condition.reason


def test_a_gateway_that_ignores_the_weight_holds_the_run_and_says_where_to_look() -> None:
    world = held()
    assert (world.status.reason, world.status.weights.measured) == (HoldReason.NOT_EFFECTIVE, "0.0%")
    assert verified(world) == ("False", HoldReason.NOT_EFFECTIVE)
    assert world.weights()[0] == {"v1": 50, "v2": 50}, "the weights stay"
    for words in ("0.0% of 5000 requests", "by errors went to v2", "weight is 50%", "HTTPRoute shop", "that use it"):
        assert words in world.status.message


def test_where_the_plan_says_that_requests_come_by_other_ways_too_nothing_is_held() -> None:
    world = World(spec=changed(HALF, {"traffic.share": "Ignore"})).until(Phase.JUDGING)
    after(world, *[IGNORED] * ENOUGH)
    assert (world.phase, world.status.weights.measured) == (Phase.JUDGING, "0.0%")


def test_with_too_few_looks_nothing_is_said() -> None:
    world = after(begun(), *[IGNORED] * (ENOUGH - 1))
    assert (world.phase, verified(world)) == (Phase.JUDGING, ("True", "Accepted"))


def test_traffic_that_moved_is_measured() -> None:
    world = after(begun(), *[(490, 510)] * ENOUGH)
    assert (world.phase, world.status.weights.measured, verified(world)) == (
        *(Phase.JUDGING, "49.0%"),
        ("True", "Measured"),
    )


@pytest.mark.parametrize(("dry", "phase"), [(False, Phase.HELD), (True, Phase.JUDGING)])
def test_a_dry_run_has_no_say_in_whether_the_traffic_moved(dry: bool, phase: Phase) -> None:
    guards = [{**PLAN["guards"][0], "dryRun": dry}, {**PLAN["guards"][0], "name": "other"}]
    world = World(spec=changed(HALF, {"guards": guards})).until(Phase.JUDGING)
    assert after(world, *[IGNORED] * ENOUGH).phase is phase


@pytest.mark.parametrize(("role", "phase"), [("fail", Phase.HELD), ("warn", Phase.JUDGING)])
def test_what_only_warns_has_none_either(role: str, phase: Phase) -> None:
    spec = changed(HALF, {"guards[0].name": "other", f"stages[0].{role}": PLAN["guards"]})
    world = World(spec=spec).until(Phase.JUDGING)
    assert after(world, *[IGNORED] * ENOUGH).phase is phase


@pytest.mark.parametrize(("dry", "phase"), [(False, Phase.HELD), (True, Phase.JUDGING)])
def test_whether_it_is_a_dry_run_is_said_where_it_stands(dry: bool, phase: Phase) -> None:
    """And not where the same predicate is used at another stage."""
    errors = {**PLAN["guards"][0], "dryRun": dry}
    later = {"use": "errors", "dryRun": not dry}
    guards = [{**PLAN["guards"][0], "name": "other"}]
    spec = changed(HALF, {"guards": guards, "stages[0].fail": [errors], "stages[1].fail": [later]})
    world = World(spec=spec).until(Phase.JUDGING)
    assert after(world, *[IGNORED] * ENOUGH).phase is phase


def test_a_share_alone_is_not_worth_a_write() -> None:
    world = begun()
    counted(world, another=seen(world.status, [BALANCED] * ENOUGH, world.now))
    snapshot = world.snapshot()
    assert measured(snapshot) == "50.0%"
    assert decide(snapshot).status is None


def test_the_guards_stay_on_while_it_is_held() -> None:
    world = held()
    world.says["errors"] = 0.5
    assert world.until(Phase.ROLLED_BACK).status.reason == "GuardTripped"


def test_what_was_counted_before_it_was_held_neither_holds_nor_heals_it() -> None:
    world = held()
    told = world.told()
    world.advance(timedelta(minutes=2))
    after(world, *[BALANCED] * (LOOKS - 1))
    assert (world.phase, world.told()) == (Phase.HELD, told)


def test_it_goes_on_when_the_traffic_has_moved_and_its_stage_begins_anew() -> None:
    world = after(held(), *[BALANCED] * ENOUGH)
    assert (world.phase, world.told()[-1]) == (Phase.JUDGING, "Resumed")
    stage = world.status.stage
    assert stage is not None
    assert (stage.judged_since, stage.soak_until) == (world.now, world.now + timedelta(minutes=3))
    assert "50.0% of" in world.status.message
    assert verified(world) == ("True", "Measured")


@pytest.mark.parametrize("share", [(400, 600), (390, 610), (600, 400)])
def test_at_the_edge_of_the_tolerance_it_is_told_once(share: tuple[int, int]) -> None:
    world = after(held(), *[share] * 400)
    assert world.told().count("Held") == 1


def test_an_operator_that_is_started_again_stays_held_until_it_has_counted() -> None:
    world = held()
    world.crash()
    world.advance(timedelta(minutes=5))
    assert (world.phase, world.status.weights.measured) == (Phase.HELD, "0.0%")
    assert after(world, *[BALANCED] * ENOUGH).phase is Phase.JUDGING


def test_what_was_measured_at_another_weight_is_forgotten() -> None:
    world = held()
    after(world, *[BALANCED] * ENOUGH)
    assert world.status.weights.measured
    world.until(Phase.JUDGING, stage="half")
    assert world.status.weights.measured == ""
    assert measured(world.snapshot()) == ""


def test_the_predicate_with_most_requests_speaks() -> None:
    world, status = begun(), begun().status
    few, many = (seen(status, [update] * ENOUGH, world.now) for update in [(0, 100), (500, 510)])
    counted(world, errors=few, hits=many)
    assert (measured(world.snapshot()), traffic_not_shifted(world.snapshot())) == ("49.5%", "")


@pytest.mark.parametrize(
    ("begins", "counts"),
    [
        (-STEP, False),
        (timedelta(0), False),
        (STEP - timedelta(seconds=1), False),
        (STEP, True),
    ],
)
def test_the_looks_at_which_a_gateway_may_still_follow_are_left_out(begins: timedelta, counts: bool) -> None:
    world = begun()
    share = seen(world.status, [BALANCED], world.now + begins)
    assert share is not None
    assert bool(share.looks) is counts


def test_short_looks_are_left_out_for_as_long_as_a_gateway_may_take() -> None:
    world, second = begun(), timedelta(seconds=1)
    looks = [(world.now + i * second, world.now + (i + 1) * second) for i in range(10)]
    share = reduce(
        lambda share, over: update_share(world.status, share, over, sequential.CountDelta(1, 0, 1, 0)), looks, None
    )
    assert share is not None
    assert share.looks == 10 - FOLLOWS_WITHIN // second


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.BAKING, Phase.ROLLING_BACK, Phase.SUCCEEDED])
def test_where_no_weight_is_judged_nothing_is_measured(phase: Phase) -> None:
    world = begun()
    status = world.status.model_copy(update={"phase": phase})
    assert seen(status, [BALANCED] * ENOUGH, world.now) is None


def test_the_share_comes_with_the_counts_of_both_sides() -> None:
    status = judging(START).model_copy(update={"weights": begun().status.weights})
    watcher = Watcher(SPEC, status)
    watcher.run(START, int(ENOUGH * STEP.total_seconds()) + 1, {"new": 1, "old": 1})
    snapshot = Snapshot(watcher.view, status, START + ENOUGH * STEP, source=SOURCE, measurements=watcher.measurements)
    assert measured(snapshot) == "50.0%"


def test_one_side_alone_has_no_share() -> None:
    guard = {"name": "worse", "events": {"bad": "bad", "total": "all"}, "is": "> 1%"}
    status = judging(START).model_copy(update={"weights": begun().status.weights})
    watcher = Watcher(changed(SPEC, {"guards": [guard]}), status)
    watcher.run(START, 200, {"new": 1})
    track = watcher.measurements["worse"]
    assert track.count is not None
    assert track.count.share is None
