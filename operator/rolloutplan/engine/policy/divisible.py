"""Whether the routes of a plan can hold the shares of its stages, and which shares they can hold.

The rules for the start ask here before any weight moves, the gate before each increase, and `lint` from the description
of a kind alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.engine.model.division import Limits, divide, finest, is_held, limits, neighbours, total_of
from rolloutplan.engine.model.routes import UnusableError, live_weights, pod_counts, rule_words
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.weights import others, pair
from rolloutplan.engine.policy.blocked import Blocked


def check_shares(snapshot: Snapshot, spec: PlanSpec, route: RouteWeights, rule: RuleWeights) -> None:
    """Raise UnusableError where a rule cannot hold the share of a stage; what a bake holds back comes first."""
    (old, new), kind = spec.names, snapshot.routes[route.id].weights
    limit = limits(kind, pod_counts(snapshot, old, new))
    both, rest = sum(pair(rule, old, new)), others(rule, old, new)
    stage = _first_unheld(sorted(spec.steps(), key=lambda step: not step.held_back), both, rest, limit)
    if stage is None:
        return
    words = f"{rule_words(route.id, rule)}: {_unheld_words(stage, old, new)}: {_why(kind, both, rest, limit)}"
    if rest and kind.sum is None and _first_unheld((stage,), total_of(kind), (), limit) is None:
        fix = f"another backend has {max(rest)}: lower that one, or write {_choices(stage, both, rest, limit)}"
        raise UnusableError(StatusReason.WEIGHTS_TOO_LARGE, f"{words}, and {fix}")
    raise UnusableError(StatusReason.WEIGHT_TOO_FINE, f"{words}; write {_choices(stage, both, rest, limit)}")


def unheld_by_kind(kind: WeightRules, stage: Stage, old: str, new: str) -> str:
    """Why no route of a kind can hold the share of a stage, as text; empty where one can, with no other backends."""
    both, limit = total_of(kind), limits(kind)
    if _first_unheld((stage,), both, (), limit) is None:
        return ""
    return f"{_unheld_words(stage, old, new)}: {_why(kind, both, (), limit)}; write {_choices(stage, both, (), limit)}"


def block_by_division(snapshot: Snapshot, stage: Stage) -> Blocked | None:
    """What of the weights blocks the increase to this stage, where the plan or another backend was edited meanwhile.

    A step half way to a weight is not in the plan: the nearest share that there is will do.
    """
    weights = snapshot.status.weights
    pods = pod_counts(snapshot, weights.old, weights.new)
    for route in live_weights(snapshot, weights.written, weights):
        for rule in route.rules:
            kind = snapshot.routes[route.id].weights
            limit = limits(kind, pods)
            both, rest = sum(pair(rule, weights.old, weights.new)), others(rule, weights.old, weights.new)
            unheld = both > 0 and _first_unheld((stage,), both, rest, limit) is not None
            if unheld and not (stage.half and divide(both, rest, stage.permille, limit).largest <= limit.largest):
                words = f"{rule_words(route.id, rule)}: {_unheld_words(stage, weights.old, weights.new)}"
                fix = f"write {_choices(stage, both, rest, limit)}"
                return Blocked(HoldReason.INVALID, f"{words}: {_why(kind, both, rest, limit)}; {fix} to go on")
    return None


def _first_unheld(stages: Iterable[Stage], both: int, rest: tuple[int, ...], limit: Limits) -> Stage | None:
    divided = ((stage, divide(both, rest, stage.permille, limit)) for stage in stages)
    return next((stage for stage, division in divided if not is_held(division, stage.permille, limit)), None)


def _unheld_words(stage: Stage, old: str, new: str) -> str:
    if stage.held_back:
        return f"its weights cannot leave {old} {format_weight(stage.held_back)}, as spec.bake.holdback says"
    return f"its weights cannot give {new} the {format_weight(stage.permille)} of stage {stage.name}"


def _why(kind: WeightRules, both: int, rest: tuple[int, ...], limit: Limits) -> str:
    """What a kind allows, and the finest step that follows from it."""
    numbers = "whole numbers" if kind.units == 1 else f"numbers in steps of {1 / kind.units:g}"
    bound = f"that add up to {kind.sum}" if kind.sum is not None else f"up to {kind.max}"
    third = f", of which other backends have {sum(rest) / kind.units:g}" if kind.sum is not None and any(rest) else ""
    pods = f" divided among {limit.pods.old} pods of the old and {limit.pods.new} of the new side" if limit.pods else ""
    step = f"the finest step is {format_weight(finest(both, rest, limit))}"
    return f"they are {numbers} {bound}{third}{pods}, so {step}"


def _choices(stage: Stage, both: int, rest: tuple[int, ...], limit: Limits) -> str:
    """The shares to write instead of one that cannot be held; of a control group what is held back."""
    found = neighbours(both, rest, stage.permille, limit)
    if stage.held_back:
        back = [stage.permille + stage.held_back - each for each in found if each < stage.permille + stage.held_back]
        return " or ".join(f"a holdback of {format_weight(each)}" for each in back) or "no holdback"
    return " or ".join(format_weight(each) for each in found) or "smaller weights with the same shares into the route"
