"""The result of a decision: the new status, the actions, and when to reconcile again.

The rules return it; `PlanRun` makes effects of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rolloutplan.api.quantities import Comparison
from rolloutplan.api.status import RouteWeights, Status
from rolloutplan.engine.model.queries import NumberQuery


@dataclass(frozen=True, slots=True)
class PatchRoute:
    """Write these weights, if the route is still as in the snapshot. Absolute, so writing twice does no harm.

    A target without rules changes no weight: only the undo command is written, beside the token that is there.
    """

    target: RouteWeights
    fencing_token: str
    undo_command: str
    """The undo command to leave on the route; empty removes it."""


@dataclass(frozen=True, slots=True)
class PatchPlanMetadata:
    """Set or remove our finalizer and the undo command on the plan itself."""

    finalizer: bool
    undo_annotation: str


@dataclass(frozen=True, slots=True)
class RunPreflight:
    """Read what no watch shows: Services, pods, whether the source accepts the queries."""


@dataclass(frozen=True, slots=True)
class RunJob:
    """Read a Job, and create it where there is none. With `make` False it existed before, and is not created again."""

    name: str
    manifest: Mapping[str, Any]
    make: bool


@dataclass(frozen=True, slots=True)
class StopJobs:
    """Suspend the Jobs of the plan that have not ended."""


@dataclass(frozen=True, slots=True)
class QueryOnce:
    """Send one query and compare its value: for an assumption, or for an increase of the weight."""

    name: str
    query: NumberQuery
    comparison: Comparison
    source: str = ""
    """The ClusterMetricSource to ask; empty for the plan's own source."""


@dataclass(frozen=True, slots=True)
class CheckGate:
    """Send all queries of the gate before an increase of the weight."""

    questions: tuple[QueryOnce, ...]


@dataclass(frozen=True, slots=True)
class FindUsers:
    """Look for objects of any kind of route that give a Service of the namespace traffic."""

    service: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the replicas of a Deployment, unless an autoscaler does."""

    deployment: str
    replicas: int


Action = PatchRoute | PatchPlanMetadata | RunPreflight | CheckGate | RunJob | StopJobs | QueryOnce | FindUsers | Scale


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """`status` is written first, then the actions are carried out in order, then the new decisions are published.

    Where `status` is None there is nothing to write. With `urgent`, a status that cannot be written delays no action:
    a rollback writes the weights first, whatever else fails.
    """

    status: Status | None = None
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    urgent: bool = False
    only_reports_refusals: bool = False
    """Whether `status` only reports refusals: nothing else was decided."""
