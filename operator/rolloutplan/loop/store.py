"""The newest of everything that a look needs, as the watches and our own writes brought it.

Raw objects are read once, when they come; what is kept is small. An object older than the one known changes nothing, so
that a late watch event cannot undo what an answer to our own write has shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rolloutplan.cluster import plans, workloads
from rolloutplan.engine.look import PlanView, Rival, RouteView, SourceView, WorkloadView
from rolloutplan.engine.report import stalled
from rolloutplan.metrics.pool import Key
from rolloutplan.plan.kinds import MetricSourceSpec, read_metric_source
from rolloutplan.plan.spec import SpecError
from rolloutplan.plan.status import RUNNING, Phase, Status, read_status
from rolloutplan.traffic import httproute

PLANS, ROUTES, DEPLOYMENTS = "rolloutplans", "httproutes", "deployments"
SOURCES, CLUSTER_SOURCES = "metricsources", "clustermetricsources"

Id = tuple[str, str, str]
"""Kind, namespace (empty for cluster kinds) and name."""


@dataclass(slots=True)
class Plan:
    """A plan as it is known. `status` is what the engine goes on from; `raw_status` is what the API server has.

    They differ only while a status is `owed`: decided and acted upon, but not yet written.
    """

    view: PlanView
    status: Status
    meta: dict[str, Any]
    raw_status: dict[str, Any]
    owed: bool = False


@dataclass(slots=True)
class Workload:
    view: WorkloadView
    selector: str


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A metric source as written; `spec` is None where it cannot be read."""

    key: Key
    spec: MetricSourceSpec | None
    problem: str = ""


@dataclass(slots=True)
class Store:
    plans: dict[str, Plan] = field(default_factory=dict)
    routes: dict[tuple[str, str], RouteView] = field(default_factory=dict)
    workloads: dict[tuple[str, str], Workload] = field(default_factory=dict)
    sources: dict[Id, SourceObject] = field(default_factory=dict)
    _versions: dict[Id, int] = field(default_factory=dict)
    _users: defaultdict[Id, set[str]] = field(default_factory=lambda: defaultdict(set))
    _uses: dict[str, frozenset[Id]] = field(default_factory=dict)

    def offer(self, kind: str, event: str | None, raw: Mapping[str, Any]) -> frozenset[str]:
        """Take in an object; returns the keys of the plans that have to be looked at again."""
        meta = raw["metadata"]
        ident = (kind, meta.get("namespace", ""), meta["name"])
        version = _version(meta)
        if version < self._versions.get(ident, 0):
            return frozenset()
        if event == "DELETED":
            return self.drop(ident)
        self._versions[ident] = version
        touched = frozenset(self._users.get(ident, ()))
        match kind:
            case "rolloutplans":
                return self._take_plan(raw)
            case "httproutes":
                self.routes[ident[1:]] = httproute.view(raw)
            case "deployments":
                self.workloads[ident[1:]] = Workload(workloads.view(raw), workloads.selector(raw))
            case _:
                self.sources[ident] = _source(kind, raw)
        return touched

    def drop(self, ident: Id) -> frozenset[str]:
        """Forget an object; returns the keys of the plans that have to be looked at again."""
        kind, namespace, name = ident
        self._versions.pop(ident, None)
        touched = frozenset(self._users.get(ident, ()))
        if kind == PLANS:
            key = f"{namespace}/{name}"
            plan = self.plans.pop(key, None)
            self._index(key, frozenset())
            return self._sharing(plan) | {key} if plan else frozenset()
        if kind == ROUTES:
            self.routes.pop(ident[1:], None)
        elif kind == DEPLOYMENTS:
            self.workloads.pop(ident[1:], None)
        else:
            self.sources.pop(ident, None)
        return touched

    def version(self, ident: Id) -> int:
        """The resourceVersion of an object as it is held; 0 where none is."""
        return self._versions.get(ident, 0)

    def known(self, kind: str) -> Iterator[Id]:
        """All objects of a kind that are held."""
        return (ident for ident in list(self._versions) if ident[0] == kind)

    def _take_plan(self, raw: Mapping[str, Any]) -> frozenset[str]:
        before = self.plans.get(f"{raw['metadata']['namespace']}/{raw['metadata']['name']}")
        view = plans.view(raw, before.view if before else None)
        meta = {k: v for k, v in raw["metadata"].items() if k != "managedFields"}
        raw_status = raw.get("status") or {}
        if before is not None and before.owed and before.view.uid == view.uid:
            before.view, before.meta, before.raw_status = view, meta, raw_status
            plan = before
        else:
            plan = Plan(view, read_status(raw_status), meta, raw_status)
        self.plans[view.key] = plan
        self._index(view.key, frozenset(_uses(plan)))
        return self._sharing(plan) | {view.key}

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
        keys = {key for ident in _uses(plan) if ident[0] == ROUTES for key in self._users.get(ident, ())}
        idle = (Phase.PENDING, Phase.EXPANDING, Phase.INVALID)
        return frozenset(key for key in keys if key in self.plans and self.plans[key].status.phase in idle)

    def rivals(self, plan: Plan) -> tuple[Rival, ...]:
        """Other plans that name a route of this one."""
        routes = [ident for ident in _uses(plan) if ident[0] == ROUTES]
        keys = {key for ident in routes for key in self._users.get(ident, ())} - {plan.view.key}
        return tuple(_rival(self.plans[key]) for key in sorted(keys) if key in self.plans)

    def source(self, plan: PlanView) -> SourceObject:
        """The metric source that a plan names: of its namespace, else of the cluster. Its problem says the fix."""
        name = plan.spec.metrics.source if plan.spec else "default"
        own = self.sources.get((SOURCES, plan.namespace, name))
        shared = self.sources.get((CLUSTER_SOURCES, "", name))
        if found := own or shared:
            return found if found is own or _may_use(found, plan.namespace) else _refused(found, plan.namespace)
        words = f"neither MetricSource {plan.namespace}/{name} nor ClusterMetricSource {name} exists"
        return SourceObject(Key("", "", name), None, f"{words}: create one, or correct spec.metrics.source")


