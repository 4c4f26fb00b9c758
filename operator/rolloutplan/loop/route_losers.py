"""Which HTTPRoutes lose requests to those that the operator owns: looked for once, and when one of them changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from rolloutplan.api import safe_get
from rolloutplan.cluster.client import Raw
from rolloutplan.loop.owned_plans import Name, Route
from rolloutplan.traffic.owned import is_ours
from rolloutplan.traffic.precedence import asks, loser

PAGE: Final = 50
"""Routes in one answer: each may have 1.5 MiB, and the whole answer is in memory."""


class Client(Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw: ...


class RouteLosers:
    """Call `seen` with every HTTPRoute that has changed or is gone. Routes of other namespaces are not known.

    `path` is that of the HTTPRoutes of a namespace; the empty one stands for all.
    """

    def __init__(self, api: Client, path: Callable[[str], str], namespaces: Sequence[str]) -> None:
        self._api, self._path, self._namespaces = api, path, namespaces
        self._known: dict[Route, tuple[Raw, str]] = {}
        """What was found, with the route in Git for which it was."""

    async def of(self, route: Route, source: Raw) -> str:
        """Which route loses requests to the operator's copy of the source, in words; empty: none. Raises ApiError."""
        known = self._known.get(route)
        if known is None or asks(known[0]) != asks(source):
            words = ""
            async for page in self._pages():
                words = words or loser(source, page)
            known = self._known[route] = (source, words)
        return known[1]

    def seen(self, name: Name, raw: Raw | None) -> Iterable[Route]:
        """Forget what an HTTPRoute may have changed, and return the routes for which that was. None: it is gone."""
        if raw is not None and is_ours(raw):
            return ()
        mentioned = f" {'/'.join(name)} "
        changed = [
            route
            for route, (source, words) in self._known.items()
            if mentioned in words or (raw is not None and not words and loser(source, (raw,)))
        ]
        for route in changed:
            del self._known[route]
        return changed

    async def _pages(self) -> AsyncIterator[Sequence[Any]]:
        for namespace in self._namespaces:
            query: dict[str, Any] = {"limit": PAGE}
            while True:
                raw = await self._api.list(self._path(namespace), **query)
                yield [each for each in safe_get.items(raw, "items") if not is_ours(each)]
                if not (more := safe_get.text(raw, "metadata", "continue")):
                    break
                query["continue"] = more
