"""Follows the objects of the kinds of route that plans name, and of no others.

For each resource there is one task, from the first plan that names a kind of it to the last. It asks in which version
the cluster serves the resource, lists it, and follows a stream from the version of the list. A resource that is missing
or forbidden stops its own plans alone: it is asked for again, and nothing else waits for it. What arrives goes to
loop/feed.py.

Required rights: list and watch on each resource, and the discovery that every account has.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import structlog

from rolloutplan.api import safe_get
from rolloutplan.cluster import discovery, paths
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.loop.endpoint_watch import StreamClient
from rolloutplan.loop.routers import Trouble, forbidden, not_installed, silent
from rolloutplan.loop.versions import Listing, is_older, name_of, version_of
from rolloutplan.loop.waiting import pauses

RECHECK: Final = 15.0
"""Seconds between attempts on a resource that is not served or not granted: one small request."""
CONFIRMED_AFTER: Final = 2.0
"""Seconds until a resource that was listed before is asked for again before that is reported: an API server that has
just started may not serve it yet. What was known of its objects stays: only a list or an event shows what is gone."""
SILENT_AFTER: Final = 5.0
"""Seconds without a list after which plans no longer wait for it in silence."""
STREAM_ENDS_AFTER: Final = 30
"""Seconds after which the API server ends a stream, which then goes on from the newest version. Behind a dead
connection that seems alive, changed weights may stay unseen for this long."""
CHUNK: Final = 25
"""Objects in one answer to a list. Each may have 1.5 MiB, and the whole answer is in memory before it is decoded."""
SLICE: Final = 0.005
"""Seconds for which objects of a list are taken before all else is served."""
_BACKOFFS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0)
_SHORTEST_STREAM: Final = 1.0
"""Seconds. A stream that ends sooner without any event is not served, as behind some proxies."""
_LASTING: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
"""Answers that are about the whole resource."""

log = structlog.get_logger(__name__)


class Client(StreamClient, discovery.Reader, Protocol):
    """What is needed of the API server (cluster/client.py)."""


class Kinds(Protocol):
    """Takes in which version a resource is served (loop/routes.py)."""

    def serve(self, resource: str, version: str) -> None: ...


class Plans(Protocol):
    """What is needed of the store (loop/store.py)."""

    @property
    def kinds(self) -> Kinds: ...

    def routes_wanted(self) -> Mapping[str, paths.Kind]:
        """Return the resources of the kinds that plans name, each in all versions that can be read."""

    def routes_unwanted(self, resource: str) -> None:
        """Forget a resource that no plan names any more, and that is no longer followed."""


class Sink(Protocol):
    """Takes what was found out (loop/feed.py)."""

    def apply(self, kind: str, event: str | None, raw: Raw) -> None: ...

    def listed(self, listing: Listing) -> None: ...

    def routes_listed(self, resource: str) -> None:
        """All objects of a resource are known, in every namespace of the operator."""

    def routes_failed(self, resource: str, trouble: Trouble) -> None: ...


class _MissingError(Exception):
    """No version of a resource is served that can be read."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        super().__init__()
        self.others = tuple(others)


class _Scope(NamedTuple):
    """What one list and one stream cover; `namespace` is None for all."""

    place: paths.Kind
    namespace: str | None

    @property
    def path(self) -> str:
        return paths.path(self.place, self.namespace or "")


