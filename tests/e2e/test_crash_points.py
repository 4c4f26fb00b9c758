"""The operator is killed -9 before and after every single write of a rollout and of a rollback, and started again.

And of a life, a rollout with all that a plan can do beside moving traffic, at every write that concerns that.

A point is what the write says (writes.facts), not its number, which varies with the time that things take. Each run
makes the state from which it starts: a plan and a route of its own, both sides of one size, and the cause to go back.
Three operators work side by side, each in its own namespace and through its own proxy, which springs the trap.
"""

import json
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any
from uuid import uuid4

import pytest

from tests.bed import Bed, netns, objects, until
from tests.bed.api import JSON_PATCH, MERGE_PATCH
from tests.bed.faults import FaultProxy, When
from tests.bed.writes import Write, decided, facts, plan_of, unmarked
from tests.bench.observer import Observer
from tests.receiver import Receiver
from tests.shop import HEALTH_PORT, ROUTES, Operator, Shop, assumption, job, metric_source, notifier

WORKERS = 3
LONG = 120.0
"""Seconds after which what does not come will not; on a machine that is busy with other things, all takes longer."""
CAUSE = 'sum(cause{namespace="$namespace"}) or vector(1)'
"""Something to go back for, which can be taken away."""
WAY_BACK = "decision RollbackStarted"
AHEAD = 3
"""So many routes there are before they are used."""
STRAY = 0.25
"""The share of a course's points that may go another way than the undisturbed run did."""
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
        return self.query == CAUSE


STAGES = [{"weights": ["50%", "100%"], "soak": "1s"}]
TASKS = {
    "assumptions": [assumption("probe")],
    "expand": {"jobs": [{"name": "add", **job()}], "scale": {"new": 2}},
    "stages": [{"weight": "100%", "soak": "1s", "approval": "Required"}],
    "bake": "1s",
    "contract": {"scaleOld": 0, "jobs": [{"name": "drop", **job()}]},
}
# A rollback's weights do not wait for its record. Where the operator dies between the two, its successor sees by the
# route that somebody went back, finishes it, and cannot know the cause.
BACK = ("RolledBack", ("GuardTripped", "Interrupted"))
COURSES = (
    Course("rollout", "vector(0)", "Succeeded", ("Succeeded",)),
    Course("rollback", "vector(1)", *BACK),
    Course("life", "vector(0)", "Succeeded", ("Succeeded",), TASKS),
    Course("rollback-for-a-passing-cause", CAUSE, *BACK),
)


@dataclass(frozen=True)
class Point:
    """Where in a course the operator dies: at the first write that says this, or nowhere."""

    course: Course
    number: int = 0
    """Its place among the points of its course, and in its name."""
    fact: str = ""
    when: When = "before"

    def __str__(self) -> str:
        return f"{self.course.name}-{self.when}-{self.number}"


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
    """Whether the plan still has our finalizer, and whether its undo command."""


