"""The Event of an installation that does nothing because another one serves the cluster, in its own namespace."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw
from rolloutplan.publish.events import event_name, event_on

REASON: Final = "ServedElsewhere"


def served_elsewhere(namespace: str, lease: str, note: str, at: datetime, *, instance: str) -> Raw:
    """The Event on the Lease on which this installation elects its leader."""
    return event_on(
        {"apiVersion": paths.LEASES.api_version, "kind": "Lease", "namespace": namespace, "name": lease},
        at,
        name=event_name(lease, instance, int(at.timestamp())),
        namespace=namespace,
        severity="Warning",
        reason=REASON,
        action="Wait",
        note=note,
        instance=instance,
    )
