"""CloudEvents 1.0, structured: the same facts as Json as `data` of an event."""

from __future__ import annotations

from datetime import UTC
from typing import Final

from rolloutplan.cluster.paths import PLAN_GROUP
from rolloutplan.publish.formats.base import LONGEST, Body, as_json, bounded
from rolloutplan.publish.notification import Notification

_ENVELOPE: Final = 4096
"""Bytes for all that is not `data`; names of plans and reasons have a few hundred at most."""


def body(notification: Notification) -> Body:
    """One event. Its id is that by which a receiver recognises what comes twice."""
    plan, decision = notification.plan, notification.decision
    event = {
        "specversion": "1.0",
        "id": notification.key,
        "source": f"/apis/{PLAN_GROUP}/namespaces/{plan.namespace}/rolloutplans/{plan.name}",
        "type": f"dev.rolloutplan.decision.{str(decision.kind).lower()}",
        "subject": decision.reason[:256],
        "time": decision.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": bounded(notification.facts(), LONGEST - _ENVELOPE),
    }
    return Body("application/cloudevents+json", as_json(event))
