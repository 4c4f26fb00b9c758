"""Every decision gets its Event: once, in order, also after a start, and whatever becomes of the Event before it."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.engine.look import PlanView
from rolloutplan.loop.memory import Memory
from rolloutplan.loop.schedule import Schedule, now
from rolloutplan.loop.store import Plan, Store
from rolloutplan.loop.teller import RECENT, Teller
from rolloutplan.plan.status import Decision, Kind, Status

VIEW = PlanView(namespace="ns", name="plan", uid="0123456789", generation=1, created=now(), spec=None)
Refuses = Callable[[int], ApiError | None]


def status(*ages: timedelta, told: int = 0) -> Status:
    """A status of one decision for each age, numbered from 1."""
    at = now()
    decisions = tuple(
        Decision(seq=seq, at=at - age, kind=Kind.ADVANCE, reason="WeightShifted") for seq, age in enumerate(ages, 1)
    )
    return Status(seq=len(ages), decisions=decisions, told=told)


class Server:
    """Keeps the numbers of the Events that were posted."""

    def __init__(self) -> None:
        self.posted: list[int] = []
        self.refuses: Refuses = lambda seq: None

    async def create(self, path: str, body: dict[str, Any], **_: object) -> dict[str, Any]:
        seq = int(body["metadata"]["name"].rsplit(".", 1)[1])
        if error := self.refuses(seq):
            raise error
        self.posted.append(seq)
        return body


def told(held: Status, refuses: Refuses = lambda seq: None) -> tuple[list[int], Memory, datetime | None]:
    """What is posted of a plan at the first look after a start, and when it is to be looked at again."""

    async def story() -> tuple[list[int], Memory, datetime | None]:
        server, store, tasks = Server(), Store(), list[asyncio.Task[None]]()
        server.refuses = refuses
        plan = store.plans["ns/plan"] = Plan(VIEW, held, {}, {})
        schedule = Schedule(lambda key: None)

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            tasks.append(asyncio.create_task(work))

        memory = Memory(VIEW.uid, now())
        Teller(cast("ResourceClient", server), store, schedule, instance="test", spawn=spawn).tell(plan, memory)
        await asyncio.gather(*tasks)
        return server.posted, memory, schedule._earliest.get("ns/plan")

    return asyncio.run(story())


NEW = timedelta(seconds=1)
OLD = RECENT + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("held", "posted"),
    [
        pytest.param(status(NEW, NEW, NEW), [1, 2, 3], id="what nobody is known to have told is told, in order"),
        pytest.param(status(NEW, NEW, NEW, told=2), [3], id="what the status says is told is not told again"),
        pytest.param(status(NEW, NEW, told=2), [], id="nothing is left to tell"),
        pytest.param(status(OLD, OLD, NEW), [3], id="an Event older than Events live is not posted"),
        pytest.param(status(), [], id="nothing was decided yet"),
    ],
)
def test_after_a_start_only_what_may_be_missing_is_told(held: Status, posted: list[int]) -> None:
    assert told(held)[0] == posted


def test_what_cannot_be_posted_now_is_tried_again_soon_and_in_order() -> None:
    posted, memory, again = told(status(NEW, NEW), lambda seq: ApiError(500, "InternalError"))
    assert (posted, memory.told) == ([], 0)
    assert again is not None and again < now() + timedelta(seconds=1)


def test_an_event_that_is_refused_for_what_it_says_keeps_back_no_other() -> None:
    refuses: Refuses = lambda seq: ApiError(422, "Invalid") if seq == 1 else None  # noqa: E731
    posted, memory, _ = told(status(NEW, NEW), refuses)
    assert (posted, memory.told) == ([2], 2)
