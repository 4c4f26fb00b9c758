"""The time that a plan would take, and how long a fault can last in it, before anything is applied.

The spec, the metric source and the traffic come from cli/simulate.py, which prints the timeline. All times count from
the start of the run and include no waits: a wait for a person, a policy or a metric source that is down delays all that
follows by its length. How large a fault is says tools/fault.py, and how long each predicate takes for one
tools/detection.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL, Stage
from rolloutplan.engine.analysis.counting import evaluation_interval, round_up
from rolloutplan.engine.analysis.in_force import can_act
from rolloutplan.engine.analysis.measurements import asks_both_sides, first_window
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.engine.rules.tasks import SCALE_WITHIN
from rolloutplan.tools.detection import (
    NEVER,
    NOW,
    Assumed,
    DetectionTime,
    Place,
    detections,
    enough_after,
    proved_within,
)

_MINUTE: Final = timedelta(minutes=1)

Moment: TypeAlias = Literal["at_once", "later"]


class Range(NamedTuple):
    earliest: timedelta
    latest: timedelta


class EndedBy(NamedTuple):
    """What a segment waits for longest: its soak, a verdict, its deadline, the bake, the drain, or tasks."""

    what: Literal["soak", "pass", "guard", "fail", "deadline", "bake", "drain", "tasks"]
    predicate: str = ""


_TASKS: Final = EndedBy("tasks")


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
    """Predicates without which it cannot be proved, and that have no verdict before the deadline."""
    ended_by: EndedBy = _TASKS
    """What ends it at the earliest. At the latest, the deadline ends a stage."""
    shortest: timedelta = NOW
    """The least time at the weight."""
    detections: tuple[DetectionTime, ...] = ()
    queries: float = 0.0
    """The most queries that it sends a minute."""
    title: str = ""
    """What it judges, where that is no weight: `mirror 10%`."""

    @property
    def judges(self) -> str:
        """The weight that it judges, or what it judges instead."""
        return self.title or format_weight(self.permille)

    def fastest(self, moment: Moment) -> DetectionTime | None:
        """Return which predicate finds a fault first that is there at once, or that begins later.

        One that certainly shows a fault of the size is before one of which nothing says so, and that before one of
        which the traffic would have to be known.
        """

        def rank(found: DetectionTime) -> tuple[int, timedelta]:
            time: timedelta | None = getattr(found, moment)
            return (2, NOW) if time is None else (3, time) if time is NEVER else (0 if found.certain else 1, time)

        return min(self.detections, key=rank, default=None)

    @property
    def outpaced(self) -> bool:
        """Whether it can end before even the fastest predicate has found a fault that is there at once."""
        fastest = self.fastest("at_once")
        found = fastest.at_once if fastest is not None else None
        return self.shortest > NOW and found is not None and self.shortest < found < NEVER


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


def timeline(spec: PlanSpec, assumed: Assumed) -> Timeline:
    """Return the timeline of a plan. Where the traffic is known it also forecasts how long counts take."""
    source = assumed.source
    ready = Range(NOW, _prepared_within(spec, source) + spec.availability.ready_within)
    stages: list[Segment] = []
    ended, counted_from = ready, ready.latest + spec.traffic.accepted_within
    for step in _steps(spec):
        stages.append(_stage(spec, step, assumed, ended, counted_from))
        ended = stages[-1].ends
    bake, end = _bake(spec, assumed, stages[-1], counted_from), spec.steps()[-1]
    completion = _stage(spec, end, assumed, bake.ends, counted_from) if end.completes else None
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
    probes = (each.deadline + (source.timeout if each.predicate else NOW) for each in spec.assumptions)
    scaled = NOW if spec.expand.scale.new == "None" else SCALE_WITHIN
    return sum((*probes, *(job.deadline for job in spec.expand.jobs)), scaled)


def _contract(spec: PlanSpec, last: Segment) -> Segment:
    scaled = NOW if spec.contract.scale_old is None else SCALE_WITHIN
    latest = sum((job.deadline for job in spec.contract.jobs), last.ends.latest + scaled)
    ends, approval = Range(last.ends.earliest, latest), spec.contract.approval is not None
    return Segment("contract", last.permille, last.ends, ends, approval)


def _stage(spec: PlanSpec, stage: Stage, assumed: Assumed, after: Range, counted_from: timedelta) -> Segment:
    if stage.match is not None:
        assumed = replace(assumed, traffic=None)  # nobody knows how many requests testers send
    source = assumed.source
    begins = Range(after.earliest, after.latest + spec.traffic.accepted_within)
    failure_predicates, passes = _enforced((*spec.guards, *stage.fail)), _enforced(stage.pass_)
    waits: dict[EndedBy, timedelta] = {EndedBy("soak"): stage.soak}
    for each in failure_predicates:
        waits[EndedBy("guard" if each in spec.guards else "fail", each.name)] = _first_verdict(
            spec, stage, each, assumed
        )
    waits |= {EndedBy("pass", each.name): _proved_after(spec, stage, each, assumed) for each in passes}
    late = tuple(what.predicate for what, proof in waits.items() if proof > stage.deadline)
    shortest = min(max(waits.values()), stage.deadline)
    # The run waits for the answer to a query that was sent in time.
    pass_evaluations = [_pass_first_evaluated(stage, each, source) for each in passes if each.events is None]
    latest = max([stage.deadline, *(at + source.timeout for at in pass_evaluations if at <= stage.deadline)])
    ends = Range(begins.earliest + (NOW if stage.half else shortest), begins.latest + latest)
    place = Place(stage.permille, stage.share, begins.latest - counted_from, ends.latest - counted_from, stage)
    return Segment(
        stage.step,
        stage.permille,
        begins,
        ends,
        stage.approval,
        stage.half,
        late,
        EndedBy("deadline") if late else _longest(waits),
        shortest,
        tuple(detections(spec, failure_predicates, place, assumed)),
        _queries(spec, stage.permille, (*spec.guards, *stage.fail), (*stage.pass_, *stage.warn), source),
        stage.title,
    )


def _longest(waits: Mapping[EndedBy, timedelta]) -> EndedBy:
    return max(waits, key=lambda what: waits[what])


def _bake(spec: PlanSpec, assumed: Assumed, last: Segment, counted_from: timedelta) -> Segment:
    """Return the bake after the last stage. It also lasts until the old side is drained, where that has no weight."""
    drain = spec.traffic.drain if last.permille == FULL else NOW
    drained = Range(last.begins.earliest + drain, last.begins.latest + drain)
    baked = Range(last.ends.earliest + spec.bake_for, last.ends.latest + spec.bake_for)
    ends = Range(*map(max, baked, drained))
    place = Place(last.permille, last.permille, last.ends.latest - counted_from, ends.latest - counted_from)
    return Segment(
        "bake",
        last.permille,
        last.ends,
        ends,
        ended_by=EndedBy("drain" if drained.earliest > baked.earliest else "bake"),
        shortest=ends.earliest - last.ends.earliest,
        detections=tuple(detections(spec, _enforced(spec.guards), place, assumed)),
        queries=_queries(spec, last.permille, spec.guards, (), assumed.source),
    )


def _enforced(predicates: Sequence[Predicate]) -> tuple[Predicate, ...]:
    """Return the predicates that affect the run."""
    return tuple(predicate for predicate in predicates if not predicate.dry_run)


# ---- how long until a predicate has a verdict ----------------------------------------------------


def _first_verdict(spec: PlanSpec, stage: Stage, predicate: Predicate, assumed: Assumed) -> timedelta:
    """Return when a guard or `fail` predicate can be decided first: until then the stage is not proved.

    Counts are, when there were requests between two evaluations at the weight. A value that needs more samples than
    any window has is never decided; where that needs the traffic, it is taken for one that soon has enough.
    """
    source = assumed.source
    begins = left_out(stage, predicate) + source.delay
    if predicate.events is None:
        enough = enough_after(predicate, stage.share, assumed) or NOW
        return NEVER if enough is NEVER else begins + max(first_window(predicate, source.scrape), enough)
    return begins + (NOW if predicate.silence_is_clear else evaluation_interval(spec, source))


def _proved_after(spec: PlanSpec, stage: Stage, predicate: Predicate, assumed: Assumed) -> timedelta:
    """Return when a pass predicate can be proved first; for counts, the forecast where the traffic is known."""
    source = assumed.source
    if not can_act(predicate, stage.permille) or enough_after(predicate, stage.share, assumed) is NEVER:
        return NEVER
    if predicate.events is None:
        return _pass_first_evaluated(stage, predicate, source) + round_up(predicate.for_ or NOW, spec.interval)
    every, traffic = evaluation_interval(spec, source), assumed.traffic
    forecast = every if traffic is None else proved_within(predicate, stage.share, traffic, every)
    return forecast if forecast is NEVER else left_out(stage, predicate) + max(every, forecast) + source.delay


def _pass_first_evaluated(stage: Stage, predicate: Predicate, source: SourceView) -> timedelta:
    return max(stage.soak, left_out(stage, predicate) + predicate.window + source.delay)


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