@dataclass(frozen=True)
class Run:
    """What a plan has come to, and how."""

    end: End
    reason: str
    route: str
    writes: list[Write]
    before_death: list[Write]
    """Those that had come when the operator died; none where it did not."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a run, with its whole story; or what has gone another way in it, and rightly so."""

    wrong: str = ""
    aside: str = ""


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
        self._receiver = Receiver()
        self._serving = ExitStack()
        self._names = (f"route-{n}" for n in count(1))
        self._routes: deque[str] = deque()

    def open(self) -> None:
        """Everything that runs have in common. A source that is asked with patience: none shall be held for it."""
        self.shop.open()
        source = metric_source(self._bed.prometheus_url, timeout="30s") | {"kind": "MetricSource"}
        source["metadata"]["namespace"] = self.shop.namespace
        self._serving.enter_context(self._receiver.serving(netns.ADDRESS))
        self._bed.apply(source, notifier(self._receiver.url, self.shop.namespace))
        for _ in range(AHEAD):
            self._another_route()
        self._proxy.start()
        self._operator.process.start()

    def close(self) -> None:
        self._operator.process.kill()
        self._proxy.kill()
        self._serving.close()
        self.shop.close()

    def run(self, point: Point) -> Run:
        """Run a plan, die at the point, start again, and go on to the end."""
        self._make_the_state()
        route = self._routes.popleft()
        self._proxy.forget()
        if point.fact:
            self._proxy.trap(point.fact, point.when, self._operator.process.pid, str(point))
        self._start(point, route)
        before_death: list[Write] = []
        self._lives_until(point, lambda: self._proxy.sprung or self._ended(point), "the end of the run, or a death")
        if self._proxy.sprung:
            self._operator.process.ends(LONG)
            before_death = self._proxy.writes
            if point.course.passing:
                self._cause(there=False)
            self._operator.process.start()
            self._lives_until(point, lambda: self._ended(point), "the end of the run")
        stored = self.shop.stored(str(point))
        writes = [write for write in self._proxy.writes if not write.lease and plan_of(write) in ("", str(point))]
        end = self._end(point, route, stored)
        return Run(end, stored["status"]["reason"], route, writes, writes[: len(before_death)])

    def judged(self, point: Point, undisturbed: Run) -> Verdict:
        """Hold a run with a death in it against the one without."""
        try:
            run = self.run(point)
            if not run.before_death:
                assert run.end == undisturbed.end
                return Verdict(aside=f"{point}: no write said {point.fact!r}, and the operator lived")
            went_back = _went_back(run.before_death, undisturbed.writes) or run.reason == "Interrupted"
            if point.course.passing and not went_back:
                assert (run.end.phase, run.end.weights) == ("Succeeded", (0, 100))
                return Verdict(aside=f"{point}: nothing of the way back was done, and then there was no cause for it")
            assert run.end == undisturbed.end
            assert run.reason in point.course.reasons
        except Exception as error:  # noqa: BLE001 - the other points are tried all the same
            if not self._operator.process.running():
                self._operator.process.start()
            return Verdict(f"--- {point}, at {point.fact!r}: {error!r}\n{self._story(point)}")
        gone = [objects.service(name, self.shop.namespace) for name in _services(run.route)]
        self._bed.delete(self.shop.plan(str(point)), objects.httproute(run.route, {}, self.shop.namespace), *gone)
        return Verdict()

    def _make_the_state(self) -> None:
        """What a run starts from, whatever the one before it has left; and another route, long before it is used.

        Operators hear of routes and plans in either order.
        """
        self._proxy.untrap()
        self._cause(there=True)
        self._another_route()
        namespace = self.shop.namespace
        for name in self.shop.weights:
            path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
            self._bed.api("PATCH", path, {"spec": {"replicas": 1}}, MERGE_PATCH)
        for name in self.shop.weights:
            self._bed.wait_ready(namespace, name, LONG)

    def _another_route(self) -> None:
        """With Services of its own: a route that waits for its run uses the old side of no other."""
        self._routes.append(next(self._names))
        services = _services(self._routes[-1])
        for name, deployment in zip(services, self.shop.weights, strict=True):
            service = objects.service(name, self.shop.namespace)
            service["spec"]["selector"] = {"app": deployment}
            self._bed.apply(service)
        weights = dict(zip(services, self.shop.weights.values(), strict=True))
        self._bed.apply(objects.httproute(self._routes[-1], weights, self.shop.namespace))

    def _cause(self, *, there: bool) -> None:
        """Take the cause to go back away, or put it back."""
        namespace = self.shop.namespace
        self._bed.behave("checkout-v2", namespace, exposes="" if there else "cause 0")
        query = CAUSE.replace("$namespace", namespace)
        until(lambda: self._bed.query(query) == float(there), LONG, "what is measured of the cause")

    def _start(self, point: Point, route: str) -> None:
        old, new = _services(route)
        self.shop.start(
            str(point),
            old={"deployment": "checkout-v1", "service": old},
            new={"deployment": "checkout-v2", "service": new},
            traffic={"routes": [{"kind": "HTTPRoute", "name": route}], "drain": "0s"},
            guards=[{"name": "guard", "query": point.course.query, "is": "> 0.5", "window": "1s"}],
            **{"stages": STAGES, **point.course.tasks},
        )

    def _lives_until(self, point: Point, condition: Callable[[], bool], what: str) -> None:
        """Wait, and say meanwhile what a person is waited for to say."""

        def now() -> bool:
            if point.course.tasks:
                self.shop.approve(str(point))
            return condition()

        until(now, LONG, what, every=0.1)

    def _ended(self, point: Point) -> bool:
        """Whether it is at its end, with all that follows upon it."""
        stored = self.shop.stored(str(point))
        status = stored.get("status", {})
        at_end = status.get("phase") in ("Succeeded", "RolledBack") and not stored["metadata"].get("finalizers")
        if not at_end or len(self.shop.events(str(point))) < status["seq"]:
            return False
        uid = stored["metadata"]["uid"]
        return len(self._receiver.keys(uid)) >= status["seq"] and self._recorded(point)[-1:] == [status["seq"]]

    def _recorded(self, point: Point) -> list[int]:
        """The numbers of the decisions in the record of its run."""
        records = self.shop.records(str(point))
        return [each["seq"] for record in records for each in record["status"]["decisions"]]

    def _end(self, point: Point, route: str, stored: dict[str, Any]) -> End:
        """Also holds the trail to what must be true of every trail."""
        decisions, told = self.shop.trail(str(point)), self._receiver.told(stored["metadata"]["uid"])
        seqs = [each["seq"] for each in decisions]
        assert [each["seq"] for each in told] == seqs, "the webhook gets each decision, in their order"
        assert [decided(each, str(point)) for each in told] == [decided(each, str(point)) for each in decisions]
        # The plan may be seen before its Deployments: that it stalls is told before there is a run.
        of_the_run = [each for each in decisions if each["run"]]
        assert self._recorded(point) == [each["seq"] for each in of_the_run]
        trail = tuple(decided(each, str(point)) for each in of_the_run)
        assert len(set(trail)) == len(trail), f"a decision was taken twice: {trail}"
        if point.course.phase == "RolledBack":  # the guard may trip before or after the gateway has accepted the weight
            trail = tuple(decision for decision in trail if decision[0] != "WeightShifted")
        stands = self._bed.get(ROUTES.format(self.shop.namespace, route))
        weights = tuple(ref["weight"] for ref in stands["spec"]["rules"][0]["backendRefs"])
        meta = stored["metadata"]
        marks = bool(meta.get("finalizers")), "rolloutplan.dev/revert" in meta.get("annotations", {})
        jobs = [name for name in self.shop.created_jobs() if name.startswith(f"{point}-")]
        made = tuple(unmarked(name.removeprefix(str(point))) for name in jobs)
        replicas = self.shop.size("checkout-v1"), self.shop.size("checkout-v2")
        return End(stored["status"]["phase"], weights, trail, made, replicas, marks)

    def _story(self, point: Point) -> str:
        """All that is known about a run that went wrong."""
        writes = "\n".join(f"{n:3} {write}" for n, write in enumerate(self._proxy.writes, 1))
        status = json.dumps(self.shop.status(str(point)), indent=1)
        return f"{writes}\n{status}\n"


