"""The snapshot: one immutable view of everything on which a decision may depend.

`PlanRun` makes it from the facts of the host and its own measurements and results; the rules read it. The file is long
because it describes each field of one view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.route_kind import GATEWAY_API, WeightRules
from rolloutplan.api.status import RouteWeights, RuleWeights, SourceStatus, Status
from rolloutplan.engine.model.actions import QueryOnce
from rolloutplan.engine.model.grants import Grants
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.policy_view import NO_LABELS, Labels, PolicyView, Queue
from rolloutplan.engine.model.queries import Side
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.stats.counts import Marks
from rolloutplan.stats.sequential import State
from rolloutplan.stats.traffic_share import Share
from rolloutplan.stats.verdict import Verdict

FINALIZER = "rolloutplan.dev/restore"
REVERT = "rolloutplan.dev/revert"
SEQ = "rolloutplan.dev/seq"

FAULT = "OperatorFault"
"""The reason of a failure that is an exception of the operator."""
NO_EFFECT = "NoEffect"
"""The reason of a write that was accepted and changed no weight."""
PASSES_WITHIN = timedelta(seconds=10)
"""A refusal that may pass by itself (a conflict, an overload, a restart) is reported only after this."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the gateways of a route say of it; the fields are those of `RouteView` that begin with `accepted`."""

    accepted: bool | None
    why: str = ""
    before: bool = False
    undated: str = ""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Applier:
    """Who applies a route as a whole, from Git or from a file, and last applied other rules than it has now."""

    name: str
    """The field manager, with operation and time."""
    at: datetime | None = None
    """When it last wrote the route, to the second."""
    rules: tuple[RuleWeights, ...] | None = None
    """The rules that it applied; None where only that they differ is known."""
    syncs: bool = False
    """Whether it is known to apply the same again by itself."""


class Added(NamedTuple):
    """What a run added to a route."""

    owner: str
    """The part of its plan's uid that fencing tokens have; empty where that is not known."""
    text: str
    rule: int | None
    """The index of the rule in which it is, or before which; None at the end."""


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route: the weights of all its rules, and whether its gateway accepted them."""

    id: RouteId
    generation: int
    rules: tuple[RuleWeights, ...]
    version: str
    """Its resourceVersion."""
    accepted: bool | None
    """True where every parent accepted this generation, False where one refused it; None while one has not answered."""
    accepted_why: str = ""
    """Which parent refused it and why, or which has not answered."""
    accepted_generation: int = 0
    """The newest generation that all parents accepted, as far as they report that; 0 for none."""
    accepted_before: bool = False
    """While one has not answered: whether all accepted an earlier generation, or this one."""
    undated: str = ""
    """The parents that accepted it without a generation: whether they mean this one is not known."""
    changed_at: datetime | None = None
    """When its spec was changed last, to the second, by the API server's clock."""
    sticky: frozenset[int] = frozenset()
    """The indexes of the rules that keep a user on the side that answered first."""
    seq: str = ""
    """The fencing token in its annotations."""
    moved_by: str = ""
    """The last writer, with operation and time, from managedFields."""
    deleting: bool = False
    annotated: bool = True
    """Whether it has annotations at all (a JSON Patch must create the map first)."""
    undo_annotation: str = ""
    """The undo command in its annotations."""
    undo_by: str = ""
    """Who wrote that, with operation and time, from managedFields."""
    weights: WeightRules = GATEWAY_API
    """What weights its kind allows, with what its controllers do in another way."""
    settle: timedelta | None = None
    """How long a weight takes to be in force, where no gateway reports that it is; None where one does."""
    empty_breaks: Literal["", "Any", "Old"] = ""
    """Which side takes the whole route down while it has no endpoints."""
    place: str = "spec.rules[].backendRefs[]"
    """Where its kind has the weighted items, for messages."""
    keyed: bool = False
    """Whether its rules are the entries of a mapping: each is known by its key, and never found under another one."""
    one_number: bool = False
    """Whether it has one number, for the new side; the old side, of another object, has the rest."""
    unread: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """The sides whose weight is there and could not be read, by the index of the rule."""
    digests: Mapping[int, str] = field(default_factory=dict)
    """A digest of what else than items a rule of a list has, by its index: its place in the list may change."""
    faults: Mapping[int, str] = field(default_factory=dict)
    """What is wrong in a rule, by its index, with the place and the fix: no run may begin on it."""
    whole: bool = False
    """Whether a snapshot has all of its rules, so that one of which nothing can be read is put back as a whole."""
    refused: str = ""
    """Why the plan that names it cannot move it as the plan says, with the fix; empty where it can."""
    ready_pods: Mapping[str, int] | None = None
    """The ready pods of each side, where weights are the numbers of pods that the sides should have; else None."""
    can: frozenset[str] = frozenset()
    """What it can do in addition to weights: `header`, `cookie`, `mirror`, `sticky`."""
    unable: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Of these, what some of its rules cannot have, by their indexes."""
    no_port: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    """What to write so that a backend can be mirrored to, by the index of its rule and its place; if anything."""
    most_rules: int | None = None
    """How many rules it may have, with those for testers; None for any number."""
    controllers: tuple[str, ...] = ()
    """The controllers that answer for it."""
    selective: frozenset[int] = frozenset()
    """The indexes of the rules that match requests only by headers or query parameters, such as a rule for testers."""
    appliers: tuple[Applier, ...] = ()
    """Those who apply it as a whole, and may have applied other weights."""
    pieces: tuple[Added, ...] = ()
    """What runs have added to it in addition to weights, wherever it stands now."""
    left: tuple[Added, ...] = ()
    """What somebody has edited of that: it is left to its editor."""
    namespace: str = ""
    reference: Mapping[str, str] = field(default_factory=dict)
    """The object as Kubernetes calls it: `apiVersion`, `kind` (Ingress where the plan has NginxCanary), `namespace`,
    `name`, `uid`; what it does not say of itself is missing."""
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The object as it was read; only traffic/ looks into it, for its patches."""

    def named(self, home: str) -> str:
        """Kind and name, with the namespace where it is not `home`."""
        return str(self.id) if self.namespace in ("", home) else f"{self.id} of namespace {self.namespace}"


