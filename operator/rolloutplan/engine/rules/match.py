"""Ordered lists of rules: the first match wins.

A rule is a function of the snapshot alone. It returns a result, or None where it does not apply; then the next rule is
tried. So a rule need not check what the rules before it have handled. Its docstring says why it has its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot

Rule: TypeAlias = Callable[[Snapshot], ReconcileResult | None]


def first_match(rules: Iterable[Rule], snapshot: Snapshot) -> ReconcileResult | None:
    """The result of the first rule that applies; None where none does."""
    return next((step for rule in rules if (step := rule(snapshot)) is not None), None)


def spec_of(snapshot: Snapshot) -> PlanSpec:
    """The spec of a plan that can start: for rules below `report_unmet_precondition`, which stops one without it."""
    assert snapshot.plan.spec is not None
    return snapshot.plan.spec
