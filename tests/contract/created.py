"""Routes of all kinds as their users create them on a real API server; who tests one asks for the fixture `route`."""

import copy
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.status import Backend, RouteWeights
from rolloutplan.cluster.spelling import spelled
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import holds_both
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.own import read_route_kind
from tests.bed import Bed
from tests.bed.api import JSON_PATCH, MERGE_PATCH, ApiError, Manifest
from tests.routers import definitions
from tests.routers.samples import SAMPLES, Sample
from tests.shop import ROOT

OWN, ROLE, OWN_ROUTE, _ = yaml.safe_load_all((ROOT / "examples/routers/own-kind.yaml").read_text())
"""The example of a kind that a cluster describes itself: the RouteKind, the rights that it needs, and a route."""
KINDS = {**BUILT_IN, OWN["metadata"]["name"]: read_route_kind(OWN["spec"])}


@dataclass(frozen=True)
class OwnSample(Sample):
    """An object of that kind."""

    @property
    def kind(self) -> RouteKind:
        return DescribedKind(self.name, KINDS[self.name])


OBJECTS = {**SAMPLES, "edge-route": OwnSample("edge-route", OWN_ROUTE, "checkout-v1", "checkout-v2", (), None)}
HOME = "shop"
"""Where the objects of all samples are: some name it themselves, so they are made one after the other."""
TOKEN = "main/1.1.1"


class Route:
    """The route of a sample on the API server, with its companions."""

    def __init__(self, bed: Bed, sample: Sample) -> None:
        spec = KINDS[sample.name]
        self.bed, self.sample = bed, sample
        self.version = f"{spec.group}/{definitions.served_version(bed.api, spec)}"
        self.manifest = self._manifest(sample.raw)
        self.companions = [self._manifest(each) for each in sample.beside]
        self._folder = f"/apis/{self.version}/namespaces/{HOME}/{spec.resource}"
        self.path = f"{self._folder}/{self.manifest['metadata']['name']}"

    def _manifest(self, raw: Mapping[str, Any]) -> Manifest:
        """A sample as a user writes it: in the version that is served here, and without what controllers add."""
        meta = {key: value for key, value in raw["metadata"].items() if key != "generation"}
        kind = self.sample.raw["kind"]
        return copy.deepcopy({"apiVersion": self.version, "kind": kind, "metadata": meta, "spec": raw["spec"]})

    def create(self) -> None:
        for manifest in (*self.companions, self.manifest):
            self.bed.apply(manifest, manager="git")

    def delete(self) -> None:
        for manifest in (self.manifest, *self.companions):
            try:
                self.bed.api("DELETE", f"{self._folder}/{manifest['metadata']['name']}")
            except ApiError as error:
                if error.status != 404:
                    raise

    def read(self) -> Manifest:
        found: Manifest = self.bed.get(self.path)
        return found

    def view(self, raw: Manifest | None = None) -> RouteView:
        return self.sample.view(raw or self.read())

    def target(self, view: RouteView, percent: int) -> RouteWeights:
        """The rules with both sides, and this share of what the two have on the new one."""
        rules = view.weights
        total = (rules.sum or min(1000, rules.max)) * rules.units
        weights = {self.sample.old: total - total * percent // 100, self.sample.new: total * percent // 100}

        def moved(backend: Backend) -> Backend:
            return backend.model_copy(update={"weight": weights.get(backend.service, backend.weight)})

        both = self._both(view).rules
        return self._weights(view, [rule.with_backends(tuple(map(moved, rule.backends))) for rule in both])

    def before(self, view: RouteView) -> RouteWeights:
        """The rules with both sides as they are."""
        return self._both(view)

    def _both(self, view: RouteView) -> RouteWeights:
        return self._weights(view, [r for r in view.rules if holds_both(r, self.sample.old, self.sample.new)])

    def _weights(self, view: RouteView, rules: Any) -> RouteWeights:
        return RouteWeights(kind=view.id.kind, name=view.id.name, rules=tuple(rules))

    def shift(self, percent: int) -> Manifest:
        """Move the traffic as the operator does; the object as it is then."""
        view = self.view()
        undo = self.sample.kind.undo_command(HOME, self.before(view))
        return self.write(self.sample.kind.patch(view, self.target(view, percent), token=TOKEN, undo=undo))

    def write(self, patch: list[dict[str, Any]]) -> Manifest:
        body, path = spelled(patch).encode(), f"{self.path}?fieldManager=rolloutplan"
        stored: Manifest = self.bed.client("chart")("PATCH", path, body, JSON_PATCH)
        return stored

    def edit(self, metadata: dict[str, Any]) -> None:
        """Somebody else changes the metadata."""
        self.bed.api("PATCH", f"{self.path}?fieldManager=editor", {"metadata": metadata}, MERGE_PATCH)

    def shares(self, raw: Manifest) -> list[list[tuple[str, int]]]:
        return [[(each.service, each.weight) for each in rule.backends] for rule in self._both(self.view(raw)).rules]

    def of_new(self, raw: Manifest) -> list[int]:
        """The new side's weight in each rule."""
        return [dict(rule)[self.sample.new] for rule in self.shares(raw)]


def kubectl(bed: Bed, line: str) -> str:
    """What a line says in a shell whose kubectl is the bed's."""
    path = f"{bed.programs.kubectl.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "KUBECONFIG": str(bed.kubeconfig()), "HOME": str(bed.workdir)}
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
