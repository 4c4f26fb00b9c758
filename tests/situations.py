"""Situations of a plan, what may happen in them, and a promise of what follows: the rows of the engine's tables.

The world begins with a healthy plan of three stages (tests/world.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from rolloutplan.api.policy import read_policy
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.model.snapshot import RouteConflict
from rolloutplan.stats.verdict import Answer, Why
from tests.world import SHOP, START, Deployment, World, http_route

P = Phase
BACK = ["RollbackStarted", "RolledBack"]
OLD_WEIGHTS = {"v1": 100, "v2": 0}
UP = {"v1": 95, "v2": 5}
HALF = {"v1": 50, "v2": 50}
ALL = {"v1": 0, "v2": 100}
"""The weights of the three stages."""
SHIFTED = ["StageStarted", "WeightShifted"]
BEGUN = ["Started", "NewSideReady", *SHIFTED]


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def m(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)


# ---- situations --------------------------------------------------------------------------------------------------

Situation = Callable[[], World]
_KEPT: dict[str, World] = {}


def kept(make: Situation, *of: object) -> Situation:
    """The same situation, lived through once for all tests: each gets a twin of it. `of` is what it depends on."""
    key = f"{make.__qualname__} {of}"

    def given() -> World:
        if key not in _KEPT:
            _KEPT[key] = make()
        return _KEPT[key].twin()

    return given


SELDOM = {"interval": "20s"}
"""For what takes long: half as many questions as usual."""


def fresh(changes: Mapping[str, Any] | None = None, **world: Any) -> Situation:
    """A plan that was applied just now."""

    def make() -> World:
        made = World(**world)
        made.edit(changes or {})
        return made

    return make


def judging(changes: Mapping[str, Any] | None = None, stage: str = "canary", **world: Any) -> Situation:
    """90 s at a stage's weight, of its soak of 2 or 3 minutes: the guards were asked, all is well."""

    def make() -> World:
        made = fresh(changes, **world)().until(P.JUDGING, stage=stage)
        made.advance(s(90))
        return made

    return kept(make, changes, stage, world)


@kept
def baking() -> World:
    made = World().until(P.BAKING)
    made.advance(m(1))
    return made


@kept
def succeeded() -> World:
    return World().until(P.SUCCEEDED)


@kept
def rolled_back() -> World:
    made = judging()()
    made.says["errors"] = 0.2
    made.until(P.ROLLED_BACK)
    made.says["errors"] = 0.0
    return made


@kept
def expanding() -> World:
    made = World(new=Deployment("v2", ready=1, worst="ImagePullBackOff: no such image (pod v2-abc)"))
    made.advance(m(1))
    assert made.phase is P.EXPANDING
    return made


JOB: dict[str, Any] = {"template": {"spec": {"template": {"spec": {"serviceAccountName": "jobs", "containers": []}}}}}


def assumption(name: str, impact: int = 3, **more: Any) -> dict[str, Any]:
    """What a plan assumes, probed by a Job if nothing else is said."""
    how = more if "predicate" in more else {"job": JOB, **more}
    return {"name": name, "belief": f"{name} is so", "impact": impact, "uncertainty": 3, **how}


def job(name: str, **more: Any) -> dict[str, Any]:
    """A Job of what is added or taken away."""
    return {"name": name, **JOB, **more}


WARM = assumption("warm", 5, predicate={"query": "warm[$window]", "is": "> 0.9", "window": "2m"}, deadline="1m")


def probing(*assumptions: dict[str, Any], **world: Any) -> Situation:
    """A Job that probes the first of what is assumed was made just now; it runs for 5 s."""

    def make() -> World:
        made = fresh({"assumptions": [*assumptions] or [assumption("cache")]}, **world)()
        made.settle()
        assert made.phase is P.PROBING
        return made

    return kept(make, assumptions, world)


def adding(expand: Mapping[str, Any] | None = None, **world: Any) -> Situation:
    """Something is added beside the old: a Job that was made just now and runs for 5 s, if nothing else is said."""

    def make() -> World:
        made = fresh({"expand": expand or {"jobs": [job("columns")]}}, **world)()
        made.settle()
        assert made.phase is P.EXPANDING
        return made

    return kept(make, expand, world)


