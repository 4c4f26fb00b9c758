"""Parts that fail: replicas of the operator, replicas of Prometheus, and a gateway that is late to report.

All of them run again when it is over.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

import requests

from tests.bed import Bed
from tests.bed.api import MERGE_PATCH
from tests.bed.faults import FaultProxy
from tests.bed.processes import Process
from tests.bed.prometheus import query
from tests.shop import Operator

MISFORTUNES = (
    "leader killed",
    "leader stopped",
    "follower killed",
    "Prometheus killed",
    "Prometheus stopped",
    "one replica of Prometheus killed",
    "one replica of Prometheus stopped",
    "gateway late to accept",
)
COMPARED = 'sum(http_requests_total{{namespace="soak-counted"}} @ {:.3f})'


class Chaos:
    """Upsets the parts until it is over, each in its own time."""

    def __init__(
        self,
        bed: Bed,
        replicas: Sequence[Operator],
        metrics: Sequence[tuple[Process, str]],
        gateway: FaultProxy,
        seed: int,
    ) -> None:
        """`metrics` are the replicas of Prometheus with their URLs; the gateway asks the API server by `gateway`."""
        self._bed, self._replicas, self._metrics, self._gateway, self._seed = bed, replicas, metrics, gateway, seed
        self._over = Event()
        self.counts: Counter[str] = Counter()
        self.exits: list[str] = []
        self.failed: list[str] = []
        """Why one of these went no further."""
        self.outages: list[tuple[datetime, datetime]] = []
        """When no replica of Prometheus could answer."""

    @contextmanager
    def raging(self) -> Iterator[None]:
        upsets: tuple[Callable[[random.Random], None], ...] = (
            self._upset_replicas,
            self._upset_prometheus,
            self._upset_gateway,
            self._compare,
        )
        with ThreadPoolExecutor(len(upsets)) as pool:
            all_of_them = [pool.submit(upset, random.Random(f"{self._seed} {upset.__name__}")) for upset in upsets]
            try:
                yield
            finally:
                self._over.set()
        self.failed += [repr(error) for one in all_of_them if (error := one.exception())]

    def _upset_replicas(self, rng: random.Random) -> None:
        while not self._over.wait(rng.uniform(5, 20)):
            self._watch_over()
            leader = next((replica for replica in self._replicas if replica.leads()), None)
            if leader and rng.random() < 0.2:
                self.counts["leader stopped"] += 1
                self._stopped(leader.process, rng.uniform(20, 60))
            else:
                victim = leader if leader and rng.random() < 0.6 else rng.choice(self._replicas)
                self.counts["leader killed" if victim is leader else "follower killed"] += 1
                victim.process.kill()
                self._over.wait(rng.choice((0, 1, 3, 20)))
                victim.process.spawn()
        self._watch_over()

    def _stopped(self, process: Process, seconds: float) -> None:
        process.stop()
        self._over.wait(seconds)
        process.cont()

    def _watch_over(self) -> None:
        """Note replicas that have ended by themselves, and start them again."""
        for replica in self._replicas:
            if not replica.process.running():
                self.exits.append(f"{replica.process.name} ended by itself: see {replica.process.log}")
                replica.process.spawn()

    def _upset_prometheus(self, rng: random.Random) -> None:
        turn = 0
        while not self._over.wait(rng.uniform(10, 25)):
            turn += 1
            how, chosen = ("killed", "stopped")[turn % 2], list(self._metrics)
            if turn % 4 < 2:
                chosen = [rng.choice(chosen)]
            self.counts[f"{'one replica of ' * (len(chosen) == 1)}Prometheus {how}"] += 1
            began = datetime.now(UTC)
            for server, _ in chosen:
                (server.kill if how == "killed" else server.stop)()
            self._over.wait(rng.uniform(5, 20))
            if len(chosen) == len(self._metrics):
                self.outages.append((began, datetime.now(UTC)))
            for server, _ in chosen:
                (server.start if how == "killed" else server.cont)()

    def _upset_gateway(self, rng: random.Random) -> None:
        """The gateway follows the routes, and cannot write that it does."""
        while not self._over.wait(rng.uniform(10, 25)):
            self.counts["gateway late to accept"] += 1
            self._gateway.refuse("/httproutes/", "/status")
            self._over.wait(rng.uniform(3, 20))
            self._gateway.refuse()
            self._wake_gateway()

    def _wake_gateway(self) -> None:
        """Change something that it follows: it writes what it could not write when it looks at all routes again."""
        change = {"metadata": {"annotations": {"woken": str(time.time())}}}
        self._bed.api("PATCH", "/apis/gateway.networking.k8s.io/v1/namespaces/bed/gateways/web", change, MERGE_PATCH)

    def _compare(self, rng: random.Random) -> None:
        """Count the instants for which the replicas of Prometheus have different answers."""
        while not self._over.wait(rng.uniform(1, 3)):
            at = COMPARED.format(time.time())
            try:
                answers = {query(at, url) for _, url in self._metrics}
            except requests.RequestException:
                continue  # one of them is killed or stopped
            self.counts["instants at which two replicas of Prometheus disagree"] += len(answers) > 1
