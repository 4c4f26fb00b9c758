"""What the loop promises whoever runs it, over an API server in memory that refuses, hangs and is written by others.

Each stands for a kind of bug that the loop once had and that no decision could show.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine import plan_run
from rolloutplan.engine.memory import new_side
from rolloutplan.engine.model import snapshot
from rolloutplan.engine.model.effects import Effects
from rolloutplan.engine.model.queries import CountQuery, Series
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.loop import runs, stagger
from rolloutplan.loop.store import DEPLOYMENTS, PLANS
from tests.refusals import changed
from tests.situations import assumption
from tests.unit.test_engine_refused import DEFINITE, REFUSALS, WORDS
from tests.unit.test_loop_back import (
    BACK,
    PLAN_PATH,
    ROUTES,
    SPEC,
    Raw,
    Server,
    Shop,
    accept,
    deployment,
    opened,
    running,
)
from tests.unit.test_loop_reads import CountingServer
from tests.world import http_route

EVENTS = paths.event("ns")
HTTPROUTES = "httproutes.gateway.networking.k8s.io"


class CountedRun(plan_run.PlanRun):
    """A run that counts how often it is looked at."""

    looks = 0

    def advance(self, facts: Facts, now: datetime) -> Effects:
        CountedRun.looks += 1
        return super().advance(facts, now)


# ---- nobody spins ----------------------------------------------------------------------------------------------------


def new_side_gone(shop: Shop) -> None:
    shop.loop.feed.remove(DEPLOYMENTS, "ns", "v2")


def unreadable(shop: Shop) -> None:
    raw = shop.server.objects[PLAN_PATH]
    raw["spec"]["guards"][0]["is"] = "about 5"
    shop.loop.feed.apply(PLANS, "MODIFIED", shop.server.keep(PLAN_PATH, raw))


def pods_not_listed(shop: Shop) -> None:
    forbidden = ApiError(403, "Forbidden", "pods is forbidden")
    shop.server.refuses = lambda method, path: forbidden if method == "LIST" else None


@pytest.mark.parametrize("what", [new_side_gone, unreadable, pods_not_listed])
def test_a_leader_sleeps_while_there_is_nothing_that_it_could_do(
    what: Callable[[Shop], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that waits for a person, taken over by another leader, which cannot count restarts and never will."""
    monkeypatch.setattr(runs, "PlanRun", CountedRun)
    monkeypatch.setattr(new_side, "LIST_AFTER", timedelta(milliseconds=50))

    async def story() -> None:
        async with opened(changed(SPEC, {"onFail": "Hold"})) as before:
            assert await before.comes(lambda: before.status.phase is Phase.JUDGING, 3), before.status.message
            before.errors = 0.5
            assert await before.comes(lambda: before.status.phase is Phase.HELD, 3), before.status.message
        async with opened(SPEC, before.server) as shop:
            what(shop)
            await asyncio.sleep(0.3)
            CountedRun.looks = 0
            shop.loop.feed.apply(
                HTTPROUTES, "MODIFIED", shop.server.keep(ROUTES["a"], shop.server.objects[ROUTES["a"]])
            )
            await asyncio.sleep(0.5)
            assert CountedRun.looks < 20, "it is looked at without a pause"
            assert await shop.comes(lambda: CountedRun.looks > 0, 10), "it is not looked at"
            assert shop.status.phase is Phase.HELD

    asyncio.run(story())


# ---- what others write stays -----------------------------------------------------------------------------------------


class Edited(Server):
    """An API server on which a person writes the routes as soon as a certain step is recorded, before it is taken."""

    def __init__(self, rule: Mapping[str, int], to: str, writes: Mapping[str, int]) -> None:
        super().__init__()
        self.to, self.writes, self.edited = to, writes, False
        self.watched: Callable[[Raw], None] = lambda _: None
        for name, path in ROUTES.items():
            self.keep(path, http_route(name, [rule]))

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        raw = await super().patch(path, body, kind=kind, timeout=timeout)
        intent = body["status"].get("intent") if path.endswith("/status") else None
        if not self.edited and intent is not None and intent["to"] == self.to:
            self.edited = True
            for each in ROUTES.values():
                self._edit(each)
        return raw

    def _edit(self, path: str) -> None:
        raw = copy.deepcopy(self.objects[path])
        for backend in raw["spec"]["rules"][0]["backendRefs"]:
            backend["weight"] = self.writes.get(backend["name"], backend["weight"])
        raw["metadata"]["generation"] += 1
        entry = {"manager": "kubectl-edit", "operation": "Update", "time": "2026-03-01T09:00:00Z"}
        raw["metadata"]["managedFields"] = [entry | {"fieldsV1": {"f:spec": {"f:rules": {}}}}]
        accept(raw)
        self.watched(self.keep(path, raw))


