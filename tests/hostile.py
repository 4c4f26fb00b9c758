"""A hostile host of `PlanRun` over the cluster of tests/world.py: it refuses, delays, reorders, repeats and loses.

Everything takes time here. An effect reaches the API server after a while, or twice, or never; what came of it comes
back after another while, or twice, or never, or the answer says that there was none though it was done (`Fate`). What
the operator knows of the cluster is what its watches have brought (`Watches`): each object by itself at some older
version, several at once, or nothing at all until they list again; but never older than what the answer to a request of
its own has shown. Leaders die (`dies`) and others come, who know what their own watches have brought; what a dead one
had under way still arrives. What befalls whom is drawn from one seeded random, so that a story can be lived again.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any, Final

from rolloutplan.api.status import Status
from rolloutplan.cluster.plans import is_rewritten, replaced_commands
from rolloutplan.engine.memory.in_flight import LOST_AFTER
from rolloutplan.engine.model.actions import CheckGate, PatchPlanMetadata, PatchRoute, QueryOnce, RunJob
from rolloutplan.engine.model.effects import (
    Effect,
    Evaluate,
    Failure,
    Key,
    LintQueries,
    Publish,
    ReadPlan,
    ReadRoute,
    Result,
    WriteLook,
)
from rolloutplan.engine.model.effects import Record as Write
from rolloutplan.engine.model.plan_view import PlanView, Unreadable
from rolloutplan.engine.model.policy_view import QueueEntry
from rolloutplan.engine.model.snapshot import Facts, JobView, RouteView
from rolloutplan.engine.model.templates import judged_by
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.policy.policies import concurrency_groups
from tests.queues import queues
from tests.situations import s
from tests.world import HTTPROUTES, SINKS, Refusal, Rules, World, undo_of, workload

BRISK: Final = (0.001, 0.02)
"""Seconds that a request takes on its way, at the least and at the most, where nothing befalls it."""
RELISTED_AFTER: Final = s(90)
"""How long a watch may bring nothing before it is noticed, and everything is listed again."""
AFTER_WEIGHTS: Final = s(0.05)
"""How long a plan whose weights were just put back leaves the way to others (loop/reconcile.py)."""


class Fate(StrEnum):
    """What befalls an effect."""

    NOTHING = "done, and answered at once"
    SLOW = "done and answered late"
    REFUSED = "refused"
    UNANSWERED = "done, and no answer"
    FORGOTTEN = "done, and never heard of again"
    LOST = "never done, and never heard of again"
    TWICE = "done twice"
    REPEATED = "answered twice"
    GIVEN_UP = "answered when it was given up"


MISFORTUNES: Final = tuple(fate for fate in Fate if fate is not Fate.NOTHING)

FAILURES: Final = (
    Failure(400, "BadRequest", "the request could not be understood"),
    Failure(403, "Forbidden", "admission webhook says no"),
    Failure(404, "NotFound", "the server could not find the requested resource"),
    Failure(409, "Conflict", "the object has been modified"),
    Failure(413, "RequestEntityTooLarge", "limit is 3145728"),
    Failure(422, "Invalid", "a field is invalid"),
    Failure(429, "TooManyRequests", "the server is busy", retry_after=3),
    Failure(429, "TooManyRequests", "the server is busy", retry_after=30),
    Failure(500, "InternalError", "etcdserver: request timed out"),
    Failure(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    Failure(0, "TimeoutError", "no answer within 5 s"),
)
NO_ANSWER: Final = FAILURES[-1]
_QUESTIONS = (Evaluate, CheckGate, QueryOnce, LintQueries)
"""What is no request to the API server: it is answered, or it is not."""


@dataclass(frozen=True)
class Weather:
    """How hostile a story is, while it is."""

    bad: float
    """The part of the effects that something befalls."""
    fates: tuple[Fate, ...] = MISFORTUNES
    kinds: frozenset[str] | None = None
    """The keys' kinds of the effects that it befalls; None: all."""
    longest: float = 60.0
    """How many seconds a request or an answer is under way at the most."""
    late: float = 0.0
    """The part of the watch events that come late, and are overtaken by others."""
    deaf: float = 0.0
    """The part of the changes after which a watch brings nothing more, until everything is listed again."""

    def befalls(self, random: Random, effect: Effect) -> Fate:
        spared = self.kinds is not None and effect.key.kind not in self.kinds
        return Fate.NOTHING if spared or random.random() >= self.bad else random.choice(self.fates)


FAIR: Final = Weather(0)


Answered = tuple[timedelta, Result]


@dataclass(frozen=True)
class Version:
    """An object as it stands in the API server from an instant on; None where it is not there."""

    number: int
    at: datetime
    value: Any


@dataclass(frozen=True)
class Plan:
    """The plan as it stands in the API server, or as the operator knows it."""

    view: PlanView
    status: Status
    raw_status: dict[str, Any]


