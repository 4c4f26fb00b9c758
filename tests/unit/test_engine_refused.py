"""A refused write is a fact: whatever the API server says to whichever write, at whatever moment of a run.

The status message, a condition and one Event have it, in the API server's own words; nothing is doubled,
nothing is lost, and nothing is tried without a pause.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Condition, Phase
from rolloutplan.engine.model.effects import Failure
from tests.refusals import changed
from tests.situations import BACK, OLD_WEIGHTS, Situation, expanding, fresh, job, judging, kept, m, s, two_routes
from tests.world import PLAN, World, named

P = Phase
WORDS = "these are the API server's own words"
REFUSALS: Mapping[str, Failure] = {
    "a request that it cannot read": Failure(400, "BadRequest", WORDS),
    "RBAC": Failure(403, "Forbidden", WORDS),
    "an admission webhook": Failure(403, "Forbidden", f'admission webhook "policy" denied the request: {WORDS}'),
    "something that is not there": Failure(404, "NotFound", WORDS),
    "a conflict that no other version explains": Failure(409, "Conflict", WORDS),
    "an object that is too large": Failure(413, "RequestEntityTooLarge", WORDS),
    "a validation": Failure(422, "Invalid", WORDS),
    "too many requests": Failure(429, "TooManyRequests", WORDS, retry_after=2.0),
    "an error of its own": Failure(500, "InternalError", WORDS),
    "that it is overloaded": Failure(503, "ServiceUnavailable", WORDS),
    "an answer that was cut": Failure(0, "ClientPayloadError", WORDS),
}
DEFINITE = {name for name, failure in REFUSALS.items() if failure.definite}
TWO_ROUTES = changed(PLAN, {"traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in ("shop", "api")]})
ADDING = {"expand": {"jobs": [job("columns", deadline="10m")], "scale": {"new": 3}}}
SOON = changed(ADDING, {"expand.jobs[0].deadline": "1m"})


def at_its_end() -> Situation:
    """At the canary, ten seconds before the next weight."""

    def make() -> World:
        world = judging()()
        world.advance(s(80))
        assert world.phase is P.JUDGING and world.weights()[0]["v2"] == 5
        return world

    return kept(make)


def going_back(changes: Mapping[str, Any] | None = None) -> Situation:
    """At the canary; a guard trips a moment later."""

    def given() -> World:
        world = judging(changes)()
        world.says["errors"] = 0.2
        return world

    return given


MOMENTS: Mapping[str, Situation] = {
    "before the first weight": World,
    "during the run": at_its_end(),
    "on the way back": going_back(),
}
WRITES: Mapping[str, str] = {"a status": "record", "a route": "route", "the marks of the plan": "mark"}


def told(world: World) -> Condition | None:
    return world.status.condition("RequestsAccepted")


def lives(world: World, by: timedelta) -> None:
    """Let time pass, and see that nothing is done without a pause: so much at most within any second."""
    end, second, before = world.now + by, world.now, len(world.done)
    world.settle()
    while (at := world.next()) is not None and at <= end:
        if at >= second + s(1):
            second, before = at, len(world.done)
        world.now = at
        world.settle()
        assert len(world.done) - before < 30, "it tries without a pause"
    world.now = end


def in_order(world: World) -> None:
    """Every decision is published, once, in order."""
    world.settle()
    assert world.published == sorted(world.trail), f"{world.published} of {sorted(world.trail)}"


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_refused_is_told_and_done_when_it_is_mended(moment: str, write: str, refusal: str) -> None:
    world = MOMENTS[moment]()
    before = world.weights()
    world.refuses = {WRITES[write]: REFUSALS[refusal]}
    lives(world, m(1))
    ended = world.status.reason == "ShiftRefused"
    if write == "a status":
        assert WORDS in world.notices[0].note, "a status that cannot be written is told by a notice"
        assert len({notice.note for notice in world.notices}) == 1
    elif ended or world.told().count("RequestRefused"):
        assert WORDS in world.status.message
        assert world.told().count("RequestRefused") <= 1, "one Event"
        if not ended:
            condition = told(world)
            assert condition is not None and (condition.status, WORDS in condition.message) == ("False", True)
    else:
        assert write == "the marks of the plan" and moment != "before the first weight", "nothing had to be written"
    if moment == "on the way back":
        assert world.phase in (P.JUDGING, P.ROLLING_BACK, P.ROLLED_BACK)
        assert (world.weights()[0] == OLD_WEIGHTS) is (write != "a route"), "the weights wait for nothing else"
    elif write == "a route":
        assert world.weights() == before

    world.refuses = {}
    if ended:
        world.say("retry r1")
    lives(world, s(20))
    assert told(world) is None or moment == "during the run", "what is mended is no longer told"
    if moment == "on the way back":
        assert (world.phase, world.weights()[0]) == (P.ROLLED_BACK, OLD_WEIGHTS)
        assert "RolledBack" in world.told()
    elif moment == "before the first weight":
        assert world.until(P.JUDGING).weights()[0]["v2"] == 5
    else:
        world.until(P.JUDGING, P.ROLLED_BACK, stage=None)
    in_order(world)


@pytest.mark.parametrize("refusal", sorted(DEFINITE))
@pytest.mark.parametrize("write", ["route", "mark"])
def test_a_first_weight_that_is_refused_ends_the_run_and_nothing_goes_back(write: str, refusal: str) -> None:
    world = World(refuses={write: REFUSALS[refusal]})
    world.advance(s(5))
    assert (world.phase, world.status.reason, world.weights()[0]) == (P.ROLLED_BACK, "ShiftRefused", OLD_WEIGHTS)
    assert "RollbackStarted" not in world.told()
    assert "RequestRefused" not in world.told(), "its end says it"
    assert WORDS in world.status.message and "retry" in world.status.message
    stalled = world.status.condition("Stalled")
    assert stalled is not None and stalled.status == "True"


@pytest.mark.parametrize("refusal", sorted(REFUSALS.keys() - DEFINITE))
def test_what_may_pass_by_itself_is_told_only_where_it_lasts(refusal: str) -> None:
    world = World(refuses={"route": REFUSALS[refusal]})
    world.advance(s(8))
    assert (world.phase, told(world), world.told().count("RequestRefused")) == (P.SHIFTING, None, 0)
    world.advance(s(6))
    assert world.told().count("RequestRefused") == 1
    world.refuses = {}
    world.until(P.JUDGING)
    assert told(world) is None


def test_a_first_weight_that_may_have_been_written_goes_back_and_is_not_only_ended() -> None:
    """What comes late must find a newer token on the route."""
    world = World(refuses={"route": REFUSALS["an answer that was cut"]})
    world.advance(s(3))
    world.refuses = {"route": REFUSALS["RBAC"]}
    world.advance(m(3))
    assert world.phase is P.SHIFTING
    world.refuses = {}
    world.until(P.JUDGING)


def test_one_of_two_routes_that_is_refused_leaves_no_half_moved_run_behind() -> None:
    world = World(spec=TWO_ROUTES, refuses={"route api": REFUSALS["RBAC"]})
    world.until(P.ROLLING_BACK, limit=m(7))
    assert world.weights("shop")[0]["v2"] == 0, "what had moved goes back at once"
    world.refuses = {}
    world.until(P.ROLLED_BACK, limit=m(1))
    assert world.told()[-1] == BACK[-1]
    assert {name: world.weights(name)[0]["v2"] for name in world.routes} == {"shop": 0, "api": 0}


def test_a_first_weight_that_only_a_person_has_put_back_was_moved() -> None:
    world = World(spec=TWO_ROUTES, refuses={"route api": REFUSALS["RBAC"]})
    world.advance(s(2))
    world.drift(OLD_WEIGHTS, "shop")
    world.advance(m(1))
    assert (world.phase, "ShiftRefused" in world.told()) == (P.SHIFTING, False)
    world.refuses = {}
    world.until(P.JUDGING)


def test_one_route_of_which_nobody_knows_is_enough_to_go_back() -> None:
    refuses = {"route shop": REFUSALS["RBAC"], "route api": REFUSALS["an answer that was cut"]}
    world = World(spec=TWO_ROUTES, refuses=refuses)
    world.advance(m(1))
    assert (world.phase, "ShiftRefused" in world.told()) == (P.SHIFTING, False)


@pytest.mark.parametrize("point", ["job", "scale"])
def test_what_is_refused_of_a_task_is_over_when_its_run_is(point: str) -> None:
    world = fresh(ADDING, refuses={point: REFUSALS["an answer that was cut"]})()
    world.advance(s(20))
    assert told(world) is not None
    world.say("abort a1")
    world.settle()
    assert (world.phase, told(world)) == (P.ROLLED_BACK, None)


@pytest.mark.parametrize("point", ["job", "scale"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_task_that_is_refused_is_told_and_done_when_it_is_mended(point: str, refusal: str) -> None:
    world = fresh(ADDING)()
    world.refuses = {point: REFUSALS[refusal]}
    lives(world, m(1))
    condition = told(world)
    assert condition is not None and WORDS in condition.message
    assert world.told().count("RequestRefused") == 1
    assert world.phase is P.EXPANDING
    world.refuses = {}
    world.until(P.JUDGING)
    assert told(world) is None
    assert [each.name for each in world.made] == [named("columns")], "made once"
    in_order(world)


@pytest.mark.parametrize("point", ["job", "scale"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_task_that_is_refused_until_its_deadline_ends_the_run(point: str, refusal: str) -> None:
    world = fresh(SOON)()
    world.refuses = {point: REFUSALS[refusal]}
    world.until(P.ROLLED_BACK, limit=m(7))
    assert (world.status.reason, WORDS in world.status.message) == ("ExpandFailed", True), world.status.message


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_cannot_be_looked_up_before_a_run_is_told(refusal: str) -> None:
    world = World(refuses={"inspect": REFUSALS[refusal]})
    lives(world, m(1))
    condition = told(world)
    assert condition is not None and WORDS in condition.message and WORDS in world.status.message
    assert world.phase is P.PENDING
    world.refuses = {}
    world.until(P.JUDGING)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_new_side_that_cannot_be_looked_at_is_not_waited_for_for_ever(refusal: str) -> None:
    world = expanding()
    world.refuses = {"inspect": REFUSALS[refusal]}
    world.crash()
    world.until(P.ROLLED_BACK, limit=m(6))
    assert (world.status.reason, WORDS in world.status.message) == ("NewSideNotReady", True), world.status.message


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_event_that_is_refused_is_a_condition_and_keeps_nothing_back(refusal: str) -> None:
    world = World(refuses={"publish": REFUSALS[refusal]})
    world.until(P.JUDGING)
    world.advance(m(2))
    for_what_it_says = REFUSALS[refusal].status in (400, 413, 422)
    condition = told(world)
    assert condition is not None and WORDS in condition.message
    assert "RequestRefused" not in world.told(), "what cannot be told is not told by another Event"
    world.refuses = {}
    world.until(P.JUDGING, stage="half").advance(s(20))
    assert told(world) is None
    if not for_what_it_says:
        in_order(world)


def test_the_same_refusal_is_told_once_whoever_leads() -> None:
    world = going_back()()
    world.refuses = {"route": REFUSALS["RBAC"]}
    world.advance(m(1))
    world.crash()
    world.advance(m(1))
    assert world.told().count("RequestRefused") == 1
    assert "kubectl" in world.status.message, "how to do it by hand"


def test_what_is_told_on_the_way_back_writes_no_route_anew_that_is_right() -> None:
    world = two_routes()
    world.says["errors"] = 0.2
    world.refuses = {"route api": REFUSALS["RBAC"]}
    world.until(P.ROLLING_BACK)
    written = world.routes["shop"]["metadata"]["resourceVersion"]
    world.advance(s(30))
    assert world.told()[-1] == "RequestRefused"
    assert world.routes["shop"]["metadata"]["resourceVersion"] == written
    world.refuses = {}
    world.until(P.ROLLED_BACK, limit=m(1))


def test_another_refusal_of_the_same_write_is_told_too() -> None:
    world = going_back()()
    for refusal in ("RBAC", "a validation"):
        world.refuses = {"route": REFUSALS[refusal]}
        world.advance(m(1))
    assert world.told().count("RequestRefused") == 2


def test_a_rollback_is_tried_every_second_however_definite_the_refusal() -> None:
    world = going_back()()
    world.refuses = {"route": REFUSALS["RBAC"]}
    world.advance(m(2))
    world.refuses = {}
    world.advance(s(1))
    assert world.weights()[0] == OLD_WEIGHTS


def test_what_others_change_under_our_hands_again_and_again_is_tried_with_a_pause() -> None:
    world = World()
    world.advance(s(0))

    def changes(world: World) -> None:
        world.version += 1
        world.traps["record"] = changes

    world = judging()()
    world.says["errors"] = 0.2
    world.traps["record"] = changes
    lives(world, m(1))
    assert world.weights()[0] == OLD_WEIGHTS
