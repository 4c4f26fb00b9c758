"""The releases that have ended, by the labels of their records: how many failed lately is what a focus may shift by.

The lists come from loop/record_pruning.py, which reads them anyway. Nothing but labels and names is kept of a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rolloutplan.api.record import RunOutcome, plan_label
from rolloutplan.engine.policy.focus import Release
from rolloutplan.loop.record_pruning import Entry
from rolloutplan.loop.stored_plan import Plan

KEPT: Final = 1_000
"""Releases of a namespace, the newest: ten times as many as a rate is taken of."""
_FAILED: Final[Mapping[str, bool]] = {RunOutcome.SUCCEEDED: False, RunOutcome.ROLLED_BACK: True}
"""The outcomes that count. A run that was superseded, or whose plan is gone, says nothing about the change."""


class Releases:
    """The releases of each namespace. The labels of a plan are those in `plans`, and of one that is gone its last."""

    def __init__(self, plans: Mapping[str, Plan], namespaces: Sequence[str] = ()) -> None:
        self._plans = plans
        self._wanted = frozenset(namespaces) or frozenset({""})
        self._listed: set[str] = set()
        self._known: dict[str, tuple[Release, ...]] = {}

    @property
    def complete(self) -> bool:
        """Whether all records have been listed once."""
        return self._listed >= self._wanted

    def all(self) -> Iterable[Release]:
        return (each for known in self._known.values() for each in known)

    def listed(self, namespace: str, plan: str, entries: Sequence[Entry]) -> None:
        """Take the records of a namespace (empty: all), of one plan or of all, for all there are."""
        labels = {(each.namespace, each.plan): each.labels for each in self.all()}
        views = ((known.view, known.labels.plan) for known in self._plans.values())
        labels |= {(view.namespace, plan_label(view.name)): own for view, own in views}
        found: dict[str, list[Release]] = {
            home: [each for each in known if plan and each.plan != plan]
            for home, known in self._known.items()
            if namespace in ("", home)
        }
        for entry in entries:
            if (failed := _FAILED.get(entry.outcome)) is not None:
                own = labels.get((entry.namespace, entry.plan), {})
                release = Release(entry.namespace, entry.plan, *entry.age_order, failed, own)
                found.setdefault(entry.namespace, []).append(release)
        for home, releases in found.items():
            self._known[home] = tuple(sorted(releases, key=lambda each: (each.began, each.run))[-KEPT:])
        if not plan:
            self._listed.add(namespace)
