"""What a person writes: the spec of a RolloutPlan, its rules, its ladder of stages and its hash.

`read_plan_spec` is the door. The CRD states every rule of this page a second time, in CEL (crd.py), so that a bad
plan is refused at apply; they stand here too because an object may be older than its CRD, and the CLI reads files.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.plan.quantities import (
    Comparison,
    Confidence,
    Duration,
    Is,
    Permille,
    VsOld,
    Weight,
    at_least,
    counted,
    format_duration,
    format_weight,
)
from rolloutplan.plan.reading import Refusals, SpecError, Written, read
from rolloutplan.plan.spelling import DNS_NAME, DnsLabel, DnsName, Query, StageName, cel
from rolloutplan.plan.tasks import MAX_TASKS, Assumption, Contract, Expand

__all__ = [
    "WORDS",
    "Availability",
    "Events",
    "MetricsRef",
    "MinSamples",
    "OnBlind",
    "PlanSpec",
    "Predicate",
    "RouteRef",
    "Side",
    "SpecError",
    "Stage",
    "StageSpec",
    "Traffic",
    "read_plan_spec",
]

WORDS: Final = ("namespace", "plan", "stage", "deployment", "service", "old", "new", "window", "elapsed")
VARIABLE: Final = "^[a-z][a-zA-Z0-9_]*$"
MAX_STAGES: Final = 50
MAX_PREDICATES: Final = 16
MADE_NAME: Final = "(^|-)w[0-9]+(-[0-9])?$"
FULL: Final = 1000
DEADLINE_AFTER_SOAK: Final = timedelta(minutes=30)
WINDOW: Final = timedelta(minutes=1)
CONFIDENCE: Final = Fraction(95, 100)
NOT_WITH_EVENTS: Final = {
    "for": "is not for events, which are tested on all that was counted so far: remove it",
    "window": "is not for events, which are counted from the first look on: remove it",
    "minSamples": "is not for events, whose test itself waits for enough of them: remove it",
}
MORE_THAN_SERIES: Final = r"[])][^}]*$"
"""Something closes behind the labels. Short: the API server reckons what it costs for all predicates there may be."""
AS_SCRAPED: Final = (
    "has a function or a range: write the counter as it is scraped, its name and labels and no more, and we count"
)
HISTOGRAM_NAME: Final = "is not a histogram: write its own name before the labels, without _bucket"
ONLY_WITH_EVENTS: Final = "is for events alone, and a query's value has none: remove it"


class Side(Written):
    """One side of the change."""

    deployment: DnsName = Field(description="The Deployment of this side, in the plan's namespace.")
    service: DnsLabel | None = Field(
        default=None, description="The Service that the routes name for this side; the Deployment's name if left out."
    )

    @property
    def service_name(self) -> str:
        return self.service or self.deployment


MAX_RULES: Final = 16


_RULE_FIX: Final = f"is not a rule of a route: write its name, or its index from 0 to {MAX_RULES - 1}"


def _read_rule(rule: object) -> int | str:
    if isinstance(rule, int) and not isinstance(rule, bool) and 0 <= rule < MAX_RULES:
        return rule
    if isinstance(rule, str) and DNS_NAME.matches(rule):
        return rule
    raise ValueError(f"{rule} {_RULE_FIX}")


RuleRef: TypeAlias = Annotated[
    int | str,
    BeforeValidator(_read_rule),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": DNS_NAME.longest,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == int ? self >= 0 && self < {MAX_RULES}"
                    f" : self.matches({cel(DNS_NAME.pattern)})",
                    "messageExpression": f"string(self) + {cel(' ' + _RULE_FIX)}",
                }
            ],
        }
    ),
]


class RouteRef(Written):
    """A route that holds both sides as weighted backends."""

    kind: Literal["HTTPRoute"] = Field(description="The kind of the route.")
    name: DnsName = Field(description="The route's name, in the plan's namespace.")
    rules: tuple[RuleRef, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="Which of its rules, by name or by index from 0; every rule that holds both services if left out.",
    )


class Traffic(Written):
    """How traffic is moved."""

    routes: tuple[RouteRef, ...] = Field(
        min_length=1, max_length=16, description="The routes whose weights are moved, all together."
    )
    drain: Duration = Field(
        default=timedelta(seconds=30), description="Wait between a side's weight 0 and any scale-down of it."
    )
    share: Literal["Verify", "Ignore"] = Field(
        default="Verify",
        description="Whether a run is held where the requests that are counted provably do not follow its weight.",
    )


class MetricsRef(Written):
    """Where the predicates are asked."""

    source: DnsName = Field(
        default="default", description="A MetricSource of the plan's namespace, else a ClusterMetricSource."
    )


class Availability(Written):
    """What the new side's pods must hold to, seen from the API server and not from metrics."""

    ready_within: Duration = Field(
        default=timedelta(minutes=10), description="How long the new side may take to be ready before the first weight."
    )
    min_ready: Permille = Field(
        default=500, description="Share of its replicas that must stay ready; less for longer than grace is onFail."
    )
    grace: Duration = Field(
        default=timedelta(seconds=10), description="How long readiness may be below minReady; none ready acts at once."
    )
    max_restarts: int = Field(
        default=3, ge=0, le=1_000_000, description="Container restarts allowed over the run, all new pods together."
    )


