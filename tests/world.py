"""A small cluster in memory, and the operator that serves one plan in it: a host of `PlanRun` in virtual time.

The operator is the real `PlanRun` (engine/plan_run.py); `World` is what it acts upon: what a cluster holds,
and what breaks
in it. `World.turn` hands the facts to `advance`, carries the effects out one after the other, and hands back what came
of each. The status makes the round through JSON, as through the API server, which takes it for the version of the plan
that was looked at and no other; routes are raw HTTPRoutes that our JSON Patches are applied to. What the operator only
remembers is in the `PlanRun`, and a crash forgets it: the next operator is another leader.

Faults are set in `traps`: what shall happen, once, at one of the `POINTS` of a turn. `broken` names what fails for
good. Everything that happened stands in `history` (statuses written or refused, weights changed) and in `trail`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import jsonpatch

from rolloutplan.api.limits import TooLargeError
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import Template
from rolloutplan.api.route import RouteId
from rolloutplan.api.spec import PlanSpec, SpecError, read_plan_spec
from rolloutplan.api.status import RUNNING, Decision, Phase, RouteWeights, SourceStatus, Status, read_status
from rolloutplan.api.status_patch import look_patch
from rolloutplan.api.template import read_template
from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.plans import is_rewritten, with_begun
from rolloutplan.engine import memory
from rolloutplan.engine.analysis.measurements import apply_answers
from rolloutplan.engine.model.actions import (
    CheckGate,
    FindUsers,
    PatchPlanMetadata,
    PatchRoute,
    QueryOnce,
    ReconcileResult,
    RunJob,
    RunPreflight,
    Scale,
    StopJobs,
)
from rolloutplan.engine.model.effects import (
    Answers,
    Effect,
    Evaluate,
    Failure,
    LintQueries,
    ListPods,
    Publish,
    ReadPlan,
    ReadRoute,
    Result,
    WriteLook,
)
from rolloutplan.engine.model.effects import Record as Write
from rolloutplan.engine.model.grants import EVERYTHING, Grants
from rolloutplan.engine.model.plan_view import NeedsTemplates, PlanContent, PlanView, Readable, Unreadable
from rolloutplan.engine.model.policy_view import Labels, PolicyView, QueueEntry
from rolloutplan.engine.model.queries import AlertQuery, CountQuestion, Question, Series
from rolloutplan.engine.model.routes import rules_of
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.engine.model.snapshot import (
    FINALIZER,
    REVERT,
    EndpointsView,
    Facts,
    GateAnswers,
    JobsStopped,
    JobView,
    Pods,
    PreflightResult,
    QueryResult,
    RouteConflict,
    RouterProblem,
    RouteView,
    Scaled,
    ServiceUsers,
    ServiceView,
    Snapshot,
    SourceView,
    WorkloadView,
)
from rolloutplan.engine.model.templates import judged_by
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.policy.grants import outdated, unserved
from rolloutplan.engine.policy.policies import concurrency_groups, in_force, kept
from rolloutplan.engine.run.conditions import is_stalled
from rolloutplan.engine.run.jobs import job_name
from rolloutplan.engine.run.undo import undo_texts
from rolloutplan.publish.events import EventSink
from rolloutplan.publish.records import RecordSink
from rolloutplan.stats.threshold import judge
from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.traffic import ROUTE_KINDS, read_undo
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.metadata import LAST_APPLIED
from rolloutplan.traffic.overlay import ADDED
from tests.files import Files, at_once, decisions_of
from tests.queues import queues
from tests.refusals import changed

START: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
PLAN: Final[dict[str, Any]] = {
    "hypothesis": "v2 answers more reads from its cache",
    "old": {"deployment": "v1"},
    "new": {"deployment": "v2"},
    "traffic": {"routes": [{"kind": "HTTPRoute", "name": "shop"}], "acceptedWithin": "30s", "drain": "0s"},
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

SHARED: Final = SourceStatus(kind="ClusterMetricSource", name="default", uid="5", digest="d1")
SOURCE: Final = SourceView(timedelta(seconds=15), delay=timedelta(0), timeout=timedelta(seconds=5), object=SHARED)

SINKS: Final = (SinkView(EventSink.name, EventSink.keeps), SinkView(RecordSink.name, RecordSink.keeps))

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
    "file",
    "filed",
)
"""Where in a turn a trap can be set: before and after a status, a route and the plan's marks are written, and so on;
`file` and `filed` are about the records of runs."""

Trap = Callable[["World"], None]

SHORT_OF_TIME: Final = Failure(500, "InternalError", "the API server has made this up")
CHANGED: Final = Failure(409, "Conflict", "the object has been modified")
TEST_FAILED: Final = Failure(422, "Invalid", "the server rejected our request due to an error in our request")


class KilledError(Exception):
    """The operator is gone, with all that it had not written."""


class RefusedError(Exception):
    """The API server did not take a request, and says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


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
    raise RefusedError(SHORT_OF_TIME)


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
    """Of its first pod."""
    worst: str = ""
    sized_by: str = ""
    available: int | None = None
    """None: all that are ready."""
    outdated: int = 0
    hindered: str = ""
    failed: str = ""
    away: str = ""
    autoscaler: str = ""
    """The manager that set its size, where that is an autoscaler."""
    crashes: Mapping[str, int] = field(default_factory=dict)
    """The restarts of its other pods, by their uid."""
    joined: Mapping[str, datetime] = field(default_factory=dict)
    """When the pods that joined it became ready, by their uid."""

    @property
    def pods(self) -> Pods:
        """What a list of its pods shows."""
        others = {**dict.fromkeys(self.joined, 0), **self.crashes}
        return Pods({"first": self.restarts, **others}, self.worst, self.failed, self.away, ready_at={**self.joined})


