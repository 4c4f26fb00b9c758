"""How long the API server takes to accept a plan that is as large as plans are, and whether it takes a hundred."""

import json
import time
from typing import Any

from tests.bed import Bed, objects
from tests.bed.api import ApiError
from tests.bench.table import Row, percentile
from tests.shop import PLANS, Shop, timed

STAGES, PREDICATES = 50, 16
BAR = 1.0
"""Seconds."""
QUIET = 1.5
"""Seconds between requests: a person applies one plan, and nothing else is going on."""
NAMESPACE = "applying"
_SHARE = (
    'sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment",handler="%s",code=~"5.."}[$window]))'
    ' / sum(rate(http_requests_total{namespace="$namespace",deployment="$deployment",handler="%s"}[$window]))'
)


def large(shop: Shop, name: str = "large") -> dict[str, Any]:
    """A plan of 50 stages with 16 predicates each, half of them to go on and half of them to go back."""

    def judged(role: str, stage: int) -> list[dict[str, Any]]:
        bound = {"is": "< 1%", "for": "30s", "window": "5m"} if role == "pass" else {"vsOld": "> 1.5x", "window": "2m"}
        handlers = [f"/api/v1/orders/{stage}/{i}" for i in range(PREDICATES // 2)]
        return [
            {"name": f"{role}-errors-{stage}-{i}", "query": _SHARE % (handler, handler), **bound}
            for i, handler in enumerate(handlers)
        ]

    stages = [
        {"name": f"step-{i}", "weight": f"{2 * (i + 1)}%", "pass": judged("pass", i), "fail": judged("fail", i)}
        for i in range(STAGES)
    ]
    return shop.plan(name, stages=stages)


def accepted(bed: Bed, plan: dict[str, Any]) -> float:
    """Create a plan, leave the operator time to look at it, and delete it; returns the seconds until it was accepted.

    Raises ApiError.
    """
    namespace, name = plan["metadata"]["namespace"], plan["metadata"]["name"]
    with timed() as took:
        bed.api("POST", PLANS.format(namespace, ""), plan)
    time.sleep(QUIET)
    bed.api("DELETE", PLANS.format(namespace, name))
    time.sleep(QUIET)
    return took[0]


def applying(bed: Bed, runs: int = 10, plans: int = 100) -> list[Row]:
    """The large plan, some times over, and then so many small ones that are all there at once."""
    shop = Shop(bed, NAMESPACE)
    bed.apply(objects.namespace(NAMESPACE))
    plan = large(shop)
    took = [accepted(bed, plan) for _ in range(runs)]
    size = len(json.dumps(plan)) / 1024
    words = f"p50 {percentile(took, 50):.2f} s, max {max(took):.2f} s, {runs} runs, {size:.0f} KiB"
    figure = f"a plan of {STAGES} stages with {PREDICATES} predicates each is accepted"
    rows = [Row(figure, f"max <= {BAR:.0f} s", words, max(took) <= BAR)]
    began, refused = time.monotonic(), list[str]()
    for i in range(plans):
        try:
            bed.api("POST", PLANS.format(NAMESPACE, ""), shop.plan(f"p{i}"))
        except ApiError as error:
            refused.append(error.message)
    words = "; ".join([f"{plans - len(refused)} in {time.monotonic() - began:.1f} s", *refused[:1]])
    bed.delete(objects.namespace(NAMESPACE))
    return [*rows, Row(f"{plans} plans are created, one after the other", "no error", words, not refused)]
