"""What is left of a tenure when the next one begins: nothing that would keep a plan waiting."""

import asyncio
from typing import cast

from rolloutplan.cluster.client import Api
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.store import Store
from rolloutplan.metrics.pool import Sources
from rolloutplan.telemetry.metrics import Metrics

KEY = "ns/plan"


class Turns(Reconciler):
    """A reconciler whose turns take until they are let go; `begun` counts them."""

    begun = 0

    async def _reconcile(self, key: str) -> None:
        self.begun += 1
        await asyncio.Event().wait()


async def _serves(steps_before_the_loss: int) -> None:
    turns = Turns(cast("Api", None), Store(), cast("Sources", None), Metrics(), instance="test")
    turns.lead(1)
    turns._due(KEY)
    for _ in range(steps_before_the_loss):
        await asyncio.sleep(0)
    turns.follow()
    await asyncio.sleep(0.01)
    before = turns.begun
    turns.lead(2)
    turns._due(KEY)
    await asyncio.sleep(0.01)
    assert turns.begun == before + 1, "the plan stands still for ever"
    await turns.close()


def test_a_turn_that_was_let_go_before_its_first_step_leaves_its_plan_free() -> None:
    asyncio.run(_serves(0))


def test_a_turn_that_was_let_go_under_way_leaves_its_plan_free() -> None:
    asyncio.run(_serves(3))
