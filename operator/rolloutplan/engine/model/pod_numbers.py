"""Routes whose weights are numbers of pods: the size that each side gets next on the way to a share.

Both sides are behind one Service, so their ready pods divide its requests. A side rises before the other one falls, and
the other one falls as far as pods are ready in its place. So there are never fewer ready pods than the target has, but
for pods that fail by themselves.
"""

from __future__ import annotations

from rolloutplan.api.status import RuleWeights, Weights
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.weights import pair


def next_sizes(
    snapshot: Snapshot, view: RouteView, target: RuleWeights, weights: Weights, *, back: bool
) -> RuleWeights:
    """The rule with the sizes to write now on the way to `target`: its own ones in the last step.

    Forward, a side falls when all pods of the other one are ready. On the way `back` the new side falls pod by pod with
    the pods of the old side that become ready, and as a whole once these could carry a rollback.
    """
    ready = view.ready_pods or {}
    now = next((rule for rule in view.rules if rule.index == target.index), target)
    sizes = {each.service: each.weight for each in now.backends}
    wanted = {each.service: each.weight for each in target.backends}
    enough = wanted[weights.old] if not back else min(pods_needed(snapshot), wanted[weights.old])

    def size(side: str) -> int:
        if wanted[side] >= sizes[side]:
            return wanted[side]
        other = weights.new if side == weights.old else weights.old
        needed = enough if side == weights.new else wanted[other]
        if ready.get(other, 0) >= needed:
            return wanted[side]
        if not back:
            return sizes[side]
        return max(wanted[side], min(sizes[side], sum(wanted.values()) - ready.get(other, 0)))

    backends = tuple(each.model_copy(update={"weight": size(each.service)}) for each in target.backends)
    return target.with_backends(backends)


def is_on_its_way(view: RouteView, before: RuleWeights, target: RuleWeights, weights: Weights) -> bool:
    """Whether a route has sizes between those before a change and those after it: one side rises before the other."""
    now = next((rule for rule in view.rules if rule.index == target.index), None)
    if view.ready_pods is None or now is None:
        return False
    sides = zip(*(pair(rule, weights.old, weights.new) for rule in (now, before, target)), strict=True)
    return all(min(was, will) <= size <= max(was, will) for size, was, will in sides)


def pods_needed(snapshot: Snapshot) -> int:
    """How many ready pods of the old side a rollback needs, by `availability.old` and what the run began with."""
    spec = snapshot.plan.written
    share = spec.availability.old.at_least if spec else 0
    return -(-snapshot.status.old_pods * share // 1000)
