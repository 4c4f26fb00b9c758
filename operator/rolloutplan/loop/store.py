"""The newest state of every object that a reconcile needs.

Objects come from loop/feed.py; loop/facts.py puts together what a run is given. Raw objects are parsed once, when they
arrive, and what is kept is small. An object older than the stored one changes nothing. So a late watch event cannot
undo the answer to an own write, and an answer cannot bring back a deleted object.

Every method that changes something returns the keys of the affected plans. The caller must wake them, because no other
code does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.limits import UNREAD, is_unread, kib
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RUNNING, STARTING, Phase, Status, read_status
from rolloutplan.cluster import paths, plans, workloads
from rolloutplan.engine.model.grants import Grants
from rolloutplan.engine.model.plan_view import PlanView, Unreadable
from rolloutplan.engine.model.snapshot import (
    WorkloadView,
)
from rolloutplan.engine.model.templates import judged_by
from rolloutplan.engine.policy.grants import outdated, unserved
from rolloutplan.loop.budget import OVER, Budget, Entry
from rolloutplan.loop.conflicts import Conflicts
from rolloutplan.loop.endpoints import Endpoints
from rolloutplan.loop.index import Queues
from rolloutplan.loop.needs import Needs
from rolloutplan.loop.notifiers import Notifiers
from rolloutplan.loop.policies import Policies
from rolloutplan.loop.route_objects import RouteObjects
from rolloutplan.loop.routers import Routers, Trouble
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.loop.shared import ALL_TEMPLATES, Change, SharedObjects
from rolloutplan.loop.stored_plan import (
    Plan,
    dependencies,
    keeps,
    queue_entry,
    spec_size,
)
from rolloutplan.loop.versions import Id, Listing, Versions, is_older, name_of, version_of
from rolloutplan.metrics.access import NO_HOSTS, SourceHosts

PLANS, DEPLOYMENTS = paths.PLANS.resource, paths.DEPLOYMENTS.resource
SOURCES, CLUSTER_SOURCES = paths.SOURCES.resource, paths.CLUSTER_SOURCES.resource
POLICIES, NAMESPACES = paths.POLICIES.resource, paths.NAMESPACES.resource
OWN_KINDS = paths.ROUTE_KINDS.resource
TEMPLATES, CLUSTER_TEMPLATES = paths.TEMPLATES.resource, paths.CLUSTER_TEMPLATES.resource

TAKING_AWAY = frozenset({Phase.BAKING, Phase.CONTRACTING})
"""The phases after which, or in which, the old side is removed: then all routes that still use it matter."""
BEFORE_WEIGHTS = frozenset({*STARTING, Phase.PENDING, Phase.INVALID})
"""The phases of a run that has not changed any weight: only then do other plans matter to it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Store:
    source_hosts: InitVar[SourceHosts] = NO_HOSTS
    """Where namespaced metric sources may point."""
    notifier_hosts: InitVar[SourceHosts] = NO_HOSTS
    """Where namespaced notifiers may point."""
    plans: dict[str, Plan] = field(default_factory=dict)
    workloads: dict[tuple[str, str], WorkloadView] = field(default_factory=dict)
    endpoints: Endpoints = field(default_factory=Endpoints)
    kinds: RouteKinds = field(default_factory=RouteKinds)
    """The kinds of route that plans may name."""
    routers: Routers = field(default_factory=Routers)
    """What is known of the resources of routes that plans name."""
    grants: Grants = field(default_factory=Grants)
    authenticated_commands: bool = False
    """Whether an admission policy makes sure that commands name the user who wrote them."""
    unserved: frozenset[str] = frozenset()
    """The namespaces whose plans are not served."""
    crds_lack: str = ""
    """Which fields the CRDs lack, and what to do. It counts for what is stored from then on: list all plans again."""
    owned_notes: dict[tuple[str, RouteId], str] = field(default_factory=dict)
    """By namespace and route: why the weights of a route do not move its traffic (loop/owned_routes.py)."""
    list_again: Callable[[str], None] = lambda _: None
    """Lists the objects of a resource again."""
    kinds_changed: Callable[[], None] = lambda: None
    """Called when a RouteKind has changed."""
    budget: Budget = field(default_factory=Budget)
    versions: Versions = field(default_factory=Versions)
    queues: Queues = field(default_factory=Queues)
    shared: SharedObjects = field(init=False)
    """The templates, the metric sources and the notifiers."""
    objects: RouteObjects = field(init=False)
    """The objects that carry traffic."""
    needs: Needs = field(init=False)
    """The objects that each plan needs."""
    policies: Policies = field(init=False)
    conflicts: Conflicts = field(init=False)
    """Which plans hold their routes."""
    _removing: set[str] = field(default_factory=set)
    """The keys of the plans that are about to remove their old side."""
    _disputed: dict[Id, Mapping[str, Any]] = field(default_factory=dict)
    """Members of an incomplete list that are older than the known version: the complete list decides which is right."""

    def __post_init__(self, source_hosts: SourceHosts, notifier_hosts: SourceHosts) -> None:
        self.shared = SharedObjects(source_hosts, notifiers=Notifiers(notifier_hosts))
        self.objects = RouteObjects(self.kinds)
        self.needs = Needs(self.plans, self.workloads, self.objects, self.routers, self.versions)
        self.objects.names_service = self.needs.is_named
        self.policies = Policies(self.plans, self.queues)
        self.conflicts = Conflicts(self.kinds)

    def apply(self, kind: str, event: str | None, raw: Mapping[str, Any]) -> frozenset[str]:
        """Store an object from a watch event, an answer to a request, or a list (`event` is None).

        Returns the keys of the plans to reconcile: none where the object is not newer than the stored one.
        """
        ident: Id = (kind, *name_of(raw))
        version, held = version_of(raw), self.versions.version(ident)
        if event == "DELETED":
            return frozenset() if is_older(version, held) else self.remove(ident, version)
        if not self.versions.is_current(ident, version):
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
        for ident in self.versions.covered(listing):
            if ident[1:] not in listing.names:
                affected |= self.remove(ident, listing.version)
        disputed = {ident: raw for ident, raw in self._disputed.items() if listing.covers(ident)}
        for ident, raw in disputed.items():
            if ident[1:] in listing.names and self.versions.list_wins(ident, listing):
                affected |= self._store(ident, raw)
            self._disputed.pop(ident, None)
        if listing.is_new_history:
            self.versions.restart(listing)
        return frozenset(affected)

    def remove(self, ident: Id, version: str = "") -> frozenset[str]:
        """Remove an object that is gone, at this version where one is known.

        Returns the keys of the plans to reconcile.
        """
        kind, namespace, name = ident
        self.versions.record_deletion(ident, version)
        self._disputed.pop(ident, None)
        self.needs.can_be_read(ident)
        affected = self.needs.uses.users(ident)
        if kind == PLANS:
            key = f"{namespace}/{name}"
            placed = self.budget.put(key, namespace, None)
            return self._forget(key) | self._replace(placed)
        affected |= self.needs.give_up(ident)
        if self.kinds.reads(kind):
            affected |= self._put_route(ident, None)
        elif kind == DEPLOYMENTS:
            self.workloads.pop(ident[1:], None)
        elif kind == POLICIES:
            self.policies.remove(name)
            return self._rematch_policies()
        elif kind == OWN_KINDS:
            return affected | self._put_kind(name, None)
        elif kind == NAMESPACES:
            self.policies.namespaces.pop(name, None)
            return self._rematch_policies(name)
        else:
            affected |= self._read_shared(self.shared.remove(ident))
        return affected

    def _read_shared(self, change: Change) -> frozenset[str]:
        """Read templates and metric sources again that won a place; return the plans that name what has changed."""
        if self.needs.fetch is not None:
            for ident in change.wanted:
                self.needs.fetch(ident)
        templates = (each for each in change.read if each[0] in ALL_TEMPLATES)
        resolved = self._resolve_again(self.needs.uses.users(*templates))
        return resolved | self.needs.uses.users(*change.read)

    def _store(self, ident: Id, raw: Mapping[str, Any]) -> frozenset[str]:
        kind, _, name = ident
        self.versions.record_version(ident, version_of(raw))
        self._disputed.pop(ident, None)
        is_route = self.kinds.reads(kind)
        if is_unread(raw, "status") if kind == PLANS else UNREAD in raw and (is_route or kind == DEPLOYMENTS):
            return self._leave_unread(ident, raw)
        self.needs.can_be_read(ident)
        affected = self.needs.uses.users(ident) | self.needs.give_up(ident)
        if kind == PLANS:
            return self._store_plan(raw)
        if is_route:
            return affected | self._put_route(ident, raw)
        if kind == DEPLOYMENTS:
            if self.needs.is_needed(ident):
                self.workloads[ident[1:]] = workloads.view(raw)
            return affected
        if kind == POLICIES:
            return self._rematch_policies() if self.policies.put(name, raw) else frozenset()
        if kind == NAMESPACES:
            return self._rematch_policies(name) if self.policies.put_namespace(name, raw) else frozenset()
        if kind == OWN_KINDS:
            return self._put_kind(name, raw)
        return affected | self._read_shared(self.shared.put(ident, raw))

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
        return self.needs.leave_unread(ident)

    def _put_route(self, ident: Id, raw: Mapping[str, Any] | None) -> frozenset[str]:
        """Replace a route. Returns the plans that are about to remove the old side of which it gives traffic."""
        touched = self.objects.put(ident, raw, partial(self.needs.is_needed, ident))
        users = self.needs.users_of(touched.services) if self._removing else frozenset[str]()
        return (users & self._removing) | self.needs.uses.users(*touched.objects)

    def _put_kind(self, name: str, raw: Mapping[str, Any] | None) -> frozenset[str]:
        """Take a RouteKind as it is now, or forget it; None. Returns the plans that name it, and those they affect."""
        known = self.kinds.objects.get(name)
        if raw is not None and known is not None and raw.get("spec") == known.get("spec"):
            self.kinds.objects[name] = raw  # its status was written
            return frozenset()
        before = self.kinds.place(name)
        self.kinds_changed()
        self.objects.forget_kind(name)
        if raw is None:
            self.kinds.drop(name)
        else:
            self.kinds.put(raw)
        resources = {place.resource for place in (before, self.kinds.place(name)) if place is not None}
        self.objects.read_again(resources)
        for resource in resources:
            self.list_again(resource)  # of what was not needed, only that is known which the former kinds read
        users = self.needs.uses.users((OWN_KINDS, "", name))
        for key in users:
            self.needs.put(key, frozenset(dependencies(self.plans[key], self.kinds)))
        return users.union(*(self._update_entries(key) for key in users))

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
        self.policies.match(plan)
        self.needs.put(view.key, frozenset(dependencies(plan, self.kinds)))
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
        self.needs.put(key, frozenset())
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
                self.policies.match(plan)
                self.needs.put(key, frozenset(dependencies(plan, self.kinds)))
                affected |= self._update_entries(key) | {key}
            elif self.needs.fetch is not None:
                self.needs.fetch((PLANS, namespace, name))
        return frozenset(affected)

    def routes_wanted(self) -> dict[str, paths.Kind]:
        """Return the resources of the kinds that plans name, each in all versions that can be read."""
        return {each: self.kinds.at(each) for each in self.needs.uses.kinds() if self.kinds.reads(each)}

    def routes_listed(self, resource: str) -> frozenset[str]:
        """Record that all objects of a resource are known; return the plans that waited for it."""
        return self.needs.users_of_all(resource) if self.routers.listed(resource) else frozenset()

    def routes_failed(self, resource: str, trouble: Trouble) -> frozenset[str]:
        """Record why the objects of a resource cannot be known; return the plans that name one."""
        return self.needs.users_of_all(resource) if self.routers.fails(resource, trouble) else frozenset()

    def routes_unwanted(self, resource: str) -> None:
        """Forget a resource that no plan names any more, and that is no longer watched."""
        self.routers.forget(resource)
        for ident in self.versions.forget(Listing(resource, None, frozenset())):
            self._put_route(ident, None)
            self.needs.can_be_read(ident)

    def _update_entries(self, key: str) -> frozenset[str]:
        """Update a plan's entries in what is looked up by other plans; return the keys of those that this affects.

        This is the last step after a change of a plan or of what it refers to. Its templates decide whether it waits in
        a queue, and its policies decide in which.
        """
        plan = self.plans.get(key)
        if plan is not None and plan.status.effective_phase in TAKING_AWAY:
            self._removing.add(key)
        else:
            self._removing.discard(key)
        affected = self.queues.put(key, queue_entry(plan) if plan else None)
        touched = self.conflicts.put(key, plan)
        sharers = (each for each in self.needs.uses.users(*touched) if self.plans[each].status.phase in BEFORE_WEIGHTS)
        return affected.union(sharers)

    def _resolve_templates(self, plan: Plan) -> None:
        """Replace a plan's references to templates with the templates that are known now."""
        plan.view = judged_by(plan.view, plan.status, partial(self.shared.template, plan.view))

    def _resolve_again(self, keys: frozenset[str]) -> frozenset[str]:
        """Resolve these plans again after a change of a template; return them and the other plans this affects."""
        for key in keys:
            self._resolve_templates(self.plans[key])
        return keys.union(*(self._update_entries(key) for key in keys))

    def _rematch_policies(self, namespace: str | None = None) -> frozenset[str]:
        """Match all plans (of a namespace) again after a change of the policies, or of its labels.

        Returns those of them that may go forward.
        """
        if namespace is None:
            self.queues.slots.clear()
        found = {key: plan for key, plan in self.plans.items() if namespace in (None, plan.view.namespace)}
        for key, plan in found.items():
            self.policies.match(plan)
            self._update_entries(key)
        ends = (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        return frozenset(key for key, plan in found.items() if plan.status.phase not in ends)

    def phases(self) -> dict[str, int]:
        """Return the number of plans in each phase."""
        return Counter(str(plan.status.phase) for plan in self.plans.values())

    def owners(self) -> list[tuple[str, str, str]]:
        """Return namespace, name and owner of each plan that names an owner."""
        views = (plan.view for plan in self.plans.values())
        return [
            (view.namespace, view.name, view.written.owner) for view in views if view.written and view.written.owner
        ]
