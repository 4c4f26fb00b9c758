"""The elector: what follows from what it knows, and what several of them do in simulated time over one Lease."""

from __future__ import annotations

import asyncio
import re
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rolloutplan.cluster.client import Api, ApiError, Raw
from rolloutplan.cluster.lease import (
    NO_LEASE,
    Claim,
    Elector,
    ElectorState,
    Lease,
    may_write,
    next_claim,
    observe,
    read,
    renewed,
)
from rolloutplan.loop.versions import History

# ---- the decision ----------------------------------------------------------------------------------------------------

ME, OTHER = "me", "other"
NEW = "acquired now"


def lease(holder: str, epoch: int, acquired: str = "then", version: str = "7") -> Lease:
    return Lease(version, holder, epoch, acquired)


NEWCOMER = ElectorState(ME)
STANDBY = observe(NEWCOMER, lease(OTHER, 4, version="6"), -100.0)
LEADER = renewed(replace(STANDBY, claim=Claim(5, "then")), lease(ME, 5), 0.0)
UNANSWERED = replace(STANDBY, claim=Claim(5, "then"))

Looks = Sequence[tuple[float, Lease]]


@pytest.mark.parametrize(
    ("known", "looks", "now", "written"),
    [
        pytest.param(NEWCOMER, [(0, NO_LEASE)], 0, Claim(1, NEW), id="there was never a Lease"),
        pytest.param(NEWCOMER, [(0, lease("", 4))], 0, Claim(5, NEW), id="it is free"),
        pytest.param(NEWCOMER, [(0, lease(OTHER, 4))], 14.9, None, id="another's, unchanged for a while"),
        pytest.param(NEWCOMER, [(0, lease(OTHER, 4))], 15, Claim(5, NEW), id="another's, dead"),
        pytest.param(
            NEWCOMER,
            [(0, lease(OTHER, 4)), (14, lease(OTHER, 4, version="8"))],
            28.9,
            None,
            id="another's, renewed in the last moment",
        ),
        pytest.param(NEWCOMER, [(0, lease(ME, 4))], 0, Claim(5, NEW), id="our name at the start"),
        pytest.param(
            NEWCOMER,
            [(0, lease(ME, 4)), (1, lease(ME, 4, version="8"))],
            1,
            Claim(5, NEW),
            id="our name at the start, and a late renewal of the former process",
        ),
        pytest.param(
            NEWCOMER, [(0, lease(ME, 4)), (1, lease(ME, 5))], 1, None, id="our name at the start, taken by a namesake"
        ),
        pytest.param(STANDBY, [(0, lease(ME, 5))], 14.9, None, id="our name later: a namesake"),
        pytest.param(STANDBY, [(0, lease(ME, 5))], 15, Claim(6, NEW), id="our name later, dead"),
        pytest.param(STANDBY, [(0, NO_LEASE)], 14.9, None, id="deleted: its leader may not know yet"),
        pytest.param(STANDBY, [(0, NO_LEASE)], 15, Claim(5, NEW), id="deleted, and its leader gone"),
        pytest.param(STANDBY, [(0, lease("", 0))], 0, Claim(5, NEW), id="free, its epoch put back"),
        pytest.param(UNANSWERED, [(0, lease(ME, 5))], 0, Claim(5, "then"), id="a taking of ours without answer, done"),
        pytest.param(UNANSWERED, [(0, lease("", 4))], 0, Claim(5, "then"), id="a taking of ours, not done: the same"),
        pytest.param(UNANSWERED, [(0, lease(ME, 5, "too"))], 0, None, id="a namesake's taking, not ours"),
        pytest.param(UNANSWERED, [(0, lease("", 5))], 0, Claim(6, NEW), id="a taking of ours, overtaken"),
        pytest.param(LEADER, [], 2, Claim(5, "then"), id="leading"),
        pytest.param(LEADER, [(3600, lease(ME, 5))], 3600, Claim(5, "then"), id="leading, after a long outage"),
        pytest.param(LEADER, [(3, lease(ME, 5, version="8"))], 3, Claim(5, "then"), id="leading, a renewal was done"),
        pytest.param(LEADER, [(3, lease(ME, 5, ""))], 3, Claim(5, "then"), id="leading, a time changed by hand"),
        pytest.param(LEADER, [(9, NO_LEASE)], 9, Claim(5, "then"), id="leading, deleted"),
    ],
)
def test_what_is_written(known: ElectorState, looks: Looks, now: float, written: Claim | None) -> None:
    for at, seen in looks:
        known = observe(known, seen, at)
    assert next_claim(known, now, NEW) == written
    assert known.leading == (known.epoch > 0)


