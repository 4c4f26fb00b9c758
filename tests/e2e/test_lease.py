"""The elector on a real API server: it takes what the elector writes, and refuses what comes late."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api
from rolloutplan.cluster.lease import Elector
from tests.bed import Bed, Stopwatch, objects
from tests.bed.api import MERGE_PATCH

NAME = "rolloutplan"


@pytest.fixture
def namespace(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KUBECONFIG", str(bed.kubeconfig()))
    name = f"lease-{uuid4().hex[:6]}"
    bed.apply(objects.namespace(name))
    yield name
    bed.delete(objects.namespace(name))


class Replica:
    """An elector that runs; `told` is what it told."""

    def __init__(self, api: Api, namespace: str, identity: str) -> None:
        self.told: list[int | str] = []
        told = self.told.append
        self.elector = Elector(api, namespace=namespace, name=NAME, identity=identity, gained=told, lost=told)
        self._task = asyncio.create_task(self.elector.run())

    async def kill(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def terminate(self) -> None:
        await self.kill()
        await self.elector.release()


@asynccontextmanager
async def connected() -> AsyncIterator[Api]:
    api = await Api.connect(timeout=3)
    try:
        yield api
    finally:
        await api.close()


async def until(condition: Callable[[], bool], within: float) -> float:
    """How long it took until it was so, in seconds of a Stopwatch."""
    watch = Stopwatch()
    while not condition():
        if watch.seconds() > within:
            raise TimeoutError
        await asyncio.sleep(0.01)
    return watch.seconds()


def stored(bed: Bed, namespace: str) -> dict[str, Any]:
    lease: dict[str, Any] = bed.get(paths.lease(namespace, NAME))
    return lease


@pytest.mark.any_cluster
def test_one_leads_and_a_release_hands_over_within_two_seconds(bed: Bed, namespace: str) -> None:
    async def story() -> None:
        async with connected() as api:
            a = Replica(api, namespace, "a")
            await until(a.elector.may_write, 3)
            b = Replica(api, namespace, "b")
            first = stored(bed, namespace)
            await until(lambda: stored(bed, namespace)["spec"]["renewTime"] > first["spec"]["renewTime"], 5)
            spec = stored(bed, namespace)["spec"]
            assert spec["acquireTime"] == first["spec"]["acquireTime"]
            assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("a", 1, 15)
            assert b.elector.holder == "a" and not b.elector.leading
            await a.terminate()
            assert await until(b.elector.may_write, 3) < 2
            assert stored(bed, namespace)["spec"]["leaseTransitions"] == b.elector.epoch == 2
            await b.kill()
            again = Replica(api, namespace, "b")
            await until(again.elector.may_write, 3)
            await again.kill()
            assert (a.told, b.told, again.told) == ([1], [2], [3])

    asyncio.run(story())


@pytest.mark.any_cluster
def test_a_lease_changed_by_others_is_lost_or_put_back_or_repaired(bed: Bed, namespace: str) -> None:
    async def story() -> None:
        async with connected() as api:
            a = Replica(api, namespace, "a")
            await until(a.elector.may_write, 3)
            path = paths.lease(namespace, NAME)
            bed.api("PATCH", path, {"metadata": {"labels": {"touched": "yes"}}}, MERGE_PATCH)
            bed.api("PATCH", path, {"spec": {"leaseDurationSeconds": 3600}}, MERGE_PATCH)
            await until(lambda: stored(bed, namespace)["spec"]["leaseDurationSeconds"] == 15, 5)
            bed.api("DELETE", path)
            await until(lambda: bool(bed.get(paths.lease(namespace))["items"]), 5)
            assert a.told == [1]
            bed.api("PATCH", path, {"spec": None}, MERGE_PATCH)
            await until(lambda: a.elector.epoch == 2, 5)
            bed.api("PATCH", path, {"spec": {"holderIdentity": "b", "leaseTransitions": 3}}, MERGE_PATCH)
            await until(lambda: not a.elector.leading, 5)
            assert a.told == [1, "", 2, "b"]
            await a.terminate()
            assert stored(bed, namespace)["spec"]["holderIdentity"] == "b"

    asyncio.run(story())
