"""The newest of everything that a look needs, as the watches and our own writes brought it.

Raw objects are read once, when they come; what is kept is small. An object older than the one known changes nothing, so
that a late watch event cannot undo what an answer to our own write has shown, nor an answer bring back what is gone.

Whatever changes something returns the keys of the plans for which it does: they have to be looked at again, and nobody
else will say so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Literal

from rolloutplan.cluster import plans, workloads
from rolloutplan.engine.look import Facts, PlanView, Rival, RouteView, SourceView, WorkloadView
from rolloutplan.engine.policy import Peer, PolicyView, groups, selects
from rolloutplan.engine.report import stalled
from rolloutplan.engine.templates import judged_by
from rolloutplan.loop.routes import BY_PLURAL, plural
from rolloutplan.loop.versions import Id, Listing, Versions, is_older, name_of, version_of
from rolloutplan.metrics.pool import Key
from rolloutplan.plan import lenient
from rolloutplan.plan.kinds import MetricSourceSpec, read_metric_source
from rolloutplan.plan.policy import RolloutPolicySpec, read_policy
from rolloutplan.plan.reasons import HoldReason, StatusReason
from rolloutplan.plan.resolve import Template
from rolloutplan.plan.route import RouteId
from rolloutplan.plan.spec import SpecError
from rolloutplan.plan.status import RUNNING, STARTING, Phase, Status, read_status
from rolloutplan.plan.templates import read_template

PLANS, DEPLOYMENTS = "rolloutplans", "deployments"
SOURCES, CLUSTER_SOURCES = "metricsources", "clustermetricsources"
POLICIES = "rolloutpolicies"
TEMPLATES, CLUSTER_TEMPLATES = "predicatetemplates", "clusterpredicatetemplates"


@dataclass(slots=True)
class Plan:
    """A plan as the API server has it."""

    view: PlanView
    status: Status
    raw_status: Mapping[str, Any]
    policies: tuple[PolicyView, ...] = ()
    """Those that select it."""
    groups: frozenset[str] = frozenset()
    """The lines that it stands in."""


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A metric source as written; `spec` is None where it cannot be read."""

    key: Key
    spec: MetricSourceSpec | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as written; `selecting` tells which plans it is for, also where the rest cannot be read."""

    view: PolicyView
    selecting: RolloutPolicySpec


@dataclass(slots=True)
class Store:
    plans: dict[str, Plan] = field(default_factory=dict)
    routes: dict[tuple[str, RouteId], RouteView] = field(default_factory=dict)
    workloads: dict[tuple[str, str], WorkloadView] = field(default_factory=dict)
    sources: dict[Id, SourceObject] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    templates: dict[Id, Template] = field(default_factory=dict)
    _versions: Versions = field(default_factory=Versions)
    _doubted: dict[Id, Mapping[str, Any]] = field(default_factory=dict)
    """Members of a list under way that are older than what is known: the whole list tells which of the two is right."""
    _users: defaultdict[Id, set[str]] = field(default_factory=lambda: defaultdict(set))
    _uses: dict[str, frozenset[Id]] = field(default_factory=dict)

    def offer(self, kind: str, event: str | None, raw: Mapping[str, Any]) -> frozenset[str]:
        """Take in an object: of a watch event, an answer to a request, or a list (`event` is None).

        Returns the keys of the plans that have to be looked at again: none, where it is not newer than what is known.
        """
        ident: Id = (kind, *name_of(raw))
        version, held = version_of(raw), self._versions.held(ident)
        if event == "DELETED":
            return frozenset() if is_older(version, held) else self.drop(ident, version)
        if not self._versions.is_news(ident, version):
            if event is None:
                self._doubted[ident] = raw
            return frozenset()
        if event is not None and version and version == held:
            return frozenset()
        return self._take(ident, raw)

    def listed(self, listing: Listing) -> frozenset[str]:
        """Hear that a list is complete, after all its members were offered: what is held and not in it is gone.

        Returns the keys of the plans that have to be looked at again.
        """
        touched = set[str]()
        for ident in self._versions.covered(listing):
            if ident[1:] not in listing.names:
                touched |= self.drop(ident, listing.version)
        doubted = {ident: raw for ident, raw in self._doubted.items() if listing.covers(ident)}
        for ident, raw in doubted.items():
            if ident[1:] in listing.names and self._versions.is_overruled(ident, listing):
                touched |= self._take(ident, raw)
            self._doubted.pop(ident, None)
        if listing.anew:
            self._versions.restart(listing)
        return frozenset(touched)

    def drop(self, ident: Id, version: str = "") -> frozenset[str]:
        """Forget an object that is gone, at this version where one is known.

        Returns the keys of the plans that have to be looked at again.
        """
        kind, namespace, name = ident
        self._versions.bury(ident, version)
        self._doubted.pop(ident, None)
        touched = frozenset(self._users.get(ident, ()))
        if kind == PLANS:
            key = f"{namespace}/{name}"
            plan = self.plans.pop(key, None)
            self._index(key, frozenset())
            return self._sharing(plan) | self._next_in_line(plan) | {key} if plan else frozenset()
        if kind in BY_PLURAL:
            self.routes.pop((namespace, RouteId(BY_PLURAL[kind].kind, name)), None)
        elif kind == DEPLOYMENTS:
            self.workloads.pop(ident[1:], None)
        elif kind == POLICIES:
            self.policies.pop(name, None)
            return self._ruled_anew()
        elif kind in (TEMPLATES, CLUSTER_TEMPLATES):
            self.templates.pop(ident, None)
            self._refer_anew(touched)
        else:
            self.sources.pop(ident, None)
        return touched

    def _take(self, ident: Id, raw: Mapping[str, Any]) -> frozenset[str]:
        kind, _, name = ident
        self._versions.hold(ident, version_of(raw))
        self._doubted.pop(ident, None)
        touched = frozenset(self._users.get(ident, ()))
        match kind:
            case "rolloutplans":
                return self._take_plan(raw)
            case _ if kind in BY_PLURAL:
                view = BY_PLURAL[kind].view(raw)
                self.routes[ident[1], view.id] = view
            case "deployments":
                self.workloads[ident[1:]] = workloads.view(raw)
            case "rolloutpolicies":
                self.policies[name] = _policy(raw)
                return self._ruled_anew()
            case "predicatetemplates" | "clusterpredicatetemplates":
                self.templates[ident] = _template(kind, raw)
                self._refer_anew(touched)
            case _:
                self.sources[ident] = _source(kind, raw)
        return touched

    def version(self, ident: Id) -> str:
        """The resourceVersion of an object as it is held; empty where none is."""
        return self._versions.held(ident)

    def _take_plan(self, raw: Mapping[str, Any]) -> frozenset[str]:
        before = self.plans.get(f"{raw['metadata']['namespace']}/{raw['metadata']['name']}")
        view = plans.view(raw, before.view if before else None)
        raw_status = lenient.mapping(raw, "status")
        was_running = before is not None and before.status.phase in RUNNING
        plan = Plan(view, read_status(raw.get("status")), raw_status)
        self.plans[view.key] = plan
        self._refer_anew([view.key])
        self._rule(plan)
        self._index(view.key, frozenset(_uses(plan)))
        released = self._next_in_line(plan) if was_running and plan.status.phase not in RUNNING else frozenset()
        return self._sharing(plan) | released | {view.key}

    def _index(self, key: str, uses: frozenset[Id]) -> None:
        for ident in self._uses.pop(key, frozenset()) - uses:
            self._users[ident].discard(key)
            if not self._users[ident]:
                del self._users[ident]
        for ident in uses:
            self._users[ident].add(key)
        if uses:
            self._uses[key] = uses

    def _sharing(self, plan: Plan) -> frozenset[str]:
        """Plans that have not started and name a route of this one: its turn may be over."""
        idle = {*STARTING, Phase.PENDING, Phase.INVALID}
        return frozenset(key for key in self._sharers(plan) if self.plans[key].status.phase in idle)

    def _sharers(self, plan: Plan) -> set[str]:
        """Plans that name a route of this one, itself among them."""
        users = (self._users.get(_ident(plan, route), ()) for route in _routes(plan))
        return {key for keys in users for key in keys if key in self.plans}

    def _refer_anew(self, keys: Iterable[str]) -> None:
        """Put the templates that are known now in the place of what plans say of them."""
        for plan in (self.plans[key] for key in keys):
            plan.view = judged_by(plan.view, plan.status, partial(self.template, plan.view))

    def template(self, plan: PlanView, name: str) -> Template:
        """The template that a plan names: of its namespace, else of the cluster. Its problem says the fix."""
        own = self.templates.get((TEMPLATES, plan.namespace, name))
        words = f"neither PredicateTemplate {plan.namespace}/{name} nor ClusterPredicateTemplate {name} exists"
        missing = Template("", name, None, f"{words}: create one, or correct the name", StatusReason.TEMPLATE_NOT_FOUND)
        return own or self.templates.get((CLUSTER_TEMPLATES, "", name), missing)

    def _rule(self, plan: Plan) -> None:
        """Find the policies that select a plan."""
        view = plan.view
        chosen = (p.view for p in self.policies.values() if selects(p.selecting, view.namespace, view.labels))
        plan.policies = tuple(sorted(chosen, key=lambda policy: policy.name))
        plan.groups = frozenset(groups(plan.policies))

    def _ruled_anew(self) -> frozenset[str]:
        """The policies have changed: every plan that may go forward has to be looked at again."""
        for plan in self.plans.values():
            self._rule(plan)
        ends = (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        return frozenset(key for key, plan in self.plans.items() if plan.status.phase not in ends)

    def _next_in_line(self, plan: Plan) -> frozenset[str]:
        """Plans that wait for a place that this one may have held."""
        waits = (key for key, peer in self.plans.items() if peer.status.reason == StatusReason.WAITING)
        return frozenset(key for key in waits if self.plans[key].groups & plan.groups)

    def peers(self, plan: Plan) -> tuple[Peer, ...]:
        """Other plans that stand in a line with this one, which has not moved any weight yet."""
        if not plan.groups or plan.status.phase not in {*STARTING, Phase.PENDING, Phase.INVALID}:
            return ()
        others = (peer for peer in self.plans.values() if peer is not plan and peer.groups & plan.groups)
        return tuple(peer for other in others if (peer := _peer(other)) is not None)

    def phases(self) -> dict[str, int]:
        """How many plans are in each phase."""
        return Counter(str(plan.status.phase) for plan in self.plans.values())

    def facts(self, key: str, *, epoch: int, claim_at: Callable[[str], datetime]) -> Facts | None:
        """All that is known of a plan and of what it depends on; None where there is no such plan.

        `claim_at` says, by the plan's uid, when a leader marks its run as its own.
        """
        plan = self.plans.get(key)
        if plan is None:
            return None
        view, spec = plan.view, plan.view.written
        found = self.source(view)
        return Facts(
            plan=view,
            status=plan.status,
            raw_status=plan.raw_status,
            routes=self.routes_of(plan),
            old=self.workloads.get((view.namespace, spec.old.deployment)) if spec else None,
            new=self.workloads.get((view.namespace, spec.new.deployment)) if spec else None,
            source=source_view(found.spec) if found.spec else None,
            source_problem=found.problem,
            rivals=self.rivals(plan),
            policies=plan.policies,
            peers=self.peers(plan),
            epoch=epoch,
            adopt_at=claim_at(view.uid),
        )

    def rivals(self, plan: Plan) -> tuple[Rival, ...]:
        """Other plans that name a route of this one."""
        return tuple(_rival(self.plans[key]) for key in sorted(self._sharers(plan) - {plan.view.key}))

    def routes_of(self, plan: Plan) -> dict[RouteId, RouteView]:
        """The routes of a plan that exist."""
        found = ((route, self.routes.get((plan.view.namespace, route))) for route in _routes(plan))
        return {route: view for route, view in found if view is not None}

    def source(self, plan: PlanView) -> SourceObject:
        """The metric source that a plan names: of its namespace, else of the cluster. Its problem says the fix."""
        name = plan.written.metrics.source if plan.written else "default"
        own = self.sources.get((SOURCES, plan.namespace, name))
        shared = self.sources.get((CLUSTER_SOURCES, "", name))
        if found := own or shared:
            return found if found is own or _may_use(found, plan.namespace) else _refused(found, plan.namespace)
        words = f"neither MetricSource {plan.namespace}/{name} nor ClusterMetricSource {name} exists"
        return SourceObject(Key("", "", name), None, f"{words}: create one, or correct spec.metrics.source")


def source_view(spec: MetricSourceSpec) -> SourceView:
    return SourceView(scrape=spec.scrape_interval, delay=spec.ingestion_delay, timeout=spec.timeout)


def _uses(plan: Plan) -> Iterator[Id]:
    """Every object that a look at this plan depends on."""
    namespace, spec = plan.view.namespace, plan.view.written
    for route in _routes(plan):
        yield _ident(plan, route)
    if spec is None:
        return
    yield DEPLOYMENTS, namespace, spec.old.deployment
    yield DEPLOYMENTS, namespace, spec.new.deployment
    yield SOURCES, namespace, spec.metrics.source
    yield CLUSTER_SOURCES, "", spec.metrics.source
    for name in {predicate.template for _, predicate in spec.predicates() if predicate.template is not None}:
        yield TEMPLATES, namespace, name
        yield CLUSTER_TEMPLATES, "", name


def _routes(plan: Plan) -> frozenset[RouteId]:
    """The routes that a plan names, and those that it may have to put back."""
    spec = plan.view.written
    named = {ref.id for ref in spec.traffic.routes} if spec else set()
    return frozenset(named | {route.id for route in plan.status.weights.snapshot})


def _ident(plan: Plan, route: RouteId) -> Id:
    return plural(route), plan.view.namespace, route.name


def _about_to_start(plan: Plan) -> bool:
    view, status = plan.view, plan.status
    sound = view.readable and not view.deleting and status.paused is None
    return status.phase is Phase.PENDING and sound and not stalled(status) and status.reason != HoldReason.FROZEN


def _peer(plan: Plan) -> Peer | None:
    """A plan as it stands in a line; None where it wants no place."""
    view, phase = plan.view, plan.status.phase
    at: Literal["waiting", "starting", "running"] = "starting" if phase in STARTING else "running"
    if phase not in RUNNING:
        at = "waiting"
        if not _about_to_start(plan):
            return None
    return Peer(view.key, plan.groups, at, view.created, view.uid)


def _policy(raw: Mapping[str, Any]) -> Policy:
    """Read a policy. One of which not even the selector can be read may be about any plan."""
    name, spec = raw["metadata"]["name"], lenient.mapping(raw, "spec")
    try:
        read = read_policy(spec)
    except SpecError as error:
        try:
            selecting = read_policy({"selector": spec.get("selector")})
        except SpecError:
            selecting = RolloutPolicySpec()
        return Policy(PolicyView(name, None, str(error)), selecting)
    return Policy(PolicyView(name, read), read)


def _rival(plan: Plan) -> Rival:
    view, status = plan.view, plan.status
    return Rival(
        key=view.key,
        routes=_routes(plan),
        running=status.phase in RUNNING,
        waiting=_about_to_start(plan) and status.reason != StatusReason.WAITING,
        created=view.created,
        uid=view.uid,
    )


def _source(kind: str, raw: Mapping[str, Any]) -> SourceObject:
    meta, cluster = raw["metadata"], kind == CLUSTER_SOURCES
    key = Key(kind, meta.get("namespace", ""), meta["name"])
    try:
        return SourceObject(key, read_metric_source(lenient.mapping(raw, "spec"), cluster))
    except SpecError as error:
        return SourceObject(key, None, f"{'Cluster' if cluster else ''}MetricSource {meta['name']}: {error}")


def _template(kind: str, raw: Mapping[str, Any]) -> Template:
    named = "PredicateTemplate" if kind == TEMPLATES else "ClusterPredicateTemplate"
    name = raw["metadata"]["name"]
    try:
        return Template(named, name, read_template(lenient.mapping(raw, "spec")))
    except SpecError as error:
        return Template(named, name, None, f"{named} {name}: {error}")


def _may_use(found: SourceObject, namespace: str) -> bool:
    allows = getattr(found.spec, "allows", None)
    return allows is None or bool(allows(namespace))


def _refused(found: SourceObject, namespace: str) -> SourceObject:
    words = f"ClusterMetricSource {found.key.name} does not admit namespace {namespace}: add it to spec.namespaces"
    return SourceObject(found.key, None, words)
