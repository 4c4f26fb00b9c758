"""What the demo shows: a few times a second one picture of plans, traffic, verdicts and Events."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolloutplan.api.status import Status, read_status
from rolloutplan.cli.views.evidence import Series, with_evidence
from rolloutplan.cluster import plans
from rolloutplan.engine.model.plan_view import PlanView
from tests.bed.load import Key, Load
from tests.shop import EVENTS, Shop

PLANS = "/apis/rolloutplan.dev/v1alpha1/namespaces/{}/rolloutplans"
MEASURED_OVER = 2.0
"""Seconds of answers that a measured weight is made of."""


@dataclass(frozen=True)
class Plan:
    raw: dict[str, Any]
    view: PlanView
    status: Status


@dataclass(frozen=True)
class Version:
    """One version of the checkout: the share that the route asks for, and what the load generator got from it."""

    name: str
    asked: float
    measured: float
    per_second: float
    good: int
    failed: int


@dataclass(frozen=True)
class Event:
    at: str
    plan: str
    warning: bool
    reason: str
    note: str
    revert: str
    """The command that would have put the weights back by hand."""


@dataclass(frozen=True)
class Moment:
    """Everything as it is now. `plans` and `events` are in the order in which they came."""

    seconds: float
    plans: tuple[Plan, ...]
    versions: tuple[Version, ...]
    lost: int
    series: Series
    """The values of the predicates of the current plan, as they were seen."""
    events: tuple[Event, ...]

    def status(self, plan: str) -> Status:
        return next((found.status for found in self.plans if found.view.name == plan), Status())

    @property
    def current(self) -> Plan | None:
        return self.plans[-1] if self.plans else None

    @property
    def per_second(self) -> float:
        return sum(version.per_second for version in self.versions)


class Watch:
    """Looks at the shop. `began` is when its clock started, in seconds since 1970."""

    def __init__(self, shop: Shop, load: Load, began: float) -> None:
        self.began = began
        self._shop = shop
        self._load = load
        self._answers: deque[tuple[float, dict[Key, int]]] = deque()
        self._series: Series = {}
        self._series_of = ""

    def snapshot(self) -> Moment:
        raw = sorted(self._get(PLANS), key=lambda item: str(item["metadata"]["name"]))
        found = tuple(Plan(item, plans.view(item), read_status(item.get("status"))) for item in raw)
        counts = self._load.counts()
        return Moment(
            seconds=time.time() - self.began,
            plans=found,
            versions=self._versions(counts),
            lost=sum(n for (version, _), n in counts.items() if version == "-"),
            series=self._values(found[-1]) if found else {},
            events=tuple(_event(item) for item in sorted(self._get(EVENTS), key=_order) if _ours(item)),
        )

    def _get(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._shop.bed.get(path.format(self._shop.namespace))["items"]
        return items

    def _versions(self, counts: dict[Key, int]) -> tuple[Version, ...]:
        now = time.monotonic()
        self._answers.append((now, counts))
        while now - self._answers[0][0] > MEASURED_OVER:
            self._answers.popleft()
        then, before = self._answers[0]
        rates = {key: (n - before.get(key, 0)) / max(now - then, 0.01) for key, n in counts.items()}
        weights = self._shop.traffic()
        asked, measured = sum(weights.values()), sum(rates.values())
        return tuple(
            Version(
                name=name,
                asked=weight / max(asked, 1),
                measured=_of(name, rates) / max(measured, 0.01),
                per_second=_of(name, rates),
                good=counts.get((name, 200), 0),
                failed=int(_of(name, counts)) - counts.get((name, 200), 0),
            )
            for name, weight in ((service.rpartition("-")[2], weight) for service, weight in weights.items())
        )

    def _values(self, plan: Plan) -> Series:
        """The values of this plan so far; those of another one are forgotten."""
        before = self._series if self._series_of == plan.view.uid else {}
        self._series, self._series_of = with_evidence(before, plan.status), plan.view.uid
        return self._series


def _of(version: str, numbers: Mapping[Key, float]) -> float:
    return sum(n for (name, _), n in numbers.items() if name == version)


def _ours(event: dict[str, Any]) -> bool:
    return bool(event.get("regarding", {}).get("kind") == "RolloutPlan")


def _order(event: dict[str, Any]) -> tuple[str, int]:
    """By time, and within a millisecond by the number of the decision."""
    number = event["metadata"]["name"].rpartition(".")[2]
    return event.get("eventTime") or "", int(number) if number.isdigit() else 0


def _event(raw: dict[str, Any]) -> Event:
    return Event(
        at=raw["eventTime"],
        plan=raw["regarding"]["name"],
        warning=raw["type"] == "Warning",
        reason=raw["reason"],
        note=raw.get("note", ""),
        revert=(raw["metadata"].get("annotations") or {}).get("rolloutplan.dev/revert", ""),
    )
