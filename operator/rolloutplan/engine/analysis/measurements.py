"""Which queries to send to a metric source, when and over which window, and what the answers mean.

`PlanRun` sends the questions as effects and applies the answers here; the measurements go into its snapshots. A window
never begins before the stage's weight was verified, and one on latency not before its warmup is over. A fail predicate
starts with a short window that grows, so that a bad start is seen early. A pass predicate is evaluated once the soak is
over, and only over its whole window. The file is long because when a predicate is due, over which window, and what its
answer means follow from the same instants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

from rolloutplan.api.changes import change
from rolloutplan.api.predicate import Predicate
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL, Stage
from rolloutplan.api.status import Phase, StageStatus, Status
from rolloutplan.engine.analysis.counting import (
    SILENT,
    apply_counts,
    count_questions,
    counted_so_far,
    evaluation_interval,
    evaluations_due,
    first_evaluation,
    next_evaluation,
)
from rolloutplan.engine.analysis.variables import is_side_specific, render, variables_for
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.queries import AlertQuery, CountQuestion, Question, Series, ValueQuery
from rolloutplan.engine.model.snapshot import Measurement, Measurements, Snapshot, SourceView
from rolloutplan.stats.threshold import judge
from rolloutplan.stats.verdict import Answer, Outcome, Verdict, Why

FIRST_SCRAPES = 4
"""The samples in a fail predicate's first window, unless its whole window has fewer."""

MISSED_IN_A_ROW = 2
"""This many evaluations in a row may have no answer while the earlier result remains in force: a source that drops some
answers must not reset the `for` of a guard. An older result says nothing about the present."""

Role = Literal["pass", "fail", "guard", "warn"]


@dataclass(frozen=True, slots=True)
class ActivePredicate:
    """A predicate that is in force now, the instant of its first evaluation, and its window then."""

    role: Role
    predicate: Predicate
    first_at: datetime
    first_window: timedelta
    since: datetime
    """The instant from which on its events are counted; used only if it counts events."""
    warm_at: datetime | None = None
    """The end of the warmup, before which nothing of it is judged; None where there is none."""

    @property
    def name(self) -> str:
        return self.predicate.name

    @property
    def is_failure_signal(self) -> bool:
        """Whether it indicates a failure of the new side where it is true."""
        return self.role != "pass"

    @property
    def enforced(self) -> bool:
        """Whether it decides about progress or rollback; a dry run or a warn predicate does not."""
        return self.role != "warn" and not self.predicate.dry_run


def current_stage(spec: PlanSpec, status: Status) -> Stage | None:
    """The present stage of the run, by its name; at the weight half way to its own where the run is there."""
    if status.stage is None:
        return None
    name, half = status.stage.name, status.stage.halfway
    stage = next((stage for stage in spec.steps() if stage.name == name), None)
    return stage.at(half) if stage is not None and half is not None and 0 < half < stage.permille else stage


def active_predicates(spec: PlanSpec, status: Status, source: SourceView | None) -> tuple[ActivePredicate, ...]:
    """The predicates that are judged now: failure signals first, those that are not enforced last.

    While a weight is being written, the guards continue over the former weight; for the first one, from its request on.
    """
    stage, at = current_stage(spec, status), status.stage
    if stage is None or at is None or at.judged_since is None or source is None:
        return ()
    phase = status.effective_phase
    if phase not in (Phase.SHIFTING, Phase.JUDGING, Phase.BAKING):
        return ()
    judged, delay = at.judged_since, source.delay

    def row(role: Role, predicate: Predicate, first: timedelta, since: datetime | None) -> ActivePredicate:
        since, warm = since or judged, at.warmup_until if predicate.judges_latency else None
        if predicate.events is not None:
            return ActivePredicate(role, predicate, first_evaluation(since, spec, source) + delay, first, since, warm)
        begins = judged if warm is None else max(judged, warm)
        return ActivePredicate(role, predicate, begins + delay + first, first, since, warm)

    def growing(role: Role, predicate: Predicate, since: datetime | None) -> ActivePredicate:
        return row(role, predicate, first_window(predicate, source.scrape), since)

    rows = [growing("guard", predicate, status.counted_since) for predicate in spec.guards]
    # After the bake of a control group only its guards go on: the stage has been left.
    baked = phase is Phase.BAKING or (phase is Phase.SHIFTING and stage.held_back and not stage.half)
    if at.verified_at is not None and not baked:
        rows += [growing("fail", predicate, at.verified_at) for predicate in stage.fail]
    if at.verified_at is not None and phase is Phase.JUDGING:
        passes = [row("pass", predicate, predicate.window, at.verified_at) for predicate in stage.pass_]
        soaked = at.soak_until or judged + delay
        rows += [p if p.predicate.events else replace(p, first_at=max(soaked, p.first_at)) for p in passes]
        rows += [growing("warn", predicate, at.verified_at) for predicate in stage.warn]
    return tuple(sorted(rows, key=lambda row: not row.enforced))


