"""Sends decisions to the webhooks of notifiers: the sink of each, and what they share out.

`PlanRun` gives each sink one decision of a plan after the other and tries again what failed, so there is no queue here.
Requests have places of their own: a webhook that hangs delays no decision, and not the webhook of another team.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final
from weakref import WeakValueDictionary

import structlog

from rolloutplan.api.status import Decision
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import severity_of
from rolloutplan.metrics.access import Access
from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.publish.delivery import Answer, post
from rolloutplan.publish.formats import FORMATS
from rolloutplan.publish.notification import Notification
from rolloutplan.publish.notifiers import NotifierObject

WITHIN: Final = 9.0
"""Seconds for a place and the request: a run that goes back gives up what has no result after ten."""
AT_ONCE: Final = 4
"""Requests to one webhook at a time, of different plans."""
OF_A_NAMESPACE: Final = 2
"""How many of them plans of one namespace may have or wait for, where those of all namespaces share a webhook."""
ALL_AT_ONCE: Final = 64
"""Requests at a time. Namespaces share them (metrics/fair_share.py), so those of one team take half at most."""
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
"""Seconds between attempts at a webhook that fails, for all plans together: one that is down gets no more of them.

Plans ask so often whether the pause is over: it ends at once where somebody corrects the webhook."""
LONGEST_RETRY_AFTER: Final = 900.0
"""Seconds that a receiver may put the next attempt off."""
BUSY: Final = "Busy"
PAUSED: Final = "Paused"

log = structlog.stdlib.get_logger("rolloutplan")

Count = Callable[[str, str], None]
"""Takes the title of a notifier, and a result: delivered, failed, given_up."""


@dataclass(slots=True)
class Tally:
    """What became of the decisions of one notifier since this process began."""

    uid: str
    webhook: object = None
    """Where it sends to: after an edit of this nothing is known of the new one."""
    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    last_delivery: datetime | None = None
    trouble: str = ""
    """Why the last attempt failed; empty after a success."""
    failures: int = 0
    """How many failed in a row."""
    paused_until: float = 0.0
    """By the monotonic clock."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _of_namespaces: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)
    """Those of the namespaces whose plans have or wait for a place."""

    def places_of(self, namespace: str) -> asyncio.Semaphore:
        """Return the places of the plans of a namespace; one without requests under way begins with all of them."""
        return self._of_namespaces.setdefault(namespace, asyncio.Semaphore(OF_A_NAMESPACE))

    def pause(self, retry_after: float | None) -> float:
        """Ask no more for a while; return the seconds."""
        self.failures += 1
        seconds = min(SHORTEST_PAUSE * 2.0 ** min(self.failures - 1, 10), LONGEST_PAUSE)
        if retry_after is not None:
            seconds = max(seconds, min(retry_after, LONGEST_RETRY_AFTER))
        self.paused_until = max(self.paused_until, time.monotonic() + seconds)
        return seconds


