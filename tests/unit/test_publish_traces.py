"""A run as a trace: one tree, whoever sends its spans, with each decision once; and the sink that sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rolloutplan.api.status import Decision
from rolloutplan.cluster.client import ApiError
from rolloutplan.publish import traces
from rolloutplan.publish.traces import TraceSink
from rolloutplan.telemetry.spans import Span
from tests.files import Files
from tests.situations import P, held_conflict, rolled_back, s, succeeded
from tests.world import World


def restarted() -> World:
    """A stage that starts again, because somebody moved its weights back."""
    world = held_conflict()
    world.say("resume t1")
    return world.until(P.SUCCEEDED)


def reverted() -> World:
    world = succeeded()
    world.advance(s(60))
    world.say("revert t1")
    return world.until(P.ROLLED_BACK)


def told(world: World, *decisions: Decision, files: Files | None = None) -> list[Span]:
    """The spans that come with decisions, each sent by a leader of its own."""
    found: list[Span] = []

    async def send(spans: Sequence[Span]) -> None:
        found.extend(spans)

    async def story() -> None:
        for each in decisions:
            lost = lambda: found.append(LOST)  # noqa: E731
            await TraceSink(files or Files(world.files, lambda _: None), send, lost).publish(world.snapshot(), each)

    asyncio.run(story())
    return found


LOST = Span("lost", 0, 0, None, World().now, World().now, {})
ALL_STAGES = [("stage canary", "Proved"), ("stage half", "Proved"), ("stage all", "Proved")]
RUNS: dict[str, tuple[Callable[[], World], list[tuple[str, str]], str | None]] = {
    "a success": (succeeded, [*ALL_STAGES, ("run", "Succeeded")], None),
    "a rollback": (
        rolled_back,
        [("stage canary", "RolledBack"), ("run", "RolledBack")],
        "the old weights are back (0% on v2) after guard errors tripped: 20% > 1%",
    ),
    "a stage that starts again": (
        restarted, [("stage canary", "Restarted"), *ALL_STAGES, ("run", "Succeeded")], None,
    ),
    "a revert after the success": (reverted, [*ALL_STAGES, ("run", "Succeeded")], None),
}  # fmt: skip


@pytest.mark.parametrize(("made", "spans", "error"), RUNS.values(), ids=RUNS)
def test_a_run_is_one_tree_with_each_decision_once(
    made: Callable[[], World], spans: list[tuple[str, str]], error: str | None
) -> None:
    world = made()
    decisions = world.status.decisions
    found = told(world, *decisions)
    ends = ("rolloutplan.result", "rolloutplan.outcome")
    assert [
        (span.name, next(str(span.attributes[end]) for end in ends if end in span.attributes)) for span in found
    ] == spans
    *stages, root = found
    assert root.parent_id is None
    assert root.error == error
    assert {span.trace_id for span in found} == {root.trace_id}
    assert {span.parent_id for span in stages} == {root.span_id}
    assert len({span.span_id for span in found}) == len(found)
    for span in found:
        assert root.start <= span.start <= span.end <= root.end
        assert all(span.start <= event.at <= span.end for event in span.events)
        assert (span.attributes["rolloutplan.namespace"], span.attributes["rolloutplan.plan"]) == ("ns", "plan")
    events = sorted(int(str(event.attributes["rolloutplan.seq"])) for span in found for event in span.events)
    assert events == [each.seq for each in decisions if each.at <= root.end]


def test_a_span_that_is_sent_twice_is_the_same_and_another_run_is_another_trace() -> None:
    world = rolled_back()
    assert told(world, *world.status.decisions) == told(world, *world.status.decisions)
    first = {span.trace_id for span in told(world, *world.status.decisions)}
    world.say("retry t1")
    world.until(P.SUCCEEDED)
    both = {span.trace_id for span in told(world, *world.status.decisions)}
    assert (len(first), len(both), first < both) == (1, 2, True)


def test_an_event_says_what_was_decided_and_on_what() -> None:
    world = rolled_back()
    stage = told(world, *world.status.decisions)[0]
    back = stage.events[-1]
    assert back.name == "RollbackStarted"
    shown = {name.removeprefix("rolloutplan."): value for name, value in back.attributes.items()}
    wanted = {
        "decision": "Rollback", "reason": "RollbackStarted", "stage": "canary", "by": "rolloutplan",
        "weight.from": "5%", "weight.to": "0%", "predicate": "errors", "value": "20%", "bound": "> 1%",
        "verdict": "Tripped",
    }  # fmt: skip
    assert {name: shown[name] for name in wanted} == wanted


class Late(Files):
    """Records that are not there at the first look."""

    def __init__(self, world: World, *answers: ApiError) -> None:
        super().__init__(world.files, lambda _: None)
        self.answers = [*answers]

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> dict[str, Any]:
        if self.answers:
            raise self.answers.pop(0)
        return await super().get(path)


def test_a_record_that_is_written_at_the_same_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "PAUSES", (0.0, 0.0, 0.0))
    world, missing = rolled_back(), ApiError(404, "NotFound", "")
    end = world.status.decisions[-1]
    assert [span.name for span in told(world, end, files=Late(world, missing, missing))] == ["run"]
    assert told(world, end, files=Late(world, missing, missing, missing)) == [LOST]
    with pytest.raises(ApiError, match="down"):
        told(world, end, files=Late(world, ApiError(503, "", "down")))


def test_a_decision_that_ends_nothing_asks_nothing() -> None:
    world = succeeded()
    files = Files(world.files, lambda _: None)
    shifted = [each for each in world.status.decisions if each.reason in ("Started", "WeightShifted")]
    assert told(world, *shifted, files=files) == []
    assert files.requests == []
