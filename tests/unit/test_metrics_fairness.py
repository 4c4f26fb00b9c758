"""What namespaces share: none of them can take it all, and none waits behind what another has put in line."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.metrics.prometheus.capacity import Capacity
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.threads import Lane, Threads
from rolloutplan.stats.verdict import Answer
from tests.wire import say, server, spec

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
ONE = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}'


# ---- shares -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greedy", "held", "free"), [(1, [8], 8), (2, [8, 4], 4), (3, [8, 4, 2], 2), (4, [8, 4, 2, 1], 1)]
)
def test_each_takes_at_most_what_it_leaves_free(greedy: int, held: list[int], free: int) -> None:
    share = FairShare(16)
    for who in range(greedy):
        while share.take(who):
            pass
    assert [share.held(who) for who in range(greedy)] == held
    assert share.total - share.used == free


def test_who_holds_nothing_may_take_the_last_place() -> None:
    share = FairShare(2)
    assert share.take("a") and not share.take("a")
    assert share.take("b") and not share.take("c")
    share.give("a")
    assert share.take("c")


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_made_in_a_share(seed: int) -> None:
    """Whatever is taken and given back, and a newcomer finds room where fewer ask than there are places."""
    chance, share, taken = random.Random(seed), FairShare(1000), list[tuple[int, int]]()
    for _ in range(500):
        if taken and chance.random() < 0.5:
            share.give(*taken.pop(chance.randrange(len(taken))))
        elif share.take(who := chance.randrange(5), size := chance.randrange(1, 50)):
            taken.append((who, size))
        assert share.used == sum(size for _, size in taken) <= share.total
        assert share.has_room("newcomer", 1)


# ---- threads ------------------------------------------------------------------------------------------------


class Calls:
    """Calls that end when they are told to, in the order in which they began."""

    def __init__(self) -> None:
        self._began = threading.Condition()
        self.began: list[str] = []
        self._ends: dict[str, threading.Event] = {}

    def submit(self, lane: Lane, name: str, *, slow: bool = False) -> Future[None]:
        """The namespace is what stands before the dash."""
        self._ends[name] = threading.Event()
        return lane.submit(partial(self._run, name), namespace=name.partition("-")[0], slow=slow)

    def _run(self, name: str) -> None:
        with self._began:
            self.began.append(name)
            self._began.notify_all()
        self._ends[name].wait(60)

    def until(self, number: int) -> list[str]:
        """Those that have begun, once they are so many."""
        with self._began:
            assert self._began.wait_for(lambda: len(self.began) >= number, 30), self.began
            return self.began.copy()

    def end(self, name: str) -> None:
        self._ends[name].set()

    def end_all(self) -> None:
        for end in self._ends.values():
            end.set()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.parametrize("slow", [False, True])
def test_a_newcomer_waits_for_one_call_of_another_namespace_at_most(calls: Calls, slow: bool) -> None:
    lane = Threads().lane(4)
    heavy = [calls.submit(lane, f"evil-{i}", slow=slow) for i in range(1000)]
    places = len(calls.until(2 if slow else 4))
    calls.submit(lane, "shop-guard", slow=slow)
    calls.end("evil-0")
    assert calls.until(places + 1)[-1] == "shop-guard"
    for call in heavy:
        call.cancel()
    calls.end_all()


@pytest.mark.parametrize("slow", [False, True])
def test_a_namespace_that_has_asked_before_finds_a_place_at_once(calls: Calls, slow: bool) -> None:
    """Also a second one, while two others have put in line whatever they can."""
    lane = Threads().lane(16)
    for name in ("shop-0", "cart-0"):
        calls.submit(lane, name)
        calls.end(name)
    calls.until(2)
    heavy = [calls.submit(lane, f"{who}-{i}", slow=slow) for i in range(1, 1000) for who in ("evil", "bad")]
    calls.until(2 + (5 if slow else 10))
    for name in ("shop-guard", "cart-guard"):
        calls.submit(lane, name, slow=slow)
    assert {"shop-guard", "cart-guard"} <= set(calls.until(2 + (7 if slow else 12)))
    for call in heavy:
        call.cancel()
    calls.end_all()


def test_one_namespace_alone_may_use_all_places_of_a_source(calls: Calls) -> None:
    lane = Threads().lane(4)
    for i in range(4):
        calls.submit(lane, f"shop-{i}")
    assert len(calls.until(4)) == 4
    calls.end_all()


def test_sources_of_one_namespace_cannot_take_all_threads(calls: Calls) -> None:
    threads = Threads(8)
    lanes = [threads.lane(64) for _ in range(4)]
    heavy = [calls.submit(lanes[i % 4], f"evil-{i}") for i in range(40)]
    assert len(calls.until(4)) == 4
    calls.submit(threads.lane(1), "shop-guard")
    assert calls.until(5)[-1] == "shop-guard"
    for call in heavy:
        call.cancel()
    calls.end_all()


def test_the_namespace_with_the_fewest_calls_under_way_is_next(calls: Calls) -> None:
    threads = Threads(3)
    lane = threads.lane(3)
    for name in ("a-0", "b-0"):
        calls.submit(lane, name)
    calls.until(2)
    later = [calls.submit(lane, name) for name in ("a-1", "b-1", "c-0")]
    assert calls.until(3)[-1] == "c-0"
    assert not later[0].running()
    calls.end_all()
    for call in later:
        call.result(30)


def test_every_call_is_run_once_and_the_limits_hold() -> None:
    """Thousands of short calls of many namespaces and sources, slow and quick."""
    chance, threads = random.Random(1), Threads(6, idle=0.05)
    lanes, running, most = [threads.lane(limit) for limit in (1, 2, 4)], [0, 0, 0], [0, 0, 0]
    lock, done = threading.Lock(), list[int]()

    def call(lane: int, number: int) -> None:
        with lock:
            running[lane] += 1
            most[lane] = max(most[lane], running[lane])
        if number % 7 == 0:
            time.sleep(0.0005)
        with lock:
            running[lane] -= 1
            done.append(number)

    futures = []
    for number in range(3000):
        lane = chance.randrange(3)
        work: Callable[[], None] = partial(call, lane, number)
        futures.append(lanes[lane].submit(work, namespace=f"n{chance.randrange(9)}", slow=chance.random() < 0.5))
    for future in futures:
        future.result(30)
    assert sorted(done) == list(range(3000))
    assert most[0] == 1 and most[1] <= 2 and most[2] <= 4


def test_threads_without_work_end() -> None:
    threads = Threads(idle=0.05)
    futures = [threads.lane(8).submit(partial(time.sleep, 0.02)) for _ in range(8)]
    for future in futures:
        future.result(30)
    deadline = time.monotonic() + 30
    while threads.number and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threads.number == 0
    assert threads.lane(1).submit(lambda: 1).result(30) == 1
    assert threads.number == 1


# ---- the whole source -----------------------------------------------------------------------------------------


def test_a_guard_is_answered_while_another_namespace_has_a_thousand_heavy_questions() -> None:
    """New questions of the guard's namespace, too: each is one that was never asked before."""
    go = threading.Event()

    def behaviour(connection: socket.socket, request: bytes) -> None:
        if b"heavy" in request:
            go.wait(20)
        say(ONE)(connection, request)

    async def asked(url: str) -> list[Answer]:
        source = Source(spec(url, timeout="20s"))
        assert await source.ask("first", AT, "shop") == Answer(0.25)
        heavy = [asyncio.create_task(source.ask(f"heavy{i} + {'x' * i}", AT, "evil")) for i in range(1000)]
        await asyncio.sleep(0.1)
        answers = [await source.ask(f"guard{i} + {'y' * i}", AT + timedelta(seconds=i), "shop") for i in range(20)]
        assert not any(question.done() for question in heavy)
        go.set()
        for question in heavy:
            question.cancel()
        source.close()
        return answers

    with server(behaviour) as url:
        assert asyncio.run(asked(url)) == [Answer(0.25)] * 20


