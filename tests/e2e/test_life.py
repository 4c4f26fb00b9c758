"""What a plan does beside moving traffic: real Jobs of a real Job controller, on pods of the stand-in."""

import shlex
from typing import Any

import pytest

from tests.bed import Bed
from tests.bed.processes import until
from tests.shop import Operator, Shop, assumption, job

JOBS = "/apis/batch/v1/namespaces/{}/jobs"
STAGES = [{"weights": ["50%", "100%"], "soak": "2s", "deadline": "60s"}]
CALM = {"query": "vector(0)", "is": "== 0"}


def jobs(shop: Shop) -> dict[str, dict[str, Any]]:
    """The Jobs of the shop's namespace by their names."""
    return {each["metadata"]["name"]: each for each in shop.bed.get(JOBS.format(shop.namespace))["items"]}


def says(shop: Shop, command: str) -> None:
    words = ("annotate", "--overwrite", "rp", "checkout", "-n", shop.namespace)
    shop.bed.kubectl(*words, f"rolloutplan.dev/command={command}")


def old_replicas(shop: Shop) -> int:
    found = shop.bed.get(f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/checkout-v1")
    return int(found["spec"]["replicas"])


def test_what_is_assumed_is_probed_before_any_weight_moves(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50, seconds=60)
    calm = assumption("calm", predicate=CALM)
    cache = assumption("cache", job=job(runs="1s", says="it answers within 2 ms")) | {"impact": 5}
    shop.start(assumptions=[calm, cache], stages=STAGES)
    shop.until("Probing")
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    shop.until("Succeeded", timeout=60)
    until(lambda: "Succeeded" in shop.reasons(), 5, "the last Event")
    assert shop.reasons()[:4] == ["Started", "AssumptionTrue", "AssumptionTrue", "NewSideReady"]
    notes = [event["note"] for event in shop.events() if event["reason"] == "AssumptionTrue"]
    assert "it answers within 2 ms" in notes[0]
    assert "calm" in notes[1]
    (made,) = jobs(shop).values()
    assert made["metadata"]["name"] == "checkout-1-cache"
    assert made["metadata"]["ownerReferences"][0]["uid"] == shop.stored()["metadata"]["uid"]


def test_a_job_that_fails_ends_the_run_in_its_words_and_a_retry_runs_another(shop: Shop) -> None:
    shop.open()
    shop.start(assumptions=[assumption("cache", job=job(exit_code="1", says="connection refused"))], stages=STAGES)
    status = shop.until("RolledBack")
    assert status["reason"] == "AssumptionFalse"
    assert "connection refused" in status["message"]
    assert status["decisions"][-1]["believed"] == "cache is so"
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    says(shop, "retry r1")
    until(lambda: set(jobs(shop)) == {"checkout-1-cache", "checkout-2-cache"}, 10, "a Job of the second run")


def test_what_the_api_server_says_of_a_bad_template_stands_in_the_plan_and_a_better_one_heals_it(shop: Shop) -> None:
    shop.open()
    bad = job()
    bad["template"]["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    shop.start(assumptions=[assumption("cache", job=bad)], stages=STAGES)
    status = shop.until("Invalid")
    assert status["reason"] == "JobRefused"
    assert "restartPolicy" in status["message"]
    shop.start(assumptions=[assumption("cache")], stages=STAGES)
    shop.until("Shifting", "Judging")


def test_a_deleted_plan_takes_its_jobs_along(shop: Shop) -> None:
    shop.open()
    shop.start(assumptions=[assumption("cache", job=job(runs="60s"))], stages=STAGES)
    until(lambda: bool(jobs(shop)), 10, "the Job")
    shop.bed.delete(shop.plan())
    until(lambda: not jobs(shop), 20, "the end of the Job")


def test_the_new_is_added_beside_the_old_before_any_weight_moves(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50, seconds=60)
    added = [{"name": name, **job(runs="1s")} for name in ("add-columns", "add-index")]
    shop.start(expand={"jobs": added, "scale": {"new": 3}}, stages=STAGES)
    shop.until("Succeeded", timeout=60)
    until(lambda: "Succeeded" in shop.reasons(), 5, "the last Event")
    assert shop.reasons()[:5] == ["Started", *["Expanded"] * 3, "NewSideReady"]
    ready = next(event["note"] for event in shop.events() if event["reason"] == "NewSideReady")
    assert ready.startswith("3 of 3 pods")
    first, second = jobs(shop)["checkout-1-add-columns"], jobs(shop)["checkout-1-add-index"]
    assert first["status"]["completionTime"] <= second["metadata"]["creationTimestamp"]


def test_an_autoscaler_is_left_to_its_work(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50, seconds=60)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout-v2"}
    shop.bed.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "by-load", "namespace": shop.namespace},
            "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5},
        }
    )
    shop.start(expand={"scale": {"new": 4}}, stages=STAGES)
    shop.until("Shifting", "Judging")
    note = next(event["note"] for event in shop.events() if event["reason"] == "Expanded")
    assert "HorizontalPodAutoscaler by-load scales checkout-v2" in note
    found = shop.bed.get(f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/checkout-v2")
    assert found["spec"]["replicas"] == 2


def test_a_migration_that_fails_keeps_the_traffic_where_it_is(shop: Shop) -> None:
    shop.open()
    bad = {"name": "add-columns", **job(exit_code="3", says="relation is locked")}
    shop.start(expand={"jobs": [bad]}, stages=STAGES)
    status = shop.until("RolledBack")
    assert status["reason"] == "ExpandFailed"
    assert "relation is locked" in status["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_the_old_is_taken_away_when_a_person_says_so_and_no_answer_is_lost(shop: Shop) -> None:
    shop.open()
    load = shop.bed.load(shop.host, rate=100, seconds=60)
    drop = {"name": "drop-columns", **job(runs="1s")}
    contract = {"approval": "Required", "scaleOld": 0, "jobs": [drop]}
    traffic = {"routes": [{"kind": "HTTPRoute", "name": "checkout"}], "drain": "3s"}
    shop.start(contract=contract, traffic=traffic, stages=STAGES)
    status = shop.until("Held", timeout=60)
    assert status["reason"] == "AwaitingApproval"
    assert (old_replicas(shop), jobs(shop)) == (2, {})
    says(shop, "approve a1")
    shop.until("Succeeded", timeout=60)
    until(lambda: "Succeeded" in shop.reasons(), 5, "the last Event")
    assert shop.reasons()[-5:] == ["Held", "Resumed", "Contracted", "Contracted", "Succeeded"]
    assert (old_replicas(shop), list(jobs(shop))) == (0, ["checkout-1-drop-columns"])
    crumb = shop.stored()["metadata"]["annotations"]["rolloutplan.dev/revert"]
    assert crumb.startswith(f"kubectl scale deployment/checkout-v1 -n {shop.namespace} --replicas=2 && ")
    says(shop, "revert r1")
    until(lambda: "CommandRejected" in shop.reasons(), 10, "the answer")
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    counts = load.stop()
    assert load.lost() == 0, counts


def test_the_command_on_the_plan_brings_the_old_side_back_with_its_pods(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50, seconds=90)
    shop.start(contract={"scaleOld": 0}, stages=STAGES)
    shop.until("Succeeded", timeout=60)
    until(lambda: old_replicas(shop) == 0, 5, "the old side's end")
    crumb = shop.stored()["metadata"]["annotations"]["rolloutplan.dev/revert"]
    for command in crumb.split(" && "):
        shop.bed.kubectl(*shlex.split(command)[1:])
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert old_replicas(shop) == 2


def test_a_job_that_takes_away_and_fails_is_tried_again_when_a_person_says_so(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=50, seconds=90)
    drop = {"name": "drop-columns", **job(exit_code="1", says="still in use")}
    shop.start(contract={"jobs": [drop]}, stages=STAGES)
    status = shop.until("Held", timeout=60)
    assert status["reason"] == "ContractFailed"
    assert "still in use" in status["message"]
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    says(shop, "resume r1")
    until(lambda: set(jobs(shop)) == {"checkout-1-drop-columns", "checkout-1-drop-columns-2"}, 10, "a second Job")
    shop.until("Held", timeout=30)
    says(shop, "abort a1")
    shop.until("RolledBack", timeout=30)
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


@pytest.fixture
def killable(bed: Bed, running: Operator) -> Operator:
    """The operator of this module; a test may kill it and start it again."""
    del bed
    return running


def test_an_operator_that_is_killed_while_a_job_runs_runs_no_second(shop: Shop, killable: Operator) -> None:
    shop.open()
    shop.start(assumptions=[assumption("cache", job=job(runs="4s"))], stages=STAGES)
    until(lambda: bool(jobs(shop)), 10, "the Job")
    killable.process.kill()
    killable.process.start()
    shop.until("Shifting", "Judging", timeout=60)
    assert list(jobs(shop)) == ["checkout-1-cache"]