def enforced_predicates(spec: PlanSpec, status: Status, source: SourceView | None) -> tuple[ActivePredicate, ...]:
    """The predicates that are judged now and enforced."""
    return tuple(row for row in active_predicates(spec, status, source) if row.enforced)


def left_predicates(spec: PlanSpec, status: Status, source: SourceView | None) -> tuple[ActivePredicate, ...]:
    """The enforced `fail` predicates of the stage that is being left, until the next weight is in force.

    They are not asked any more, but an answer may still be on its way when the next weight is requested.
    """
    at, intent = status.stage, status.intent
    if at is None or at.verified_at is not None or intent is None or not intent.leaves:
        return ()
    left = StageStatus(name=intent.leaves, index=at.index, judged_since=at.judged_since, verified_at=at.judged_since)
    rows = enforced_predicates(spec, change(status, stage=left), source)
    return tuple(row for row in rows if row.role == "fail")


def first_window(predicate: Predicate, scrape: timedelta) -> timedelta:
    """The first window of a fail predicate or guard; it grows from there."""
    return min(predicate.window, FIRST_SCRAPES * scrape)


def asks_both_sides(spec: PlanSpec, predicate: Predicate, permille: int) -> bool:
    """Whether a fail predicate or guard on one value is evaluated for the old side too.

    At full traffic it is not: a value of a side that serves nothing has no meaning.
    """
    of_one_side = (
        predicate.query is not None and predicate.comparison.kind == "value" and is_side_specific(spec, predicate.query)
    )
    return of_one_side and spec.on_incident.action == "Hold" and not predicate.dry_run and permille < FULL


def due_queries(
    plan: PlanView, status: Status, source: SourceView | None, measurements: Measurements, now: datetime
) -> tuple[Question | CountQuestion, ...]:
    """The questions that are due now. A predicate has at most one evaluation an interval, all parts at one instant."""
    spec = plan.spec
    since = _judged_since(status)
    if spec is None or source is None or since is None:
        return ()
    questions: list[Question | CountQuestion] = []
    for row in active_predicates(spec, status, source):
        if ask_at(row, spec, status, source, measurements) > now:
            continue
        if row.predicate.events is None:
            questions += _questions(spec, plan, status, row, source, now, now - since)
            questions += _question_before(spec, plan, status, row, measurements)
        else:
            questions += _count_questions(spec, plan, status, row, source, measurements, now)
    return tuple(questions)


def ask_at(
    row: ActivePredicate, spec: PlanSpec, status: Status, source: SourceView, measurements: Measurements
) -> datetime:
    """The instant of the next evaluation of a predicate."""
    measurement = measurements.get(row.name)
    asked = measurement.asked_at if measurement is not None else None
    if row.predicate.events is not None:
        count = counted_so_far(status, measurements, row.predicate, row.role, row.since)
        due = next_evaluation(count, row.since, spec, source) + source.delay
        return due if asked is None or asked < due else asked + spec.interval
    if asked is None or asked < row.first_at:
        return row.first_at
    return asked + spec.interval


