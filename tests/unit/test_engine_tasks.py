"""What a run does beside moving weights: each task once, none passed over, and every wait with an end."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Kind, Phase, Task
from rolloutplan.engine.model.actions import RunJob
from rolloutplan.engine.run.jobs import PLAN as PLAN_LABEL
from rolloutplan.engine.run.jobs import RUN, TASK, job_name, manifest
from rolloutplan.stats.verdict import Why
from tests.refusals import changed
from tests.situations import (
    ALL,
    BACK,
    CONTRACT,
    FROZEN,
    HALF,
    JOB,
    OLD_WEIGHTS,
    SHIFTED,
    WARM,
    Case,
    adding,
    assumption,
    contract_failed,
    contracting,
    delete,
    drift,
    edit,
    expanding,
    fresh,
    ids,
    job,
    judging,
    m,
    nothing,
    pods,
    probing,
    put,
    run,
    s,
    say,
    says,
    settle,
    succeeded,
    then,
    trap,
    wait,
)
from tests.world import PLAN, START, Deployment, Job, Trap, World, crash, named, refuse

P = Phase
PODS = {"serviceAccountName": "jobs", "containers": []}

PROBES = [
    Case(
        "an assumption is true when its Job is complete, and the run goes on",
        probing(lag=None),
        wait(s(6)),
        P.SHIFTING,
        tells=["AssumptionTrue", "NewSideReady", "StageStarted"],
        says=f"Job {named('cache')} is complete: its last words",
    ),
    Case(
        "a Job that fails ends the run before any weight",
        probing(job_fails=True),
        wait(s(6)),
        P.ROLLED_BACK,
        "AssumptionFalse",
        ["AssumptionFalse"],
        f"cache is so): Job {named('cache')} has failed: its last words; no weight was moved",
        OLD_WEIGHTS,
    ),
    Case(
        "a Job that does not end within the deadline ends the run, and is left for the reader",
        probing(job_takes=None),
        wait(m(5)),
        P.ROLLED_BACK,
        "AssumptionFalse",
        ["AssumptionFalse"],
        f"Job {named('cache')} has not ended within 5m and is not deleted",
    ),
    Case("until the deadline it is waited for", probing(job_takes=None), wait(m(5) - s(1)), P.PROBING, tells=[]),
    Case(
        "a Job that ends at the last moment is read",
        probing(assumption("cache", deadline="5s")),
        wait(s(5)),
        P.JUDGING,
        tells=["AssumptionTrue", "NewSideReady", "StageStarted", "WeightShifted"],
    ),
    Case(
        "a Job that the API server refuses is a fault of the plan, in its words",
        fresh({"assumptions": [assumption("cache")]}, job_refused="restartPolicy: Required value"),
        wait(m(20)),
        P.INVALID,
        "JobRefused",
        ["Started", "Stalled"],
        "for cache: restartPolicy: Required value: correct its template",
    ),
    Case(
        "a changed plan heals it",
        fresh({"assumptions": [assumption("cache")]}, job_refused="restartPolicy: Required value"),
        then(wait(s(1)), put(job_refused=""), edit({"hypothesis": "better"}), wait(s(6))),
        P.JUDGING,
        tells=["Started", "Stalled", "Started", "AssumptionTrue", "NewSideReady", "StageStarted", "WeightShifted"],
    ),
    Case(
        "a crash heals it not",
        fresh({"assumptions": [assumption("cache")]}, job_refused="restartPolicy: Required value"),
        then(wait(s(1)), World.crash, wait(m(1))),
        P.INVALID,
        "JobRefused",
        ["Started", "Stalled"],
    ),
    Case(
        "a quota that forbids the Job is waited for",
        probing(job_hindered="exceeded quota"),
        wait(s(30)),
        P.PROBING,
        "JobNotMade",
        [],
        f"Job {named('cache')} could not be created and is tried again: exceeded quota",
    ),
    Case(
        "once it allows the Job, that is made",
        probing(job_hindered="exceeded quota"),
        then(wait(s(30)), put(job_hindered=""), wait(s(17))),
        P.JUDGING,
    ),
    Case(
        "until the deadline",
        probing(job_hindered="exceeded quota"),
        wait(m(5)),
        P.ROLLED_BACK,
        "AssumptionFalse",
        says=f"Job {named('cache')} could not be created within 5m: exceeded quota",
    ),
    Case(
        "a Job of somebody else is not taken for ours",
        probing(jobs={named("cache"): Job(World().now, World().now, fails=False, ours=False)}),
        wait(s(30)),
        P.PROBING,
        "JobNotOurs",
        [],
        f"Job ns/{named('cache')} exists and is not from this run: delete it to go on",
    ),
    Case(
        "and when it is deleted, ours is made",
        probing(jobs={named("cache"): Job(World().now, World().now, fails=False, ours=False)}),
        then(wait(s(30)), put(jobs={}), wait(s(17))),
        P.JUDGING,
    ),
    Case(
        "a Job that somebody deletes is not run again",
        probing(job_takes=None),
        then(wait(s(10)), put(jobs={}), wait(s(2))),
        P.ROLLED_BACK,
        "AssumptionFalse",
        says=f"Job {named('cache')} was deleted before its result was seen",
    ),
    Case(
        "an observation that is as it says is asked over its whole window at once",
        fresh({"assumptions": [WARM]}, lag=None, says={"warm": 0.95}),
        nothing,
        P.SHIFTING,
        tells=["Started", "AssumptionTrue", "NewSideReady", "StageStarted"],
        says="0.95 > 0.9 for warm[120s]",
    ),
    Case(
        "one that is not ends the run",
        fresh({"assumptions": [WARM]}, says={"warm": 0.5}),
        nothing,
        P.ROLLED_BACK,
        "AssumptionFalse",
        ["Started", "AssumptionFalse"],
        "0.5 is not > 0.9 for warm[120s]",
        OLD_WEIGHTS,
    ),
    Case(
        "one that nothing is known of is asked again",
        fresh({"assumptions": [WARM]}, says={"warm": Why.NO_DATA}),
        wait(s(59)),
        P.PROBING,
        "Probing",
        ["Started"],
        "warm is undecided so far: NoData",
    ),
    Case(
        "until its deadline",
        fresh({"assumptions": [WARM]}, says={"warm": Why.NO_DATA}),
        wait(m(1)),
        P.ROLLED_BACK,
        "AssumptionFalse",
        ["Started", "AssumptionFalse"],
        "undecided after 1m (NoData",
    ),
    Case(
        "a source that does not answer then says nothing against it meanwhile",
        fresh({"assumptions": [WARM]}, says={"warm": Why.NO_DATA}),
        then(wait(s(15)), says(warm=0.95, errors=0.0, hits=0.95, wrong=0.0), wait(s(5))),
        P.JUDGING,
    ),
]

BESIDE = [
    Case("an abort ends it", probing(), say("abort a1"), P.ROLLED_BACK, "Aborted", ["Aborted"], weights=OLD_WEIGHTS),
    Case(
        "another template begins another run, whose Job begins when the one of the former run has ended",
        probing(),
        then(pods(revision="second"), wait(s(15))),
        P.JUDGING,
        tells=["Started", "AssumptionTrue", "NewSideReady", "StageStarted", "WeightShifted"],
        says=f"Job {named('cache', run=2)} is complete",
    ),
    Case(
        "a retry probes anew",
        probing(job_fails=True),
        then(wait(s(6)), put(job_fails=False), say("retry r1"), wait(s(10))),
        P.JUDGING,
        says=f"Job {named('cache', run=2)} is complete",
    ),
    Case(
        "a pause keeps what is done and what runs: the same run goes on",
        probing(),
        then(say("pause p1"), wait(m(1)), say("resume r1"), wait(s(6))),
        P.JUDGING,
        says=f"Job {named('cache')} is complete",
    ),
]


@pytest.mark.parametrize("case", [*PROBES, *BESIDE], ids=ids)
def test_what_it_assumes_is_probed_before_anything_is_done(case: Case) -> None:
    run(case)


ADDS = [
    Case(
        "the Jobs of what is added run one after another, before any weight",
        adding({"jobs": [job("columns"), job("index")]}),
        wait(s(12)),
        P.JUDGING,
        tells=["Expanded", "Expanded", "NewSideReady", "StageStarted", "WeightShifted"],
        says=f"Job {named('index')} is complete: its last words",
    ),
    Case(
        "a Job that fails ends the run, and what was added is named",
        adding({"jobs": [job("columns"), job("index")]}),
        then(put(job_fails=True), wait(s(15))),
        P.ROLLED_BACK,
        "ExpandFailed",
        ["Expanded", "ExpandFailed"],
        "no weight was moved, and what was added is kept (Job columns is done)",
        OLD_WEIGHTS,
    ),
    Case(
        "a Job that does not end within its deadline has failed",
        adding({"jobs": [job("columns", deadline="2m")]}, job_takes=None),
        wait(m(2)),
        P.ROLLED_BACK,
        "ExpandFailed",
        says=f"Job {named('columns')} has not ended within 2m and is not deleted",
    ),
    Case(
        "the new side is made as large as the old, after the Jobs",
        adding({"jobs": [job("columns")], "scale": {"new": "MatchOld"}}, new=Deployment("v2", wanted=1, ready=1)),
        wait(s(6)),
        P.JUDGING,
        tells=["Expanded", "Expanded", "NewSideReady", "StageStarted", "WeightShifted"],
        says="v2 has 4 replicas | NewSideReady: 4 of 4 pods of v2 are available",
    ),
    Case(
        "it is made as large as the plan says",
        fresh({"expand": {"scale": {"new": 7}}}, new=Deployment("v2", wanted=0, ready=0)),
        nothing,
        P.JUDGING,
        says="NewSideReady: 7 of 7 pods",
    ),
    Case(
        "what is scaled by an autoscaler is left to it, and it is said",
        fresh({"expand": {"scale": {"new": 7}}}, autoscaled=frozenset({"v2"})),
        nothing,
        P.JUDGING,
        says="HorizontalPodAutoscaler v2-hpa scales v2, so the run does not scale it | NewSideReady: 4 of 4 pods",
    ),
    Case(
        "without a right to scale it tries again, and says why",
        fresh({"expand": {"scale": {"new": 7}}}, scale_hindered="deployments/scale is forbidden"),
        wait(m(4)),
        P.EXPANDING,
        "NotScaled",
        ["Started"],
        "v2: deployments/scale is forbidden",
    ),
    Case(
        "but not for ever",
        fresh({"expand": {"scale": {"new": 7}}}, scale_hindered="deployments/scale is forbidden"),
        wait(m(5)),
        P.ROLLED_BACK,
        "ExpandFailed",
        says="v2 was not scaled to 7 replicas within 5m: deployments/scale is forbidden",
    ),
    Case(
        "pods that are added have readyWithin from then on",
        adding({"jobs": [job("columns")], "scale": {"new": 7}}, job_takes=m(4), pods_start=False),
        wait(m(9) - s(5)),
        P.EXPANDING,
        says="v2 has 7 replicas",
    ),
    Case(
        "and no longer; what was added is named",
        adding({"jobs": [job("columns")], "scale": {"new": 7}}, pods_start=False),
        wait(m(6)),
        P.ROLLED_BACK,
        "NewSideNotReady",
        says="what was added is kept (Job columns is done; v2 keeps its size)",
    ),
    Case(
        "an abort suspends the Job that runs, and names it",
        adding(),
        then(wait(s(1)), say("abort a1")),
        P.ROLLED_BACK,
        "Aborted",
        ["Aborted"],
        f"no weight was moved; Job {named('columns')} is suspended",
    ),
    Case(
        "a plan that is paused meanwhile goes on in the same run",
        adding({"jobs": [job("columns"), job("index")]}),
        then(wait(s(6)), say("pause p1"), wait(m(20)), say("resume r1"), wait(s(6))),
        P.JUDGING,
        says=f"Job {named('index')} is complete",
    ),
]


@pytest.mark.parametrize("case", ADDS, ids=ids)
def test_the_new_is_added_beside_the_old_before_any_weight(case: Case) -> None:
    run(case)


SIZED = {"expand": {"scale": {"new": 8}}}
"""As the plan has it, with a new side that the run gives so many replicas."""

CAPACITY = [
    Case(
        "a weight that the new side has no pods for waits, and says for what",
        judging(),
        then(pods(ready=3), lambda world: world.until(P.JUDGING, stage="half"), lambda world: world.until(P.HELD)),
        P.HELD,
        "Capacity",
        says="100% of the traffic needs 4 available pods of v2, only 3 are available",
        weights=HALF,
    ),
    Case(
        "half of the pods are enough for half of the traffic",
        judging(),
        then(pods(ready=2), wait(m(3))),
        P.JUDGING,
        weights=HALF,
    ),
    Case(
        "when the pods are there, it goes on by itself",
        judging(),
        then(pods(ready=3), lambda world: world.until(P.HELD), pods(ready=4)),
        P.JUDGING,
        tells=["StageProved", *SHIFTED, "StageProved", "Held", "Resumed", *SHIFTED],
        weights=ALL,
    ),
    Case(
        "what the run made larger and somebody makes smaller waits for its pods",
        judging(SIZED),
        then(pods(wanted=4, ready=4), lambda world: world.until(P.HELD)),
        P.HELD,
        "Capacity",
        says="100% of the traffic needs 8 available pods of v2, only 4 are available; the run scaled it to 8 replicas, "
        "and somebody set 4",
        weights=HALF,
    ),
    Case(
        "and names who, once, with the way out",
        judging(SIZED),
        then(
            pods(wanted=4, ready=4, sized_by="argocd-controller (Update) at 09:00"),
            lambda world: world.until(P.HELD),
            wait(m(20)),
        ),
        P.HELD,
        "Capacity",
        tells=["StageProved", *SHIFTED, "StageProved", "Held"],
        says="and argocd-controller (Update) at 09:00 set 4: leave `replicas` out of what is applied, or commit 8",
        weights=HALF,
    ),
    Case(
        "and goes on when they are back",
        judging(SIZED),
        then(pods(wanted=4, ready=4), lambda world: world.until(P.HELD), pods(wanted=8, ready=8)),
        P.JUDGING,
        weights=ALL,
    ),
    Case(
        "also where the run was interrupted before its first weight",
        fresh(SIZED, pods_start=False),
        then(
            *(wait(s(5)), say("pause p1"), wait(m(20)), say("resume r1"), pods(ready=8)),
            *(lambda world: world.until(P.JUDGING), pods(wanted=3, ready=3), lambda world: world.until(P.HELD)),
        ),
        P.HELD,
        "Capacity",
        says="needs 4 available pods of v2, only 3 are available",
    ),
    Case(
        "the size of a side that an autoscaler has is the autoscaler's business",
        judging(SIZED, autoscaled=frozenset({"v2"})),
        then(pods(wanted=3, ready=3), lambda world: world.until(P.JUDGING, stage="all")),
        P.JUDGING,
        weights=ALL,
    ),
    Case(
        "a failure puts it back from there",
        judging(),
        then(pods(ready=3), lambda world: world.until(P.HELD), says(errors=0.2), wait(m(1))),
        P.ROLLED_BACK,
        "GuardTripped",
        weights=OLD_WEIGHTS,
    ),
]


@pytest.mark.parametrize("case", CAPACITY, ids=ids)
def test_capacity_comes_before_traffic(case: Case) -> None:
    run(case)


def test_what_the_old_side_wants_is_taken_as_it_was_when_the_scale_was_begun() -> None:
    world = fresh({"expand": {"scale": {"new": "MatchOld"}}}, new=Deployment("v2", wanted=1, ready=1))()
    world.interrupted("recorded")
    world.interrupted("scaled")
    world.until(P.JUDGING)
    assert world.new is not None
    assert world.new.wanted == 4


def test_the_most_dangerous_is_probed_first_and_ties_as_they_are_written() -> None:
    names = {"mild": 1, "grave": 5, "grave-too": 5, "middling": 3}
    world = fresh({"assumptions": [assumption(name, impact) for name, impact in names.items()]})()
    world.until(P.JUDGING)
    assert [each.name for each in world.made] == [named(name) for name in ("grave", "grave-too", "middling", "mild")]


def test_what_is_false_keeps_all_that_comes_after_from_being_begun() -> None:
    world = fresh({"assumptions": [assumption("mild", 1), assumption("grave", 5)]}, job_fails=True)()
    world.until(P.ROLLED_BACK)
    assert [each.name for each in world.made] == [named("grave")]


def test_the_decision_holds_what_was_believed_and_what_was_observed() -> None:
    world = fresh({"assumptions": [assumption("cache")]}, job_fails=True)().until(P.ROLLED_BACK)
    decision = world.status.decisions[-1]
    assert decision.kind is Kind.KILL
    assert decision.believed == "cache is so"
    assert decision.observed == f"Job {named('cache')} has failed: its last words"
    assert world.status.condition("Stalled") is not None


def test_a_job_is_read_every_two_seconds_and_no_oftener() -> None:
    world = probing(job_takes=None)()
    before = len(world.done)
    for _ in range(12):
        world.now += s(0.5)
        world.turn()
    reads = [effect for effect in world.done[before:] if isinstance(effect.work, RunJob)]
    assert len(reads) == 3


@pytest.mark.parametrize("fault", [crash, refuse], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("point", ["record", "recorded", "job", "made"])
@pytest.mark.parametrize("times", range(1, 5))
def test_whatever_is_killed_when_each_job_runs_once_and_none_is_skipped(point: str, fault: Trap, times: int) -> None:
    expand = {"jobs": [job("three"), job("four")], "scale": {"new": 7}}
    world = fresh({"assumptions": [assumption("one"), assumption("two")], "expand": expand})()
    for _ in range(times):
        world.interrupted(point, fault)
    world.until(P.JUDGING)
    assert [each.name for each in world.made] == [named(name) for name in ("one", "two", "three", "four")]
    assert world.new is not None
    assert world.new.wanted == 7


def test_a_job_that_was_made_by_a_leader_that_died_has_its_time_from_when_it_was_begun() -> None:
    world = fresh({"assumptions": [assumption("cache")]}, job_takes=None)()
    world.interrupted("made")
    world.now += m(20)
    world.until(P.ROLLED_BACK)
    assert [each.name for each in world.made] == [named("cache")]
    assert world.status.reason == "AssumptionFalse"


# ---- taking the old away ---------------------------------------------------------------------------------------------

UNSEEN = [
    Case(
        "a Job that can no longer be read",
        probing(job_takes=None),
        then(put(broken={"job"}), wait(m(5) + s(15))),
        P.ROLLED_BACK,
        "AssumptionFalse",
        ["RequestRefused", "AssumptionFalse"],
        f"Job {named('cache')} has not ended within 5m",
    ),
    Case(
        "a predicate that cannot be asked",
        fresh({"assumptions": [WARM]}, broken={"observe"}),
        wait(m(1) + s(15)),
        P.ROLLED_BACK,
        "AssumptionFalse",
        ["Started", "AssumptionFalse"],
        "no answer within 1m to warm[120s]",
    ),
    Case(
        "a new side that can no longer be looked at",
        expanding,
        then(put(broken={"inspect"}), wait(m(4) + s(15))),
        P.ROLLED_BACK,
        "NewSideNotReady",
        ["RequestRefused", "Stalled"],
        "the pods of v2 could not be read within 5m: 500 InternalError: the API server has made this up",
    ),
    Case(
        "a new side of which nobody can say whether it has restarted since it stands",
        expanding,
        then(put(broken={"inspect"}), wait(s(5)), pods(ready=4), wait(m(4) + s(15))),
        P.ROLLED_BACK,
        "NewSideNotReady",
        ["RequestRefused", "Stalled"],
        "the pods of v2 could not be read within 5m: 500 InternalError: the API server has made this up",
    ),
]


@pytest.mark.parametrize("case", UNSEEN, ids=ids)
def test_what_the_api_server_does_not_show_any_more_ends_a_run_at_its_deadline_all_the_same(case: Case) -> None:
    run(case)


TAKEN = ["Contracted", "Contracted", "Contracted", "Succeeded"]
TAKES = [
    Case(
        "the old side is scaled down, then the Jobs run in the order written",
        contracting(),
        wait(s(12)),
        P.SUCCEEDED,
        tells=TAKEN,
        says=f"v1 has 0 replicas | Contracted: Job {named('drop')} is complete: its last words"
        f" | Contracted: Job {named('vacuum')}",
        weights=ALL,
    ),
    Case(
        "without contract nothing is taken away",
        succeeded,
        nothing,
        P.SUCCEEDED,
        weights=ALL,
    ),
    Case(
        "an autoscaler of the old side is left to its work",
        contracting(autoscaled=frozenset({"v1"})),
        wait(s(12)),
        P.SUCCEEDED,
        tells=TAKEN,
        says="HorizontalPodAutoscaler v1-hpa scales v1, so the run does not scale it",
    ),
    Case(
        "and it is there to go back to, at half its size",
        contracting(autoscaled=frozenset({"v1"})),
        then(wait(s(12)), put(old=Deployment("v1", wanted=2, ready=2)), say("revert r1")),
        P.ROLLED_BACK,
        "Reverted",
        weights=OLD_WEIGHTS,
    ),
    Case(
        "approval is waited for",
        contracting({"contract": {**CONTRACT, "approval": "Required"}}),
        wait(m(20)),
        P.HELD,
        "AwaitingApproval",
        ["Held"],
        "removing the old side needs approval",
    ),
    Case(
        "and then it goes on",
        contracting({"contract": {**CONTRACT, "approval": "Required"}}),
        then(wait(m(20)), say("approve a1"), wait(s(12))),
        P.SUCCEEDED,
        tells=["Held", "Resumed", *TAKEN],
    ),
    Case(
        "a plan that refers to what is not there begins no other run, and takes away what it was to take",
        contracting(),
        then(edit({"guards": [{"template": "nowhere"}]}), wait(s(12))),
        P.INVALID,
        "TemplateNotFound",
        [*TAKEN, "Stalled"],
        weights=ALL,
    ),
    Case(
        "a Job that fails holds it, and says how both sides stand",
        contract_failed,
        wait(m(20)),
        P.HELD,
        "ContractFailed",
        [],
        "its last words; v2 has 4 of 4 pods ready with 100% of the traffic, v1 has 0 of 0 pods ready with the rest",
        ALL,
    ),
    Case(
        "a Job that does not end by its deadline is one that failed",
        contracting({"contract": {"jobs": [job("drop", deadline="2m")]}}, job_takes=None),
        wait(m(2)),
        P.HELD,
        "ContractFailed",
        says=f"Job {named('drop')} has not ended within 2m and is not deleted; v2 has 4 of 4 pods",
    ),
    Case(
        "a Job that the API server refuses is one that failed",
        contracting(job_refused="restartPolicy: Required value"),
        wait(m(20)),
        P.HELD,
        "ContractFailed",
        says="the API server refuses the Job for drop: restartPolicy: Required value",
    ),
    Case(
        "resume tries it again under another name",
        contract_failed,
        then(say("resume r1"), wait(s(12))),
        P.SUCCEEDED,
        tells=["Resumed", "Contracted", "Contracted", "Succeeded"],
        says=f"Job {named('drop', attempt=2)} is complete",
    ),
    Case(
        "what was done before is not done again",
        contract_failed,
        then(put(old=Deployment("v1", wanted=2, ready=2)), say("resume r1"), wait(s(12))),
        P.SUCCEEDED,
        tells=["Resumed", "Contracted", "Contracted", "Succeeded"],
    ),
    Case(
        "abort puts the weights back while the old side stands",
        contracting({"contract": {**CONTRACT, "approval": "Required"}}),
        then(wait(m(1)), say("abort a1")),
        P.ROLLED_BACK,
        "Aborted",
        ["Held", *BACK],
        weights=OLD_WEIGHTS,
    ),
    Case(
        "and is refused with the reason when it does not",
        contract_failed,
        say("abort a1"),
        P.HELD,
        "ContractFailed",
        ["CommandRejected"],
        "the old side was scaled down at the end of the run and has 0 ready pods: scale Deployment v1 up to 4 first",
        ALL,
    ),
    Case(
        "once it stands again, abort puts the weights back",
        contract_failed,
        then(put(old=Deployment("v1")), say("abort a1")),
        P.ROLLED_BACK,
        "Aborted",
        weights=OLD_WEIGHTS,
    ),
    Case(
        "revert is refused like that after the end",
        contracting(),
        then(wait(s(12)), say("revert r1")),
        P.SUCCEEDED,
        tells=[*TAKEN, "CommandRejected"],
        says="scale Deployment v1 up to 4 first, and send the command again when its pods are ready",
        weights=ALL,
    ),
    Case(
        "revert puts the weights back where nothing was scaled",
        contracting({"contract": {"jobs": [job("drop")]}}),
        then(wait(s(12)), say("revert r1")),
        P.ROLLED_BACK,
        "Reverted",
        weights=OLD_WEIGHTS,
    ),
    Case(
        "weights that somebody moved back keep the old from being taken away",
        contracting(),
        then(drift(OLD_WEIGHTS), wait(m(20))),
        P.HELD,
        "Conflict",
        ["Held"],
        "the old side is not removed",
        OLD_WEIGHTS,
    ),
    Case(
        "when they are right again it is drained anew, and goes on",
        contracting({"traffic.drain": "1m"}),
        then(drift(OLD_WEIGHTS), wait(m(20)), drift(ALL), wait(s(50))),
        P.CONTRACTING,
        tells=["Held", "Resumed"],
        weights=ALL,
    ),
    Case(
        "a new side without all its pods keeps the old",
        contracting(),
        then(pods(ready=3), wait(m(20))),
        P.HELD,
        "Capacity",
        ["Held"],
        "100% of the traffic needs 4 available pods of v2, only 3 are available",
        ALL,
    ),
    Case(
        "where nothing is left to take away it ends, whoever is ready",
        contracting({"contract": {"scaleOld": 0}}),
        then(trap(scaled=lambda world: world.pods(ready=3)), wait(s(1))),
        P.SUCCEEDED,
        tells=["Contracted", "Succeeded"],
    ),
    Case(
        "a policy that freezes keeps it too",
        contracting(),
        then(put(policies=(FROZEN,)), wait(m(20))),
        P.HELD,
        "Frozen",
        ["Held"],
    ),
    Case(
        "pause keeps what is left from being taken away, and its time does not count",
        contracting({"contract": {"jobs": [job("drop", deadline="2m")]}}),
        then(settle, say("pause p1"), wait(m(20)), say("resume r1"), wait(s(1))),
        P.SUCCEEDED,
        tells=["Held", "Resumed", "Contracted", "Succeeded"],
    ),
    Case(
        "a deleted plan leaves the weights where they have proved themselves",
        contract_failed,
        delete,
        P.HELD,
        weights=ALL,
    ),
    Case(
        "pods of the new side that die put nothing back: there may be nothing to go back to",
        contract_failed,
        then(pods(ready=0), wait(m(10))),
        P.HELD,
        "ContractFailed",
        [],
        weights=ALL,
    ),
    Case(
        "a plan with other sides takes nothing more away of these",
        contract_failed,
        then(edit({"old": {"deployment": "v2"}, "new": {"deployment": "v3"}}), say("resume r1"), settle),
        P.INVALID,
        tells=["Resumed", "Succeeded", "Stalled"],
        says="the rest of the old side is kept, because the plan names other sides now",
        weights=ALL,
    ),
]


@pytest.mark.parametrize("case", TAKES, ids=ids)
def test_the_old_is_taken_away_at_the_end(case: Case) -> None:
    run(case)


def test_the_way_back_says_how_the_old_side_is_made_larger_again_before_it_is_made_smaller() -> None:
    world = contracting()()
    crumbs = set[str]()
    while world.phase is not P.SUCCEEDED:
        assert world.old is not None
        if world.old.wanted == 0:
            annotations = world.routes["shop"]["metadata"]["annotations"]
            crumbs |= {world.undo_annotation, annotations["rolloutplan.dev/revert"]}
        if not world.turn():
            at = world.next()
            assert at is not None
            world.now = at
    (crumb,) = crumbs
    up = "kubectl scale deployment/v1 -n ns --replicas=4 && kubectl rollout status deployment/v1 -n ns && kubectl "
    assert crumb.startswith(up)


def test_nothing_is_scaled_down_that_gets_traffic_again_in_the_very_moment() -> None:
    """The way back is written upon the route as it was looked at; one that was moved since refuses that."""
    world = contracting()()
    world.traps["route"] = lambda world: world.drift(OLD_WEIGHTS)
    world.settle()
    assert (world.phase, world.status.reason) == (P.HELD, "Conflict")
    assert world.old is not None
    assert world.old.wanted == 4


def test_a_job_that_was_begun_while_the_old_deployment_was_gone_ends_before_that_is_scaled_down() -> None:
    """And it is not made again where it is deleted meanwhile: a removal that runs twice may fail, or remove more."""
    world = contracting(job_takes=s(20))()
    world.old = None
    world.settle()
    world.old = Deployment("v1")
    world.advance(s(5))
    assert [each.name for each in world.made] == [named("drop")]
    assert world.resized == []
    deleted = world.twin()
    deleted.jobs = {}
    deleted.until(P.HELD)
    assert (deleted.status.reason, len(deleted.made)) == ("ContractFailed", 1)
    world.until(P.SUCCEEDED)
    assert [each.name for each in world.made] == [named("drop"), named("vacuum")]
    assert [(each.name, each.after) for each in world.resized] == [("v1", 0)]


@pytest.mark.parametrize("fault", [crash, refuse], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("point", ["record", "recorded", "mark", "route", "scale", "scaled", "job", "made"])
@pytest.mark.parametrize("times", range(1, 4))
def test_whatever_is_killed_when_the_old_is_taken_away_once(point: str, fault: Trap, times: int) -> None:
    world = contracting()()
    for _ in range(times):
        world.traps[point] = fault
        world.advance(s(3))
    world.traps = {}
    world.until(P.SUCCEEDED)
    assert [each.name for each in world.made] == [named("drop"), named("vacuum")]
    assert world.old is not None
    assert world.old.wanted == 0


# ---- names -----------------------------------------------------------------------------------------------------------


NAMES = st.from_regex(r"[a1]([-a1]{0,4}[a1])?", fullmatch=True) | st.from_regex(r"a[-a1]{58,61}1", fullmatch=True)
"""Names of plans and tasks that are joined to the same text soon, and such that are cut."""
JOBS = st.tuples(NAMES, st.sampled_from(["u1", "u2"]), st.integers(1, 12), NAMES, st.integers(1, 12))
"""Plan, uid, run, task and attempt."""
VIEW = World().plan()


def name_of(plan: str, uid: str, run: int, task: str, attempt: int = 1) -> str:
    return job_name(replace(VIEW, name=plan, uid=uid), run, task, attempt)


def test_a_name_is_made_to_be_read_and_ends_in_a_mark() -> None:
    assert name_of("shop", "u1", 7, "add-columns") == "shop-7-add-columns-3aead2ab"
    assert name_of("shop", "u1", 7, "add-columns", 2) == "shop-7-add-columns-2-00d84eed"
    assert name_of("shop.v2", "u1", 1, "cache").startswith("shop-v2-1-cache-")
    assert name_of("p" * 63, "u1", 1, "cache").startswith(f"{46 * 'p'}-1-cache-"), "what is long is cut"
    assert name_of("shop", "u1", 1, "t" * 63).startswith(f"shop-1-{47 * 't'}-"), "what is long is cut"
    assert name_of("p" * 63, "u1", 1, "t" * 63).startswith(f"{26 * 'p'}-1-{25 * 't'}-"), "what is long is cut"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "u1", 1, "2-b"), ("a-1", "u2", 2, "b")),
        (("a", "u1", 1, "b"), ("a", "u2", 1, "b")),
        (("a", "u1", 1, "b", 2), ("a", "u1", 1, "b-2")),
        (("a.b", "u1", 1, "c"), ("a-b", "u1", 1, "c")),
        (("p" * 62 + "1", "u1", 1, "t"), ("p" * 62 + "2", "u1", 1, "t")),
        (("p" * 63, "u1", 1, "t" * 62 + "1"), ("p" * 63, "u1", 1, "t" * 62 + "2")),
    ],
)
def test_names_that_read_the_same_are_different(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert name_of(*one).rpartition("-")[0] == name_of(*other).rpartition("-")[0]
    assert name_of(*one) != name_of(*other)


@given(st.lists(JOBS, unique=True, min_size=2, max_size=8))
def test_no_two_jobs_of_any_plans_have_the_same_name_and_each_is_a_dns_label(jobs: list[tuple[Any, ...]]) -> None:
    names = [name_of(*each) for each in jobs]
    assert len({*names}) == len(jobs)
    assert names == [name_of(*each) for each in jobs], "a new leader finds the same Job"
    assert all(re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names)


def test_a_task_that_was_recorded_keeps_the_name_of_its_job_with_a_new_version_of_the_operator() -> None:
    """The former leader named it otherwise and created it, and did not come to write that down."""
    world = probing()()
    world.jobs = {"plan-1-cache": world.jobs[named("cache")]}
    world.status_raw = changed(world.status_raw, {"task.job": "plan-1-cache", "task.made": False})
    world.version += 1
    world.crash()
    world.until(P.JUDGING)
    assert len(world.made) == 1, "no second Job"
    assert "Job plan-1-cache is complete" in " ".join(each.note for each in world.trail.values())


def test_the_job_is_the_template_with_our_marks() -> None:
    marked = changed(JOB, {"template.metadata": {"labels": {"team": "shop"}, "annotations": {"a": "b"}}})
    spec = read_plan_spec(changed(PLAN, {"assumptions": [assumption("cache", job=marked)]}))
    (probe,) = spec.assumptions
    assert probe.job is not None
    task = Task(kind="Assumption", name="cache", job=named("cache", run=3), since=START, deadline_at=START)
    made = manifest(World().plan(), 3, task, probe.job.template, timedelta(seconds=89.5))
    assert made["metadata"] == {
        "name": named("cache", run=3),
        "namespace": "ns",
        "labels": {
            "team": "shop",
            "rolloutplan.dev/plan": "plan",
            "rolloutplan.dev/run": "3",
            "rolloutplan.dev/task": "cache",
        },
        "annotations": {"a": "b"},
        "ownerReferences": [
            {
                "apiVersion": "rolloutplan.dev/v1alpha1",
                "kind": "RolloutPlan",
                "name": "plan",
                "uid": "0123456789",
                "controller": True,
            }
        ],
    }
    pod = made["spec"]["template"]
    assert pod["metadata"]["labels"] == {key: made["metadata"]["labels"][key] for key in (PLAN_LABEL, RUN, TASK)}
    written = JOB["template"]["spec"]["template"]["spec"]
    assert pod["spec"] == {**written, "automountServiceAccountToken": False}
    assert {**made["spec"], "template": {}} == {"activeDeadlineSeconds": 90, "template": {}}


@pytest.mark.parametrize(("written", "given"), [({}, False), (None, False), (False, False), (True, True)])
def test_a_job_gets_a_token_only_where_its_template_asks_for_one(written: object, given: bool) -> None:
    asked = {} if written == {} else {"automountServiceAccountToken": written}
    asking = changed(JOB, {"template.spec.template.spec": PODS | asked})
    (probe,) = read_plan_spec(changed(PLAN, {"assumptions": [assumption("cache", job=asking)]})).assumptions
    assert probe.job is not None
    task = Task(kind="Assumption", name="cache", job=named("cache"), since=START, deadline_at=START)
    made = manifest(World().plan(), 1, task, probe.job.template, timedelta(minutes=5))
    assert made["spec"]["template"]["spec"] == {**PODS, "automountServiceAccountToken": given}