@pytest.mark.parametrize(
    ("seen", "at", "written"),
    [
        pytest.param(lease(OTHER, 6), 2, None, id="another has it"),
        pytest.param(lease(ME, 6), 2, None, id="a namesake has it"),
        pytest.param(lease(OTHER, 5), 2, None, id="another name in our tenure"),
        pytest.param(lease("", 5), 2, Claim(6, NEW), id="somebody emptied it"),
        pytest.param(lease("", 0), 2, Claim(6, NEW), id="somebody emptied it of everything"),
        pytest.param(NO_LEASE, 10, None, id="deleted, and another may have had it since"),
    ],
)
def test_a_leader_who_sees_anything_but_its_own_tenure_leads_no_longer(
    seen: Lease, at: float, written: Claim | None
) -> None:
    known = observe(LEADER, seen, at)
    assert not known.leading
    assert not may_write(known, at)
    assert next_claim(known, at, NEW) == written
    put_back = observe(known, lease(ME, 5, version="9"), at)
    assert next_claim(put_back, at, NEW) is None, "a tenure that is over does not come back"


def test_a_leader_may_write_for_ten_seconds_after_it_sent_a_renewal() -> None:
    assert may_write(LEADER, 9.99)
    assert not may_write(LEADER, 10)
    assert LEADER.leading
    assert may_write(renewed(LEADER, lease(ME, 5, version="8"), 3601), 3610)


@pytest.mark.parametrize(
    ("spec", "holder", "epoch"),
    [
        ({"holderIdentity": "a", "leaseTransitions": 3}, "a", 3),
        ({"holderIdentity": "a"}, "a", 0),
        ({"holderIdentity": None, "leaseTransitions": None}, "", 0),
        ({}, "", 0),
        (None, "", 0),
        ({"holderIdentity": "a", "leaseTransitions": 2**31 - 1}, "a", 0),
        ({"holderIdentity": "a", "leaseTransitions": -1}, "a", 0),
    ],
)
def test_what_a_lease_says(spec: Mapping[str, Any] | None, holder: str, epoch: int) -> None:
    assert read({"metadata": {"resourceVersion": "7"}, "spec": spec}) == Lease("7", holder, epoch, "")


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": {}},
        {"metadata": []},
        {"metadata": {"resourceVersion": "7"}, "spec": "x"},
        {"metadata": {"resourceVersion": "7"}, "spec": {"leaseTransitions": "many"}},
    ],
)
def test_an_answer_that_is_no_lease_is_an_error(raw: Raw) -> None:
    with pytest.raises(ApiError, match="NotALease"):
        read(raw)


# ---- several in simulated time ---------------------------------------------------------------------------------------


