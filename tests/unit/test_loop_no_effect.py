"""A write that is accepted and changes nothing, through the real loop: a webhook sets the weights back."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from rolloutplan.api.status import Phase
from tests.unit.test_loop_back import BACK, ROUTES, Raw, Server, running


class Stubborn(Server):
    """An API server with a webhook that keeps the spec of all routes as it is, while `holds` is set."""

    holds = False

    async def patch(self, path: str, body: Any, *, kind: str = "merge", timeout: float | None = None) -> Raw:
        before = self.objects.get(path)
        raw = await super().patch(path, body, kind=kind, timeout=timeout)
        if not self.holds or before is None or path not in ROUTES.values():
            return raw
        kept = {**self.objects[path], "spec": copy.deepcopy(before["spec"])}
        annotations = [each["metadata"].get("annotations") for each in (before, kept)]
        if annotations[0] == annotations[1]:
            self.objects[path] = before  # nothing has changed: the version stays
            return copy.deepcopy(before)
        return self.keep(path, kept)


def test_a_rollback_that_a_webhook_undoes_is_tried_ever_less_often_until_it_lets_go() -> None:
    async def story() -> None:
        server = Stubborn()
        async with running(server) as shop:
            server.holds, shop.errors = True, 0.5
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLING_BACK, 5), shop.status.message
            server.log.clear()
            await asyncio.sleep(3)
            writes = [path for method, path, _ in server.log if method == "PATCH" and path in ROUTES.values()]
            assert 2 <= len(writes) <= 2 * 8, "each pause is twice the one before"
            server.holds = False
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 10), shop.status.message
            assert shop.weights() == {"a": BACK, "b": BACK}

    asyncio.run(story())
