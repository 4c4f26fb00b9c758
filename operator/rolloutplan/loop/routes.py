"""The kinds of route that plans may name, and where their objects are in the API server.

The kinds come from traffic/. The watches, the store and the executor ask here; all of them name an object by its
resource (with its group), namespace and name, since several kinds may read one object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from rolloutplan.api.route import RouteId
from rolloutplan.cluster import paths
from rolloutplan.loop.versions import Id
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind

ALL: Final = "*"
"""In the place of a name, which no object has: all objects of a resource in a namespace."""


class RouteKinds:
    """The kinds of route by their names, and by the resources that they read."""

    def __init__(self, kinds: Iterable[RouteKind] = tuple(ROUTE_KINDS.values())) -> None:
        self._kinds = {kind.kind: kind for kind in kinds}
        self._places: dict[str, paths.Kind] = {}
        self._on: defaultdict[str, list[RouteKind]] = defaultdict(list)
        self._served: dict[str, str] = {}
        for kind in self._kinds.values():
            place = place_of(kind)
            self._places[kind.kind] = place
            self._on[place.resource].append(kind)

    def get(self, name: str) -> RouteKind | None:
        """Return the kind of this name; None where there is none."""
        return self._kinds.get(name)

    def on(self, resource: str) -> tuple[RouteKind, ...]:
        """Return the kinds that read objects of a resource; none where it holds no routes."""
        return tuple(self._on.get(resource, ()))

    def siblings(self, namespace: str, name: str) -> Id | None:
        """Return what stands for all objects beside those of a kind, where a route of it cannot be read without."""
        kind = self.get(name)
        return (place_of(kind).resource, namespace, ALL) if kind is not None and kind.needs_siblings else None

    def place(self, name: str) -> paths.Kind | None:
        """Return where the objects of a kind are; None for a kind that is not known."""
        return self._places.get(name)

    def serve(self, resource: str, version: str) -> None:
        """Use this version of a resource from now on: it is the one that the cluster serves."""
        self._served[resource] = version

    def at(self, resource: str) -> paths.Kind:
        """Return a resource with all versions in which it can be read. Raises LookupError where no kind reads it."""
        return self._places[self._on[resource][0].kind]

    def served(self, resource: str) -> paths.Kind:
        """Return a resource in the version in which it is served. Raises LookupError where no kind reads it."""
        place = self.at(resource)
        return place._replace(version=self._served.get(resource, place.version))

    def path(self, namespace: str, route: RouteId) -> str:
        """Return the path of a route in the API server. Raises LookupError for a kind that is not known."""
        return paths.path(self.served(self._places[route.kind].resource), namespace, route.name)

    def ident(self, namespace: str, route: RouteId) -> Id | None:
        """Return the object of a route; None where its kind is not known."""
        place = self.place(route.kind)
        return (place.resource, namespace, route.name) if place is not None else None


def place_of(kind: RouteKind) -> paths.Kind:
    """Return where the objects of a kind are."""
    group, version, plural, older = kind.resource
    return paths.Kind(group, version, plural, older=older)