class Jumps(selectors.SelectSelector):
    """Instead of waiting, time jumps. `before` is called each time, when all that can happen now has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.before: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.before()
        self.now += max(timeout, 0)
        return []


class Simulated(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumps = Jumps()
        super().__init__(self.jumps)

    def time(self) -> float:
        return self.jumps.now


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Fault:
    """What becomes of a request.

    It is done after `before` seconds, unless it never is; its answer comes after `after` more, with this `status`, or
    for 0 with the true one. What is never done has none.
    """

    before: float = 0.01
    after: float = 0.0
    status: int = 0
    done: bool = True


FINE = Fault()
DOWN = Fault(done=False)
NO_ANSWER = Fault(after=60)


class Server:
    """An API server with one Lease."""

    def __init__(self, spec: Raw | None = None) -> None:
        self.version = 1
        self.raw: Raw | None = None
        if spec is not None:
            self.put(spec)

    @property
    def spec(self) -> Raw:
        assert self.raw is not None
        spec: Raw = self.raw["spec"]
        return spec

    def put(self, spec: Raw) -> Raw:
        self.version += 1
        self.raw = {"metadata": {"name": "rolloutplan", "resourceVersion": str(self.version)}, "spec": spec}
        return self.raw

    def get(self) -> Raw:
        if self.raw is None:
            raise ApiError(404, "NotFound")
        return self.raw

    def create(self, body: Mapping[str, Any]) -> Raw:
        if self.raw is not None:
            raise ApiError(409, "AlreadyExists")
        assert "resourceVersion" not in body["metadata"]
        return self.put(body["spec"])

    def patch(self, body: Mapping[str, Any]) -> Raw:
        if body["metadata"]["resourceVersion"] != self.get()["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict")
        return self.put({**self.spec, **body["spec"]})


class Link(Api):
    """The way of one process to the server, through `faults` in turn and then `always`; gives up after 3 s."""

    def __init__(self, server: Server, faults: Sequence[Fault] = ()) -> None:
        self._server, self.faults, self.always = server, list(faults), FINE
        self.asked: list[tuple[float, str]] = []
        self.running = asyncio.Event()
        self.running.set()

    async def get(self, path: str, **_: Any) -> Raw:
        assert path == "/apis/coordination.k8s.io/v1/namespaces/ops/leases/rolloutplan"
        return await self._ask("GET", self._server.get)

    async def create(self, path: str, body: Mapping[str, Any], **_: Any) -> Raw:
        assert path == "/apis/coordination.k8s.io/v1/namespaces/ops/leases"
        return await self._ask("POST", lambda: self._server.create(body))

    async def patch(self, path: str, body: Any, **_: Any) -> Raw:
        return await self._ask("PATCH", lambda: self._server.patch(body))

    async def _ask(self, method: str, act: Callable[[], Raw]) -> Raw:
        await self.running.wait()
        self.asked.append((now(), method))
        fault = self.faults.pop(0) if self.faults else self.always
        # A task of its own: what was sent is done even where nobody waits for it any more.
        exchange = asyncio.create_task(_exchange(fault, act))
        done, _ = await asyncio.wait((exchange,), timeout=3)
        answer = exchange.result() if done else ApiError(0, "Timeout")
        await self.running.wait()
        if isinstance(answer, ApiError):
            raise answer
        return answer


async def _exchange(fault: Fault, act: Callable[[], Raw]) -> Raw | ApiError:
    await asyncio.sleep(fault.before)
    answer: Raw | ApiError = ApiError(0, "ClientConnectorError")
    if fault.done:
        try:
            answer = act()
        except ApiError as error:
            answer = error
    if fault.after:
        await asyncio.sleep(fault.after)
    return ApiError(fault.status, HTTPStatus(fault.status).phrase) if fault.status else answer


@dataclass
class World:
    """One Lease and the processes that want it."""

    server: Server = field(default_factory=Server)
    alive: list[Process] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    """Of all tenures, as they were gained."""
    overlaps: list[float] = field(default_factory=list)

    def watch(self) -> None:
        if sum(process.elector.may_write() for process in self.alive) > 1:
            self.overlaps.append(now())

    def start(self, name: str, faults: Sequence[Fault] = (), skew: float = 0.0, *, sees: bool = True) -> Process:
        return Process(self, name, faults, skew, sees=sees)

    @property
    def writers(self) -> list[Process]:
        return [process for process in self.alive if process.elector.may_write()]


class Process:
    """A process with an elector, its monotonic clock ahead by `skew`. `told` is what the elector told it."""

    def __init__(self, world: World, name: str, faults: Sequence[Fault], skew: float, *, sees: bool) -> None:
        self.world, self.name, self.told = world, name, list[int | str]()
        self.restores = 0
        self.sees = asyncio.Event()
        if sees:
            self.sees.set()
        self.link = Link(world.server, faults)
        clock = asyncio.get_running_loop().time
        self.elector = Elector(
            self.link,
            namespace="ops",
            name="rolloutplan",
            identity=name,
            gained=self._gained,
            lost=self.told.append,
            ready=self.sees,
            saw=History(self._restored).saw,
            clock=lambda: clock() + skew,
        )
        world.alive.append(self)
        self._task = asyncio.create_task(self.elector.run())

    def _gained(self, epoch: int) -> None:
        self.told.append(epoch)
        self.world.epochs.append(epoch)

    def _restored(self) -> None:
        self.restores += 1

    def stop(self) -> None:
        """As SIGSTOP does."""
        self.link.running.clear()

    def go_on(self) -> None:
        self.link.running.set()

    async def kill(self) -> None:
        """As SIGKILL does; what was sent stays sent."""
        self.world.alive.remove(self)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def terminate(self) -> None:
        """As SIGTERM does."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.elector.release()
        self.world.alive.remove(self)


