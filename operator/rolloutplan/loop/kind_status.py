"""The status of RouteKinds: whether plans may name them.

The leader asks the API server for each RouteKind whether its resource is served, and whether the operator may move its
objects, and writes the answer as the condition Ready. Without RouteKinds it sends no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.reasons import StatusReason
from rolloutplan.cluster import discovery, paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.object_status import Writer, ready_condition, write_status
from rolloutplan.loop.routers import OWN_RIGHTS, not_installed
from rolloutplan.loop.routes import RouteKinds, place_of
from rolloutplan.loop.waiting import happens

RECHECK: Final = 60.0
"""Seconds between two looks at a RouteKind: a CRD or a right that comes later is not announced."""
VERBS: Final = ("get", "list", "watch", "patch")
"""What the operator does with the objects of a kind of route."""

log = structlog.get_logger(__name__)


class Client(discovery.Reader, discovery.Writer, Writer, Protocol):
    """What is needed of the API server (cluster/client.py)."""


class Readiness(NamedTuple):
    """Whether plans may name a kind, and why not."""

    ready: bool
    reason: str
    message: str
    served: str = ""


class KindStatus:
    """Writes the status of the RouteKinds in the store while `leading`; call `changed` when one has changed."""

    def __init__(
        self, api: Client, kinds: RouteKinds, *, leading: Callable[[], bool], namespaces: Sequence[str] = ()
    ) -> None:
        self._api, self._kinds, self._leading = api, kinds, leading
        self._namespaces: tuple[str | None, ...] = tuple(dict.fromkeys(namespaces)) or (None,)
        self._again = asyncio.Event()

    def changed(self) -> None:
        """Look again at once."""
        self._again.set()

    async def run(self) -> None:
        """Look at every RouteKind again and again until cancelled."""
        while True:
            objects = self._kinds.objects if self._leading() else {}
            for name in list(objects):
                try:
                    await self._look(name)
                except ApiError as error:
                    log.warning("the status of a RouteKind could not be written", kind=name, error=str(error))
                except Exception:
                    log.exception("a RouteKind could not be looked at", kind=name)
            await happens(self._again, RECHECK if self._kinds.objects else None)
            self._again.clear()

    async def _look(self, name: str) -> None:
        raw, found = self._kinds.objects.get(name), await self._readiness(name)
        if raw is None:
            return
        ready = ready_condition(raw, datetime.now(UTC), ready=found.ready, reason=found.reason, message=found.message)
        generation = safe_get.number(raw, "metadata", "generation")
        status = {"observedGeneration": generation, "served": found.served, "conditions": [ready]}
        await write_status(self._api, paths.ROUTE_KINDS, raw, status)

    async def _readiness(self, name: str) -> Readiness:
        """Return whether plans may name a kind. Raises ApiError."""
        kind = self._kinds.get(name)
        if kind is None:
            return Readiness(False, "Invalid", self._kinds.problem(name))
        place = place_of(kind)
        found = await discovery.find(self._api, place)
        if found.place is None:
            trouble = not_installed(place, found.others)
            return Readiness(False, str(trouble.reason), trouble.words)
        served = found.place.version
        for namespace in self._namespaces:
            if verbs := await discovery.denied(self._api, found.place, VERBS, namespace):
                where = f" in namespace {namespace}" if namespace else ""
                denied = f"the operator may not {', '.join(verbs)} {place.resource}{where}"
                words = f"{denied}: give it these rights, {OWN_RIGHTS}"
                return Readiness(False, StatusReason.FORBIDDEN, words, served)
        return Readiness(True, "Served", f"plans may name it: {place.resource} is served in {served}", served)
