"""The record that a run was looked at, through the real loop: over the newest plan, behind everything else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from rolloutplan.api.status import Phase
from rolloutplan.api.status_patch import look_patch
from rolloutplan.clock import now
from rolloutplan.cluster.client import ApiError
from tests.unit.test_loop_back import BACK, PLAN_PATH, SPEC, Raw, Server, Shop, opened, running

STATUS_PATH = f"{PLAN_PATH}/status"


class Listening(Server):
    """Counts the writes of a status that say no more than that a run was looked at; none ends while it hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.hangs, self.wrote_at = 0, False, 0.0

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        if path == STATUS_PATH:
            self.wrote_at = time.monotonic()
            is_look = [*body["status"]] == ["lastLook"]
            self.looks += is_look
            if is_look and self.hangs:
                await asyncio.Event().wait()
        return await super().patch(path, body, kind=kind, timeout=timeout)


@asynccontextmanager
async def quiet(server: Listening) -> AsyncIterator[Shop]:
    """A run in which nothing has been written for more than a second: every predicate has been judged."""
    async with running(server) as shop:
        assert await shop.comes(lambda: time.monotonic() - server.wrote_at > 1.3, 20)
        assert server.looks == 0, "the writes of its decisions say so"
        yield shop


def grow_old(shop: Shop) -> None:
    """Have the last look be of two minutes ago."""
    raw = shop.server.objects[PLAN_PATH]
    raw = {**raw, "status": {**raw["status"], **look_patch(now() - timedelta(minutes=2))}}
    shop.loop.feed.apply("rolloutplans.rolloutplan.dev", "MODIFIED", shop.server.keep(PLAN_PATH, raw))


def is_recent(shop: Shop) -> bool:
    look = shop.status.last_look
    return look is not None and now() - look < timedelta(seconds=30)


def test_a_look_is_recorded_once_when_the_last_one_is_old() -> None:
    async def story() -> None:
        server = Listening()
        async with quiet(server) as shop:
            assert is_recent(shop)
            grow_old(shop)
            assert await shop.comes(lambda: is_recent(shop), 5)
            await asyncio.sleep(1.5)
            assert server.looks == 1

    asyncio.run(story())


def test_looks_that_hang_hold_up_no_rollback_and_no_record_of_it() -> None:
    async def story() -> None:
        server = Listening()
        server.hangs = True
        async with quiet(server) as shop:
            grow_old(shop)
            assert await shop.comes(lambda: server.looks == 1, 5)
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 4), shop.server.log[-5:]
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status

    asyncio.run(story())


def test_a_look_that_is_refused_is_reported_nowhere() -> None:
    async def story() -> None:
        server = Listening()
        async with quiet(server) as shop:
            grow_old(shop)
            server.refuses = lambda _, path: ApiError(403, "Forbidden", "no") if path == STATUS_PATH else None
            assert await shop.comes(lambda: server.looks == 1, 5)
            server.refuses = lambda *_: None
            assert shop.loop.troubles.failing() == 0
            await asyncio.sleep(0.5)
            assert shop.status.phase is Phase.JUDGING
            assert shop.status.condition("RequestsAccepted") is None

    asyncio.run(story())


def test_the_oldest_look_is_known_where_a_replica_leads() -> None:
    async def story() -> None:
        async with opened(SPEC) as shop:
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 3)
            await asyncio.sleep(0.5)
            oldest = shop.loop.runs.oldest_look()
            assert oldest is not None
            assert 0 <= oldest < 30
            shop.loop.runs.lead(now() - timedelta(minutes=5))
            shop.loop.forget_runs()
            nobody_looked = shop.loop.runs.oldest_look()
            assert nobody_looked is not None
            assert nobody_looked > 200
            shop.loop.feed.remove("rolloutplans.rolloutplan.dev", "ns", "plan")
            assert shop.loop.runs.oldest_look() == 0, "there is no run"
            shop.loop.follow()
            assert shop.loop.runs.oldest_look() is None

    asyncio.run(story())
