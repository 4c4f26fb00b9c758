"""Counts: consecutive evaluations of the raw counters of both sides, without repeats and gaps.

Counters come from the metric source; the state of the sequential test goes into the measurements and the status.
Evaluations are at whole multiples of their distance since the epoch, so that plans with the same query send it together
and a replay evaluates the same instants. The first sample is the baseline for the next one. Evaluations missed in an
outage or without a leader are fetched later, from the last one on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import MappingProxyType

from rolloutplan.api.predicate import Events, Predicate
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import PredicateStatus, Status
from rolloutplan.engine.analysis.traffic_share import update_share
from rolloutplan.engine.analysis.variables import render
from rolloutplan.engine.analysis.warmup import is_left_out
from rolloutplan.engine.model.queries import CountQuery, CountQuestion, Series, Side
from rolloutplan.engine.model.snapshot import CountProgress, Measurement, Measurements, SourceView
from rolloutplan.stats.counts import Sample, counter_increase, first_marks
from rolloutplan.stats.sequential import CountDelta, Hypothesis, make_hypothesis, start, step, unpack, verdict
from rolloutplan.stats.verdict import Answer, Outcome, Verdict, Why

SILENT = "no data (noData: Clear)"
"""The detail of a verdict that is Clear because there was no data."""
_EPOCH = datetime.fromtimestamp(0, UTC)


def evaluation_interval(spec: PlanSpec, source: SourceView) -> timedelta:
    """The time between evaluations: the plan's interval, but at least a scrape; whole seconds."""
    return round_up(max(spec.interval, source.scrape), timedelta(seconds=1))


def first_evaluation(since: datetime, spec: PlanSpec, source: SourceView) -> datetime:
    """The instant of the first evaluation allowed since then."""
    return _EPOCH + round_up(since - _EPOCH, evaluation_interval(spec, source))


def next_evaluation(count: CountProgress | None, since: datetime, spec: PlanSpec, source: SourceView) -> datetime:
    """The instant of the next evaluation."""
    if count is None or count.at is None:
        return first_evaluation(since, spec, source)
    return first_evaluation(count.at + timedelta(milliseconds=1), spec, source)


def counted_so_far(
    status: Status, measurements: Measurements, predicate: Predicate, role: str, since: datetime
) -> CountProgress | None:
    """The progress so far: as in the measurements, else as in the status; None before the first evaluation."""
    measurement = measurements.get(predicate.name)
    if measurement is not None and measurement.count is not None and measurement.count.since == since:
        return measurement.count
    kept = next((each for each in status.predicates if each.name == predicate.name), None)
    return _restored(kept, hypothesis_of(predicate, role), since) if kept is not None else None


def _restored(kept: PredicateStatus, hypothesis: Hypothesis, since: datetime) -> CountProgress | None:
    if not kept.state or kept.looked_at is None or kept.looked_at < since:
        return None
    state = unpack(hypothesis, kept.state)
    return CountProgress(since, state, kept.looked_at) if state is not None else None


def hypothesis_of(predicate: Predicate, role: str) -> Hypothesis:
    return make_hypothesis(predicate.comparison, "pass" if role == "pass" else "fail")


def evaluations_due(
    count: CountProgress | None, since: datetime, spec: PlanSpec, source: SourceView, now: datetime
) -> tuple[datetime, datetime] | None:
    """The first and last instant to query now; None where the next evaluation is not due yet."""
    interval = evaluation_interval(spec, source)
    last = _EPOCH + (now - source.delay - _EPOCH) // interval * interval
    following = next_evaluation(count, since, spec, source)
    if following > last:
        return None
    known = count is None or count.at is None or count.marks is not None
    return (following if known else following - interval), last


def count_questions(
    predicate: Predicate,
    variables: Mapping[Side, Mapping[str, str]],
    due: tuple[datetime, datetime],
    interval: timedelta,
) -> Iterator[CountQuestion]:
    """One question for each side that the comparison needs."""
    for side in sides_of(predicate):
        assert predicate.events is not None
        query = CountQuery(render_events(predicate.events, variables[side]))
        yield CountQuestion(predicate.name, side, query, *due, interval)


def sides_of(predicate: Predicate) -> tuple[Side, ...]:
    return ("new",) if predicate.comparison.kind == "value" else ("new", "old")


def render_events(events: Events, variables: Mapping[str, str]) -> Events:
    selectors = {name: getattr(events, name) for name in ("bad", "total", "histogram")}
    return events.model_copy(update={name: render(text, variables) for name, text in selectors.items() if text})


