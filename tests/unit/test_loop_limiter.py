"""Who may send the next request to the API server."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import pairwise
from typing import Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.cluster.client import CONNECTIONS, ResourceClient
from rolloutplan.loop.limiter import Places, Priority, RequestLimiter

W, S, R, F, PROGRESS, READ, LOOK, E, RUN, ON_OBJECTS = Priority


async def turns(times: int = 5) -> None:
    """Let all tasks run that can."""
    for _ in range(times):
        await asyncio.sleep(0)


class Desk:
    """Requests that hold their place until they are told to end. `order` is who got a place, in this order."""

    def __init__(self, places: Places) -> None:
        self.limiter, self.order = RequestLimiter(places), list[str]()
        self.here: dict[str, Priority] = {}
        """Who has come and has neither ended nor given up."""
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(self, *requests: tuple[str, Priority]) -> None:
        for name, priority in requests:
            self.sends(name, priority)
            await turns()

    def sends(self, name: str, priority: Priority) -> None:
        self._ends[name], self.here[name] = asyncio.Event(), priority
        self._tasks[name] = asyncio.create_task(self._speak(name, priority))
        # One that is cancelled before its first step never reaches its `finally`.
        self._tasks[name].add_done_callback(lambda _: self.here.pop(name, None))

    async def _speak(self, name: str, priority: Priority) -> None:
        try:
            async with self.limiter.place(priority):
                self.order.append(name)
                await self._ends[name].wait()
        finally:
            self.here.pop(name, None)

    async def ends(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await turns()

    def finishes(self, name: str) -> None:
        self._ends[name].set()

    def gives_up(self, name: str) -> None:
        self._tasks[name].cancel()

    @property
    def in_flight(self) -> dict[Priority, list[str]]:
        """Who holds a place."""
        return {p: [name for name in self.order if self.here.get(name) is p] for p in Priority}

    @property
    def waiting(self) -> dict[Priority, list[str]]:
        """Who does not, in the order in which they came."""
        return {p: [name for name, q in self.here.items() if q is p and name not in self.order] for p in Priority}


def tell(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(in_time())


def test_the_client_has_a_connection_for_every_place() -> None:
    """Else a request that has its place would queue again, behind whatever is there, where no priority counts."""
    assert Places().total <= CONNECTIONS
    assert Places().reads < Places().shared, "reads never take all places"


def test_no_more_speak_at_once_than_there_are_places() -> None:
    async def story() -> None:
        desk = Desk(Places(2, 0, 2))
        await desk.comes(("a", R), ("b", R), ("c", R))
        assert desk.order == ["a", "b"]
        await desk.ends("b")
        assert desk.order == ["a", "b", "c"]

    tell(story)


def test_a_free_place_goes_to_weights_back_then_other_weights_then_decisions_then_jobs_then_the_rest() -> None:
    async def story() -> None:
        desk = Desk(Places(1, 0, 1))
        wanted = [("back", W), ("weights", S), ("decision", R), ("job", F), ("measured", PROGRESS), ("read", READ)]
        await desk.comes(("first", F), *reversed(wanted))
        await desk.ends("first", *(name for name, _ in wanted))
        assert desk.order == ["first", *(name for name, _ in wanted)]

    tell(story)


@pytest.mark.parametrize("own", [E, RUN, ON_OBJECTS])
def test_events_and_records_of_runs_take_no_place_of_others_and_wait_for_none(own: Priority) -> None:
    async def story() -> None:
        desk = Desk(Places(1, 0, 1, events=1, rollout_records=1, object_events=1))
        await desk.comes(("of the other", E if own is RUN else RUN), ("record", R), ("first", own), ("second", own))
        assert desk.order == ["of the other", "record", "first"], "one at a time"
        await desk.ends("first")
        assert desk.order == ["of the other", "record", "first", "second"]

    tell(story)


def test_weights_have_places_that_hanging_records_cannot_take() -> None:
    async def story() -> None:
        desk = Desk(Places(1, 1, 1))
        await desk.comes(("record", R), ("weights", W))
        assert desk.order == ["record", "weights"]

    tell(story)


def test_a_reserved_place_that_comes_free_goes_to_the_weights_that_wait() -> None:
    """Beside requests that hang: the fifth of twelve rollbacks must not wait for their time-outs."""

    async def story() -> None:
        desk = Desk(Places(8, 4, 6))
        await desk.comes(*((f"hangs {i}", R) for i in range(8)), *((f"weights {i}", W) for i in range(12)))
        for i in range(12):
            await desk.ends(f"weights {i}")
        assert desk.order[8:] == [f"weights {i}" for i in range(12)]

    tell(story)


def test_reads_that_hang_leave_places_to_writes() -> None:
    async def story() -> None:
        desk = Desk(Places(3, 0, 2))
        await desk.comes(("a", READ), ("b", READ), ("c", READ), ("forward", F))
        assert desk.order == ["a", "b", "forward"]
        await desk.ends("forward")
        assert desk.order == ["a", "b", "forward"], "the third read waits for one of the two"
        await desk.ends("a")
        assert desk.order[-1] == "c"

    tell(story)


def test_looks_come_last_and_leave_places_to_all_others() -> None:
    async def story() -> None:
        desk = Desk(Places(3, 0, 2, looks=1))
        await desk.comes(("look", LOOK), ("next look", LOOK), ("read", READ), ("record", R), ("next read", READ))
        assert desk.order == ["look", "read", "record"]
        await desk.ends("look", "read")
        assert desk.order[3:] == ["next read", "next look"]

    tell(story)


def test_a_read_that_ends_wakes_a_write_and_a_write_that_ends_wakes_a_read() -> None:
    async def story() -> None:
        desk = Desk(Places(2, 0, 1))
        await desk.comes(("read", READ), ("write", F), ("next write", F), ("next read", READ))
        await desk.ends("read")
        assert desk.order[2:] == ["next write"]
        await desk.ends("write")
        assert desk.order[2:] == ["next write", "next read"]

    tell(story)


def test_of_one_priority_who_came_first_goes_first() -> None:
    async def story() -> None:
        desk = Desk(Places(1, 0, 1))
        await desk.comes(("first", F), ("a", R), ("b", R), ("c", R))
        await desk.ends("first", "a", "b", "c")
        assert desk.order == ["first", "a", "b", "c"]

    tell(story)


def test_a_place_is_kept_for_nobody_while_no_one_waits() -> None:
    async def story() -> None:
        desk = Desk(Places(1, 0, 1))
        await desk.comes(("first", W))
        await desk.ends("first")
        await desk.comes(("read", READ))
        assert desk.order == ["first", "read"]

    tell(story)


async def _while_waiting(desk: Desk) -> None:
    desk.gives_up("a")
    await turns()
    await desk.ends("first")


async def _as_its_turn_comes(desk: Desk) -> None:
    await asyncio.gather(desk.ends("first"), _cancel_at_once(desk))


async def _cancel_at_once(desk: Desk) -> None:
    await asyncio.sleep(0)
    desk.gives_up("a")


async def _in_the_moment_in_which_it_was_given_its_place(desk: Desk) -> None:
    desk.limiter._release(F)  # as `first` would; `a` has its turn and has not run since
    desk.gives_up("a")
    await turns()


async def _in_the_moment_before_a_place_comes_free(desk: Desk) -> None:
    desk.gives_up("a")
    desk.limiter._release(F)  # as `first` would; `a` does not know yet that it was cancelled
    await turns()


async def _while_speaking(desk: Desk) -> None:
    await desk.ends("first")
    desk.gives_up("a")
    await turns()


@pytest.mark.parametrize(
    "when",
    [
        _while_waiting,
        _as_its_turn_comes,
        _in_the_moment_in_which_it_was_given_its_place,
        _in_the_moment_before_a_place_comes_free,
        _while_speaking,
    ],
    ids=lambda when: when.__name__.strip("_").replace("_", " "),
)
def test_who_gives_up_leaves_the_place_to_the_next(when: Callable[[Desk], Awaitable[None]]) -> None:
    async def story() -> None:
        desk = Desk(Places(1, 0, 1))
        await desk.comes(("first", F), ("a", W), ("b", R), ("c", R))
        await when(desk)
        assert desk.order[-1] == "b", "the place is lost"
        assert "c" not in desk.order, "the place is scaled to twice"

    tell(story)


def test_a_request_that_fails_gives_its_place_back() -> None:
    async def story() -> None:
        limiter = RequestLimiter(Places(1, 0, 1))
        with pytest.raises(RuntimeError):
            async with limiter.place(W):
                raise RuntimeError
        async with limiter.place(READ):
            pass

    tell(story)


# ---- whatever comes, in whatever order -------------------------------------------------------------------------------

Move = tuple[Literal["comes", "ends", "gives up", "turns"], int]
PLACES = st.builds(
    Places,
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 2),
)
MOVES = st.lists(
    st.tuples(st.sampled_from(["comes", "comes", "comes", "ends", "gives up", "turns"]), st.integers(0, 30)),
    max_size=60,
)


def allowed(places: Places, in_flight: dict[Priority, list[str]]) -> set[Priority]:
    """The rule in other words: which requests could start now."""
    looks, weights = (len(in_flight[priority]) for priority in (LOOK, W))
    low, others = len(in_flight[READ]) + looks, sum(len(in_flight[each]) for each in (S, R, F, PROGRESS))
    own = {E: places.events, RUN: places.rollout_records, ON_OBJECTS: places.object_events}
    free = {priority: len(in_flight[priority]) < most for priority, most in own.items()}
    free[W] = weights + others + low < places.shared + places.reserved
    free[S] = free[R] = free[F] = free[PROGRESS] = weights + others + low < places.shared
    free[READ] = free[F] and low < places.reads
    free[LOOK] = free[READ] and looks < places.looks
    return {priority for priority, may in free.items() if may}


@given(PLACES, MOVES)
def test_whatever_comes_ends_and_gives_up_nobody_waits_beside_a_free_place(places: Places, moves: list[Move]) -> None:
    async def story() -> None:
        desk = Desk(places)
        for number, (move, which) in enumerate(moves):
            names = list(desk.here)
            if move == "comes":
                desk.sends(f"{number}", list(Priority)[which % len(Priority)])
            elif move == "turns":
                await turns(which % 4)
            elif names:
                (desk.finishes if move == "ends" else desk.gives_up)(names[which % len(names)])
            _none_too_many(desk, places)
        for _ in range(len(moves) + 1):
            await turns()
            _none_too_many(desk, places)
            may, waiting = allowed(places, desk.in_flight), desk.waiting
            assert not any(waiting[priority] for priority in may), (desk.in_flight, waiting)
            for name in [name for names in desk.in_flight.values() for name in names][:1]:
                desk.finishes(name)
        assert not desk.here, "every request had its turn at last"
        assert not any(desk.limiter._in_flight.values()), "every place came back"

    tell(story)


def _none_too_many(desk: Desk, places: Places) -> None:
    in_flight = desk.in_flight
    held = {priority: len(names) for priority, names in in_flight.items()}
    assert held[E] <= places.events
    assert held[RUN] <= places.rollout_records
    assert held[ON_OBJECTS] <= places.object_events
    assert held[READ] <= min(places.reads, places.shared)
    assert held[S] + held[R] + held[F] + held[PROGRESS] + held[READ] <= places.shared
    assert sum(held.values()) <= places.total
    for names in in_flight.values():
        assert all(int(first) < int(second) for first, second in pairwise(names)), "first come, first served"


# ---- the client that takes a place for each request ------------------------------------------------------------------


class Slow:
    """An API server that never answers. `asked` is what it was asked, in this order."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*args: Any, **how: Any) -> Any:
            self.asked.append((method, *args, how))
            await asyncio.Event().wait()

        return ask


