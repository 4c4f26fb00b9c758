"""The newest state of every object that a reconcile needs.

Objects come from the watches and from the answers to the operator's own requests; `facts` gives them to the runs. Raw
objects are parsed once, when they arrive, and what is kept is small. An object older than the stored one changes
nothing. So a late watch event cannot undo the answer to an own write, and an answer cannot bring back a deleted object.

Every method that changes something returns the keys of the affected plans. The caller must reconcile them, because no
other code queues them. The file is long because every kind of object has its way in, and its way out to `facts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.limits import UNREAD, is_unread, kib
from rolloutplan.api.policy_status import Places
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import Template
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RUNNING, STARTING, Phase, RouteWeights, Status, read_status
from rolloutplan.api.text_format import DNS_LABEL
from rolloutplan.cluster import paths, plans, policies, workloads
from rolloutplan.engine.model.grants import Grants
from rolloutplan.engine.model.plan_view import PlanView, Unreadable
from rolloutplan.engine.model.policy_view import Labels, PolicyView, Queue, QueueEntry
from rolloutplan.engine.model.routes import rules_of
from rolloutplan.engine.model.sides import as_plan_sees, weights_as_plan_sees
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.engine.model.snapshot import (
    EndpointsView,
    Facts,
    RouteConflict,
    RouteView,
    WorkloadView,
    source_view,
)
from rolloutplan.engine.model.templates import judged_by
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.policy.grants import outdated, unserved
from rolloutplan.engine.policy.policies import concurrency_groups, in_force, kept
from rolloutplan.engine.run.undo import undo_texts
from rolloutplan.loop.budget import OVER, Budget, Entry
from rolloutplan.loop.endpoints import Endpoints, Service
from rolloutplan.loop.index import Queues, Uses
from rolloutplan.loop.notifiers import Notifiers
from rolloutplan.loop.plan_routes import (
    by_object,
    kept_kinds,
    named_routes,
    other_kinds,
    owned_by,
    route_idents,
    router_problems,
)
from rolloutplan.loop.route_objects import RouteObjects
from rolloutplan.loop.routers import Routers, Trouble
from rolloutplan.loop.routes import ALL, NONE_KEPT, RouteKinds
from rolloutplan.loop.shared import ALL_TEMPLATES, Change, SharedObjects
from rolloutplan.loop.stored_plan import (
    Claims,
    Plan,
    called_in,
    claimed,
    claims_of,
    dependencies,
    flag_of,
    keeps,
    queue_entry,
    route_conflict,
    services_of,
    sides_of,
    spec_size,
)
from rolloutplan.loop.versions import Id, Listing, Versions, is_older, name_of, version_of
from rolloutplan.metrics.access import NO_HOSTS, SourceHosts
from rolloutplan.metrics.objects import SourceObject
from rolloutplan.traffic import ROUTE_KINDS, read_undo
from rolloutplan.traffic.mentions import words_of
from rolloutplan.traffic.replicas import with_pods

PLANS, DEPLOYMENTS = paths.PLANS.resource, paths.DEPLOYMENTS.resource
SOURCES, CLUSTER_SOURCES = paths.SOURCES.resource, paths.CLUSTER_SOURCES.resource
POLICIES, NAMESPACES = paths.POLICIES.resource, paths.NAMESPACES.resource
OWN_KINDS = paths.ROUTE_KINDS.resource
TEMPLATES, CLUSTER_TEMPLATES = paths.TEMPLATES.resource, paths.CLUSTER_TEMPLATES.resource
ENDPOINTS = paths.ENDPOINT_SLICES.resource
"""Of all slices of a Service together; the name is that of the Service."""

TAKING_AWAY = frozenset({Phase.BAKING, Phase.CONTRACTING})
"""The phases after which, or in which, the old side is removed: then all routes that still use it matter."""
BEFORE_WEIGHTS = frozenset({*STARTING, Phase.PENDING, Phase.INVALID})
"""The phases of a run that has not changed any weight: only then do other plans matter to it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Selected:
    """What a policy selects: the number of plans of each namespace, and why it is not known of all whether it does."""

    plans: Counter[str] = field(default_factory=Counter)
    unknown: str = ""


