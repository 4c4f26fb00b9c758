"""`for`: how long a comparison must hold, on a source that does not answer every time.

A story is a word, a letter for each evaluation, ten seconds apart: `T` the comparison is true, `F` it is false, `?`
there is no answer, `-` the source is silent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Phase, StageStatus, Status
from rolloutplan.engine.analysis.measurements import MISSED_IN_A_ROW, apply_answers, mark_asked
from rolloutplan.engine.model.queries import Question, ValueQuery
from rolloutplan.engine.model.snapshot import NO_MEASUREMENTS, Measurement, Measurements
from rolloutplan.stats.verdict import Answer, Outcome, Why
from tests.refusals import changed
from tests.situations import (
    BACK,
    HALF,
    OLD_WEIGHTS,
    UP,
    Case,
    P,
    Situation,
    every_second,
    ids,
    judging,
    run,
    s,
    says,
    then,
    wait,
)
from tests.world import PLAN, START, World

INTERVAL: Final = timedelta(seconds=10)
FOR: Final = timedelta(seconds=30)
SPEC: Final = read_plan_spec(changed(PLAN, {"guards[0].for": "30s"}))
STAGE: Final = StageStatus(name="canary", index=0, judged_since=START, verified_at=START)
STATUS: Final = World().status.model_copy(update={"phase": Phase.JUDGING, "stage": STAGE})
ANSWERS: Final = {
    "T": Answer(0.2),
    "F": Answer(0.0),
    "?": Answer(gap=Why.NAN, detail="the value is NaN"),
    "-": Answer(gap=Why.SOURCE_DOWN, detail="timeout"),
}


def evaluated(measurements: Measurements, letter: str, at: datetime, status: Status = STATUS) -> Measurements:
    asked = mark_asked(SPEC, status, measurements, [Question("errors", "new", ValueQuery("errors"), at)], at)
    return apply_answers(SPEC, status, asked, "errors", {"new": ANSWERS[letter]}, at)


def told(story: str) -> list[Measurement]:
    """What is known of the guard after each evaluation."""
    measurements, tracks = NO_MEASUREMENTS, []
    for i, letter in enumerate(story):
        measurements = evaluated(measurements, letter, START + i * INTERVAL)
        tracks.append(measurements["errors"])
    return tracks


def fires(story: str) -> int | None:
    """Seconds after the first evaluation until the guard is proved."""
    proved = [i for i, track in enumerate(told(story)) if track.verdict and track.verdict.outcome is Outcome.PROVED]
    return proved[0] * int(INTERVAL.total_seconds()) if proved else None


@pytest.mark.parametrize(
    ("story", "seconds"),
    [
        pytest.param("TTTTTT", 30, id="every time"),
        pytest.param("T-T-T-T-T", 60, id="every second time"),
        pytest.param("-T-T-T-T-T", 70, id="every second time, and at first not"),
        pytest.param("T?T?T?T?T", 60, id="no number every second time"),
        pytest.param("T--T--T--T", 90, id="every third time"),
        pytest.param("TT--TT", 50, id="two are missing"),
        pytest.param("TTT?-TT", 50, id="the time without an answer does not count"),
        pytest.param("TTT---TTTT", 90, id="three missing in a row: from the beginning"),
        pytest.param("T---T---T---T---T---T", None, id="every fourth time"),
        pytest.param("TTTFTTT", None, id="it did not hold once"),
        pytest.param("TTT-FTTT", None, id="nor after a gap"),
        pytest.param("TTTF-TTTT", 80, id="what was ended before a gap is not taken up after it"),
        pytest.param("FFFFFF", None, id="never true"),
        pytest.param("------", None, id="never answered"),
        pytest.param("TTT---", None, id="no guard is proved by an answer that is missing"),
    ],
)
def test_it_is_proved_after_so_long(story: str, seconds: int | None) -> None:
    assert fires(story) == seconds


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ("T", "holds for 0 s of 30 s"),
        ("TTT", "holds for 20 s of 30 s"),
        ("TT-T", "holds for 20 s of 30 s"),
        ("TT-", "timeout"),
        ("TT---T", "holds for 0 s of 30 s"),
    ],
)
def test_the_words_say_how_long_it_holds(story: str, words: str) -> None:
    verdict = told(story)[-1].verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.detail) == (Outcome.UNDECIDED, words)


def test_once_proved_a_gap_does_not_let_it_wait_anew() -> None:
    outcomes = [track.verdict.outcome for track in told("TTTT-T") if track.verdict]
    assert outcomes[3:] == [Outcome.PROVED, Outcome.UNDECIDED, Outcome.PROVED]


def test_another_weight_begins_anew() -> None:
    measurements = NO_MEASUREMENTS
    for i, letter in enumerate("TT-"):
        measurements = evaluated(measurements, letter, START + i * INTERVAL)
    later = START + 3 * INTERVAL
    there = STATUS.model_copy(update={"stage": STAGE.model_copy(update={"judged_since": later, "verified_at": later})})
    track = evaluated(measurements, "T", later, there)["errors"]
    assert (track.since, track.missed) == (later, ())


# ---- any story ---------------------------------------------------------------------------------------

ReconcileResult = tuple[str, timedelta]
STEPS = st.lists(
    st.tuples(st.sampled_from("TTTTF?-"), st.integers(1, 40).map(lambda seconds: timedelta(seconds=seconds))),
    min_size=1,
    max_size=40,
)
"""Evaluations, each with the time until the next."""


def counted(steps: list[ReconcileResult], until: int) -> timedelta:
    """How long it has held by an evaluation: the time after each that found it true, since it was last broken."""
    letters = "".join(letter for letter, _ in steps[: until + 1]).replace("-", "?")
    broken = max(letters.rfind("F"), letters.rfind("?" * (MISSED_IN_A_ROW + 1)))
    spans = [span for i, (letter, span) in enumerate(steps[:until]) if letter == "T" and i > broken]
    return sum(spans, timedelta(0))


def verdicts(steps: list[ReconcileResult]) -> list[Outcome]:
    measurements, at, found = NO_MEASUREMENTS, START, []
    for letter, span in steps:
        measurements = evaluated(measurements, letter, at)
        verdict = measurements["errors"].verdict
        assert verdict is not None
        found.append(verdict.outcome)
        at += span
    return found


@given(STEPS)
def test_it_is_proved_where_it_is_true_and_was_true_for_so_long_without_the_gaps(steps: list[ReconcileResult]) -> None:
    proved = [letter == "T" and counted(steps, i) >= FOR for i, (letter, _) in enumerate(steps)]
    assert [outcome is Outcome.PROVED for outcome in verdicts(steps)] == proved


@given(STEPS)
def test_a_source_that_always_answers_is_judged_by_the_clock_alone(steps: list[ReconcileResult]) -> None:
    answered = [(letter, span) for letter, span in steps if letter in "TF"]
    since: datetime | None = None
    at, expected = START, []
    for letter, span in answered:
        since = (since or at) if letter == "T" else None
        expected.append(since is not None and at - since >= FOR)
        at += span
    assert [outcome is Outcome.PROVED for outcome in verdicts(answered)] == expected


# ---- what follows ------------------------------------------------------------------------------------


LONG: Final[dict[str, Any]] = {"guards[0].for": "30s", "stages[0].soak": "20m", "stages[0].deadline": "30m"}


def leaning() -> Situation:
    """Just before a soak ends, with a guard that holds, but not yet for long enough."""

    def make() -> World:
        world = judging({"guards[0].for": "1m"})()
        world.advance(s(75))
        world.says["errors"] = 0.2
        world.advance(s(10))
        return world

    return make


CASES = [
    Case("a guard that holds goes back though every second answer is missing", judging(LONG),
         every_second(80, errors=0.2), P.ROLLED_BACK, "GuardTripped", BACK, "guard errors tripped: 20% > 1% for 30s",
         OLD_WEIGHTS),
    Case("one that does not hold does not", judging(LONG), every_second(600, errors=0.0), P.JUDGING, "", [], "", UP),
    Case("what holds, but not long enough, keeps it from going on in a gap too", leaning(),
         then(says(errors=Why.NAN), wait(s(15))), P.JUDGING, "", [], "", UP),
    Case("and does not when its answers are missing for long", leaning(), then(says(errors=Why.NAN), wait(s(40))),
         P.JUDGING, "", None, "", HALF),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_what_follows(case: Case) -> None:
    run(case)


def test_a_source_that_answers_every_second_time_is_not_blind() -> None:
    world = judging(LONG)()
    every_second(600, errors=0.0)(world)
    assert (world.phase, "Held" in world.told()) == (P.JUDGING, False)
