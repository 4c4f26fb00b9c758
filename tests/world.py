"""A small world for the engine, in memory: what a cluster holds, what breaks in it, and the loop's contract.

`World.turn` is one pass of loop/reconcile.py without its network: look, decide, write the status, act, tell, ask. The
status makes the round through JSON at every step, as through the API server, which takes it for the plan that was
looked at and no other; routes are raw HTTPRoutes that our JSON Patches are applied to. What the operator only remembers
is in `Memory`, and a crash forgets it: the next operator is another leader.

Faults are set in `traps`: what shall happen, once, at one of the `POINTS` of a turn. `broken` names what fails for
good. Everything that happened stands in `history` (statuses written or refused, weights changed) and in `trail`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

import jsonpatch

from rolloutplan.engine.ask import count, needs, note_asked, weigh
from rolloutplan.engine.counting import CountQuestion
from rolloutplan.engine.decide import decide
from rolloutplan.engine.look import (
    EMPTY_LEDGER,
    Heard,
    JobView,
    Ledger,
    Look,
    Observed,
    PlanView,
    Probe,
    Question,
    Rival,
    RouteView,
    Scaled,
    SourceView,
    WorkloadView,
)
from rolloutplan.engine.policy import Peer, PolicyView
from rolloutplan.engine.queries import AlertQuery, Series
from rolloutplan.engine.routes import UnusableError, select_rules
from rolloutplan.engine.step import Action, AskGate, Inspect, MarkPlan, Observe, PatchRoute, RunJob, Scale, Step
from rolloutplan.engine.templates import judged_by
from rolloutplan.judge.threshold import judge
from rolloutplan.judge.verdict import Answer, Why
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.resolve import Template
from rolloutplan.plan.route import RouteId
from rolloutplan.plan.spec import PlanSpec, SpecError, read_plan_spec
from rolloutplan.plan.status import Decision, Phase, Status, read_status
from rolloutplan.plan.templates import read_template
from rolloutplan.traffic import ROUTE_KINDS
from tests.refusals import changed

START: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
PLAN: Final[dict[str, Any]] = {
    "hypothesis": "v2 answers more reads from its cache",
    "old": {"deployment": "v1"},
    "new": {"deployment": "v2"},
    "traffic": {"routes": [{"kind": "HTTPRoute", "name": "shop"}], "drain": "0s"},
    "interval": "10s",
    "availability": {"readyWithin": "5m", "minReady": "50%", "grace": "10s", "maxRestarts": 3},
    "guards": [{"name": "errors", "query": "errors[$window]", "is": "> 1%", "window": "2m"}],
    "stages": [
        {
            "name": "canary",
            "weight": "5%",
            "soak": "3m",
            "deadline": "10m",
            "pass": [{"name": "hits", "query": "hits[$window]", "is": "> 0.9", "window": "1m"}],
            "fail": [{"name": "wrong", "query": "wrong[$window]", "is": "> 0"}],
        },
        {"name": "half", "weight": "50%", "soak": "2m", "deadline": "10m"},
        {"name": "all", "weight": "100%", "soak": "2m", "deadline": "10m"},
    ],
    "bake": "5m",
}
"""A small plan with everything in it; `changed` (tests/refusals.py) makes others of it."""

HTTPROUTES: Final = ROUTE_KINDS["HTTPRoute"]
SHOP: Final = RouteId("HTTPRoute", "shop")
"""The route of a plan that has one."""

HEALTHY: Final[Mapping[str, float | Why]] = {"errors": 0.0, "hits": 0.95, "wrong": 0.0}

SOURCE: Final = SourceView(scrape=timedelta(seconds=15), delay=timedelta(0), timeout=timedelta(seconds=5))

POINTS: Final = (
    "record",
    "recorded",
    "route",
    "routed",
    "mark",
    "marked",
    "inspect",
    "asked",
    "job",
    "made",
    "scale",
    "scaled",
)
"""Where in a turn a trap can be set: before and after a status, a route and the plan's marks are written, and so on."""

Trap = Callable[["World"], None]


class KilledError(Exception):
    """The operator is gone, with all that it had not written."""


class RefusedError(Exception):
    """The API server did not take a request."""


