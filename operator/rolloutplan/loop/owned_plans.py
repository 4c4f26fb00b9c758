"""What plans want of the routes that the operator owns (loop/owned_routes.py), and what they are told of these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple, Protocol

from rolloutplan.api.route import HTTP_ROUTE, RouteId, owned_name
from rolloutplan.api.status import RUNNING, Phase
from rolloutplan.loop.plan_routes import owned_by
from rolloutplan.loop.stored_plan import Plan
from rolloutplan.traffic.owned import Wanted

_ENDED: Final = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK})

Name = tuple[str, str]
"""Namespace and name of an HTTPRoute."""


class Store(Protocol):
    """What is needed of the store (loop/store.py)."""

    plans: dict[str, Plan]
    owned_notes: dict[tuple[str, RouteId], str]


class Route(NamedTuple):
    """A route in Git in whose place the operator owns one."""

    namespace: str
    name: str

    @property
    def written(self) -> RouteId:
        return RouteId(HTTP_ROUTE, self.name)

    @property
    def own(self) -> RouteId:
        return RouteId(HTTP_ROUTE, owned_name(self.name))


class OwnedPlans:
    """Call `changed` with the key of every plan that has changed. `wake` has a plan looked at again."""

    def __init__(self, store: Store, wake: Callable[[str], None]) -> None:
        self._store, self._wake = store, wake
        self._wanted: dict[str, dict[Name, Wanted]] = {}
        """What each plan wants of the HTTPRoutes whose weights it moves, by its key."""

    def changed(self, key: str) -> tuple[Iterable[Route], Collection[Name]]:
        """Take a plan as it is now. Returns its routes of which it wants something else, and all such names."""
        plan, before = self._store.plans.get(key), self._wanted.pop(key, {})
        wanted = _wanted_by(plan) if plan is not None else {}
        if wanted:
            self._wanted[key] = wanted
        names = {name for name in before.keys() | wanted.keys() if before.get(name) != wanted.get(name)}
        if plan is None:
            return (), names
        home, owned = plan.view.namespace, owned_by(plan)
        return [Route(home, source.name) for own, source in owned.items() if (home, own.name) in names], names

    def wanted(self, route: Route) -> Wanted:
        """What all plans together want of a route."""
        own, source = (route.namespace, route.own.name), (route.namespace, route.name)
        found = [wanted[own] for wanted in self._wanted.values() if own in wanted]
        rivals = (key for key, wanted in self._wanted.items() if source in wanted and wanted[source].moving)
        return Wanted(any(each.used for each in found), any(each.moving for each in found), next(rivals, ""))

    def move(self, route: Route) -> bool:
        """Whether there is a plan that moves the weights of the operator's route, or has moved them."""
        return any((route.namespace, route.own.name) in each for each in self._wanted.values())

    def use_routes(self) -> bool:
        """Whether any plan moves the weights of an HTTPRoute: else the operator may have no right to read these."""
        return bool(self._wanted)

    def tell(self, namespace: str, moved: RouteId, note: str) -> bool:
        """Tell the plans that move a route why it is not as it must be; empty: it is. Returns whether that is new."""
        if note == self._store.owned_notes.get((namespace, moved), ""):
            return False
        self._store.owned_notes[namespace, moved] = note
        if not note:
            del self._store.owned_notes[namespace, moved]
        for plan, wanted in self._wanted.items():
            if (namespace, moved.name) in wanted:
                self._wake(plan)
        return True


def _wanted_by(plan: Plan) -> dict[Name, Wanted]:
    """What a plan wants of each HTTPRoute that it names, or that its run moves, also after an edit of the plan."""
    phase, owned = plan.status.phase, owned_by(plan)
    runs, namespace = phase in RUNNING, plan.view.namespace
    moved = {route.id for route in plan.status.weights.snapshot} if runs else set()
    named = {ref.id for ref in plan.view.written.traffic.routes} if plan.view.written is not None else set()
    return {
        (namespace, route.name): Wanted(
            used=route in moved or (route in owned and phase not in _ENDED),
            moving=route in moved or (route in owned and runs),
        )
        for route in sorted(moved | named)
        if route.kind == HTTP_ROUTE
    }
