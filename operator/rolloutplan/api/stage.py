"""The model of a stage, and its steps: one weight each, or one mirror or match, with a name."""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from rolloutplan.api.added import Addition, Match
from rolloutplan.api.parsing import FieldErrors, SpecModel, Violations
from rolloutplan.api.predicate import NOT_CLEAR, NOT_FOR, Predicate, Predicates
from rolloutplan.api.quantities import Duration, Weight, format_duration, format_weight
from rolloutplan.api.text_format import StageName

MAX_STAGES: Final = 50
MADE_NAME: Final = "(^|-)w([0-9]+)(-[0-9])?$"
FULL: Final = 1000
DEADLINE_AFTER_SOAK: Final = timedelta(minutes=30)
ONE_STEP: Final = "set exactly one of weight, weights, mirror and match"
NAMELESS: Final = "a stage without weights has no name of its own: write one, such as dark or staff"
NAME_OF_WEIGHT: Final = "is the name of a weight, which this stage has not: write another one, such as dark or staff"
WARMUP_FIX: Final = "latency would not be judged in it; write a longer soak, or a shorter warmup"


class StageSpec(SpecModel):
    """One step, or with `weights` several steps with the same predicates."""

    name: StageName | None = Field(
        default=None,
        description="Its name, unique in the plan; made from the weight (w5) if left out. A stage without weights needs"
        " one.",
    )
    weight: Weight | None = Field(
        default=None, description='The new side\'s share: "5%" or 5, "0.5%". Set this or weights.'
    )
    weights: tuple[Weight, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_STAGES,
        description="Several shares, one step each, such as [5, 25, 50, 100]. Set this or weight.",
    )
    mirror: Weight | None = Field(
        default=None,
        description="The share of requests of which the new side gets a copy. Users get the answers of the old side"
        " alone. The copies end with the stage. It comes before all stages with weights.",
    )
    match: Match | None = Field(
        default=None,
        description="The requests of testers, which go to the new side from this stage on until the last weight. It"
        " comes before all stages with weights.",
    )
    soak: Duration = Field(
        default=timedelta(minutes=5), description="The shortest time at the verified weight before the stage may end."
    )
    deadline: Duration | None = Field(
        default=None, description="The longest time at the weight without a decision; soak + 30m if left out."
    )
    warmup: Duration | None = Field(
        default=None, description="How long new pods are left out of latency here; the plan's warmup if left out."
    )
    approval: Literal["Required"] | None = Field(
        default=None, description="Whether a person must send `approve` before its first weight."
    )
    pass_: Predicates = Field(
        default=(), alias="pass", description="When all of them are proved after the soak, the run goes on."
    )
    fail: Predicates = Field(default=(), description="When any of them trips, at any time, onFail applies.")
    warn: Predicates = Field(
        default=(),
        description="When any of them trips, an Event reports it and the next increase is halved. A warning never"
        " rolls back, and does not keep the stage from being proved.",
    )

    @property
    def steps(self) -> tuple[int, ...]:
        """Its weights in permille, at least one; a single 0 where it has a mirror or a match instead."""
        if self.moves_no_weight:
            return (0,)
        return (self.weight,) if self.weight is not None else self.weights or ()

    @property
    def moves_no_weight(self) -> bool:
        """Whether it has a mirror or a match instead of weights."""
        return self.mirror is not None or self.match is not None

    @property
    def resolved_deadline(self) -> timedelta:
        return self.soak + DEADLINE_AFTER_SOAK if self.deadline is None else self.deadline

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if refused := tuple(_refusals(self)):
            raise Violations(*refused)
        return self