class RouteWatch:
    """Follows what plans name, everywhere or in `namespaces`. Call `changed` when plans name other kinds."""

    def __init__(self, api: Client, plans: Plans, sink: Sink, *, namespaces: Sequence[str] = ()) -> None:
        self._api, self._plans, self._sink = api, plans, sink
        self._namespaces: tuple[str | None, ...] = tuple(dict.fromkeys(namespaces)) or (None,)
        self._again = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._followed: set[str] = set()
        self._newest: dict[_Scope, str] = {}
        self._listed: set[_Scope] = set()

    def changed(self) -> None:
        """Look again which resources are to be followed."""
        self._again.set()

    def restart(self, resource: str | None = None) -> None:
        """List everything again, or one resource: what was kept of it is not enough any more."""
        for name in [resource] if resource is not None else list(self._tasks):
            if (task := self._tasks.pop(name, None)) is not None:
                task.cancel()
        self.changed()

    async def run(self) -> None:
        """Follow them until cancelled."""
        try:
            while True:
                self._start_and_stop()
                await self._again.wait()
                self._again.clear()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start_and_stop(self) -> None:
        wanted = self._plans.routes_wanted()
        for resource in self._followed - set(wanted):
            self._followed.discard(resource)
            if (task := self._tasks.pop(resource, None)) is not None:
                task.cancel()
            self._listed = {scope for scope in self._listed if scope.place.resource != resource}
            self._plans.routes_unwanted(resource)
        for resource, place in wanted.items():
            self._followed.add(resource)
            if resource not in self._tasks:
                self._tasks[resource] = asyncio.get_running_loop().create_task(self._run(place))

    async def _run(self, place: paths.Kind) -> None:
        """Follow a resource for as long as this task lives, whatever happens to it."""
        delays, began = pauses(_BACKOFFS), time.monotonic()
        while True:
            try:
                await self._follow_all(await self._find(place))
            except* _MissingError as group:
                await self._missing(place, group)
            except* ApiError as group:
                error = _first(group)
                if error.status == HTTPStatus.FORBIDDEN:
                    self._fails(place, forbidden(place))
                    await asyncio.sleep(RECHECK)
                elif time.monotonic() - began > SILENT_AFTER and not self._is_listed(place):
                    self._fails(place, silent(place, str(error)))
                await asyncio.sleep(next(delays))
            except* Exception:
                log.exception("following routes was interrupted", resource=place.resource)
                await asyncio.sleep(next(delays))

    async def _missing(self, place: paths.Kind, group: BaseExceptionGroup[_MissingError]) -> None:
        if self._is_listed(place):
            await asyncio.sleep(CONFIRMED_AFTER)
            with contextlib.suppress(_MissingError, ApiError):
                await self._find(place)
                return
        self._listed = {scope for scope in self._listed if scope.place.resource != place.resource}
        self._fails(place, not_installed(place, _first(group).others))
        await asyncio.sleep(RECHECK)

    def _fails(self, place: paths.Kind, trouble: Trouble) -> None:
        self._sink.routes_failed(place.resource, trouble)

    def _is_listed(self, place: paths.Kind) -> bool:
        return any(scope.place.resource == place.resource for scope in self._listed)

    async def _find(self, place: paths.Kind) -> paths.Kind:
        """Return a resource in the first of its versions that is served. Raises _MissingError, ApiError."""
        found = await discovery.find(self._api, place)
        if found.place is None:
            raise _MissingError(found.others)
        self._plans.kinds.serve(found.place.resource, found.place.version)
        return found.place

    # ---- lists and streams -----------------------------------------------------------------------------------------

    async def _follow_all(self, place: paths.Kind) -> None:
        """Follow every namespace until an answer is about the whole resource. Raises that ApiError, in a group."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces:
                group.create_task(self._follow(_Scope(place, namespace)))

    async def _follow(self, scope: _Scope) -> None:
        version, delays, failing = "", pauses(_BACKOFFS), time.monotonic()
        while True:
            try:
                version = version or await self._list(scope)
                version = await self._stream(scope, version)
                delays, failing = pauses(_BACKOFFS), time.monotonic()
            except ApiError as error:
                if error.status in _LASTING:
                    raise
                if scope not in self._listed and time.monotonic() - failing > SILENT_AFTER:
                    raise
                if error.status:  # what was answered may be about the version: a list is the truth
                    version = ""
                await asyncio.sleep(next(delays))

    async def _list(self, scope: _Scope) -> str:
        """Deliver all objects; return the version of the list."""
        names, query, ends = set[tuple[str, str]](), {"limit": str(CHUNK)}, time.monotonic() + SLICE
        while True:
            page = await self._api.list(scope.path, timeout=None, **query)
            common = {"apiVersion": page.get("apiVersion"), "kind": str(page.get("kind", "")).removesuffix("List")}
            for item in page.get("items") or ():
                names.add(name_of(item))
                self._deliver(scope, None, {**common, **item})
                if time.monotonic() >= ends:
                    await asyncio.sleep(0)
                    ends = time.monotonic() + SLICE
            if not (token := safe_get.text(page, "metadata", "continue")):
                break
            query["continue"] = token
        version = version_of(page)
        is_new_history = is_older(version, self._newest.get(scope, ""))
        self._newest[scope] = version
        self._sink.listed(Listing(scope.place.resource, scope.namespace, frozenset(names), version, is_new_history))
        self._listed.add(scope)
        if all(_Scope(scope.place, namespace) in self._listed for namespace in self._namespaces):
            self._sink.routes_listed(scope.place.resource)
        return version

    async def _stream(self, scope: _Scope, version: str) -> str:
        """Deliver what changes until the stream ends; return the version from which it goes on."""
        began, since = time.monotonic(), version
        stream = self._api.stream(
            scope.path, within=STREAM_ENDS_AFTER, whole=False, resourceVersion=version, allowWatchBookmarks="true"
        )
        async with contextlib.aclosing(stream):
            async for event in stream:
                if event["type"] != "BOOKMARK":
                    self._deliver(scope, event["type"], event["object"])
                version = version_of(event["object"]) or version
                if is_older(self._newest.get(scope, ""), version):
                    self._newest[scope] = version
        if version == since and time.monotonic() - began < _SHORTEST_STREAM:
            raise ApiError(0, "Ended", f"the stream of {scope.place.resource} ended as soon as it began")
        return version

    def _deliver(self, scope: _Scope, event: str | None, raw: Any) -> None:
        try:
            self._sink.apply(scope.place.resource, event, raw)
        except Exception:
            log.exception("a route could not be processed", resource=scope.place.resource, object=name_of(raw))


Error = TypeVar("Error", bound=Exception)


def _first(group: BaseExceptionGroup[Error]) -> Error:
    """Return one of the errors in a group."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
