"""What is left of a tenure when the next one begins: nothing that keeps a plan waiting, and nothing that writes."""

import asyncio
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from tests.unit.test_loop_back import PLAN_PATH, SPEC, Raw, Server, opened


class Hanging(Server):
    """An API server that answers no write of a status while it hangs; `asked` counts them, `done` what it has done."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.asked, self.done = True, 0, 0

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        if path == f"{PLAN_PATH}/status":
            self.asked += 1
            if self.hangs:
                await asyncio.Event().wait()
            self.done += 1
        return await super().patch(path, body, kind=kind, timeout=timeout)


@pytest.mark.parametrize("steps", [0, 3, 30], ids=["before its first step", "on its way", "while it hangs"])
def test_a_request_that_was_let_go_leaves_its_plan_free_for_the_next_tenure(steps: int) -> None:
    async def story() -> None:
        server = Hanging()
        async with opened(SPEC, server) as shop:
            for _ in range(steps):
                await asyncio.sleep(0)
            shop.loop.follow()
            await asyncio.sleep(0.05)
            before = server.asked
            await asyncio.sleep(0.1)
            assert server.asked == before, "who does not lead writes nothing"
            server.hangs = False
            shop.loop.lead(epoch=2)
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 20), shop.status
            assert shop.status.epoch == 2

    asyncio.run(story())
