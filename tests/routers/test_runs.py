"""Whether the operator moves each kind of route, on a gateway that really runs, without a lost answer; and says so."""

from threading import Lock

import pytest

from tests.routers.planes import ONE_EACH, PLANES, on
from tests.routers.routed import Routed
from tests.routers.runs import COUNTED, forth_and_back

pytestmark = pytest.mark.usefixtures("running")

DEAF = Lock()
"""What keeps a gateway from hearing of one plane keeps it from hearing of all: they take turns."""


@on(*PLANES)
def test_a_rollout_and_a_rollback_lose_no_answer(shop: Routed) -> None:
    load = forth_and_back(shop)
    assert load.lost() == 0, load.counts()


@on(*ONE_EACH)
def test_a_run_is_not_over_where_the_gateway_does_not_hear(shop: Routed) -> None:
    with DEAF:
        shop.load()
        shop.gateway.deafen()
        try:
            traffic = {"routes": shop.plane.refs(), "drain": "0s", "acceptedWithin": "3s"}
            stage = {"weights": ["50%", "100%"], "soak": "20s", "deadline": "60s"}
            shop.start(guards=[COUNTED], stages=[stage], traffic=traffic)
            status = shop.until("Held", "RolledBack", "Succeeded", timeout=90)
            end = ("RolledBack", "RestoredNotAccepted") if shop.plane.told else ("Held", "WeightNotEffective")
            assert (status["phase"], status["reason"]) == end, status["message"]
            assert shop.answers(50).keys() == {"v1"}
        finally:
            shop.gateway.hear()