def _count_questions(
    spec: PlanSpec,
    plan: PlanView,
    status: Status,
    row: ActivePredicate,
    source: SourceView,
    measurements: Measurements,
    now: datetime,
) -> Iterator[CountQuestion]:
    count = counted_so_far(status, measurements, row.predicate, row.role, row.since)
    due = evaluations_due(count, row.since, spec, source, now)
    stage = status.stage.name if status.stage else ""

    def variables(side: str) -> dict[str, str]:
        return variables_for(
            spec, namespace=plan.namespace, plan=plan.name, stage=stage, side=side, window=timedelta(0)
        )

    if due is not None:
        yield from count_questions(
            row.predicate, {"new": variables("new"), "old": variables("old")}, due, evaluation_interval(spec, source)
        )


def _questions(
    spec: PlanSpec,
    plan: PlanView,
    status: Status,
    row: ActivePredicate,
    source: SourceView,
    now: datetime,
    elapsed: timedelta,
) -> Iterator[Question]:
    predicate, at = row.predicate, now - source.delay
    window = min(predicate.window, row.first_window + (now - row.first_at))
    name = status.stage.name if status.stage else ""

    def variables(side: str) -> dict[str, str]:
        return variables_for(
            spec, namespace=plan.namespace, plan=plan.name, stage=name, side=side, window=window, elapsed=elapsed
        )

    def rendered(query: str, side: str) -> ValueQuery:
        since = now - elapsed
        return ValueQuery(render(query, variables(side)), since=max(since, row.warm_at or since))

    if predicate.alert is not None:
        new_alerts = AlertQuery(render(predicate.alert.matchers, variables("new")), since=now - elapsed)
        yield Question(row.name, "new", new_alerts, at)
        return
    assert predicate.query is not None
    yield Question(row.name, "new", rendered(predicate.query, "new"), at)
    if predicate.comparison.kind != "value":
        yield Question(row.name, "old", rendered(predicate.query, "old"), at)
    if predicate.min_samples is not None:
        yield Question(row.name, "samples", rendered(predicate.min_samples.query, "new"), at)
    stage = current_stage(spec, status)
    if (
        row.is_failure_signal
        and row.enforced
        and stage is not None
        and asks_both_sides(spec, predicate, stage.permille)
    ):
        yield Question(row.name, "old", rendered(predicate.query, "old"), at, optional=True)
        if predicate.min_samples is not None:
            yield Question(row.name, "oldSamples", rendered(predicate.min_samples.query, "old"), at, optional=True)


def _question_before(
    spec: PlanSpec, plan: PlanView, status: Status, row: ActivePredicate, measurements: Measurements
) -> Iterator[Question]:
    """Where both sides are bad: whether the old side was bad before the stage's weight was set. Answered once."""
    predicate, at, stage = row.predicate, status.stage, current_stage(spec, status)
    known = measurements.get(row.name, Measurement())
    both = known.verdict is not None and known.verdict.holds and known.old is not None and known.old.holds
    if known.before is not None or not (both or status.held_for == HoldReason.INCIDENT):
        return
    if at is None or at.entered_at is None or stage is None or not (row.is_failure_signal and row.enforced):
        return
    if predicate.query is None or not asks_both_sides(spec, predicate, stage.permille):
        return
    variables = variables_for(
        spec, namespace=plan.namespace, plan=plan.name, stage=at.name, side="old", window=predicate.window
    )
    query = ValueQuery(render(predicate.query, variables))
    yield Question(row.name, "oldBefore", query, at.entered_at, optional=True)


def _judged_since(status: Status) -> datetime | None:
    return status.stage.judged_since if status.stage else None


