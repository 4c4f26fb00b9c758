"""Every kind of route: what else has to know of it, and what each must keep of the seam (traffic/base.py)."""

from typing import Any, cast

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RouteWeights
from rolloutplan.api.traffic import KINDS as NAMED
from rolloutplan.engine.model.snapshot import REVERT, SEQ
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind

KINDS = pytest.mark.parametrize("kind", ROUTE_KINDS.values(), ids=ROUTE_KINDS)


def test_the_kinds_that_a_plan_may_name_are_those_that_can_be_moved() -> None:
    assert set(NAMED) == set(ROUTE_KINDS)


@KINDS
@pytest.mark.parametrize("spec", [None, {}, [], {"rules": "odd"}, {"rules": [None, {}, []]}])
def test_an_odd_object_is_a_route_without_weights(kind: RouteKind, spec: Any) -> None:
    seen = kind.view({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec})
    assert seen.id == RouteId(kind.kind, "web")
    assert not [rule for rule in seen.rules if rule.backends]


@KINDS
def test_a_patch_marks_the_route_and_is_done_once(kind: RouteKind) -> None:
    raw: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "web", "resourceVersion": "7"}}
    nothing = RouteWeights.model_construct(kind=cast("Any", kind.kind), name="web", rules=())
    first, *marks = kind.patch(kind.view(raw), nothing, token="1", undo="kubectl")
    assert first == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert [mark["op"] for mark in marks] == ["add", "add", "add"]
    raw["metadata"]["annotations"] = {SEQ: "1", REVERT: "kubectl"}
    assert kind.patch(kind.view(raw), nothing, token="1", undo="kubectl") == []
