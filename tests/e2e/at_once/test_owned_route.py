"""`traffic.ownership: Owned`: a pipeline writes the route with Git's weights every second, and the rollout goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rolloutplan.traffic.owned import LABEL
from tests.bed import objects
from tests.bed.api import ApiError
from tests.bed.processes import until
from tests.shop import ROUTES, Operator, Shop

OWN = "checkout-rolloutplan"
TRAFFIC: dict[str, Any] = {
    "routes": [{"kind": "HTTPRoute", "name": "checkout"}],
    "ownership": "Owned",
    "drain": "0s",
}
GIT = {"checkout-v1": 100, "checkout-v2": 0}
COMMITTED = {"checkout-v1": 0, "checkout-v2": 100}


@contextmanager
def git(shop: Shop) -> Iterator[dict[str, int]]:
    """Apply the route with the weights in Git every second, by force; yields them, to be committed anew."""
    weights, ended, failed = dict(GIT), threading.Event(), list[Exception]()

    def sync() -> None:
        while not ended.wait(1):
            try:
                shop.bed.apply(objects.httproute(shop.serves, weights, shop.namespace, shop.host), manager="argocd")
            except Exception as error:  # noqa: BLE001 - told to the test
                failed.append(error)

    syncing = threading.Thread(target=sync)
    syncing.start()
    try:
        yield weights
    finally:
        ended.set()
        syncing.join()
    assert not failed, failed


def owned(shop: Shop) -> dict[str, int] | None:
    """The weights of the operator's own route; None where there is none."""
    try:
        route = shop.bed.get(ROUTES.format(shop.namespace, OWN))
    except ApiError:
        return None
    return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}


def strip(shop: Shop) -> None:
    """Take away what says on the operator's route whose it is, as a tool that does not know it may."""
    bare = {"metadata": {"labels": None, "annotations": None}}
    shop.bed.api("PATCH", ROUTES.format(shop.namespace, OWN), bare, "application/merge-patch+json")


def marks(shop: Shop) -> dict[str, str]:
    found: dict[str, str] = shop.bed.get(ROUTES.format(shop.namespace, OWN))["metadata"].get("labels", {})
    return found


def test_a_rollout_goes_on_while_git_writes_its_weights_every_second(shop: Shop) -> None:
    shop.open()
    load = shop.bed.load(shop.host, rate=40)
    with git(shop) as weights:
        stages = [{"weights": ["25%", "100%"], "soak": "4s"}]
        shop.start(traffic=TRAFFIC, stages=stages, bake="2s", contract={"scaleOld": 0})
        shop.until("Judging/w25")
        assert owned(shop) == {"checkout-v1": 75, "checkout-v2": 25}
        strip(shop)
        until(lambda: LABEL in marks(shop), 30, "the operator knows its route by the owner")
        assert owned(shop) != GIT, "its weights are those of the run all the time"
        shop.until("Held/w100", timeout=60)
        until(lambda: "HTTPRoute checkout" in shop.status()["message"], 60, "why the old side stays")
        assert owned(shop) == COMMITTED
        assert shop.traffic() == GIT, "the route in Git is left as it is"
        before = load.counts()
        until(lambda: load.counts()["v2", 200] > before["v2", 200] + 40, 30, "answers of the new side")
        assert load.counts()["v1", 200] == before["v1", 200], "all traffic goes by the operator's route"
        weights.update(COMMITTED)
        shop.until("Succeeded", timeout=60)
        until(lambda: owned(shop) is None, 30, "the end of the operator's route")
        shop.looked_at_again()
    assert (shop.phase(), shop.status()["reason"]) == ("Succeeded", "Succeeded"), shop.status()["message"]
    assert shop.traffic() == COMMITTED
    assert load.lost() == 0, load.stop()


def test_errors_put_the_weights_of_the_operators_route_back(shop: Shop, running: Operator) -> None:
    shop.open()
    load = shop.bed.load(shop.host, rate=40)
    with git(shop):
        shop.start(traffic=TRAFFIC, stages=[{"weights": ["25%", "100%"], "soak": "30s"}])
        shop.until("Judging/w25")
        running.judges(3)
        shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
        status = shop.until("RolledBack")
        assert status["reason"] == "GuardTripped"
        until(lambda: owned(shop) is None, 30, "the end of the operator's route")
    assert shop.traffic() == GIT
    assert load.lost() == 0, load.stop()
