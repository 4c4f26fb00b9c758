"""Ordered lists of rules: the first that applies decides.

A rule is a function of a look alone. It says what follows, or None where it does not apply; then the next one is asked.
So what a rule need not check is what the rules before it have seen to, and each says in its docstring what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot

Rule: TypeAlias = Callable[[Snapshot], ReconcileResult | None]


def first_match(rules: Iterable[Rule], snapshot: Snapshot) -> ReconcileResult | None:
    """What the first rule that applies says."""
    return next((step for rule in rules if (step := rule(snapshot)) is not None), None)