@dataclass(frozen=True, slots=True)
class Pods:
    """What a list of the pods of a side shows."""

    restarts: Mapping[str, int] = field(default_factory=dict)
    """The restarts of the containers of the Deployment's own template, by the uid of each pod."""
    worst: str = ""
    """The worst reason that a pod reports, as `ImagePullBackOff: ...`."""
    failed: str = ""
    """How a pod speaks against its version: a container failed, or the pod was ready and is not; empty if none does."""
    away: str = ""
    """Why a pod is missing that says nothing against its version: evicted, lost with its node, starting."""
    lost: int = 0
    """How many pods were ready and are not any more."""
    ready_at: Mapping[str, datetime] = field(default_factory=dict)
    """When the ready pods last became ready, by their uid."""


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A Deployment. `wanted`, `ready`, `available` and `outdated` count pods."""

    name: str
    wanted: int
    ready: int
    available: int
    """Those that have been ready for `minReadySeconds`."""
    revision: str
    """Hashes of its pod template: see revision.py."""
    settled: bool
    """Whether its controller has seen the newest spec and all wanted pods are of it."""
    ready_since: datetime | None = None
    """When its pods last became ready or were updated to its newest template, to the second."""
    outdated: int = 0
    """Pods of a former template that are still to be replaced."""
    hindered: str = ""
    """What keeps it from making its pods: a pause, a quota, a webhook."""
    late: str = ""
    """That it makes no progress, by its own condition."""
    containers: frozenset[str] = frozenset()
    """The names of the containers in its template."""
    images: tuple[str, ...] = ()
    """The images of these, in the order of the template."""
    pods: Pods | None = None
    """None until its pods have been listed."""
    pods_at: datetime | None = None
    """When they were last asked for."""
    pods_fresh: bool = False
    """Whether that was after the last change of the Deployment."""
    unlisted: bool = False
    """Whether their last list failed."""
    autoscaler: str = ""
    """The manager that last set its replicas, if that is an autoscaler."""
    expected: int = 0
    """How many pods must be ready: those that were available before, at most those that it should have now."""
    short_since: datetime | None = None
    """Since when fewer pods than `minReady` of the expected ones are ready."""
    unserved_since: datetime | None = None
    """Since when its Service has no ready endpoint."""
    lacks_since: datetime | None = None
    """Since when it lacks pods that it should have."""
    newest_ready_at: datetime | None = None
    """When the newest of its pods became ready for the first time; None until its pods have been listed."""
    version: str = ""
    """Its resourceVersion."""
    selector: str = ""
    """The label selector of its pods, in the form of a list request."""
    sized_by: str = ""
    """The last writer of its replicas, with operation and time, from managedFields."""
    labels: frozenset[tuple[str, str]] = frozenset()
    """The labels of its pod template."""
    uid: str = ""

    @property
    def why(self) -> str:
        """Why it has not all its pods, as text to append to a message; empty where nothing says so."""
        pods = self.pods or Pods()
        said = self.hindered or pods.worst or pods.away or self.late
        return f": {said}" if said else ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A Service: which pods it selects, and of what kind it is."""

    selector: frozenset[tuple[str, str]] = frozenset()
    """The labels that it selects; empty where it selects no pods."""
    external: bool = False
    """Whether it is of type ExternalName."""
    headless: bool = False


