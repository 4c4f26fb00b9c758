"""A plan in the store, and what follows from it for other plans: what it depends on, its place in a queue, its routes.

The store (loop/store.py) makes a `Plan` of each object, and asks these functions after each change of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rolloutplan.api.limits import MAX_BEGUN, MAX_PLAN, size_of
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.route import REPLICAS, RouteId
from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import RUNNING, STARTING, Phase, Status
from rolloutplan.api.traffic import RouteRef
from rolloutplan.cluster import paths
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.policy_view import NO_LABELS, At, Labels, PolicyView, QueueEntry
from rolloutplan.engine.model.snapshot import RouteConflict
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.run.conditions import is_stalled
from rolloutplan.loop.plan_routes import named_routes, own_kinds, owned_by, route_idents, siblings
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.versions import Id


@dataclass(slots=True)
class Plan:
    """A plan as stored in the API server, with its templates and policies."""

    view: PlanView
    status: Status
    raw_status: Mapping[str, Any]
    policies: tuple[PolicyView, ...] = ()
    """The policies that apply to it."""
    labels: Labels = NO_LABELS
    """By which policies select it; at most those that a run keeps."""
    groups: frozenset[str] = frozenset()
    """Its concurrency groups."""
    size: int = 0
    """Bytes of its spec, whether it has a place or not; 0 for one that is too large by itself."""


def keeps(status: Status) -> bool:
    """Whether a plan keeps its place: its run goes on, or `revert` may need the names of both sides."""
    weights = status.weights
    reverts = status.phase is Phase.SUCCEEDED and is_valid_snapshot(weights.snapshot, weights.old, weights.new)
    return reverts or status.phase in RUNNING


def spec_size(raw: Mapping[str, Any], *, begun: bool) -> int:
    """Return the bytes that a plan takes of the budget; 0 for one that is too large by itself, which is not kept."""
    size = size_of(raw.get("spec"))
    return size if size <= (MAX_BEGUN if begun else MAX_PLAN) else 0


def dependencies(plan: Plan, kinds: RouteKinds) -> Iterator[Id]:
    """Yield every object that a reconcile of this plan depends on."""
    namespace, spec = plan.view.namespace, plan.view.written
    yield from route_idents(plan, kinds)
    yield from filter(None, (kinds.ident(namespace, source) for source in owned_by(plan).values()))
    yield from siblings(plan, kinds)
    yield from own_kinds(plan)
    if spec is None:
        return
    yield paths.DEPLOYMENTS.resource, namespace, spec.old.deployment
    yield paths.DEPLOYMENTS.resource, namespace, spec.new.deployment
    for service in services_of(plan):
        yield paths.ENDPOINT_SLICES.resource, namespace, service
    yield paths.SOURCES.resource, namespace, spec.metrics.source
    yield paths.CLUSTER_SOURCES.resource, "", spec.metrics.source
    for name in {predicate.template for _, predicate in spec.predicates() if predicate.template is not None}:
        yield paths.TEMPLATES.resource, namespace, name
        yield paths.CLUSTER_TEMPLATES.resource, "", name


def sides_of(plan: Plan) -> Names | None:
    """Return what weights call the sides of a run, and before it those that the plan names; None of an unread plan."""
    spec, weights = plan.view.written, plan.status.weights
    if weights.old and weights.new:
        return Names(weights.old, weights.new)
    return spec.names if spec is not None else None


def called_in(plan: Plan, route: RouteId, sides: Names) -> Names:
    """Return what a route calls the sides of a plan: as its run found it, else as the plan says."""
    kept = next((each for each in plan.status.weights.snapshot if each.id == route), None)
    if kept is not None:
        return Names(kept.old or sides.old, kept.new or sides.new)
    spec = plan.view.written
    ref = next((ref for ref in spec.traffic.routes if ref.id == route), None) if spec is not None else None
    return spec.called(ref) if spec is not None and ref is not None else sides


def flag_of(plan: Plan, route: RouteId) -> str:
    """Return the flag that a plan moves in a FeatureFlag; empty where it moves none there."""
    refs = plan.view.written.traffic.routes if plan.view.written is not None else ()
    return next((ref.flag for ref in refs if ref.id == route and ref.flag is not None), "")


def services_of(plan: Plan) -> frozenset[str]:
    """Return the Services that a plan names, and those of its run."""
    spec, weights = plan.view.written, plan.status.weights
    named = {*spec.services} if spec else set()
    of_run = (weights.service,) if weights.service else (weights.old, weights.new)
    return frozenset(name for name in (*named, *of_run) if name)


def about_to_start(plan: Plan) -> bool:
    view, status = plan.view, plan.status
    can_start = view.readable and not view.deleting and status.paused is None
    waits = is_stalled(status) or status.reason in (
        HoldReason.FROZEN,
        HoldReason.POLICY_NOT_MET,
        StatusReason.NEW_SIDE_NOT_READY,
    )
    return status.phase is Phase.PENDING and can_start and not waits


def queue_entry(plan: Plan) -> QueueEntry | None:
    """Return a plan's entry for its queues; None where it neither holds nor wants a place."""
    view, status, phase = plan.view, plan.status, plan.status.phase
    if status.place == "Lost" and phase in RUNNING:
        if not _wants_place(status):
            return None
        at: At = "waiting"
    elif phase in RUNNING:
        at = "starting" if phase in STARTING or status.place else "running"
    elif about_to_start(plan):
        at = "waiting"
    else:
        return None
    return QueueEntry(view.key, plan.groups, at, view.created, view.uid)


