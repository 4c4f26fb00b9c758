"""Find stages that a kind of route cannot have by its description. A gateway that can less is seen before the run."""

from __future__ import annotations

from collections.abc import Iterator

from rolloutplan.api.abilities import described, first_lacking, way_out
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import PlanSpec
from rolloutplan.tools.promql.queries import Finding


def lint_additions(spec: PlanSpec) -> Iterator[Finding]:
    """Find the first stage of a plan that one of its routes cannot have, whatever its gateway."""
    for i, ref in enumerate(spec.traffic.routes):
        kind = BUILT_IN.get(ref.kind)
        lacking = first_lacking(spec.steps(), described(kind)) if kind is not None else None
        if lacking is not None:
            stage, addition, words = lacking
            fix = way_out(stage, addition, ref.kind)
            yield Finding(f"spec.traffic.routes[{i}]", "stage-not-possible", "error", f"{ref.written} {words}: {fix}")
