"""A choice about a run that met a step which is undecided or refuted: Persist, Adapt or Kill.

Its decision has the evidence, and the answer to the question that is asked plainly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolloutplan.api.reasons import EventReason, HoldReason, StatusReason
from rolloutplan.api.status import OPERATOR, Kind, Status
from rolloutplan.engine.analysis.measurements import ActivePredicate, active_predicates, verdict_of
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import Transition
from rolloutplan.stats.verdict import Outcome

QUESTION: Final = "knowing this, would it be started today?"
MET: Final = frozenset({HoldReason.UNDECIDED, HoldReason.FAILED, HoldReason.METRICS_UNAVAILABLE, HoldReason.INCIDENT})
"""The holds of a run whose step is undecided or refuted."""
_ENDED_BY_THE_PLAN: Final = MET | {StatusReason.PASS_REFUTED}
"""Why a run goes back without a hold before, because the plan says so: `onUndecided`, `onFail` and the like."""
_ANSWERS: Final[Mapping[Kind, str]] = {Kind.PERSIST: "yes", Kind.ADAPT: "not as it was", Kind.KILL: "no"}


def is_choice(before: Status, after: Status, row: Transition, *, commanded: bool) -> bool:
    """Whether a transition is a choice of a person, or of the plan. That a hold passes by itself is none."""
    if row.choice is None or (row.event_reason == EventReason.RESUMED and not commanded):
        return False
    ended = row.choice is Kind.KILL and after.reason in _ENDED_BY_THE_PLAN
    return before.held_for in MET or ended or row.event_reason == EventReason.DEADLINE_EXTENDED


def laid_out(snapshot: Snapshot) -> tuple[ActivePredicate, ...]:
    """The predicates of the step: first those that speak against it, then those that say nothing."""
    spec = snapshot.plan.spec
    items = active_predicates(spec, snapshot.status, snapshot.source) if spec else ()
    return tuple(sorted(items, key=lambda item: _order(item, verdict_of(snapshot, item).outcome)))


def _order(item: ActivePredicate, outcome: Outcome) -> int:
    against = Outcome.PROVED if item.is_failure_signal else Outcome.REFUTED
    return 0 if outcome is against else 1 if outcome is Outcome.UNDECIDED else 2


def asked(choice: Kind, by: str) -> str:
    """The question, with the answer that the choice gives."""
    who = "the plan" if by == OPERATOR else by
    return f"asked: {QUESTION} {who} says {_ANSWERS[choice]}"