class MinSamples(Written):
    """How much must have been seen before the value counts."""

    query: Query = Field(description="PromQL that counts the samples behind the value.")
    at_least: int = Field(ge=1, le=2**53, description="Below this count the predicate is Undecided.")


class Events(Written):
    """What is counted: requests and the bad ones among them, or requests and the slow ones among them."""

    bad: Query | None = Field(
        default=None, description="The counter of bad requests, as it is scraped: no function, no range. With total."
    )
    total: Query | None = Field(default=None, description="The counter of all requests, as it is scraped. With bad.")
    histogram: Query | None = Field(
        default=None, description="A classic or native histogram of seconds, as it is scraped. With slowerThan."
    )
    slower_than: Annotated[Duration, at_least("1ms")] | None = Field(
        default=None,
        description="What takes longer is slow; a bound of one of the histogram's buckets. With histogram.",
    )

    @property
    def kind(self) -> Literal["counters", "histogram"]:
        """Which pair is written: bad and total, or histogram and slower_than."""
        return "histogram" if self.histogram is not None else "counters"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refusals = tuple(_scraped(self))
        if refusals:
            raise Refusals(*refusals)
        return self


class Predicate(Written):
    """One observation that proves or refutes: a value or counted events, and what that is compared with."""

    name: DnsLabel = Field(description="Its name, unique in the plan.")
    query: Query | None = Field(
        default=None,
        description="PromQL with one value as its answer; words such as $deployment are filled in. This or events.",
    )
    events: Events | None = Field(
        default=None,
        description="What is counted and tested, for a verdict that repeated looks cannot spoil. Or query.",
    )
    is_: Is | None = Field(
        default=None,
        alias="is",
        description='Compare the value, or the share of bad events, with a number: "> 0.9", "< 1%". This or vsOld.',
    )
    vs_old: VsOld | None = Field(
        default=None,
        description='Compare new with old: "<= +5%" relative, "<= +0.2" absolute, "> 1.5x" ratio. This or is.'
        " Of events only relative or ratio: > to prove the new side worse, < to prove it good enough.",
    )
    for_: Duration | None = Field(
        default=None, alias="for", description="It must hold continuously for so long. Not with events."
    )
    window_: Annotated[Duration, at_least("1s")] | None = Field(
        default=None,
        alias="window",
        description="The value of $window, which never reaches back before the stage's weight; 1m if left out."
        " Not with events.",
    )
    min_samples: MinSamples | None = Field(
        default=None, description="How much must have been seen before the value counts. Not with events."
    )
    confidence_: Confidence | None = Field(
        default=None,
        alias="confidence",
        description="How sure the test of events must be, at any number of looks; 95% if left out.",
    )

    @property
    def comparison(self) -> Comparison:
        comparison = self.is_ or self.vs_old
        assert comparison is not None  # the validator below lets no other predicate exist
        return comparison

    @property
    def window(self) -> timedelta:
        return self.window_ or WINDOW

    @property
    def confidence(self) -> Fraction:
        """An exact fraction of 1: 95% is 19/20."""
        return self.confidence_ or CONFIDENCE

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refusals = (*_one_question(self), *_one_test(self))
        if refusals:
            raise Refusals(*refusals)
        return self


Predicates: TypeAlias = Annotated[tuple[Predicate, ...], Field(max_length=MAX_PREDICATES)]


