"""What the writes of a run have done: when, what they replaced, and since when their weights are in the routes."""

from __future__ import annotations

from datetime import datetime

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Phase, RouteWeights, Status
from rolloutplan.engine.model.actions import PatchPlanMetadata, PatchRoute
from rolloutplan.engine.model.effects import Effect, Record
from rolloutplan.engine.model.routes import holds
from rolloutplan.engine.model.snapshot import Facts, ForeignUndo, InForce
from rolloutplan.engine.rules.commands.answer import MOST_ANSWERED
from rolloutplan.engine.rules.undo import plan_subject
from rolloutplan.engine.run.end_state import MOST_REPAIRS
from rolloutplan.engine.run.undo import is_foreign


class OwnWrites:
    """The writes of one run, as far as decisions depend on them."""

    def __init__(self) -> None:
        self.metadata: tuple[datetime, ...] = ()
        """When the finalizer and annotations of the plan were written last."""
        self.answered_at: tuple[datetime, ...] = ()
        """When commands were answered."""
        self.foreign_undo: dict[str, ForeignUndo] = {}
        """The undo commands of somebody else that were replaced, by their subject."""
        self.repairs: dict[RouteId, tuple[datetime, ...]] = {}
        """When a route was written after a success."""
        self._in_force: dict[RouteId, tuple[RouteWeights, InForce]] = {}

    def in_force(self) -> dict[RouteId, InForce]:
        """When, and in which generation, the weights of the present intent were first seen in each route."""
        return {route: seen for route, (_, seen) in self._in_force.items()}

    def see(self, facts: Facts, status: Status, now: datetime) -> None:
        """Note in which routes the requested weights are. Others may raise the generation later."""
        known, self._in_force = self._in_force, {}
        back = status.intent is not None and status.intent.action == "Restore"
        for route in status.intent.routes if status.intent else ():
            view = facts.routes.get(route.id)
            if view is not None and holds(view, route, status.weights, facts.plan.uid[:8], back=back):
                before = known.get(route.id)
                same = before is not None and before[0] == route
                self._in_force[route.id] = before if before and same else (route, InForce(view.generation, now))

    def succeeded(self, effect: Effect) -> None:
        """Note a write that has succeeded."""
        snapshot, plan, at = effect.snapshot, effect.snapshot.plan, effect.snapshot.now
        match effect.work:
            case Record(status=status) if status.tokens != snapshot.status.tokens:
                self.answered_at = (*self.answered_at, at)[-MOST_ANSWERED:]
            case PatchPlanMetadata(finalizer=finalizer, undo_annotation=undo):
                self.metadata = (*self.metadata[-1:], at) if finalizer else ()
                self._replaced(effect, plan_subject(snapshot), undo, plan.undo_annotation, plan.undo_by)
            case PatchRoute(target=target, undo_command=undo):
                view = snapshot.routes[target.id]
                self._replaced(effect, str(target.id), undo, view.undo_annotation, view.undo_by)
                if target.rules and snapshot.status.phase is Phase.SUCCEEDED:
                    before = self.repairs.get(target.id, ())[1 - MOST_REPAIRS :]
                    self.repairs = {**self.repairs, target.id: (*before, at)}
            case _:
                pass

    def _replaced(self, effect: Effect, subject: str, undo: str, text: str, by: str) -> None:
        """Note that a write has replaced an undo command, where that was somebody else's."""
        if text == undo or not is_foreign(text, by):
            return
        known = self.foreign_undo.get(subject)
        before, count = (known.at, known.count + 1) if known else (None, 1)
        found = ForeignUndo(subject, by, effect.snapshot.now, before, count)
        self.foreign_undo = {**self.foreign_undo, subject: found}

    def turn_back(self, now: datetime) -> None:
        """The clock was put back to `now`: nothing has happened after it."""
        self.metadata = tuple(min(each, now) for each in self.metadata)
        self.answered_at, self.foreign_undo = (), {}
        self.repairs = {route: tuple(min(each, now) for each in times) for route, times in self.repairs.items()}
