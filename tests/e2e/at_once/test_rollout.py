"""A plan shifts real traffic on real parts, and puts it back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import otlp
from tests.bed import Stopwatch, netns, objects, prometheus
from tests.bed.processes import until
from tests.receiver import Receiver
from tests.shop import ERRORS, ROOT, Operator, Shop, notifier

QUIET = 'sum(rate(nothing_counts_this_total{deployment="$deployment"}[$window]))'


Json = dict[str, Any]


def first(events: list[Json], reason: str) -> Json:
    return next(event for event in events if event["reason"] == reason)


def annotation(event: Json, key: str) -> str:
    return str(event["metadata"]["annotations"].get(f"rolloutplan.dev/{key}", ""))


def condition(status: Json, kind: str) -> Json:
    """The condition of a kind; empty where it is absent."""
    return next((c for c in status["conditions"] if c["type"] == kind), {})


def test_a_healthy_new_side_gets_all_traffic_step_by_step(shop: Shop) -> None:
    shop.open()
    load = shop.bed.load(shop.host, rate=40)
    fits = {"name": "few-errors", "query": ERRORS, "is": "< 1%", "window": "3s"}
    shop.start(stages=[{"weights": ["25%", "50%", "100%"], "soak": "5s", "pass": [fits]}], bake="2s")
    status = shop.until("Succeeded", timeout=60)

    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    assert status["weights"]["desired"] == "100%"
    assert condition(status, "Ready")["status"] == "True"
    assert not condition(status, "Reconciling")
    assert not condition(status, "Stalled")
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    steps = ["StageStarted", "WeightShifted", "StageProved"]
    assert shop.reasons() == ["Started", "NewSideReady", *steps * 3, "Succeeded"]
    shifts = [event for event in shop.events() if event["reason"] == "WeightShifted"]
    assert [annotation(event, "weight-to") for event in shifts] == ["25%", "50%", "100%"]
    proved = first(shop.events(), "StageProved")
    assert "few-errors" in annotation(proved, "evidence"), "the Event of a proof must hold the evidence"
    assert not shop.stored()["metadata"].get("finalizers"), "a finished plan must be free"
    counts = load.stop()
    assert load.lost() == 0, counts


def test_errors_put_the_old_weights_back_and_all_that_tells_of_it_tells_the_same(
    shop: Shop, running: Operator, tmp_path: Path, traced: Receiver, record_property: Callable[[str, object], None]
) -> None:
    shop.open()
    with Receiver().serving(netns.ADDRESS) as receiver:
        shop.bed.apply(notifier(receiver.url, shop.namespace))
        _errors_put_the_old_weights_back(shop, running)
        decisions, uid = shop.status()["decisions"], shop.stored()["metadata"]["uid"]
        until(lambda: len(receiver.keys(uid)) >= len(decisions), 30, "the last notification")
        assert receiver.told(uid) == decisions, "the webhook gets what status, Events and record tell"
        record_property("queries of the dashboard that answered", _the_dashboard_shows_it(shop, running, tmp_path))
    until(lambda: otlp.trace_of(traced, shop.namespace), 10, "the end of the trace")
    spans = otlp.tree(traced, otlp.trace_of(traced, shop.namespace))
    assert spans.keys() == {"stage w25", "run"}
    assert sorted(each for events in spans.values() for each in events) == sorted(shop.reasons())
    record_property("spans of a run that was rolled back, received", len(spans))


def _errors_put_the_old_weights_back(shop: Shop, running: Operator) -> None:
    load = shop.bed.load(shop.host, rate=40)
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}], owner="team-checkout")
    shop.until("Judging/w25")
    running.judges(3)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    status = shop.until("RolledBack")

    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert status["reason"] == "GuardTripped"
    assert condition(status, "Stalled")["status"] == "True"
    assert condition(status, "Ready")["status"] == "False"
    assert "new-errors" in status["message"], status["message"]
    until(lambda: "RolledBack" in shop.reasons(), 30, "the last Event")
    told = first(shop.events(), "RollbackStarted")
    assert annotation(told, "predicate") == "new-errors"
    assert annotation(told, "verdict") == "Tripped"
    assert annotation(told, "bound") == "> 5%"
    assert annotation(told, "value").endswith("%")
    assert "http_requests_total" in annotation(told, "query")
    assert (annotation(told, "weight-from"), annotation(told, "weight-to")) == ("25%", "0%")
    assert shop.reasons().count("RolledBack") == 1
    assert load.lost() == 0, load.stop()
    assert "rolloutplan.dev/revert" not in shop.route()["metadata"].get("annotations", {}), "the undo command is gone"
    until(lambda: shop.records()[-1]["status"]["outcome"] == "RolledBack", 30, "the end of the record")
    (record,) = shop.records()
    assert record["status"]["decisions"] == shop.status()["decisions"], "status, Events and record tell the same"
    steps = ("25% of the traffic goes to checkout-v2", "checkout-v1 has its traffic again")
    for each in ("deployment/checkout-v1", "deployment/checkout-v2", "httproute/checkout"):
        shown = shop.bed.kubectl("describe", each, "-n", shop.namespace)
        assert all(f"RolloutPlan checkout: {words}" in shown for words in steps), f"{each} must name the plan: {shown}"
    assert [decision["reason"] for decision in record["status"]["decisions"]] == shop.reasons()
    assert (record["status"]["reason"], record["status"]["weight"]) == ("GuardTripped", "0%")
    assert record["spec"]["new"]["images"][0].startswith("bed/app:")
    assert record["status"]["dora"]["failed"]
    assert record["status"]["dora"]["badAt"] == record["status"]["stages"][-1]["evidence"][0]["at"]
    assert 0 < record["status"]["dora"]["restoreSeconds"] < 10
    of_shop = f'namespace="{shop.namespace}"'
    until(lambda: running.counted("rolloutplan_change_failures_total", of_shop) == 1, 5, "the count of the failure")
    assert running.counted("rolloutplan_changes_total", of_shop) == 1
    assert 0 < running.counted("rolloutplan_restore_seconds_sum", of_shop) < 10

    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}], owner="team-checkout")
    shop.looked_at_again()
    assert shop.phase() == "RolledBack", "applying a rolled-back plan again must not start it again"


EMPTY = {
    *("Lead, median", "Lead, p90", "Metric limits met", "API requests that failed", "Places taken"),
    *("Plans that wait for a place", "Plans in a run, by phase"),
}
"""Panels, and columns of tables, of what such a run need not have, or has no more at its end."""


def _the_dashboard_shows_it(shop: Shop, running: Operator, folder: Path) -> str:
    """Each query of the dashboard, asked of a Prometheus that scrapes the operator, answers with data of this run.

    Returns how many did, and of which panels the queries are empty.
    """
    job = {"job_name": "operator", "scrape_interval": "2s", "scrape_timeout": "2s", "honor_labels": True}
    target = {"static_configs": [{"targets": [urlsplit(running.metrics).netloc]}]}
    port = 9794
    server = prometheus.scraping(shop.bed.programs.prometheus, folder, "dashboard", port, [job | target])
    board = json.loads((ROOT / "deploy/grafana/rolloutplan.json").read_text())
    url = f"http://127.0.0.1:{port}"

    def answers(query: str) -> int:
        chosen = {"$namespace": shop.namespace, "$owner": "team-checkout", "$__rate_interval": "1m", "$__range": "5m"}
        for variable, value in chosen.items():
            query = query.replace(variable, value)
        return prometheus.series(query, url)

    asked = [
        (each["legendFormat"] if panel["type"] == "table" else panel["title"], each["expr"])
        for panel in board["panels"]
        for each in panel.get("targets", ())
    ]
    wanted = [(title, query) for title, query in asked if title not in EMPTY]
    server.start()
    try:
        for title, query in wanted:
            until(lambda query=query: answers(query), 60, f"{title}: {query}", every=0.2)  # type: ignore[misc]
    finally:
        server.kill()
    return f"{len(wanted)} of {len(asked)}; not of such a run: {', '.join(sorted(EMPTY))}"


def test_a_rollback_restores_the_snapshot_to_the_number_and_leaves_other_backends_alone(
    shop: Shop, running: Operator
) -> None:
    shop.weights = {"checkout-v1": 9, "checkout-v2": 1, "checkout-mirror": 2}
    shop.open()
    shop.bed.load(shop.host, rate=40)
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    shop.until("Judging/w25")
    now = shop.traffic()
    assert now["checkout-v2"] * 3 == now["checkout-v1"], now
    assert now["checkout-mirror"] * 10 == 2 * (now["checkout-v1"] + now["checkout-v2"]), "the mirror keeps its share"
    running.judges(3)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    shop.until("RolledBack")
    assert shop.traffic() == {"checkout-v1": 9, "checkout-v2": 1, "checkout-mirror": 2}


@pytest.mark.any_cluster
def test_without_data_it_is_held_at_the_deadline_and_then_as_the_plan_says(shop: Shop) -> None:
    shop.open()
    silent = {"name": "silent", "query": QUIET, "is": "> 0", "window": "2s"}
    stages = [{"weights": ["25%", "100%"], "soak": "2s", "deadline": "8s", "pass": [silent]}]
    shop.start("hold", stages=stages, onUndecided="Hold")
    held = shop.until("Held", name="hold")
    assert held["reason"] == "Undecided"
    assert "silent (NoData: " in held["message"]
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    shop.say("skip without-a-reason", name="hold")
    until(lambda: "CommandRejected" in shop.reasons("hold"), 30, "the answer")
    assert 'skip <new token> --reason "..."' in first(shop.events("hold"), "CommandRejected")["note"]
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    shop.bed.kubectl("-n", shop.namespace, "delete", "rp", "hold")
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}

    shop.start("back", stages=stages, onUndecided="Rollback")
    status = shop.until("RolledBack", name="back")
    assert status["reason"] == "Undecided"
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_no_weight_goes_back_to_a_side_without_endpoints_before_it_has_some_again(
    shop: Shop, running: Operator
) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=40)
    shop.start(stages=[{"weights": ["50%", "100%"], "soak": "30s"}])
    shop.until("Judging/w50")
    running.judges(3)
    shop.bed.behave("checkout-v1", shop.namespace, ready=False)
    until(lambda: shop.status()["reason"] == "OldSideDown", 30, "the hold for the old side")
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    until(lambda: "the weights stay as they are" in shop.status()["message"], 30, "why nothing goes back")
    assert shop.traffic() == {"checkout-v1": 50, "checkout-v2": 50}
    shop.bed.behave("checkout-v1", shop.namespace, ready=True)
    shop.until("RolledBack")
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


@pytest.mark.any_cluster
def test_a_service_that_selects_nothing_gets_no_traffic_until_it_is_mended(shop: Shop, running: Operator) -> None:
    shop.open()
    service = objects.service("checkout-v2", shop.namespace)
    wrong = service["spec"] | {"selector": {"app": "checkout-v3"}}
    shop.bed.apply(service | {"spec": wrong})
    shop.start()
    until(lambda: shop.status().get("reason") == "ServiceSelectsWrongPods", 30, "the refusal")
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    shop.bed.apply(service)
    shop.until("Judging/w25")


def test_no_weight_moves_to_pods_that_never_become_ready(shop: Shop) -> None:
    shop.annotations = {"checkout-v2": {"start": "ImagePullBackOff"}}
    shop.open(ready=False)
    shop.bed.wait_ready(shop.namespace, "checkout-v1")
    shop.start(availability={"readyWithin": "4s"})
    status = shop.until("RolledBack")
    assert status["reason"] == "NewSideNotReady"
    assert "ImagePullBackOff" in status["message"]
    assert condition(status, "Stalled")["reason"] == "NewSideNotReady"
    assert shop.route()["metadata"]["generation"] == 1, "the route must not have been touched"


def test_two_plans_on_one_route(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    shop.start("first", stages=[{"weights": ["25%", "100%"], "soak": "4s"}])
    shop.until("Judging", name="first")
    shop.start("second", stages=[{"weights": ["50%", "100%"], "soak": "4s"}])
    until(lambda: shop.status("second").get("reason") == "Conflict", 30, "the conflict")
    second = shop.status("second")
    assert condition(second, "Stalled")["reason"] == "Conflict"
    assert "first" in second["message"], "it says who holds the route"
    shop.until("Succeeded", name="first", timeout=40)
    until(lambda: shop.status("second").get("reason") != "Conflict", 30, "its turn")


@pytest.mark.any_cluster
def test_deleting_a_plan_in_mid_run_puts_the_weights_back(shop: Shop) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    shop.until("Judging/w25")
    watch = Stopwatch()
    shop.bed.kubectl("-n", shop.namespace, "delete", "rp", "checkout", "--timeout=20s")
    assert watch.seconds() < 5
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}

    shop.start("kept", stages=[{"weights": ["25%", "100%"], "soak": "30s"}], deletionPolicy="Keep")
    shop.until("Judging/w25", name="kept")
    shop.bed.kubectl("-n", shop.namespace, "delete", "rp", "kept", "--timeout=20s")
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}


@pytest.mark.any_cluster
def test_a_namespace_that_ends_in_mid_run_does_not_hang(shop: Shop) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    shop.until("Judging/w25")
    shop.bed.kubectl("delete", "namespace", shop.namespace, "--timeout=30s")


@pytest.mark.any_cluster
def test_a_new_template_in_mid_run_goes_back_first_and_then_starts_anew(shop: Shop) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
    shop.until("Judging/w25")
    shop.bed.apply(objects.deployment("checkout-v2", shop.namespace, "v2", 2, {"latency": "1ms"}))
    until(lambda: shop.status().get("run") == 2, 30, "the second run")
    shop.until("Judging/w25")
    reasons = [d["reason"] for d in shop.status()["decisions"]]
    assert reasons.index("RolledBack") < reasons.index("Started", 1)
    assert next(d for d in shop.status()["decisions"] if d["reason"] == "RollbackStarted")["note"].startswith(
        "the pod template of checkout-v2"
    )


def by_hand(shop: Shop, old: int, new: int) -> None:
    """Move the weights with kubectl, as a person would."""
    path = "/spec/rules/0/backendRefs/{}/weight"
    patch = [{"op": "replace", "path": path.format(i), "value": w} for i, w in enumerate((old, new))]
    shop.bed.kubectl("-n", shop.namespace, "patch", "httproute", "checkout", "--type=json", "-p", json.dumps(patch))


def test_weights_moved_up_by_somebody_else_are_put_right_and_a_fight_ends_at_the_safe_weight(shop: Shop) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "60s"}])
    before = shop.until("Judging/w25")["stage"]
    for _ in range(3):
        by_hand(shop, 40, 60)
        until(lambda: shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}, 3, "the repair")
        until(lambda: not shop.status().get("intent"), 30, "the repair read back")
    assert shop.phase() == "Judging"
    assert shop.status()["stage"]["soakUntil"] > before["soakUntil"], "the stage starts again"
    told = [decision for decision in shop.status()["decisions"] if decision["reason"] == "WeightDrift"]
    assert len(told) == 3
    assert all("kubectl-patch (Update) at 20" in decision["note"] for decision in told), "it says who, how and when"
    by_hand(shop, 40, 60)
    status = shop.until("RolledBack")
    assert status["reason"] == "WeightConflict"
    assert "kubectl-patch" in condition(status, "Stalled")["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_weights_moved_back_by_somebody_else_hold_the_run_until_they_are_put_back(
    shop: Shop, running: Operator
) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "3s"}])
    shop.until("Judging/w25")
    by_hand(shop, 90, 10)
    held = shop.until("Held")
    assert held["reason"] == "Conflict"
    assert "kubectl-patch" in held["message"], "it says who moved them"
    running.judges(4)
    assert shop.traffic() == {"checkout-v1": 90, "checkout-v2": 10}, "a way to safety is never pushed forward again"
    by_hand(shop, 75, 25)
    shop.until("Succeeded", timeout=30)


def test_kubectl_shows_what_a_person_on_call_needs(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    shop.start(stages=[{"name": "canary", "weight": "25%", "soak": "30s"}, {"weight": "100%"}])
    shop.until("Judging/canary")
    header, row = shop.bed.kubectl("-n", shop.namespace, "get", "rp").splitlines()
    assert header.split() == ["NAME", "PHASE", "STAGE", "WEIGHT", "VERDICT", "REASON", "LOOKED", "AGE"]
    assert row.split()[:7] == ["checkout", "Judging", "1/2", "canary", "25%", "Undecided", "Soaking"]
    told = shop.bed.kubectl("-n", shop.namespace, "describe", "rp", "checkout")
    assert "WeightShifted" in told, "kubectl describe must show the Events"
    assert "kubectl -n" in told
