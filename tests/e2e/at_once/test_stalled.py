"""What only the cluster can tell is said with its fix, and heals by itself; nothing broken stops anything else."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.bed import objects
from tests.bed.api import MERGE_PATCH, ApiError, Manifest
from tests.bed.processes import until
from tests.shop import PLANS, ROOT, ROUTES, Shop, metric_source

FEW_ERRORS: dict[str, Any] = {"template": "success-rate", "with": {"atLeast": "95%", "samples": "1"}, "window": "10s"}
BROKEN_QUERY = {"name": "odd", "query": "sum(rate(x[5m])", "is": "> 1"}

Change = Callable[[Shop], None]


def drop(shop: Shop, manifest: Manifest) -> None:
    """Delete an object, and wait until it is gone."""
    shop.bed.delete(manifest)
    until(lambda: gone(shop, manifest), 30, "the end of what is dropped")


def gone(shop: Shop, manifest: Manifest) -> bool:
    try:
        shop.bed.get(shop.bed.api.path(manifest))
    except ApiError as error:
        return error.status == 404
    return False


def drop_deployment(shop: Shop) -> None:
    drop(shop, objects.deployment("checkout-v2", shop.namespace))


def drop_service(shop: Shop) -> None:
    drop(shop, objects.service("checkout-v2", shop.namespace))


def drop_route(shop: Shop) -> None:
    drop(shop, objects.httproute("checkout", shop.weights, shop.namespace, shop.host))


def route_without_v2(shop: Shop) -> None:
    shop.bed.apply(objects.httproute("checkout", {"checkout-v1": 1}, shop.namespace, shop.host))


def nothing(_: Shop) -> None:
    pass


def everything_back(shop: Shop) -> None:
    shop.open()


def a_source_of_its_own(shop: Shop) -> None:
    own = metric_source(shop.bed.prometheus_url, "own") | {"kind": "MetricSource"}
    own["metadata"]["namespace"] = shop.namespace
    shop.bed.apply(own)


def a_good_query(shop: Shop) -> None:
    shop.start()


def a_template(shop: Shop) -> None:
    """That of the library."""
    name = FEW_ERRORS["template"]
    found = yaml.safe_load_all((ROOT / "deploy/predicates/http.yaml").read_text())
    (template,) = (each for each in found if each["metadata"]["name"] == name)
    shop.bed.apply(template | {"kind": "PredicateTemplate", "metadata": {"name": name, "namespace": shop.namespace}})


ANYWHERE = pytest.mark.any_cluster
CASES = [
    pytest.param(
        drop_deployment,
        {},
        "DeploymentNotFound",
        "checkout-v2",
        everything_back,
        id="no Deployment",
        marks=ANYWHERE,
    ),
    pytest.param(drop_service, {}, "ServiceNotFound", "checkout-v2", everything_back, id="no Service", marks=ANYWHERE),
    pytest.param(drop_route, {}, "RouteNotFound", "checkout", everything_back, id="no route"),
    pytest.param(route_without_v2, {}, "RouteWithoutBothServices", "backendRefs", everything_back, id="no backend"),
    pytest.param(
        nothing,
        {"metrics": {"source": "own"}},
        "MetricSourceNotFound",
        "MetricSource",
        a_source_of_its_own,
        id="no metric source",
        marks=ANYWHERE,
    ),
    pytest.param(
        nothing,
        {"guards": [BROKEN_QUERY]},
        "QueryRejected",
        "unclosed left parenthesis",
        a_good_query,
        id="a query that Prometheus rejects",
        marks=ANYWHERE,
    ),
    pytest.param(
        nothing,
        {"guards": [FEW_ERRORS]},
        "TemplateNotFound",
        "neither PredicateTemplate",
        a_template,
        id="no template",
        marks=ANYWHERE,
    ),
]


@pytest.mark.parametrize(("breaks", "spec", "reason", "words", "fixes"), CASES)
def test_it_says_what_is_missing_and_goes_on_when_it_is_there(
    shop: Shop, breaks: Change, spec: dict[str, Any], reason: str, words: str, fixes: Change
) -> None:
    shop.open()
    breaks(shop)
    shop.start(**spec)
    until(lambda: shop.status().get("reason") == reason, 15, reason)
    status = shop.status()
    assert status["phase"] == "Invalid"
    assert words in status["message"]
    assert next(c for c in status["conditions"] if c["type"] == "Stalled")["reason"] == reason
    until(lambda: "Stalled" in shop.reasons(), 30, "the Event")
    fixes(shop)
    shop.until("Judging", timeout=30)


@pytest.mark.any_cluster
@pytest.mark.parametrize(
    "damage",
    [
        {"phase": "Dancing"},
        {"phase": "RollingBack", "weights": None, "intent": None},
        {"phase": "Judging", "stage": None},
        {"stage": {"soakUntil": "tomorrow"}},
        {"weights": {"snapshot": [{"name": "elsewhere"}]}},
        {"decisions": [{"seq": "many"}], "seq": -7},
        {"held": {"reason": "x"}, "phase": "Held"},
    ],
    ids=",".join,
)
def test_a_status_edited_by_hand_never_stops_another_plan_nor_loses_the_way_back(
    shop: Shop, damage: dict[str, Any]
) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "60s"}])
    shop.until("Judging/w25")
    path = PLANS.format(shop.namespace, "checkout") + "/status"
    try:
        shop.bed.api("PATCH", path, {"status": damage}, MERGE_PATCH)
    except Exception as error:  # noqa: BLE001 - what the API server refuses cannot hurt
        assert "Invalid value" in str(error)  # noqa: PT017
    other = Shop(shop.bed, f"{shop.namespace}-b").open()
    try:
        other.start(stages=[{"weights": ["25%", "100%"], "soak": "60s"}])
        other.until("Judging/w25")
    finally:
        other.close()
    assert shop.status()["phase"] in ("Judging", "Held", "Invalid", "RollingBack", "RolledBack")
    assert shop.status()["message"]
    command = shop.stored()["metadata"].get("annotations", {}).get("rolloutplan.dev/revert", "")
    assert command.startswith("kubectl") or shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_a_route_that_is_deleted_in_mid_run_is_held_and_a_deletion_does_not_wait_for_it(shop: Shop) -> None:
    shop.open()
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "60s"}])
    shop.until("Judging/w25")
    shop.bed.api("DELETE", ROUTES.format(shop.namespace, "checkout"))
    held = shop.until("Held")
    assert held["reason"] == "Conflict"
    assert "gone" in held["message"]
    shop.bed.kubectl("-n", shop.namespace, "delete", "rp", "checkout", "--timeout=10s")


def test_a_plan_with_a_source_that_is_down_does_not_start_blind(shop: Shop) -> None:
    shop.open()
    shop.bed.apply(metric_source("http://10.99.0.1:9", "down", timeout="1s"))
    shop.start(metrics={"source": "down"})
    until(lambda: shop.status().get("reason") == "MetricsUnavailable", 30, "MetricsUnavailable")
    assert shop.phase() == "Pending"
    assert shop.route()["metadata"]["generation"] == 1
    shop.bed.apply(metric_source(shop.bed.prometheus_url, "down", timeout="1s"))
    shop.until("Judging", timeout=30)
