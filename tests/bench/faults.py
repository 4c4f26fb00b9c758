"""`make bench-faults`: many plans, two replicas, and all that can fail around them failing, for minutes on end.

An observer who talks to the API server alone says whether an invariant was broken (tests/bench/observer.py).
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from threading import Event
from typing import Any, Literal

from tests.bed import Bed, objects
from tests.bed.faults import KINDS, FaultProxy
from tests.bed.load import Load
from tests.bed.processes import until
from tests.bench.observer import PLANS, Findings, Observer
from tests.bench.table import Row, text
from tests.shop import HEALTH_PORT, Operator, Shop, install

Kind = Literal["healthy", "flips", "errors"]
DEALT: tuple[Kind, ...] = ("healthy", "flips", "healthy", "errors")
"""What plans are, in turn: sound, with a query that turns at some instant, over pods that begin to fail."""
ENDS: dict[Kind, str] = {"healthy": "Succeeded", "flips": "RolledBack", "errors": "RolledBack"}

SHARE = 0.2
CUT_EVERY = 4.0
FADES_WITHIN = 6.0
"""Seconds until errors are out of the guards' window."""
FINISH_WITHIN = 240.0
"""Seconds in which all must come to its end when nothing fails any more."""
TOLD_WITHIN = 60.0
MARGIN = 180
"""Seconds for bringing everything up and down, after which the whole is killed."""
SHOWN = 20
"""Findings of one sort that are printed in full."""

MISFORTUNES = ("leader killed", "leader stopped", "follower killed", "Prometheus killed", "Prometheus stopped")

STAGES = [{"weights": ["20%", "50%", "100%"], "soak": "8s"}]
"""No run is over before a fault that comes within 20 s of its start."""
ERRORS = {
    "name": "errors",
    "query": 'sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment",code="500"}[$window]))',
    "is": "> 0.5",
    "window": "4s",
}


@dataclass
class Plan:
    """One of the plans, which runs again and again."""

    shop: Shop
    name: str
    kind: Kind
    began: int = 0
    """Runs that were asked for."""
    ended: bool = True
    sides: tuple[str, str] = ("checkout-v1", "checkout-v2")

    @property
    def key(self) -> str:
        return f"{self.shop.namespace}/{self.name}"

    def is_over(self, status: Mapping[str, Any]) -> bool:
        """Whether the run that was asked for last has ended. One that had to start twice has two numbers."""
        ours = f"stages: run {self.began}"
        started = [
            d["run"] for d in status.get("decisions", ()) if d["reason"] == "Started" and d["note"].endswith(ours)
        ]
        return bool(started) and status["run"] == started[-1] and status["phase"] in ENDS.values()

    def begin(self, rng: random.Random) -> None:
        """Ask for another run."""
        self.began, self.ended = self.began + 1, False
        turns = {"name": "turns", "query": f"vector(time() - {int(time.time() + rng.uniform(5, 20))})", "is": "> 0"}
        self.shop.start(
            self.name,
            hypothesis=f"run {self.began}",
            old={"deployment": self.sides[0]},
            new={"deployment": self.sides[1]},
            traffic={"routes": [{"kind": "HTTPRoute", "name": self.name}], "drain": "0s"},
            interval="2s",
            guards=[{**turns, "window": "1s"} if self.kind == "flips" else ERRORS],
            stages=STAGES,
        )


# ---- the plans: started, and started again ---------------------------------------------------------------------------


