"""Find what no route of a kind can do: hold a share between two steps, prove its weight, bear an empty side. Pure.

It knows the descriptions of the kinds alone, not the routes: what another backend has is compared at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rolloutplan.api.quantities import format_duration
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.engine.analysis.traffic_share import NOT_COUNTED, counts_both_sides
from rolloutplan.engine.model.acceptance import FRAGILE
from rolloutplan.engine.policy.divisible import unheld_by_kind
from rolloutplan.tools.promql.queries import Finding
from rolloutplan.tools.promql.traps import Severity


def lint_routes(spec: PlanSpec, kinds: Mapping[str, RouteKindSpec] = BUILT_IN) -> Iterator[Finding]:
    """Find what the kinds of a plan's routes cannot do. A kind that is not among `kinds` may be able to."""
    used = {ref.kind: kinds[ref.kind] for ref in spec.traffic.routes if ref.kind in kinds}
    for name, kind in used.items():
        yield from _shares(spec, name, kind)
        yield from _empty(spec, name, kind)
    yield from _proof(spec, {name: kind for name, kind in used.items() if kind.accepted.settle is not None})


def _shares(spec: PlanSpec, name: str, kind: RouteKindSpec) -> Iterator[Finding]:
    """Find the shares that weights of this kind cannot hold. Where an object may say its total, it may be finer."""
    (old, new), object_says = spec.names, kind.share.total if kind.share is not None else ""
    for step in spec.steps():
        if words := unheld_by_kind(kind.weights, step, old, new):
            more = f", or a larger {object_says} in the route" if object_says else ""
            severity: Severity = "warning" if object_says else "error"
            yield Finding(_path(spec, step), "too-fine", severity, f"{name}: {words}{more}")


def _path(spec: PlanSpec, step: Stage) -> str:
    if step.held_back:
        return "spec.bake.holdback"
    stage = spec.stages[step.entry]
    if stage.weights is None:
        return f"spec.stages[{step.entry}].weight"
    return f"spec.stages[{step.entry}].weights[{stage.weights.index(step.permille)}]"


def _empty(spec: PlanSpec, name: str, kind: RouteKindSpec) -> Iterator[Finding]:
    if kind.empty_breaks and spec.contract.scale_old == 0:
        words = (
            f"{name}: a route of this kind serves nothing while {FRAGILE[kind.empty_breaks]} has no endpoints, "
            f"whatever its weight: write scaleOld: 1, or leave it out and take {spec.names[0]} out of the route first"
        )
        yield Finding("spec.contract.scaleOld", "empty-side", "error", words)


def _proof(spec: PlanSpec, silent: Mapping[str, RouteKindSpec]) -> Iterator[Finding]:
    """Find a plan of which nothing proves that the traffic follows its weights."""
    if not silent:
        return
    names = ", ".join(silent)
    longest = max(kind.accepted.settle for kind in silent.values() if kind.accepted.settle is not None)
    if spec.traffic.share == "Ignore":
        words = (
            f"no gateway reports which weights of {names} it follows, so a weight counts as in force "
            f"{format_duration(longest)} after it was written, and a run that moved nothing may end well: leave share "
            f"out, and add a guard with events and vsOld"
        )
        yield Finding("spec.traffic.share", "unproved", "warning", words)
    elif not counts_both_sides(spec):
        words = f"no gateway reports which weights of {names} it follows, and {NOT_COUNTED}"
        yield Finding("spec.traffic.routes", "unproved", "error", words)
