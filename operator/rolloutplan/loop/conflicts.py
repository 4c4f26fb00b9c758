"""Which plans hold their routes, or are about to, and which of them another plan meets there.

loop/store.py fills this on each change of a plan; loop/facts.py asks for the conflicts of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rolloutplan.engine.model.snapshot import RouteConflict
from rolloutplan.loop.index import Uses
from rolloutplan.loop.plan_routes import route_idents
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.stored_plan import Claims, Plan, claimed, claims_of, route_conflict
from rolloutplan.loop.versions import Id


@dataclass(slots=True)
class Conflicts:
    """The plans that hold something, or are about to."""

    kinds: RouteKinds
    _conflicts: dict[str, RouteConflict] = field(default_factory=dict)
    """They in the form that other plans on their routes need."""
    _claims: dict[str, Claims] = field(default_factory=dict)
    """What each of them claims."""
    _held: Uses = field(default_factory=Uses)
    """The objects of which they claim a part."""

    def put(self, key: str, plan: Plan | None) -> frozenset[Id]:
        """Replace what a plan holds; None: it is gone. Returns the objects where that changes anything for others."""
        before, conflict = self._conflicts.pop(key, None), route_conflict(plan) if plan else None
        claims_before, claims = self._claims.pop(key, Claims()), claims_of(plan) if plan else Claims()
        if conflict is not None:
            self._conflicts[key], self._claims[key] = conflict, claims
        if conflict == before and claims == claims_before:
            return frozenset()
        objects = claimed(plan, self.kinds) if plan and conflict else frozenset()
        touched = self._held.of(key) | objects
        self._held.put(key, objects)
        return touched

    def of(self, plan: Plan) -> Iterator[RouteConflict]:
        """Yield the other plans that hold a route of this one, or are about to, and what both size.

        So do those that size a Deployment of which the number of pods is a weight.
        """
        ours, claims = frozenset(route_idents(plan, self.kinds)), claims_of(plan)
        for key in sorted(self._held.users(*claimed(plan, self.kinds)) - {plan.view.key}):
            sizes = claims.both_size(self._claims[key])
            if sizes or ours & self._held.of(key):
                yield replace(self._conflicts[key], sizes=sizes)
