"""The routes of a plan: which objects they are, and why they cannot be moved whatever these objects hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Status
from rolloutplan.cluster import paths
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.snapshot import RouterProblem
from rolloutplan.loop.routers import Routers
from rolloutplan.loop.routes import NONE_KEPT, Kept, RouteKinds
from rolloutplan.loop.versions import Id
from rolloutplan.traffic import ROUTE_KINDS


class Plan(Protocol):
    """What of a plan in the store (loop/stored_plan.py) says which routes it has."""

    view: PlanView
    status: Status


def named_routes(plan: Plan) -> frozenset[RouteId]:
    """Return the routes that a plan names, and those that it may have to roll back."""
    spec = plan.view.written
    named = {ref.id for ref in spec.traffic.routes} if spec else set()
    return frozenset(named | {route.id for route in plan.status.weights.snapshot})


def owned_by(plan: Plan) -> dict[RouteId, RouteId]:
    """Return the routes that the operator owns for a plan, each with the one in Git."""
    traffic = plan.view.written.traffic if plan.view.written is not None else None
    if traffic is None or traffic.ownership == "Weights":
        return {}
    return {ref.id: ref.written for ref in traffic.routes}


def route_idents(plan: Plan, kinds: RouteKinds) -> frozenset[Id]:
    """Return the objects of these routes, as far as their kinds are known."""
    idents = (kinds.ident(plan.view.namespace, route, kept_kinds(plan)) for route in named_routes(plan))
    return frozenset(ident for ident in idents if ident is not None)


def siblings(plan: Plan, kinds: RouteKinds) -> frozenset[Id]:
    """Return what stands for the objects without which these routes cannot be read."""
    idents = (kinds.siblings(plan.view.namespace, route.kind, kept_kinds(plan)) for route in named_routes(plan))
    return frozenset(ident for ident in idents if ident is not None)


def own_kinds(plan: Plan) -> frozenset[Id]:
    """Return the RouteKind objects that the routes of a plan name."""
    names = (route.kind for route in named_routes(plan) if route.kind not in ROUTE_KINDS)
    return frozenset((paths.ROUTE_KINDS.resource, "", name) for name in names)


def kept_kinds(plan: Plan) -> Kept:
    """Return the RouteKinds as the run of a plan began with them, where it has a way back."""
    return plan.status.weights.kinds if plan.status.weights.snapshot else NONE_KEPT


def by_object(plan: Plan, kinds: RouteKinds) -> dict[Id, RouteId]:
    """Return the routes of a plan by their objects; of several kinds on one object the first by name."""
    routes = sorted(named_routes(plan), reverse=True)
    found = ((kinds.ident(plan.view.namespace, route, kept_kinds(plan)), route) for route in routes)
    return {ident: route for ident, route in found if ident is not None}


def other_kinds(ours: Mapping[Id, RouteId], theirs: Mapping[Id, RouteId]) -> dict[RouteId, RouteId]:
    """Return those of our routes that are one object with a route of theirs of another kind, and that route."""
    return {ours[each]: theirs[each] for each in ours.keys() & theirs.keys() if ours[each] != theirs[each]}


def router_problems(plan: Plan, kinds: RouteKinds, routers: Routers) -> dict[str, RouterProblem]:
    """Return why routes of the kinds that a plan names cannot be used."""
    named = {route.kind for route in named_routes(plan)}
    places = {kind: place for kind in named if (place := kinds.place(kind, kept_kinds(plan))) is not None}
    unknown = {kind: RouterProblem(StatusReason.ROUTE_KIND_NOT_FOUND, kinds.problem(kind)) for kind in named}
    unknown = {kind: problem for kind, problem in unknown.items() if problem.words}
    return {**dict(routers.problems(places)), **dict(_named_twice(plan, kinds)), **unknown}


def _named_twice(plan: Plan, kinds: RouteKinds) -> Iterator[tuple[str, RouterProblem]]:
    """Yield the kinds as which a plan names an object that it names as another kind, too."""
    routes = by_object(plan, kinds)
    for route in named_routes(plan):
        ident = kinds.ident(plan.view.namespace, route, kept_kinds(plan))
        if ident is not None and (other := routes[ident]) != route:
            words = f"{other} is the same object, and its weights are moved as one kind only: name it once"
            yield route.kind, RouterProblem(StatusReason.INVALID_SPEC, words)
