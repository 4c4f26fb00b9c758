"""Json: all fields of the decision as the plan's status has them, and what else a receiver needs."""

from __future__ import annotations

from rolloutplan.publish.formats.base import Body, as_json, bounded
from rolloutplan.publish.notification import Notification


def body(notification: Notification) -> Body:
    """The facts of the notification as one JSON object."""
    return Body("application/json", as_json(bounded(notification.facts())))
