"""Stories of two plans on one route: whatever happens to the one, it keeps to its rule and never disturbs the other."""

from __future__ import annotations

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolloutplan.engine.model.fence import read_fences
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from tests.neighbours import ENDS, NAMES, Neighbours, on_rules
from tests.repetition import times
from tests.situations import ALL, OLD_WEIGHTS, UP, P, s
from tests.world import CHANGED, TEST_FAILED, RefusedError, World

EVENTS = ("nothing", "bad", "crash", "abort", "refused", "stale", "pause and resume", "git", "touch")


def refused_once(_: World) -> None:
    raise RefusedError(TEST_FAILED)


def stale_once(_: World) -> None:
    raise RefusedError(CHANGED)


def happens(event: str, world: World, number: int, own_rule: int) -> None:
    """One thing that happens to one of the two plans."""
    match event:
        case "bad":
            world.says["errors"] = 0.2
        case "crash":
            world.crash()
        case "abort":
            world.say(f"abort a{number}")
        case "refused":
            world.traps["route"] = refused_once
        case "stale":
            world.traps["record"] = stale_once
        case "pause and resume":
            world.say(f"pause p{number}")
            world.settle()
            world.say(f"resume r{number}")
        case "git" if world.phase in TRAFFIC_SHIFTED_PHASES:
            world.drift(UP, rule=own_rule, by="kustomize-controller")
        case "touch":
            world.touch("shop")


def keeps_to_its_rule(world: World, own_rule: int) -> None:
    for move in (move for move in world.moves if move.snapshot is not None):
        changed = [at for at, (was, now) in enumerate(zip(move.before, move.after, strict=True)) if was != now]
        assert changed == [own_rule], f"{world.name} moved rules {changed}: {move.before} -> {move.after}"


def ends_as_it_says(world: World, own_rule: int) -> None:
    weights = world.weights()[own_rule]
    if world.phase is P.ROLLED_BACK:
        assert weights == OLD_WEIGHTS, f"{world.name} is {world.phase} with {weights}"
    if world.phase is P.SUCCEEDED and world.status.reason == "Succeeded":
        assert weights == ALL, f"{world.name} is {world.phase} with {weights}"


def lived(pair: Neighbours, story: list[tuple[int, str, int]]) -> None:
    for number, (place, event, pause) in enumerate(story):
        world = pair.worlds[place]
        happens(event, world, number, NAMES.index(world.name))
        pair.advance(s(pause))
    pair.until_the_end()


STORIES = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(EVENTS), st.integers(0, 240)), max_size=8)


RENEWED = [
    *((0, "nothing", pause) for pause in (125, 67, 202, 204)),
    (1, "refused", 7), (0, "crash", 124), (1, "abort", 57), (1, "crash", 231),
]  # fmt: skip
"""The one renews its undo command on the route after the other, which then ends."""


@settings(max_examples=times(5), deadline=None)
@given(STORIES, st.sampled_from([0, 5, 20]), st.booleans(), st.integers(0, 2**20))
@example(story=RENEWED, lag=20, named=True, seed=130)
@example(story=[(0, "stale", 0), (0, "abort", 0)], lag=0, named=True, seed=0)
def test_neither_disturbs_the_other(story: list[tuple[int, str, int]], lag: int, named: bool, seed: int) -> None:
    pair = on_rules([OLD_WEIGHTS, OLD_WEIGHTS], named=named, lag=s(lag))
    random.Random(seed).shuffle(order := [0, 1])
    pair.worlds = (pair.worlds[order[0]], pair.worlds[order[1]])
    by_place = {world.name: NAMES.index(world.name) for world in pair.worlds}
    lived(
        pair, [(place, event, pause) if order == [0, 1] else (1 - place, event, pause) for place, event, pause in story]
    )
    for world in pair.worlds:
        keeps_to_its_rule(world, by_place[world.name])
        ends_as_it_says(world, by_place[world.name])
    owners = [
        fence.owner
        for fence in read_fences(pair.worlds[0].routes["shop"]["metadata"]["annotations"]["rolloutplan.dev/seq"])
    ]
    assert len(owners) == len(set(owners)) <= 2


@settings(max_examples=times(5), deadline=None)
@given(STORIES, st.sampled_from([0, 5, 20]))
def test_what_happens_to_the_one_does_not_change_how_the_other_ends(
    story: list[tuple[int, str, int]], lag: int
) -> None:
    pair = on_rules([OLD_WEIGHTS, OLD_WEIGHTS], lag=s(lag))
    lived(pair, [(0, event, pause) for _, event, pause in story])
    quiet = pair.worlds[1]
    assert quiet.phase in ENDS
    assert (quiet.phase, quiet.weights()[1]) == (P.SUCCEEDED, ALL)
    assert not {"WeightDrift", "Held", "RollbackStarted", "RequestRefused"} & set(quiet.told())
