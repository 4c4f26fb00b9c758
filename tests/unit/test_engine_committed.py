"""Whether what is applied from Git has the weights of the end: before the old side is removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rolloutplan.api.reasons import EventReason
from rolloutplan.traffic.metadata import LAST_APPLIED
from tests.situations import (
    ALL,
    OLD_WEIGHTS,
    Case,
    P,
    Situation,
    contracting,
    fresh,
    ids,
    m,
    run,
    s,
    say,
    settle,
    then,
    wait,
)
from tests.world import World

ARGO, FLUX, KUBECTL = "argocd-controller", "kustomize-controller", "kubectl"
SCALE = {"contract": {"scaleOld": 0}}
APPROVED = {"contract": {"scaleOld": 0, "approval": "Required"}}
ASKED = ["ContractStarted", "Held"]
GONE_ON = ["Resumed", "Contracted", "Succeeded"]
EXACT = "commit the weights first (HTTPRoute shop rule 0: v1 0, v2 100)"


def applies(weights: dict[str, int], by: str, *, at_client: bool = False) -> Callable[[World], object]:
    return lambda world: world.apply_route(weights, by, at_client=at_client)


def annotated(key: str, value: str) -> Callable[[World], object]:
    return lambda world: world.routes["shop"]["metadata"].setdefault("annotations", {}).update({key: value})


def removing(*before: Callable[[World], object], changes: dict[str, Any] | None = None) -> Situation:
    """All that happened before the run, and its bake is nearly over."""

    def make() -> World:
        world = fresh(changes or SCALE)()
        then(*before)(world)
        world.until(P.BAKING)
        return world

    return make


def until_it_rests(world: World) -> object:
    return world.until(P.HELD, P.SUCCEEDED)


HELD = [
    Case("Argo CD, server-side", removing(applies(OLD_WEIGHTS, ARGO)), until_it_rests, P.HELD, "WeightsNotCommitted",
         ASKED, "HTTPRoute shop was last applied by argocd-controller (Apply) at 2026-03-01T09:00:00Z with other", ALL),
    Case("Argo CD, client-side", removing(applies(OLD_WEIGHTS, ARGO, at_client=True)), until_it_rests, P.HELD,
         "WeightsNotCommitted", ASKED, "argocd-controller (Update) at 2026-03-01T09:00:00Z", ALL),
    Case("Flux", removing(applies(OLD_WEIGHTS, FLUX)), until_it_rests, P.HELD, "WeightsNotCommitted", ASKED, EXACT,
         ALL),
    Case("with the way out", removing(applies(OLD_WEIGHTS, FLUX)), until_it_rests, P.HELD, "WeightsNotCommitted", ASKED,
         "`rolloutplan approve -n ns plan`", ALL),
    Case("for as long as it lasts", removing(applies(OLD_WEIGHTS, FLUX)), then(until_it_rests, wait(m(60))), P.HELD,
         "WeightsNotCommitted", ASKED, EXACT, ALL),
    Case("whoever applied them in mid-run", removing(), then(applies(OLD_WEIGHTS, KUBECTL), settle, say("resume r1"),
         wait(s(1)), until_it_rests), P.HELD, "WeightsNotCommitted", None, "kubectl (Apply)", ALL),
    Case("an approval of the removal before its turn has not seen that",
         removing(applies(OLD_WEIGHTS, ARGO), say("approve a0 contract"), settle, changes=APPROVED), until_it_rests,
         P.HELD, "WeightsNotCommitted", ASKED, EXACT, ALL),
]  # fmt: skip

GOES_ON = [
    Case("once they are committed", removing(applies(OLD_WEIGHTS, ARGO)),
         then(until_it_rests, applies(ALL, ARGO), wait(s(5))), P.SUCCEEDED, "Succeeded", [*ASKED, *GONE_ON]),
    Case("client-side too", removing(applies(OLD_WEIGHTS, ARGO, at_client=True)),
         then(until_it_rests, applies(ALL, ARGO, at_client=True), wait(s(5))), P.SUCCEEDED, "Succeeded",
         [*ASKED, *GONE_ON]),
    Case("once a person approves", removing(applies(OLD_WEIGHTS, ARGO)),
         then(until_it_rests, say("approve a1"), wait(s(5))), P.SUCCEEDED, "Succeeded", [*ASKED, *GONE_ON]),
    Case("and by name", removing(applies(OLD_WEIGHTS, ARGO)),
         then(until_it_rests, say("approve a1 contract"), wait(s(5))), P.SUCCEEDED, "Succeeded", [*ASKED, *GONE_ON]),
    Case("before its turn, as where the weights are left out of what is applied",
         removing(applies(OLD_WEIGHTS, ARGO), settle, say("approve a1 contract"), settle), until_it_rests, P.SUCCEEDED,
         "Succeeded", ["ContractStarted", "Contracted", "Succeeded"]),
    Case("one approval is enough", removing(applies(OLD_WEIGHTS, ARGO), changes=APPROVED),
         then(until_it_rests, say("approve a1"), wait(s(5))), P.SUCCEEDED, "Succeeded", [*ASKED, *GONE_ON]),
    Case("when they were committed before", removing(applies(OLD_WEIGHTS, ARGO)), then(applies(ALL, ARGO),
         until_it_rests), P.SUCCEEDED, "Succeeded", ["ContractStarted", "Contracted", "Succeeded"]),
    Case("in smaller numbers", removing(applies(OLD_WEIGHTS, ARGO)),
         then(until_it_rests, applies({"v1": 0, "v2": 1}, ARGO), wait(s(5))), P.SUCCEEDED, "Succeeded",
         [*ASKED, *GONE_ON], "", {"v1": 0, "v2": 1}),
    Case("where Git only creates the route",
         removing(applies(OLD_WEIGHTS, FLUX), annotated("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent")),
         until_it_rests, P.SUCCEEDED, "Succeeded", ["ContractStarted", "Contracted", "Succeeded"]),
    Case("where what was applied cannot be read", removing(annotated(LAST_APPLIED, "{")), until_it_rests, P.SUCCEEDED,
         "Succeeded", ["ContractStarted", "Contracted", "Succeeded"]),
]  # fmt: skip


@pytest.mark.parametrize("case", HELD, ids=ids)
def test_nothing_is_removed_while_git_has_other_weights(case: Case) -> None:
    world = run(case)
    assert world.resized == []
    stalled = world.status.condition("Stalled")
    assert stalled is not None
    assert stalled.reason == "WeightsNotCommitted"


@pytest.mark.parametrize("case", GOES_ON, ids=ids)
def test_the_removal_goes_on(case: Case) -> None:
    assert len(run(case).resized) == 1


@pytest.mark.parametrize("at_client", [True, False], ids=["client-side", "server-side"])
def test_who_created_the_route_once_is_named_and_holds_nothing(*, at_client: bool) -> None:
    world = removing(applies(OLD_WEIGHTS, KUBECTL, at_client=at_client))()
    until_it_rests(world)
    assert (world.phase, len(world.resized)) == (P.SUCCEEDED, 1)
    note = next(each.note for each in world.trail.values() if each.reason == EventReason.CONTRACT_STARTED)
    assert "HTTPRoute shop was last applied by kubectl (" in note
    assert "commit the weights (HTTPRoute shop rule 0: v1 0, v2 100) before it is applied again" in note


def test_weights_that_are_set_back_during_the_removal_are_to_be_committed_too() -> None:
    world = contracting(SCALE)()
    world.drift(OLD_WEIGHTS, by=FLUX)
    world.settle()
    assert (world.phase, world.status.reason, world.resized) == (P.HELD, "Conflict", [])
    assert "last changed by kustomize-controller" in world.status.message
    assert "commit them first (HTTPRoute shop rule 0: v1 0, v2 100)" in world.status.message


def test_a_plan_that_removes_nothing_waits_for_nobody() -> None:
    world = fresh()()
    world.apply_route(OLD_WEIGHTS, ARGO)
    assert world.until(P.HELD, P.SUCCEEDED).phase is P.SUCCEEDED
