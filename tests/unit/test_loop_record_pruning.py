"""Old records are deleted: by count and age, of one plan at a time, and never that of a run under way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonpatch
import pytest

from rolloutplan import clock
from rolloutplan.api.record import OUTCOME_LABEL, PLAN_LABEL
from rolloutplan.api.status import Status
from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.plans import view
from rolloutplan.loop import record_pruning
from rolloutplan.loop.record_pruning import Entry, RecordPruning, Retention, outdated
from rolloutplan.loop.stored_plan import Plan
from tests.world import PLAN

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(days: int, *, running: bool = False) -> Entry:
    """A record that was made so many days ago."""
    return Entry("shop", f"r{days}", "checkout", NOW - days * DAY, "Running" if running else "Succeeded", "1")


@pytest.mark.parametrize(
    ("days", "running", "kept", "age", "gone"),
    [
        ((1, 2, 3), (), 20, 400, ()),
        ((1, 2, 3), (), 2, 400, (3,)),
        ((3, 1, 2), (), 1, 400, (3, 2)),
        ((1, 500), (), 20, 400, (500,)),
        ((1, 2, 3), (3,), 1, 400, (2,)),
        ((1, 500), (500,), 20, 400, ()),
        ((), (), 20, 400, ()),
    ],
    ids=[
        "few",
        "too many",
        "in any order",
        "too old",
        "a run under way does not count",
        "and is never too old",
        "none",
    ],
)
def test_which_records_go(
    days: Sequence[int], running: Sequence[int], kept: int, age: int, gone: Sequence[int]
) -> None:
    entries = [entry(each, running=each in running) for each in days]
    assert [each.name for each in outdated(entries, kept, age * DAY, NOW)] == [f"r{each}" for each in gone]


class Server:
    """Records by namespace and name, in pages of two."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.records = {(r["metadata"]["namespace"], r["metadata"]["name"]): r for r in records}
        self.fails: dict[str, ApiError] = {}
        self.lists = 0

    async def list_metadata(self, path: str, **query: str | int) -> dict[str, Any]:
        self.lists += 1
        if "list" in self.fails:
            raise self.fails["list"]
        label = str(query.get("labelSelector", "")).partition("=")[2]
        parts = path.split("/")
        place = parts[parts.index("namespaces") + 1] if "namespaces" in parts else ""
        found = [
            {"metadata": raw["metadata"]}
            for (namespace, _), raw in sorted(self.records.items())
            if place in ("", namespace) and label in ("", raw["metadata"]["labels"][PLAN_LABEL])
        ]
        start = int(query.get("continue", 0))
        more = {"continue": str(start + 2)} if start + 2 < len(found) else {}
        return {"metadata": more, "items": found[start : start + 2]}

    def _key(self, path: str) -> tuple[str, str]:
        parts = path.split("/")
        return parts[parts.index("namespaces") + 1], parts[-1]

    async def get(self, path: str) -> dict[str, Any]:
        return self.records[self._key(path)]

    async def patch(self, path: str, body: Sequence[Mapping[str, Any]], *, kind: Any) -> dict[str, Any]:
        assert kind == "json"
        self.records[self._key(path)] = jsonpatch.apply_patch(self.records[self._key(path)], [*body])
        return self.records[self._key(path)]

    async def delete(self, path: str, *, version: str) -> dict[str, Any]:
        if "delete" in self.fails:
            raise self.fails["delete"]
        assert self.records[self._key(path)]["metadata"]["resourceVersion"] == version
        del self.records[self._key(path)]
        return {}


def record(
    plan: str, run: int, *, namespace: str = "shop", outcome: str = "Succeeded", uid: str = "0a1b2c3d", days: int = 0
) -> dict[str, Any]:
    made = NOW - days * DAY + timedelta(minutes=run)
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{plan}-{uid}-{run}",
            "resourceVersion": "1",
            "creationTimestamp": made.isoformat(),
            "labels": {PLAN_LABEL: plan, OUTCOME_LABEL: outcome},
        },
        "spec": {"plan": plan, "planUid": uid, "run": run},
        "status": {"outcome": outcome, "seq": 1},
    }


