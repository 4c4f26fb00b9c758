"""Routes that a side without endpoints takes down as a whole, whatever its weight, and what must not follow from that.

The rules for the start and the removal ask here before the old side is scaled to nothing; messages say it wherever a
side may be empty.
"""

from __future__ import annotations

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.weights import holds_both


def fragile_routes(snapshot: Snapshot, service: str, *, old: bool) -> tuple[str, ...]:
    """The routes of the run, or of the plan before it, that break while this side of it has no endpoints."""
    spec, weights = snapshot.plan.written, snapshot.status.weights
    ids = [route.id for route in weights.snapshot] or [ref.id for ref in (spec.traffic.routes if spec else ())]
    views = (snapshot.routes.get(route) for route in ids)
    return tuple(str(view.id) for view in views if view is not None and _breaks(snapshot, view, service, old=old))


def _breaks(snapshot: Snapshot, view: RouteView, service: str, *, old: bool) -> bool:
    if view.empty_breaks == "Any" or (view.empty_breaks == "Old" and old):
        return True
    if not view.weights.first_must_have_endpoints:
        return False
    # Its controller leaves a backend without endpoints out, and gives those after it the weights of others.
    spec, weights = snapshot.plan.written, snapshot.status.weights
    kept = [rule for route in weights.snapshot if route.id == view.id for rule in route.rules]
    sides = (weights.old, weights.new) if weights.snapshot else spec.names if spec else ("", "")
    now = [locate(view, rule, sides) for rule in kept] or [rule for rule in view.rules if holds_both(rule, *sides)]
    return any(rule is not None and rule.backends[-1].service != service for rule in now)


def breaking_contract(snapshot: Snapshot, spec: PlanSpec) -> str:
    """Why the old side may not be scaled to nothing, as text; empty where it may, or is not to be."""
    old = snapshot.status.weights.old or spec.names[0]
    if spec.contract.scale_old != 0:
        return ""
    routes = ", ".join(fragile_routes(snapshot, old, old=True))
    return routes and (
        f"contract.scaleOld: 0 would take {routes} down as a whole, because {old} stays in it and would have no "
        f"endpoints: write scaleOld: 1, or leave it out and take {old} out of the route before you scale it down"
    )


def breaks_too(snapshot: Snapshot, service: str, *, old: bool) -> str:
    """What a side without endpoints does to its routes, as text to append to a message; empty where they bear it."""
    routes = ", ".join(fragile_routes(snapshot, service, old=old))
    words = f", and {service} takes {routes} down as a whole, whatever its weight: start pods, or take it out of there"
    return words if routes else ""