def source_view(spec: MetricSourceSpec) -> SourceView:
    return SourceView(scrape=spec.scrape_interval, delay=spec.ingestion_delay, timeout=spec.timeout)


def _version(meta: Mapping[str, Any]) -> int:
    text = str(meta.get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _uses(plan: Plan) -> Iterator[Id]:
    """Every object that a look at this plan depends on."""
    namespace, spec = plan.view.namespace, plan.view.spec
    for route in plan.status.weights.snapshot:
        yield ROUTES, namespace, route.name
    if spec is None:
        return
    for ref in spec.traffic.routes:
        yield ROUTES, namespace, ref.name
    yield DEPLOYMENTS, namespace, spec.old.deployment
    yield DEPLOYMENTS, namespace, spec.new.deployment
    yield SOURCES, namespace, spec.metrics.source
    yield CLUSTER_SOURCES, "", spec.metrics.source


def _rival(plan: Plan) -> Rival:
    view, status = plan.view, plan.status
    running = status.phase in RUNNING
    return Rival(
        key=view.key,
        routes=frozenset(ident[2] for ident in _uses(plan) if ident[0] == ROUTES),
        running=running,
        waiting=status.phase is Phase.PENDING and not stalled(status) and view.spec is not None and not view.deleting,
        created=view.created,
        uid=view.uid,
    )


def _source(kind: str, raw: Mapping[str, Any]) -> SourceObject:
    meta, cluster = raw["metadata"], kind == CLUSTER_SOURCES
    key = Key(kind, meta.get("namespace", ""), meta["name"])
    try:
        return SourceObject(key, read_metric_source(raw.get("spec") or {}, cluster))
    except SpecError as error:
        return SourceObject(key, None, f"{'Cluster' if cluster else ''}MetricSource {meta['name']}: {error}")


def _may_use(found: SourceObject, namespace: str) -> bool:
    allows = getattr(found.spec, "allows", None)
    return allows is None or bool(allows(namespace))


def _refused(found: SourceObject, namespace: str) -> SourceObject:
    words = f"ClusterMetricSource {found.key.name} does not admit namespace {namespace}: add it to spec.namespaces"
    return SourceObject(found.key, None, words)