@dataclass(slots=True)
class Store:
    source_hosts: SourceHosts = NO_HOSTS
    """Where namespaced metric sources may point."""
    notifier_hosts: SourceHosts = NO_HOSTS
    """Where namespaced notifiers may point."""
    plans: dict[str, Plan] = field(default_factory=dict)
    workloads: dict[tuple[str, str], WorkloadView] = field(default_factory=dict)
    policies: dict[str, PolicyView] = field(default_factory=dict)
    policy_objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same as they are in the API server."""
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """The labels of each namespace, as far as the operator may read them."""
    endpoints: Endpoints = field(default_factory=Endpoints)
    authenticated_commands: bool = False
    """Whether an admission policy makes sure that commands name the user who wrote them."""
    _versions: Versions = field(default_factory=Versions)
    _disputed: dict[Id, Mapping[str, Any]] = field(default_factory=dict)
    """Members of an incomplete list that are older than the known version: the complete list decides which is right."""
    services_changed: Callable[[], None] = lambda: None
    """Called when plans name other Services than before."""
    routers_changed: Callable[[], None] | None = None
    """Called when plans name routes of other resources than before; without it, all that exist are known."""
    routers: Routers = field(default_factory=Routers)
    """What is known of the resources of routes that plans name."""
    list_again: Callable[[str], None] = lambda _: None
    """Lists the objects of a resource again."""
    kinds_changed: Callable[[], None] = lambda: None
    """Called when a RouteKind has changed."""
    grants: Grants = field(default_factory=Grants)
    owned_notes: dict[tuple[str, RouteId], str] = field(default_factory=dict)
    """By namespace and route: why the weights of a route do not move its traffic (loop/owned_routes.py)."""
    sinks: tuple[SinkView, ...] = ()
    """To which the decisions of every plan are published. Those of notifiers come in addition."""
    unserved: frozenset[str] = frozenset()
    """The namespaces whose plans are not served."""
    crds_lack: str = ""
    """Which fields the CRDs lack, and what to do. It counts for what is stored from then on: list all plans again."""
    budget: Budget = field(default_factory=Budget)
    _shared: SharedObjects = field(default_factory=SharedObjects)
    """The templates, the metric sources and the notifiers."""
    _uses: Uses = field(default_factory=Uses)
    """The objects that each plan depends on."""
    fetch: Callable[[Id], None] | None = None
    """Reads an object again, of which only a key was kept because no plan named it; without this, all are kept. Then
    `apply` or `remove` is called, or `give_up`."""
    loading: bool = False
    """Whether plans may still be missing. Until `loaded`, all objects are kept, so that none is read again."""
    _objects: RouteObjects = field(default_factory=RouteObjects)
    """The objects that carry traffic."""
    _awaited: Uses = field(default_factory=Uses)
    """The objects that are being read again, for each plan that needs them."""
    _too_large: set[Id] = field(default_factory=set)
    """The objects that are too large to read, and of which nothing is known."""
    _queues: Queues = field(default_factory=Queues)
    _conflicts: dict[str, RouteConflict] = field(default_factory=dict)
    """The plans that hold their routes, or are about to, in the form that other plans on these routes need."""
    _claims: dict[str, Claims] = field(default_factory=dict)
    """What each of these plans claims."""
    _held: Uses = field(default_factory=Uses)
    """The objects of which the plans in `_conflicts` claim a part."""

    def __post_init__(self) -> None:
        self._shared.hosts, self.notifiers.hosts = self.source_hosts, self.notifier_hosts
        self._objects.names_service = self._is_named

    @property
    def sources(self) -> Mapping[Id, SourceObject]:
        """The metric sources."""
        return self._shared.sources

    @property
    def notifiers(self) -> Notifiers:
        """The notifiers."""
        return self._shared.notifiers

    @property
    def templates(self) -> Mapping[Id, Template]:
        """The templates."""
        return self._shared.templates

    @property
    def kinds(self) -> RouteKinds:
        """The kinds of route that plans may name."""
        return self._objects.kinds

    @property
    def routes(self) -> Mapping[tuple[str, RouteId], RouteView]:
        """The routes of which a plan needs something, by namespace and by kind and name."""
        return self._objects.views

    def apply(self, kind: str, event: str | None, raw: Mapping[str, Any]) -> frozenset[str]:
        """Store an object from a watch event, an answer to a request, or a list (`event` is None).

        Returns the keys of the plans to reconcile: none where the object is not newer than the stored one.
        """
        ident: Id = (kind, *name_of(raw))
        version, held = version_of(raw), self._versions.version(ident)
        if event == "DELETED":
            return frozenset() if is_older(version, held) else self.remove(ident, version)
        if not self._versions.is_current(ident, version):
            if event is None:
                self._disputed[ident] = raw
            return frozenset()
        if event is not None and version and version == held:
            return frozenset()
        return self._store(ident, raw)

    def listed(self, listing: Listing) -> frozenset[str]:
        """Handle a complete list, after all its members were offered: stored objects that are not in it are gone.

        Returns the keys of the plans to reconcile.
        """
        affected = set[str]()
        for ident in self._versions.covered(listing):
            if ident[1:] not in listing.names:
                affected |= self.remove(ident, listing.version)
        disputed = {ident: raw for ident, raw in self._disputed.items() if listing.covers(ident)}
        for ident, raw in disputed.items():
            if ident[1:] in listing.names and self._versions.list_wins(ident, listing):
                affected |= self._store(ident, raw)
            self._disputed.pop(ident, None)
        if listing.is_new_history:
            self._versions.restart(listing)
        return frozenset(affected)

    def remove(self, ident: Id, version: str = "") -> frozenset[str]:
        """Remove an object that is gone, at this version where one is known.

        Returns the keys of the plans to reconcile.
        """
        kind, namespace, name = ident
        self._versions.record_deletion(ident, version)
        self._disputed.pop(ident, None)
        self._too_large.discard(ident)
        affected = self._uses.users(ident)
        if kind == PLANS:
            key = f"{namespace}/{name}"
            placed = self.budget.put(key, namespace, None)
            return self._forget(key) | self._replace(placed)
        affected |= self.give_up(ident)
        if self.kinds.reads(kind):
            affected |= self._put_route(ident, None)
        elif kind == DEPLOYMENTS:
            self.workloads.pop(ident[1:], None)
        elif kind == POLICIES:
            self.policies.pop(name, None)
            self.policy_objects.pop(name, None)
            return self._rematch_policies()
        elif kind == OWN_KINDS:
            return affected | self._put_kind(name, None)
        elif kind == NAMESPACES:
            self.namespaces.pop(name, None)
            return self._rematch_policies(name)
        else:
            affected |= self._read_shared(self._shared.remove(ident))
        return affected

    def _read_shared(self, change: Change) -> frozenset[str]:
        """Read templates and metric sources again that won a place; return the plans that name what has changed."""
        if self.fetch is not None:
            for ident in change.wanted:
                self.fetch(ident)
        resolved = self._resolve_again(self._uses.users(*(each for each in change.read if each[0] in ALL_TEMPLATES)))
        return resolved | self._uses.users(*change.read)

    def _store(self, ident: Id, raw: Mapping[str, Any]) -> frozenset[str]:
        kind, _, name = ident
        self._versions.record_version(ident, version_of(raw))
        self._disputed.pop(ident, None)
        is_route = self.kinds.reads(kind)
        if is_unread(raw, "status") if kind == PLANS else UNREAD in raw and (is_route or kind == DEPLOYMENTS):
            return self._leave_unread(ident, raw)
        self._too_large.discard(ident)
        affected = self._uses.users(ident) | self.give_up(ident)
        if kind == PLANS:
            return self._store_plan(raw)
        if is_route:
            return affected | self._put_route(ident, raw)
        if kind == DEPLOYMENTS:
            if self._is_needed(ident):
                self.workloads[ident[1:]] = workloads.view(raw)
            return affected
        if kind == POLICIES:
            return self._put_policy(name, raw)
        if kind == NAMESPACES:
            return self._store_namespace(raw)
        if kind == OWN_KINDS:
            return self._put_kind(name, raw)
        return affected | self._read_shared(self._shared.put(ident, raw))

    def _leave_unread(self, ident: Id, raw: Mapping[str, Any]) -> frozenset[str]:
        """Keep what is known of an object that is too large to read: it is neither gone nor empty.

        Nothing is written over a status that cannot be read: a plan stays at its known version, for which the API
        server refuses every write, and one that is not known is left alone.
        """
        log.error(
            "an object is too large to read: what was known of it stays; where nothing was, runs that need it hold; "
            "make it smaller",
            object=ident,
            why=raw[UNREAD],
        )
        if not self._holds(ident):
            self._too_large.add(ident)
        return self._uses.users(ident) | self.give_up(ident, unread=True)

    def _put_route(self, ident: Id, raw: Mapping[str, Any] | None) -> frozenset[str]:
        """Replace a route. Returns the plans that are about to remove the old side of which it gives traffic."""
        touched = self._objects.put(ident, raw, partial(self._is_needed, ident))
        users = self.users_of(touched.services)
        removing = frozenset(key for key in users if self.plans[key].status.effective_phase in TAKING_AWAY)
        return removing | self._uses.users(*touched.objects)

    def _put_kind(self, name: str, raw: Mapping[str, Any] | None) -> frozenset[str]:
        """Take a RouteKind as it is now, or forget it; None. Returns the plans that name it, and those they affect."""
        known = self.kinds.objects.get(name)
        if raw is not None and known is not None and raw.get("spec") == known.get("spec"):
            self.kinds.objects[name] = raw  # its status was written
            return frozenset()
        before = self.kinds.place(name)
        self.kinds_changed()
        self._objects.forget_kind(name)
        if raw is None:
            self.kinds.drop(name)
        else:
            self.kinds.put(raw)
        resources = {place.resource for place in (before, self.kinds.place(name)) if place is not None}
        self._objects.read_again(resources)
        for resource in resources:
            self.list_again(resource)  # of what was not needed, only that is known which the former kinds read
        users = self._uses.users((OWN_KINDS, "", name))
        for key in users:
            self._put_uses(key, frozenset(dependencies(self.plans[key], self.kinds)))
        return users.union(*(self._update_entries(key) for key in users))

    def version(self, ident: Id) -> str:
        """Return the resourceVersion of a stored object; empty where it is not stored."""
        return self._versions.version(ident)

    def _store_plan(self, raw: Mapping[str, Any]) -> frozenset[str]:
        key = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
        before, raw_status = self.plans.get(key), safe_get.mapping(raw, "status")
        status = read_status(raw.get("status"))
        namespace, first = raw["metadata"]["namespace"], None
        if before is None and keeps(status):
            first = plans.view(raw, authenticated=self.authenticated_commands)
        placed, size = self._place(key, raw, status, first)
        if self.budget.is_beyond(key, namespace):
            return self._forget(key) | self._replace(placed)
        over, known = self.budget.is_over(key, namespace), before.view if before else None
        read = {**raw, UNREAD: ""} if over else raw
        view = first or plans.view(read, known, authenticated=self.authenticated_commands)
        if over:
            view = self._over_budget(view, known if keeps(status) else None)
        plan = Plan(view, status, raw_status, size=size)
        self.plans[view.key] = plan
        self._resolve_templates(plan)
        if view.namespace in self.unserved:
            plan.view = unserved(plan.view, judged=status.phase in RUNNING)
        if self.crds_lack:
            plan.view = outdated(plan.view, self.crds_lack, judged=status.phase in RUNNING)
        self._match_policies(plan)
        self._put_uses(view.key, frozenset(dependencies(plan, self.kinds)))
        return self._update_entries(view.key) | self._replace(placed) | {view.key}

    def _place(
        self, key: str, raw: Mapping[str, Any], status: Status, first: PlanView | None
    ) -> tuple[frozenset[str], int]:
        """Update what a plan takes of the budget; return the others that won or lost a place, and its spec's bytes.

        `first`: a run that is seen for the first time. Whether it was edited is known from the hash in its status.
        """
        meta, known, held = raw["metadata"], self.plans.get(key), keeps(status)
        same = known is not None and known.view.generation == safe_get.number(meta, "generation")
        size = known.size if known is not None and same else spec_size(raw, begun=status.phase in RUNNING)
        edited = first is not None and not (first.written and first.written.plan_hash() == status.plan_hash)
        created = safe_get.instant(meta, "creationTimestamp") or datetime.fromtimestamp(0, UTC)
        taken = size + plans.size_of_metadata(meta, ended=not held)
        entry = Entry(meta["namespace"], held, created, safe_get.text(meta, "uid"), taken, edited)
        return self.budget.put(key, meta["namespace"], entry), size

    def _forget(self, key: str) -> frozenset[str]:
        """Keep nothing of a plan that is gone, or of which no more than the key may be kept."""
        if self.plans.pop(key, None) is None:
            return frozenset()
        self._put_uses(key, frozenset())
        return self._update_entries(key) | {key}

    def _over_budget(self, view: PlanView, before: PlanView | None = None) -> PlanView:
        """Return a plan without what it has no place for; `before`: as its run holds it."""
        words = OVER.format(kib(self.budget.size(view.key, view.namespace)))
        last_good = before.last_good if before is not None and before.uid == view.uid else None
        content = Unreadable(words, last_good, StatusReason.TOO_LARGE, for_now=True)
        return replace(view, content=content, labels=before.labels if last_good and before else {})

    def _replace(self, keys: frozenset[str]) -> frozenset[str]:
        """Keep no spec of the plans that lost their place, and read those again that won one; return the former."""
        affected = set[str]()
        for key in keys:
            namespace, _, name = key.partition("/")
            plan = self.plans.get(key)
            if self.budget.is_beyond(key, namespace):
                affected |= self._forget(key)
            elif plan is not None and self.budget.is_over(key, namespace):
                plan.view = self._over_budget(plan.view)
                self._match_policies(plan)
                self._put_uses(key, frozenset(dependencies(plan, self.kinds)))
                affected |= self._update_entries(key) | {key}
            elif self.fetch is not None:
                self.fetch((PLANS, namespace, name))
        return frozenset(affected)

    def _put_uses(self, key: str, idents: frozenset[Id]) -> None:
        before, resources = self._uses.of(key), self._uses.kinds()
        self._uses.put(key, idents)
        if self.routers_changed is not None and any(self.kinds.reads(kind) for kind in resources ^ self._uses.kinds()):
            self.routers_changed()
        if self.fetch is not None and before != idents:
            self._drop_unneeded(before - idents)
            self._fetch_missing(key, idents)
        if any(ident[0] == ENDPOINTS for ident in before ^ idents):
            self.services_changed()

    def _is_needed(self, ident: Id, services: Iterable[Service] = ()) -> bool:
        """Whether a plan names an object, or one of the Services that a route gives traffic."""
        if self.fetch is None or self.loading:
            return True
        return bool(self._uses.users(ident, (ident[0], ident[1], ALL)) or self.users_of(services))

    def _is_named(self, words: set[str]) -> bool:
        """Whether a plan names a Service that has no other words than these."""
        near = (name for _, home, name in self._uses.named(ENDPOINTS) if home in words)
        return any(name in words or words_of("", name) <= words for name in near)

    def loaded(self) -> None:
        """Keep no more than a key of what no plan names: every kind has been listed."""
        self.loading = False
        self._drop_unneeded({*self._objects.held(), *((DEPLOYMENTS, *name) for name in self.workloads)})

    def _fetch_missing(self, key: str, idents: frozenset[Id]) -> None:
        """Read what a plan needs and of which only a key is known: its Deployments, its routes and their siblings."""
        assert self.fetch is not None
        services = [ident[1:] for ident in idents if ident[0] == ENDPOINTS]
        needed = {each for ident in idents if ident[2] == ALL for each in self._known(ident)}
        named = {ident for ident in idents | needed if not self._holds(ident) and self._versions.version(ident)}
        missing = named | self._objects.givers(services)
        new = missing - self._awaited.of(key)
        self._awaited.put(key, frozenset(missing))
        for ident in sorted(new):
            self.fetch(ident)

    def _known(self, ident: Id) -> list[Id]:
        """Return all objects of a resource in a namespace of which at least a key is known."""
        return self._versions.covered(Listing(ident[0], ident[1], frozenset()))

    def _holds(self, ident: Id) -> bool:
        kind, namespace, name = ident
        if self.kinds.reads(kind):
            return self._objects.holds(ident)
        return kind != DEPLOYMENTS or (namespace, name) in self.workloads

    def _drop_unneeded(self, idents: Iterable[Id]) -> None:
        """Keep no more than a key of what a plan no longer names, where no other plan does."""
        routes = set[Id]()
        for ident in idents:
            kind, namespace, name = ident
            if kind == ENDPOINTS:
                routes.update(self._objects.idents_of((namespace, name)))
            elif kind == DEPLOYMENTS and not self._is_needed(ident):
                self.workloads.pop((namespace, name), None)
            elif name == ALL:
                routes.update(self._objects.held_in(kind, namespace))
            elif self._objects.holds(ident):
                routes.add(ident)
        for ident in routes:
            self._objects.drop(ident, partial(self._is_needed, ident))

    def routes_wanted(self) -> dict[str, paths.Kind]:
        """Return the resources of the kinds that plans name, each in all versions that can be read."""
        return {resource: self.kinds.at(resource) for resource in self._uses.kinds() if self.kinds.reads(resource)}

    def routes_listed(self, resource: str) -> frozenset[str]:
        """Record that all objects of a resource are known; return the plans that waited for it."""
        return self._naming(resource) if self.routers.listed(resource) else frozenset()

    def routes_failed(self, resource: str, trouble: Trouble) -> frozenset[str]:
        """Record why the objects of a resource cannot be known; return the plans that name one."""
        return self._naming(resource) if self.routers.fails(resource, trouble) else frozenset()

    def routes_unwanted(self, resource: str) -> None:
        """Forget a resource that no plan names any more, and that is no longer watched."""
        self.routers.forget(resource)
        for ident in self._versions.forget(Listing(resource, None, frozenset())):
            self._put_route(ident, None)
            self._too_large.discard(ident)

    def _naming(self, resource: str) -> frozenset[str]:
        return self._uses.users(*self._uses.named(resource))

    def awaits(self, key: str) -> bool:
        """Whether something that a plan needs is being read: until then it would be missing.

        A run waits for nothing but the routes that it would roll back. What else is `unread` keeps it from going on,
        and from no guard and no command.
        """
        missing = self._missing(key)
        if not missing:
            return False
        plan = self.plans[key]
        if plan.status.phase not in RUNNING:
            return True
        weights = plan.status.weights
        moved = (self.kinds.ident(plan.view.namespace, route.id, weights.kinds) for route in weights.snapshot)
        return any(ident in missing for ident in moved)

    def is_urgent(self, ident: Id) -> bool:
        """Whether a run needs an object that is being read."""
        return any(self.plans[key].status.phase in RUNNING for key in self._awaited.users(ident))

    def _unread(self, plan: Plan) -> frozenset[str]:
        """What a run needs and has not been read, as `RESOURCE/NAME`."""
        if plan.status.phase not in RUNNING:
            return frozenset()
        missing = self._missing(plan.view.key) | self._not_known(self._uses.of(plan.view.key))
        for route in self.unread_routes(plan):
            ident = self.kinds.ident(plan.view.namespace, route, kept_kinds(plan))
            missing |= {ident or (route.kind, plan.view.namespace, route.name)}
        return frozenset(f"{kind.partition('.')[0]}/{name}" for kind, _, name in missing if name != ALL)

    def unread_routes(self, plan: Plan) -> dict[RouteId, str]:
        """Return the routes of a plan of which nobody knows what they are now, and why: none of them counts as gone.

        One that was seen before its resource came into trouble is known: what is written to it is answered.
        """
        found = ((route, self._why_unread(plan, route)) for route in sorted(named_routes(plan)))
        return {route: why for route, why in found if why}

    def _why_unread(self, plan: Plan, route: RouteId) -> str:
        """Return why nobody knows what a route is now; empty where it is known, or known to be gone."""
        namespace, began = plan.view.namespace, kept_kinds(plan)
        ident = self.kinds.ident(namespace, route, began)
        if ident is None:
            return self.kinds.problem(route.kind)
        why = self._objects.unreadable.get((namespace, route), "") if self.kinds.is_current(route.kind, began) else ""
        if why or self._route(plan, route) is not None:
            return why
        if self._objects.holds(ident):
            return "it cannot be read: put it back as it was, or correct what was changed last"
        if ident in self._too_large:
            return "it is too large to read: make it smaller"
        return "" if self._versions.is_deleted(ident) else self.routers.trouble(ident[0])

    def _route_notes(self, plan: Plan) -> dict[RouteId, str]:
        """Return why the weights of routes of a plan do not move its traffic."""
        notes = ((route, self.owned_notes.get((plan.view.namespace, route), "")) for route in named_routes(plan))
        return {route: note for route, note in notes if note}

    def _missing(self, key: str) -> frozenset[Id]:
        """What a plan needs and is being read, and in a run also what is too large for that."""
        plan, used = self.plans.get(key), self._uses.of(key)
        awaited = self._awaited.of(key) | self._pending(used)
        if plan is None or plan.status.phase not in RUNNING:
            return awaited
        return awaited | (used & self._too_large)

    def _pending(self, idents: frozenset[Id]) -> frozenset[Id]:
        """Those of these objects whose resource has not been listed yet."""
        if self.routers_changed is None:
            return frozenset()
        return frozenset(each for each in idents if self.kinds.reads(each[0]) and self.routers.is_pending(each[0]))

    def _not_known(self, idents: frozenset[Id]) -> frozenset[Id]:
        """Those of these objects whose resource cannot be watched now."""
        return frozenset(each for each in idents if self.routers.in_trouble(each[0]))

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

    def services(self, namespace: str | None) -> frozenset[Service]:
        """Return the Services that plans name, in a namespace or everywhere; no names that no Service can have."""
        named = (ident[1:] for ident in self._uses.named(ENDPOINTS) if namespace in (None, ident[1]))
        return frozenset(service for service in named if DNS_LABEL.matches(service[1]))

    def users_of(self, services: Iterable[Service]) -> frozenset[str]:
        """Return the plans that name any of these Services."""
        return self._uses.users(*((ENDPOINTS, *service) for service in services))

    def _update_entries(self, key: str) -> frozenset[str]:
        """Update a plan's queue and route entries; return the keys of the other plans that this affects.

        This is the last step after a change of a plan or of what it refers to. Its templates decide whether it waits in
        a queue, and its policies decide in which.
        """
        plan = self.plans.get(key)
        affected = self._queues.put(key, queue_entry(plan) if plan else None)
        before, conflict = self._conflicts.pop(key, None), route_conflict(plan) if plan else None
        claims_before, claims = self._claims.pop(key, Claims()), claims_of(plan) if plan else Claims()
        if conflict is not None:
            self._conflicts[key], self._claims[key] = conflict, claims
        if conflict == before and claims == claims_before:
            return affected
        objects = claimed(plan, self.kinds) if plan and conflict else frozenset()
        touched = self._held.of(key) | objects
        self._held.put(key, objects)
        sharers = (each for each in self._uses.users(*touched) if self.plans[each].status.phase in BEFORE_WEIGHTS)
        return affected.union(sharers)

    def _resolve_templates(self, plan: Plan) -> None:
        """Replace a plan's references to templates with the templates that are known now."""
        plan.view = judged_by(plan.view, plan.status, partial(self._shared.template, plan.view))

    def _resolve_again(self, keys: frozenset[str]) -> frozenset[str]:
        """Resolve these plans again after a change of a template; return them and the other plans this affects."""
        for key in keys:
            self._resolve_templates(self.plans[key])
        return keys.union(*(self._update_entries(key) for key in keys))

    def _store_namespace(self, raw: Mapping[str, Any]) -> frozenset[str]:
        name = raw["metadata"]["name"]
        before, labels = self.namespaces.get(name), safe_get.mapping(raw, "metadata", "labels")
        self.namespaces[name] = {**labels}
        return self._rematch_policies(name) if before != labels else frozenset()

    def _put_policy(self, name: str, raw: Mapping[str, Any]) -> frozenset[str]:
        """Take a policy as it is now. A status that shifts nothing concerns no plan."""
        self.policy_objects[name] = raw
        view = policies.view(raw)
        if view == self.policies.get(name):
            return frozenset()
        self.policies[name] = view
        return self._rematch_policies()

    def selected(self) -> dict[str, Selected]:
        """Return what each policy selects; those that select nothing are not there."""
        found: dict[str, Selected] = {}
        for plan in self.plans.values():
            for policy in plan.policies:
                selected = found.setdefault(policy.name, Selected())
                selected.plans[plan.view.namespace] += 1
                selected.unknown = selected.unknown or policy.unknown
        return found

    def places(self, policy: PolicyView, namespaces: Iterable[str]) -> list[Places]:
        """Return who has the places of a policy that selects plans of these namespaces, and who waits for one."""
        groups = {group: of for each in namespaces for group, of in concurrency_groups([policy], each).items()}
        return [self._queues.places(group, of) for group, of in groups.items()]

    def _match_policies(self, plan: Plan) -> None:
        """Find the policies that apply to a plan."""
        view, known = plan.view, self.policies.values()
        labels = Labels(view.labels, self.namespaces.get(view.namespace))
        plan.policies = in_force(known, view.namespace, labels, plan.status)
        slots = concurrency_groups(plan.policies, view.namespace)
        self._queues.slots.update(slots)
        plan.groups = frozenset(slots)
        plan.labels = kept(labels, known)

    def _rematch_policies(self, namespace: str | None = None) -> frozenset[str]:
        """Match all plans (of a namespace) again after a change of the policies, or of its labels.

        Returns those of them that may go forward.
        """
        if namespace is None:
            self._queues.slots.clear()
        found = {key: plan for key, plan in self.plans.items() if namespace in (None, plan.view.namespace)}
        for key, plan in found.items():
            self._match_policies(plan)
            self._update_entries(key)
        ends = (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        return frozenset(key for key, plan in found.items() if plan.status.phase not in ends)

    def queues(self, plan: Plan) -> dict[str, Queue]:
        """Return the queue in each concurrency group of a plan; empty where the plan has changed a weight.

        A plan that may take a place is reconciled at once. A change of its position in the queue does not cause a
        reconcile; the plan sees it at the next one.
        """
        if plan.status.phase not in BEFORE_WEIGHTS and not plan.status.place:
            return {}
        return self._queues.of(QueueEntry(plan.view.key, plan.groups, "waiting", plan.view.created, plan.view.uid))

    def phases(self) -> dict[str, int]:
        """Return the number of plans in each phase."""
        return Counter(str(plan.status.phase) for plan in self.plans.values())

    def owners(self) -> list[tuple[str, str, str]]:
        """Return namespace, name and owner of each plan that names an owner."""
        views = (plan.view for plan in self.plans.values())
        return [
            (view.namespace, view.name, view.written.owner) for view in views if view.written and view.written.owner
        ]

    def facts(self, key: str, *, epoch: int, claim_at: Callable[[str], datetime]) -> Facts | None:
        """Return all that is known of a plan and of its dependencies; None where the plan does not exist.

        `claim_at` returns, for the plan's uid, when a leader claims its run.
        """
        core = self.core_facts(key, epoch=epoch, claim_at=claim_at)
        if core is None:
            return None
        plan = self.plans[key]
        found, own = self.source(plan.view, plan.status), self._shared.own_source(plan.view)
        return replace(
            core,
            routes_to_old=self.routes_to_old(plan),
            undo=self.undo_of(plan),
            source=source_view(found.spec, found.sealed(own)) if found.spec else None,
            source_problem=found.problem,
            route_conflicts=self.route_conflicts(plan),
            policies=plan.policies,
            queues=self.queues(plan),
        )

    def core_facts(self, key: str, *, epoch: int, claim_at: Callable[[str], datetime]) -> Facts | None:
        """Return what a rollback needs to know of a plan, and nothing that has to be worked out."""
        plan = self.plans.get(key)
        if plan is None:
            return None
        view, spec = plan.view, plan.view.written
        return Facts(
            plan=view,
            status=plan.status,
            raw_status=plan.raw_status,
            routes=self.routes_of(plan),
            old=self.workloads.get((view.namespace, spec.old.deployment)) if spec else None,
            new=self.workloads.get((view.namespace, spec.new.deployment)) if spec else None,
            endpoints=self.endpoints_of(plan),
            labels=plan.labels,
            epoch=epoch,
            claim_at=claim_at(view.uid),
            grants=self.grants,
            unread=self._unread(plan),
            unread_routes=self.unread_routes(plan),
            route_notes=self._route_notes(plan),
            routers=router_problems(plan, self.kinds, self.routers),
            own_kinds=self.kinds.own(route.kind for route in named_routes(plan)),
            sinks=(*self.sinks, *self.notifiers.sinks(view)),
        )

    def route_conflicts(self, plan: Plan) -> tuple[RouteConflict, ...]:
        """Return the other plans that hold a route of this one, or are about to, with the rules that they move.

        So do those that size a Deployment of which the number of pods is a weight.
        """
        keys = self._held.users(*claimed(plan, self.kinds)) - {plan.view.key}
        found = (self._for(plan, self._conflicts[key]) for key in sorted(keys))
        ours = frozenset(route_idents(plan, self.kinds))
        return tuple(each for each in found if each.sizes or ours & self._held.of(each.key))

    def _for(self, asking: Plan, conflict: RouteConflict) -> RouteConflict:
        """Return what another plan moves of what one does: the rules, the same object as another kind, and sizes."""
        plan = self.plans[conflict.key]
        others = other_kinds(by_object(asking, self.kinds), by_object(plan, self.kinds))
        found = {
            route: rules_of(view, plan.view.written, plan.status.weights)
            for route, view in self.routes_of(plan).items()
        }
        moved = {route: rules for route, rules in found.items() if rules is not None}
        sizes = claims_of(asking).both_size(self._claims[conflict.key])
        return replace(conflict, rules=moved, others=others, sizes=sizes)

    def routes_of(self, plan: Plan) -> dict[RouteId, RouteView]:
        """Return the routes of a plan that exist, as the plan sees them."""
        found = ((route, self._route(plan, route)) for route in named_routes(plan))
        return {route: self._as_plan_sees(plan, view) for route, view in found if view is not None}

    def _route(self, plan: Plan, route: RouteId) -> RouteView | None:
        """Return a route as a plan sees it: in a run as the kind with which that began."""
        began, namespace = kept_kinds(plan), plan.view.namespace
        if self.kinds.is_current(route.kind, began):
            return self.routes.get((namespace, route))
        kind, ident = self.kinds.get(route.kind, began), self.kinds.ident(namespace, route, began)
        return self._objects.view(kind, ident) if kind is not None and ident is not None else None

    def undo_command(
        self,
        key: str,
        namespace: str,
        snapshot: RouteWeights,
        view: RouteView | None = None,
        target: RouteWeights | None = None,
        owner: str = "",
    ) -> str:
        """Return the command that restores the weights of a route of a plan with kubectl alone."""
        plan = self.plans.get(key)
        kind = self.kinds.get(snapshot.kind, kept_kinds(plan) if plan is not None else NONE_KEPT)
        return kind.undo_command(namespace, snapshot, view, target, owner) if kind is not None else ""

    def _as_plan_sees(self, plan: Plan, view: RouteView) -> RouteView:
        """Return a route with the plan's names of its sides; with Replicas also with the numbers of their pods."""
        sides, namespace = sides_of(plan), plan.view.namespace
        if sides is None:
            return view
        if view.ready_pods is None:
            called, kind = called_in(plan, view.id, sides), self.kinds.get(view.id.kind, kept_kinds(plan))
            return as_plan_sees(view, called, sides, kind.plain if kind is not None else "", flag_of(plan, view.id))
        old, new = (self.workloads.get((namespace, name)) for name in sides)
        return with_pods(view, sides, (old, new), self.endpoints.view((namespace, view.id.name)))

    def endpoints_of(self, plan: Plan) -> dict[str, EndpointsView]:
        """Return the endpoints of a plan's Services, as far as they are known."""
        found = ((name, self.endpoints.view((plan.view.namespace, name))) for name in services_of(plan))
        return {name: view for name, view in found if view is not None}

    def routes_to_old(self, plan: Plan) -> tuple[RouteView, ...]:
        """Return the routes that give the old Service of a run traffic, while that matters.

        That is before the old side is removed, and where the route in Git has the traffic in place of an owned one.
        """
        old, phase = plan.status.weights.old, plan.status.effective_phase
        matters = phase in TAKING_AWAY or (phase is Phase.SUCCEEDED and owned_by(plan))
        if not matters or not old or plan.status.weights.service:
            return ()
        return self._objects.of((plan.view.namespace, old))

    def undo_of(self, plan: Plan) -> tuple[RouteWeights, ...]:
        """Return the weights that the undo command on a plan or its routes restores, where its status has none."""
        weights = plan.status.weights
        if is_valid_snapshot(weights.snapshot, weights.old, weights.new):
            return ()
        others = {self.plans[key].view.uid[:8] for key in self._uses.users(*route_idents(plan, self.kinds))}
        commands = undo_texts(plan.view.undo_annotation, self.routes_of(plan).values(), others - {plan.view.uid[:8]})
        names = {*weights.kinds, *(route.kind for route in named_routes(plan))} - ROUTE_KINDS.keys()
        own = (self.kinds.get(name, weights.kinds) for name in sorted(names))
        found, sides = read_undo(plan.view.namespace, commands, filter(None, own)), sides_of(plan)
        if sides is None:
            return found
        return tuple(weights_as_plan_sees(route, called_in(plan, route.id, sides), sides) for route in found)

    def source(self, plan: PlanView, status: Status) -> SourceObject:
        """Return the metric source of a plan, in a run the one with which it began. Its problem contains the fix."""
        return self._shared.source(plan, status)

    def cluster_source(self, name: str, namespace: str) -> SourceObject:
        """Return a ClusterMetricSource as plans of a namespace may use it. Its problem contains the fix."""
        return self._shared.cluster_source(name, namespace)
