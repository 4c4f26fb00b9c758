"""Runs of the operator on a plane, as the suite and the benchmark have them."""

from typing import Any

from tests.bed.load import Load
from tests.routers.routed import Routed
from tests.shop import TOO_MANY_ERRORS

TOTAL = 'http_requests_total{namespace="$namespace",deployment="$deployment"}'
COUNTED: dict[str, Any] = {
    "name": "worse",
    "events": {"bad": TOTAL.replace("}", ',code="500"}'), "total": TOTAL},
    "vsOld": "> 1.5x",
}
"""A predicate that counts the requests of both sides: by it the share is measured."""
V1, V2 = {"deployment": "checkout-v1"}, {"deployment": "checkout-v2"}


def forth_and_back(shop: Routed) -> Load:
    """A rollout to the new side, after which the old one is scaled away, and a run back to it that is aborted half-way.

    All under a load, which is returned: it has lost what our own actions have lost.
    """
    load = shop.load()
    quick = {"weights": ["50%", "100%"], "soak": "4s", "deadline": "60s"}
    shop.start(guards=[COUNTED], stages=[quick], **scaled_away(shop))
    shop.until("Succeeded", timeout=90)
    shop.follows("v2")

    slow = {"weights": ["50%", "100%"], "soak": "60s", "deadline": "90s"}
    expand = {"scale": {"new": 2}}
    shop.start("back", old=V2, new=V1, guards=[TOO_MANY_ERRORS], stages=[slow], expand=expand)
    shop.until("Judging/w50", name="back", timeout=60)
    shop.mixes()
    shop.say("abort now", "back")
    shop.until("RolledBack", name="back", timeout=60)
    shop.follows("v2")
    return load


def scaled_away(shop: Routed) -> dict[str, Any]:
    """The part of a plan that scales the old side to 0, where a route stands it."""
    return {} if shop.plane.spec.empty_breaks else {"contract": {"scaleOld": 0}}
