"""The six invariants of the engine, whatever happens in whatever order; and that the way back needs nothing else.

The stories are those of tests/stories.py, and tests/observers.py says what must be true of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import cycle, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.stats.verdict import Answer
from tests.observers import INVARIANTS, pair
from tests.repetition import times
from tests.situations import P, s
from tests.stories import (
    BOTH_BAD,
    KINDS,
    OTHER,
    TROUBLES,
    Event,
    begun,
    drift,
    lived,
    put,
    routes,
    says_that,
    stories,
)
from tests.world import (
    Deployment,
    World,
    refuse,
    weights_of,
)

DECIDED = "until something is decided"
ONCE_HARD = {
    "evicted, and killed while the weights go back": [
        *(DECIDED, "20 s", "at `routed` the operator is killed", "the pods of the new side are evicted", "1 m"),
        *("no more: the pods of the new side are evicted", "5 m"),
    ],
    "evicted at each stage, and moved by somebody meanwhile": [
        *(DECIDED, "20 s", "the pods of the new side are evicted", "20 s", "somebody moves the weights up", "1 m"),
        *("no more: the pods of the new side are evicted", "5 m", "the pods of the new side are evicted", "20 s"),
        *("somebody says pause", "no more: the pods of the new side are evicted", "1 m", "somebody says what helps"),
        "5 m",
    ],
    "scaled to zero at night, and edited then": [
        *(DECIDED, "20 s", "an autoscaler scales the new side to zero", "5 m", "the plan changes", "1 m"),
        *("no more: an autoscaler scales the new side to zero", "5 m"),
    ],
    "another plan during the run": [DECIDED, "the plan changes", "5 m"],
    "killed in the middle of a way back": [
        *(DECIDED, "a guard holds", "at `routed` the operator is killed", "1 m"),
        *("no more: a guard holds", "5 m"),
    ],
    "one of two routes is refused": [
        *(DECIDED, "writes of one route are refused", "no pod of the new side is ready", "1 m"),
    ],
    "somebody moves the weights while we do": [DECIDED, "at `routed` somebody moves the weights up", "5 m"],
    "killed between a Job and its record, and paused then": [
        *("at `made` the operator is killed", "1 s", "somebody says pause", "1 m", "somebody says what helps", "5 m"),
    ],
    "a Job that fails, and is tried again": ["Jobs fail", "1 m", "no more: Jobs fail", "somebody says retry", "5 m"],
    "killed wherever it takes the old away": [
        *(
            "until all has moved",
            "at `scaled` the operator is killed",
            "20 s",
            "at `made` the operator is killed",
            "5 m",
        ),
        *("at `recorded` the operator is killed", "somebody says abort", "5 m"),
    ],
    "the weights move back while the old is taken away": [
        *("until all has moved", "at `scale` the leader is stopped", "1 m", "somebody moves the weights back", "1 m"),
        *("somebody says abort", "all is mended", "5 m", "somebody says abort", "1 m"),
    ],
    "a Job that takes away fails": [
        *(
            "until all has moved",
            "Jobs fail",
            "5 m",
            "no pod of the new side is ready",
            "1 m",
            "somebody says abort",
            "1 m",
        ),
        *("no more: Jobs fail", "somebody says what helps", "5 m"),
    ],
    "moved back in the instant in which the old is taken away": [
        *("until all has moved", "all is mended", *["somebody moves the weights up"] * 2),
        "no more: somebody moves the weights up",
    ],
    "a new side that is not ready at first": ["one pod of the new side is ready", "1 s", "5 m"],
    "stopped in the middle of a weight, and the plan is paused then": [
        *(DECIDED, "at `route` the leader is stopped", "5 m", "somebody says pause", "who was stopped wakes up"),
        *("20 s", "somebody says what helps", "5 m"),
    ],
    "pushed up before anything was asked for": ["somebody moves the weights up", DECIDED, "5 m"],
    "a fight": [DECIDED, "20 s", "somebody fights for other weights", "1 m", "somebody says what helps", "5 m"],
    "taken up after a conflict, and again": [
        *(DECIDED, "20 s", *["somebody moves the weights back", "20 s", "somebody says what helps", "1 m"] * 2, "5 m"),
    ],
    "promoted, and killed then": [
        *(DECIDED, "20 s", "at `recorded` the operator is killed", "somebody says promote", "5 m"),
    ],
    "both sides fail, and then the new one alone": [
        *("until something is decided", "until something is decided", "20 s", "both sides fail", "1 m"),
        *("somebody says skip", "20 s", "no more: both sides fail", "a guard holds", "1 m"),
    ],
    "both sides fail for a while, and the operator is killed in it": [
        *("until something is decided", "20 s", "both sides fail", "1 m", "the operator is killed and started", "1 m"),
        *("no more: both sides fail", "5 m"),
    ],
    "alerts before a step, and in it": [
        *("the alert of a page fires", "1 m", "no more: the alert of a page fires", "until something is decided"),
        *("until something is decided", "the alert of a ticket fires", "5 m", "the operator is killed and started"),
        *("no more: the alert of a ticket fires", "1 m", "the alert of a ticket fires", "5 m"),
    ],
    "warned, killed half way, and moved back": [
        *("until something is decided", "until something is decided", "20 s", "a warn predicate holds", "20 s"),
        *("at `recorded` the operator is killed", "1 m", "somebody says what helps", "20 s"),
        *("somebody moves the weights back", "20 s", "somebody says what helps", "5 m", "5 m"),
    ],
    "warned all the way, with a word to pass over it": [
        *("a warn predicate holds", "5 m", "somebody says approve", "1 m", "somebody says skip", "5 m", "5 m"),
    ],
    "blind, between two questions": [DECIDED, "20 s", "the source is down", "5 m", "1 s", "20 s", "5 m"],
}


WITH_JOBS = ("it assumes much", "it takes the old away")
TAKING_AWAY = ("it takes the old away", "it takes the old away when a person says so")
KEPT_FOR_THE_BAKE = "a control group, to which a guard compares, stays for the bake, and then the old goes"
OF_BOTH_SIDES = (
    "a guard is asked of both sides",
    "a guard compares both sides, and another has nothing to say while all is well",
)
ABOUT: Mapping[str, Sequence[str]] = {
    "killed between a Job and its record, and paused then": WITH_JOBS,
    "a Job that fails, and is tried again": WITH_JOBS,
    "killed wherever it takes the old away": TAKING_AWAY,
    "the weights move back while the old is taken away": TAKING_AWAY,
    "a Job that takes away fails": TAKING_AWAY,
    "moved back in the instant in which the old is taken away": (*TAKING_AWAY, KEPT_FOR_THE_BAKE),
    "promoted, and killed then": ("the first and the last stage want approval",),
    "both sides fail, and then the new one alone": OF_BOTH_SIDES,
    "both sides fail for a while, and the operator is killed in it": OF_BOTH_SIDES,
    "alerts before a step, and in it": ("it asks for alerts",),
    "warned, killed half way, and moved back": ("its first stages may warn", "it asks for alerts"),
    "warned all the way, with a word to pass over it": ("its first stages may warn", "it asks for alerts"),
    "blind, between two questions": (
        "onMetricsUnavailable is Rollback",
        "onMetricsUnavailable.then is Rollback",
    ),
}
"""The kinds of plan that a story is about."""


def told_of(place: int, story: str) -> Iterable[str]:
    """The kinds of plan that a story is told of: those that it is about, and by turns another one."""
    return dict.fromkeys((*ABOUT.get(story, ("the defaults",)), *islice(cycle(KINDS), place, place + times(1))))


def test_what_a_story_is_about_is_known() -> None:
    assert ABOUT.keys() <= ONCE_HARD.keys()


@pytest.mark.parametrize(
    ("story", "kind"), [(story, kind) for place, story in enumerate(ONCE_HARD) for kind in told_of(place, story)]
)
def test_the_invariants_hold_in_stories_that_were_hard(story: str, kind: str) -> None:
    world = lived(kind, ONCE_HARD[story])
    for invariant in INVARIANTS:
        invariant(world)


@settings(max_examples=times(20))
@given(st.sampled_from(list(KINDS)), stories())
def test_the_invariants_hold_whatever_happens(kind: str, story: list[str]) -> None:
    world = lived(kind, story)
    for invariant in INVARIANTS:
        invariant(world)


# ---- the way back needs nothing but the routes -----------------------------------------------------------------------


def shifting(*, first: bool) -> World:
    """A weight is written, and no gateway has accepted it."""
    world = begun("the defaults")
    if not first:
        world.until(P.JUDGING).advance(s(59))
    world.lag = None
    world.advance(s(1))
    return world


def judging(stage: str) -> World:
    world = begun("the defaults").until(P.JUDGING, stage=stage)
    world.advance(s(25))
    return world


def baking() -> World:
    world = begun("the defaults").until(P.BAKING)
    world.advance(s(25))
    return world


def paused() -> World:
    world = judging("half")
    world.say("pause p1")
    world.advance(s(40))
    return world


def repairing() -> World:
    world = judging("half")
    world.lag = None
    world.drift({"v1": 40, "v2": 60})
    world.advance(s(1))
    return world


def held(trouble: str) -> World:
    world = judging("half")
    TROUBLES[trouble][0](world)
    world.until(P.HELD)
    world.advance(s(40))
    return world


def incident() -> World:
    """Of what is bad on both sides; one side alone is bad when the guard becomes true."""
    world = begun("a guard is asked of both sides").until(P.JUDGING, stage="half")
    world.advance(s(25))
    world.says |= BOTH_BAD
    world.until(P.HELD)
    world.advance(s(40))
    return world


def halfway() -> World:
    """Half way to the second stage, after a warning at the first."""
    world = begun("its first stages may warn")
    world.says["slow"] = 512.0
    world.until(P.HELD).say("approve a1")
    world.until(P.JUDGING).advance(s(25))
    assert world.status.stage and world.status.stage.halfway
    return world


MID_RUN: Mapping[str, Callable[[], World]] = {
    "the first weight is being written": lambda: shifting(first=True),
    "the next weight is being written": lambda: shifting(first=False),
    "the first stage is judged": lambda: judging("canary"),
    "the last stage is judged": lambda: judging("all"),
    "half way to the next stage": halfway,
    "held for a conflict": lambda: held("somebody moves the weights back"),
    "held frozen": lambda: held("a policy freezes"),
    "held for too small an error budget": lambda: held("the error budget is spent"),
    "paused": paused,
    "a drift is being put right": repairing,
    "held for the way back": lambda: held("the old Deployment is gone"),
    "held blind": lambda: held("the source is down"),
    "held for an incident": incident,
    "held undecided": lambda: held("a guard has no data"),
    "baking": baking,
}
"""Every phase in which a weight may stand above the snapshot."""
OTHERS_BROKEN: Mapping[str, Event] = {
    "the operator is killed": World.crash,
    "no status can be written": lambda world: world.broken.add("record"),
    "the plan's marks cannot be written": lambda world: world.broken.add("mark"),
    "nothing can be asked around": lambda world: world.broken.add("inspect"),
    "the gateway says nothing": put(lag=None),
    "the gateway refuses": put(refusal="UnsupportedValue"),
    "the old Deployment is gone": put(old=None),
    "no pod of the old side is ready": put(old=Deployment("v1", ready=0)),
    "the Services are gone": put(services=frozenset()),
    "another plan moves the routes": put(route_conflicts=(OTHER,)),
    "somebody moves another backend": drift("api", v0=33),
    "somebody moves the weights up": drift("shop", v1=0, v2=100),
    "a policy freezes": TROUBLES["a policy freezes"][0],
    "the error budget is unknown": TROUBLES["the error budget is unknown"][0],
    "somebody says pause": says_that("pause"),
    "somebody says skip": says_that("skip"),
    "a command that nobody can read": lambda world: world.say("abrot"),
    "one route is refused once": lambda world: world.traps.update({"route": refuse}),
}


OLD_SIDE_DOWN = ("the old Deployment is gone", "no pod of the old side is ready")
BROKEN = st.lists(st.sampled_from(list(OTHERS_BROKEN)), max_size=8, unique=True)


def at_the_snapshot(world: World) -> bool:
    """Whether both sides have the weights from before the run, in every rule."""
    return all(
        [pair(rule) for rule in world.weights(name)] == [pair(rule) for rule in weights_of(raw)]
        for name, raw in routes().items()
    )


@cache
def mid_run(state: str) -> World:
    return MID_RUN[state]()


def broken(state: str, troubles: list[str]) -> World:
    world = mid_run(state).twin()
    assert world.phase in TRAFFIC_SHIFTED_PHASES and not at_the_snapshot(world), f"nothing to put back: {world.phase}"
    for trouble in troubles:
        OTHERS_BROKEN[trouble](world)
    return world


def nobody_answers_on_the_old_side(world: World) -> bool:
    return world.old is None or not world.old.ready


def old_shares(world: World) -> list[Fraction]:
    """The old side's share in every rule that has both."""
    pairs = [pair(rule) for name in routes() for rule in world.weights(name)]
    return [Fraction(old, old + new) for old, new in pairs if old + new]


