"""A real API server takes what puts a canary's number back, and the undo line, over edits of all around that number."""

from typing import Any

import pytest

from rolloutplan.api.status import Weights
from rolloutplan.engine.model.aims import aims_of
from tests.bed.api import Manifest
from tests.bed.bed import Bed
from tests.contract.created import TOKEN, Route, kubectl
from tests.routers import definitions

pytestmark = [
    pytest.mark.extras(*definitions.PROJECTS),
    pytest.mark.parametrize("route", ["NginxCanary"], indirect=True),
    pytest.mark.parametrize(
        "edit",
        [
            {"canary": "false"},
            {"canary": None, "canary-weight-total": None},
            {"canary-weight-total": "100"},
            {"canary-weight-total": "half"},
            {"canary-weight": "half"},
            {},
        ],
        ids=["no canary", "nothing but the number", "another total", "a total of text", "a number of text", "alone"],
    ),
]
PREFIX = "nginx.ingress.kubernetes.io"


def edited(route: Route, edit: dict[str, Any]) -> tuple[Manifest, str]:
    """The canary at half of the traffic and its undo line, after these edits; without any, its main Ingress goes."""
    line: str = route.shift(50)["metadata"]["annotations"]["rolloutplan.dev/revert"]
    route.edit({"annotations": {f"{PREFIX}/{name}": text for name, text in edit.items()}})
    if not edit:
        route.bed.delete(*route.companions)
    return route.read(), line


def number(raw: Manifest) -> str:
    found: str = raw["metadata"]["annotations"][f"{PREFIX}/canary-weight"]
    return found


def test_the_number_goes_back(route: Route, edit: dict[str, Any]) -> None:
    snapshot = route.before(route.view())
    raw, _ = edited(route, edit)
    view, sides = route.view(raw), Weights(old=route.sample.old, new=route.sample.new)
    rules = [each.wanted for each in aims_of(view, snapshot, sides, back=True) if each.wanted is not None]
    written = route.write(route.sample.kind.patch(view, snapshot.with_rules(tuple(rules)), token=TOKEN, undo=""))
    assert number(written) == "0"


def test_the_undo_line_works(bed: Bed, route: Route, edit: dict[str, Any]) -> None:
    _, line = edited(route, edit)
    assert "patched" in kubectl(bed, line)
    assert number(route.read()) == "0"
