"""Forecasts whether a stage can be decided before its deadline with the present traffic. It only reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from rolloutplan.api.changes import change_stage
from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import Phase
from rolloutplan.engine.analysis.counting import evaluation_interval, hypothesis_of
from rolloutplan.engine.analysis.measurements import ActivePredicate, active_predicates, current_stage, verdict_of
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.run.transition import note_decision
from rolloutplan.stats.feasibility import Traffic, decided_after, describe
from rolloutplan.stats.verdict import Outcome

MIN_EVALUATIONS: Final = 3
"""After fewer evaluations, the traffic is not known well enough."""


def forecast(snapshot: Snapshot) -> ReconcileResult | None:
    """Report once in a stage which of its counts cannot be proved before the deadline, so that a person knows early.

    It blocks nothing, and is above the deadline rule, so that it reports first.
    """
    status, spec, at = snapshot.status, snapshot.plan.spec, snapshot.status.stage
    stage = current_stage(spec, status) if spec else None
    if status.phase is not Phase.JUDGING or spec is None or stage is None or at is None or at.forecast:
        return None
    problems = "; ".join(_slow_predicate_problems(snapshot, spec, stage))
    if not problems:
        return None
    after = change_stage(at, forecast=problems[:1024])
    return note_decision(snapshot, TransitionName.STAGE_CANNOT_CONCLUDE, f"{stage.name}: {problems}", stage=after)


def _slow_predicate_problems(snapshot: Snapshot, spec: PlanSpec, stage: Stage) -> Iterator[str]:
    items = [
        item for item in active_predicates(spec, snapshot.status, snapshot.source) if item.predicate.events is not None
    ]
    for item in items:
        if (
            item.is_failure_signal
            or item.predicate.dry_run
            or verdict_of(snapshot, item).outcome is not Outcome.UNDECIDED
            or snapshot.source is None
        ):
            continue
        traffic = next(
            (c for other in _same_counters(item, items) if (c := _measured_traffic(snapshot, other)) is not None), None
        )
        if traffic is not None:
            problem = slow_predicate_problem(item.predicate, stage, traffic, evaluation_interval(spec, snapshot.source))
            yield from (problem,) if problem else ()


def slow_predicate_problem(predicate: Predicate, stage: Stage, traffic: Traffic, every: timedelta) -> str:
    """Why counts at a stage's weight cannot prove the predicate before its deadline, as text; empty where they can.

    If both sides are counted, only the sum of `traffic` matters, not the weight at which it was measured. If only the
    new side is counted, `traffic` is that side's at this weight. `every` is the time between evaluations. Nothing is
    said of a stage of testers: how many requests theirs are is not known.
    """
    hypothesis = hypothesis_of(predicate, "pass")
    share, rate = stage.share / 1000, traffic.new + traffic.old
    if not share:
        return ""
    at_weight = traffic.at(share) if hypothesis.paired else traffic
    seconds = decided_after(hypothesis, at_weight, float(predicate.confidence), every.total_seconds())
    warmup = left_out(stage, predicate)
    if seconds <= (stage.deadline - warmup).total_seconds():
        return ""
    needed = describe(seconds, float(f"{rate if hypothesis.paired else traffic.new / share:.3g}"), share)
    words = f"{predicate.name} cannot be decided in time: {needed}; the deadline is {format_duration(stage.deadline)}"
    return f"{words}, of which the warmup takes {format_duration(warmup)}" if warmup else words


def _same_counters(item: ActivePredicate, items: list[ActivePredicate]) -> Iterator[ActivePredicate]:
    """The predicate, and others with the same counters of both sides: a guard has counted since the first stage."""
    yield item
    for other in items:
        if other is not item and other.predicate.events == item.predicate.events and _paired(item) and _paired(other):
            yield other


def _paired(item: ActivePredicate) -> bool:
    return item.predicate.comparison.kind != "value"


def _measured_traffic(snapshot: Snapshot, item: ActivePredicate) -> Traffic | None:
    """The traffic that a predicate has counted, in requests per second; None before enough evaluations."""
    measurement = snapshot.measurements.get(item.name)
    count = measurement.count if measurement is not None else None
    if count is None or count.at is None or snapshot.plan.spec is None or snapshot.source is None:
        return None
    if item.warm_at is not None and item.role == "guard":
        return None  # how much of the run it has left out is not known
    elapsed = count.at - max(count.since, item.warm_at or count.since)
    if elapsed < MIN_EVALUATIONS * evaluation_interval(snapshot.plan.spec, snapshot.source):
        return None
    seconds = elapsed.total_seconds()
    new, new_bad, old, old_bad = count.state.seen
    # One more bad request of the old side than was counted: a count of 0 does not mean a bad ratio of 0.
    bad = (old_bad + 1) / (old + 1) if _paired(item) else new_bad / max(new, 1)
    return Traffic(new / seconds, old / seconds, bad) if new + old else None
