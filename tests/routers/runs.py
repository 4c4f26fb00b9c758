"""Runs of the operator on a plane, as the suite and the benchmark have them."""

from collections import Counter
from typing import Any, NamedTuple

from tests.bed.load import Load
from tests.bed.processes import until
from tests.routers.routed import Routed

TOTAL = 'http_requests_total{namespace="$namespace",deployment="$deployment"}'
COUNTED: dict[str, Any] = {
    "name": "worse",
    "events": {"bad": TOTAL.replace("}", ',code="500"}'), "total": TOTAL},
    "vsOld": "> 1.5x",
}
"""A predicate that counts the requests of both sides: by it the share is measured."""
RATE = 40
"""Requests a second of a run; up to seven planes of a gateway have theirs at the same time."""
V1, V2 = {"deployment": "checkout-v1"}, {"deployment": "checkout-v2"}


def forth_and_back(shop: Routed) -> Load:
    """A rollout to the new side, after which the old one is scaled away, and a run back to it that is aborted half-way.

    All under a load, which is returned: it has lost what our own actions have lost.
    """
    load = shop.load(RATE)
    quick = {"weights": ["50%", "100%"], "soak": "4s", "deadline": "60s"}
    shop.start(guards=[COUNTED], stages=[quick], **scaled_away(shop))
    shop.until("Succeeded", timeout=90)
    shop.follows("v2")

    slow = {"weights": ["50%", "100%"], "soak": "60s", "deadline": "90s"}
    expand = {"scale": {"new": 2}}
    shop.start("back", old=V2, new=V1, guards=[COUNTED], stages=[slow], expand=expand)
    shop.until("Judging/w50", name="back", timeout=60)
    shop.mixes()
    shop.say("abort now", "back")
    shop.until("RolledBack", name="back", timeout=60)
    shop.follows("v2")
    return load


def scaled_away(shop: Routed) -> dict[str, Any]:
    """The part of a plan that scales the old side to 0, where a route stands it."""
    return {} if shop.plane.spec.empty_breaks else {"contract": {"scaleOld": 0}}


def starts(shop: Routed, name: str, **what: Any) -> None:
    """Start a plan whose first stage is this one, and wait until it is judged."""
    first = {"name": name, "soak": "60s", "deadline": "90s", **what}
    last = {"weights": ["100%"], "soak": "60s", "deadline": "90s"}
    shop.start(name, guards=[COUNTED], stages=[first, last])
    shop.until(f"Judging/{name}", name=name, timeout=60)


def takes_back(shop: Routed, name: str) -> None:
    """Abort the plan, and wait until the route is as before."""
    shop.say("abort now", name)
    shop.until("RolledBack", name=name, timeout=60)


class Mirrored(NamedTuple):
    """What came of a mirror."""

    share: float
    """Of the requests that the stage names."""
    answers: int
    """By the old side."""
    copies: int
    """That the new side got meanwhile."""
    seen: Counter[str]
    """Whose answers the users got."""


def dark(shop: Routed) -> Mirrored:
    """A stage with a mirror, of 10 % where the gateway can divide, under a load of 1,000 requests; then its way back.

    At 10 %, one standard deviation of the copies is 1 %.
    """
    share = 1.0 if "mirror/1000" in shop.plane.can else 0.1
    starts(shop, "dark", mirror=f"{share:.0%}")
    until(lambda: shop.answers(20) and shop.handled("checkout-v2"), 30, "the first copy")
    answers, copies = shop.handled("checkout-v1"), shop.handled("checkout-v2")
    counts = shop.load(100, 10).wait()
    answers, copies = shop.handled("checkout-v1") - answers, shop.handled("checkout-v2") - copies
    takes_back(shop, "dark")
    seen: Counter[str] = Counter()
    for (version, _), number in counts.items():
        seen[version] += number
    return Mirrored(share, answers, copies, seen)
