"""The status of Notifiers and ClusterNotifiers: whether decisions get through, and how many did.

The leader writes it about once a minute where something has changed, and sooner when a webhook begins to fail or has
recovered. Counts go on from those in the status, so that a new leader loses no more than a minute of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from rolloutplan.api import safe_get
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.object_status import Writer, ready_condition, write_status
from rolloutplan.loop.waiting import happens
from rolloutplan.publish.notifications import Notifications, Tally
from rolloutplan.publish.notifiers import NotifierObject

EVERY: Final = 60.0
"""Seconds between two looks at all notifiers: whoever watches the counts has the metrics."""
AT_MOST_EVERY: Final = 10.0
"""Seconds between two looks where a webhook answers now so, now so."""
_COUNTS: Final = ("delivered", "failed", "givenUp")

log = structlog.get_logger(__name__)


class NotifierStatuses:
    """Writes the status of `notifiers` while `leading`; call `changed` when one has changed."""

    def __init__(
        self,
        api: Writer,
        notifiers: Iterable[NotifierObject],
        sent: Notifications,
        *,
        leading: Callable[[], bool],
        apply: Callable[[str, str, dict[str, Any]], None],
    ) -> None:
        self._api, self._notifiers, self._sent, self._leading, self._apply = api, notifiers, sent, leading, apply
        self._before: dict[str, tuple[str, Mapping[str, int]]] = {}
        """By title the uid, and the counts that its status had when this leader took it up."""
        self._again = asyncio.Event()

    def changed(self) -> None:
        """Look again soon."""
        self._again.set()

    async def run(self) -> None:
        """Look at every notifier again and again until cancelled. Without any it waits for one."""
        while True:
            notifiers = list(self._notifiers)
            self._sent.keep(notifiers)
            if self._leading():
                for each in notifiers:
                    await self._write(each)
            else:
                self._before.clear()
            await asyncio.sleep(AT_MOST_EVERY if notifiers else 0)
            await happens(self._again, EVERY if notifiers else None)
            self._again.clear()

    async def _write(self, notifier: NotifierObject) -> None:
        try:
            status = self.status(notifier, datetime.now(UTC))
            raw = await write_status(self._api, notifier.kind, notifier.raw, status)
        except ApiError as error:
            log.warning("the status of a notifier could not be written", notifier=notifier.title, error=str(error))
        except Exception:
            log.exception("the status of a notifier could not be worked out", notifier=notifier.title)
        else:
            if raw is not None:
                self._apply(notifier.kind.resource, "MODIFIED", raw)

    def status(self, notifier: NotifierObject, now: datetime) -> dict[str, Any]:
        """Return the status of a notifier."""
        tally = self._sent.tally(notifier)
        before = self._counts_before(notifier, tally)
        ready, reason, message = _readiness(notifier, tally)
        last = tally.last_delivery.strftime("%Y-%m-%dT%H:%M:%SZ") if tally.last_delivery else ""
        last = last or safe_get.text(notifier.raw, "status", "lastDelivery")
        return {
            "observedGeneration": safe_get.number(notifier.raw, "metadata", "generation"),
            "delivered": before["delivered"] + tally.delivered,
            "failed": before["failed"] + tally.failed,
            "givenUp": before["givenUp"] + tally.given_up,
            **({"lastDelivery": last} if last else {}),
            "conditions": [ready_condition(notifier.raw, now, ready=ready, reason=reason, message=message)],
        }

    def _counts_before(self, notifier: NotifierObject, tally: Tally) -> Mapping[str, int]:
        """The counts of before this leader; a tally of before it led is in them already, or was never its own."""
        uid, counts = self._before.get(notifier.title, ("", {}))
        if uid != notifier.uid:
            known = {name: safe_get.number(notifier.raw, "status", name) for name in _COUNTS}
            own = {"delivered": tally.delivered, "failed": tally.failed, "givenUp": tally.given_up}
            counts = {name: max(known[name], 0) - (own[name] if known[name] >= own[name] else 0) for name in _COUNTS}
            self._before[notifier.title] = (notifier.uid, counts)
        return counts


def _readiness(notifier: NotifierObject, tally: Tally) -> tuple[bool, str, str]:
    if notifier.spec is None:
        return False, notifier.reason, notifier.problem[:1024]
    if tally.trouble:
        return False, "Failing", tally.trouble[:1024]
    if tally.delivered:
        return True, "Delivering", "the webhook took the last decision that was sent"
    return True, "Waiting", "no decision was sent since the operator started"
