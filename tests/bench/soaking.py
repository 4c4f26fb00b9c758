"""The plans of the soak: of several kinds, in a namespace for each, started again and again, and how each may end."""

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Literal

from tests.bed import Bed, objects
from tests.bed.api import MERGE_PATCH, ApiError, Manifest
from tests.bed.load import Load
from tests.bench.observer import PLANS
from tests.shop import PLANS as PLAN
from tests.shop import Shop

Kind = Literal["healthy", "flips", "counted", "errors", "lone"]
DEALT: tuple[Kind, ...] = ("healthy", "flips", "counted", "errors", "lone")
"""What plans are, in turn.

- healthy: sound, over pods that are scaled and evicted while others of their side answer.
- flips: with a query that turns at some instant.
- counted: judged by counts alone, over sides that fail alike by now, and did not before.
- errors: over pods that begin to fail.
- lone: over sides of one pod, which is evicted, and whose Service loses it.
"""
ENDS: dict[Kind, tuple[str, ...]] = {
    "healthy": ("Succeeded",),
    "flips": ("RolledBack",),
    "counted": ("Succeeded",),
    "errors": ("RolledBack",),
    "lone": ("Succeeded", "RolledBack"),
}
LONE_REASONS = ("NewSideDown", "NewSideShort", "NewSideNotReady")
"""For what a plan of the kind `lone` may go back: its new side's only pod was not there."""
OVER = ("Succeeded", "RolledBack")
SIDES = ("checkout-v1", "checkout-v2")
REPLICAS: dict[Kind, int] = {"healthy": 2, "flips": 1, "counted": 2, "errors": 1, "lone": 1}
MILD = {"ready-after": "1s", "stop": "4s"}
"""Pods that need a moment to be ready, and answer until every gateway has heard that they leave."""

FADES_WITHIN = 6.0
"""Seconds until errors are out of the guards' window."""
ALIKE = 0.1
"""The share of answers that are errors on both sides of `counted`, once they have been without for a while."""
RESUMES_AFTER = 3.0
"""Seconds until a person who saw that Git moved the weights says `resume`."""

