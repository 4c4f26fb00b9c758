"""Stages that a route, or the gateway that answers for it, cannot have: found before the run, with what can."""

from __future__ import annotations

from rolloutplan.api.abilities import first_lacking, way_out
from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.snapshot import Snapshot


def not_possible(snapshot: Snapshot, spec: PlanSpec) -> str:
    """The first stage that a route of the plan cannot have, why, and the fix; empty where all can be had."""
    for ref in spec.traffic.routes:
        view = snapshot.routes.get(ref.id)
        lacking = first_lacking(spec.steps(), view.can) if view is not None else None
        if view is None or lacking is None:
            continue
        stage, addition, words = lacking
        by = f", for which {' and '.join(view.controllers)} answers," if view.controllers else ""
        where = f"{ref.kind} {snapshot.plan.namespace}/{ref.name}"
        return f"{where}{by} {words}: {way_out(stage, addition, ref.kind)}"
    return ""
