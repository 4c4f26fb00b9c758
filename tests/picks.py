"""Watches which rule picks which row of the table, in whatever the tests decide.

A decision under a row that does not name its rule fails at once. So every test that decides anything, and every step of
the generated stories, holds the table and the rules together.
"""

from __future__ import annotations

from functools import cache, wraps
from types import ModuleType
from typing import Any, Final

from rolloutplan.engine import decide, move, narrate
from rolloutplan.engine.look import Look
from rolloutplan.engine.rules import contract, expand, probe, start
from rolloutplan.engine.rules.match import Rule
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import TABLE, Cause

LISTS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (decide, "RULES"),
    (contract, "CONTRACTING_RULES"),
    (start, "STARTING_RULES"),
    (probe, "PROBING_RULES"),
    (expand, "EXPANDING_RULES"),
)
TAKEN: Final[set[tuple[Cause, str]]] = set()
"""The rows that were picked, each with the rule that picked it, since this was cleared last."""
_moved: list[Cause] = []


def watch() -> None:
    """Watch from now on, in this process."""
    recorded = narrate.decided

    @wraps(recorded)
    def decided(look: Look, status: Any, cause: Cause, note: str, **more: Any) -> Any:
        _moved.append(cause)
        return recorded(look, status, cause, note, **more)

    setattr(move, "decided", decided)  # noqa: B010
    for module, name in LISTS:
        setattr(module, name, _all_watched(getattr(module, name)))
    inner = {_watched(rule): _all_watched(rules) for rule, rules in decide.INNER_RULES.items()}
    setattr(decide, "INNER_RULES", inner)  # noqa: B010


def _all_watched(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(_watched(rule) for rule in rules)


@cache
def _watched(rule: Rule) -> Rule:
    @wraps(rule)
    def watched(look: Look) -> Step | None:
        _moved.clear()
        step = rule(look)
        if step is not None and step.status is not None and _moved:
            cause = _moved[-1]  # of a rule that leads to a list the innermost has taken it already
            assert rule.__name__ in TABLE[cause].by, f"{rule.__name__} picks {cause}, which does not name it"
            TAKEN.add((cause, rule.__name__))
        _moved.clear()
        return step

    return watched
