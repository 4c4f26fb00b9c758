"""The model of a stage, and its steps: one weight each, with a name."""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from rolloutplan.api.parsing import FieldErrors, SpecModel, Violations
from rolloutplan.api.predicate import NOT_CLEAR, NOT_FOR, Predicate, Predicates
from rolloutplan.api.quantities import Duration, Weight, format_duration, format_weight
from rolloutplan.api.text_format import StageName

MAX_STAGES: Final = 50
MADE_NAME: Final = "(^|-)w([0-9]+)(-[0-9])?$"
FULL: Final = 1000
DEADLINE_AFTER_SOAK: Final = timedelta(minutes=30)
WARMUP_FIX: Final = "latency would not be judged in it; write a longer soak, or a shorter warmup"


class StageSpec(SpecModel):
    """One step, or with `weights` several steps with the same predicates."""

    name: StageName | None = Field(
        default=None, description="Its name, unique in the plan; made from the weight (w5) if left out."
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
        """Its weights in permille, at least one."""
        return (self.weight,) if self.weight is not None else self.weights or ()

    @property
    def resolved_deadline(self) -> timedelta:
        return self.soak + DEADLINE_AFTER_SOAK if self.deadline is None else self.deadline

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if refused := tuple(_refusals(self)):
            raise Violations(*refused)
        return self


def _refusals(spec: StageSpec) -> FieldErrors:
    if (spec.weight is None) == (spec.weights is None):
        yield "", "set exactly one of weight and weights"
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
    """One step: one weight, from 1 to 1000 permille, with its predicates."""

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

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """All its predicates, without the guards."""
        return (*self.fail, *self.pass_, *self.warn)

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
