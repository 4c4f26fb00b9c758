"""A cluster with one Ingress whose weights are JSON in annotations, and people who edit these during a run."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rolloutplan.api.status import Phase
from tests.refusals import changed
from tests.situations import SELDOM
from tests.unit.test_engine_mixed_routes import ALB, OBJECTS, Mixed, Raw
from tests.world import PLAN

KEYS: Final = {"AlbIngress": ALB, "SkipperIngress": "zalando.org/backend-weights"}
"""The annotation with the weights, by the kind of route."""


def text_of(kind: str, weights: object) -> str:
    """A text in the form of a kind, with these weights by Service."""
    if kind == "SkipperIngress" or not isinstance(weights, dict):
        return json.dumps(weights)
    groups = [{"serviceName": service, "weight": weight} for service, weight in weights.items()]
    return json.dumps({"type": "forward", "forwardConfig": {"targetGroups": groups}})


@dataclass
class Annotated(Mixed):
    """A cluster with one such Ingress."""

    kind: str = "AlbIngress"

    def __post_init__(self) -> None:
        raw = copy.deepcopy(OBJECTS[self.kind])
        self.routes = {raw["metadata"]["name"]: raw}
        routes = [{"kind": self.kind, "name": raw["metadata"]["name"]}]
        self.spec = changed(PLAN, {"traffic.routes": routes, "traffic.share": "Ignore", "bake": "1m", **SELDOM})
        super().__post_init__()

    @property
    def object(self) -> Raw:
        (raw,) = self.routes.values()
        return raw

    @property
    def text(self) -> str | None:
        """The annotation with the weights; None where there is none."""
        found: str | None = (self.object["metadata"].get("annotations") or {}).get(KEYS[self.kind])
        return found

    def write_text(self, text: str | None, *, all_of_them: bool = False) -> None:
        """Somebody writes this text, or takes the annotation away, or all of them."""
        raw = copy.deepcopy(self.object)
        meta = raw["metadata"]
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
        if all_of_them:
            del meta["annotations"]
        elif text is None:
            del meta["annotations"][KEYS[self.kind]]
        else:
            meta["annotations"][KEYS[self.kind]] = text
        self.routes = {meta["name"]: raw}


@lru_cache
def _at_half(kind: str) -> Annotated:
    world = Annotated(kind=kind)
    world.until(Phase.JUDGING, stage="half")
    return world


def at_half(kind: str) -> Annotated:
    """Such a cluster with half of the traffic on the new side."""
    world = _at_half(kind).twin()
    assert isinstance(world, Annotated)
    return world
