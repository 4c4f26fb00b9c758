"""Replicas: a Service with the sizes of two Deployments as its weights, read and written in the right order."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.actions import Scale
from rolloutplan.engine.model.snapshot import REVERT, SEQ, EndpointsView, RouteView, WorkloadView
from rolloutplan.traffic.replicas import Replicas, with_pods

KIND, SIDES = Replicas(), Names("v1", "v2")


def service(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "web", "resourceVersion": "7", "annotations": annotations}}


def side(name: str, wanted: int, ready: int | None = None, **more: Any) -> WorkloadView:
    known: dict[str, Any] = {"available": wanted, "revision": "", "settled": True, **more}
    return WorkloadView(name, wanted, wanted if ready is None else ready, **known)


def seen(old: WorkloadView | None, new: WorkloadView | None, served: EndpointsView | None = None) -> RouteView:
    return with_pods(KIND.view(service(**{SEQ: "0/a.1.1"})), SIDES, (old, new), served)


def target(old: int, new: int) -> RouteWeights:
    backends = (Backend(service="v1", weight=old), Backend(service="v2", weight=new))
    return RouteWeights(kind="Replicas", name="web", rules=(RuleWeights(index=0, backends=backends),))


def test_the_sizes_are_the_weights_and_their_sum_stays() -> None:
    view = seen(side("v1", 9), side("v2", 1))
    assert [(each.service, each.weight) for each in view.rules[0].backends] == [("v1", 9), ("v2", 1)]
    assert (view.weights.sum, view.weights.max) == (10, 10)
    assert view.accepted is True


@pytest.mark.parametrize(
    ("old", "new", "served", "why"),
    [
        (side("v1", 9), side("v2", 1, 0), None, "0 of 1 pods of v2 are ready"),
        (side("v1", 9, 10), side("v2", 1), None, "10 of 9 pods of v1 are ready"),
        (side("v1", 9), side("v2", 1, settled=False), None, "1 of 1 pods of v2 are ready"),
        (side("v1", 9), side("v2", 1), EndpointsView((("v1", 9),)), "0 of 1 pods of v2 are ready"),
        (side("v1", 9), side("v2", 1, 0, hindered="FailedCreate: quota"), None, "of v2 are ready: FailedCreate: quota"),
        (side("v1", 9), None, None, "Deployment v2 does not exist"),
        (side("v1", 9), side("v2", 1), EndpointsView(unknown="not told"), ""),
        (side("v1", 9), side("v2", 1), EndpointsView((("v1", 9), ("v2", 1))), ""),
    ],
)
def test_a_size_is_in_force_when_all_of_its_pods_are_ready(
    old: WorkloadView, new: WorkloadView | None, served: EndpointsView | None, why: str
) -> None:
    view = seen(old, new, served)
    assert why in view.accepted_why
    assert (view.accepted, bool(view.accepted_generation)) == (None if why else True, not why)


def test_the_larger_size_is_written_first_whichever_side_it_is() -> None:
    view = seen(side("v1", 5), side("v2", 5))
    assert KIND.scalings(view, target(10, 0)) == [Scale("v1", 10), Scale("v2", 0)]
    assert KIND.scalings(view, target(0, 10)) == [Scale("v2", 10), Scale("v1", 0)]
    assert KIND.scalings(view, target(5, 5)) == []


def test_the_last_writer_is_tested_before_any_size_is_written() -> None:
    view = seen(side("v1", 5), side("v2", 5))
    marks = KIND.patch(view, target(4, 6), token="0/a.2.1", undo="kubectl")
    assert marks[0] == {"op": "test", "path": "/metadata/annotations/rolloutplan.dev~1seq", "value": "0/a.1.1"}
    marked = with_pods(
        KIND.view(service(**{SEQ: "0/a.2.1", REVERT: "kubectl"})), SIDES, (side("v1", 5), side("v2", 5)), None
    )
    fence = [{"op": "test", "path": "/metadata/annotations/rolloutplan.dev~1seq", "value": "0/a.2.1"}]
    assert KIND.patch(marked, target(4, 6), token="0/a.2.1", undo="kubectl") == fence
    assert KIND.patch(marked, target(5, 5), token="0/a.2.1", undo="kubectl") == []


def test_a_name_in_an_edited_status_is_no_command() -> None:
    backends = (Backend(service="v1; reboot", weight=1), Backend(service="v2", weight=0))
    edited = target(1, 0).with_rules((RuleWeights(index=0, backends=backends),))
    assert KIND.undo_command("shop", edited) == (
        "kubectl scale 'deployment/v1; reboot' -n shop --replicas=1 && kubectl scale deployment/v2 -n shop --replicas=0"
    )
