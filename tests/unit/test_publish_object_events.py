"""Events on the routes and the Deployments of a plan: short, few, and found by the uid of their object."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Decision, Kind, Weights
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.publish.object_events import MOST_OBJECTS, ObjectEventSink, object_events
from tests.files import Files
from tests.situations import judging

BEFORE = judging()().snapshot()
WHERE = "-n ns plan"


def snapshot(routes: int = 1, **reference: str) -> Snapshot:
    """A run at its first weight, with so many routes, as Kubernetes names them."""
    (view,) = BEFORE.routes.values()
    (weights,) = BEFORE.status.weights.snapshot
    about = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "namespace": "ns", **reference}
    ids = [RouteId("HTTPRoute", f"shop-{n}") for n in range(routes)]
    views = {
        each: replace(view, id=each, reference={**about, "name": each.name, "uid": f"u-{each.name}"}) for each in ids
    }
    kept = tuple(weights.model_copy(update={"id": each}) for each in ids)
    run = BEFORE.status.weights.model_copy(update={"snapshot": kept})
    return replace(BEFORE, routes=views, status=BEFORE.status.model_copy(update={"weights": run}))


def decision(reason: str, kind: Kind = Kind.ADVANCE, state: str = "", **fields: Any) -> Decision:
    return Decision(seq=7, at=BEFORE.now, kind=kind, reason=reason, state=state, note="long", **fields)


def told(seen: Snapshot, made: Decision) -> dict[str, str]:
    """The notes of a decision, by the object on which they are."""
    events = object_events(seen, made, instance="pod")
    return {f"{each['regarding']['kind']}/{each['regarding']['name']}": each["note"] for each in events}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (decision("Started", Kind.START),
         f"a run begins that moves traffic from v1 to v2; undo: rolloutplan abort {WHERE}"),
        (decision("WeightShifted", weight_to="25%"), f"25% of the traffic goes to v2; undo: rolloutplan abort {WHERE}"),
        (decision("Held", Kind.HOLD, "Undecided"),
         f"held (Undecided) until a person decides: rolloutplan triage {WHERE}; undo: rolloutplan abort {WHERE}"),
        (decision("RollbackStarted", Kind.ROLLBACK, "GuardTripped"),
         f"the traffic goes back to v1 (GuardTripped); see: rolloutplan why {WHERE}"),
        (decision("RolledBack", Kind.ROLLBACK), f"v1 has its traffic again; see: rolloutplan why {WHERE}"),
        (decision("ContractStarted", Kind.CONTRACT),
         f"v2 has the traffic, and v1 is removed; see: rolloutplan why {WHERE}"),
        (decision("Succeeded", Kind.FINISH),
         f"v2 has the traffic of v1, and the run is over; undo: rolloutplan revert {WHERE}"),
        (decision("ShiftRefused", Kind.KILL), f"the run ended before any weight moved; see: rolloutplan why {WHERE}"),
        (decision("Held", Kind.HOLD, "Frozen"), ""),
        (decision("StageProved"), ""),
        (decision("Warned", Kind.PERSIST), ""),
        (decision("CommandRejected", Kind.HOLD), ""),
    ],
    ids=lambda value: f"{value.reason} {value.state}" if isinstance(value, Decision) else "",
)  # fmt: skip
def test_what_an_object_is_told(made: Decision, words: str) -> None:
    objects = ("Deployment/v1", "Deployment/v2", "HTTPRoute/shop-0") if words else ()
    assert told(snapshot(), made) == dict.fromkeys(objects, f"RolloutPlan plan: {words}")


def test_an_event_is_about_the_object_with_its_uid_and_related_to_the_plan() -> None:
    events = [*object_events(snapshot(), decision("WeightShifted", weight_to="25%"), instance="pod")]
    plan = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan", "namespace": "ns"}
    for event, uid in zip(events, ("uid-of-v1", "uid-of-v2", "u-shop-0"), strict=True):
        assert event["regarding"]["uid"] == uid
        assert event["related"] == plan | {"name": "plan", "uid": BEFORE.plan.uid}
        assert event["metadata"]["name"] == f"{event['regarding']['name']}.{BEFORE.plan.uid[:8]}.7.{uid[:8]}"
        assert event["metadata"]["namespace"] == "ns"


def test_before_its_first_weight_a_run_is_told_on_the_routes_that_the_plan_names() -> None:
    seen = replace(snapshot(), status=BEFORE.status.model_copy(update={"weights": Weights()}))
    assert f"from v1 to v2; undo: rolloutplan abort {WHERE}" in told(seen, decision("Started"))["HTTPRoute/shop-0"]


def test_a_plan_with_many_routes_makes_few_events() -> None:
    assert len(told(snapshot(routes=30), decision("RolledBack"))) == MOST_OBJECTS


def test_an_object_elsewhere_or_without_a_uid_gets_none() -> None:
    seen = snapshot(namespace="other")
    assert seen.new is not None
    assert told(replace(seen, old=None, new=replace(seen.new, uid="")), decision("RolledBack")) == {}
    assert told(replace(seen, old=None, new=None, routes={}), decision("RolledBack")) == {}


def publish(api: Files, *, recorded: bool = True) -> None:
    sink = ObjectEventSink(api, instance="pod")
    asyncio.run(sink.publish(snapshot(), decision("RolledBack"), recorded=recorded))


def test_one_that_fails_does_not_hold_up_the_others_and_is_tried_again() -> None:
    fails = [ApiError(503, "ServiceUnavailable", "later")]

    def maybe(point: str) -> None:
        if fails and point == "file":
            raise fails.pop()

    api = Files({}, maybe)
    with pytest.raises(ApiError, match="later"):
        publish(api)
    assert len(api.objects) == 2
    publish(api)
    assert len(api.objects) == 3, "those that exist are the same ones"


def test_a_notice_is_told_on_the_plan_alone() -> None:
    api = Files({}, lambda _: None)
    publish(api, recorded=False)
    assert not api.objects
