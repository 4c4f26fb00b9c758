"""Whether those who apply the routes, from Git or from a file, have the weights of the end.

Somebody who applied other weights gives the old side its traffic back with the next apply of the same. Before the old
side is removed, that must be known. Who it is comes with the views of the routes, from their metadata.
"""

from __future__ import annotations

from collections.abc import Iterator

from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.fence import rule_label
from rolloutplan.engine.model.routes import weight_text
from rolloutplan.engine.model.snapshot import Applier, Snapshot
from rolloutplan.engine.model.weights import gives
from rolloutplan.engine.policy.blocked import Blocked

_MOST_NAMED = 3
"""The most rules in a message: a route may have hundreds."""


def block_by_appliers(snapshot: Snapshot, spec: PlanSpec) -> Blocked | None:
    """The first one who will apply weights again that take the traffic back to the old side."""
    for route, applier in _uncommitted(snapshot):
        if not _applies_again(snapshot, applier):
            continue
        plan, old = snapshot.plan, snapshot.status.weights.old
        approve = f"rolloutplan approve -n {plan.namespace} {plan.name}"
        words = (
            f"{_words(route, applier)}; when it applies that again, {old} gets traffic back, so the old side is not "
            f"removed: commit the weights first ({end_weights(snapshot)}); or, where what it applies leaves the "
            f"weights out, `{approve}`"
        )
        if not spec.contract.approval:
            words = f"{words} (before its turn: `approve <token> contract`)"
        return Blocked(HoldReason.WEIGHTS_NOT_COMMITTED, words)
    return None


def warn_of_appliers(snapshot: Snapshot) -> str:
    """Who applied other weights once, and may do so again; empty where nobody did that, or the removal waits for it."""
    found = [each for each in _uncommitted(snapshot) if not _applies_again(snapshot, each[1])]
    if not found:
        return ""
    return f"{_words(*found[0])}: commit the weights ({end_weights(snapshot)}) before it is applied again"


def end_weights(snapshot: Snapshot) -> str:
    """The weights of the end in numbers: `HTTPRoute shop rule 0: v1 0, v2 100`."""
    weights = snapshot.status.weights
    found = [
        f"{route.id} rule {rule_label(rule)}: "
        f"{', '.join(f'{b.service} {weight_text(b.weight, _units(snapshot, route.id))}' for b in rule.backends)}"
        for route in weights.written
        for rule in route.rules
    ]
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more


def _uncommitted(snapshot: Snapshot) -> Iterator[tuple[RouteId, Applier]]:
    weights = snapshot.status.weights
    for view in (snapshot.routes[route.id] for route in weights.written if route.id in snapshot.routes):
        for applier in view.appliers:
            if applier.rules is None or any(gives(rule, weights.old, view.weights) for rule in applier.rules):
                yield view.id, applier


def _units(snapshot: Snapshot, route: RouteId) -> int:
    view = snapshot.routes.get(route)
    return view.weights.units if view is not None else 1


def _applies_again(snapshot: Snapshot, applier: Applier) -> bool:
    """Whether it keeps the route as it is in Git, or has applied it since the run's first weight."""
    since = snapshot.status.counted_since
    return applier.syncs or (since is not None and applier.at is not None and applier.at > since)


def _words(route: RouteId, applier: Applier) -> str:
    return f"{route} was last applied by {applier.name} with other weights"
