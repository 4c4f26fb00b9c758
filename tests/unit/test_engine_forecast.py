"""A stage that cannot be decided in its time is told of once, early, and goes on all the same."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Phase
from rolloutplan.engine.decide import decide
from rolloutplan.engine.model.plan_view import Readable
from rolloutplan.engine.model.snapshot import CountProgress, Measurement, Snapshot
from rolloutplan.stats.sequential import CountDelta as Counted
from rolloutplan.stats.sequential import State
from rolloutplan.stats.verdict import Outcome, Verdict, Why
from tests.refusals import changed
from tests.world import PLAN, World, after

EVENTS = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
NO_WORSE = {"name": "no-worse", "events": EVENTS, "vsOld": "< 2x"}
FEW_BAD = {"name": "few-bad", "events": EVENTS, "is": "< 1%"}
WORSE = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
MINUTE = timedelta(minutes=1)


def seen(
    *passes: dict[str, Any], counts: dict[str, Counted], taken: timedelta = MINUTE, guard: dict[str, Any] = WORSE
) -> Snapshot:
    """A look at the first stage, of 5 %, when predicates have counted so much since its weight was verified."""
    changes = {"stages[0].pass": list(passes), "stages[0].fail": [], "stages[0].deadline": "10m", "guards": [guard]}
    world = World().until(Phase.JUDGING)
    since = world.now
    snapshot, now = world.snapshot(), since + taken
    spec = read_plan_spec(changed(PLAN, changes))
    status = snapshot.status.model_copy(update={"counted_since": since, "plan_hash": spec.plan_hash()})
    verdict = Verdict(Outcome.UNDECIDED, samples=1.0, why=Why.NOT_YET)
    tracks = {
        name: Measurement(
            asked_at=now, answered_at=now, verdict=verdict, count=CountProgress(since, State(seen=seen), now, {})
        )
        for name, seen in counts.items()
    }
    return replace(
        snapshot, plan=replace(snapshot.plan, content=Readable(spec)), status=status, now=now, measurements=tracks
    )


def told(snapshot: Snapshot) -> list[str]:
    """What is told of it, and only that: nothing is moved and nobody waits."""
    step = decide(snapshot)
    status = after(snapshot, step)
    assert (status.phase, step.actions) == (Phase.JUDGING, ())
    new = status.decisions[len(snapshot.status.decisions) :]
    return [decision.note for decision in new if decision.reason == "StageCannotConclude"]


SLOW = Counted(36, 0, 684, 1)
"""A minute of 12 requests/s, 5 % of them on the new side."""
FAST = Counted(60_000, 60, 1_140_000, 1_140)


@pytest.mark.parametrize("predicate", [NO_WORSE, FEW_BAD], ids=["against the old side", "of one side"])
def test_a_stage_that_cannot_be_decided_in_its_time_says_how_long_it_would_take(predicate: dict[str, Any]) -> None:
    snapshot = seen(predicate, counts={predicate["name"]: SLOW})
    (note,) = told(snapshot)
    for words in (predicate["name"], "at 12 requests/s x 5 % this needs about", "the deadline is 10m"):
        assert words in note
    stage = after(snapshot, decide(snapshot)).stage
    assert stage is not None
    assert note.endswith(stage.forecast)


def test_it_is_told_once_in_a_stage() -> None:
    snapshot = seen(NO_WORSE, counts={"no-worse": SLOW})
    assert told(replace(snapshot, status=after(snapshot, decide(snapshot)))) == []


@pytest.mark.parametrize(
    ("counted", "taken"),
    [
        pytest.param(FAST, MINUTE, id="there is traffic enough"),
        pytest.param(SLOW, timedelta(seconds=20), id="the traffic is not known after a look"),
        pytest.param(Counted(0, 0, 0, 0), MINUTE, id="there is no traffic at all: that is said elsewhere"),
    ],
)
def test_nothing_is_told_where_it_may_be_decided_or_nobody_knows(counted: Counted, taken: timedelta) -> None:
    assert told(seen(NO_WORSE, counts={"no-worse": counted}, taken=taken)) == []


def test_a_stage_without_counts_to_prove_is_not_told_of() -> None:
    assert told(seen(counts={"worse": SLOW})) == []


def test_a_dry_run_is_not_waited_for_and_not_told_of() -> None:
    assert told(seen({**NO_WORSE, "dryRun": True}, counts={"no-worse": SLOW})) == []


def test_a_guard_that_counts_the_same_tells_it_before_the_first_look_of_the_stage() -> None:
    assert told(seen(NO_WORSE, counts={"worse": SLOW}))


def test_a_guard_that_counts_something_else_does_not_speak_for_it() -> None:
    other = {**WORSE, "events": {**EVENTS, "total": "others"}}
    assert told(seen(NO_WORSE, counts={"worse": SLOW}, guard=other)) == []
