"""What a sink of decisions must be able to do: the seam between the trail and whoever is told of it."""

from __future__ import annotations

from typing import Protocol

from rolloutplan.api.status import Decision, Status
from rolloutplan.engine.model.plan_view import PlanView


class DecisionSink(Protocol):
    """Somewhere that decisions are published: one file beside this one implements it, events.py to begin with.

    The run (engine/plan_run.py) keeps a cursor for each sink in `status.publishedThrough`, under its `name`: it hands
    over one decision after the other, in order, each only when the API server has it in the plan's status. After a
    crash a decision may come twice, so a sink must recognise it by the plan's uid and the decision's number. A sink
    that fails is tried again, with longer and longer pauses, and holds up nothing but itself.
    """

    name: str
    """Stands in the status; never change it for a sink that is in use."""

    async def publish(self, plan: PlanView, status: Status, decision: Decision, *, recorded: bool = True) -> None:
        """Publish one decision of a plan; `status` is the newest that is known.

        `recorded` is False for a notice that no status can hold (that the status itself cannot be written): it has the
        number of the newest decision, and is none itself.

        Must end within a few seconds. Raises ApiError: `status` is what an HTTP server answered, 0 where it did not;
        after 400, 413 and 422 the decision is passed over, since it would be refused again for what it says.
        """
        ...
