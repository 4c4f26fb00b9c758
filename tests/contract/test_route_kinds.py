"""A real API server and kubectl agree with the descriptions: what we write is taken, and only on what was read."""

import asyncio
import copy
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode

import pytest
import yaml

from rolloutplan.api.route import RouteId
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.status import Backend, RouteWeights
from rolloutplan.cluster import client, paths
from rolloutplan.cluster.spelling import spelled
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import holds_both
from rolloutplan.loop.rights import Rights
from rolloutplan.loop.routes import RouteKinds, place_of
from rolloutplan.loop.users import find_users
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.own import read_route_kind
from tests.bed import Bed, extras, objects
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
pytestmark = [
    pytest.mark.extras(*definitions.PROJECTS),
    pytest.mark.parametrize("route", OBJECTS, indirect=True),
]
HOME = "shop"
"""Where the objects of all samples are: some name it themselves, so they are made one after the other."""
CHART = ROOT / "deploy/helm/rolloutplan"
IMAGE = ("--set", "image.repository=example.com/rolloutplan", "--set", "image.tag=test")
TOKEN = "main/1.1.1"
OURS = "rolloutplan.dev/"


@pytest.fixture(scope="module")
def served(bed: Bed) -> None:
    """All kinds are served, by their own definitions where these can be had."""
    for name in definitions.PROJECTS:
        extras.serve(bed.api, name)
    missing = [kind for kind, spec in KINDS.items() if not definitions.served_version(bed.api, spec)]
    for kind in missing:
        bed.apply(definitions.minimal(kind, KINDS[kind], OBJECTS[kind].raw))
    for kind in missing:
        definitions.await_served(bed.api, KINDS[kind])
    bed.apply(objects.namespace(HOME))


