"""The interface of a sink: between the decisions in a plan's status and the system to which they are published.

The executor calls it for each `Publish` effect of the engine.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from rolloutplan.api.status import Decision
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.engine.model.snapshot import Snapshot


class DecisionSink(Protocol):
    """A destination for decisions, implemented in one file of this package, such as events.py.

    The run (engine/plan_run.py) keeps a cursor for each sink in `status.publishedThrough`, under its `name`. It passes
    decisions one at a time, in order, each only when the API server has it in the plan's status. After a crash a
    decision may come twice, so a sink must recognise it by the plan's uid and the decision's number. A sink that fails
    is retried with growing pauses, and delays nothing else.
    """

    name: str
    """Its key in the status; never change it for a sink that is in use."""

    keeps: timedelta | None
    """A decision that is older than this is not published any more; None: each one is, however late."""

    own_status: bool
    """Whether its troubles are told elsewhere than in the plan's status, and the last cursor of a run is written: the
    receiver does not know what it got."""

    async def publish(self, snapshot: Snapshot, decision: Decision, *, recorded: bool = True) -> None:
        """Publish one decision of a plan; the snapshot has its newest known status, and what the decision is about.

        `recorded` is False for a notice that no status can hold (that the status itself cannot be written): it has the
        number of the newest decision, and is not a decision.

        Must end within a few seconds. Raises ApiError: `status` is that of the HTTP answer, 0 where there was none.
        After 400, 413 and 422 the decision is skipped, because its content would be refused again.
        """
        ...


def view_of(sink: DecisionSink) -> SinkView:
    """The sink as `PlanRun` knows it."""
    return SinkView(sink.name, sink.keeps, own_status=sink.own_status)