def _judged_from(spec: PlanSpec, status: Status, name: str) -> datetime | None:
    """The instant before which nothing says anything about a predicate on a value."""
    since, predicate = _judged_since(status), find_predicate(spec, status, name)
    warm = status.stage.warmup_until if status.stage and predicate and predicate.judges_latency else None
    return since if since is None or warm is None else max(since, warm)


def missing_answer_timeout(spec: PlanSpec, source: SourceView) -> timedelta:
    """How long an answer may be missing without consequence."""
    return max(3 * spec.interval, spec.interval + source.timeout)


def mark_asked(
    spec: PlanSpec,
    status: Status,
    measurements: Measurements,
    questions: Iterable[Question | CountQuestion],
    now: datetime,
) -> Measurements:
    """The measurements with these questions marked as asked now; results at another weight are forgotten.

    So are those of latency from before a warmup. Counts are kept: a weight changes how much is counted, not what the
    counts prove.
    """

    def asked(question: Question | CountQuestion) -> Measurement:
        measurement = measurements.get(question.name, Measurement())
        if isinstance(question, CountQuestion):
            return replace(measurement, asked_at=now, query=str(question.query))
        since = _judged_from(spec, status, question.name)
        stale = since is None or measurement.asked_at is None or measurement.asked_at < since
        return replace(Measurement() if stale else measurement, asked_at=now, query=str(question.query))

    return MappingProxyType({**measurements, **{q.name: asked(q) for q in questions if q.part == "new"}})


def apply_answers(
    spec: PlanSpec,
    status: Status,
    measurements: Measurements,
    name: str,
    answers: Mapping[str, Answer],
    asked_at: datetime,
) -> Measurements:
    """Apply the answers for one predicate to the measurements.

    `answers` is keyed by the question's part; optional ones may be missing. An answer to a question from before this
    weight was verified says nothing about this weight and is ignored.
    """
    predicate = find_predicate(spec, status, name)
    judged_since = _judged_since(status)
    if predicate is None or judged_since is None or asked_at < judged_since:
        return measurements
    measurement = measurements.get(name, Measurement())
    minimum = predicate.min_samples.at_least if predicate.min_samples else 0
    old = answers.get("old") if predicate.comparison.kind != "value" else None
    raw = judge(predicate.comparison, answers["new"], old, answers.get("samples"), minimum)
    if predicate.silence_is_clear and raw.why is Why.NO_DATA and answers["new"].gap is Why.NO_DATA:
        raw = replace(raw, outcome=Outcome.REFUTED, why=None, detail=SILENT, holds=False)
    since, missed = _update_holding(measurement, raw, asked_at)
    awaited = (answers["new"], old, answers.get("samples"))
    source_answered = all(answer is None or answer.gap is not Why.SOURCE_DOWN for answer in awaited)
    found = _held_long_enough(predicate, raw, since, asked_at)
    new = replace(
        measurement,
        asked_at=measurement.asked_at or asked_at,
        answered_at=asked_at if source_answered else measurement.answered_at,
        silent_since=None if source_answered else measurement.silent_since or asked_at,
        verdict=found,
        since=since,
        missed=missed,
        old=_judge_old(predicate, answers, minimum),
        before=judge(predicate.comparison, answers["oldBefore"]) if "oldBefore" in answers else measurement.before,
        decided_at=measurement.decided_at if found.outcome is Outcome.UNDECIDED else asked_at,
        lacks_old=found.lacks_old,
    )
    return MappingProxyType({**measurements, name: new})


def _update_holding(
    measurement: Measurement, raw: Verdict, at: datetime
) -> tuple[datetime | None, tuple[datetime, ...]]:
    """Since when the comparison holds, and the evaluations without an answer up to now.

    The time from the first unanswered evaluation to the next answer counts neither for nor against it.
    """
    if raw.holds is None:
        missed = (*measurement.missed, at)[: MISSED_IN_A_ROW + 1]
        return (measurement.since if len(missed) <= MISSED_IN_A_ROW else None), missed
    if not raw.holds:
        return None, ()
    if measurement.since is None:
        return at, ()
    return measurement.since + (at - measurement.missed[0] if measurement.missed else timedelta(0)), ()


