"""The spec of a RolloutPlan: its models, its rules, its steps and its hash. `read_plan_spec` parses it.

The CRD has the same rules in CEL (generate/cel.py), so that an invalid plan is refused at apply. They are needed here
too, because an object may be older than its CRD, and the CLI reads files. Only the target of `use` is checked here
alone: comparing all names with each other costs the API server too much. The file is long because a rule between two
fields is next to the model that has both.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from rolloutplan.api import safe_get
from rolloutplan.api.limits import MAX_BEGUN, MAX_PLAN, TooLargeError, check_jobs, check_size
from rolloutplan.api.parsing import (
    DropNulls,
    FieldErrors,
    SpecError,
    SpecModel,
    StrictInt,
    Violations,
    is_lenient,
    read,
)
from rolloutplan.api.predicate import MAX_PREDICATES, NOT_FOR, Predicate, Predicates, as_normalized
from rolloutplan.api.quantities import (
    Duration,
    Permille,
    Weight,
    at_least,
    at_most,
    format_weight,
)
from rolloutplan.api.rendering import Text, rendered_refusals, texts_of
from rolloutplan.api.route import RouteId, RouteKindName
from rolloutplan.api.stage import (
    DEADLINE_AFTER_SOAK,
    FULL,
    MAX_STAGES,
    Stage,
    StageSpec,
    made_name,
    step_name,
    warmup_refused,
)
from rolloutplan.api.tasks import MAX_TASKS, NOT_BELOW_FULL, Assumption, Contract, Expand
from rolloutplan.api.text_format import DNS_NAME, DnsLabel, DnsName, cel

__all__ = [
    "BUILTIN_VARIABLES",
    "Availability",
    "MetricsRef",
    "OnMetricsUnavailable",
    "PlanSpec",
    "RouteRef",
    "Side",
    "SpecError",
    "Traffic",
    "read_plan_spec",
]

BUILTIN_VARIABLES: Final = ("namespace", "plan", "stage", "deployment", "service", "old", "new", "window", "elapsed")
VARIABLE: Final = "^[a-z][a-zA-Z0-9_]*$"
MAX_TEMPLATES: Final = 16
"""The templates of a run are stored in its status, which must stay small."""
MAX_ALL_PREDICATES: Final = (MAX_STAGES + 1) * MAX_PREDICATES
"""Of all roles together: as many as 16 guards, and 16 predicates in each of 50 stages. Reading them takes 20 ms."""
MAX_REFUSALS: Final = 3
"""The most errors about `use`: finding the nearest name for each is slow."""
LONGEST_BUILTIN: Final = 63
"""Bytes of `$namespace`, `$plan`, `$stage`, `$window` and `$elapsed` at most: names of objects, and whole seconds."""
JUDGED_BY: Final = "give it pass or fail predicates without dryRun, or give the plan guards without it"


class Side(SpecModel):
    """One side: a Deployment and its Service."""

    deployment: DnsName = Field(description="The Deployment of this side, in the plan's namespace.")
    service: DnsLabel | None = Field(
        default=None, description="The Service of this side in the routes; the Deployment's name if left out."
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


class RouteRef(SpecModel):
    """A route with both sides as weighted backends."""

    kind: RouteKindName = Field(description="The kind of the route.")
    name: DnsName = Field(description="The route's name, in the plan's namespace.")
    rules: tuple[RuleRef, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="Which of its rules, by name or by index from 0. If left out, every rule with both Services, "
        "except rules that match requests by headers or query parameters and give everything to the new side already.",
    )

    @property
    def id(self) -> RouteId:
        return RouteId(self.kind, self.name)


ACCEPTED_WITHIN: Final = timedelta(minutes=2)
"""The default of `traffic.acceptedWithin`, also for a plan that can no longer be read: a cloud's load balancer may need
a minute or two until it says that it follows a route."""


class Traffic(SpecModel):
    """How traffic is moved."""

    routes: tuple[RouteRef, ...] = Field(
        min_length=1, max_length=16, description="The routes whose weights are changed, all at the same time."
    )
    accepted_within: Annotated[Duration, at_least("1s"), at_most("1h")] = Field(
        default=ACCEPTED_WITHIN,
        description="How long the gateways may take to accept a weight. Guards stay on meanwhile, and after it the"
        " weights go back. Cloud load balancers may need minutes.",
    )
    drain: Duration = Field(
        default=timedelta(seconds=30), description="Time between weight 0 of a side and a scale-down of it."
    )
    share: Literal["Verify", "Ignore"] = Field(
        default="Verify",
        description="Verify holds the run while the counted requests provably do not follow its weight.",
    )
    endpoints: Literal["Verify", "Ignore"] = Field(
        default="Verify",
        description="Verify requires that the Service of each side has ready endpoints, and only pods of that side."
        " Ignore checks none of that: for a Service without a selector, a headless one, or one of type ExternalName.",
    )


class MetricsRef(SpecModel):
    """The metric source of the predicates."""

    source: DnsName = Field(
        default="default", description="A MetricSource of the plan's namespace, else a ClusterMetricSource."
    )


class OldAvailability(SpecModel):
    """What is required of the old side, so that a rollback can be carried."""

    at_least: Permille = Field(
        default=500,
        description="Share of the ready pods that the old side had when the run began. With fewer, no weight rises, and"
        " the condition RollbackCapacity is False.",
    )


class Availability(SpecModel):
    """What is required of the pods of both sides, as the API server reports them, not metrics."""

    old: OldAvailability = Field(default=OldAvailability(), description="What is required of the old side.")
    ready_within: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the new side may take to be available before the first weight, and added pods later.",
    )
    min_ready: Permille = Field(
        default=500,
        description="Share of the pods that must stay ready, of those that were available before and are still wanted."
        " onFail applies when fewer are ready for longer than grace. Pods that are added during the run count once they"
        " were available; if they fail by themselves, they count after readyWithin.",
    )
    grace: Duration = Field(
        default=timedelta(seconds=10),
        description="How long readiness may be below minReady. With no ready pod, onFail applies at once.",
    )
    max_restarts: StrictInt = Field(
        default=3,
        ge=0,
        le=1_000_000,
        description="Restarts allowed during the run of a single pod, and of every four new pods together. Only the"
        " containers in the Deployment's own template count, not init containers and injected sidecars, nor a restart"
        " of the node.",
    )


class OnMetricsUnavailable(SpecModel):
    """What follows when the metric source itself cannot answer."""

    action: Literal["Hold", "Rollback"] = Field(default="Hold", description="What happens at once.")
    after: Duration | None = Field(
        default=None, description="When `then` happens, counted from the first missing answer."
    )
    then: Literal["Hold", "Rollback"] | None = Field(default=None, description="What happens after `after`.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.after is None) != (self.then is None):
            raise Violations(("", "after and then belong together: write both or neither"))
        return self


class OnIncident(SpecModel):
    """What follows when a value compared by `is` trips for both sides at once, after the stage's weight was set."""

    action: Literal["Hold", "Rollback"] = Field(
        default="Hold",
        description="What happens at once: Hold waits with the guards on; Rollback rolls back like any failure.",
    )
    after: Duration = Field(
        default=timedelta(minutes=5),
        description="When `then` happens, counted from the start of the hold, if both sides are still bad.",
    )
    then: Literal["Hold", "Rollback"] = Field(
        default="Rollback",
        description="What happens after `after`. An outage that began before the stage's weight was set only holds.",
    )


