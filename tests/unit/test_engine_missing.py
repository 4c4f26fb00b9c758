"""Pods that the new side lacks in a stage or the bake: which, and why, is told before an increase waits for them."""

from typing import Any

import pytest

from tests.situations import P, Situation, baking, judging, m, s

QUOTA = 'FailedCreate: pods "v2-abc" is forbidden: exceeded quota: small'
PAUSED = "the Deployment is paused: run `kubectl rollout resume deployment v2`"
MORE: dict[str, Any] = {"wanted": 6}
WHYS: dict[str, tuple[dict[str, Any], str]] = {
    "a quota": (MORE | {"hindered": QUOTA}, f"4 of 6 pods of v2 are available: {QUOTA}"),
    "a paused Deployment": (MORE | {"hindered": PAUSED}, f"4 of 6 pods of v2 are available: {PAUSED}"),
    "an image": (MORE | {"worst": "ErrImagePull: no such image"}, "available: ErrImagePull: no such image"),
    "an injected sidecar": (
        MORE | {"worst": "ContainersNotReady: containers with unready status: [istio-proxy] (pod v2-b)"},
        "containers with unready status: [istio-proxy] (pod v2-b)",
    ),
    "no node": (MORE | {"away": "Unschedulable: 0/3 nodes (pod v2-b)"}, "Unschedulable: 0/3 nodes (pod v2-b)"),
    "one that was there": (
        {"ready": 3, "away": "Evicted: disk (pod v2-b)"},
        "3 of 4 pods of v2 are available: Evicted",
    ),
    "an update that cannot go on": (
        {"outdated": 4, "settled": False, "hindered": PAUSED},
        f"4 pods of v2 are of its former template: {PAUSED}",
    ),
}


@pytest.mark.parametrize("given", [judging(), baking], ids=["in a stage", "in the bake"])
@pytest.mark.parametrize("why", WHYS)
def test_why_pods_are_missing_is_in_the_message_within_10_s(why: str, given: Situation) -> None:
    changes, words = WHYS[why]
    world = given()
    before = world.status.message
    world.pods(**changes)
    world.advance(s(10))
    status = world.status
    assert status.phase in (P.JUDGING, P.BAKING)
    assert status.message.startswith(f"{before}; pods are missing: ")
    assert words in status.message
    assert any(words in condition.message for condition in status.conditions if condition.type == "Reconciling")
    world.pods(wanted=4, ready=4, hindered="", worst="", away="", outdated=0, settled=True)
    world.advance(s(10))
    assert world.status.message == before


def test_pods_that_start_within_a_moment_are_not_told() -> None:
    world = judging()()
    before, records = world.status.message, len(world.records)
    world.pods(wanted=6)
    world.advance(s(3))
    world.pods(ready=6)
    world.advance(s(3))
    assert world.status.message == before
    assert len(world.records) == records


def test_what_is_missing_costs_no_write_while_it_stays_the_same() -> None:
    world = judging({"stages[0].soak": "30m", "stages[0].deadline": "1h"})()
    world.pods(wanted=6, hindered=QUOTA)
    world.advance(m(1))
    records = len(world.records)
    world.advance(m(5))
    assert len(world.records) == records


def test_a_decision_does_not_repeat_what_is_missing() -> None:
    world = judging()()
    world.pods(wanted=6, hindered=QUOTA)
    world.until(P.JUDGING, stage="half")
    world.advance(s(10))
    assert QUOTA in world.status.message
    assert world.status.message.count("pods are missing") == 1
    assert not any("pods are missing" in decision.note for decision in world.trail.values())


def test_the_next_leader_tells_it_too() -> None:
    world = judging()()
    world.pods(wanted=6, hindered=QUOTA)
    world.advance(s(10))
    before = world.status.message
    world.crash()
    world.advance(s(10))
    assert world.status.message == before
