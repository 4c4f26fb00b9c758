"""Who may speak to the API server first."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from rolloutplan.loop.lanes import Lane, Lanes

W, R, F, T = Lane.WEIGHTS, Lane.RECORD, Lane.FORWARD, Lane.TELL


async def turns(times: int = 5) -> None:
    """Let all tasks run that can."""
    for _ in range(times):
        await asyncio.sleep(0)


class Desk:
    """Requests that hold their place until they are told to end. `order` is who got a place, in this order."""

    def __init__(self, width: int) -> None:
        self.lanes, self.order = Lanes(width), list[str]()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(self, *requests: tuple[str, Lane]) -> None:
        for name, lane in requests:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._speak(name, lane))
            await turns()

    async def _speak(self, name: str, lane: Lane) -> None:
        async with self.lanes.take(lane):
            self.order.append(name)
            await self._ends[name].wait()

    async def ends(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await turns()

    def gives_up(self, name: str) -> None:
        self._tasks[name].cancel()


def tell(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(2):
            await story()

    asyncio.run(in_time())


def test_no_more_speak_at_once_than_there_are_places() -> None:
    async def story() -> None:
        desk = Desk(2)
        await desk.comes(("a", R), ("b", R), ("c", R))
        assert desk.order == ["a", "b"]
        await desk.ends("b")
        assert desk.order == ["a", "b", "c"]

    tell(story)


def test_a_free_place_goes_to_weights_then_records_then_steps_forward() -> None:
    async def story() -> None:
        desk = Desk(1)
        await desk.comes(("first", F), ("forward", F), ("record", R), ("weights", W))
        await desk.ends("first", "weights", "record", "forward")
        assert desk.order == ["first", "weights", "record", "forward"]

    tell(story)


def test_what_is_told_takes_no_place_of_others_and_waits_for_none() -> None:
    async def story() -> None:
        lanes = Lanes(1, aside=1)
        async with lanes.take(R), lanes.take(T):
            telling = asyncio.create_task(_taken(lanes, T))
            await turns()
            assert not telling.done(), "one at a time"
        await telling

    tell(story)


def test_weights_have_places_that_hanging_records_cannot_take() -> None:
    async def story() -> None:
        lanes = Lanes(1, kept=1)
        async with lanes.take(R):
            await asyncio.wait_for(_taken(lanes, W), 1)

    tell(story)


async def _taken(lanes: Lanes, lane: Lane) -> None:
    async with lanes.take(lane):
        pass


def test_in_one_lane_who_came_first_goes_first() -> None:
    async def story() -> None:
        desk = Desk(1)
        await desk.comes(("first", F), ("a", R), ("b", R), ("c", R))
        await desk.ends("first", "a", "b", "c")
        assert desk.order == ["first", "a", "b", "c"]

    tell(story)


def test_a_place_is_kept_for_nobody_while_no_one_waits() -> None:
    async def story() -> None:
        desk = Desk(1)
        await desk.comes(("first", W))
        await desk.ends("first")
        await desk.comes(("tell", T))
        assert desk.order == ["first", "tell"]

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
    desk.lanes._release()  # as `first` would; `a` has its turn and has not run since
    desk.gives_up("a")
    await turns()


async def _while_speaking(desk: Desk) -> None:
    await desk.ends("first")
    desk.gives_up("a")
    await turns()


@pytest.mark.parametrize(
    "when",
    [_while_waiting, _as_its_turn_comes, _in_the_moment_in_which_it_was_given_its_place, _while_speaking],
    ids=lambda when: when.__name__.strip("_").replace("_", " "),
)
def test_who_gives_up_leaves_the_place_to_the_next(when: Callable[[Desk], Awaitable[None]]) -> None:
    async def story() -> None:
        desk = Desk(1)
        await desk.comes(("first", F), ("a", W), ("b", R), ("c", R))
        await when(desk)
        assert desk.order[-1] == "b", "the place is lost"
        assert "c" not in desk.order, "the place is given twice"

    tell(story)


def test_a_request_that_fails_gives_its_place_back() -> None:
    async def story() -> None:
        lanes = Lanes(1)
        with pytest.raises(RuntimeError):
            async with lanes.take(W):
                raise RuntimeError
        async with lanes.take(T):
            pass

    tell(story)
