"""What a plan's run asks of its host, and what comes back.

An `Effect` carries the snapshot it was decided upon: whoever carries it out writes over what was seen then, and the API
server refuses the write where that has changed since. What comes back is a result of the work's own type, or a
`Failure` in the API server's own words: a refusal is a fact of the next snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias, cast

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Decision, Status
from rolloutplan.engine.model.actions import (
    Action,
    CheckGate,
    PatchPlanMetadata,
    PatchRoute,
    QueryOnce,
    RunJob,
    RunPreflight,
    Scale,
)
from rolloutplan.engine.model.queries import CountQuestion, Question, Series
from rolloutplan.engine.model.snapshot import GateAnswers, JobView, PreflightResult, QueryResult, Scaled, Snapshot
from rolloutplan.stats.verdict import Answer

_CHANGED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})
_PASSING = frozenset({0, HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was not answered with success, as the API server says it.

    `status` is the HTTP status, 0 where there was no answer: then it may be done all the same. `retry_after` is in
    seconds, where the server named one.
    """

    status: int
    reason: str
    message: str = ""
    retry_after: float | None = None

    @property
    def may_be_stale(self) -> bool:
        """Whether the object may have changed since it was seen: only another read can tell."""
        return self.status in _CHANGED

    @property
    def definite(self) -> bool:
        """Whether the API server has understood the request and says no; else it may say yes the next time."""
        passing = self.status in _PASSING or self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= 500
        return not passing

    @property
    def uncertain(self) -> bool:
        """Whether it may be done all the same: there was no answer, or one that came of the way to the server."""
        return not self.status or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def words(self) -> str:
        """The sentence alone, where there is one."""
        return self.message or str(self)

    def __str__(self) -> str:
        words = f"{self.status} {self.reason}" if self.status else self.reason
        return f"{words}: {self.message}" if self.message else words


class Key(NamedTuple):
    """What an effect is about. Of each there is one under way, and a refusal is remembered by it."""

    kind: str
    name: str = ""


STATUS, MARKS = Key("status"), Key("marks")
PREFLIGHT, GATE, PODS, LINT, READ_PLAN = Key("preflight"), Key("gate"), Key("pods"), Key("lint"), Key("read plan")


@dataclass(frozen=True, slots=True)
class Record:
    """Write a status, if the plan is still at the version that the snapshot shows. `patch` is what differs."""

    status: Status
    patch: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Read the plan: it is no longer what was seen, or nobody knows."""


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """Read a route: it is no longer what was seen, or its watch may be down."""

    route: RouteId


@dataclass(frozen=True, slots=True)
class ListPods:
    """List the pods of the new side."""

    selector: str


@dataclass(frozen=True, slots=True)
class Pods:
    """What the pods of a side say: container restarts together, and the worst reason that one of them gives."""

    restarts: int
    worst: str


@dataclass(frozen=True, slots=True)
class LintQueries:
    """Snapshot for queries that can hardly mean what they say. It takes CPU, and no request."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Ask the metric source all that one predicate needs, at one instant."""

    name: str
    questions: tuple[Question, ...] | tuple[CountQuestion, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand a decision that is recorded to a sink. `recorded` is False for a notice that no status can hold."""

    sink: str
    decision: Decision
    recorded: bool = True


Work: TypeAlias = (
    Record
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
    | QueryOnce
    | Scale
)
Answers: TypeAlias = Mapping[str, Answer | Series]
"""What was answered, by the part of each question; parts that were not waited for may be missing."""
Result: TypeAlias = (
    Failure | PreflightResult | GateAnswers | JobView | QueryResult | Scaled | Pods | Answers | str | None
)
"""What comes of an effect; None where it is done, and all that there is to know of it is in the next facts."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do. It comes back with its result, once; what comes late, twice or never does no harm.

    With `urgent`, weights are on their way back: it goes before everything else, over the newest that is known.
    """

    number: int
    key: Key
    work: Work
    snapshot: Snapshot
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows from the facts: effects, in the order of their importance, and when to look again.

    `decided` are the decisions that are new since the last time, recorded or acted upon.
    """

    todo: tuple[Effect, ...] = ()
    wake_at: datetime | None = None
    decided: tuple[Decision, ...] = ()


def key_of(action: Action) -> Key:
    """What an action is about."""
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
        case QueryOnce():
            return Key("observation", action.name)
        case Scale():
            return Key("scale", action.deployment)


def target_of(effect: Effect) -> RouteId:
    """The route that an effect writes."""
    return cast("PatchRoute", effect.work).target.id


def version_of(effect: Effect) -> str:
    """The version of the object that an effect was to be written over."""
    if isinstance(effect.work, PatchRoute):
        return effect.snapshot.routes[effect.work.target.id].version
    return effect.snapshot.plan.version


def name_of(effect: Effect) -> str:
    """What an effect is about, as people name it."""
    match effect.work:
        case Record():
            return "the status of the plan"
        case PatchPlanMetadata():
            return "the finalizer and annotations of the plan"
        case PatchRoute():
            return str(effect.work.target.id)
        case RunJob():
            return f"Job {effect.work.name}"
        case Scale():
            return f"the scale of Deployment {effect.work.deployment}"
        case Publish():
            return f"publication to {effect.work.sink}"
        case RunPreflight():
            return "the Services and pods of the plan"
        case _:
            return effect.key.kind
