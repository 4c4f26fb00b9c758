"""Shared outages: both sides fail the same check. That proves nothing against the new side, but the run must wait.

Only answers of one evaluation for both sides count. If the old side's answer is missing or late, if it is good or much
less bad, or while a weight is being written, a tripped predicate counts against the new side at once.
"""

from __future__ import annotations

from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import HoldReason
from rolloutplan.engine.analysis.measurements import (
    MISSED_IN_A_ROW,
    ActivePredicate,
    asks_both_sides,
    current_stage,
    enforced_predicates,
    measurement_of,
    missing_answer_timeout,
    verdict_of,
)
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.run.decision_log import bound_of, span
from rolloutplan.engine.run.value_text import value_text
from rolloutplan.stats.verdict import Outcome, Why


def is_shared_outage(snapshot: Snapshot, item: ActivePredicate) -> bool:
    """Whether a tripped predicate is true for the old side too, at least half as far beyond the bound."""
    new, old = verdict_of(snapshot, item), measurement_of(snapshot, item).old
    if (
        new.outcome is not Outcome.PROVED
        or old is None
        or old.holds is not True
        or not _asks_both_sides(snapshot, item)
    ):
        return False
    bound = item.predicate.comparison.number
    return old.value is not None and new.value is not None and 2 * abs(old.value - bound) >= abs(new.value - bound)


def shared_outage(snapshot: Snapshot) -> tuple[str, tuple[ActivePredicate, ...]]:
    """The message and the evidence for a shared outage; both empty where there is none.

    A run that is held for it stays held until answers show that it is over. Up to `MISSED_IN_A_ROW` missing answers
    in a row show nothing.
    """
    spec, status = snapshot.plan.spec, snapshot.status
    items = (
        [i for i in enforced_predicates(spec, status, snapshot.source) if _asks_both_sides(snapshot, i)] if spec else []
    )
    both = tuple(item for item in items if is_shared_outage(snapshot, item))
    if both:
        return "; ".join(_words(snapshot, item) for item in both), both
    if status.held_for == HoldReason.INCIDENT and any(_unknown(snapshot, item) for item in items):
        return status.message, ()
    return "", ()


def lasted_too_long(snapshot: Snapshot, evidence: tuple[ActivePredicate, ...]) -> str:
    """Why the weights go back in a shared outage: it began after the weight was set, and lasts for `onIncident.after`.

    Empty where they stay. Where the source does not say how the old side was before, the outage counts as begun after:
    the new side may be its cause, and going back costs one write.
    """
    spec, held = snapshot.plan.spec, snapshot.status.held
    if spec is None or snapshot.source is None or held is None or held.reason != HoldReason.INCIDENT or not evidence:
        return ""
    lasted = snapshot.now - (held.reason_since or held.since)
    if spec.on_incident.then != "Rollback" or lasted < spec.on_incident.after:
        return ""
    before = [measurement_of(snapshot, item).before for item in evidence]
    if any(each is not None and each.holds for each in before):
        return ""
    if None in before and lasted < spec.on_incident.after + missing_answer_timeout(spec, snapshot.source):
        return ""
    since = span(held.reason_since or held.since, snapshot.now)
    tripped = "; ".join(_tripped(snapshot, item) for item in evidence)
    return f"{tripped} for {since}, which began after this weight was set, and onIncident.then is Rollback"


def _asks_both_sides(snapshot: Snapshot, item: ActivePredicate) -> bool:
    spec, status = snapshot.plan.spec, snapshot.status
    stage = current_stage(spec, status) if spec else None
    shifting = status.intent is not None and status.intent.action == "Shift"
    if spec is None or stage is None or shifting or not item.is_failure_signal:
        return False
    return asks_both_sides(spec, item.predicate, stage.permille)


def _unknown(snapshot: Snapshot, item: ActivePredicate) -> bool:
    measurement = measurement_of(snapshot, item)
    silent = measurement.verdict is None or measurement.verdict.why is Why.SOURCE_DOWN
    return silent or 0 < len(measurement.missed) <= MISSED_IN_A_ROW


def _tripped(snapshot: Snapshot, item: ActivePredicate) -> str:
    weights, old = snapshot.status.weights, measurement_of(snapshot, item).old
    assert old is not None
    new_text, old_text = (value_text(item.predicate.comparison, each) for each in (verdict_of(snapshot, item), old))
    return (
        f"{item.role} {item.name} tripped for both sides ({bound_of(item.predicate)}: {weights.new} {new_text}, "
        f"{weights.old} {old_text})"
    )


def _words(snapshot: Snapshot, item: ActivePredicate) -> str:
    spec = snapshot.plan.spec
    assert spec is not None
    rule, then = spec.on_incident, ""
    if rule.then == "Rollback":
        then = (
            f"if it began after this weight was set and lasts for {format_duration(rule.after)}, the run rolls back; "
        )
    return (
        f"{_tripped(snapshot, item)}: a shared outage, which proves nothing against {snapshot.status.weights.new}; "
        f"the weights stay, the guards stay on, and the run continues when it is over; {then}`abort` rolls back"
    )