CONTRACT: dict[str, Any] = {"scaleOld": 0, "jobs": [job("drop"), job("vacuum")]}


def contracting(changes: Mapping[str, Any] | None = None, **world: Any) -> Situation:
    """All traffic is on the new side, the bake is over, and the old is about to be taken away."""

    def make() -> World:
        made = fresh({"contract": CONTRACT, **(changes or {})}, **world)().until(P.BAKING)
        at = made.status.stage
        assert at is not None
        assert at.soak_until is not None
        made.now = at.soak_until
        made.turn()
        assert made.phase is P.CONTRACTING
        return made

    return kept(make, changes, world)


@kept
def contract_failed() -> World:
    """The old side is scaled down, and the first Job that takes something away has failed."""
    made = contracting(job_fails=True)()
    made.until(P.HELD)
    assert made.status.reason == "ContractFailed"
    made.job_fails = False
    return made


def shifting(lag: timedelta | None = None) -> Situation:
    """The first weight is written, and no gateway has accepted it yet."""

    def make() -> World:
        made = World(lag=lag)
        made.settle()
        assert (made.phase, made.weights()[0]["v2"]) == (P.SHIFTING, 5)
        return made

    return kept(make, lag)


def undecided(changes: Mapping[str, Any] | None = None) -> Situation:
    """At the canary, with a pass predicate that has no data, a second before its deadline."""

    def make() -> World:
        made = fresh({**SELDOM, **(changes or {})})().until(P.JUDGING)
        made.says["hits"] = Why.NO_DATA
        made.advance(m(10) - s(1))
        assert made.phase is P.JUDGING
        return made

    return kept(make, changes)


def silent_bake(changes: Mapping[str, Any] | None = None) -> Situation:
    """A minute in the bake, in which the only guard has no data from its first moment on."""

    def make() -> World:
        made = fresh({**SELDOM, **(changes or {})})().until(P.BAKING)
        made.says["errors"] = Why.NO_DATA
        made.advance(m(1))
        return made

    return kept(make, changes)


@kept
def held_blind() -> World:
    made = judging()()
    made.down = "connection refused"
    return made.until(P.HELD)


@kept
def held_conflict() -> World:
    made = judging()()
    made.drift(OLD_WEIGHTS)
    made.settle()
    return made


@kept
def held_failed() -> World:
    made = judging({"onFail": "Hold"})()
    made.says["errors"] = 0.2
    return made.until(P.HELD)


RIVAL = RouteConflict("ns/other", frozenset({SHOP}), running=True, waiting=False, created=START - m(60), uid="0")
NAMESAKE = replace(RIVAL, routes=frozenset({replace(SHOP, kind="GRPCRoute")}))
"""A plan that moves a route of another kind that has the same name."""


@kept
def blocked() -> World:
    """Another plan moves the route."""
    made = World(route_conflicts=(RIVAL,))
    made.settle()
    return made


@kept
def invalid() -> World:
    made = World(services=frozenset({"v1"}))
    made.settle()
    assert made.phase is P.INVALID
    return made


def ruled(name: str = "production", **spec: Any) -> PolicyView:
    """A policy that selects the plan."""
    return PolicyView(name, read_policy(spec))


FROZEN = ruled(freeze={"now": "incident 42"})


@kept
def held_frozen() -> World:
    """The canary is proved, and nothing may go forward."""
    made = judging()()
    made.policies = (FROZEN,)
    return made.until(P.HELD)


@kept
def held_invalid() -> World:
    made = judging()()
    made.edit({"stages": []})
    return made.until(P.HELD)


@kept
def awaiting() -> World:
    """The canary is proved, and the next stage wants approval."""
    made = fresh({"stages[1].approval": "Required"})().until(P.HELD)
    assert made.status.reason == "AwaitingApproval"
    return made


@kept
def awaiting_the_first() -> World:
    """Nothing has moved, and the first stage wants approval."""
    return fresh({"stages[0].approval": "Required"})().until(P.HELD)


@kept
def two_routes() -> World:
    names = ("shop", "api")
    changes = {"traffic.routes": [{"kind": "HTTPRoute", "name": name} for name in names]}
    return judging(changes, routes={name: http_route(name, [OLD_WEIGHTS]) for name in names})()


