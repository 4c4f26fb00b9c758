"""The operator killed at any write of an owned route, or deposed in the middle of one: no weight is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import jsonpatch
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolloutplan.api.route import RouteId
from rolloutplan.cluster.client import ApiError
from tests.repetition import times
from tests.unit.test_loop_owned_routes import NAMESPACE, OWN, Cluster, Host, Raw

Fate = Literal["done", "killed before", "killed after", "late"]
"""What becomes of a write: "late" is one that arrives when another operator has taken over and done it already."""
FATES: list[Fate] = ["done", "killed before", "killed after", "late"]
QUIET = 0.02
"""Seconds in which the other operator does all that is due: it waits for nothing."""


class Killed(BaseException):
    """The process is gone; nothing of it runs on."""


class Crashing(Cluster):
    """Takes writes at the version that they name, as an API server does; each write has a fate."""

    def __init__(self, fates: Sequence[Fate]) -> None:
        super().__init__()
        self._fates = iter(fates)
        self.takeover: Callable[[], None] = lambda: None
        self.weights: Mapping[str, int] | None = None
        """Those of the run, once it has moved them."""
        self.wrong: list[str] = []

    @asynccontextmanager
    async def _written(self) -> AsyncIterator[None]:
        fate = next(self._fates, "done")
        if fate == "killed before":
            raise Killed
        if fate == "late":
            self.takeover()
            await asyncio.sleep(QUIET)
        try:
            yield
        except (AssertionError, jsonpatch.JsonPatchTestFailed):
            raise (Killed if fate == "late" else ApiError(409, "Conflict", "not the newest version")) from None
        self.check()
        if fate != "done":
            raise Killed

    async def create(self, path: str, body: Mapping[str, Any]) -> Raw:
        async with self._written():
            assert OWN not in self.routes
            return await super().create(path, body)

    async def patch(self, path: str, body: Sequence[Mapping[str, Any]], *, kind: Any) -> Raw:
        async with self._written():
            assert OWN in self.routes
            return await super().patch(path, body, kind=kind)

    async def delete(self, path: str, *, version: str) -> Raw:
        async with self._written():
            assert OWN in self.routes
            return await super().delete(path, version=version)

    def shares(self, name: str) -> dict[str, int]:
        return {ref["name"]: ref["weight"] for ref in self.routes[name]["spec"]["rules"][0]["backendRefs"]}

    def move(self, weights: Mapping[str, int]) -> None:
        """What the run writes, with a version of its own."""
        self.weights = weights
        own = self.routes[OWN]
        refs = [{**ref, "weight": weights[ref["name"]]} for ref in own["spec"]["rules"][0]["backendRefs"]]
        self.put(OWN, {**own, "spec": {**own["spec"], "rules": [{**own["spec"]["rules"][0], "backendRefs": refs}]}})

    def check(self) -> None:
        where = OWN if OWN in self.routes else "checkout"
        if self.weights is not None and self.shares(where) != self.weights:
            self.wrong.append(f"{where} has the traffic, with {self.shares(where)} instead of {self.weights}")


async def story(host: Host, cluster: Crashing, end: Literal["RolledBack", "Succeeded"]) -> None:
    """A whole run, while Git writes its own weights."""
    host.git({"v1": 100, "v2": 0})
    host.plan()
    await host.until(lambda: OWN in cluster.routes, "made")
    host.plan("Judging", moves=OWN)
    cluster.move({"v1": 75, "v2": 25})
    host.git({"v1": 100, "v2": 0}, timeouts={"request": "1s"})
    await host.until(lambda: "timeouts" in cluster.routes[OWN]["spec"]["rules"][0], "follows in the run")
    last = {"v1": 100, "v2": 0} if end == "RolledBack" else {"v1": 0, "v2": 100}
    cluster.move(last)
    host.plan(end)
    await asyncio.sleep(QUIET)
    cluster.check()
    host.git(last)
    await host.until(lambda: OWN not in cluster.routes, "handed back")
    cluster.check()
    await host.until(lambda: (NAMESPACE, RouteId("HTTPRoute", "checkout")) not in host.store.owned_notes, "told")
    assert not host.note
    assert not cluster.wrong


@settings(max_examples=times(10), deadline=None)
@given(fates=st.lists(st.sampled_from(FATES), max_size=6), end=st.sampled_from(["RolledBack", "Succeeded"]))
@example(fates=["late"] * 4, end="Succeeded")
@example(fates=["killed before", "killed after"] * 3, end="Succeeded")
def test_a_kill_at_any_write_changes_no_weight_and_loses_no_step(
    fates: list[Fate], end: Literal["RolledBack", "Succeeded"]
) -> None:
    async def course() -> None:
        with pytest.MonkeyPatch.context() as patch:
            cluster = Crashing(fates)
            host = Host(patch, cluster)
            operators: set[asyncio.Task[None]] = set()

            async def operator() -> None:
                with contextlib.suppress(Killed):
                    await host.routes.run()
                if asyncio.current_task() in operators:
                    takeover(asyncio.current_task())

            def takeover(before: asyncio.Task[None] | None = None) -> None:
                """Another operator leads: it knows what is in the cluster, and nothing else."""
                operators.clear()
                host.restart()
                operators.add(asyncio.create_task(operator()))

            cluster.takeover = takeover
            takeover()
            try:
                await story(host, cluster, end)
            finally:
                for task in operators:
                    task.cancel()

    asyncio.run(course())
