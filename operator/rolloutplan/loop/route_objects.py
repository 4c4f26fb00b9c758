"""The objects that carry traffic, as every kind of route that reads them sees them.

Objects come from loop/store.py; the views go into the facts of plans. Of an object of which no plan needs anything,
only a key and a hash for each of its words are kept, and its rules are not read where these name no Service of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import structlog

from rolloutplan.api.route import RouteId
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.loop.endpoints import Service
from rolloutplan.loop.index import RoutesByService, Unheld, receivers
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.versions import Id
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.mentions import words, words_of

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


class _Reading(NamedTuple):
    """What each kind on its resource reads in an object."""

    views: Mapping[RouteId, RouteView] = {}
    faults: Mapping[RouteId, str] = {}
    """Why it cannot be read as a route that it may be all the same."""


_GONE: Final = _Reading()


@dataclass(slots=True)
class RouteObjects:
    """Objects by resource, namespace and name, and their views."""

    kinds: RouteKinds = field(default_factory=RouteKinds)
    names_service: Callable[[set[str]], bool] = lambda _: True
    """Whether a Service that a plan names has no other words than these."""
    views: dict[tuple[str, RouteId], RouteView] = field(default_factory=dict)
    """The routes of which a plan needs something, by namespace and by kind and name."""
    unreadable: dict[tuple[str, RouteId], str] = field(default_factory=dict)
    """Why the object of a route cannot be read as it is now. The view is what was last read of it, if anything."""
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
        seen = self._seen(kind, ident, raw) if raw is not None else None
        return seen if isinstance(seen, RouteView) else None

    def read_again(self, resources: Iterable[str]) -> None:
        """Read all objects of these resources again: the kinds on them have changed."""
        for ident in [each for each in self._raw if each[0] in resources]:
            self._show(ident, self._read(ident, self._raw[ident]))

    def forget_kind(self, name: str) -> None:
        """Forget the views of a kind."""
        for namespace, route in [key for key in self.views if key[1].kind == name]:
            self._by_service.put(namespace, route, self.views.pop((namespace, route)), None)
        for key in [key for key in self.unreadable if key[1].kind == name]:
            del self.unreadable[key]

    def held(self) -> tuple[Id, ...]:
        """Return the objects that are kept as a whole."""
        return tuple(self._raw)

    def put(self, ident: Id, raw: Mapping[str, Any] | None, is_needed: IsNeeded) -> Touched:
        """Replace an object; None: it is gone. `is_needed`: whether a plan needs it, by the Services that it serves."""
        self._unheld.forget(ident)
        was_held = self._raw.pop(ident, None) is not None
        has_siblings = any(kind.needs_siblings for kind in self.kinds.on(ident[0]))
        # One that was held may not be readable any more, and then its last view says what it gives.
        by_words = not was_held and not has_siblings
        touched = self._show(ident, self._read_needed(ident, raw, is_needed, by_words=by_words) if raw else _GONE)
        if has_siblings:
            for other in self._others(ident):
                touched = touched.and_of(self._show(other, self._read(other, self._raw[other])))
        return touched

    def _read_needed(self, ident: Id, raw: Mapping[str, Any], is_needed: IsNeeded, *, by_words: bool) -> _Reading:
        """Read an object and keep it, where a plan needs it; keep no more than its words, where none does.

        `by_words`: do not read the rules of one that has not all words of a Service that a plan names.
        """
        is_named = is_needed(())
        found = set[str]() if is_named else words(raw)
        if is_named or not by_words or self.names_service(found):
            reading = self._read(ident, raw)
            services = set[Service]().union(*(receivers(ident[1], view) for view in reading.views.values()))
            if is_named or is_needed(services):
                self._raw[ident] = raw
                return reading
            found = found.union(*(words_of(*service) for service in services))
        self._unheld.put(ident, found)
        return _GONE

    def drop(self, ident: Id, is_needed: IsNeeded) -> None:
        """Keep no more than a key of an object where no plan needs it."""
        raw = self._raw.get(ident)
        if raw is not None and not is_needed(self._served_by(ident)):
            self.put(ident, raw, is_needed)

    def _served_by(self, ident: Id) -> frozenset[Service]:
        """Return the Services to which an object gives traffic."""
        routes = ((ident[1], RouteId(kind.kind, ident[2])) for kind in self.kinds.on(ident[0]))
        views = (self.views[route] for route in routes if route in self.views)
        return frozenset(service for view in views for service in receivers(ident[1], view))

    def givers(self, services: Iterable[Service]) -> frozenset[Id]:
        """Return the objects of which only a key is kept, and which may give one of these Services traffic."""
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

    def _others(self, ident: Id) -> frozenset[Id]:
        return self.held_in(*ident[:2]) - {ident}

    def _read(self, ident: Id, raw: Mapping[str, Any]) -> _Reading:
        """Read an object as each kind on its resource. What one of them cannot read is not gone: its view stays."""
        views, faults = dict[RouteId, RouteView](), dict[RouteId, str]()
        for kind in self.kinds.on(ident[0]):
            route = RouteId(kind.kind, ident[2])
            before = self.views.get((ident[1], route))
            seen = self._seen(kind, ident, raw, before)
            if isinstance(seen, RouteView):
                views[route] = seen
                continue
            faults[route] = seen
            if before is not None:
                views[route] = before
        return _Reading(views, faults)

    def _seen(
        self, kind: RouteKind, ident: Id, raw: Mapping[str, Any], before: RouteView | None = None
    ) -> RouteView | str:
        """An object as a kind sees it; why it cannot be read, where it cannot."""
        siblings = [self._raw[each] for each in sorted(self._others(ident))] if kind.needs_siblings else []
        try:
            return kind.view(raw, siblings, before)
        except Exception as error:
            log.exception("an object could not be read as a route", kind=kind.kind, object=ident)
            return (
                f"it cannot be read ({type(error).__name__}): put it back as it was, or correct what was changed last"
            )

    def _show(self, ident: Id, reading: _Reading) -> Touched:
        """Replace the views of an object."""
        resource, namespace, name = ident
        services, changed = set[Service](), False
        for kind in self.kinds.on(resource):
            route = RouteId(kind.kind, name)
            before, view = self.views.pop((namespace, route), None), reading.views.get(route)
            fault_before, fault = self.unreadable.pop((namespace, route), ""), reading.faults.get(route, "")
            if fault:
                self.unreadable[namespace, route] = fault
            if view is not None:
                self.views[namespace, route] = view
            services |= self._by_service.put(namespace, route, before, view)
            changed = changed or before != view or fault_before != fault
        return Touched(frozenset(services), frozenset({ident} if changed else ()))
