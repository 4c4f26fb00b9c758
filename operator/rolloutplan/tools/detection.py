"""How long a fault of a given size lasts at a weight until the old weights are on the routes again, by predicate.

The spec and what is assumed come from tools/timeline.py. The times of values are upper bounds: they hold even where
every answer takes its full timeout. The times of counts are those of the test's mean evidence: about half of all runs
are faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil, inf
from typing import Final

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.engine.analysis.counting import evaluation_interval, hypothesis_of, round_up
from rolloutplan.engine.analysis.in_force import can_act
from rolloutplan.engine.analysis.measurements import Role, first_window
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.stats.feasibility import Traffic, decided_after, samples_after, shortage
from rolloutplan.tools.fault import Fault, shares_of, shows

NEVER: Final = timedelta.max
WRITTEN_WITHIN: Final = timedelta(seconds=1)
"""The most time from the verdict until the old weights are on the routes, with an API server that answers."""
NOW: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is assumed beyond the plan: its metric source, the size of a fault, and the usual share of bad requests.

    `traffic` is that of both sides together in requests per second, None where it is not known.
    """

    source: SourceView
    fault: Fault
    bad: float
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True)
class DetectionTime:
    """The longest time from a fault until the old weights are on the routes, as one predicate detects it.

    `at_once` is for a fault that exists from the first moment of the weight, `later` for one that begins while the
    weight is in force. None where the figure needs the traffic, NEVER where the predicate cannot find the fault.
    """

    predicate: str
    role: Role
    at_once: timedelta | None
    later: timedelta | None
    certain: bool = True
    """Whether a fault of this size makes it true; False where nothing says what its query measures."""


@dataclass(frozen=True, slots=True)
class Place:
    """A weight, and how long after the first one it begins and ends at the latest; `stage` is None in the bake.

    Of a mirror `share` is that of the requests that are copied, as if the old side did not answer them too: what
    compares both sides is faster than that.
    """

    permille: int
    share: int
    began: timedelta
    ended: timedelta
    stage: Stage | None = None


def detections(
    spec: PlanSpec, failure_predicates: Sequence[Predicate], place: Place, assumed: Assumed
) -> Iterator[DetectionTime]:
    """Yield the detection time of each of these guards and `fail` predicates."""
    for predicate in failure_predicates:
        role: Role = "guard" if predicate in spec.guards else "fail"
        shown = shows(assumed.fault, predicate, assumed.bad)
        if shown is False or not can_act(predicate, place.permille):
            yield DetectionTime(predicate.name, role, NEVER, NEVER)
            continue
        find = _by_value if predicate.events is None else _by_counts
        found = replace(find(spec, predicate, role, place, assumed), certain=shown is not None)
        if place.stage is not None and found.at_once not in (None, NEVER):
            assert found.at_once is not None
            found = replace(found, at_once=found.at_once + left_out(place.stage, predicate))
        yield found


def enough_after(predicate: Predicate, share: int, assumed: Assumed) -> timedelta | None:
    """When a value has its `minSamples` at a share of the requests, in permille.

    None where that needs the traffic, NEVER where no window has them. Each sample is taken for one request of the new
    side.
    """
    if predicate.min_samples is None:
        return NOW
    if assumed.traffic is None:
        return None
    rate, at_least = assumed.traffic.new + assumed.traffic.old, predicate.min_samples.at_least
    if shortage(at_least, rate, share / 1000, predicate.window.total_seconds()) is not None:
        return NEVER
    return timedelta(seconds=samples_after(at_least, rate * share / 1000))


def proved_within(predicate: Predicate, share: int, traffic: Traffic, every: timedelta) -> timedelta:
    """Return how long a `pass` predicate on counts takes for a new side as good as usual."""
    return _decided(predicate, "pass", share, traffic, every)


def _by_value(spec: PlanSpec, predicate: Predicate, role: Role, place: Place, assumed: Assumed) -> DetectionTime:
    enough, source = enough_after(predicate, place.share, assumed), assumed.source
    if enough is None or enough is NEVER:
        return DetectionTime(predicate.name, role, enough, enough)
    # The query is not sent again while an answer is awaited.
    every = max(spec.interval, source.timeout)
    answered = source.delay + round_up(predicate.for_ or NOW, every) + source.timeout + WRITTEN_WITHIN
    first = first_window(predicate, source.scrape)
    waits = round_up(enough - first, every) if enough > first else NOW
    return DetectionTime(predicate.name, role, first + waits + answered, predicate.window + every + answered)


def _by_counts(spec: PlanSpec, predicate: Predicate, role: Role, place: Place, assumed: Assumed) -> DetectionTime:
    """Return the test's forecast for a fault of the size, plus one interval between evaluations.

    A guard has counted since the first weight, and the more evaluations were good, the more bad ones it takes.
    """
    if assumed.traffic is None:
        return DetectionTime(predicate.name, role, None, None)
    every, source = evaluation_interval(spec, assumed.source), assumed.source
    since = NOW if role == "guard" else place.began
    new, usual = shares_of(assumed.fault, predicate, assumed.bad)
    traffic = replace(assumed.traffic, bad=usual)

    def rolled_back(began: timedelta) -> timedelta:
        before = ceil((began - since) / every)
        decided = _decided(predicate, "fail", place.share, traffic, every, new_bad=new, before=before)
        return decided if decided is NEVER else every + decided + source.delay + source.timeout + WRITTEN_WITHIN

    return DetectionTime(predicate.name, role, rolled_back(place.began), rolled_back(place.ended))


def _decided(
    predicate: Predicate,
    role: Role,
    share: int,
    traffic: Traffic,
    every: timedelta,
    *,
    new_bad: float | None = None,
    before: int = 0,
) -> timedelta:
    seconds = decided_after(
        hypothesis_of(predicate, role),
        traffic.at(share / 1000),
        float(predicate.confidence),
        every.total_seconds(),
        new_bad=new_bad,
        before=before,
    )
    return NEVER if seconds == inf or seconds >= NEVER.total_seconds() else timedelta(seconds=seconds)
