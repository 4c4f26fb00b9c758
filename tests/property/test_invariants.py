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
from rolloutplan.engine.decide import decide
from rolloutplan.engine.look import Rival
from rolloutplan.engine.policy import Peer, PolicyView
from rolloutplan.engine.table import MOVED
from rolloutplan.engine.words import seal
from rolloutplan.judge.verdict import Answer, Outcome, Why
from rolloutplan.plan.command import Verb
from rolloutplan.plan.predicate import Predicate
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import Decision, Phase, RouteWeights, Status, read_status
from tests.refusals import alert, changed
from tests.situations import assumption, job, ruled
from tests.world import (
    PLAN,
    POINTS,
    SHOP,
    SOURCE,
    START,
    Deployment,
    Move,
    Record,
    Refusal,
    Rules,
    StaleError,
    World,
    after,
    crash,
    http_route,
    refuse,
    stop,
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
Event = Callable[[World], object]
EVENTS = {"bad": "bad", "total": "all"}
SHARE = {"speaks": "Against", "query": "errors[$window]", "is": "> 1%"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "the defaults": {},
    "onFail is Hold": {"onFail": "Hold"},
    "onUndecided is Rollback": {"onUndecided": "Rollback"},
    "onUndecided is Extend": {"onUndecided": "Extend"},
    "onBlind is Rollback": {"onBlind": {"action": "Rollback"}},
    "onBlind.then is Rollback": {"onBlind": {"action": "Hold", "after": "2m10s", "then": "Rollback"}},
    "a guard must hold for a while": {"guards[0].for": "30s"},
    "a drain longer than the bake": {"bake": "0s", "traffic.drain": "2m"},
    "a guard and a pass predicate count": {
        "guards": [*SPEC["guards"], {"name": "many", "events": EVENTS, "is": "> 5%"}],
        "stages[0].pass": [{"name": "few", "events": EVENTS, "is": "< 5%"}],
    },
    "a guard is asked of both sides": {"guards[0].query": 'errors{deployment="$deployment"}[$window]'},
    "a dry run": {"guards": [*SPEC["guards"], {"name": "trial", "query": "wrong", "is": "> 0", "dryRun": True}]},
    "it stops below full traffic": {"stages[2].weight": "90%", "stopAt": "90%"},
    "it assumes much": {
        "assumptions": [
            assumption("minor", 1, deadline="30s"),
            assumption("cache", 5),
            assumption("warm", 3, predicate={"query": "warm[$window]", "is": "> 0.9"}, deadline="1m"),
        ],
        "expand": {"jobs": [job("columns", deadline="30s"), job("index")], "scale": {"new": "MatchOld"}},
    },
    "it takes the old away": {
        "traffic.drain": "20s",
        "contract": {"scaleOld": 0, "jobs": [job("drop", deadline="30s"), job("vacuum")]},
    },
    "it takes the old away when a person says so": {
        "traffic.drain": "20s",
        "contract": {"scaleOld": 0, "jobs": [job("drop")], "approval": "Required"},
    },
    "it names templates and does all that a plan can do": {
        "traffic.drain": "20s",
        "assumptions": [assumption("warm", 3, predicate={"query": "warm[$window]", "is": "> 0.9"}, deadline="1m")],
        "expand": {"jobs": [job("columns")], "scale": {"new": "MatchOld"}},
        "guards": [{"name": "errors", "template": "share", "window": "40s"}],
        "stages[1].pass": [{"use": "hits"}],
        "stages[2].fail": [{"use": "wrong", "dryRun": True}],
        "contract": {"scaleOld": 0, "jobs": [job("drop")]},
    },
    "its first stages may warn": {
        "stages[0].warn": [{"name": "slow", "query": "slow[$window]", "is": "> 300"}],
        "stages[1].warn": [{"use": "slow"}, {"name": "crowd", "events": EVENTS, "is": "> 5%"}],
        "stages[1].approval": "Required",
    },
    "it asks for alerts": {
        "guards": [*SPEC["guards"], alert("page")],
        "stages[0].fail": [alert("trial", dryRun=True), {"name": "wrong", "query": "wrong", "is": "> 0"}],
        "stages[1].fail": [alert("ticket", 'severity="ticket"', **{"for": "30s"})],
        "stages[1].warn": [{"name": "slow", "query": "slow[$window]", "is": "> 300"}],
    },
    "the first and the last stage want approval": {
        "stages[0].approval": "Required",
        "stages[2].approval": "Required",
    },
}


QUICK = replace(SOURCE, scrape=s(5))


def routes() -> dict[str, dict[str, Any]]:
    """Rules with a third Service, and with a new side that has some traffic already."""
    return {
        "shop": http_route("shop", [{"v1": 100, "v2": 0}, {"v1": 3, "v2": 0, "v0": 7}]),
        "api": http_route("api", [{"v0": 10, "v1": 98, "v2": 2}]),
    }


def begun(kind: str) -> World:
    """A plan applied just now."""
    world = World(spec=changed(SPEC, KINDS[kind]), routes=routes(), source=QUICK, templates={"share": SHARE})
    world.says |= {"warm": 0.95, "slow": 12.0}
    counts(bad=0.5)(world)
    return world


def counts(bad: float, total: float = 100.0) -> Event:
    """So many bad requests a second, of so many, are counted from now on."""

    def do(world: World) -> None:
        for name in ("many", "few", "crowd"):
            world.counts(name, new=(bad, total))

    return do


# ---- what can happen -------------------------------------------------------------------------------------------------


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


def all_has_moved(world: World) -> None:
    """Time passes until the old may be taken away, for half an hour at most."""
    pass_time(world, s(1800), enough=lambda: P.CONTRACTING in (world.phase, world.status.stands_in))


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


def fights(world: World) -> None:
    for _ in range(4):
        drift("shop", v1=40, v2=60)(world)
        pass_time(world, s(2))


def as_written(world: World) -> None:
    for route in world.status.weights.written:
        for rule in route.rules:
            if route.name in world.routes:
                world.drift({b.service: b.weight for b in rule.backends}, route.name, rule.index)


def another_plan(world: World) -> None:
    world.edit({"stages[1].weight": "40%" if world.spec["stages"][1]["weight"] == "50%" else "50%"})


def another_end(world: World) -> None:
    world.edit({"bake": "30s" if world.spec["bake"] != "30s" else "2m"})


def another_template(world: World) -> None:
    if world.new is not None:
        world.pods(revision=world.new.revision + "'")


def deleted(world: World) -> None:
    if world.deleting is None:
        world.delete()


def says_that(verb: str) -> Event:
    """A person says it, under a token of its own."""
    return lambda world: world.say(f"{verb} {verb}-{world.version}")


HELPS = {
    "AwaitingApproval": "approve",
    "Paused": "resume",
    "Undecided": "resume",
    "Conflict": "resume",
    "ContractFailed": "resume",
}


def says_what_helps(world: World) -> None:
    """A person lets a run go on that waits for one, and has one that was put back tried again."""
    verb = "retry" if world.phase is P.ROLLED_BACK else HELPS.get(world.status.reason)
    if verb is not None:
        says_that(verb)(world)


def says_it_again(world: World) -> None:
    """An old command comes back from Git."""
    tokens = world.status.tokens
    if tokens and (verb := tokens[0].partition("-")[0]) in set(Verb):
        world.say(f"{verb} {tokens[0]}")


def ruled_by(policy: PolicyView) -> tuple[Event, Event]:
    """A policy rules over the plan, until it does not."""

    def end(world: World) -> None:
        world.policies = tuple(each for each in world.policies if each.name != policy.name)

    def begin(world: World) -> None:
        end(world)
        world.policies = (*world.policies, policy)

    return begin, end


def both(*pairs: tuple[Event, Event]) -> tuple[Event, Event]:
    def each(place: int) -> Event:
        def do(world: World) -> None:
            for pair in pairs:
                pair[place](world)

        return do

    return each(0), each(1)


def wakes_up(world: World) -> None:
    """Every leader that was stopped goes on with its write, and is refused: another has taken over since."""
    not_yet = world.phase in MOVED and world.status.epoch != world.epoch
    if not_yet or world.broken or world.traps or world.operator.refusals:
        return  # that one could not write yet, so it is as if the late write had come before
    for late in world.stopped:
        for effect in late.weights:
            if effect.look.status.phase is not P.SUCCEEDED:
                with pytest.raises(StaleError):
                    world.write_weights(effect)
    world.stopped.clear()


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
    "what comes last in the plan changes": another_end,
    "the pods die": pods(ready=0),
    "the plan is deleted": deleted,
    "the leader is stopped": stop,
    **{f"somebody says {verb}": says_that(verb) for verb in ("abort", "pause", "skip", "promote")},
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
RUNNING = Peer("ns/other", frozenset({"policy crowded"}), "running", START, "0")
BUDGETED = ruled("budgeted", errorBudget={"query": "budget", "atLeast": "20%"})
BOTH_ROUTES = frozenset(replace(SHOP, name=name) for name in routes())
OTHER = Rival("ns/other", BOTH_ROUTES, running=True, waiting=False, created=START, uid="0")
BOTH_BAD, BOTH_GOOD = {"errors": 0.2, "errors/old": 0.3}, {"errors": 0.0, "errors/old": 0.0}


def fires(name: str) -> tuple[Event, Event]:
    """The alert of a predicate begins to fire, and ends."""
    return lambda world: world.alert(name), lambda world: world.alert(name, fires=False)


TROUBLES: Mapping[str, tuple[Event, Event]] = {
    "status writes are refused": (put(broken={"record"}), put(broken=set())),
    "writes of one route are refused": (put(broken={"route api"}), put(broken=set())),
    "writes of the plan's marks are refused": (put(broken={"mark"}), put(broken=set())),
    "the gateway says nothing": (put(lag=None), put(lag=s(0))),
    "the gateway is slow": (put(lag=s(5)), put(lag=s(0))),
    "the gateway refuses": (put(refusal="UnsupportedValue"), put(refusal="")),
    "a guard holds": (says(errors=0.2), says(errors=0.0)),
    "many counted requests are bad": (counts(bad=20), counts(bad=0.5)),
    "nothing is counted": (counts(bad=0, total=0), counts(bad=0.5)),
    "a guard is NaN": (says(errors=Why.NAN), says(errors=0.0)),
    "a guard has no data": (says(errors=Why.NO_DATA), says(errors=0.0)),
    "both sides fail": (says(**BOTH_BAD), says(**BOTH_GOOD)),
    "a fail predicate holds": (says(wrong=1.0), says(wrong=0.0)),
    "a warn predicate holds": (says(slow=512.0), says(slow=12.0)),
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
    "it is adopted late": (put(adopts_in=s(30)), put(adopts_in=s(0))),
    "Jobs fail": (put(job_fails=True), put(job_fails=False)),
    "Jobs do not end": (put(job_takes=None), put(job_takes=s(5))),
    "nothing can be scaled": (put(scale_hindered="forbidden"), put(scale_hindered="")),
    "an autoscaler scales": (put(autoscaled=frozenset({"v2"})), put(autoscaled=frozenset())),
    "Jobs are refused": (put(job_refused="restartPolicy: Required value"), put(job_refused="")),
    "Jobs are forbidden": (put(job_hindered="exceeded quota"), put(job_hindered="")),
    "no Job can be read": (put(broken={"job"}), put(broken=set())),
    "what is assumed is not known": (says(warm=Why.NO_DATA), says(warm=0.95)),
    "another plan moves the route": (put(rivals=(OTHER,)), put(rivals=())),
    "the alert of a page fires": fires("page"),
    "the alert of a ticket fires": fires("ticket"),
    "whether an alert fires is not known": (says(ticket=Why.NAN), lambda w: w.says.pop("ticket", None)),
    "a policy freezes": ruled_by(ruled("frozen", freeze={"now": "incident 42"})),
    "a policy cannot be read": ruled_by(PolicyView("broken", None, "spec.focus: not one of the choices")),
    "a policy wants stability": ruled_by(ruled("stable", focus="Stability")),
    "a policy has no place": both(ruled_by(ruled("crowded", maxConcurrent=1)), (put(peers=(RUNNING,)), put(peers=()))),
    "the error budget is spent": both(ruled_by(BUDGETED), (says(budgeted=0.1), says(budgeted=0.9))),
    "the error budget is not known": both(ruled_by(BUDGETED), (says(budgeted=Why.NAN), says(budgeted=0.9))),
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
    "what comes last in the plan changes": another_end,
    "the plan is deleted": deleted,
    "somebody fights for other weights": fights,
    "who was stopped wakes up": wakes_up,
}
COMMANDS: Mapping[str, Event] = {
    **{f"somebody says {verb}": says_that(verb) for verb in Verb},
    "somebody says what helps": says_what_helps,
    "somebody says what nobody can read": lambda world: world.say("abrot"),
    "an old command comes back": says_it_again,
    "the command is pruned": lambda world: world.say(""),
}
OFTEN = (*["until something is decided"] * 3, *TIME, "all is mended", "somebody says what helps")
HAPPENS: Mapping[str, Event] = {
    **TIME,
    "until all has moved": all_has_moved,
    **SINGLE,
    **COMMANDS,
    **SUDDEN,
    **{name: begin for name, (begin, _) in TROUBLES.items()},
    **{f"no more: {name}": end for name, (_, end) in TROUBLES.items()},
    "all is mended": all_is_mended,
}


@st.composite
def stories(draw: st.DrawFn) -> list[str]:
    """Time and a few things that happen in it, again and again: few kinds in one story meet more often."""
    troubles = draw(st.lists(st.sampled_from([*TROUBLES, *SINGLE]), min_size=1, max_size=3, unique=True))
    commands = draw(st.lists(st.sampled_from(list(COMMANDS)), max_size=2, unique=True))
    sudden = draw(st.lists(st.sampled_from(list(SUDDEN)), max_size=2, unique=True))
    over = [f"no more: {trouble}" for trouble in troubles if trouble in TROUBLES]
    now_and_then = st.sampled_from([*troubles, *over, *commands, *sudden])
    story = draw(st.lists(st.one_of(st.sampled_from(OFTEN), now_and_then), min_size=4, max_size=16))
    return [*(["until all has moved"] if draw(st.integers(0, 3)) == 0 else []), *story]


def lived(kind: str, story: list[str]) -> World:
    """What has become of a plan after a story. The operator looks after each thing, and can write again at the end."""
    world = begun(kind)
    for event in story:
        HAPPENS[event](world)
        settled(world)
        if world.gone:
            return world
    world.traps, world.broken = {}, set()
    pass_time(world, s(31))
    wakes_up(world)
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
    """The stage at which a status stands; where that is half way to its weight, at the weight that it says."""
    assert status.stage is not None
    stage, half = world.specs[status.plan_hash].ladder()[status.stage.index], status.stage.halfway
    assert half is None or 0 < half < stage.permille, f"half way to {stage.name} is {half}"
    return stage if half is None else replace(stage, permille=half, half=True)


def changed_rules(move: Move) -> list[tuple[int, dict[str, int], dict[str, int]]]:
    """The rules that a move changed: place, weights before and after."""
    rules = enumerate(zip(move.before, move.after, strict=True))
    return [(place, before, after) for place, (before, after) in rules if before != after]


def intent(move: Move) -> str:
    """For what we changed weights: Shift, Repair or Restore; "" where it was somebody else."""
    if not move.ours:
        return ""
    return "Restore" if move.by.phase is P.REVERTING else move.by.intent.action if move.by.intent else "Nothing"


def ours(world: World, what: str) -> Iterator[Move]:
    """Our own changes of weights for such an intent."""
    return (move for move in world.moves if intent(move) == what)


def judged(world: World, stage: Stage, status: Status) -> list[tuple[str, str, str]]:
    """Name, role and query of all that judges a stage, as they have to be fixed before its weight moves."""
    guards = world.specs[status.plan_hash].guards
    rows = [("guard", guards), ("fail", stage.fail), ("pass", stage.pass_), ("warn", stage.warn)]

    def query(predicate: Predicate) -> str:
        if predicate.alert is not None:
            return f"firing alerts with {predicate.alert.matchers}"
        if predicate.query is None:
            assert predicate.events is not None
            return f"{predicate.events.bad} of {predicate.events.total}"
        filled = predicate.query.replace("$deployment", "v2")
        return filled.replace("$window", f"{predicate.window.total_seconds():.0f}s")

    return [(predicate.name, role, query(predicate)) for role, predicates in rows for predicate in predicates]


def no_weight_rises_before_its_predicates_are_sealed(world: World) -> None:
    """Invariant 1: what will judge a weight stood in the API server before the weight was written."""
    assert not list(ours(world, "Nothing")), "written without an intent"
    for move in ours(world, "Shift"):
        status = move.stands
        where = f"{move.route} {move.before} -> {move.after} at {move.at:%H:%M:%S}, run {status.run}"
        assert status.phase in (P.SHIFTING, P.HELD) and status.stage and status.intent, f"{where}: {status.phase}"
        stage = stage_of(world, status)
        right = all(share(now) == Fraction(stage.permille, 1000) for _, _, now in changed_rules(move))
        assert right, f"{where}: not the weight of {stage.name}"
        known = saved(status.weights.written, move.route)
        over = [place for place, was, _ in changed_rules(move) if pair(was) != known[place]]
        assert not over or status.intent.mends, f"{where}: over another's weight"
        assert status.stage.seal == seal(stage, world.specs[status.plan_hash].guards), f"{where}: another seal"
        fixed = [(p.name, p.role, p.query) for p in status.predicates]
        assert fixed == judged(world, stage, status), f"{where}: other predicates are fixed"


def weights_are_put_right_as_they_were_read_back(world: World) -> None:
    """A repair: what was moved towards the new side goes back to what the plan holds, and nothing else moves."""
    for move in ours(world, "Repair"):
        known = saved(move.stands.weights.written, move.route)
        assert all(pair(now) == known[place] for place, _, now in changed_rules(move)), f"repaired to {move.after}"
        risen = [place for place, was, now in changed_rules(move) if share(now) > share(was)]
        assert not risen, f"pushed forward as a repair: {move.before} -> {move.after}"


def nothing_goes_forward_after_a_failure_nor_two_stages_at_once(world: World) -> None:
    """Invariant 2. A person may name the last stage as the next one, or have the same one asked for again.

    After a warning the next stage comes half way first, and then in whole.
    """
    failed: set[int] = set()
    comes: dict[int, tuple[tuple[int, bool], Any, int]] = {}
    for event in world.history:
        if isinstance(event, Record):
            status = event.status
            if status.failed:
                failed.add(status.run)
            if status.stage is not None and status.stage.verified_at is not None:
                comes[status.run] = (what_follows(world, status), status.stage.judged_since, status.stage.index)
            elif status.stage is not None and status.intent is None:
                comes[status.run] = ((status.stage.index, status.stage.halfway is not None), event.at, -1)
        if not isinstance(event, Move) or intent(event) != "Shift":
            continue
        status = event.stands
        assert status.run not in failed, f"run {status.run} goes forward after {status.failed}"
        assert status.stage is not None
        wanted, since, before = comes.get(status.run, ((0, False), event.at, -1))
        found = status.stage.index, status.stage.halfway is not None
        assert found == wanted, f"to stage and half way {found}, and not to {wanted}"
        if before == -1:
            continue
        spec = world.specs[status.plan_hash]
        for predicate in (*spec.guards, *spec.ladder()[before].fail):
            track = None if predicate.dry_run else event.known.get(predicate.name)
            if track is None or track.verdict is None or track.asked_at is None or track.asked_at <= since:
                continue
            assert track.verdict.outcome is not Outcome.PROVED, f"{predicate.name} is proved, and the weights go on"


def what_follows(world: World, status: Status) -> tuple[int, bool]:
    """The place of the stage that comes next, and whether half way, by what a status says of the present one."""
    at, ladder = status.stage, world.specs[status.plan_hash].ladder()
    assert at is not None
    if at.then:
        return [stage.name for stage in ladder].index(at.then), False
    if at.halfway is not None:
        return at.index, False
    between = at.index + 1 < len(ladder) and ladder[at.index + 1].permille - ladder[at.index].permille > 1
    return at.index + 1, bool(at.warned) and between


def a_stage_is_warned_once_and_only_where_something_warns(world: World) -> None:
    """And what only warns leads nowhere by itself: no rollback names it."""
    told = Counter((d.run, d.stage) for _, d in decisions(world) if d.reason == "Warned")
    again = {(run, stage): count for (run, stage), count in told.items() if count > 1}
    assert not again, f"warned more than once: {again}"
    for record, decision in decisions(world):
        if decision.reason == "Warned":
            warns = {predicate.name for predicate in stage_of(world, record.status).warn}
            assert {seen.predicate for seen in decision.evidence} <= warns, decision.note
        if decision.reason in ("RollbackStarted", "Held"):
            assert "warn" not in {seen.role for seen in decision.evidence}, decision.note


def decisions(world: World) -> Iterator[tuple[Record, Decision]]:
    """Every decision with the record that brought it."""
    seq = 0
    for record in world.records:
        for decision in record.status.decisions:
            if decision.seq > seq:
                yield record, decision
        seq = record.status.seq


def no_stage_begins_at_a_closed_gate(world: World) -> None:
    """Neither paused, nor frozen, nor without the approval that it wants."""
    for record, decision in decisions(world):
        if decision.reason != "StageStarted":
            continue
        status, words = record.status, f"{decision.note} at {decision.at:%H:%M:%S}"
        assert status.paused is None, f"{words}, and it is paused"
        closed = [policy.name for policy in record.policies if policy.spec is None or policy.spec.freeze.now]
        assert not closed, f"{words}, and {closed} are in the way"
        assert not stage_of(world, status).approval or status.approved == decision.stage, f"{words}, not approved"


def no_stage_begins_while_an_alert_fires_that_will_be_judged_there(world: World) -> None:
    """Unless it began within the ten seconds for which an answer is good."""
    for record, decision in decisions(world):
        if decision.reason == "StageStarted":
            stage, guards = stage_of(world, record.status), world.specs[record.status.plan_hash].guards
            binding = {each.name for each in (*guards, *stage.fail) if each.alert and not each.dry_run}
            known = {name for name, since in record.fires.items() if since <= decision.at - s(10)}
            assert not binding & known, f"{decision.note} at {decision.at:%H:%M:%S}, and {binding & known} fires"


def every_command_is_answered_once_in_the_name_of_whoever_said_it(world: World) -> None:
    said = [decision for _, decision in decisions(world) if decision.token]
    tokens = Counter(decision.token for decision in said)
    assert not [token for token, count in tokens.items() if count > 1], tokens
    assert {decision.by for decision in said} <= {"kubectl"}


def no_soak_is_shortened(world: World) -> None:
    """Invariant 3: time counts while the stage is judged and its weight stands in the routes, and only then.

    Where somebody moves weights while no status can be written, the hold begins when it can. A stage that is asked for
    again, and one whose weights were put right, is soaked anew. A person may pass over what is left.
    """
    spent: dict[tuple[int, str, Phase], timedelta] = defaultdict(timedelta)  # by run, step and phase
    status, at = read_status({}), START
    stands: dict[str, Rules] = {}
    unwritten = False
    for event in world.history:
        if status.stage is not None and status.phase in (P.JUDGING, P.BAKING):
            wanted = Fraction(stage_of(world, status).permille, 1000)
            if unwritten or all(share(rule) == wanted for rules in stands.values() for rule in rules):
                spent[status.run, stage_of(world, status).step, status.phase] += event.at - at
        at = event.at
        unwritten = isinstance(event, Refusal) or (unwritten and isinstance(event, Move))
        if isinstance(event, Move):
            stands[event.route] = event.after
        if not isinstance(event, Record):
            continue
        now, stands = event.status, dict(event.routes)
        last = now.decisions[-1] if now.seq > status.seq else None
        if last is not None and now.stage is not None and last.reason in ("WeightShifted", "WeightDrift"):
            spent[now.run, stage_of(world, now).step, P.JUDGING] = timedelta()
        if status.stage is not None and (status.phase, now.phase) in GOES_ON and not (last and last.token):
            stage, spec = stage_of(world, status), world.specs[status.plan_hash]
            took = spent[status.run, stage.step, status.phase]
            least = stage.soak if status.phase is P.JUDGING else spec.bake
            assert took >= least, f"{stage.step} is {status.phase} for {took}, not for {least}"
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
    of_stage = ("StageStarted", "WeightShifted")

    def step(decision: Decision) -> str:
        return f"{decision.stage} {decision.weight_to}" if decision.reason in of_stage else ""

    told = Counter((d.reason, d.run, step(d)) for d in world.trail.values())
    for (reason, run, stage), count in told.items():
        if reason in ("RollbackStarted", "RolledBack"):
            assert count == 1, f"{count} times {reason} in run {run}"
        if reason in of_stage:
            asked, held = told["StageStarted", run, stage], told["Held", run, ""]
            assert count <= asked <= 1 + held, f"{count} times {reason} in run {run} {stage}"
    at = [(move.stands.run, move.stands.stage) for move in ours(world, "Shift")]
    risen = {(run, f"{stage.name} {stage.weight}") for run, stage in at if stage}
    shifted = {(run, stage) for reason, run, stage in told if reason == "WeightShifted"}
    assert shifted <= risen, f"told, and not done: {shifted - risen}"
    for run, stage in risen - shifted:
        under_way = world.status.run == run and world.phase in (P.SHIFTING, P.HELD, P.INVALID)
        assert under_way or world.gone or told["RollbackStarted", run, ""], f"done, and not told: run {run} {stage}"
    for move in ours(world, "Restore"):
        told_of = world.gone or told["RollbackStarted", move.by.run, ""]
        assert told_of, f"put back at {move.at:%H:%M:%S} without a decision: {move.before} -> {move.after}"
    for move in ours(world, "Repair"):
        told_of = world.gone or told["WeightDrift", move.by.run, ""]
        assert told_of, f"put right at {move.at:%H:%M:%S} without a decision: {move.before} -> {move.after}"


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
    if world.operator.refusals:
        return  # it was refused, and tries again
    now = world.now
    world.now = (world.next() or now + s(3600)) - s(0.001)
    look = world.look()
    later = decide(look)
    says = after(look, later)
    asked = needs(look.plan, look.status, look.source, look.ledger, look.now)
    world.now = now
    followed = (says.seq - status.seq, later.actions, asked)
    assert followed == (0, (), ()), f"{status.phase} sleeps until {world.wake_at} and misses {says.message}"


def no_job_runs_twice_and_no_weight_moves_before_all_of_them_are_complete(world: World) -> None:
    names = Counter(name for _, name in world.made)
    assert not [name for name, count in names.items() if count > 1], names
    for move in ours(world, "Shift"):
        spec = world.specs[move.stands.plan_hash]
        for name in [*(each.name for each in spec.assumptions if each.job), *(each.name for each in spec.expand.jobs)]:
            made = world.jobs.get(f"plan-{move.stands.run}-{name}")
            over = made is not None and not made.fails and made.ends_at is not None and made.ends_at <= move.at
            assert over, f"{name} is not over, and a weight moves"


def nothing_is_taken_away_that_has_traffic_or_may_get_it_back(world: World) -> None:
    smaller = [each for each in world.resized if each.name == "v1"]
    for each in smaller:
        status, where = each.stands, f"v1 is made smaller at {each.at:%H:%M:%S}"
        assert status.phase is P.CONTRACTING and status.paused is None, f"{where}: {status.phase}"
        held = [rule for rules in each.routes.values() for rule in rules if rule["v1"]]
        assert not held, f"{where}, and it has {held}"
        since = max((move.at for move in world.moves if move.at < each.at), default=each.at)
        assert each.at >= since + s(20), f"{where}, not drained since {since:%H:%M:%S}"
    for name in ("drop", "vacuum"):
        for at, made in world.made:
            run = made.removeprefix("plan-").partition("-")[0]
            before = [each for each in smaller if each.at <= at and str(each.stands.run) == run]
            assert name not in made or before, f"{made} is made before the old side is scaled down"
    for move in ours(world, "Restore"):
        gone = [each for each in smaller if each.at <= move.at and each.stands.run == move.by.run]
        assert not gone or (move.old and move.old.ready >= 4), f"back to a side that is gone, at {move.at:%H:%M:%S}"


INVARIANTS = (
    nothing_is_taken_away_that_has_traffic_or_may_get_it_back,
    no_job_runs_twice_and_no_weight_moves_before_all_of_them_are_complete,
    no_weight_rises_before_its_predicates_are_sealed,
    weights_are_put_right_as_they_were_read_back,
    no_stage_begins_at_a_closed_gate,
    no_stage_begins_while_an_alert_fires_that_will_be_judged_there,
    every_command_is_answered_once_in_the_name_of_whoever_said_it,
    nothing_goes_forward_after_a_failure_nor_two_stages_at_once,
    a_stage_is_warned_once_and_only_where_something_warns,
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


@pytest.mark.parametrize("story", ONCE_HARD)
@pytest.mark.parametrize("kind", KINDS)
def test_the_invariants_hold_in_stories_that_were_hard(kind: str, story: str) -> None:
    world = lived(kind, ONCE_HARD[story])
    for invariant in INVARIANTS:
        invariant(world)


@settings(max_examples=100)
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
    "another plan moves the routes": put(rivals=(OTHER,)),
    "somebody moves another backend": drift("api", v0=33),
    "somebody moves the weights up": drift("shop", v1=0, v2=100),
    "a policy freezes": TROUBLES["a policy freezes"][0],
    "the error budget is not known": TROUBLES["the error budget is not known"][0],
    "somebody says pause": says_that("pause"),
    "somebody says skip": says_that("skip"),
    "a command that nobody can read": lambda world: world.say("abrot"),
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
    world.says |= {"errors": 0.2, "errors/old": 0.0}
    world.down = ""
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