@dataclass(frozen=True)
class Job:
    """A Job as the API server has it."""

    made_at: datetime
    ends_at: datetime | None
    fails: bool
    ours: bool = True
    suspended: bool = False
    why: str = ""
    """Why it does not run."""

    def runs_at(self, now: datetime) -> bool:
        """Whether it has pods then."""
        return not self.suspended and not self.why and (self.ends_at is None or now < self.ends_at)


Rules = tuple[dict[str, int], ...]
"""The weights of each rule of a route, by Service."""


@dataclass(frozen=True)
class Record:
    """A status as it came to stand in the API server.

    `look` is what it was decided upon, `routes` what they held when it was written, and `fires` since when which alerts
    fired.
    """

    at: datetime
    status: Status
    snapshot: Snapshot
    routes: Mapping[str, Rules]
    fires: Mapping[str, datetime]


@dataclass(frozen=True)
class Refusal:
    """A status that the API server did not take, or not at once, and what it was decided upon."""

    at: datetime
    snapshot: Snapshot


@dataclass(frozen=True)
class Shown:
    """What the operator was shown of the weights of a route; None where that is gone."""

    at: datetime
    route: str
    weights: Rules | None


@dataclass(frozen=True)
class Move:
    """A change of weights. `look` is what ours was decided upon; None where somebody else moved them."""

    at: datetime
    route: str
    before: Rules
    after: Rules
    snapshot: Snapshot | None
    old: Deployment | None
    """The old side then."""


@dataclass(frozen=True)
class Heard:
    """What the source answered about one predicate."""

    at: datetime
    name: str
    answers: Answers


@dataclass(frozen=True)
class Resize:
    """A Deployment whose size we wrote, maybe the same: what was decided upon, and what the routes held then."""

    at: datetime
    name: str
    snapshot: Snapshot
    routes: Mapping[str, Rules]
    before: int
    after: int

    @property
    def smaller(self) -> bool:
        return self.after < self.before


class Made(NamedTuple):
    """A Job that we made, and what was decided upon."""

    at: datetime
    name: str
    snapshot: Snapshot


@dataclass(frozen=True)
class Late:
    """What an operator was about to do when it was stopped."""

    effects: tuple[Effect, ...]

    @property
    def weights(self) -> list[Effect]:
        """The writes of routes among it."""
        return [effect for effect in self.effects if isinstance(effect.work, PatchRoute)]

    @property
    def record(self) -> Effect:
        """The write of a status among it."""
        return next(effect for effect in self.effects if isinstance(effect.work, Write))


def _remembered(value: Any) -> Any:
    """What a run remembers, for a twin of it: neither notices what the other remembers from now on."""
    if isinstance(value, dict):
        return dict(value)
    if type(value).__module__.startswith(memory.__name__):
        twin = copy.copy(value)
        vars(twin).update({name: _remembered(each) for name, each in vars(value).items()})
        return twin
    return value


