"""What a plan does beside moving weights: what is asked before any of it, and the Jobs that do it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api.parsing import DropNulls, Integral, SpecModel, StrictInt, Violations
from rolloutplan.api.quantities import Duration, Is, at_least
from rolloutplan.api.text_format import DnsLabel, Query, cel

MAX_TASKS: Final = 16
KEPT_UNTIL_SEEN: Final = "would remove the Job before its end is seen: remove this, the Job goes with the plan"
"""What is said of `ttlSecondsAfterFinished`: a Job that is gone cannot be told from one that was never made."""
NOT_BELOW_FULL: Final = "is for plans that end at 100%, and at stopAt the old side still has traffic: remove it"
NOTHING_TO_APPROVE: Final = "there is nothing to approve: write scaleOld or jobs beside it"

_OPEN: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


_TTL: Final = "ttlSecondsAfterFinished"


def _job_spec(spec: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(spec.get("template"), dict):
        raise Violations(("template", "required, and not there: write the template of the Job's pods"))
    if spec.get(_TTL) is not None:
        raise Violations((_TTL, KEPT_UNTIL_SEEN))
    return {name: value for name, value in spec.items() if name != _TTL}


JobSpec: TypeAlias = Annotated[
    dict[str, Any],
    AfterValidator(_job_spec),
    WithJsonSchema(
        {
            **_OPEN,
            "required": ["template"],
            "properties": {
                "template": {**_OPEN, "description": "The template of its pods."},
                _TTL: {"type": "integer", "maximum": 2**31 - 1},
            },
            "x-kubernetes-validations": [
                {
                    "rule": f"!has(self.{_TTL})",
                    "message": KEPT_UNTIL_SEEN,
                    "fieldPath": f".{_TTL}",
                }
            ],
        }
    ),
]
_Marks: TypeAlias = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), DropNulls]


class JobMetadata(SpecModel):
    """What a Job bears beside what the operator writes on it."""

    labels: _Marks = Field(default={}, description="Labels of the Job.")
    annotations: _Marks = Field(default={}, description="Annotations of the Job.")


class JobTemplate(SpecModel):
    """A Job as a CronJob's `jobTemplate` has it; the API server judges it when the Job is made."""

    metadata: JobMetadata = Field(default=JobMetadata(), description="Labels and annotations of the Job.")
    spec: JobSpec = Field(description="The spec of the Job, as in batch/v1, without ttlSecondsAfterFinished.")


class Job(SpecModel):
    """A Job that runs once in a run, in the plan's namespace."""

    template: JobTemplate = Field(description="The Job, as in a CronJob's jobTemplate.")


class NamedJob(Job):
    """A Job of its own name and deadline."""

    name: DnsLabel = Field(description="Its name, unique among all that the plan does.")
    deadline: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(minutes=10), description="A Job that has not ended by then counts as failed."
    )


Jobs: TypeAlias = Annotated[tuple[NamedJob, ...], Field(max_length=MAX_TASKS)]

MAX_REPLICAS: Final = 10_000
_Matched: TypeAlias = Literal["None", "MatchOld"]
_SIZE_FIX: Final = f"is no size: write None, MatchOld, or a number from 1 to {MAX_REPLICAS}"


def _read_size(size: object) -> object:
    number = isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= MAX_REPLICAS
    if number or size in get_args(_Matched):
        return size
    raise ValueError(f"{size} {_SIZE_FIX}")


Size: TypeAlias = Annotated[
    int | _Matched,
    BeforeValidator(_read_size),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 64,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == int ? self >= 1 && self <= {MAX_REPLICAS}"
                    f" : self in {list(get_args(_Matched))}",
                    "messageExpression": f"string(self) + {cel(' ' + _SIZE_FIX)}",
                }
            ],
        }
    ),
]


class Scaling(SpecModel):
    """How large the new side is made before any traffic."""

    new: Size = Field(
        default="None", description="Replicas of the new side: None leaves it, MatchOld takes those of the old side."
    )


class Expand(SpecModel):
    """What is added beside the old before any traffic moves: first the Jobs, then the scale."""

    jobs: Jobs = Field(default=(), description="Jobs that run one after another, in the order written.")
    scale: Scaling = Field(default=Scaling(), description="How many replicas the new side gets.")


class Contract(SpecModel):
    """What is taken away of the old when all traffic has left it: first its pods, then by Jobs."""

    approval: Literal["Required"] | None = Field(
        default=None, description="Whether a person must send `approve` before anything is removed."
    )
    scale_old: Annotated[int, Field(strict=True, ge=0, le=MAX_REPLICAS), Integral] | None = Field(
        default=None, description="Replicas that the old side keeps; all of them if left out."
    )
    jobs: Jobs = Field(default=(), description="Jobs that run one after another, in the order written.")

    @property
    def wanted(self) -> bool:
        """Whether there is anything to take away."""
        return self.scale_old is not None or bool(self.jobs)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.approval and not self.wanted:
            raise Violations(("approval", NOTHING_TO_APPROVE))
        return self


class Observation(SpecModel):
    """A value that is asked before any traffic moves, and what it must be."""

    query: Query = Field(
        description="PromQL with one value as its answer; variables such as $deployment are replaced. Written out:"
        " use and template are for what judges a stage."
    )
    is_: Is = Field(alias="is", description='What the value must be: "> 0.9", "< 1%".')
    window: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(minutes=1), description="The value of $window; always the whole of it."
    )


class Assumption(SpecModel):
    """What the plan assumes, checked before anything is changed. One of job and predicate."""

    name: DnsLabel = Field(description="Its name, unique among all that the plan does.")
    belief: str = Field(min_length=1, max_length=1024, description="What the plan assumes, in words.")
    impact: StrictInt = Field(
        ge=1, le=5, description="How much it would matter if the assumption were false, from 1 to 5."
    )
    uncertainty: StrictInt = Field(ge=1, le=5, description="How little is known of it, from 1 to 5.")
    job: Job | None = Field(
        default=None, description="A Job that completes if the assumption is true. This or predicate."
    )
    predicate: Observation | None = Field(
        default=None, description="A query whose value shows that the assumption is true. This or job."
    )
    deadline: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(minutes=5), description="An assumption that is not known to be true by then counts as false."
    )

    @property
    def called(self) -> str:
        """What it is called among predicates, one of which may have the same name."""
        return f"assumption {self.name}"

    @property
    def risk(self) -> int:
        """From 1 to 25; what is most dangerous is probed first."""
        return self.impact * self.uncertainty

    @model_validator(mode="after")
    def _one_probe(self) -> Self:
        if (self.job is None) == (self.predicate is None):
            raise Violations(("", "needs exactly one of job and predicate: write one of them"))
        return self
