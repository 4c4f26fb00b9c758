"""Whether the operator may move the routes of a plan: asked before a run, in which a weight would be refused otherwise.

An answer holds for all routes of a kind in a namespace, and for a while: plans that start together ask once. A review
that is not answered in time keeps no run from its start, and no way back asks.

Required rights: create on selfsubjectaccessreviews, which every account has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import structlog

from rolloutplan.api.route import RouteId
from rolloutplan.cluster import discovery, paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.routers import granting

REMEMBERED: Final = 60.0
"""Seconds for which an answer holds: so long does a run wait for a right that it gets, at most."""
UNKNOWN_FOR: Final = 10.0
"""Seconds for which a review without an answer counts as a yes: plans that start meanwhile do not wait for it, too."""
ANSWERED_WITHIN: Final = 2.5
"""Seconds for a review; a route needs two at most, one after the other, and those of all routes go at the same time."""
MOST_REMEMBERED: Final = 4096
"""The most answers that are remembered: some for each namespace of a large cluster, in about 2 MiB. One that is
forgotten is asked for again."""

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]
"""A resource, a namespace, and the name of an object; empty for all of them."""


@dataclass(slots=True)
class _Answer:
    may: bool = True
    until: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Rights:
    """The answers of the API server, as long as they hold."""

    def __init__(self) -> None:
        self._answers: dict[_Key, _Answer] = {}

    async def missing(
        self, api: discovery.Writer, namespace: str, routes: Mapping[RouteId, paths.Kind]
    ) -> dict[RouteId, str]:
        """Return those of these routes that the operator may not patch, each with the reason and the fix.

        This takes twice ANSWERED_WITHIN at most, however many routes there are.
        """
        may = await asyncio.gather(
            *(self._may_move(api, place, namespace, route.name) for route, place in routes.items())
        )
        return {
            route: f"the operator may not patch {place.resource} in namespace {namespace}: {granting(route.kind)}"
            for (route, place), allowed in zip(routes.items(), may, strict=True)
            if not allowed
        }

    async def _may_move(self, api: discovery.Writer, place: paths.Kind, namespace: str, name: str) -> bool:
        return await self._may(api, place, namespace) or await self._may(api, place, namespace, name)

    async def _may(self, api: discovery.Writer, place: paths.Kind, namespace: str, name: str = "") -> bool:
        """Whether it may patch an object of a resource, or all of them. Also true where nobody knows."""
        answer = self._remembered((place.resource, namespace, name))
        async with answer.asking:
            if monotonic() >= answer.until:
                try:
                    async with asyncio.timeout(ANSWERED_WITHIN):
                        answer.may = not await discovery.denied(api, place, ("patch",), namespace, name)
                    answer.until = monotonic() + REMEMBERED
                except (ApiError, TimeoutError) as error:
                    log.warning(
                        "whether routes may be patched is not known", resource=place.resource, error=repr(error)
                    )
                    answer.may, answer.until = True, monotonic() + UNKNOWN_FOR
            return answer.may

    def _remembered(self, key: _Key) -> _Answer:
        """The answer of a key, which may be too old. A new key takes the place of the oldest where there are many."""
        if key not in self._answers:
            if len(self._answers) >= MOST_REMEMBERED:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = _Answer()
        return self._answers[key]
