"""The facts of a plan, put together from the store: what its run is given at each look.

loop/reconcile.py asks for them. Where not all can be put together, `core` has what leads back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RUNNING, Phase, RouteWeights
from rolloutplan.engine.model.policy_view import Queue, QueueEntry
from rolloutplan.engine.model.routes import rules_of
from rolloutplan.engine.model.sides import as_plan_sees, weights_as_plan_sees
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.engine.model.snapshot import (
    EndpointsView,
    Facts,
    RouteConflict,
    RouteView,
    source_view,
)
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.run.undo import undo_texts
from rolloutplan.loop.plan_routes import (
    by_object,
    kept_kinds,
    named_routes,
    other_kinds,
    owned_by,
    route_idents,
    router_problems,
)
from rolloutplan.loop.routes import ALL, NONE_KEPT
from rolloutplan.loop.store import BEFORE_WEIGHTS, TAKING_AWAY, Store
from rolloutplan.loop.stored_plan import Plan, called_in, flag_of, services_of, sides_of
from rolloutplan.loop.versions import Id
from rolloutplan.traffic import ROUTE_KINDS, read_undo
from rolloutplan.traffic.replicas import with_pods


class PlanFacts:
    """The facts of the plans in a store. The decisions of every plan are published to `sinks`."""

    def __init__(self, store: Store, sinks: tuple[SinkView, ...] = ()) -> None:
        self._store, self._sinks = store, sinks
        self._plans, self._kinds, self._objects = store.plans, store.kinds, store.objects
        self._needs, self._shared = store.needs, store.shared

    def of(self, key: str, *, epoch: int, claim_at: Callable[[str], datetime]) -> Facts | None:
        """Return all that is known of a plan and of its dependencies; None where the plan does not exist.

        `claim_at` returns, for the plan's uid, when a leader claims its run.
        """
        core = self.core(key, epoch=epoch, claim_at=claim_at)
        if core is None:
            return None
        plan = self._plans[key]
        found, own = self._shared.source(plan.view, plan.status), self._shared.own_source(plan.view)
        return replace(
            core,
            routes_to_old=self.routes_to_old(plan),
            undo=self.undo_of(plan),
            source=source_view(found.spec, found.sealed(own)) if found.spec else None,
            source_problem=found.problem,
            route_conflicts=self.route_conflicts(plan),
            policies=plan.policies,
            queues=self.queues(plan),
        )

    def core(self, key: str, *, epoch: int, claim_at: Callable[[str], datetime]) -> Facts | None:
        """Return what a rollback needs to know of a plan, and nothing that has to be worked out."""
        plan = self._plans.get(key)
        if plan is None:
            return None
        view, spec = plan.view, plan.view.written
        unread_routes = self.unread_routes(plan)
        missing = self._needs.missing(key) if plan.status.phase in RUNNING else frozenset[Id]()
        unread = {self._ident(plan, route) for route in unread_routes} if plan.status.phase in RUNNING else set[Id]()
        return Facts(
            plan=view,
            status=plan.status,
            raw_status=plan.raw_status,
            routes=self.routes_of(plan),
            old=self._store.workloads.get((view.namespace, spec.old.deployment)) if spec else None,
            new=self._store.workloads.get((view.namespace, spec.new.deployment)) if spec else None,
            endpoints=self.endpoints_of(plan),
            labels=plan.labels,
            epoch=epoch,
            claim_at=claim_at(view.uid),
            grants=self._store.grants,
            unread=frozenset(_named(ident) for ident in missing | unread if ident[2] != ALL),
            unread_routes=unread_routes,
            unseen=self._unseen(missing - unread),
            route_notes=self._route_notes(plan),
            routers=router_problems(plan, self._kinds, self._store.routers),
            own_kinds=self._kinds.own(route.kind for route in named_routes(plan)),
            sinks=(*self._sinks, *self._shared.notifiers.sinks(view)),
        )

    def queues(self, plan: Plan) -> dict[str, Queue]:
        """Return the queue in each concurrency group of a plan; empty where the plan has changed a weight.

        A plan that may take a place is reconciled at once. A change of its position in the queue does not cause a
        reconcile; the plan sees it at the next one.
        """
        if plan.status.phase not in BEFORE_WEIGHTS and not plan.status.place:
            return {}
        return self._store.queues.of(
            QueueEntry(plan.view.key, plan.groups, "waiting", plan.view.created, plan.view.uid)
        )

    def route_conflicts(self, plan: Plan) -> tuple[RouteConflict, ...]:
        """Return the other plans that hold a route of this one, or are about to, with the rules that they move.

        So do those that size a Deployment of which the number of pods is a weight.
        """
        return tuple(self._with_rules(plan, conflict) for conflict in self._store.conflicts.of(plan))

    def _with_rules(self, asking: Plan, conflict: RouteConflict) -> RouteConflict:
        """Return a conflict with what the other plan moves: the rules, and the same object as another kind."""
        plan = self._plans[conflict.key]
        others = other_kinds(by_object(asking, self._kinds), by_object(plan, self._kinds))
        found = {
            route: rules_of(view, plan.view.written, plan.status.weights)
            for route, view in self.routes_of(plan).items()
        }
        moved = {route: rules for route, rules in found.items() if rules is not None}
        return replace(conflict, rules=moved, others=others)

    def routes_of(self, plan: Plan) -> dict[RouteId, RouteView]:
        """Return the routes of a plan that exist, as the plan sees them."""
        found = ((route, self._route(plan, route)) for route in named_routes(plan))
        return {route: self._as_plan_sees(plan, view) for route, view in found if view is not None}

    def _route(self, plan: Plan, route: RouteId) -> RouteView | None:
        """Return a route as a plan sees it: in a run as the kind with which that began."""
        began, namespace = kept_kinds(plan), plan.view.namespace
        if self._kinds.is_current(route.kind, began):
            return self._objects.views.get((namespace, route))
        kind, ident = self._kinds.get(route.kind, began), self._kinds.ident(namespace, route, began)
        return self._objects.view(kind, ident) if kind is not None and ident is not None else None

    def _as_plan_sees(self, plan: Plan, view: RouteView) -> RouteView:
        """Return a route with the plan's names of its sides; with Replicas also with the numbers of their pods."""
        sides, namespace = sides_of(plan), plan.view.namespace
        if sides is None:
            return view
        if view.ready_pods is None:
            called, kind = called_in(plan, view.id, sides), self._kinds.get(view.id.kind, kept_kinds(plan))
            return as_plan_sees(view, called, sides, kind.plain if kind is not None else "", flag_of(plan, view.id))
        old, new = (self._store.workloads.get((namespace, name)) for name in sides)
        return with_pods(view, sides, (old, new), self._store.endpoints.view((namespace, view.id.name)))

    def endpoints_of(self, plan: Plan) -> dict[str, EndpointsView]:
        """Return the endpoints of a plan's Services, as far as they are known."""
        found = ((name, self._store.endpoints.view((plan.view.namespace, name))) for name in services_of(plan))
        return {name: view for name, view in found if view is not None}

    def _route_notes(self, plan: Plan) -> dict[RouteId, str]:
        """Return why the weights of routes of a plan do not move its traffic."""
        notes = ((route, self._store.owned_notes.get((plan.view.namespace, route), "")) for route in named_routes(plan))
        return {route: note for route, note in notes if note}

    def _ident(self, plan: Plan, route: RouteId) -> Id:
        """The object of a route; by its kind where the object of that is not known."""
        namespace = plan.view.namespace
        return self._kinds.ident(namespace, route, kept_kinds(plan)) or (route.kind, namespace, route.name)

    def _unseen(self, idents: Iterable[Id]) -> dict[str, str]:
        """Which of these objects, all known, may have changed unseen, and why."""
        found = ((ident, self._needs.trouble(ident)) for ident in sorted(idents) if ident[2] != ALL)
        return {_named(ident): why for ident, why in found if why}

    def unread_routes(self, plan: Plan) -> dict[RouteId, str]:
        """Return the routes of a plan of which nobody knows what they are now, and why: none of them counts as gone.

        One that was seen before its resource came into trouble is known: what is written to it is answered.
        """
        found = ((route, self._why_unread(plan, route)) for route in sorted(named_routes(plan)))
        return {route: why for route, why in found if why}

    def _why_unread(self, plan: Plan, route: RouteId) -> str:
        """Return why nobody knows what a route is now; empty where it is known, or known to be gone."""
        namespace, began = plan.view.namespace, kept_kinds(plan)
        ident = self._kinds.ident(namespace, route, began)
        if ident is None:
            return self._kinds.problem(route.kind)
        is_current = self._kinds.is_current(route.kind, began)
        why = self._objects.unreadable.get((namespace, route), "") if is_current else ""
        if why or self._route(plan, route) is not None:
            return why
        if self._objects.holds(ident):
            return "it cannot be read: put it back as it was, or correct what was changed last"
        if self._needs.is_too_large(ident):
            return "it is too large to read: make it smaller"
        return "" if self._store.versions.is_deleted(ident) else self._store.routers.trouble(ident[0])

    def routes_to_old(self, plan: Plan) -> tuple[RouteView, ...]:
        """Return the routes that give the old Service of a run traffic, while that matters.

        That is before the old side is removed, and where the route in Git has the traffic in place of an owned one.
        """
        old, phase = plan.status.weights.old, plan.status.effective_phase
        matters = phase in TAKING_AWAY or (phase is Phase.SUCCEEDED and owned_by(plan))
        if not matters or not old or plan.status.weights.service:
            return ()
        return self._objects.of((plan.view.namespace, old))

    def undo_command(
        self,
        key: str,
        namespace: str,
        snapshot: RouteWeights,
        view: RouteView | None = None,
        target: RouteWeights | None = None,
        owner: str = "",
    ) -> str:
        """Return the command that restores the weights of a route of a plan with kubectl alone."""
        plan = self._plans.get(key)
        kind = self._kinds.get(snapshot.kind, kept_kinds(plan) if plan is not None else NONE_KEPT)
        return kind.undo_command(namespace, snapshot, view, target, owner) if kind is not None else ""

    def undo_of(self, plan: Plan) -> tuple[RouteWeights, ...]:
        """Return the weights that the undo command on a plan or its routes restores, where its status has none."""
        weights = plan.status.weights
        if is_valid_snapshot(weights.snapshot, weights.old, weights.new):
            return ()
        users = self._needs.uses.users(*route_idents(plan, self._kinds))
        others = {self._plans[key].view.uid[:8] for key in users}
        commands = undo_texts(plan.view.undo_annotation, self.routes_of(plan).values(), others - {plan.view.uid[:8]})
        names = {*weights.kinds, *(route.kind for route in named_routes(plan))} - ROUTE_KINDS.keys()
        own = (self._kinds.get(name, weights.kinds) for name in sorted(names))
        found, sides = read_undo(plan.view.namespace, commands, filter(None, own)), sides_of(plan)
        if sides is None:
            return found
        return tuple(weights_as_plan_sees(route, called_in(plan, route.id, sides), sides) for route in found)


def _named(ident: Id) -> str:
    """An object as `RESOURCE/NAME`."""
    return f"{ident[0].partition('.')[0]}/{ident[2]}"
