"""The metric source of a rehearsal: it answers the queries of a plan from the simulated requests and the faults."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from typing import Final

from rolloutplan.engine.model.actions import QueryOnce
from rolloutplan.engine.model.queries import AlertQuery, CountQuestion, Question, Series, Side
from rolloutplan.stats.threshold import judge
from rolloutplan.stats.verdict import Answer, Verdict, Why
from rolloutplan.tools.rehearsal.answers import counters_of, healthy, reading_of, samples_of, value_of
from rolloutplan.tools.rehearsal.faults import Happening, Happenings
from rolloutplan.tools.rehearsal.model import RehearsalError, RehearsalInput
from rolloutplan.tools.rehearsal.traffic import Traffic

DOWN: Final = Answer(gap=Why.SOURCE_DOWN, detail="the rehearsal has taken it down")


class Metrics:
    """Raises RehearsalError where an answer or a fault names no predicate."""

    def __init__(self, given: RehearsalInput, faults: Happenings, traffic: Traffic) -> None:
        self.given, self.faults, self.traffic = given, faults, traffic
        self.predicates = {predicate.name: predicate for _, predicate in given.spec.predicates()}
        self.readings = {
            predicate.name: reading_of(predicate, _role(path), given.answers.get(predicate.name))
            for path, predicate in given.spec.predicates()
        }
        self._times = max((each.size.times or 1.0 for each in given.faults if each.size is not None), default=1.0)
        self._check_names()

    def _check_names(self) -> None:
        named = {each.name for each in self.given.faults if each.what == "answer"} | {*self.given.answers}
        budgets = (each.name for each in self.given.policies if each.spec is not None)
        known = {*self.readings, *(each.name for each in self.given.spec.assumptions), *budgets}
        for name in sorted(named - known):
            near = get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known)) or 'none'}"
            raise RehearsalError(f"the plan has no predicate {name}{hint}")

    def answer(self, question: Question | CountQuestion, now: datetime, pods: int) -> Answer | Series:
        """The answer to a query of a predicate. `pods` are those that count the requests of the side."""
        if self.faults.are_on(now, "prometheus down"):
            return DOWN
        name, reading = question.name, self.readings[question.name]
        if isinstance(question, CountQuestion):
            return counters_of(reading, question, pods, self.traffic)
        if isinstance(question.query, AlertQuery):
            return self._alerts(name, question.query, now)
        side: Side = "old" if question.part.startswith("old") else "new"
        predicate, text = self.predicates[name], question.query.text
        if question.part in ("samples", "oldSamples") and predicate.min_samples is not None:
            at_least = predicate.min_samples.at_least
            return samples_of(text, at_least, side, question.at, predicate.window, self.traffic)
        if (said := self._said(name, side, now)) is not None:
            return Answer(said.incident.number)
        return value_of(reading, text, side, question.at, predicate.window, self.traffic, self._times)

    def once(self, question: QueryOnce, now: datetime) -> Verdict:
        """The verdict on a query of the gate or of an assumption: all is well where nothing else is said."""
        name = question.name.rpartition(" ")[2]
        said = self._said(name, "new", now)
        if self.faults.are_on(now, "prometheus down"):
            answer = DOWN
        elif isinstance(question.query, AlertQuery):
            answer = self._alerts(name, question.query, now)
        elif said is not None:
            answer = Answer(said.incident.number)
        else:
            answer = Answer(self.given.answers.get(name, healthy(question.comparison, holds=True)))
        return judge(question.comparison, answer)

    def _said(self, name: str, side: Side, now: datetime) -> Happening | None:
        """The fault that says what a query answers now."""
        said = self.faults.on(now, "answer")
        return next((each for each in said if each.incident.name == name and side in each.incident.sides), None)

    def _alerts(self, name: str, query: AlertQuery, now: datetime) -> Answer:
        """How many alerts fire that did not fire at the instant of the query: as many as a fault says."""
        fire = self._said(name, "new", now)
        if fire is None:
            return Answer(self.given.answers.get(name, 0.0) if query.since is None else 0.0)
        new = query.since is None or (fire.begins is not None and fire.begins > query.since)
        return Answer(fire.incident.number if new else 0.0)


def _role(path: str) -> str:
    return "pass" if ".pass[" in path else "fail"
