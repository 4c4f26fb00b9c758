"""What a rehearsal is given, and what it tells: the plan with what belongs to it, the decisions, the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Decision, Status, TemplateStatus
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.tools.rehearsal.faults import Incident

START: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
"""A Monday morning: freezes of policies depend on the day and the time."""
TESTERS: Final = 0.01
"""The share of the requests that testers send, in a stage for them alone: nobody knows it."""
PODS: Final = 4
"""Of a Deployment that is not in the files."""
APPROVED_AFTER: Final = timedelta(minutes=1)


class RehearsalError(ValueError):
    """What is asked for does not fit the plan; the message has the fix."""


@dataclass(frozen=True, slots=True)
class RehearsalInput:
    """The plan with its templates filled in, what belongs to it, and what is assumed."""

    namespace: str
    name: str
    spec: PlanSpec
    source: SourceView
    traffic: float
    """Requests per second of both sides together."""
    bad: float
    """The usual share of requests that go wrong, and of those that are slow."""
    seed: int = 0
    faults: Sequence[Incident] = ()
    answers: Mapping[str, float] = field(default_factory=dict)
    """What queries usually answer, by predicate or assumption."""
    approved_after: timedelta | None = APPROVED_AFTER
    """How long a person takes to approve; None: nobody does."""
    pods: Mapping[str, int] = field(default_factory=dict)
    """The replicas of the Deployments, as far as they are known."""
    templates: Sequence[TemplateStatus] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    policies: Sequence[PolicyView] = ()
    start: datetime = START


class Moment(NamedTuple):
    """A decision, and the new side's share of the traffic once it was carried out, in permille."""

    decision: Decision
    share: int


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How a plan went."""

    started: datetime
    ended: datetime
    status: Status
    """At the end."""
    moments: tuple[Moment, ...]
    answers: Mapping[str, str]
    """How the query of each predicate was answered, in words."""
    requests: int
    exposed: int
    """The requests that the new side got."""
    harmed: int
    """The requests that went wrong, or were slow, while a fault made those of their side so."""
    fault_at: datetime | None
    """When the first fault began that users feel."""
    restored_at: datetime | None
    """When the old weights were in force again."""
    gave_up: str = ""
    """Why it ends before the run does; empty where it does not."""

    @property
    def restored_after(self) -> timedelta | None:
        """The time from the fault until the old weights were back."""
        if self.fault_at is None or self.restored_at is None or self.restored_at < self.fault_at:
            return None
        return self.restored_at - self.fault_at