def kind_of(name: str) -> str:
    """The watch that brings an object."""
    return name.partition(" ")[0]


@dataclass
class Watches:
    """What the API server has held of each object, and what the operator knows of it."""

    log: defaultdict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    held: dict[str, Version] = field(default_factory=dict)
    deaf: dict[str, datetime] = field(default_factory=dict)
    """Until when which watch brings nothing."""

    def note(self, name: str, at: datetime, value: object) -> bool:
        """Note how an object stands in the API server now. Returns whether that is new."""
        log = self.log[name]
        if log and (log[-1].value is value or log[-1].value == value):
            return False
        log.append(Version(len(log), at, value))
        return True

    def take(self, name: str, version: Version) -> bool:
        """Know an object at this version, unless a newer one is known. Returns whether that is news."""
        known = self.held.get(name)
        if known is not None and known.number >= version.number:
            return False
        value = version.value
        if isinstance(value, Plan):
            value = _after(value, known.value if known else None)
        self.held[name] = replace(version, value=value)
        return True

    def known(self, name: str) -> Any:
        return self.held[name].value if name in self.held else None

    def as_another_knows(self, random: Random, now: datetime) -> None:
        """Another replica has watches of its own: it may be behind, also behind what this one's requests have shown."""
        behind = random.choice((s(0), s(1), s(20), RELISTED_AFTER))
        self.held.clear()
        for name, log in self.log.items():
            newest = max((version.number for version in log if version.at <= now - behind), default=0)
            self.take(name, log[random.randint(newest, len(log) - 1)])


def _after(plan: Plan, before: Plan | None) -> Plan:
    """The plan with what is known of it from before: commands that were seen, and what could be read."""
    view, known = plan.view, before.view if before else None
    if isinstance(view.content, Unreadable):
        view = replace(view, content=replace(view.content, last_good=known.last_good if known else None))
    tokens = plan.status.tokens
    again = is_rewritten(known, view.command, tokens)
    return replace(plan, view=replace(view, replaced=replaced_commands(known, view.command, tokens), rewritten=again))


