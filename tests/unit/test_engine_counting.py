"""Looks at counters: aligned, none twice, none left out, and the same whoever takes them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.status import Phase, PredicateStatus, StageStatus, Status
from rolloutplan.engine.analysis.measurements import active_predicates, count, due_queries, mark_asked
from rolloutplan.engine.decide import decide
from rolloutplan.engine.model.plan_view import PlanView, Readable
from rolloutplan.engine.model.queries import CountQuestion, Series
from rolloutplan.engine.model.snapshot import NO_MEASUREMENTS, Measurements, SourceView
from rolloutplan.engine.run.decision_log import predicate_statuses
from rolloutplan.stats.verdict import Answer, Outcome, Why
from tests.refusals import changed
from tests.world import PLAN, SOURCE, START, World, after

EVENTS = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
SPEC = changed(
    PLAN,
    {"guards": [{"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}], "stages[0].pass": [], "stages[0].fail": []},
)
STEP = timedelta(seconds=15)
"""The scrape interval of SOURCE: the plan's interval of 10 s is less."""


def plan_of(raw: dict[str, Any]) -> tuple[PlanSpec, PlanView]:
    spec = read_plan_spec(raw)
    return spec, replace(World(spec=raw).plan(), content=Readable(spec))


def judging(since: datetime, name: str = "canary") -> Status:
    stage = StageStatus(name=name, index=0, judged_since=since, verified_at=since, soak_until=since, deadline_at=since)
    status = World().status.model_copy(update={"phase": Phase.JUDGING, "stage": stage, "counted_since": since})
    return Status.model_validate(status.model_dump())


def counters(at: datetime, bad: float, total: float = 100.0) -> dict[str, tuple[float, float | None]]:
    """What one instance has counted by then: so many requests a second, and so many bad ones."""
    seconds = (at - START).total_seconds()
    return {"job/a": (round(total * seconds), round(bad * seconds))}


def series(question: CountQuestion, bad: Mapping[str, float]) -> Series:
    instants, at = [], question.start
    while at <= question.end:
        instants.append((at, counters(at, bad[question.part])))
        at += question.step
    return instants


class Watcher:
    """Asks when something is due, and is answered at once."""

    def __init__(self, raw: dict[str, Any], status: Status, source: SourceView = SOURCE) -> None:
        self.spec, self.view = plan_of(raw)
        self.status, self.source, self.measurements = status, source, NO_MEASUREMENTS
        self.asked: list[CountQuestion] = []

    def snapshot(self, now: datetime, bad: Mapping[str, float], gap: Answer | None = None) -> None:
        due = due_queries(self.view, self.status, self.source, self.measurements, now)
        questions = [question for question in due if isinstance(question, CountQuestion)]
        assert len(questions) == len(due)
        self.asked += questions
        self.measurements = mark_asked(self.spec, self.status, self.measurements, due, now)
        if questions:
            answers: dict[str, Series | Answer] = {q.part: gap or series(q, bad) for q in questions}
            self.measurements = count(self.spec, self.status, self.source, self.measurements, "worse", answers, now)

    def run(self, start: datetime, seconds: int, bad: Mapping[str, float]) -> None:
        for second in range(seconds):
            self.snapshot(start + timedelta(seconds=second), bad)

    @property
    def looks(self) -> list[datetime]:
        """The instants that were asked about the new side, in their order."""
        found = []
        for question in self.asked:
            at = question.start
            while question.part == "new" and at <= question.end:
                found.append(at)
                at += question.step
        return found


def test_looks_stand_at_whole_multiples_of_their_distance_and_none_twice() -> None:
    since = START + timedelta(seconds=7)
    watcher = Watcher(SPEC, judging(since))
    watcher.run(since, 100, {"new": 1, "old": 1})
    first = START + STEP
    assert watcher.looks == [first + i * STEP for i in range(7)]
    assert {question.part for question in watcher.asked} == {"new", "old"}
    assert 'deployment="v2"' in (watcher.asked[0].query.events.bad or "")


