"""Where no gateway reports which weights it follows, a weight takes its time, and only the measured share proves it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from rolloutplan.api.status import Phase
from tests.refusals import changed
from tests.situations import ALL, OLD_WEIGHTS, UP, Case, fresh, m, run, s, settle, then, wait
from tests.world import PLAN, START, World, http_route

P = Phase
SILENT: Final = {"settle": s(20), "accepted": True}
"""A kind of which nothing is reported, as a VirtualService: it counts as accepted once it is written."""
EVENTS: Final = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
WORSE: Final = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
COUNTED: Final = {"guards": [*PLAN["guards"], WORSE]}
ENDED: Final = (P.SUCCEEDED, P.ROLLED_BACK, P.HELD)


def silent(changes: dict[str, Any] | None = None, **world: Any) -> World:
    spec = changed(PLAN, {**COUNTED, **(changes or {})})
    return World(spec=spec, another=SILENT, **world)


def serve(world: World, lasts: timedelta, *, follows_until: float = 1) -> World:
    """Requests come, 100 a second, and go where the weights say; above a share the gateway follows no more."""
    end, served = world.now + lasts, None
    while world.now < end and world.phase not in ENDED:
        weights = world.weights()[0]
        new = weights["v2"] / (weights["v1"] + weights["v2"])
        if new != served and new <= follows_until:
            served = new
            world.counts("worse", new=(0, 100 * new), old=(0, 100 * (1 - new)))
        world.advance(s(5))
    return world


def test_a_weight_counts_as_in_force_when_its_time_is_over() -> None:
    world = silent().until(P.SHIFTING)
    world.settle()
    assert world.weights()[0] == UP
    written = world.now
    world.advance(s(19))
    assert world.phase is P.SHIFTING
    world.until(P.JUDGING)
    assert world.now == written + s(20)
    assert "nothing reports that HTTPRoute shop is followed, so the measured share must prove" in world.status.message


def test_a_settling_time_above_the_time_for_acceptance_is_no_refusal() -> None:
    world = silent({"traffic.acceptedWithin": "5s"}).until(P.JUDGING)
    assert "RollbackStarted" not in world.told()


def test_what_is_refused_goes_back_all_the_same() -> None:
    world = silent().until(P.SHIFTING)
    world.another = {"settle": s(20), "accepted": False, "accepted_why": "Invalid: no such upstream"}
    world.until(P.ROLLING_BACK)
    assert (world.status.reason, world.weights()[0]) == ("WeightNotAccepted", OLD_WEIGHTS)


def test_a_new_leader_waits_again() -> None:
    world = silent().until(P.SHIFTING)
    world.advance(s(15))
    world.crash()
    again = world.now
    world.until(P.JUDGING)
    assert world.now >= again + s(20)


def test_a_run_ends_well_when_the_traffic_follows_to_the_last_weight() -> None:
    world = serve(silent(), m(60))
    assert (world.phase, world.weights()[0], world.status.weights.measured) == (P.SUCCEEDED, ALL, "100.0%")
    condition = world.status.condition("WeightsVerified")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "Measured")


@pytest.mark.parametrize(("follows_until", "stage"), [(0, "canary"), (0.05, "half"), (0.5, "all")])
def test_a_gateway_that_is_dead_holds_the_run(follows_until: float, stage: str) -> None:
    """Whenever it dies, at 100% too: no run ends green while its traffic is elsewhere."""
    world = serve(silent(), m(20), follows_until=follows_until)
    assert (world.phase, world.status.reason) == (P.HELD, "WeightNotEffective")
    assert world.status.stage is not None
    assert world.status.stage.name == stage
    assert "check whether the gateway follows HTTPRoute shop" in world.status.message


def test_without_enough_requests_the_last_stage_stays_unproved() -> None:
    """At 50% it was proved; at 100% so few come that a gateway that does not follow could look the same."""
    world = silent()
    while world.status.stage is None or world.status.stage.name != "all":
        serve(world, s(30))
    world.counts("worse", new=(0, 0.2), old=(0, 0))
    world.advance(m(11))
    assert (world.phase, world.status.reason) == (P.HELD, "Undecided")
    assert "it is not proved that the traffic follows HTTPRoute shop" in world.status.message
    world.counts("worse", new=(0, 100), old=(0, 0))
    world.until(P.SUCCEEDED)


def test_with_share_ignore_nothing_is_proved_and_that_is_said() -> None:
    world = World(spec=changed(PLAN, {"traffic.share": "Ignore"}), another=SILENT).until(P.SUCCEEDED)
    condition = world.status.condition("RouteWarnings")
    assert condition is not None
    assert condition.reason == "NotReported"
    assert "nothing proves that the traffic follows (traffic.share: Ignore)" in condition.message
    verified = world.status.condition("WeightsVerified")
    assert verified is not None
    assert verified.status == "Unknown"


def test_a_rollback_says_that_nothing_reports_it() -> None:
    world = silent().until(P.JUDGING)
    world.say("abort a1")
    world.settle()
    back = world.now
    assert (world.phase, world.weights()[0]) == (P.ROLLING_BACK, OLD_WEIGHTS)
    world.until(P.ROLLED_BACK)
    assert world.now == back + s(20)
    assert "check that v2 gets no more requests" in world.status.message


def test_an_end_state_that_nothing_reports_is_not_called_accepted() -> None:
    world = World(another=SILENT, routes={"shop": http_route("shop", [ALL])}).until(P.SUCCEEDED)
    assert world.now - START < m(1)
    verified = world.status.condition("WeightsVerified")
    assert verified is not None
    assert verified.status == "Unknown"


NEVER = [
    Case("a plan that counts one side alone could never be proved", fresh(another=SILENT), settle, P.INVALID,
         "ShareNotMeasured", ["Stalled"], "no predicate counts the requests of both sides at the last weight"),
    Case("nor one whose counts have no consequences",
         fresh({"guards": [*PLAN["guards"], {**WORSE, "dryRun": True}]}, another=SILENT), settle, P.INVALID,
         "ShareNotMeasured", ["Stalled"], "add a guard with events and vsOld"),
    Case("nor one that counts at another stage", fresh({"stages[0].fail": [WORSE]}, another=SILENT), settle, P.INVALID,
         "ShareNotMeasured"),
    Case("at the last one it can be", fresh({"stages[2].fail": [WORSE]}, another=SILENT), then(settle, wait(s(1))),
         P.SHIFTING),
    Case("with a control group the guards count to the end",
         fresh({"stages[2].fail": [WORSE], "bake": {"for": "5m", "holdback": "1%"}}, another=SILENT), settle, P.INVALID,
         "ShareNotMeasured"),
]  # fmt: skip


@pytest.mark.parametrize("case", NEVER, ids=lambda case: case.promise)
def test_what_could_never_be_proved_is_refused_before_any_weight_moves(case: Case) -> None:
    world = run(case)
    assert world.weights()[0] in (OLD_WEIGHTS, UP)
