"""A run whose status is lost: what is still known of it, and whether it can be taken up or rolled back.

A restore of a backup keeps annotations and finalizers, and loses the status. The undo command in the annotation has the
weights before the run; the routes have those of now. Nothing is guessed: where both do not fit, nothing is known.
"""

from __future__ import annotations

from dataclasses import replace

from rolloutplan.api.changes import change
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, RouteWeights, RuleWeights, Status, Weights
from rolloutplan.engine.model.acceptance import unconfirmed
from rolloutplan.engine.model.fence import fence_seq, rule_label
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.routes import live_weights
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.weights import is_valid_snapshot, pair, rule_share, share


class LostRunError(Exception):
    """Too little is known of the run; the message says what."""


def is_lost(snapshot: Snapshot) -> bool:
    """Whether a plan that no run is known of carries the finalizer of one."""
    return snapshot.status.phase in (Phase.PENDING, Phase.INVALID) and snapshot.plan.finalizer


def may_be_lost(snapshot: Snapshot) -> bool:
    """The same, or a plan without any run whose annotation, or whose routes, have the undo command of one."""
    status = snapshot.status
    return is_lost(snapshot) or (
        status.phase in (Phase.PENDING, Phase.INVALID) and not status.run and bool(snapshot.undo)
    )


def lost_run(snapshot: Snapshot) -> Snapshot:
    """The snapshot with a status that has the weights of the lost run. Raises LostRunError.

    It counts as a run of the plan and of the pod template as they are now, so none begins by itself after it.
    """
    status, spec = snapshot.status, snapshot.plan.written
    weights = status.weights
    if not is_valid_snapshot(weights.snapshot, weights.old, weights.new):
        if spec is None:
            raise LostRunError(f"the plan cannot be read: {snapshot.plan.problem}")
        weights = _weights(snapshot, spec)
    live = live_weights(snapshot, weights.snapshot, weights)
    if [len(route.rules) for route in live] != [len(route.rules) for route in weights.snapshot]:
        raise LostRunError("a route, or a rule of it, is gone that the undo command is about")
    desired = format_weight(share(live, weights.old, weights.new))
    seqs = (fence_seq(view.seq, snapshot.plan.uid[:8]) for view in snapshot.routes.values())
    known: Status = change(
        status,
        run=status.run or 1,
        plan_hash=status.plan_hash or (spec.plan_hash() if spec else ""),
        revision=status.revision or (snapshot.new.revision if snapshot.new else ""),
        weights=weights.model_copy(update={"written": live, "desired": desired}),
        seq=max([status.seq, *seqs]),
        revert=status.revert or snapshot.undo_command,
    )
    return replace(snapshot, status=known)


def restore_by_hand(snapshot: Snapshot) -> str:
    """How a person restores the weights without the operator. The command comes from the status, never an annotation.

    Everybody who may patch a plan or a route can write its annotations.
    """
    if snapshot.status.revert:
        return f"restore them with `{snapshot.status.revert}`"
    named = ", ".join(map(str, sorted(snapshot.routes)))
    return f"the status has no undo command any more: restore the weights of {named or 'the routes'} as Git has them"


def _weights(snapshot: Snapshot, spec: PlanSpec) -> Weights:
    """The weights before the run, from the undo command, in the rules of the plan's routes as they are now."""
    old, new = spec.names
    if not snapshot.undo:
        raise LostRunError(
            "the undo command, in the annotation rolloutplan.dev/revert of the plan or its route, is gone or changed"
        )
    named = {ref.id for ref in spec.traffic.routes}
    before = []
    for route in snapshot.undo:
        view = snapshot.routes.get(route.id)
        if route.id not in named or view is None or view.deleting:
            raise LostRunError(f"the undo command is about {route.id}, which the plan does not name or which is gone")
        before.append(route.with_rules(tuple(_as_now(view, rule, route) for rule in route.rules)))
    if not is_valid_snapshot(before, old, new):
        raise LostRunError(f"the undo command is about other Services than {old} and {new}")
    first = spec.steps()[0].permille
    for rule in (rule for route in before for rule in route.rules):
        if not sum(pair(rule, old, new)) or rule_share(rule, old, new) > first:
            raise LostRunError(f"the undo command gives {new} more than the first stage does, or both sides nothing")
    return Weights(
        old=old,
        new=new,
        service=spec.shared_service,
        kinds=dict(snapshot.own_kinds),
        snapshot=tuple(before),
        unconfirmed=unconfirmed(snapshot, (route.id for route in before)),
    )


def _same_backends(now: RuleWeights, rule: RuleWeights) -> bool:
    """Whether these are the same backends; the undo command has no kind and namespace of those that are no Services."""
    names = [{each.service, each.service.rpartition("/")[2]} for each in now.backends]
    return len(names) == len(rule.backends) and all(
        each.service in known for each, known in zip(rule.backends, names, strict=True)
    )


def _as_now(view: RouteView, rule: RuleWeights, route: RouteWeights) -> RuleWeights:
    """The rule with its backends named as in the route, where they are still the same in the same order."""
    now = locate(view, rule.with_backends(()))
    if now is None or not _same_backends(now, rule):
        raise LostRunError(f"{route.id} rule {rule_label(rule)} has other backends than the undo command names")
    backends = zip(now.backends, rule.backends, strict=True)
    digest = view.digests.get(now.index, "")
    return rule.model_copy(update={"digest": digest}).with_backends(
        tuple(a.model_copy(update={"weight": b.weight, "missing": b.missing}) for a, b in backends)
    )
