"""Stages that a route, or the gateway that answers for it, cannot have: found before the run, with what can."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rolloutplan.api.abilities import first_lacking, way_out
from rolloutplan.api.added import MOST_ADDED, Addition, read_addition
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.engine.model.routes import rule_words
from rolloutplan.engine.model.snapshot import RouteView, Snapshot


def not_possible(snapshot: Snapshot, spec: PlanSpec, routes: Iterable[RouteWeights]) -> str:
    """The first stage that one of the rules to move cannot have, why, and the fix; empty where all can be had."""
    for route in routes:
        view = snapshot.routes[route.id]
        if lacking := first_lacking(spec.steps(), view.can):
            stage, addition, words = lacking
            by = f", for which {' and '.join(view.controllers)} answers," if view.controllers else ""
            where = f"{route.kind} {snapshot.plan.namespace}/{route.name}"
            return f"{where}{by} {words}: {way_out(stage, addition, route.kind)}"
        if words := rules_cannot(view, spec, route):
            return words
    return ""


def rules_cannot(view: RouteView, spec: PlanSpec, route: RouteWeights) -> str:
    """The first stage that one of the rules to move of a route cannot have, though it can itself; else empty."""
    for rule in route.rules:
        if lacking := first_lacking(spec.steps(), view.can - view.unable.get(rule.index, frozenset())):
            stage, addition, words = lacking
            fix = f"{way_out(stage, addition, route.kind)}; or leave the rule out: traffic.routes[].rules"
            return f"{rule_words(route.id, rule)} {words}: {fix}"
        if words := _no_port(view, spec, rule):
            return f"{rule_words(route.id, rule)}: {words}"
    return _too_many(view, spec, route.rules)


def _no_port(view: RouteView, spec: PlanSpec, rule: RuleWeights) -> str:
    """That the new side has no port to which requests can be mirrored, and the fix; empty where it has, or need not."""
    added = ((stage, each) for stage in spec.steps() for each in map(read_addition, stage.additions))
    stage, mirror = next(((stage, each) for stage, each in added if each and each.word == "mirror"), (None, None))
    if stage is None or mirror is None:
        return ""
    places = view.no_port.get(rule.index, {})
    fix = next((places[i] for i, each in enumerate(rule.backends) if each.service == mirror.to and i in places), "")
    return f"{fix}, or leave the stage {stage.name} out: requests are mirrored to a port of {mirror.to}" if fix else ""


def _too_many(view: RouteView, spec: PlanSpec, rules: Sequence[RuleWeights]) -> str:
    """That a route would have more rules or additions than it may, and the fix; empty where it would not.

    What other plans have added counts.
    """
    ours = {rule.index for rule in rules}
    others = [each for each in map(read_addition, _texts_of_others(view, ours)) if each]
    fix = "name fewer of its rules in traffic.routes[].rules, or leave the stage out"
    for stage in spec.steps():
        added = [each for each in map(read_addition, stage.additions) if each]
        total = len(others) + len(added) * len(ours)
        if total > MOST_ADDED:
            return f"{view.id} would have {total} additions in stage {stage.name}, and may have {MOST_ADDED}: {fix}"
        copies = _copies(others) + _copies(added) * len(ours)
        if copies and view.most_rules is not None and len(view.rules) + copies > view.most_rules:
            total = len(view.rules) + copies
            words = f"would have {total} rules with those for testers in stage {stage.name}"
            return f"{view.id} {words}, and may have {view.most_rules}: {fix}"
    return ""


def _texts_of_others(view: RouteView, ours: Collection[int]) -> list[str]:
    """What is added to other rules of a route than these."""
    return [piece.text for piece in view.pieces if piece.rule not in ours]


def _copies(additions: Iterable[Addition]) -> int:
    """How many of these are rules of their own."""
    return sum(each.word in ("header", "cookie") for each in additions)
