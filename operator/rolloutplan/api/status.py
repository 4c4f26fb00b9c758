"""The status of a RolloutPlan: its models, and the parser for what the API server holds.

Parsing is lenient, field by field: a status edited by hand or written by another version never raises. A field that
cannot be parsed gets its default and is named in `damaged`, so that the engine can report it instead of guessing. The
file is long because it describes each field of one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from rolloutplan.api.route import RouteId
from rolloutplan.api.status_size import bounded

DECISIONS_KEPT = 30
EVIDENCE_KEPT = 16
TOKENS_KEPT = 200
OPERATOR = "rolloutplan"
"""What decisions call the operator, among those who decide."""


class Phase(StrEnum):
    """The phase of a run."""

    PENDING = "Pending"
    PROBING = "Probing"
    EXPANDING = "Expanding"
    SHIFTING = "Shifting"
    JUDGING = "Judging"
    HELD = "Held"
    BAKING = "Baking"
    CONTRACTING = "Contracting"
    SUCCEEDED = "Succeeded"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    INVALID = "Invalid"


STARTING = frozenset({Phase.PROBING, Phase.EXPANDING})
"""Phases of a run in which no weight has moved yet. It ends without a rollback."""
RUNNING = frozenset(
    {*STARTING, Phase.SHIFTING, Phase.JUDGING, Phase.HELD, Phase.BAKING, Phase.CONTRACTING, Phase.ROLLING_BACK}
)
"""Phases of a run in progress. It holds its routes, and nobody else may change their weights."""


class Kind(StrEnum):
    """The kind of a decision."""

    START = "Start"
    ADVANCE = "Advance"
    EXPAND = "Expand"
    HOLD = "Hold"
    RESUME = "Resume"
    PERSIST = "Persist"
    ADAPT = "Adapt"
    KILL = "Kill"
    ROLLBACK = "Rollback"
    CONTRACT = "Contract"
    FINISH = "Finish"


def _write_instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _sane(at: datetime) -> datetime:
    if not 2000 <= at.year <= 2200:
        raise ValueError("an instant of another age")
    return at


Instant = Annotated[
    AwareDatetime, AfterValidator(_sane), PlainSerializer(_write_instant, return_type=str, when_used="json")
]


class Part(BaseModel):
    """Base of all status models: frozen, camelCase in JSON. Unknown fields are ignored; `status_patch` keeps them."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def to_raw(self) -> dict[str, Any]:
        """The JSON object for the API server; empty fields are left out."""
        raw: dict[str, Any] = filled(self.model_dump(mode="json", by_alias=True))
        return raw


class Backend(Part):
    """A backend of a rule: a Service and its weight."""

    service: str = Field(description="The Service.")
    weight: int = Field(description="Its weight in the rule.")
    missing: bool | None = Field(None, description="True if the route writes no weight for it.")
    at: str = Field("", description="Where it is in its list, where that is not its place among the backends.")
    names: dict[str, str] = Field(
        {}, description="The fields by which the route names it, where that is not just the Service's name."
    )


class RuleWeights(Part):
    """The weights of one rule of a route: all its backends, in the order of the route."""

    index: int = Field(description="Its place in the route, from 0.")
    name: str = Field("", description="Its name, if it has one.")
    at: str = Field("", description="Where its weights are in the route; empty in a route of the Gateway API.")
    digest: str = Field(
        "", description="A digest of what else the rule has, by which it is found again where its place has changed."
    )
    text: str = Field("", description="The annotation that holds its weights, as it was.")
    backends: tuple[Backend, ...] = Field((), description="Its backends, in the order of the route.")
    added: tuple[str, ...] = Field(
        (),
        description="What a run adds to it in addition to weights: `mirror 10%`, `header x-staff=yes`, `cookie beta=1`,"
        " `sticky side for 1h`.",
    )

    def with_backends(self, backends: tuple[Backend, ...]) -> RuleWeights:
        return self.model_copy(update={"backends": backends})

    def with_added(self, added: tuple[str, ...]) -> RuleWeights:
        return self if added == self.added else self.model_copy(update={"added": added})


