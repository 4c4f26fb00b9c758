"""Effects that a `PlanRun` returns to its host, and their results.

An `Effect` carries the snapshot on which it was decided. The host writes over the versions in that snapshot, and the
API server refuses the write if they have changed. The result has the type of the work, or is a `Failure` with the API
server's message: a refusal is a fact of the next snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias, cast

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Decision, Status
from rolloutplan.engine.model.actions import (
    Action,
    CheckGate,
    FindUsers,
    PatchPlanMetadata,
    PatchRoute,
    QueryOnce,
    RunJob,
    RunPreflight,
    Scale,
    StopJobs,
)
from rolloutplan.engine.model.queries import CountQuestion, Question, Series
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.snapshot import (
    FAULT,
    GateAnswers,
    JobsStopped,
    JobView,
    Pods,
    PreflightResult,
    QueryResult,
    RouteView,
    Scaled,
    ServiceUsers,
    Snapshot,
)
from rolloutplan.stats.verdict import Answer

_CHANGED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})
_PASSING = frozenset({0, HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed, with the API server's message.

    `status` is the HTTP status, 0 where there was no answer: then it may have succeeded. `retry_after` is in seconds,
    where the server sent one.
    """

    status: int
    reason: str
    message: str = ""
    retry_after: float | None = None

    @property
    def may_be_stale(self) -> bool:
        """Whether the object may have changed since it was seen: only another read shows."""
        return self.status in _CHANGED

    @property
    def definite(self) -> bool:
        """Whether the API server understood and refused the request; else it may accept it the next time."""
        passing = self.status in _PASSING or self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= 500
        return not passing

    @classmethod
    def internal(cls, error: BaseException) -> Failure:
        """The failure of an effect that raised an exception: a fault of the operator."""
        return cls(0, FAULT, f"{type(error).__name__}: {error}"[:512])

    @property
    def uncertain(self) -> bool:
        """Whether the request may have succeeded: there was no answer, or one that a proxy may have sent."""
        return not self.status or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def words(self) -> str:
        """The message alone, where there is one."""
        return self.message or str(self)

    @property
    def told(self) -> str:
        """What is told of it: without the status where the message says all, as of a right that is missing."""
        return self.message if self.reason == FAULT or isinstance(self.message, MissingRight) else str(self)

    def __str__(self) -> str:
        words = f"{self.status} {self.reason}" if self.status else self.reason
        return f"{words}: {self.message}" if self.message else words


class Key(NamedTuple):
    """Identifies the subject of an effect. One effect per key is in flight, and refusals are stored by key."""

    kind: str
    name: str = ""


STATUS, MARKS, STOP = Key("status"), Key("marks"), Key("stop")
PREFLIGHT, GATE, PODS, LINT, READ_PLAN = Key("preflight"), Key("gate"), Key("pods"), Key("lint"), Key("read plan")
USERS, LOOK = Key("users"), Key("look")
WRITES: Final = frozenset({"status", "marks", "route", "job", "scale"})
"""The kinds of effects that change objects of users: one at a time, except in a rollback."""
_AWAITED: Final = frozenset({"seq", "intent", "task"})
"""The fields of a status for which weights, Jobs and what is told of a decision wait."""


@dataclass(frozen=True, slots=True)
class Record:
    """Write a status, if the plan is still at the version in the snapshot. `patch` is the difference."""

    status: Status
    patch: Mapping[str, Any]

    @property
    def is_awaited(self) -> bool:
        """Whether something is done or told only when this is written; not of what was measured alone."""
        return not _AWAITED.isdisjoint(self.patch)


@dataclass(frozen=True, slots=True)
class WriteLook:
    """Write when the run was last looked at, over the newest version of the plan. It may be late, refused or lost."""

    at: datetime
    published: Mapping[str, int] = field(default_factory=dict)
    """The cursors of sinks that are further than the status says."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Read the plan: it has changed, or may have changed, since it was seen."""


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """Read a route: it may have changed since it was seen, or its watch may be down."""

    route: RouteId


