"""The status of policies: what they select, who has their places, who waits, and the focus, with Events of shifts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from rolloutplan import clock
from rolloutplan.api.status import Status
from rolloutplan.cluster import plans, policies
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.loop import policy_status
from rolloutplan.loop.policies import Selected
from rolloutplan.loop.policy_status import PolicyStatuses, next_status
from rolloutplan.loop.record_pruning import Entry
from rolloutplan.loop.releases import Releases
from rolloutplan.loop.store import POLICIES, Store
from rolloutplan.loop.stored_plan import Plan
from rolloutplan.telemetry.metrics import Metrics
from tests.world import PLAN

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
EARLIER = "2026-02-01T00:00:00.000Z"
SHIFTS = {"base": "Balanced", "stability": {"failureRate": "> 20%", "over": 5}}


def raw_policy(status: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": "production", "uid": "0a1b2c3d-x", "generation": 3, "resourceVersion": "1"}
    return {"metadata": meta, "spec": spec, **({"status": status} if status else {})}


def status_of(raw: Mapping[str, Any], failed: int | None = None, selected: Selected | None = None) -> dict[str, Any]:
    return next_status(raw, policies.view(raw), selected or Selected(), (), failed, NOW).to_raw()


# ---- what is written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "status", "failed", "focus", "why", "since"),
    [
        ({}, None, None, "Balanced", "as written", None),
        ({"focus": "Stability"}, None, None, "Stability", "as written", None),
        ({"focus": SHIFTS}, None, None, "Balanced", "have not been listed yet", None),
        ({"focus": SHIFTS}, None, 1, "Balanced", "1 of the last 5 releases failed (20%): Stability above 20%", None),
        ({"focus": SHIFTS}, None, 2, "Stability", "2 of the last 5 releases failed (40%): Balanced again", NOW),
        ({"focus": SHIFTS}, {"shifted": True, "focusSince": EARLIER}, 1, "Stability", "1 of the last 5", EARLIER),
        ({"focus": SHIFTS}, {"shifted": True, "focusSince": EARLIER}, None, "Stability", "not been listed", EARLIER),
        ({"focus": SHIFTS}, {"shifted": True, "focusSince": EARLIER}, 0, "Balanced", "0 of the last 5", NOW),
        ({"focus": "Balanced"}, {"shifted": True, "focusSince": EARLIER}, None, "Balanced", "as written", None),
        ({"focus": SHIFTS}, {"shifted": "yes, please"}, 1, "Balanced", "1 of the last 5", None),
    ],
    ids=[
        "of a policy of nothing",
        "as written",
        "while nobody knows",
        "at the bound",
        "above it",
        "between half of it and the bound it stays",
        "so it does while nobody knows",
        "below half of it",
        "a person took the rule out",
        "a status that cannot be read",
    ],
)
def test_the_focus(
    spec: dict[str, Any], status: Any, failed: int | None, focus: str, why: str, since: datetime | str | None
) -> None:
    found = status_of(raw_policy(status, **spec), failed)
    assert found["focus"] == focus
    assert why in found["focusWhy"]
    instant = since.strftime("%Y-%m-%dT%H:%M:%S.000Z") if isinstance(since, datetime) else since
    assert found.get("focusSince") == instant


def test_a_mistake_in_a_policy_takes_no_shift_back() -> None:
    """Between half of the bound and the bound the focus depends on whether it had shifted before."""
    wrong = status_of(raw_policy({"shifted": True, "focusSince": EARLIER}, focus="Speed"))
    assert not wrong.get("focus")
    corrected = status_of(raw_policy(wrong, focus=SHIFTS), failed=1)
    assert (corrected["focus"], corrected["focusSince"]) == ("Stability", EARLIER)


@pytest.mark.parametrize(
    ("spec", "selected", "ready", "reason", "words"),
    [
        ({}, Selected(), "True", "Read", "it applies"),
        ({"focus": "Speed"}, Selected(), "False", "Invalid", '"Speed" is not one of the choices'),
        ({}, Selected(unknown="it selects by labels"), "False", "LabelsUnknown", "it selects by labels"),
    ],
)
def test_whether_it_is_ready(spec: dict[str, Any], selected: Selected, ready: str, reason: str, words: str) -> None:
    found = status_of(raw_policy(**spec), selected=selected)
    (condition,) = found["conditions"]
    assert (condition["status"], condition["reason"], found["observedGeneration"]) == (ready, reason, 3)
    assert words in condition["message"]


# ---- a leader with some plans ------------------------------------------------------------------------------------


class Server:
    """Keeps the policy and the Events; `fails` refuses a kind of request."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw, self.writes, self.events = raw, 0, list[dict[str, Any]]()
        self.fails: dict[str, ApiError] = {}

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert path.endswith("/rolloutpolicies/production/status")
        if "patch" in self.fails:
            raise self.fails["patch"]
        self.writes += 1
        status = {**self.raw.get("status", {}), **body["status"]}
        meta = {**self.raw["metadata"], "resourceVersion": str(self.writes + 1)}
        self.raw = {**self.raw, "metadata": meta, "status": {k: v for k, v in status.items() if v is not None}}
        return self.raw

    async def create(self, path: str, body: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
        assert (path, timeout > 0) == ("/apis/events.k8s.io/v1/namespaces/default/events", True)
        if "create" in self.fails:
            raise self.fails["create"]
        if body["metadata"]["name"] in [each["metadata"]["name"] for each in self.events]:
            raise ApiError(409, "AlreadyExists")
        self.events.append(dict(body))
        return dict(body)


def store_with(raw: dict[str, Any], *phases: str) -> Store:
    store = Store()
    store.apply(POLICIES, None, raw)
    for number, phase in enumerate(phases):
        created = (NOW + number * timedelta(minutes=1)).isoformat()
        meta = {"namespace": "shop", "name": f"p{number}", "uid": f"u{number}", "generation": 1}
        meta |= {"creationTimestamp": created, "resourceVersion": "1"}
        store.apply("rolloutplans.rolloutplan.dev", None, {"metadata": meta, "spec": PLAN, "status": {"phase": phase}})
    return store


def releases(store: Store, outcomes: str) -> Releases:
    """The last releases, the oldest first; an x failed."""
    found = Releases(store.plans)
    words = {"x": "RolledBack", ".": "Succeeded", "-": "Superseded", "r": "Running"}
    entries = [
        Entry("shop", f"p0-u-{run}", "p0", NOW + run * timedelta(minutes=1), words[outcome], "1")
        for run, outcome in enumerate(outcomes)
    ]
    found.listed("", "", entries)
    return found


def look(server: Server, store: Store, found: Releases, looks: int = 1, *, leads: bool = True) -> Metrics:
    """So many looks of one leader; returns what it has told its metrics."""
    metrics = Metrics()

    async def whole() -> None:
        statuses = PolicyStatuses(
            cast("ResourceClient", server),
            store.policies,
            found,
            leading=lambda: leads,
            apply=store.apply,
            instance="operator-1",
            report=metrics.set_places,
        )
        task = asyncio.create_task(statuses.run())
        for _ in range(10 * looks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(whole())
    return metrics


def focus_in(store: Store) -> str:
    return store.policies.views["production"].focus


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_status, "EVERY", 0.0)
    monkeypatch.setattr(clock, "now", lambda: NOW)


def test_it_tells_whom_it_selects_who_has_a_place_and_who_waits() -> None:
    raw = raw_policy(maxConcurrent=1, lockGroup="payments")
    server, store = Server(raw), store_with(raw, "Judging", "Pending", "Pending", "Succeeded")
    metrics = look(server, store, releases(store, ""), looks=5)
    status = server.raw["status"]
    assert status["plans"] == 4
    shown = {family.name: {sample.labels["group"]: sample.value for sample in family.samples}
             for family in metrics._families_of_places()}  # fmt: skip
    for name, value in (("rolloutplan_places", 1), ("rolloutplan_places_taken", 1), ("rolloutplan_places_waiting", 2)):
        assert shown[name] == {"lock group payments": value, "policy production": value}
    held = {"taken": 1, "of": 1, "holders": ["shop/p0"], "waiting": 2, "next": ["shop/p1", "shop/p2"]}
    assert status["places"] == [{"group": group, **held} for group in ("lock group payments", "policy production")]
    assert server.writes == 1, "what has not changed is not written again"


def test_a_follower_writes_nothing() -> None:
    raw = raw_policy()
    server, store = Server(raw), store_with(raw)
    metrics = look(server, store, releases(store, ""), leads=False)
    assert not server.writes
    assert not any(family.samples for family in metrics._families_of_places())


def test_a_shift_is_in_the_status_before_it_is_in_force_and_is_told_once() -> None:
    raw = raw_policy(focus=SHIFTS, maxConcurrent=4)
    server, store = Server(raw), store_with(raw, "Pending")
    found = releases(store, "..xx")
    server.fails = {"patch": ApiError(0, "Timeout")}
    look(server, store, found)
    assert (focus_in(store), server.events) == ("Balanced", [])
    server.fails = {}
    look(server, store, found)
    assert focus_in(store) == "Stability"
    assert [each.of for each in store.policies.places(store.policies.views["production"], ["shop"])] == [2]
    look(server, store, found, looks=3)
    (event,) = server.events
    assert (event["reason"], event["type"], event["regarding"]["name"]) == ("FocusShifted", "Warning", "production")
    assert event["note"].startswith("the focus is Stability from each plan's next stage on: 2 of the last 5 releases")
    assert event["metadata"]["namespace"] == "default"


def test_the_next_leader_goes_on_with_the_focus_and_tells_what_the_former_could_not() -> None:
    raw = raw_policy(focus=SHIFTS)
    server, store = Server(raw), store_with(raw)
    server.fails = {"create": ApiError(503, "Unavailable")}
    look(server, store, releases(store, "xx..."))
    server.fails = {}
    later = store_with(server.raw)
    look(server, later, Releases({}))
    assert focus_in(later) == "Stability", "its own list of records has not come yet"
    assert len(server.events) == 1
    look(server, later, releases(later, "xx....."))
    assert focus_in(later) == "Balanced"


def test_it_goes_back_with_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = raw_policy(focus=SHIFTS)
    server, store = Server(raw), store_with(raw)
    look(server, store, releases(store, "xx"))
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(minutes=5))
    look(server, store, releases(store, "xx....."))
    assert [each["type"] for each in server.events] == ["Warning", "Normal"]
    assert server.events[1]["note"].startswith("the focus is Balanced from each plan's next stage on: 0 of the last 5")


