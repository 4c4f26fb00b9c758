"""A plan that a missing right holds up is Stalled with the reason Forbidden, until the right is there."""

import pytest

from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.effects import Failure
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.snapshot import EndpointsView, RouterProblem
from tests.situations import OLD_WEIGHTS, Situation, fresh, job, judging, m, s
from tests.world import SHOP, World

RIGHT = MissingRight('the operator may not patch things.example.com "shop" in namespace shop: give its account that')
LACKS = Failure(403, "Forbidden", RIGHT)
DENIED = Failure(403, "Forbidden", 'admission webhook "policy" denied the request')
ADDING = {"expand": {"jobs": [job("columns", deadline="10m")], "scale": {"new": 3}}}


def stalled(world: World) -> tuple[str, str]:
    found = world.status.condition("Stalled")
    return (found.reason, found.message) if found is not None and found.status == "True" else ("", "")


def conditions(world: World) -> set[str]:
    return {each.type for each in world.status.conditions if each.status == "True"}


@pytest.mark.parametrize(
    ("situation", "point"),
    [(World, "inspect"), (fresh(ADDING), "job"), (fresh(ADDING), "scale"), (judging(), "route")],
)
def test_what_a_plan_needs_and_the_operator_may_not_do_stalls_it(situation: Situation, point: str) -> None:
    world = situation()
    world.refuses = {point: LACKS}
    if point == "route":
        world.says["errors"] = 0.2
    world.advance(m(1))
    reason, message = stalled(world)
    assert (reason, RIGHT in message) == ("Forbidden", True), message
    assert "Reconciling" not in conditions(world)
    assert "403" not in world.status.message, "the right says all"
    if point == "route":
        assert world.status.revert in message, "how to put the weights back by hand"
    world.refuses = {}
    world.advance(s(11))
    assert stalled(world)[0] != "Forbidden", "the right is there"


def test_a_first_weight_that_may_not_be_written_ends_the_run_with_the_right_that_is_missing() -> None:
    world = World(refuses={"route": LACKS})
    world.advance(s(5))
    assert (world.phase, world.status.reason, world.weights()[0]) == (Phase.ROLLED_BACK, "Forbidden", OLD_WEIGHTS)
    assert stalled(world)[0] == "Forbidden" and RIGHT in stalled(world)[1]


def test_what_is_refused_for_another_reason_is_no_missing_right() -> None:
    world = World(refuses={"inspect": DENIED})
    world.advance(m(1))
    assert stalled(world) == ("", "")


def test_an_event_that_may_not_be_written_holds_nothing_up_and_hides_nothing_that_does() -> None:
    world = World(refuses={"publish": LACKS})
    world.until(Phase.JUDGING).advance(m(1))
    assert stalled(world) == ("", "")
    world.refuses = {"publish": LACKS, "route": LACKS}
    world.says["errors"] = 0.2
    world.advance(m(1))
    told = world.status.condition("RequestsAccepted")
    assert told is not None and told.message.startswith("HTTPRoute shop: ")
    assert stalled(world)[0] == "Forbidden"


def test_a_message_of_a_refusal_ends_with_it_while_events_are_refused() -> None:
    world = judging()()
    before = world.status.message
    world.refuses = {"publish": LACKS, "mark": LACKS}
    world.undo_annotation = ""
    world.advance(s(30))
    assert stalled(world)[0] == "Forbidden"
    world.refuses = {"publish": LACKS}
    world.advance(s(20))
    told = world.status.condition("RequestsAccepted")
    assert (world.status.message, stalled(world)) == (before, ("", ""))
    assert told is not None and told.message.startswith("publication to events: ")
    written = len(world.history)
    world.advance(s(20))
    assert len(world.history) == written, "it says so once"


@pytest.mark.parametrize("situation", [fresh(ADDING), judging()], ids=["before a weight", "judging"])
def test_a_route_that_the_next_operator_may_not_read_stalls_its_run(situation: Situation) -> None:
    world = situation()
    world.advance(s(1))
    kept = world.routes
    world.routers = {"HTTPRoute": RouterProblem(StatusReason.FORBIDDEN, RIGHT)}
    world.unread_routes = {SHOP: RIGHT}
    world.advance(s(11))
    assert stalled(world)[0] == "Forbidden" and RIGHT in stalled(world)[1]
    world.routers, world.unread_routes, world.routes = {}, {}, kept
    world.advance(s(11))
    assert stalled(world) == ("", "")


@pytest.mark.parametrize("why", [RIGHT, "the API server does not tell them"])
def test_endpoints_that_may_not_be_read_stall_a_plan_and_those_that_are_not_told_do_not(why: str) -> None:
    world = World()
    world.served = {"v1": EndpointsView(unknown=why)}
    world.advance(s(30))
    lacks = isinstance(why, MissingRight)
    assert (world.phase, world.status.reason) == (Phase.INVALID, "Forbidden" if lacks else "EndpointsUnknown")
    world.served = {}
    world.until(Phase.JUDGING)
    world.served = {"v1": EndpointsView(unknown=why)}
    world.advance(m(4))
    assert world.status.held_for == HoldReason.ENDPOINTS_UNKNOWN
    assert stalled(world)[0] == ("Forbidden" if lacks else "")
    world.served = {}
    world.advance(s(30))
    assert stalled(world) == ("", "")


@pytest.mark.parametrize(("why", "reason"), [(RIGHT, "Forbidden"), ("its name is too long", "RouteNotOwned")])
def test_a_route_that_the_operator_may_not_make_stalls_its_plans(why: str, reason: str) -> None:
    world = World(route_notes={SHOP: why})
    world.advance(s(10))
    assert (world.phase, world.status.reason, stalled(world)[0]) == (Phase.INVALID, reason, reason)
    world.route_notes = {}
    world.until(Phase.JUDGING)


@pytest.mark.parametrize(("why", "reason"), [(RIGHT, "Forbidden"), ("they cannot be listed", "OldSideInUse")])
def test_a_removal_waits_for_the_right_to_see_what_uses_the_old_side(why: str, reason: str) -> None:
    world = fresh({"contract": {"scaleOld": 0}})()
    world.users_unknown = why
    world.until(Phase.HELD, limit=m(60))
    assert (world.status.held_for, stalled(world)[0], why in stalled(world)[1]) == ("OldSideInUse", reason, True)
    world.users_unknown = ""
    world.until(Phase.SUCCEEDED)
    assert stalled(world) == ("", "")


@pytest.mark.parametrize(("end", "ready"), [(Phase.SUCCEEDED, "True"), (Phase.ROLLED_BACK, "False")])
def test_what_may_not_be_tidied_up_after_a_run_changes_nothing_of_how_it_ended(end: Phase, ready: str) -> None:
    world = judging()()
    world.refuses = {"mark": LACKS}
    world.says["errors"] = 0.2 if end is Phase.ROLLED_BACK else 0.0
    world.until(end).advance(m(1))
    told = world.status.condition("RequestsAccepted")
    assert told is not None and RIGHT in told.message
    found = world.status.condition("Ready")
    assert found is not None and (found.status, found.reason) == (ready, world.status.reason)
    assert stalled(world)[0] == ("GuardTripped" if end is Phase.ROLLED_BACK else "")