@pytest.fixture(scope="module")
def rights(bed: Bed, served: None) -> Iterator[None]:
    """The user `chart` may do what the chart lets an operator do that moves every kind."""
    values = (f"routers={{{','.join(BUILT_IN)}}}", "serviceAccount.create=false", "serviceAccount.name=rolloutplan")
    options = [word for value in values for word in ("--set", value)]
    text = bed.helm("template", "routers", str(CHART), "-n", "rolloutplan-system", *IMAGE, *options)
    made = [each for each in yaml.safe_load_all(text) if each and each["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    (binding,) = (each for each in made if each["kind"] == "ClusterRoleBinding")
    reference = {**binding["roleRef"], "name": ROLE["metadata"]["name"]}
    own = {**binding, "metadata": {"name": "routers-own"}, "roleRef": reference}  # what aggregation would do
    made += [ROLE, own]
    bed.apply(*made)
    yield
    bed.delete(*made)


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


@pytest.fixture
def route(request: pytest.FixtureRequest, bed: Bed, rights: None) -> Iterator[Route]:
    """The route as its user has created it."""
    found = Route(bed, OBJECTS[request.param])
    found.create()
    yield found
    found.delete()


def meant(raw: Manifest) -> Any:
    """What a user wrote of an object: its spec, and its annotations without ours and kubectl's."""
    notes = raw["metadata"].get("annotations", {})
    others = {key: text for key, text in notes.items() if not key.startswith((OURS, "kubectl.kubernetes.io/"))}
    return raw["spec"], others


def kubectl(bed: Bed, line: str) -> str:
    """What a line says in a shell whose kubectl is the bed's."""
    path = f"{bed.programs.kubectl.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "KUBECONFIG": str(bed.kubeconfig()), "HOME": str(bed.workdir)}
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_weights_are_written_and_nothing_else(route: Route) -> None:
    before = route.read()
    after = route.shift(5)
    view = route.view(before)
    assert route.shares(after) == [
        [(each.service, each.weight) for each in rule.backends] for rule in route.target(view, 5).rules
    ]
    assert after["metadata"]["annotations"]["rolloutplan.dev/seq"] == TOKEN
    back = route.view(after)
    restored = route.write(route.sample.kind.patch(back, route.before(view), token=TOKEN, undo=""))
    assert meant(restored) == meant(before)


def test_a_route_that_changed_takes_no_patch(route: Route) -> None:
    """Each side's item, or the text that holds them, is tested as it was read, in addition to our own token."""
    view = route.view(route.shift(5))
    patch = route.sample.kind.patch(view, route.target(view, 50), token=TOKEN, undo="")
    tested = [each for each in patch if each["op"] == "test" and "rolloutplan.dev" not in each["path"]]
    assert tested
    for operation in tested:
        other = [each if each is not operation else {**each, "value": "another"} for each in patch]
        with pytest.raises(ApiError) as refused:
            route.write(other)
        assert refused.value.status == 422
    once = route.write(patch)
    with pytest.raises(ApiError) as refused:
        route.write(patch)
    assert refused.value.status == 422
    assert route.shares(route.read()) == route.shares(once)


def test_the_undo_line_restores_in_a_shell(bed: Bed, route: Route) -> None:
    before = route.read()
    line = route.shift(50)["metadata"]["annotations"]["rolloutplan.dev/revert"]
    assert "patched" in kubectl(bed, line)
    assert meant(route.read()) == meant(before)


@dataclass(frozen=True)
class AsChart:
    """The API server as the operator asks it, with the rights of the chart."""

    bed: Bed

    async def get(self, path: str) -> Manifest:
        found: Manifest = self.bed.client("chart")("GET", path)
        return found

    async def list(self, path: str, *, timeout: float | None = None, **query: str) -> Manifest:
        try:
            return await self.get(f"{path}?{urlencode(query)}")
        except ApiError as error:
            raise client.ApiError(error.status, "Refused", str(error)) from error

    async def create(self, path: str, body: dict[str, Any], *, timeout: float | None = None) -> Manifest:
        found: Manifest = self.bed.client("chart")("POST", path, body)
        return found


def test_what_gives_the_old_side_traffic_is_found_among_the_objects_of_all_kinds(bed: Bed, route: Route) -> None:
    kinds = RouteKinds()
    kinds.put(OWN)
    server = cast("client.Api", AsChart(bed))
    seen = asyncio.run(find_users(server, kinds, HOME, route.sample.old, lambda: datetime.now(UTC)))
    assert (len(seen.found), seen.unknown) == (1, "")
    assert seen.found[0].startswith("Ingress " if route.sample.raw["kind"] == "Ingress" else f"{route.sample.name} ")


def test_git_sets_weights_back_and_we_move_them_again(bed: Bed, route: Route) -> None:
    """By a server-side apply, which must be forced, and by kubectl apply, which asks nobody.

    The new side's weight is compared, which Git has in every sample: OpenShift's old side has one of its own field.
    """
    before = route.read()
    route.shift(5)
    with pytest.raises(ApiError, match="conflict"):
        bed.apply(route.manifest, manager="git", force=False)
    bed.apply(route.manifest, manager="git")
    assert route.of_new(route.read()) == route.of_new(before)
    if route.sample.name != "OpenShiftRoute":  # one field stays ours there, and the API server writes whole seconds
        assert route.view().moved_by.startswith("git")

    route.shift(5)
    text = json.dumps(route.manifest)
    bed.kubectl("apply", "-f", "-", stdin=text)
    bed.kubectl("apply", "-f", "-", stdin=text)
    assert route.shares(route.shift(50)) == [
        [(each.service, each.weight) for each in rule.backends] for rule in route.target(route.view(before), 50).rules
    ]


def test_the_chart_lets_weights_be_moved_and_nothing_else(bed: Bed, route: Route) -> None:
    spec, user = KINDS[route.sample.name], bed.client("chart")

    def may(verb: str) -> bool:
        what = {"namespace": HOME, "group": spec.group, "resource": spec.resource, "verb": verb}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        asked = {**review, "spec": {"resourceAttributes": what}}
        answer: bool = user("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked)["status"][
            "allowed"
        ]
        return answer

    verbs = ("get", "list", "watch", "patch", "create", "update", "delete", "deletecollection")
    assert [verb for verb in verbs if may(verb)] == ["get", "list", "watch", "patch"]


def test_whether_a_route_may_be_moved_is_known_before_a_run(bed: Bed, route: Route) -> None:
    kind, secret = route.sample.kind, RouteId("Secret", "main")
    routes = {RouteId(kind.kind, "main"): place_of(kind), secret: paths.Kind("", "v1", "secrets")}
    missing = asyncio.run(Rights().missing(AsChart(bed), HOME, routes))
    assert missing.keys() == {secret}
    assert f"may not patch secrets in namespace {HOME}" in missing[secret]
