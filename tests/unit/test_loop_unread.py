"""A rollback whose routes cannot be reached or patched for a while says so, goes on trying, and does not end early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, cast

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster.client import ApiError
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.described import DescribedKind
from tests.unit.test_loop_back import BACK, ROUTES, running

if TYPE_CHECKING:
    from rolloutplan.api.status import RouteWeights
    from rolloutplan.engine.model.snapshot import RouteView
    from rolloutplan.traffic.base import Operation, RouteKind


def test_a_rollback_waits_for_a_resource_that_is_not_served_for_a_while() -> None:
    """A 404 about the resource, as while its CRD is upgraded, is none about the object."""

    async def story() -> None:
        async with running() as shop:
            shop.server.refuses = lambda method, path: (
                ApiError(404, "NotJson", "404 page not found") if path in ROUTES.values() else None
            )
            shop.errors = 0.5
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLING_BACK, 4), shop.status
            assert await shop.comes(lambda: "404 page not found" in shop.status.message, 3), shop.status.message
            assert ("GET", ROUTES["a"], True) in shop.server.log, "it has asked whether the route is gone"
            assert shop.status.phase is Phase.ROLLING_BACK
            shop.server.refuses = lambda method, path: None
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status
            assert shop.weights() == {"a": BACK, "b": BACK}

    asyncio.run(story())


class Unpatchable(DescribedKind):
    """A kind whose routes cannot be patched for a while."""

    raises: ClassVar = False

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        if Unpatchable.raises:
            raise TypeError("no list")
        return super().patch(view, target, token=token, undo=undo)


def test_a_route_that_cannot_be_patched_as_it_is_is_a_refusal_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = ROUTE_KINDS["HTTPRoute"]
    assert isinstance(kind, DescribedKind)
    monkeypatch.setitem(cast("dict[str, RouteKind]", ROUTE_KINDS), "HTTPRoute", Unpatchable("HTTPRoute", kind.spec))

    async def story() -> None:
        async with running() as shop:
            monkeypatch.setattr(Unpatchable, "raises", True)
            shop.errors = 0.5
            words = "cannot be patched as it is (TypeError: no list)"
            assert await shop.comes(lambda: words in shop.status.message, 4), shop.status.message
            assert (shop.status.phase, shop.loop.troubles.failing()) == (Phase.ROLLING_BACK, 0)
            monkeypatch.setattr(Unpatchable, "raises", False)
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 4), shop.status
            assert shop.weights() == {"a": BACK, "b": BACK}

    asyncio.run(story())
