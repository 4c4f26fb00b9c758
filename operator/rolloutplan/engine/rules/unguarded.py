"""Reports that nothing can act somewhere in the plan, most often at 100 % and in the bake. It only reports."""

from __future__ import annotations

from typing import Final

from rolloutplan.api.reasons import EventReason
from rolloutplan.engine.analysis.in_force import unguarded
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.run.transition import note_decision

_NEW_PLAN: Final = frozenset({EventReason.STARTED, EventReason.ADAPTED})
"""After one of these decisions the plan is another one than before."""


def report_unguarded(snapshot: Snapshot) -> ReconcileResult | None:
    """Report it once, after the start of a run and after an edit of one, while there is time to add a guard.

    It blocks nothing. Before the first weight it is above the tasks, and later below all that holds a run or rolls it
    back.
    """
    status, spec = snapshot.status, snapshot.plan.spec
    if spec is None or status.phase not in TRANSITIONS[TransitionName.UNGUARDED].sources or not spec.steps():
        return None
    reasons = [decision.reason for decision in status.decisions]
    began = max((i for i, reason in enumerate(reasons) if reason in _NEW_PLAN), default=None)
    if began is None or EventReason.UNGUARDED in reasons[began:]:
        return None
    words = unguarded(spec)[:1024]
    told = any(each.run == status.run and each.note == words for each in status.decisions)
    return note_decision(snapshot, TransitionName.UNGUARDED, words) if words and not told else None
