"""What a finished run promised, against what the routes and the new Deployment are now.

The rules for a finished run and the conditions of its status read it; the facts come from the snapshot.
"""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.status import Phase, RouteWeights, RuleWeights, Status, Weights
from rolloutplan.engine.model.fence import read_fences, rule_label
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.revision import is_same_version
from rolloutplan.engine.model.routes import live_weights, meets_on, route_mismatch
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.weights import is_valid_snapshot, pair, share
from rolloutplan.engine.run.transition import token_seq

MOST_REPAIRS = 3
REPAIRS_WITHIN = timedelta(minutes=1)
"""A route is restored at most so often within this time: the other writer may answer each write at once."""
_OURS = "rolloutplan "
"""How the text of the last writer begins where it is the operator."""


def is_serving(snapshot: Snapshot, status: Status) -> bool:
    """Whether the new side already has more than the weight of the first stage: then a new run has no use."""
    spec = snapshot.plan.written
    return spec is not None and _live_share(snapshot, status) > spec.steps()[0].permille


def starts_again(snapshot: Snapshot) -> str:
    """Why a run that has ended is followed by another one; empty where it is not."""
    status, spec = snapshot.status, snapshot.plan.written
    if spec is not None and spec.plan_hash() != status.plan_hash:
        return "the plan was changed"
    if spec is None or snapshot.new is None or is_same_version(snapshot.new.revision, status.revision):
        return ""
    return "" if is_serving(snapshot, status) else f"the pod template of {snapshot.new.name} was changed"


def unjudged_change(snapshot: Snapshot, status: Status) -> str:
    """What a person must know where the side that serves has another pod template than the last run; else empty."""
    new = snapshot.new
    ended = status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
    if not ended or new is None or is_same_version(new.revision, status.revision) or not is_serving(snapshot, status):
        return ""
    share, revision = format_weight(_live_share(snapshot, status)), new.revision.partition(".")[0]
    return (
        f"{status.weights.new} serves {share} of the traffic, and the pod template of {new.name} was changed "
        f"(revision {revision}); no plan judges that: check it now, and release the next change on a Deployment of its "
        "own, with a plan"
    )


def weights_set_back(snapshot: Snapshot) -> tuple[str, tuple[RouteWeights, ...]]:
    """The first rule in which the new side has less than the run promised, as text, and all routes with such a rule.

    Where another plan has moved the weights since, or is moving them, it is that plan's matter. A route or a rule that
    is gone promises nothing any more. In place of a route that the operator owned, the one in Git has to keep the
    promise; it is left as it is.
    """
    weights, words, set_back = snapshot.status.weights, "", []
    if not is_valid_snapshot(weights.written, weights.old, weights.new):
        return "", ()
    ids = [route.id for route in weights.written]
    running = (conflict for conflict in snapshot.route_conflicts if conflict.running)
    taken = {route for conflict in running for route in meets_on(snapshot, conflict, ids)}
    for route in weights.written:
        view = snapshot.routes.get(route.id)
        if view is None and route.id not in taken and (in_git := _in_git(snapshot, route)) is not None:
            if _less(in_git, route, weights):
                words = words or f"{in_git.id} gives {weights.old} traffic again, and {route.id} is no longer there"
            continue
        if view is None or view.deleting or route.id in taken or not _is_ours(snapshot, view, route):
            continue
        less = _less(view, route, weights)
        if less is not None:
            words = words or route_mismatch(snapshot, (route.with_rules((less,)),), weights)
            set_back.append(route)
    return words, tuple(set_back)


def _less(view: RouteView, route: RouteWeights, weights: Weights) -> RuleWeights | None:
    """The first rule in which the new side has less than was written."""
    found = ((locate(view, rule, (weights.old, weights.new)), rule) for rule in route.rules)
    return next((rule for now, rule in found if now and _has_less(now, rule, weights.old, weights.new)), None)


def _in_git(snapshot: Snapshot, route: RouteWeights) -> RouteView | None:
    """The route in Git in whose place the operator owned one, where it gives the old side traffic."""
    spec = snapshot.plan.written
    refs = spec.traffic.routes if spec is not None else ()
    written = next((ref.written for ref in refs if ref.id == route.id != ref.written), None)
    return next((view for view in snapshot.routes_to_old if view.id == written), None)


def is_handed_back(snapshot: Snapshot, status: Status) -> bool:
    """Whether a run has succeeded, and the routes in Git have the traffic in place of those that the operator owned."""
    spec, routes = snapshot.plan.written, [route.id for route in status.weights.written]
    if status.phase is not Phase.SUCCEEDED or spec is None or spec.traffic.ownership != "Owned":
        return False
    return not any(route in snapshot.routes or route in snapshot.unread_routes for route in routes)


def _live_share(snapshot: Snapshot, status: Status) -> int:
    weights = status.weights
    if not is_valid_snapshot(weights.written, weights.old, weights.new):
        return 0
    if is_handed_back(snapshot, status):
        return 0 if weights_set_back(snapshot)[0] else share(weights.written, weights.old, weights.new)
    return share(live_weights(snapshot, weights.written, weights), weights.old, weights.new)


def _is_ours(snapshot: Snapshot, view: RouteView, route: RouteWeights) -> bool:
    """Whether no other plan has moved these rules since. A plan that needed no run has left no token of its own."""
    labels = [rule_label(rule) for rule in route.rules]
    if token_seq(snapshot, view.seq) or not any(fence.meets(labels) for fence in read_fences(view.seq)):
        return True
    return not snapshot.status.weights.snapshot and not view.moved_by.startswith(_OURS)


def _has_less(found: RuleWeights, desired: RuleWeights, old: str, new: str) -> bool:
    (side_old, side_new), (old_desired, new_desired) = pair(found, old, new), pair(desired, old, new)
    if side_old + side_new == 0:
        return new_desired > 0
    return side_new * (old_desired + new_desired) < new_desired * (side_old + side_new)
