"""What must be there before a run may start: everything that only the cluster can answer.

None of this stands in the way of a rollback.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rolloutplan.engine.gate import ASKED_AGAIN, closed_to_runs, place_in_line
from rolloutplan.engine.look import Look, NeedsTemplates, Readable, Rival, Unreadable
from rolloutplan.engine.routes import UnusableError, select_rules
from rolloutplan.engine.table import Cause
from rolloutplan.engine.weights import share
from rolloutplan.plan.quantities import format_weight
from rolloutplan.plan.reasons import HoldReason, Reason, StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import STARTING, Paused, Status

PROBE_EVERY = timedelta(seconds=10)
"""How often what no watch tells is asked again, while a run cannot start for it."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a run cannot start. `cause` is the row of the table that says so; with `asking`, asking again may help."""

    reason: Reason
    message: str
    cause: Cause = Cause.REFUSED
    asking: bool = False
    again: datetime | None = None
    """When to look again, where no watch tells."""


def obstacle(look: Look) -> Obstacle | None:
    """The first thing that keeps a plan from starting; None where nothing does."""
    match look.plan.content:
        case NeedsTemplates(problem=problem, reason=reason):
            return Obstacle(reason, problem)
        case Unreadable(problem=problem):
            return Obstacle(StatusReason.INVALID_SPEC, problem)
        case Readable(spec=spec):
            pass
    if look.plan.finalizer:
        return status_lost(look)
    return (
        _paused(look.status)
        or _workloads(look, spec)
        or _rival(look, spec)
        or _routes(look, spec)
        or _asked(look, spec)
        or _policy(look)
        or _refused_job(look, spec)
    )


def _paused(status: Status) -> Obstacle | None:
    return Obstacle(HoldReason.PAUSED, paused_words(status.paused), Cause.BLOCKED) if status.paused else None


def paused_words(paused: Paused) -> str:
    because = f": {paused.because}" if paused.because else ""
    return f"paused by {paused.by}{because}; `resume` lets it go on"


def _policy(look: Look) -> Obstacle | None:
    closed = closed_to_runs(look)
    if closed is not None:
        return Obstacle(closed.reason, closed.words, Cause.BLOCKED, again=closed.again)
    if words := place_in_line(look):
        return Obstacle(StatusReason.WAITING, words, Cause.BLOCKED, again=look.now + ASKED_AGAIN)
    return None


def _refused_job(look: Look, spec: PlanSpec) -> Obstacle | None:
    """A Job of this very plan that the API server does not take; it would not take it the next time."""
    status = look.status
    if status.reason == StatusReason.JOB_REFUSED and status.plan_hash == spec.plan_hash():
        return Obstacle(StatusReason.JOB_REFUSED, status.message)
    return None


def status_lost(look: Look) -> Obstacle:
    """A run was on, and what its status should say of it is gone or contradicts itself."""
    fields = f" ({', '.join(look.status.damaged)})" if look.status.damaged else ""
    command = look.plan.breadcrumb or look.status.revert or "(the annotation rolloutplan.dev/revert is gone)"
    return Obstacle(
        StatusReason.STATUS_LOST,
        f"the status of a run was edited or lost{fields}, so nothing is moved any more: put the weights back with "
        f"`{command}`, then remove the finalizer rolloutplan.dev/restore; or delete the plan",
    )


def _workloads(look: Look, spec: PlanSpec) -> Obstacle | None:
    for side, ref, found in (("old", spec.old, look.old), ("new", spec.new, look.new)):
        if found is None:
            name = f"{look.plan.namespace}/{ref.deployment}"
            words = f"Deployment {name} does not exist: create it, or correct spec.{side}.deployment"
            return Obstacle(StatusReason.DEPLOYMENT_NOT_FOUND, words)
    return None


def _routes(look: Look, spec: PlanSpec) -> Obstacle | None:
    try:
        routes = select_rules(look)
    except UnusableError as problem:
        return Obstacle(problem.reason, problem.message)
    holds, first = share(routes, spec.old.service_name, spec.new.service_name), spec.ladder()[0]
    if holds > first.permille:
        return Obstacle(
            StatusReason.NEW_SIDE_ALREADY_SERVING,
            f"{spec.new.service_name} already holds {format_weight(holds)} of the traffic, more than the first stage "
            f"asks ({format_weight(first.permille)}): lower its weight in the route, or start the stages above it",
        )
    return None


def _rival(look: Look, spec: PlanSpec) -> Obstacle | None:
    ours = frozenset(route.id for route in spec.traffic.routes)
    for rival in look.rivals:
        if rival.routes & ours and _goes_first(rival, look):
            routes = ", ".join(map(str, sorted(rival.routes & ours)))
            words = f"{routes} is held by plan {rival.key}: wait until it ends, or delete it"
            return Obstacle(HoldReason.CONFLICT, words, Cause.BLOCKED)
    return None


def _goes_first(rival: Rival, look: Look) -> bool:
    elder = (rival.created, rival.uid) < (look.plan.created, look.plan.uid)
    if look.status.phase in STARTING:
        return rival.running and elder
    return rival.running or (rival.waiting and elder)


def _asked(look: Look, spec: PlanSpec) -> Obstacle | None:
    """What the probe found. Without a probe of this very plan there is nothing to say, and the run must wait for it."""
    if look.source is None:
        return Obstacle(StatusReason.METRIC_SOURCE_NOT_FOUND, look.source_problem)
    probe = look.probe
    if probe is None or probe.judged_hash != spec.judged_hash():
        return None
    for side, ref in (("old", spec.old), ("new", spec.new)):
        if ref.service_name not in probe.services:
            name = f"{look.plan.namespace}/{ref.service_name}"
            words = f"Service {name} does not exist: create it, or set spec.{side}.service"
            return Obstacle(StatusReason.SERVICE_NOT_FOUND, words, asking=True)
    binding = {
        predicate.name: f"predicate {predicate.name}" for _, predicate in spec.predicates() if not predicate.dry_run
    }
    binding |= {assumption.called: assumption.called for assumption in spec.assumptions}
    for name, words in probe.rejected.items():
        if name in binding:
            return Obstacle(StatusReason.QUERY_REJECTED, f"{binding[name]}: {words}", asking=True)
    if probe.down:
        words = f"the metric source does not answer, and a run does not start blind: {probe.down}"
        return Obstacle(HoldReason.BLIND, words, Cause.BLOCKED, asking=True)
    return None
