"""The time that a plan would take, and how long a fault can last in it, before anything is applied.

The spec, the metric source and the traffic come from cli/simulate.py, which prints the timeline. All times count from
the start of the run and include no waits: a wait for a person, a policy or a metric source that is down delays all that
follows by its length. A fault is one that the query shows as soon as its whole window lies in the fault; for an alert,
that it fires. Detection times are upper bounds: they hold even where every answer takes its full timeout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from typing import Final, NamedTuple

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL, Stage
from rolloutplan.engine.analysis.counting import evaluation_interval, hypothesis_of, round_up
from rolloutplan.engine.analysis.measurements import Role, asks_both_sides, first_window
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.engine.rules.tasks import SCALE_WITHIN
from rolloutplan.stats.feasibility import Traffic, decided_after

NEVER: Final = timedelta.max
WRITTEN_WITHIN: Final = timedelta(seconds=1)
"""The most time from the verdict until the old weights are on the routes, with an API server that answers."""
_NOW: Final = timedelta(0)
_MINUTE: Final = timedelta(minutes=1)


class Range(NamedTuple):
    earliest: timedelta
    latest: timedelta


@dataclass(frozen=True, slots=True)
class DetectionTime:
    """The longest time from a fault that a predicate can detect until the old weights are on the routes.

    `at_once` is for a fault that exists from the first moment of the weight, `later` for one that begins while the
    weight is in force. None where the figure needs the traffic, NEVER where no traffic is enough.
    """

    predicate: str
    role: Role
    at_once: timedelta | None
    later: timedelta | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A time at one weight: a stage, the bake, or the contract. `begins` is when the weight is in force."""

    name: str
    permille: int
    begins: Range
    ends: Range
    approval: bool = False
    """Whether it first waits for approval, without a time limit."""
    conditional: bool = False
    """Whether it happens only after a warning in the stage before. Its earliest end is its earliest begin."""
    late: tuple[str, ...] = ()
    """Pass predicates that cannot be proved before the deadline."""
    detections: tuple[DetectionTime, ...] = ()
    queries: float = 0.0
    """The most queries that it sends a minute."""

    @property
    def slowest(self) -> DetectionTime | None:
        """Return the slowest detection: one with unknown time first, then one that never detects, then the longest."""
        unknown = next((detection for detection in self.detections if detection.later is None), None)
        return unknown or max(self.detections, key=lambda detection: detection.later or _NOW, default=None)


@dataclass(frozen=True, slots=True)
class Timeline:
    ready: Range
    """When the first weight may be written: assumptions are true, expand is done, and the new pods are ready."""
    stages: tuple[Segment, ...]
    bake: Segment
    completion: Segment | None = None
    """The step to 100% after a bake with a control group, where the plan has a holdback."""
    contract: Segment | None = None
    """The removal of the old side, where the plan has it. Nothing is judged then, and no rollback starts by itself."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Return the times in which something judges: the stages, the bake, and the step to 100% that may follow."""
        return (*self.stages, self.bake, *(() if self.completion is None else (self.completion,)))

    @property
    def parts(self) -> tuple[Segment, ...]:
        """Return all segments after `ready`."""
        return self.segments if self.contract is None else (*self.segments, self.contract)

    @property
    def approvals(self) -> tuple[str, ...]:
        """Return the segments that wait for approval. A half step waits for its stage's approval and is left out."""
        return tuple(part.name for part in self.parts if part.approval and not part.conditional)

    @property
    def ends(self) -> Range:
        return self.parts[-1].ends


def timeline(spec: PlanSpec, source: SourceView, traffic: Traffic | None = None) -> Timeline:
    """Return the timeline of a plan. With `traffic` (of both sides together) it forecasts how long counts take."""
    ready = Range(_NOW, _prepared_within(spec, source) + spec.availability.ready_within)
    stages: list[Segment] = []
    ended = ready
    for step in _steps(spec):
        stages.append(_stage(spec, step, source, traffic, ended))
        ended = stages[-1].ends
    bake, end = _bake(spec, source, traffic, stages[-1]), spec.steps()[-1]
    completion = _stage(spec, end, source, traffic, bake.ends) if end.completes else None
    contract = _contract(spec, completion or bake) if spec.contract.wanted else None
    return Timeline(ready, tuple(stages), bake, completion, contract)