def apply_counts(
    status: Status,
    measurements: Measurements,
    predicate: Predicate,
    role: str,
    since: datetime,
    answers: Mapping[str, Series | Answer],
    asked_at: datetime,
    doubt: Fraction,
) -> Measurements:
    """Apply the counters of some evaluations to the measurements. If a side has no answer, nothing is counted yet."""
    hypothesis, measurement = hypothesis_of(predicate, role), measurements.get(predicate.name, Measurement())
    count = counted_so_far(status, measurements, predicate, role, since) or CountProgress(since, start(hypothesis))
    gap = next((answer for answer in answers.values() if isinstance(answer, Answer)), None)
    if gap is not None:
        source_answered = gap.gap is not Why.SOURCE_DOWN
        undecided = Verdict(Outcome.UNDECIDED, why=gap.gap, detail=gap.detail)
        silent_since = None if source_answered else measurement.silent_since or asked_at
        known = replace(measurement, verdict=undecided, count=count, silent_since=silent_since)
        return MappingProxyType(
            {**measurements, predicate.name: known if not source_answered else replace(known, answered_at=asked_at)}
        )
    sides = {side: dict(series) for side, series in answers.items() if not isinstance(series, Answer)}
    problem: Answer | None = None
    warms_up = False
    for at in sorted(set.intersection(*(set(series) for series in sides.values()))):
        samples = {side: series[at] for side, series in sides.items()}
        warms_up = is_left_out(status.stage, predicate, count.at or at, at)
        count, problem = _evaluated(status, predicate, hypothesis, count, at, samples)
    found = verdict(hypothesis, count.state, float(predicate.confidence), float(doubt))
    if problem is not None:
        found = Verdict(Outcome.UNDECIDED, samples=found.samples, why=problem.gap, detail=problem.detail)
    silent_is_clear = predicate.silence_is_clear and problem is None and not warms_up
    if silent_is_clear and found.why is Why.NO_DATA and not count.state.seen.new_total:
        found = replace(found, outcome=Outcome.REFUTED, why=None, detail=SILENT, holds=False)
    new = replace(
        measurement,
        asked_at=asked_at,
        answered_at=asked_at,
        silent_since=None,
        verdict=found,
        count=count,
        decided_at=count.at if silent_is_clear else _decided_at(hypothesis, count) or measurement.decided_at,
        lacks_old=problem is None and hypothesis.paired and "new" in count.counted_at,
    )
    return MappingProxyType({**measurements, predicate.name: new})


def _evaluated(
    status: Status,
    predicate: Predicate,
    hypothesis: Hypothesis,
    count: CountProgress,
    at: datetime,
    samples: Mapping[str, Sample],
) -> tuple[CountProgress, Answer | None]:
    """One more evaluation. An increase that contradicts itself is left out, and so is latency during a warmup."""
    if count.at is not None and at <= count.at and count.marks is not None:
        return count, None
    seconds = (at - _EPOCH).total_seconds()
    if count.marks is None:
        return replace(count, at=at, marks={side: first_marks(each, seconds) for side, each in samples.items()}), None
    increases = {
        side: counter_increase(count.marks.get(side, {}), samples.get(side, {}), seconds) for side in ("new", "old")
    }
    evaluated = replace(count, at=at, marks={side: increase.marks for side, increase in increases.items()})
    for side, increase in increases.items():
        if increase.problem is not None:
            return evaluated, replace(increase.problem, detail=f"{side} side: {increase.problem.detail}")
    new, old = increases["new"], increases["old"]
    delta = CountDelta(new.total, new.bad, old.total, old.bad)
    since = _EPOCH + timedelta(seconds=min(new.since, old.since, (count.at or at).timestamp()))
    share = update_share(status, count.share, (since, at), delta) if hypothesis.paired else None
    if is_left_out(status.stage, predicate, since, at):
        return replace(evaluated, share=share), None
    counted_at = count.counted_at
    judged_since = status.stage.judged_since if status.stage else None
    if judged_since is not None and since >= judged_since:
        requests: Mapping[Side, int] = {"new": delta.new_total, "old": delta.old_total}
        counted_at = {**counted_at, **{side: at for side, number in requests.items() if number}}
    return replace(evaluated, state=step(hypothesis, count.state, delta), share=share, counted_at=counted_at), None


def _decided_at(hypothesis: Hypothesis, count: CountProgress) -> datetime | None:
    """The last instant by which each side that is compared had requests again; None where one had none so far."""
    instants = [count.counted_at.get(side) for side in (("new", "old") if hypothesis.paired else ("new",))]
    known = [instant for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) else None


def round_up(span: timedelta, part: timedelta) -> timedelta:
    """The span, rounded up to whole parts."""
    return -(-span // part) * part