def test_who_waits_too_long_for_a_place_is_told_whose_share_is_used_up() -> None:
    met: list[str] = []
    go = threading.Event()

    async def asked(url: str) -> list[Answer]:
        source = Source(spec(url, timeout="500ms", maxConcurrency=1), capacity=Capacity(count_limit=met.append))
        answers = await asyncio.gather(*(source.ask(f"q{i}(", AT, "shop") for i in range(2)))
        go.set()
        source.close()
        return answers

    def behaviour(*_: object) -> None:
        go.wait(10)

    with server(behaviour) as url:
        details = sorted(answer.detail for answer in asyncio.run(asked(url)))
    assert details[0].startswith("no answer within 0.")
    assert details[1].startswith("not sent in time: other queries of namespace shop took its share")
    assert met == ["places"]


def test_what_is_remembered_of_one_namespaces_queries_is_not_displaced_by_another() -> None:
    async def asked(url: str) -> None:
        source = Source(spec(url, timeout="20s"))
        await source.ask("sum(a)", AT, "shop")
        known = source._batcher("shop")._forms.copy()
        await asyncio.gather(*(source.ask(f"sum(b{'c' * i})", AT, "evil") for i in range(50)))
        assert source._batcher("shop")._forms == known != {}
        source.close()

    with server(say(ONE)) as url:
        asyncio.run(asked(url))
