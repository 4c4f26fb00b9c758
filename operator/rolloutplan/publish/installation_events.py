"""The Event of an installation that does nothing because another one serves the cluster, in its own namespace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw
from rolloutplan.publish.events import CONTROLLER, event_name

REASON: Final = "ServedElsewhere"


def served_elsewhere(namespace: str, lease: str, note: str, at: datetime, *, instance: str) -> Raw:
    """The Event on the Lease on which this installation elects its leader."""
    return {
        "apiVersion": paths.EVENTS.api_version,
        "kind": "Event",
        "metadata": {"name": event_name(lease, instance, int(at.timestamp())), "namespace": namespace},
        "type": "Warning",
        "reason": REASON,
        "action": "Wait",
        "note": note,
        "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128] or "rolloutplan",
        "regarding": {
            "apiVersion": paths.LEASES.api_version,
            "kind": "Lease",
            "namespace": namespace,
            "name": lease,
        },
    }