class StageSpec(Written):
    """One step of the ladder, or with `weights` several steps that are judged alike."""

    name: StageName | None = Field(
        default=None, description="Its name, unique in the plan; made from the weight (w5) if left out."
    )
    weight: Weight | None = Field(default=None, description='The new side\'s share: "5%", "0.5%". This or weights.')
    weights: tuple[Weight, ...] | None = Field(
        default=None, min_length=1, max_length=MAX_STAGES, description="Several shares, one step each. This or weight."
    )
    soak: Duration = Field(
        default=timedelta(minutes=5), description="Time at the verified weight before it may end; never shorter."
    )
    deadline: Duration | None = Field(
        default=None, description="Never longer than this without a decision; soak + 30m if left out."
    )
    approval: Literal["Required"] | None = Field(
        default=None, description="Whether a person must say `approve` before its (first) weight is asked for."
    )
    pass_: Predicates = Field(default=(), alias="pass", description="All of them proved after the soak: go on.")
    fail: Predicates = Field(default=(), description="Any of them proved at any time: onFail.")

    @property
    def steps(self) -> tuple[int, ...]:
        """Its weights in permille, one or several."""
        return (self.weight,) if self.weight is not None else self.weights or ()

    @property
    def resolved_deadline(self) -> timedelta:
        return self.soak + DEADLINE_AFTER_SOAK if self.deadline is None else self.deadline

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.weight is None) == (self.weights is None):
            raise Refusals(("", "needs exactly one of weight and weights: write one of them"))
        if self.resolved_deadline < self.soak:
            deadline, soak = format_duration(self.resolved_deadline), format_duration(self.soak)
            raise Refusals(("deadline", f"{deadline} is shorter than the soak of {soak}: write as much or more"))
        if self.name and self.weight is not None and _misnamed(self.name, self.weight):
            raise Refusals(
                ("name", f'"{self.name}" names another weight than {format_weight(self.weight)}: change one')
            )
        return self


@dataclass(frozen=True, slots=True)
class Stage:
    """One rung of the ladder: one weight, from 1 to 1000 permille, with all that is judged at it."""

    name: str
    index: int
    permille: int
    soak: timedelta
    deadline: timedelta
    pass_: tuple[Predicate, ...]
    fail: tuple[Predicate, ...]
    approval: bool = False
    """Whether a person must approve before its weight is asked for."""


