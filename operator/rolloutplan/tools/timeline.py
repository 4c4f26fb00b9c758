"""The time that a plan would take, and how long a fault can stand in it, before anything is applied.

Everything is counted from the start of the run. It is the time of the run itself: waits for a person, a policy or a
metric source that is down move all that follows by as long as they last. A fault is one that the query shows as soon as
its whole window lies in it, and for an alert that it fires; where every answer takes as long as it may, it is told no
later than is said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Final, NamedTuple

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL, Stage
from rolloutplan.engine.analysis.counting import asked_of, distance, whole
from rolloutplan.engine.analysis.measurements import Role, asked_of_both, first_window
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.engine.rules.intents import ACCEPTED_WITHIN
from rolloutplan.engine.rules.tasks import SCALED_WITHIN
from rolloutplan.stats.feasibility import Traffic, decided_after

NEVER: Final = timedelta.max
WRITTEN_WITHIN: Final = timedelta(seconds=1)
"""What the old weights take from the verdict to the routes, at most, with an API server that answers."""
_NOW: Final = timedelta(0)
_MINUTE: Final = timedelta(minutes=1)


class Range(NamedTuple):
    earliest: timedelta
    latest: timedelta


@dataclass(frozen=True, slots=True)
class DetectionTime:
    """How long a fault that a predicate can see stands at most, until the old weights are on the routes.

    `at_once` is for one that is there from the first moment of the weight, `later` for one that sets in while it
    stands. None where that needs the traffic, NEVER where no traffic is enough.
    """

    predicate: str
    role: Role
    at_once: timedelta | None
    later: timedelta | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A weight for a time: a stage, the bake, or the contract. `begins` is when the weight is in force."""

    name: str
    permille: int
    begins: Range
    ends: Range
    approval: bool = False
    """Whether it waits for a person first, for as long as that takes."""
    conditional: bool = False
    """Whether it comes only where the stage before was warned: then it may end as soon as it would begin."""
    late: tuple[str, ...] = ()
    """Pass predicates that cannot be proved before the deadline."""
    sights: tuple[DetectionTime, ...] = ()
    queries: float = 0.0
    """How many queries it asks a minute, at most."""

    @property
    def slowest(self) -> DetectionTime | None:
        """What sees its faults last: who does not know when, then who never does."""
        unknown = next((detection for detection in self.sights if detection.later is None), None)
        return unknown or max(self.sights, key=lambda detection: detection.later or _NOW, default=None)


@dataclass(frozen=True, slots=True)
class Timeline:
    ready: Range
    """When the first weight may be asked for: what is assumed is true, the new is added, and its pods are ready."""
    stretches: tuple[Segment, ...]
    """The stages, and the bake at the end."""
    contract: Segment | None = None
    """While the old is taken away, where the plan says so. Nothing is judged then, and nothing goes back by itself."""

    @property
    def parts(self) -> tuple[Segment, ...]:
        """All that comes after `ready`."""
        return self.stretches if self.contract is None else (*self.stretches, self.contract)

    @property
    def approvals(self) -> tuple[str, ...]:
        """What waits for a person first. Half way to a stage its own approval is waited for."""
        return tuple(part.name for part in self.parts if part.approval and not part.conditional)

    @property
    def ends(self) -> Range:
        return self.parts[-1].ends


def timeline(spec: PlanSpec, source: SourceView, traffic: Traffic | None = None) -> Timeline:
    """The timeline of a plan. With the `traffic` of both sides together it forecasts what counts will take."""
    ready = Range(_NOW, _begun_within(spec, source) + spec.availability.ready_within)
    stages: list[Segment] = []
    ended = ready
    for step in _steps(spec):
        stages.append(_stage(spec, step, source, traffic, ended))
        ended = stages[-1].ends
    bake = _bake(spec, source, traffic, stages[-1])
    return Timeline(ready, (*stages, bake), _contract(spec, bake) if spec.contract.wanted else None)


def _steps(spec: PlanSpec) -> Iterator[Stage]:
    """The stages, each after the step half way to it where the one before may be warned."""
    for before, stage in zip((None, *spec.steps()), spec.steps(), strict=False):
        half = stage.halved(before.permille) if before is not None and _binding(before.warn) else stage
        yield from (half, stage) if half.half else (stage,)


def _begun_within(spec: PlanSpec, source: SourceView) -> timedelta:
    """What its assumptions and what it adds take at most; at the least no time that anybody could foretell."""
    # An answer that was asked for in time is waited for.
    probes = (each.deadline + (source.timeout if each.predicate else _NOW) for each in spec.assumptions)
    scaled = _NOW if spec.expand.scale.new == "None" else SCALED_WITHIN
    return sum((*probes, *(job.deadline for job in spec.expand.jobs)), scaled)


def _contract(spec: PlanSpec, bake: Segment) -> Segment:
    scaled = _NOW if spec.contract.scale_old is None else SCALED_WITHIN
    latest = sum((job.deadline for job in spec.contract.jobs), bake.ends.latest + scaled)
    ends, approval = Range(bake.ends.earliest, latest), spec.contract.approval is not None
    return Segment("contract", bake.permille, bake.ends, ends, approval)