class StaleError(Exception):
    """What was to be written is no longer as it was looked at."""


def crash(_: World) -> None:
    raise KilledError


def stop(world: World) -> None:
    """The operator is stopped in the middle of what it does, and another takes over: see `World.stopped`."""
    assert world.late is not None
    world.stopped.append(world.late)
    raise KilledError


def refuse(_: World) -> None:
    raise RefusedError


class Rate(NamedTuple):
    """Requests a second, from an instant on."""

    since: datetime
    bad: float
    total: float


@dataclass
class Deployment:
    name: str
    wanted: int = 4
    ready: int = 4
    revision: str = "first"
    settled: bool = True
    restarts: int = 0
    worst: str = ""


@dataclass(frozen=True)
class Job:
    """A Job as the API server has it."""

    made_at: datetime
    ends_at: datetime | None
    fails: bool
    ours: bool = True


@dataclass
class Memory:
    """What a crash forgets."""

    ledger: Ledger = field(default_factory=lambda: EMPTY_LEDGER)
    probe: Probe | None = None
    heard: Heard | None = None
    job: JobView | None = None
    observed: Observed | None = None
    scaled: Scaled | None = None
    short_since: datetime | None = None
    restarts: int | None = None
    """As counted at the Deployment's last change; None until it has changed in mid-run."""
    owed: Status | None = None
    """The status of a rollback that was acted upon and could not be written yet."""
    told: int | None = None
    replaced: tuple[tuple[str, str], ...] = ()
    """Commands that a newer one took the place of, with who wrote them."""
    failures: int = 0


Rules = tuple[dict[str, int], ...]
"""The weights of each rule of a route, by Service."""


@dataclass(frozen=True)
class Record:
    """A status as it came to stand in the API server.

    `routes` is what they held then, `accepted` whether so, `policies` what ruled over the plan, and `fires` since when
    which alerts fired.
    """

    at: datetime
    status: Status
    routes: Mapping[str, Rules]
    accepted: bool
    policies: tuple[PolicyView, ...]
    fires: Mapping[str, datetime]


@dataclass(frozen=True)
class Refusal:
    """A status that the API server did not take."""

    at: datetime
    status: Status


@dataclass(frozen=True)
class Move:
    """A change of weights: `stands` is the status that stood recorded then, and `by` the one that was acted upon.

    They differ where the record of a rollback could not be written yet. `known` is what was known of the predicates.
    """

    at: datetime
    route: str
    before: Rules
    after: Rules
    ours: bool
    stands: Status
    by: Status
    known: Ledger
    old: Deployment | None
    """The old side then."""


@dataclass(frozen=True)
class Resize:
    """A Deployment that we gave another size; `stands` is the status that stood recorded then."""

    at: datetime
    name: str
    routes: Mapping[str, Rules]
    stands: Status


@dataclass(frozen=True)
class Late:
    """What an operator had decided upon when it was stopped, and has not written yet."""

    look: Look
    step: Step
    version: int
    """Of the plan, as it was looked at."""


