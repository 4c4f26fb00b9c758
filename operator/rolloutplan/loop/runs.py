"""The runs that a leader serves: one `PlanRun` for each plan, and when each was last looked at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from rolloutplan.api.status import RUNNING
from rolloutplan.clock import now
from rolloutplan.engine.model.effects import Effect
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.stored_plan import Plan


class Runs:
    """The runs of the plans in the store, which are `plans`."""

    def __init__(self, plans: Mapping[str, Plan], facts: PlanFacts) -> None:
        self._plans, self._facts = plans, facts
        self._runs: dict[str, PlanRun] = {}
        self._led_since: datetime | None = None

    def lead(self, since: datetime | None) -> None:
        """Record since when this replica leads; None: it does not."""
        self._led_since = since

    def of(self, key: str, facts: Facts, at: datetime) -> PlanRun:
        """Return the run of a plan; one that is not known begins at `at`. One of the same name made anew is another."""
        run = self._runs.get(key)
        if run is None or run.uid != facts.plan.uid:
            run = self._runs[key] = PlanRun(facts, at, undo_command=partial(self._facts.undo_command, key))
        return run

    def forget(self, key: str) -> bool:
        """Forget the run of a plan that is gone. Returns whether there was one."""
        return self._runs.pop(key, None) is not None

    def clear(self) -> None:
        """Forget all of them."""
        self._runs.clear()

    def still_want(self, effect: Effect) -> bool:
        """Whether an effect is still what its run wants."""
        run = self._runs.get(effect.snapshot.plan.key)
        return run is not None and run.still_wants(effect)

    def oldest_look(self) -> float | None:
        """Return the seconds since the last look at the run that has waited for one the longest; 0 without a run.

        None while this replica does not lead.
        """
        if self._led_since is None:
            return None
        at, since = now(), self._led_since
        running = (key for key, plan in self._plans.items() if plan.status.phase in RUNNING)
        looks = (self._runs[key].looked_at if key in self._runs else None for key in running)
        return max(((at - (look or since)).total_seconds() for look in looks), default=0.0)