def _check_variable_names(variables: dict[str, str]) -> dict[str, str]:
    for name in variables:
        if name in BUILTIN_VARIABLES:
            raise ValueError(f'"{name}" is a built-in variable: choose another name')
        if not re.fullmatch(VARIABLE, name):
            raise ValueError(f'"{name}" is not a variable name: write letters and digits, a lower-case letter first')
    return variables


class PlanSpec(SpecModel):
    """How traffic moves from the old side to the new one, and what decides each step."""

    hypothesis: str = Field(default="", max_length=1024, description="The expected effect of this change, in words.")
    old: Side = Field(description="The side that has the traffic now.")
    new: Side = Field(description="The side that is to get the traffic.")
    traffic: Traffic = Field(description="How traffic is moved.")
    metrics: MetricsRef = Field(default=MetricsRef(), description="The metric source of the predicates.")
    interval: Annotated[Duration, at_least("1s")] = Field(
        default=timedelta(seconds=10), description="How often fail predicates and guards are evaluated; at least 1s."
    )
    warmup: Duration = Field(
        default=timedelta(0),
        description="How long new pods are left out of what latency predicates judge: events.histogram, and queries of"
        " histogram_quantile, _avg or _fraction, of buckets, of a label quantile, or of a _sum and its _count. Their"
        " windows and counts begin this long after the stage's weight was verified, and again after pods that become"
        " ready later. Must be shorter than every soak. All other predicates judge at once.",
    )
    assumptions: tuple[Assumption, ...] = Field(
        default=(),
        max_length=MAX_TASKS,
        description="What the plan assumes, checked before anything else, the highest impact x uncertainty first.",
    )
    expand: Expand = Field(default=Expand(), description="What is added before any traffic moves.")
    availability: Availability = Field(
        default=Availability(),
        description="What is required of the pods of both sides, as the API server reports them.",
    )
    guards: Predicates = Field(
        default=(), description="Fail predicates that are active from the first weight to the end of the bake."
    )
    stages: tuple[StageSpec, ...] = Field(
        min_length=1, max_length=MAX_STAGES, description="The stages: weights that rise to 100%, or to stopAt."
    )
    stop_at: Weight | None = Field(
        default=None, description="The last weight of a plan that ends below 100%. Both sides then keep traffic."
    )
    bake: Duration = Field(
        default=timedelta(0),
        description="Time at the last weight with the guards still on and the old side still running.",
    )
    contract: Contract = Field(
        default=Contract(), description="What is removed of the old side after the bake; nothing if left out."
    )
    on_fail: Literal["Rollback", "Hold"] = Field(
        default="Rollback", description="What follows when a fail predicate or a guard trips."
    )
    on_undecided: Literal["Hold", "Rollback", "Extend"] = Field(
        default="Hold", description="What follows at a deadline while a predicate is undecided."
    )
    on_incident: OnIncident = Field(
        default=OnIncident(),
        description="What follows when a value compared by `is` trips for both sides at once.",
    )
    on_metrics_unavailable: OnMetricsUnavailable = Field(
        default=OnMetricsUnavailable(), description="What follows when the metric source itself cannot answer."
    )
    deletion_policy: Literal["Restore", "Keep"] = Field(
        default="Restore", description="What happens to the weights when the plan is deleted during a run."
    )
    variables: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(max_length=32),
        AfterValidator(_check_variable_names),
        DropNulls,
    ] = Field(default={}, description="Variables for the plan's predicates, which use NAME as $NAME.")

    _written: "PlanSpec | None" = PrivateAttr(default=None)

    @property
    def written(self) -> "PlanSpec":
        """The plan as a person wrote it, before references were replaced."""
        return self._written or self

    def replaced(self, predicates: Mapping[str, Predicate]) -> "PlanSpec":
        """The same plan with other predicates at these paths; `predicates` yields the paths."""

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
        spec = PlanSpec.model_construct(**changed)  # model_copy would keep the cached hash
        spec._written = self.written  # noqa: SLF001 - its own class
        return spec

    @property
    def has_references(self) -> bool:
        """Whether any of its predicates is a reference."""
        return any(predicate.has_references for _, predicate in self.predicates())

    def steps(self) -> tuple[Stage, ...]:
        """The stages as steps of one weight each, with names such as `canary`, `ramp-w10`, `w5`, `w0-5`."""
        return self._steps

    @cached_property
    def _steps(self) -> tuple[Stage, ...]:
        steps = [(entry, spec, permille) for entry, spec in enumerate(self.stages) for permille in spec.steps]
        return tuple(
            Stage(
                name=step_name(spec, permille),
                index=index,
                permille=permille,
                soak=spec.soak,
                deadline=spec.resolved_deadline,
                pass_=spec.pass_,
                fail=spec.fail,
                approval=spec.approval is not None and permille == spec.steps[0],
                entry=entry,
                warn=spec.warn,
                warmup=self.warmup if spec.warmup is None else spec.warmup,
            )
            for index, (entry, spec, permille) in enumerate(steps)
        )

    def entries(self, stage: Stage) -> tuple[str, ...]:
        """The names of `stages` up to the entry of this stage; an entry without a name is named for its weight."""
        first = self.stages[: stage.entry + 1]
        return tuple(spec.name or made_name(spec.steps[0]) for spec in first)

    def predicates(self) -> Iterator[tuple[str, Predicate]]:
        """Path below the spec, and predicate, of every predicate."""
        yield from ((f"guards[{i}]", guard) for i, guard in enumerate(self.guards))
        for i, stage in enumerate(self.stages):
            yield from ((f"stages[{i}].pass[{j}]", predicate) for j, predicate in enumerate(stage.pass_))
            yield from ((f"stages[{i}].fail[{j}]", predicate) for j, predicate in enumerate(stage.fail))
            yield from ((f"stages[{i}].warn[{j}]", predicate) for j, predicate in enumerate(stage.warn))

    def assumptions_by_risk(self) -> tuple[Assumption, ...]:
        """The assumptions in the order in which they are checked."""
        return tuple(sorted(self.assumptions, key=lambda assumption: -assumption.risk))

    @property
    def has_jobs(self) -> bool:
        """Whether any of its tasks is a Job."""
        of_assumptions = any(assumption.job is not None for assumption in self.assumptions)
        return of_assumptions or bool(self.expand.jobs or self.contract.jobs)

    def tasks(self) -> Iterator[tuple[str, str]]:
        """The path below the spec, and the name, of every named task."""
        yield from ((f"assumptions[{i}].name", assumption.name) for i, assumption in enumerate(self.assumptions))
        yield from ((f"expand.jobs[{i}].name", job.name) for i, job in enumerate(self.expand.jobs))
        yield from ((f"contract.jobs[{i}].name", job.name) for i, job in enumerate(self.contract.jobs))

    def plan_hash(self) -> str:
        """16 hex digits that change if and only if the meaning of the written spec changes.

        Defaults are left out before hashing, so that a finished plan does not start again because somebody writes one
        out or a later version adds a field. Templates are not part of it: their changes start no run and end none.
        """
        return self.written.judged_hash()

    def judged_hash(self) -> str:
        """The same hash for the plan with its references replaced: it also changes with the templates."""
        return self._hash

    def normalized(self) -> "PlanSpec":
        """The plan with one stage for each weight, and without values that equal a default.

        deletionPolicy is left out, because it is not part of the rollout, stopAt, because it repeats the last weight,
        and warmup, because each stage has it.
        """
        stages = tuple(
            StageSpec.model_construct(
                name=stage.name,
                weight=stage.permille,
                soak=stage.soak,
                deadline=None if stage.deadline == stage.soak + DEADLINE_AFTER_SOAK else stage.deadline,
                approval="Required" if stage.approval else None,
                pass_=as_normalized(stage.pass_),
                fail=as_normalized(stage.fail),
                warn=as_normalized(stage.warn),
                warmup=stage.warmup or None,
            )
            for stage in self.steps()
        )
        sides = {
            side: spec.model_copy(update={"service": None}) if spec.service == spec.deployment else spec
            for side, spec in (("old", self.old), ("new", self.new))
        }
        left_out = {"deletion_policy": "Restore", "stop_at": None, "warmup": timedelta(0)}
        return self.model_copy(update={"guards": as_normalized(self.guards), "stages": stages, **sides, **left_out})

    @cached_property
    def _hash(self) -> str:
        plain = self.normalized().model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _rules(self, info: ValidationInfo) -> Self:
        refusals = (
            *(() if is_lenient(info) else rendered(self)),
            *_sides(self),
            *_weights(self),
            *_judged(self),
            *_warmup(self),
            *_contract(self),
            *_duplicate_names("a stage", ((f"stages[{i}].name", s.name) for i, s in enumerate(self.stages) if s.name)),
            *_duplicate_names(
                "a predicate", ((f"{where}.name", p.name) for where, p in self.predicates() if _has_own_name(p))
            ),
            *islice(_uses(self), MAX_REFUSALS),
            *_same_name_in_stage(self),
            *_templates(self),
            *_duplicate_names("a task", self.tasks()),
            *_duplicate_names(
                "a route", ((f"traffic.routes[{i}].name", r.name) for i, r in enumerate(self.traffic.routes))
            ),
        )
        if refusals:
            raise Violations(*refusals)
        return self


