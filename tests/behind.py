"""A cluster in memory without a router: both Deployments are behind one Service, and their sizes are the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Final

from rolloutplan.api.spec_fields import Names
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect, Failure
from rolloutplan.engine.model.snapshot import EndpointsView, Facts, PreflightResult, RouteView, ServiceView, Snapshot
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.replicas import Replicas, with_pods
from tests.refusals import GONE, changed
from tests.world import PLAN, Deployment, RefusedError, Resize, Rules, World, workload

REPLICAS: Final = Replicas()
SHOP: Final = frozenset({("part-of", "shop")})
"""The label that the pods of both sides have, which the Service selects."""
TEN_PODS: Final[dict[str, Any]] = {
    "traffic": {"routes": [{"kind": "Replicas", "name": "shop"}], "drain": "0s"},
    "stages": [{"weights": ["10%", "50%", "100%"], "soak": "2m", "deadline": "10m"}],
    "availability.readyWithin": "2m",
    "bake": "1m",
    "hypothesis": GONE,
}


@dataclass
class Behind(World):
    """Ten pods of v1 and none of v2 behind the Service shop."""

    route_kind: RouteKind = REPLICAS
    scaled_by: str = ""
    """What scales v2 in addition to the plan."""

    def __post_init__(self) -> None:
        if self.spec == PLAN:
            self.spec = changed(copy.deepcopy(PLAN), TEN_PODS)
        meta = {"namespace": "ns", "name": "shop", "resourceVersion": "1"}
        self.routes = {"shop": {"metadata": meta, "spec": {"selector": dict(SHOP)}}}
        self.old, self.new = Deployment("v1", 10, 10), Deployment("v2", 0, 0)
        self.services, self.selects = frozenset({"shop"}), {"shop": ServiceView(SHOP)}

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes of both sides."""
        assert self.old is not None and self.new is not None
        return self.old.wanted, self.new.wanted

    def weights(self, route: str = "shop") -> Rules:
        return ({side.name: side.wanted for side in (self.old, self.new) if side},)

    def facts(self) -> Facts:
        """The pods of both sides have the label that the Service selects."""
        facts = super().facts()
        sides = {name: getattr(facts, name) for name in ("old", "new")}
        return replace(
            facts, **{name: side and replace(side, labels=side.labels | SHOP) for name, side in sides.items()}
        )

    def endpoints(self) -> dict[str, EndpointsView]:
        owners = tuple((side.name, side.ready) for side in (self.old, self.new) if side and side.ready)
        return {"shop": EndpointsView(owners), **{k: v for k, v in self.served.items() if v is not None}}

    def route_view(self, name: str) -> RouteView:
        view = REPLICAS.view(self.routes[name])
        sides = workload(self.old), workload(self.new)
        return with_pods(view, Names("v1", "v2"), sides, self.endpoints().get(name))

    def write_weights(self, effect: Effect) -> None:
        """The annotations of the Service first, then one size after the other."""
        super().write_weights(effect)
        work = effect.work
        assert isinstance(work, PatchRoute)
        view = effect.snapshot.routes[work.target.id]
        for size in REPLICAS.scalings(view, work.target):
            self._at("resize", size.deployment)
            self.resize(size.deployment, size.replicas, effect.snapshot)

    def resize(self, name: str, size: int, snapshot: Snapshot) -> None:
        """Write a size. Pods that are added start at once, or when `start` says so; others end at once."""
        side = "old" if self.old is not None and self.old.name == name else "new"
        before: Deployment | None = getattr(self, side)
        if before is None:
            raise RefusedError(Failure(404, "NotFound", f"no Deployment {name}"))
        ready = size if self.pods_start else min(before.ready, size)
        self.resized = [*self.resized, Resize(self.now, name, snapshot, {}, before.wanted, size)]
        setattr(self, side, replace(before, wanted=size, ready=ready))

    def start(self, pods: int = 1_000_000) -> None:
        """So many pods of each side become ready that should be."""
        for side in ("old", "new"):
            found: Deployment | None = getattr(self, side)
            if found is not None:
                setattr(self, side, replace(found, ready=min(found.wanted, found.ready + pods)))

    def ready(self) -> int:
        """How many pods answer."""
        return sum(side.ready for side in (self.old, self.new) if side)

    def _inspected(self, snapshot: Snapshot) -> PreflightResult:
        found = super()._inspected(snapshot)
        return replace(found, autoscalers={"v2": self.scaled_by} if self.scaled_by else {})