def _wants_place(status: Status) -> bool:
    """Whether a run that lost its place is about to go on."""
    shifts = status.effective_phase is Phase.SHIFTING and status.intent is None
    return shifts and status.held_for in ("", HoldReason.NO_PLACE)


def route_conflict(plan: Plan) -> RouteConflict | None:
    """Return what other plans on its routes need of a plan; None where it does not block them."""
    view, status = plan.view, plan.status
    running = status.phase in RUNNING
    waiting = about_to_start(plan) and status.reason != StatusReason.WAITING
    if not running and not waiting:
        return None
    return RouteConflict(
        view.key, named_routes(plan), running=running, waiting=waiting, created=view.created, uid=view.uid
    )


class Claims(NamedTuple):
    """What of a plan another one must not move at the same time."""

    routes: tuple[RouteRef, ...] = ()
    """With the rules that it names."""
    by_pods: frozenset[str] = frozenset()
    """The Deployments whose sizes are its weights."""
    sized: frozenset[str] = frozenset()
    """These, and those that it scales before or after its run."""

    def both_size(self, other: Claims) -> frozenset[str]:
        """Return the Deployments that both plans size, where these are the weights of one of them."""
        return (self.by_pods & other.sized) | (self.sized & other.by_pods)


def claims_of(plan: Plan) -> Claims:
    """Return what a plan claims, in a run what it began with."""
    spec, weights = plan.view.written, plan.status.weights
    if spec is None:
        return Claims()
    kinds = {*(ref.kind for ref in spec.traffic.routes), *(route.kind for route in weights.snapshot)}
    began = {weights.old, weights.new} - {""} if weights.snapshot else set()
    by_pods = {*spec.names, *began} if REPLICAS in kinds else set()
    new = {spec.new.deployment} if spec.expand.scale.new != "None" else set()
    old = {spec.old.deployment} if spec.contract.scale_old is not None else set()
    return Claims(spec.traffic.routes, frozenset(by_pods), frozenset(by_pods | new | old))


def claimed(plan: Plan, kinds: RouteKinds) -> frozenset[Id]:
    """Return the objects of which plans must not move the same part at the same time."""
    sized = ((paths.DEPLOYMENTS.resource, plan.view.namespace, name) for name in claims_of(plan).sized)
    return frozenset((*route_idents(plan, kinds), *sized))
