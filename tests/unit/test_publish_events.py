"""Events: what the trail says in the API server, within what it allows."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Decision, Evidence, Kind, RouteWeights, Status, Weights
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.engine.model.plan_view import PlanView, Readable, Unreadable
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.publish import events
from rolloutplan.publish.events import EventSink
from rolloutplan.traffic import ROUTE_KINDS
from tests.routers.samples import SAMPLES
from tests.world import PLAN as WORLD_PLAN

PLAN = PlanView(
    namespace="shop",
    name="checkout-v2",
    uid="0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    generation=1,
    created=datetime(2026, 1, 1, tzinfo=UTC),
    content=Unreadable("not read"),
)


HTTP_ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "namespace": "shop",
    "name": "web",
    "uid": "5f0c",
}


def decision(**fields: Any) -> Decision:
    base = {"seq": 12, "at": datetime(2026, 11, 22, 1, 2, 3, 4567, tzinfo=UTC), "kind": Kind.ADVANCE, "reason": "Go"}
    return Decision(**{**base, **fields})


ERRORS = Evidence(
    predicate="errors", role="fail", query="up", value="0.2", bound="> 0.01", samples="500", verdict="Proved"
)


def test_an_event_says_it_all() -> None:
    told = decision(
        kind=Kind.ROLLBACK,
        reason="RollbackStarted",
        note="errors 20% > 1%",
        run=3,
        stage="canary",
        weight_from="5%",
        weight_to="0%",
        evidence=(ERRORS,),
    )
    event = events.event(
        PLAN,
        told,
        instance="pod-1",
        related=HTTP_ROUTE,
        plan_hash="abc",
        revert="kubectl ...",
    )
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": "checkout-v2.0a1b2c3d.12",
            "namespace": "shop",
            "annotations": {
                "rolloutplan.dev/run": "3",
                "rolloutplan.dev/plan-hash": "abc",
                "rolloutplan.dev/stage": "canary",
                "rolloutplan.dev/weight-from": "5%",
                "rolloutplan.dev/weight-to": "0%",
                "rolloutplan.dev/predicate": "errors",
                "rolloutplan.dev/query": "up",
                "rolloutplan.dev/value": "0.2",
                "rolloutplan.dev/bound": "> 0.01",
                "rolloutplan.dev/samples": "500",
                "rolloutplan.dev/verdict": "Proved",
                "rolloutplan.dev/by": "rolloutplan",
                "rolloutplan.dev/revert": "kubectl ...",
            },
        },
        "type": "Warning",
        "reason": "RollbackStarted",
        "action": "Rollback",
        "note": "errors 20% > 1%",
        "eventTime": "2026-11-22T01:02:03.004567Z",
        "reportingController": "rolloutplan.dev/operator",
        "reportingInstance": "pod-1",
        "regarding": {
            "apiVersion": "rolloutplan.dev/v1alpha1",
            "kind": "RolloutPlan",
            "namespace": "shop",
            "name": "checkout-v2",
            "uid": PLAN.uid,
        },
        "related": HTTP_ROUTE,
    }


RUNBOOK = "https://wiki.example/checkout"
OWNED = replace(PLAN, content=Readable(read_plan_spec({**WORLD_PLAN, "owner": "team-checkout", "runbook": RUNBOOK})))


@pytest.mark.parametrize(
    ("kind", "note", "told"),
    [
        (Kind.ROLLBACK, "errors 20% > 1%", f"errors 20% > 1%; runbook: {RUNBOOK}"),
        (Kind.HOLD, "undecided", f"undecided; runbook: {RUNBOOK}"),
        (Kind.KILL, "not ready", f"not ready; runbook: {RUNBOOK}"),
        (Kind.ADVANCE, "proved", "proved"),
        (Kind.HOLD, "x" * 1000, "x" * 1000),
        (Kind.HOLD, "x" * 1025, "x" * 1021 + "…"),
    ],
)
def test_a_bad_end_says_where_to_read_what_to_do_where_it_fits(kind: Kind, note: str, told: str) -> None:
    event = events.event(OWNED, decision(kind=kind, note=note), instance="x")
    assert event["note"] == told
    annotations = event["metadata"]["annotations"]
    assert (annotations["rolloutplan.dev/owner"], annotations["rolloutplan.dev/runbook"]) == ("team-checkout", RUNBOOK)


def test_several_pieces_of_evidence_are_all_there() -> None:
    two = (ERRORS, Evidence(predicate="slow", verdict="Undecided", why="NoData"))
    annotations = events.event(PLAN, decision(evidence=two), instance="x")["metadata"]["annotations"]
    assert annotations["rolloutplan.dev/predicate"] == "errors"
    assert [e["predicate"] for e in json.loads(annotations["rolloutplan.dev/evidence"])] == ["errors", "slow"]


def test_time_is_utc_to_the_microsecond() -> None:
    at = datetime(2026, 11, 22, 3, 0, tzinfo=timezone(timedelta(hours=2)))
    assert events.event(PLAN, decision(at=at), instance="x")["eventTime"] == "2026-11-22T01:00:00.000000Z"


@pytest.mark.parametrize(
    ("kind", "reason", "type_"),
    [
        (Kind.ADVANCE, "WeightShifted", "Normal"),
        (Kind.START, "RunStarted", "Normal"),
        (Kind.RESUME, "Resumed", "Normal"),
        (Kind.FINISH, "Succeeded", "Normal"),
        (Kind.FINISH, "RolledBack", "Warning"),
        (Kind.ROLLBACK, "RollbackStarted", "Warning"),
        (Kind.HOLD, "Undecided", "Warning"),
        (Kind.KILL, "NewSideNotReady", "Warning"),
        (Kind.PERSIST, "Stalled", "Warning"),
    ],
)
def test_warnings_are_what_a_person_should_look_at(kind: Kind, reason: str, type_: str) -> None:
    assert events.event(PLAN, decision(kind=kind, reason=reason), instance="x")["type"] == type_


SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@pytest.mark.parametrize("plan", ["a", "a" * 253, "x" * 235 + ".-" + "y" * 16, "a." * 126 + "b", "x" * 236 + "-yyyyy"])
def test_the_name_stays_a_dns_subdomain(plan: str) -> None:
    name = events.event_name(plan, PLAN.uid, 1234567)
    assert len(name) <= 253
    assert SUBDOMAIN.fullmatch(name)
    assert name.endswith(".0a1b2c3d.1234567")


@pytest.mark.parametrize("note", ["", "x" * 1024, "x" * 1025, "é" * 1024, "→" * 500, "x" + "→" * 400])
def test_the_note_fits(note: str) -> None:
    cut = events.event(PLAN, decision(note=note), instance="x")["note"]
    assert len(cut.encode()) <= 1024
    assert cut == note or (cut.endswith("…") and note.startswith(cut[:-1]))


def test_the_words_fit() -> None:
    event = events.event(PLAN, decision(reason="R" * 200), instance="i" * 200)
    assert (len(event["reason"]), len(event["reportingInstance"])) == (128, 128)
    assert events.event(PLAN, decision(), instance="")["reportingInstance"] == "rolloutplan"
    assert "related" not in event


class Answering:
    """Takes the place of Api.create."""

    def __init__(self, status: int, reason: str = "") -> None:
        self.status, self.reason = status, reason
        self.path = ""
        self.body: dict[str, Any] = {}

    async def create(self, path: str, body: Any, **_: Any) -> Any:
        self.path, self.body = path, body
        if self.status >= 300:
            raise ApiError(self.status, self.reason)
        return body


def publish(api: Answering, snapshot: Snapshot = Snapshot(PLAN, Status(), decision().at)) -> None:  # noqa: B008 - it is frozen
    sink = EventSink(cast("Api", api), instance="x")
    asyncio.run(sink.publish(snapshot, decision()))


def test_an_event_that_is_there_already_is_a_success() -> None:
    for api in (Answering(201), Answering(409, "AlreadyExists")):
        publish(api)
        assert api.path == "/apis/events.k8s.io/v1/namespaces/shop/events"
    for api in (Answering(403, "Forbidden"), Answering(409, "Conflict")):
        with pytest.raises(ApiError):
            publish(api)


def test_a_notice_is_no_decision_and_takes_the_name_of_none() -> None:
    told = decision(reason="StatusNotWritten")
    names = [events.event(PLAN, told, instance="x", notice=notice)["metadata"]["name"] for notice in ("", told.reason)]
    assert names == ["checkout-v2.0a1b2c3d.12", "checkout-v2.0a1b2c3d.12.statusnotwritten"]


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}}
OBJECTS = {**{name: sample.object for name, sample in SAMPLES.items()}, "Replicas": SERVICE}


@pytest.mark.parametrize("kind", ROUTE_KINDS)
def test_the_related_object_is_the_one_of_the_cluster_whatever_a_plan_calls_its_kind(kind: str) -> None:
    raw, api = OBJECTS[kind], Answering(201)
    raw["metadata"]["uid"] = "5f0c"
    view = ROUTE_KINDS[kind].view(raw)
    shifted = Status(weights=Weights(snapshot=(RouteWeights(kind=view.id.kind, name=view.id.name),)))
    publish(api, Snapshot(PLAN, shifted, decision().at, routes={view.id: view}))
    assert api.body["related"] == {
        "apiVersion": raw["apiVersion"],
        "kind": raw["kind"],
        "namespace": "shop",
        "name": raw["metadata"]["name"],
        "uid": "5f0c",
    }


@pytest.mark.parametrize("kind", ["AlbIngress", "NginxCanary", "SkipperIngress"])
def test_a_kind_on_ingresses_is_an_ingress_to_others(kind: str) -> None:
    reference = ROUTE_KINDS[kind].view(OBJECTS[kind]).reference
    assert (reference["apiVersion"], reference["kind"]) == ("networking.k8s.io/v1", "Ingress")
