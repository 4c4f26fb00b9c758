"""All watches: of the kinds that every operator needs, and of what plans name.

What arrives goes to loop/feed.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api
from rolloutplan.loop.endpoint_watch import EndpointWatch
from rolloutplan.loop.feed import Feed
from rolloutplan.loop.route_watch import RouteWatch
from rolloutplan.loop.store import Store
from rolloutplan.loop.versions import Listing
from rolloutplan.loop.watch import Watch

WATCHED = (
    paths.PLANS, paths.DEPLOYMENTS, paths.SOURCES, paths.CLUSTER_SOURCES, paths.TEMPLATES, paths.CLUSTER_TEMPLATES,
    paths.POLICIES, paths.ROUTE_KINDS, paths.NOTIFIERS, paths.CLUSTER_NOTIFIERS, paths.NAMESPACES,
)  # fmt: skip


class Watches:
    """The watches of one operator, everywhere or in `namespaces`."""

    def __init__(self, streams: Api, store: Store, feed: Feed, *, namespaces: Sequence[str]) -> None:
        self.kinds = Watch(
            WATCHED, apply=feed.apply, listed=self._listed, allowed=feed.watch_allowed, namespaces=namespaces
        )
        self.endpoints = EndpointWatch(streams, store.needs, feed, namespaces=namespaces)
        self.routes = RouteWatch(streams, store, feed, namespaces=namespaces)
        self.synced: Callable[[], None] = lambda: None
        """Called once, when every kind has been listed."""
        self.listed: Callable[[str], None] = lambda _: None
        """Called with each resource of which there is a complete list, but for routes and endpoints."""
        self._store, self._feed, self._is_synced = store, feed, False
        store.list_again = self.routes.restart
        store.needs.services_changed, store.needs.routers_changed = self.endpoints.changed, self.routes.changed
        store.needs.fetch, store.needs.loading = feed.fetch, True

    def restart(self) -> None:
        """List everything again."""
        self.kinds.restart()
        self.endpoints.restart()
        self.routes.restart()

    def _listed(self, listing: Listing) -> None:
        self._feed.listed(listing)
        self.listed(listing.kind)
        if self.kinds.synced() and not self._is_synced:
            self._is_synced = True
            self._store.needs.loaded()
            self.synced()
