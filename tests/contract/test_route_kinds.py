"""A real API server and kubectl agree with the descriptions: what we write is taken, and only on what was read."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.cluster import client, paths
from rolloutplan.loop.rights import Rights
from rolloutplan.loop.routes import RouteKinds, place_of
from rolloutplan.loop.users import find_users
from tests.bed import Bed
from tests.bed.api import ApiError, Manifest
from tests.contract.created import HOME, KINDS, OBJECTS, OWN, TOKEN, Route, kubectl
from tests.routers import definitions

pytestmark = [
    pytest.mark.extras(*definitions.PROJECTS),
    pytest.mark.parametrize("route", OBJECTS, indirect=True),
]
OURS = "rolloutplan.dev/"


def meant(raw: Manifest) -> Any:
    """What a user wrote of an object: its spec, and its annotations without ours and kubectl's."""
    notes = raw["metadata"].get("annotations", {})
    others = {key: text for key, text in notes.items() if not key.startswith((OURS, "kubectl.kubernetes.io/"))}
    return raw["spec"], others


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
