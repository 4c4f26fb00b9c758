"""Decisions are published when they are recorded: each once, in order, whatever becomes of the one before it."""

from __future__ import annotations

import pytest

from rolloutplan.engine.model.effects import Failure, Publish
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.publish.events import KEPT
from tests.situations import P, judging, m, s
from tests.world import SINKS, World

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


TEAM = SinkView("notifier/team", keeps=m(60), own_status=True)
"""A notifier, whose troubles stand in a status of its own."""


def told(world: World) -> list[int]:
    return [seq for name, seq in world.notified if name == TEAM.name]


def test_a_notifier_gets_every_decision_once_and_in_order() -> None:
    world = World(sinks=(*SINKS, TEAM)).until(P.SUCCEEDED)
    world.settle()
    assert told(world) == sorted(world.trail)


def test_a_notifier_that_fails_is_no_matter_of_the_plan() -> None:
    """Neither its conditions nor its pace: what is wrong stands in the status of the notifier."""
    failing = World(sinks=(*SINKS, TEAM), refuses={TEAM.name: NOT_NOW}).until(P.SUCCEEDED)
    failing.settle()
    well = World().until(P.SUCCEEDED)
    well.settle()
    assert told(failing) == []
    assert [each.reason for each in failing.trail.values()] == [each.reason for each in well.trail.values()]
    assert failing.published == sorted(failing.trail)
    assert failing.status.condition("RequestsAccepted") == well.status.condition("RequestsAccepted")
    failing.refuses = {}
    failing.advance(s(20))
    assert told(failing) == sorted(failing.trail)


def test_after_a_run_a_new_leader_sends_nothing_again() -> None:
    """Not every receiver knows what it got: the cursor is written once more when nothing else is."""
    world = World(sinks=(*SINKS, TEAM)).until(P.SUCCEEDED)
    world.settle()
    assert world.status.published_through[TEAM.name] == world.status.seq
    version = world.version
    world.advance(m(2))
    assert world.version == version, "written once, and not again"
    world.crash()
    world.advance(m(1))
    assert told(world) == sorted(world.trail)


def test_in_a_run_the_cursor_is_written_with_the_next_look() -> None:
    world = World(sinks=(*SINKS, TEAM)).until(P.JUDGING)
    world.advance(m(2))
    assert world.status.published_through[TEAM.name] == world.status.seq
    world.crash()
    world.settle()
    assert len(set(told(world))) == len(told(world))


def test_a_notifier_that_was_made_in_a_run_gets_what_was_decided_since() -> None:
    world = judging()()
    before = world.status.seq
    world.sinks = (*SINKS, SinkView(TEAM.name, since=world.now, own_status=True))
    world.say("pause p1")
    world.settle()
    assert told(world) == [seq for seq in sorted(world.trail) if seq > before]
