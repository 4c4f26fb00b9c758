"""The API server by itself: no operator touches what these tests store."""

from collections.abc import Iterator

import pytest
import yaml

from rolloutplan.api.route_kinds import BUILT_IN
from tests.bed import Bed, extras, objects
from tests.contract.created import HOME, KINDS, OBJECTS, ROLE, Route
from tests.routers import definitions
from tests.shop import CHART

IMAGE = ("--set", "image.repository=example.com/rolloutplan", "--set", "image.tag=test")


@pytest.fixture(scope="module", autouse=True)
def nobody_serves(alone: None) -> None:
    pass


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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


@pytest.fixture
def route(request: pytest.FixtureRequest, bed: Bed, rights: None) -> Iterator[Route]:
    """The route as its user has created it."""
    found = Route(bed, OBJECTS[request.param])
    found.create()
    yield found
    found.delete()
