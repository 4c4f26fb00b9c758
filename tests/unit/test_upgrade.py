"""A run goes on under a new version of the operator: what that refuses of its plan takes no guard from it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api import spec as specs
from rolloutplan.api.limits import KIB
from rolloutplan.api.parsing import read as parse
from rolloutplan.api.spec import PlanSpec, SpecError, read_begun_spec, read_plan_spec
from rolloutplan.api.status import Phase
from rolloutplan.cluster import plans
from rolloutplan.engine.model.plan_view import Unreadable
from tests.refusals import PLAN, PODS, changed
from tests.world import SHARED, SOURCE, World

Raw = dict[str, Any]
JOB = {"name": "migrate", "template": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": []}}}}}
COUNTED = {"name": "e", "events": {"bad": "bad", "total": "total"}, "is": "> 1%"}
REFUSED: dict[str, Raw] = {
    "a Job without a ServiceAccount": {"expand": {"jobs": [JOB]}},
    "a Job with a ttl": {
        "contract": {"jobs": [changed(JOB, {"template.spec": {"template": PODS, "ttlSecondsAfterFinished": 60}})]}
    },
    "an open brace": {"guards": [changed(COUNTED, {"events": {"bad": 'bad{a="{"', "total": "total"}})]},
    "too large Jobs": {
        "expand": {
            "jobs": [
                changed(JOB, {"template.spec.template": {"x": "y" * 200 * KIB, "spec": {"serviceAccountName": "jobs"}}})
            ]
        }
    },
    "too large a query": {
        "variables": {"long": "x" * 1024},
        "guards": [{"name": "g", "query": "a" + "+$long" * 20, "is": "> 1"}],
    },
}


def read(spec: Raw, status: Raw, known: Any = None) -> Any:
    meta = {"namespace": "shop", "name": "a", "uid": "u", "generation": 1, "resourceVersion": "1"}
    return plans.view({"metadata": meta, "spec": spec, "status": status}, known)


def former(spec: Raw) -> str:
    """The hash under which a reader without the new rules began a run of a plan."""
    return parse(PlanSpec, spec, lenient=True).plan_hash()


@pytest.mark.parametrize("what", REFUSED)
def test_a_run_whose_plan_is_refused_by_a_newer_reader_is_judged_by_it_as_it_began(what: str) -> None:
    spec = {**PLAN, **REFUSED[what]}
    with pytest.raises(SpecError):
        read_plan_spec(spec)
    begun = former(spec)
    found = read(spec, {"phase": "Judging", "planHash": begun})
    assert isinstance(found.content, Unreadable)
    assert found.problem, "and it goes no further"
    assert found.spec is not None
    assert found.spec.plan_hash() == begun
    waiting = read(spec, {"phase": "Pending"})
    assert waiting.spec is None, "no run begins with it"
    taken_up = read(spec, {"phase": "Judging", "planHash": begun}, waiting)
    assert taken_up.spec is not None, "a replica that stood by has read it before the run began"
    assert read(spec, {"phase": "Succeeded", "planHash": begun}).spec is None
    assert read(spec, {"phase": "Judging", "planHash": "another"}).spec is None, "it was edited since"


def test_a_plan_without_a_limit_is_still_read_in_bounded_work() -> None:
    spec = {**PLAN, "hypothesis": "x", "guards": [{"name": "g", "query": "q" * 600 * KIB, "is": "> 1"}]}
    assert read_begun_spec(spec, "any") is None


@pytest.mark.parametrize("loss", ["pods", "gone", "guard"])
def test_a_run_goes_back_after_an_upgrade_that_refuses_its_plan(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().until(Phase.JUDGING)
    monkeypatch.setattr(specs, "MAX_PLAN", 10)
    world.crash()
    world.settle()
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Invalid")
    assert dict(world.weights()[0])["v2"] > 0, "it is held, and not sent back for that alone"
    match loss:
        case "pods":
            world.pods(ready=0)
        case "gone":
            world.new = None
        case "guard":
            world.says["errors"] = 1.0
    world.advance(timedelta(minutes=3))
    assert dict(world.weights()[0])["v2"] == 0


@pytest.mark.parametrize("way", ["stays", "guard", "abort", "pause", "delete"])
def test_a_run_whose_deployments_cannot_be_read_hears_and_goes_no_further(way: str) -> None:
    world = World().until(Phase.JUDGING)
    world.crash()
    world.unread = frozenset({"deployments/v1", "deployments/v2"})
    match way:
        case "guard":
            world.says["errors"] = 1.0
        case "abort" | "pause":
            world.say(f"{way} 1")
        case "delete":
            world.delete()
    world.settle()
    world.advance(timedelta(minutes=4))
    weight = dict(world.weights()[0])["v2"]
    if way in ("stays", "pause"):
        assert weight == 5, "it neither rises nor falls, for the new side is not known to be gone"
        assert (world.status.paused is not None) == (way == "pause")
        world.unread = frozenset()
        world.settle()
        assert (world.phase is Phase.HELD) == (way == "pause")
    else:
        assert weight == 0


def test_a_run_from_before_the_upgrade_is_sealed_at_the_first_look_and_a_change_of_its_source_is_told() -> None:
    world = World(labels={"tier": "one"}).until(Phase.JUDGING)
    world.status_raw = {key: value for key, value in world.status_raw.items() if key not in ("source", "labels")}
    world.crash()
    assert (world.status.source, world.status.labels) == (None, {})
    world.advance(timedelta(seconds=20))
    assert (world.status.source, world.status.labels) == (SHARED, {"tier": "one"})
    world.source = replace(SOURCE, object=SHARED.model_copy(update={"digest": "d2"}))
    world.advance(timedelta(minutes=1))
    assert "SourceChanged" in world.told()
