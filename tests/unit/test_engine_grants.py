"""What an installation lends to plans: refused before a run, by field and with the fix; a run can always go back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import RunJob, Scale, StopJobs
from rolloutplan.engine.model.grants import EVERYTHING, Grants
from tests.refusals import changed
from tests.situations import CONTRACT, OLD_WEIGHTS, adding, assumption, contracting, job, judging, m, s
from tests.world import PLAN, Deployment, World, named

P = Phase
JOBS = Grants(jobs=True, scaling=True, job_metadata=("sidecar.istio.io/inject", "team.example.com/*"))
ADDS = {"expand": {"jobs": [job("columns")]}}
SPEC, PODS = "template.spec", "template.spec.template"


def one(changes: dict[str, Any]) -> dict[str, Any]:
    """A plan whose only Job is this one."""
    return changed(PLAN, {"expand": {"jobs": [changed(job("columns"), changes)]}})


def tasks_of(world: World) -> list[object]:
    return [effect.work for effect in world.done if isinstance(effect.work, RunJob | Scale | StopJobs)]


@pytest.mark.parametrize(
    ("spec", "field", "fix"),
    [
        ({"assumptions": [assumption("cache")]}, "spec.assumptions[0].job", "jobs.enabled in the chart (--jobs)"),
        (ADDS, "spec.expand.jobs[0]", "jobs.enabled"),
        ({"contract": {"jobs": [job("drop")]}}, "spec.contract.jobs[0]", "jobs.enabled"),
        ({"expand": {"scale": {"new": 3}}}, "spec.expand.scale.new", "scaling.enabled in the chart (--scaling)"),
        ({"expand": {"scale": {"new": "MatchOld"}}}, "spec.expand.scale.new", "scaling.enabled"),
        ({"contract": {"scaleOld": 0}}, "spec.contract.scaleOld", "scaling.enabled"),
    ],
)
def test_what_is_switched_off_is_told_before_the_run_by_field_and_nothing_of_it_is_done(
    spec: dict[str, Any], field: str, fix: str
) -> None:
    world = World(spec=changed(PLAN, spec), grants=Grants())
    world.advance(m(2))
    assert (world.phase, world.status.reason) == (P.INVALID, "SwitchedOff")
    assert world.status.message.startswith(f"{field}: in this installation plans may ")
    assert fix in world.status.message
    assert not tasks_of(world)
    world.grants = EVERYTHING
    world.run = None
    world.until(P.BAKING)


def test_a_plan_that_only_moves_weights_needs_nothing_that_is_lent() -> None:
    World(grants=Grants()).until(P.SUCCEEDED)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({f"{SPEC}.parallelism": 5000}, "spec.parallelism: 5000 is above the limit of 4 (jobs.maxParallelism"),
        ({f"{SPEC}.completions": 17}, "spec.completions: 17 is above the limit of 16 (jobs.maxCompletions"),
        ({f"{SPEC}.backoffLimit": 7}, "spec.backoffLimit: 7 is above the limit of 6 (jobs.maxBackoffLimit"),
        ({f"{SPEC}.backoffLimitPerIndex": 7}, "spec.backoffLimitPerIndex: 7 is above the limit of 6"),
        ({f"{SPEC}.parallelism": "4"}, 'spec.parallelism: "4" is not a whole number'),
        ({f"{SPEC}.parallelism": True}, "spec.parallelism: true is not a whole number"),
        ({f"{SPEC}.completions": 1e9}, "spec.completions: 1000000000.0 is not a whole number"),
        ({f"{PODS}.metadata": {"labels": {"app": "checkout"}}}, "template.metadata.labels: 'app' is not among"),
        ({f"{PODS}.metadata": {"labels": {"rolloutplan.dev/x": "y"}}}, "labels: 'rolloutplan.dev/x' is not among"),
        ({f"{PODS}.metadata": {"annotations": {"a.b/c": "d"}}}, "metadata.annotations: 'a.b/c' is not among"),
        ({"template.metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}}}, "'kueue.x-k8s.io/queue-name' is not"),
        ({"template.metadata": {"annotations": {"app.kubernetes.io/instance": "x"}}}, "jobs.metadata in the chart"),
    ],
)
def test_a_job_above_a_ceiling_or_with_a_mark_of_others_is_refused_by_field(
    changes: dict[str, Any], words: str
) -> None:
    world = World(spec=one(changes), grants=JOBS)
    world.advance(m(1))
    assert (world.phase, world.status.reason) == (P.INVALID, "NotGranted")
    assert world.status.message.startswith("spec.expand.jobs[0].template.")
    assert words in world.status.message
    assert not tasks_of(world)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {f"{SPEC}.parallelism": 4, f"{SPEC}.completions": 16, f"{SPEC}.backoffLimit": 6},
        {f"{SPEC}.parallelism": None, f"{SPEC}.completions": None},
        {f"{PODS}.metadata": {"labels": {"sidecar.istio.io/inject": "false", "team.example.com/a": "b"}}},
    ],
)
def test_a_job_within_the_ceilings_runs(changes: dict[str, Any]) -> None:
    World(spec=one(changes), grants=JOBS).until(P.JUDGING)


@pytest.mark.parametrize(
    ("spec", "old", "words"),
    [
        ({"expand": {"scale": {"new": 101}}}, 4, "spec.expand.scale.new: 101 is above the limit of 100"),
        ({"expand": {"scale": {"new": "MatchOld"}}}, 500, "spec.expand.scale.new: 500 is above the limit of 100"),
        ({"contract": {"scaleOld": 101}}, 4, "spec.contract.scaleOld: 101 is above the limit of 100"),
    ],
)
def test_no_plan_gives_a_deployment_more_replicas_than_the_installation_allows(
    spec: dict[str, Any], old: int, words: str
) -> None:
    world = World(spec=changed(PLAN, spec), old=Deployment("v1", old, old), grants=JOBS)
    world.advance(m(1))
    assert (world.phase, world.status.reason) == (P.INVALID, "NotGranted")
    assert f"{words} (scaling.maxReplicas in the chart): write 100 or less" in world.status.message


def test_a_service_account_that_the_namespace_has_not_named_is_told_and_looked_at_again() -> None:
    world = World(spec=changed(PLAN, ADDS), accounts={"jobs": "ServiceAccount ns/jobs has no label"})
    world.advance(m(1))
    assert (world.phase, world.status.reason) == (P.INVALID, "NotGranted")
    assert world.status.message == (
        "spec.expand.jobs[0].template.spec.template.spec.serviceAccountName: ServiceAccount ns/jobs has no label"
    )
    assert not tasks_of(world)
    world.accounts = {}
    world.advance(s(30))
    assert world.made


def test_a_route_that_the_operator_may_not_patch_keeps_a_run_from_its_start_until_it_may() -> None:
    route = RouteId("HTTPRoute", "shop")
    world = World(spec=PLAN, not_movable={route: "the operator may not patch httproutes in namespace ns: add it"})
    world.advance(m(1))
    assert (world.phase, world.status.reason) == (P.INVALID, "Forbidden")
    assert world.status.message == "HTTPRoute ns/shop: the operator may not patch httproutes in namespace ns: add it"
    assert world.weights() == (OLD_WEIGHTS,)
    world.not_movable = {}
    world.until(P.JUDGING)


def test_a_right_that_is_taken_away_in_a_run_keeps_no_way_back() -> None:
    world = judging({})()
    world.not_movable = {RouteId("HTTPRoute", "shop"): "the operator may not patch httproutes in namespace ns"}
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert world.weights() == (OLD_WEIGHTS,)


# ---- the switch goes off during a run --------------------------------------------------------------------------------


@pytest.mark.parametrize("grants", [replace(EVERYTHING, jobs=False), Grants()])
def test_a_run_goes_up_to_what_is_lent_no_more_and_waits_there_with_words(grants: Grants) -> None:
    world = judging({"contract": CONTRACT})()
    world.grants = grants
    world.until(P.HELD)
    assert world.status.reason == "NotGranted"
    assert "the old side is not removed: spec.contract." in world.status.message
    assert "whoever runs the operator to allow it" in world.status.waiting_for
    assert not tasks_of(world)
    world.grants = EVERYTHING
    world.until(P.SUCCEEDED)


def test_an_abort_moves_the_weights_back_and_says_which_job_it_could_not_suspend() -> None:
    world = contracting({"contract": {"jobs": [job("drop")]}}, job_takes=None)()
    world.settle()
    assert world.jobs[named("drop")].runs_at(world.now)
    world.grants = Grants()
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == {"v1": 100, "v2": 0}
    notes = " ".join(decision.note for decision in world.trail.values())
    assert (
        f"Job {named('drop')} is not suspended, because plans may not run Jobs in this installation any more" in notes
    )
    assert world.status.task is None, "nothing is tried for a minute that cannot be done"
    assert not [work for work in tasks_of(world) if isinstance(work, StopJobs)]


def test_an_abort_says_which_scaling_of_the_old_side_it_could_not_undo() -> None:
    world = contracting({"contract": {"scaleOld": 2}}, scale_hindered="a quota")()
    world.settle()
    assert world.status.task is not None
    world.grants = Grants()
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == {"v1": 100, "v2": 0}
    notes = " ".join(decision.note for decision in world.trail.values())
    assert "the old side is not scaled up to 4 again, because plans may scale no Deployments" in notes
    assert world.status.task is None


def test_before_any_weight_the_run_ends_with_the_job_that_goes_on() -> None:
    world = adding(job_takes=None)()
    world.grants = Grants()
    world.settle()
    assert (world.phase, world.status.reason) == (P.INVALID, "SwitchedOff")
    assert f"Job {named('columns')} is not suspended" in world.status.message
    assert not [work for work in tasks_of(world) if isinstance(work, StopJobs)]


# ---- namespaces ------------------------------------------------------------------------------------------------------


def test_a_plan_of_a_namespace_that_is_not_served_says_why_and_nothing_else_is_done() -> None:
    world = World(spec=changed(PLAN, ADDS), unserved=True)
    world.advance(m(2))
    assert (world.phase, world.status.reason) == (P.INVALID, "NamespaceNotServed")
    assert world.status.message.startswith("metadata.namespace: plans in ns are not served")
    assert "namespaces in the chart, --namespace" in world.status.message
    assert {type(effect.work).__name__ for effect in world.done} <= {"Record", "Publish"}


@pytest.mark.parametrize("command", ["abort a1", ""])
def test_a_run_that_exists_there_goes_no_further_and_can_still_go_back(command: str) -> None:
    world = judging()()
    world.unserved = True
    world.advance(m(20))
    assert (world.phase, world.status.reason) == (P.HELD, "Invalid")
    assert "plans in ns are not served" in world.status.message
    assert world.weights()[0] == {"v1": 95, "v2": 5}
    if command:
        world.say(command)
    else:
        world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK)
    assert world.weights()[0] == {"v1": 100, "v2": 0}
    world.say("retry r1")
    world.advance(m(2))
    assert world.phase in (P.INVALID, P.ROLLED_BACK)
