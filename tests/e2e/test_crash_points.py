"""The operator is killed -9 before and after every single write of a rollout and of a rollback, and started again.

And of a life, a rollout with all that a plan can do beside moving traffic, at every write that concerns that.

Each run has a plan and a route of its own. Three operators work side by side, each in its own namespace and through its
own proxy, which counts the writes and springs the trap.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any
from uuid import uuid4

import pytest

from tests.bed import Bed, objects, until
from tests.bed.api import JSON_PATCH
from tests.bed.faults import FaultProxy, When, Write
from tests.bench.observer import Observer
from tests.shop import HEALTH_PORT, ROUTES, Operator, Shop, assumption, job

WORKERS = 3
QUIET = 0.4
"""Seconds without a write after which none comes any more."""
PASSING = 6.0
"""Seconds after which a passing cause is gone."""
GIVE_UP = 2
"""After so many points with a wrong end, each of which may take a minute, a bench tries no more."""


@dataclass(frozen=True)
class Course:
    """A way that a run takes: what its guard asks, where it ends, and the reasons that it may end with."""

    name: str
    query: str
    phase: str
    reasons: tuple[str, ...]
    tasks: Mapping[str, Any] = field(default_factory=dict)
    """What its plans do beside moving traffic, and in what stages that is moved."""

    @property
    def passing(self) -> bool:
        """Whether the cause to go back is gone when the operator comes back."""
        return "{passes}" in self.query


STAGES = [{"weights": ["50%", "100%"], "soak": "1s", "deadline": "30s"}]
TASKS = {
    "assumptions": [assumption("probe")],
    "expand": {"jobs": [{"name": "add", **job()}], "scale": {"new": 2}},
    "stages": [{"weight": "100%", "soak": "1s", "deadline": "30s", "approval": "Required"}],
    "bake": "1s",
    "contract": {"scaleOld": 0, "jobs": [{"name": "drop", **job()}]},
}
TASK_DONE = ("AssumptionTrue", "Expanded", "Contracted")
# A rollback's weights do not wait for its record. Where the operator dies between the two, its successor sees by the
# route that somebody went back, finishes it, and cannot know the cause.
BACK = ("RolledBack", ("GuardProved", "Interrupted"))
COURSES = (
    Course("rollout", "vector(0)", "Succeeded", ("Succeeded",)),
    Course("rollback", "vector(1)", *BACK),
    Course("life", "vector(0)", "Succeeded", ("Succeeded",), TASKS),
    Course("rollback-for-a-passing-cause", "vector(time() < bool {passes})", *BACK),
)


@dataclass(frozen=True)
class Point:
    """Where in a course the operator dies; write 0 is nowhere."""

    course: Course
    write: int = 0
    when: When = "before"

    def __str__(self) -> str:
        return f"{self.course.name}-{self.when}-{self.write}"


@dataclass(frozen=True)
class End:
    """What a run has come to, as far as every run of its course must come to the same."""

    phase: str
    weights: tuple[int, ...]
    trail: tuple[tuple[str, ...], ...]
    """What tells each decision from every other."""
    jobs: tuple[str, ...]
    """Its Jobs as the API server created them, by all of their names but the plan's."""
    replicas: tuple[int, int]
    """Of the old side and of the new one."""
    marks: tuple[bool, bool]
    """Whether the plan still has our finalizer, and whether its breadcrumb."""