def read_begun_spec(raw: Mapping[str, Any], plan_hash: str) -> PlanSpec | None:
    """Parse the `spec` with which a run began, by its hash, without the limits and rules that came after that.

    None where it is another plan, or too damaged: then nothing can be judged by it.
    """
    try:
        check_size(raw, MAX_BEGUN)
        spec = read(PlanSpec, raw, lenient=True)
    except SpecError:
        return None
    return spec if spec.plan_hash() == plan_hash else None


def read_plan_spec(raw: Mapping[str, Any]) -> PlanSpec:
    """Parse the `spec` of a RolloutPlan. Raises SpecError: one line for each violation, with field and fix."""
    check_size(raw, MAX_PLAN)
    _check_number(raw)
    check_jobs(_jobs(raw))
    return read(PlanSpec, raw)


def _jobs(raw: Mapping[str, Any]) -> dict[str, object]:
    """The Jobs as written, by their paths below the spec."""
    assumptions = {
        f"assumptions[{i}].job": safe_get.value(each, "job")
        for i, each in enumerate(safe_get.items(raw, "assumptions"))
    }
    parts = {
        f"{part}.jobs[{i}]": each
        for part in ("expand", "contract")
        for i, each in enumerate(safe_get.items(raw, part, "jobs"))
    }
    return assumptions | parts


