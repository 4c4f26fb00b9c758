"""Whether a stage can be decided in its time at all, at the traffic that is there. It is told, and stops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from rolloutplan.engine.ask import InForce, current_stage, in_force, verdict_of
from rolloutplan.engine.counting import asked_of, distance
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import noted
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import Cause
from rolloutplan.judge.feasible import Traffic, decided_after, words
from rolloutplan.judge.verdict import Outcome
from rolloutplan.plan.changes import change_stage
from rolloutplan.plan.predicate import Predicate
from rolloutplan.plan.quantities import format_duration
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import Phase

LOOKS: Final = 3
"""After fewer, the traffic is not known."""


def forecast(look: Look) -> Step | None:
    """Say once in a stage which of its counts cannot be proved before its deadline: whoever waits should know early.

    It stops nothing, and stands above the deadline that it foresees.
    """
    status, spec, at = look.status, look.plan.spec, look.status.stage
    stage = current_stage(spec, status) if spec else None
    if status.phase is not Phase.JUDGING or spec is None or stage is None or at is None or at.forecast:
        return None
    told = "; ".join(_too_slow(look, spec, stage))
    if not told:
        return None
    after = change_stage(at, forecast=told[:1024])
    return noted(look, Cause.FORESEEN, f"{stage.name}: {told}", stage=after)


def _too_slow(look: Look, spec: PlanSpec, stage: Stage) -> Iterator[str]:
    items = [item for item in in_force(spec, look.status, look.source) if item.predicate.events is not None]
    for item in items:
        if (
            item.against
            or item.predicate.dry_run
            or verdict_of(look, item).outcome is not Outcome.UNDECIDED
            or look.source is None
        ):
            continue
        counted = next((c for peer in _same(item, items) if (c := _counted(look, peer)) is not None), None)
        if counted is not None:
            told = too_slow(item.predicate, stage.permille, stage.deadline, counted, distance(spec, look.source))
            yield from (told,) if told else ()


def too_slow(predicate: Predicate, permille: int, deadline: timedelta, traffic: Traffic, every: timedelta) -> str:
    """Why counts at a weight cannot prove what they must before the deadline; empty where they can.

    Of `traffic` only the sum of both sides counts, whatever the weight was; where only the new side is counted, it is
    that side's at this weight. `every` is the time between looks.
    """
    of = asked_of(predicate, "pass")
    share, rate = permille / 1000, traffic.new + traffic.old
    there = traffic.at(share) if of.paired else traffic
    seconds = decided_after(of, there, float(predicate.confidence), every.total_seconds())
    if seconds <= deadline.total_seconds():
        return ""
    asked = words(seconds, float(f"{rate if of.paired else traffic.new / share:.3g}"), share)
    return f"{predicate.name} can hardly be decided: {asked}; the deadline is {format_duration(deadline)}"


def _same(item: InForce, items: list[InForce]) -> Iterator[InForce]:
    """The predicate, and those that count the same of both sides: a guard has done so from the first stage on."""
    yield item
    for other in items:
        if other is not item and other.predicate.events == item.predicate.events and _paired(item) and _paired(other):
            yield other


def _paired(item: InForce) -> bool:
    return item.predicate.comparison.kind != "value"


def _counted(look: Look, item: InForce) -> Traffic | None:
    """The traffic that a predicate has counted, in requests a second; None while that is too little to say."""
    track = look.ledger.get(item.name)
    count = track.count if track is not None else None
    if count is None or count.at is None or look.plan.spec is None or look.source is None:
        return None
    taken = count.at - count.since
    if taken < LOOKS * distance(look.plan.spec, look.source):
        return None
    seconds = taken.total_seconds()
    new, new_bad, old, old_bad = count.state.seen
    # One bad request of the old side more than were seen: that none were seen yet does not say that there are none.
    bad = (old_bad + 1) / (old + 1) if _paired(item) else new_bad / max(new, 1)
    return Traffic(new / seconds, old / seconds, bad) if new + old else None