class Bench:
    """A namespace with its Deployments, and an operator that sees nothing else, through a proxy."""

    def __init__(self, bed: Bed, number: int) -> None:
        self.shop = Shop(bed, f"crash-{uuid4().hex[:6]}", replicas=1)
        namespace = self.shop.namespace
        self._bed = bed
        self._proxy = FaultProxy(bed, f"crash-proxy-{number}", 7500 + 2 * number)
        self._operator = Operator(
            bed,
            options=[f"--namespace={namespace}", f"--lease-namespace={namespace}", f"--identity={namespace}"],
            kubeconfig=self._proxy.kubeconfig(),
            port=HEALTH_PORT + 1 + number,
            name=f"crash-operator-{number}",
        )

    def open(self) -> None:
        """Everything that runs have in common."""
        self.shop.open()
        self._proxy.start()
        self._operator.process.start()

    def prepare(self, points: Sequence[Point]) -> None:
        """A route for each run, long before its plan: operators hear of routes and plans in either order."""
        for point in points:
            self._bed.apply(objects.httproute(str(point), self.shop.weights, self.shop.namespace))
        time.sleep(QUIET)

    def close(self) -> None:
        self._operator.process.kill()
        self._proxy.kill()
        self.shop.close()

    def run(self, point: Point) -> tuple[End, str, list[Write]]:
        """Run a plan, die at the point, start again; returns where it ends, its reason, and what was written."""
        self._proxy.forget()
        if point.write:
            self._proxy.trap(point.write, point.when, self._operator.process.pid)
        passes = time.time() + PASSING
        self._start(point, passes)
        if point.write:
            self._lives_until(point, lambda: self._proxy.sprung, "the write at which to die")
            self._operator.process.child.wait(5)
            if point.course.passing:
                time.sleep(max(0.0, passes - time.time()))
            self._operator.process.start()
        self._lives_until(point, lambda: self._ended(point), "the end of the run")
        self._settle()
        stored = self.shop.stored(str(point))
        return self._end(point, stored), stored["status"]["reason"], self._proxy.writes

    def differs(self, point: Point, undisturbed: End) -> str:
        """How a run with a death in it differs from the one without, and its whole story; empty where it does not."""
        try:
            end, reason, _ = self.run(point)
            assert end == undisturbed
            assert reason in point.course.reasons
        except Exception as error:  # noqa: BLE001 - the other points are tried all the same
            if not self._operator.process.running():
                self._operator.process.start()
            return f"--- {point}: {error!r}\n{self._story(point)}"
        return ""

    def _start(self, point: Point, passes: float) -> None:
        if point.course.tasks:
            self._resize()
        query = point.course.query.format(passes=int(passes))
        self.shop.start(
            str(point),
            traffic={"routes": [{"kind": "HTTPRoute", "name": str(point)}], "drain": "0s"},
            guards=[{"name": "guard", "query": query, "is": "> 0.5", "window": "1s"}],
            **{"stages": STAGES, **point.course.tasks},
        )

    def _resize(self) -> None:
        """Both sides as large as they were before the run before this one."""
        for name in self.shop.weights:
            self._bed.kubectl("scale", f"deployment/{name}", "-n", self.shop.namespace, "--replicas=1")
        for name in self.shop.weights:
            self._bed.wait_ready(self.shop.namespace, name)

    def _lives_until(self, point: Point, condition: Callable[[], bool], what: str) -> None:
        """Wait, and say meanwhile what a person is waited for to say."""

        def now() -> bool:
            if point.course.tasks:
                self.shop.approve(str(point))
            return condition()

        until(now, 40, what, every=0.1)

    def _ended(self, point: Point) -> bool:
        """Whether it is at its end, with all that follows upon it."""
        stored = self.shop.stored(str(point))
        status = stored.get("status", {})
        at_end = status.get("phase") in ("Succeeded", "RolledBack") and not stored["metadata"].get("finalizers")
        return at_end and len(self.shop.events(str(point))) >= status["seq"]

    def _settle(self) -> None:
        """Wait until nothing is written any more: a new life tells its last decisions again."""
        seen = [-1]

        def quiet() -> bool:
            seen.append(self._proxy.counts["writes"])
            return seen[-1] == seen[-2]

        until(quiet, 10, "quiet", every=QUIET)

    def _end(self, point: Point, stored: dict[str, Any]) -> End:
        """Also holds the trail to what must be true of every trail."""
        trail = tuple(_told(decision, str(point)) for decision in self.shop.trail(str(point)))
        assert len(set(trail)) == len(trail), f"a decision was taken twice: {trail}"
        route = self._bed.get(ROUTES.format(self.shop.namespace, point))
        weights = tuple(ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"])
        meta = stored["metadata"]
        marks = bool(meta.get("finalizers")), "rolloutplan.dev/revert" in meta.get("annotations", {})
        made = tuple(name.removeprefix(str(point)) for name in self.shop.created_jobs() if name.startswith(f"{point}-"))
        replicas = self.shop.size("checkout-v1"), self.shop.size("checkout-v2")
        return End(stored["status"]["phase"], weights, trail, made, replicas, marks)

    def _story(self, point: Point) -> str:
        """All that is known about a run that went wrong."""
        writes = "\n".join(f"{n:3} {write}" for n, write in enumerate(self._proxy.writes, 1))
        status = json.dumps(self.shop.status(str(point)), indent=1)
        return f"{writes}\n{status}\n"


@pytest.fixture(scope="module")
def observer(bed: Bed) -> Iterator[Observer]:
    with Observer(bed) as observer:
        yield observer


@pytest.fixture(scope="module")
def benches(bed: Bed, observer: Observer) -> Iterator[list[Bench]]:
    benches = [Bench(bed, number) for number in range(WORKERS)]
    with ExitStack() as stack, ThreadPoolExecutor(WORKERS) as pool:
        for bench in benches:
            stack.callback(bench.close)
        list(pool.map(Bench.open, benches))
        yield benches


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
def test_killed_at_any_write_it_comes_to_the_same_end(
    course: Course, benches: list[Bench], observer: Observer, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = Point(course)
    benches[0].prepare([undisturbed])
    end, reason, writes = benches[0].run(undisturbed)
    assert (end.phase, reason) == (course.phase, course.reasons[0])
    points = _points(course, [write for write in writes if not write.lease])
    with capsys.disabled():
        print(f"\n{course.name}: {len(points)} points to die at")

    def die_at(bench: Bench, points: Sequence[Point]) -> list[str]:
        bench.prepare(points)
        differences = (words for point in points if (words := bench.differs(point, end)))
        return list(islice(differences, GIVE_UP))

    with ThreadPoolExecutor(WORKERS) as pool:
        shares = [points[worker::WORKERS] for worker in range(WORKERS)]
        wrong = list(chain.from_iterable(pool.map(die_at, benches, shares)))
    found = observer.findings().violations
    ours = {f"{bench.shop.namespace}/{point}" for bench in benches for point in (undisturbed, *points)}
    wrong += [f"{plan}: {words}" for plan in ours & found.keys() for words in found[plan]]
    assert not wrong, "\n".join(wrong)


def test_the_observer_sees_a_weight_that_no_plan_holds(bed: Bed, benches: list[Bench], observer: Observer) -> None:
    bench, point = benches[0], Point(replace(COURSES[0], name="observed"))
    bench.prepare([point])
    bench.run(point)
    key = f"{bench.shop.namespace}/{point}"
    assert key not in observer.findings().violations
    move = [{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7}]
    bed.api("PATCH", ROUTES.format(bench.shop.namespace, point), move, JSON_PATCH)
    assert len(observer.findings().violations[key]) == 1


def _told(decision: Mapping[str, Any], plan: str) -> tuple[str, ...]:
    """Reason, stage and weight of a decision; of a task that is done, also what is said of it."""
    said = decision["note"].replace(plan, "") if decision["reason"] in TASK_DONE else ""
    return decision["reason"], decision.get("stage", ""), decision.get("weightTo", ""), said


def _beside_traffic(write: Write) -> bool:
    """Whether it makes a Job or scales a side, or records what is done of a task or what a person is waited for."""
    recorded = write.body.get("status", {}) if write.path.endswith("/status") else {}
    return write.path.endswith(("/jobs", "/scale")) or not recorded.keys().isdisjoint(("task", "held"))


def _points(course: Course, writes: Sequence[Write]) -> list[Point]:
    """Before and after each write; where the cause passes, only those from which there is no other way than back.

    Of a life only those that concern its tasks and a person's word. Before a write is after the one before it.
    """
    if course.tasks:
        return [Point(course, n) for n, write in enumerate(writes, 1) if _beside_traffic(write)]
    points = [Point(course, n, when) for n in range(1, len(writes) + 1) for when in ("before", "after")]
    if not course.passing:
        return points
    back = max(n for n, write in enumerate(writes, 1) if "/httproutes/" in write.path)
    return points[points.index(Point(course, back, "after")) :]