def _check_number(raw: Mapping[str, Any]) -> None:
    """Refuse too many predicates before any of them is read. Raises TooLargeError."""
    stages = [each for each in safe_get.items(raw, "stages") if isinstance(each, Mapping)]
    lists = [safe_get.items(raw, "guards"), *(stage.get(role) for stage in stages for role in ("pass", "fail", "warn"))]
    count = sum(len(each) for each in lists if isinstance(each, list | tuple))
    if count > MAX_ALL_PREDICATES:
        words = f"too many predicates in guards and all stages: write at most {MAX_ALL_PREDICATES}, not {count}"
        raise TooLargeError(f"spec.stages: {words}")


# ---- the rules between fields: each yields path and message of every violation -------------------


def rendered(spec: PlanSpec) -> FieldErrors:
    """Refuse queries that would be too large, or too many, once their variables are filled in."""
    sides = (spec.old, spec.new)
    sizes = {name: len(value.encode()) for name, value in spec.variables.items()}
    sizes |= dict.fromkeys(BUILTIN_VARIABLES, LONGEST_BUILTIN)
    sizes |= dict.fromkeys(("deployment", "old", "new"), max(len(side.deployment) for side in sides))
    sizes["service"] = max(len(side.service_name) for side in sides)
    return rendered_refusals(_texts(spec), sizes)