def _stage(spec: PlanSpec, stage: Stage, source: SourceView, traffic: Traffic | None, after: Range) -> Segment:
    begins = Range(after.earliest, after.latest + ACCEPTED_WITHIN)
    against, passes = _binding((*spec.guards, *stage.fail)), _binding(stage.pass_)
    proofs = {each.name: _proof(spec, stage, each, source, traffic) for each in passes}
    known = [each for each in spec.guards if each.events is not None and stage.index]
    heard = [_heard(each, source) for each in against if each not in known]
    counts_alone = not known and all(each.events is not None for each in (*against, *passes))
    # What came between two looks says that something was measured at all.
    spoken = distance(spec, source) + source.delay if counts_alone else _NOW
    late = tuple(name for name, proof in proofs.items() if proof > stage.deadline)
    earliest = min(max(stage.soak, spoken, *heard, *proofs.values()), stage.deadline)
    # An answer that was asked for in time is waited for.
    asked = [_first_asked(stage, each, source) for each in passes if each.events is None]
    latest = max([stage.deadline, *(at + source.timeout for at in asked if at <= stage.deadline)])
    return Segment(
        stage.step,
        stage.permille,
        begins,
        Range(begins.earliest + (_NOW if stage.half else earliest), begins.latest + latest),
        stage.approval,
        stage.half,
        late,
        tuple(_sights(spec, against, stage.permille, source, traffic)),
        _queries(spec, stage.permille, (*spec.guards, *stage.fail), (*stage.pass_, *stage.warn), source),
    )


def _bake(spec: PlanSpec, source: SourceView, traffic: Traffic | None, last: Segment) -> Segment:
    """From the end of the last stage on; it lasts until the old side is drained, too, where nothing is left on it."""
    drain = spec.traffic.drain if last.permille == FULL else _NOW
    drained = Range(last.begins.earliest + drain, last.begins.latest + drain)
    ends = Range(
        max(last.ends.earliest + spec.bake, drained.earliest), max(last.ends.latest + spec.bake, drained.latest)
    )
    sights = tuple(_sights(spec, _binding(spec.guards), last.permille, source, traffic))
    return Segment(
        "bake",
        last.permille,
        last.ends,
        ends,
        sights=sights,
        queries=_queries(spec, last.permille, spec.guards, (), source),
    )


def _binding(predicates: Sequence[Predicate]) -> tuple[Predicate, ...]:
    """Those from which anything follows."""
    return tuple(predicate for predicate in predicates if not predicate.dry_run)


# ---- how long until it is proved -----------------------------------------------------------------


def _heard(predicate: Predicate, source: SourceView) -> timedelta:
    """When something that could speak against a weight is asked first; counts are looked at once."""
    return source.delay + (first_window(predicate, source.scrape) if predicate.events is None else _NOW)


def _proof(
    spec: PlanSpec, stage: Stage, predicate: Predicate, source: SourceView, traffic: Traffic | None
) -> timedelta:
    """When a pass predicate can be proved first; of counts the forecast where the traffic is known."""
    if predicate.events is None:
        return _first_asked(stage, predicate, source) + whole(predicate.for_ or _NOW, spec.interval)
    every = distance(spec, source)
    forecast = every if traffic is None else _decided(predicate, "pass", stage.permille, traffic, every)
    return forecast if forecast is NEVER else max(every, forecast) + source.delay


def _first_asked(stage: Stage, predicate: Predicate, source: SourceView) -> timedelta:
    return max(stage.soak, predicate.window + source.delay)


def _decided(predicate: Predicate, role: Role, permille: int, traffic: Traffic, every: timedelta) -> timedelta:
    there = traffic.at(permille / 1000)
    seconds = decided_after(asked_of(predicate, role), there, float(predicate.confidence), every.total_seconds())
    return NEVER if seconds == inf or seconds >= NEVER.total_seconds() else timedelta(seconds=seconds)


# ---- how long a fault stands ---------------------------------------------------------------------


def _sights(
    spec: PlanSpec, against: Sequence[Predicate], permille: int, source: SourceView, traffic: Traffic | None
) -> Iterator[DetectionTime]:
    for predicate in against:
        role: Role = "guard" if predicate in spec.guards else "fail"
        if predicate.events is None:
            yield _by_value(spec, predicate, role, source)
        else:
            told = _by_counts(spec, predicate, permille, source, traffic)
            yield DetectionTime(predicate.name, role, told, told)


def _by_value(spec: PlanSpec, predicate: Predicate, role: Role, source: SourceView) -> DetectionTime:
    # While an answer is waited for, the question is not put again.
    every = max(spec.interval, source.timeout)
    answered = source.delay + whole(predicate.for_ or _NOW, every) + source.timeout + WRITTEN_WITHIN
    return DetectionTime(
        predicate.name, role, first_window(predicate, source.scrape) + answered, predicate.window + every + answered
    )


def _by_counts(
    spec: PlanSpec, predicate: Predicate, permille: int, source: SourceView, traffic: Traffic | None
) -> timedelta | None:
    """The forecast of the test, for a new side that is twice as bad as its bound; up to a look later than the fault."""
    if traffic is None:
        return None
    every = distance(spec, source)
    decided = _decided(predicate, "fail", permille, traffic, every)
    return decided if decided is NEVER else every + decided + source.delay + source.timeout + WRITTEN_WITHIN


# ---- how much is asked ---------------------------------------------------------------------------


def _queries(
    spec: PlanSpec, permille: int, against: Sequence[Predicate], others: Sequence[Predicate], source: SourceView
) -> float:
    both = [each for each in against if asked_of_both(spec, each, permille)]  # each part again, of the old side
    return sum(_parts(each) * _MINUTE / _every(spec, each, source) for each in (*against, *others, *both))


def _every(spec: PlanSpec, predicate: Predicate, source: SourceView) -> timedelta:
    return spec.interval if predicate.events is None else distance(spec, source)


def _parts(predicate: Predicate) -> int:
    """The queries of one look: two counters a side of events; else the value of each side, and the samples."""
    sides = 1 if predicate.comparison.kind == "value" else 2
    return 2 * sides if predicate.events is not None else sides + (predicate.min_samples is not None)
