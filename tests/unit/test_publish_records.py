"""The sink of records: one object a run, written over the version that was read, with no request that is not needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.api.record import OUTCOME_LABEL, PLAN_LABEL, read_record
from rolloutplan.api.status import Decision, Kind
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


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Takes these fields of the status away, as somebody with an editor does."""
    return lambda raw: {**raw, "status": {name: part for name, part in raw["status"].items() if name not in names}}


def cut(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw, "status": {**raw["status"], "decisions": raw["status"]["decisions"][:1]}}


def of_run_nine(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw, "spec": {**raw["spec"], "run": 9}, "status": {"outcome": "Succeeded", "seq": 99}}


@pytest.mark.parametrize("restarted", [False, True], ids=["as it was remembered", "after a restart"])
@pytest.mark.parametrize(
    "harmed",
    [without("decisions"), lambda raw: {**raw, "status": {}}, cut, of_run_nine, lambda _: None],
    ids=["no decisions", "no status", "the newest removed", "replaced by another run's", "deleted"],
)
def test_what_somebody_removed_from_a_record_is_put_back(
    world: World, harmed: Callable[[dict[str, Any]], dict[str, Any] | None], restarted: bool
) -> None:
    shelf, whole = Shelf(), Shelf()
    sink, *_, last = RecordSink(shelf), *told(world)
    for each in told(world)[:-1]:
        publish(sink, world, each)
    ((path, raw),) = shelf.objects.items()
    less = harmed(raw)
    shelf.objects = {path: {**less, "metadata": {**raw["metadata"], "resourceVersion": "99"}}} if less else {}
    publish(RecordSink(shelf) if restarted else sink, world, last)
    for each in told(world):
        publish(RecordSink(whole), world, each)
    assert shelf.objects[path]["status"] == whole.objects[path]["status"]
    assert shelf.objects[path]["spec"] == whole.objects[path]["spec"]


def test_what_the_plan_has_no_more_is_counted_as_missing(world: World) -> None:
    shelf = Shelf()
    first, second, *later = told(world)
    for each in told(world)[:-1]:
        publish(RecordSink(shelf), world, each)
    (path,) = shelf.objects
    shelf.objects[path]["status"] = {}
    snapshot = world.snapshot()
    snapshot = replace(snapshot, status=snapshot.status.model_copy(update={"decisions": tuple(later)}))
    at_once(RecordSink(shelf).publish(snapshot, later[-1]))
    assert shelf.decisions() == [each.seq for each in later]
    assert read_record(shelf.objects[path]).status.missing == 1, "of what is lost, no more is known"
    assert (first.seq, second.seq) == (1, 2)


@pytest.mark.parametrize("run", [10**30, -1])
def test_a_run_whose_number_was_edited_has_one_record(world: World, run: int) -> None:
    first, second, *_ = (each.model_copy(update={"run": run, "kind": Kind.ROLLBACK}) for each in told(world))
    snapshot = world.snapshot()
    snapshot = replace(snapshot, status=snapshot.status.model_copy(update={"run": run, "decisions": (first, second)}))
    shelf = Shelf()
    for each in (first, second):
        at_once(RecordSink(shelf).publish(snapshot, each))
    assert shelf.decisions() == [first.seq, second.seq]


def test_content_that_is_refused_is_an_error_and_no_loop(world: World) -> None:
    shelf = Shelf(*[("file", ApiError(422, "Invalid", "no such kind"))] * 9)
    with pytest.raises(ApiError, match="422"):
        publish(RecordSink(shelf), world, told(world)[0])
    assert len(shelf.sent) < 12


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
    sink = RecordSink(shelf)
    sink.ended = lambda namespace, plan: ended.append((namespace, plan))
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
