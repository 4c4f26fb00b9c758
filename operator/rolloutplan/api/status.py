"""What the operator answers: the status of a RolloutPlan, as it stands in the API server.

Reading is lenient, field by field: a status edited by hand or written by another version never raises. What could not
be read falls back to its default and is named in `damaged`, so that the engine can say so instead of guessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from rolloutplan.api.route import RouteId, RouteKindName

DECISIONS_KEPT = 30
EVIDENCE_KEPT = 16
TOKENS_KEPT = 50


class Phase(StrEnum):
    """Where a run is."""

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
"""Phases of a run in which no weight has moved yet: it ends without a way back."""
RUNNING = frozenset(
    {*STARTING, Phase.SHIFTING, Phase.JUDGING, Phase.HELD, Phase.BAKING, Phase.CONTRACTING, Phase.ROLLING_BACK}
)
"""Phases in which a run is on: it claims its routes, and nobody else may move them."""


class Kind(StrEnum):
    """What sort of decision was taken."""

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
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _sane(at: datetime) -> datetime:
    if not 2000 <= at.year <= 2200:
        raise ValueError("an instant of another age")
    return at


Instant = Annotated[
    AwareDatetime, AfterValidator(_sane), PlainSerializer(_write_instant, return_type=str, when_used="json")
]


class Part(BaseModel):
    """Base of everything in a status: frozen, camelCase outside, unknown fields left alone (see `status_patch`)."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Backend(Part):
    """A Service of a rule, with its weight."""

    service: str = Field(description="The Service.")
    weight: int = Field(description="Its weight in the rule.")


class RuleWeights(Part):
    """The weights of one rule of a route, every backend of it in the order of the route."""

    index: int = Field(description="Its place in the route, from 0.")
    name: str = Field("", description="Its name, if it has one.")
    backends: tuple[Backend, ...] = Field((), description="Its backends, in the order of the route.")

    def with_backends(self, backends: tuple[Backend, ...]) -> RuleWeights:
        return self.model_copy(update={"backends": backends})


class RouteWeights(Part):
    """The weights of the rules of one route that a run moves."""

    kind: RouteKindName = Field("HTTPRoute", description="The kind of the route.")
    name: str = Field(description="The route's name.")
    rules: tuple[RuleWeights, ...] = Field((), description="The rules that hold both sides.")

    @property
    def id(self) -> RouteId:
        return RouteId(self.kind, self.name)

    def with_rules(self, rules: tuple[RuleWeights, ...]) -> RouteWeights:
        return self.model_copy(update={"rules": rules})


class Weights(Part):
    """The weights of the routes. Shares are written as a person reads them: 25%."""

    desired: str = Field("", description="The new side's share that is asked for.")
    old: str = Field("", description="The Service of the old side, as the run began.")
    new: str = Field("", description="The Service of the new side, as the run began.")
    measured: str = Field("", description="The new side's share of the requests that were counted at this weight.")
    written: tuple[RouteWeights, ...] = Field((), description="The weights last written and read back, per route.")
    snapshot: tuple[RouteWeights, ...] = Field((), description="The weights before the run; a rollback restores these.")


class Intent(Part):
    """A change of weights that was decided and is not yet known to be done."""

    action: Literal["Shift", "Repair", "Restore"] = Field(description="What is being done.")
    at: Instant = Field(description="When it was decided.")
    to: str = Field("", description="The new side's share when it is done.")
    routes: tuple[RouteWeights, ...] = Field((), description="The weights to be written.")
    corrects: str = Field("", description="The drift that this change corrects.")

    def asked_again(self, at: datetime) -> Intent:
        """The same change, asked for anew at this instant."""
        return self.model_copy(update={"at": at})


class StageStatus(Part):
    """The stage at which a run stands. Time held moves its clocks."""

    name: str = Field(description="Its name: of several weights in one stage each has its own.")
    index: int = Field(description="Its place in the plan, from 0.")
    display: str = Field("", description="Its place and name, such as 2/5 ramp.")
    weight: str = Field("", description="The new side's share at it.")
    predicates_hash: str = Field("", description="Hash of the predicates as they were fixed before the weight moved.")
    entered_at: Instant | None = Field(None, description="When its weight was asked for.")
    judged_since: Instant | None = Field(None, description="Since when the weight that guards judge is in force.")
    verified_at: Instant | None = Field(None, description="When its weight was read back and accepted.")
    soak_until: Instant | None = Field(None, description="The end of the soak.")
    deadline_at: Instant | None = Field(None, description="The deadline of the stage.")
    forecast: str = Field("", description="What cannot be decided before the deadline at the traffic so far.")
    next_stage: str = Field("", description="The stage that comes next because a person skipped to it.")
    halfway: int | None = Field(None, description="The weight in permille, if the stage is half way to its own weight.")
    warned: str = Field("", description="The first warning at this stage, which halves the next increment.")


