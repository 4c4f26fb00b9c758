"""What can act where: which predicates can still find a fault at a weight and in the bake, and what nothing guards.

A comparison with the old side says nothing where that side has no traffic: at 100 %, and in a bake that keeps no
control group. A plan with such guards alone is unguarded there. `lint`, `simulate`, the condition QueryWarnings and one
Event of each run say so, all from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL, Stage

_FIX: Final = "add a guard that compares the new side with a number (is)"
_HOLDBACK: Final = timedelta(minutes=15)
"""How long a bake is suggested where the plan has none: as long as those of the examples."""
_NAMED: Final = 3
"""So many predicates or stages are named in a message; of more, how many there are says enough."""


def can_act(predicate: Predicate, permille: int) -> bool:
    """Whether a verdict of the predicate is possible at this weight and has consequences. `warn` is not asked about.

    A reference whose template is not known may be anything, so it counts as one that can.
    """
    if predicate.dry_run:
        return False
    return predicate.has_references or predicate.comparison.kind == "value" or permille < FULL


def acting(predicates: Sequence[Predicate], permille: int) -> tuple[Predicate, ...]:
    """Those of these predicates that can act at this weight."""
    return tuple(predicate for predicate in predicates if can_act(predicate, permille))


def unguarded(spec: PlanSpec) -> str:
    """Where nothing can act, why, and the fix, as one text; empty where something can at every weight and in the bake.

    A `pass` predicate acts at its stage, by its deadline at the latest; in the bake none is evaluated. The new side's
    pods are watched everywhere and are not meant: a version that answers each request with an error has healthy pods.
    Nor is the step to 100 % after a bake that kept a control group: what it judged is what that bake has proved.
    """
    stages = [step for step in spec.steps() if not step.completes]
    steps = [step for step in stages if not acting((*spec.guards, *step.fail, *step.pass_), step.permille)]
    bakes = bool(spec.bake_for) and not acting(spec.guards, spec.bake_step.permille)
    if not steps and not bakes:
        return ""
    places = " and ".join(
        (*_stage_words(steps), *([f"in the bake of {format_duration(spec.bake_for)}"] if bakes else []))
    )
    return f"nothing can act {places}: {_why(spec, steps, bakes=bakes)}; {_fix(spec, steps)}"


def _stage_words(steps: Sequence[Stage]) -> Iterator[str]:
    if len(steps) > _NAMED:
        yield f"at {len(steps)} weights from {steps[0].title} on"
    elif steps:
        yield "at " + " and ".join(step.title for step in steps)


def _why(spec: PlanSpec, steps: Sequence[Stage], *, bakes: bool) -> str:
    """Why nothing can: by the first of these that is true of what is in force there."""
    there = [*spec.guards, *(each for step in steps for each in (*step.fail, *step.pass_))]
    compared = [each for each in there if not each.dry_run and not each.has_references and each.is_ is None]
    names = list(dict.fromkeys(each.name for each in compared if each.alert is None))
    if names and (steps or bakes):
        shown = " and ".join(names) if len(names) <= _NAMED else f"all {len(names)} predicates in force there"
        return f"{shown} compare{'s' * (len(names) == 1)} with the old side (vsOld), which has no traffic left there"
    if there:
        return "what is in force there is dryRun, which has no consequences"
    if not steps:
        return "only guards are evaluated in the bake, and the plan has none"
    return "no guard, fail or pass predicate is in force there"


def _fix(spec: PlanSpec, steps: Sequence[Stage]) -> str:
    """A guard that needs nobody to compare with, or somebody to compare with: that is no fix where nothing compares."""
    compared = any(not each.dry_run and each.vs_old is not None for each in spec.guards)
    if not compared or spec.bake_step.permille < FULL or any(step.permille < FULL for step in steps):
        return _FIX
    bake = format_duration(spec.bake_for or _HOLDBACK)
    return f"{_FIX}, or keep some of the old side to compare with: bake: {{for: {bake}, holdback: 1%}}"