@dataclass(frozen=True, slots=True)
class EndpointsView:
    """The ready endpoints of a Service, over all its slices: each pod counts once, whatever its addresses and ports."""

    owners: tuple[tuple[str, int], ...] = ()
    """The number of ready pods by the name of the Deployment that made them; "" for addresses that are no pods."""
    unknown: str = ""
    """Why they are not known; empty where they are."""

    @property
    def ready(self) -> int:
        return sum(count for _, count in self.owners)

    @property
    def is_empty(self) -> bool:
        """Whether it is known that nobody would answer."""
        return not self.unknown and not self.owners

    def others(self, deployment: str) -> tuple[str, ...]:
        """The owners of the ready endpoints that are no pods of this Deployment."""
        return tuple(owner for owner, _ in self.owners if not is_owner(owner, deployment))


GENERATED_NAME_LENGTH = 58
"""The API server cuts a generated name to this length before it appends 5 random characters."""


def is_owner(owner: str, deployment: str) -> bool:
    """Whether pods of this owner belong to the Deployment. Its name may be cut (`GENERATED_NAME_LENGTH`)."""
    cut = f"{deployment}-"[:GENERATED_NAME_LENGTH]
    return owner == deployment or (len(owner) == GENERATED_NAME_LENGTH and owner.startswith(cut))


@dataclass(frozen=True, slots=True)
class SourceView:
    """A metric source that this plan may use."""

    scrape: timedelta
    delay: timedelta
    timeout: timedelta
    object: SourceStatus | None = None
    """The object that it is, as the status of a run keeps it; None where it is none."""


def source_view(spec: MetricSourceSpec, source: SourceStatus | None = None) -> SourceView:
    """The fields of a source that the engine needs."""
    return SourceView(spec.scrape_interval, spec.ingestion_delay, spec.timeout, source)


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """The result of the checks before the first weight, of what no watch shows."""

    at: datetime
    judged_hash: str
    """The `judged_hash` of the plan whose queries were tried."""
    services: Mapping[str, ServiceView]
    """The Services of the plan (of its two) that exist."""
    rejected: Mapping[str, str]
    """Predicates and assumptions that cannot be evaluated, with the reason."""
    down: str = ""
    """Why the source did not answer; empty where it did."""
    pods: Pods = field(default_factory=Pods)
    warnings: str = ""
    """Which predicates will have no answer, as far as the source knows, and why; this blocks nothing."""
    autoscaler: str = ""
    """What scaled the new side to no pods, as `ScaledObject checkout`; empty where it has pods or no autoscaler."""
    autoscalers: Mapping[str, str] = field(default_factory=dict)
    """What scales a side, by its Deployment; looked up only where the numbers of pods are the weights."""
    accounts: Mapping[str, str] = field(default_factory=dict)
    """Why no Job may run under a ServiceAccount that the plan names, by its name; only those with a problem."""
    not_movable: Mapping[RouteId, str] = field(default_factory=dict)
    """The routes that the operator may not patch, with the reason and the fix."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job of ours as it was read, or why it could not be created."""

    name: str
    at: datetime
    found: bool = False
    ours: bool = True
    """False where a Job of this name exists that this run did not create."""
    ended: Literal["", "Complete", "Failed"] = ""
    message: str = ""
    """The termination message of its last pod, or why it failed."""
    refused: str = ""
    """Why the API server refuses the Job: the Job itself is invalid."""
    retry_reason: str = ""
    """Why it could not be created this time; it may succeed later."""
    waits_for: str = ""
    """What still runs of another Job of the plan, so that this one was not created."""
    why: str = ""
    """Why it does not run, though it was created."""
    active: int = 0
    """Its pods that have not ended."""