STAGES = [{"weights": ["20%", "50%", "100%"], "soak": "8s"}]
"""No run is over before a fault that comes within 20 s of its start."""
_ALL = 'http_requests_total{namespace="$namespace",deployment="$deployment"}'
_BAD = 'http_requests_total{namespace="$namespace",deployment="$deployment",code="500"}'
ERRORS = {
    "name": "errors",
    "query": f"sum(rate({_BAD}[$window]))",
    "is": "> 0.5",
    "window": "4s",
}
WORSE = {
    "name": "worse",
    "events": {"bad": _BAD, "total": _ALL},
    "vsOld": "> 1.5x",
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
    sides: tuple[str, str] = SIDES
    manifest: Manifest = field(default_factory=dict)
    """As it was applied last."""
    lock: RLock = field(default_factory=RLock)
    """Held by who applies it: Git must not bring back an older plan."""
    resumes: int = 0
    conflict_since: float = 0.0

    @property
    def key(self) -> str:
        return f"{self.shop.namespace}/{self.name}"

    @property
    def old_weights(self) -> dict[str, int]:
        """The weights with which its run began."""
        return {service: 100 if service == self.sides[0] else 0 for service in SIDES}

    def route(self, weights: Mapping[str, int]) -> Manifest:
        return objects.httproute(self.name, weights, self.shop.namespace, f"{self.name}.{self.shop.host}")

    def is_over(self, status: Mapping[str, Any]) -> bool:
        """Whether the run that was asked for last has ended. One that had to start twice has two numbers."""
        ours = f"stages: run {self.began}"
        started = [
            d["run"] for d in status.get("decisions", ()) if d["reason"] == "Started" and d["note"].endswith(ours)
        ]
        return bool(started) and status["run"] == started[-1] and status["phase"] in OVER

    def begin(self, rng: random.Random) -> None:
        """Ask for another run."""
        with self.lock:
            self.began, self.ended = self.began + 1, False
            self.shop.bed.apply(self.route(self.old_weights))
            self.manifest = self.shop.plan(
                self.name,
                hypothesis=f"run {self.began}",
                old={"deployment": self.sides[0]},
                new={"deployment": self.sides[1]},
                traffic={
                    "routes": [{"kind": "HTTPRoute", "name": self.name}], "drain": "0s",
                    **({"share": "Ignore"} if self.kind == "counted" else {}),
                },
                interval="2s",
                guards=[self._guard(rng)],
                stages=STAGES,
            )  # fmt: skip
            self.shop.bed.apply(self.manifest)

    def _guard(self, rng: random.Random) -> dict[str, Any]:
        if self.kind == "flips":
            turns = f"vector(time() - {int(time.time() + rng.uniform(5, 20))})"
            return {"name": "turns", "query": turns, "is": "> 0", "window": "1s"}
        return WORSE if self.kind == "counted" else ERRORS

    def end(self, status: Mapping[str, Any]) -> str:
        """Take note of the end of a run; returns what is wrong with it. What succeeded is done next the other way."""
        self.ended = True
        if status["phase"] == "Succeeded":
            self.sides = self.sides[1], self.sides[0]
        back = status["phase"] == "RolledBack"
        odd = self.kind == "lone" and back and status.get("reason") not in LONE_REASONS
        if status["phase"] in ENDS[self.kind] and not odd:
            return ""
        return f"{self.key} is {self.kind}, and run {self.began} ended as {words(status)}"

    def resume(self, status: Mapping[str, Any]) -> bool:
        """Be the person who sees that Git moved the weights, and says `resume`; returns whether it was said now."""
        if (status.get("phase"), status.get("reason")) != ("Held", "Conflict"):
            self.conflict_since = 0.0
            return False
        now = time.monotonic()
        self.conflict_since = self.conflict_since or now
        if now - self.conflict_since < RESUMES_AFTER:
            return False
        self.resumes, self.conflict_since = self.resumes + 1, now
        change = {"metadata": {"annotations": {"rolloutplan.dev/command": f"resume git-{self.resumes}"}}}
        with suppress(ApiError):
            self.shop.bed.api("PATCH", PLAN.format(self.shop.namespace, self.name), change, MERGE_PATCH)
        return True


def words(status: Mapping[str, Any]) -> str:
    """Where a plan stands."""
    return ", ".join(str(status.get(key, "")) for key in ("phase", "reason", "message"))


class Plans:
    """All plans, in a namespace for each kind, and the faults that their new sides come to have."""

    def __init__(self, bed: Bed, count: int, rng: random.Random) -> None:
        self._bed, self._rng = bed, rng
        mild = dict.fromkeys(SIDES, MILD)
        self.shops: dict[Kind, Shop] = {
            kind: Shop(bed, f"soak-{kind}", replicas=REPLICAS[kind], annotations=mild) for kind in DEALT
        }
        self.all = [Plan(self.shops[DEALT[i % len(DEALT)]], f"p{i}", DEALT[i % len(DEALT)]) for i in range(count)]
        self.wrong: list[str] = []
        self.loads: list[Load] = []
        self.resumed = 0
        self._broken = False
        self._breaks_at = self._heals_at = self._alike_at = 0.0

    def open(self, seconds: float) -> None:
        """Shops, routes, and a little load: on a route of each namespace, and straight to pods that are looked at.

        None on `lone`, where there is now and then nobody to answer.
        """
        for shop in self.shops.values():
            shop.open(ready=False)
        for plan in self.all:
            self._bed.apply(plan.route(plan.old_weights))
        for shop in self.shops.values():
            for deployment in shop.weights:
                self._bed.wait_ready(shop.namespace, deployment)
        hosts = [f"{plan.name}.{plan.shop.host}" for plan in self.all[: len(DEALT)] if plan.kind != "lone"]
        hosts += [self._straight("errors", "checkout-v2"), *(self._straight("counted", side) for side in SIDES)]
        self._breaks_at = time.monotonic() + self._rng.uniform(8, 18)
        self._alike_at = time.monotonic() + 15
        for host in hosts:
            self.loads.append(self._bed.load(host, rate=10, seconds=seconds, timeout=10))

    def _straight(self, kind: Kind, side: str) -> str:
        """A route to one side alone, which no plan moves; returns its host."""
        shop, name = self.shops[kind], f"straight-{side}"
        host = f"{name}.{shop.host}"
        self._bed.apply(objects.httproute(name, {side: 1}, shop.namespace, host))
        return host

    def turn(self, again: bool) -> None:
        """See what has ended, and begin it anew if there is to be another run."""
        stored = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in self._bed.get(PLANS)["items"]}
        for plan in self.all:
            status = stored.get(plan.key, {}).get("status", {})
            if not plan.ended and plan.is_over(status):
                if wrong := plan.end(status):
                    self.wrong.append(wrong)
            elif not plan.ended:
                self.resumed += plan.resume(status)
        self._break_and_heal()
        for plan in self.all:
            if again and plan.ended and not (plan.kind == "errors" and self._waits_for_health()):
                plan.begin(self._rng)

    def _waits_for_health(self) -> bool:
        return self._broken or time.monotonic() < self._heals_at

    def _break_and_heal(self) -> None:
        """The pods of one namespace fail some time after its plans began, until all of these have gone back.

        Those of another one begin to fail a little, on both sides, and go on to.
        """
        concerned = [plan for plan in self.all if plan.kind == "errors"]
        now, running = time.monotonic(), not all(plan.ended for plan in concerned)
        if running and not self._broken and now > self._breaks_at:
            self._fail(1.0)
        elif self._broken and not running:
            self._fail(0.0)
            self._heals_at = now + FADES_WITHIN
            self._breaks_at = self._heals_at + self._rng.uniform(5, 15)
        if self._alike_at and now > self._alike_at:
            self._alike_at = 0.0
            for side in SIDES:
                self._bed.behave(side, self.shops["counted"].namespace, errors=ALIKE)

    def _fail(self, share: float) -> None:
        self._broken = share > 0
        self._bed.behave("checkout-v2", self.shops["errors"].namespace, errors=share)

    def unfinished(self) -> list[str]:
        return [f"{plan.key}: {words(plan.shop.status(plan.name))}" for plan in self.all if not plan.ended]
