"""The objects among the files of a plan, and what is said where one of them is missing.

`cli/manifests.py` reads the files with the readers of the operator and makes an `Objects`; the comparisons are in
sides.py, routes.py and plans.py. Nothing here refuses a plan: what is not in the files may be in
the cluster, and what is in the files may differ from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property
from typing import Final, Generic, NamedTuple, TypeVar

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.resolve import Resolved
from rolloutplan.api.route import RouteId
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Status
from rolloutplan.engine.model.plan_view import PlanView, Readable
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.model.sides import as_plan_sees
from rolloutplan.engine.model.snapshot import RouteView, ServiceView, Snapshot, WorkloadView
from rolloutplan.tools.promql.queries import Finding

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""An instant for the rules that want one: nothing that is compared here depends on the time."""
NEAR: Final = 0.75
"""How alike two names must be (difflib's ratio) to be taken for one and the same, misspelt: a letter or two."""
_DIGITS: Final = re.compile("[0-9]+")


class Ref(NamedTuple):
    """An object among the files; `namespace` is empty where none is written."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Note(NamedTuple):
    """A finding, and the object in whose file it is: None for the plan that is compared."""

    about: Ref | None
    finding: Finding


Object = TypeVar("Object")


class Shelf(Generic[Object]):
    """The objects of one kind, by namespace and name.

    kubectl puts an object without a namespace into that of the context. Which that is nobody knows here, so such an
    object is taken for one of any namespace.
    """

    def __init__(self, kind: str, objects: Mapping[tuple[str, str], Object] | None = None) -> None:
        self.kind = kind
        self._within: dict[str, dict[str, Object]] = {}
        for (namespace, name), each in (objects or {}).items():
            self._within.setdefault(namespace, {})[name] = each

    def within(self, namespace: str) -> Mapping[str, Object]:
        """The objects of a namespace, by name."""
        if not namespace:
            return {name: each for objects in self._within.values() for name, each in objects.items()}
        return {**self._within.get("", {}), **self._within.get(namespace, {})}

    def get(self, namespace: str, name: str) -> Object | None:
        """The object of this name in a namespace."""
        return self._within.get(self.ref(namespace, name).namespace, {}).get(name)

    def ref(self, namespace: str, name: str) -> Ref:
        """Where the object of this name is."""
        places = (namespace, "") if namespace else ("", *self._within)
        found = (each for each in places if name in self._within.get(each, {}))
        return Ref(self.kind, next(found, namespace), name)

    def missing(self, namespace: str, name: str, *, taken: Iterable[str] = ()) -> str:
        """That there is none of this name, with the nearest one; empty where there is one, or none of the kind.

        The names in `taken` are those of others, so they are no misspelling of this one.
        """
        names = self.within(namespace)
        if not names or name in names:
            return ""
        near = nearest(name, set(names) - set(taken))
        return f"{Ref(self.kind, namespace, name)} is not among these files{f' (did you mean {near}?)' if near else ''}"


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that is meant by one that does not exist; empty where none is near.

    One with other digits is another version: checkout-v3 is not checkout-v2, misspelt.
    """
    near = get_close_matches(name, names, n=3, cutoff=NEAR)
    return next((each for each in near if _DIGITS.findall(each) == _DIGITS.findall(name)), "")


def versions(one: str, other: str) -> bool:
    """Whether two names differ in their digits alone, as those of two versions do."""
    return one != other and _DIGITS.sub("0", one) == _DIGITS.sub("0", other)


# ---- what is among the files ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeploymentFile:
    """A Deployment. `view` is None for a part of one, as Kustomize patches are: it says nothing of the rest."""

    view: WorkloadView | None
    selector: frozenset[tuple[str, str]] = frozenset()
    """The labels by which it selects its pods."""
    ports: frozenset[str] = frozenset()
    """The names of its containers' ports."""
    has_replicas: bool = False
    """Whether a number of replicas is written."""