def test_every_request_of_a_limited_client_waits_for_a_place_and_is_sent_as_it_was_written() -> None:
    async def story() -> None:
        slow, limiter = Slow(), RequestLimiter(Places(1, 1, 1))
        reads = limiter.client(cast("ResourceClient", slow), READ)
        weights = limiter.client(cast("ResourceClient", slow), W)
        requests = [
            reads.get("/a", timeout=2.0, resourceVersion="0"),
            reads.list("/b", labelSelector="app=v2"),
            reads.create("/c", {"kind": "Job"}, timeout=1.0),
            weights.patch("/d", [{"op": "test"}], kind="json", timeout=2.0),
        ]
        tasks = []
        for request in requests:
            tasks.append(asyncio.ensure_future(request))
            await turns()
        sent: list[tuple[Any, ...]] = [
            ("get", "/a", {"timeout": 2.0, "resourceVersion": "0"}),
            ("patch", "/d", [{"op": "test"}], {"kind": "json", "timeout": 2.0}),
        ]
        assert slow.asked == sent, "the reads wait for the first, the weights for nobody"
        for task in tasks[:2]:
            task.cancel()
            await turns()
        tasks[3].cancel()
        await turns()
        sent += [("create", "/c", {"kind": "Job"}, {"timeout": 1.0})]
        assert slow.asked == sent
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tell(story)
