"""Plans in every phase, which another version of the operator takes up, and then gives back.

The courses of tests/e2e/test_previous_version.py and tests/ship/upgrade.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

from tests.bed import Bed
from tests.bed.processes import page, until
from tests.freezing import frozen
from tests.shop import ROOT, ROUTES, Operator, Shop, assumption, define, job

NEVER: Final = {"name": "never", "query": "vector(0)", "is": "> 1", "window": "1s"}
SLOW: Final[dict[str, Any]] = {"stages": [{"weights": ["25%", "100%"], "soak": "10m"}], "guards": [NEVER]}
QUICK: Final[dict[str, Any]] = {"stages": [{"weights": ["100%"], "soak": "1s"}], "guards": [NEVER]}
OLD_ONLY: Final = {"checkout-v1": 100, "checkout-v2": 0}
AT_25: Final = {"checkout-v1": 75, "checkout-v2": 25}
NEW_ONLY: Final = {"checkout-v1": 0, "checkout-v2": 100}
TOLD_LATER: Final = "RequestRefused"
"""A decision that may come at any time while a request is refused."""
CLAIMED: Final = ("Judging", "Baking")
"""Phases of runs that a new leader writes its term to, in their turn."""
PORTS: Final = 8830
"""Those of the operators begin here."""


@dataclass(frozen=True)
class Course:
    """How a plan comes to a phase, where its weights are there, and how it ends."""

    phase: str
    spec: Mapping[str, Any]
    weights: Mapping[str, int]
    ends: str
    """The phase in which it ends after both changes of the version."""
    begin: Callable[[Shop], object] = lambda _: None
    """What is done before the plan is written."""
    there: Callable[[Shop, ExitStack], object] = lambda _, __: None
    """What is done in the phase `first`. What the stack gets is undone before `end`."""
    end: Callable[[Shop], object] = lambda shop: shop.say("abort end")
    first: str = "Judging/w25"
    """Empty: that which is wanted comes by itself."""
    loaded: bool = False
    """Whether requests are sent meanwhile."""


def _paused(shop: Shop, _: ExitStack) -> None:
    shop.say("pause p1")


def _resumed(shop: Shop) -> None:
    shop.say("resume p2")
    shop.until("Judging/w25")
    shop.say("abort end")


def _aborted(shop: Shop, _: ExitStack) -> None:
    shop.say("abort a1")


def _breaks(shop: Shop) -> None:
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)


def _unready(shop: Shop) -> None:
    shop.bed.behave("checkout-v2", shop.namespace, ready=False)


def _ready(shop: Shop) -> None:
    shop.bed.behave("checkout-v2", shop.namespace, ready=True)
    shop.until("Judging/w25", timeout=60)
    shop.say("abort end")


def _stuck(shop: Shop, stack: ExitStack) -> None:
    stack.enter_context(frozen(shop.bed, ROUTES.format(shop.namespace, "checkout")))
    shop.say("abort a1")


def _nothing(_: Shop) -> None: ...


GUARDED: Final = {"stages": [{"weights": ["25%", "100%"], "soak": "10m"}]}
APPROVED: Final[dict[str, Any]] = {
    "guards": [NEVER],
    "stages": [
        {"weights": ["25%"], "soak": "1s"},
        {"name": "all", "weights": ["100%"], "soak": "1s", "approval": "Required"},
    ],
}
UNKNOWN: Final = {
    "guards": [{"name": "silent", "query": "nothing_has_this_name", "is": "> 1", "window": "2s"}],
    "stages": [{"weights": ["25%", "100%"], "soak": "1s", "deadline": "4s"}],
}
NOWHERE: Final = {"traffic": {"routes": [{"kind": "HTTPRoute", "name": "nowhere"}]}}
PROBED: Final = {**SLOW, "assumptions": [assumption("cache", job=job(runs="600s"))]}
CLEANED: Final = {**QUICK, "contract": {"jobs": [{"name": "drop", **job(runs="600s")}]}}

FEW: Final[Mapping[str, Course]] = {
    "soaking": Course("Judging", GUARDED, AT_25, "RolledBack", loaded=True, end=_breaks),
    "paused": Course("Held", SLOW, AT_25, "RolledBack", there=_paused, end=_resumed),
    "approval": Course("Held", APPROVED, AT_25, "Succeeded", first="", end=lambda shop: shop.say("approve end")),
    "rolled-back": Course("RolledBack", SLOW, OLD_ONLY, "RolledBack", there=_aborted, end=_nothing),
}
ALL: Final[Mapping[str, Course]] = {
    **FEW,
    "invalid": Course("Invalid", {**SLOW, **NOWHERE}, OLD_ONLY, "Invalid", first="", end=_nothing),
    "probing": Course("Probing", PROBED, OLD_ONLY, "RolledBack", first=""),
    "expanding": Course("Expanding", SLOW, OLD_ONLY, "RolledBack", begin=_unready, first="", end=_ready),
    "undecided": Course("Held", UNKNOWN, AT_25, "RolledBack", first=""),
    "baking": Course("Baking", {**QUICK, "bake": {"for": "10m"}}, NEW_ONLY, "RolledBack", first=""),
    "contracting": Course("Contracting", CLEANED, NEW_ONLY, "Contracting", first="", end=_nothing),
    "succeeded": Course("Succeeded", QUICK, NEW_ONLY, "RolledBack", first="", end=lambda shop: shop.say("revert end")),
    "rolling-back": Course("RollingBack", SLOW, AT_25, "RolledBack", there=_stuck, end=_nothing),
}


def change_versions(
    bed: Bed,
    older: Path,
    courses: Mapping[str, Course],
    installs: Callable[[Bed, Path], object] = define,
    user: str = "admin",
    lease: Sequence[str] = ("--lease-name=versions",),
) -> list[tuple[str, object]]:
    """Take plans through an upgrade and a downgrade; return what was seen.

    `installs` puts what a checkout deploys into the cluster; its operators run as `user`, and lead by `lease`. An
    assertion fails where a decision is lost or doubled, a weight moves, or a request is not answered.
    """
    with ExitStack() as closing, ExitStack() as lifting:
        installs(bed, older)
        versions = closing.enter_context(Versions(bed, user, lease))
        versions.change(older)
        plans = [Plan(bed, name, course, closing) for name, course in courses.items()]
        for step in (Plan.open, Plan.begin):
            for plan in plans:
                step(plan)
        for plan in plans:
            plan.come(lifting)
        loads = [bed.load(plan.shop.host, rate=40) for plan in plans if plan.course.loaded]
        for checkout in (ROOT, older):
            installs(bed, checkout)
            versions.change(checkout)
            for plan in plans:
                plan.is_taken_up(versions.epoch())
            versions.now.judges(2)
            for plan in plans:
                assert not (changed := plan.changed()), (
                    f"{plan.shop.namespace} under {versions.now.process.name}: {changed}"
                )
        lifting.close()
        for plan in plans:
            plan.course.end(plan.shop)
        decisions = sum(plan.ended() for plan in plans)
        lost = sum(load.lost() for load in loads)
        assert lost == 0, f"{lost} requests without an answer"
        return [
            ("plans, each in another state", len(plans)),
            ("decisions, none lost or doubled", decisions),
            ("requests, all answered", sum(load.total() for load in loads)),
        ]


class Versions:
    """Operators of two versions, of which one leads: the next one is ready before the last one ends, as by Helm."""

    def __init__(self, bed: Bed, user: str, lease: Sequence[str]) -> None:
        self._bed, self._user, self._lease, self._started = bed, user, lease, 0
        self._running: list[Operator] = []

    @property
    def now(self) -> Operator:
        """The one that runs."""
        return self._running[-1]

    def change(self, checkout: Path) -> None:
        """Have the operator of a checkout lead."""
        self._started += 1
        name = f"version-{self._started}"
        options = [*self._lease, f"--identity={name}"]
        before = self._running[:]
        self._running.append(
            Operator(self._bed, self._user, options, port=PORTS + self._started, name=name, checkout=checkout)
        )
        self.now.process.start()
        for each in before:
            each.process.child.terminate()
            assert each.process.ends(10) == 0
            self._running.remove(each)
        until(self.now.leads, 30, f"{name} to lead")

    def epoch(self) -> int:
        """The term of the leader."""
        return int(page(f"{self.now.url}/leading").split()[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._running:
            each.process.kill()


class Plan:
    """A plan on its course, in a shop of its own."""

    def __init__(self, bed: Bed, name: str, course: Course, closing: ExitStack) -> None:
        self.course, self.shop = course, Shop(bed, f"{name}-{uuid4().hex[:6]}", replicas=1)
        self.stood: dict[str, Any] = {}
        closing.callback(self.shop.close)

    def open(self) -> None:
        self.shop.open(ready=False)

    def begin(self) -> None:
        self.shop.open()
        self.course.begin(self.shop)
        self.shop.start(**self.course.spec)

    def come(self, lifting: ExitStack) -> None:
        """Wait until it is where the version is going to change."""
        if self.course.first:
            self.shop.until(self.course.first, timeout=60)
        self.course.there(self.shop, lifting)
        self.shop.until(self.course.phase, timeout=60)
        self.stood = self.now()
        assert self.stood["weights"] == self.course.weights, self.shop.namespace

    def now(self) -> dict[str, Any]:
        """Where it is, what has been decided, and where its weights are."""
        status = self.shop.status()
        names = ("phase", "run", "planHash", "paused", "failed", "tokens", "completedTasks")
        stage = {key: status.get("stage", {}).get(key) for key in ("name", "weight", "soakUntil", "deadlineAt")}
        held = (status.get("held") or {}).get("reason")
        return {
            **{name: status.get(name) for name in names},
            "decisions": [each for each in status["decisions"] if each["reason"] != TOLD_LATER],
            "stage": stage,
            "held": held,
            "weights": self.shop.traffic(),
        }

    def changed(self) -> dict[str, Any]:
        """What is not as it stood, before and now."""
        now = self.now()
        return {name: (was, now[name]) for name, was in self.stood.items() if now[name] != was}

    def is_taken_up(self, epoch: int) -> None:
        """Wait until the leader of this term serves it."""
        if self.course.phase in CLAIMED:
            until(lambda: self.shop.status()["epoch"] == epoch, 60, f"{self.shop.namespace} to be taken up")

    def ended(self) -> int:
        """How many decisions there are at the end: each has a number, an Event and a place in the record of its run."""
        last = self.shop.until(self.course.ends, timeout=60)["seq"]
        until(lambda: len(self.shop.events()) >= last, 30, f"the Events of {self.shop.namespace}")
        seqs = [decision["seq"] for decision in self.shop.trail()]
        of_run = [] if self.course.phase == "Invalid" else seqs
        until(lambda: self._recorded() == of_run, 30, f"the record of {self.shop.namespace}: {of_run}")
        return len(seqs)

    def _recorded(self) -> list[int]:
        return [decision["seq"] for record in self.shop.records() for decision in record["status"]["decisions"]]
