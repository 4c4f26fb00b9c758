"""A look: one frozen picture of everything a decision may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RuleWeights, Status
from rolloutplan.engine.model.actions import QueryOnce
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.policy_view import PolicyView, Queue
from rolloutplan.stats.counts import Sample
from rolloutplan.stats.sequential import State
from rolloutplan.stats.traffic_share import Share
from rolloutplan.stats.verdict import Verdict

FINALIZER = "rolloutplan.dev/restore"
REVERT = "rolloutplan.dev/revert"
SEQ = "rolloutplan.dev/seq"

PASSES_WITHIN = timedelta(seconds=10)
"""What the API server may take back by itself (a conflict, an overload, a restart) is told only after this."""


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route: the weights of all its rules, and what its gateway says of them."""

    id: RouteId
    generation: int
    rules: tuple[RuleWeights, ...]
    version: str
    """Its resourceVersion."""
    accepted: bool | None
    """True or False as every parent says at this generation; None while one has not said."""
    accepted_why: str = ""
    """Who refused it and why, or who has not said."""
    seq: str = ""
    """The fence that stands in its annotations."""
    moved_by: str = ""
    """Who changed it last, with operation and time, from managedFields."""
    deleting: bool = False
    annotated: bool = True
    """Whether it has annotations at all (a JSON Patch must make the map first)."""
    undo_annotation: str = ""
    """The revert command that stands in its annotations."""
    largest_weight: int = 1_000_000
    """The largest weight that its kind allows, which is how finely its traffic can be divided."""


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A Deployment. `wanted`, `ready` and `restarts` count pods and container restarts."""

    name: str
    wanted: int
    ready: int
    revision: str
    """Hash of its pod template."""
    settled: bool
    """Whether its controller has seen the newest spec and all wanted pods are of it."""
    stood_since: datetime | None = None
    """When its pods last became ready or of its newest template, to the second."""
    restarts: int | None = None
    """None while its pods have not been looked at."""
    worst: str = ""
    """The worst reason that a pod of it gives, as `ImagePullBackOff: ...`."""
    short_since: datetime | None = None
    """Since when fewer pods than `minReady` are ready."""
    version: str = ""
    """Its resourceVersion."""
    selector: str = ""
    """The label selector of its pods, as a list takes it."""


@dataclass(frozen=True, slots=True)
class SourceView:
    """A metric source that this plan may use."""

    scrape: timedelta
    delay: timedelta
    timeout: timedelta


def source_view(spec: MetricSourceSpec) -> SourceView:
    """What a plan is judged by of a source."""
    return SourceView(scrape=spec.scrape_interval, delay=spec.ingestion_delay, timeout=spec.timeout)


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What was found by asking around before the first weight: things that no watch tells."""

    at: datetime
    judged_hash: str
    """Of the plan whose queries were tried."""
    services: frozenset[str]
    """Those of the plan's two Services that exist."""
    rejected: Mapping[str, str]
    """Predicates and assumptions that cannot be asked, with the reason."""
    down: str = ""
    """Why the source did not answer; empty where it did."""
    restarts: int = 0
    worst: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job of ours as it was read, or as it could not be made."""

    name: str
    at: datetime
    found: bool = False
    ours: bool = True
    """False where a Job of this name exists that this run has not made."""
    ended: Literal["", "Complete", "Failed"] = ""
    message: str = ""
    """The last words of its last pod, or why it has failed."""
    refused: str = ""
    """Why the API server takes no such Job: the Job itself is wrong."""
    hindered: str = ""
    """Why it took none this time; it may later."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """What became of a Deployment that was to be scaled."""

    name: str
    at: datetime
    autoscaler: str = ""
    """The HorizontalPodAutoscaler that scales it, where there is one: then nothing was done."""
    hindered: str = ""
    """Why it could not be scaled this time."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What was answered to the predicate of an assumption."""

    name: str
    at: datetime
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class GateAnswers:
    """What was answered before an increment, to each question that the gate had."""

    at: datetime
    verdicts: Mapping[QueryOnce, Verdict]


@dataclass(frozen=True, slots=True)
class RouteConflict:
    """Another plan that names one of the same routes."""

    key: str
    routes: frozenset[RouteId]
    running: bool
    waiting: bool
    """Whether it is about to start: valid, and nothing stalls it."""
    created: datetime
    uid: str


