"""Whether this replica leads: among those of its installation, and whether another installation serves the cluster.

The elector (cluster/lease.py) starts and stops the reconciler.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from rolloutplan import clock
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.cluster.lease import Elector
from rolloutplan.cluster.serving import Serving
from rolloutplan.loop.missing_rights import why
from rolloutplan.loop.options import Options
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.versions import History
from rolloutplan.publish.events import create_once
from rolloutplan.publish.installation_events import served_elsewhere
from rolloutplan.telemetry.metrics import Metrics

log = structlog.stdlib.get_logger("rolloutplan")


class Leadership:
    """Elects the leader once `synced` was called, and while no other installation serves the cluster."""

    def __init__(
        self, api: Api, reconciler: Reconciler, metrics: Metrics, options: Options, restored: Callable[[], None]
    ) -> None:
        """`restored` is called after the cluster was restored from a backup."""
        self._api, self._reconciler, self._metrics, self._options = api, reconciler, metrics, options
        self._synced, self._ready = False, asyncio.Event()
        self.elector = Elector(
            api,
            namespace=options.lease_namespace,
            name=options.lease_name,
            identity=options.identity,
            gained=self._gained,
            lost=self._lost,
            ready=self._ready,
            saw=History(restored).saw,
            clock=_since_boot,
        )
        self.serving = Serving(
            api,
            namespace=options.cluster_lease,
            installation=f"{options.lease_namespace}/{options.lease_name}",
            leading=self.leading,
            changed=self._serves_elsewhere,
            clock=_since_boot,
        )

    def leading(self) -> bool:
        """Whether this replica leads."""
        return self.elector.leading

    def epoch(self) -> int | None:
        """Return the number of its term; None while it does not lead."""
        return self.elector.epoch if self.elector.leading else None

    def waits_for(self) -> list[str]:
        """Return why this replica cannot lead; nothing where it can."""
        forbidden = self.elector.forbidden
        return [*self.serving.waits_for(), *([f"this replica cannot lead: {why(forbidden)}"] if forbidden else ())]

    def synced(self) -> None:
        """Let this replica lead: everything has been listed."""
        self._synced = True
        self._update()

    def _update(self) -> None:
        (self._ready.set if self._synced and not self.serving.elsewhere else self._ready.clear)()

    def _gained(self, epoch: int) -> None:
        self._metrics.set_leader(epoch)
        self._reconciler.lead(epoch)

    def _lost(self, _: str) -> None:
        self._metrics.set_leader(None)
        self._reconciler.follow()

    async def _serves_elsewhere(self, elsewhere: str) -> None:
        self._update()
        if elsewhere:
            await self._tell("; ".join(self.serving.waits_for()))

    async def _tell(self, note: str) -> None:
        """Create the Event that says why this installation does nothing; the log and the probe say it as well."""
        where, instance = (self._options.lease_namespace, self._options.lease_name), self._options.identity
        try:
            await create_once(self._api, where[0], served_elsewhere(*where, note, clock.now(), instance=instance))
        except ApiError as error:
            log.warning("no Event could be created", error=str(error))


def _since_boot() -> float:
    """Return seconds since boot, with suspended time where the system counts it: a Lease expires then too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
