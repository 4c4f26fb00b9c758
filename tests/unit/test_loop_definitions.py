"""The operator waits while the CRDs lack fields, and starts when they come; no rollback waits with it."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from rolloutplan.api.status import Phase
from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.paths import PLANS
from rolloutplan.engine.model.effects import Failure
from rolloutplan.loop import definitions
from rolloutplan.loop.definitions import Definitions, Difference
from rolloutplan.loop.store import Store
from tests.unit.test_loop_store import plan
from tests.world import World

OLDER = Difference("the CRDs of the cluster are older than this program (they lack status.intent)", lack=True)
NEWER = Difference("this program is older than the CRDs of the cluster (it does not know spec.weather)")
FIT = Difference()
NO_ANSWER = ApiError(0, "Timeout")


class Cluster:
    """An API server that says this, one answer after the other; the last one again and again."""

    def __init__(self, *answers: Difference | ApiError) -> None:
        self.answers, self.changes = list(answers), list[str]()
        self.found, self.fits = Definitions(self.compare, self._change), asyncio.Event()

    def _change(self, lack: str) -> None:
        self.changes.append(lack)
        if not lack:
            self.fits.set()

    async def compare(self) -> Difference:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def look(self, times: int = 1) -> "Cluster":
        async def looked() -> None:
            for _ in range(times):
                await self.found.look()

        asyncio.run(looked())
        return self


def test_one_answer_that_they_are_missing_holds_no_run_up_and_a_second_one_does() -> None:
    """An API server that has just started serves the kinds before it tells their fields."""
    cluster = Cluster(FIT, OLDER, FIT, OLDER, OLDER).look(3)
    assert (cluster.changes, list(cluster.found.waits_for())) == ([], [])
    assert cluster.look().found.pause() == definitions.AGAIN, "it looks again soon"
    assert cluster.look().changes == [OLDER.words]


@pytest.mark.parametrize(
    ("answers", "changes", "waits"),
    [
        ([FIT], [], []),
        ([NEWER], [], []),
        ([NO_ANSWER], [], []),
        ([OLDER], [OLDER.words], [OLDER.words]),
        ([OLDER, NO_ANSWER], [OLDER.words], [OLDER.words]),
        ([OLDER, FIT], [OLDER.words, ""], []),
        ([FIT, OLDER], [OLDER.words], [OLDER.words]),
        ([OLDER, NEWER], [OLDER.words, ""], []),
    ],
)
def test_it_waits_where_they_lack_fields_and_only_there(
    answers: list[Difference | ApiError], changes: list[str], waits: list[str]
) -> None:
    cluster = Cluster(*answers).look(3)
    assert (cluster.changes, list(cluster.found.waits_for())) == (changes, waits)


def test_it_says_so_once_and_says_when_they_fit() -> None:
    with capture_logs() as logs:
        Cluster(OLDER, OLDER, FIT).look(4)
    assert [line["event"] for line in logs] == ["the CRDs are of another version", "the CRDs fit"]


def test_while_it_waits_it_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "AGAIN", 0.0)
    cluster = Cluster(OLDER, OLDER, FIT)

    async def run() -> None:
        await cluster.found.look()
        running = asyncio.create_task(cluster.found.run())
        await cluster.fits.wait()
        running.cancel()

    asyncio.run(run())
    assert cluster.changes == [OLDER.words, ""]


def test_it_looks_at_once_when_plans_are_listed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their CRD may have been removed and have come back."""
    monkeypatch.setattr(definitions, "AGAIN", 0.0)
    cluster = Cluster(FIT, OLDER, OLDER, FIT)

    async def run() -> None:
        await cluster.found.look()
        running = asyncio.create_task(cluster.found.run())
        cluster.found.listed(PLANS.resource)
        await cluster.fits.wait()
        running.cancel()

    asyncio.run(asyncio.wait_for(run(), 10))
    assert cluster.changes == [OLDER.words, ""]


def test_two_lists_at_the_same_instant_are_not_two_answers() -> None:
    """An operator of several namespaces lists the plans of each after a restart of the API server."""
    cluster = Cluster(FIT, OLDER, OLDER)

    async def run() -> None:
        await cluster.found.look()
        running = asyncio.create_task(cluster.found.run())
        for _ in range(5):
            cluster.found.listed(PLANS.resource)
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(run())
    assert cluster.changes == []


def test_plans_that_are_listed_meanwhile_are_not_taken_on_and_those_listed_later_are() -> None:
    store = Store(crds_lack=OLDER.words)
    store.apply(PLANS.resource, None, plan("new", 1))
    store.apply(PLANS.resource, None, plan("run", 1, status={"phase": "Judging"}))
    assert [store.plans[f"shop/{name}"].view.readable for name in ("new", "run")] == [False, False]
    assert store.plans["shop/run"].view.spec is not None, "its guards stay on"
    store.crds_lack = ""
    for name in ("new", "run"):
        store.apply(PLANS.resource, None, plan(name, 1))
    assert [store.plans[f"shop/{name}"].view.readable for name in ("new", "run")] == [True, True]


def test_no_run_begins_and_a_plan_starts_when_they_come() -> None:
    world = World(crds_lack=OLDER.words)
    world.advance(timedelta(minutes=2))
    assert (world.phase, world.status.reason) == (Phase.INVALID, "CRDsOutdated")
    assert "they lack status.intent" in world.status.message
    assert {type(effect.work).__name__ for effect in world.done} <= {"Record", "Publish"}
    world.crds_lack = ""
    world.until(Phase.JUDGING)


@pytest.mark.parametrize("way", ["stays", "guard", "abort", "gone", "delete"])
def test_a_run_goes_no_further_and_goes_back_for_every_reason(way: str) -> None:
    world = World().until(Phase.JUDGING)
    world.crds_lack = OLDER.words
    world.crash()
    world.advance(timedelta(minutes=30))
    assert (world.phase, world.status.held_for, dict(world.weights()[0])["v2"]) == (Phase.HELD, "Invalid", 5)
    match way:
        case "stays":
            world.crds_lack = ""
            world.settle()
            assert world.phase is Phase.JUDGING
            return
        case "guard":
            world.says["errors"] = 1.0
        case "abort":
            world.say("abort 1")
        case "gone":
            world.new = None
        case "delete":
            world.delete()
    world.advance(timedelta(minutes=4))
    assert dict(world.weights()[0])["v2"] == 0


@pytest.mark.parametrize("end", [Phase.SUCCEEDED, Phase.ROLLED_BACK])
def test_what_has_ended_is_left_as_it_is(end: Phase) -> None:
    world = World().until(Phase.JUDGING)
    if end is Phase.ROLLED_BACK:
        world.say("abort 1")
    world.until(end)
    weights, seq = world.weights()[0], world.status.seq
    world.crds_lack = OLDER.words
    world.crash()
    world.advance(timedelta(minutes=5))
    assert (world.phase, world.weights()[0], world.status.seq) == (end, weights, seq)


def test_a_rollback_under_way_is_finished() -> None:
    world = World().until(Phase.JUDGING)
    world.refuses["route"] = Failure(503, "ServiceUnavailable", "")
    world.say("abort 1")
    world.settle()
    assert world.phase is Phase.ROLLING_BACK
    world.crds_lack = OLDER.words
    world.crash()
    world.refuses.clear()
    world.until(Phase.ROLLED_BACK)