def _judge_old(predicate: Predicate, answers: Mapping[str, Answer], minimum: int) -> Verdict | None:
    """The verdict of a comparison of one value on the old side, where all of its answers came."""
    if predicate.comparison.kind != "value" or "old" not in answers:
        return None
    if predicate.min_samples is not None and "oldSamples" not in answers:
        return None
    return judge(predicate.comparison, answers["old"], samples=answers.get("oldSamples"), at_least=minimum)


def count(
    spec: PlanSpec,
    status: Status,
    source: SourceView,
    measurements: Measurements,
    name: str,
    answers: Mapping[str, Series | Answer],
    asked_at: datetime,
    doubt: Fraction = Fraction(1),
) -> Measurements:
    """Apply the counters for one predicate to the measurements; `answers` is keyed by the side.

    A pass predicate is proved only if it leaves at most the part `doubt` of the doubt that its confidence allows.
    """
    rows = (*active_predicates(spec, status, source), *left_predicates(spec, status, source))
    row = next((row for row in rows if row.name == name and row.predicate.events), None)
    if row is None or asked_at < row.first_at:
        return measurements
    doubt = Fraction(1) if row.is_failure_signal else doubt
    return apply_counts(status, measurements, row.predicate, row.role, row.since, answers, asked_at, doubt)


def _held_long_enough(predicate: Predicate, raw: Verdict, since: datetime | None, at: datetime) -> Verdict:
    if predicate.for_ is None or not raw.holds or since is None or at - since >= predicate.for_:
        return raw
    words = f"holds for {(at - since).total_seconds():.0f} s of {predicate.for_.total_seconds():.0f} s"
    return replace(raw, outcome=Outcome.UNDECIDED, why=Why.NOT_YET, detail=words)


def find_predicate(spec: PlanSpec, status: Status, name: str) -> Predicate | None:
    """The predicate of this name among the guards, those of the present stage, and those of a stage being left."""
    stage, leaves = current_stage(spec, status), status.intent.leaves if status.intent else ""
    own = stage.predicates if stage else ()
    left = next((step.predicates for step in spec.steps() if step.name == leaves), ())
    return next((predicate for predicate in (*spec.guards, *own, *left) if predicate.name == name), None)


def indicates_failure(spec: PlanSpec, status: Status, name: str, measurement: Measurement) -> bool:
    """Whether a fail predicate or guard of this name has tripped and is enforced."""
    stage = current_stage(spec, status)
    failure_predicates = (*spec.guards, *(stage.fail if stage else ()))
    proved = measurement.verdict is not None and measurement.verdict.outcome is Outcome.PROVED
    return proved and any(predicate.name == name and not predicate.dry_run for predicate in failure_predicates)


def measurement_of(snapshot: Snapshot, row: ActivePredicate) -> Measurement:
    """The measurement of a predicate at this weight; empty if it was last asked before its first evaluation."""
    measurement = snapshot.measurements.get(row.name)
    if measurement is None or measurement.asked_at is None or measurement.asked_at < row.first_at:
        return Measurement()
    return measurement


def verdict_of(snapshot: Snapshot, row: ActivePredicate) -> Verdict:
    """The present verdict; before the first answer it is Undecided, with the simplest reason."""
    verdict = measurement_of(snapshot, row).verdict
    waits = verdict is None or verdict.why in (Why.NOT_YET, Why.NO_DATA)
    if row.warm_at is not None and snapshot.now < row.warm_at and waits:
        words = f"latency of new pods is left out until {row.warm_at:%H:%M:%S}"
        return replace(verdict or Verdict(Outcome.UNDECIDED), why=Why.WARMUP, detail=words)
    if verdict is not None:
        return verdict
    why = Why.WINDOW_NOT_FILLED if snapshot.now < row.first_at else Why.NOT_YET
    return Verdict(Outcome.UNDECIDED, why=why)