Story = Callable[[World], Coroutine[Any, Any, None]]


def simulate(story: Story, world: World) -> World:
    loop = Simulated()

    async def run() -> None:
        loop.jumps.before = world.watch
        await story(world)
        loop.jumps.before = lambda: None

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())
    return world


def tell(story: Story, spec: Raw | None = None) -> None:
    world = simulate(story, World(Server(spec)))
    assert not world.overlaps, "two may write"
    assert world.epochs == sorted(set(world.epochs)), "an epoch is that of two tenures"


async def until(condition: Callable[[], bool], within: float) -> float:
    """How long it took until it was so, in seconds."""
    began = now()
    while not condition():
        assert now() <= began + within, "not within its time"
        await asyncio.sleep(0.05)
    return now() - began


seconds = asyncio.sleep


def test_the_first_leads_at_once_and_no_other_besides() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b, c = world.start("b"), world.start("c")
        await seconds(100)
        assert (a.told, b.told, c.told) == ([1], [], [])
        assert a.elector.may_write() and a.elector.leading and a.elector.epoch == 1
        assert not b.elector.leading and b.elector.epoch == 0
        assert {process.elector.holder for process in (a, b, c)} == {"a"}

    tell(story)


def test_of_several_that_start_at_once_one_leads() -> None:
    async def story(world: World) -> None:
        for name in "abc":
            world.start(name)
        await seconds(5)
        assert len(world.writers) == 1
        assert world.epochs == [1]

    tell(story)


def test_who_cannot_see_leaves_the_lease_to_who_can_and_takes_it_as_soon_as_it_sees() -> None:
    async def story(world: World) -> None:
        blind = world.start("blind", sees=False)
        await seconds(60)
        assert blind.told == []
        blind.sees.set()
        await seconds(0.1)
        assert blind.told == [1]
        await blind.terminate()
        a, b = world.start("a", sees=False), world.start("b")
        await seconds(5)
        assert (a.told, b.told) == ([], [2])

    tell(story)


def test_a_leader_asks_every_two_seconds_and_a_standby_every_second() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(10)
        a.link.asked.clear()
        b.link.asked.clear()
        await seconds(100)
        assert {method for _, method in a.link.asked} == {"PATCH"}
        assert {method for _, method in b.link.asked} == {"GET"}
        assert 48 <= len(a.link.asked) <= 50
        assert 97 <= len(b.link.asked) <= 100

    tell(story)


