"""Of a plan's spec: what is required of pods, and what follows where metrics or both sides fail."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from rolloutplan.api.parsing import SpecModel, StrictInt, Violations
from rolloutplan.api.quantities import Duration, PermilleOfPods


class OldAvailability(SpecModel):
    """What is required of the old side, so that a rollback can be carried."""

    at_least: PermilleOfPods = Field(
        default=500,
        description="Percentage of the ready pods that the old side had when the run began, as 50% or 50, and never"
        " a number of pods. With fewer, no weight rises but for the last step after a holdback, and the condition"
        " RollbackCapacity is False.",
    )


class Availability(SpecModel):
    """What is required of the pods of both sides, as the API server reports them, not metrics."""

    old: OldAvailability = Field(default=OldAvailability(), description="What is required of the old side.")
    ready_within: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the new side may take to be available before the first weight, and added pods later.",
    )
    min_ready: PermilleOfPods = Field(
        default=500,
        description="Percentage of the pods that must stay ready, as 50% or 50, and never a number of pods: of those"
        " that were available before and are still wanted. onFail applies when fewer are ready for longer than grace."
        " Pods that are added during the run count once they were available; if they fail by themselves, they count"
        " after readyWithin.",
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
