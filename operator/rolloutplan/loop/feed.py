"""Takes every object that is seen into the store, and wakes the plans that it affects.

Objects come from the watches and, in answers to the operator's own requests, from loop/executor.py. The store says
which plans a change affects. No other code wakes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import structlog

from rolloutplan.api import safe_get
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.loop.endpoints import Service
from rolloutplan.loop.limiter import Clients, Priority
from rolloutplan.loop.missing_rights import right_to_watch
from rolloutplan.loop.notifiers import KINDS as NOTIFIERS
from rolloutplan.loop.routers import Trouble
from rolloutplan.loop.store import CLUSTER_SOURCES, SOURCES, Store
from rolloutplan.loop.versions import Id, Listing, name_of
from rolloutplan.metrics.pool import Sources
from rolloutplan.telemetry.metrics import Metrics

FETCHED_WITHIN: Final = 2.0
"""Seconds for which a plan without a run waits for an object that it has just named, before it counts as missing."""
FETCHED_AGAIN: Final = 1.0
"""Seconds until an object is read again that could not be read: a run goes no further without it."""
_WATCHED: Final = {
    each.resource: each for each in (paths.PLANS, paths.DEPLOYMENTS, paths.TEMPLATES, paths.SOURCES, paths.NOTIFIERS)
}
"""What is fetched in addition to routes."""

log = structlog.stdlib.get_logger("rolloutplan")


class Feed:
    """Feeds the store. `wake` has a plan looked at as soon as possible."""

    def __init__(
        self, store: Store, sources: Sources, metrics: Metrics, client: Clients, *, wake: Callable[[str], None]
    ) -> None:
        self._store, self._sources, self._metrics, self._client, self._wake = store, sources, metrics, client, wake
        self.notifiers_changed: Callable[[], None] = lambda: None
        """Called when a Notifier or a ClusterNotifier has changed."""
        self.seen: Callable[[Id, Raw | None], None] = lambda *_: None
        """Called with each object that has changed, or is gone; without a name where that may be any of its kind."""
        self._fetching: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Cancel what is being read."""
        for task in self._fetching:
            task.cancel()
        await asyncio.gather(*self._fetching, return_exceptions=True)

    def apply(self, kind: str, event: str | None, raw: dict[str, Any]) -> None:
        """Store an object from a watch or an answer."""
        self._wake_affected(kind, self._store.apply(kind, event, raw))
        self.seen((kind, *name_of(raw)), raw)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Remove an object that is gone."""
        self._wake_affected(kind, self._store.remove((kind, namespace, name)))
        self.seen((kind, namespace, name), None)

    def listed(self, listing: Listing) -> None:
        """Handle a complete list: stored objects that are not in it are gone."""
        self._wake_affected(listing.kind, self._store.listed(listing))
        self.seen((listing.kind, "", ""), None)
        self.wake_all()

    def wake_all(self) -> None:
        """Look at every plan: the watches have just become complete, or complete again."""
        for key in self._store.plans:
            self._wake(key)

    def _wake_affected(self, kind: str, affected: Iterable[str]) -> None:
        """Wake the plans that the store returned for a change of an object of this kind."""
        if kind in (SOURCES, CLUSTER_SOURCES):
            used = {source.key for source in self._store.shared.sources.values()}
            self._sources.keep(used)
            self._metrics.keep_sources({key.title for key in used})
        if kind in NOTIFIERS:
            self._metrics.keep_notifiers({each.title for each in self._store.shared.notifiers})
            self.notifiers_changed()
        for key in affected:
            self._wake(key)

    # ---- what a plan names now, and of which the store kept only a key -------------------------------------------

    def fetch(self, ident: Id) -> None:
        """Read an object again."""
        task = asyncio.get_running_loop().create_task(self._fetch(ident))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, ident: Id) -> None:
        kind, namespace, name = ident
        resource = _WATCHED.get(kind) or self._store.kinds.served(kind)
        chosen = f"metadata.name={name}"  # a list of one: the operator may list every kind that it watches
        while True:
            try:
                priority = Priority.WEIGHTS if self._store.needs.is_urgent(ident) else Priority.FORWARD
                async with asyncio.timeout(FETCHED_WITHIN):
                    found = await self._client(priority).list(paths.path(resource, namespace), fieldSelector=chosen)
                break
            except (ApiError, TimeoutError) as error:
                log.warning("an object that a plan names could not be read; trying again", object=ident, error=error)
                self._wake_affected(kind, self._store.needs.give_up(ident, unread=True))
                await asyncio.sleep(FETCHED_AGAIN)
        if raw := next(iter(safe_get.items(found, "items")), None):
            self.apply(kind, None, raw)
        else:
            self.remove(kind, namespace, name)
        self._wake_affected(kind, self._store.needs.give_up(ident))

    # ---- what may not be watched ---------------------------------------------------------------------------------

    def watch_allowed(self, kind: paths.Kind, namespace: str | None, allowed: bool) -> None:
        """Note whether a kind may be watched, in a namespace or everywhere; look at every plan."""
        if allowed:
            self._store.needs.unwatched.pop((kind.resource, namespace), None)
        else:
            self._store.needs.unwatched[kind.resource, namespace] = right_to_watch(kind, namespace)
        self.wake_all()

    # ---- routes and endpoints, which are followed for the plans that name them -----------------------------------

    def routes_listed(self, resource: str) -> None:
        """Wake the plans that waited for the routes of a resource: all of them are known."""
        self._wake_affected(resource, self._store.routes_listed(resource))

    def routes_failed(self, resource: str, trouble: Trouble) -> None:
        """Wake the plans whose routes are of a resource that cannot be watched."""
        if affected := self._store.routes_failed(resource, trouble):
            log.warning("routes cannot be watched", resource=resource, why=trouble.words)
            self._wake_affected(resource, affected)

    def endpoints_listed(
        self, namespace: str | None, services: Iterable[Service], items: Iterable[Mapping[str, Any]]
    ) -> None:
        """Handle a complete list of the EndpointSlices of these Services, the only ones that are followed there."""
        self._wake_users(self._store.endpoints.listed(namespace, services, items))

    def endpoints_changed(self, event: str, raw: Mapping[str, Any]) -> None:
        """Handle a watch event of an EndpointSlice."""
        self._wake_users(self._store.endpoints.changed(event, raw))

    def endpoints_failed(self, services: Iterable[Service], why: str, *, outdated: bool) -> None:
        """Handle a failure to follow the EndpointSlices of these Services."""
        self._wake_users(self._store.endpoints.failed(services, why, outdated=outdated))

    def _wake_users(self, services: Iterable[Service]) -> None:
        for key in self._store.needs.users_of(services):
            self._wake(key)
