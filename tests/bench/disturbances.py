"""What clusters do by themselves and at the hands of others: pods come and go, endpoints are lost, Git applies again.

Where requests are counted, some pod of each side goes on answering, so that no answer is lost by this.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from tests.bed import Bed, objects
from tests.bed.api import MERGE_PATCH, ApiError, Manifest
from tests.bench.soaking import MILD, SIDES, Plan, Plans
from tests.shop import Shop

GIT = "argocd"
"""The field manager that applies what is in Git."""
SIZES = (2, 3, 4)
DISTURBANCES = (
    *(f"{side} scaled {way}" for side in SIDES for way in ("up", "down")),
    "one pod of several evicted",
    "only pod evicted",
    *(f"endpoints of {side} lost and back" for side in SIDES),
    "Git applies the route with the old weights",
    "Git applies the plan",
    "Git applies the replicas",
)
_DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/{}"
_PODS = "/api/v1/namespaces/{}/pods"
_SERVICE = "/api/v1/namespaces/{}/services/{}"


class Disturbances:
    """Does all of it until it is over, and then puts back what it has taken away."""

    def __init__(self, bed: Bed, plans: Plans, seed: int) -> None:
        self._bed, self._plans, self._seed = bed, plans, seed
        self._several = [plans.shops["healthy"], plans.shops["counted"]]
        self._over = Event()
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        """Why one of these went no further."""

    @contextmanager
    def going_on(self) -> Iterator[None]:
        kinds: tuple[Callable[[random.Random], None], ...] = (
            self._scale,
            self._evict_one_of_several,
            self._upset_the_lone,
            self._apply_from_git,
        )
        with ThreadPoolExecutor(len(kinds)) as pool:
            all_of_them = [pool.submit(kind, random.Random(f"{self._seed} {kind.__name__}")) for kind in kinds]
            try:
                yield
            finally:
                self._over.set()
        self.failed += [repr(error) for one in all_of_them if (error := one.exception())]

    def _scale(self, rng: random.Random) -> None:
        """Both sides become larger and smaller, as an autoscaler makes them."""
        while not self._over.wait(rng.uniform(3, 8)):
            shop, side = rng.choice(self._several), rng.choice(SIDES)
            before = shop.size(side)
            after = rng.choice([size for size in SIZES if size != before])
            self.counts[f"{side} scaled {'up' if after > before else 'down'}"] += 1
            path = f"{_DEPLOYMENT.format(shop.namespace, side)}/scale?fieldManager=autoscaler"
            self._bed.api("PATCH", path, {"spec": {"replicas": after}}, MERGE_PATCH)

    def _evict_one_of_several(self, rng: random.Random) -> None:
        while not self._over.wait(rng.uniform(5, 12)):
            shop, side = rng.choice(self._several), rng.choice(SIDES)
            standing = self._standing(shop, side)
            if len(standing) > 1 and self._evict(shop, rng.choice(standing)):
                self.counts["one pod of several evicted"] += 1

    def _upset_the_lone(self, rng: random.Random) -> None:
        """Evict the only pod of a side, or have its Service select nobody for a while."""
        shop = self._plans.shops["lone"]
        while not self._over.wait(rng.uniform(4, 10)):
            side = rng.choice(SIDES)
            if rng.random() < 0.5:
                standing = self._standing(shop, side)
                if standing and self._evict(shop, standing[0]):
                    self.counts["only pod evicted"] += 1
                continue
            self.counts[f"endpoints of {side} lost and back"] += 1
            self._select(shop, side, "nobody")
            self._over.wait(rng.choice((3, 8, 30)))
            self._select(shop, side, side)

    def _select(self, shop: Shop, side: str, app: str) -> None:
        change = {"spec": {"selector": {"app": app}}}
        self._bed.api("PATCH", _SERVICE.format(shop.namespace, side), change, MERGE_PATCH)

    def _standing(self, shop: Shop, side: str) -> list[str]:
        """The names of the ready pods of a side that are not leaving."""
        pods = self._bed.get(f"{_PODS.format(shop.namespace)}?labelSelector=app%3D{side}")["items"]
        return [
            pod["metadata"]["name"] for pod in pods if _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
        ]

    def _evict(self, shop: Shop, pod: str) -> bool:
        """Evict a pod, as `kubectl drain` does; returns whether it was there."""
        body = {
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": shop.namespace},
        }  # fmt: skip
        try:
            self._bed.api("POST", f"{_PODS.format(shop.namespace)}/{pod}/eviction", body)
        except ApiError as error:
            if error.status not in (404, 409, 429):
                raise
            return False
        return True

    def _apply_from_git(self, rng: random.Random) -> None:
        """Server-side apply of what Git has, by force, as a sync does: it knows nothing of what a run has changed."""
        while not self._over.wait(rng.uniform(1, 4)):
            what = rng.choice(("the route with the old weights", "the plan", "the replicas"))
            if what == "the replicas":
                shop, side = rng.choice(self._several), rng.choice(SIDES)
                made = objects.deployment(side, shop.namespace, side.rpartition("-")[2], shop.replicas, MILD)
                self._bed.apply(made, manager=GIT)
            elif not self._apply_again(rng.choice(self._plans.all), what):
                continue
            self.counts[f"Git applies {what}"] += 1

    def _apply_again(self, plan: Plan, what: str) -> bool:
        """While a run of it is on; returns whether it was applied."""
        with plan.lock:
            if plan.ended:
                return False
            made: Manifest = plan.manifest if what == "the plan" else plan.route(plan.old_weights)
            self._bed.apply(json.loads(json.dumps(made)), manager=GIT)
            return True


def _is_ready(pod: Manifest) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))