class Plans:
    """All plans, in a namespace for each sort, and the faults that their new sides come to have."""

    def __init__(self, bed: Bed, count: int, rng: random.Random) -> None:
        self._bed, self._rng = bed, rng
        self._shops = [Shop(bed, f"soak-{i}-{kind}", replicas=1) for i, kind in enumerate(DEALT)]
        dealt = [(i, i % len(DEALT)) for i in range(count)]
        self.all = [Plan(self._shops[turn], f"p{i}", DEALT[turn]) for i, turn in dealt]
        self.wrong: list[str] = []
        self.loads: list[Load] = []
        self._broken = False
        self._breaks_at = self._heals_at = 0.0

    def open(self, seconds: float) -> None:
        """Shops, routes, and a little load: on a route of each namespace, and straight to the pods that will fail."""
        for shop in self._shops:
            shop.open(ready=False)
        for plan in self.all:
            host = f"{plan.name}.{plan.shop.host}"
            self._bed.apply(objects.httproute(plan.name, plan.shop.weights, plan.shop.namespace, host))
        failing = self._shops[DEALT.index("errors")]
        self._bed.apply(
            objects.httproute("straight", {"checkout-v2": 1}, failing.namespace, f"straight.{failing.host}")
        )
        for shop in self._shops:
            for deployment in shop.weights:
                self._bed.wait_ready(shop.namespace, deployment)
        hosts = [f"{plan.name}.{plan.shop.host}" for plan in self.all[: len(DEALT)]]
        self._breaks_at = time.monotonic() + self._rng.uniform(8, 18)
        for host in (*hosts, f"straight.{failing.host}"):
            self.loads.append(self._bed.load(host, rate=10, seconds=seconds, timeout=10))

    def turn(self, again: bool) -> None:
        """See what has ended, and begin it anew if there is to be another run."""
        stored = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in self._bed.get(PLANS)["items"]}
        for plan in self.all:
            status = stored.get(plan.key, {}).get("status", {})
            if not plan.ended and plan.is_over(status):
                self._end(plan, status)
        self._break_and_heal()
        for plan in self.all:
            if again and plan.ended and not (plan.kind == "errors" and self._waits_for_health()):
                plan.begin(self._rng)

    def _end(self, plan: Plan, status: dict[str, Any]) -> None:
        """What succeeded is done next in the other direction."""
        plan.ended = True
        if status["phase"] == "Succeeded":
            plan.sides = plan.sides[1], plan.sides[0]
        if status["phase"] != ENDS[plan.kind]:
            self.wrong.append(f"{plan.key} is {plan.kind}, and run {plan.began} ended as {_words(status)}")

    def _waits_for_health(self) -> bool:
        return self._broken or time.monotonic() < self._heals_at

    def _break_and_heal(self) -> None:
        """The pods of one namespace fail some time after its plans began, until all of these have gone back."""
        concerned = [plan for plan in self.all if plan.kind == "errors"]
        if not concerned:
            return
        now, running = time.monotonic(), not all(plan.ended for plan in concerned)
        if running and not self._broken and now > self._breaks_at:
            self._fail(1.0)
        elif self._broken and not running:
            self._fail(0.0)
            self._heals_at = now + FADES_WITHIN
            self._breaks_at = self._heals_at + self._rng.uniform(5, 15)

    def _fail(self, share: float) -> None:
        self._broken = share > 0
        self._bed.behave("checkout-v2", self._shops[DEALT.index("errors")].namespace, errors=share)

    def unfinished(self) -> list[str]:
        return [f"{plan.key}: {_words(plan.shop.status(plan.name))}" for plan in self.all if not plan.ended]


def _words(status: Mapping[str, Any]) -> str:
    return ", ".join(str(status.get(key, "")) for key in ("phase", "reason", "message"))


# ---- what fails around them ------------------------------------------------------------------------------------------


class Chaos:
    """Kills and stops the replicas and Prometheus until it is over, and leaves all of them running."""

    def __init__(self, bed: Bed, replicas: list[Operator], seed: int) -> None:
        self._bed, self._replicas, self._seed = bed, replicas, seed
        self._over = Event()
        self.counts: Counter[str] = Counter()
        self.exits: list[str] = []

    @contextmanager
    def raging(self) -> Iterator[None]:
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self._upset_replicas), pool.submit(self._upset_prometheus)]
            try:
                yield
            finally:
                self._over.set()
            for one in both:
                one.result()

    def _upset_replicas(self) -> None:
        rng = random.Random(f"{self._seed} replicas")
        while not self._over.wait(rng.uniform(5, 20)):
            self._watch_over()
            leader = next((replica for replica in self._replicas if replica.leads()), None)
            if leader and rng.random() < 0.2:
                self.counts["leader stopped"] += 1
                self._stopped(leader, rng.uniform(20, 60))
            else:
                victim = leader if leader and rng.random() < 0.6 else rng.choice(self._replicas)
                self.counts["leader killed" if victim is leader else "follower killed"] += 1
                victim.process.kill()
                self._over.wait(rng.choice((0, 1, 3, 20)))
                victim.process.spawn()
        self._watch_over()

    def _stopped(self, replica: Operator, seconds: float) -> None:
        replica.process.stop()
        self._over.wait(seconds)
        replica.process.cont()

    def _watch_over(self) -> None:
        """Note replicas that have ended by themselves, and start them again."""
        for replica in self._replicas:
            if not replica.process.running():
                self.exits.append(f"{replica.process.name} ended by itself: see {replica.process.log}")
                replica.process.spawn()

    def _upset_prometheus(self) -> None:
        rng, turn = random.Random(f"{self._seed} prometheus"), 0
        prometheus = self._bed.prometheus
        while not self._over.wait(rng.uniform(20, 45)):
            turn += 1
            if turn % 2:
                self.counts["Prometheus killed"] += 1
                prometheus.kill()
                self._over.wait(rng.uniform(5, 20))
                prometheus.start()
            else:
                self.counts["Prometheus stopped"] += 1
                prometheus.stop()
                self._over.wait(rng.uniform(5, 20))
                prometheus.cont()