QUICK = changed(SPEC, {"stages[0].soak": "1s", "stages[0].pass": []})
WATCHED = pytest.mark.parametrize(
    "watched", [True, False], ids=["its watch event comes first", "no event has come yet"]
)


@WATCHED
def test_a_move_to_safety_between_the_record_of_a_step_and_the_step_stays(*, watched: bool) -> None:
    async def story() -> None:
        server = Edited({"v1": 100, "v2": 0}, "50%", {"v1": 100, "v2": 0})
        async with opened(QUICK, server) as shop:
            server.watched = (
                (lambda raw: shop.loop.feed.apply(HTTPROUTES, "MODIFIED", raw)) if watched else lambda _: None
            )
            assert await shop.comes(lambda: shop.status.phase is Phase.HELD, 6), shop.status.message
            assert server.edited
            assert shop.status.held_for == "Conflict"
            assert "kubectl-edit" in shop.status.message
            assert shop.weights() == {"a": BACK, "b": BACK}

    asyncio.run(story())


@WATCHED
def test_the_weight_of_a_foreign_backend_that_is_written_before_a_step_is_taken_stays(*, watched: bool) -> None:
    async def story() -> None:
        server = Edited({"v1": 100, "v2": 0, "mirror": 10}, "5%", {"mirror": 0})
        async with opened(QUICK, server) as shop:
            server.watched = (
                (lambda raw: shop.loop.feed.apply(HTTPROUTES, "MODIFIED", raw)) if watched else lambda _: None
            )
            assert await shop.comes(lambda: server.edited, 3), shop.status.message
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 3), shop.status.message
            assert shop.weights() == {"a": [95, 5, 0], "b": [95, 5, 0]}

    asyncio.run(story())


# ---- what is published is recorded -----------------------------------------------------------------------------------


def published(server: Server) -> list[Raw]:
    """The Events of decisions; what says only that a status cannot be written is none."""
    events = [raw for path, raw in server.objects.items() if path.startswith(EVENTS)]
    on_plans = (raw for raw in events if raw["regarding"]["kind"] == "RolloutPlan")
    return [raw for raw in on_plans if raw["reason"] != "StatusNotWritten"]


def no_status_once_proved(shop: Shop) -> None:
    shop.server.refuses = lambda method, path: (
        ApiError(500, "InternalError") if path.endswith("/status") and shop.proved else None
    )


def test_an_event_of_a_rollback_waits_until_its_decision_is_recorded() -> None:
    async def story() -> None:
        async with running() as shop:
            no_status_once_proved(shop)
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4)
            await asyncio.sleep(0.2)
            assert "RollbackStarted" not in {raw["reason"] for raw in published(shop.server)}
            shop.server.refuses = lambda method, path: None
            assert await shop.comes(lambda: published(shop.server)[-1]["reason"] == "RolledBack", 3)
            assert published(shop.server)[-2]["reason"] == "RollbackStarted"

    asyncio.run(story())


def test_every_event_says_what_stands_recorded_under_its_number_though_a_leader_died_before_its_record() -> None:
    async def story() -> None:
        async with running() as before:
            no_status_once_proved(before)
            before.errors = 0.5
            assert await before.comes(lambda: before.weights() == {"a": BACK, "b": BACK}, 4)
            await asyncio.sleep(0.2)
        before.server.refuses = lambda method, path: None
        async with opened(SPEC, before.server) as shop:
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status.message
            assert await shop.comes(lambda: len(published(shop.server)) == shop.status.seq, 3)
            recorded = {f"plan.01234567.{each.seq}": each.note for each in shop.status.decisions}
            assert {raw["metadata"]["name"]: raw["note"] for raw in published(shop.server)} == recorded

    asyncio.run(story())


# ---- every wait ends -------------------------------------------------------------------------------------------------


