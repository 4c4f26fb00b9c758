"""Stories of a plan under a hostile host, each drawn from a seed, and what must be true in them.

While it storms, things happen to the plan and to everything that is asked for (tests/hostile.py). Then it is calm: all
is mended, the host is prompt, and the story must come to its end, or say whom it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial, reduce
from random import Random
from traceback import format_exc
from typing import Final

from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.record import RunOutcome, read_record, record_name
from rolloutplan.api.status import DECISIONS_KEPT, Decision, Status
from rolloutplan.cluster import paths
from rolloutplan.engine.model.effects import WriteLook
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.run.record import is_recorded, updated
from rolloutplan.publish.events import EventSink
from rolloutplan.publish.records import RecordSink
from tests.hostile import FAILURES, FAIR, MISFORTUNES, Fate, Host, Weather
from tests.observers import INVARIANTS, saved
from tests.situations import P, s
from tests.stories import COMMANDS, HAPPENS, KINDS, SINGLE, TROUBLES, all_is_mended, begun, drift, lost
from tests.world import START, World, weights_of

MOST_A_SECOND: Final = DECISIONS_KEPT + 10
"""Effects about one thing within a second: a whole trail may be published, once a sink takes it again."""
CALM_FOR: Final = s(3600)
"""How long the longest plan takes from where a storm may leave it."""
BACK_WITHIN: Final = s(8)
"""How long after the API of its route answers a rollback takes: a pause, a read, and twice a write."""

KINDS_OF_EFFECTS: Final = (
    *(None, None, None, None, None),
    frozenset({"route", "read"}),
    frozenset({"status", "read plan"}),
    frozenset({"status", "route", "read", "read plan", "marks"}),
    frozenset({"status", "job", "scale", "observation", "gate", "preflight", "publication"}),
)
NOT_BY_ITSELF: Final = frozenset(
    {
        "the operator is killed and started",
        "the operator is down for five minutes",
        "somebody fights for other weights",
        "who was stopped wakes up",
    }
)
"""What this host does in its own way, or cannot."""
LOST: Final = 4
"""The last digit of the seeds whose stories begin with a run that has lost its status."""
HELPED: Final = "somebody says what helps"
DIES, FIGHTS, REFUSES = "the leader dies", "somebody fights", "the API server refuses"
HAPPENINGS: Final = (
    *TROUBLES,
    *(name for name in SINGLE if name not in NOT_BY_ITSELF),
    *(DIES, DIES, DIES, FIGHTS, REFUSES, REFUSES, REFUSES),
)
REFUSABLE: Final = (
    "record",
    "route",
    "route shop",
    "route api",
    "mark",
    "inspect",
    "job",
    "scale",
    "publish",
    "file",
    "read",
)


@dataclass
class Ordeal:
    """A story that was lived through."""

    seed: int
    kind: str
    host: Host
    violations: list[tuple[str, str]] = field(default_factory=list)
    """What was not as it must be: the name of the observer, and the words."""
    calm: bool = False
    stormy: int = 0
    """The steps before it was calm."""
    told: list[tuple[datetime, str]] = field(default_factory=list)
    """What happened, for whoever reads the story."""

    @property
    def world(self) -> World:
        return self.host.world

    def judge(self, name: str, observer: Callable[[], object]) -> bool:
        """Hear an observer. Returns whether it has nothing to say."""
        try:
            observer()
        except AssertionError as error:
            self.violations.append((name, str(error)))
        except Exception:  # noqa: BLE001 -- whatever is raised is a fault, and must not end the other stories
            self.violations.append((name, format_exc()))
        return not self.violations


def lived_through(seed: int) -> Ordeal:
    """Live the story of a seed, and hear all observers."""
    random = Random(seed)
    kind = random.choice(list(KINDS))
    is_lost = seed % 10 == LOST
    host = Host(lost(kind, random.choice(("canary", "half", "all"))) if is_lost else begun(kind), random)
    ordeal = Ordeal(seed, kind, host)
    host.watchers += [wakes, goes_slowly, falls_off, GoesBack()]
    end = _drawn(ordeal)
    for _ in range(3 if is_lost else 0):
        host.at(host.now + host.log_uniform(1, 600), partial(_happens, ordeal, HELPED))
    if _until(ordeal, end, enough=partial(_has_ended, host.world)) and not host.world.gone:
        _calm(ordeal)
    for invariant in INVARIANTS:
        ordeal.judge(invariant.__name__, partial(invariant, host.world))
    ordeal.judge(published.__name__, partial(published, ordeal))
    ordeal.judge(filed.__name__, partial(filed, ordeal))
    host.counts["lost runs taken up"] += "Adopted" in host.world.told()
    return ordeal


# ---- what happens ----------------------------------------------------------------------------------------------------


def _drawn(ordeal: Ordeal) -> datetime:
    """Put everything that happens on the agenda; returns the end of it."""
    host, random = ordeal.host, ordeal.host.random
    begins = host.now + s(random.choice((0, 0, 0, 60, 150, 250, 400)))
    ends = begins + s(random.choice((60, 180, 420, 900)))
    _storms(ordeal, begins, ends)
    names = random.sample(HAPPENINGS, random.randint(0, 3)) + random.sample(list(COMMANDS), random.randint(0, 2))
    over = [f"no more: {name}" for name in names if name in TROUBLES]
    often = [HELPED, "all is mended"]
    mean, at = random.choice((4, 15, 40)), begins
    while names and (at := at + s(random.expovariate(1 / mean))) < ends:
        host.at(at, partial(_happens, ordeal, random.choice([*names, *names, *over, *often])))
    return ends


def _storms(ordeal: Ordeal, begins: datetime, ends: datetime) -> None:
    """Weather of one kind, now and then."""
    host, random = ordeal.host, ordeal.host.random
    weather = Weather(
        bad=random.choice((0.1, 0.3, 0.6, 0.9)),
        fates=random.choice((MISFORTUNES, tuple(random.sample(MISFORTUNES, random.randint(1, 3))))),
        kinds=random.choice(KINDS_OF_EFFECTS),
        longest=random.choice((1.0, 10.0, 60.0)),
        late=random.choice((0.0, 0.1, 0.6)),
        deaf=random.choice((0.0, 0.0, 0.02, 0.1)),
    )
    at = begins
    while at < ends:
        host.at(at, partial(_weather, ordeal, weather))
        at += host.log_uniform(10, 600)
        host.at(at, partial(_weather, ordeal, FAIR))
        at += host.log_uniform(1, 30)


def _weather(ordeal: Ordeal, weather: Weather) -> None:
    if ordeal.calm:
        return
    ordeal.host.weather = weather
    ordeal.told.append((ordeal.host.now, "it is fair" if weather is FAIR else f"it storms: {weather}"))


def _happens(ordeal: Ordeal, name: str) -> None:
    host = ordeal.host
    if ordeal.calm:
        return
    host.steps += 1
    host.counts["things that happen"] += 1
    ordeal.told.append((host.now, name))
    if name == DIES:
        host.dies()
    elif name == FIGHTS:
        for i in range(4):
            host.at(host.now + s(2 * i), partial(_fights, ordeal))
    elif name == REFUSES:
        point, failure = host.random.choice(REFUSABLE), host.random.choice(FAILURES)
        host.world.refuses = {**host.world.refuses, point: failure}
        host.at(host.now + host.log_uniform(1, 120), partial(_takes_again, host, point))
    else:
        HAPPENS[name](host.world)
    host.notice()


def _takes_again(host: Host, point: str) -> None:
    host.world.refuses = {other: failure for other, failure in host.world.refuses.items() if other != point}


def _fights(ordeal: Ordeal) -> None:
    host = ordeal.host
    if ordeal.calm:
        return
    host.steps += 1
    drift("shop", v1=40, v2=60)(host.world)
    host.notice()


def _until(ordeal: Ordeal, end: datetime, enough: Callable[[], bool]) -> bool:
    """Live until then. Returns whether nothing went wrong."""
    host = ordeal.host
    while not enough() and (at := host.next()) is not None and at <= end:
        if not ordeal.judge("nothing is raised", host.step):
            return False
    return True


def _has_ended(world: World) -> bool:
    """Whether there is nothing left to befall: it has stood at an end for a while."""
    return world.gone or (world.phase in ENDS and world.now > _changed_at(world) + s(100))


def _calm(ordeal: Ordeal) -> None:
    host, world = ordeal.host, ordeal.world
    ordeal.calm, ordeal.stormy = True, host.steps
    ordeal.told.append((host.now, "all is mended, and it is calm"))
    host.weather, world.broken, world.refuses = FAIR, set(), {}
    host.watches.deaf.clear()
    all_is_mended(world)
    host.notice()
    if _until(ordeal, host.now + CALM_FOR, enough=lambda: _is_over(host)):
        ordeal.judge(comes_to_an_end.__name__, partial(comes_to_an_end, host))


def _is_over(host: Host) -> bool:
    """Whether nothing more will happen, or not before a person comes: so it has stood for a minute then."""
    world, watches = host.world, host.watches
    if world.gone:
        return True
    busy = not host.leads or world.run is None or bool(world.run._in_flight) or _owes(world.run, host)
    behind = any(watches.held[name].number < log[-1].number for name, log in watches.log.items())
    waits = waits_for_a_person(world.status) and host.now > _changed_at(world) + s(60)
    return not busy and not behind and (host.looks_at is None or waits)


def _owes(run: PlanRun, host: Host) -> bool:
    """Whether something that was refused or lost is tried again, or a decision is still to be published."""
    tries = any(run.refusals.wake_at(host.now))
    return tries or min(run._publishing.through.values(), default=0) < host.watches.known("plan").status.seq


def _changed_at(world: World) -> datetime:
    return max((event.at for event in world.history), default=START)


# ---- the observers of what no history shows --------------------------------------------------------------------------


def wakes(host: Host) -> None:
    """There is a next instant, unless an event or a person must come; and it is not now."""
    world = host.world
    run, status = world.run, host.watches.known("plan").status
    assert world.wake_at is None or world.wake_at > host.now, "looked at without a pause"
    if world.wake_at is None and run is not None:
        assert not run._in_flight, f"nobody waits for {[*run._in_flight]}"
        assert status.phase in (P.SUCCEEDED, P.ROLLED_BACK, P.PENDING, P.INVALID, P.HELD), (
            f"{status.phase} waits for nothing"
        )
        assert status.message, f"{status.phase} does not say what it waits for"


def goes_slowly(host: Host) -> None:
    """Nothing is begun again and again without time passing."""
    for key, started in host.started.items():
        assert len(started) <= MOST_A_SECOND, f"{len(started)} times {' '.join(key)} within a second"


def falls_off(host: Host) -> None:
    """Note which decisions leave the trail before they could be published: it keeps so many and no more."""
    status, run = host.watches.known("plan").status, host.world.run
    if run is not None:
        there = {decision.seq for decision in status.decisions}
        for sink, through in run._publishing.through.items():
            host.passed_over[sink] |= {*range(through + 1, status.seq + 1)} - there


class GoesBack:
    """A rollback that was decided is written as soon as the API of its route answers, whatever else is the matter."""

    __name__ = "goes back"

    def __init__(self) -> None:
        self._free_since: datetime | None = None

    def __call__(self, host: Host) -> None:
        world = host.world
        run = world.run
        if run is None:
            self._free_since = None
            return
        status = run.unwritten_status or host.watches.known("plan").status
        if status.phase is not P.ROLLING_BACK or at_the_snapshot(world, status) or _is_hindered(host):
            self._free_since = None
            return
        self._free_since = self._free_since or host.now
        late = host.now - self._free_since
        assert late <= BACK_WITHIN, f"the weights are not back {late} after their API answers"


def at_the_snapshot(world: World, status: Status) -> bool:
    """Whether every route that there is holds what it is to go back to."""
    wanted = {name: saved(status.weights.snapshot, name) for name in world.routes}
    held = {name: weights_of(raw) for name, raw in world.routes.items()}
    return all(
        (held[name][place]["v1"], held[name][place]["v2"]) == both
        for name, rules in wanted.items()
        for place, both in rules.items()
    )


def _is_hindered(host: Host) -> bool:
    """Whether the API of a route does not answer, as far as anybody can tell.

    Nor does a rollback begin while its end may be recorded already, nor before a new leader has read its plan.
    """
    world, run = host.world, host.world.run
    assert run is not None
    waited_for = (
        "route",
        "read",
        "status" if run.unwritten_status is None else "",
        "" if run._has_read_plan else "read plan",
    )
    wronged = any(host.fates[key] is not Fate.NOTHING for key in run._in_flight if key.kind in waited_for)
    return (
        wronged
        or any(point.startswith(("route", "read")) for point in {*world.broken, *world.refuses})
        or world.deleting is not None
    )


ENDS: Final = frozenset({P.SUCCEEDED, P.ROLLED_BACK})
WAITS_FOR_A_PERSON: Mapping[P, frozenset[str]] = {
    P.HELD: frozenset(
        {
            HoldReason.AWAITING_APPROVAL,
            HoldReason.PAUSED,
            HoldReason.CONFLICT,
            HoldReason.CONTRACT_FAILED,
            HoldReason.FAILED,
        }
    ),
    P.PENDING: frozenset({HoldReason.PAUSED}),
    P.INVALID: frozenset({StatusReason.JOB_REFUSED, StatusReason.NEW_SIDE_ALREADY_SERVING, StatusReason.STATUS_LOST}),
}


def comes_to_an_end(host: Host) -> None:
    """When all is mended, a run ends, or waits for a person and says for what."""
    world = host.world
    status = world.status
    if world.gone:
        return
    assert _is_over(host), f"no end after {CALM_FOR}: {status.phase} {status.reason}: {status.message}"
    over = status.phase in ENDS or waits_for_a_person(status)
    assert over, f"{status.phase} {status.reason} is no end: {status.message}"
    if host.looks_at is None and world.run is not None and (facts := host.facts()) is not None:
        later = world.run.advance(facts, host.now + s(3600))
        # That somebody looks is said about every minute: `look_at` brings that back, and not `wake_at`.
        missed = [
            getattr(effect.work, "patch", effect.work)
            for effect in later.todo
            if not isinstance(effect.work, WriteLook) or later.look_at is None
        ]
        assert not missed, f"{status.phase} sleeps for ever, and misses {missed}"


def waits_for_a_person(status: Status) -> bool:
    return status.reason in WAITS_FOR_A_PERSON.get(status.phase, ())


def published(ordeal: Ordeal) -> None:
    """Every decision is published, in order, but for those that the sink does not take as they are.

    That none is before it is recorded, and each in its words, the world itself sees to.
    """
    world, passed_over = ordeal.world, ordeal.host.passed_over[EventSink.name]
    first = list(dict.fromkeys(seq for seq in world.published if seq not in passed_over))
    assert first == sorted(first), f"not in order: {first}"
    if not world.gone and not ordeal.violations:
        missing = sorted(world.trail.keys() - set(first) - passed_over)
        assert not missing, f"never published: {missing} of {max(world.trail)}"


def filed(ordeal: Ordeal) -> None:
    """The record of each run has its decisions, each once, in order and in its words, and no others.

    What it says about delivery follows from them alone, however often they came.
    """
    world, passed_over = ordeal.world, ordeal.host.passed_over[RecordSink.name]
    trail = {seq: decision for seq, decision in world.trail.items() if is_recorded(decision)}
    for run in {decision.run for decision in trail.values()}:
        of_run = [decision for seq, decision in sorted(trail.items()) if decision.run == run]
        there = [decision for decision in world.filed(run) if decision.seq not in passed_over]
        assert [each for each in of_run if each in there] == there, f"run {run} has other decisions in its record"
        if not world.gone and not ordeal.violations:
            missing = [each.seq for each in of_run if each not in there and each.seq not in passed_over]
            assert not missing, f"not in the record of run {run}: {missing}"
        if there == of_run:
            _measured(world, run, there)


def _measured(world: World, run: int, decisions: Sequence[Decision]) -> None:
    """The figures of a record are those of its decisions, and contradict neither the outcome nor time."""
    status = read_record(world.files[paths.record("ns", record_name(world.name, world.uid, run))]).status
    once = reduce(lambda record, each: updated(record, world.snapshot(), each), decisions, None)
    assert once is not None
    assert status.dora == once.status.dora, f"run {run} has other figures: {status.dora}"
    if status.dora is not None:
        assert not (status.dora.failed and status.outcome is RunOutcome.SUCCEEDED), f"run {run} has failed"
        assert (status.dora.restore_seconds or 0) >= 0, f"the weights of run {run} were back before its fault"
