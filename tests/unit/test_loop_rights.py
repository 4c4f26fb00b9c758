"""The right to move a route: asked once for a kind and a namespace, before the run."""

import asyncio
from typing import Any

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop import rights
from rolloutplan.loop.rights import Rights
from rolloutplan.loop.routes import place_of
from rolloutplan.traffic import ROUTE_KINDS

MAIN, NEXT = RouteId("VirtualService", "main"), RouteId("VirtualService", "next")


class Reviews:
    """An API server that allows patches of the objects of these names; an empty name allows those of all."""

    def __init__(self, *allowed: str) -> None:
        self.allowed, self.fails = set(allowed), False
        self.asked: list[tuple[str, str]] = []

    async def create(self, path: str, body: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        wanted = body["spec"]["resourceAttributes"]
        assert (wanted["verb"], wanted["resource"]) == ("patch", "virtualservices")
        self.asked.append((wanted["namespace"], wanted.get("name", "")))
        await asyncio.sleep(0)
        if self.fails:
            raise ApiError(500, "InternalError")
        return {"status": {"allowed": wanted.get("name", "") in self.allowed}}


async def missing(found: Rights, api: Reviews, *routes: RouteId, namespace: str = "shop") -> dict[RouteId, str]:
    return await found.missing(api, namespace, {each: place_of(ROUTE_KINDS[each.kind]) for each in routes})


def test_plans_that_start_together_ask_once_for_a_kind_and_a_namespace() -> None:
    async def run() -> None:
        found, api = Rights(), Reviews("")
        answers = await asyncio.gather(*(missing(found, api, MAIN, NEXT) for _ in range(20)))
        assert answers == [{}] * 20
        assert await missing(found, api, MAIN, namespace="pay") == {}
        assert api.asked == [("shop", ""), ("pay", "")]

    asyncio.run(run())


def test_a_missing_right_is_told_with_the_verb_the_resource_and_the_fix() -> None:
    async def run() -> None:
        found, api = Rights(), Reviews()
        for _ in range(2):
            assert await missing(found, api, MAIN) == {
                MAIN: "the operator may not patch virtualservices.networking.istio.io in namespace shop: add "
                "VirtualService to `routers` of the chart, or give its account get, list, watch and patch"
            }
        assert api.asked == [("shop", ""), ("shop", "main")]

    asyncio.run(run())


def test_a_right_on_one_object_alone_is_enough_for_that_object() -> None:
    found = asyncio.run(missing(Rights(), Reviews("main"), MAIN, NEXT))
    assert found.keys() == {NEXT}


def test_a_right_that_comes_later_is_seen_when_the_answer_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        found, api = Rights(), Reviews()
        monkeypatch.setattr(rights, "REMEMBERED", 0.0)
        assert await missing(found, api, MAIN)
        api.allowed = {""}
        assert await missing(found, api, MAIN) == {}

    asyncio.run(run())


def test_a_review_that_is_not_answered_keeps_no_run_and_is_not_remembered() -> None:
    async def run() -> None:
        found, api = Rights(), Reviews()
        api.fails = True
        assert await missing(found, api, MAIN) == {}
        api.fails = False
        assert await missing(found, api, MAIN)

    asyncio.run(run())
