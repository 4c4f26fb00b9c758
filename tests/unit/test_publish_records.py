"""The sink of records: one object a run, written over the version that was read, with no request that is not needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rolloutplan.api.record import OUTCOME_LABEL, PLAN_LABEL, read_record
from rolloutplan.api.status import Decision
from rolloutplan.cluster.client import ApiError
from rolloutplan.publish.records import KNOWN, RecordSink
from tests.files import Files, at_once
from tests.situations import P, judging
from tests.world import World

UNANSWERED = ApiError(0, "Timeout", "no answer")


class Shelf(Files):
    """An API server in memory; `fails` are raised in turn, at these points."""

    def __init__(self, *fails: tuple[str, ApiError]) -> None:
        self.fails = [*fails]
        super().__init__({}, self._maybe)

    def _maybe(self, point: str) -> None:
        if self.fails and self.fails[0][0] == point:
            raise self.fails.pop(0)[1]

    @property
    def sent(self) -> list[str]:
        return [method for method, _ in self.requests]

    def decisions(self) -> list[int]:
        (raw,) = self.objects.values()
        return [decision.seq for decision in read_record(raw).status.decisions]


@pytest.fixture(scope="module")
def world() -> World:
    return judging()()


def told(world: World) -> list[Decision]:
    return list(world.status.decisions)


def publish(sink: RecordSink, world: World, decision: Decision) -> None:
    at_once(sink.publish(world.snapshot(), decision))


def test_a_run_takes_one_request_a_decision(world: World) -> None:
    shelf = Shelf()
    sink = RecordSink(shelf)
    for each in told(world):
        publish(sink, world, each)
    assert shelf.sent == ["POST"] + ["PATCH"] * (len(told(world)) - 1)
    assert shelf.decisions() == [each.seq for each in told(world)]


def test_a_new_leader_reads_once_and_writes_nothing_twice(world: World) -> None:
    shelf = Shelf()
    for each in told(world):
        publish(RecordSink(shelf), world, each)
    before, shelf.requests = dict(shelf.objects), []
    again = RecordSink(shelf)
    for each in told(world):
        publish(again, world, each)
    assert shelf.objects == before
    assert "PATCH" not in shelf.sent
    assert shelf.sent.count("GET") == 1


@pytest.mark.parametrize("point", ["file", "filed"], ids=["before a write", "after a write"])
@pytest.mark.parametrize("place", range(4))
def test_a_write_without_an_answer_is_tried_again_and_is_there_once(world: World, point: str, place: int) -> None:
    shelf = Shelf()
    sink = RecordSink(shelf)
    for number, each in enumerate(told(world)[:4]):
        if number == place:
            shelf.fails = [(point, UNANSWERED)]
            with pytest.raises(ApiError, match="no answer"):
                publish(sink, world, each)
        publish(sink, world, each)
    assert shelf.decisions() == [each.seq for each in told(world)[:4]]


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda raw: {**raw, "metadata": {**raw["metadata"], "resourceVersion": "99"}},
        lambda raw: {**raw, "metadata": {**raw["metadata"], "resourceVersion": "99", "labels": {}}},
        lambda raw: {
            **raw,
            "spec": {**raw["spec"], "newer": 1},
            "metadata": {**raw["metadata"], "resourceVersion": "9"},
        },
    ],
    ids=["touched", "without labels", "with a field of a newer version"],
)
def test_what_somebody_changed_meanwhile_is_read_again(world: World, meanwhile: Callable[[dict], dict]) -> None:  # type: ignore[type-arg]
    shelf = Shelf()
    sink = RecordSink(shelf)
    first, second, *_ = told(world)
    publish(sink, world, first)
    (path,) = shelf.objects
    shelf.objects[path] = meanwhile(shelf.objects[path])
    publish(sink, world, second)
    raw = shelf.objects[path]
    assert shelf.decisions() == [first.seq, second.seq]
    assert raw["metadata"]["labels"] == {PLAN_LABEL: "plan", OUTCOME_LABEL: "Running"}
    assert raw["spec"].get("newer") == (1 if "newer" in raw["spec"] else None)


def test_a_record_that_was_deleted_meanwhile_is_made_anew(world: World) -> None:
    shelf = Shelf()
    sink = RecordSink(shelf)
    first, second, *_ = told(world)
    publish(sink, world, first)
    shelf.objects.clear()
    publish(sink, world, second)
    assert shelf.decisions() == [second.seq]


def test_a_decision_that_cannot_be_read_stays_and_is_counted_once(world: World) -> None:
    shelf = Shelf()
    first, *later = told(world)
    publish(RecordSink(shelf), world, first)
    (path,) = shelf.objects
    shelf.objects[path]["status"]["decisions"].append({"kind": "of a newer version"})
    for each in later:
        publish(RecordSink(shelf), world, each)
    raw = shelf.objects[path]
    assert read_record(raw).status.missing == 1
    assert len(raw["status"]["decisions"]) == len(later) + 2


def test_an_endless_conflict_is_an_error_and_no_loop(world: World) -> None:
    conflict = ("file", ApiError(409, "Conflict", "changed"))
    shelf = Shelf(*[conflict] * 9)
    with pytest.raises(ApiError, match="409"):
        publish(RecordSink(shelf), world, told(world)[0])
    assert len(shelf.sent) < 12


def test_the_outcome_stands_in_a_label_and_the_end_of_a_run_is_told() -> None:
    ended: list[tuple[str, str]] = []
    world = World().until(P.SUCCEEDED)
    shelf = Shelf()
    sink = RecordSink(shelf, ended=lambda namespace, plan: ended.append((namespace, plan)))
    for each in told(world):
        publish(sink, world, each)
    (raw,) = shelf.objects.values()
    assert raw["metadata"]["labels"][OUTCOME_LABEL] == "Succeeded"
    assert ended == [("ns", "plan")]


def test_a_notice_is_in_no_record(world: World) -> None:
    shelf = Shelf()
    at_once(RecordSink(shelf).publish(world.snapshot(), told(world)[0], recorded=False))
    assert shelf.sent == []


def test_few_records_are_remembered(world: World) -> None:
    shelf = Shelf()
    sink = RecordSink(shelf)
    snapshot = world.snapshot()
    for number in range(KNOWN + 20):
        other = replace(snapshot, plan=replace(snapshot.plan, name=f"plan-{number}"))
        at_once(sink.publish(other, told(world)[0]))
    assert len(sink._known) == KNOWN
