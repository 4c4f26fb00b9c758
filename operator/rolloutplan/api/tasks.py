"""The models of assumptions, expand and contract: all that a plan does apart from changing weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from rolloutplan.api import safe_get
from rolloutplan.api.parsing import DropNulls, Integral, SpecModel, StrictInt, Violations, is_lenient
from rolloutplan.api.quantities import Duration, Is, at_least
from rolloutplan.api.shown import shown
from rolloutplan.api.text_format import DNS_NAME, DnsLabel, Query, cel

MAX_TASKS: Final = 16
KEPT_UNTIL_SEEN: Final = "could delete the Job before its result is seen: remove this; the Job is deleted with the plan"
"""Why `ttlSecondsAfterFinished` is refused: a removed Job cannot be distinguished from one never created."""
NOT_BELOW_FULL: Final = "is only allowed in plans that end at 100%; at stopAt the old side still has traffic: remove it"
NOTHING_TO_APPROVE: Final = "there is nothing to approve: write scaleOld or jobs too"

JOBS_LABEL: Final = "rolloutplan.dev/jobs"
"""The label with the value "true" by which a namespace names a ServiceAccount that Jobs of plans may run under."""
NO_ACCOUNT: Final = (
    f'name a ServiceAccount other than "default" here, one that the namespace has labelled {JOBS_LABEL}: "true"'
)
OWN_PODS: Final = "is not allowed, because it could make pods of others the Job's: remove it"
NO_FINALIZERS: Final = "is not allowed, because nobody would remove them and the pods would stay for ever: remove it"
ENDS_IN_TIME: Final = "is longer than the deadline of the plan: write at most the deadline, or leave it out"

_OPEN: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_FINALIZERS: Final = {"type": "array", "maxItems": 16, "items": {"type": "string", "maxLength": 253}}
"""Described so that its presence can be refused."""


_TTL: Final = "ttlSecondsAfterFinished"
_ACTIVE: Final = "activeDeadlineSeconds"


def _job_spec(spec: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    if not isinstance(spec.get("template"), dict):
        raise Violations(("template", "required field is missing: write the template of the Job's pods"))
    if refused := () if is_lenient(info) else tuple(_refused_fields(spec)):
        raise Violations(*refused)
    kept = {name: value for name, value in spec.items() if value is not None and name not in (_TTL, _ACTIVE)}
    return {**kept, _ACTIVE: int(spec[_ACTIVE])} if spec.get(_ACTIVE) is not None else kept


def _refused_fields(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if spec.get(_TTL) is not None:
        yield _TTL, KEPT_UNTIL_SEEN
    yield from ((name, OWN_PODS) for name in ("selector", "manualSelector") if spec.get(name) is not None)
    if safe_get.value(spec, "template", "metadata", "finalizers") is not None:
        yield "template.metadata.finalizers", NO_FINALIZERS
    account = safe_get.text(spec, "template", "spec", "serviceAccountName")
    if account in ("", "default"):
        yield "template.spec.serviceAccountName", NO_ACCOUNT
    elif not DNS_NAME.matches(account):
        yield "template.spec.serviceAccountName", f"{shown(account)} {DNS_NAME.refusal(account)}"
    seconds = spec.get(_ACTIVE)
    if seconds is not None and (type(seconds) not in (int, float) or seconds != seconds // 1 or seconds < 1):
        yield _ACTIVE, f"{shown(seconds)} is not a number of seconds: write a whole number, at least 1"


def _late_end(spec: Mapping[str, Any], deadline: timedelta) -> bool:
    """Whether a Job may run for longer than the plan waits for it."""
    return safe_get.number(spec, _ACTIVE) > deadline.total_seconds()


def _refusal(field: str, message: str) -> dict[str, str]:
    return {"rule": f"!has(self.{field})", "message": message, "fieldPath": f".{field}"}


def _to_bytes(spec: dict[str, Any]) -> bytes:
    """As it is kept: decoded, small things take twenty times the memory of their text, in each replica.

    The keys are sorted, so that what means the same is equal.
    """
    named = json.loads(json.dumps(spec))  # keys that YAML reads as numbers are text, as in the API server
    return json.dumps(named, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode(errors="surrogatepass")


def _from_bytes(body: object) -> dict[str, Any]:
    assert isinstance(body, bytes)  # pydantic knows the type before `_to_bytes`
    spec: dict[str, Any] = json.loads(body.decode(errors="surrogatepass"))
    return spec


JobSpec: TypeAlias = Annotated[
    dict[str, Any],
    AfterValidator(_job_spec),
    AfterValidator(_to_bytes),
    PlainSerializer(_from_bytes),
    WithJsonSchema(
        {
            **_OPEN,
            "required": ["template"],
            "properties": {
                "template": {
                    **_OPEN,
                    "description": "The template of its pods.",
                    "properties": {
                        "metadata": {**_OPEN, "properties": {"finalizers": _FINALIZERS}},
                        "spec": {
                            **_OPEN,
                            "properties": {
                                "serviceAccountName": {
                                    **DNS_NAME.schema(),
                                    "description": "The ServiceAccount of the pods. The namespace must have labelled it"
                                    f' {JOBS_LABEL}: "true".',
                                }
                            },
                        },
                    },
                },
                _TTL: {"type": "integer", "maximum": 2**31 - 1},
                _ACTIVE: {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 2**31 - 1,
                    "description": "Seconds until its pods are stopped: the deadline, or less.",
                },
                "selector": _OPEN,
                "manualSelector": {"type": "boolean"},
            },
            "x-kubernetes-validations": [
                _refusal(_TTL, KEPT_UNTIL_SEEN),
                _refusal("selector", OWN_PODS),
                _refusal("manualSelector", OWN_PODS),
                {
                    "rule": "!has(self.template.metadata) || !has(self.template.metadata.finalizers)",
                    "message": NO_FINALIZERS,
                    "fieldPath": ".template.metadata.finalizers",
                },
                {
                    "rule": "has(self.template.spec) && has(self.template.spec.serviceAccountName)"
                    " && !(self.template.spec.serviceAccountName in ['', 'default'])",
                    "message": NO_ACCOUNT,
                    "fieldPath": ".template.spec",
                },
            ],
        }
    ),
]
_Marks: TypeAlias = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), DropNulls]


class JobMetadata(SpecModel):
    """Labels and annotations of a Job, in addition to the operator's own."""

    labels: _Marks = Field(default={}, description="Labels of the Job.")
    annotations: _Marks = Field(default={}, description="Annotations of the Job.")


