"""The fields of a plan's spec, as its author writes them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field

from rolloutplan.api.availability import Availability, OnIncident, OnMetricsUnavailable
from rolloutplan.api.bake import BAKE_TEXT, NO_BAKE, Bake
from rolloutplan.api.parsing import DropNulls, SpecModel
from rolloutplan.api.predicate import Predicate, Predicates
from rolloutplan.api.quantities import Duration, Weight, at_least
from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.route import FEATURE_FLAG, REPLICAS
from rolloutplan.api.stage import MAX_STAGES, StageSpec
from rolloutplan.api.tasks import MAX_TASKS, Assumption, Contract, Expand
from rolloutplan.api.text_format import DnsLabel, DnsName, Owner, Runbook, Variant
from rolloutplan.api.traffic import RouteRef, Traffic

VARIABLE: Final = "^[a-z][a-zA-Z0-9_]*$"


class Side(SpecModel):
    """One side: a Deployment and its Service; with a feature flag also a variant of it."""

    deployment: DnsName = Field(description="The Deployment of this side, in the plan's namespace.")
    service: DnsLabel | None = Field(
        default=None, description="The Service of this side in the routes; the Deployment's name if left out."
    )
    variant: Variant | None = Field(
        default=None,
        description="The variant that is this side, in the feature flags that the routes name. Both sides may be"
        " variants of one Deployment. Predicates name it as $variant.",
    )

    @property
    def service_name(self) -> str:
        return self.service or self.deployment


class Names(NamedTuple):
    """What the old and the new side are called in weights, or as which Services."""

    old: str
    new: str


class MetricsRef(SpecModel):
    """The metric source of the predicates."""

    source: DnsName = Field(
        default="default", description="A MetricSource of the plan's namespace, else a ClusterMetricSource."
    )


def _check_variable_names(variables: dict[str, str]) -> dict[str, str]:
    for name in variables:
        if name in BUILTIN_VARIABLES:
            raise ValueError(f'"{name}" is a built-in variable: choose another name')
        if not re.fullmatch(VARIABLE, name):
            raise ValueError(f'"{name}" is not a variable name: write letters and digits, a lower-case letter first')
    return variables


class PlanFields(SpecModel):
    """What the author of a plan writes; `PlanSpec` adds the rules between fields, the steps and the hash."""

    hypothesis: str = Field(default="", max_length=1024, description="The expected effect of this change, in words.")
    owner: Owner | None = Field(default=None, description="The team that answers for this change.")
    runbook: Runbook | None = Field(
        default=None,
        description="The address of the page that says what to do when this change fails. Events and records have it,"
        " so all who may read these can read it.",
    )
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
        default=(),
        description="Fail predicates that are active from the first weight to the end of the bake. Those with vsOld"
        " have nothing to compare with at 100%: give the plan one with is, or bake.holdback.",
    )
    stages: tuple[StageSpec, ...] = Field(
        min_length=1, max_length=MAX_STAGES, description="The stages: weights that rise to 100%, or to stopAt."
    )
    stop_at: Weight | None = Field(
        default=None, description="The last weight of a plan that ends below 100%. Both sides then keep traffic."
    )
    bake: Bake = Field(
        default=NO_BAKE,
        description="Time at the last weight with the guards still on and the old side still running: a duration, or a"
        " mapping that keeps a control group on the old side.",
        json_schema_extra=BAKE_TEXT,
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
    records_kept: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="How many RolloutRecords of this plan are kept; the operator's own number if left out (20).",
    )
    variables: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(max_length=32),
        AfterValidator(_check_variable_names),
        DropNulls,
    ] = Field(default={}, description="Variables for the plan's predicates, which use NAME as $NAME.")

    @property
    def is_one_deployment(self) -> bool:
        """Whether both sides are variants of one Deployment."""
        return self.old.deployment == self.new.deployment

    @cached_property
    def replicas(self) -> RouteRef | None:
        """The route of a plan that moves traffic by the numbers of pods."""
        return next((ref for ref in self.traffic.routes if ref.kind == REPLICAS), None)

    @cached_property
    def services(self) -> Names:
        """The Service of each side: the same one with one Deployment, and with Replicas."""
        if self.replicas is not None:
            return Names(self.replicas.name, self.replicas.name)
        return Names(self.old.service_name, self.new.service_name)

    @property
    def shared_service(self) -> str:
        """The one Service of both sides; empty where each has its own."""
        old, new = self.services
        return old if old == new else ""

    @cached_property
    def names(self) -> Names:
        """What identifies each side in weights and messages, in every route of the plan.

        That is its Service; behind one Service it is its Deployment, and in one Deployment the variant of it, as in
        `checkout/on`. The last is no name that a Service can have.
        """
        sides = (self.old, self.new)
        if self.is_one_deployment:
            return Names(*(f"{side.deployment}/{side.variant}" for side in sides))
        return Names(*(side.deployment for side in sides)) if self.replicas is not None else self.services

    @property
    def titles(self) -> Names:
        """What people call the sides: their Deployments, or the variants of the one."""
        return self.names if self.is_one_deployment else Names(self.old.deployment, self.new.deployment)

    def called(self, ref: RouteRef) -> Names:
        """What a route of the plan calls the sides."""
        if ref.kind == FEATURE_FLAG:
            return Names(self.old.variant or "", self.new.variant or "")
        old, new = self.names
        return Names(ref.old or old, ref.new or new)

    def predicates(self) -> Iterator[tuple[str, Predicate]]:
        """Path below the spec, and predicate, of every predicate."""
        yield from ((f"guards[{i}]", guard) for i, guard in enumerate(self.guards))
        for i, stage in enumerate(self.stages):
            yield from ((f"stages[{i}].pass[{j}]", predicate) for j, predicate in enumerate(stage.pass_))
            yield from ((f"stages[{i}].fail[{j}]", predicate) for j, predicate in enumerate(stage.fail))
            yield from ((f"stages[{i}].warn[{j}]", predicate) for j, predicate in enumerate(stage.warn))

    def tasks(self) -> Iterator[tuple[str, str]]:
        """The path below the spec, and the name, of every named task."""
        yield from ((f"assumptions[{i}].name", assumption.name) for i, assumption in enumerate(self.assumptions))
        yield from ((f"expand.jobs[{i}].name", job.name) for i, job in enumerate(self.expand.jobs))
        yield from ((f"contract.jobs[{i}].name", job.name) for i, job in enumerate(self.contract.jobs))
