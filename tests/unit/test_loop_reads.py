"""The reads of the loop: what is looked up before a run takes its turn like a write, and ends however slow it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster import paths
from rolloutplan.engine.rules import expand
from rolloutplan.loop.limiter import Places
from rolloutplan.loop.routes import place_of
from rolloutplan.traffic import ROUTE_KINDS
from tests.refusals import changed
from tests.unit.test_loop_back import SPEC, Server, Shop, accept, deployment, loop_over, serve, service
from tests.world import http_route

HTTPROUTES = place_of(ROUTE_KINDS["HTTPRoute"])


class CountingServer(Server):
    """An API server that takes its time for every read. `most` is how many it had at once of Services and pods."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.reads, self.most = seconds, 0, 0

    async def get(self, path: str, **how: object) -> dict[str, Any]:
        return await self._slowly(super().get, path, **how)

    async def list(self, path: str, **how: object) -> dict[str, Any]:
        return await self._slowly(super().list, path, **how)

    async def _slowly(self, read: Callable[..., Awaitable[dict[str, Any]]], path: str, **how: object) -> dict[str, Any]:
        again = "/rolloutplans/" in path or "/httproutes/" in path  # after a refused write, at its priority
        again = again or "/rolloutrecords/" in path  # in the places of Events
        self.reads += not again
        self.most = max(self.most, self.reads)
        try:
            await asyncio.sleep(self.seconds)
            return await read(path, **how)
        finally:
            self.reads -= not again


async def started(server: Server, plans: int, within: float) -> int:
    """How many of so many plans, each with a route of its own, have moved their first weight in time."""
    reconciler = loop_over(server, Shop(server))
    reconciler.lead(epoch=1)
    source = {"metadata": {"namespace": "ns", "name": "default"}, "spec": {"prometheus": {"url": "http://nowhere"}}}
    reconciler.feed.apply("metricsources.rolloutplan.dev", "ADDED", server.keep("source", source))
    for name in ("v1", "v2"):
        reconciler.feed.apply("deployments.apps", "ADDED", server.keep(name, deployment(name)))
        server.keep(paths.service("ns", name), service(name))
    serve(reconciler)
    for name in (f"p{i}" for i in range(plans)):
        route = http_route(name, [{"v1": 100, "v2": 0}])
        accept(route)
        reconciler.feed.apply(HTTPROUTES.resource, "ADDED", server.keep(paths.path(HTTPROUTES, "ns", name), route))
        meta = {"namespace": "ns", "name": name, "uid": name, "generation": 1}
        meta |= {"creationTimestamp": "2026-03-01T09:00:00Z"}
        spec = changed(SPEC, {"traffic.routes": [{"kind": "HTTPRoute", "name": name}]})
        raw = server.keep(paths.plan("ns", name), {"metadata": meta, "spec": spec})
        reconciler.feed.apply("rolloutplans.rolloutplan.dev", "ADDED", raw)

    def current_task() -> int:
        phases = reconciler.store.phases()
        return phases[Phase.SHIFTING] + phases[Phase.JUDGING]

    turning = asyncio.create_task(reconciler.schedule.run())
    for _ in range(int(within / 0.02)):
        if current_task() == plans:
            break
        await asyncio.sleep(0.02)
    turning.cancel()
    await asyncio.gather(turning, return_exceptions=True)
    await reconciler.close()
    return current_task()


def test_many_plans_that_start_together_take_no_more_places_than_there_are_for_reads() -> None:
    server = CountingServer(0.01)
    assert asyncio.run(started(server, 60, within=10)) == 60
    assert server.most <= Places().reads


def test_a_run_starts_however_long_the_look_round_before_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found is as old as its answers: counted from before the requests, it would be too old at once."""
    monkeypatch.setattr(expand, "COUNTED_WITHIN", timedelta(seconds=0.2))
    assert asyncio.run(started(CountingServer(0.15), 1, within=3)) == 1
