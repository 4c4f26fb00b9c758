"""Clocks that are put back, and leaders whose clocks differ: judging goes on, and what is odd is told once."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from tests.refusals import changed
from tests.repetition import times
from tests.situations import HALF, OLD_WEIGHTS, P, m, s
from tests.world import PLAN, World

EVENTS = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
COUNTED = changed(
    PLAN, {"guards[0]": {"name": "errors", "events": EVENTS, "vsOld": "> 1.5x"}, "traffic.share": "Ignore"}
)


def run(world: World, span: timedelta) -> None:
    """Let the time pass as the schedule does after a clock was put back: at least every five seconds."""
    end = world.now + span
    while world.now < end:
        world.now += s(5)
        world.settle()


def at_half(spec: dict[str, object] | None = None) -> World:
    world = World(spec=spec) if spec is not None else World()
    if spec is not None:
        world.counts("errors", new=(1, 100), old=(1, 100))
    world.until(P.JUDGING, stage="half")
    world.advance(s(70))
    return world


@pytest.mark.parametrize("back", [s(30), m(2), m(10), timedelta(hours=1)], ids=str)
@pytest.mark.parametrize("leader", [False, True], ids=["the clock is put back", "the next leader's clock is behind"])
def test_a_fault_is_seen_as_soon_as_ever(back: timedelta, leader: bool) -> None:
    world = at_half()
    world.now -= back
    if leader:
        world.crash()
        world.led_since = world.now
    world.says["errors"] = 0.9
    began = world.now
    while world.phase is not P.ROLLED_BACK and world.now - began < m(5):
        run(world, s(5))
    assert (world.phase, world.weights()[0]) == (P.ROLLED_BACK, OLD_WEIGHTS)
    assert world.now - began <= s(90)


@pytest.mark.parametrize("leader", [False, True], ids=["the clock is put back", "the next leader's clock is behind"])
def test_a_healthy_run_goes_on_and_the_stage_soaks_again(leader: bool) -> None:
    world = at_half()
    world.now -= timedelta(hours=1)
    if leader:
        world.crash()
        world.led_since = world.now
    began = world.now
    run(world, s(110))
    assert (world.phase, world.weights()[0]) == (P.JUDGING, HALF)
    run(world, m(12))
    assert world.phase is P.SUCCEEDED
    assert world.now - began < m(15)


def test_instants_in_the_future_are_told_once() -> None:
    world = at_half()
    world.now -= timedelta(hours=1)
    run(world, m(1))
    (notice,) = world.notices
    assert notice.reason == "ClockBehind"
    assert "ahead of this operator's clock: they count as now" in notice.note
    assert world.status.stage is not None and world.status.stage.verified_at is not None
    assert world.status.stage.verified_at <= world.now, "the status is corrected"


def test_a_clock_that_is_a_little_behind_is_none_of_it() -> None:
    world = at_half()
    world.now -= s(3)
    run(world, m(1))
    assert world.notices == []


def test_counts_go_on_after_the_clock_was_put_back() -> None:
    world = at_half(COUNTED)
    world.now -= timedelta(hours=1)
    world.rates = {}
    world.counts("errors", new=(50, 100), old=(1, 100))
    began = world.now
    while world.phase is not P.ROLLED_BACK and world.now - began < m(10):
        run(world, s(5))
    assert world.phase is P.ROLLED_BACK
    assert world.now - began <= m(3)


@pytest.mark.parametrize("seed", range(times(5)))
def test_whatever_the_clocks_do_a_fault_goes_back_and_a_good_release_ends(seed: int) -> None:
    """Jumps in both directions, with and without another leader."""
    rng = Random(seed)
    world = World()
    fault = rng.random() < 0.5
    passed, broken_after = timedelta(0), s(rng.randrange(200, 900))
    broken: timedelta | None = None
    while world.phase not in (P.ROLLED_BACK, P.SUCCEEDED) and passed < timedelta(hours=2):
        run(world, s(5))
        passed += s(5)
        if rng.random() < 0.01:
            world.now += s(rng.randrange(-4000, 100))
            if rng.random() < 0.5:
                world.crash()
                world.led_since = world.now
        if fault and passed > broken_after and world.status.phase in (P.JUDGING, P.BAKING):
            world.says["errors"], broken = 0.9, broken or passed
    if broken is None:
        assert world.phase is P.SUCCEEDED
    elif passed - broken > s(10):
        assert world.phase is P.ROLLED_BACK
        assert passed - broken <= m(6)
