"""The kinds of route that plans may name, and where their objects are in the API server.

The built-in kinds come from traffic/, a cluster's own ones from its RouteKind objects. The watches, the store and the
executor ask here; all of them name an object by its resource (with its group), namespace and name, since several kinds
may read one object.

A run goes on with the description with which it began, whatever becomes of the RouteKind: its status has it (`kept`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from rolloutplan.api.limits import spec_of
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.route import RouteId
from rolloutplan.cluster import paths
from rolloutplan.loop.versions import Id
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.own import described, kept_kind

ALL: Final = "*"
"""In the place of a name, which no object has: all objects of a resource in a namespace."""

Kept = Mapping[str, str]
"""The specs of RouteKinds with which a run began, by name, as JSON."""
NONE_KEPT: Final[Kept] = MappingProxyType({})


class RouteKinds:
    """The kinds of route by their names, and by the resources that they read."""

    def __init__(self) -> None:
        self._kinds: dict[str, RouteKind] = dict(ROUTE_KINDS)
        self.objects: dict[str, Mapping[str, Any]] = {}
        """The RouteKind objects, by name."""
        self._own: dict[str, str] = {}
        """The specs of those that can be read."""
        self._problems: dict[str, str] = {}
        """Why an own kind cannot be read."""
        self._kept: dict[tuple[str, str], RouteKind | None] = {}
        """What runs began with that is not as the RouteKind is now, by name and spec; None for one of no meaning."""
        self._served: dict[str, str] = {}
        self._on: dict[str, tuple[RouteKind, ...]] = {}
        self._at: dict[str, paths.Kind] = {}
        self._index()

    # ---- kinds of the cluster --------------------------------------------------------------------------------------

    def put(self, raw: Mapping[str, Any]) -> None:
        """Take a RouteKind object as it is now. One that cannot be read is no kind, and says why."""
        name = raw["metadata"]["name"]
        self.drop(name)
        self.objects[name] = raw
        try:
            written = spec_of(raw)
            self._kinds[name] = described(name, written)
        except SpecError as error:
            self._problems[name] = f"RouteKind {name}: {error}"
        else:
            self._index()
            self._own[name] = json.dumps(written, sort_keys=True, separators=(",", ":"))

    def drop(self, name: str) -> None:
        """Forget a RouteKind object."""
        self.objects.pop(name, None)
        self._problems.pop(name, None)
        if self._own.pop(name, None) is not None:
            del self._kinds[name]
            self._index()

    def problem(self, name: str) -> str:
        """Return why no plan can begin with a kind of this name, with the fix; empty where one can."""
        if name in self._kinds:
            return ""
        missing = f"RouteKind {name} does not exist: create it, or correct spec.traffic.routes[].kind"
        return self._problems.get(name, missing)

    def own(self, names: Iterable[str]) -> dict[str, str]:
        """Return the specs of those of these kinds that are the cluster's own, as JSON."""
        return {name: self._own[name] for name in names if name in self._own}

    # ---- kinds by name ---------------------------------------------------------------------------------------------

    def get(self, name: str, kept: Kept = NONE_KEPT) -> RouteKind | None:
        """Return the kind of this name, as a run keeps it; None where there is none."""
        if name not in kept or kept[name] == self._own.get(name):
            return self._kinds.get(name)
        key = name, kept[name]
        if key not in self._kept:
            self._kept[key] = kept_kind(*key)
            self._index()
        return self._kept[key] or self._kinds.get(name)

    def is_current(self, name: str, kept: Kept) -> bool:
        """Whether a run began with the kind as it is now."""
        return self.get(name, kept) is self._kinds.get(name)

    def place(self, name: str, kept: Kept = NONE_KEPT) -> paths.Kind | None:
        """Return where the objects of a kind are; None for a kind that is not known."""
        kind = self.get(name, kept)
        return place_of(kind) if kind is not None else None

    def ident(self, namespace: str, route: RouteId, kept: Kept = NONE_KEPT) -> Id | None:
        """Return the object of a route; None where its kind is not known."""
        place = self.place(route.kind, kept)
        return (place.resource, namespace, route.name) if place is not None else None

    def siblings(self, namespace: str, name: str, kept: Kept = NONE_KEPT) -> Id | None:
        """Return the key of all the objects that a kind needs to read one of its routes; None if it needs none."""
        kind = self.get(name, kept)
        return (place_of(kind).resource, namespace, ALL) if kind is not None and kind.needs_siblings else None

    # ---- resources -------------------------------------------------------------------------------------------------

    def resources(self) -> list[str]:
        """Return the resources on which there are kinds, as they are now."""
        return sorted(self._on)

    def on(self, resource: str) -> tuple[RouteKind, ...]:
        """Return the kinds that read objects of a resource, as they are now."""
        return self._on.get(resource, ())

    def reads(self, resource: str) -> bool:
        """Whether objects of a resource are routes, of any kind or of one that a run keeps."""
        return resource in self._at

    def at(self, resource: str) -> paths.Kind:
        """Return a resource with all versions in which it can be read. Raises LookupError where no kind reads it."""
        return self._at[resource]

    def serve(self, resource: str, version: str) -> None:
        """Use this version of a resource from now on: it is the one that the cluster serves."""
        self._served[resource] = version

    def served(self, resource: str) -> paths.Kind:
        """Return a resource in the version in which it is served. Raises LookupError where no kind reads it."""
        place = self.at(resource)
        return place._replace(version=self._served.get(resource, place.version))

    def path(self, ident: Id) -> str:
        """Return the path of a route's object in the API server. Raises LookupError where no kind reads it."""
        resource, namespace, name = ident
        return paths.path(self.served(resource), namespace, name)

    def _index(self) -> None:
        """Sort the kinds by their resources again."""
        now, kept = [*self._kinds.values()], [kind for kind in self._kept.values() if kind is not None]
        places = {id(kind): place_of(kind) for kind in (*now, *kept)}
        self._on, self._at = {}, {}
        for kind in now:
            resource = places[id(kind)].resource
            self._on[resource] = (*self._on.get(resource, ()), kind)
        for place in places.values():
            known = self._at.get(place.resource, place)
            versions = tuple(dict.fromkeys((*known.versions, *place.versions)))
            self._at[place.resource] = place._replace(version=versions[0], older=versions[1:])


def place_of(kind: RouteKind) -> paths.Kind:
    """Return where the objects of a kind are."""
    group, version, plural, older = kind.resource
    return paths.Kind(group, version, plural, older=older)
