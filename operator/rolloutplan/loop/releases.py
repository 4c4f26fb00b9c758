"""The releases that have ended, by the labels of their records: how many failed lately is what a focus may shift by.

The lists come from loop/record_pruning.py, which reads them anyway. Nothing but labels and names is kept of a record.
"""

from __future__ import annotations

from collections import defaultdict
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
    """The releases of each namespace, the oldest first.

    The labels of a plan are those in `plans`, by namespace and name, and of one that is gone its last ones.
    """

    def __init__(self, plans: Mapping[str, Plan], namespaces: Sequence[str] = ()) -> None:
        self._plans = plans
        self._wanted = frozenset(namespaces) or frozenset({""})
        self._listed: set[str] = set()
        self.of: dict[str, tuple[Release, ...]] = {}
        """By namespace."""

    @property
    def complete(self) -> bool:
        """Whether all records have been listed once."""
        return self._listed >= self._wanted

    def listed(self, namespace: str, plan: str, entries: Iterable[Entry]) -> None:
        """Take the records of a namespace (empty: all), of the plan with this label (empty: all), for all there are."""
        found = defaultdict[str, list[Entry]](list)
        for entry in entries:
            found[entry.namespace].append(entry)
        labels = {
            (known.view.namespace, plan_label(known.view.name)): known.labels.plan for known in self._plans.values()
        }
        for home in {namespace} if namespace else {*self.of, *found}:
            before = self.of.get(home, ())
            last = {each.plan: each.labels for each in before}
            stay = (each for each in before if plan and each.plan != plan)
            new = (
                Release(
                    home, each.plan, *each.age_order, failed, labels.get((home, each.plan), last.get(each.plan, {}))
                )
                for each in found[home]
                if (failed := _FAILED.get(each.outcome)) is not None
            )
            self.of[home] = tuple(sorted((*stay, *new), key=lambda each: (each.began, each.run))[-KEPT:])
        if not plan:
            self._listed.add(namespace)
