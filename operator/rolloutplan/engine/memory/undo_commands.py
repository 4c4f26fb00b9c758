"""The commands that restore the weights of a plan's routes: as they are now, and as they will be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rolloutplan.api.status import Phase, RouteWeights, Status
from rolloutplan.engine.model.routes import UnusableError, owner_of, select_rules
from rolloutplan.engine.model.snapshot import Facts, RouteView, Snapshot

UndoCommand = Callable[[str, RouteWeights, RouteView | None, RouteWeights | None, str], str]
"""Makes the command that restores the weights of a route, from the namespace and the weights. It takes away too what
runs have added to the route as it is seen, or as it will be with a target."""


class UndoCommands:
    """The undo commands of one run, each built by `build`."""

    def __init__(self, build: UndoCommand) -> None:
        self._build = build
        self._built: tuple[tuple[object, ...], list[Mapping[str, Any] | None], str] | None = None
        """The command that `after` built last, after all that it was built from: most looks need the same."""

    def now(self, snapshot: Snapshot) -> str:
        """The command that would restore the present weights of the routes of a new run, or those of a lost one."""
        if not snapshot.undo and not (snapshot.plan.spec and snapshot.status.phase is Phase.EXPANDING):
            return ""
        views, namespace, owner = snapshot.routes, snapshot.plan.namespace, owner_of(snapshot)
        try:
            routes = snapshot.undo or select_rules(snapshot)
            return " && ".join(self._build(namespace, route, views.get(route.id), None, owner) for route in routes)
        except UnusableError:
            return ""

    def after(self, facts: Facts, status: Status, targets: Sequence[RouteWeights]) -> str:
        """The command that restores the weights from before the run once the routes are as these targets.

        Empty where a route is not known: then it is the one in the status.
        """
        views = {route.id: facts.routes.get(route.id) for route in status.weights.snapshot}
        raws = [None if view is None else view.raw for view in views.values()]
        made_of = (views, status.weights, tuple(targets), facts.own_kinds)
        known = self._built
        if known is None or known[0] != made_of or any(now is not was for now, was in zip(raws, known[1], strict=True)):
            known = self._built = made_of, raws, self._after(facts, status, targets)
        return known[2]

    def _after(self, facts: Facts, status: Status, targets: Sequence[RouteWeights]) -> str:
        views, plan = facts.routes, facts.plan
        if any(route.id not in views for route in status.weights.snapshot):
            return ""
        target = {route.id: route for route in targets}
        try:
            return " && ".join(
                self._build(plan.namespace, route, views.get(route.id), target.get(route.id), plan.uid[:8])
                for route in status.weights.snapshot
            )
        except LookupError:
            return ""