@kept
def status_lost() -> World:
    """A restore has brought the plan back at the second weight, with its annotations and without its status."""
    made = judging(stage="half")()
    made.status_raw = {}
    made.trail.clear()
    made.version += 1
    made.crash()
    made.settle()
    assert (made.phase, made.status.reason) == (P.INVALID, "StatusLost")
    return made


@kept
def held_undecided() -> World:
    return undecided()().until(P.HELD)


@kept
def paused() -> World:
    made = judging()()
    made.say("pause p1")
    made.settle()
    assert (made.phase, made.status.reason) == (P.HELD, "Paused")
    return made


@kept
def paused_before_start() -> World:
    made = World()
    made.say("pause p1")
    made.settle()
    assert (made.phase, made.status.reason) == (P.PENDING, "Paused")
    return made


def reverting(changes: Mapping[str, Any] | None = None) -> Situation:
    """A proved guard, and the API server takes no write of the route."""

    def make() -> World:
        made = judging(changes)()
        made.says["errors"] = 0.2
        made.broken = {"route"}
        made.advance(s(30))
        assert (made.phase, made.weights()[0]["v2"]) == (P.ROLLING_BACK, 5)
        return made

    return kept(make, changes)


# ---- the promises ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    promise: str
    given: Situation
    when: Callable[[World], object]
    phase: Phase
    reason: str = ""
    tells: list[str] | None = None
    """The reasons of all decisions that followed."""
    says: str = ""
    """Words of its message, or of the last decision."""
    weights: dict[str, int] = field(default_factory=dict)


def run(case: Case) -> World:
    world = case.given()
    before = len(world.told())
    case.when(world)
    world.settle()
    status, told = world.status, world.told()[before:]
    notes = " | ".join(f"{d.reason}: {d.note}" for d in list(world.trail.values())[before:])
    assert status.phase is case.phase, f"{status.phase} {status.reason}: {notes or status.message}"
    if case.reason:
        assert status.reason == case.reason, notes or status.message
    if case.tells is not None:
        assert told == case.tells, notes
    assert case.says in f"{status.message} {notes}", (status.message, notes)
    if case.weights:
        assert world.weights()[0] == case.weights, notes
    return world


def ids(case: Case) -> str:
    return case.promise


def then(*steps: Callable[[World], object]) -> Callable[[World], None]:
    def do(world: World) -> None:
        for step in steps:
            step(world)

    return do


def nothing(_: World) -> None:
    pass


def settle(world: World) -> None:
    world.settle()


def wait(by: timedelta) -> Callable[[World], object]:
    return lambda world: world.advance(by)


def says(**values: float | Why) -> Callable[[World], object]:
    return lambda world: world.says.update(values)


def every_second(seconds: int, **values: float | Why) -> Callable[[World], object]:
    """For so long the source says this, and every second time it is asked it is silent."""

    def happens(world: World) -> None:
        world.says |= values
        for i in range(seconds // 10):
            world.down = "timeout" if i % 2 else ""
            world.advance(s(10))

    return happens


def proved(name: str) -> Callable[[World], object]:
    """A predicate is proved in the very moment in which the command comes, and does not stay so."""
    return lambda world: world.answer(name, {"new": Answer(1.0)}, world.now)


def pods(**changes: Any) -> Callable[[World], object]:
    return lambda world: world.pods(**changes)


def drift(weights: Mapping[str, int]) -> Callable[[World], object]:
    return lambda world: world.drift(weights)


def put(**attributes: Any) -> Callable[[World], object]:
    """Set attributes of the world."""

    def do(world: World) -> None:
        for name, value in attributes.items():
            setattr(world, name, value)

    return do


def edit(changes: Mapping[str, Any]) -> Callable[[World], object]:
    return lambda world: world.edit(changes)


def delete(world: World) -> None:
    world.delete()


def trap(**traps: Callable[[World], None]) -> Callable[[World], object]:
    return lambda world: world.traps.update(traps)


def say(command: str, by: str = "kubectl") -> Callable[[World], object]:
    return lambda world: world.say(command, by)


def same(found: object, wanted: object) -> None:
    assert found == wanted


def phase_is(world: World, phase: Phase, reason: str) -> None:
    assert (world.phase, world.status.reason) == (phase, reason)
