"""Find kinds of faults that a plan stops looking for at 100 % and in the bake, though something else acts there.

A plan of which nothing can act there is `unguarded` (engine/analysis/in_force.py). With a guard on latency alone that
can, failures go unseen there as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.engine.analysis.in_force import acting
from rolloutplan.tools.promql.meaning import meaning_of
from rolloutplan.tools.promql.nodes import PromqlError
from rolloutplan.tools.promql.parse import TooLargeError
from rolloutplan.tools.promql.queries import Finding
from rolloutplan.tools.promql.syntax import UnclearError
from rolloutplan.tools.promql.tree import read_tree

Subject: TypeAlias = Literal["failures", "latency"]

_NAMED: Final = 3
"""So many predicates are named in a message."""


def lint_unseen(spec: PlanSpec) -> Iterator[Finding]:
    """Find the guards of whose kind nothing can act where the old side has no traffic left."""
    last = spec.bake_step
    if last.permille < FULL:
        return
    there = spec.guards if spec.bake_for else (*spec.guards, *last.fail, *last.pass_)
    acts = acting(there, FULL)
    if not acts or any(each.alert is not None or each.has_references for each in acts):
        return
    seen = {subject_of(each) for each in acts}
    for i, guard in enumerate(spec.guards):
        subject = subject_of(guard)
        if subject is None or subject in seen or guard.dry_run or guard in acts:
            continue
        seen.add(subject)
        where = f"at 100%{' and in the bake' if spec.bake_for else ''}"
        bake = format_duration(spec.bake_for) if spec.bake_for else "15m"
        others = " and ".join(each.name for each in acts[:_NAMED])
        words = (
            f"{where} nothing looks for {subject}: {guard.name} compares with the old side (vsOld), which has no"
            f" traffic left there, and what can act ({others}) measures something else; add a guard on"
            f" {subject} that compares the new side with a number (is), or keep some of the old side to compare with:"
            f" bake: {{for: {bake}, holdback: 1%}}"
        )
        yield Finding(f"spec.guards[{i}]", "unseen", "warning", words)


def subject_of(predicate: Predicate) -> Subject | None:
    """What a predicate looks for; None where neither its form nor its query says so."""
    if predicate.judges_latency:
        return "latency"
    if predicate.events is not None:
        return "failures"
    try:
        tree = read_tree((predicate.query or "").replace("$window", "1m").replace("$", "_"))
    except (PromqlError, TooLargeError, UnclearError):
        return None
    return "failures" if meaning_of(tree).kind == "share" else None