@dataclass(frozen=True, slots=True)
class JobsStopped:
    """The Jobs of the plan that had not ended, and are suspended now."""

    at: datetime
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scaled:
    """The result of scaling a Deployment."""

    name: str
    at: datetime
    autoscaler: str = ""
    """The HorizontalPodAutoscaler that scales it, where there is one: then nothing was done."""
    retry_reason: str = ""
    """Why it could not be scaled this time."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The verdict on the predicate of an assumption."""

    name: str
    at: datetime
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class GateAnswers:
    """The verdicts on the queries of the gate before an increase of the weight."""

    at: datetime
    verdicts: Mapping[QueryOnce, Verdict]


@dataclass(frozen=True, slots=True)
class ServiceUsers:
    """What gives a Service of the namespace traffic, of all kinds of route."""

    at: datetime
    service: str
    found: tuple[str, ...] = ()
    """Each as `KIND NAME`."""
    unknown: str = ""
    """Why that is not known; empty where it is."""


@dataclass(frozen=True, slots=True)
class RouteConflict:
    """Another plan with one of the same routes."""

    key: str
    routes: frozenset[RouteId]
    running: bool
    waiting: bool
    """Whether it is about to start: it is valid and not stalled."""
    created: datetime
    uid: str
    rules: Mapping[RouteId, frozenset[int]] = field(default_factory=dict)
    """The indexes of the rules that it moves, by route; a route that is missing here is its as a whole."""
    others: Mapping[RouteId, RouteId] = field(default_factory=dict)
    """The routes of the plan that asks which are one object with a route of this one, but of another kind."""
    sizes: frozenset[str] = frozenset()
    """The Deployments that both plans size, where the number of pods is a weight of one of them."""

    def meets(self, route: RouteId, rules: frozenset[int] | None) -> bool:
        """Whether it moves any of these rules of a route; None stands for all of them."""
        theirs = self.rules.get(route)
        if route in self.others:
            return True
        return route in self.routes and (rules is None or theirs is None or bool(rules & theirs))


@dataclass(frozen=True, slots=True)
class RouterProblem:
    """Why routes of a kind cannot be used, whatever their names."""

    reason: StatusReason
    words: str


