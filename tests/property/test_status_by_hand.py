"""A status that was edited by hand, or written by another version, in any way that JSON allows.

Reading it and deciding on it never raises, whatever stands there; what follows always says why; and nothing is moved
forward on such ground that was not fixed before.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rolloutplan.api.command import Verb
from rolloutplan.api.status import Phase, read_status
from rolloutplan.engine.decide import decide
from tests.repetition import times
from tests.world import World

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLAUSIBLE = (
    *Phase,
    "2026-03-01T09:02:00Z",
    "2026-03-01T09:02:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "canary",
    "half",
    "no-such-stage",
    "5%",
    275,
    "Shift",
    "Restore",
    "Conflict",
    "Failed",
    "Undecided",
    "MetricsUnavailable",
    "Paused",
    "Frozen",
    "AwaitingApproval",
    "Repair",
    "shop",
    "v1",
    "v2",
    0,
    -1,
    3,
    10**30,
)
"""What may well stand somewhere in a status, if not at this place."""


COMMANDS = st.sampled_from(["", "abrot", *(f"{verb} c1" for verb in Verb)])
WEIGHTS = st.sampled_from([{"v1": old, "v2": new} for old, new in ((100, 0), (95, 5), (50, 50), (0, 100), (0, 0))])


def statuses() -> Iterator[dict[str, Any]]:
    """A status from every part of a run."""
    world = World()
    for phase, stage in ((Phase.JUDGING, "canary"), (Phase.JUDGING, "half"), (Phase.BAKING, None)):
        yield copy.deepcopy(world.until(phase, stage=stage).status_raw)
    yield copy.deepcopy(world.until(Phase.SUCCEEDED).status_raw)
    shifting = World(lag=None)
    shifting.settle()
    yield copy.deepcopy(shifting.status_raw)
    shifting.pods(ready=0)
    shifting.turn()
    yield copy.deepcopy(shifting.status_raw)
    held = World().until(Phase.JUDGING)
    held.drift({"v1": 100, "v2": 0})
    held.settle()
    yield copy.deepcopy(held.status_raw)
    repairing = World().until(Phase.JUDGING)
    repairing.lag = None
    repairing.drift({"v1": 0, "v2": 100})
    repairing.settle()
    yield copy.deepcopy(repairing.status_raw)
    halfway = World(says={**World().says, "slow": 512.0})
    halfway.edit({"stages[0].warn": [{"name": "slow", "query": "slow", "is": "> 300"}]})
    yield copy.deepcopy(halfway.until(Phase.JUDGING, stage="half").status_raw)
    for changes, command in (({}, "pause a1"), ({"stages[1].approval": "Required"}, "promote a1")):
        told = World()
        told.edit(changes)
        told.until(Phase.JUDGING).say(command)
        told.turn()
        yield copy.deepcopy(told.status_raw)


STATUSES = list(statuses())
ROLLING_BACK = next(status for status in STATUSES if status["phase"] == Phase.ROLLING_BACK)


SAYING = frozenset({"decisions", "conditions"})
"""Fields of a status that decide nothing."""


def places(
    raw: Any, path: tuple[str | int, ...] = (), *, without: Collection[str] = SAYING
) -> Iterator[tuple[str | int, ...]]:
    """Every path into a JSON value, but for fields of these names and what is below them."""
    inner = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in inner:
        if key not in without:
            yield (*path, key)
            yield from places(value, (*path, key), without=without)


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    raw: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(STATUSES)))
    for _ in range(draw(st.integers(1, 4))):
        *above, last = draw(st.sampled_from(list(places(raw)) or [("phase",)]))
        place: Any = raw
        for key in above:
            place = place[key]
        if draw(st.booleans()):
            place[last] = draw(st.sampled_from(PLAUSIBLE) | JSON)
        elif isinstance(place, dict):
            place.pop(last, None)
        else:
            del place[last]
    return raw


def without(status: dict[str, Any], side: str) -> dict[str, Any]:
    """A status that no longer says what this side of its weights is."""
    return {**status, "weights": {key: value for key, value in status["weights"].items() if key != side}}


@settings(max_examples=times(80), suppress_health_check=[HealthCheck.too_slow])
@given(edited(), st.booleans(), st.booleans(), COMMANDS, WEIGHTS)
@example(without(ROLLING_BACK, "old"), True, True, "", {"v1": 100, "v2": 0})
@example(without(ROLLING_BACK, "new"), True, True, "", {"v1": 100, "v2": 0})
@example({**ROLLING_BACK, "run": 10**30}, True, False, "", {"v1": 100, "v2": 0})
@example({**ROLLING_BACK, "run": -1}, True, False, "", {"v1": 100, "v2": 0})
def test_an_edited_status_is_decided_upon_and_says_why(
    raw: dict[str, Any], finalizer: bool, deleting: bool, command: str, weights: dict[str, int]
) -> None:
    world = World(status_raw=raw, finalizer=finalizer, command=command)
    world.drift(weights)
    if deleting:
        world.delete()
    snapshot = world.snapshot()
    step = decide(snapshot)
    assert decide(snapshot) == step, "the same look gave another step"
    for _ in range(3):
        world.turn()
    status = world.status
    assert status.reason or status.phase is Phase.PENDING or world.gone, status.to_raw()


@settings(max_examples=times(50))
@given(
    JSON
    | st.dictionaries(
        st.sampled_from(sorted({key for raw in STATUSES for key in raw})), JSON | st.sampled_from(PLAUSIBLE)
    )
)
def test_nonsense_is_read_and_decided_upon(raw: Any) -> None:
    assert read_status(raw).phase in Phase
    world = World(status_raw=raw)
    for _ in range(3):
        world.turn()