def plan(name: str, *, uid: str = "0a1b2c3d", **spec: Any) -> dict[str, Plan]:
    meta = {"namespace": "shop", "name": name, "uid": uid, "generation": 1}
    return {f"shop/{name}": Plan(view({"metadata": meta, "spec": {**PLAN, **spec}}), Status(), {})}


async def _looks(server: Server, plans: Mapping[str, Plan], *ended: tuple[str, str], leads: bool = True) -> None:
    pruning = RecordPruning(server, plans, Retention(kept=2), leading=lambda: leads)
    for each in ended:
        pruning.ended(*each)
    task = asyncio.create_task(pruning.run())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def prune(server: Server, plans: Mapping[str, Plan], *ended: tuple[str, str], leads: bool = True) -> list[str]:
    """What is left after a look at all records, and at those of the plans whose runs have ended."""
    asyncio.run(_looks(server, plans, *ended, leads=leads))
    return [name for _, name in server.records]


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_pruning, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(clock, "now", lambda: NOW)


def test_each_plan_keeps_its_newest_records() -> None:
    both = [record(name, run) for name in ("cart", "checkout") for run in (1, 2, 3)]
    left = prune(Server(*both), plan("cart") | plan("checkout"))
    assert left == [f"{name}-0a1b2c3d-{run}" for name in ("cart", "checkout") for run in (2, 3)]


def test_a_plan_may_say_how_many() -> None:
    left = prune(Server(*(record("cart", run) for run in range(1, 6))), plan("cart", recordsKept=4))
    assert len(left) == 4


def test_records_of_plans_that_are_gone_are_pruned_too() -> None:
    left = prune(Server(*(record("cart", run, uid=f"{run}" * 8) for run in (1, 2, 3)), record("old", 1, days=401)), {})
    assert left == ["cart-22222222-2", "cart-33333333-3"]


def test_namespaces_are_apart() -> None:
    left = prune(Server(*(record("cart", run, namespace=place) for place in "abc" for run in (1, 2))), {})
    assert len(left) == 6


@pytest.mark.parametrize(
    ("plans", "outcome"),
    [
        ({}, "Abandoned"),
        (plan("cart", uid="another"), "Abandoned"),
        (plan("cart"), "Running"),
    ],
    ids=["the plan is gone", "another has its name", "the plan is there"],
)
def test_the_record_of_a_run_whose_plan_is_gone_is_closed(plans: Mapping[str, Plan], outcome: str) -> None:
    server = Server(record("cart", 1, outcome="Running"))
    prune(server, plans)
    (raw,) = server.records.values()
    assert raw["status"]["outcome"] == raw["metadata"]["labels"][OUTCOME_LABEL] == outcome
    told = "nobody recorded whether the weights went back" in raw["status"].get("message", "")
    assert told == (outcome == "Abandoned")


def test_after_a_run_only_its_plan_is_looked_at() -> None:
    server = Server(*(record("cart", run) for run in (1, 2)))
    prune(server, plan("cart"), ("shop", "cart"), ("shop", "cart"))
    assert server.lists == 2, "all of them at the start, and once for the run"


def test_only_the_leader_looks() -> None:
    server = Server(*(record("cart", run) for run in (1, 2, 3)))
    assert len(prune(server, {}, ("shop", "cart"), leads=False)) == 3
    assert server.lists == 0


@pytest.mark.parametrize("point", ["list", "delete"])
def test_a_refusal_ends_nothing(point: str) -> None:
    server = Server(*(record("cart", run) for run in (1, 2, 3)))
    server.fails = {point: ApiError(403, "Forbidden", "no rights")}
    assert len(prune(server, {}, ("shop", "cart"))) == 3
    assert server.lists >= 2, "all of them at the start, and those of the run"


def test_a_namespace_that_refuses_stops_no_other() -> None:
    server = Server(*(record("cart", run, namespace=place) for place in "ab" for run in (1, 2, 3)))
    delete = server.delete

    async def refuse(path: str, *, version: str) -> dict[str, Any]:
        if "/a/" in path:
            raise ApiError(403, "Forbidden", "no rights")
        return await delete(path, version=version)

    server.delete = refuse  # type: ignore[method-assign]
    prune(server, {})
    assert [namespace for namespace, _ in server.records] == ["a", "a", "a", "b", "b"]