@dataclass(frozen=True, slots=True)
class CountProgress:
    """The progress of a predicate that counts events."""

    since: datetime
    """The instant from which on it may count."""
    state: State
    at: datetime | None = None
    """The instant of the last evaluation."""
    marks: Mapping[str, Marks] | None = None
    """The raw counters by then, by side; None where they are no longer known."""
    share: Share | None = None
    """The new side's share of the requests at this weight; only where both sides are counted."""
    counted_at: Mapping[Side, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """The last evaluation in which a side had requests, by side; unknown after a change of leader. Requests of the
    time before a weight was verified are left out."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The state of one predicate at this weight.

    Every instant is the one of the query, not the one at which the answer came.
    """

    asked_at: datetime | None = None
    """The last evaluation; the next one is an interval later."""
    query: str = ""
    """The query of that evaluation for the new side."""
    answered_at: datetime | None = None
    """The last evaluation that the source answered at all, with or without a value."""
    silent_since: datetime | None = None
    """The first unanswered evaluation since the source last answered."""
    verdict: Verdict | None = None
    since: datetime | None = None
    """Since when the comparison has held without a break, moved later by the time without an answer."""
    missed: tuple[datetime, ...] = ()
    """The evaluations since the last answered one; at most `MISSED_IN_A_ROW` + 1 (analysis/measurements.py)."""
    old: Verdict | None = None
    """The verdict of the same comparison on the old side, at the same instant; None where it is unknown."""
    before: Verdict | None = None
    """The verdict on the old side from before the stage's weight was set; asked only where both sides are bad."""
    count: CountProgress | None = None
    decided_at: datetime | None = None
    """The last evaluation with a verdict other than Undecided; with events, the last with requests of all its sides."""
    lacks_old: bool = False
    """Whether the last evaluation had a value of the new side, and none of the old one to compare it with."""


Measurements = Mapping[str, Measurement]
NO_MEASUREMENTS: Measurements = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused or not answered: its subject, and the API server's message."""

    kind: str
    """The kind of work: status, marks, route, job, scale, stop, publication, preflight, pods."""
    what: str
    """Its subject as shown to users, as `HTTPRoute shop`."""
    reason: str
    words: str
    definite: bool
    """Whether the API server refused it; else it may accept it the next time."""
    urgent: bool
    """Whether it delays a rollback."""
    since: datetime
    retry_at: datetime
    failures: int
    """In a row."""
    uncertain: bool = False
    """Whether one of them may have succeeded without an answer."""

    @property
    def internal(self) -> bool:
        """Whether the operator itself failed, and not the API server."""
        return self.reason == FAULT

    @property
    def lacks_right(self) -> bool:
        """Whether it was refused because the operator lacks a right."""
        return isinstance(self.words, MissingRight)

    @property
    def condition_reason(self) -> str:
        """Its reason in the form that a condition allows."""
        return self.reason if self.reason.isalnum() and self.reason[0].isalpha() else "Refused"

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be reported by now: a definite refusal at once, any other only if it lasts."""
        return self.definite or now >= self.since + PASSES_WITHIN


@dataclass(frozen=True, slots=True)
class ForeignUndo:
    """An undo command of somebody else, in the annotations of a plan or a route, that this leader has put right."""

    subject: str
    """The object, as `HTTPRoute shop`."""
    by: str
    """Who wrote it, with operation and time; empty where that is not known."""
    at: datetime
    """When it was put right last."""
    before: datetime | None = None
    """The time before that."""
    count: int = 1


@dataclass(frozen=True, slots=True)
class InForce:
    """When the requested weights were first seen in a route."""

    generation: int
    """The generation of the route then."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What a host knows about a plan and everything on which a decision about it may depend.

    What does not exist is None or missing from its mapping.
    """

    plan: PlanView
    status: Status
    """As the API server has it."""
    raw_status: Mapping[str, Any] = field(default_factory=dict)
    """The same unparsed, with fields that this version does not know."""
    routes: Mapping[RouteId, RouteView] = field(default_factory=dict)
    old: WorkloadView | None = None
    new: WorkloadView | None = None
    endpoints: Mapping[str, EndpointsView] = field(default_factory=dict)
    """By Service: those of the plan and of its run. They are not known yet where they are missing."""
    routes_to_old: tuple[RouteView, ...] = ()
    """All routes that give the old Service traffic in any rule; those of other namespaces too, where watched."""
    undo: tuple[RouteWeights, ...] = ()
    """The weights that the undo command on the plan or its routes restores, where the status has none."""
    source: SourceView | None = None
    source_problem: str = ""
    route_conflicts: tuple[RouteConflict, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    labels: Labels = NO_LABELS
    """By which policies select the plan; at most those that a run keeps."""
    queues: Mapping[str, Queue] = field(default_factory=dict)
    epoch: int = 0
    claim_at: datetime | None = None
    grants: Grants = field(default_factory=Grants)
    """What the installation lends to plans."""
    unread: frozenset[str] = frozenset()
    """What a run needs and could not be read yet, as `RESOURCE/NAME`: it is missing here, and is not gone."""
    unread_routes: Mapping[RouteId, str] = field(default_factory=dict)
    """The routes of which nobody knows what they are now, and why. They are not gone; `routes` has what was last read.
    """
    unseen: Mapping[str, str] = field(default_factory=dict)
    """What may have changed since it was read, as `RESOURCE/NAME`, and why nobody would know. `unread` has it too."""
    route_notes: Mapping[RouteId, str] = field(default_factory=dict)
    """Why the weights of a route do not move its traffic (traffic/owned.py)."""
    routers: Mapping[str, RouterProblem] = field(default_factory=dict)
    """The kinds of the plan's routes that cannot be used."""
    own_kinds: Mapping[str, str] = field(default_factory=dict)
    """The specs of the RouteKinds that the plan's routes name, as JSON."""
    sinks: tuple[SinkView, ...] = ()
    """To which the plan's decisions are published."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that `decide` reads. What does not exist is None or missing from its mapping."""

    plan: PlanView
    status: Status
    now: datetime
    routes: Mapping[RouteId, RouteView] = field(default_factory=dict)
    old: WorkloadView | None = None
    new: WorkloadView | None = None
    endpoints: Mapping[str, EndpointsView] = field(default_factory=dict)
    """By Service: those of the plan and of its run. They are not known yet where they are missing."""
    routes_to_old: tuple[RouteView, ...] = ()
    """All routes that give the old Service traffic in any rule; those of other namespaces too, where watched."""
    undo: tuple[RouteWeights, ...] = ()
    """The weights that the undo command on the plan or its routes restores, where the status has none."""
    source: SourceView | None = None
    source_problem: str = ""
    preflight: PreflightResult | None = None
    measurements: Measurements = field(default_factory=lambda: NO_MEASUREMENTS)
    awaited: Mapping[str, datetime] = field(default_factory=dict)
    """When each predicate was asked whose answer is under way."""
    route_conflicts: tuple[RouteConflict, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    """The policies that select this plan."""
    labels: Labels = NO_LABELS
    """By which policies select the plan; at most those that a run keeps."""
    queues: Mapping[str, Queue] = field(default_factory=dict)
    """The other plans in each concurrency group of this plan; looked up only before a run."""
    gate_answers: GateAnswers | None = None
    users: ServiceUsers | None = None
    """What gives the old Service traffic, as last read; looked up only before a removal."""
    job: JobView | None = None
    """The Job of the current task, as last read."""
    jobs_stopped: JobsStopped | None = None
    scaling: bool = False
    """Whether a scaling was sent and has no answer yet."""
    query_result: QueryResult | None = None
    scaled: Scaled | None = None
    warnings: str = ""
    """Queries of the plan that are probably wrong; this blocks nothing."""
    refusals: tuple[Refusal, ...] = ()
    """Requests that were refused and have not succeeded since."""
    epoch: int = 0
    """The number of the leader's term."""
    taken_up_at: datetime | None = None
    """When this leader first looked at the plan: what nobody has asked since is not missing yet."""
    claim_at: datetime | None = None
    """When this leader claims a run without an unfinished write; claims are spread over time. None: now."""
    grants: Grants = field(default_factory=Grants)
    """What the installation lends to plans."""
    unread: frozenset[str] = frozenset()
    """What could not be read yet, as `RESOURCE/NAME`: it is missing here, and is not gone."""
    unread_routes: Mapping[RouteId, str] = field(default_factory=dict)
    """The routes of which nobody knows what they are now, and why. They are not gone; `routes` has what was last read.
    """
    unseen: Mapping[str, str] = field(default_factory=dict)
    """What may have changed since it was read, as `RESOURCE/NAME`, and why nobody would know. `unread` has it too."""
    route_notes: Mapping[RouteId, str] = field(default_factory=dict)
    """Why the weights of a route do not move its traffic (traffic/owned.py)."""
    routers: Mapping[str, RouterProblem] = field(default_factory=dict)
    """The kinds of the plan's routes that cannot be used."""
    own_kinds: Mapping[str, str] = field(default_factory=dict)
    """The specs of the RouteKinds that the plan's routes name, as JSON."""
    metadata_writes: tuple[datetime, ...] = ()
    """When this leader wrote the finalizer and the undo command to the plan of this run; the last two times."""
    answered_at: tuple[datetime, ...] = ()
    """When this leader answered the last commands, refused or carried out: at most `MOST_ANSWERED` of them."""
    foreign_undo: Mapping[str, ForeignUndo] = field(default_factory=dict)
    """The undo commands of others that this leader has put right, by their subject."""
    in_force: Mapping[RouteId, InForce] = field(default_factory=dict)
    """For each route, when this leader first saw the weights of the present intent in it."""
    repairs: Mapping[RouteId, tuple[datetime, ...]] = field(default_factory=dict)
    """When this leader restored the weights of each route after the success; the last times."""
    undo_after: Callable[[Sequence[RouteWeights]], str] = field(default=lambda _: "", compare=False, repr=False)
    """The command that would restore the weights from before the run once the routes have these weights and additions;
    empty where it is the one in the status."""
    undo_now: Callable[[Snapshot], str] = field(default=lambda _: "", compare=False, repr=False)
    """Makes `undo_command`, which few decisions need."""

    @property
    def undo_command(self) -> str:
        """The command that would restore the present weights of the routes; where there is `undo`, those of `undo`.

        Empty where neither is needed: the weights of a run are in its status once it has any.
        """
        return self.undo_now(self)

    @property
    def shifted_routes(self) -> tuple[RouteView, ...]:
        """The routes that the run shifts, as they were last read; one that is gone is missing."""
        return tuple(self.routes[route.id] for route in self.status.weights.snapshot if route.id in self.routes)
