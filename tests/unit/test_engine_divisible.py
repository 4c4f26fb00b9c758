"""What a kind of route cannot divide is refused before any weight moves, and said with what it can."""

from __future__ import annotations

from typing import Any, Final

import pytest

from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import EndpointsView
from tests.situations import HALF, UP, Case, edit, fresh, judging, m, run, s, says, settle, then, wait
from tests.world import Deployment, World, http_route

P = Phase
PERCENT: Final = WeightRules(sum=100)
"""As in a VirtualServer of NGINX, or a Knative Service."""
ALB: Final = WeightRules(missing=1, max=999)
OPENSHIFT: Final = WeightRules(missing=100, max=256, per_endpoint=True)
KONG: Final = WeightRules(missing=1, max=65_535, scale=10_000, per_endpoint=True)


def kind(rules: WeightRules, *weights: int, **world: Any) -> dict[str, Any]:
    """A world whose route is of this kind, with these weights of both sides and of another backend."""
    backends = dict(zip(("v1", "v2", "legacy"), weights or (100, 0), strict=False))
    return {"another": {"weights": rules}, "routes": {"shop": http_route("shop", [backends])}, **world}


def ready(pods: int, name: str) -> EndpointsView:
    return EndpointsView(((name, pods),))


FINE: Final = {"stages[0].weight": "2.5%"}
CASES = [
    Case("a share between two steps is refused, with the steps next to it", fresh(FINE, **kind(PERCENT)), settle,
         P.INVALID, "WeightTooFine", ["Stalled"], "its weights cannot give v2 the 2.5% of stage canary: they are whole "
         "numbers that add up to 100, so the finest step is 1%; write 2% or 3%", {"v1": 100, "v2": 0}),
    Case("of any stage", fresh({"stages[1].weight": "50.5%"}, **kind(PERCENT)), settle, P.INVALID, "WeightTooFine",
         ["Stalled"], "write 50% or 51%"),
    Case("what other backends have is part of the sum", fresh(**kind(PERCENT, 85, 0, 15)), settle, P.INVALID,
         "WeightTooFine", ["Stalled"], "add up to 100, of which other backends have 15, so the finest step is 1.2%; "
         "write 4.7% or 5.9%"),
    Case("and is left alone where the shares fit", judging({"stages[0].weight": "5%"}, **kind(PERCENT, 60, 0, 40)),
         wait(s(1)), P.JUDGING, "", None, "", {"v1": 57, "v2": 3, "legacy": 40}),
    Case("hundredths are fine enough", judging(FINE, **kind(WeightRules(sum=100, units=100), 10_000, 0)), wait(s(1)),
         P.JUDGING, "", None, "", {"v1": 9_750, "v2": 250}),
    Case("weights that do not add up are refused as they are", fresh(**kind(PERCENT, 90, 0)), settle, P.INVALID,
         "WeightsWrongSum", ["Stalled"], "its weights add up to 90, and must to 100: correct them"),
    Case("a weight above the largest is, too", fresh(**kind(ALB, 1_000, 0)), settle, P.INVALID, "WeightsTooLarge",
         ["Stalled"], "v1 has a weight above 999: write smaller ones with the same shares"),
    Case("weights that divide evenly because they are all 0 are said to",
         fresh(**kind(WeightRules(all_zero="Even"), 0, 0)), settle, P.INVALID, "NoTrafficToShift", ["Stalled"],
         "both have weight 0, which divides the traffic evenly; give v1 the traffic first"),
    Case("no number is above the largest of the kind", judging({"stages[0].weight": "33.3%"}, **kind(ALB, 3, 0)),
         wait(s(1)), P.JUDGING, "", None, "", {"v1": 667, "v2": 333}),
    Case("nor where another backend keeps its share", judging({"stages[0].weight": "33.3%"}, **kind(ALB, 90, 0, 10)),
         wait(s(1)), P.JUDGING, "", None, "", {"v1": 6, "v2": 3, "legacy": 1}),
    Case("where that one is too large, it is named", fresh(**kind(ALB, 1, 0, 998)), settle, P.INVALID,
         "WeightsTooLarge", ["Stalled"], "another backend has 998: lower that one, or write 100%"),
    Case("weights that few pods share are too coarse for a small share",
         fresh({"stages[0].weight": "1%"}, **kind(OPENSHIFT), old=Deployment("v1", 1, 1), new=Deployment("v2", 10, 10)),
         settle, P.INVALID, "WeightTooFine", ["Stalled"],
         "whole numbers up to 256 divided among 1 pods of the old and 10 of the new side, so the finest step is 3.8%"),
    Case("as many pods as the plan gives the new side count", fresh(
         {"stages[0].weight": "1%", "expand": {"scale": {"new": 10}}}, **kind(OPENSHIFT), old=Deployment("v1", 1, 1),
         new=Deployment("v2", 1, 1)), settle, P.INVALID, "WeightTooFine", ["Stalled"], "10 of the new side"),
    Case("and those that are ready, where the pods are not known to the Deployment", fresh(
         {"stages[0].weight": "1%"}, **kind(OPENSHIFT), served={"v1": ready(1, "v1"), "v2": ready(10, "v2")}),
         settle, P.INVALID, "WeightTooFine", ["Stalled"], "among 1 pods of the old and 10 of the new side"),
    Case("enough of them hold a share", judging(**kind(OPENSHIFT)), wait(s(1)), P.JUDGING, "", None, "", UP),
    Case("where a kind is fine with a large total, it gets one", judging(**kind(KONG)), wait(s(1)), P.JUDGING, "", None,
         "", {"v1": 9_500, "v2": 500}),
    Case("an edit that it cannot hold waits at the gate", judging(stage="half", **kind(PERCENT)),
         then(edit({"stages[2].weights": ["75.5%", "100%"], "stages[2].weight": None}), wait(m(10))), P.HELD, "Invalid",
         ["Adapted", "StageProved", "Held"], "cannot give v2 the 75.5% of stage all-w75-5", HALF),
    Case("and goes on once it can", judging(stage="half", **kind(PERCENT)),
         then(edit({"stages[2].weights": ["75.5%", "100%"], "stages[2].weight": None}), wait(m(10)),
              edit({"stages[2].weights": ["75%", "100%"]}), settle), P.JUDGING, "",
         None, "", {"v1": 25, "v2": 75}),
    Case("half way to a weight, the nearest one will do",
         judging({"stages[0].warn": [{"name": "slow", "query": "slow", "is": "> 300"}]}, **kind(PERCENT)),
         then(says(slow=512.0), wait(m(2))), P.JUDGING, "", None, "28% of the traffic is on v2", {"v1": 72, "v2": 28}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_a_kind_that_divides_in_its_own_way(case: Case) -> None:
    run(case)


def test_weights_are_said_in_the_numbers_of_the_route() -> None:
    """Where a kind counts in hundredths, 95 is 9,500 for us, and nobody else."""
    world = World(**kind(WeightRules(sum=100, units=100), 10_000, 0)).until(P.JUDGING)
    world.drift({"v1": 10_000, "v2": 0})
    world.settle()
    assert "HTTPRoute shop rule 0 has weights 100/0, not 95/5" in world.status.message


def test_the_way_back_is_to_the_numbers_of_before_the_run() -> None:
    world = World(**kind(ALB, 90, 0, 10)).until(P.JUDGING, stage="half")
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == {"v1": 90, "v2": 0, "legacy": 10}
