"""The way of a decision to a webhook, over an API server in memory: in order, across leaders, in nobody's way."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster import paths
from rolloutplan.metrics.access import Access, SourceHosts
from tests.receiver import Receiver
from tests.unit.test_loop_back import SPEC, Shop, opened

HERE = SourceHosts.read(["127.0.0.1"])
NOTIFIERS = paths.NOTIFIERS.resource


def notifier(url: str, **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": "team", "uid": "n", "generation": 1, "resourceVersion": "1"}
    return {"metadata": meta, "spec": {"webhook": {"url": url}, **spec}}


def tell(shop: Shop, raw: dict[str, Any]) -> None:
    """Make a notifier known to the operator, as a watch does."""
    shop.loop.store.shared.notifiers.hosts = HERE
    shop.loop.sinks.notifications.access = Access(HERE)
    shop.loop.feed.apply(NOTIFIERS, "ADDED", raw)


async def roll_back(shop: Shop) -> None:
    assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 10), shop.status.message
    shop.errors = 0.5
    assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 10), shop.status.message


def uid(shop: Shop) -> str:
    (plan,) = shop.loop.store.plans.values()
    return plan.view.uid


def seqs(shop: Shop) -> list[int]:
    return [decision.seq for decision in shop.status.decisions]


def test_a_webhook_gets_each_decision_of_a_rollback_in_order_and_a_new_leader_sends_none_again() -> None:
    async def story(receiver: Receiver) -> None:
        async with opened(SPEC) as shop:
            tell(shop, notifier(receiver.url))
            await roll_back(shop)
            assert await shop.comes(lambda: receiver.keys(uid(shop)) == seqs(shop), 10), receiver.got
            cursor = "notifier/team"
            assert await shop.comes(lambda: shop.status.published_through.get(cursor) == shop.status.seq, 10)
        before = len(receiver.got)
        async with opened(SPEC, shop.server) as again:
            tell(again, notifier(receiver.url))
            again.loop.feed.wake_all()
            await asyncio.sleep(0.3)
        assert len(receiver.got) == before == len(seqs(shop))

    with Receiver().serving() as receiver:
        asyncio.run(story(receiver))


@pytest.mark.parametrize("trouble", ["dead", "hangs", "refuses"])
def test_a_rollback_waits_for_no_webhook(trouble: str) -> None:
    async def story(receiver: Receiver) -> None:
        url = "http://127.0.0.1:9" if trouble == "dead" else receiver.url
        async with opened(SPEC) as shop:
            tell(shop, notifier(url))
            await roll_back(shop)
            condition = shop.status.condition("RequestsAccepted")
            assert condition is None or condition.status == "True"

    made = {"hangs": Receiver(hangs=threading.Event()), "refuses": Receiver(500)}.get(trouble, Receiver())
    with made.serving() as receiver:
        asyncio.run(story(receiver))


def test_a_webhook_that_comes_back_gets_what_it_missed() -> None:
    async def story(receiver: Receiver) -> None:
        async with opened(SPEC) as shop:
            tell(shop, notifier(receiver.url))
            await roll_back(shop)
            refused = len(receiver.got)
            receiver.status = 200
            assert await shop.comes(lambda: receiver.keys(uid(shop)) == seqs(shop), 30), receiver.got
            assert refused >= 1

    with Receiver(500).serving() as receiver:
        asyncio.run(story(receiver))
