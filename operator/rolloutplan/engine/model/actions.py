"""What follows from a look: the status to be, what to do in the world, and when to look again."""

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
    """Write these weights, if the route still holds what the look showed. Absolute, so twice is once."""

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
    """Ask around for what no watch tells: Services, pods, whether the source takes the queries."""


@dataclass(frozen=True, slots=True)
class RunJob:
    """Read a Job, and make it where there is none. With `make` False it was there before, and is not made again."""

    name: str
    manifest: Mapping[str, Any]
    make: bool


@dataclass(frozen=True, slots=True)
class QueryOnce:
    """Ask one query, and whether its value is what it must be: what an assumption rests on, or an increment."""

    name: str
    query: NumberQuery
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class CheckGate:
    """Ask all that must be so before an increment."""

    questions: tuple[QueryOnce, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Give a Deployment so many replicas, unless an autoscaler does that."""

    deployment: str
    replicas: int


Action = PatchRoute | PatchPlanMetadata | RunPreflight | CheckGate | RunJob | QueryOnce | Scale


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """`status` is written first, then the actions are done in order, then the new decisions are told as Events.

    Where `status` is None there is nothing to write: what is recorded stands. With `urgent`, a status that cannot be
    written holds up no action: weights go back first, whatever else fails.
    """

    status: Status | None = None
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    urgent: bool = False
    only_reports_refusals: bool = False
    """Whether `status` only tells what is refused: nothing else was decided."""
