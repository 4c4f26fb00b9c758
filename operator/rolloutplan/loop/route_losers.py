"""Which HTTPRoutes lose requests to those that the operator owns: looked for once, and when one of them changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from rolloutplan.api import safe_get
from rolloutplan.cluster.client import Raw
from rolloutplan.loop.owned_plans import Name, Route
from rolloutplan.traffic.owned import is_ours
from rolloutplan.traffic.precedence import asks, created, loser

PAGE: Final = 50
"""Routes in one answer: each may have 1.5 MiB, and the whole answer is in memory."""


class Client(Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw: ...


class _Found(NamedTuple):
    """What was found for a route in Git, and the operator's copy of it."""

    source: Raw
    own: Raw | None
    words: str


class RouteLosers:
    """Call `seen` with every HTTPRoute that has changed or is gone, `listed` where some may be gone unseen.

    Routes of other namespaces are not known.

    `path` is that of the HTTPRoutes of a namespace; the empty one stands for all.
    """

    def __init__(self, api: Client, path: Callable[[str], str], namespaces: Sequence[str]) -> None:
        self._api, self._path, self._namespaces = api, path, namespaces
        self._known: dict[Route, _Found] = {}
        self._gone = 0
        """How often something was gone: a list that was read meanwhile may still have it."""

    async def of(self, route: Route, source: Raw, own: Raw | None) -> str:
        """Which route loses requests to the operator's copy of the source, in words; empty: none. Raises ApiError.

        `own` is that copy; None where it is still to be made.
        """
        known = self._known.get(route)
        if known is None or asks(known.source) != asks(source) or created(known.own) != created(own):
            words, gone = "", self._gone
            async for page in self._pages():
                words = words or loser(source, page, own)
            known = _Found(source, own, words)
            if gone == self._gone:
                self._known[route] = known
        return known.words

    def listed(self) -> None:
        """Look for all anew: of what a complete list does not have, no deletion was seen."""
        self._known.clear()
        self._gone += 1

    def seen(self, name: Name, raw: Raw | None) -> Iterable[Route]:
        """Forget what an HTTPRoute may have changed, and return the routes for which that was. None: it is gone."""
        if raw is None:
            self._gone += 1
        elif is_ours(raw):
            return ()
        mentioned = f" {'/'.join(name)} "
        changed = [
            route
            for route, found in self._known.items()
            if mentioned in found.words
            or (raw is not None and not found.words and loser(found.source, (raw,), found.own))
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