class JobTemplate(SpecModel):
    """A Job, as in a CronJob's `jobTemplate`. The API server validates it when the Job is created."""

    metadata: JobMetadata = Field(default=JobMetadata(), description="Labels and annotations of the Job.")
    body: JobSpec = Field(
        alias="spec", description="The spec of the Job, as in batch/v1, without ttlSecondsAfterFinished and selector."
    )

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the Job. It is kept as bytes, and made from them whenever it is asked for."""
        return _from_bytes(self.body)


class Job(SpecModel):
    """A Job that runs once in each run, in the plan's namespace."""

    template: JobTemplate = Field(description="The Job, as in a CronJob's jobTemplate.")


class NamedJob(Job):
    """A Job with a name and a deadline."""

    name: DnsLabel = Field(description="Its name, unique among the assumptions and Jobs of the plan.")
    deadline: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(minutes=10), description="A Job that has not ended by then counts as failed, and is stopped."
    )

    @model_validator(mode="after")
    def _ends_in_time(self, info: ValidationInfo) -> Self:
        if not is_lenient(info) and _late_end(self.template.spec, self.deadline):
            raise Violations((f"template.spec.{_ACTIVE}", ENDS_IN_TIME))
        return self


Jobs: TypeAlias = Annotated[tuple[NamedJob, ...], Field(max_length=MAX_TASKS)]

MAX_REPLICAS: Final = 10_000
_Matched: TypeAlias = Literal["None", "MatchOld"]
_SIZE_FIX: Final = f"is not a size: write None, MatchOld, or a number from 1 to {MAX_REPLICAS}"


def _read_size(size: object) -> object:
    number = isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= MAX_REPLICAS
    if number or size in get_args(_Matched):
        return size
    raise ValueError(f"{shown(size)} {_SIZE_FIX}")


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
    """How the new side is scaled before it gets traffic."""

    new: Size = Field(
        default="None",
        description="Replicas of the new side: None does not scale it, MatchOld takes the number of the old side.",
    )


class Expand(SpecModel):
    """What is added before any traffic moves: first the Jobs run, then the new side is scaled."""

    jobs: Jobs = Field(default=(), description="Jobs that run one after another, in the order written.")
    scale: Scaling = Field(default=Scaling(), description="How the new side is scaled.")


class Contract(SpecModel):
    """What is removed of the old side after all traffic has left it: first its pods, then what the Jobs remove."""

    approval: Literal["Required"] | None = Field(
        default=None, description="Whether a person must send `approve` before anything is removed."
    )
    scale_old: Annotated[int, Field(strict=True, ge=0, le=MAX_REPLICAS), Integral] | None = Field(
        default=None, description="Replicas that the old side keeps; all of them if left out."
    )
    jobs: Jobs = Field(default=(), description="Jobs that run one after another, in the order written.")

    @property
    def wanted(self) -> bool:
        """Whether there is anything to remove."""
        return self.scale_old is not None or bool(self.jobs)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.approval and not self.wanted:
            raise Violations(("approval", NOTHING_TO_APPROVE))
        return self


class Observation(SpecModel):
    """A value that is queried before any traffic moves, and what it must be."""

    query: Query = Field(
        description="PromQL that returns one value. Variables such as $deployment are replaced. use and template are"
        " not possible here."
    )
    is_: Is = Field(alias="is", description='What the value must be: "> 0.9", "< 1%".')
    window: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(minutes=1), description="The value of $window, never shortened."
    )


class Assumption(SpecModel):
    """What the plan assumes. It is checked before anything is changed, by a job or by a predicate."""

    name: DnsLabel = Field(description="Its name, unique among the assumptions and Jobs of the plan.")
    belief: str = Field(min_length=1, max_length=1024, description="What the plan assumes, in words.")
    impact: StrictInt = Field(ge=1, le=5, description="The damage if the assumption is false, from 1 to 5.")
    uncertainty: StrictInt = Field(ge=1, le=5, description="How uncertain the assumption is, from 1 to 5.")
    job: Job | None = Field(
        default=None, description="A Job that completes if the assumption is true. Set this or predicate."
    )
    predicate: Observation | None = Field(
        default=None, description="A query whose value shows that the assumption is true. Set this or job."
    )
    deadline: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(minutes=5), description="An assumption that is not proved by then counts as false."
    )

    @property
    def called(self) -> str:
        """Its name among predicates, one of which may have the same name."""
        return f"assumption {self.name}"

    @property
    def risk(self) -> int:
        """From 1 to 25. The assumption with the highest risk is checked first."""
        return self.impact * self.uncertainty

    @model_validator(mode="after")
    def _one_probe(self, info: ValidationInfo) -> Self:
        if (self.job is None) == (self.predicate is None):
            raise Violations(("", "set exactly one of job and predicate"))
        if self.job is not None and not is_lenient(info) and _late_end(self.job.template.spec, self.deadline):
            raise Violations((f"job.template.spec.{_ACTIVE}", ENDS_IN_TIME))
        return self
