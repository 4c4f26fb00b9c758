"""Jobs and what is assumed, through the real loop over an API server in memory (tests/unit/test_loop_back.py)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.stats.verdict import Answer, Why
from tests.refusals import changed
from tests.situations import WARM, assumption
from tests.unit.test_loop_back import PLAN_PATH, SPEC, Server, Shop, opened
from tests.world import named

JOBS = paths.job("ns")
CACHE = paths.job("ns", named("cache"))
ASSUMES = changed(SPEC, {"assumptions": [assumption("cache")]})


def made(server: Server) -> int:
    """How many Jobs the API server was asked for and took."""
    return server.log.count(("POST", JOBS, False))


def end(server: Server, how: str, **words: str) -> None:
    server.objects[CACHE]["status"] = {"conditions": [{"type": how, "status": "True", **words}]}


async def is_made(shop: Shop) -> None:
    assert await shop.comes(lambda: bool(shop.status.task and shop.status.task.made), 3), shop.status
    assert made(shop.server) == 1


def test_a_job_that_is_complete_lets_the_run_go_on() -> None:
    async def story() -> None:
        async with opened(ASSUMES) as shop:
            await is_made(shop)
            job = shop.server.objects[CACHE]
            assert job["metadata"]["labels"]["rolloutplan.dev/task"] == "cache"
            assert shop.weights()["a"] == [100, 0]
            end(shop.server, "Complete")
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 5), shop.status
            assert made(shop.server) == 1

    asyncio.run(story())


def test_a_job_that_fails_ends_the_run_with_its_words() -> None:
    async def story() -> None:
        async with opened(ASSUMES) as shop:
            await is_made(shop)
            end(shop.server, "Failed", reason="BackoffLimitExceeded", message="it has tried 1 time")
            assert await shop.comes(lambda: shop.status.phase is Phase.ROLLED_BACK, 5), shop.status
            assert "BackoffLimitExceeded: it has tried 1 time" in shop.status.message
            assert shop.weights() == {"a": [100, 0], "b": [100, 0]}

    asyncio.run(story())


@pytest.mark.parametrize("answered", [True, False], ids=["and it was made", "before it was made"])
def test_a_request_whose_answer_is_lost_makes_no_second_job(answered: bool) -> None:
    async def story() -> None:
        async with opened(ASSUMES) as shop:
            create, failures = shop.server.create, [ApiError(0, "Timeout")]

            async def lossy(path: str, body: Any, **how: object) -> Any:
                if path == JOBS and failures:
                    if answered:
                        await create(path, body)
                    raise failures.pop()
                return await create(path, body)

            shop.server.create = lossy  # type: ignore[method-assign]
            await is_made(shop)

    asyncio.run(story())


def test_the_next_leader_finds_the_job_that_was_made_and_not_recorded() -> None:
    async def story() -> None:
        async with opened(ASSUMES) as first:
            server = first.server
            assert await first.comes(lambda: CACHE in server.objects, 3)
        server.objects[PLAN_PATH]["status"]["task"].pop("made", None)
        end(server, "Complete")
        async with opened(ASSUMES, server) as second:
            assert await second.comes(lambda: second.status.phase is Phase.JUDGING, 5), second.status
            assert made(server) == 1

    asyncio.run(story())


def test_what_the_api_server_says_of_a_bad_job_stands_in_the_plan_and_is_not_asked_for_again() -> None:
    async def story() -> None:
        async with opened(ASSUMES) as shop:
            words = f'Job.batch "{named("cache")}" is invalid: spec.template.spec.restartPolicy: Required value'
            shop.server.refuses = lambda method, path: (
                ApiError(422, "Invalid", words) if (method, path) == ("POST", JOBS) else None
            )
            assert await shop.comes(lambda: shop.status.reason == "JobRefused", 3), shop.status
            assert words in shop.status.message
            await asyncio.sleep(0.5)
            assert shop.server.log.count(("POST", JOBS, True)) == 1

    asyncio.run(story())


def test_a_predicate_is_asked_again_until_it_is_decided() -> None:
    async def story() -> None:
        assumes = changed(SPEC, {"assumptions": [WARM]})
        async with opened(assumes) as shop:
            shop.warm += [Answer(gap=Why.NO_DATA, detail="no series")] * 2
            assert await shop.comes(lambda: "NoData" in shop.status.message, 3), shop.status
            assert await shop.comes(lambda: shop.status.phase is Phase.JUDGING, 5), shop.status

    asyncio.run(story())
