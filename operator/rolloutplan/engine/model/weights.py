"""The weights of a rule: moved to a share, and back to what they were.

Rules come from routes and snapshots; the new weights go into the intent and the patches. A plan's weight is the new
side's share of what both sides of a rule have together. Other backends of the rule keep their share: where whole
numbers are too coarse for the desired share, every weight of the rule is scaled (division.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.division import PodCounts, as_permille, divide, limits, nearest


def pair(rule: RuleWeights, old: str, new: str) -> tuple[int, int]:
    """The weights of the old and the new service in a rule. Raises KeyError where one is missing."""
    weights = {backend.service: backend.weight for backend in rule.backends}
    return weights[old], weights[new]


def holds_both(rule: RuleWeights, old: str, new: str) -> bool:
    """Whether a rule has both services, each once."""
    services = [backend.service for backend in rule.backends]
    return services.count(old) == 1 and services.count(new) == 1


def receiving(rule: RuleWeights, kind: WeightRules) -> tuple[Backend, ...]:
    """The backends of a rule that get traffic, as its kind reads their weights."""
    weighted = tuple(backend for backend in rule.backends if backend.weight > 0)
    is_alone = kind.alone and len(rule.backends) == 1
    return weighted or (rule.backends if is_alone or kind.all_zero == "Even" else ())


def gives(rule: RuleWeights, service: str, kind: WeightRules) -> bool:
    """Whether a rule gives a service traffic."""
    return any(backend.service == service for backend in receiving(rule, kind))


def is_valid_snapshot(routes: Iterable[RouteWeights], old: str, new: str) -> bool:
    """Whether these routes can be weights of a run: there is at least one rule, and each has both services."""
    rules = [rule for route in routes for rule in route.rules]
    return bool(rules) and all(holds_both(rule, old, new) for rule in rules)


def shift(
    rule: RuleWeights,
    old: str,
    new: str,
    permille: int,
    kind: WeightRules,
    *,
    pods: PodCounts | None = None,
    usual: int = 0,
) -> RuleWeights:
    """The rule with the nearest to `permille` of the weight of both sides on the new side that its kind can divide.

    `usual` is a total of both sides, such as that before the run, which is kept where it holds the share.
    Raises ValueError where both have weight 0: there is nothing to divide.
    """
    both = sum(pair(rule, old, new))
    if both <= 0:
        raise ValueError(f"rule {rule.index}: {old} and {new} both have weight 0, so there is no traffic to shift")
    divided = divide(both, others(rule, old, new), permille, limits(kind, pods), usual)
    rest = iter(divided.others)
    wanted = {old: divided.old, new: divided.new}
    return _with(rule, (wanted[b.service] if b.service in wanted else next(rest) for b in rule.backends))


def others(rule: RuleWeights, old: str, new: str) -> tuple[int, ...]:
    """The weights of the other backends of a rule, in its order."""
    return tuple(max(backend.weight, 0) for backend in rule.backends if backend.service not in (old, new))


def restore(
    now: RuleWeights, snapshot: RuleWeights, old: str, new: str, kind: WeightRules, *, whole: int = 0
) -> RuleWeights:
    """The rule with both sides exactly as in the snapshot, and every other backend at its present share.

    No backend gets more than its kind allows. Where the weights of a kind have a fixed sum, and somebody else has moved
    another backend so that the sides as in the snapshot do not add up to it, that one goes back too. `whole` is what
    they must add up to now: where that is another sum than before, the new side keeps its share of it, or a little
    less, and the old side has the rest. What had no weight written has none again, and a text that means just these
    weights is the one to write.
    """
    before, after = sum(pair(now, old, new)), sum(pair(snapshot, old, new))
    limit = limits(kind)
    moved = limit.fixed and before != after

    def weight(backend: Backend, was: Backend | None) -> int:
        if was is not None and (backend.service in (old, new) or moved or before == 0 or after == 0):
            return was.weight
        if moved or before == 0 or after == 0:
            return 0 if moved else backend.weight
        return min(limit.largest, max(nearest(backend.weight * after, before), min(backend.weight, 1)))

    found = _counterparts(now, snapshot)
    wanted = [*map(weight, now.backends, found)]
    if whole:
        at_old, at_new = ([each.service for each in now.backends].index(side) for side in (old, new))
        wanted[at_new] = _in_whole(wanted[at_new], snapshot, whole)
        wanted[at_old] = max(0, whole - sum(wanted) + wanted[at_old])
    return _as_it_was(_with(now, wanted), snapshot, found)


def restore_one(now: RuleWeights, place: int, snapshot: RuleWeights, new: str, whole: int) -> RuleWeights | None:
    """A rule that no longer holds both sides, with the backend at this place as the snapshot has the new side.

    The others stay as they are. Where all must add up to `whole`, they divide what is left as they do now. None where
    no other one has any weight: then nobody would answer.
    """
    was = next(each for each in snapshot.backends if each.service == new)
    number = _in_whole(was.weight, snapshot, whole)
    others = [0 if at == place else each.weight for at, each in enumerate(now.backends)]
    if whole:
        others = _divided(whole - number, others, place)
    if not any(others) and now.backends[place].weight:
        return None
    rule = _with(now, (number if at == place else other for at, other in enumerate(others)))
    return _as_it_was(rule, snapshot, tuple(was if at == place else None for at in range(len(others))))


def _in_whole(weight: int, snapshot: RuleWeights, whole: int) -> int:
    """A weight of a snapshot in another sum of all weights, rounded down; 0 stands for the sum that it had."""
    then = sum(each.weight for each in snapshot.backends)
    return weight * whole // then if whole and then else weight


def _divided(total: int, others: Sequence[int], place: int) -> list[int]:
    """A total as the backends but the one at this place divide theirs; what is left by rounding goes to the largest."""
    if len(others) == 2:  # a single other one has all, also where it has nothing now
        return [0 if at == place else total for at in range(2)]
    heaviest, before = max(range(len(others)), key=others.__getitem__), sum(others)
    divided = [each * total // before if before else 0 for each in others]
    if before:
        divided[heaviest] += total - sum(divided)
    return divided


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
    return as_permille(side_new, side_old + side_new)


def _with(rule: RuleWeights, weights: Iterable[int]) -> RuleWeights:
    """The rule with these weights, in the order of its backends: a Service may be in it twice, on two ports.

    A weight that changes has to be written, and with it the text of an annotation.
    """
    pairs = zip(rule.backends, weights, strict=True)
    backends = tuple(b if b.weight == w else b.model_copy(update={"weight": w, "missing": None}) for b, w in pairs)
    return rule if backends == rule.backends else rule.model_copy(update={"backends": backends, "text": ""})


def _counterparts(rule: RuleWeights, snapshot: RuleWeights) -> tuple[Backend | None, ...]:
    """For each backend of a rule what the snapshot has of it: by place where all are the same, else by Service."""
    if [each.service for each in rule.backends] == [each.service for each in snapshot.backends]:
        return snapshot.backends
    by_service = {each.service: each for each in snapshot.backends}
    return tuple(by_service.get(each.service) for each in rule.backends)


def _as_it_was(rule: RuleWeights, snapshot: RuleWeights, found: Iterable[Backend | None]) -> RuleWeights:
    """The rule, with nothing written where nothing was, and with its text if all of its weights are as they were."""
    backends = tuple(
        now.model_copy(update={"missing": was.missing}) if was and was.weight == now.weight and was != now else now
        for now, was in zip(rule.backends, found, strict=True)
    )
    text = snapshot.text if backends == snapshot.backends else ""
    if backends == rule.backends and text == rule.text:
        return rule
    return rule.model_copy(update={"backends": backends, "text": text})