def _texts(spec: PlanSpec) -> Iterator[Text]:
    for i, assumption in enumerate(spec.assumptions):
        if assumption.predicate is not None:
            yield Text(f"assumptions[{i}].predicate.query", assumption.predicate.query, 1)
    steps = sum(len(stage.steps) for stage in spec.stages)
    for i, guard in enumerate(spec.guards):
        yield from texts_of(f"guards[{i}]", guard, steps)
    for i, stage in enumerate(spec.stages):
        for role, predicates in (("pass", stage.pass_), ("fail", stage.fail), ("warn", stage.warn)):
            for j, predicate in enumerate(predicates):
                yield from texts_of(f"stages[{i}].{role}[{j}]", predicate, len(stage.steps))


def _sides(spec: PlanSpec) -> FieldErrors:
    if spec.old.deployment == spec.new.deployment:
        yield "new.deployment", f'"{spec.new.deployment}" is the old side too: name the Deployment of the new version'
    elif spec.old.service_name == spec.new.service_name:
        yield "new.service", f'"{spec.new.service_name}" is the old side\'s Service too: give each side its own'


def _weights(spec: PlanSpec) -> FieldErrors:
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
        yield where, f"the last weight is {format_weight(last)}: end the stages with {end}"


def _contract(spec: PlanSpec) -> FieldErrors:
    if spec.contract.wanted and spec.stop_at is not None and spec.stop_at < FULL:
        yield "contract", NOT_BELOW_FULL


