"""A shop whose route is of the kind of a plane."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.bed import until
from tests.bed.api import Manifest
from tests.bed.asking import asking
from tests.bed.load import Load
from tests.routers.plane import Gateway, Plane
from tests.shop import Shop


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
        return super().plan(name, **{"traffic": {"routes": self.plane.refs(), "drain": "0s"}, **spec})

    def weigh(self, old: int, new: int) -> None:
        """Write these weights into the route, as Git would."""
        self.weights = {"checkout-v1": old, "checkout-v2": new}
        self.bed.apply(*self.routes())

    def load(self, rate: float = 100.0, seconds: float = 600.0) -> Load:
        return self.bed.load(self.host, rate, seconds, url=self._url, fresh=self.plane.fresh)

    def answers(self, requests: int) -> "Counter[str]":
        """Who answers so many requests, one after another: a version, or the status code of an answer of no pod."""
        return asyncio.run(self._ask(requests))

    async def _ask(self, requests: int) -> "Counter[str]":
        ca = self.bed.workdir / "ca.pem"
        async with asking(self._url, self.host, 5.0, ca, fresh=self.plane.fresh) as ask:
            found = [await ask() for _ in range(requests)]
        return Counter(str(outcome) if version == "-" else version for version, outcome in found)

    @property
    def _url(self) -> str:
        return self.plane.at or self.gateway.url

    def follows(self, version: str, timeout: float = 30.0) -> float:
        """Wait until only this version answers; returns the seconds until the last other answer."""
        began = last = time.monotonic()

        def settled() -> bool:
            nonlocal last
            if self.answers(50).keys() == {version}:
                return True
            last = time.monotonic()
            return False

        until(settled, timeout, f"traffic of {self.plane.kind} to {version}", every=0)
        return last - began

    def mixes(self, timeout: float = 30.0) -> None:
        """Wait until both versions answer."""
        until(lambda: self.answers(50).keys() >= {"v1", "v2"}, timeout, f"both versions of {self.plane.kind}", every=0)
