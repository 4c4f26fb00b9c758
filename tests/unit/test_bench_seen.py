"""The outside observer of the soak: it finds each sort of broken promise, and nothing where all was kept."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.bench.seen import SEEN_WITHIN, Plan, Service, green_over_an_outage, route_version, sent_to_nobody, unheld

Raw = dict[str, Any]
LONG = SEEN_WITHIN + 10
OLD, HALF, ALL = (100, 0), (50, 50), (0, 100)


def route(version: int, weights: tuple[int, int], fence: str = "") -> Raw:
    backends = [{"name": f"v{i}", "weight": weight} for i, weight in enumerate(weights, 1)]
    meta = {"resourceVersion": str(version), "annotations": {"rolloutplan.dev/seq": fence}}
    return {"metadata": meta, "spec": {"rules": [{"backendRefs": backends}]}}


def held(weights: tuple[int, int]) -> Raw:
    backends = [{"service": f"v{i}", "weight": weight} for i, weight in enumerate(weights, 1)]
    return {"name": "shop", "rules": [{"index": 0, "backends": backends}]}


def plan(version: int, phase: str = "Judging", **status: Any) -> Raw:
    weights = {"old": "v1", "new": "v2", "snapshot": [held(OLD)], "written": [held(HALF)]}
    said = {"phase": phase, "waitingFor": "the soak", "weights": weights, **status}
    spec = {"guards": [{"name": "errors"}]}
    return {"metadata": {"resourceVersion": str(version)}, "spec": spec, "status": said}


def lived(*versions: Raw, seen: float = 0.0) -> Plan:
    found = Plan(("ns", "checkout"), ["shop"])
    for raw in versions:
        found.take(raw, seen)
    return found


def endpoints(*ready: tuple[int, float, int]) -> Service:
    """Of one slice: version, when it was seen, ready endpoints."""
    service = Service()
    for version, seen, number in ready:
        each = [{"conditions": {"ready": True}}] * number + [{"conditions": {"ready": False}}]
        service.take("MODIFIED", {"metadata": {"name": "a", "resourceVersion": str(version)}, "endpoints": each}, seen)
    return service


def routes(*versions: tuple[int, float, tuple[int, int], str]) -> list[Any]:
    return [route_version(route(version, weights, fence), seen) for version, seen, weights, fence in versions]


UP, DOWN = endpoints((1, 0, 2)), endpoints((1, 0, 2), (2, 0, 0))


@pytest.mark.parametrize(
    ("moved", "new", "old", "broken"),
    [
        (routes((3, 0, OLD, "1"), (9, LONG, HALF, "2")), UP, UP, False),
        (routes((3, 0, OLD, "1"), (9, LONG, HALF, "2")), DOWN, UP, True),
        (routes((3, 0, OLD, "1"), (9, LONG, HALF, "2")), UP, DOWN, False),
        (routes((3, 0, HALF, "1"), (9, LONG, OLD, "2")), UP, DOWN, True),
        (routes((3, 0, HALF, "1"), (9, LONG, OLD, "2")), DOWN, DOWN, False),
        (routes((3, 0, HALF, "1"), (9, SEEN_WITHIN - 1, OLD, "2")), UP, DOWN, False),
        (routes((3, 0, HALF, "1"), (9, LONG, OLD, "1")), UP, DOWN, False),
    ],
    ids=[
        "both answer",
        "to a new side without endpoints",
        "to the only one that answers",
        "back to an old side without endpoints",
        "nobody answers on either",
        "it could not be known yet",
        "another moved them",
    ],
)
def test_weight_for_nobody(moved: list[Any], new: Service, old: Service, broken: bool) -> None:
    services = {("ns", "v1"): old, ("ns", "v2"): new}
    assert bool(list(sent_to_nobody(lived(plan(5)), "shop", moved, services))) is broken


@pytest.mark.parametrize(
    ("moved", "broken"),
    [
        (routes((3, 0, OLD, "1"), (9, 0, HALF, "2")), False),
        (routes((3, 0, OLD, "1"), (9, 0, ALL, "2")), True),
        (routes((3, 0, HALF, "1"), (9, 0, OLD, "1")), False),
        (routes((3, 0, OLD, "1"), (9, 0, (70, 30), "1")), True),
    ],
    ids=["as it is written in the plan", "never stated", "Git puts back what was", "another's half measures"],
)
def test_weights_that_no_plan_holds(moved: list[Any], broken: bool) -> None:
    assert bool(list(unheld(lived(plan(5)), "shop", moved))) is broken


@pytest.mark.parametrize(
    ("stood", "new", "broken"),
    [
        (routes((3, 0, ALL, "1")), UP, ""),
        (routes((3, 0, ALL, "1")), DOWN, "no endpoint"),
        (routes((3, 0, HALF, "1")), UP, "held"),
        (routes((3, 0, ALL, "1"), (8, LONG - 1, OLD, "1")), UP, "held"),
        (routes((3, 0, OLD, "1"), (6, LONG - 2, ALL, "1"), (8, LONG - 1, OLD, "1")), UP, ""),
    ],
    ids=["as it says", "nobody there", "half of it", "moved away", "moved away just now"],
)
def test_success_over_an_outage(stood: list[Any], new: Service, broken: str) -> None:
    found = lived(plan(5), seen=0)
    found.take(plan(9, "Succeeded"), LONG)
    (words,) = list(green_over_an_outage(found, "shop", stood, {("ns", "v2"): new})) or [""]
    assert (broken in words) and bool(broken) is bool(words)


STAGE = {"judgedSince": "2026-03-01T12:00:00Z"}
PROVED = {"seq": 1, "run": 1, "reason": "StageProved", "stage": "half", "at": "2026-03-01T12:10:00Z"}


@pytest.mark.parametrize(
    ("verdict", "broken"),
    [
        ({"verdict": "Clear"}, False),
        ({"verdict": "Undecided", "decidedAt": "2026-03-01T12:05:00Z"}, False),
        ({"verdict": "Undecided", "decidedAt": "2026-03-01T11:59:00Z"}, True),
        ({"verdict": "Undecided"}, True),
    ],
)
def test_a_stage_proved_beside_a_guard_without_a_verdict(verdict: Raw, broken: bool) -> None:
    judged: Raw = {"stage": STAGE, "predicates": [{"name": "errors", **verdict}]}
    found = lived(plan(5, **judged), plan(6, "Shifting", **judged, decisions=[PROVED]))
    assert bool(found.undecided) is broken
    assert [(each.judged_since, each.at) for each in found.proved] == [(STAGE["judgedSince"], PROVED["at"])]


READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("versions", "broken"),
    [
        ([plan(5), plan(6, "Succeeded", waitingFor="", conditions=READY)], 0),
        ([plan(5, waitingFor="")], 1),
        ([plan(5, conditions=READY)], 1),
        ([plan(5, "Held", waitingFor="", conditions=READY)], 2),
    ],
)
def test_waits_without_a_word_and_ready_before_the_end(versions: Iterable[Raw], broken: int) -> None:
    assert len(lived(*versions).wordless) == broken


def decision(seq: int, reason: str, **more: Any) -> Raw:
    return {"seq": seq, "run": 1, "reason": reason, "at": "2026-03-01T12:00:00Z", **more}


@pytest.mark.parametrize(
    ("decisions", "broken"),
    [
        ([decision(1, "Started"), decision(2, "StageStarted")], ""),
        ([decision(1, "Started"), decision(3, "StageStarted")], "follows 1"),
        ([decision(1, "RollbackStarted"), decision(2, "WeightShifted")], "comes after"),
        ([decision(1, "RollbackStarted"), decision(2, "Held"), decision(3, "WeightShifted")], ""),
    ],
)
def test_records_that_contradict_themselves(decisions: list[Raw], broken: str) -> None:
    found = lived(plan(5, decisions=decisions)).broken
    assert bool(found) is bool(broken) and all(broken in words for words in found)