class RouteWeights(Part):
    """The weights of one route, in the rules that a run changes."""

    kind: str = Field("HTTPRoute", description="The kind of the route.")
    name: str = Field(description="The route's name.")
    old: str = Field("", description="What the route calls the old side, where that is not its Service.")
    new: str = Field("", description="What the route calls the new side, where that is not its Service.")
    rules: tuple[RuleWeights, ...] = Field((), description="The rules that hold both sides.")

    @property
    def id(self) -> RouteId:
        return RouteId(self.kind, self.name)

    def with_rules(self, rules: tuple[RuleWeights, ...]) -> RouteWeights:
        return self.model_copy(update={"rules": rules})

    def with_added(self, added: tuple[str, ...]) -> RouteWeights:
        return self.with_rules(tuple(rule.with_added(added) for rule in self.rules))


class Weights(Part):
    """The weights of the routes. Shares are texts such as 25%."""

    desired: str = Field("", description="The desired share of the new side.")
    old: str = Field(
        "",
        description="The old side when the run began: its Service; by Replicas its Deployment; in one Deployment its"
        " variant, such as checkout/off.",
    )
    new: str = Field("", description="The new side when the run began, named in the same way.")
    service: str = Field(
        "", description="The one Service of both sides, where they share one: by Replicas, or in one Deployment."
    )
    measured: str = Field("", description="The new side's share of the requests counted at this weight.")
    written: tuple[RouteWeights, ...] = Field((), description="The weights last written and read back, per route.")
    unconfirmed: tuple[str, ...] = Field(
        (),
        description="Routes whose gateway reports no generation, as found before the run: a weight there counts as"
        " accepted once it is written.",
    )
    snapshot: tuple[RouteWeights, ...] = Field((), description="The weights before the run; a rollback restores these.")
    kinds: dict[str, str] = Field(
        {}, description="The specs of RouteKinds by which the run began, as JSON: they lead back if these are edited."
    )


class Intent(Part):
    """A change of weights that was decided and is not yet confirmed."""

    action: Literal["Shift", "Repair", "Restore"] = Field(description="The kind of change.")
    at: Instant = Field(description="When it was decided.")
    to: str = Field("", description="The new side's share after the change.")
    routes: tuple[RouteWeights, ...] = Field((), description="The weights to write.")
    corrects: str = Field("", description="The drift that this change corrects.")
    leaves: str = Field("", description="The stage whose weight is in force until this change is confirmed.")

    def asked_again(self, at: datetime) -> Intent:
        """The same change, requested again at this instant."""
        return self.model_copy(update={"at": at})


class StageStatus(Part):
    """The current stage of a run. Time spent on hold moves its soak and its deadline."""

    name: str = Field(description="Its name. Each of several weights in one stage has its own name.")
    index: int = Field(description="Its position in the plan, from 0.")
    display: str = Field("", description="Its position and name, such as 2/5 ramp.")
    weight: str = Field("", description="The new side's share at this stage, or what it has instead: `mirror 10%`.")
    predicates_hash: str = Field("", description="Hash of the predicates, fixed before the weight moved.")
    entered_at: Instant | None = Field(None, description="When its weight was requested.")
    judged_since: Instant | None = Field(None, description="Since when the weight that the guards check is in force.")
    verified_at: Instant | None = Field(None, description="When its weight was read back and accepted.")
    soak_until: Instant | None = Field(None, description="The end of the soak.")
    deadline_at: Instant | None = Field(None, description="The deadline of the stage.")
    stability: bool | None = Field(
        None, description="True if a policy's focus was Stability when the soak began: it is twice as long as written."
    )
    forecast: str = Field("", description="What cannot be decided before the deadline with the traffic so far.")
    next_stage: str = Field("", description="The stage that comes next, because a person skipped to it.")
    warmup_since: Instant | None = Field(None, description="Since when latency is not judged, for the warmup.")
    warmup_until: Instant | None = Field(
        None, description="When the warmup ends: latency of new pods, or of a new weight, is judged from then on."
    )
    halfway: int | None = Field(None, description="The weight in permille, if the stage is half way to its own weight.")
    warned: str = Field("", description="The first warning at this stage, which halves the next increase.")


class PredicateStatus(Part):
    """A predicate of the stage, and its verdict."""

    name: str = Field(description="Its name in the plan.")
    role: Literal["pass", "fail", "guard", "warn"] = Field(description="Its role in the plan.")
    query: str = Field("", description="The query for the new side, with its variables replaced; or the counters.")
    bound: str = Field("", description="What the value is compared with, in readable form.")
    verdict: str = Field(
        "Undecided",
        description="Proved or Refuted for a pass predicate, Tripped or Clear for all others; or Undecided.",
    )
    value: str = Field("", description="The value, in the form of its bound.")
    samples: str = Field("", description="The number of samples behind the value.")
    at: Instant | None = Field(None, description="When it was evaluated last.")
    why: str = Field("", description="Why it is Undecided, else the figures behind the value.")
    state: str = Field("", description="The counts so far, from which the test continues.")
    looked_at: Instant | None = Field(None, description="The instant of the last evaluation in `state`.")
    decided_at: Instant | None = Field(
        None,
        description="When it last had a verdict other than Undecided; with events, when requests were counted last. For"
        " a guard in this run, for others at this stage.",
    )
    dry_run: bool | None = Field(None, description="True if no decision follows from it.")