class ServicePort(NamedTuple):
    """A port of a Service; `target` is a number or a name, and 0 where none is written."""

    port: int
    target: int | str


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A Service. `view` is None for a part of one."""

    view: ServiceView | None
    ports: tuple[ServicePort, ...] = ()


class BackendFile(NamedTuple):
    """A backend as it is written: its port (0 for none), whether it has a weight, and where it is in the file."""

    service: str
    port: int
    has_weight: bool
    path: str
    name_path: str
    weight_path: str


class RuleFile(NamedTuple):
    """A rule as it is written, with where it is in the file."""

    path: str
    backends: tuple[BackendFile, ...]


@dataclass(frozen=True, slots=True)
class RouteFile:
    """A route of any kind, with its rules. `view` is None for a part of one."""

    view: RouteView | None
    rules: tuple[RuleFile, ...] = ()
    needs_ports: bool = False
    """Whether a backend without a port is refused."""
    companions: frozenset[Ref] = frozenset()
    """The objects that have the old side's share, where the new side's is on an object of its own."""
    not_ownable: str = ""
    """Why the operator cannot make a route of its own from it (`traffic.ownership: Owned`); empty where it can."""


@dataclass(frozen=True, slots=True)
class Sender:
    """An Ingress, and the Services to which it gives traffic."""

    ref: Ref
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """A HorizontalPodAutoscaler or a ScaledObject, and the Deployment that it scales."""

    ref: Ref
    deployment: str
    least: int
    most: int

    @property
    def field(self) -> str:
        """The field with the fewest pods."""
        return "spec.minReplicaCount" if self.ref.kind == "ScaledObject" else "spec.minReplicas"


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan, with its templates filled in as far as they are among the files."""

    ref: Ref
    resolved: Resolved
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> PlanSpec:
        return self.resolved.spec

    @property
    def namespace(self) -> str:
        return self.ref.namespace


@dataclass(frozen=True)
class Objects:
    """All objects among the files that are compared with plans."""

    plans: tuple[PlanFile, ...] = ()
    deployments: Shelf[DeploymentFile] = field(default_factory=lambda: Shelf("Deployment"))
    others: Shelf[str] = field(default_factory=lambda: Shelf("workload"))
    """Workloads of other kinds, which cannot be a side: the kind of each."""
    services: Shelf[ServiceFile] = field(default_factory=lambda: Shelf("Service"))
    routes: Mapping[str, Shelf[RouteFile]] = field(default_factory=dict)
    """The routes of each kind that a plan can name: one object may be of several."""
    mesh_services: frozenset[str] = frozenset()
    """The Services to which a mesh applies routes (their parents): which pods these select does not matter."""
    senders: tuple[Sender, ...] = ()
    autoscalers: tuple[Autoscaler, ...] = ()
    accounts: Shelf[str] = field(default_factory=lambda: Shelf("ServiceAccount"))
    """Why no Job may run under each; empty where one may."""
    sources: Shelf[MetricSourceSpec] = field(default_factory=lambda: Shelf("MetricSource"))
    cluster_sources: Shelf[MetricSourceSpec] = field(default_factory=lambda: Shelf("ClusterMetricSource"))
    policies: tuple[PolicyView, ...] = ()

    @cached_property
    def plans_by(self) -> Mapping[tuple[str, RouteId | str], Sequence[PlanFile]]:
        """The plans by their namespace and each of their routes, or their new Deployment, in the order of the files."""
        found: dict[tuple[str, RouteId | str], list[PlanFile]] = {}
        for plan in self.plans:
            for key in {ref.id for ref in plan.spec.traffic.routes} | {plan.spec.new.deployment}:
                found.setdefault((plan.namespace, key), []).append(plan)
        return found

    def routes_of(self, kind: str) -> Shelf[RouteFile]:
        """The routes of a kind."""
        return self.routes.get(kind) or Shelf(kind)

    def bringing(self, namespace: str, deployment: str) -> Sequence[PlanFile]:
        """The plans that bring a Deployment: where it is the old side of another, its weights are what these leave."""
        return self.plans_by.get((namespace, deployment), ())

    def snapshot(self, plan: PlanFile) -> Snapshot:
        """What the operator would see of a plan, if these files were all that there is in the cluster."""
        spec, home = plan.spec, plan.namespace
        sides = (self.deployments.get(home, each.deployment) for each in (spec.old, spec.new))
        old, new = (found.view if found is not None else None for found in sides)
        routes = ((ref, self.routes_of(ref.kind).get(home, ref.name)) for ref in spec.traffic.routes)
        templates = tuple(template.to_status() for template in plan.resolved.used if template.spec is not None)
        return Snapshot(
            plan=PlanView(
                namespace=home,
                name=plan.ref.name,
                uid="",
                generation=0,
                created=EPOCH,
                content=Readable(spec, templates),
                labels=plan.labels,
            ),
            status=Status(),
            now=EPOCH,
            routes={
                ref.id: as_plan_sees(replace(found.view, id=ref.id), spec.called(ref), spec.names, "", ref.flag or "")
                for ref, found in routes
                if found is not None and found.view is not None
            },
            old=old,
            new=new,
        )


def warning(about: Ref | None, path: str, rule: str, words: str) -> Note:
    return Note(about, Finding(path, rule, "warning", words))


def hint(about: Ref | None, path: str, rule: str, words: str) -> Note:
    return Note(about, Finding(path, rule, "hint", words))
