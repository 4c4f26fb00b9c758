"""Notifiers in the store: which plans have them as sinks, how many are used, and what their statuses say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.api.status import Status
from rolloutplan.cluster import paths
from rolloutplan.engine.model.sinks import GONE_KEPT, cursors
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.notifier_status import NotifierStatuses
from rolloutplan.loop.notifiers import MOST, Notifiers
from rolloutplan.loop.store import Store
from rolloutplan.metrics.access import Access, SourceHosts
from rolloutplan.publish.notifications import Notifications
from rolloutplan.publish.notifiers import NotifierObject
from tests.unit.test_publish_formats import VIEW

HERE = SourceHosts.read(["hooks.example"])
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def raw(name: str, namespace: str = "shop", created: int = 0, **spec: Any) -> dict[str, Any]:
    at = (NOW + timedelta(seconds=created)).strftime("%Y-%m-%dT%H:%M:%SZ")
    meta = {"name": name, "namespace": namespace, "uid": f"u-{name}", "generation": 3, "creationTimestamp": at}
    return {"metadata": meta, "spec": {"webhook": {"url": "https://hooks.example"}, **spec}}


def notifiers(*objects: dict[str, Any]) -> Notifiers:
    made = Notifiers(HERE)
    for each in objects:
        namespace = each["metadata"]["namespace"]
        kind = paths.NOTIFIERS if namespace else paths.CLUSTER_NOTIFIERS
        made.put((kind.resource, namespace, each["metadata"]["name"]), each)
    return made


def test_a_plan_has_those_of_its_namespace_and_of_the_cluster_that_select_it() -> None:
    made = notifiers(
        raw("own", giveUpAfter="10m"),
        raw("other", "pay"),
        raw("team", selector={"owners": ["team-pay"]}),
        raw("all", "", created=5),
        raw("pay", "", selector={"namespaces": ["pay"]}),
    )
    found = {view.name: view for view in made.sinks(VIEW)}
    assert set(found) == {"notifier/own", "clusternotifier/all"}
    assert found["notifier/own"].keeps == timedelta(minutes=10)
    assert found["clusternotifier/all"].since == NOW + timedelta(seconds=5)
    assert all(view.own_status for view in found.values())
    for name in found:
        notifier = made.of_sink("shop", name)
        assert notifier is not None
        assert notifier.sink == name
    assert made.of_sink("shop", "notifier/other") is None


def test_the_facts_of_a_plan_have_them_after_the_sinks_of_all_plans() -> None:
    store = Store(notifier_hosts=HERE)
    store.apply(paths.NOTIFIERS.resource, None, raw("own"))
    meta = {"namespace": "shop", "name": "checkout", "uid": "u", "resourceVersion": "1"}
    store.apply(paths.PLANS.resource, None, {"metadata": meta, "spec": {}})
    facts = PlanFacts(store).of("shop/checkout", epoch=1, claim_at=lambda _: NOW)
    assert facts is not None
    assert [sink.name for sink in facts.sinks] == ["notifier/own"]
    store.remove((paths.NOTIFIERS.resource, "shop", "own"))
    facts = PlanFacts(store).of("shop/checkout", epoch=1, claim_at=lambda _: NOW)
    assert facts is not None
    assert not facts.sinks


def test_the_oldest_are_used_and_one_too_many_says_so_until_there_is_room() -> None:
    made = notifiers(*(raw(f"n{i}", created=MOST - i) for i in range(MOST + 1)))
    used = {view.name for view in made.sinks(VIEW)}
    assert used == {f"notifier/n{i}" for i in range(1, MOST + 1)}
    assert made.of_sink("shop", "notifier/n0") is None
    (over,) = (each for each in made if each.spec is None)
    assert (over.name, over.reason) == ("n0", "TooMany")
    made.remove((paths.NOTIFIERS.resource, "shop", "n5"))
    assert "notifier/n0" in {view.name for view in made.sinks(VIEW)}


def test_thousands_that_cannot_be_used_cost_no_more_than_their_places() -> None:
    made = notifiers(raw("good"))
    before = made._in_use["shop"]
    for number in range(1000):
        made.put((paths.NOTIFIERS.resource, "shop", f"bad{number}"), raw(f"bad{number}", template="$nothing"))
    assert made._in_use["shop"] is before
    for each in list(made):
        made.remove((paths.NOTIFIERS.resource, "shop", each.name))
    assert not list(made)
    assert not made._in_use


def test_one_that_cannot_be_used_takes_no_place_of_another() -> None:
    made = notifiers(*(raw(f"bad{i}", template="$nothing") for i in range(MOST)), raw("good", created=9))
    assert [view.name for view in made.sinks(VIEW)] == ["notifier/good"]


def test_the_cursors_of_sinks_that_are_gone_are_dropped_when_there_are_many() -> None:
    status = {"events": 7, **{f"notifier/{i}": i for i in range(100)}}
    kept = cursors(status, {"events": 9, "notifier/new": 3, "notifier/1": 2})
    assert {name: kept[name] for name in ("events", "notifier/new", "notifier/1")} == {
        "events": 9, "notifier/new": 3, "notifier/1": 2,
    }  # fmt: skip
    assert len(kept) == 3 + GONE_KEPT
    assert kept["notifier/99"] == 99
    assert cursors({"events": 7, "gone": 5}, {"events": 8}) == {"events": 8, "gone": 5}


class Written:
    """An API server that keeps what was patched."""

    def __init__(self) -> None:
        self.patches: list[tuple[str, Any]] = []

    async def patch(self, path: str, body: Any) -> dict[str, Any]:
        self.patches.append((path, body))
        return {}


def statuses(made: Notifiers) -> tuple[NotifierStatuses, Notifications, Written]:
    sent, api = Notifications(Access(HERE, (), Path("/nowhere"))), Written()
    return NotifierStatuses(api, made, sent, leading=lambda: True, apply=lambda *_: None), sent, api


def only(made: Notifiers) -> NotifierObject:
    (found,) = made
    return found


def test_counts_go_on_from_those_in_the_status() -> None:
    made = notifiers(raw("own") | {"status": {"delivered": 40, "failed": 2, "givenUp": 1}})
    writes, sent, _ = statuses(made)
    writes.status(only(made), NOW)
    tally = sent.tally(only(made))
    tally.delivered, tally.failed, tally.last_delivery = 3, 1, NOW
    status = writes.status(only(made), NOW)
    assert (status["delivered"], status["failed"], status["givenUp"]) == (43, 3, 1)
    assert status["lastDelivery"] == "2026-01-02T00:00:00Z"
    assert status["observedGeneration"] == 3


@pytest.mark.parametrize(
    ("spec", "trouble", "delivered", "expected"),
    [
        ({}, "", 0, ("True", "Waiting")),
        ({}, "", 1, ("True", "Delivering")),
        ({}, "the webhook answers 503: it is tried again", 1, ("False", "Failing")),
        ({"webhook": {"url": "https://elsewhere.example"}}, "", 0, ("False", "HostNotAllowed")),
        ({"template": "$nothing"}, "", 0, ("False", "Invalid")),
    ],
)
def test_the_condition_says_whether_decisions_get_through(
    spec: dict[str, Any], trouble: str, delivered: int, expected: tuple[str, str]
) -> None:
    made = notifiers(raw("own", **spec))
    writes, sent, _ = statuses(made)
    sent.tally(only(made)).trouble, sent.tally(only(made)).delivered = trouble, delivered
    (ready,) = writes.status(only(made), NOW)["conditions"]
    assert (ready["status"], ready["reason"]) == expected
    assert ready["message"]
    assert trouble in ready["message"]


def test_a_status_is_written_only_where_it_differs() -> None:
    made = notifiers(raw("own"))
    writes, _, api = statuses(made)
    asyncio.run(writes._write(only(made)))
    ((path, body),) = api.patches
    assert path == "/apis/rolloutplan.dev/v1alpha1/namespaces/shop/notifiers/own/status"
    made.put((paths.NOTIFIERS.resource, "shop", "own"), raw("own") | {"status": body["status"]})
    asyncio.run(writes._write(only(made)))
    assert len(api.patches) == 1


def test_a_status_that_somebody_filled_is_no_burden() -> None:
    made = notifiers(raw("own") | {"status": {"delivered": "many", "junk": "x" * 100_000, "conditions": 5}})
    writes, _, _ = statuses(made)
    assert writes.status(only(made), NOW)["delivered"] == 0
    assert len(str(only(made).raw)) < 1000
    assert Status().published_through == {}