class Evidence(Part):
    """The evidence of one predicate for a decision. `query` is the exact text that was sent, at `at`."""

    predicate: str = Field(description="The predicate's name.")
    role: str = Field("", description="pass, fail, guard or warn.")
    query: str = Field("", description="The query for the new side.")
    at: Instant | None = Field(None, description="When it was evaluated.")
    value: str = Field("", description="The value, in the form of its bound.")
    bound: str = Field("", description="What the value was compared with.")
    samples: str = Field("", description="The number of samples behind the value.")
    verdict: str = Field(
        "", description="Proved or Refuted for a pass predicate, Tripped or Clear for all others; or Undecided."
    )
    why: str = Field("", description="Why it was Undecided, else the figures behind the value.")
    dry_run: bool | None = Field(None, description="True if no decision followed from it.")


class Decision(Part):
    """One decision. Its Event has the same text, and a name made of the plan's name and `seq`."""

    seq: int = Field(description="Its number.")
    at: Instant = Field(description="When it was taken.")
    kind: Kind = Field(description="The kind of decision.")
    reason: str = Field(description="The reason of its Event.")
    state: str = Field("", description="The state of the run after it, as `status.reason`, such as GuardTripped.")
    note: str = Field("", description="What was decided and why, in a sentence.")
    run: int = Field(0, description="The number of the run.")
    stage: str = Field("", description="The stage at which it was taken.")
    weight_from: str = Field("", description="The new side's share before the decision.")
    weight_to: str = Field("", description="The new side's share after the decision.")
    believed: str = Field("", description="What the predicates would show if the new side were good.")
    observed: str = Field("", description="What the predicates showed.")
    why: str = Field("", description="Why the decision follows from that.")
    by: str = Field(
        OPERATOR,
        description="Who decided: the operator, or who wrote a command. That is a user only where an admission policy"
        " checks it; else the field manager, as the client calls itself (self-declared).",
    )
    token: str = Field("", description="The token of the command that this decision answers.")
    evidence: tuple[Evidence, ...] = Field((), description="The predicates that it rests on, with their verdicts.")


class SpecSection(Part):
    """A part of the plan, as it was when the run began or at the last edit."""

    name: str = Field(description="The part, such as `bake` or `stage canary`.")
    text: str = Field("", description="Its content in one line; the hash of a long content.")


class TemplateStatus(Part):
    """A predicate template as it was when the run began. Later changes of the template do not affect the run."""

    kind: str = Field("", description="PredicateTemplate or ClusterPredicateTemplate.")
    name: str = Field(description="Its name.")
    text: str = Field("", description="Its spec, as JSON.")


class SourceStatus(Part):
    """The metric source that a run asks, as it was when the run began, or when a change of it was recorded."""

    kind: str = Field(description="MetricSource or ClusterMetricSource.")
    name: str = Field(description="Its name.")
    uid: str = Field("", description="The uid of the object.")
    digest: str = Field("", description="Hash of what decides who is asked, and for what: address, headers and so on.")
    shadowed_by: str = Field(
        "", description="The uid of a MetricSource that got its name since. The run goes on without that one."
    )


class Task(Part):
    """A Job, a scaling or a query of a run. It is recorded before it starts, so that it is never started twice."""

    kind: Literal["Assumption", "Expand", "Scale", "Contract", "Stop"] = Field(
        description="The purpose of the task. Stop: the run has ended, and its unfinished Job is suspended."
    )
    name: str = Field(description="Its name in the plan; for a scaling, the side that is scaled.")
    job: str = Field("", description="The Job that carries it out.")
    made: bool = Field(
        False, description="Whether the Job was seen. A Job that was seen and is gone is not created again."
    )
    attempt: int = Field(1, description="The number of the attempt. `resume` starts another one after a failure.")
    replicas: int = Field(0, description="The number of replicas to scale a side to.")
    replicas_before: int = Field(0, description="The replicas of the old side before it is scaled down.")
    since: Instant = Field(description="When it started.")
    deadline_at: Instant = Field(description="When it counts as failed, if it has not ended by then.")