# ---- the releases ------------------------------------------------------------------------------------------------


def entry(plan: str, outcome: str, *, namespace: str = "shop", run: int = 1) -> Entry:
    return Entry(namespace, f"{plan}-u-{run}", plan, NOW, outcome, "1")


@pytest.mark.parametrize(
    ("lists", "left"),
    [
        ([("", "", ["a", "b"])], ["a", "b"]),
        ([("", "", ["a", "b"]), ("shop", "a", [])], ["b"]),
        ([("", "", ["a", "b"]), ("shop", "c", ["c"])], ["a", "b", "c"]),
        ([("", "", ["a", "b"]), ("shop", "a", ["a"])], ["a", "b"]),
        ([("", "", ["a", "b"]), ("pay", "a", [])], ["a", "b"]),
        ([("", "", ["a", "b"]), ("", "", ["b"])], ["b"]),
        ([("shop", "", ["a"]), ("shop", "", [])], []),
    ],
)
def test_a_list_replaces_what_it_is_a_list_of(lists: Sequence[tuple[str, str, Sequence[str]]], left: list[str]) -> None:
    found = Releases({})
    for namespace, plan, names in lists:
        found.listed(namespace, plan, [entry(name, "RolledBack") for name in names])
    assert sorted(each.plan for each in found.of.get("shop", ())) == left


def test_only_what_has_ended_by_a_verdict_counts() -> None:
    found = Releases({})
    words = ("Succeeded", "RolledBack", "Superseded", "Abandoned", "Running", "", "Nonsense")
    found.listed("", "", [entry("a", word, run=run) for run, word in enumerate(words)])
    assert [each.failed for each in found.of.get("shop", ())] == [False, True]


def test_every_namespace_has_to_be_listed() -> None:
    found = Releases({}, ["a", "b"])
    found.listed("a", "", [])
    found.listed("b", "checkout", [])
    assert not found.complete
    found.listed("b", "", [])
    assert found.complete


def test_a_release_keeps_the_labels_of_a_plan_that_is_gone() -> None:
    view = plans.view({"metadata": {"namespace": "shop", "name": "a", "uid": "u", "generation": 1}, "spec": PLAN})
    plan = Plan(view, Status(), {})
    plan.labels = type(plan.labels)({"team": "x"})
    known = {"shop/a": plan}
    found = Releases(known)
    found.listed("", "", [entry("a", "Succeeded")])
    known.clear()
    found.listed("", "", [entry("a", "Succeeded")])
    assert [each.labels for each in found.of.get("shop", ())] == [{"team": "x"}]
