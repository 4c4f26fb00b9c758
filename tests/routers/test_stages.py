"""What stages without weights add to each kind of route, on a gateway that really runs."""

import shlex
from typing import Any

import pytest
import requests

from rolloutplan.api.status import RouteWeights
from rolloutplan.cluster.spelling import spelled
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import holds_both
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind
from tests.bed import until
from tests.routers import on_contour, on_istio
from tests.routers.plane import NAME
from tests.routers.planes import PLANES, on
from tests.routers.routed import Routed
from tests.routers.runs import COUNTED

SIGMAS = 3
COPIED = 500
"""So many requests tell a tenth from a fifth: three standard deviations are 20."""


def kind_of(shop: Routed) -> RouteKind:
    return ROUTE_KINDS[shop.plane.kind]


def path_of(shop: Routed) -> str:
    group, version, plural, *_ = kind_of(shop).resource
    return f"/apis/{group}/{version}/namespaces/{shop.namespace}/{plural}/{NAME}"


def seen(shop: Routed) -> RouteView:
    return kind_of(shop).view(shop.bed.get(path_of(shop)))


def spec(shop: Routed) -> Any:
    return shop.bed.get(path_of(shop))["spec"]


def target(view: RouteView, *added: str) -> RouteWeights:
    """Its rules with both sides, with this in addition to the weights."""
    sides = [backend.service for rule in view.rules for backend in rule.backends][:2]
    rules = (rule.with_added(added) for rule in view.rules if holds_both(rule, *sides))
    return RouteWeights(kind=view.id.kind, name=NAME, rules=tuple(rules))


def add(shop: Routed, *added: str) -> None:
    """Have this, and nothing else, in addition to the weights, as the operator writes it."""
    view = seen(shop)
    to = next(backend.service for rule in view.rules for backend in rule.backends[1:])
    named = [text.replace("NEW", to) for text in added]
    patch = kind_of(shop).patch(view, target(view, *named), token="0/01234567.1.1", undo="undo")
    shop.bed.api("PATCH", path_of(shop), spelled(patch).encode(), "application/json-patch+json")


@on(*(plane for plane in PLANES if "header" in plane.can and not isinstance(plane, on_istio.VirtualServiceOfSubsets)))
def test_testers_alone_get_the_new_side_until_somebody_runs_the_undo_command(shop: Routed) -> None:
    before, by_cookie = spec(shop), "cookie" in shop.plane.can
    add(shop, "header x-staff=yes to NEW", *(["cookie beta=1.0 to NEW"] if by_cookie else []))
    shop.follows("v2", x_staff="yes")
    if by_cookie:
        shop.follows("v2", Cookie="a=b; beta=1.0; c=d")
        assert shop.answers(20, Cookie="beta=1.0").keys() == {"v2"}
        assert shop.answers(20, Cookie="beta=1x0; xbeta=1.0; beta=1.00").keys() == {"v1"}
    assert shop.answers(50).keys() == {"v1"}
    assert shop.answers(20, x_staff="no").keys() == {"v1"}

    view = seen(shop)
    command = kind_of(shop).undo_command(shop.namespace, target(view), view)
    shop.bed.kubectl(*shlex.split(command)[1:])
    shop.follows("v1", x_staff="yes")
    assert spec(shop) == before


def visit(shop: Routed, cookie: str = "") -> tuple[str, str]:
    """Who answers a user with this cookie, and the cookie that the answer sets."""
    headers = {"Host": shop.host, **({"Cookie": cookie} if cookie else {})}
    answer = requests.get(shop.gateway.url, headers=headers, timeout=5)
    return answer.headers.get("X-Version", "-"), answer.headers.get("Set-Cookie", "").partition(";")[0]


@on(*(plane for plane in PLANES if "sticky" in plane.can))
def test_a_cookie_keeps_a_user_on_a_side_and_is_worth_nothing_after_the_way_back(shop: Routed) -> None:
    before = spec(shop)
    shop.weigh(50, 50)
    shop.mixes()
    add(shop, "sticky side for 1h")
    until(lambda: visit(shop)[1].startswith("side="), 30, "a cookie")
    users = dict(visit(shop) for _ in range(30))
    assert users.keys() == {"v1", "v2"}
    for version, cookie in users.items():
        assert {visit(shop, cookie)[0] for _ in range(20)} == {version}
    add(shop)
    shop.weigh(100, 0)
    shop.follows("v1")
    assert visit(shop, users["v2"]) == ("v1", "")
    assert spec(shop) == before


@on(on_contour.HTTPProxy(), on_istio.VirtualService())
@pytest.mark.usefixtures("running")
def test_a_run_mirrors_lets_testers_in_and_loses_no_answer(shop: Routed) -> None:
    """Nobody gets an answer of the new side in the dark, and testers stay with it until the last weight."""
    before, load = spec(shop), shop.load()
    stages = [
        {"name": "dark", "mirror": "10%", "soak": "9s"},
        {"name": "staff", "match": {"header": {"name": "x-staff", "value": "yes"}}, "soak": "4s"},
        {"weights": ["50%", "100%"], "soak": "5s"},
    ]
    shop.start(guards=[COUNTED], stages=stages)
    shop.until("Judging/dark", timeout=60)
    until(lambda: shop.handled("checkout-v2"), 30, "the first copy")
    answered, copied = shop.handled("checkout-v1"), shop.handled("checkout-v2")
    until(lambda: shop.handled("checkout-v1") >= answered + COPIED, 30, "the answers")
    answered, copied = shop.handled("checkout-v1") - answered, shop.handled("checkout-v2") - copied
    assert {version for version, _ in load.counts()} == {"v1"}
    print(f"{shop.plane.kind}: {copied} copies of {answered} requests, no answer of the new side")
    assert copied == pytest.approx(answered / 10, abs=SIGMAS * (answered * 0.09) ** 0.5 + 2)

    shop.until("Judging/staff", timeout=60)
    shop.follows("v2", x_staff="yes")

    def goes_on() -> bool:
        """Without a request of testers nothing is proved of them."""
        assert shop.answers(10, x_staff="yes").keys() == {"v2"}
        return bool(shop.status()["stage"]["name"] == "w50")

    until(goes_on, 60, "the first weight")
    assert shop.answers(20, x_staff="yes").keys() == {"v2"}
    shop.until("Succeeded", timeout=120)
    assert load.lost() == 0, load.counts()
    assert not any(rule.added for rule in seen(shop).rules)
    shop.weigh(100, 0)
    assert spec(shop) == before