class Notifications:
    """The sinks of all notifiers. `changed` is called when a webhook begins to fail, or has recovered."""

    def __init__(
        self, access: Access, count: Count = lambda *_: None, *, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.access, self.count, self.changed = access, count, changed
        self.shares = FairShare(ALL_AT_ONCE)
        self._tallies: dict[tuple[str, str], Tally] = {}

    def sink(self, notifier: NotifierObject) -> NotificationSink:
        """Return the sink of a notifier as it is now."""
        return NotificationSink(self, notifier, self.tally(notifier))

    def tally(self, notifier: NotifierObject) -> Tally:
        """Return what became of its decisions. An object that was created again begins anew."""
        ident, webhook = (notifier.namespace, notifier.name), notifier.spec and notifier.spec.webhook
        found = self._tallies.get(ident)
        if found is None or found.uid != notifier.uid:
            found = self._tallies[ident] = Tally(notifier.uid, webhook)
        if webhook is not None and webhook != found.webhook:
            found.webhook, found.paused_until, found.failures = webhook, 0.0, 0
        return found

    def keep(self, notifiers: Collection[NotifierObject]) -> None:
        """Forget all others, which are gone."""
        kept = {(each.namespace, each.name) for each in notifiers}
        self._tallies = {ident: tally for ident, tally in self._tallies.items() if ident in kept}


class NotificationSink:
    """Sends the decisions of one plan after the other to one webhook."""

    own_status = True

    def __init__(self, shared: Notifications, notifier: NotifierObject, tally: Tally) -> None:
        self.name = notifier.sink
        self.keeps: timedelta | None = notifier.spec.give_up_after if notifier.spec else None
        self.shared, self.notifier, self.tally = shared, notifier, tally

    async def publish(self, snapshot: Snapshot, decision: Decision, *, recorded: bool = True) -> None:
        """Send a decision, unless the notifier does not take it, or nobody has taken it for too long.

        Raises ApiError where it is to be sent again. What the receiver refuses for good is given up, and counted.
        """
        spec = self.notifier.spec
        severity = str(severity_of(decision))
        if spec is None or not spec.decisions.takes(decision.reason, str(decision.kind), severity):
            return
        if snapshot.now - decision.at > spec.give_up_after:
            self._give_up(decision, f"not taken within giveUpAfter; {self.tally.trouble}".removesuffix("; "))
            return
        if (left := self.tally.paused_until - time.monotonic()) > 0:
            raise ApiError(0, PAUSED, self.tally.trouble, min(left, LONGEST_PAUSE))
        told = Notification(snapshot.plan, decision, snapshot.status.revert, spec.template, recorded=recorded)
        self._judge(await self._post(told), decision, snapshot.now)

    async def _post(self, told: Notification) -> Answer:
        """Post when there is a place. Raises ApiError where there is none in time."""
        spec, who = self.notifier.spec, self.notifier.namespace
        assert spec is not None
        near = nullcontext() if who else self.tally.places_of(told.plan.namespace)
        try:
            async with asyncio.timeout(WITHIN), near, self.tally.places:
                if not self.shared.shares.take(who):
                    raise ApiError(0, BUSY, "all places for requests to webhooks are taken", SHORTEST_PAUSE)
                try:
                    return await post(spec, FORMATS[spec.webhook.format](told), told.key, self.shared.access, who=who)
                finally:
                    self.shared.shares.give(who)
        except TimeoutError:
            raise ApiError(0, BUSY, "the webhook is slow, and other decisions are being sent", SHORTEST_PAUSE) from None

    def _judge(self, answer: Answer, decision: Decision, now: datetime) -> None:
        """Count what came of an attempt. Raises ApiError where there is to be another one."""
        tally = self.tally
        if answer.is_success:
            recovered, tally.trouble, tally.failures = bool(tally.trouble), "", 0
            tally.delivered, tally.last_delivery = tally.delivered + 1, now
            self.shared.count(self.notifier.title, "delivered")
            if recovered or tally.delivered == 1:
                self.shared.changed()
            return
        began, tally.trouble = not tally.trouble, _words(answer)
        tally.failed += 1
        self.shared.count(self.notifier.title, "failed")
        if began:
            self.shared.changed()
        if answer.is_final:
            self._give_up(decision, tally.trouble)
            return
        raise ApiError(answer.status, "NotTaken", tally.trouble, min(tally.pause(answer.retry_after), LONGEST_PAUSE))

    def _give_up(self, decision: Decision, why: str) -> None:
        self.tally.given_up += 1
        self.shared.count(self.notifier.title, "given_up")
        log.warning("a decision was not sent", notifier=self.notifier.title, seq=decision.seq, why=why)


def _words(answer: Answer) -> str:
    """What an answer that is no success means, and what to do."""
    said = f', and says "{answer.words}"' if answer.words else ""
    if not answer.status:
        return answer.words
    if answer.status < HTTPStatus.BAD_REQUEST:
        return (
            f"the webhook answers {answer.status}, a redirect, which is not followed: write its target in webhook.url"
        )
    if answer.is_final:
        return f"the webhook refuses with {answer.status}{said}: check webhook.url, webhook.format and the credentials"
    return f"the webhook answers {answer.status}{said}: it is tried again"
