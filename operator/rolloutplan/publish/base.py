"""The interface of a sink: between the decisions in a plan's status and the system to which they are published.

The executor calls it for each `Publish` effect of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rolloutplan.api.status import Decision, Status
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.snapshot import RouteView


class DecisionSink(Protocol):
    """A destination for decisions, implemented in one file of this package, such as events.py.

    The run (engine/plan_run.py) keeps a cursor for each sink in `status.publishedThrough`, under its `name`. It passes
    decisions one at a time, in order, each only when the API server has it in the plan's status. After a crash a
    decision may come twice, so a sink must recognise it by the plan's uid and the decision's number. A sink that fails
    is retried with growing pauses, and delays nothing else.
    """

    name: str
    """Its key in the status; never change it for a sink that is in use."""

    async def publish(
        self,
        plan: PlanView,
        status: Status,
        decision: Decision,
        *,
        routes: Sequence[RouteView] = (),
        recorded: bool = True,
    ) -> None:
        """Publish one decision of a plan; `status` is the newest known one.

        `routes` are those that the run shifts, as they were last read; one that is gone is missing.

        `recorded` is False for a notice that no status can hold (that the status itself cannot be written): it has the
        number of the newest decision, and is not a decision.

        Must end within a few seconds. Raises ApiError: `status` is that of the HTTP answer, 0 where there was none.
        After 400, 413 and 422 the decision is skipped, because its content would be refused again.
        """
        ...
