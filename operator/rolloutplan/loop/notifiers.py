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
    """The notifiers, as they were read."""

    hosts: SourceHosts = NO_HOSTS
    """Where namespaced notifiers may point."""
    _objects: dict[str, dict[str, NotifierObject]] = field(default_factory=dict)
    """All of them, by namespace (empty: of the cluster) and name."""
    _in_use: dict[str, dict[str, NotifierObject]] = field(default_factory=dict)
    """The oldest of those that can be used, in the same way."""

    def put(self, ident: Id, raw: Mapping[str, Any]) -> None:
        """Take a notifier as it is now."""
        kind, namespace, name = ident
        self._replace(namespace, name, read_notifier_object(KINDS[kind], raw, hosts=self.hosts))

    def remove(self, ident: Id) -> None:
        """Forget a notifier that is gone."""
        _, namespace, name = ident
        self._replace(namespace, name, None)

    def _replace(self, namespace: str, name: str, now: NotifierObject | None) -> None:
        """Replace a notifier. There may be thousands that cannot be used: they cost nothing but their own place."""
        home = self._objects.setdefault(namespace, {})
        before = home.pop(name, None)
        if now is not None:
            home[name] = now
        if any(each is not None and each.spec is not None for each in (before, now)):
            usable = sorted((each for each in home.values() if each.spec), key=lambda each: (each.created, each.name))
            self._in_use[namespace] = {each.name: each for each in usable[: _most(namespace)]}
        if not home:
            del self._objects[namespace]
            self._in_use.pop(namespace, None)

    def sinks(self, plan: PlanView) -> tuple[SinkView, ...]:
        """Return the sinks of the notifiers that get the decisions of a plan."""
        near = (self._in_use.get(namespace, {}) for namespace in (plan.namespace, ""))
        views = (each.view() for group in near for each in group.values() if each.selects(plan))
        return tuple(view for view in views if view is not None)

    def of_sink(self, namespace: str, sink: str) -> NotifierObject | None:
        """Return the notifier of a sink of a plan of this namespace; None where it is gone, or not in use."""
        if sink.startswith(CLUSTER):
            return self._in_use.get("", {}).get(sink.removeprefix(CLUSTER))
        return self._in_use.get(namespace, {}).get(sink.removeprefix(OWN))

    def __iter__(self) -> Iterator[NotifierObject]:
        """All of them; one too many has no spec, and says why."""
        for namespace, home in [*self._objects.items()]:
            used = self._in_use.get(namespace, {})
            for each in [*home.values()]:
                yield each if each.spec is None or each.name in used else _one_too_many(each)


def _most(namespace: str) -> int:
    return MOST if namespace else MOST_CLUSTER


def _one_too_many(notifier: NotifierObject) -> NotifierObject:
    where = "of this namespace" if notifier.namespace else "of the cluster"
    words = f"{_most(notifier.namespace)} older notifiers {where} are in use, and there may be no more: delete one"
    return replace(notifier, spec=None, reason="TooMany", problem=words)
