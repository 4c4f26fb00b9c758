"""Watches which rule picks which row of the table, in whatever the tests decide.

A decision under a row that does not name its rule fails at once. So every test that decides anything, and every step of
the generated stories, holds the table and the rules together.
"""

from __future__ import annotations

from functools import cache, wraps
from types import ModuleType
from typing import Any, Final

from rolloutplan.engine import decide
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.rules import contract, expand, probe, start
from rolloutplan.engine.rules.match import Rule
from rolloutplan.engine.run import decision_log, transition

LISTS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (decide, "RULES"),
    (contract, "CONTRACTING_RULES"),
    (start, "STARTING_RULES"),
    (probe, "PROBING_RULES"),
    (expand, "EXPANDING_RULES"),
)
TAKEN: Final[set[tuple[TransitionName, str]]] = set()
"""The rows that were picked, each with the rule that picked it, since this was cleared last."""
_moved: list[TransitionName] = []


def watch() -> None:
    """Watch from now on, in this process."""
    recorded = decision_log.append_decision

    @wraps(recorded)
    def append_decision(snapshot: Snapshot, status: Any, cause: TransitionName, note: str, **more: Any) -> Any:
        _moved.append(cause)
        return recorded(snapshot, status, cause, note, **more)

    setattr(transition, "append_decision", append_decision)  # noqa: B010
    for module, name in LISTS:
        setattr(module, name, _all_watched(getattr(module, name)))
    inner = {_watched(rule): _all_watched(rules) for rule, rules in decide.INNER_RULES.items()}
    setattr(decide, "INNER_RULES", inner)  # noqa: B010


def _all_watched(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(_watched(rule) for rule in rules)


@cache
def _watched(rule: Rule) -> Rule:
    @wraps(rule)
    def watched(snapshot: Snapshot) -> ReconcileResult | None:
        _moved.clear()
        step = rule(snapshot)
        if step is not None and step.status is not None and _moved:
            cause = _moved[-1]  # of a rule that leads to a list the innermost has taken it already
            assert rule.__name__ in TRANSITIONS[cause].by, f"{rule.__name__} picks {cause}, which does not name it"
            TAKEN.add((cause, rule.__name__))
        _moved.clear()
        return step

    return watched
