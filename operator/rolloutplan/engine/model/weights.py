"""Arithmetic of weights in whole numbers. It sets exactly the desired share, as far as the largest weight allows.

Rules come from routes and snapshots; the new weights go into the intent and the patches. A plan's weight is the new
side's share of what both sides of a rule have together. Other backends of the rule keep their share: where whole
numbers are too coarse for the desired share, every weight of the rule is scaled.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd

from rolloutplan.api.status import Backend, RouteWeights, RuleWeights


def pair(rule: RuleWeights, old: str, new: str) -> tuple[int, int]:
    """The weights of the old and the new service in a rule. Raises KeyError where one is missing."""
    weights = {backend.service: backend.weight for backend in rule.backends}
    return weights[old], weights[new]


def holds_both(rule: RuleWeights, old: str, new: str) -> bool:
    """Whether a rule has both services, each once."""
    services = [backend.service for backend in rule.backends]
    return services.count(old) == 1 and services.count(new) == 1


def is_valid_snapshot(routes: Iterable[RouteWeights], old: str, new: str) -> bool:
    """Whether these routes can be weights of a run: there is at least one rule, and each has both services."""
    rules = [rule for route in routes for rule in route.rules]
    return bool(rules) and all(holds_both(rule, old, new) for rule in rules)


def shift(rule: RuleWeights, old: str, new: str, permille: int, largest: int) -> RuleWeights:
    """The rule with `permille` of the weight of both sides on the new side, in weights of at most `largest`.

    Raises ValueError where both have weight 0: there is nothing to divide.
    """
    both = sum(pair(rule, old, new))
    if both == 0:
        raise ValueError(f"rule {rule.index}: {old} and {new} both have weight 0, so there is no traffic to shift")
    scale = 1000 // gcd(both * permille, 1000)
    scale = max(1, min(scale, largest // max(both, *(backend.weight for backend in rule.backends))))
    share = _nearest(both * scale * permille, 1000)
    wanted = {old: both * scale - share, new: share}
    return _with(rule, (wanted.get(b.service, b.weight * scale) for b in rule.backends))


def restore(now: RuleWeights, snapshot: RuleWeights, old: str, new: str, largest: int) -> RuleWeights:
    """The rule with both sides exactly as in the snapshot, and every other backend at its present share.

    No backend gets more than `largest`, the largest weight that its kind of route allows.
    """
    before, after = sum(pair(now, old, new)), sum(pair(snapshot, old, new))
    then = {backend.service: backend.weight for backend in snapshot.backends}

    def weight(backend: Backend) -> int:
        if backend.service in (old, new):
            return then[backend.service]
        if before == 0 or after == 0:
            return then.get(backend.service, backend.weight)
        return min(largest, max(_nearest(backend.weight * after, before), min(backend.weight, 1)))

    return _with(now, (weight(backend) for backend in now.backends))


def same_split(one: RuleWeights, other: RuleWeights, old: str, new: str) -> bool:
    """Whether both sides have the same weights in both rules; other backends are not compared."""
    both = holds_both(one, old, new) and holds_both(other, old, new)
    return both and pair(one, old, new) == pair(other, old, new)


def same_share(one: RuleWeights, other: RuleWeights, old: str, new: str) -> bool:
    """Whether both sides divide their traffic in the same way in both rules, in whatever numbers."""
    (old_one, new_one), (old_other, new_other) = pair(one, old, new), pair(other, old, new)
    return old_one + new_one > 0 and old_one * new_other == new_one * old_other and old_other + new_other > 0


def share(routes: Iterable[RouteWeights], old: str, new: str) -> int:
    """The largest share of the new side, in permille, over all rules of all routes."""
    return max((rule_share(rule, old, new) for route in routes for rule in route.rules), default=0)


def rule_share(rule: RuleWeights, old: str, new: str) -> int:
    """The share of the new side in one rule, in permille; 1000 only where the old side has no weight."""
    side_old, side_new = pair(rule, old, new)
    return min(_nearest(1000 * side_new, side_old + side_new), 999 if side_old else 1000) if side_new else 0


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _with(rule: RuleWeights, weights: Iterable[int]) -> RuleWeights:
    """The rule with these weights, in the order of its backends: a Service may be in it twice, on two ports."""
    backends = tuple(Backend(service=b.service, weight=w) for b, w in zip(rule.backends, weights, strict=True))
    return rule.with_backends(backends)
