"""Arithmetic of weights: whole numbers in, whole numbers out, never a share that nobody asked for.

A plan speaks of the new side's share of what both sides of a rule hold together. Other backends of the rule keep the
share they have: where whole numbers are too coarse for what is asked, every weight of the rule is scaled.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd

from rolloutplan.api.status import Backend, RouteWeights, RuleWeights


def pair(rule: RuleWeights, old: str, new: str) -> tuple[int, int]:
    """The weights of the old and the new service in a rule. Raises KeyError where one is not there."""
    weights = {backend.service: backend.weight for backend in rule.backends}
    return weights[old], weights[new]


def holds_both(rule: RuleWeights, old: str, new: str) -> bool:
    """Whether a rule holds both services, each once."""
    services = [backend.service for backend in rule.backends]
    return services.count(old) == 1 and services.count(new) == 1


def is_valid_snapshot(routes: Iterable[RouteWeights], old: str, new: str) -> bool:
    """Whether these routes can be weights of a run: there are some, and each rule holds both services."""
    rules = [rule for route in routes for rule in route.rules]
    return bool(rules) and all(holds_both(rule, old, new) for rule in rules)


def shift(rule: RuleWeights, old: str, new: str, permille: int, largest: int) -> RuleWeights:
    """The rule with `permille` of what both sides hold on the new side, in weights of at most `largest`.

    Raises ValueError where both hold nothing: no share of nothing can be asked for.
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
    """The rule with both sides as in the snapshot, to the number, and every other backend at the share it has now.

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


def same(one: RuleWeights, other: RuleWeights, old: str, new: str) -> bool:
    """Whether both sides have the same numbers in both; other backends are not ours to compare."""
    return holds_both(one, old, new) and pair(one, old, new) == pair(other, old, new)


def share(routes: Iterable[RouteWeights], old: str, new: str) -> int:
    """The largest share of the new side, in permille, over all rules of all routes."""
    shares = [0]
    for route in routes:
        for rule in route.rules:
            side_old, side_new = pair(rule, old, new)
            if side_new:
                shares.append(_nearest(1000 * side_new, side_old + side_new))
    return max(shares)


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _with(rule: RuleWeights, weights: Iterable[int]) -> RuleWeights:
    """The rule with these weights, in the order of its backends: a Service may be there twice, on two ports."""
    backends = tuple(Backend(service=b.service, weight=w) for b, w in zip(rule.backends, weights, strict=True))
    return rule.with_backends(backends)