@dataclass
class World:
    spec: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(PLAN))
    now: datetime = START
    status_raw: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    version: int = 1
    """The resourceVersion of the plan."""
    deleting: datetime | None = None
    finalizer: bool = False
    breadcrumb: str = ""
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lag: timedelta | None = timedelta(0)
    """How long the gateway takes to accept a route; None: it never says anything."""
    refusal: str = ""
    """Why the gateway takes no route, where it does not."""
    old: Deployment | None = field(default_factory=lambda: Deployment("v1"))
    new: Deployment | None = field(default_factory=lambda: Deployment("v2"))
    services: frozenset[str] = frozenset({"v1", "v2"})
    source: SourceView | None = SOURCE
    says: dict[str, float | Why] = field(default_factory=lambda: dict(HEALTHY))
    """The answers, by predicate, or by `predicate/part` for the parts `old` and `samples`."""
    rates: dict[str, tuple[Rate, ...]] = field(default_factory=dict)
    """What is counted, by `predicate/side`; see `counts`."""
    down: str = ""
    """Why the source answers nothing; empty while it does."""
    fires: dict[str, datetime] = field(default_factory=dict)
    """Since when the alert of a predicate fires, by the predicate's name."""
    rejected: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    job_takes: timedelta | None = timedelta(seconds=5)
    """How long a Job runs that is made now; None: it never ends."""
    job_fails: bool = False
    job_refused: str = ""
    """Why the API server takes no Job as it is; `job` in `broken`: it cannot tell. `job_hindered`: not now."""
    job_hindered: str = ""
    autoscaled: frozenset[str] = frozenset()
    """The Deployments that have an autoscaler."""
    scale_hindered: str = ""
    pods_start: bool = True
    """Whether pods that are added become ready at once."""
    made: list[tuple[datetime, str]] = field(default_factory=list)
    """Every Job that was ever made, by its name."""
    rivals: tuple[Rival, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    peers: tuple[Peer, ...] = ()
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)
    command: str = ""
    command_by: str = ""
    edited_by: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    epoch: int = 1
    """The tenure of the leader; a crash begins another."""
    led_since: datetime = START
    adopts_in: timedelta = timedelta(0)
    """How long after the take-over it is this plan's turn to be adopted, if nothing of it is half done."""
    memory: Memory = field(default_factory=Memory)
    traps: dict[str, Trap] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """What the API server refuses until further notice: `record`, `route`, `route NAME`, `mark`, `inspect`, `job`."""
    wake_at: datetime | None = None
    step: Step | None = None
    """What was decided last."""
    late: Late | None = None
    """The same, with what it was decided upon."""
    stopped: list[Late] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    resized: list[Resize] = field(default_factory=list)
    history: list[Record | Refusal | Move] = field(default_factory=list)
    lost: list[Status] = field(default_factory=list)
    """The statuses that were owed when the operator was killed: acted upon, and never written."""
    specs: dict[str, PlanSpec] = field(default_factory=dict)
    """Every plan that was read, by its hash."""
    trail: dict[int, Decision] = field(default_factory=dict)
    """The decisions that were told, by number."""
    _changed_at: dict[str, datetime] = field(default_factory=dict)
    _read: tuple[dict[str, Any], PlanSpec | None, str] | None = None
    _judged: PlanSpec | None = None
    _status: tuple[dict[str, Any], Status] | None = None
    _views: dict[str, tuple[dict[str, Any], bool, str, RouteView]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for ref in [] if self.routes else self.spec["traffic"]["routes"]:
            self.routes[ref["name"]] = http_route(ref["name"], [{"v1": 100, "v2": 0}])

    def twin(self) -> World:
        """Another world in which all is the same so far."""
        twin = copy.copy(self)
        for each in fields(self):
            setattr(twin, each.name, copy.copy(getattr(self, each.name)))
        return twin

    # ---- what stands there -------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The status as the API server has it. Read once: `status_raw` is replaced, never changed in place."""
        if self._status is None or self._status[0] is not self.status_raw:
            self._status = self.status_raw, read_status(self.status_raw)
        return self._status[1]

    @property
    def phase(self) -> Phase:
        return self.status.phase

    @property
    def plan_spec(self) -> PlanSpec | None:
        return self.plan().spec

    @property
    def records(self) -> list[Record]:
        return [event for event in self.history if isinstance(event, Record)]

    @property
    def moves(self) -> list[Move]:
        return [event for event in self.history if isinstance(event, Move)]

    def weights(self, route: str = "shop") -> Rules:
        """The weights of each rule of a route."""
        return weights_of(self.routes[route])

    def told(self) -> list[str]:
        """The reasons of all decisions so far."""
        return [decision.reason for _, decision in sorted(self.trail.items())]

    def _read_spec(self) -> tuple[PlanSpec | None, str]:
        if self._read is None or self._read[0] is not self.spec:
            try:
                spec = read_plan_spec(self.spec)
            except SpecError as error:
                self._read = self.spec, self._judged, str(error)
            else:
                self._read = self.spec, spec, ""
        return self._read[1:]

    def plan(self) -> PlanView:
        spec, problem = self._read_spec()
        refers = spec is not None and spec.refers and not problem
        view = PlanView(
            namespace="ns",
            name="plan",
            uid="0123456789",
            generation=self.generation,
            created=START - timedelta(minutes=1),
            spec=None if refers else spec,
            unresolved=spec if refers else None,
            problem=problem,
            deleting=self.deleting,
            finalizer=self.finalizer,
            breadcrumb=self.breadcrumb,
            command=self.command,
            command_by=self.command_by,
            edited_by=self.edited_by,
            replaced=self.memory.replaced,
            labels=self.labels,
        )
        judged = judged_by(view, self.memory.owed or self.status, self._template)
        if judged.spec is not None:
            self._judged = judged.spec
            self.specs[judged.spec.plan_hash()] = judged.spec
        return judged

    def _template(self, name: str) -> Template:
        if name not in self.templates:
            return Template("", name, None, f"no template {name} exists: create one", StatusReason.TEMPLATE_NOT_FOUND)
        try:
            return Template("PredicateTemplate", name, read_template(self.templates[name]))
        except SpecError as error:
            return Template("PredicateTemplate", name, None, str(error))

    def look(self) -> Look:
        """The picture that the loop would take now."""
        status, plan = self.memory.owed or self.status, self.plan()
        look = Look(
            plan=plan,
            status=status,
            now=self.now,
            routes={(view := self._route_view(name)).id: view for name in self.routes},
            old=_workload(self.old),
            new=self._new_side(plan.written),
            source=self.source,
            source_problem="" if self.source else "no MetricSource ns/default exists: create one",
            probe=self.memory.probe,
            ledger=self.memory.ledger,
            rivals=self.rivals,
            policies=self.policies,
            peers=self.peers,
            heard=self.memory.heard,
            job=self.memory.job,
            observed=self.memory.observed,
            scaled=self.memory.scaled,
            epoch=self.epoch,
            adopt_at=self.led_since + self.adopts_in,
        )
        return replace(look, revert=_revert(look)) if plan.spec and status.phase is Phase.EXPANDING else look

    def _new_side(self, spec: PlanSpec | None) -> WorkloadView | None:
        view, memory = _workload(self.new), self.memory
        if view is None or spec is None:
            return None
        short = view.ready * 1000 < spec.availability.min_ready * view.wanted
        memory.short_since = (memory.short_since or self.now) if short else None
        worst = self.new.worst if self.new and memory.restarts is not None else ""
        return replace(view, restarts=memory.restarts, worst=worst, short_since=memory.short_since)

    def _route_view(self, name: str) -> RouteView:
        raw, since = self.routes[name], self._changed_at.get(name, START)
        heard = self.lag is not None and self.now >= since + self.lag
        seen = self._views.get(name)
        if seen is None or seen[0] is not raw or seen[1:3] != (heard, self.refusal):
            condition = {"type": "Accepted", "observedGeneration": raw["metadata"]["generation"]}
            condition |= {"status": "False", "reason": self.refusal} if self.refusal else {"status": "True"}
            parents = [{"conditions": [condition] if heard else []}]
            view = HTTPROUTES.view({**raw, "status": {"parents": parents}})
            seen = self._views[name] = raw, heard, self.refusal, view
        return seen[3]

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Look, decide, act. Returns whether the world may have changed by it, so that it has to be looked at again."""
        asked = len(self.asked)
        try:
            return self._turn()
        except KilledError:
            self.crash()
            return True
        except StaleError:
            return True
        except RefusedError:
            urgent = (self.memory.owed or self.status).phase is Phase.REVERTING
            self.wake_at = self.now + self._backoff(longest=1 if urgent else 2)
            return len(self.asked) > asked

    def _turn(self) -> bool:
        look = self.look()
        step = self.step = decide(look)
        assert step == decide(look), "the same look gave another step"
        self.late = Late(look, step, self.version)
        asked = not step.urgent and self._ask(look)
        moved = self._carry_out(look, step)
        if self.memory.owed is not None and not moved:
            self.write_status(self.memory.owed, self.version)
            moved = True
        if not moved:
            self.memory.failures = 0
            self.wake_at = step.wake_at
        return moved or asked

    def _backoff(self, longest: float) -> timedelta:
        """The pause before the next attempt, as the loop's."""
        self.memory.failures += 1
        return timedelta(seconds=min(longest, 0.05 * 2.0 ** min(self.memory.failures, 12)))

    def settle(self, limit: int = 40) -> Step:
        """Turn until nothing follows at this instant any more."""
        for _ in range(limit):
            if not self.turn():
                assert self.step is not None
                return self.step
        raise AssertionError(f"never comes to rest: {' '.join(self.told()[-8:])} ... {self.status.message}")

    def next(self) -> datetime | None:
        """The next instant at which there is something to do, or at which a gateway says something."""
        lag = self.lag or timedelta(0)
        instants = [*(self._changed_at.get(name, START) + lag for name in self.routes), self.wake_at]
        return min((at for at in instants if at is not None and at > self.now), default=None)

    def advance(self, by: timedelta | None = None) -> Step:
        """Let time pass, turning whenever it is time to; without `by`, to the next instant at which it is."""
        until = self.now + by if by is not None else self.next()
        step = self.settle()
        while until is not None and (at := self.next()) is not None and at <= until:
            self.now = at
            step = self.settle()
        if until is not None and until > self.now:
            self.now = until
            step = self.settle()
        return step

    def until(self, *phases: Phase, stage: str | None = None, limit: timedelta = timedelta(hours=6)) -> World:
        """Go on until it is in one of these phases (and at this stage)."""
        end = self.now + limit
        self.settle()
        while self.phase not in phases or (stage and (self.status.stage is None or self.status.stage.name != stage)):
            at = self.next()
            trail = "\n".join(f"{d.at:%H:%M:%S} {d.reason}: {d.note}" for d in self.trail.values())
            assert at is not None, f"it stands still as {self.phase}, before {phases} {stage or ''}\n{trail}"
            assert at <= end, f"still {self.phase} after {limit}, not {phases} {stage or ''}\n{trail}"
            self.now = at
            self.settle()
        return self

    def interrupted(self, point: str, fault: Trap = crash, limit: int = 100) -> Late:
        """Go on until the operator comes to this point and the fault strikes; returns what it was about to write."""
        self.traps[point] = fault
        for _ in range(limit):
            moved = self.turn()
            if point not in self.traps:
                assert self.late is not None
                return self.late
            if not moved:
                at = self.next()
                assert at is not None, f"never comes to {point}: {self.phase} {self.status.message}"
                self.now = at
        raise AssertionError(f"never comes to {point}: {self.phase} {self.status.message}")

    def crash(self) -> None:
        """The operator is killed and started again, or another takes its place."""
        if self.memory.owed is not None:
            self.lost.append(self.memory.owed)
        self.memory = Memory()
        self._read = self._judged = None
        self.epoch += 1
        self.led_since = self.now

    def _at(self, point: str, what: str = "") -> None:
        """Spring the trap that is set at this point."""
        if {point, f"{point} {what}"} & self.broken:
            raise RefusedError
        if trap := self.traps.pop(point, None):
            trap(self)

    def _carry_out(self, look: Look, step: Step) -> bool:
        status, version = step.status, self.version
        if status is not None and step.urgent:
            self.memory.owed = status
        elif status is not None:
            self.write_status(status, version)
        refused = [action for action in step.actions if not self._act(look, action)]
        if status is not None and step.urgent:
            self._record_if_possible(status, version)
        self._tell()
        if refused:
            raise RefusedError
        return status is not None or bool(step.actions)

    def write_status(self, status: Status, version: int) -> None:
        """Write a status for the plan at this version. Raises StaleError where it is another by now."""
        try:
            self._at("record")
        except RefusedError:
            self.history.append(Refusal(self.now, status))
            raise
        if version != self.version:
            raise StaleError
        raw = json.loads(json.dumps(status.to_raw()))
        self.memory.owed = None
        if raw != self.status_raw:
            self.status_raw = raw
            self.version += 1
            routes = {name: self.weights(name) for name in self.routes}
            accepted = all(self._route_view(name).accepted for name in self.routes)
            self.history.append(Record(self.now, self.status, routes, accepted, self.policies, self.fires))
        self._at("recorded")

    def _record_if_possible(self, status: Status, version: int) -> None:
        """Write the status of a rollback; where that fails, it stays owed."""
        try:
            self.write_status(status, version)
        except (RefusedError, StaleError):
            return

    def _act(self, look: Look, action: Action) -> bool:
        """Do an action; False where the API server refused it. One refusal keeps no other action from being tried."""
        try:
            match action:
                case PatchRoute():
                    self._patch(look, action)
                case MarkPlan():
                    self._at("mark")
                    self.finalizer, self.breadcrumb = action.finalizer, action.breadcrumb
                    self.version += 1
                    self._at("marked")
                case Inspect():
                    self._at("inspect")
                    self.memory.probe = self._inspected()
                case AskGate():
                    verdicts = {each: judge(each.comparison, self._before(each)) for each in action.questions}
                    self.memory.heard = Heard(self.now, verdicts)
                case RunJob():
                    self._at("job")
                    self.memory.job = self._run(action)
                    self._at("made")
                case Scale():
                    self._at("scale")
                    self.memory.scaled = self._scale(action)
                    self._at("scaled")
                case Observe():
                    answer = self._answer(action.name)
                    self.memory.observed = Observed(action.name, self.now, judge(action.comparison, answer))
        except RefusedError:
            return False
        return True

    def _run(self, action: RunJob) -> JobView:
        name, job = action.name, self.jobs.get(action.name)
        if job is None and action.make:
            if self.job_refused or self.job_hindered:
                return JobView(name, self.now, refused=self.job_refused, hindered=self.job_hindered)
            assert action.manifest["metadata"]["name"] == name
            ends_at = None if self.job_takes is None else self.now + self.job_takes
            job = Job(self.now, ends_at, self.job_fails)
            self.jobs = {**self.jobs, name: job}
            self.made = [*self.made, (self.now, name)]
        if job is None:
            return JobView(name, self.now)
        if job.ends_at is None or self.now < job.ends_at:
            return JobView(name, self.now, found=True, ours=job.ours)
        ended = JobView(name, self.now, found=True, ours=job.ours, ended="Failed" if job.fails else "Complete")
        return replace(ended, message="its last words")

    def _scale(self, action: Scale) -> Scaled:
        name = action.deployment
        if name in self.autoscaled:
            return Scaled(name, self.now, autoscaler=f"{name}-hpa")
        if self.scale_hindered:
            return Scaled(name, self.now, hindered=self.scale_hindered)
        side = "new" if self.new is not None and self.new.name == name else "old"
        before: Deployment | None = getattr(self, side)
        if before is None:
            raise RefusedError
        ready = action.replicas if self.pods_start else min(before.ready, action.replicas)
        if before.wanted != action.replicas:
            routes = {name: self.weights(name) for name in self.routes}
            self.resized = [*self.resized, Resize(self.now, name, routes, self.status)]
        setattr(self, side, replace(before, wanted=action.replicas, ready=ready))
        return Scaled(name, self.now)

    def _patch(self, look: Look, action: PatchRoute) -> None:
        self._at("route", action.target.name)
        try:
            self.write_weights(look, action)
        except StaleError:
            return
        self._at("routed", action.target.name)

    def write_weights(self, look: Look, action: PatchRoute) -> None:
        """Write weights over a route as it was looked at. Raises StaleError where it is another by now."""
        name = action.target.name
        try:
            patch = HTTPROUTES.patch(
                look.routes[action.target.id], action.target, token=action.fence, undo=action.revert
            )
            raw = jsonpatch.apply_patch(self.routes[name], patch)
        except (LookupError, jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise StaleError from error
        self._put(name, raw)

    def _put(self, name: str, raw: dict[str, Any], by: str = "") -> None:
        """Keep a route as its API server does; without `by`, it was written by us."""
        before, after = weights_of(self.routes[name]), weights_of(raw)
        for weight in (weight for rule in after for weight in rule.values()):
            if not 0 <= weight <= 1_000_000:
                raise RefusedError(f"the API server takes no weight of {weight}")
        raw["metadata"]["resourceVersion"] = str(int(raw["metadata"]["resourceVersion"]) + 1)
        if before != after:
            raw["metadata"]["generation"] += 1
            raw["metadata"]["managedFields"] = [_entry(by or "rolloutplan", self.now)]
            self._changed_at[name] = self.now
            acted = self.memory.owed or self.status
            self.history.append(
                Move(self.now, name, before, after, not by, self.status, acted, self.memory.ledger, self.old)
            )
        self.routes[name] = raw

    def _before(self, question: Observe) -> Answer:
        """What the gate hears: of an error budget `says` under the policy's name, of an alert whether it fires."""
        name = question.name.partition(" ")[2]
        query = question.query
        return self._alerts(name, query) if isinstance(query, AlertQuery) else self._answer(name)

    def _alerts(self, name: str, query: AlertQuery) -> Answer:
        """How many of the alerts of a predicate fire, or fire that did not at the instant that the query names."""
        if self.down or isinstance(self.says.get(name), Why):
            return self._answer(name)
        began = self.fires.get(name)
        new = began is not None and (query.since is None or began > query.since)
        return Answer(float(new))

    def _inspected(self) -> Probe:
        spec, before = self.plan_spec, self.memory.probe
        assert spec is not None
        judged_hash = spec.judged_hash()
        sound = before is not None and before.judged_hash == judged_hash and not before.down and not before.rejected
        return Probe(
            at=self.now,
            judged_hash=judged_hash,
            services=self.services,
            rejected={} if sound else dict(self.rejected),
            down="" if sound else self.down,
            restarts=self.new.restarts if self.new else 0,
            worst=self.new.worst if self.new else "",
        )

    def _tell(self) -> None:
        """Tell the decisions that were not told yet; after a start the last few again."""
        if self.memory.owed is not None:
            return
        status = self.status
        known = status.seq - 3 if self.memory.told is None else self.memory.told
        for decision in status.decisions:
            if decision.seq > known:
                said = self.trail.setdefault(decision.seq, decision)
                assert said == decision, f"two decisions under one name: {said.note!r} and {decision.note!r}"
        self.memory.told = status.seq

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, look: Look) -> bool:
        asked = needs(look.plan, look.status, look.source, look.ledger, look.now)
        self.asked += [question for question in asked if isinstance(question, Question)]
        self.memory.ledger = note_asked(look.status, look.ledger, asked, look.now)
        for name, group in groupby(asked, key=lambda question: question.name):
            questions = list(group)
            values: dict[str, Answer] = {
                each.part: self._says(each) for each in questions if isinstance(each, Question)
            }
            counted: dict[str, Series | Answer] = {
                each.part: self._counted(each) for each in questions if isinstance(each, CountQuestion)
            }
            if values:
                self.answer(name, values, look.now)
            else:
                self._count(name, counted, look.now)
        if asked:
            self._at("asked")
        return bool(asked)

    def _count(self, name: str, answers: Mapping[str, Series | Answer], asked_at: datetime) -> None:
        spec, source = self.plan_spec, self.source
        if spec is not None and source is not None:
            status = self.memory.owed or self.status
            self.memory.ledger = count(spec, status, source, self.memory.ledger, name, answers, asked_at)

    def _counted(self, question: CountQuestion) -> Series | Answer:
        """What one instance of this side has counted by each instant."""
        if self.down:
            return Answer(gap=Why.SOURCE_DOWN, detail=self.down)
        rates = self.rates.get(f"{question.name}/{question.part}", ())
        number = (question.end - question.start) // question.step + 1
        instants = [question.start + i * question.step for i in range(number)]
        return [(at, {"job/pod": _by(rates, at)} if rates else {}) for at in instants]

    def answer(self, name: str, answers: Mapping[str, Answer], asked_at: datetime) -> None:
        """Let the answers for one predicate arrive now, whenever they were asked for."""
        spec = self.plan_spec
        if spec is not None:
            status = self.memory.owed or self.status
            self.memory.ledger = weigh(spec, status, self.memory.ledger, name, answers, asked_at)

    def _says(self, question: Question) -> Answer:
        if isinstance(question.query, AlertQuery):
            return self._alerts(question.name, question.query)
        return self._answer(question.name if question.part == "new" else f"{question.name}/{question.part}")

    def _answer(self, key: str) -> Answer:
        if self.down:
            return Answer(gap=Why.SOURCE_DOWN, detail=self.down)
        value = self.says.get(key, Why.NO_DATA)
        return Answer(gap=value, detail=f"no number for {key}") if isinstance(value, Why) else Answer(value)

    def alert(self, name: str, *, fires: bool = True) -> None:
        """The alert that a predicate asks for begins to fire now, or ends."""
        others = {other: since for other, since in self.fires.items() if other != name}
        self.fires = {**others, name: self.now} if fires else others

    def counts(self, name: str, **sides: tuple[float, float]) -> None:
        """From now on a side counts so many bad requests a second, of so many in all."""
        for side, (bad, total) in sides.items():
            key = f"{name}/{side}"
            self.rates = {**self.rates, key: (*self.rates.get(key, ()), Rate(self.now, bad, total))}

    # ---- what others do ----------------------------------------------------------------------------------------------

    def edit(self, changes: Mapping[str, Any]) -> None:
        """A person changes the plan."""
        self.spec = changed(self.spec, changes)
        self.generation += 1
        self.version += 1

    def say(self, command: str, by: str = "kubectl") -> None:
        """A person writes a command into the plan's annotations; the empty one takes it away."""
        if self.command and command and self.command != command:
            self.memory.replaced = (*self.memory.replaced, (self.command, self.command_by))[-5:]
        self.command, self.command_by = command, by if command else ""
        self.version += 1

    def delete(self) -> None:
        self.deleting = self.now
        self.version += 1

    @property
    def gone(self) -> bool:
        """Whether the plan is let go: deleted, and without our finalizer."""
        return self.deleting is not None and not self.finalizer

    def drift(self, weights: Mapping[str, int], route: str = "shop", rule: int = 0, by: str = "kubectl-edit") -> None:
        """Somebody else writes these weights into a rule of a route."""
        raw = copy.deepcopy(self.routes[route])
        for backend in raw["spec"]["rules"][rule]["backendRefs"]:
            backend["weight"] = weights.get(backend["name"], backend["weight"])
        self._put(route, raw, by)

    def pods(self, **changes: Any) -> None:
        """The new Deployment changes: `ready`, `wanted`, `restarts`, `revision`, `worst`, `settled`."""
        assert self.new is not None
        self.new = replace(self.new, **changes)
        self.memory.restarts = self.new.restarts


def after(look: Look, step: Step) -> Status:
    """The status that stands after a step: what it writes, or what was recorded already."""
    return step.status or look.status


def http_route(name: str, rules: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """A raw HTTPRoute, with a rule for each mapping of Services to weights."""
    backends = [[{"name": service, "port": 80, "weight": weight} for service, weight in r.items()] for r in rules]
    return {
        "metadata": {"namespace": "ns", "name": name, "generation": 1, "resourceVersion": "1"},
        "spec": {"rules": [{"backendRefs": refs} for refs in backends]},
    }


def _entry(manager: str, at: datetime) -> dict[str, Any]:
    """What the API server notes of who wrote the rules of a route, to the second."""
    rules: dict[str, Any] = {"f:spec": {"f:rules": {}}}
    return {"manager": manager, "operation": "Update", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "fieldsV1": rules}


def weights_of(raw: Mapping[str, Any]) -> Rules:
    return tuple({b["name"]: b["weight"] for b in rule["backendRefs"]} for rule in raw["spec"]["rules"])


def _workload(found: Deployment | None) -> WorkloadView | None:
    if found is None:
        return None
    return WorkloadView(found.name, found.wanted, found.ready, found.revision, found.settled)


def _revert(look: Look) -> str:
    try:
        return " && ".join(HTTPROUTES.undo_command(look.plan.namespace, route) for route in select_rules(look))
    except UnusableError:
        return ""


def _by(rates: Sequence[Rate], at: datetime) -> tuple[float, float]:
    """The counters of all requests and of the bad ones at an instant, in whole requests."""
    bad = total = 0.0
    for rate, following in zip(rates, (*rates[1:], None), strict=True):
        until = min(at, following.since) if following else at
        seconds = max((until - rate.since).total_seconds(), 0.0)
        bad, total = bad + rate.bad * seconds, total + rate.total * seconds
    return float(int(total)), float(int(bad))