@dataclass
class World:
    name: str = "plan"
    uid: str = "0123456789"
    grants: Grants = EVERYTHING
    """What its operator lends to plans."""
    unserved: bool = False
    """Whether its namespace is one of those that are not served."""
    crds_lack: str = ""
    """Which fields the CRDs of the cluster do not have."""
    accounts: Mapping[str, str] = field(default_factory=dict)
    not_movable: Mapping[RouteId, str] = field(default_factory=dict)
    """Why no Job may run under a ServiceAccount, by its name."""
    neighbours: tuple[World, ...] = ()
    """The worlds of other plans on the same routes, with the same clock."""
    spec: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(PLAN))
    now: datetime = START
    status_raw: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    version: int = 1
    """The resourceVersion of the plan."""
    deleting: datetime | None = None
    finalizer: bool = False
    committed_at: datetime | None = None
    undo_annotation: str = ""
    undo_by: str = "rolloutplan (Update) at START"
    """Who wrote that."""
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: Mapping[str, Rules] = field(default_factory=dict)
    """What the routes held before a run whose status is lost; empty where none is."""
    lag: timedelta | None = timedelta(0)
    """How long the gateway takes to accept a route; None: it never says anything."""
    refusal: str = ""
    """Why the gateway takes no route, where it does not."""
    ignored: bool = False
    """Whether no gateway has ever answered for any route."""
    reports: Literal["its generation", "no generation", "the first generation"] = "its generation"
    """What the gateway writes as the generation that it means."""
    another: Mapping[str, Any] = field(default_factory=dict)
    """Where its routes differ from an HTTPRoute: fields of their views."""
    dropped: str = ""
    """What the gateway says of a rule that it leaves out, or of an earlier generation that it serves instead."""
    old: Deployment | None = field(default_factory=lambda: Deployment("v1"))
    new: Deployment | None = field(default_factory=lambda: Deployment("v2"))
    services: frozenset[str] = frozenset({"v1", "v2"})
    selects: dict[str, ServiceView] = field(default_factory=dict)
    """What a Service is, where it does not simply select the pods of its side."""
    served: dict[str, EndpointsView | None] = field(default_factory=dict)
    """The endpoints of a Service, where they are not the ready pods of its side; None: not known yet."""
    users: tuple[str, ...] = ()
    """What gives the old Service traffic other than HTTPRoutes, each as `KIND NAME`."""
    users_unknown: str = ""
    source: SourceView | None = SOURCE
    unread: frozenset[str] = frozenset()
    """What the operator cannot read, such as `deployments/v2`."""
    unread_routes: Mapping[RouteId, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    route_notes: Mapping[RouteId, str] = field(default_factory=dict)
    """The routes of which it does not know what they are now, and why."""
    routers: Mapping[str, RouterProblem] = field(default_factory=dict)
    """The kinds of route that cannot be used."""
    own_kinds: Mapping[str, str] = field(default_factory=dict)
    """The specs of the RouteKinds that its routes name."""
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
    job_idle: str = ""
    """Why a Job that is made now does not run."""
    autoscaled: frozenset[str] = frozenset()
    """The Deployments that have an autoscaler."""
    scale_hindered: str = ""
    pods_start: bool = True
    """Whether pods that are added become ready at once."""
    made: list[Made] = field(default_factory=list)
    """Every Job that was ever made."""
    route_conflicts: tuple[RouteConflict, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    peers: tuple[QueueEntry, ...] = ()
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)
    command: str = ""
    command_by: str = ""
    edited_by: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] | None = field(default_factory=dict)
    """None: the operator may not read them."""
    epoch: int = 1
    """The tenure of the leader; a crash begins another."""
    led_since: datetime = START
    adopts_in: timedelta = timedelta(0)
    """How long after the take-over it is this plan's turn to be adopted, if nothing of it is half done."""
    replaced: tuple[tuple[str, str], ...] = ()
    """Commands that a newer one took the place of, with who wrote them."""
    rewritten: bool = False
    """Whether the operator saw an answered command come back."""
    route_kind: RouteKind = HTTPROUTES
    """Of the routes of the plan."""
    run: PlanRun | None = None
    """What the operator remembers; None before it has looked for the first time."""
    traps: dict[str, Trap] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """What the API server refuses until further notice: `record`, `route`, `route NAME`, `mark`, `inspect`, `job`."""
    refuses: dict[str, Failure] = field(default_factory=dict)
    """How the API server answers at a point, or at a point and a name, until further notice."""
    wake_at: datetime | None = None
    sprung: Late | None = None
    """What was being done when a trap sprang last, and what was to be done after it."""
    late: Late | None = None
    """What is being done, and what was to be done after it."""
    done: list[Effect] = field(default_factory=list)
    """Every effect that was carried out, or refused."""
    stopped: list[Late] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    resized: list[Resize] = field(default_factory=list)
    history: list[Record | Refusal | Shown | Move] = field(default_factory=list)
    looks: list[datetime] = field(default_factory=list)
    """When what was written said no more than that the run was looked at."""
    lost: list[Status] = field(default_factory=list)
    """The statuses that were owed when the operator was killed: acted upon, and never written."""
    specs: dict[str, PlanSpec] = field(default_factory=dict)
    """Every plan that was read, by its hash."""
    trail: dict[int, Decision] = field(default_factory=dict)
    """The decisions that were recorded, by number."""
    sinks: tuple[SinkView, ...] = SINKS
    """To which decisions are published; of those that are not in SINKS, `notified` has what they got."""
    notified: list[tuple[str, int]] = field(default_factory=list)
    """Sink, and number of the decision."""
    notices: list[Decision] = field(default_factory=list)
    """What was published that no status could hold."""
    published: list[int] = field(default_factory=list)
    """The numbers of those that were published as Events, in this order."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The RolloutRecords, by their paths."""
    _filing: RecordSink | None = None
    """What writes them, and remembers of them; a crash forgets it."""
    _given: tuple[Decision, ...] = ()
    """The decisions of the status that it began with."""
    _changed_at: dict[str, datetime] = field(default_factory=dict)
    _read: tuple[dict[str, Any], PlanContent] | None = None
    _filled: tuple[PlanContent, Status, dict[str, dict[str, Any]], PlanContent] | None = None
    """What a plan is with its templates, after all that it was made of."""
    _judged: Readable | None = None
    _status: tuple[dict[str, Any], Status] | None = None
    _shown: dict[str, Rules | None] = field(default_factory=dict)
    _views: dict[str, tuple[dict[str, Any], bool, str, RouteView]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for ref in [] if self.routes else self.spec["traffic"]["routes"]:
            self.routes[ref["name"]] = http_route(ref["name"], [{"v1": 100, "v2": 0}])
        self._given = self.status.decisions

    def twin(self) -> World:
        """Another world in which all is the same so far."""
        twin = copy.copy(self)
        for each in fields(self):
            setattr(twin, each.name, copy.copy(getattr(self, each.name)))
        if twin.run is not None:
            for name, value in vars(twin.run).items():
                setattr(twin.run, name, _remembered(value))
        twin._filing = None
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

    def _content(self) -> PlanContent:
        if self._read is None or self._read[0] is not self.spec:
            try:
                spec = read_plan_spec(self.spec)
            except SpecError as error:
                large = isinstance(error, TooLargeError)
                reason = StatusReason.TOO_LARGE if large else StatusReason.INVALID_SPEC
                self._read = self.spec, Unreadable(str(error), self._judged, reason)
            else:
                self._read = self.spec, NeedsTemplates(spec) if spec.has_references else Readable(spec)
        self._read = self.spec, with_begun({"spec": self.spec, "status": self.status_raw}, self._read[1])
        return self._read[1]

    def written(self) -> PlanView:
        """The plan as it stands there, with references in it."""
        return PlanView(
            namespace="ns",
            name=self.name,
            uid=self.uid,
            generation=self.generation,
            created=START - timedelta(minutes=1),
            content=self._content(),
            deleting=self.deleting,
            finalizer=self.finalizer,
            committed_at=self.committed_at,
            undo_annotation=self.undo_annotation,
            undo_by=self.undo_by if self.undo_annotation else "",
            command=self.command,
            command_by=self.command_by,
            edited_by=self.edited_by,
            replaced=self.replaced,
            rewritten=self.rewritten,
            labels=self.labels,
            version=str(self.version),
            finalizers=(FINALIZER,) if self.finalizer else (),
        )

    def plan(self) -> PlanView:
        written, status = self.written(), self.acted_upon
        filled = self._filled
        if filled is None or filled[0] is not written.content or filled[1:3] != (status, self.templates):
            content = judged_by(written, status, self.template).content
            filled = self._filled = written.content, status, dict(self.templates), content
        judged = replace(written, content=filled[3])
        self._judged = judged.last_good
        if judged.spec is not None:
            self.specs[judged.spec.plan_hash()] = judged.spec
        return judged

    def template(self, name: str) -> Template:
        if name not in self.templates:
            return Template("", name, None, f"no template {name} exists: create one", StatusReason.TEMPLATE_NOT_FOUND)
        try:
            return Template("PredicateTemplate", name, read_template(self.templates[name]))
        except SpecError as error:
            return Template("PredicateTemplate", name, None, str(error))

    @property
    def acted_upon(self) -> Status:
        """The status that the operator goes on from: of a rollback, before it could be written."""
        return (self.run.unwritten_status if self.run else None) or self.status

    def facts(self) -> Facts:
        """What the operator knows of it now."""
        plan, labels = self.plan(), Labels(self.labels, self.namespace_labels)
        policies = in_force(self.policies, plan.namespace, labels, self.status)
        groups = frozenset(concurrency_groups(policies, plan.namespace))
        if self.unserved:
            plan = unserved(plan, judged=self.phase in RUNNING)
        if self.crds_lack:
            plan = outdated(plan, self.crds_lack, judged=self.phase in RUNNING)
        return Facts(
            plan=plan,
            status=self.status,
            raw_status=self.status_raw,
            routes={(view := self.route_view(name)).id: view for name in self.routes},
            old=None if "deployments/v1" in self.unread else workload(self.old),
            new=None if "deployments/v2" in self.unread else workload(self.new),
            unread=self.unread | self.unseen.keys() | {str(route) for route in self.unread_routes},
            unread_routes=self.unread_routes,
            unseen=self.unseen,
            route_notes=self.route_notes,
            routers=self.routers,
            own_kinds=self.own_kinds,
            endpoints=self.endpoints(),
            routes_to_old=self.routes_to_old(),
            undo=self.undo(),
            source=self.source,
            source_problem="" if self.source else "no MetricSource ns/default exists: create one",
            route_conflicts=(*self.route_conflicts, *(each.claim() for each in self.neighbours)),
            policies=policies,
            labels=kept(labels, self.policies),
            queues=queues(QueueEntry(plan.key, groups, "waiting", plan.created, plan.uid), self.peers),
            epoch=self.epoch,
            claim_at=self.led_since + self.adopts_in,
            grants=self.grants,
            sinks=self.sinks,
        )

    def claim(self) -> RouteConflict:
        """What other plans need to know of this one."""
        plan, phase = self.written(), self.phase
        running, views = phase in RUNNING, [self.route_view(name) for name in self.routes]
        known = {view.id: rules_of(view, plan.written, self.status.weights) for view in views}
        return RouteConflict(
            key=plan.key,
            routes=frozenset(known) if running or phase is Phase.PENDING else frozenset(),
            running=running,
            waiting=phase is Phase.PENDING and not is_stalled(self.status),
            created=plan.created,
            uid=plan.uid,
            rules={route: rules for route, rules in known.items() if rules is not None},
        )

    @property
    def operator(self) -> PlanRun:
        """The run as the present leader serves it."""
        if self.run is None:
            self.run = PlanRun(self.facts(), self.now, undo_command=self.route_kind.undo_command)
        return self.run

    def sides(self) -> dict[str, Deployment | None]:
        """The Deployment behind each Service of the plan, or of its run."""
        spec, weights = self.plan_spec, self.status.weights
        named = {weights.old: self.old, weights.new: self.new}
        named |= {spec.old.service_name: self.old, spec.new.service_name: self.new} if spec else {}
        return {name: side for name, side in named.items() if name}

    def service(self, name: str) -> ServiceView:
        """A Service: it selects the pods of its side, unless something else is said."""
        side = self.sides().get(name)
        return self.selects.get(name) or ServiceView(labels(side.name if side else name))

    def endpoints(self) -> dict[str, EndpointsView]:
        """The endpoints that are known: the ready pods of each side, unless something else is said."""
        found = {name: ready_pods(side) for name, side in self.sides().items()} | self.served
        return {name: view for name, view in found.items() if view is not None}

    def routes_to_old(self) -> tuple[RouteView, ...]:
        """The routes that give the old Service of the run traffic."""
        old = self.status.weights.old
        uses = (name for name in sorted(self.routes) if any(rule.get(old) for rule in self.weights(name)))
        return tuple(self.route_view(name) for name in uses)

    def undo(self) -> tuple[RouteWeights, ...]:
        """The weights that the undo command on the plan or its routes restores, where the status has none."""
        others = {each.uid[:8] for each in self.neighbours}
        views = [self.route_view(name) for name in self.routes]
        return undo_of(self.status, undo_texts(self.undo_annotation, views, others))

    def snapshot(self) -> Snapshot:
        """The picture that a decision would be taken upon now."""
        return self.operator.snapshot(self.facts(), self.now)

    def route_view(self, name: str) -> RouteView:
        raw, since = self.routes[name], self._changed_at.get(name, START)
        heard = name not in self._changed_at or (self.lag is not None and self.now >= since + self.lag)
        said = f"{self.refusal} {self.dropped} {self.ignored} {self.reports} {self.another}"
        seen = self._views.get(name)
        if seen is None or seen[0] is not raw or seen[1:3] != (heard, said):
            parents = [{"conditions": [] if self.ignored else self._conditions(raw, heard=heard)}]
            view = replace(HTTPROUTES.view({**raw, "status": {"parents": parents}}), **self.another)
            seen = self._views[name] = raw, heard, said, view
        return seen[3]

    def _conditions(self, raw: Mapping[str, Any], *, heard: bool) -> list[dict[str, Any]]:
        """What the gateway says of a route; where it has not heard of a generation, what it said of the one before."""
        generation = raw["metadata"]["generation"] - (not heard)
        dated = {
            "its generation": {"observedGeneration": generation},
            "no generation": {},
            "the first generation": {"observedGeneration": 1},
        }[self.reports]
        if not heard and (not generation or self.reports == "its generation"):
            return [{"type": "Accepted", "status": "True", **dated}] if generation else []
        no = {"status": "False", "reason": self.refusal}
        conditions = [{"type": "Accepted", **dated, **(no if self.refusal else {"status": "True"})}]
        partial = {"type": "PartiallyInvalid", "status": "True", "reason": "UnsupportedValue", "message": self.dropped}
        return [*conditions, {**partial, **dated}] if self.dropped else conditions

    # ---- the host ----------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Snapshot, decide, act. Returns whether anything was done, so that it has to be looked at again."""
        run = self.operator
        self.show({name: self.weights(name) for name in self.routes})
        effects = run.advance(self.facts(), self.now)
        self.wake_at = effects.wake_at
        try:
            for place, effect in enumerate(effects.todo):
                self.late = Late(effects.todo[place:])
                self.done.append(effect)
                run.on_result(effect, self.carry_out(effect), self.now)
        except KilledError:
            self.crash()
            return True
        return bool(effects.todo)

    def show(self, routes: Mapping[str, Rules]) -> None:
        """Note what the operator is shown of the weights of its routes."""
        for name in sorted({*routes, *self._shown}):
            weights = routes.get(name)
            if self._shown.get(name) != weights:
                self._shown = {**self._shown, name: weights}
                self.history.append(Shown(self.now, name, weights))

    def carry_out(self, effect: Effect) -> Result:
        """Do what an effect asks for, and say what came of it."""
        try:
            return self._carry_out(effect)
        except RefusedError as error:
            return error.failure
        except StaleError:
            return TEST_FAILED if isinstance(effect.work, PatchRoute) else CHANGED

    def _carry_out(self, effect: Effect) -> Result:
        match effect.work:
            case Write() | PatchRoute() | PatchPlanMetadata() | Publish():
                return self._write(effect)
            case RunJob() | Scale():
                return self._do(effect, effect.work)
            case StopJobs():
                self._at("stop")
                return self._stop_jobs()
            case Evaluate() as work:
                answers = self._evaluate(work)
                self._at("asked")
                return answers
            case ReadPlan() | ReadRoute():
                self._at("read")
                return None
            case ListPods():
                self._at("pods")
                return self.new.pods if self.new else Pods()
            case WriteLook() as work:
                self._write_look(effect, work)
                return None
            case LintQueries():
                return "" if effect.snapshot.preflight else self._silent_alerts()
            case _ as work:
                return self._ask_around(effect, work)

    def _write(self, effect: Effect) -> Result:
        match effect.work:
            case Write():
                self.write_status(effect)
            case PatchRoute() as work:
                self._at("route", work.target.name)
                self.write_weights(effect)
                self._at("routed", work.target.name)
            case PatchPlanMetadata() as work:
                self._mark(effect, work)
            case Publish() as work:
                self._publish(effect, work)
        return None

    def _do(self, effect: Effect, work: RunJob | Scale) -> Result:
        found: Result
        if isinstance(work, RunJob):
            self._at("job")
            found = self._run(effect.snapshot, work)
            self._at("made")
        else:
            self._at("scale")
            found = self._scale(effect.snapshot, work)
            self._at("scaled")
        return found

    def _ask_around(self, effect: Effect, work: RunPreflight | CheckGate | FindUsers | QueryOnce) -> Result:
        match work:
            case RunPreflight():
                self._at("inspect")
                return self._inspected(effect.snapshot)
            case CheckGate():
                verdicts = {each: judge(each.comparison, self._before(each)) for each in work.questions}
                return GateAnswers(self.now, verdicts)
            case FindUsers():
                self._at("find")
                return ServiceUsers(self.now, work.service, self.users, self.users_unknown)
            case QueryOnce():
                self._at("observe")
                return QueryResult(work.name, self.now, judge(work.comparison, self._answer(work.name)))

    def settle(self, limit: int = 80) -> None:
        """Turn until nothing follows at this instant any more."""
        for _ in range(limit):
            if not self.turn():
                return
        raise AssertionError(f"never comes to rest: {' '.join(self.told()[-8:])} ... {self.status.message}")

    def next(self) -> datetime | None:
        """The next instant at which there is something to do, or at which a gateway says something."""
        instants = [*self.gateways_speak_at(), self.wake_at]
        return min((at for at in instants if at is not None and at > self.now), default=None)

    def gateways_speak_at(self) -> Iterator[datetime]:
        """When gateways will have accepted the routes that they have not accepted yet."""
        lag = self.lag
        if lag is not None:
            yield from (at for name in self.routes if (at := self._changed_at.get(name, START) + lag) > self.now)

    def advance(self, by: timedelta | None = None) -> None:
        """Let time pass, turning whenever it is time to; without `by`, to the next instant at which it is."""
        until = self.now + by if by is not None else self.next()
        self.settle()
        while until is not None and (at := self.next()) is not None and at <= until:
            self.now = at
            self.settle()
        if until is not None and until > self.now:
            self.now = until
            self.settle()

    def until(self, *phases: Phase, stage: str | None = None, limit: timedelta = timedelta(hours=6)) -> World:
        """Go on until it is in one of these phases (and at this stage)."""
        end = self.now + limit
        self.settle()
        while self.phase not in phases or (stage and (self.status.stage is None or self.status.stage.name != stage)):
            at = self.next()
            assert at is not None, f"it stands still as {self.phase}, before {phases} {stage or ''}\n{self._story()}"
            assert at <= end, f"still {self.phase} after {limit}, not {phases} {stage or ''}\n{self._story()}"
            self.now = at
            self.settle()
        return self

    def _story(self) -> str:
        """All decisions so far, one a line."""
        return "\n".join(f"{d.at:%H:%M:%S} {d.reason}: {d.note}" for d in self.trail.values())

    def interrupted(self, point: str, fault: Trap = crash, limit: int = 100) -> Late:
        """Go on until the operator comes to this point and the fault strikes; returns what it was about to write."""
        self.traps[point] = fault
        for _ in range(limit):
            moved = self.turn()
            if point not in self.traps:
                assert self.sprung is not None
                return self.sprung
            if not moved:
                at = self.next()
                assert at is not None, f"never comes to {point}: {self.phase} {self.status.message}"
                self.now = at
        raise AssertionError(f"never comes to {point}: {self.phase} {self.status.message}")

    def crash(self) -> None:
        """The operator is killed and started again, or another takes its place."""
        if self.run is not None and self.run.unwritten_status is not None:
            self.lost.append(self.run.unwritten_status)
        self.run = self._filing = None
        self.replaced, self.rewritten = (), False
        self._read = self._judged = None
        self.epoch += 1
        self.led_since = self.now

    def _at(self, point: str, what: str = "") -> None:
        """Spring the trap that is set at this point."""
        if {point, f"{point} {what}"} & self.broken:
            raise RefusedError(SHORT_OF_TIME)
        if failure := self.refuses.get(point) or self.refuses.get(f"{point} {what}"):
            raise RefusedError(failure)
        if trap := self.traps.pop(point, None):
            self.sprung = self.late
            trap(self)

    def _write_look(self, effect: Effect, work: WriteLook) -> None:
        """Write when a run was looked at. Raises StaleError where the plan is another by now."""
        self._at("look")
        if effect.snapshot.plan.version != str(self.version):
            raise StaleError
        self.status_raw = merged(self.status_raw, look_patch(work.at, work.published))
        self.version += 1
        self.looks.append(self.now)

    def write_status(self, effect: Effect) -> None:
        """Write a status for the plan as it was looked at. Raises StaleError where it is another by now."""
        assert isinstance(effect.work, Write)
        try:
            self._at("record")
        except RefusedError:
            self.history.append(Refusal(self.now, effect.snapshot))
            raise
        if effect.snapshot.plan.version != str(self.version):
            raise StaleError
        self.status_raw = merged(self.status_raw, json.loads(json.dumps(effect.work.patch)))
        self.version += 1
        for decision in self.status.decisions:
            said = self.trail.setdefault(decision.seq, decision)
            assert said == decision, f"two decisions under one name: {said.note!r} and {decision.note!r}"
        routes = {name: self.weights(name) for name in self.routes}
        self.history.append(Record(self.now, self.status, effect.snapshot, routes, self.fires))
        self._at("recorded")

    def _mark(self, effect: Effect, work: PatchPlanMetadata) -> None:
        self._at("mark")
        if effect.snapshot.plan.version != str(self.version):
            raise StaleError
        if work.undo_annotation != self.undo_annotation:
            self.undo_by = "rolloutplan (Update) at NOW"
        self.finalizer, self.undo_annotation = work.finalizer, work.undo_annotation
        self.version += 1
        self._at("marked")

    def _publish(self, effect: Effect, work: Publish) -> None:
        if work.sink == RecordSink.name:
            self._file(effect, work)
            return
        if work.sink not in {each.name for each in SINKS}:
            self._at(work.sink)
            self.notified = [*self.notified, (work.sink, work.decision.seq)]
            return
        self._at("publish")
        if work.recorded:
            decision = work.decision
            recorded = decision in self._given or self.trail.get(decision.seq) == decision
            assert recorded, f"published, and never recorded: {decision.note}"
            self.published = [*self.published, decision.seq]
        else:
            self.notices = [*self.notices, work.decision]

    def _file(self, effect: Effect, work: Publish) -> None:
        """Add a decision to the record of its run."""
        self._filing = self._filing or RecordSink(Files(self.files, self._at))
        try:
            at_once(self._filing.publish(effect.snapshot, work.decision, recorded=work.recorded))
        except ApiError as error:
            raise RefusedError(Failure(error.status, error.reason, error.message)) from error

    def filed(self, run: int) -> tuple[Decision, ...]:
        """The decisions in the record of a run."""
        return decisions_of(self.files, self.name, self.uid, run)

    def _run(self, snapshot: Snapshot, action: RunJob) -> JobView:
        name, job = action.name, self.jobs.get(action.name)
        if job is None and action.make:
            if other := next((each for each, job in self.jobs.items() if job.ours and job.runs_at(self.now)), ""):
                return JobView(name, self.now, waits_for=f"Job {other} has 1 active pod")
            if self.job_refused or self.job_hindered:
                return JobView(name, self.now, refused=self.job_refused, retry_reason=self.job_hindered)
            assert action.manifest["metadata"]["name"] == name
            ends_at = None if self.job_takes is None else self.now + self.job_takes
            job = Job(self.now, ends_at, self.job_fails, why=self.job_idle)
            self.jobs = {**self.jobs, name: job}
            self.made = [*self.made, Made(self.now, name, snapshot)]
        if job is None:
            return JobView(name, self.now)
        if job.suspended or job.why or job.ends_at is None or self.now < job.ends_at:
            active = int(job.runs_at(self.now))
            return JobView(name, self.now, found=True, ours=job.ours, why=job.why, active=active)
        ended = JobView(name, self.now, found=True, ours=job.ours, ended="Failed" if job.fails else "Complete")
        return replace(ended, message="its last words")

    def _stop_jobs(self) -> JobsStopped:
        going = {
            name: replace(job, suspended=True)
            for name, job in self.jobs.items()
            if job.ours and (job.suspended or job.why or job.ends_at is None or self.now < job.ends_at)
        }
        self.jobs = {**self.jobs, **going}
        return JobsStopped(self.now, tuple(going))

    def _scale(self, snapshot: Snapshot, action: Scale) -> Scaled:
        name = action.deployment
        if name in self.autoscaled:
            return Scaled(name, self.now, autoscaler=f"{name}-hpa")
        if self.scale_hindered:
            return Scaled(name, self.now, retry_reason=self.scale_hindered)
        side = "new" if self.new is not None and self.new.name == name else "old"
        before: Deployment | None = getattr(self, side)
        if before is None:
            raise RefusedError(Failure(404, "NotFound", f"no Deployment {name}"))
        ready = action.replicas if self.pods_start else min(before.ready, action.replicas)
        routes = {name: self.weights(name) for name in self.routes}
        self.resized = [*self.resized, Resize(self.now, name, snapshot, routes, before.wanted, action.replicas)]
        setattr(self, side, replace(before, wanted=action.replicas, ready=ready))
        return Scaled(name, self.now)

    def write_weights(self, effect: Effect) -> None:
        """Write weights over a route as it was looked at. Raises StaleError where it is another by now."""
        work = effect.work
        assert isinstance(work, PatchRoute)
        name = work.target.name
        try:
            patch = self.route_kind.patch(
                effect.snapshot.routes[work.target.id], work.target, token=work.fencing_token, undo=work.undo_command
            )
            raw = jsonpatch.apply_patch(self.routes[name], patch)
        except (LookupError, jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise StaleError from error
        self._put(name, raw, effect.snapshot)

    def _put(
        self,
        name: str,
        raw: dict[str, Any],
        snapshot: Snapshot | None = None,
        by: str = "rolloutplan",
        operation: str = "Update",
    ) -> None:
        """Keep a route as its API server does; `look` is what we decided upon, where it was written by us."""
        if self.route_kind.kind != HTTPROUTES.kind:
            raw["metadata"]["resourceVersion"] = str(int(raw["metadata"]["resourceVersion"]) + 1)
            raw["metadata"]["generation"] = raw["metadata"].get("generation", 1) + 1
            self.routes = {**self.routes, name: raw}
            return
        before, after = weights_of(self.routes[name]), weights_of(raw)
        for weight in (weight for rule in after for weight in rule.values()):
            if not 0 <= weight <= 1_000_000:
                raise RefusedError(Failure(422, "Invalid", f"no weight of {weight} is taken"))
        raw["metadata"]["resourceVersion"] = str(int(raw["metadata"]["resourceVersion"]) + 1)
        if before != after:
            raw["metadata"]["generation"] += 1
            raw["metadata"]["managedFields"] = _owners(raw, _entry(by, self.now, operation))
            self._changed_at[name] = self.now
            self.history.append(Move(self.now, name, before, after, snapshot, self.old))
        if snapshot is not None:
            self._own_undo(raw, by)
        self.routes[name] = raw

    def _own_undo(self, raw: dict[str, Any], by: str) -> None:
        """Note who wrote the undo command of a route."""
        fields: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{REVERT}": {}}}}
        others = [each for each in raw["metadata"].get("managedFields", ()) if each["fieldsV1"] != fields]
        raw["metadata"]["managedFields"] = [*others, {**_entry(by, self.now), "fieldsV1": fields}]

    def write_undo(self, text: str, by: str, route: str = "") -> None:
        """Somebody else writes an undo command: on a route, else on the plan."""
        if not route:
            self.undo_annotation, self.undo_by = text, f"{by} (Update) at NOW"
            self.version += 1
            return
        raw = copy.deepcopy(self.routes[route])
        raw["metadata"].setdefault("annotations", {})[REVERT] = text
        self._own_undo(raw, by)
        self._put(route, raw, by=by)

    def touch(self, name: str) -> None:
        """Somebody writes to a route what is neither weights nor ours: another version is all that comes of it."""
        meta = self.routes[name]["metadata"]
        version = str(int(meta["resourceVersion"]) + 1)
        self.routes[name] = {**self.routes[name], "metadata": {**meta, "resourceVersion": version}}

    def _before(self, question: QueryOnce) -> Answer:
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

    def _inspected(self, snapshot: Snapshot) -> PreflightResult:
        spec, before = snapshot.plan.spec, snapshot.preflight
        assert spec is not None
        judged_hash = spec.judged_hash()
        is_valid_snapshot = (
            before is not None and before.judged_hash == judged_hash and not before.down and not before.rejected
        )
        return PreflightResult(
            at=self.now,
            judged_hash=judged_hash,
            services={name: self.service(name) for name in self.services},
            rejected={} if is_valid_snapshot else dict(self.rejected),
            down="" if is_valid_snapshot else self.down,
            pods=self.new.pods if self.new else Pods(),
            warnings=self._silent_alerts(),
            autoscaler=self.new.autoscaler if self.new and not self.new.wanted else "",
            accounts=dict(self.accounts),
            not_movable=dict(self.not_movable),
        )

    def _silent_alerts(self) -> str:
        return "; ".join(f"{name}: no alerts" for name, said in self.says.items() if said is Why.NO_ALERT_SERIES)

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _evaluate(self, work: Evaluate) -> Answers:
        self.asked += [question for question in work.questions if isinstance(question, Question)]
        answers: Answers = {
            question.part: self._says(question) if isinstance(question, Question) else self._counted(question)
            for question in work.questions
        }
        self.heard.append(Heard(self.now, work.name, answers))
        return answers

    def requests(self, key: str, since: datetime, until: datetime) -> float:
        """How many requests are counted between two instants, by `predicate/side`."""
        rates = self.rates.get(key, ())
        return _by(rates, until)[0] - _by(rates, since)[0] if rates else 0.0

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
        spec, run = self.plan_spec, self.operator
        if spec is not None:
            run.measurements = apply_answers(spec, self.acted_upon, run.measurements, name, answers, asked_at)

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
            self.replaced = (*self.replaced, (self.command, self.command_by))[-5:]
        before = self.written()
        self.rewritten = is_rewritten(before, command, self.status.tokens)
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
        rules = [each for each in raw["spec"]["rules"] if {b["name"] for b in each["backendRefs"]} != {"v2"}]
        for backend in rules[rule]["backendRefs"]:  # not those that a run has added for testers
            backend["weight"] = weights.get(backend["name"], backend["weight"])
        self._put(route, raw, by=by)

    def joins(self, *pods: str) -> None:
        """New pods of the new side, by their uid, have become ready now."""
        assert self.new is not None
        size, joined = self.new.wanted + len(pods), {**self.new.joined, **dict.fromkeys(pods, self.now)}
        self.new = replace(self.new, wanted=size, ready=self.new.ready + len(pods), joined=joined)

    def apply_route(self, weights: Mapping[str, int], by: str, *, at_client: bool = False) -> None:
        """Somebody applies the route with these weights in every rule, server-side, or as `kubectl apply` does."""
        raw = copy.deepcopy(self.routes["shop"])
        for backend in (backend for rule in raw["spec"]["rules"] for backend in rule["backendRefs"]):
            backend["weight"] = weights[backend["name"]]
        if at_client:
            annotations = raw["metadata"].setdefault("annotations", {})
            annotations[LAST_APPLIED] = json.dumps({"spec": raw["spec"]})
        self._put("shop", raw, by=by, operation="Update" if at_client else "Apply")
        meta = self.routes["shop"]["metadata"]
        entry = _entry(by, self.now, "Update" if at_client else "Apply")
        entry["fieldsV1"]["f:spec"]["f:parentRefs"] = {}
        if at_client:
            entry["fieldsV1"]["f:metadata"] = {"f:annotations": {f"f:{LAST_APPLIED}": {}}}
        others = [each for each in meta.get("managedFields", ()) if each["manager"] != by]
        self.routes["shop"] = {**self.routes["shop"], "metadata": {**meta, "managedFields": [*others, entry]}}

    def pods(self, **changes: Any) -> None:
        """The new Deployment changes, and its pods: any field of `Deployment`."""
        assert self.new is not None
        self.new = replace(self.new, **changes)


def after(snapshot: Snapshot, step: ReconcileResult) -> Status:
    """The status that stands after a step: what it writes, or what was recorded already."""
    return step.status or snapshot.status


def undo_of(status: Status, texts: Iterable[str]) -> tuple[RouteWeights, ...]:
    """The weights that undo commands restore, where the status has none."""
    weights = status.weights
    return () if is_valid_snapshot(weights.snapshot, weights.old, weights.new) else read_undo("ns", texts)


def http_route(name: str, rules: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """A raw HTTPRoute, with a rule for each mapping of Services to weights."""
    backends = [[{"name": service, "port": 80, "weight": weight} for service, weight in r.items()] for r in rules]
    return {
        "metadata": {"namespace": "ns", "name": name, "generation": 1, "resourceVersion": "1"},
        "spec": {"rules": [{"backendRefs": refs} for refs in backends]},
    }


def _entry(manager: str, at: datetime, operation: str = "Update") -> dict[str, Any]:
    """What the API server notes of who wrote the rules of a route, to the second."""
    rules: dict[str, Any] = {"f:spec": {"f:rules": {}}}
    return {"manager": manager, "operation": operation, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "fieldsV1": rules}


def _owners(raw: Mapping[str, Any], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Who owns what of a route after its rules were written: nobody else owns the rules any more."""
    others = copy.deepcopy([e for e in raw["metadata"].get("managedFields", ()) if e["manager"] != entry["manager"]])
    for other in others:
        other["fieldsV1"].get("f:spec", {}).pop("f:rules", None)
    return [*(other for other in others if any(other["fieldsV1"].values())), entry]


def weights_of(raw: Mapping[str, Any]) -> Rules:
    """The weights of the rules of a route as its author wrote them."""
    rules = raw["spec"]["rules"]
    if ADDED in (raw["metadata"].get("annotations") or {}):
        view = HTTPROUTES.view(raw)
        return tuple({backend.service: backend.weight for backend in rule.backends} for rule in view.rules)
    return tuple({b["name"]: b.get("weight", 1) for b in rule["backendRefs"]} for rule in rules)


def workload(found: Deployment | None) -> WorkloadView | None:
    if found is None:
        return None
    available = found.ready if found.available is None else found.available
    return WorkloadView(
        found.name,
        found.wanted,
        found.ready,
        available,
        found.revision,
        found.settled,
        outdated=found.outdated,
        hindered=found.hindered,
        autoscaler=found.autoscaler,
        version=repr(found),
        selector=f"app={found.name}",
        sized_by=found.sized_by,
        labels=labels(found.name),
        images=(f"registry.example.com/{found.name}:{found.revision}",),
        uid=f"uid-of-{found.name}",
    )


def labels(deployment: str) -> frozenset[tuple[str, str]]:
    """The labels of the pods of a Deployment, which its Service selects."""
    return frozenset({("app", deployment)})


def ready_pods(side: Deployment | None) -> EndpointsView:
    """The endpoints of a Service that selects the pods of a Deployment."""
    return EndpointsView(((side.name, side.ready),) if side is not None and side.ready else ())


def merged(before: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON Merge Patch makes of an object, or of what is none."""
    before = before if isinstance(before, Mapping) else {}
    after = {key: value for key, value in before.items() if key not in patch}
    for key, value in patch.items():
        if isinstance(value, dict):
            inner = before.get(key)
            after[key] = merged(inner if isinstance(inner, dict) else {}, value)
        elif value is not None:
            after[key] = value
    return after


def _by(rates: Sequence[Rate], at: datetime) -> tuple[float, float]:
    """The counters of all requests and of the bad ones at an instant, in whole requests."""
    bad = total = 0.0
    for rate, following in zip(rates, (*rates[1:], None), strict=True):
        until = min(at, following.since) if following else at
        seconds = max((until - rate.since).total_seconds(), 0.0)
        bad, total = bad + rate.bad * seconds, total + rate.total * seconds
    return float(int(total)), float(int(bad))


def named(task: str, *, run: int = 1, attempt: int = 1, world: World | None = None) -> str:
    """The name of the Job for a task of the plan of a world."""
    return job_name((world or World()).plan(), run, task, attempt)