@dataclass(frozen=True, slots=True)
class ListPods:
    """List the pods of the new side. `containers` are those of its template."""

    selector: str
    containers: frozenset[str]


@dataclass(frozen=True, slots=True)
class LintQueries:
    """Look for queries that are probably wrong. It takes CPU, and no request."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Send all queries of one predicate to the metric source, for one instant."""

    name: str
    questions: tuple[Question, ...] | tuple[CountQuestion, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a recorded decision to a sink. `recorded` is False for a notice that no status can hold."""

    sink: str
    decision: Decision
    recorded: bool = True


@dataclass(frozen=True, slots=True)
class NoEffect:
    """A write of a route that the API server accepted, and that left its weights as they were.

    `seen` is the route after it.
    """

    seen: RouteView


Work: TypeAlias = (
    Record
    | WriteLook
    | ReadPlan
    | ReadRoute
    | ListPods
    | LintQueries
    | Evaluate
    | Publish
    | PatchRoute
    | PatchPlanMetadata
    | RunPreflight
    | CheckGate
    | RunJob
    | StopJobs
    | QueryOnce
    | FindUsers
    | Scale
)
Answers: TypeAlias = Mapping[str, Answer | Series]
"""Answers by the part of their question; optional parts may be missing."""
Result: TypeAlias = (
    Failure
    | NoEffect
    | PreflightResult
    | GateAnswers
    | ServiceUsers
    | JobView
    | JobsStopped
    | QueryResult
    | Scaled
    | Pods
    | Answers
    | str
    | None
)
"""The result of an effect; None where it succeeded and the next facts show all that it changed."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Work for the host, which returns it with its result, once; a late, repeated or lost result does no harm.

    `urgent` means a rollback: it goes before everything else, and writes over the newest known version.
    """

    number: int
    key: Key
    work: Work
    snapshot: Snapshot
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects to carry out, in the order of their importance, and when to reconcile again.

    `decided` are the decisions since the last call, recorded or already carried out. `look_at` is when to reconcile a
    run in which nothing is to be done before, so that it can be said that somebody looks at it.
    """

    todo: tuple[Effect, ...] = ()
    wake_at: datetime | None = None
    decided: tuple[Decision, ...] = ()
    look_at: datetime | None = None


def key_of(action: Action) -> Key:
    """The key of an action."""
    match action:
        case PatchRoute():
            return Key("route", str(action.target.id))
        case PatchPlanMetadata():
            return MARKS
        case RunPreflight():
            return PREFLIGHT
        case CheckGate():
            return GATE
        case RunJob():
            return Key("job", action.name)
        case StopJobs():
            return STOP
        case QueryOnce():
            return Key("observation", action.name)
        case FindUsers():
            return USERS
        case Scale():
            return Key("scale", action.deployment)


def target_of(effect: Effect) -> RouteId:
    """The route that an effect writes."""
    return cast("PatchRoute", effect.work).target.id


def version_of(effect: Effect) -> str:
    """The version of the object on which the write of an effect is based."""
    if isinstance(effect.work, PatchRoute):
        return effect.snapshot.routes[effect.work.target.id].version
    return effect.snapshot.plan.version


_SUBJECTS: Final[Mapping[Key, str]] = {
    STATUS: "the status of the plan",
    MARKS: "the finalizer and annotations of the plan",
    STOP: "the suspension of the plan's Jobs",
    PREFLIGHT: "the Services and pods of the plan",
    PODS: "the list of the new side's pods",
}


def name_of(effect: Effect) -> str:
    """The subject of an effect, as shown to users."""
    match effect.work:
        case PatchRoute():
            return str(effect.work.target.id)
        case RunJob():
            return f"Job {effect.work.name}"
        case Scale():
            return f"the scale of Deployment {effect.work.deployment}"
        case Publish():
            return f"publication to {effect.work.sink}"
        case FindUsers():
            return f"what gives Service {effect.work.service} traffic"
        case _:
            return _SUBJECTS.get(effect.key) or " ".join(part for part in effect.key if part)