class Held(Part):
    """A hold: why the run waits, since when, and the phase in which it continues."""

    reason: str = Field(description="The reason, one word.")
    since: Instant = Field(description="When the hold began, for any reason.")
    reason_since: Instant | None = Field(None, description="When the hold for this reason began.")
    back_to: Phase = Field(description="The phase in which the run continues.")

    def going_on_in(self, phase: Phase) -> Held:
        """The same hold, with another phase to continue in."""
        return self.model_copy(update={"back_to": phase})


class Paused(Part):
    """A pause by a person. The run does not go forward until a person sends `resume`."""

    at: Instant = Field(description="When the pause began.")
    by: str = Field("", description="Who wrote the command, as in decisions.")
    reason: str = Field("", description="The reason that was given.")


class PodRestarts(Part):
    """How often the containers of a pod had restarted."""

    pod: str = Field(description="The pod's uid.")
    restarts: int = Field(description="The restarts of the containers that its Deployment's template names.")


ROUTES_OWNED = "RoutesOwned"
"""False while an owned route is not as it must be, or has the traffic of a route of the plan; and once it is gone."""
HANDED_BACK = "HandedBack"
"""Its reason then: neither `revert` nor the undo command has a route to write to."""


class Condition(Part):
    """A Kubernetes condition."""

    type: str = Field(
        description="Ready, Reconciling, Stalled, WeightsVerified, RollbackCapacity, MetricsAvailable, "
        "RequestsAccepted, QueryWarnings, RouteWarnings, RoutesOwned or UnjudgedChange."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(description="The reason, one word.")
    message: str = Field("", description="The reason, in a sentence.")
    observed_generation: int = Field(0, description="The generation of the plan for which it was set.")
    last_transition_time: Instant = Field(description="When its status changed last.")


class Status(Part):
    """The state of a plan and of its run, with the decisions that led to it."""

    phase: Phase = Field(Phase.PENDING, description="The phase of the run.")
    observed_generation: int = Field(-1, description="The newest generation of the plan that was processed.")
    reason: str = Field("", description="The state, or why the run stopped, in one word.")
    message: str = Field("", description="The same in a sentence, with the fix where there is one.")
    waiting_for: str = Field("", description="What the plan waits for, and until when.")
    plan_hash: str = Field("", description="Hash of the plan's meaning. Another hash makes another run.")
    revision: str = Field(
        "",
        description="Three hashes of the new side's pod template that this run judges: whole, without marks of a"
        " restart, and what of that somebody wrote. It is another version if all three differ.",
    )
    run: int = Field(0, description="The number of the run.")
    seq: int = Field(0, description="The number of the newest decision.")
    counted_since: Instant | None = Field(None, description="When the run's first weight came into force.")
    published_through: dict[str, int] = Field(
        {}, description="For each sink (events) the newest decision that it had when this status was written."
    )
    epoch: int = Field(0, description="The term of the leader that serves this plan: leaseTransitions of its Lease.")
    entered_at: Instant | None = Field(None, description="When the current phase began, or its last task ended.")
    last_look: Instant | None = Field(
        None,
        description="When the operator last looked at the run, with all queries asked that were due. It is written once"
        " a minute during a run; older than two minutes, the operator is down or stuck.",
    )
    stage: StageStatus | None = Field(None, description="The current stage.")
    weights: Weights = Field(Weights(), description="The weights of the routes.")
    verdict: str = Field("", description="The combined verdict of the stage's predicates.")
    predicates: tuple[PredicateStatus, ...] = Field(
        (), description="The predicates of the stage, each with its verdict."
    )
    templates: tuple[TemplateStatus, ...] = Field((), description="The templates that the run uses.")
    source: SourceStatus | None = Field(None, description="The metric source that the run asks.")
    labels: dict[str, str] = Field(
        {}, description="The plan's labels when the run began. Policies select it by these too, to its end."
    )
    namespace_labels: dict[str, str] = Field(
        {}, description="The labels of its namespace when the run began. Policies select it by these too, to its end."
    )
    spec_digest: tuple[SpecSection, ...] = Field(
        (), description="The plan of this run in short. It shows what an edit changed."
    )
    locked_stages: tuple[str, ...] = Field(
        (),
        max_length=50,
        description="The entries of `stages` that have started. They cannot be edited during the run.",
    )
    restarted_before: tuple[PodRestarts, ...] = Field(
        (), max_length=200, description="The new side's pods that had restarted when the run began."
    )
    old_pods: int = Field(0, description="Ready pods of the old side when the run began; 0 where it is not known.")
    failed: str = Field("", description="Why this run failed. A failed run never goes forward again.")
    held: Held | None = Field(None, description="Why the run waits.")
    place: Literal["", "Lost", "Retaken"] = Field(
        "",
        description="Lost: the run was held for so long that its place among those that may run at the same time went"
        " to others. Retaken: it has one again, and goes on.",
    )
    paused: Paused | None = Field(None, description="Who paused the run, and when.")
    approved: str = Field("", description="The stage that a person approved, or the contract.")
    approved_ahead: tuple[str, ...] = Field(
        (), max_length=64, description="The stages, or the contract, that a person approved before their turn."
    )
    approved_seals: dict[str, str] = Field(
        {}, description="The seal of each approved stage, or of the contract, when it was approved."
    )
    tokens: tuple[str, ...] = Field(
        (), description="The answered commands, the newest last, each with its run. Each is carried out once."
    )
    revert_asked: Instant | None = Field(
        None,
        description="When the first `revert` of an old success came. A second one soon after is carried out.",
    )
    repaired_at: tuple[Instant, ...] = Field((), description="When weights that somebody else changed were corrected.")
    intent: Intent | None = Field(None, description="The change of weights in progress.")
    task: Task | None = Field(None, description="The running task: a Job, a scaling or a query.")
    completed_tasks: tuple[str, ...] = Field((), description="The completed tasks of this run, by name.")
    scaled_to: int = Field(0, description="The replicas that the run scaled the new side to; 0 where it did not.")
    decisions: tuple[Decision, ...] = Field((), description="The latest decisions, the newest last.")
    revert: str = Field("", description="The command that restores the old weights without the operator.")
    conditions: tuple[Condition, ...] = Field((), description="Conditions for tools such as kubectl wait.")
    damaged: tuple[str, ...] = Field((), exclude=True)

    @property
    def effective_phase(self) -> Phase:
        """The phase of the run; while it is held, the phase in which it continues."""
        return self.held.back_to if self.phase is Phase.HELD and self.held else self.phase

    @property
    def held_for(self) -> str:
        """The reason of the hold, a HoldReason unless another version wrote it; empty if the run is not held."""
        return self.held.reason if self.phase is Phase.HELD and self.held else ""

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == kind), None)

    def to_raw(self) -> dict[str, Any]:
        """The JSON object for the API server; empty fields are left out, and of a large one what only explains."""
        return bounded(super().to_raw())


