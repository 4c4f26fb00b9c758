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
        self.allowed = set(allowed)
        self.fails = self.hangs = self.names_hang = False
        self.asked: list[tuple[str, str]] = []

    async def create(self, path: str, body: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        wanted = body["spec"]["resourceAttributes"]
        assert (wanted["verb"], wanted["resource"]) == ("patch", "virtualservices")
        self.asked.append((wanted["namespace"], wanted.get("name", "")))
        await asyncio.sleep(60 if self.hangs or (self.names_hang and "name" in wanted) else 0)
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


@pytest.fixture
def unknown_for_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "UNKNOWN_FOR", 0.0)


@pytest.mark.usefixtures("unknown_for_no_time")
def test_a_review_that_is_not_answered_keeps_no_run_and_is_asked_again() -> None:
    async def run() -> None:
        found, api = Rights(), Reviews()
        api.fails = True
        assert await missing(found, api, MAIN) == {}
        api.fails = False
        assert await missing(found, api, MAIN)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_plans_that_start_while_reviews_are_not_answered_ask_once(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "ANSWERED_WITHIN", 0.01)

    async def run() -> None:
        found, api = Rights(), Reviews()
        setattr(api, how, True)
        answers = await asyncio.gather(*(missing(found, api, MAIN, NEXT) for _ in range(20)))
        assert [*answers, await missing(found, api, MAIN)] == [{}] * 21
        assert api.asked == [("shop", "")]

    asyncio.run(run())


def test_the_reviews_of_many_routes_take_no_longer_than_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slowest case: it may not patch all, and no review of a route by its name is answered."""
    monkeypatch.setattr(rights, "ANSWERED_WITHIN", 0.2)

    async def run() -> None:
        api = Reviews()
        api.names_hang = True
        async with asyncio.timeout(1):
            assert await missing(Rights(), api, *(RouteId("VirtualService", f"r{each}") for each in range(16))) == {}
        assert len(api.asked) == 1 + 16

    asyncio.run(run())


def test_the_bound_of_all_reviews_is_five_seconds() -> None:
    assert 2 * rights.ANSWERED_WITHIN <= 5


def test_the_oldest_answers_are_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "MOST_REMEMBERED", 2)

    async def run() -> None:
        found, api = Rights(), Reviews("")
        for namespace in ("a", "b", "c", "c", "b", "a"):
            assert await missing(found, api, MAIN, namespace=namespace) == {}
        assert [namespace for namespace, _ in api.asked] == ["a", "b", "c", "a"]

    asyncio.run(run())