def test_what_stands_in_the_lease() -> None:
    async def story(world: World) -> None:
        world.start("a")
        await seconds(5)
        spec = dict(world.server.spec)
        for key in ("acquireTime", "renewTime"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", spec.pop(key))
        assert spec == {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 1}

    tell(story)


def test_the_lease_of_a_dead_leader_is_taken_after_its_time() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b", skew=3600)
        await seconds(20)
        await a.kill()
        assert 13 <= await until(b.elector.may_write, 17) <= 16.1
        assert b.told == [2]

    tell(story)


def test_a_released_lease_is_taken_within_two_seconds_and_has_a_new_epoch_even_for_the_same_process_name() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        await a.terminate()
        assert not a.elector.leading
        assert (world.server.spec["holderIdentity"], world.server.spec["leaseTransitions"]) == ("", 1)
        assert await until(b.elector.may_write, 2) <= 1.1
        await b.terminate()
        again = world.start("b")
        await until(again.elector.may_write, 1)
        assert again.told == [3]

    tell(story)


def test_a_process_started_again_under_its_name_leads_at_once() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        await a.kill()
        with capture_logs() as said:
            a = world.start("a")
            await until(a.elector.may_write, 0.1)
        assert [line["event"] for line in said] == ["leading"]
        await seconds(60)
        assert (a.told, b.told) == ([2], [])

    tell(story)


def test_a_second_process_of_the_same_name_is_another() -> None:
    async def story(world: World) -> None:
        first = world.start("a")
        await seconds(20)
        second = world.start("a")
        await until(lambda: not first.elector.leading, 3)
        await seconds(60)
        assert first.told == [1, "a"]
        assert second.told == [2]
        await second.kill()
        await until(first.elector.may_write, 17)
        assert first.told == [1, "a", 3]

    simulate(story, World())


@pytest.mark.parametrize("fault", [NO_ANSWER, Fault(status=500), Fault(status=503, done=False), DOWN])
def test_a_renewal_that_fails_or_whose_answer_is_lost_changes_nothing(fault: Fault) -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        a.link.faults += [fault]
        for _ in range(300):
            await seconds(0.1)
            assert a.elector.may_write()
        assert (a.told, b.told, a.elector.epoch) == ([1], [], 1)

    tell(story)


@pytest.mark.parametrize("spec", [None, {"holderIdentity": "", "leaseTransitions": 6}], ids=["none yet", "free"])
@pytest.mark.parametrize("fault", [NO_ANSWER, Fault(status=500)])
def test_a_taking_whose_answer_is_lost_is_found_to_be_ours(fault: Fault, spec: Raw | None) -> None:
    async def story(world: World) -> None:
        a = world.start("a", [FINE, fault])
        await until(a.elector.may_write, 5)
        assert a.told == [world.server.spec["leaseTransitions"]] == [7 if spec else 1]

    tell(story, spec)


def test_after_an_outage_the_leader_goes_on_in_the_same_tenure() -> None:
    async def story(world: World) -> None:
        a, b = world.start("a"), world.start("b")
        await seconds(20)
        leader, standby = (a, b) if a.elector.leading else (b, a)
        await standby.kill()
        leader.link.always = DOWN
        await until(lambda: not leader.elector.may_write(), 10.1)
        await seconds(600)
        assert leader.elector.leading and not leader.elector.may_write()
        leader.link.always = FINE
        await until(leader.elector.may_write, 1)
        assert leader.told == [1]

    tell(story)


def test_after_an_outage_for_all_one_of_them_leads() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        a.link.always = b.link.always = DOWN
        await seconds(600)
        a.link.always = b.link.always = FINE
        await seconds(5)
        assert len(world.writers) == 1

    tell(story)


@pytest.mark.parametrize("asking", [False, True], ids=["between two renewals", "before it heard the answer to one"])
def test_a_leader_that_was_stopped_for_a_minute_learns_once_that_another_leads(asking: bool) -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        if asking:
            a.link.faults += [Fault(after=1)]
            await until(lambda: not a.link.faults, 3)
        a.stop()
        await seconds(60)
        assert b.told == [2]
        assert a.elector.leading and not a.elector.may_write()
        a.go_on()
        await until(lambda: not a.elector.leading, 3)
        await seconds(60)
        assert (a.told, a.elector.holder, a.elector.epoch) == ([1, "b"], "b", 1)

    tell(story)


def test_a_renewal_that_arrives_after_another_took_the_lease_is_refused() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        a.link.faults += [Fault(before=40)]
        a.link.always = DOWN
        await seconds(60)
        assert b.told == [2]
        assert b.elector.may_write()
        assert world.server.spec["holderIdentity"] == "b"

    tell(story)


def test_a_standby_that_cannot_look_takes_nothing_from_a_leader_that_renews() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        b.link.always = DOWN
        await seconds(60)
        b.link.always = FINE
        await seconds(60)
        assert (a.told, b.told) == ([1], [])

    tell(story)


@pytest.mark.parametrize("known", [False, True], ids=["without the Lease", "with the Lease"])
def test_a_cluster_that_was_restored_from_a_backup_is_noticed_once_by_all(known: bool) -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(1)
        backup = (world.server.version, world.server.raw if known else None)
        b = world.start("b")
        await seconds(60)
        assert (a.restores, b.restores) == (0, 0)
        world.server.version, world.server.raw = backup
        await seconds(60)
        assert (a.restores, b.restores) == (1, 1)
        assert len(world.writers) == 1

    tell(story)


def test_no_fault_of_the_network_looks_like_a_restore() -> None:
    async def story(world: World) -> None:
        faults = [FINE, NO_ANSWER, DOWN, Fault(status=500), Fault(after=2.9), Fault(before=5)] * 10
        a, b = world.start("a", faults), world.start("b", faults)
        await seconds(300)
        world.server.raw = None
        await seconds(60)
        assert (a.restores, b.restores) == (0, 0)

    tell(story)


def test_a_lease_that_is_deleted_is_put_back_by_its_leader() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20)
        world.server.raw = None
        await seconds(30)
        assert (a.told, b.told) == ([1], [])
        assert world.server.spec["leaseTransitions"] == 1
        await a.kill()
        world.server.raw = None
        await until(b.elector.may_write, 17)
        assert b.told == [2]

    tell(story)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"holderIdentity": None, "leaseTransitions": None, "renewTime": None}, id="nulls"),
        pytest.param({"holderIdentity": "nobody", "renewTime": "2999-01-01T00:00:00.000000Z"}, id="held by nobody"),
        pytest.param({"holderIdentity": "a", "leaseTransitions": 2**31 - 1}, id="an epoch that cannot grow"),
        pytest.param({"holderIdentity": "nobody", "leaseTransitions": 0, "leaseDurationSeconds": 9**9}, id="numbers"),
    ],
)
def test_a_lease_that_is_garbage_is_repaired_and_said(garbage: Raw) -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(20)
        with capture_logs() as said:
            world.server.put(garbage)
            await until(lambda: a.elector.epoch == 2, 20)
        assert "the Lease was deleted or changed by hand" in [line["event"] for line in said]
        assert world.server.spec.keys() >= {"acquireTime", "renewTime"}
        kept = {key: world.server.spec[key] for key in ("holderIdentity", "leaseDurationSeconds", "leaseTransitions")}
        assert kept == {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 2}

    tell(story)


