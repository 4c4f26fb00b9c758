"""The real loop over an API server that takes its time: for each request, each answer and each event of a watch.

A rollback waits for nothing, so it is decided while a step is on its way to the API server, or its answer on its way
back. In every story an operator ends between the record of its first step and the weights. Its successor goes on with
that step, and then sees the cause to go back.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster.client import ApiError
from tests.repetition import times
from tests.unit.test_loop_back import BACK, PLAN_PATH, ROUTES, SPEC, Raw, Server, Shop, opened

LONGEST = 0.05
"""Seconds that a request, an answer or an event is under way at most."""
SLOWEST = 1.5
"""Seconds that weights are: the guard is judged a second after the step was recorded, so they are under way then."""
AT_ONCE = 12
"""Stories that one event loop tells at the same time."""
KINDS = dict.fromkeys(ROUTES.values(), "httproutes.gateway.networking.k8s.io") | {
    PLAN_PATH: "rolloutplans.rolloutplan.dev"
}


class SlowServer(Server):
    """Some requests take no time. Events come in their order, and later than the answers or sooner."""

    shop: Shop

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self.under_way = 0
        """The writes that have not come yet."""
        self._told_at = dict.fromkeys(KINDS.values(), 0.0)

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        longest = SLOWEST if kind == "json" and any("/weight" in each["path"] for each in body) else LONGEST
        self.under_way += 1
        try:
            await asyncio.sleep(self._while(longest))
            raw = await super().patch(path, body, kind=kind, timeout=timeout)
        finally:
            self.under_way -= 1
        self._tell(path.removesuffix("/status"), raw, longest)
        await asyncio.sleep(self._while(longest))
        return raw

    async def get(self, path: str, **how: object) -> Raw:
        await asyncio.sleep(self._while())
        raw = await super().get(path, **how)
        await asyncio.sleep(self._while())
        return raw

    def _while(self, longest: float = LONGEST) -> float:
        return self._rng.choice((0.0, self._rng.random() * longest))

    def _tell(self, path: str, raw: Raw, longest: float) -> None:
        if path in KINDS:
            loop = asyncio.get_running_loop()
            self._told_at[KINDS[path]] = max(self._told_at[KINDS[path]], loop.time() + self._while(longest))
            loop.call_at(self._told_at[KINDS[path]], self.shop.loop.feed.apply, KINDS[path], "MODIFIED", raw)


async def story(seed: int) -> str:
    """What is wrong with a run that goes back on an API server of this seed; empty if nothing is."""
    server = SlowServer(Random(seed))

    def shop_of(_: Server) -> Shop:
        server.shop = Shop(server)
        return server.shop

    server.refuses = lambda _, path: ApiError(503, "ServiceUnavailable") if path in ROUTES.values() else None
    async with opened(SPEC, server, shop_of) as shop:
        assert await shop.comes(lambda: shop.status.intent is not None, 15), shop.status.message
    server.refuses = lambda *_: None
    async with opened(SPEC, server, shop_of) as shop:
        shop.errors = 0.5
        if not await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 30):
            return f"{seed}: {shop.status.phase} {shop.status.message}"
        await shop.comes(lambda: not server.under_way, 2 * SLOWEST)
        told = [decision.reason for decision in shop.status.decisions]
        if shop.weights() != {"a": BACK, "b": BACK} or "RequestRefused" in told:
            return f"{seed}: {shop.weights()} {told}"
    return ""


@pytest.mark.parametrize("first", range(0, times(2 * AT_ONCE), AT_ONCE))
def test_a_rollback_that_meets_the_step_of_the_operator_before_restores_the_weights_and_blames_nobody(
    first: int,
) -> None:
    async def stories() -> list[str]:
        return await asyncio.gather(*(story(seed) for seed in range(first, first + AT_ONCE)))

    assert [wrong for wrong in asyncio.run(stories()) if wrong] == []
