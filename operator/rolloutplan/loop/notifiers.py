"""The notifiers of all namespaces, and of the cluster, and which of them get the decisions of a plan.

Objects come from loop/shared.py, which keeps those of namespaces in its budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rolloutplan.cluster import paths
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.loop.versions import Id
from rolloutplan.metrics.access import NO_HOSTS, SourceHosts
from rolloutplan.publish.notifiers import CLUSTER, OWN, NotifierObject, read_notifier_object

KINDS: Final = {each.resource: each for each in (paths.NOTIFIERS, paths.CLUSTER_NOTIFIERS)}
MOST: Final = 16
"""Notifiers of a namespace, the oldest first: each is a request for each decision, and a cursor in each status."""
MOST_CLUSTER: Final = 32
"""The same of ClusterNotifiers."""


@dataclass(slots=True)
class Notifiers:
    """The notifiers, as they were read. One too many is kept without its spec, and says so."""

    hosts: SourceHosts = NO_HOSTS
    """Where namespaced notifiers may point."""
    _objects: dict[str, dict[str, NotifierObject]] = field(default_factory=dict)
    """By namespace (empty: of the cluster) and name."""
    _in_force: dict[str, dict[str, NotifierObject]] = field(default_factory=dict)
    """The same, the oldest first, without the specs of those that are too many."""

    def put(self, ident: Id, raw: Mapping[str, Any]) -> None:
        """Take a notifier as it is now."""
        kind, namespace, name = ident
        found = read_notifier_object(KINDS[kind], raw, hosts=self.hosts)
        self._objects.setdefault(namespace, {})[name] = found
        self._choose(namespace)

    def remove(self, ident: Id) -> None:
        """Forget a notifier that is gone."""
        _, namespace, name = ident
        if self._objects.get(namespace, {}).pop(name, None) is not None:
            self._choose(namespace)

    def _choose(self, namespace: str) -> None:
        most = MOST if namespace else MOST_CLUSTER
        chosen: dict[str, NotifierObject] = {}
        usable = 0
        for each in sorted(self._objects[namespace].values(), key=lambda each: (each.created, each.name)):
            usable += each.spec is not None
            chosen[each.name] = _one_too_many(each, most) if each.spec is not None and usable > most else each
        self._in_force[namespace] = chosen
        if not chosen:
            del self._in_force[namespace], self._objects[namespace]

    def sinks(self, plan: PlanView) -> tuple[SinkView, ...]:
        """Return the sinks of the notifiers that get the decisions of a plan."""
        near = (self._in_force.get(namespace, {}) for namespace in (plan.namespace, ""))
        views = (each.view() for group in near for each in group.values() if each.selects(plan))
        return tuple(view for view in views if view is not None)

    def of_sink(self, namespace: str, sink: str) -> NotifierObject | None:
        """Return the notifier of a sink of a plan of this namespace; None where it is gone."""
        home, name = (
            ("", sink.removeprefix(CLUSTER)) if sink.startswith(CLUSTER) else (namespace, sink.removeprefix(OWN))
        )
        return self._in_force.get(home, {}).get(name)

    def __iter__(self) -> Iterator[NotifierObject]:
        return iter([each for group in self._in_force.values() for each in group.values()])


def _one_too_many(notifier: NotifierObject, most: int) -> NotifierObject:
    where = "of this namespace" if notifier.namespace else "of the cluster"
    words = f"{most} older notifiers {where} are in use, and there may be no more: delete one of them"
    return replace(notifier, spec=None, reason="TooMany", problem=words)