def _services(route: str) -> tuple[str, str]:
    """The Services of the old and the new side behind a route."""
    return f"{route}-old", f"{route}-new"


@pytest.fixture(scope="module")
def observer(bed: Bed) -> Iterator[Observer]:
    with Observer(bed) as observer:
        yield observer


@pytest.fixture(scope="module")
def benches(bed: Bed, observer: Observer, alone: None) -> Iterator[list[Bench]]:
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
    nowhere = Point(course)
    undisturbed = benches[0].run(nowhere)
    assert (undisturbed.end.phase, undisturbed.reason) == (course.phase, course.reasons[0])
    points = _points(course, undisturbed.writes)
    with capsys.disabled():
        print(f"\n{course.name}: {len(undisturbed.writes)} writes, {len(points)} points to die at")

    def die_at(bench: Bench, points: Sequence[Point]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for point in points:
            verdicts.append(bench.judged(point, undisturbed))
            if sum(bool(verdict.wrong) for verdict in verdicts) == GIVE_UP:
                break
        return verdicts

    with ThreadPoolExecutor(WORKERS) as pool:
        shares = [points[worker::WORKERS] for worker in range(WORKERS)]
        verdicts = list(chain.from_iterable(pool.map(die_at, benches, shares)))
    wrong = [verdict.wrong for verdict in verdicts if verdict.wrong]
    found = observer.findings().violations
    ours = {f"{bench.shop.namespace}/{point}" for bench in benches for point in (nowhere, *points)}
    wrong += [f"{plan}: {words}" for plan in ours & found.keys() for words in found[plan]]
    assert not wrong, "\n".join(wrong)
    asides = [verdict.aside for verdict in verdicts if verdict.aside]
    for aside in asides:
        warnings.warn(aside, stacklevel=1)
    assert len(asides) <= len(points) * STRAY, "too few have died where they should have: this has proved nothing"


def test_the_observer_sees_a_weight_that_no_plan_holds(bed: Bed, benches: list[Bench], observer: Observer) -> None:
    bench, point = benches[0], Point(replace(COURSES[0], name="observed"))
    run = bench.run(point)
    key = f"{bench.shop.namespace}/{point}"
    assert key not in observer.findings().violations
    move = [{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7}]
    bed.api("PATCH", ROUTES.format(bench.shop.namespace, run.route), move, JSON_PATCH)
    assert len(observer.findings().violations[key]) == 1


def _beside_traffic(write: Write) -> bool:
    """Whether it makes a Job or scales a side, or records what is done of a task or what a person is waited for."""
    recorded = write.body.get("status", {}) if write.path.endswith("/status") else {}
    return write.path.endswith(("/jobs", "/scale")) or not recorded.keys().isdisjoint(("task", "held"))


def _points(course: Course, writes: Sequence[Write]) -> list[Point]:
    """Before and after each write that says something new; where the cause passes, those after the weights went back.

    Of a life only those that concern its tasks and a person's word. Before a write is after the one before it.
    """
    seen, told = set[str](), list[tuple[str, Write]]()
    for write in writes:
        if new := [fact for fact in facts(write) if fact not in seen]:
            seen.update(new)
            told.append((new[0], write))
    if course.tasks:
        return [Point(course, n, fact) for n, (fact, write) in enumerate(told, 1) if _beside_traffic(write)]
    whens: tuple[When, ...] = ("before", "after")
    points = [Point(course, n, fact, when) for n, (fact, _) in enumerate(told, 1) for when in whens]
    if not course.passing:
        return points
    back = max(n for n, (_, write) in enumerate(told, 1) if "/httproutes/" in write.path)
    return points[2 * back - 1 :]


def _went_back(writes: Sequence[Write], undisturbed: Sequence[Write]) -> bool:
    """Whether something of the way back was done by these writes: weights, or the record that says why.

    Where no weight had come forward yet, it may be a token alone: then the next operator ends the run as interrupted.
    """
    weights = [write for write in undisturbed if "/httproutes/" in write.path][-1]
    back = {*facts(weights), *(fact for fact in chain.from_iterable(map(facts, undisturbed)) if WAY_BACK in fact)}
    return any(write.done and not back.isdisjoint(facts(write)) for write in writes)