@pytest.mark.parametrize("state", MID_RUN)
@settings(max_examples=times(3))
@given(troubles=BROKEN)
def test_a_guard_that_becomes_true_leads_to_the_snapshot_whatever_else_is_broken(
    state: str, troubles: list[str]
) -> None:
    """Within an interval and the longest pause after a refusal; the first weight, when it went long unjudged.

    While nobody answers on the old side, it gets not one request more; the rollback follows when somebody does.
    """
    world = broken(state, troubles)
    world.says |= {"errors": 0.2, "errors/old": 0.0}
    world.down = ""
    within = s(400) if state == "the first weight is being written" else s(23)
    if nobody_answers_on_the_old_side(world):
        before = old_shares(world)
        world.advance(within)
        assert all(now <= then for now, then in zip(old_shares(world), before, strict=True)), world.status.message
        world.old = Deployment("v1")
    world.advance(within)
    assert at_the_snapshot(world), f"{world.phase}: {world.status.message}"


@pytest.mark.parametrize(
    "state", [state for state in MID_RUN if state not in ("the first weight is being written", "held for the way back")]
)
@settings(max_examples=times(5))
@given(troubles=BROKEN)
def test_a_proved_guard_leads_to_the_snapshot_in_three_turns_whatever_breaks_then(
    state: str, troubles: list[str]
) -> None:
    world = broken(state, [name for name in troubles if name not in ("the operator is killed", *OLD_SIDE_DOWN)])
    world.answer("errors", {"new": Answer(0.2)}, world.now)
    world.down = "connection refused"
    for _ in range(3):
        world.turn()
    assert at_the_snapshot(world), f"{world.phase}: {world.status.message}"
