"""A right is taken away while the operator runs: the plans concerned say which, and go on when it is back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.bed import Bed, until
from tests.bed.api import MERGE_PATCH
from tests.e2e.test_chart import NAME, as_its_pod, empty, installed, package
from tests.shop import EVENTS, Shop
from tests.upgrades import AT_25, SLOW

__all__ = ["empty", "installed", "package"]

ROLE = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}"


@contextmanager
def without(bed: Bed, verb: str, resource: str) -> Iterator[None]:
    """Take a verb on a resource out of the role of the chart, and give it back."""
    before = bed.get(ROLE)["rules"]
    rules: list[dict[str, Any]] = []
    for rule in before:
        left = [each for each in rule["verbs"] if each != verb]
        others = [each for each in rule["resources"] if each != resource]
        rules += [{**rule, "resources": others}] if others else []
        rules += [{**rule, "resources": [resource], "verbs": left}] if left and resource in rule["resources"] else []
    assert rules != before, f"the chart does not give {verb} on {resource}"
    bed.api("PATCH", ROLE, {"rules": rules}, MERGE_PATCH)
    try:
        yield
    finally:
        bed.api("PATCH", ROLE, {"rules": before}, MERGE_PATCH)


def told(shop: Shop) -> str:
    """All that a user sees: the status and the Events."""
    status = shop.status()
    conditions = [condition.get("message", "") for condition in status.get("conditions", ())]
    events = shop.bed.get(EVENTS.format(shop.namespace))["items"]
    return "\n".join([status.get("message", ""), *conditions, *(event["note"] for event in events)])


def stalled(shop: Shop) -> str:
    """Why the plan needs a person; empty where it does not."""
    conditions = shop.status().get("conditions", ())
    return next((each["reason"] for each in conditions if each["type"] == "Stalled" and each["status"] == "True"), "")


def starts(shop: Shop) -> None:
    shop.start(**SLOW)


def goes_back(shop: Shop) -> None:
    shop.say("abort a1")


@pytest.mark.parametrize(
    ("does", "verb", "resource", "words", "ends"),
    [
        (starts, "get", "services", 'may not get services "', "Judging"),
        (starts, "patch", "httproutes", "may not patch httproutes.gateway.networking.k8s.io", "Judging"),
        (starts, "patch", "rolloutplans", 'may not patch rolloutplans.rolloutplan.dev "', "RolledBack"),
        (starts, "patch", "rolloutplans/status", 'may not patch rolloutplans.rolloutplan.dev/status "', "Judging"),
        (goes_back, "patch", "httproutes", 'may not patch httproutes.gateway.networking.k8s.io "', "RolledBack"),
    ],
)
def test_a_right_that_is_missing_is_named_and_its_plan_goes_on_when_it_is_back(
    installed: Bed, does: Callable[[Shop], None], verb: str, resource: str, words: str, ends: str
) -> None:
    shop, other = (Shop(installed, f"{name}-{uuid4().hex[:6]}", replicas=1).open() for name in ("concerned", "other"))
    with as_its_pod(installed):
        other.start(**SLOW)
        other.until("Judging/w25", timeout=60)
        if does is goes_back:
            starts(shop)
            shop.until("Judging/w25", timeout=60)
        with without(installed, verb, resource):
            does(shop)
            until(lambda: words in told(shop), 30, words)
            if resource != "rolloutplans/status":
                until(lambda: stalled(shop) == "Forbidden", 5, "why it does not go on")
            assert (other.phase(), other.traffic()) == ("Judging", AT_25)
        shop.until(ends, timeout=90)
    shop.close()
    other.close()
