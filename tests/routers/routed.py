"""A shop whose route is of the kind of a plane."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from rolloutplan.traffic import ROUTE_KINDS
from tests.bed import Stopwatch, until
from tests.bed.api import MERGE_PATCH, Manifest
from tests.bed.asking import Ask, asking
from tests.bed.load import Load
from tests.bed.netns import POD_PORT
from tests.bed.processes import page
from tests.routers.plane import Gateway, Plane
from tests.shop import PLANS, Shop

SURE = 50
"""So many answers in a row by one version say that the other one gets none: a share of 10 % is missed in 0.5 %."""
SOME = 300
"""So many answers say that a side with a weight of 1 % gets none in 95 of 100 cases; most weights are larger."""

HEARS_WITHIN = 2.5
"""Seconds after which a gateway has heard of a change, also where it says nothing: Skipper asks every second."""


@dataclass
class Routed(Shop):
    """A shop on a plane's gateway, which runs already."""

    plane: Plane = field(kw_only=True)
    gateway: Gateway = field(kw_only=True)

    def __post_init__(self) -> None:
        self.ports = tuple({"http", self.plane.port})
        self.plane.meet(self.gateway, self.namespace)

    def routes(self) -> list[Manifest]:
        return self.plane.objects(self.namespace, self.host, self.weights)

    def plan(self, name: str = "checkout", **spec: Any) -> dict[str, Any]:
        sides = {side: spec[side]["deployment"] for side in ("old", "new") if side in spec}
        return super().plan(name, **{"traffic": {"routes": self.plane.refs(**sides), "drain": "0s"}, **spec})

    def as_opened(self) -> None:
        """Take back whatever was done to it."""
        self.bed.end_loads(self.host)
        plans = PLANS.format(self.namespace, "")
        self.bed.api("DELETE", plans)
        until(lambda: not self.bed.get(plans)["items"], 60, "the end of its plans")
        self.bed.delete(*self.routes())
        self.weights = {"checkout-v1": 100, "checkout-v2": 0}
        self.open()

    def weigh(self, old: int, new: int) -> None:
        """Write these weights into the route, as Git would."""
        self.weights = {"checkout-v1": old, "checkout-v2": new}
        self.bed.apply(*self.routes())

    def refusal(self) -> str:
        """Why the gateway refuses the route as it is, as the operator reads it; empty where it does not."""
        view = ROUTE_KINDS[self.plane.kind].view(self.bed.get(self.bed.api.path(self.routes()[0])))
        return view.accepted_why if view.accepted is False else ""

    def handled(self, deployment: str) -> int:
        """How many requests its pods have answered, or have had copies of."""
        pods = self.bed.get(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app%3D{deployment}")["items"]
        pages = (page(f"http://{pod['status']['podIP']}:{POD_PORT}/metrics") for pod in pods)
        lines = (line for text in pages for line in text.splitlines() if line.startswith("http_requests_total{"))
        return sum(int(line.split()[-1]) for line in lines)

    def resize(self, deployment: str, pods: int) -> None:
        """Give a Deployment so many pods, and wait until its Service has them."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{deployment}/scale"
        self.bed.api("PATCH", path, {"spec": {"replicas": pods}}, MERGE_PATCH)
        until(lambda: self.endpoints(deployment) == pods, 60, f"{pods} endpoints of {deployment}")

    def load(self, rate: float = 100.0, seconds: float = 600.0) -> Load:
        return self.bed.load(self.host, rate, seconds, url=self._url, fresh=self.plane.fresh)

    def answers(self, requests: int, **headers: str) -> "Counter[str]":
        """Who answers so many requests, one after another: a version, or the status code of an answer of no pod.

        They have these headers, with `_` for `-` in their names.
        """
        return asyncio.run(self._ask(requests, headers))

    async def _ask(self, requests: int, headers: Mapping[str, str]) -> "Counter[str]":
        async with self._asking(headers) as ask:
            found = [await ask() for _ in range(requests)]
        return Counter(str(outcome) if version == "-" else version for version, outcome in found)

    def _asking(self, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Ask]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        ca = self.bed.workdir / "ca.pem"
        return asking(self._url, self.host, 5.0, ca, fresh=self.plane.fresh, headers=sent)

    @property
    def _url(self) -> str:
        return self.plane.at or self.gateway.url

    def follows(self, version: str, timeout: float = 30.0, **headers: str) -> float:
        """Wait until only this version answers; returns the seconds until the last other answer."""
        return asyncio.run(self._follow(version, timeout, headers))

    async def _follow(self, version: str, timeout: float, headers: Mapping[str, str]) -> float:
        watch, began = Stopwatch(), time.monotonic()
        last, alone = began, 0
        async with self._asking(headers) as ask:
            while alone < SURE:
                answered, outcome = await ask()
                alone = alone + 1 if answered == version else 0
                if not alone:
                    last = time.monotonic()
                    if watch.seconds() > timeout:
                        raise TimeoutError(f"{self.plane.kind} still leads to {answered} ({outcome}), not to {version}")
        return last - began

    def serves_by(self, version: str, *, broken: bool) -> None:
        """Only this version answers; or, where it is `broken`, soon none does."""
        if broken:
            until(lambda: version not in self.answers(20), 30, f"the break of {self.plane.kind}", every=0)
        else:
            time.sleep(HEARS_WITHIN)
        enough = SURE if self.plane.exact else SOME
        assert self.answers(enough).keys() & {"v1", "v2"} == (set() if broken else {version})

    def mixes(self, timeout: float = 30.0) -> None:
        """Wait until both versions answer."""
        until(lambda: self.answers(50).keys() >= {"v1", "v2"}, timeout, f"both versions of {self.plane.kind}", every=0)
