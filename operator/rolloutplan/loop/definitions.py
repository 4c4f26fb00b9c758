"""Looks whether the CRDs of the cluster fit: a field that they lack is dropped from what is written, without a word.

The status is the memory of a run, and a guard in a field that is dropped guards nothing. So under CRDs that are older
than the operator, or missing, no run begins and no weight rises. Guards, rollbacks and commands go on: the operator
leads where no other one does. It is not ready, so that a rolling update stops before it ends the version that fits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.paths import PLANS
from rolloutplan.loop.waiting import happens

EVERY: Final = 300.0
"""Seconds between two looks where the CRDs fit: somebody applies older ones once in a long while."""
AGAIN: Final = 5.0
"""Seconds between two looks where they do not: they come in the middle of an installation."""

log = structlog.stdlib.get_logger("rolloutplan")


class Difference(NamedTuple):
    """How the CRDs of a cluster differ from those of this program, and what to do; without words they do not."""

    words: str = ""
    lack: bool = False
    """Whether they lack fields that this program has."""


Compare = Callable[[], Awaitable[Difference]]
"""Asks the API server. Raises ApiError where it does not tell."""


class Definitions:
    """What is known of the CRDs. `changed` is called with what they lack, each time that this is another."""

    def __init__(self, compare: Compare, changed: Callable[[str], None]) -> None:
        self._compare, self._changed = compare, changed
        self._seen: Difference | None = None
        self._again = asyncio.Event()
        self._doubted = False
        """Whether the last answer was the first one that they lack something, after one that they fit."""

    def waits_for(self) -> Sequence[str]:
        """Why the operator is not ready; nothing where they fit, or are not known."""
        return [self._seen.words] if self._seen is not None and self._seen.lack else []

    def listed(self, resource: str) -> None:
        """Look again at once where plans are listed anew: their CRD may have been removed, or have come back."""
        if resource == PLANS.resource:
            self._again.set()

    def pause(self) -> float:
        """The seconds until the next look."""
        return AGAIN if self.waits_for() or self._doubted else EVERY

    async def look(self) -> None:
        """Compare them once. Where the API server does not tell, what was known stays.

        Where they did fit, it takes two answers that they do not: an API server that has just started serves objects
        before it tells their fields, and no run is held up for that.
        """
        try:
            found = await self._compare()
        except ApiError:
            return
        self._doubted = found.lack and self._seen is not None and not self._seen.lack and not self._doubted
        if self._doubted:
            return
        before, self._seen = self._seen or Difference(), found
        if found == before:
            return
        if found.words:
            log.warning("the CRDs are of another version", why=found.words, waits=found.lack)
        else:
            log.info("the CRDs fit")
        if before.lack or found.lack:
            self._changed(found.words if found.lack else "")

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            if self._doubted:  # several lists come at the same instant: they are one answer
                await asyncio.sleep(AGAIN)
            else:
                await happens(self._again, self.pause())
            self._again.clear()
            await self.look()
