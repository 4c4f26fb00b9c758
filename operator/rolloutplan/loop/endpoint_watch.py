"""Follows the EndpointSlices of the Services that plans name, and of no others.

For each namespace of the operator, or for all together, there is one list and one stream, with a label selector that
names the Services. kopf (loop/watch.py) cannot select by labels. When a plan names another Service, both start again.
What arrives goes to loop/feed.py.

Required rights: list and watch on endpointslices.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol

import structlog

from rolloutplan.cluster import endpoints, paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop.endpoints import Service
from rolloutplan.loop.missing_rights import missing_right
from rolloutplan.loop.versions import version_of
from rolloutplan.loop.waiting import pauses

STREAM_ENDS_AFTER: Final = 30
"""Seconds after which the API server ends a stream, which then goes on. Behind a dead connection that seems alive, a
loss of endpoints may stay unseen for this long."""
OUTDATED_AFTER: Final = 60.0
"""Seconds without an answer after which endpoints count as not known."""
GATHERED_FOR: Final = 0.2
"""Seconds between the first Service that a plan names and the list: plans often come in numbers."""
CHUNK: Final = 100
"""Slices in one answer to a list. A slice has at most 1000 endpoints, and usually 100."""
_BACKOFFS: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_SHORTEST_STREAM: Final = 1.0
"""Seconds. A stream that ends sooner without any event is not served, as behind some proxies."""
_LASTING: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
"""Refusals that do not pass by themselves, so they are told at once."""

log = structlog.get_logger(__name__)


class StreamClient(Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> dict[str, Any]: ...

    def stream(
        self, path: str, *, within: float, whole: bool = True, **query: str | int
    ) -> AsyncGenerator[dict[str, Any]]: ...


class Plans(Protocol):
    """What plans name (loop/needs.py)."""

    def services(self, namespace: str | None) -> frozenset[Service]:
        """The Services that plans name, in a namespace or everywhere."""


class Sink(Protocol):
    """Takes what was found out (loop/feed.py)."""

    def endpoints_listed(
        self, namespace: str | None, services: Iterable[Service], items: Iterable[Mapping[str, Any]]
    ) -> None: ...

    def endpoints_changed(self, event: str, raw: Mapping[str, Any]) -> None: ...

    def endpoints_failed(self, services: Iterable[Service], why: str, *, outdated: bool) -> None: ...


class _Following(NamedTuple):
    """The Services that a list covered, and the version from which the stream goes on."""

    services: frozenset[Service]
    version: str
    history: int
    """How often the cluster had been restored."""


class EndpointWatch:
    """Follows the Services of plans, everywhere or in `namespaces`. Call `changed` when plans name other Services."""

    def __init__(self, api: StreamClient, plans: Plans, sink: Sink, *, namespaces: Sequence[str] = ()) -> None:
        self._api, self._plans, self._sink, self._history = api, plans, sink, 0
        self._scopes: dict[str | None, asyncio.Event] = {
            namespace: asyncio.Event() for namespace in dict.fromkeys(namespaces or (None,))
        }

    def changed(self) -> None:
        """Look again which Services are to be followed."""
        for event in self._scopes.values():
            event.set()

    def restart(self) -> None:
        """List everything again: the cluster was restored, and the streams go on from versions that are void."""
        self._history += 1
        self.changed()

    async def run(self) -> None:
        """Follow them until cancelled."""
        await asyncio.gather(*(self._run(namespace, event) for namespace, event in self._scopes.items()))

    async def _run(self, namespace: str | None, again: asyncio.Event) -> None:
        following: _Following | None = None
        heard, delays = time.monotonic(), pauses(_BACKOFFS)
        while True:
            wanted = self._plans.services(namespace)
            if not wanted:
                following = None
                self._sink.endpoints_listed(namespace, (), ())
                await again.wait()
                again.clear()
                await asyncio.sleep(GATHERED_FOR)
                heard = time.monotonic()
                continue
            try:
                if following is None or not self._covers(following, wanted):
                    following = await self._list(namespace, wanted)
                    heard = time.monotonic()
                following = await self._follow(namespace, following, again)
                heard, delays = time.monotonic(), pauses(_BACKOFFS)
            except ApiError as error:
                outdated = time.monotonic() - heard > OUTDATED_AFTER
                if outdated or error.status in _LASTING:
                    self._sink.endpoints_failed(wanted, _words(error), outdated=outdated)
                following = None  # a list is the truth: the same events once more would show what has passed
                await asyncio.sleep(next(delays))
            except Exception:
                log.exception("following endpoints was interrupted")
                following = None
                await asyncio.sleep(next(delays))

    async def _list(self, namespace: str | None, services: frozenset[Service]) -> _Following:
        history = self._history
        path, names = _path(namespace), endpoints.selector({name for _, name in services})
        query = {"labelSelector": names, "limit": str(CHUNK)}
        page = await self._api.list(path, timeout=None, **query)
        items: list[Mapping[str, Any]] = list(page.get("items") or ())
        while token := (page.get("metadata") or {}).get("continue"):
            page = await self._api.list(path, timeout=None, **query, **{"continue": token})
            items += page.get("items") or ()
        self._sink.endpoints_listed(namespace, services, items)
        return _Following(services, version_of(page), history)

    def _covers(self, following: _Following, services: frozenset[Service]) -> bool:
        return services <= following.services and following.history == self._history

    async def _follow(self, namespace: str | None, following: _Following, again: asyncio.Event) -> _Following:
        """Follow the stream until it ends, or until a plan names a Service that it does not cover."""
        streaming = asyncio.create_task(self._stream(namespace, following))
        try:
            while True:
                news = asyncio.create_task(again.wait())
                try:
                    await asyncio.wait({streaming, news}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()
                if streaming.done():
                    return await streaming
                again.clear()
                if not self._covers(following, self._plans.services(namespace)):
                    await asyncio.sleep(GATHERED_FOR)
                    return following
        finally:
            streaming.cancel()
            with contextlib.suppress(asyncio.CancelledError, ApiError):
                await streaming

    async def _stream(self, namespace: str | None, following: _Following) -> _Following:
        version, began = following.version, time.monotonic()
        stream = self._api.stream(
            _path(namespace),
            within=STREAM_ENDS_AFTER,
            labelSelector=endpoints.selector({name for _, name in following.services}),
            resourceVersion=version,
            allowWatchBookmarks="true",
        )
        async with contextlib.aclosing(stream):
            async for event in stream:
                version = version_of(event["object"]) or version
                if event["type"] != "BOOKMARK":
                    self._sink.endpoints_changed(event["type"], event["object"])
        if version == following.version and time.monotonic() - began < _SHORTEST_STREAM:
            raise ApiError(0, "Ended", "the stream of endpointslices ended as soon as it began")
        return following._replace(version=version)


def _path(namespace: str | None) -> str:
    return paths.path(paths.ENDPOINT_SLICES, namespace or "")


def _words(error: ApiError) -> str:
    return missing_right(error) or f"the API server does not tell them: {error}"
