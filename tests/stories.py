"""What may happen to a plan of three stages on two routes, told as stories: lists of things that happen.

The operator looks after each of them, and whenever it said that it would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from rolloutplan.api.command import Verb, read_answered
from rolloutplan.engine.model.policy_view import PolicyView, QueueEntry
from rolloutplan.engine.model.snapshot import RouteConflict
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.stats.verdict import Why
from tests.observers import every_state_has_a_next_instant_or_says_what_it_waits_for
from tests.refusals import alert, changed
from tests.situations import P, assumption, job, ruled, s
from tests.world import (
    PLAN,
    POINTS,
    SHARED,
    SHOP,
    SOURCE,
    START,
    Deployment,
    StaleError,
    World,
    crash,
    http_route,
    refuse,
    stop,
    weights_of,
)

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
SHARE = {"indicates": "Failure", "query": "errors[$window]", "is": "> 1%"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "the defaults": {},
    "onFail is Hold": {"onFail": "Hold"},
    "onUndecided is Rollback": {"onUndecided": "Rollback"},
    "onUndecided is Extend": {"onUndecided": "Extend"},
    "onMetricsUnavailable is Rollback": {"onMetricsUnavailable": {"action": "Rollback"}},
    "onMetricsUnavailable.then is Rollback": {
        "onMetricsUnavailable": {"action": "Hold", "after": "2m10s", "then": "Rollback"}
    },
    "a guard must hold for a while": {"guards[0].for": "30s"},
    "a drain longer than the bake": {"bake": "0s", "traffic.drain": "2m"},
    "a guard and a pass predicate count": {
        "guards": [*SPEC["guards"], {"name": "many", "events": EVENTS, "is": "> 5%"}],
        "stages[0].pass": [{"name": "few", "events": EVENTS, "is": "< 5%"}],
    },
    "a guard is asked of both sides": {"guards[0].query": 'errors{deployment="$deployment"}[$window]'},
    "a dry run": {"guards": [*SPEC["guards"], {"name": "trial", "query": "wrong", "is": "> 0", "dryRun": True}]},
    "it stops below full traffic": {"stages[2].weight": "90%", "stopAt": "90%"},
    "a control group stays for the bake": {"bake": {"for": "1m", "holdback": "1%"}},
    "a control group, to which a guard compares, stays for the bake, and then the old goes": {
        "traffic.drain": "20s",
        "bake": {"for": "1m", "holdback": "10%"},
        "guards": [
            *SPEC["guards"],
            {"name": "worse", "query": 'worse{deployment="$deployment"}[$window]', "vsOld": "> 1.5x"},
        ],
        "contract": {"scaleOld": 0, "jobs": [job("drop")]},
    },
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
    "a guard compares both sides, and another has nothing to say while all is well": {
        "guards": [
            *SPEC["guards"],
            {"name": "worse", "query": 'worse{deployment="$deployment"}[$window]', "vsOld": "> 1.5x"},
            {"name": "panics", "query": "panics[$window]", "is": "> 0", "noData": "Clear"},
        ],
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
    "its first stages move no weight": {
        "stages": [
            {"name": "dark", "mirror": "10%", "soak": "40s", "deadline": "2m"},
            {
                "name": "staff",
                "match": {"header": {"name": "x-staff", "value": "yes"}},
                "soak": "40s",
                "deadline": "2m",
            },
            *SPEC["stages"],
        ],
    },
    "the first and the last stage want approval": {
        "stages[0].approval": "Required",
        "stages[2].approval": "Required",
    },
}


QUICK = replace(SOURCE, scrape=s(5))
EDITED, SHADOWED = (SHARED.model_copy(update=each) for each in ({"digest": "d2"}, {"shadowed_by": "9"}))


def routes(share: int = 2) -> dict[str, dict[str, Any]]:
    """Rules with a third Service, and with a new side that has some traffic already."""
    return {
        "shop": http_route("shop", [{"v1": 100, "v2": 0}, {"v1": 3, "v2": 0, "v0": 7}]),
        "api": http_route("api", [{"v0": 10, "v1": 100 - share, "v2": share}]),
    }


def begun(kind: str) -> World:
    """A plan applied just now."""
    spec = changed(SPEC, KINDS[kind])
    before = routes(0 if "mirror" in spec["stages"][0] else 2)  # users must not get answers of the new side yet
    world = World(spec=spec, routes=before, source=QUICK, templates={"share": SHARE})
    world.says |= {"warm": 0.95, "slow": 12.0, "worse": 0.1, "worse/old": 0.1}
    counts(bad=0.5)(world)
    return world


def lost(kind: str, stage: str) -> World:
    """The plan of a run that came to this stage, as a restore of a backup brings it: without its status."""
    run = begun(kind)
    before = {name: weights_of(raw) for name, raw in run.routes.items()}
    while run.until(P.JUDGING, P.HELD).phase is P.HELD or run.status.stage is None or run.status.stage.name != stage:
        says_what_helps(run) if run.phase is P.HELD else run.advance()
    return World(
        spec=run.spec,
        now=run.now,
        generation=run.generation,
        version=run.version + 1,
        finalizer=run.finalizer,
        undo_annotation=run.undo_annotation,
        routes=run.routes,
        before=before,
        source=run.source,
        says=run.says,
        rates=run.rates,
        jobs=run.jobs,
        templates=run.templates,
        epoch=run.epoch + 1,
        led_since=run.now,
    )


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
    pass_time(world, s(1800), enough=lambda: P.CONTRACTING in (world.phase, world.status.effective_phase))


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
    stages = world.spec["stages"]
    place = next(i for i, stage in enumerate(stages) if stage.get("weight") in ("40%", "50%"))
    world.edit({f"stages[{place}].weight": "40%" if stages[place]["weight"] == "50%" else "50%"})


def another_end(world: World) -> None:
    field = "bake.for" if isinstance(world.spec["bake"], dict) else "bake"
    world.edit({field: "30s" if world.spec["bake"] not in ("30s", {"for": "30s", "holdback": "1%"}) else "2m"})


def another_control_group(world: World) -> None:
    now = world.spec["bake"]
    world.edit({"bake": now["for"] if isinstance(now, dict) else {"for": "1m", "holdback": "2%"}})


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
    "StatusLost": "adopt",
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
        why = " --reason checked" if world.status.reason == "Undecided" else ""
        world.say(f"{verb} {verb}-{world.version}{why}")


def says_it_again(world: World) -> None:
    """An old command comes back from Git."""
    old = next((read_answered(entry).identity for entry in world.status.tokens if " run=" in entry), "")
    if old and "#" not in old:
        world.say(old)


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
    not_yet = world.phase in TRAFFIC_SHIFTED_PHASES and world.status.epoch != world.epoch
    if not_yet or world.broken or world.traps or world.operator.refusals:
        return  # that one could not write yet, so it is as if the late write had come before
    for late in world.stopped:
        for effect in late.weights:
            if effect.snapshot.status.phase is not P.SUCCEEDED:
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
    "the plan gets a control group, or loses it": another_control_group,
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
RUNNING = QueueEntry("ns/other", frozenset({"policy crowded"}), "running", START, "0")
BUDGETED = ruled("budgeted", errorBudget={"query": "budget", "atLeast": "20%"})
BOTH_ROUTES = frozenset(replace(SHOP, name=name) for name in routes())
OTHER = RouteConflict("ns/other", BOTH_ROUTES, running=True, waiting=False, created=START, uid="0")
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
    "the gateway needs minutes": (put(lag=s(180)), put(lag=s(0))),
    "the gateway names no generation": (put(reports="no generation"), put(reports="its generation")),
    "the gateway names the first generation for ever": (
        put(reports="the first generation"),
        put(reports="its generation"),
    ),
    "the gateway drops a rule": (put(dropped="Dropped Rule(s) 1"), put(dropped="")),
    "no gateway has ever answered": (put(ignored=True), put(ignored=False)),
    "the gateway refuses": (put(refusal="UnsupportedValue"), put(refusal="")),
    "a guard holds": (says(errors=0.2), says(errors=0.0)),
    "many counted requests are bad": (counts(bad=20), counts(bad=0.5)),
    "nothing is counted": (counts(bad=0, total=0), counts(bad=0.5)),
    "a guard is NaN": (says(errors=Why.NAN), says(errors=0.0)),
    "a guard has no data": (says(errors=Why.NO_DATA), says(errors=0.0)),
    "one guard is several series": (says(worse=Why.MANY_SERIES), says(worse=0.1)),
    "the old side has no data": (says(**{"worse/old": Why.NO_DATA}), says(**{"worse/old": 0.1})),
    "the old side is NaN": (says(**{"worse/old": Why.NAN}), says(**{"worse/old": 0.1})),
    "something panics": (says(panics=1.0), lambda w: w.says.pop("panics", None)),
    "both sides fail": (says(**BOTH_BAD), says(**BOTH_GOOD)),
    "a fail predicate holds": (says(wrong=1.0), says(wrong=0.0)),
    "a warn predicate holds": (says(slow=512.0), says(slow=12.0)),
    "a pass predicate is false": (says(hits=0.1), says(hits=0.95)),
    "a pass predicate has no data": (says(hits=Why.NO_DATA), says(hits=0.95)),
    "the source is down": (put(down="connection refused"), put(down="")),
    "the source object is gone": (put(source=None), put(source=QUICK)),
    "the source object is edited": (put(source=replace(QUICK, object=EDITED)), put(source=QUICK)),
    "another source gets its name": (put(source=replace(QUICK, object=SHADOWED)), put(source=QUICK)),
    "no pod of the new side is ready": (pods(ready=0), pods(ready=4)),
    "the pods of the new side are evicted": (pods(ready=0, away="Evicted"), pods(ready=4, away="")),
    "an autoscaler scales the new side to zero": (
        pods(wanted=0, ready=0, autoscaler="keda"),
        pods(wanted=4, ready=4, autoscaler=""),
    ),
    "the new side grows, and its pods are slow": (pods(wanted=9), pods(ready=9)),
    "one pod of the new side is ready": (pods(ready=1), pods(ready=4)),
    "the containers of the new side restarted": (pods(restarts=9), pods(restarts=0)),
    "the new Deployment is gone": (put(new=None), put(new=Deployment("v2"))),
    "the old Deployment is gone": (put(old=None), put(old=Deployment("v1"))),
    "somebody moves the weights up": (drift("shop", v1=40, v2=60), as_written),
    "somebody moves the weights back": (drift("shop", v1=100, v2=0), as_written),
    "somebody moves another backend": (drift("api", v0=33), drift("api", v0=10)),
    "a route is gone": (lambda w: w.routes.pop("api", None), lambda w: w.routes.setdefault("api", routes()["api"])),
    "the plan is now invalid": (edit({"guards[0].is": "about 5"}), edit({"guards[0].is": "> 1%"})),
    "it is adopted late": (put(adopts_in=s(30)), put(adopts_in=s(0))),
    "Jobs fail": (put(job_fails=True), put(job_fails=False)),
    "Jobs do not end": (put(job_takes=None), put(job_takes=s(5))),
    "nothing can be scaled": (put(scale_hindered="forbidden"), put(scale_hindered="")),
    "an autoscaler scales": (put(autoscaled=frozenset({"v2"})), put(autoscaled=frozenset())),
    "Jobs are refused": (put(job_refused="restartPolicy: Required value"), put(job_refused="")),
    "Jobs are forbidden": (put(job_hindered="exceeded quota"), put(job_hindered="")),
    "no Job can be read": (put(broken={"job"}), put(broken=set())),
    "what is assumed is not known": (says(warm=Why.NO_DATA), says(warm=0.95)),
    "another plan moves the route": (put(route_conflicts=(OTHER,)), put(route_conflicts=())),
    "the alert of a page fires": fires("page"),
    "the alert of a ticket fires": fires("ticket"),
    "whether an alert fires is not known": (says(ticket=Why.NAN), lambda w: w.says.pop("ticket", None)),
    "a policy freezes": ruled_by(ruled("frozen", freeze={"now": "incident 42"})),
    "a policy cannot be read": ruled_by(PolicyView("broken", None, "spec.focus: not one of the choices")),
    "a policy wants stability": ruled_by(ruled("stable", focus="Stability")),
    "a policy has no place": both(ruled_by(ruled("crowded", maxConcurrent=1)), (put(peers=(RUNNING,)), put(peers=()))),
    "a policy demands approvals": ruled_by(ruled("approved", require={"approvals": ["All", "Contract"]})),
    "a policy demands more than the plan has": ruled_by(ruled("strict", require={"soakAtLeast": "9h"})),
    "a policy ends places": ruled_by(ruled("places", maxConcurrent=1, releaseAfter="1m")),
    "the error budget is spent": both(ruled_by(BUDGETED), (says(budgeted=0.1), says(budgeted=0.9))),
    "the error budget is unknown": both(ruled_by(BUDGETED), (says(budgeted=Why.NAN), says(budgeted=0.9))),
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
    "the plan gets a control group, or loses it": another_control_group,
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
    assert world.phase is not P.ROLLING_BACK or world.now <= since + s(31), f"no way back ends: {world.status.message}"
    return world
