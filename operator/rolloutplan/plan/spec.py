"""What a person writes: the spec of a RolloutPlan, its rules, its ladder of stages and its hash.

`read_plan_spec` is the door. The CRD states the rules of this page a second time, in CEL (rules.py), so that a bad
plan is refused at apply; they stand here too because an object may be older than its CRD, and the CLI reads files.
Only what `use` names is looked up here alone: to compare all names with all is too dear for the API server.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated, Any, Final, Literal, Protocol, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StrictBool,
    WithJsonSchema,
    model_validator,
)

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
from rolloutplan.plan.reading import Filled, Refusals, SpecError, Whole, Written, read
from rolloutplan.plan.spelling import DNS_NAME, DnsLabel, DnsName, Matchers, Query, StageName, cel
from rolloutplan.plan.tasks import MAX_TASKS, NOT_BELOW_FULL, Assumption, Contract, Expand

__all__ = [
    "WORDS",
    "Alert",
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
MAX_PARAMETERS: Final = 16
MAX_TEMPLATES: Final = 16
"""So many stand in the status while a run is on."""
MAX_REFUSALS: Final = 3
"""Of what takes long to find the right name for."""
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
_FIRES: Final = "is not for alert, which is true while one fires: remove it"
NOT_WITH_ALERT: Final = dict.fromkeys(("is", "vsOld", "window", "minSamples", "confidence"), _FIRES)
FIRES: Final = Comparison(">", 0.0, "value", "> 0 alerts")
"""What is compared where an alert is asked for."""
NOT_FOR: Final = "an alert speaks against the new side, and pass is what speaks for it: write it under fail or guards"
MORE_THAN_SERIES: Final = r"[])][^}]*$"
"""Something closes behind the labels. Short: the API server reckons what it costs for all predicates there may be."""
AS_SCRAPED: Final = (
    "has a function or a range: write the counter as it is scraped, its name and labels and no more, and we count"
)
HISTOGRAM_NAME: Final = "is not a histogram: write its own name before the labels, without _bucket"
JUDGED_BY: Final = "give it pass or fail predicates without dryRun, or give the plan guards without it"
ONLY_WITH_EVENTS: Final = "is for events alone, and a query's value has none: remove it"
ONE_QUESTION: Final = "needs exactly one of query, events, alert, use and template: write one of them"
ONE_COMPARISON: Final = "needs exactly one comparison: write either is or vsOld"
NO_NAME: Final = "required, and not there: write it"
NOT_WITH_USE: Final = "is not for use, which takes the other predicate over as it is: remove it"
NOT_WITH_TEMPLATE: Final = "is for the template to say: remove it"
ONLY_WITH_TEMPLATE: Final = "is for template alone, which has the parameters: remove it"
OVERRIDES: Final = {"is": "is_", "vsOld": "vs_old", "for": "for_", "window": "window_", "confidence": "confidence_"}
"""What a predicate may say otherwise than its template, by the names of the fields."""


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
    max_restarts: Whole = Field(
        default=3, ge=0, le=1_000_000, description="Container restarts allowed over the run, all new pods together."
    )


class MinSamples(Written):
    """How much must have been seen before the value counts."""

    query: Query = Field(description="PromQL that counts the samples behind the value.")
    at_least: Whole = Field(ge=1, le=2**53, description="Below this count the predicate is Undecided.")


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


class Alert(Written):
    """Alerts of the metric source that must not begin to fire. Those that fired before hold the next increment."""

    matchers: Matchers = Field(
        description='Which of its firing alerts, as PromQL matches labels, without braces: severity="page"; words such'
        " as $deployment are filled in."
    )


def _not_stored(schema: dict[str, Any]) -> None:
    """Leave a default to the reader: predicates are stored as they are written."""
    del schema["default"]


class Predicate(Written):
    """One observation that proves or refutes: a value or counted events and what that is compared with, or an alert.

    Or a reference to one, which stands for it: `use` or `template`. Nothing is judged by a reference; see templates.py.
    """

    name_: DnsLabel | None = Field(
        default=None,
        alias="name",
        description="Its name, unique in the plan; left out, it is named as its template, or as what it uses.",
    )
    query: Query | None = Field(
        default=None,
        description="PromQL with one value as its answer; words such as $deployment are filled in. This, events,"
        " alert, use or template.",
    )
    events: Events | None = Field(
        default=None,
        description="What is counted and tested, for a verdict that repeated looks cannot spoil. Or query.",
    )
    alert: Alert | None = Field(
        default=None,
        description="Alerts of the metric source: true while one fires that did not when the stage's weight was"
        " verified. Not under pass; beside it name, for and dryRun alone. Or query.",
    )
    use: DnsLabel | None = Field(
        default=None,
        description="The name of another predicate of this plan, to be judged here too. Where one speaks for the new"
        " side (pass) and the other against it, the comparison is turned round. dryRun is said for each place.",
    )
    template: DnsLabel | None = Field(
        default=None,
        description="The name of a PredicateTemplate of the plan's namespace, else of a ClusterPredicateTemplate; is,"
        " vsOld, for, window and confidence may be written beside it, and take the place of its own.",
    )
    with_: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=MAX_PARAMETERS), Filled] = (
        Field(
            default={}, alias="with", description="What the template's parameters stand for, by their names; in quotes."
        )
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
    dry_run: StrictBool = Field(
        default=False,
        description="Whether it is only judged and recorded: nothing ever follows from its verdict.",
        json_schema_extra=_not_stored,
    )

    @property
    def name(self) -> str:
        return self.name_ or self.template or self.use or ""

    @property
    def refers(self) -> bool:
        """Whether it only stands for a predicate."""
        return self.use is not None or self.template is not None

    @property
    def comparison(self) -> Comparison:
        """Only of what is no reference."""
        comparison = self.is_ or self.vs_old or (FIRES if self.alert is not None else None)
        assert comparison is not None  # the validator below lets no other predicate exist
        return comparison

    @property
    def window(self) -> timedelta:
        """What it reads goes so far back; an alert is asked of an instant."""
        return timedelta(0) if self.alert is not None else self.window_ or WINDOW

    @property
    def confidence(self) -> Fraction:
        """An exact fraction of 1: 95% is 19/20."""
        return self.confidence_ or CONFIDENCE

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refusals = (*_one_question(self), *(_reference(self) if self.refers else _one_test(self)))
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
    warn: Predicates = Field(
        default=(),
        description="Any of them proved: it is told, and the next weight is taken in two steps. None of them ever rolls"
        " back, or keeps the stage from being proved.",
    )

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
        if alerts := [f"pass[{i}].alert" for i, each in enumerate(self.pass_) if each.alert is not None]:
            raise Refusals(*((where, NOT_FOR) for where in alerts))
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
    entry: int = 0
    """Its place in the plan's `stages`, of which one may have several weights."""
    warn: tuple[Predicate, ...] = ()
    half: bool = False
    """Whether it is the step half way to its weight, and `permille` the weight there."""

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """All that is judged at it beside the guards."""
        return (*self.fail, *self.pass_, *self.warn)

    @property
    def step(self) -> str:
        """Its name; of the step half way to its weight one of its own."""
        return f"{self.name} half way" if self.half else self.name

    def at(self, permille: int) -> "Stage":
        """The step on the way to its weight that stands at this one."""
        return replace(self, permille=permille, half=True)

    def halved(self, before: int) -> "Stage":
        """The step half way from a weight to its own; itself where no whole permille lies between."""
        between = (before + self.permille) // 2
        return self.at(between) if before < between < self.permille else self


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
        if not re.fullmatch(VARIABLE, name):
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
        min_length=1, max_length=MAX_STAGES, description="The ladder: weights that rise to 100%, or to stopAt."
    )
    stop_at: Weight | None = Field(
        default=None, description="Where the plan ends, if below 100%: its last weight. What it leaves there stays."
    )
    bake: Duration = Field(
        default=timedelta(0), description="Time at the last weight with the guards still on and the old side warm."
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
    on_incident: Literal["Hold", "Rollback"] = Field(
        default="Hold",
        description="What follows where a value compared by `is` is proved against both sides at once: Hold waits until"
        " that is over, with the guards on; Rollback goes back as for the new side alone.",
    )
    on_blind: OnBlind = Field(
        default=OnBlind(), description="What follows when the metric source itself cannot answer."
    )
    deletion_policy: Literal["Restore", "Keep"] = Field(
        default="Restore", description="What a deletion in mid-run does with the weights."
    )
    variables: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32), AfterValidator(_named_words), Filled
    ] = Field(default={}, description="The plan's own words for predicates: NAME is written there as $NAME.")

    _written: "PlanSpec | None" = PrivateAttr(default=None)

    @property
    def written(self) -> "PlanSpec":
        """The plan as a person wrote it, where this is the one with all its references replaced."""
        return self._written or self

    def replaced(self, predicates: Mapping[str, Predicate]) -> "PlanSpec":
        """The same plan with other predicates at these paths, the paths being those of `predicates`."""

        def at(where: str, former: tuple[Predicate, ...]) -> tuple[Predicate, ...]:
            return tuple(predicates.get(f"{where}[{i}]", each) for i, each in enumerate(former))

        stages = tuple(
            stage.model_copy(
                update={
                    "pass_": at(f"stages[{i}].pass", stage.pass_),
                    "fail": at(f"stages[{i}].fail", stage.fail),
                    "warn": at(f"stages[{i}].warn", stage.warn),
                }
            )
            for i, stage in enumerate(self.stages)
        )
        changed = {**dict(self), "guards": at("guards", self.guards), "stages": stages}
        spec = PlanSpec.model_construct(**changed)  # a copy would keep its hash
        spec._written = self.written  # noqa: SLF001 - its own class
        return spec

    @property
    def refers(self) -> bool:
        """Whether a predicate in it only stands for another."""
        return any(predicate.refers for _, predicate in self.predicates())

    def ladder(self) -> tuple[Stage, ...]:
        """Flatten the stages to one weight each, named: `canary`, `ramp-w10`, `w5`, `w0-5`."""
        return self._ladder

    @cached_property
    def _ladder(self) -> tuple[Stage, ...]:
        steps = [(entry, spec, permille) for entry, spec in enumerate(self.stages) for permille in spec.steps]
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
                entry=entry,
                warn=spec.warn,
            )
            for index, (entry, spec, permille) in enumerate(steps)
        )

    def entries(self, stage: Stage) -> tuple[str, ...]:
        """The names of `stages` up to the one that holds this stage; one without a name has that of its weight."""
        first = self.stages[: stage.entry + 1]
        return tuple(spec.name or _made_name(spec.steps[0]) for spec in first)

    def predicates(self) -> Iterator[tuple[str, Predicate]]:
        """Give every predicate once, with its path below the spec."""
        yield from ((f"guards[{i}]", guard) for i, guard in enumerate(self.guards))
        for i, stage in enumerate(self.stages):
            yield from ((f"stages[{i}].pass[{j}]", predicate) for j, predicate in enumerate(stage.pass_))
            yield from ((f"stages[{i}].fail[{j}]", predicate) for j, predicate in enumerate(stage.fail))
            yield from ((f"stages[{i}].warn[{j}]", predicate) for j, predicate in enumerate(stage.warn))

    def beliefs(self) -> tuple[Assumption, ...]:
        """Give the assumptions in the order in which they are probed."""
        return tuple(sorted(self.assumptions, key=lambda assumption: -assumption.danger))

    def tasks(self) -> Iterator[tuple[str, str]]:
        """Give every task of a name of its own, as the path of that name below the spec and the name."""
        yield from ((f"assumptions[{i}].name", assumption.name) for i, assumption in enumerate(self.assumptions))
        yield from ((f"expand.jobs[{i}].name", job.name) for i, job in enumerate(self.expand.jobs))
        yield from ((f"contract.jobs[{i}].name", job.name) for i, job in enumerate(self.contract.jobs))

    def plan_hash(self) -> str:
        """Give 16 hex digits that change when, and only when, what a person wrote means something else.

        Defaults are left out before hashing, so that neither writing one out nor a field that a later version adds
        makes a finished plan start again. Nor does what a template says: a change of it begins no run and ends none.
        """
        return self.written.judged_hash()

    def judged_hash(self) -> str:
        """The same of the plan with all its references replaced: it changes with its templates too."""
        return self._hash

    def meant(self) -> "PlanSpec":
        """The plan with one stage a weight, and without what is written out and would be resolved to the same.

        Without what is no part of the rollout, too: what a deletion does, and stopAt, which says what the last weight
        says.
        """
        stages = tuple(
            StageSpec.model_construct(
                name=stage.name,
                weight=stage.permille,
                soak=stage.soak,
                deadline=None if stage.deadline == stage.soak + DEADLINE_AFTER_SOAK else stage.deadline,
                approval="Required" if stage.approval else None,
                pass_=_meant(stage.pass_),
                fail=_meant(stage.fail),
                warn=_meant(stage.warn),
            )
            for stage in self.ladder()
        )
        sides = {
            side: spec.model_copy(update={"service": None}) if spec.service == spec.deployment else spec
            for side, spec in (("old", self.old), ("new", self.new))
        }
        left_out = {"deletion_policy": "Restore", "stop_at": None}
        return self.model_copy(update={"guards": _meant(self.guards), "stages": stages, **sides, **left_out})

    @cached_property
    def _hash(self) -> str:
        plain = self.meant().model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _rules(self) -> Self:
        refusals = (
            *_sides(self),
            *_weights(self),
            *_judged(self),
            *_contract(self),
            *_twice("a stage", ((f"stages[{i}].name", s.name) for i, s in enumerate(self.stages) if s.name)),
            *_twice("a predicate", ((f"{where}.name", p.name) for where, p in self.predicates() if _has_own_name(p))),
            *islice(_uses(self), MAX_REFUSALS),
            *_together(self),
            *_templates(self),
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
    """The predicates without what is written out and would be resolved to the same.

    Beside a template our defaults are none: they take the place of what it says.
    """
    return tuple(
        predicate.model_copy(
            update={"name_": None if predicate.name_ in (predicate.template, predicate.use) else predicate.name_}
            if predicate.refers
            else {
                "window_": None if predicate.window_ == WINDOW else predicate.window_,
                "confidence_": None if predicate.confidence_ == CONFIDENCE else predicate.confidence_,
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
    asked = (predicate.query, predicate.events, predicate.alert, predicate.use, predicate.template)
    if sum(each is not None for each in asked) != 1:
        yield "", ONE_QUESTION
    if predicate.name_ is None and not predicate.refers:
        yield "name", NO_NAME
    compares = not predicate.refers and predicate.alert is None
    if compares and (predicate.is_ is None) == (predicate.vs_old is None):
        yield "", ONE_COMPARISON
    if predicate.with_ and predicate.template is None:
        yield "with", ONLY_WITH_TEMPLATE


def _reference(predicate: Predicate) -> _Refusals:
    if predicate.use is not None:
        yield from ((name, NOT_WITH_USE) for name, field in OVERRIDES.items() if getattr(predicate, field) is not None)
    elif predicate.is_ is not None and predicate.vs_old is not None:
        yield "", ONE_COMPARISON
    if predicate.min_samples is not None:
        yield "minSamples", NOT_WITH_USE if predicate.use is not None else NOT_WITH_TEMPLATE


class Said(Protocol):
    """What may stand beside a query or events, in a predicate and in a template of one."""

    @property
    def events(self) -> object: ...
    @property
    def for_(self) -> object: ...
    @property
    def window_(self) -> object: ...
    @property
    def min_samples(self) -> object: ...
    @property
    def confidence_(self) -> object: ...


def beside(said: Said) -> _Refusals:
    """What stands beside a query, or beside events, and is not for it."""
    if said.events is None:
        if said.confidence_ is not None:
            yield "confidence", ONLY_WITH_EVENTS
        return
    of_values = {"for": said.for_, "window": said.window_, "minSamples": said.min_samples}
    yield from ((name, NOT_WITH_EVENTS[name]) for name, value in of_values.items() if value is not None)


def _one_test(predicate: Predicate) -> _Refusals:
    if predicate.alert is not None:
        fields = {**OVERRIDES, "minSamples": "min_samples"}
        yield from ((name, why) for name, why in NOT_WITH_ALERT.items() if getattr(predicate, fields[name]) is not None)
        return
    yield from beside(predicate)
    for name, comparison in (("is", predicate.is_), ("vsOld", predicate.vs_old)):
        if predicate.events is None or comparison is None:
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
    if last != (spec.stop_at or FULL):
        end = f"{format_weight(spec.stop_at)}, as stopAt says" if spec.stop_at else "100%, or write stopAt to end there"
        yield where, f"the last weight is {format_weight(last)}: end the ladder with {end}"


def _contract(spec: PlanSpec) -> _Refusals:
    if spec.contract.wanted and spec.stop_at is not None and spec.stop_at < FULL:
        yield "contract", NOT_BELOW_FULL


def _judged(spec: PlanSpec) -> _Refusals:
    for i, stage in enumerate(spec.stages):
        if all(each.dry_run for each in (*spec.guards, *stage.pass_, *stage.fail)):
            yield f"stages[{i}]", f"nothing judges this stage: {JUDGED_BY}"


def _twice(what: str, named: Iterable[tuple[str, str]]) -> _Refusals:
    seen: dict[str, str] = {}
    for where, name in named:
        if name in seen:
            yield where, f'"{name}" names {what} already, at {seen[name]}: choose another name'
        seen.setdefault(name, where)


def _has_own_name(predicate: Predicate) -> bool:
    """Whether its name must be unique in the plan: what is used elsewhere keeps its name there."""
    return predicate.use is None or predicate.name_ is not None


def _uses(spec: PlanSpec) -> _Refusals:
    named = {predicate.name: predicate for _, predicate in spec.predicates() if _has_own_name(predicate)}
    for where, predicate in spec.predicates():
        if predicate.use is None:
            continue
        used = named.get(predicate.use)
        if used is None:
            near = get_close_matches(predicate.use, [name for name, other in named.items() if other.use is None], n=1)
            meant = f"did you mean {near[0]}?" if near else "write the name of one"
            yield f"{where}.use", f'"{predicate.use}" names no predicate of this plan: {meant}'
        elif used.use is not None:
            yield f"{where}.use", f'"{predicate.use}" only uses another itself: write the name of that one'
        elif used.alert is not None and ".pass[" in where:
            yield f"{where}.use", f'"{predicate.use}": {NOT_FOR}'


def _together(spec: PlanSpec) -> _Refusals:
    """What is used where one of its name is judged already."""
    if all(_has_own_name(predicate) for _, predicate in spec.predicates()):
        return
    paths, told = list(spec.predicates()), set[str]()
    for i in range(len(spec.stages)):
        here = [each for each in paths if each[0].startswith(("guards[", f"stages[{i}]."))]
        seen: dict[str, str] = {}
        for where, predicate in sorted(here, key=lambda each: not _has_own_name(each[1])):
            if predicate.name in seen and not _has_own_name(predicate) and where not in told:
                told.add(where)
                words = f'"{predicate.name}" is judged here already, as {seen[predicate.name]}'
                yield f"{where}.use", f"{words}: remove this, or give it a name of its own"
            seen.setdefault(predicate.name, where)


def _templates(spec: PlanSpec) -> _Refusals:
    named = {predicate.template for _, predicate in spec.predicates() if predicate.template is not None}
    if len(named) > MAX_TEMPLATES:
        yield "", f"{len(named)} templates are too many: name at most {MAX_TEMPLATES}"
