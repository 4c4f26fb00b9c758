"""Lets one installation serve a cluster: a Lease that is the same for all of them names the one that does.

The replicas of an installation elect their leader on a Lease of its own, in its own namespace. Two installations would
have a leader each, and both would move the same weights. So an installation that sees another one here takes no Lease.

Only what was read keeps an installation from its work: where this Lease cannot be read or written, it serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog

from rolloutplan.api.printable import printable
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError, Raw
from rolloutplan.cluster.lease import NO_LEASE, Lease, micro_time, read

NAME: Final = "rolloutplan.dev"
"""The name of the Lease."""
LASTS: Final = 60.0
"""Seconds without a change after which an installation is gone: its next leader needs 15 s after a crash."""
EVERY: Final = 10.0
"""Seconds between two looks, in which the leader renews it."""
_LONGEST_HOLDER: Final = 200
"""Characters of a holder that are shown: a person may have written anything there."""

log = structlog.stdlib.get_logger("rolloutplan")


class Serving:
    """Holds the Lease `namespace`/NAME for `installation`, or sees that another one does.

    `leading` tells whether this replica leads: it renews. `changed` is called with the other installation, and with ""
    when it is gone. `clock` is monotonic.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        installation: str,
        leading: Callable[[], bool],
        changed: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._us = api, namespace, installation
        self._leading, self._changed, self._clock = leading, changed, clock
        self._lease, self._since = NO_LEASE, 0.0
        self._fault = ""
        self.elsewhere = ""
        """The installation that serves the cluster, where that is another one."""

    def waits_for(self) -> list[str]:
        """Why this installation does nothing; nothing where it serves."""
        if not self.elsewhere:
            return []
        where, holder = f"Lease {self._namespace}/{NAME}", printable(self.elsewhere)[:_LONGEST_HOLDER]
        fix = "uninstall one of the two, or give `namespaces` of the chart to both"
        return [f"the installation {holder} serves this cluster ({where}): {fix}"]

    async def look(self) -> None:
        """Read the Lease once; take it where nobody has it, and renew it where this replica leads."""
        if not self._namespace:
            return
        try:
            await self._look()
            self._fault = ""
        except ApiError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                log.warning("whether another installation serves this cluster is not known", error=str(error))

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.look()

    async def _look(self, *, once_more: bool = True) -> None:
        lease, now = await self._read(), self._clock()
        if lease.version != self._lease.version:
            self._since = now
        self._lease = lease
        # Who had it and lost it to a person's hand serves, and takes it again at its next look.
        holder = lease.holder or self.elsewhere
        if is_held_by_another(holder, self._us, now - self._since):
            await self._set(holder)
            return
        if lease.holder != self._us or self._leading():
            try:
                self._lease = await self._write(lease.version)
                self._since = now
            except ApiError as error:
                if error.status == HTTPStatus.CONFLICT and once_more:  # somebody was faster: who it was is read now
                    await self._look(once_more=False)
                    return
                await self._set("")
                raise
        await self._set("")

    async def _set(self, elsewhere: str) -> None:
        if elsewhere != self.elsewhere:
            self.elsewhere = elsewhere
            if elsewhere:
                log.warning("another installation serves this cluster", why=self.waits_for()[0])
            else:
                log.info("no other installation serves this cluster any more")
            await self._changed(elsewhere)

    async def _read(self) -> Lease:
        try:
            return read(await self._api.get(paths.lease(self._namespace, NAME)))
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            return NO_LEASE

    async def _write(self, version: str) -> Lease:
        body = manifest(self._us, version)
        if version:
            return read(await self._api.patch(paths.lease(self._namespace, NAME), body))
        return read(await self._api.create(paths.lease(self._namespace), body))


def is_held_by_another(holder: str, us: str, unchanged: float) -> bool:
    """Whether another installation has the Lease, which has not changed for so many seconds."""
    return bool(holder) and holder != us and unchanged < LASTS


def manifest(installation: str, version: str) -> Raw:
    """The Lease to write."""
    return {
        "apiVersion": paths.LEASES.api_version,
        "kind": "Lease",
        "metadata": {"name": NAME, **({"resourceVersion": version} if version else {})},
        "spec": {
            "holderIdentity": installation,
            "leaseDurationSeconds": int(LASTS),
            "renewTime": micro_time(),
        },
    }