def _steps(spec: PlanSpec) -> Iterator[Stage]:
    """Yield the stages, each preceded by the half step to it where the stage before has `warn` predicates."""
    steps = [step for step in spec.steps() if not step.completes]
    for before, stage in zip((None, *steps), steps, strict=False):
        half = stage.halved(before.permille) if before is not None and _enforced(before.warn) else stage
        yield from (half, stage) if half.half else (stage,)


def _prepared_within(spec: PlanSpec, source: SourceView) -> timedelta:
    """Return the longest time for assumptions and expand. The shortest cannot be predicted and counts as zero."""
    # The run waits for the answer to a query that was sent in time.
    probes = (each.deadline + (source.timeout if each.predicate else _NOW) for each in spec.assumptions)
    scaled = _NOW if spec.expand.scale.new == "None" else SCALE_WITHIN
    return sum((*probes, *(job.deadline for job in spec.expand.jobs)), scaled)


def _contract(spec: PlanSpec, last: Segment) -> Segment:
    scaled = _NOW if spec.contract.scale_old is None else SCALE_WITHIN
    latest = sum((job.deadline for job in spec.contract.jobs), last.ends.latest + scaled)
    ends, approval = Range(last.ends.earliest, latest), spec.contract.approval is not None
    return Segment("contract", last.permille, last.ends, ends, approval)


def _stage(spec: PlanSpec, stage: Stage, source: SourceView, traffic: Traffic | None, after: Range) -> Segment:
    begins = Range(after.earliest, after.latest + spec.traffic.accepted_within)
    failure_predicates, passes = _enforced((*spec.guards, *stage.fail)), _enforced(stage.pass_)
    proofs = {each.name: _proved_after(spec, stage, each, source, traffic) for each in passes}
    first_verdicts = [_first_verdict(spec, stage, each, source) for each in failure_predicates]
    late = tuple(name for name, proof in proofs.items() if proof > stage.deadline)
    earliest = min(max(stage.soak, *first_verdicts, *proofs.values()), stage.deadline)
    # The run waits for the answer to a query that was sent in time.
    pass_evaluations = [_pass_first_evaluated(stage, each, source) for each in passes if each.events is None]
    latest = max([stage.deadline, *(at + source.timeout for at in pass_evaluations if at <= stage.deadline)])
    return Segment(
        stage.step,
        stage.permille,
        begins,
        Range(begins.earliest + (_NOW if stage.half else earliest), begins.latest + latest),
        stage.approval,
        stage.half,
        late,
        tuple(_detections(spec, failure_predicates, stage.permille, source, traffic, stage)),
        _queries(spec, stage.permille, (*spec.guards, *stage.fail), (*stage.pass_, *stage.warn), source),
    )


def _bake(spec: PlanSpec, source: SourceView, traffic: Traffic | None, last: Segment) -> Segment:
    """Return the bake after the last stage. It also lasts until the old side is drained, where that has no weight."""
    drain = spec.traffic.drain if last.permille == FULL else _NOW
    drained = Range(last.begins.earliest + drain, last.begins.latest + drain)
    ends = Range(
        max(last.ends.earliest + spec.bake_for, drained.earliest),
        max(last.ends.latest + spec.bake_for, drained.latest),
    )
    detections = tuple(_detections(spec, _enforced(spec.guards), last.permille, source, traffic))
    return Segment(
        "bake",
        last.permille,
        last.ends,
        ends,
        detections=detections,
        queries=_queries(spec, last.permille, spec.guards, (), source),
    )


def _enforced(predicates: Sequence[Predicate]) -> tuple[Predicate, ...]:
    """Return the predicates that affect the run."""
    return tuple(predicate for predicate in predicates if not predicate.dry_run)


# ---- how long until a predicate is proved --------------------------------------------------------


def _first_verdict(spec: PlanSpec, stage: Stage, predicate: Predicate, source: SourceView) -> timedelta:
    """Return when a guard or `fail` predicate can be decided first: until then the stage is not proved.

    Counts are, when there were requests between two evaluations at the weight.
    """
    begins = left_out(stage, predicate) + source.delay
    if predicate.events is None:
        return begins + first_window(predicate, source.scrape)
    return begins + (_NOW if predicate.silence_is_clear else evaluation_interval(spec, source))


