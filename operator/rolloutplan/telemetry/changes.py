"""How releases of each team go, as metrics of this process: they are counted when a record of a run is written.

An owner is what somebody wrote into a plan, so there are at most so many series of them. Counters begin at 0 with the
process, as all counters do; the exact figures are in the records (`rolloutplan list --dora`).
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from rolloutplan.api.record import DoraFigures, RolloutRecord

OTHER: Final = "other"
MOST_OWNERS: Final = 10
"""Owners of a namespace with series of their own: more teams hardly share one. Further ones share those of `other`."""
MOST: Final = 100
"""Pairs of namespace and owner with series of their own: they take some 300 KB of a page. Further ones share one."""
_RESTORED: Final = (1, 2, 5, 10, 30, 60, 300, 1800, 3600)
"""Seconds: of a rollback by itself, and of one that waited for a person."""
_LED: Final = (600, 1800, 3600, 4 * 3600, 12 * 3600, 86_400, 3 * 86_400, 7 * 86_400, 30 * 86_400)
_LABELS: Final = ("namespace", "owner")
_NONE: Final = DoraFigures()


class ChangeMetrics:
    """Counts changes by namespace and owner, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._owners: dict[str, set[str]] = {}
        self._changes = Counter(
            "rolloutplan_changes", "Runs that gave the new side traffic and have ended.", _LABELS, registry=registry
        )
        self._failures = Counter("rolloutplan_change_failures", "Those that failed.", _LABELS, registry=registry)
        self._restored = Histogram(
            "rolloutplan_restore_seconds",
            "From the sample that showed the fault of a change to the old weights.",
            _LABELS,
            registry=registry,
            buckets=_RESTORED,
        )
        self._led = Histogram(
            "rolloutplan_lead_seconds",
            "From the commit of a change to the end of its success.",
            _LABELS,
            registry=registry,
            buckets=_LED,
        )
        self._exposed = Counter(
            "rolloutplan_exposed_requests",
            "Requests of the new side that a guard had counted when it tripped.",
            _LABELS,
            registry=registry,
        )

    def count(self, namespace: str, before: RolloutRecord | None, after: RolloutRecord) -> None:
        """Count what is new in the record of a run, which was written just now."""
        new, known = after.status.change, before.status.change if before else None
        if new is None:
            return
        labels, old = self._labels(namespace, after.spec.owner), known or _NONE
        self._changes.labels(*labels).inc(known is None)
        self._failures.labels(*labels).inc(new.failed and not old.failed)
        if new.lead_seconds is not None and old.lead_seconds is None:
            self._led.labels(*labels).observe(new.lead_seconds)
        if new.failed and not old.failed:
            self._exposed.labels(*labels).inc(new.exposed_requests or 0)
        if new.restore_seconds is not None and old.restore_seconds is None:
            self._restored.labels(*labels).observe(new.restore_seconds)

    def _labels(self, namespace: str, owner: str) -> tuple[str, str]:
        """The labels of a change; one owner too many has none of its own, and neither has one namespace too many."""
        known = self._owners.get(namespace, set())
        if owner in known:
            return namespace, owner
        owner = owner if len(known) < MOST_OWNERS else OTHER
        if owner not in known and sum(map(len, self._owners.values())) >= MOST:
            return OTHER, OTHER
        self._owners.setdefault(namespace, set()).add(owner)
        return namespace, owner
