"""Whatever happens to the pods of a new side, only their own failures end a run; and a crash loop always does.

A small Deployment stands in for its controller, the scheduler and the nodes: it starts pods, replaces evicted ones, and
is scaled, restarted and drained at random.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.repetition import times
from tests.situations import P, fresh, s
from tests.world import Deployment, World

STEP = timedelta(seconds=5)
LIVES = {"bake": "10m", "stages[0].soak": "1m", "stages[1].soak": "1m", "stages[2].soak": "1m"}


@dataclass
class Pod:
    uid: str
    template: str
    up_in: timedelta
    """Until it is ready."""
    restarts: int = 0
    crash_in: timedelta | None = None
    """Until it crashes again; None: it never does."""
    pause: timedelta = timedelta(seconds=10)


@dataclass
class Side:
    """The new side's pods, and what happens to them."""

    random: Random
    size: int
    pods: list[Pod] = field(default_factory=list)
    template: str = "0.a.x"
    asleep: bool = False
    """Whether its autoscaler has scaled it to zero."""
    full: bool = False
    """Whether no node takes another pod."""
    made: int = 0

    def __post_init__(self) -> None:
        self.fill()
        for pod in self.pods:
            pod.up_in = s(0)

    @property
    def wanted(self) -> int:
        return 0 if self.asleep else self.size

    def fill(self) -> None:
        """The Deployment makes the pods that it lacks, and removes those that are too many: the youngest first."""
        crashing = [pod for pod in self.pods if pod.crash_in is not None]
        others = sorted((pod for pod in self.pods if pod.crash_in is None), key=lambda pod: pod.up_in)
        self.pods = [*crashing, *others][: self.wanted]
        while len(self.pods) < self.wanted:
            self.made += 1
            slow = s(self.random.choice([1, 5, 20, 40]))
            self.pods.append(Pod(f"uid-{self.made}", self.template, slow))

    def passes(self) -> None:
        """Five seconds pass: pods come up or crash, and one of a former template is replaced."""
        for pod in self.pods:
            if pod.crash_in is not None:
                pod.crash_in -= STEP
                pod.up_in = max(pod.up_in - STEP, s(0))
                if pod.crash_in <= s(0):
                    pod.restarts += 1
                    pod.pause = min(pod.pause * 2, s(60))
                    pod.crash_in, pod.up_in = pod.pause + s(5), pod.pause
            elif not self.full:
                pod.up_in = max(pod.up_in - STEP, s(0))
        if all(pod.up_in <= s(0) for pod in self.pods):
            former = next((pod for pod in self.pods if pod.template != self.template and pod.crash_in is None), None)
            if former is not None:
                self.pods.remove(former)
        self.fill()

    def deployment(self) -> Deployment:
        ready = [pod for pod in self.pods if pod.up_in <= s(0)]
        crashing = any(pod.crash_in is not None and pod.restarts for pod in self.pods)
        starting = len(ready) < self.wanted
        outdated = sum(pod.template != self.template for pod in self.pods)
        return Deployment(
            "v2",
            wanted=self.wanted,
            ready=len(ready),
            revision=self.template,
            settled=not outdated,
            outdated=outdated,
            failed="CrashLoopBackOff" if crashing else "",
            away="it is starting" if starting else "",
            autoscaler="keda" if self.asleep else "",
            crashes={pod.uid: pod.restarts for pod in self.pods},
        )

    # ---- what happens --------------------------------------------------------------------------------------------

    def scaled(self) -> None:
        self.size = self.random.randint(1, 10)

    def drained(self) -> None:
        """Some pods are evicted, and others take their places."""
        keep = self.random.randint(0, len(self.pods))
        self.pods = self.random.sample(self.pods, keep)

    def rebooted(self) -> None:
        """The node under some pods is rebooted: the pods stay, and no restart counts."""
        for pod in self.random.sample(self.pods, self.random.randint(0, len(self.pods))):
            pod.up_in = s(15)

    def restarted(self) -> None:
        """`kubectl rollout restart`, or a checksum in an annotation."""
        number, _, version = self.template.partition(".")
        self.template = f"{int(number) + 1}.{version}"

    def defaulted(self) -> None:
        """The API server begins to write another default; no pod is replaced for it."""
        number, unmarked, written = self.template.split(".")
        new = f"{int(number) + 1}.{unmarked}'.{written}"
        for pod in self.pods:
            pod.template = new if pod.template == self.template else pod.template
        self.template = new

    def restarted_once(self) -> None:
        """A pod's container is restarted now and then, which is allowed."""
        if self.pods:
            self.random.choice(self.pods).restarts += not any(pod.restarts for pod in self.pods)

    def slept(self) -> None:
        self.asleep = not self.asleep

    def filled(self) -> None:
        self.full = not self.full


INNOCENT: tuple[Callable[[Side], None], ...] = (
    *(Side.scaled, Side.drained, Side.rebooted, Side.restarted, Side.defaulted, Side.restarted_once),
    *(Side.slept, Side.filled, lambda _: None),
)


def lived(world: World, side: Side, steps: int) -> None:
    for _ in range(steps):
        side.passes()
        if side.deployment() != world.new:
            world.new = side.deployment()
        world.advance(STEP)


def story(seed: int) -> tuple[World, Side]:
    """A run that innocent things happen to, at random."""
    random = Random(seed)
    side = Side(random, random.randint(1, 6))
    world = fresh(LIVES, new=side.deployment())().until(P.JUDGING)
    for _ in range(8):
        random.choice(INNOCENT)(side)
        side.fill()
        lived(world, side, random.randint(1, 8))
        if random.random() < 0.1:
            world.crash()
    return world, side


def notes(world: World) -> str:
    return "\n".join(f"{each.at:%H:%M:%S} {each.reason}: {each.note}" for each in world.trail.values())


@settings(max_examples=times(8), deadline=None)
@given(st.integers(0, 10**6))
def test_an_innocent_side_is_never_ended_as_failed(seed: int) -> None:
    world, side = story(seed)
    assert not any(record.status.failed for record in world.records), notes(world)
    side.asleep = side.full = False
    for _ in range(400):
        lived(world, side, 1)
        if world.phase is P.SUCCEEDED:
            break
    assert world.phase is P.SUCCEEDED, f"{world.phase} {world.status.message}\n{notes(world)}"
    assert world.status.run == 1, notes(world)
    assert not any(record.status.failed for record in world.records), notes(world)


@settings(max_examples=times(8), deadline=None)
@given(st.integers(0, 10**6))
def test_a_crash_loop_always_ends_the_run(seed: int) -> None:
    world, side = story(seed)
    side.asleep = side.full = False
    side.fill()
    if world.phase is P.SUCCEEDED:
        return
    side.pods[0].crash_in = s(5)
    for _ in range(100):
        lived(world, side, 1)
        if world.phase in (P.ROLLED_BACK, P.SUCCEEDED):
            break
    assert world.phase is P.ROLLED_BACK, f"{world.phase} {world.status.message}\n{notes(world)}"
    assert world.status.failed
    assert world.status.reason in ("NewSideRestarting", "NewSideDown", "NewSideShort"), notes(world)