def _proved_after(
    spec: PlanSpec, stage: Stage, predicate: Predicate, source: SourceView, traffic: Traffic | None
) -> timedelta:
    """Return when a pass predicate can be proved first; for counts, the forecast where the traffic is known."""
    if predicate.events is None:
        return _pass_first_evaluated(stage, predicate, source) + round_up(predicate.for_ or _NOW, spec.interval)
    every = evaluation_interval(spec, source)
    forecast = every if traffic is None else _decided_within(predicate, "pass", stage.permille, traffic, every)
    return forecast if forecast is NEVER else left_out(stage, predicate) + max(every, forecast) + source.delay


def _pass_first_evaluated(stage: Stage, predicate: Predicate, source: SourceView) -> timedelta:
    return max(stage.soak, left_out(stage, predicate) + predicate.window + source.delay)


def _decided_within(predicate: Predicate, role: Role, permille: int, traffic: Traffic, every: timedelta) -> timedelta:
    at_weight = traffic.at(permille / 1000)
    seconds = decided_after(
        hypothesis_of(predicate, role), at_weight, float(predicate.confidence), every.total_seconds()
    )
    return NEVER if seconds == inf or seconds >= NEVER.total_seconds() else timedelta(seconds=seconds)


# ---- how long a fault lasts ----------------------------------------------------------------------


def _detections(
    spec: PlanSpec,
    failure_predicates: Sequence[Predicate],
    permille: int,
    source: SourceView,
    traffic: Traffic | None,
    stage: Stage | None = None,
) -> Iterator[DetectionTime]:
    """Yield the detection times at a weight; `stage` is None in the bake, where no weight is new."""
    for predicate in failure_predicates:
        role: Role = "guard" if predicate in spec.guards else "fail"
        found = (
            _by_value(spec, predicate, role, source)
            if predicate.events is None
            else _by_counts(spec, predicate, role, permille, source, traffic)
        )
        if stage is not None and found.at_once is not None and found.at_once is not NEVER:
            found = replace(found, at_once=found.at_once + left_out(stage, predicate))
        yield found


def _by_value(spec: PlanSpec, predicate: Predicate, role: Role, source: SourceView) -> DetectionTime:
    # The query is not sent again while an answer is awaited.
    every = max(spec.interval, source.timeout)
    answered = source.delay + round_up(predicate.for_ or _NOW, every) + source.timeout + WRITTEN_WITHIN
    return DetectionTime(
        predicate.name, role, first_window(predicate, source.scrape) + answered, predicate.window + every + answered
    )


def _by_counts(
    spec: PlanSpec, predicate: Predicate, role: Role, permille: int, source: SourceView, traffic: Traffic | None
) -> DetectionTime:
    """Return the test's forecast for a new side twice as bad as its bound, plus one interval between evaluations."""
    if traffic is None:
        return DetectionTime(predicate.name, role, None, None)
    every = evaluation_interval(spec, source)
    decided = _decided_within(predicate, "fail", permille, traffic, every)
    longest = decided if decided is NEVER else every + decided + source.delay + source.timeout + WRITTEN_WITHIN
    return DetectionTime(predicate.name, role, longest, longest)


# ---- how many queries are sent -------------------------------------------------------------------


def _queries(
    spec: PlanSpec,
    permille: int,
    failure_predicates: Sequence[Predicate],
    others: Sequence[Predicate],
    source: SourceView,
) -> float:
    both = [
        each for each in failure_predicates if asks_both_sides(spec, each, permille)
    ]  # each part again, for the old side
    return sum(_parts(each) * _MINUTE / _every(spec, each, source) for each in (*failure_predicates, *others, *both))


def _every(spec: PlanSpec, predicate: Predicate, source: SourceView) -> timedelta:
    return spec.interval if predicate.events is None else evaluation_interval(spec, source)


def _parts(predicate: Predicate) -> int:
    """Return the queries of one evaluation: for events two counters a side, else each side's value and the samples."""
    sides = 1 if predicate.comparison.kind == "value" else 2
    return 2 * sides if predicate.events is not None else sides + (predicate.min_samples is not None)