class PredicateStatus(Part):
    """A predicate of the stage, and how it stands."""

    name: str = Field(description="Its name in the plan.")
    role: Literal["pass", "fail", "guard", "warn"] = Field(description="Where it stands in the plan.")
    query: str = Field(
        "", description="What is asked of the new side, with its variables replaced; or what is counted."
    )
    bound: str = Field("", description="What it is compared with, as a person reads it.")
    verdict: str = Field(
        "Undecided", description="Of a pass predicate Proved or Refuted, of all others Tripped or Clear; or Undecided."
    )
    value: str = Field("", description="The value in the form of its bound.")
    samples: str = Field("", description="How many samples are behind the value.")
    at: Instant | None = Field(None, description="When it was asked last.")
    why: str = Field("", description="Why it is Undecided, else the figures behind the value.")
    state: str = Field("", description="What was counted so far, for a test that goes on where it was.")
    looked_at: Instant | None = Field(None, description="The instant of the last evaluation in `state`.")
    dry_run: bool | None = Field(None, description="True if no decision follows from it.")


class Evidence(Part):
    """One predicate as it stood when a decision was taken; `query` is the very text that was asked, at `at`."""

    predicate: str = Field(description="The predicate's name.")
    role: str = Field("", description="pass, fail, guard or warn.")
    query: str = Field("", description="What was asked of the new side.")
    at: Instant | None = Field(None, description="When it was asked.")
    value: str = Field("", description="The value in the form of its bound.")
    bound: str = Field("", description="What it was compared with.")
    samples: str = Field("", description="How many samples were behind the value.")
    verdict: str = Field(
        "", description="Of a pass predicate Proved or Refuted, of all others Tripped or Clear; or Undecided."
    )
    why: str = Field("", description="Why it was Undecided, else the figures behind the value.")
    dry_run: bool | None = Field(None, description="True if no decision followed from it.")


class Decision(Part):
    """One entry of the trail. Its Event has the same words under a name made of the plan and `seq`."""

    seq: int = Field(description="Its number.")
    at: Instant = Field(description="When it was taken.")
    kind: Kind = Field(description="What sort of decision it is.")
    reason: str = Field(description="The reason of its Event.")
    note: str = Field("", description="What was decided and why, in a sentence.")
    run: int = Field(0, description="The run.")
    stage: str = Field("", description="The stage at which it was taken.")
    weight_from: str = Field("", description="The new side's share before.")
    weight_to: str = Field("", description="The new side's share after it.")
    believed: str = Field("", description="What the stage would show if the new side were good.")
    observed: str = Field("", description="What the predicates showed.")
    why: str = Field("", description="Why this follows from that.")
    by: str = Field("rolloutplan", description="Who decided: the operator, or the field manager that wrote a command.")
    token: str = Field("", description="The token of the command that this answers.")
    evidence: tuple[Evidence, ...] = Field((), description="The predicates that it rests on, as they stood.")


class SpecSection(Part):
    """A part of the plan as it was when the run began, or when it was edited last."""

    name: str = Field(description="Which part, as `bake` or `stage canary`.")
    text: str = Field("", description="What it says, in short; a long text as its hash.")


class TemplateStatus(Part):
    """A predicate template as it was when the run began, whatever has become of it since."""

    kind: str = Field("", description="PredicateTemplate or ClusterPredicateTemplate.")
    name: str = Field(description="Its name.")
    text: str = Field("", description="Its spec, as JSON.")


class Task(Part):
    """What a run does beside moving weights. It stands here before it is begun, so that nothing is begun twice."""

    kind: Literal["Assumption", "Expand", "Scale", "Contract"] = Field(description="What it is for.")
    name: str = Field(description="Its name in the plan; of a change of size, which side's.")
    job: str = Field("", description="The Job that does it.")
    made: bool = Field(
        False, description="Whether the Job was seen: a Job that was seen and is gone is not created again."
    )
    attempt: int = Field(1, description="How often it was started; a person may have it tried again.")
    replicas: int = Field(0, description="How many replicas it gives a side.")
    since: Instant = Field(description="When it was begun.")
    deadline_at: Instant = Field(description="When it counts as failed, if it has not ended by then.")


class Held(Part):
    """Why the run waits, since when (at all, and for this reason), and where it goes on."""

    reason: str = Field(description="Why, in a word.")
    since: Instant = Field(description="Since when it is held at all.")
    reason_since: Instant | None = Field(None, description="Since when it is held for this reason.")
    back_to: Phase = Field(description="The phase in which it goes on.")

    def going_on_in(self, phase: Phase) -> Held:
        """The same hold, of a run that goes on elsewhere."""
        return self.model_copy(update={"back_to": phase})


class Paused(Part):
    """A person said `pause`; nothing goes forward until a person says `resume`."""

    at: Instant = Field(description="Since when.")
    by: str = Field("", description="The field manager that wrote the command.")
    reason: str = Field("", description="The reason that was given.")


