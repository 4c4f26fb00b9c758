"""What is left of a tenure when the next one begins: nothing that would keep a plan waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rolloutplan.plan.status import Phase
from tests.unit.test_loop_back import SPEC, Raw, Server, opened


class Hanging(Server):
    """An API server that begins to answer writes when it is told to; `begun` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.answers = 0, asyncio.Event()

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        self.begun += 1
        await self.answers.wait()
        return await super().patch(path, body, kind=kind, timeout=timeout)


@pytest.mark.parametrize("sent", [0, 1], ids=["before it was sent", "under way"])
def test_a_write_that_was_let_go_leaves_its_plan_to_the_next_tenure(sent: int) -> None:
    async def story() -> None:
        server = Hanging()
        async with opened(SPEC, server) as shop:
            shop.loop.schedule._pop_due()  # the first look, whose effects have not begun yet
            assert await shop.comes(lambda: server.begun == sent, 1) or not sent
            shop.loop.follow()
            await asyncio.sleep(0.05)
            server.answers.set()
            shop.loop.lead(2)
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 3), "the plan stands still for ever"

    asyncio.run(story())
