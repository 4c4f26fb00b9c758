"""The cluster is restored from a backup while the operator runs: older versions are the truth then."""

from __future__ import annotations

import asyncio
import copy

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.loop.versions import History, Listing
from tests.unit.test_loop_back import BACK, PLAN_PATH, ROUTES, Server, Shop, running

UP = {"a": [95, 5], "b": [95, 5]}
KINDS = {"rolloutplans.rolloutplan.dev": [PLAN_PATH], "httproutes.gateway.networking.k8s.io": list(ROUTES.values())}


class Restorable(Server):
    """An API server that can be put back to what it was."""

    def backup(self) -> None:
        self.saved = self._version, copy.deepcopy(self.objects)

    def restore(self) -> None:
        self._version, self.objects = self.saved[0], copy.deepcopy(self.saved[1])


def notice(shop: Shop) -> None:
    """What follows when the version of the Lease has fallen: all kinds are listed again."""
    shop.loop.forget_runs()
    server = shop.server
    for kind, places in KINDS.items():
        for path in places:
            shop.loop.feed.apply(kind, None, copy.deepcopy(server.objects[path]))
        names = frozenset(("ns", path.rsplit("/", 1)[-1]) for path in places)
        shop.loop.feed.listed(Listing(kind, None, names, str(server._version), is_new_history=True))


async def moved_on(shop: Shop) -> Restorable:
    """Its guard trips after the backup, and the weights go back; then the backup is restored."""
    server = shop.server
    assert isinstance(server, Restorable)
    server.backup()
    shop.errors = 0.5
    assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 10), shop.status.message
    shop.errors = 0.0
    server.restore()
    assert (shop.status.phase, shop.weights()) == (Phase.JUDGING, UP)
    return server


def test_a_run_goes_on_from_its_restored_status() -> None:
    async def story() -> None:
        async with running(Restorable()) as shop:
            await moved_on(shop)
            notice(shop)
            await asyncio.sleep(1.5)
            assert (shop.status.phase, shop.weights()) == (Phase.JUDGING, UP)
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 10), shop.status.message
            assert shop.weights() == {"a": BACK, "b": BACK}

    asyncio.run(story())


def test_before_it_is_noticed_nothing_is_asked_in_a_hot_loop() -> None:
    """What is known is newer than all that the API server has, and every write is refused."""

    async def story() -> None:
        async with running(Restorable()) as shop:
            server = shop.server
            assert isinstance(server, Restorable)
            server.backup()
            for _ in range(30):
                server.keep(PLAN_PATH, server.objects[PLAN_PATH])
            shop.loop.feed.apply("rolloutplans.rolloutplan.dev", "MODIFIED", copy.deepcopy(server.objects[PLAN_PATH]))
            server.restore()
            server.log.clear()
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.weights() == {"a": BACK, "b": BACK}, 5), server.log[-5:]
            server.log.clear()
            await asyncio.sleep(2)
            assert len(server.log) < 60, "the API server is asked without a pause"
            notice(shop)
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 10), shop.status.message

    asyncio.run(story())


@pytest.mark.parametrize(
    ("versions", "times"),
    [
        (["5", "5", "6", "900"], 0),
        (["900", "41", "42"], 1),
        (["900", "41", "800", "40"], 2),
        (["b", "a", "7"], 0),
        (["9", "10"], 0),
    ],
)
def test_a_version_that_falls_is_a_new_history(versions: list[str], times: int) -> None:
    noticed: list[None] = []
    history = History(lambda: noticed.append(None))
    for version in versions:
        history.saw(version)
    assert len(noticed) == times
