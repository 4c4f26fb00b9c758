"""Ordered lists of rules: the first that applies decides.

A rule is a function of a look alone. It says what follows, or None where it does not apply; then the next one is asked.
So what a rule need not check is what the rules before it have seen to, and each says in its docstring what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from rolloutplan.engine.look import Look
from rolloutplan.engine.step import Step

Rule: TypeAlias = Callable[[Look], Step | None]


def first_match(rules: Iterable[Rule], look: Look) -> Step | None:
    """What the first rule that applies says."""
    return next((step for rule in rules if (step := rule(look)) is not None), None)
