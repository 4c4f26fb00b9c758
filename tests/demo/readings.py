"""The predicates of a plan as they stand this second.

The operator writes verdicts to status when it decides, not at each measurement. So the demo asks Prometheus by itself,
what the operator's own rules would ask now, and judges the answers by the same rules.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import PredicateStatus, Status, read_status
from rolloutplan.cluster import plans
from rolloutplan.engine.analysis.measurements import active_predicates, apply_answers, due_queries
from rolloutplan.engine.model.queries import Question
from rolloutplan.engine.model.snapshot import NO_MEASUREMENTS, SourceView
from rolloutplan.engine.run.decision_log import CLEAR, undecided_reason, value_text, verdict_word
from rolloutplan.metrics.prometheus.provider import promql
from rolloutplan.stats.verdict import Answer, Outcome, Verdict, Why

Query = Callable[[str], float | None]
SOURCE = SourceView(scrape=timedelta(seconds=1), delay=timedelta(0), timeout=timedelta(seconds=5))
"""As examples/demo/2-metrics.yaml has it."""


@dataclass(frozen=True)
class Reading:
    """One predicate; `note` says why it is Undecided, or when it will be judged."""

    role: str
    name: str
    value: str
    bound: str
    verdict: str
    note: str

    @property
    def good(self) -> bool | None:
        """Whether it indicates success; None while it is undecided."""
        if self.verdict == Outcome.UNDECIDED:
            return None
        return self.verdict in (Outcome.PROVED, CLEAR)


def read(plan: Mapping[str, Any], query: Query) -> tuple[Reading, ...]:
    """All predicates that are sealed for the present stage; once the run has ended, as they were at its end."""
    view, status, now = plans.view(plan), read_status(plan.get("status")), datetime.now(UTC)
    if view.spec is None:
        return ()
    due = due_queries(view, _soaked(status), SOURCE, NO_MEASUREMENTS, now)
    asked = groupby((each for each in due if isinstance(each, Question)), key=lambda question: question.name)
    verdicts = {name: _verdict(view.spec, status, name, questions, query, now) for name, questions in asked}
    from_when = {row.name: row.first_at for row in active_predicates(view.spec, status, SOURCE)}
    return tuple(
        _reading(view.spec, sealed, verdicts.get(sealed.name), from_when.get(sealed.name, now) - now)
        for sealed in status.predicates
    )


def _soaked(status: Status) -> Status:
    """The same as if the soak were over: a pass predicate is shown before its verdict counts."""
    if status.stage is None or status.stage.verified_at is None:
        return status
    stage = status.stage.model_copy(update={"soak_until": status.stage.verified_at})
    return status.model_copy(update={"stage": stage})


def _verdict(
    spec: PlanSpec, status: Status, name: str, questions: Iterable[Question], query: Query, now: datetime
) -> Verdict | None:
    answers: dict[str, Answer] = {
        question.part: _answer(query(promql(question.query))) for question in questions if not question.optional
    }
    return apply_answers(spec, status, NO_MEASUREMENTS, name, answers, now)[name].verdict


def _answer(value: float | None) -> Answer:
    if value is None:
        return Answer(gap=Why.NO_DATA)
    return Answer(value) if math.isfinite(value) else Answer(gap=Why.NAN)


def _reading(spec: PlanSpec, sealed: PredicateStatus, verdict: Verdict | None, due_in: timedelta) -> Reading:
    waits = math.ceil(due_in.total_seconds())
    if verdict is None:
        note = f"asked in {waits} s" if waits > 0 else sealed.why
        return Reading(sealed.role, sealed.name, sealed.value, sealed.bound, sealed.verdict, note)
    comparison = next(predicate.comparison for _, predicate in spec.predicates() if predicate.name == sealed.name)
    value = value_text(comparison, verdict)
    note = f"decides in {waits} s" if waits > 0 else undecided_reason(verdict)
    return Reading(sealed.role, sealed.name, value, sealed.bound, verdict_word(sealed.role, verdict.outcome), note)