class Host:
    """Drives the run of one plan, as the loop does, and has its effects befallen by what `weather` is."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random, self.weather = world, random, FAIR
        self.watches = Watches()
        self.steps = 0
        self.counts: Counter[str] = Counter()
        """How often what happened."""
        self.leads = True
        self.watchers: list[Callable[[Host], None]] = []
        """Called after each look: observers of what the history does not show."""
        self.started: defaultdict[Key, deque[datetime]] = defaultdict(deque)
        """When effects about each thing were started, within the last second."""
        self.passed_over: defaultdict[str, set[int]] = defaultdict(set)
        """By sink the decisions that it does not take for what they say, or that left the trail before."""
        self.fates: dict[Key, Fate] = {}
        """What befell the newest effect about each thing."""
        self._agenda: list[tuple[datetime, float, Callable[[], None]]] = []
        self.looks_at: datetime | None = None
        """When the plan is looked at next; None: not before something happens."""
        self._speaking: set[datetime] = set()
        self._judged: tuple[Version, Version | None, PlanView] | None = None
        self.notice()
        for name, log in self.watches.log.items():
            self.watches.take(name, log[-1])
        self.soon(world.now)

    # ---- time --------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.world.now

    def at(self, when: datetime, what: Callable[[], None]) -> None:
        """Have something happen, at a whole millisecond as all clocks here. At one instant the order is any."""
        when = when.replace(microsecond=when.microsecond // 1000 * 1000)
        heapq.heappush(self._agenda, (when, self.random.random(), what))

    def soon(self, when: datetime) -> None:
        """Reconcile the plan then, if not before."""
        if self.looks_at is None or when < self.looks_at:
            self.looks_at = when
            self.at(when, partial(self._due, when))

    def _due(self, when: datetime) -> None:
        if self.looks_at == when:
            self.looks_at = None
            self.snapshot()

    def next(self) -> datetime | None:
        return self._agenda[0][0] if self._agenda else None

    def step(self) -> None:
        """Let the next thing happen."""
        when, _, what = heapq.heappop(self._agenda)
        self.world.now = max(self.now, when)
        what()

    def log_uniform(self, least: float, most: float) -> timedelta:
        """A time between these seconds, of any order of magnitude."""
        return s(least * (most / least) ** self.random.random())

    # ---- what the operator knows -------------------------------------------------------------------------------------

    def notice(self) -> None:
        """See what has changed in the API server, and have the watches bring it."""
        for name, value in self._stands().items():
            if self.watches.note(name, self.now, value):
                self._bring(name, self.watches.log[name][-1])
        for when in set(self.world.gateways_speak_at()) - self._speaking:
            self._speaking.add(when)
            self.at(when, self.notice)

    def _stands(self) -> dict[str, Any]:
        world, known = self.world, self.watches.log
        plan = known["plan"][-1].value if known["plan"] else None
        if world.gone:
            plan = None
        elif plan is None or plan.view.version != str(world.version):
            plan = Plan(world.written(), world.status, world.status_raw)
        routes = {f"route {name}": self._route(name) for name in world.routes}
        gone = {name: None for name in known if kind_of(name) == "route"}
        return {
            "plan": plan,
            **gone,
            **routes,
            "deployment old": workload(world.old),
            "deployment new": workload(world.new),
            "endpoints": world.endpoints(),
            "source": world.source,
            "templates": world.templates,
            "policies": world.policies,
            "plans rivals": world.route_conflicts,
            "plans peers": world.peers,
        }

    def _route(self, name: str) -> RouteView:
        """A route as it stands; what a gateway says of it is a write, too."""
        view, log = self.world.route_view(name), self.watches.log[f"route {name}"]
        before = log[-1].value if log else None
        if before is None or before == view or before.version != view.version:
            return view
        self.world.touch(name)
        return self.world.route_view(name)

    def _bring(self, name: str, version: Version) -> None:
        kind, now = kind_of(name), self.now
        if self.random.random() < self.weather.deaf and kind not in self.watches.deaf:
            self.counts["watches that went deaf"] += 1
            self.watches.deaf[kind] = now + self.log_uniform(1, RELISTED_AFTER.total_seconds())
            self.at(self.watches.deaf[kind], partial(self._list_again, kind))
        if kind in self.watches.deaf:
            self.counts["watch events lost until a list"] += 1
            return
        late = self.random.random() < self.weather.late
        self.counts["watch events late"] += late
        self.at(now + self.log_uniform(*((0.01, 30.0) if late else BRISK)), partial(self._shown, name, version))

    def _list_again(self, kind: str) -> None:
        self.watches.deaf.pop(kind, None)
        for name, log in self.watches.log.items():
            if kind_of(name) == kind:
                self._shown(name, log[-1])

    def _shown(self, name: str, version: Version) -> None:
        self.steps += 1
        if self.leads and self.watches.take(name, version):
            self.soon(self.now)

    def facts(self) -> Facts | None:
        """What the operator knows; None where it knows of no plan."""
        known, world = self.watches.known, self.world
        plan: Plan | None = known("plan")
        if plan is None:
            return None
        view, routes = self._judged_view(plan), [known(n) for n in self.watches.held if kind_of(n) == "route"]
        groups = frozenset(concurrency_groups(known("policies"), "ns"))
        texts = (view.undo_annotation, *(route.undo_annotation for route in routes if route is not None))
        return Facts(
            plan=view,
            status=plan.status,
            raw_status=plan.raw_status,
            routes={route.id: route for route in routes if route is not None},
            old=known("deployment old"),
            new=known("deployment new"),
            endpoints=known("endpoints") or {},
            routes_to_old=self._routes_to_old(plan, routes),
            undo=undo_of(plan.status, texts),
            source=known("source"),
            source_problem="" if known("source") else "no MetricSource ns/default exists: create one",
            route_conflicts=known("plans rivals"),
            policies=known("policies"),
            queues=queues(QueueEntry(view.key, groups, "waiting", view.created, view.uid), known("plans peers")),
            epoch=world.epoch,
            sinks=SINKS,
            claim_at=world.led_since + world.adopts_in,
            grants=world.grants,
        )

    def _routes_to_old(self, plan: Plan, routes: list[RouteView | None]) -> tuple[RouteView, ...]:
        old = plan.status.weights.old
        used = (route for route in routes if route is not None and any(rule.get(old) for rule in _weights(route)))
        return tuple(used)

    def _judged_view(self, plan: Plan) -> PlanView:
        now = self.watches.held["plan"], self.watches.held.get("templates")
        if self._judged is None or self._judged[:2] != now:
            judged = judged_by(plan.view, plan.status, self.world.template)
            self._judged = *now, judged
            if judged.spec is not None:
                self.world.specs[judged.spec.plan_hash()] = judged.spec
        return self._judged[2]

    # ---- who leads ---------------------------------------------------------------------------------------------------

    def dies(self) -> None:
        """The leader is no more. What it had under way may still arrive; another comes within half a minute."""
        self.counts["leaders that died"] += 1
        self.world.crash()
        self.leads, self.looks_at, self._judged = False, None, None
        self.at(self.now + self.log_uniform(0.01, 30), self._comes)

    def _comes(self) -> None:
        if self.leads:
            return
        self.leads, self.world.led_since = True, self.now
        self.watches.as_another_knows(self.random, self.now)
        for name, log in self.watches.log.items():
            if self.watches.held[name] is not log[-1]:
                self._bring(name, log[-1])
        self.soon(self.now)

    # ---- looking and doing -------------------------------------------------------------------------------------------

    def snapshot(self) -> None:
        if not self.leads:
            return
        facts, world = self.facts(), self.world
        if facts is None:
            world.run = None
            return
        self.steps += 1
        world.show({route.name: _weights(view) for route, view in facts.routes.items()})
        if world.run is None:
            world.run = PlanRun(facts, self.now, undo_command=HTTPROUTES.undo_command)
        effects = world.run.advance(facts, self.now)
        world.wake_at = effects.wake_at
        for effect in effects.todo:
            self._start(world.run, effect)
        if effects.wake_at is not None:
            self.soon(effects.wake_at)
        for watcher in self.watchers:
            watcher(self)

    def _start(self, run: PlanRun, effect: Effect) -> None:
        fate = self.weather.befalls(self.random, effect)
        self.counts[fate] += 1
        self.fates[effect.key] = fate
        self._count_start(effect.key)
        if fate is not Fate.NOTHING and isinstance(effect.work, Write):
            self.world.history.append(Refusal(self.now, effect.snapshot))
        done, answered = self._course(fate, effect)
        for after, answers in done:
            self.at(self.now + after, partial(self._arrive, run, effect, answers))
        for after, failure in answered:
            self.at(self.now + after, partial(self._deliver, run, effect, failure, None))

    def _course(self, fate: Fate, effect: Effect) -> tuple[list[tuple[timedelta, list[timedelta]]], list[Answered]]:
        """When it is done, and how long after each time it is answered; and when it is refused."""
        span = BRISK if fate is Fate.NOTHING else (BRISK[0], self.weather.longest)
        there, back, again = (self.log_uniform(*span) for _ in range(3))
        match fate:
            case Fate.NOTHING | Fate.SLOW:
                return [(there, [back])], []
            case Fate.REFUSED:
                return [], [(there + back, self._refusal(effect))]
            case Fate.UNANSWERED:
                return [(there, [])], [(back, NO_ANSWER)]
            case Fate.FORGOTTEN:
                return [(there, [])], []
            case Fate.LOST:
                return [], []
            case Fate.TWICE:
                heard = self.random.random() < 0.5
                return [(there, [back] if heard else []), (there + again, [] if heard else [back])], []
            case Fate.REPEATED:
                return [(there, [back, back + again])], []
            case Fate.GIVEN_UP:
                return [(there, [LOST_AFTER + again])], []

    def _refusal(self, effect: Effect) -> Result:
        """Words of the API server that it can have for such a request."""
        if isinstance(effect.work, _QUESTIONS):
            return NO_ANSWER
        reads = isinstance(effect.work, (ReadPlan, ReadRoute))
        failure = self.random.choice([each for each in FAILURES if not (reads and each.status == 404)])
        self.counts[f"refused with {failure.status}"] += 1
        if isinstance(effect.work, RunJob) and effect.work.make and failure.status in (400, 413, 422):
            return JobView(effect.work.name, self.now, refused=failure.message)
        return failure

    def _count_start(self, key: Key) -> None:
        started = self.started[key]
        started.append(self.now)
        while started[0] <= self.now - s(1):
            started.popleft()

    def _arrive(self, run: PlanRun, effect: Effect, answers: list[timedelta]) -> None:
        """A request reaches the API server; its answers are on their way from then on."""
        self.steps += 1
        result = self.world.carry_out(effect)
        self.notice()
        for after in answers:
            self.at(self.now + after, partial(self._deliver, run, effect, result, self._brought(effect, result)))

    def _brought(self, effect: Effect, result: Result) -> tuple[str, Version] | None:
        """The object that an answer brings, as it is then."""
        match effect.work:
            case _ if isinstance(result, Failure):
                return None
            case Write() | WriteLook() | PatchPlanMetadata() | ReadPlan():
                name = "plan"
            case PatchRoute() as work:
                name = f"route {work.target.name}"
            case ReadRoute() as work:
                name = f"route {work.route.name}"
            case _:
                return None
        return name, self.watches.log[name][-1]

    def _deliver(self, run: PlanRun, effect: Effect, result: Result, brought: tuple[str, Version] | None) -> None:
        if run is not self.world.run:
            return
        self.steps += 1
        if brought is not None:
            self.watches.take(*brought)
        if isinstance(effect.work, Publish) and isinstance(result, Failure) and result.status in (400, 413, 422):
            self.passed_over[effect.work.sink].add(effect.work.decision.seq)
        run.on_result(effect, result, self.now)
        self.soon(self.now + AFTER_WEIGHTS if effect.urgent and not isinstance(effect.work, Write) else self.now)


def _weights(view: RouteView) -> Rules:
    return tuple({backend.service: backend.weight for backend in rule.backends} for rule in view.rules)