def test_what_goes_wrong_is_said_once() -> None:
    async def story(world: World) -> None:
        with capture_logs() as said:
            a = world.start("a")
            a.link.always = Fault(status=403, done=False)
            await seconds(60)
            assert a.elector.forbidden, "the probe tells it"
            a.link.always = FINE
            await seconds(20)
            assert a.elector.forbidden is None
            for _ in range(2):
                a.link.always = DOWN
                await seconds(60)
                a.link.always = FINE
                await seconds(20)
        assert [(line["event"], line.get("error", "")[:3]) for line in said] == [
            ("the Lease could not be read or taken", "403"),
            ("leading", ""),
            ("the Lease could not be renewed", "0 C"),
            ("the Lease could not be renewed", "0 C"),
        ]

    tell(story)


def test_who_leads_is_said_when_it_changes() -> None:
    async def story(world: World) -> None:
        with capture_logs() as said:
            a = world.start("a")
            await seconds(0.5)
            world.start("b")
            await seconds(20)
            a.stop()
            await seconds(30)
            a.go_on()
            await seconds(5)
        assert [(line["event"], line.get("epoch") or line.get("holder")) for line in said] == [
            ("leading", 1),
            ("another replica leads", "a"),
            ("leading", 2),
            ("another replica leads", "b"),
        ]

    tell(story)


# ---- releasing -------------------------------------------------------------------------------------------------------


async def _while_idle(_: Process) -> None:
    await seconds(1)


async def _while_a_renewal_is_under_way(a: Process) -> None:
    a.link.faults += [Fault(before=0.2)]
    began = len(a.link.asked)
    await until(lambda: len(a.link.asked) > began, 3)


async def _while_a_renewal_fails(a: Process) -> None:
    a.link.faults += [DOWN]
    await until(lambda: not a.link.faults, 3)


async def _after_a_renewal_whose_answer_was_lost(a: Process) -> None:
    a.link.faults += [Fault(status=500)]
    await until(lambda: not a.link.faults, 3)


async def _with_a_release_that_fails_at_first(a: Process) -> None:
    await _while_idle(a)
    a.link.faults += [Fault(status=503, done=False), Fault(status=409, done=False)]


async def _with_a_release_whose_answer_is_lost(a: Process) -> None:
    await _while_idle(a)
    a.link.faults += [Fault(status=500)]


