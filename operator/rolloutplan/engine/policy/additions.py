"""Stages that a route, or the gateway that answers for it, cannot have: found before the run, with what can."""

from __future__ import annotations

from collections.abc import Iterable

from rolloutplan.api.abilities import first_lacking, way_out
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.routes import rule_words
from rolloutplan.engine.model.snapshot import Snapshot


def not_possible(snapshot: Snapshot, spec: PlanSpec, routes: Iterable[RouteWeights]) -> str:
    """The first stage that one of the rules to move cannot have, why, and the fix; empty where all can be had."""
    for route in routes:
        view = snapshot.routes[route.id]
        if lacking := first_lacking(spec.steps(), view.can):
            stage, addition, words = lacking
            by = f", for which {' and '.join(view.controllers)} answers," if view.controllers else ""
            where = f"{route.kind} {snapshot.plan.namespace}/{route.name}"
            return f"{where}{by} {words}: {way_out(stage, addition, route.kind)}"
        for rule in route.rules:
            if lacking := first_lacking(spec.steps(), view.can - view.unable.get(rule.index, frozenset())):
                stage, addition, words = lacking
                fix = f"{way_out(stage, addition, route.kind)}; or leave the rule out: traffic.routes[].rules"
                return f"{rule_words(route.id, rule)} {words}: {fix}"
    return ""
