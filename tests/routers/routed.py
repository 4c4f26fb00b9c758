"""A shop whose route is of the kind of a plane."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.bed import until
from tests.bed.api import Manifest
from tests.bed.load import Load
from tests.routers.plane import Gateway, Plane
from tests.shop import Shop


@dataclass
class Routed(Shop):
    """A shop on a plane's gateway, which runs already."""

    plane: Plane = field(kw_only=True)
    gateway: Gateway = field(kw_only=True)

    def routes(self) -> list[Manifest]:
        return self.plane.objects(self.namespace, self.host, self.weights)

    def plan(self, name: str = "checkout", **spec: Any) -> dict[str, Any]:
        return super().plan(name, **{"traffic": {"routes": self.plane.refs(), "drain": "0s"}, **spec})

    def weigh(self, old: int, new: int) -> None:
        """Write these weights into the route, as Git would."""
        self.weights = {"checkout-v1": old, "checkout-v2": new}
        self.bed.apply(*self.routes())

    def load(self, rate: float = 100.0, seconds: float = 600.0) -> Load:
        return self.bed.load(self.host, rate, seconds, url=self.gateway.url, fresh=self.plane.fresh)

    def answers(self, requests: int) -> "Counter[str]":
        """Who answers so many requests, one after another: a version, or the status code of an answer of no pod."""
        with self._session() as session:
            return Counter(self._answer(session) for _ in range(requests))

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

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers["Host"] = self.host
        if self.plane.fresh:
            session.headers["Connection"] = "close"
        return session

    def _answer(self, session: requests.Session) -> str:
        try:
            answer = session.get(self.gateway.url, timeout=5)
        except requests.RequestException as error:
            return type(error).__name__
        return answer.headers.get("X-Version") or str(answer.status_code)
