"""What keeps a stage from being proved and the bake from ending: predicates that were not decided.

A guard or a `fail` predicate without any verdict at a weight does not count for the new side: it may be the one that
would have found the fault. One whose silence is good news says `noData: Clear`. The rules that lead forward ask here,
and the status says the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.api.status import PredicateStatus, Status
from rolloutplan.engine.analysis.counting import evaluation_interval
from rolloutplan.engine.analysis.measurements import (
    ActivePredicate,
    current_stage,
    enforced_predicates,
    measurement_of,
    missing_answer_timeout,
    verdict_of,
)
from rolloutplan.engine.model.snapshot import Measurement, Snapshot, SourceView
from rolloutplan.stats.verdict import Outcome, Verdict, Why

NO_OLD_SIDE = "at 100% no old side is left to compare with, so this does not hold the run"
"""Added to the reason of a comparison with the old side that is Undecided at full weight."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An enforced predicate that is not decided, and why."""

    item: ActivePredicate
    why: str


def stage_doubts(snapshot: Snapshot) -> tuple[Doubt, ...]:
    """What keeps the stage from being proved: `pass` predicates that are not, guards and `fail` without a verdict.

    At least one predicate must have data now, whatever the others need: no data is never a pass.
    """
    at, items = snapshot.status.stage, _binding(snapshot)
    since = at.judged_since if at is not None else None
    doubts = tuple(
        Doubt(item, reason)
        for item in items
        if (reason := _in_doubt(snapshot, item, since) if item.is_failure_signal else _not_proved(snapshot, item))
    )
    if doubts or any(_has_data(item, verdict_of(snapshot, item)) or lacks_old_side(snapshot, item) for item in items):
        return doubts
    return tuple(Doubt(item, _reason(verdict_of(snapshot, item))) for item in items)


def bake_doubts(snapshot: Snapshot) -> tuple[Doubt, ...]:
    """What keeps the bake from ending: guards without a verdict in the bake, and those that cannot be asked now."""
    since = _bake_began(snapshot)
    return tuple(
        Doubt(item, reason)
        for item in _binding(snapshot)
        if item.is_failure_signal and (reason := _in_doubt(snapshot, item, since))
    )


def leans_to_failure(snapshot: Snapshot, item: ActivePredicate) -> bool:
    """Whether its comparison holds, but not yet for long enough. A missing answer does not end that.

    For counts only a proof matters: without one, the comparison may hold by chance.
    """
    return measurement_of(snapshot, item).since is not None and item.predicate.events is None


def answer_timeout(spec: PlanSpec, source: SourceView) -> timedelta:
    """How long a verdict may be awaited that is due: a few evaluations, of values and of counts."""
    return max(
        missing_answer_timeout(spec, source), 2 * evaluation_interval(spec, source) + source.delay + source.timeout
    )


def decided_at(
    status: Status, name: str, measurement: Measurement | None, judged_since: datetime | None = None
) -> datetime | None:
    """When a predicate last had a verdict, by the measurements and by the status; None where it never had.

    What the status keeps from before `judged_since` is left out.
    """
    kept = next((each for each in status.predicates if each.name == name), PredicateStatus(name=name, role="guard"))
    known = [measurement.decided_at if measurement else None, kept.decided_at]
    instants = [at for at in known if at is not None and (judged_since is None or at > judged_since)]
    return max(instants, default=None)


def lacks_old_side(snapshot: Snapshot, item: ActivePredicate) -> bool:
    """Whether a comparison with the old side cannot be made, because that has no traffic left.

    A guard must have had a verdict at a smaller weight: else it has never judged the new side.
    """
    spec, status = snapshot.plan.spec, snapshot.status
    stage = current_stage(spec, status) if spec else None
    if stage is None or stage.permille < FULL or stage.index == 0 or item.predicate.comparison.kind == "value":
        return False
    measurement = measurement_of(snapshot, item)
    if not measurement.lacks_old or not item.is_failure_signal:
        return False
    if item.role == "guard" and decided_at(status, item.name, measurement) is None:
        return False
    counted = measurement.count.counted_at.get("new") if measurement.count is not None else None
    since = status.stage.judged_since if status.stage else None
    return item.predicate.events is None or (counted is not None and since is not None and counted > since)


def _has_data(item: ActivePredicate, verdict: Verdict) -> bool:
    """Whether it measured something. Counts have if there were any requests."""
    if verdict.outcome in (Outcome.PROVED, Outcome.REFUTED):
        return True
    return item.predicate.events is not None and verdict.why is Why.NOT_YET and bool(verdict.samples)


def _binding(snapshot: Snapshot) -> tuple[ActivePredicate, ...]:
    spec = snapshot.plan.spec
    return enforced_predicates(spec, snapshot.status, snapshot.source) if spec else ()


def _bake_began(snapshot: Snapshot) -> datetime | None:
    """Since when a guard must have had a verdict in the bake; a short bake takes over the last ones of its stage."""
    spec, at = snapshot.plan.spec, snapshot.status.stage
    if spec is None or at is None or at.judged_since is None:
        return None
    if not spec.bake_for or at.soak_until is None or snapshot.source is None:
        return at.judged_since
    return max(at.judged_since, at.soak_until - max(spec.bake_for, answer_timeout(spec, snapshot.source)))


def _not_proved(snapshot: Snapshot, item: ActivePredicate) -> str:
    verdict = verdict_of(snapshot, item)
    return "" if verdict.outcome is Outcome.PROVED else _reason(verdict) or verdict.outcome.value


def _in_doubt(snapshot: Snapshot, item: ActivePredicate, since: datetime | None) -> str:
    """Why a guard or a `fail` predicate does not count for the new side; empty where it does."""
    measurement, verdict = measurement_of(snapshot, item), verdict_of(snapshot, item)
    if leans_to_failure(snapshot, item):
        return _reason(verdict)
    unheard = measurement.answered_at is None or measurement.silent_since is not None
    if unheard or verdict.why in (Why.SOURCE_DOWN, Why.QUERY_REJECTED):
        return _reason(verdict)
    if decided_at(snapshot.status, item.name, measurement, since) is not None or lacks_old_side(snapshot, item):
        return ""
    if verdict.why is Why.NOT_YET and since is not None:
        return f"{Why.NO_DATA}: no requests counted since {since:%H:%M:%S}"
    return _reason(verdict)


def _reason(verdict: Verdict) -> str:
    """The reason of a verdict with the source's message, as `NoData: the query gives no series`."""
    return ": ".join(part for part in (str(verdict.why or ""), verdict.detail) if part)
