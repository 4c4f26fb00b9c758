"""The sinks to which the decisions of plans are published: those of every plan, and those of notifiers.

loop/executor.py asks for the sink of a plan by its name.
"""

from __future__ import annotations

from functools import partial

from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.loop.limiter import Clients, Priority
from rolloutplan.loop.notifiers import Notifiers
from rolloutplan.metrics.access import NOWHERE
from rolloutplan.publish.base import DecisionSink, view_of
from rolloutplan.publish.events import EventSink
from rolloutplan.publish.notifications import Notifications
from rolloutplan.publish.object_events import ObjectEventSink
from rolloutplan.publish.records import RecordSink
from rolloutplan.publish.traces import Send, TraceSink
from rolloutplan.telemetry.metrics import Metrics


class Sinks:
    """All sinks. Those of `notifiers` send through `notifications`."""

    def __init__(
        self,
        client: Clients,
        notifiers: Notifiers,
        metrics: Metrics,
        *,
        instance: str,
        notifications: Notifications | None = None,
        send_spans: Send | None = None,
    ) -> None:
        """Runs are sent as traces where `send_spans` is given."""
        self.notifications = notifications or Notifications(NOWHERE)
        self.records = RecordSink(client(Priority.ROLLOUT_RECORDS), written=metrics.changes.count)
        self._notifiers = notifiers
        sinks: list[DecisionSink] = [
            EventSink(client(Priority.EVENTS), instance=instance),
            self.records,
            ObjectEventSink(client(Priority.OBJECT_EVENTS), instance=instance),
        ]
        if send_spans is not None:
            lost = partial(metrics.count_spans, "lost", 1)
            sinks.append(TraceSink(client(Priority.ROLLOUT_RECORDS), send_spans, lost))
        self._of_all = {sink.name: sink for sink in sinks}

    @property
    def views(self) -> tuple[SinkView, ...]:
        """The sinks of every plan. Those of notifiers come in addition."""
        return tuple(map(view_of, self._of_all.values()))

    def of(self, namespace: str, name: str) -> DecisionSink | None:
        """Return a sink of the plans of a namespace; None where its notifier is gone."""
        if (found := self._of_all.get(name)) is not None:
            return found
        notifier = self._notifiers.of_sink(namespace, name)
        return self.notifications.sink(notifier) if notifier is not None else None
