"""Whether the operator may move the routes of a plan: asked before a run, in which a weight would be refused otherwise.

An answer holds for all routes of a kind in a namespace, and for a while: plans that start together ask once. A review
that is not answered keeps no run from its start, and no way back asks.

Required rights: create on selfsubjectaccessreviews, which every account has.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from time import monotonic
from typing import Final

import structlog

from rolloutplan.api.route import RouteId
from rolloutplan.cluster import discovery, paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.routers import granting

REMEMBERED: Final = 60.0
"""Seconds for which an answer holds: so long does a run wait for a right that it gets, at most."""

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]
"""A resource, a namespace, and the name of an object; empty for all of them."""


class Rights:
    """The answers of the API server, as long as they hold."""

    def __init__(self) -> None:
        self._answers: dict[_Key, tuple[float, bool]] = {}
        self._locks: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def missing(
        self, api: discovery.Writer, namespace: str, routes: Mapping[RouteId, paths.Kind]
    ) -> dict[RouteId, str]:
        """Return those of these routes that the operator may not patch, each with the reason and the fix."""
        found = {}
        for route, place in routes.items():
            if not (await self._may(api, place, namespace) or await self._may(api, place, namespace, route.name)):
                words = f"the operator may not patch {place.resource} in namespace {namespace}"
                found[route] = f"{words}: {granting(route.kind)}"
        return found

    async def _may(self, api: discovery.Writer, place: paths.Kind, namespace: str, name: str = "") -> bool:
        """Whether it may patch an object of a resource, or all of them. Also true where nobody knows."""
        key = (place.resource, namespace, name)
        async with self._locks[key]:
            until, answer = self._answers.get(key, (0.0, True))
            if monotonic() < until:
                return answer
            try:
                answer = not await discovery.denied(api, place, ("patch",), namespace, name)
            except ApiError as error:
                log.warning("whether routes may be patched is not known", resource=place.resource, error=str(error))
                return True
            self._answers[key] = monotonic() + REMEMBERED, answer
            return answer