class OnBlind(Written):
    """What follows when the metric source itself cannot answer."""

    action: Literal["Hold", "Rollback"] = Field(default="Hold", description="What is done at once.")
    after: Duration | None = Field(default=None, description="When `then` is done, counted from the first blindness.")
    then: Literal["Hold", "Rollback"] | None = Field(default=None, description="What is done after `after`.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.after is None) != (self.then is None):
            raise Refusals(("", "after and then belong together: write both or neither"))
        return self


def _named_words(variables: dict[str, str]) -> dict[str, str]:
    for name in variables:
        if name in WORDS:
            raise ValueError(f'"{name}" is a word that the operator fills in: choose another name')
        if not re.match(VARIABLE, name):
            raise ValueError(f'"{name}" is not a name for a variable: write letters and digits, a small letter first')
    return variables


class PlanSpec(Written):
    """A sequence of hypotheses about production, each with what would prove it and what would refute it."""

    hypothesis: str = Field(default="", max_length=1024, description="What this change is believed to do, in words.")
    old: Side = Field(description="The side that has the traffic now.")
    new: Side = Field(description="The side that shall have it.")
    traffic: Traffic = Field(description="How traffic is moved.")
    metrics: MetricsRef = Field(default=MetricsRef(), description="Where the predicates are asked.")
    interval: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(seconds=10), description="How often fail predicates and guards are judged; 1s is the floor."
    )
    assumptions: tuple[Assumption, ...] = Field(
        default=(),
        max_length=MAX_TASKS,
        description="What the plan rests on, probed before anything else, the largest impact x uncertainty first.",
    )
    expand: Expand = Field(default=Expand(), description="What is added beside the old before any traffic moves.")
    availability: Availability = Field(
        default=Availability(), description="What the new side's pods must hold to, seen from the API server."
    )
    guards: Predicates = Field(
        default=(), description="Fail predicates in force from the first weight to the end of the bake."
    )
    stages: tuple[StageSpec, ...] = Field(
        min_length=1, max_length=MAX_STAGES, description="The ladder: weights that rise to 100%."
    )
    bake: Duration = Field(
        default=timedelta(0), description="Time at 100% with the guards still on and the old side warm."
    )
    contract: Contract = Field(
        default=Contract(), description="What is taken away of the old after the bake; nothing if left out."
    )
    on_fail: Literal["Rollback", "Hold"] = Field(
        default="Rollback", description="What follows a proved fail predicate or guard."
    )
    on_undecided: Literal["Hold", "Rollback", "Extend"] = Field(
        default="Hold", description="What follows at a deadline with something undecided."
    )
    on_blind: OnBlind = Field(
        default=OnBlind(), description="What follows when the metric source itself cannot answer."
    )
    deletion_policy: Literal["Restore", "Keep"] = Field(
        default="Restore", description="What a deletion in mid-run does with the weights."
    )
    variables: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32), AfterValidator(_named_words)
    ] = Field(default={}, description="The plan's own words for predicates: NAME is written there as $NAME.")

    def ladder(self) -> tuple[Stage, ...]:
        """Flatten the stages to one weight each, named: `canary`, `ramp-w10`, `w5`, `w0-5`."""
        return self._ladder

    @cached_property
    def _ladder(self) -> tuple[Stage, ...]:
        steps = [(spec, permille) for spec in self.stages for permille in spec.steps]
        return tuple(
            Stage(
                name=_step_name(spec, permille),
                index=index,
                permille=permille,
                soak=spec.soak,
                deadline=spec.resolved_deadline,
                pass_=spec.pass_,
                fail=spec.fail,
                approval=spec.approval is not None and permille == spec.steps[0],
            )
            for index, (spec, permille) in enumerate(steps)
        )

    def predicates(self) -> Iterator[tuple[str, Predicate]]:
        """Give every predicate once, with its path below the spec."""
        yield from ((f"guards[{i}]", guard) for i, guard in enumerate(self.guards))
        for i, stage in enumerate(self.stages):
            yield from ((f"stages[{i}].pass[{j}]", predicate) for j, predicate in enumerate(stage.pass_))
            yield from ((f"stages[{i}].fail[{j}]", predicate) for j, predicate in enumerate(stage.fail))

    def beliefs(self) -> tuple[Assumption, ...]:
        """Give the assumptions in the order in which they are probed."""
        return tuple(sorted(self.assumptions, key=lambda assumption: -assumption.danger))

    def tasks(self) -> Iterator[tuple[str, str]]:
        """Give every task of a name of its own, as the path of that name below the spec and the name."""
        yield from ((f"assumptions[{i}].name", assumption.name) for i, assumption in enumerate(self.assumptions))
        yield from ((f"expand.jobs[{i}].name", job.name) for i, job in enumerate(self.expand.jobs))
        yield from ((f"contract.jobs[{i}].name", job.name) for i, job in enumerate(self.contract.jobs))

    def plan_hash(self) -> str:
        """Give 16 hex digits that change when, and only when, the plan means something else.

        Defaults are left out before hashing, so that neither writing one out nor a field that a later version adds
        makes a finished plan start again. What a deletion does is no part of the rollout.
        """
        return self._hash

    @cached_property
    def _hash(self) -> str:
        stages = tuple(
            StageSpec.model_construct(
                name=stage.name,
                weight=stage.permille,
                soak=stage.soak,
                deadline=None if stage.deadline == stage.soak + DEADLINE_AFTER_SOAK else stage.deadline,
                approval="Required" if stage.approval else None,
                pass_=_meant(stage.pass_),
                fail=_meant(stage.fail),
            )
            for stage in self.ladder()
        )
        sides = {
            side: spec.model_copy(update={"service": None}) if spec.service == spec.deployment else spec
            for side, spec in (("old", self.old), ("new", self.new))
        }
        meant = self.model_copy(update={"guards": _meant(self.guards), "stages": stages, **sides})
        plain = meant.model_dump(mode="json", exclude_defaults=True, exclude={"deletion_policy"})
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _rules(self) -> Self:
        refusals = (
            *_sides(self),
            *_weights(self),
            *_judged(self),
            *_twice("a stage", ((f"stages[{i}].name", s.name) for i, s in enumerate(self.stages) if s.name)),
            *_twice("a predicate", ((f"{where}.name", predicate.name) for where, predicate in self.predicates())),
            *_twice("a task", self.tasks()),
            *_twice("a route", ((f"traffic.routes[{i}].name", r.name) for i, r in enumerate(self.traffic.routes))),
        )
        if refusals:
            raise Refusals(*refusals)
        return self


def read_plan_spec(raw: Mapping[str, Any]) -> PlanSpec:
    """Read the `spec` of a RolloutPlan. Raises SpecError: one line a refusal, each with field and fix."""
    return read(PlanSpec, raw)


