"""Decisions are published when they are recorded: each once, in order, whatever becomes of the one before it."""

from __future__ import annotations

import pytest

from rolloutplan.engine.model.effects import Failure, Publish
from rolloutplan.publish.events import KEPT
from tests.situations import P, judging, m, s
from tests.world import World

REFUSED_FOR_WHAT_IT_SAYS = Failure(422, "Invalid", "the note is too long")
NOT_NOW = Failure(500, "InternalError", "not now")


def test_every_decision_is_published_once_and_in_order() -> None:
    world = World().until(P.SUCCEEDED)
    world.settle()
    assert world.published == sorted(world.trail)


def test_what_cannot_be_published_now_is_tried_again_with_pauses_and_in_order() -> None:
    world = World(refuses={"publish": NOT_NOW})
    world.until(P.JUDGING).advance(m(1))
    tries = [effect for effect in world.done if isinstance(effect.work, Publish)]
    assert world.published == []
    assert len(tries) < 20, "tried without a pause"
    world.refuses = {}
    world.advance(s(20))
    assert world.published == sorted(world.trail)


def test_a_decision_that_is_refused_for_what_it_says_keeps_back_no_other() -> None:
    world = judging()()
    before = len(world.published)
    world.refuses = {"publish": REFUSED_FOR_WHAT_IT_SAYS}
    world.say("pause p1")
    world.settle()
    world.refuses = {}
    world.say("resume r1")
    world.advance(s(20))
    assert world.published[before:] == [world.status.seq]


def test_nothing_is_published_before_it_is_recorded() -> None:
    """The weights of a rollback do not wait for its record; its Event does."""
    world = judging()()
    before = len(world.published)
    world.says["errors"] = 0.2
    world.refuses = {"record": NOT_NOW}
    world.advance(m(1))
    assert world.weights()[0]["v2"] == 0
    assert world.published[before:] == []
    world.refuses = {}
    world.advance(s(5))
    assert world.published == sorted(world.trail)


@pytest.mark.parametrize("told", [True, False])
def test_a_new_leader_publishes_what_may_be_missing_and_nothing_else(told: bool) -> None:
    world = judging()()
    if told:
        world.say("pause p1")  # brings a record, and with it the cursor
        world.settle()
    through = world.status.published_through.get("events", 0)
    world.crash()
    world.advance(s(1))
    again = [seq for seq in world.published if world.published.count(seq) > 1]
    assert sorted(set(again)) == [seq for seq in sorted(world.trail) if seq > through][: len(set(again))]
    assert sorted(set(world.published)) == sorted(world.trail)


def test_what_is_older_than_an_event_lives_stays_unpublished() -> None:
    world = World(refuses={"publish": NOT_NOW})
    world.until(P.SUCCEEDED)
    world.refuses = {}
    world.crash()
    world.now += KEPT + s(1)
    world.settle()
    assert world.published == []