def short_of_pods(shop: Shop) -> None:
    """The pods of the new side do not become ready."""
    raw = deployment("v2")
    raw["status"] |= {"readyReplicas": 0}
    shop.loop.feed.apply(DEPLOYMENTS, "MODIFIED", shop.server.keep("v2", raw))


LATE = changed(SPEC, {"availability.readyWithin": "2s"})


def test_a_run_whose_new_side_never_stands_ends_in_time_however_slow_the_reads_are() -> None:
    async def story() -> None:
        async with opened(LATE, CountingServer(0.4)) as shop:
            short_of_pods(shop)
            assert await shop.comes(lambda: shop.status.phase is Phase.EXPANDING, 3), shop.status.message
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status.message
            assert shop.status.reason == "NewSideNotReady"

    asyncio.run(story())


@pytest.mark.parametrize("stands", [True, False])
def test_a_run_whose_new_side_may_no_longer_be_looked_at_ends_in_time(*, stands: bool) -> None:
    """The right to read Services was taken away during the run."""

    async def story() -> None:
        async with opened(LATE) as shop:
            short_of_pods(shop)
            assert await shop.comes(lambda: shop.status.phase is Phase.EXPANDING, 3), shop.status.message
            forbidden = ApiError(403, "Forbidden", "services is forbidden")
            shop.server.refuses = lambda method, path: forbidden if "/services" in path else None
            if stands:
                await asyncio.sleep(2.1)
                shop.loop.feed.apply(DEPLOYMENTS, "MODIFIED", shop.server.keep("v2", deployment("v2")))
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 8), shop.status.message
            assert "services is forbidden" in shop.status.message

    asyncio.run(story())


def test_a_job_that_may_not_be_read_ends_a_run_at_its_deadline() -> None:
    """Its words are in the status meanwhile."""

    async def story() -> None:
        server = Server()
        server.refuses = lambda method, path: (
            ApiError(403, "Forbidden", "jobs.batch is forbidden") if "/batch/" in path else None
        )
        async with opened(changed(SPEC, {"assumptions": [assumption("cache", deadline="2s")]}), server) as shop:
            assert await shop.comes(lambda: shop.status.phase is Phase.PROBING, 3), shop.status.message
            assert await shop.comes(lambda: "jobs.batch is forbidden" in shop.status.message, 1), shop.status.message
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status.message
            assert "jobs.batch is forbidden" in shop.status.message

    asyncio.run(story())


# ---- what is refused is told -----------------------------------------------------------------------------------------


def reasons(shop: Shop) -> list[str]:
    return [decision.reason for decision in shop.status.decisions]


def condition(shop: Shop) -> str:
    """What the status says of refused requests; empty where all are accepted."""
    found = shop.status.condition("RequestsAccepted")
    assert found is None or found.status == "False"
    return found.message if found else ""


def attempts(shop: Shop) -> int:
    """How often weights were to be written; Events and records of before may come late."""
    return sum(method == "PATCH" and path in ROUTES.values() for method, path, _ in shop.server.log)


def refuses_routes(shop: Shop, refusal: str) -> None:
    failure = REFUSALS[refusal]
    error = ApiError(failure.status, failure.reason, failure.message, failure.retry_after)
    shop.server.refuses = lambda method, path: error if method == "PATCH" and path in ROUTES.values() else None


@pytest.mark.parametrize(
    "refusal", ["an admission webhook", "a validation", "that it is overloaded", "an answer that was cut"]
)
def test_a_rollback_that_is_refused_says_so_and_goes_on_trying(refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "PASSES_WITHIN", timedelta(seconds=0.5))

    async def story() -> None:
        async with running() as shop:
            refuses_routes(shop, refusal)
            shop.errors = 0.5
            assert await shop.comes(lambda: WORDS in condition(shop), 5), shop.status.message
            status = shop.status
            assert (status.phase, status.message.count(WORDS)) == (Phase.ROLLING_BACK, 1)
            assert status.revert in status.message, "the way back by hand"
            tried, began = attempts(shop), time.monotonic()
            await asyncio.sleep(1.1)
            assert attempts(shop) - tried < 8 * (time.monotonic() - began), "it is tried without a pause"
            assert await shop.comes(lambda: attempts(shop) > tried, 10), "it is not tried again"
            assert [raw["reason"] for raw in published(shop.server)].count("RequestRefused") == 1
            shop.server.refuses = lambda method, path: None
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status.message
            assert shop.weights() == {"a": BACK, "b": BACK}
            assert not condition(shop)
            assert reasons(shop)[-1] == "RolledBack"
            assert reasons(shop).count("RequestRefused") <= len(ROUTES), "of each once, at most"

    asyncio.run(story())