def _judged(spec: PlanSpec) -> FieldErrors:
    for i, stage in enumerate(spec.stages):
        if all(each.dry_run for each in (*spec.guards, *stage.pass_, *stage.fail)):
            yield f"stages[{i}]", f"nothing judges this stage: {JUDGED_BY}"


def _warmup(spec: PlanSpec) -> FieldErrors:
    for i, stage in enumerate(spec.stages):
        if spec.warmup and stage.warmup is None and spec.warmup >= stage.soak:
            yield "warmup", f"stages[{i}]: {warmup_refused(spec.warmup, stage.soak)}"
            return


def _duplicate_names(what: str, named: Iterable[tuple[str, str]]) -> FieldErrors:
    seen: dict[str, str] = {}
    for where, name in named:
        if name in seen:
            yield where, f'"{name}" is already the name of {what}, at {seen[name]}: choose another name'
        seen.setdefault(name, where)


def _has_own_name(predicate: Predicate) -> bool:
    """Whether its name must be unique in the plan; a `use` without a name has the name of the used predicate."""
    return predicate.use is None or predicate.name_ is not None


def _uses(spec: PlanSpec) -> FieldErrors:
    named = {predicate.name: predicate for _, predicate in spec.predicates() if _has_own_name(predicate)}
    for where, predicate in spec.predicates():
        if predicate.use is None:
            continue
        used = named.get(predicate.use)
        if used is None:
            near = get_close_matches(predicate.use, [name for name, other in named.items() if other.use is None], n=1)
            hint = f"did you mean {near[0]}?" if near else "write the name of one"
            yield f"{where}.use", f'"{predicate.use}" is not a predicate of this plan: {hint}'
        elif used.use is not None:
            yield f"{where}.use", f'"{predicate.use}" itself uses another predicate: write the name of that one'
        elif used.alert is not None and ".pass[" in where:
            yield f"{where}.use", f'"{predicate.use}": {NOT_FOR}'


def _same_name_in_stage(spec: PlanSpec) -> FieldErrors:
    """A `use` in a stage that already has a predicate of the same name."""
    if all(_has_own_name(predicate) for _, predicate in spec.predicates()):
        return
    by_stage, reported = defaultdict[str, list[tuple[str, Predicate]]](list), set[str]()
    for where, predicate in spec.predicates():
        by_stage[where.partition(".")[0] if where.startswith("stages") else ""].append((where, predicate))
    for i in range(len(spec.stages)):
        here = by_stage[""] + by_stage[f"stages[{i}]"]
        seen: dict[str, str] = {}
        for where, predicate in sorted(here, key=lambda each: not _has_own_name(each[1])):
            if predicate.name in seen and not _has_own_name(predicate) and where not in reported:
                reported.add(where)
                words = f'"{predicate.name}" is already evaluated here, as {seen[predicate.name]}'
                yield f"{where}.use", f"{words}: remove this, or give it another name"
            seen.setdefault(predicate.name, where)


def _templates(spec: PlanSpec) -> FieldErrors:
    named = {predicate.template for _, predicate in spec.predicates() if predicate.template is not None}
    if len(named) > MAX_TEMPLATES:
        yield "", f"{len(named)} templates are too many: name at most {MAX_TEMPLATES}"
