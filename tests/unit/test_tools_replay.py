"""Replays: the decisions of a run follow from its answers alone, and a record holds all that they follow from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Any

import pytest

from rolloutplan.api.status import Decision, Phase, Status
from rolloutplan.engine.model.queries import CountQuestion
from rolloutplan.stats.verdict import Answer, Outcome, Why
from rolloutplan.tools.replay import AnyQuestion, MetricAnswer, Replayed, ReplayError, ReplayInput, of_run, replay
from rolloutplan.tools.replay_record import RecordError, answer_line, header, read_record
from tests.refusals import DARK, STAFF, changed
from tests.world import HEALTHY, PLAN, SOURCE, START, World

EVENTS = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
WORSE = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
COUNTED = changed(PLAN, {"guards": [WORSE], "stages[0].pass": [], "stages[0].fail": []})
LONG = timedelta(minutes=25)


def counters(**bad: float) -> Callable[[AnyQuestion], MetricAnswer]:
    """A hundred requests a second on each side, and so many bad ones."""

    def answer(question: AnyQuestion) -> MetricAnswer:
        assert isinstance(question, CountQuestion)
        looks, at = [], question.start
        while at <= question.end:
            seconds = (at - START).total_seconds()
            looks.append((at, {"job/a": (100 * seconds, bad[question.part] * seconds)}))
            at += question.step
        return looks

    return answer


def values(**says: float | Why) -> Callable[[AnyQuestion], MetricAnswer]:
    def answer(question: AnyQuestion) -> MetricAnswer:
        said = {**HEALTHY, **says}[question.name]
        return Answer(gap=said, detail=f"no number for {question.name}") if isinstance(said, Why) else Answer(said)

    return answer


def through(given: ReplayInput, answer: Callable[[AnyQuestion], MetricAnswer]) -> tuple[Replayed, list[str]]:
    """What is replayed, and the record of it."""
    turns, record = replay(given), [header(given)]
    try:
        due = next(turns)
        while True:
            said = [answer(question) for question in due.questions]
            record += [answer_line(due.now, question, each) for question, each in zip(due.questions, said, strict=True)]
            due = turns.send(said)
    except StopIteration as end:
        return end.value, record


def again(record: list[str]) -> tuple[Replayed, list[str]]:
    """Replay a record, and record that."""
    given, said = read_record(record)
    turns, lines = replay(given), [header(given)]
    try:
        due = next(turns)
        while True:
            answers = [said.answer(due.now, question) for question in due.questions]
            lines += [answer_line(due.now, q, each) for q, each in zip(due.questions, answers, strict=True)]
            due = turns.send(answers)
    except StopIteration as end:
        return end.value, lines


def counted(**changes: Any) -> ReplayInput:
    return replace(ReplayInput("ns", "plan", COUNTED, SOURCE, START, START + LONG), **changes)


def reasons(replayed: Replayed) -> list[str]:
    return [decision.reason for decision in replayed.decisions]


# ---- over any time -------------------------------------------------------------------------------


def test_what_is_proved_goes_back_at_the_look_that_proves_it() -> None:
    replayed, _ = through(counted(), counters(new=9, old=3))
    assert reasons(replayed) == ["StageStarted", "WeightShifted", "RollbackStarted", "RolledBack"]
    *before, last = replayed.rows
    assert all(row.evidence and row.evidence.proving < row.proof for row in before)
    assert last.evidence and last.evidence.proving >= last.proof
    assert last.verdict.outcome is Outcome.PROVED
    assert last.at == replayed.decisions[2].at
    assert replayed.ended == "the replay ends in phase RolledBack"


def test_stages_without_weights_are_replayed_like_those_with() -> None:
    raw = changed(COUNTED, {"stages": [{**DARK, "soak": "2m"}, {**STAFF, "soak": "2m"}, *COUNTED["stages"]]})
    replayed, record = through(counted(raw=raw), counters(new=3, old=3))
    begun = [decision.stage for decision in replayed.decisions if decision.reason == "WeightShifted"]
    assert begun == ["dark", "staff", "canary", "half", "all"]
    assert again(record)[0].decisions == replayed.decisions


def test_each_stage_begins_when_the_one_before_is_proved() -> None:
    raw = changed(COUNTED, {"stages[1].approval": "Required"})
    replayed, _ = through(counted(raw=raw), counters(new=3, old=3))
    assert reasons(replayed)[-1] == "Succeeded"
    assert "Held" not in reasons(replayed), "a person's approval is taken as given"
    shifted = [(d.stage, d.at - START) for d in replayed.decisions if d.reason == "WeightShifted"]
    minutes = {stage: after / timedelta(minutes=1) for stage, after in shifted}
    assert minutes == {"canary": 0, "half": 3, "all": 5}, "its soaks are 3 and 2 minutes"
    instants = [row.at for row in replayed.rows]
    assert instants == [START + i * SOURCE.scrape for i in range(len(instants))], "none is left out, none is twice"


def test_of_a_run_that_there_was_the_share_of_the_traffic_counts_as_it_did() -> None:
    replayed, _ = through(counted(verified_at={"canary": START}), counters(new=3, old=3))
    assert reasons(replayed)[-1] == "Held"
    assert "WeightNotEffective" in replayed.ended or "went to v2" in replayed.ended


def test_after_the_end_nothing_is_asked() -> None:
    end = START + timedelta(minutes=1)
    replayed, _ = through(counted(end=end), counters(new=3, old=3))
    assert replayed.rows[-1].at == end
    assert replayed.ended == "the replay ends with the last evaluation, in phase Judging: nothing more is decided"


# ---- over a run that there was -------------------------------------------------------------------


def told(decision: Decision) -> dict[str, Any]:
    """A decision without what only the cluster gave: its number, and the epoch in it."""
    return decision.model_dump(exclude={"seq"})


@pytest.mark.parametrize(
    ("says", "end"),
    [
        ({}, Phase.SUCCEEDED),
        ({"wrong": 1.0}, Phase.ROLLED_BACK),
        ({"errors": 0.5}, Phase.ROLLED_BACK),
        ({"hits": 0.1}, Phase.ROLLED_BACK),
        ({"hits": Why.NO_DATA}, Phase.HELD),
    ],
    ids=["nothing wrong", "a fail predicate", "a guard", "a pass predicate at the deadline", "no data"],
)
def test_the_decisions_of_a_run_follow_from_its_answers(says: Mapping[str, float | Why], end: Phase) -> None:
    follows(World(), says, end)


def test_so_do_those_of_one_with_a_control_group() -> None:
    replayed = follows(World(spec=changed(PLAN, {"bake": {"for": "5m", "holdback": "1%"}})), {}, Phase.SUCCEEDED)
    assert reasons(replayed)[-4:] == ["Baked", "StageStarted", "WeightShifted", "Succeeded"]


def follows(world: World, says: Mapping[str, float | Why], end: Phase) -> Replayed:
    """What is replayed of a run that ended so, which is what it decided."""
    world.says.update(says)
    world.until(end)
    given = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    replayed, _ = through(given, values(**says))
    lived = [told(world.trail[seq]) for seq in sorted(world.trail)]
    first = next(i for i, decision in enumerate(lived) if decision["reason"] == "StageStarted")
    assert [told(decision) for decision in replayed.decisions] == lived[first:]
    return replayed


TEMPLATE = {"indicates": "Failure", "query": "errors[$window]", "is": "> 1%", "window": "2m"}


def referring() -> World:
    """A run of a plan that refers, up to its end; its template has gone since."""
    stages = {"guards[0]": {"name": "errors", "template": "share"}, "stages[2].pass": [{"use": "hits"}]}
    world = World(spec=changed(PLAN, stages), templates={"share": TEMPLATE})
    world.says.update(errors=0.5)
    world.until(Phase.ROLLED_BACK)
    world.templates = {}
    return world


def test_a_run_is_replayed_with_the_templates_that_it_began_with() -> None:
    world = referring()
    given = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    replayed, record = through(given, values(errors=0.5))
    assert reasons(replayed) == ["StageStarted", "WeightShifted", "RollbackStarted", "RolledBack"]
    assert "template" not in record[0], "a record needs nothing but itself"
    assert again(record) == (replayed, record)


def test_a_record_with_a_template_in_it_is_refused() -> None:
    world = referring()
    given = of_run(world.plan(), world.spec, world.status, SOURCE, world.now)
    with pytest.raises(RecordError, match="line 1: spec: it uses a template"):
        read_record([header(replace(given, raw=world.spec))])


def test_a_run_whose_templates_were_taken_from_its_status_is_not_replayed() -> None:
    world = referring()
    status = world.status.model_copy(update={"templates": ()})
    with pytest.raises(ReplayError, match="no longer holds template share"):
        of_run(world.plan(), world.spec, status, SOURCE, world.now)


def test_the_weights_of_a_run_stand_from_when_they_were_verified() -> None:
    stood = {"canary": START, "half": START + timedelta(minutes=20)}
    raw = changed(COUNTED, {"traffic.share": "Ignore"})  # as many requests on either side
    replayed, _ = through(counted(raw=raw, verified_at=stood), counters(new=3, old=3))
    proved, half = (next(d for d in replayed.decisions if d.stage == stage and d.reason == reason)
                    for stage, reason in (("canary", "StageProved"), ("half", "WeightShifted")))  # fmt: skip
    assert (proved.at, half.at) == (START + timedelta(minutes=3), stood["half"])
    between = [row.at for row in replayed.rows if proved.at < row.at < half.at]
    assert between[0] == proved.at + SOURCE.scrape, "the guards go on meanwhile"
    assert reasons(replayed)[-1] == "StageProved", "the run never had the next weight in force"
    assert replayed.ended.startswith("the replay ends with the last evaluation, in phase Shifting")


def test_a_run_that_a_person_moved_on_ends_there() -> None:
    stood = {"canary": START, "half": START + timedelta(minutes=1)}
    replayed, _ = through(counted(verified_at=stood), counters(new=3, old=3))
    assert "the run went on to half, but the replay is in phase Judging" in replayed.ended


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"decisions": ()}, "no run of this plan has moved a weight yet"),
        ({"plan_hash": "another"}, "the plan was changed after run 1"),
        ({"run": 2}, "no run of this plan has moved a weight yet"),
    ],
)
def test_where_there_is_nothing_to_replay_it_says_so(edit: Mapping[str, Any], words: str) -> None:
    world = World().until(Phase.ROLLED_BACK, Phase.SUCCEEDED)
    status = Status.model_validate({**world.status.model_dump(), **edit})
    with pytest.raises(ReplayError, match=words):
        of_run(world.plan(), world.spec, status, SOURCE, world.now)


# ---- the record ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (counted(), counters(new=9, old=3)),
        (counted(verified_at={"canary": START}, end=START + timedelta(minutes=9)), counters(new=4, old=3)),
        (counted(raw=PLAN), values()),
        (counted(raw=PLAN, end=START + timedelta(minutes=12)), values(hits=Why.NAN, errors=Why.MANY_SERIES)),
        (counted(end=START + timedelta(minutes=5)), lambda _: Answer(gap=Why.WARNINGS, detail="a store is gone")),
        (counted(raw=PLAN), values(errors=inf)),
    ],
    ids=["counters", "a run", "values", "gaps", "gaps in counters", "infinite values"],
)
def test_a_record_is_replayed_to_the_same_bit(
    given: ReplayInput, answer: Callable[[AnyQuestion], MetricAnswer]
) -> None:
    replayed, record = through(given, answer)
    assert replayed.rows
    assert again(record) == (replayed, record)


def test_a_record_can_be_read_by_people_and_programs() -> None:
    _, record = through(counted(), counters(new=9, old=3))
    first, line = (json.loads(text) for text in record[:2])
    assert (first["namespace"], first["plan"], first["spec"]) == ("ns", "plan", COUNTED)
    at = "2026-03-01T09:00:00Z"
    assert line == {
        "asked": at,
        "predicate": "worse",
        "part": "new",
        "at": at,
        "looks": [[at, {"job/a": [0.0, 0.0]}]],
    }


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: [], "line 1: the record is empty"),
        (lambda lines: ["{", *lines[1:]], "line 1: Invalid JSON"),
        (lambda lines: [lines[0].replace('"record":1', '"record":2'), *lines[1:]], "line 1: record: "),
        (lambda lines: [lines[0].replace("> 1.5x", "> 1x"), *lines[1:]], "line 1: spec.guards"),
        (lambda lines: [*lines[:3], lines[3][:20], *lines[4:]], "line 4: Invalid JSON"),
        (lambda lines: [*lines[:3], "", *lines[4:]], "line 4: Invalid JSON"),
        (lambda lines: [*lines[:2], lines[2].replace("asked", "questioned")], "line 3: asked: Field required"),
        (lambda lines: [*lines[:2], lines[2].replace("0.0", "NaN", 1)], "line 3: looks"),
        (lambda lines: [*lines[:2], lines[2].replace('Z","predicate', '","predicate')], "line 3: asked: "),
    ],
    ids=["empty", "no header", "another version", "a plan of old", "cut", "blank", "no field", "NaN", "no time zone"],
)
def test_a_damaged_record_is_refused_with_its_line(damage: Callable[[list[str]], list[str]], words: str) -> None:
    _, record = through(counted(), counters(new=9, old=3))
    with pytest.raises(RecordError) as refused:
        read_record(damage(record))
    assert str(refused.value).startswith(words)


def test_a_record_from_before_the_old_side_was_asked_beside_is_replayed_as_it_went() -> None:
    sided = changed(PLAN, {"guards[0].query": 'errors{deployment="$deployment"}'})
    replayed, record = through(ReplayInput("ns", "plan", sided, SOURCE, START, START + LONG), values(errors=0.5))
    assert replayed.ended.startswith("the replay ends with the last evaluation, in phase Held"), "both sides are bad"
    before = [line for line in record if '"part":"old"' not in line]
    assert len(before) < len(record)
    assert again(before)[0].ended == "the replay ends in phase RolledBack"


def test_a_record_that_ends_early_is_not_taken_for_silence() -> None:
    _, record = through(counted(), counters(new=9, old=3))
    with pytest.raises(RecordError, match=r"no answer for worse \(old\) at 2026-03-01T09:00:15"):
        again(record[:4])


def test_a_question_that_brought_no_look_is_on_record() -> None:
    silent: Callable[[AnyQuestion], MetricAnswer] = lambda _: []  # noqa: E731
    replayed, record = through(counted(end=START + timedelta(minutes=1)), silent)
    assert again(record)[0] == replayed
    assert all(json.loads(line)["looks"] == [] for line in record[1:])