@pytest.mark.parametrize("refusal", sorted(DEFINITE))
def test_a_first_weight_that_is_refused_for_good_ends_the_run_without_a_way_back(refusal: str) -> None:
    async def story() -> None:
        async with opened(SPEC) as shop:
            refuses_routes(shop, refusal)
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status.message
            assert shop.status.reason == "ShiftRefused"
            assert WORDS in shop.status.message
            assert not {"RollbackStarted", "RolledBack"} & {*reasons(shop)}
            assert shop.weights() == {"a": BACK, "b": BACK}
            assert await shop.comes(lambda: len(published(shop.server)) == shop.status.seq, 2)
            assert [WORDS in raw["note"] for raw in published(shop.server)].count(True) == 1

    asyncio.run(story())


def test_a_later_step_that_is_refused_is_told_once_and_taken_when_it_is_accepted() -> None:
    async def story() -> None:
        async with opened(QUICK) as shop:
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 3), shop.status.message
            refuses_routes(shop, "an admission webhook")
            assert await shop.comes(lambda: WORDS in condition(shop), 5), shop.status.message
            assert WORDS in shop.status.message
            assert shop.weights() == {"a": [95, 5], "b": [95, 5]}
            await asyncio.sleep(0.5)
            assert reasons(shop).count("RequestRefused") == 1
            shop.server.refuses = lambda method, path: None
            assert await shop.comes(lambda: shop.weights()["b"] == [50, 50], 12), shop.status.message
            assert await shop.comes(lambda: not condition(shop), 2), shop.status.message
            assert WORDS not in shop.status.message

    asyncio.run(story())


def test_what_may_not_be_looked_up_before_a_run_is_told() -> None:
    async def story() -> None:
        server = Server()
        forbidden = ApiError(403, "Forbidden", WORDS)
        server.refuses = lambda method, path: forbidden if "/services" in path else None
        async with opened(SPEC, server) as shop:
            assert await shop.comes(lambda: WORDS in condition(shop), 3), shop.status.message
            assert shop.status.phase is Phase.PENDING
            server.refuses = lambda method, path: None
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 12), shop.status.message
            assert not condition(shop)

    asyncio.run(story())


def test_a_status_that_may_not_be_written_is_told_by_one_event() -> None:
    async def story() -> None:
        async with running() as shop:
            forbidden = ApiError(403, "Forbidden", WORDS)
            shop.server.refuses = lambda method, path: forbidden if path.endswith("/status") else None
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4)
            await asyncio.sleep(0.5)
            events = [raw for path, raw in shop.server.objects.items() if path.startswith(EVENTS)]
            assert [raw["reason"] for raw in events if WORDS in raw["note"]] == ["StatusNotWritten"]

    asyncio.run(story())


# ---- who waits for whom ----------------------------------------------------------------------------------------------


@dataclass
class Counted(Shop):
    """A source that is asked for counters; `waited` has how long after the instant that each look is about."""

    waited: list[timedelta] = field(default_factory=list)

    async def counters(self, query: CountQuery, start: datetime, end: datetime, step: timedelta) -> Series:
        self.waited.append(datetime.now(UTC) - end)
        return []


WORSE = {
    "name": "worse",
    "events": {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'},
    "vsOld": "> 1.5x",
}


def test_a_plan_that_counts_waits_for_no_plan_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stagger, "COUNTED_A_SECOND", 1)

    async def story() -> None:
        async with opened(changed(SPEC, {"guards": [WORSE]}), make=Counted) as shop:
            assert isinstance(shop, Counted)
            for i in range(60):
                meta = {"namespace": "ns", "name": f"p{i}", "uid": f"{i}", "generation": 1, "resourceVersion": "1"}
                meta["creationTimestamp"] = "2026-03-01T09:00:00Z"
                raw = {"metadata": meta, "spec": SPEC, "status": {"phase": "Succeeded"}}
                shop.loop.store.apply(PLANS, "ADDED", raw)
            assert await shop.comes(lambda: len(shop.waited) >= 4, 14), shop.status.message
            assert max(shop.waited) < timedelta(seconds=14), "it would be 28 with the others"

    asyncio.run(story())
