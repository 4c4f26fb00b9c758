"""What policies of the cluster say before every increase, and never before a rollback."""

from typing import Any

import pytest

from tests.bed import objects
from tests.bed.processes import until
from tests.shop import Shop

NEVER = {"name": "never", "query": "vector(0)", "is": "> 1", "window": "1s"}
QUICK = [{"weights": ["25%", "100%"], "soak": "2s"}]


def demand(shop: Shop, **spec: Any) -> None:
    """Have one policy for all plans of a shop, which says this."""
    shop.bed.apply(
        {
            "apiVersion": "rolloutplan.dev/v1alpha1",
            "kind": "RolloutPolicy",
            "metadata": {"name": shop.namespace},
            "spec": {"selector": {"namespaces": [shop.namespace]}, **spec},
        }
    )


def test_a_freeze_holds_before_the_next_increase_and_never_a_rollback(shop: Shop) -> None:
    shop.open()
    flips = {
        "name": "bad",
        "query": 'sum(http_requests_total{nothing="here"}) or vector(0)',
        "is": "> 1",
        "window": "1s",
    }
    shop.start(stages=QUICK, guards=[flips])
    shop.until("Judging/w25")
    demand(shop, freeze={"now": "incident 4711"})
    held = shop.until("Held")
    assert held["reason"] == "Frozen"
    assert "incident 4711" in held["message"]
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    shop.bed.behave("checkout-v2", shop.namespace, ready=False)
    status = shop.until("RolledBack")
    assert status["reason"] == "NewSideDown"
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


@pytest.mark.any_cluster
def test_a_thaw_lets_it_go_on(shop: Shop) -> None:
    shop.open()
    demand(shop, freeze={"now": "incident 4711"})
    shop.start(stages=QUICK, guards=[NEVER])
    until(lambda: shop.status().get("reason") == "Frozen", 30, "the freeze")
    assert shop.phase() == "Pending"
    demand(shop)
    shop.until("Succeeded", timeout=30)


def test_plans_run_one_at_a_time_and_say_where_they_stand_in_line(shop: Shop) -> None:
    shop.open()
    demand(shop, lockGroup=shop.namespace)
    names = ["first", "second", "third"]
    for name in names:
        shop.bed.apply(objects.httproute(name, dict(shop.weights), shop.namespace, f"{name}.{shop.host}"))
    for name in names:
        routes = {"routes": [{"kind": "HTTPRoute", "name": name}], "drain": "0s"}
        shop.start(name, traffic=routes, stages=[{"weights": ["50%", "100%"], "soak": "3s"}], guards=[NEVER])
    until(lambda: [shop.status(name).get("reason") for name in names].count("Waiting") == 2, 30, "two that wait")
    waits = " ".join(shop.status(name).get("message", "") for name in names if shop.phase(name) == "Pending")
    assert "in the queue for a place in lock group" in waits

    def over() -> bool:
        phases = [shop.phase(name) for name in names]
        assert sum(phase not in ("", "Pending", "Succeeded") for phase in phases) <= 1, phases
        return phases.count("Succeeded") == 3

    until(over, 90, "the end of all three")


@pytest.mark.any_cluster
def test_a_spent_error_budget_takes_no_increase_and_one_that_is_not_known_neither(shop: Shop) -> None:
    shop.open()
    demand(shop, errorBudget={"query": "vector(0.05)", "atLeast": "20%"})
    shop.start(stages=QUICK, guards=[NEVER])
    held = shop.until("Held")
    assert held["reason"] == "BudgetSpent"
    assert "5% of the error budget is left; at least 20% must be left" in held["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    demand(shop, errorBudget={"query": "nothing_counts_this", "atLeast": "20%"})
    until(lambda: "NoData" in shop.status().get("message", ""), 30, "the doubt")
    demand(shop, errorBudget={"query": "vector(0.5)", "atLeast": "20%"})
    shop.until("Succeeded", timeout=40)
