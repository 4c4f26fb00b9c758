"""However pods join, cold starts end no run, and a version that is slow or faulty is taken back all the same."""

from datetime import timedelta
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import changed
from tests.repetition import times
from tests.situations import P, m, s
from tests.world import HEALTHY, PLAN, World

WINDOW = 30
"""Seconds: the first window of latency and its longest."""
FIRST_WINDOW = s(60)
"""Of errors: four scrapes."""


def plan(warmup: int, bake: int) -> dict[str, object]:
    slow = {"name": "slow", "query": "histogram_quantile(0.99, slow[$window])", "is": "> 0.5", "window": f"{WINDOW}s"}
    times = {"soak": f"{warmup + 30}s", "deadline": f"{2 * warmup + 300}s"}
    stages = {f"stages[{i}].{name}": value for i in range(3) for name, value in times.items()}
    guards = {"guards": [*PLAN["guards"], slow], "warmup": f"{warmup}s", "bake": f"{bake}m"}
    return changed(PLAN, {**guards, **stages})


def lives(world: World, joins: list[int], limit: timedelta, crashes: int = 0) -> timedelta:
    """Let pods join so many seconds one after the other, again and again, until the run ends; returns when it did."""
    began = world.now
    for number, pause in enumerate(cycle(joins)):
        if world.phase in (P.SUCCEEDED, P.ROLLED_BACK) or world.now > began + limit:
            break
        world.joins(f"pod-{number}")
        if crashes and number == crashes:
            world.crash()
        world.advance(s(pause))
    return max(world.trail.values(), key=lambda decision: decision.seq).at - began


JOINS = st.lists(st.integers(5, 400), min_size=1, max_size=6)
WARMUPS = st.sampled_from([20, 60, 120])


@settings(max_examples=times(4), deadline=None)
@given(warmup=WARMUPS, joins=JOINS, crashes=st.integers(0, 5))
def test_a_slow_version_cannot_hide_behind_the_pods_that_join_it(warmup: int, joins: list[int], crashes: int) -> None:
    world = World(spec=plan(warmup, 5), says={**HEALTHY, "slow": 0.1}).until(P.JUDGING)
    world.says["slow"] = 5.0
    took = lives(world, joins, m(20), crashes)
    assert world.phase is P.ROLLED_BACK, world.status.message
    assert took <= 3 * s(warmup) + 2 * s(WINDOW) + s(40), f"slow for {took}"


@settings(max_examples=times(3), deadline=None)
@given(warmup=WARMUPS, joins=JOINS)
def test_errors_wait_for_no_warmup(warmup: int, joins: list[int]) -> None:
    world = World(spec=plan(warmup, 5), says={**HEALTHY, "slow": 0.1}).until(P.JUDGING)
    world.says["errors"] = 0.2
    assert lives(world, joins, m(20)) <= FIRST_WINDOW + s(20)
    assert world.status.reason == "GuardTripped"


@settings(max_examples=times(3), deadline=None)
@given(warmup=WARMUPS, joins=JOINS, bake=st.integers(0, 10))
def test_a_good_version_succeeds_and_every_stage_judged_latency(warmup: int, joins: list[int], bake: int) -> None:
    world = World(spec=plan(warmup, bake), says={**HEALTHY, "slow": 0.1})
    world.settle()
    lives(world, joins, timedelta(hours=3))
    assert world.phase is P.SUCCEEDED, f"{world.phase} {world.status.message}"
    verified = [d.at for d in world.trail.values() if d.reason == "WeightShifted"]
    proved = [d.at for d in world.trail.values() if d.reason == "StageProved"]
    asked = [each.at for each in world.asked if each.name == "slow"]
    assert len(verified) == len(proved) == 3
    for start, end in zip(verified, proved, strict=True):
        judged = [at for at in asked if start < at <= end]
        assert judged
        assert min(judged) >= start + s(warmup + WINDOW)
