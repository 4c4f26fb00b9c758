"""The objects that carry traffic, as every kind of route that reads them sees them.

Objects come from loop/store.py; the views go into the facts of plans. Of an object of which no plan needs anything,
only a key and a hash for each Service that it gives traffic are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from rolloutplan.api.route import RouteId
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.loop.endpoints import Service
from rolloutplan.loop.index import RoutesByService, Unheld, receivers
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.versions import Id
from rolloutplan.traffic.base import RouteKind

log = structlog.get_logger(__name__)


IsNeeded = Callable[[Iterable[Service]], bool]


class Touched(NamedTuple):
    """What a change of an object touches."""

    services: frozenset[Service]
    """The Services that it gives traffic, or gave it before."""
    objects: frozenset[Id]
    """The objects that are read in another way now."""

    def and_of(self, other: Touched) -> Touched:
        """Return what either change touches."""
        return Touched(self.services | other.services, self.objects | other.objects)


@dataclass(slots=True)
class RouteObjects:
    """Objects by resource, namespace and name, and their views."""

    kinds: RouteKinds = field(default_factory=RouteKinds)
    views: dict[tuple[str, RouteId], RouteView] = field(default_factory=dict)
    """The routes of which a plan needs something, by namespace and by kind and name."""
    _raw: dict[Id, Mapping[str, Any]] = field(default_factory=dict)
    """The objects of these."""
    _by_service: RoutesByService = field(default_factory=RoutesByService)
    _unheld: Unheld = field(default_factory=Unheld)

    def holds(self, ident: Id) -> bool:
        """Whether an object is kept as a whole."""
        return ident in self._raw

    def view(self, kind: RouteKind, ident: Id) -> RouteView | None:
        """Return an object as a kind sees it that is none of the present ones; None where it is not kept."""
        raw = self._raw.get(ident)
        return self._seen(kind, ident, raw) if raw is not None else None

    def read_again(self, resources: Iterable[str]) -> None:
        """Read all objects of these resources again: the kinds on them have changed."""
        for ident in [each for each in self._raw if each[0] in resources]:
            self._show(ident, self._read(ident, self._raw[ident]))

    def forget_kind(self, name: str) -> None:
        """Forget the views of a kind."""
        for namespace, route in [key for key in self.views if key[1].kind == name]:
            self._by_service.put(namespace, route, self.views.pop((namespace, route)), None)

    def held(self) -> tuple[Id, ...]:
        """Return the objects that are kept as a whole."""
        return tuple(self._raw)

    def put(self, ident: Id, raw: Mapping[str, Any] | None, is_needed: IsNeeded) -> Touched:
        """Replace an object; None: it is gone. `is_needed`: whether a plan needs it, by the Services that it serves."""
        resource, namespace, _ = ident
        self._unheld.forget(ident)
        self._raw.pop(ident, None)
        if raw is None:
            touched = self._show(ident, {})
        else:
            views = self._read(ident, raw)
            services = set[Service]().union(*(receivers(namespace, view) for view in views.values()))
            if is_needed(services):
                self._raw[ident] = raw
            else:
                self._unheld.put(ident, services)
                views = {}
            touched = self._show(ident, views)
        if any(kind.needs_siblings for kind in self.kinds.on(resource)):
            for other in self._beside(ident):
                touched = touched.and_of(self._show(other, self._read(other, self._raw[other])))
        return touched

    def drop(self, ident: Id, is_needed: IsNeeded) -> None:
        """Keep no more than a key of an object where no plan needs it."""
        if (raw := self._raw.get(ident)) is not None:
            self.put(ident, raw, is_needed)

    def givers(self, services: Iterable[Service]) -> frozenset[Id]:
        """Return the objects of which only a key is kept, and which give one of these Services traffic."""
        return self._unheld.givers(services)

    def of(self, service: Service) -> tuple[RouteView, ...]:
        """Return the routes that give a Service traffic, in a fixed order."""
        return tuple(self.views[route] for route in self._by_service.of(service))

    def idents_of(self, service: Service) -> frozenset[Id]:
        """Return the objects that give a Service traffic."""
        found = (self.kinds.ident(namespace, route) for namespace, route in self._by_service.of(service))
        return frozenset(ident for ident in found if ident is not None)

    def held_in(self, resource: str, namespace: str) -> frozenset[Id]:
        """Return the objects of a resource in a namespace that are kept as a whole."""
        return frozenset(ident for ident in self._raw if ident[:2] == (resource, namespace))

    def _beside(self, ident: Id) -> frozenset[Id]:
        return self.held_in(*ident[:2]) - {ident}

    def _read(self, ident: Id, raw: Mapping[str, Any]) -> dict[RouteId, RouteView]:
        """Read an object as each kind on its resource; what one of them cannot read is no route of that kind."""
        views: dict[RouteId, RouteView] = {}
        for kind in self.kinds.on(ident[0]):
            if (view := self._seen(kind, ident, raw)) is not None:
                views[view.id] = view
        return views

    def _seen(self, kind: RouteKind, ident: Id, raw: Mapping[str, Any]) -> RouteView | None:
        siblings = [self._raw[each] for each in sorted(self._beside(ident))] if kind.needs_siblings else []
        try:
            return kind.view(raw, siblings)
        except Exception:
            log.exception("an object could not be read as a route", kind=kind.kind, object=ident)
            return None

    def _show(self, ident: Id, views: Mapping[RouteId, RouteView]) -> Touched:
        """Replace the views of an object."""
        resource, namespace, name = ident
        services, changed = set[Service](), False
        for kind in self.kinds.on(resource):
            route = RouteId(kind.kind, name)
            before, view = self.views.pop((namespace, route), None), views.get(route)
            if view is not None:
                self.views[namespace, route] = view
            services |= self._by_service.put(namespace, route, before, view)
            changed = changed or before != view
        return Touched(frozenset(services), frozenset({ident} if changed else ()))