def test_what_was_missed_is_fetched_from_the_last_look_on() -> None:
    watcher = Watcher(SPEC, judging(START))
    watcher.run(START, 40, {"new": 1, "old": 1})
    for second in range(40, 100):
        watcher.snapshot(START + timedelta(seconds=second), {}, gap=Answer(gap=Why.SOURCE_DOWN, detail="refused"))
    assert watcher.measurements["worse"].silent_since is not None
    asked = len(watcher.asked)
    watcher.snapshot(START + timedelta(seconds=110), {"new": 1, "old": 1})
    question = watcher.asked[asked]
    assert (question.start, question.end) == (START + 3 * STEP, START + 7 * STEP)
    counted = watcher.measurements["worse"].count
    assert counted is not None
    assert counted.state.seen.new_total == 100 * 7 * 15, "every request is counted once"


@pytest.mark.parametrize("kept", [True, False], ids=["the status kept it", "the status lost it"])
def test_an_operator_that_is_started_again_comes_to_the_same_state(kept: bool) -> None:
    bad = {"new": 3.0, "old": 2.0}
    lived, died = Watcher(SPEC, judging(START)), Watcher(SPEC, judging(START))
    for watcher in (lived, died):
        watcher.run(START, 80, bad)
    if kept:
        sealed = (PredicateStatus(name="worse", role="guard"),)
        snapshot = replace(
            World(spec=SPEC).snapshot(),
            measurements=died.measurements,
            now=START + timedelta(seconds=80),
            source=SOURCE,
        )
        predicates = predicate_statuses(snapshot, died.status.model_copy(update={"predicates": sealed}))
        assert len(predicates[0].state) <= 500
        died.status = died.status.model_copy(update={"predicates": predicates})
    died.measurements = NO_MEASUREMENTS
    for watcher in (lived, died):
        watcher.run(START + timedelta(seconds=100), 100, bad)
    one, other = lived.measurements["worse"].count, died.measurements["worse"].count
    assert one is not None
    assert other is not None
    assert (one.state, one.at) == (other.state, other.at)


@pytest.mark.parametrize(
    ("bad", "outcome"),
    [
        ({"new": 9.0, "old": 3.0}, Outcome.PROVED),
        ({"new": 3.0, "old": 3.0}, Outcome.UNDECIDED),
        ({"new": 4.0, "old": 3.0}, Outcome.UNDECIDED),
    ],
    ids=["three times as bad", "no worse", "worse, within the tolerance"],
)
def test_a_guard_is_proved_by_counts_alone(bad: Mapping[str, float], outcome: Outcome) -> None:
    watcher = Watcher(SPEC, judging(START))
    watcher.run(START, 300, bad)
    verdict = watcher.measurements["worse"].verdict
    assert verdict is not None
    assert verdict.outcome is outcome, verdict


def test_counters_that_are_none_decide_nothing_and_say_why() -> None:
    watcher = Watcher(SPEC, judging(START))
    watcher.run(START, 40, {"new": 1, "old": 1})
    watcher.run(START + timedelta(seconds=40), 20, {"new": 150, "old": 1})
    verdict = watcher.measurements["worse"].verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.why) == (Outcome.UNDECIDED, Why.NOT_COUNTERS)
    assert "bad must be a part of total" in verdict.detail


def test_a_pass_predicate_that_is_proved_wrong_does_not_wait_for_the_deadline() -> None:
    few = {"name": "worse", "events": EVENTS, "is": "< 1%"}
    later = {"stages[1].pass": [{**few, "name": "x"}], "stages[2].pass": [{**few, "name": "y"}]}
    raw = changed(SPEC, {"guards": [], "stages[0].pass": [few], "stages[1].fail": [], **later})
    watcher = Watcher(raw, judging(START))
    watcher.run(START, 100, {"new": 9.0, "old": 0.0})
    assert {question.part for question in watcher.asked} == {"new"}, "one side is enough"
    verdict = watcher.measurements["worse"].verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.REFUTED
    world = World().until(Phase.JUDGING)
    snapshot, since = world.snapshot(), world.now
    status = snapshot.status.model_copy(update={"plan_hash": watcher.spec.plan_hash()})
    snapshot = replace(snapshot, plan=watcher.view, status=status, measurements=_proved(watcher.measurements, since))
    assert after(snapshot, decide(snapshot)).reason == "PassRefuted"
    assert all(row.role == "pass" for row in active_predicates(watcher.spec, watcher.status, SOURCE))


def _proved(measurements: Measurements, since: datetime) -> Measurements:
    track = measurements["worse"]
    assert track.count is not None
    later = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return {"worse": replace(track, asked_at=later, count=replace(track.count, since=since))}
