"""What a plan does beside moving traffic: real Jobs of a real Job controller, on pods of the stand-in."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from tests.bed import objects
from tests.bed.processes import until
from tests.shop import Shop, assumption, job

JOBS = "/apis/batch/v1/namespaces/{}/jobs"
STAGES = [{"weights": ["50%", "100%"], "soak": "2s", "deadline": "60s"}]
CALM = {"query": "vector(0)", "is": "== 0"}


def jobs(shop: Shop) -> dict[str, dict[str, Any]]:
    """The Jobs of the shop's namespace by their names."""
    return {each["metadata"]["name"]: each for each in shop.bed.get(JOBS.format(shop.namespace))["items"]}


def scale(shop: Shop, name: str, wanted: int) -> None:
    shop.bed.kubectl("scale", f"deployment/{name}", "-n", shop.namespace, f"--replicas={wanted}")


def test_what_is_assumed_is_probed_before_any_weight_moves(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    calm = assumption("calm", predicate=CALM)
    cache = assumption("cache", job=job(runs="1s", says="it answers within 2 ms")) | {"impact": 5}
    shop.start(assumptions=[calm, cache], stages=STAGES)
    shop.until("Probing")
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    shop.until("Succeeded", timeout=60)
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    assert shop.reasons()[:4] == ["Started", "AssumptionTrue", "AssumptionTrue", "NewSideReady"]
    notes = [event["note"] for event in shop.events() if event["reason"] == "AssumptionTrue"]
    assert "it answers within 2 ms" in notes[0]
    assert "calm" in notes[1]
    (made,) = jobs(shop).values()
    assert made["metadata"]["name"] == shop.job_name("cache")
    assert made["metadata"]["ownerReferences"][0]["uid"] == shop.stored()["metadata"]["uid"]


def test_a_job_that_fails_ends_the_run_in_its_words_and_a_retry_runs_another(shop: Shop) -> None:
    shop.open()
    shop.start(assumptions=[assumption("cache", job=job(exit_code="1", says="connection refused"))], stages=STAGES)
    status = shop.until("RolledBack")
    assert status["reason"] == "AssumptionFalse"
    assert "connection refused" in status["message"]
    assert status["decisions"][-1]["believed"] == "cache is so"
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    shop.say("retry r1")
    both = {shop.job_name("cache", run=run) for run in (1, 2)}
    until(lambda: set(jobs(shop)) == both, 30, "a Job of the second run")


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
    until(lambda: bool(jobs(shop)), 30, "the Job")
    shop.bed.delete(shop.plan())
    until(lambda: not jobs(shop), 30, "the end of the Job")


def test_the_new_is_added_beside_the_old_before_any_weight_moves(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    added = [{"name": name, **job(runs="1s")} for name in ("add-columns", "add-index")]
    shop.start(expand={"jobs": added, "scale": {"new": 3}}, stages=STAGES)
    shop.until("Succeeded", timeout=60)
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    assert shop.reasons()[:5] == ["Started", *["Expanded"] * 3, "NewSideReady"]
    ready = next(event["note"] for event in shop.events() if event["reason"] == "NewSideReady")
    assert ready.startswith("3 of 3 pods")
    first, second = (jobs(shop)[shop.job_name(name)] for name in ("add-columns", "add-index"))
    assert first["status"]["completionTime"] <= second["metadata"]["creationTimestamp"]


def test_an_autoscaler_is_left_to_its_work(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
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
    assert shop.size("checkout-v2") == 2


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
    load = shop.bed.load(shop.host, rate=40)
    drop = {"name": "drop-columns", **job(runs="1s")}
    contract = {"approval": "Required", "scaleOld": 0, "jobs": [drop]}
    traffic = {"routes": [{"kind": "HTTPRoute", "name": "checkout"}], "drain": "3s"}
    shop.start(contract=contract, traffic=traffic, stages=STAGES)
    status = shop.until("Held", timeout=60)
    assert status["reason"] == "AwaitingApproval"
    assert (shop.size("checkout-v1"), jobs(shop)) == (2, {})
    shop.say("approve a1")
    shop.until("Succeeded", timeout=60)
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    assert shop.reasons()[-5:] == ["Held", "Resumed", "Contracted", "Contracted", "Succeeded"]
    assert (shop.size("checkout-v1"), list(jobs(shop))) == (0, [shop.job_name("drop-columns")])
    crumb = shop.stored()["metadata"]["annotations"]["rolloutplan.dev/revert"]
    assert crumb.startswith(f"kubectl scale deployment/checkout-v1 -n {shop.namespace} --replicas=2 && ")
    shop.say("revert r1")
    until(lambda: "CommandRejected" in shop.reasons(), 30, "the answer")
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    counts = load.stop()
    assert load.lost() == 0, counts


def test_the_old_is_not_taken_away_before_git_has_the_weights_of_the_end(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)

    def git_applies(weights: Mapping[str, int]) -> None:
        route = objects.httproute(shop.serves, weights, shop.namespace, shop.host)
        shop.bed.apply(route, manager="argocd-controller")

    git_applies(shop.weights)
    shop.start(contract={"scaleOld": 0}, stages=[{"weight": "100%", "soak": "2s", "deadline": "60s"}])
    status = shop.until("Held", timeout=60)
    assert status["reason"] == "WeightsNotCommitted"
    assert "last applied by argocd-controller (Apply)" in status["message"]
    assert "HTTPRoute checkout rule 0: checkout-v1 0, checkout-v2 100" in status["message"]
    assert shop.size("checkout-v1") == 2
    git_applies({"checkout-v1": 0, "checkout-v2": 100})
    shop.until("Succeeded", timeout=30)
    assert shop.size("checkout-v1") == 0


def test_the_command_on_the_plan_brings_the_old_side_back_with_its_pods(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    shop.start(contract={"scaleOld": 0}, stages=STAGES)
    shop.until("Succeeded", timeout=60)
    until(lambda: shop.size("checkout-v1") == 0, 30, "the old side's end")
    crumb = shop.stored()["metadata"]["annotations"]["rolloutplan.dev/revert"]
    for command in crumb.split(" && "):
        shop.bed.kubectl(*shlex.split(command)[1:])
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert shop.size("checkout-v1") == 2


def test_a_job_that_takes_away_and_fails_is_tried_again_when_a_person_says_so(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    drop = {"name": "drop-columns", **job(exit_code="1", says="still in use")}
    shop.start(contract={"jobs": [drop]}, stages=STAGES)
    status = shop.until("Held", timeout=60)
    assert status["reason"] == "ContractFailed"
    assert "still in use" in status["message"]
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    shop.say("resume r1")
    both = {shop.job_name("drop-columns", attempt=attempt) for attempt in (1, 2)}
    until(lambda: set(jobs(shop)) == both, 30, "a second Job")
    shop.until("Held", timeout=30)
    shop.say("abort a1")
    shop.until("RolledBack", timeout=30)
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def evict(shop: Shop, deployment: str) -> None:
    """Evict the pods of a Deployment, as `kubectl drain` does."""
    path = f"/api/v1/namespaces/{shop.namespace}/pods"
    for pod in shop.bed.get(path)["items"]:
        name = pod["metadata"]["name"]
        if name.startswith(f"{deployment}-") and "deletionTimestamp" not in pod["metadata"]:
            meta = {"name": name, "namespace": shop.namespace}
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
            shop.bed.kubectl("create", "--raw", f"{path}/{name}/eviction", "-f", "-", stdin=json.dumps(eviction))


def test_an_evicted_pod_puts_the_weights_back_and_its_stage_starts_again(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    scale(shop, "checkout-v2", 1)
    shop.bed.wait_ready(shop.namespace, "checkout-v2")
    shop.start(stages=[{"weights": ["50%", "100%"], "soak": "4s", "deadline": "60s"}])
    shop.until("Judging")
    shop.bed.behave("checkout-v2", shop.namespace, ready_after=3.0)
    evict(shop, "checkout-v2")
    until(lambda: shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}, 3, "the old weights")
    status = shop.until("Held")
    assert status["reason"] == "NewSideAway"
    assert "Evict" in status["decisions"][-1]["note"]
    status = shop.until("Succeeded", timeout=60)
    assert status["run"] == 1


def test_a_new_side_that_is_scaled_to_nothing_gets_no_more_traffic(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    shop.start(stages=[{"weights": ["50%", "100%"], "soak": "4s", "deadline": "60s"}])
    shop.until("Judging")
    scale(shop, "checkout-v2", 0)
    until(lambda: shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}, 3, "the old weights")
    status = shop.until("RolledBack")
    assert status["reason"] == "NewSideDown"
    # Its Service may be known to have lost its endpoints before the Deployment is known to want no pods.
    assert "checkout-v2 is scaled to 0" in status["message"] or "has no ready endpoint" in status["message"]
    assert "StageProved" not in [decision["reason"] for decision in status["decisions"]]


def test_a_new_side_that_is_too_small_for_the_next_weight_waits_until_its_pods_are_back(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    stages = [{"weights": ["25%", "100%"], "soak": "4s", "deadline": "60s"}]
    shop.start(expand={"scale": {"new": 4}}, stages=stages)
    shop.until("Judging")
    scale(shop, "checkout-v2", 2)
    status = shop.until("Held")
    assert status["reason"] == "Capacity"
    assert "100% of the traffic needs 4 available pods of checkout-v2, only 2 are available" in status["message"]
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    scale(shop, "checkout-v2", 4)
    shop.until("Succeeded", timeout=40)
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    assert shop.reasons()[-6:] == ["Held", "Resumed", "StageStarted", "WeightShifted", "StageProved", "Succeeded"]
