"""The six invariants of the engine, whatever happens in whatever order, as an outside observer sees them.

A scenario is a list of things that happen to a plan of three stages on two routes; the operator looks after each of
them. The observer reads nothing but the history: which status stood in the API server when, and who moved which weight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.engine.ask import needs
from rolloutplan.engine.ladder import decide
from rolloutplan.engine.look import Rival
from rolloutplan.engine.table import MOVED
from rolloutplan.engine.words import seal
from rolloutplan.judge.verdict import Answer, Outcome, Why
from rolloutplan.plan.spec import Predicate, Stage
from rolloutplan.plan.status import Phase, RouteWeights, Status, read_status
from tests.refusals import changed
from tests.world import (
    PLAN,
    POINTS,
    SOURCE,
    START,
    Deployment,
    Move,
    Record,
    Refusal,
    Rules,
    World,
    crash,
    http_route,
    refuse,
    weights_of,
)

P = Phase


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


SPEC = changed(
    PLAN,
    {
        "traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in ("shop", "api")],
        "interval": "20s",
        "availability.readyWithin": "2m",
        "guards[0].window": "40s",
        "stages[0].soak": "1m",
        "stages[0].deadline": "3m",
        "stages[0].pass[0].window": "30s",
        "stages[1].soak": "50s",
        "stages[1].deadline": "2m",
        "stages[2].soak": "40s",
        "stages[2].deadline": "2m",
        "bake": "1m",
    },
)
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "the defaults": {},
    "onFail is Hold": {"onFail": "Hold"},
    "onUndecided is Rollback": {"onUndecided": "Rollback"},
    "onUndecided is Extend": {"onUndecided": "Extend"},
    "onBlind is Rollback": {"onBlind": {"action": "Rollback"}},
    "onBlind.then is Rollback": {"onBlind": {"action": "Hold", "after": "2m10s", "then": "Rollback"}},
    "a guard must hold for a while": {"guards[0].for": "30s"},
    "a drain longer than the bake": {"bake": "0s", "traffic.drain": "2m"},
}


QUICK = replace(SOURCE, scrape=s(5))


def routes() -> dict[str, dict[str, Any]]:
    """Rules with a third Service, and with a new side that has some traffic already."""
    return {
        "shop": http_route("shop", [{"v1": 100, "v2": 0}, {"v1": 3, "v2": 0, "v0": 7}]),
        "api": http_route("api", [{"v0": 10, "v1": 98, "v2": 2}]),
    }


def begun(policy: str) -> World:
    """A plan applied just now."""
    return World(spec=changed(SPEC, POLICIES[policy]), routes=routes(), source=QUICK)


# ---- what can happen -------------------------------------------------------------------------------------------------

Event = Callable[[World], object]


def settled(world: World) -> None:
    """Nothing follows any more at this instant."""
    world.settle()
    every_state_has_a_next_instant_or_says_what_it_waits_for(world)


def pass_time(world: World, by: timedelta, *, enough: Callable[[], bool] = lambda: False) -> None:
    """Time passes, and the operator looks whenever it said that it would."""
    end = world.now + by
    settled(world)
    while not enough() and (at := world.next()) is not None and at <= end:
        world.now = at
        settled(world)
    if not enough():
        world.now = end
        settled(world)


def wait(seconds: float) -> Event:
    return lambda world: pass_time(world, s(seconds))


def decided(world: World) -> None:
    """Time passes until something is decided, for five minutes at most."""
    seq = world.status.seq
    pass_time(world, s(300), enough=lambda: world.status.seq != seq)


def put(**attributes: Any) -> Event:
    """Set attributes of the world."""

    def do(world: World) -> None:
        for name, value in attributes.items():
            setattr(world, name, value)

    return do


def says(**values: float | Why) -> Event:
    return lambda world: world.says.update(values)


def pods(**changes: Any) -> Event:
    def do(world: World) -> None:
        if world.new:
            world.pods(**changes)

    return do


def drift(route: str, **weights: int) -> Event:
    def do(world: World) -> None:
        if route in world.routes:
            world.drift(weights, route)

    return do


def edit(changes: Mapping[str, Any]) -> Event:
    return lambda world: world.edit(changes)


def down(world: World) -> None:
    world.crash()
    world.now += s(300)


def as_written(world: World) -> None:
    for route in world.status.weights.written:
        for rule in route.rules:
            if route.name in world.routes:
                world.drift({b.service: b.weight for b in rule.backends}, route.name, rule.index)


def another_plan(world: World) -> None:
    world.edit({"stages[1].weight": "40%" if world.spec["stages"][1]["weight"] == "50%" else "50%"})


def another_template(world: World) -> None:
    if world.new is not None:
        world.pods(revision=world.new.revision + "'")


def deleted(world: World) -> None:
    if world.deleting is None:
        world.delete()


TIME: Mapping[str, Event] = {
    "until something is decided": decided,
    "1 s": wait(1),
    "20 s": wait(20),
    "1 m": wait(61),
    "5 m": wait(300),
}
FAULTS: Mapping[str, Event] = {
    "the operator is killed": crash,
    "the API server refuses": refuse,
    "somebody moves the weights up": drift("shop", v1=40, v2=60),
    "the template of the new side changes": another_template,
    "the plan changes": another_plan,
    "the pods die": pods(ready=0),
    "the plan is deleted": deleted,
}
"""What can happen between two steps of one turn."""


def sudden(fault: Event, point: str) -> Event:
    def spring(world: World) -> None:
        fault(world)

    return lambda world: world.traps.update({point: spring})


SUDDEN: Mapping[str, Event] = {
    f"at `{point}` {name}": sudden(fault, point)
    for point in POINTS
    for name, fault in FAULTS.items()
    if (point, name) != ("record", "somebody moves the weights up")  # between look and record there is no remedy
}
OTHER = Rival("ns/other", frozenset(routes()), running=True, waiting=False, created=START, uid="0")
TROUBLES: Mapping[str, tuple[Event, Event]] = {
    "status writes are refused": (put(broken={"record"}), put(broken=set())),
    "writes of one route are refused": (put(broken={"route api"}), put(broken=set())),
    "writes of the plan's marks are refused": (put(broken={"mark"}), put(broken=set())),
    "the gateway says nothing": (put(lag=None), put(lag=s(0))),
    "the gateway is slow": (put(lag=s(5)), put(lag=s(0))),
    "the gateway refuses": (put(refusal="UnsupportedValue"), put(refusal="")),
    "a guard holds": (says(errors=0.2), says(errors=0.0)),
    "a guard is NaN": (says(errors=Why.NAN), says(errors=0.0)),
    "a guard has no data": (says(errors=Why.NO_DATA), says(errors=0.0)),
    "a fail predicate holds": (says(wrong=1.0), says(wrong=0.0)),
    "a pass predicate is false": (says(hits=0.1), says(hits=0.95)),
    "a pass predicate has no data": (says(hits=Why.NO_DATA), says(hits=0.95)),
    "the source is down": (put(down="connection refused"), put(down="")),
    "the source object is gone": (put(source=None), put(source=QUICK)),
    "no pod of the new side is ready": (pods(ready=0), pods(ready=4)),
    "one pod of the new side is ready": (pods(ready=1), pods(ready=4)),
    "the containers of the new side restarted": (pods(restarts=9), pods(restarts=0)),
    "the new Deployment is gone": (put(new=None), put(new=Deployment("v2"))),
    "the old Deployment is gone": (put(old=None), put(old=Deployment("v1"))),
    "somebody moves the weights up": (drift("shop", v1=40, v2=60), as_written),
    "somebody moves the weights back": (drift("shop", v1=100, v2=0), as_written),
    "somebody moves another backend": (drift("api", v0=33), drift("api", v0=10)),
    "a route is gone": (lambda w: w.routes.pop("api", None), lambda w: w.routes.setdefault("api", routes()["api"])),
    "the plan can no longer be read": (edit({"guards[0].is": "about 5"}), edit({"guards[0].is": "> 1%"})),
    "another plan moves the route": (
        put(rivals=(OTHER,)),
        put(rivals=()),
    ),
}


def all_is_mended(world: World) -> None:
    for name, (_, end) in TROUBLES.items():
        if name != "the new Deployment is gone" or world.new is None:
            end(world)
    as_written(world)


SINGLE: Mapping[str, Event] = {
    "the operator is killed and started": World.crash,
    "the operator is down for five minutes": down,
    "the template of the new side changes": another_template,
    "the plan changes": another_plan,
    "the plan is deleted": deleted,
}
HAPPENS: Mapping[str, Event] = {
    **TIME,
    **SINGLE,
    **SUDDEN,
    **{name: begin for name, (begin, _) in TROUBLES.items()},
    **{f"no more: {name}": end for name, (_, end) in TROUBLES.items()},
    "all is mended": all_is_mended,
}


@st.composite
def stories(draw: st.DrawFn) -> list[str]:
    """Time and a few things that happen in it, again and again: few kinds in one story meet more often."""
    troubles = draw(st.lists(st.sampled_from([*TROUBLES, *SINGLE]), min_size=1, max_size=3, unique=True))
    sudden = draw(st.lists(st.sampled_from(list(SUDDEN)), max_size=2, unique=True))
    over = [f"no more: {trouble}" for trouble in troubles if trouble in TROUBLES]
    often = st.sampled_from([*["until something is decided"] * 3, *TIME, "all is mended"])
    return draw(st.lists(st.one_of(often, st.sampled_from([*troubles, *over, *sudden])), min_size=4, max_size=16))


def lived(policy: str, story: list[str]) -> World:
    """What has become of a plan after a story. The operator looks after each thing, and can write again at the end."""
    world = begun(policy)
    for event in story:
        HAPPENS[event](world)
        settled(world)
        if world.gone:
            return world
    world.traps, world.broken = {}, set()
    pass_time(world, s(31))
    since = world.status.entered_at or START
    assert world.phase is not P.REVERTING or world.now <= since + s(31), f"no way back ends: {world.status.message}"
    return world


# ---- the observer ----------------------------------------------------------------------------------------------------


def pair(rule: Mapping[str, int]) -> tuple[int, int]:
    return rule["v1"], rule["v2"]


def share(rule: Mapping[str, int]) -> Fraction:
    old, new = pair(rule)
    return Fraction(new, old + new) if new else Fraction(0)


def saved(routes: tuple[RouteWeights, ...], name: str) -> Mapping[int, tuple[int, int]]:
    """What a status says of a route: the old and the new side of each rule."""
    rules = [rule for route in routes if route.name == name for rule in route.rules]
    return {rule.index: pair({b.service: b.weight for b in rule.backends}) for rule in rules}


def stage_of(world: World, status: Status) -> Stage:
    assert status.stage is not None
    return world.specs[status.plan_hash].ladder()[status.stage.index]


def changed_rules(move: Move) -> list[tuple[int, dict[str, int], dict[str, int]]]:
    """The rules that a move changed: place, weights before and after."""
    rules = enumerate(zip(move.before, move.after, strict=True))
    return [(place, before, after) for place, (before, after) in rules if before != after]


def ours(world: World) -> Iterator[tuple[Move, bool]]:
    """Our own changes of weights, each with whether it was a step forward."""
    return ((move, move.by.phase is not P.REVERTING) for move in world.moves if move.ours)


def judged(world: World, stage: Stage, status: Status) -> list[tuple[str, str, str]]:
    """Name, role and query of all that judges a stage, as they have to be fixed before its weight moves."""
    guards = world.specs[status.plan_hash].guards
    rows = [("guard", guards), ("fail", stage.fail), ("pass", stage.pass_)]

    def query(predicate: Predicate) -> str:
        return predicate.query.replace("$window", f"{predicate.window.total_seconds():.0f}s")

    return [(predicate.name, role, query(predicate)) for role, predicates in rows for predicate in predicates]


def no_weight_rises_before_its_predicates_are_sealed(world: World) -> None:
    """Invariant 1: what will judge a weight stood in the API server before the weight was written."""
    for move, forward in ours(world):
        if not forward:
            continue
        status = move.stands
        where = f"{move.route} {move.before} -> {move.after} at {move.at:%H:%M:%S}, run {status.run}"
        assert status.phase is P.SHIFTING and status.stage is not None, f"{where}: the API server has {status.phase}"
        stage = stage_of(world, status)
        right = all(share(now) == Fraction(stage.permille, 1000) for _, _, now in changed_rules(move))
        assert right, f"{where}: not the weight of {stage.name}"
        known = saved(status.weights.written, move.route)
        assert all(pair(was) == known[place] for place, was, _ in changed_rules(move)), (
            f"{where}: over another's weight"
        )
        assert status.stage.seal == seal(stage, world.specs[status.plan_hash].guards), f"{where}: another seal"
        fixed = [(p.name, p.role, p.query) for p in status.predicates]
        assert fixed == judged(world, stage, status), f"{where}: other predicates are fixed"


def nothing_goes_forward_after_a_failure_nor_two_stages_at_once(world: World) -> None:
    """Invariant 2."""
    failed: set[int] = set()
    verified: dict[int, tuple[int, Any]] = {}
    for event in world.history:
        if isinstance(event, Record):
            status = event.status
            if status.failed:
                failed.add(status.run)
            if status.stage is not None and status.stage.verified_at is not None:
                verified[status.run] = (status.stage.index, status.stage.judged_since)
        if not isinstance(event, Move) or not event.ours or event.by.phase is P.REVERTING:
            continue
        status = event.stands
        assert status.run not in failed, f"run {status.run} goes forward after {status.failed}"
        assert status.stage is not None
        before, since = verified.get(status.run, (-1, event.at))
        assert status.stage.index == before + 1, f"from stage {before} to {status.stage.index} in one step"
        if before == -1:
            continue
        spec = world.specs[status.plan_hash]
        for predicate in (*spec.guards, *spec.ladder()[before].fail):
            track = event.known.get(predicate.name)
            if track is None or track.verdict is None or track.asked_at is None or track.asked_at < since:
                continue
            assert track.verdict.outcome is not Outcome.PROVED, f"{predicate.name} is proved, and the weights go on"


def no_soak_is_shortened(world: World) -> None:
    """Invariant 3: time counts while the stage is judged and its weight stands in the routes, and only then.

    Where somebody moves weights while no status can be written, the hold begins when it can.
    """
    spent: dict[tuple[int, str, Phase], timedelta] = defaultdict(timedelta)
    status, at = read_status({}), START
    stands: dict[str, Rules] = {}
    unwritten = False
    for event in world.history:
        if status.stage is not None and status.phase in (P.JUDGING, P.BAKING):
            wanted = Fraction(stage_of(world, status).permille, 1000)
            if unwritten or all(share(rule) == wanted for rules in stands.values() for rule in rules):
                spent[status.run, status.stage.name, status.phase] += event.at - at
        at = event.at
        unwritten = isinstance(event, Refusal) or (unwritten and isinstance(event, Move))
        if isinstance(event, Move):
            stands[event.route] = event.after
        if not isinstance(event, Record):
            continue
        now, stands = event.status, dict(event.routes)
        if status.stage is not None and (status.phase, now.phase) in GOES_ON:
            stage, spec = stage_of(world, status), world.specs[status.plan_hash]
            took = spent[status.run, stage.name, status.phase]
            least = stage.soak if status.phase is P.JUDGING else spec.bake
            assert took >= least, f"{stage.name} is {status.phase} for {took}, not for {least}"
        status = now


GOES_ON = {(P.JUDGING, P.SHIFTING), (P.JUDGING, P.BAKING), (P.BAKING, P.SUCCEEDED)}


def every_change_of_weights_has_one_decision(world: World) -> None:
    """Invariant 4."""
    seqs = []
    for record in world.records:
        kept = [decision.seq for decision in record.status.decisions]
        assert kept == list(range(record.status.seq - len(kept) + 1, record.status.seq + 1)), f"numbers {kept}"
        seqs.append(record.status.seq)
    assert seqs == sorted(seqs), f"the numbers fall: {seqs}"
    if not world.gone:
        assert sorted(world.trail) == list(range(1, max(seqs, default=0) + 1)), "a decision was never told"
    told = Counter((d.reason, d.run, d.stage if d.reason == "WeightShifted" else "") for d in world.trail.values())
    for (reason, run, stage), count in told.items():
        if reason in ("WeightShifted", "RollbackStarted", "RolledBack"):
            assert count == 1, f"{count} times {reason} in run {run} {stage}"
    risen = {(m.stands.run, m.stands.stage.name) for m, forward in ours(world) if forward and m.stands.stage}
    shifted = {(run, stage) for reason, run, stage in told if reason == "WeightShifted"}
    assert shifted <= risen, f"told, and not done: {shifted - risen}"
    for run, stage in risen - shifted:
        under_way = world.status.run == run and world.phase in (P.SHIFTING, P.HELD, P.INVALID)
        assert under_way or world.gone or told["RollbackStarted", run, ""], f"done, and not told: run {run} {stage}"
    for move, forward in ours(world):
        told_of = forward or world.gone or told["RollbackStarted", move.by.run, ""]
        assert told_of, f"put back at {move.at:%H:%M:%S} without a decision: {move.before} -> {move.after}"


def rolled_back_means_the_snapshot_to_the_number(world: World) -> None:
    """Invariant 5."""
    before, touched = read_status({}), False
    began: Mapping[str, Any] = {}
    for event in world.history:
        if isinstance(event, Move):
            touched = touched or not event.ours
            for _, was, now in changed_rules(event):
                if event.ours and any(pair(was)) and "v0" in was:
                    asked = Fraction(was["v0"] * sum(pair(now)), sum(pair(was)))
                    assert abs(now["v0"] - asked) <= Fraction(1, 2), f"another backend's share: {was} -> {now}"
            if event.ours and event.by.phase is P.REVERTING:
                wanted = saved(event.by.weights.snapshot, event.route)
                right = all(pair(now) == wanted[place] for place, _, now in changed_rules(event))
                assert right, f"a way back to somewhere else: {event.after}, not {wanted}"
        if not isinstance(event, Record):
            continue
        status = event.status
        if (before.phase, status.phase) == (P.EXPANDING, P.SHIFTING):
            began, touched = event.routes, False
        if (before.phase, status.phase) == (P.REVERTING, P.ROLLED_BACK):
            for name, rules in event.routes.items():
                wanted = saved(status.weights.snapshot, name)
                assert {i: pair(rule) for i, rule in enumerate(rules)} == wanted, f"RolledBack, and {name} has {rules}"
                assert touched or rules == began[name], f"{name} was {began[name]} before the run, and is {rules}"
        before = status


def every_state_has_a_next_instant_or_says_what_it_waits_for(world: World) -> None:
    """Invariant 6, and before that next instant nothing would follow from another look."""
    status = world.status
    assert world.wake_at is None or world.wake_at > world.now, f"{status.phase} is looked at without a pause"
    if world.wake_at is None and not world.gone and status.phase not in (P.SUCCEEDED, P.ROLLED_BACK):
        assert status.phase in (P.PENDING, P.INVALID, P.HELD) and status.message, f"{status.phase} waits for nothing"
    if world.memory.failures:
        return  # it was refused, and tries again
    now = world.now
    world.now = (world.next() or now + s(3600)) - s(0.001)
    look = world.look()
    later = decide(look)
    asked = needs(look.plan, look.status, look.source, look.ledger, look.now)
    world.now = now
    followed = (later.status.seq - status.seq, later.actions, asked)
    assert followed == (0, (), ()), f"{status.phase} sleeps until {world.wake_at} and misses {later.status.message}"


INVARIANTS = (
    no_weight_rises_before_its_predicates_are_sealed,
    nothing_goes_forward_after_a_failure_nor_two_stages_at_once,
    no_soak_is_shortened,
    every_change_of_weights_has_one_decision,
    rolled_back_means_the_snapshot_to_the_number,
)


DECIDED = "until something is decided"
ONCE_HARD = {
    "another plan in mid-run": [DECIDED, "the plan changes", "5 m"],
    "killed in the middle of a way back": [
        *(DECIDED, "a guard holds", "at `routed` the operator is killed", "1 m"),
        *("no more: a guard holds", "5 m"),
    ],
    "one of two routes is refused": [
        *(DECIDED, "writes of one route are refused", "no pod of the new side is ready", "1 m"),
    ],
    "somebody moves the weights while we do": [DECIDED, "at `routed` somebody moves the weights up", "5 m"],
    "a new side that is not ready at first": ["one pod of the new side is ready", "1 s", "5 m"],
    "blind, between two questions": [DECIDED, "20 s", "the source is down", "5 m", "1 s", "20 s", "5 m"],
}


@pytest.mark.parametrize("story", ONCE_HARD)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_invariants_hold_in_stories_that_were_hard(policy: str, story: str) -> None:
    world = lived(policy, ONCE_HARD[story])
    for invariant in INVARIANTS:
        invariant(world)


@settings(max_examples=100)
@given(st.sampled_from(list(POLICIES)), stories())
def test_the_invariants_hold_whatever_happens(policy: str, story: list[str]) -> None:
    world = lived(policy, story)
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


def held(trouble: str) -> World:
    world = judging("half")
    TROUBLES[trouble][0](world)
    world.until(P.HELD)
    world.advance(s(40))
    return world


MID_RUN: Mapping[str, Callable[[], World]] = {
    "the first weight is being written": lambda: shifting(first=True),
    "the next weight is being written": lambda: shifting(first=False),
    "the first stage is judged": lambda: judging("canary"),
    "the last stage is judged": lambda: judging("all"),
    "held for a conflict": lambda: held("somebody moves the weights up"),
    "held for the way back": lambda: held("the old Deployment is gone"),
    "held blind": lambda: held("the source is down"),
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
    "another plan moves the routes": put(rivals=(OTHER,)),
    "somebody moves another backend": drift("api", v0=33),
    "somebody moves the weights up": drift("shop", v1=0, v2=100),
    "one route is refused once": lambda world: world.traps.update({"route": refuse}),
}


BROKEN = st.lists(st.sampled_from(list(OTHERS_BROKEN)), max_size=8, unique=True)


def at_the_snapshot(world: World) -> bool:
    """Whether both sides have the weights from before the run, in every rule."""
    return all(
        [pair(rule) for rule in world.weights(name)] == [pair(rule) for rule in weights_of(raw)]
        for name, raw in routes().items()
    )


def broken(state: str, troubles: list[str]) -> World:
    world = MID_RUN[state]()
    assert world.phase in MOVED and not at_the_snapshot(world), f"nothing to put back: {world.phase}"
    for trouble in troubles:
        OTHERS_BROKEN[trouble](world)
    return world


@pytest.mark.parametrize("state", MID_RUN)
@settings(max_examples=8)
@given(troubles=BROKEN)
def test_a_guard_that_becomes_true_leads_to_the_snapshot_whatever_else_is_broken(
    state: str, troubles: list[str]
) -> None:
    """Within an interval and the longest pause after a refusal; the first weight, when it went long unjudged."""
    world = broken(state, troubles)
    world.says["errors"], world.down = 0.2, ""
    world.advance(s(400) if state == "the first weight is being written" else s(23))
    assert at_the_snapshot(world), f"{world.phase}: {world.status.message}"


@pytest.mark.parametrize("state", [state for state in MID_RUN if state != "the first weight is being written"])
@settings(max_examples=6)
@given(troubles=BROKEN)
def test_a_proved_guard_leads_to_the_snapshot_in_three_turns_whatever_breaks_then(
    state: str, troubles: list[str]
) -> None:
    world = broken(state, [name for name in troubles if name != "the operator is killed"])
    world.answer("errors", {"new": Answer(0.2)}, world.now)
    world.down = "connection refused"
    for _ in range(3):
        world.turn()
    assert at_the_snapshot(world), f"{world.phase}: {world.status.message}"