def filled(value: Any) -> Any:
    """The value without empty texts, lists and maps, at any depth."""
    if isinstance(value, dict):
        return {key: inner for key, raw in value.items() if (inner := filled(raw)) not in (None, "", [], {})}
    return [filled(item) for item in value] if isinstance(value, list) else value


def read_status(raw: object) -> Status:
    """Parse a status as found in the API server. Never raises; `Status.damaged` names invalid fields."""
    if not isinstance(raw, Mapping):
        return Status() if raw is None else Status(damaged=("status",))
    status, broken = read_part(Status, raw)
    damaged = tuple(sorted(broken - _SAYS_NOTHING))
    return status.model_copy(update={"damaged": damaged}) if damaged else status


P = TypeVar("P", bound=Part)


def read_part(model: type[P], raw: Mapping[str, Any]) -> tuple[P, frozenset[str]]:
    """Parse a part of an object, without the fields that cannot be parsed, and the names of these. Never raises."""
    names = _names(model)
    fields = {names[alias]: value for alias, value in raw.items() if alias in names}
    try:
        return model(**fields), frozenset()
    except ValidationError as error:
        broken = {str(problem["loc"][0]) for problem in error.errors()}
    broken = {names.get(loc, loc) for loc in broken}
    fields = {name: value for name, value in fields.items() if name not in broken}
    return model(**fields), frozenset(broken)


@cache
def _names(model: type[Part]) -> Mapping[str, str]:
    """The names of the fields that are written, by their names in JSON."""
    return {to_camel(name): name for name, field in model.model_fields.items() if not field.exclude}


_SAYS_NOTHING = frozenset({"last_look"})
"""The fields from which nothing follows: one that is damaged is written again."""
