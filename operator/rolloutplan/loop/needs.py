"""What plans need: it is kept as a whole, and read again where only a key of it was kept.

loop/store.py fills this on each change of a plan, and says which objects come and go. A plan waits while something that
it needs is being read: until then it would be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from rolloutplan.api.status import RUNNING
from rolloutplan.api.text_format import DNS_LABEL
from rolloutplan.cluster import paths
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.snapshot import WorkloadView
from rolloutplan.loop.endpoints import Service
from rolloutplan.loop.index import Uses
from rolloutplan.loop.route_objects import RouteObjects
from rolloutplan.loop.routers import Routers
from rolloutplan.loop.routes import ALL
from rolloutplan.loop.stored_plan import Plan
from rolloutplan.loop.versions import Id, Listing, Versions
from rolloutplan.traffic.mentions import words_of

_DEPLOYMENTS: Final = paths.DEPLOYMENTS.resource
_PLANS: Final = paths.PLANS.resource
_ENDPOINTS: Final = paths.ENDPOINT_SLICES.resource
"""Of all slices of a Service together; the name is that of the Service."""


@dataclass(slots=True)
class Needs:
    """The objects that each plan needs. The other fields are those of the store."""

    plans: dict[str, Plan]
    workloads: dict[tuple[str, str], WorkloadView]
    objects: RouteObjects
    routers: Routers
    versions: Versions
    fetch: Callable[[Id], None] | None = None
    """Reads an object again, of which only a key was kept because no plan named it; without this, all are kept. Then
    the store's `apply` or `remove` is called, or `give_up`."""
    loading: bool = False
    """Whether plans may still be missing. Until `loaded`, all objects are kept, so that none is read again."""
    services_changed: Callable[[], None] = lambda: None
    """Called when plans name other Services than before."""
    routers_changed: Callable[[], None] | None = None
    """Called when plans name routes of other resources than before; without it, all that exist are known."""
    uses: Uses = field(default_factory=Uses)
    _awaited: Uses = field(default_factory=Uses)
    """The objects that are being read again, for each plan that needs them."""
    unwatched: dict[tuple[str, str | None], MissingRight] = field(default_factory=dict)
    """The resources that may not be watched any more, in a namespace or everywhere."""
    _too_large: set[Id] = field(default_factory=set)
    """The objects that are too large to read, and of which nothing is known."""

    # ---- which plan needs what -----------------------------------------------------------------------------------

    def put(self, key: str, idents: frozenset[Id]) -> None:
        """Replace what a plan needs."""
        before, resources, kinds = self.uses.of(key), self.uses.kinds(), self.objects.kinds
        self.uses.put(key, idents)
        if self.routers_changed is not None and any(kinds.reads(kind) for kind in resources ^ self.uses.kinds()):
            self.routers_changed()
        if self.fetch is not None and before != idents:
            self._drop_unneeded(before - idents)
            self._fetch_missing(key, idents)
        if any(ident[0] == _ENDPOINTS for ident in before ^ idents):
            self.services_changed()

    def users_of(self, services: Iterable[Service]) -> frozenset[str]:
        """Return the plans that name any of these Services."""
        return self.uses.users(*((_ENDPOINTS, *service) for service in services))

    def users_of_all(self, resource: str) -> frozenset[str]:
        """Return the plans that need any object of a resource."""
        return self.uses.users(*self.uses.named(resource))

    def services(self, namespace: str | None) -> frozenset[Service]:
        """Return the Services that plans name, in a namespace or everywhere; no names that no Service can have."""
        named = (ident[1:] for ident in self.uses.named(_ENDPOINTS) if namespace in (None, ident[1]))
        return frozenset(service for service in named if DNS_LABEL.matches(service[1]))

    def is_needed(self, ident: Id, services: Iterable[Service] = ()) -> bool:
        """Whether a plan names an object, or one of the Services that a route gives traffic."""
        if self.fetch is None or self.loading:
            return True
        return bool(self.uses.users(ident, (ident[0], ident[1], ALL)) or self.users_of(services))

    def is_named(self, words: set[str]) -> bool:
        """Whether a plan names a Service that has no other words than these."""
        near = (name for _, home, name in self.uses.named(_ENDPOINTS) if home in words)
        return any(name in words or words_of("", name) <= words for name in near)

    # ---- what is kept as a whole ---------------------------------------------------------------------------------

    def loaded(self) -> None:
        """Keep no more than a key of what no plan names: every kind has been listed."""
        self.loading = False
        self._drop_unneeded({*self.objects.held(), *((_DEPLOYMENTS, *name) for name in self.workloads)})

    def _holds(self, ident: Id) -> bool:
        kind, namespace, name = ident
        if self.objects.kinds.reads(kind):
            return self.objects.holds(ident)
        return kind != _DEPLOYMENTS or (namespace, name) in self.workloads

    def _drop_unneeded(self, idents: Iterable[Id]) -> None:
        """Keep no more than a key of what a plan no longer names, where no other plan does."""
        routes = set[Id]()
        for ident in idents:
            kind, namespace, name = ident
            if kind == _ENDPOINTS:
                routes.update(self.objects.idents_of((namespace, name)))
            elif kind == _DEPLOYMENTS and not self.is_needed(ident):
                self.workloads.pop((namespace, name), None)
            elif name == ALL:
                routes.update(self.objects.held_in(kind, namespace))
            elif self.objects.holds(ident):
                routes.add(ident)
        for ident in routes:
            self.objects.drop(ident, partial(self.is_needed, ident))

    # ---- what is being read --------------------------------------------------------------------------------------

    def _fetch_missing(self, key: str, idents: frozenset[Id]) -> None:
        """Read what a plan needs and of which only a key is known: its Deployments, its routes and their siblings."""
        assert self.fetch is not None
        services = [ident[1:] for ident in idents if ident[0] == _ENDPOINTS]
        needed = {each for ident in idents if ident[2] == ALL for each in self._known(ident)}
        named = {ident for ident in idents | needed if not self._holds(ident) and self.versions.version(ident)}
        missing = named | self.objects.givers(services)
        new = missing - self._awaited.of(key)
        self._awaited.put(key, frozenset(missing))
        for ident in sorted(new):
            self.fetch(ident)

    def _known(self, ident: Id) -> list[Id]:
        """Return all objects of a resource in a namespace of which at least a key is known."""
        return self.versions.covered(Listing(ident[0], ident[1], frozenset()))

    def awaits(self, key: str) -> bool:
        """Whether something that a plan needs is being read.

        A run waits for nothing but the routes that it would roll back. What else is `missing` keeps it from going on,
        and from no guard and no command.
        """
        missing = self._awaited_by(key)
        if not missing:
            return False
        plan = self.plans[key]
        if plan.status.phase not in RUNNING:
            return True
        weights, kinds = plan.status.weights, self.objects.kinds
        moved = (kinds.ident(plan.view.namespace, route.id, weights.kinds) for route in weights.snapshot)
        return any(ident in missing for ident in moved)

    def missing(self, key: str) -> frozenset[Id]:
        """Return what a run needs and has not been read, or cannot be watched now."""
        plan = self.plans.get(key)
        used = self.uses.of(key) | ({(_PLANS, plan.view.namespace, plan.view.name)} if plan is not None else set())
        return self._awaited_by(key) | {each for each in used if self.trouble(each)}

    def trouble(self, ident: Id) -> str:
        """Return why an object may change unseen; empty where it is watched."""
        kind, namespace, _ = ident
        forbidden = self.unwatched.get((kind, namespace)) or self.unwatched.get((kind, None))
        return forbidden or self.routers.trouble(kind)

    def _awaited_by(self, key: str) -> frozenset[Id]:
        """What a plan needs and is being read, and in a run also what is too large for that."""
        plan, used = self.plans.get(key), self.uses.of(key)
        awaited = self._awaited.of(key) | self._pending(used)
        if plan is None or plan.status.phase not in RUNNING:
            return awaited
        return awaited | (used & self._too_large)

    def _pending(self, idents: frozenset[Id]) -> frozenset[Id]:
        """Those of these objects whose resource has not been listed yet."""
        if self.routers_changed is None:
            return frozenset()
        kinds = self.objects.kinds
        return frozenset(each for each in idents if kinds.reads(each[0]) and self.routers.is_pending(each[0]))

    def is_urgent(self, ident: Id) -> bool:
        """Whether a run needs an object that is being read."""
        return any(self.plans[key].status.phase in RUNNING for key in self._awaited.users(ident))

    def give_up(self, ident: Id, *, unread: bool = False) -> frozenset[str]:
        """Let the plans go on that wait for an object; return them. Where it is `unread`, runs go on waiting.

        What could not be read is not gone, and a run whose Deployment is gone would be rolled back.
        """
        waiting = self._awaited.users(ident)
        if unread:
            waiting = frozenset(key for key in waiting if self.plans[key].status.phase not in RUNNING)
        for key in waiting:
            self._awaited.put(key, self._awaited.of(key) - {ident})
        return waiting

    # ---- what is too large to read -------------------------------------------------------------------------------

    def leave_unread(self, ident: Id) -> frozenset[str]:
        """Keep what is known of an object that is too large to read; return the plans that need it."""
        if not self._holds(ident):
            self._too_large.add(ident)
        return self.uses.users(ident) | self.give_up(ident, unread=True)

    def can_be_read(self, ident: Id) -> None:
        """Record that an object is not too large any more, or is gone."""
        self._too_large.discard(ident)

    def is_too_large(self, ident: Id) -> bool:
        """Whether an object is too large to read, and nothing is known of it."""
        return ident in self._too_large
