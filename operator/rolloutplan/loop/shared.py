"""Templates, metric sources and notifiers, as the plans that name them, or that they select, see them.

Objects come from loop/store.py. What a namespace may create in addition to its plans is kept in a budget of its own:
what has no place there has no spec, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.limits import UNREAD, TooLargeError, size_of, spec_of
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import CLUSTER_TEMPLATE, Template
from rolloutplan.api.spec import SpecError
from rolloutplan.api.status import Status
from rolloutplan.api.template import read_template
from rolloutplan.cluster import paths
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.loop.budget import SHARED_OVER, Budget, Entry, shared_budget
from rolloutplan.loop.notifiers import KINDS as NOTIFIERS
from rolloutplan.loop.notifiers import Notifiers
from rolloutplan.loop.versions import Id
from rolloutplan.metrics.access import NO_HOSTS, SourceHosts
from rolloutplan.metrics.objects import SourceObject, admitted, choose_source, kept_kind, read_source, source_name
from rolloutplan.metrics.pool import Key

SOURCES: Final = paths.SOURCES.resource
CLUSTER_SOURCES: Final = paths.CLUSTER_SOURCES.resource
TEMPLATES: Final = paths.TEMPLATES.resource
ALL_TEMPLATES: Final = frozenset({TEMPLATES, paths.CLUSTER_TEMPLATES.resource})
_OF_NAMESPACES: Final = frozenset({TEMPLATES, SOURCES, paths.NOTIFIERS.resource})


class Change(NamedTuple):
    """What follows from a change of one object."""

    read: frozenset[Id]
    """What is read in another way now, or is gone."""
    wanted: frozenset[Id]
    """What has won a place, and is to be read again."""


@dataclass(slots=True)
class SharedObjects:
    """The templates, the metric sources and the notifiers of all namespaces, and of the cluster."""

    hosts: SourceHosts = NO_HOSTS
    """Where namespaced metric sources may point."""
    sources: dict[Id, SourceObject] = field(default_factory=dict)
    templates: dict[Id, Template] = field(default_factory=dict)
    notifiers: Notifiers = field(default_factory=Notifiers)
    budget: Budget = field(default_factory=shared_budget)
    """Those of namespaces; their keys are kind, namespace and name."""

    def put(self, ident: Id, raw: Mapping[str, Any]) -> Change:
        """Take an object as it is now."""
        key, moved = "/".join(ident), frozenset[str]()
        if ident[0] in _OF_NAMESPACES:
            meta, size = raw["metadata"], 0 if UNREAD in raw else size_of(raw.get("spec"))
            created = safe_get.instant(meta, "creationTimestamp") or datetime.fromtimestamp(0, UTC)
            moved = self.budget.put(key, ident[1], Entry(ident[1], False, created, safe_get.text(meta, "uid"), size))
        self._read(ident, {**raw, UNREAD: SHARED_OVER} if self._has_no_place(ident) else raw)
        return self._move(moved, ident)

    def remove(self, ident: Id) -> Change:
        """Forget an object that is gone."""
        self.templates.pop(ident, None)
        self.sources.pop(ident, None)
        if ident[0] in NOTIFIERS:
            self.notifiers.remove(ident)
        moved = frozenset[str]()
        if ident[0] in _OF_NAMESPACES:
            moved = self.budget.put("/".join(ident), ident[1], None)
        return self._move(moved, ident)

    def _move(self, keys: frozenset[str], changed: Id) -> Change:
        """Keep no spec of those that lost their place; those that won one are to be read again."""
        read, wanted = {changed}, set[Id]()
        for key in keys:
            kind, namespace, name = ident = _ident(key)
            if self._has_no_place(ident):
                self._read(ident, {"metadata": {"namespace": namespace, "name": name}, UNREAD: SHARED_OVER})
                read.add(ident)
            else:
                wanted.add((kind, namespace, name))
        return Change(frozenset(read), frozenset(wanted))

    def _has_no_place(self, ident: Id) -> bool:
        key = "/".join(ident)
        return self.budget.is_over(key, ident[1]) or self.budget.is_beyond(key, ident[1])

    def _read(self, ident: Id, raw: Mapping[str, Any]) -> None:
        if ident[0] in ALL_TEMPLATES:
            self.templates[ident] = _template(ident[0], raw)
        elif ident[0] in NOTIFIERS:
            self.notifiers.put(ident, raw)
        else:
            self.sources[ident] = read_source(ident[0], raw, hosts=self.hosts)

    def template(self, plan: PlanView, name: str) -> Template:
        """Return the template that a plan names: its namespace's, else the cluster's. Its problem contains the fix."""
        own = self.templates.get((TEMPLATES, plan.namespace, name))
        words = f"neither PredicateTemplate {plan.namespace}/{name} nor ClusterPredicateTemplate {name} exists"
        missing = Template("", name, None, f"{words}: create one, or correct the name", StatusReason.TEMPLATE_NOT_FOUND)
        return own or self.templates.get((paths.CLUSTER_TEMPLATES.resource, "", name), missing)

    def source(self, plan: PlanView, status: Status) -> SourceObject:
        """Return the metric source of a plan, in a run the one with which it began. Its problem contains the fix."""
        shared = self.sources.get((CLUSTER_SOURCES, "", source_name(plan)))
        return choose_source(plan, self.own_source(plan), shared, kept_kind(plan, status))

    def own_source(self, plan: PlanView) -> SourceObject | None:
        """Return the MetricSource of the plan's namespace that has the name; None where there is none."""
        return self.sources.get((SOURCES, plan.namespace, source_name(plan)))

    def cluster_source(self, name: str, namespace: str) -> SourceObject:
        """Return a ClusterMetricSource as plans of a namespace may use it. Its problem contains the fix."""
        found = self.sources.get((CLUSTER_SOURCES, "", name))
        if found is None:
            words = f"ClusterMetricSource {name} does not exist: create it, or name another one"
            return SourceObject(Key(CLUSTER_SOURCES, "", name), None, words)
        return admitted(found, namespace)


def _ident(key: str) -> Id:
    kind, namespace, name = key.split("/")
    return kind, namespace, name


def _template(kind: str, raw: Mapping[str, Any]) -> Template:
    named = "PredicateTemplate" if kind == TEMPLATES else CLUSTER_TEMPLATE
    name = raw["metadata"]["name"]
    try:
        return Template(named, name, read_template(spec_of(raw)))
    except TooLargeError as error:
        return Template(named, name, None, f"{named} {name}: {error}", StatusReason.TOO_LARGE)
    except SpecError as error:
        return Template(named, name, None, f"{named} {name}: {error}")