@dataclass(frozen=True, slots=True)
class CountProgress:
    """How far a predicate of counted events has come."""

    since: datetime
    """From when on it may look."""
    state: State
    at: datetime | None = None
    """The instant of the last look."""
    samples: Mapping[str, Sample] | None = None
    """The raw counters at that instant, by side; None where they are not known any more."""
    share: Share | None = None
    """The new side's share of the requests at this weight; only where both sides are counted."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known of one predicate at this weight.

    Every instant is the one that was asked about, not the one at which the answer came.
    """

    asked_at: datetime | None = None
    """The last time it was asked; the next time is an interval later."""
    query: str = ""
    """What was asked then about the new side."""
    answered_at: datetime | None = None
    """The last time that the source answered at all, with whatever it had."""
    silent_since: datetime | None = None
    """The first time, since the source last answered, that it did not."""
    verdict: Verdict | None = None
    since: datetime | None = None
    """Since when the comparison has held without a break, moved forward by the time without an answer."""
    missed: tuple[datetime, ...] = ()
    """The evaluations since the last one that had an answer; at most `MISSED_IN_A_ROW` + 1 are kept (ask.py)."""
    old: Verdict | None = None
    """What the same comparison says of the old side, at the same instant; None where that is not known."""
    count: CountProgress | None = None


Measurements = Mapping[str, Measurement]
NO_MEASUREMENTS: Measurements = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused, or not answered: what it was about, and the API server's own words."""

    kind: str
    """Of what it was to do: status, marks, route, job, scale, publication, preflight."""
    what: str
    """As people name it, as `HTTPRoute shop`."""
    reason: str
    words: str
    definite: bool
    """Whether the API server says no; else it may say yes the next time."""
    urgent: bool
    """Whether weights are kept from going back by it."""
    since: datetime
    retry_at: datetime
    failures: int
    """In a row."""
    uncertain: bool = False
    """Whether one of them may be done though no answer said so."""

    @property
    def condition_reason(self) -> str:
        """Its reason as a condition takes it."""
        return self.reason if self.reason.isalnum() and self.reason[0].isalpha() else "Refused"

    def told_at(self, now: datetime) -> bool:
        """Whether it is to be told by now: a no at once, what may pass by itself only where it lasts."""
        return self.definite or now >= self.since + PASSES_WITHIN


@dataclass(frozen=True, slots=True)
class Facts:
    """What a host knows of a plan and of all that a decision about it may depend on.

    What does not exist is None or missing from its mapping.
    """

    plan: PlanView
    status: Status
    """As the API server has it."""
    raw_status: Mapping[str, Any] = field(default_factory=dict)
    """The same, as it stands there: with fields that this version does not know."""
    routes: Mapping[RouteId, RouteView] = field(default_factory=dict)
    old: WorkloadView | None = None
    new: WorkloadView | None = None
    source: SourceView | None = None
    source_problem: str = ""
    route_conflicts: tuple[RouteConflict, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    queues: Mapping[str, Queue] = field(default_factory=dict)
    epoch: int = 0
    claim_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that `decide` looks at. What does not exist is None or missing from its mapping."""

    plan: PlanView
    status: Status
    now: datetime
    routes: Mapping[RouteId, RouteView] = field(default_factory=dict)
    old: WorkloadView | None = None
    new: WorkloadView | None = None
    source: SourceView | None = None
    source_problem: str = ""
    preflight: PreflightResult | None = None
    measurements: Measurements = field(default_factory=lambda: NO_MEASUREMENTS)
    route_conflicts: tuple[RouteConflict, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    """Those that select this plan."""
    queues: Mapping[str, Queue] = field(default_factory=dict)
    """The others in each concurrency group of this plan; looked up only before a run."""
    gate_answers: GateAnswers | None = None
    job: JobView | None = None
    """The Job of the task under way, as it was read last."""
    query_result: QueryResult | None = None
    scaled: Scaled | None = None
    warnings: str = ""
    """What the plan's queries can hardly mean; it keeps nothing from being done."""
    refusals: tuple[Refusal, ...] = ()
    """What was refused and not done since."""
    epoch: int = 0
    """The tenure of the leader that looks."""
    claim_at: datetime | None = None
    """When a run of which nothing is half done takes this leader's mark: not all of them at once. None: now."""
    undo_command: str = ""
    """The command that would put the routes back to the weights they have now."""
