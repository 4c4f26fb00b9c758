"""Several routes of different kinds in one plan move together, and go back together."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.effects import Effect
from rolloutplan.engine.model.snapshot import REVERT, SEQ, RouteView
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.traffic import ROUTE_KINDS, read_undo, undo_command
from tests.refusals import changed
from tests.situations import SELDOM
from tests.world import PLAN, Move, Rules, World

Raw = dict[str, Any]
P = Phase
ALB = "alb.ingress.kubernetes.io/actions.shop"
TEXT = (
    '{ "Type": "forward", "ForwardConfig": {"TargetGroups": [{"ServiceName":"v1"}, {"ServiceName":"v2","Weight":0}]}}'
)


def meta(name: str, **annotations: str) -> Raw:
    more = {"annotations": annotations} if annotations else {}
    return {"namespace": "ns", "name": name, "generation": 1, "resourceVersion": "1", **more}


OBJECTS: dict[str, Raw] = {
    "HTTPRoute": {
        "metadata": meta("httproute"),
        "spec": {"rules": [{"backendRefs": [{"name": "v1", "weight": 1}, {"name": "v2", "weight": 0}]}]},
    },
    "HTTPProxy": {
        "metadata": meta("httpproxy"),
        "spec": {"routes": [{"services": [{"name": "v1", "port": 80, "weight": 7}, {"name": "v2", "port": 80}]}]},
    },
    "VirtualService": {
        "metadata": meta("virtualservice"),
        "spec": {
            "http": [{"route": [{"destination": {"host": "v1.ns"}, "weight": 100}, {"destination": {"host": "v2"}}]}],
            "tcp": [{"route": [{"destination": {"host": "v1"}, "weight": 3}, {"destination": {"host": "v2"}}]}],
        },
    },
    "AlbIngress": {"metadata": meta("albingress", **{ALB: TEXT}), "spec": {}},
    "SkipperIngress": {
        "metadata": meta("skipperingress", **{"zalando.org/backend-weights": '{"v1": 100, "v2": 0.0}'}),
        "spec": {},
    },
    "OpenShiftRoute": {
        "metadata": meta("openshiftroute"),
        "spec": {"to": {"name": "v1"}, "alternateBackends": [{"name": "v2", "weight": 0}]},
        "status": {"ingress": [{"conditions": [{"type": "Admitted", "status": "True"}]}]},
    },
}
KINDS = {raw["metadata"]["name"]: ROUTE_KINDS[kind] for kind, raw in OBJECTS.items()}


@dataclass
class Mixed(World):
    """A cluster in which each route is of another kind."""

    spec: Raw = field(
        default_factory=lambda: changed(
            PLAN,
            {
                "traffic.routes": [{"kind": kind, "name": raw["metadata"]["name"]} for kind, raw in OBJECTS.items()],
                "traffic.share": "Ignore",
                **SELDOM,
            },
        )
    )
    routes: dict[str, Raw] = field(
        default_factory=lambda: {raw["metadata"]["name"]: copy.deepcopy(raw) for raw in OBJECTS.values()}
    )

    @property
    def operator(self) -> PlanRun:
        if self.run is None:
            self.run = PlanRun(self.facts(), self.now, undo_command=undo_command)
        return self.run

    def weights(self, route: str = "shop") -> Rules:
        return tuple({b.service: b.weight for b in rule.backends} for rule in self.route_view(route).rules)

    def route_view(self, name: str) -> RouteView:
        raw, seen = self.routes[name], self._views.get(name)
        if seen is None or seen[0] is not raw:
            said = [{"type": kind, "status": "True", "observedGeneration": raw["metadata"]["generation"]}
                    for kind in ("Accepted", "Valid")]  # fmt: skip
            status = {"parents": [{"conditions": said}], "conditions": said, **raw.get("status", {})}
            seen = self._views[name] = raw, True, "", KINDS[name].view({**raw, "status": status})
        return seen[3]

    def write_weights(self, effect: Effect) -> None:
        work = effect.work
        assert isinstance(work, PatchRoute)
        name, view = work.target.name, effect.snapshot.routes[work.target.id]
        patch = KINDS[name].patch(view, work.target, token=work.fencing_token, undo=work.undo_command)
        before, raw = self.weights(name), jsonpatch.apply_patch(self.routes[name], patch)
        raw["metadata"]["generation"] += 1
        self.routes[name] = raw
        if self.weights(name) != before:
            self.history.append(Move(self.now, name, before, self.weights(name), effect.snapshot, self.old))

    def bare(self) -> dict[str, Raw]:
        """The routes without what we write in addition to weights."""
        found = copy.deepcopy(self.routes)
        for raw in found.values():
            kept = {k: v for k, v in raw["metadata"].pop("annotations", {}).items() if k not in (SEQ, REVERT)}
            raw["metadata"] = {"name": raw["metadata"]["name"], **({"annotations": kept} if kept else {})}
        return found

    def shares(self) -> dict[str, set[int]]:
        """The share of the new side in each rule of each route, in permille."""
        return {
            name: {1000 * rule["v2"] // (rule["v1"] + rule["v2"]) for rule in self.weights(name)}
            for name in self.routes
        }


def test_they_move_together() -> None:
    world = Mixed()
    world.until(P.JUDGING, stage="canary")
    assert world.shares() == {name: {50} for name in KINDS}
    assert world.status.revert.count("kubectl") == len(KINDS)
    world.until(P.SUCCEEDED)
    assert world.shares() == {name: {1000} for name in KINDS}


def test_they_go_back_together_to_the_byte() -> None:
    world = Mixed()
    before = world.bare()
    world.until(P.JUDGING, stage="half")
    assert world.shares() == {name: {500} for name in KINDS}
    text = world.status.revert
    world.says["errors"] = 5.0
    world.until(P.ROLLED_BACK)
    assert world.bare() == before
    assert {move.route for move in world.moves[-len(KINDS) :]} == KINDS.keys()
    restored = {route.kind: route.rules for route in read_undo("ns", [text])}
    assert {kind: [rule.backends for rule in rules] for kind, rules in restored.items()} == {
        kind: [rule.backends for rule in world.route_view(raw["metadata"]["name"]).rules]
        for kind, raw in OBJECTS.items()
    }