# ---- the soak --------------------------------------------------------------------------------------------------------


def soak(bed: Bed, minutes: float, count: int, seed: int) -> list[Row]:
    """Let everything fail for so many minutes, then nothing, until all plans have ended; returns what was found."""
    plans = Plans(bed, count, random.Random(seed))
    with ExitStack() as stack:
        observer = stack.enter_context(Observer(bed))
        proxy = stack.enter_context(FaultProxy(bed))
        replicas = [stack.enter_context(_replica(bed, proxy, name)) for name in "ab"]
        plans.open(60 * minutes + FINISH_WITHIN + 60)
        proxy.faults(SHARE, KINDS, seed)
        proxy.cut_watches(CUT_EVERY)
        chaos = Chaos(bed, replicas, seed)
        print(f"everything fails for {minutes:g} minutes, seed {seed}", flush=True)
        with chaos.raging():
            _go_on(plans, 60 * minutes, again=True)
        proxy.faults(0)
        proxy.cut_watches(0)
        print("nothing fails any more; the plans come to their ends", flush=True)
        _go_on(plans, FINISH_WITHIN, again=False)
        with suppress(TimeoutError):
            until(lambda: not observer.findings().untold, TOLD_WITHIN, "the last Events", every=1)
        return _rows(plans, chaos, proxy.counts, observer.findings())


def _replica(bed: Bed, proxy: FaultProxy, name: str) -> Operator:
    port = HEALTH_PORT + ord(name) - ord("a")
    options = [f"--identity={name}"]
    return Operator(bed, options=options, kubeconfig=proxy.kubeconfig(), port=port, name=f"replica-{name}")


def _go_on(plans: Plans, seconds: float, *, again: bool) -> None:
    """For so long, or until there is nothing more to come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (again or not all(plan.ended for plan in plans.all)):
        plans.turn(again)
        time.sleep(1)


def _rows(plans: Plans, chaos: Chaos, faults: Mapping[str, int], found: Findings) -> list[Row]:
    lost = [f"{load.lost()} of {load.total()}: {load.counts()}" for load in plans.loads if load.lost()]
    broken = [f"{plan}: {words}" for plan, said in found.violations.items() for words in said]
    untold = [f"{plan}: {', '.join(names)}" for plan, names in found.untold.items()]
    wrong = {
        "invariants broken, as seen from outside": broken,
        "plans with a decision without its one Event": untold,
        "routes and pods with answers lost": lost,
        "runs that ended as they must not": plans.wrong,
        "plans that came to no end": plans.unfinished(),
        "replicas that ended by themselves": chaos.exits,
    }
    for figure, items in wrong.items():
        print("\n".join([f"\n{figure}:", *items[:SHOWN]]) if items else f"{figure}: none", flush=True)
    happened = {
        **{what: chaos.counts[what] for what in MISFORTUNES},
        **{f"requests answered with {kind}": faults.get(str(kind), 0) for kind in KINDS},
        "requests that went through": faults["requests"],
        "of these refused, and done all the same": faults.get("done all the same", 0),
        "watches cut": faults.get("watches cut", 0),
        "watches told that their version is too old": faults.get("watches expired", 0),
        "versions seen by the observer": found.versions,
        "changes of weights": found.moves,
        "decisions": sum(found.decisions.values()),
        "rollouts": found.decisions.get("Succeeded", 0),
        "rollbacks": found.decisions.get("RolledBack", 0),
        "answers served": sum(load.total() for load in plans.loads),
    }
    return [
        *(Row(figure, "some", str(count), count > 0) for figure, count in happened.items()),
        *(Row(figure, "0", str(len(items)), not items) for figure, items in wrong.items()),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.faults")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn by lot")
    parser.add_argument("--logs", type=Path, help="a new folder for the logs of all parts, which stays")
    chosen = parser.parse_args()
    signal.alarm(int(60 * chosen.minutes + FINISH_WITHIN + MARGIN))
    with Bed.up(chosen.logs, progress=print) as bed:
        install(bed)
        rows = soak(bed, chosen.minutes, chosen.plans, chosen.seed)
    print(f"\n{chosen.plans} plans, {chosen.minutes:g} minutes, {cpu_count()} cores, all parts on this machine\n")
    print(text(rows))
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
