"""What a leader does in addition to runs.

It writes the statuses of RouteKinds, policies and notifiers, prunes old records, and keeps the routes that it owns.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from rolloutplan.cluster.client import Api
from rolloutplan.loop.kind_status import KindStatus
from rolloutplan.loop.limiter import Clients, Priority
from rolloutplan.loop.notifier_status import NotifierStatuses
from rolloutplan.loop.options import Options
from rolloutplan.loop.owned_routes import OwnedRoutes
from rolloutplan.loop.policy_status import PolicyStatuses
from rolloutplan.loop.reconcile import Reconciler
from rolloutplan.loop.record_pruning import RecordPruning
from rolloutplan.loop.releases import Releases
from rolloutplan.telemetry.metrics import Metrics


def housekeeping(
    api: Api,
    client: Clients,
    reconciler: Reconciler,
    leading: Callable[[], bool],
    options: Options,
    metrics: Metrics,
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return what is to be run until cancelled."""
    store, feed, sinks, namespaces = reconciler.store, reconciler.feed, reconciler.sinks, options.namespaces
    kinds = KindStatus(api, store.kinds, leading=leading, namespaces=namespaces)
    store.kinds_changed = kinds.changed
    releases = Releases(store.plans, namespaces)
    pruning = RecordPruning(
        api, store.plans, options.records, leading=leading, namespaces=namespaces, listed=releases.listed
    )
    sinks.records.ended = reconciler.plan_gone = pruning.ended
    policies = PolicyStatuses(
        client(Priority.LOOKS),
        store.policies,
        releases,
        leading=leading,
        apply=feed.apply,
        instance=options.identity,
        report=metrics.set_places,
    )

    notifiers = NotifierStatuses(
        client(Priority.LOOKS),
        store.shared.notifiers,
        sinks.notifications,
        leading=leading,
        apply=feed.apply,
    )
    owned = OwnedRoutes(
        api,
        store,
        lent=options.grants.owned_routes,
        leading=leading,
        wake=reconciler.schedule.soon,
        apply=feed.apply,
        namespaces=namespaces,
    )
    feed.seen = owned.seen
    feed.notifiers_changed = sinks.notifications.changed = notifiers.changed

    def led() -> None:
        kinds.changed()
        pruning.led()
        notifiers.changed()
        owned.led()

    reconciler.led = led
    return kinds.run(), pruning.run(), policies.run(), notifiers.run(), owned.run()
