"""Typed changes of a status and of its parts: mypy refuses a misspelt field or a value of the wrong type.

pydantic's own `model_copy(update=...)` takes any keys with any values, and validates none of them.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict, Unpack

from rolloutplan.api.printable import printable
from rolloutplan.api.status import (
    Condition,
    Decision,
    Held,
    Instant,
    Intent,
    Paused,
    Phase,
    PodRestarts,
    PredicateStatus,
    RouteWeights,
    SourceStatus,
    SpecSection,
    StageStatus,
    Status,
    Task,
    TemplateStatus,
    Weights,
)

_SHOWN: Final = frozenset({"message", "failed", "waiting_for"})


class RunChange(TypedDict, total=False):
    """The fields that a rule may set. Phase, reason and decisions follow from the transition instead."""

    message: str
    plan_hash: str
    revision: str
    run: int
    counted_since: Instant | None
    entered_at: Instant | None
    stage: StageStatus | None
    weights: Weights
    predicates: tuple[PredicateStatus, ...]
    templates: tuple[TemplateStatus, ...]
    source: SourceStatus | None
    labels: dict[str, str]
    namespace_labels: dict[str, str]
    spec_digest: tuple[SpecSection, ...]
    locked_stages: tuple[str, ...]
    restarted_before: tuple[PodRestarts, ...]
    old_pods: int
    failed: str
    held: Held | None
    place: Literal["", "Lost", "Retaken"]
    paused: Paused | None
    approved: str
    approved_ahead: tuple[str, ...]
    approved_seals: dict[str, str]
    repaired_at: tuple[Instant, ...]
    revert_asked: Instant | None
    intent: Intent | None
    task: Task | None
    completed_tasks: tuple[str, ...]
    scaled_to: int
    revert: str


class StatusChange(RunChange, total=False):
    """Every field of a status."""

    phase: Phase
    observed_generation: int
    reason: str
    seq: int
    last_look: Instant | None
    published_through: dict[str, int]
    epoch: int
    verdict: str
    waiting_for: str
    tokens: tuple[str, ...]
    decisions: tuple[Decision, ...]
    conditions: tuple[Condition, ...]
    damaged: tuple[str, ...]


class StageChange(TypedDict, total=False):
    """The fields of a stage that may change; those that identify it may not."""

    entered_at: Instant | None
    judged_since: Instant | None
    verified_at: Instant | None
    soak_until: Instant | None
    deadline_at: Instant | None
    stability: bool | None
    forecast: str
    next_stage: str
    warned: str
    warmup_since: Instant | None
    warmup_until: Instant | None


class WeightsChange(TypedDict, total=False):
    """The fields of the weights that may change; sides and snapshot are fixed during a run."""

    desired: str
    measured: str
    written: tuple[RouteWeights, ...]


class TaskChange(TypedDict, total=False):
    """The fields of a running task that may change."""

    job: str
    made: bool
    attempt: int
    since: Instant
    deadline_at: Instant


def change(status: Status, **changes: Unpack[StatusChange]) -> Status:
    """The status with these fields changed. Nothing is validated at run time: mypy checked the types.

    What a person reads in them may quote others, and is made printable.
    """
    shown = {name: printable(value) for name, value in changes.items() if name in _SHOWN and isinstance(value, str)}
    return status.model_copy(update={**changes, **shown})


def change_stage(stage: StageStatus, **changes: Unpack[StageChange]) -> StageStatus:
    """The stage with these fields changed."""
    return stage.model_copy(update=dict(changes))


def change_weights(weights: Weights, **changes: Unpack[WeightsChange]) -> Weights:
    """The weights with these fields changed."""
    return weights.model_copy(update=dict(changes))


def change_task(task: Task, **changes: Unpack[TaskChange]) -> Task:
    """The task with these fields changed."""
    return task.model_copy(update=dict(changes))