class Condition(Part):
    """A condition as Kubernetes knows them."""

    type: str = Field(
        description="Ready, Reconciling, Stalled, WeightsVerified, MetricsAvailable, RequestsAccepted or QueryWarnings."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: str = Field(description="Why, in a word.")
    message: str = Field("", description="Why, in a sentence.")
    observed_generation: int = Field(0, description="The generation of the plan that it is about.")
    last_transition_time: Instant = Field(description="When its status changed last.")


class Status(Part):
    """Where a plan stands, and how it came there."""

    phase: Phase = Field(Phase.PENDING, description="The phase of the run.")
    observed_generation: int = Field(-1, description="The newest generation of the plan that was looked at.")
    reason: str = Field("", description="One word for its state, or why it stopped.")
    message: str = Field("", description="The same as a sentence, with the fix where there is one.")
    plan_hash: str = Field("", description="What the plan of this run means: another hash is another run.")
    revision: str = Field("", description="Hash of the new side's pod template that this run judges.")
    run: int = Field(0, description="The number of the run.")
    seq: int = Field(0, description="Counts the decisions; the newest decision has this number.")
    counted_since: Instant | None = Field(None, description="When the run's first weight was in force.")
    published_through: dict[str, int] = Field(
        {}, description="For each sink (events) the newest decision that it had when this status was written."
    )
    epoch: int = Field(0, description="The leader that serves this plan, by the transitions of its Lease.")
    entered_at: Instant | None = Field(None, description="When the present phase began, or its last task was over.")
    stage: StageStatus | None = Field(None, description="The current stage.")
    weights: Weights = Field(Weights(), description="The weights of the routes.")
    verdict: str = Field("", description="The predicates of the stage taken together.")
    predicates: tuple[PredicateStatus, ...] = Field(
        (), description="The predicates that judge the stage, each with its verdict."
    )
    templates: tuple[TemplateStatus, ...] = Field((), description="The templates that the run is judged by.")
    spec_digest: tuple[SpecSection, ...] = Field(
        (), description="The plan of this run in short, which shows what an edit changed."
    )
    locked_stages: tuple[str, ...] = Field(
        (), max_length=50, description="The entries of `stages` that have started: they cannot be edited in mid-run."
    )
    restarts: int = Field(0, description="Container restarts of the new side when the run began.")
    failed: str = Field("", description="Why this run failed; it never goes forward again.")
    held: Held | None = Field(None, description="Why the run waits.")
    paused: Paused | None = Field(None, description="Who paused it.")
    approved: str = Field("", description="The stage that a person has approved, or the contract.")
    tokens: tuple[str, ...] = Field((), description="Commands that were answered; each is answered once.")
    repaired_at: tuple[Instant, ...] = Field((), description="When weights that somebody else moved were corrected.")
    intent: Intent | None = Field(None, description="The change of weights that is being made.")
    task: Task | None = Field(None, description="The task that is running, beside moving weights.")
    completed_tasks: tuple[str, ...] = Field((), description="The tasks of this run that are complete, by name.")
    scaled_to: int = Field(0, description="How many replicas the run scaled the new side to; 0 where it did not.")
    decisions: tuple[Decision, ...] = Field((), description="The newest decisions, the newest last.")
    revert: str = Field("", description="The command that puts the weights back, without the operator.")
    conditions: tuple[Condition, ...] = Field((), description="Conditions for tools, such as kubectl wait.")
    damaged: tuple[str, ...] = Field((), exclude=True)

    @property
    def effective_phase(self) -> Phase:
        """The phase it is in, or the one from which it is held."""
        return self.held.back_to if self.phase is Phase.HELD and self.held else self.phase

    @property
    def held_for(self) -> str:
        """The reason for which it is held, one of HoldReason unless another version wrote it; empty where it is not."""
        return self.held.reason if self.phase is Phase.HELD and self.held else ""

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == kind), None)

    def to_raw(self) -> dict[str, Any]:
        """The JSON object that stands in the API server; empty fields are left out."""
        raw: dict[str, Any] = _filled(self.model_dump(mode="json", by_alias=True))
        return raw


def _filled(value: Any) -> Any:
    """Everything that says something: no empty text, list or map, at any depth."""
    if isinstance(value, dict):
        return {key: inner for key, raw in value.items() if (inner := _filled(raw)) not in (None, "", [], {})}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def read_status(raw: object) -> Status:
    """Read a status as found in the API server. Never raises; see `Status.damaged`."""
    if not isinstance(raw, Mapping):
        return Status() if raw is None else Status(damaged=("status",))
    fields = {name: raw[alias] for name, alias in _ALIASES.items() if alias in raw}
    try:
        return Status(**fields)
    except ValidationError as error:
        broken = {str(problem["loc"][0]) for problem in error.errors()}
    broken = {next((name for name, alias in _ALIASES.items() if alias == loc), loc) for loc in broken}
    return Status(**{k: v for k, v in fields.items() if k not in broken}, damaged=tuple(sorted(broken)))


_ALIASES = {name: to_camel(name) for name in Status.model_fields if name != "damaged"}
