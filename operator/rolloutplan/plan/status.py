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

DECISIONS_KEPT = 30
EVIDENCE_KEPT = 16
TOKENS_KEPT = 50


class Phase(StrEnum):
    PENDING = "Pending"
    PROBING = "Probing"
    EXPANDING = "Expanding"
    SHIFTING = "Shifting"
    JUDGING = "Judging"
    HELD = "Held"
    BAKING = "Baking"
    CONTRACTING = "Contracting"
    SUCCEEDED = "Succeeded"
    REVERTING = "Reverting"
    ROLLED_BACK = "RolledBack"
    INVALID = "Invalid"


STARTING = frozenset({Phase.PROBING, Phase.EXPANDING})
"""Phases of a run in which no weight has moved yet: it ends without a way back."""
RUNNING = frozenset(
    {*STARTING, Phase.SHIFTING, Phase.JUDGING, Phase.HELD, Phase.BAKING, Phase.CONTRACTING, Phase.REVERTING}
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
    """Base of everything in a status: frozen, camelCase outside, unknown fields left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Backend(Part):
    service: str
    weight: int


class RuleWeights(Part):
    """The weights of one rule of a route, every backend of it in the order of the route."""

    index: int
    name: str = ""
    backends: tuple[Backend, ...] = ()


class RouteWeights(Part):
    """The weights of the rules of one route that a run moves."""

    kind: Literal["HTTPRoute"] = "HTTPRoute"
    name: str
    rules: tuple[RuleWeights, ...] = ()


class Weights(Part):
    """Where the traffic stands. `desired` is the new side's share as a person reads it ("25%")."""

    desired: str = ""
    old: str = Field("", description="The Service of the old side, as the run began.")
    new: str = Field("", description="The Service of the new side, as the run began.")
    measured: str = Field("", description="The new side's share of the requests that were counted at this weight.")
    written: tuple[RouteWeights, ...] = Field((), description="The weights last written and read back, per route.")
    snapshot: tuple[RouteWeights, ...] = Field((), description="The weights before the run; a rollback restores these.")


class Intent(Part):
    """A change of weights that was decided and is not yet known to be done."""

    action: Literal["Shift", "Repair", "Restore"]
    at: Instant
    to: str = Field("", description="The new side's share when it is done.")
    routes: tuple[RouteWeights, ...] = ()
    mends: str = Field("", description="The drift that it was decided to write over.")


class StageStatus(Part):
    name: str
    index: int
    display: str = Field("", description="As a person reads it: 2/5 ramp.")
    weight: str = ""
    seal: str = Field("", description="Hash of the predicates as they were fixed before the weight moved.")
    entered_at: Instant | None = None
    judged_since: Instant | None = Field(None, description="Since when the weight stands that guards look at.")
    verified_at: Instant | None = None
    soak_until: Instant | None = None
    deadline_at: Instant | None = None
    forecast: str = Field("", description="What can hardly be decided before the deadline, at the traffic seen.")
    then: str = Field("", description="The stage that comes next because a person said so.")


class PredicateStatus(Part):
    name: str
    role: Literal["pass", "fail", "guard"]
    query: str = ""
    bound: str = ""
    verdict: str = "Undecided"
    value: str = ""
    samples: str = ""
    at: Instant | None = None
    why: str = ""
    state: str = Field("", description="What was counted so far, for a test that goes on where it was.")
    looked_at: Instant | None = Field(None, description="The instant of the last look that is in `state`.")


class Evidence(Part):
    """One predicate as it stood when a decision was taken; `query` is the very text that was asked, at `at`."""

    predicate: str
    role: str = ""
    query: str = ""
    at: Instant | None = None
    value: str = ""
    bound: str = ""
    samples: str = ""
    verdict: str = ""
    why: str = ""


class Decision(Part):
    """One entry of the trail. Its Event has the same words under a name made of the plan and `seq`."""

    seq: int
    at: Instant
    kind: Kind
    reason: str
    note: str = ""
    run: int = 0
    stage: str = ""
    weight_from: str = ""
    weight_to: str = ""
    believed: str = ""
    observed: str = ""
    why: str = ""
    by: str = Field("rolloutplan", description="Who decided: the operator, or the field manager that wrote a command.")
    token: str = Field("", description="The token of the command that this answers.")
    evidence: tuple[Evidence, ...] = ()


class Task(Part):
    """What a run does beside moving weights. It stands here before it is begun, so that nothing is begun twice."""

    kind: Literal["Assumption", "Expand", "Scale", "Contract"]
    name: str
    job: str = Field("", description="The Job that does it.")
    made: bool = Field(False, description="Whether the Job was seen: one that is gone then is not made again.")
    attempt: int = Field(1, description="How often it was begun, as a person wanted it tried again.")
    replicas: int = Field(0, description="How large a side is made by it.")
    since: Instant
    deadline_at: Instant


class Held(Part):
    """Why the run waits, since when (at all, and for this reason), and where it goes on."""

    reason: str
    since: Instant
    reason_since: Instant | None = None
    back_to: Phase


class Paused(Part):
    """A person said `pause`; nothing goes forward until a person says `resume`."""

    at: Instant
    by: str = ""
    because: str = ""


class Condition(Part):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: Instant


class Status(Part):
    phase: Phase = Phase.PENDING
    observed_generation: int = -1
    reason: str = Field("", description="One word for where it stands or why it stopped.")
    message: str = Field("", description="The same as a sentence, with the fix where there is one.")
    plan_hash: str = ""
    revision: str = Field("", description="Hash of the new side's pod template that this run judges.")
    run: int = 0
    seq: int = Field(0, description="Counts the decisions; the newest decision has this number.")
    counted_since: Instant | None = Field(None, description="When the run's first weight was in force.")
    told: int = Field(0, description="The newest decision whose Event was posted when this status was written.")
    epoch: int = Field(0, description="The leader that serves this plan, by the transitions of its Lease.")
    entered_at: Instant | None = Field(None, description="When the present phase began, or its last task was over.")
    stage: StageStatus | None = None
    weights: Weights = Weights()
    verdict: str = Field("", description="The predicates of the stage taken together.")
    predicates: tuple[PredicateStatus, ...] = ()
    restarts: int = Field(0, description="Container restarts of the new side when the run began.")
    failed: str = Field("", description="What was proved against this run; it never goes forward again.")
    held: Held | None = None
    paused: Paused | None = None
    approved: str = Field("", description="The stage that a person has approved.")
    tokens: tuple[str, ...] = Field((), description="Commands that were answered; each is answered once.")
    drifts: tuple[Instant, ...] = Field((), description="When weights moved by somebody else were put right.")
    intent: Intent | None = None
    task: Task | None = None
    done: tuple[str, ...] = Field((), description="The tasks of this run that are over, by their names.")
    decisions: tuple[Decision, ...] = ()
    revert: str = Field("", description="The command that puts the weights back, without the operator.")
    conditions: tuple[Condition, ...] = ()
    damaged: tuple[str, ...] = Field((), exclude=True)

    @property
    def stands_in(self) -> Phase:
        """The phase it is in, or the one from which it is held."""
        return self.held.back_to if self.phase is Phase.HELD and self.held else self.phase

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
