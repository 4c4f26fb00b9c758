"""The status of RouteKinds: whether plans may name them.

The leader asks the API server for each RouteKind whether its resource is served, and whether the operator may move its
objects, and writes the answer as the condition Ready. Without RouteKinds it sends no request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import structlog

from rolloutplan.api import safe_get
from rolloutplan.cluster import discovery, paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.routers import OWN_RIGHTS, not_installed
from rolloutplan.loop.routes import RouteKinds, place_of

RECHECK: Final = 60.0
"""Seconds between two looks at a RouteKind: a CRD or a right that comes later is not announced."""
VERBS: Final = ("get", "list", "watch", "patch")
"""What the operator does with the objects of a kind of route."""

log = structlog.get_logger(__name__)


class Client(discovery.Reader, discovery.Writer, Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]: ...


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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), RECHECK if self._kinds.objects else None)
            self._again.clear()

    async def _look(self, name: str) -> None:
        raw, found = self._kinds.objects.get(name), await self._readiness(name)
        if raw is None:
            return
        status = _status(raw, found, datetime.now(UTC))
        if status != safe_get.mapping(raw, "status"):
            await self._api.patch(paths.path(paths.ROUTE_KINDS, name=name, sub="status"), {"status": status})

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
                return Readiness(False, "NotGranted", words, served)
        return Readiness(True, "Served", f"plans may name it: {place.resource} is served in {served}", served)


def _status(raw: Mapping[str, Any], found: Readiness, now: datetime) -> dict[str, Any]:
    """Return the status of a RouteKind; its condition keeps the time of its last change."""
    generation = safe_get.number(raw, "metadata", "generation")
    conditions = safe_get.items(raw, "status", "conditions")
    before = next((each for each in conditions if safe_get.text(each, "type") == "Ready"), None)
    word = "True" if found.ready else "False"
    same = safe_get.text(before, "status") == word
    since = safe_get.text(before, "lastTransitionTime") if same else ""
    condition = {
        "type": "Ready",
        "status": word,
        "reason": found.reason,
        "message": found.message,
        "observedGeneration": generation,
        "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {"observedGeneration": generation, "served": found.served, "conditions": [condition]}