def _refusals(spec: StageSpec) -> FieldErrors:
    if sum(each is not None for each in (spec.weight, spec.weights, spec.mirror, spec.match)) != 1:
        yield "", ONE_STEP
    elif spec.moves_no_weight and spec.name is None:
        yield "name", NAMELESS
    elif spec.moves_no_weight and spec.name and re.search(MADE_NAME, spec.name):
        yield "name", f'"{spec.name}" {NAME_OF_WEIGHT}'
    if spec.resolved_deadline < spec.soak:
        deadline, soak = format_duration(spec.resolved_deadline), format_duration(spec.soak)
        yield "deadline", f"{deadline} is shorter than the soak of {soak}: write at least the soak"
    if spec.warmup and spec.warmup >= spec.soak:
        yield "warmup", warmup_refused(spec.warmup, spec.soak)
    if spec.name and spec.weight is not None and _misnamed(spec.name, spec.weight):
        yield "name", f'"{spec.name}" is the name of a weight other than {format_weight(spec.weight)}: change one'
    yield from ((f"pass[{i}].alert", NOT_FOR) for i, each in enumerate(spec.pass_) if each.alert is not None)
    yield from ((f"pass[{i}].noData", NOT_CLEAR) for i, each in enumerate(spec.pass_) if each.silence_is_clear)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: one weight, from 1 to 1000 permille, or a mirror or match at weight 0, with its predicates."""

    name: str
    index: int
    permille: int
    soak: timedelta
    deadline: timedelta
    pass_: tuple[Predicate, ...]
    fail: tuple[Predicate, ...]
    approval: bool = False
    """Whether a person must approve before its weight is requested."""
    entry: int = 0
    """The index of its entry in the plan's `stages`; an entry may have several weights."""
    warn: tuple[Predicate, ...] = ()
    warmup: timedelta = timedelta(0)
    """How long latency is not judged after its weight was verified, or after a new pod became ready."""
    half: bool = False
    """Whether this is the step half way to the stage's weight; `permille` is then the weight half way."""
    held_back: int = 0
    """What stays on the old side as the control group of the bake, in permille; 0 at all steps before that one."""
    completes: bool = False
    """Whether this is the step to 100% after the bake of a control group. It is part of the last stage."""
    mirror: Addition | None = None
    """The copies of requests that the new side gets."""
    testers: tuple[Addition, ...] = ()
    """The rules for testers of this stage and of those before it."""
    sticky: Addition | None = None
    """The cookie that keeps users on a side, where there is traffic for both."""
    ends: bool = False
    """Whether this is the last step: nothing is left on the routes but the weight."""
    match: Addition | None = None
    """The testers whose stage this is; they are among `testers`."""

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """All its predicates, without the guards."""
        return (*self.fail, *self.pass_, *self.warn)

    @property
    def additions(self) -> tuple[str, ...]:
        """What each rule has at this step in addition to its weights."""
        if self.ends and not self.half:
            return ()
        return tuple(str(each) for each in (*self.testers, self.mirror, self.sticky) if each is not None)

    @property
    def moves_no_weight(self) -> bool:
        """Whether the new side has no weight yet: it gets copies of requests, or those of testers."""
        return not self.permille

    @property
    def share(self) -> int:
        """The permille of all requests that reach the new side, copies among them; 0 for testers, of unknown number."""
        return self.mirror.permille if self.mirror else self.permille

    @property
    def load(self) -> int:
        """The permille of the requests that the new side must be able to answer; of testers, at least one."""
        return max(self.share, 1 if self.testers else 0)

    @property
    def title(self) -> str:
        """What is judged: `5%`, `mirror 10%`, `header x-staff=yes`."""
        only = self.mirror or self.match
        return format_weight(self.permille) if only is None else only.title

    @property
    def step(self) -> str:
        """Its name; the step half way to its weight has a different one."""
        return f"{self.name} half way" if self.half else self.name

    def at(self, permille: int) -> "Stage":
        """The intermediate step at this weight."""
        return replace(self, permille=permille, half=True)

    def halved(self, before: int) -> "Stage":
        """The step half way from `before` to its weight; itself where no whole permille is between them.

        The control group of a bake is given up at once: half of it would prove nothing.
        """
        between = (before + self.permille) // 2
        return self.at(between) if before < between < self.permille and not self.completes else self


def warmup_refused(warmup: timedelta, soak: timedelta) -> str:
    """Why this warmup does not fit into a stage with this soak."""
    return f"{format_duration(warmup)} is not shorter than the soak of {format_duration(soak)}: {WARMUP_FIX}"


def made_name(permille: int) -> str:
    return "w" + format_weight(permille).removesuffix("%").replace(".", "-")


def _misnamed(name: str, permille: int) -> bool:
    """Whether a name could be mistaken for the generated name of another weight."""
    made = re.search(MADE_NAME, name)
    return made is not None and float(made[2] + (made[3] or "").replace("-", ".")) != permille / 10


def last_step_name(spec: StageSpec) -> str:
    """The name of the step to 100% after the bake, where the bake has a control group."""
    return made_name(FULL) if spec.name is None else f"{spec.name}-{made_name(FULL)}"


def step_name(spec: StageSpec, permille: int) -> str:
    made = made_name(permille)
    if spec.name is None:
        return made
    return spec.name if spec.weights is None else f"{spec.name}-{made}"
