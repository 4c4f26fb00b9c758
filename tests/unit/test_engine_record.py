"""The record of a run: every decision of it once, its stages, how it ended, who took part; and never too large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import reduce

import pytest

from rolloutplan.api.limits import size_of
from rolloutplan.api.record import RolloutRecord, RunOutcome, plan_label, read_record, record_name
from rolloutplan.api.status import Decision, Evidence, Kind, Status
from rolloutplan.engine.model.effects import Failure
from rolloutplan.engine.model.sinks import RECORDS, SinkView
from rolloutplan.engine.run.record import MAX_RECORD, RECENT, closed, is_recorded, opens, updated
from tests.situations import P, judging, m, s
from tests.world import START, World


def record_of(world: World, run: int = 1) -> RolloutRecord:
    """The record that a sink has written, as it is read again."""
    (raw,) = [raw for raw in world.files.values() if raw["spec"].get("run", 0) == run]
    return read_record(raw)


def broken(world: World) -> World:
    world.says["errors"] = 0.3
    return world.until(P.ROLLED_BACK)


# ---- what is in it ---------------------------------------------------------------------------------------------------


def test_it_says_what_was_to_go_out_as_it_was_when_the_run_began() -> None:
    owned = {"owner": "team-checkout", "runbook": "https://wiki/checkout"}
    world = judging(owned)()
    record = record_of(world)
    assert (record.spec.owner, record.spec.runbook) == tuple(owned.values())
    assert record.name == "plan-01234567-1"
    assert (record.spec.plan, record.spec.plan_uid, record.spec.run) == ("plan", world.uid, 1)
    assert record.spec.hypothesis == world.spec["hypothesis"]
    assert (record.spec.plan_hash, record.spec.revision) == (world.status.plan_hash, "first")
    assert record.spec.old.deployment == "v1"
    assert record.spec.new.images == ("registry.example.com/v2:first",)
    assert record.spec.started_at == START
    world.edit({"owner": "team-cart"})
    world.pods(revision="second")
    world.advance(m(1))
    assert record_of(world).spec == record.spec, "it is written once"


def test_a_success_with_its_stages() -> None:
    world = World().until(P.SUCCEEDED)
    world.settle()
    status = record_of(world).status
    assert (status.outcome, status.reason, status.weight) == (RunOutcome.SUCCEEDED, "Succeeded", "100%")
    assert status.ended_at == world.now
    assert [(each.name, each.weight, each.result) for each in status.stages] == [
        ("canary", "5%", "Proved"), ("half", "50%", "Proved"), ("all", "100%", "Proved"),
    ]  # fmt: skip
    canary = status.stages[0]
    assert (canary.entered_at, canary.verified_at, canary.ended_at) == (START, START, START + m(3))
    assert {each.predicate for each in canary.evidence} == {"errors", "hits", "wrong"}
    assert status.people == ()


def test_a_rollback_names_its_cause() -> None:
    status = record_of(broken(judging()())).status
    assert (status.outcome, status.reason, status.weight) == (RunOutcome.ROLLED_BACK, "GuardTripped", "0%")
    assert "guard errors tripped: 30% > 1%" in status.message
    assert [(each.result, [e.predicate for e in each.evidence]) for each in status.stages] == [
        ("RolledBack", ["errors"])
    ]


def test_a_run_under_way_says_where_it_stands() -> None:
    world = judging()()
    world.say("pause p1 --reason lunch")
    world.settle()
    status = record_of(world).status
    assert (status.outcome, status.reason, status.weight, status.ended_at) == (RunOutcome.RUNNING, "Paused", "5%", None)


def test_it_names_the_people_who_took_part() -> None:
    world = judging()()
    for command, by in (("pause p1", "ann"), ("resume r1", "bob"), ("abort a1", "ann")):
        world.say(command, by=by)
        world.advance(s(5))
    assert record_of(world).status.people == ("ann", "bob")


@pytest.mark.parametrize(
    ("happens", "outcome", "reason"),
    [
        (lambda world: world.pods(revision="second"), RunOutcome.SUPERSEDED, "Superseded"),
        (lambda world: world.say("abort a1"), RunOutcome.ROLLED_BACK, "Aborted"),
        (lambda world: world.delete(), RunOutcome.ROLLED_BACK, "Deleted"),
    ],
    ids=["another version", "abort", "deletion"],
)
def test_how_else_a_run_ends(happens: Callable[[World], None], outcome: RunOutcome, reason: str) -> None:
    world = judging()()
    happens(world)
    world.advance(m(1))
    status = record_of(world).status
    assert (status.outcome, status.reason) == (outcome, reason)


def test_a_run_that_another_replaced_before_its_first_weight_is_closed() -> None:
    """No decision says that it ended."""
    world = World(new=None)
    world.settle()
    world.new = replace(World().new or pytest.fail("none"), ready=0)
    world.until(P.EXPANDING)
    world.pods(revision="second", ready=4)
    world.until(P.JUDGING)
    assert record_of(world, 1).status.outcome is RunOutcome.SUPERSEDED
    assert record_of(world, 2).status.outcome is RunOutcome.RUNNING


def test_a_reverted_success_is_a_rollback() -> None:
    world = World().until(P.SUCCEEDED)
    world.say("revert r1 --reason complaints")
    world.until(P.ROLLED_BACK)
    world.settle()
    assert record_of(world).status.outcome is RunOutcome.ROLLED_BACK


def test_what_follows_an_end_is_added_and_does_not_change_it() -> None:
    world = broken(judging()())
    before = record_of(world).status
    world.say("skip s1")
    world.settle()
    after = record_of(world).status
    assert after.decisions[-1].reason == "CommandRejected"
    assert (after.outcome, after.reason, after.message) == (before.outcome, before.reason, before.message)


def test_each_run_has_a_record_and_what_was_before_the_first_has_none() -> None:
    world = World(source=None)
    world.settle()
    assert [decision.run for decision in world.trail.values()] == [0]
    assert world.files == {}
    world.source = World().source
    broken(world.until(P.JUDGING))
    world.says["errors"] = 0.0
    world.say("retry t1")
    world.until(P.JUDGING)
    runs = [[d.seq for d in world.filed(run)] for run in (1, 2)]
    assert runs == [[d.seq for d in world.trail.values() if d.run == run] for run in (1, 2)]
    assert all(is_recorded(decision) == bool(decision.run) for decision in world.trail.values())


# ---- twice, late, or never -------------------------------------------------------------------------------------------


def decision(seq: int, at: timedelta = timedelta(0), **fields: object) -> Decision:
    given = {"seq": seq, "at": START + at, "kind": Kind.HOLD, "reason": "Held", "run": 1, "note": f"number {seq}"}
    return Decision.model_validate({**given, **fields})


def recorded(*decisions: Decision) -> RolloutRecord:
    snapshot = World().snapshot()
    found = reduce(lambda record, each: updated(record, snapshot, each), decisions, None)
    assert found is not None
    return found


def test_a_decision_that_comes_twice_changes_nothing() -> None:
    record = recorded(decision(1), decision(2, s(1)))
    for again in record.status.decisions:
        assert updated(record, World().snapshot(), again) is record


def test_numbers_that_begin_anew_after_a_lost_status_are_later_decisions() -> None:
    record = recorded(decision(7, reason="Started"), decision(8, s(1)), decision(1, s(60)), decision(2, s(61)))
    assert [each.seq for each in record.status.decisions] == [7, 8, 1, 2]
    assert record.status.missing == 0


def test_decisions_that_never_came_are_counted() -> None:
    begins = decision(1, reason="Started")
    assert recorded(begins, decision(5, s(1)), decision(6, s(2))).status.missing == 3


def test_only_a_run_under_way_is_closed() -> None:
    record = recorded(decision(1))
    over = closed(record, RunOutcome.ABANDONED, START, "the plan is gone")
    assert (over.status.outcome, over.status.message) == (RunOutcome.ABANDONED, "the plan is gone")
    assert closed(over, RunOutcome.SUPERSEDED, START, "another") is over


@pytest.mark.parametrize("ends", [Kind.ROLLBACK, Kind.FINISH], ids=["rolled back", "succeeded"])
@pytest.mark.parametrize("later", [Kind.ROLLBACK, Kind.FINISH], ids=["then rolled back", "then succeeded"])
def test_an_ended_record_is_not_reopened_by_another_run_with_its_number(ends: Kind, later: Kind) -> None:
    """The status of the plan was lost, so its runs are counted from 1 again."""
    end = {Kind.ROLLBACK: {"reason": "RolledBack"}, Kind.FINISH: {"reason": "Succeeded"}}
    first = recorded(decision(1, reason="Started"), decision(2, s(1), kind=ends, **end[ends]))
    both = recorded(
        *first.status.decisions,
        decision(1, s(60), reason="Started"),
        decision(2, s(61), kind=later, **end[later]),
    )
    before, after = first.status, both.status
    assert before.outcome is not RunOutcome.RUNNING
    assert (after.outcome, after.reason, after.ended_at) == (before.outcome, before.reason, before.ended_at)
    assert after.message.startswith(f"{before.message}; ")
    assert "another run got this number" in after.message
    assert len(after.decisions) == 4, "no decision is lost"


def run_of(begins: timedelta, end: Decision | None = None) -> tuple[Decision, ...]:
    """The decisions of a run, as far as its first stage."""
    stage = {"reason": "StageStarted", "stage": "canary", "weight_to": "5%", "kind": Kind.ADVANCE}
    return (decision(1, begins, reason="Started"), decision(2, begins + s(1), **stage), *([end] if end else []))


@pytest.mark.parametrize("over", [True, False], ids=["after its end", "in mid-run"])
def test_a_stage_of_another_run_with_the_same_number_says_so(over: bool) -> None:
    end = decision(3, s(2), kind=Kind.ROLLBACK, reason="RolledBack", state="Aborted") if over else None
    status = recorded(*run_of(s(0), end), *run_of(s(60)), *run_of(s(120))).status
    assert [each.run_began for each in status.stages] == [None, START + s(60), START + s(120)]
    assert status.outcome is (RunOutcome.ROLLED_BACK if over else RunOutcome.ABANDONED)
    assert "another run got this number" in status.message


def test_a_run_that_is_taken_up_after_a_lost_status_is_no_other_run() -> None:
    status = recorded(*run_of(s(0)), decision(3, s(60), kind=Kind.RESUME, reason="Adopted"), *run_of(s(0))[1:]).status
    assert status.outcome is RunOutcome.RUNNING
    assert [each.run_began for each in status.stages] == [None]


# ---- size ------------------------------------------------------------------------------------------------------------

EVIDENCE = [Evidence(predicate=f"p{i}", role="guard", query="q" * 300, verdict="Clear", why="w" * 60) for i in range(4)]


def long(seq: int) -> Decision:
    """A usual decision; each tenth changes a weight."""
    moves = {"weight_from": "5%", "weight_to": f"{seq % 97 + 6}%"} if seq % 10 == 0 else {}
    return decision(seq, s(seq), note="n" * 300, why="y" * 60, evidence=EVIDENCE, **moves)


def test_after_a_thousand_decisions_it_is_small_enough_and_says_what_is_missing() -> None:
    record = recorded(*map(long, range(1, 1001)))
    status, seqs = record.status, [each.seq for each in record.status.decisions]
    assert size_of(record.to_raw()) <= MAX_RECORD
    assert status.folded == 1000 - len(seqs) <= 50
    assert status.seq == 1000
    assert f"{status.folded} are left out and {status.shortened} are shortened" in status.message
    assert seqs[0] == 1
    assert seqs[-RECENT:] == [*range(1001 - RECENT, 1001)]
    assert {*range(10, 1001, 10)} <= {*seqs}, "every change of a weight stays"
    assert all(each.evidence for each in status.decisions[-RECENT:])
    assert not status.decisions[1].evidence, "evidence goes before decisions"


@pytest.mark.parametrize("character", ["x", "é", "\U0001f4a5", "\x1b"], ids=["letters", "é", "signs", "escapes"])
def test_the_largest_decisions_fit(character: str) -> None:
    text, evidence = character * 1024, [{"predicate": "p" * 63, "query": character * 400, "why": character * 300}] * 16
    largest = {"note": text, "believed": text, "observed": text, "why": text, "evidence": evidence}
    record = recorded(*(decision(seq, s(seq), **largest) for seq in range(1, 100)))
    assert size_of(record.to_raw()) <= MAX_RECORD
    assert record.status.decisions[-1].evidence
    assert record.status.decisions[0].seq == 1


def test_no_decision_leaves_the_plan_before_its_record_has_it() -> None:
    world = judging()()
    world.broken = {"file"}
    for number in range(40):
        world.say(f"{'pause' if number % 2 else 'resume'} t{number}", by="ann")
        world.advance(s(30))
    assert len(world.status.decisions) > 30
    world.broken = set()
    world.advance(m(2))
    assert [each.seq for each in world.filed(1)] == sorted(world.trail)
    assert size_of(world.status_raw) < 100 * 1024


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["checkout", "a" * 253, "a." * 126 + "a"], ids=["short", "long", "dots"])
def test_names_and_labels_are_such_as_kubernetes_takes(plan: str) -> None:
    name, label = record_name(plan, "0a1b2c3d-4e5f", 2**31 - 1), plan_label(plan)
    assert len(name) <= 253
    assert name.endswith("-0a1b2c3d-2147483647")
    assert len(label) <= 63
    assert label[-1].isalnum()


def test_a_record_that_somebody_broke_can_still_be_read() -> None:
    record = recorded(decision(1, reason="Started"), decision(2, s(1)))
    raw = record.to_raw()
    raw["status"]["decisions"][0]["kind"] = "Nonsense"
    raw["status"]["weight"] = {"no": "text"}
    status = read_record(raw).status
    assert ([each.seq for each in status.decisions], status.missing, status.weight) == ([2], 1, "")


@pytest.mark.parametrize("ends", [broken, lambda world: world.until(P.SUCCEEDED)], ids=["rolled back", "succeeded"])
def test_what_follows_the_end_of_a_run_without_a_record_makes_none(ends: Callable[[World], World]) -> None:
    """It ended before there were records, or somebody deleted its record: nothing would say how it ended."""
    world = ends(judging()())
    world.settle()
    world.files.clear()
    world.say("skip s1")
    world.settle()
    assert world.status.decisions[-1].reason == "CommandRejected"
    assert world.files == {}


def test_the_revert_of_a_success_without_a_record_is_recorded() -> None:
    world = World().until(P.SUCCEEDED)
    world.settle()
    world.files.clear()
    world.say("revert r1 --reason complaints")
    world.until(P.ROLLED_BACK)
    world.settle()
    assert record_of(world).status.outcome is RunOutcome.ROLLED_BACK


def test_what_was_decided_before_the_end_is_recorded_however_late() -> None:
    world = broken(judging()())
    late = world.status.decisions[1:]
    assert all(opens(world.snapshot(), each) for each in late)


# ---- when it is written ----------------------------------------------------------------------------------------------


def test_a_deleted_plan_is_let_go_when_its_record_is_complete() -> None:
    world = judging()()
    world.delete()
    world.advance(s(1))
    assert world.gone
    assert [each.reason for each in world.filed(1)][-2:] == ["RollbackStarted", "RolledBack"]


def test_no_deletion_hangs_because_a_record_cannot_be_written() -> None:
    world = judging()()
    world.broken = {"file"}
    world.delete()
    world.advance(s(5))
    assert world.weights()[0]["v2"] == 0, "the weights wait for no record"
    assert not world.gone
    world.advance(s(6))
    assert world.gone


def test_a_clock_of_the_api_server_that_is_ahead_makes_no_deletion_longer() -> None:
    world = judging()()
    world.broken = {"file"}
    world.delete()
    world.deleting = world.now + m(10)
    world.advance(s(11))
    assert world.gone


def test_a_conflict_loses_no_decision_of_a_deleted_plan() -> None:
    world = judging()()
    world.refuses = {"file": Failure(409, "Conflict", "the object has been modified")}
    world.delete()
    world.advance(s(2))
    world.refuses = {}
    world.advance(s(5))
    assert world.gone
    assert [each.reason for each in world.filed(1)][-2:] == ["RollbackStarted", "RolledBack"]


@pytest.mark.parametrize(("phase", "through"), [(P.JUDGING, 4), (P.SUCCEEDED, 6)], ids=["under way", "over"])
def test_a_plan_from_before_there_were_records_begins_with_the_run_under_way(phase: P, through: int) -> None:
    decisions = [decision(seq, run=1 + (seq > 4)) for seq in range(1, 7)]
    status = Status(phase=phase, run=2, seq=6, decisions=tuple(decisions))
    assert SinkView(RECORDS).published_before(status, START) == through
