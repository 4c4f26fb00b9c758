"""Objects of every built-in kind of route, as users write them: `samples.yaml`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind

Raw = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """An object, what its items call the two sides, and the objects of its kind that belong to it."""

    name: str
    raw: Raw
    old: str
    new: str
    beside: tuple[Raw, ...]
    accepted: bool | None

    @property
    def kind(self) -> RouteKind:
        return ROUTE_KINDS[self.name]

    @property
    def object(self) -> Raw:
        """A copy of the object, as the API server returns it."""
        raw = copy.deepcopy(self.raw)
        raw["metadata"]["resourceVersion"] = "7"
        return raw

    def view(self, raw: Raw) -> RouteView:
        return self.kind.view(raw, self.beside)


def _samples() -> dict[str, Sample]:
    read = yaml.safe_load((Path(__file__).parent / "samples.yaml").read_text())
    return {
        name: Sample(
            name, each["object"], each.get("old", "web"), each.get("new", "web-v2"),
            tuple(each.get("beside", ())), each.get("accepted"),
        )
        for name, each in read.items()
    }  # fmt: skip


SAMPLES = _samples()