# ---- names of the rungs --------------------------------------------------------------------------


def _made_name(permille: int) -> str:
    return "w" + format_weight(permille).removesuffix("%").replace(".", "-")


def _misnamed(name: str, permille: int) -> bool:
    """Say whether a name could be taken for the made name of another weight."""
    return re.search(MADE_NAME, name) is not None and not name.endswith(_made_name(permille))


def _step_name(spec: StageSpec, permille: int) -> str:
    made = _made_name(permille)
    if spec.name is None:
        return made
    return spec.name if spec.weights is None else f"{spec.name}-{made}"


def _meant(predicates: Iterable[Predicate]) -> tuple[Predicate, ...]:
    """The predicates without what is written out and would be resolved to the same."""
    return tuple(
        predicate.model_copy(
            update={
                "window_": None if predicate.window == WINDOW else predicate.window,
                "confidence_": None if predicate.confidence == CONFIDENCE else predicate.confidence,
            }
        )
        for predicate in predicates
    )


# ---- the rules between fields: each yields the path and the sentence of what it refuses ----------

_Refusals: TypeAlias = Iterator[tuple[str, str]]


def _scraped(events: Events) -> _Refusals:
    written = [field is not None for field in (events.bad, events.total, events.histogram, events.slower_than)]
    if written not in ([True, True, False, False], [False, False, True, True]):
        yield "", "needs bad with total, or histogram with slowerThan: write one pair"
    for name, series in (("bad", events.bad), ("total", events.total), ("histogram", events.histogram)):
        if series is not None and re.search(MORE_THAN_SERIES, series):
            yield name, AS_SCRAPED
    own = events.histogram
    if own is not None and (own.startswith("{") or "_bucket{" in own or own.endswith("_bucket")):
        yield "histogram", HISTOGRAM_NAME


def _one_question(predicate: Predicate) -> _Refusals:
    if (predicate.query is None) == (predicate.events is None):
        yield "", "needs exactly one of query and events: write one of them"
    if (predicate.is_ is None) == (predicate.vs_old is None):
        yield "", "needs exactly one comparison: write either is or vsOld"


def _one_test(predicate: Predicate) -> _Refusals:
    if predicate.events is None:
        if predicate.confidence_ is not None:
            yield "confidence", ONLY_WITH_EVENTS
        return
    of_values = {"for": predicate.for_, "window": predicate.window_, "minSamples": predicate.min_samples}
    yield from ((name, NOT_WITH_EVENTS[name]) for name, value in of_values.items() if value is not None)
    for name, comparison in (("is", predicate.is_), ("vsOld", predicate.vs_old)):
        if comparison is None:
            continue
        try:
            counted(comparison)
        except ValueError as refusal:
            yield name, str(refusal)


def _sides(spec: PlanSpec) -> _Refusals:
    if spec.old.deployment == spec.new.deployment:
        yield "new.deployment", f'"{spec.new.deployment}" is the old side too: name the Deployment of the new version'
    elif spec.old.service_name == spec.new.service_name:
        yield "new.service", f'"{spec.new.service_name}" is the old side\'s Service too: give each side its own'


def _weights(spec: PlanSpec) -> _Refusals:
    steps = [
        (f"stages[{i}].weight" if stage.weights is None else f"stages[{i}].weights[{j}]", permille)
        for i, stage in enumerate(spec.stages)
        for j, permille in enumerate(stage.steps)
    ]
    if len(steps) > MAX_STAGES:
        yield "stages", f"{len(steps)} weights are too many: write at most {MAX_STAGES}"
    for (_, before), (where, permille) in pairwise(steps):
        if permille <= before:
            yield where, f"{format_weight(permille)} does not rise above {format_weight(before)}: weights must increase"
    where, last = steps[-1]
    if last != FULL:
        yield where, f"the last weight is {format_weight(last)}: end the ladder with 100%"


def _judged(spec: PlanSpec) -> _Refusals:
    for i, stage in enumerate(spec.stages):
        if not (spec.guards or stage.pass_ or stage.fail):
            yield f"stages[{i}]", "nothing judges this stage: give it pass or fail predicates, or give the plan guards"


def _twice(what: str, named: Iterable[tuple[str, str]]) -> _Refusals:
    seen: dict[str, str] = {}
    for where, name in named:
        if name in seen:
            yield where, f'"{name}" names {what} already, at {seen[name]}: choose another name'
        seen.setdefault(name, where)
