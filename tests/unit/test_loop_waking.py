"""Who is woken: what the store says of a change is acted upon, whichever way the change was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster import paths
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import CLUSTER_SOURCES, DEPLOYMENTS, PLANS, SOURCES
from rolloutplan.loop.versions import Listing
from rolloutplan.metrics.pool import Key
from rolloutplan.traffic import ROUTE_KINDS
from tests.unit.test_loop_back import ROUTES, SPEC, Raw, Server, Shop, accept, deployment, loop_over, serve, service
from tests.world import http_route

ELDER, YOUNGER = (paths.plan("ns", name) for name in ("elder", "younger"))


def plan(name: str, hour: int) -> Raw:
    meta = {"namespace": "ns", "name": name, "uid": name, "generation": 1}
    return {"metadata": meta | {"creationTimestamp": f"2026-03-01T{hour:02}:00:00Z"}, "spec": SPEC}


def fill(reconciler: Reconciler, server: Server) -> None:
    """All that two plans on the same routes need; the elder one goes first."""
    for name, path in ROUTES.items():
        raw = http_route(name, [{"v1": 100, "v2": 0}])
        accept(raw)
        reconciler.feed.apply(place_of(ROUTE_KINDS["HTTPRoute"]).resource, "ADDED", server.keep(path, raw))
    for name in ("v1", "v2"):
        reconciler.feed.apply(DEPLOYMENTS, "ADDED", server.keep(name, deployment(name)))
        server.keep(paths.service("ns", name), service(name))
    serve(reconciler)
    source: Raw = {"metadata": {"namespace": "ns", "name": "default"}}
    source["spec"] = {"prometheus": {"url": "http://nowhere"}, "scrapeInterval": "1s"}
    reconciler.feed.apply(SOURCES, "ADDED", server.keep("source", source))
    reconciler.feed.apply(PLANS, "ADDED", server.keep(ELDER, plan("elder", 8)))
    reconciler.feed.apply(PLANS, "ADDED", server.keep(YOUNGER, plan("younger", 9)))


class Deleting(Server):
    """An API server in which the elder plan is deleted while its status is being written."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: Callable[[Raw], None] = lambda _: None

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        if path == f"{ELDER}/status" and ELDER in self.objects:
            await asyncio.sleep(0.1)  # the younger one has seen by then that the elder goes first
            raw = self.objects.pop(ELDER)
            self._version += 1
            raw["metadata"]["resourceVersion"] = str(self._version)
            self.gone(raw)
        return await super().patch(path, body, kind=kind, timeout=timeout)


@pytest.mark.parametrize("first", ["the event that it is gone", "the answer that it is not found"])
def test_a_plan_starts_when_the_one_that_it_waits_for_is_deleted(first: str) -> None:
    """Whichever says so first: to the other there is nothing left to say."""

    async def story() -> None:
        server = Deleting()
        reconciler = loop_over(server, Shop(server))
        if first.startswith("the event"):
            server.gone = lambda raw: reconciler.feed.apply(PLANS, "DELETED", raw)
        reconciler.lead(epoch=1)
        fill(reconciler, server)
        turning = asyncio.create_task(reconciler.schedule.run())
        for _ in range(300):
            younger = reconciler.store.plans["ns/younger"]
            if younger.status.phase not in (Phase.PENDING, Phase.INVALID):
                break
            await asyncio.sleep(0.01)
        turning.cancel()
        await reconciler.close()
        assert younger.status.phase not in (Phase.PENDING, Phase.INVALID), younger.status.message
        assert set(reconciler.store.plans) == {"ns/younger"}

    asyncio.run(story())


class Kept:
    """As `Sources`: keeps what is to stay open."""

    keys: Collection[Key] = ()

    def keep(self, used: Collection[Key]) -> None:
        self.keys = set(used)


def test_a_source_is_closed_that_is_not_in_a_complete_list() -> None:
    """It went while the stream was down, and no event will ever say so."""
    sources = Kept()
    reconciler = loop_over(Server(), sources)
    for kind, name in ((SOURCES, "a"), (SOURCES, "b"), (CLUSTER_SOURCES, "c")):
        meta = {"name": name, "resourceVersion": "5"} | ({"namespace": "ns"} if kind == SOURCES else {})
        reconciler.feed.apply(kind, None, {"metadata": meta, "spec": {"prometheus": {"url": "http://nowhere"}}})
    reconciler.feed.listed(Listing(SOURCES, None, frozenset({("ns", "b")}), "9"))
    assert sources.keys == {Key(SOURCES, "ns", "b"), Key(CLUSTER_SOURCES, "", "c")}