@pytest.mark.parametrize(
    "when",
    [
        _while_idle,
        _while_a_renewal_is_under_way,
        _while_a_renewal_fails,
        _after_a_renewal_whose_answer_was_lost,
        _with_a_release_that_fails_at_first,
        _with_a_release_whose_answer_is_lost,
    ],
    ids=lambda when: when.__name__.strip("_").replace("_", " "),
)
def test_a_release_leaves_the_lease_empty(when: Callable[[Process], Awaitable[None]]) -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(20)
        await when(a)
        began = now()
        await a.terminate()
        assert now() - began <= 1
        await seconds(1)
        assert (world.server.spec["holderIdentity"], world.server.spec["leaseTransitions"]) == ("", 1)

    tell(story)


@pytest.mark.parametrize("fault", [NO_ANSWER, DOWN, Fault(status=403, done=False)])
def test_a_release_never_takes_longer_than_a_second(fault: Fault) -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(20)
        a.link.always = replace(fault, before=60) if fault.done else fault
        began = now()
        await a.terminate()
        assert now() - began <= 1.001
        assert not a.elector.leading

    tell(story)


def test_only_who_has_the_lease_releases_it() -> None:
    async def story(world: World) -> None:
        world.start("a")
        await seconds(0.5)
        b = world.start("b")
        await seconds(20.2)
        b.link.asked.clear()
        await b.terminate()
        assert b.link.asked == []
        assert world.server.spec["holderIdentity"] == "a"

    tell(story)


def test_who_lost_the_lease_while_it_was_stopped_does_not_release_it() -> None:
    async def story(world: World) -> None:
        a = world.start("a")
        await seconds(0.5)
        world.start("b")
        await seconds(20)
        a.stop()
        await seconds(60)
        a.go_on()
        await a.terminate()
        assert world.server.spec["holderIdentity"] == "b"

    tell(story)


# ---- whatever happens ------------------------------------------------------------------------------------------------

FAULTS = st.lists(
    st.builds(
        Fault,
        before=st.sampled_from([0.005, 1.0, 2.9, 5.0, 12.0, 20.0]),
        after=st.sampled_from([0.005, 1.0, 5.0]),
        status=st.sampled_from([0, 0, 0, 403, 409, 429, 500, 503]),
        done=st.booleans(),
    ),
    max_size=20,
)


async def _stopped(process: Process, lasts: float) -> Process:
    process.stop()
    await seconds(lasts)
    process.go_on()
    return process


async def _cut_off(process: Process, lasts: float) -> Process:
    process.link.always = DOWN
    await seconds(lasts)
    process.link.always = FINE
    return process


async def _killed(process: Process, lasts: float) -> Process:
    await process.kill()
    await seconds(lasts)
    return _again(process)


async def _terminated(process: Process, lasts: float) -> Process:
    await process.terminate()
    await seconds(lasts)
    return _again(process)


def _again(process: Process) -> Process:
    return process.world.start(process.name, process.link.faults)


Happening = tuple[int, Callable[[Process, float], Awaitable[Process]], int]
"""Tenths of seconds before it, what happens, and the tenths that it lasts."""
LIFE = st.lists(
    st.tuples(st.integers(0, 100), st.sampled_from([_stopped, _cut_off, _killed, _terminated]), st.integers(0, 250)),
    max_size=3,
)


@settings(max_examples=80)
@given(st.lists(st.tuples(FAULTS, LIFE, st.integers(0, 7200)), min_size=2, max_size=3))
def test_no_two_may_write_at_once_and_in_the_end_one_does(
    lives: list[tuple[list[Fault], list[Happening], int]],
) -> None:
    async def live(world: World, name: str, faults: list[Fault], happenings: list[Happening], skew: int) -> None:
        process = world.start(name, faults, skew)
        for before, happens, lasts in happenings:
            await seconds(before / 10)
            process = await happens(process, lasts / 10)

    async def story(world: World) -> None:
        async with asyncio.TaskGroup() as group:
            for name, (faults, happenings, skew) in zip("abc", lives, strict=False):
                group.create_task(live(world, name, faults, happenings, skew))
        for process in world.alive:
            process.link.faults.clear()
        await seconds(40)
        for _ in range(20):
            await seconds(0.5)
            (writer,) = world.writers
            assert world.server.spec["leaseTransitions"] == writer.elector.epoch

    tell(story)
