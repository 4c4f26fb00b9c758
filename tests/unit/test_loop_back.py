"""The way back through the real loop, over an API server in memory that refuses some of it.

The reconciler, store and schedule are the real ones, on the real clock; the API server keeps objects, checks JSON
Patches and resourceVersions, and answers with an error where `refuses` says so.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, cast

import jsonpatch
import pytest

from rolloutplan.api.status import Phase, Status, read_status
from rolloutplan.api.tasks import JOBS_LABEL
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.cluster.endpoints import SERVICE_LABEL
from rolloutplan.engine.model.grants import EVERYTHING
from rolloutplan.engine.model.queries import NumberQuery
from rolloutplan.loop import executor
from rolloutplan.loop.limiter import Places, Priority, RequestLimiter
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.sinks import Sinks
from rolloutplan.loop.store import Store
from rolloutplan.metrics.pool import Sources
from rolloutplan.stats.verdict import Answer
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.traffic import ROUTE_KINDS
from tests.provider import HOSTS, FakeProvider
from tests.refusals import changed
from tests.world import PLAN, http_route

PLAN_PATH = paths.plan("ns", "plan")
ACCOUNT = paths.service_account("ns", "jobs")
ROUTES = {name: paths.path(place_of(ROUTE_KINDS["HTTPRoute"]), "ns", name) for name in ("a", "b")}
SPEC = changed(
    PLAN,
    {
        "interval": "1s",
        "traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in ROUTES],
        "guards[0].window": "1s",
        "stages[0].soak": "1h",
        "stages[0].deadline": "2h",
        "stages[0].fail": [],
    },
)
Raw = dict[str, Any]
Refuses = Callable[[str, str], ApiError | None]


class Server:
    """An API server of a few objects. `log` holds method, path and whether it was refused."""

    def __init__(self) -> None:
        self.objects: dict[str, Raw] = {}
        self.log: list[tuple[str, str, bool]] = []
        self.refuses: Refuses = lambda method, path: None
        self._version = 0
        self.objects[ACCOUNT] = {"metadata": {"name": "jobs", "labels": {JOBS_LABEL: "true"}}}

    def keep(self, path: str, raw: Raw) -> Raw:
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = raw
        return copy.deepcopy(raw)

    async def get(self, path: str, **_: object) -> Raw:
        return copy.deepcopy(self._found("GET", path))

    async def list(self, path: str, **_: object) -> Raw:
        self._heard("LIST", path)
        return {"items": []}

    async def create(self, path: str, body: Mapping[str, Any], **_: object) -> Raw:
        self._heard("POST", path)
        if path == paths.access_review():
            return {"status": {"allowed": True}}
        where = f"{path}/{body['metadata']['name']}"
        if where in self.objects:
            raise ApiError(409, "AlreadyExists")
        return self.keep(where, copy.deepcopy(dict(body)))

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        await asyncio.sleep(0.001)
        self._heard("PATCH", path)
        path = path.removesuffix("/status")
        raw = copy.deepcopy(self._found("PATCH", path, heard=True))
        if kind == "json":
            try:
                raw = jsonpatch.apply_patch(raw, body)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise ApiError(422, "Invalid", str(error)) from error
            raw["metadata"]["generation"] = raw["metadata"].get("generation", 0) + 1
            if "parents" in raw.get("status", {}):
                accept(raw)
        else:
            if body["metadata"]["resourceVersion"] != raw["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict")
            raw["status"] = merged(raw.get("status", {}), body["status"])
        return self.keep(path, raw)

    def _heard(self, method: str, path: str) -> None:
        error = self.refuses(method, path)
        self.log.append((method, path, error is not None))
        if error is not None:
            raise error

    def _found(self, method: str, path: str, *, heard: bool = False) -> Raw:
        if not heard:
            self._heard(method, path)
        if path not in self.objects:
            raise ApiError(404, "NotFound")
        return self.objects[path]


def accept(route: Raw) -> None:
    condition = {"type": "Accepted", "status": "True", "observedGeneration": route["metadata"]["generation"]}
    route["status"] = {"parents": [{"conditions": [condition]}]}


def merged(before: Mapping[str, Any], patch: Mapping[str, Any]) -> Raw:
    """JSON Merge Patch."""
    after = {key: value for key, value in before.items() if key not in patch}
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            after[key] = merged(before[key], value)
        elif value is not None:
            after[key] = value
    return after


def deployment(name: str) -> Raw:
    return {
        "metadata": {"namespace": "ns", "name": name, "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
        },
    }


def service(name: str) -> Raw:
    """The Service of the Deployment of the same name."""
    return {"metadata": {"namespace": "ns", "name": name}, "spec": {"selector": {"app": name}, "clusterIP": "10.0.0.1"}}


def serve(reconciler: Reconciler) -> None:
    """Both Services have the pod of their Deployment for an endpoint."""
    slices = [
        {
            "metadata": {"namespace": "ns", "name": name, "labels": {SERVICE_LABEL: name}},
            "endpoints": [{"addresses": ["10.0.0.2"], "targetRef": {"kind": "Pod", "name": f"{name}-5d8f-abcde"}}],
            "ports": [{"port": 80}],
        }
        for name in ("v1", "v2")
    ]
    reconciler.feed.endpoints_listed(None, [("ns", "v1"), ("ns", "v2")], slices)


def loop_over(
    server: object, sources: object, store: Store | None = None, limiter: RequestLimiter | None = None
) -> Reconciler:
    """The loop over an API server and metric sources in memory."""
    client, metrics = partial((limiter or RequestLimiter()).client, cast("Api", server)), Metrics()
    store = store or Store(HOSTS)
    sinks = Sinks(client, store.shared.notifiers, metrics, instance="test")
    return Reconciler(client, store, cast("Sources", sources), metrics, sinks)


@dataclass
class Shop(FakeProvider):
    """A plan on two routes, its metric source, and the loop that runs it."""

    server: Server = field(default_factory=Server)
    limiter: RequestLimiter = field(default_factory=RequestLimiter)
    loop: Reconciler = field(init=False)
    errors: float = 0.0
    proved: bool = False
    """Whether the source has said what proves the guard."""
    warm: list[Answer] = field(default_factory=list)
    """What is said first of what is assumed."""

    async def evaluate(self, query: NumberQuery, at: datetime) -> Answer:
        if str(query).startswith("warm"):
            return self.warm.pop(0) if self.warm else Answer(0.95)
        if str(query).startswith("errors"):
            self.proved = self.proved or self.errors > 0.01
            return Answer(self.errors)
        return Answer(0.95)

    def get(self, *_: object) -> Shop:
        """As `Sources.get`: it is the only source."""
        return self

    def keep(self, used: Collection[object]) -> None:
        """As `Sources.keep`."""

    def weights(self) -> dict[str, list[int]]:
        routes = {name: self.server.objects[path] for name, path in ROUTES.items()}
        return {
            name: [backend["weight"] for backend in raw["spec"]["rules"][0]["backendRefs"]]
            for name, raw in routes.items()
        }

    @property
    def status(self) -> Status:
        return read_status(self.server.objects[PLAN_PATH].get("status"))

    async def comes(self, true: Callable[[], bool], within: float) -> bool:
        for _ in range(int(within / 0.01)):
            if true():
                return True
            await asyncio.sleep(0.01)
        return true()


@asynccontextmanager
async def running(server: Server | None = None) -> AsyncIterator[Shop]:
    async with opened(SPEC, server) as shop:
        assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 3), shop.status.message
        assert shop.weights() == {"a": [95, 5], "b": [95, 5]}
        yield shop


@asynccontextmanager
async def opened(
    spec: Mapping[str, Any], server: Server | None = None, make: Callable[[Server], Shop] = Shop
) -> AsyncIterator[Shop]:
    """The loop, and the plan applied; or the loop of the next leader, where the API server has them from before."""
    shop = make(server or Server())
    reconciler = loop_over(shop.server, shop, Store(HOSTS, grants=EVERYTHING), shop.limiter)
    shop.loop = reconciler
    reconciler.lead(epoch=1 if PLAN_PATH not in shop.server.objects else 2)
    for name, path in ROUTES.items():
        raw = shop.server.objects.get(path) or http_route(name, [{"v1": 100, "v2": 0}])
        accept(raw)
        reconciler.feed.apply("httproutes.gateway.networking.k8s.io", "ADDED", shop.server.keep(path, raw))
    for name in ("v1", "v2"):
        reconciler.feed.apply("deployments.apps", "ADDED", shop.server.keep(name, deployment(name)))
        shop.server.keep(paths.service("ns", name), service(name))
    serve(reconciler)
    source = {
        "metadata": {"namespace": "ns", "name": "default"},
        "spec": {"prometheus": {"url": "http://nowhere"}, "scrapeInterval": "1s"},
    }
    reconciler.feed.apply("metricsources.rolloutplan.dev", "ADDED", shop.server.keep("source", source))
    plan = {
        "metadata": {
            "namespace": "ns",
            "name": "plan",
            "uid": "0123456789",
            "generation": 1,
            "creationTimestamp": "2026-03-01T09:00:00Z",
        },
        "spec": spec,
    }
    plan = shop.server.objects.get(PLAN_PATH, plan)
    reconciler.feed.apply("rolloutplans.rolloutplan.dev", "ADDED", shop.server.keep(PLAN_PATH, plan))
    turning = asyncio.create_task(reconciler.schedule.run())
    try:
        yield shop
    finally:
        turning.cancel()
        await reconciler.close()


BACK = [100, 0]


def test_the_weights_go_back_though_no_status_can_be_written_from_before_the_failure_on() -> None:
    """A status that cannot be written must not keep the guards from being asked."""

    async def story() -> None:
        async with running() as shop:
            shop.server.refuses = lambda method, path: (
                ApiError(500, "InternalError") if path.endswith("/status") else None
            )
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4), shop.server.log[-5:]

    asyncio.run(story())


def test_where_the_operator_may_write_no_status_the_probe_names_the_right_and_the_weights_go_back() -> None:
    said = (
        'rolloutplans.rolloutplan.dev "checkout" is forbidden: User "rp" cannot patch resource "rolloutplans/status" '
        'in API group "rolloutplan.dev" in the namespace "shop"'
    )

    async def story() -> None:
        async with running() as shop:
            shop.server.refuses = lambda _, path: ApiError(403, "Forbidden", said) if path.endswith("/status") else None
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4), shop.server.log[-5:]
            assert await shop.comes(lambda: bool(shop.loop.troubles.waits_for()), 4)
            (why,) = shop.loop.troubles.waits_for()
            assert "cannot be written: the operator may not patch rolloutplans.rolloutplan.dev/status" in why
            shop.server.refuses = lambda *_: None
            assert await shop.comes(lambda: not shop.loop.troubles.waits_for(), 4)

    asyncio.run(story())


def test_the_weights_go_back_though_their_first_write_and_every_record_of_it_is_refused() -> None:
    """An owed status must not stand before the weights."""

    async def story() -> None:
        async with running() as shop:
            refused: list[str] = []

            def refuses(method: str, path: str) -> ApiError | None:
                if path.endswith("/status") and shop.proved:
                    return ApiError(500, "InternalError")
                if method == "PATCH" and path in ROUTES.values() and not refused:
                    refused.append(path)
                    return ApiError(503, "Unavailable")
                return None

            assert await shop.comes(lambda: bool(shop.status.predicates[0].at), 3)
            shop.server.refuses = refuses
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4), shop.server.log[-5:]
            shop.server.refuses = lambda method, path: None
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 3), shop.status

    asyncio.run(story())


class SlowRoutes(Server):
    """An API server that takes its time with routes once `takes` is set."""

    takes = 0.0

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        if path in ROUTES.values():
            await asyncio.sleep(self.takes)
        return await super().patch(path, body, kind=kind, timeout=timeout)


@pytest.mark.parametrize(
    ("takes", "first", "is_back"), [(0.02, 60.0, True), (9.0, 0.3, False)], ids=["slow", "hanging"]
)
def test_a_rollback_is_recorded_after_its_weights_and_all_the_same_where_these_hang(
    takes: float, first: float, monkeypatch: pytest.MonkeyPatch, *, is_back: bool
) -> None:
    monkeypatch.setattr(executor, "WEIGHTS_FIRST", first)

    async def story() -> None:
        server = SlowRoutes()
        async with running(server) as shop:
            server.takes, shop.errors = takes, 0.5
            assert await shop.comes(lambda: shop.status.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK), 4)
            assert (shop.weights() == {"a": BACK, "b": BACK}) is is_back

    asyncio.run(story())


def test_a_route_that_cannot_be_written_keeps_no_other_route_from_going_back() -> None:
    async def story() -> None:
        async with running() as shop:
            shop.server.refuses = lambda method, path: (
                ApiError(403, "Forbidden", "a webhook says no") if (method, path) == ("PATCH", ROUTES["a"]) else None
            )
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights()["b"] == BACK, 4), shop.server.log[-5:]
            before = len(shop.server.log)
            await asyncio.sleep(1)
            assert len(shop.server.log) - before < 10, "the API server is asked without a pause"
            assert shop.status.phase is Phase.ROLLING_BACK
            shop.server.refuses = lambda method, path: None
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 3), shop.status
            assert shop.weights() == {"a": BACK, "b": BACK}

    asyncio.run(story())


def test_a_new_leader_goes_back_though_other_requests_hang_in_all_places_that_are_shared() -> None:
    """It first reads the plan, which another leader may have taken further; that read needs no shared place either."""

    async def story() -> None:
        async with running() as before:
            server = before.server
        async with opened(SPEC, server) as shop, AsyncExitStack() as hanging:
            for _ in range(Places().shared):
                await hanging.enter_async_context(shop.limiter.place(Priority.RECORDS))
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4), shop.server.log[-5:]

    asyncio.run(story())


def test_weights_that_somebody_has_moved_are_put_back_before_what_was_measured_of_others_is_written() -> None:
    async def story() -> None:
        async with running() as shop, AsyncExitStack() as hanging:
            for _ in range(Places().shared - 1):
                await hanging.enter_async_context(shop.limiter.place(Priority.RECORDS))
            written: list[str] = []

            def note(_: str, path: str) -> None:
                written.append(path)

            async def measured() -> None:
                async with shop.limiter.place(Priority.PROGRESS):
                    written.append("measured")
                    await asyncio.sleep(0.02)

            async with shop.limiter.place(Priority.RECORDS):
                shop.server.refuses = note
                others = [asyncio.create_task(measured()) for _ in range(20)]
                raw = shop.server.objects[ROUTES["a"]]
                raw["spec"]["rules"][0]["backendRefs"][1]["weight"] = 77
                route = shop.server.keep(ROUTES["a"], raw)
                shop.loop.feed.apply("httproutes.gateway.networking.k8s.io", "MODIFIED", route)
                await asyncio.sleep(0.1)
                assert written.count(f"{PLAN_PATH}/status") == written.count(ROUTES["a"]) == 0
            assert await shop.comes(lambda: shop.weights()["a"] == [95, 5], 3), written
            before = written[: written.index(ROUTES["a"])]
            assert before.count("measured") <= 2, "no more than begin while the decision is answered"
            await asyncio.gather(*others)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("hanging", "places", "written"),
    [
        (Priority.ROLLOUT_RECORDS, Places().rollout_records, paths.event("ns")),
        (Priority.EVENTS, Places().events, paths.record("ns")),
        (Priority.OBJECT_EVENTS, Places().object_events, paths.event("ns")),
    ],
    ids=["Events go on while records hang", "records go on while Events hang", "and while those on objects hang"],
)
def test_a_sink_that_hangs_holds_up_no_other(hanging: Priority, places: int, written: str) -> None:
    async def story() -> None:
        async with opened(SPEC) as shop, AsyncExitStack() as stack:
            for _ in range(places):
                await stack.enter_async_context(shop.limiter.place(hanging))
            assert await shop.comes(lambda: any(each.startswith(written) for each in shop.server.objects), 3)

    asyncio.run(story())
