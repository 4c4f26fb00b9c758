"""What the operator does not do where a side without endpoints takes the whole route down."""

import pytest

from tests.routers.planes import PLANES, on
from tests.routers.routed import Routed
from tests.routers.runs import COUNTED

FRAGILE = [plane for plane in PLANES if plane.spec.empty_breaks]


@pytest.mark.usefixtures("running")
@on(*FRAGILE)
def test_the_old_side_is_not_scaled_to_nothing(shop: Routed) -> None:
    shop.start(guards=[COUNTED], stages=[{"weights": ["100%"], "soak": "5s"}], contract={"scaleOld": 0})
    status = shop.until("Invalid")
    assert status["reason"] == "EmptySideBreaksRoute"
    assert f"would take {shop.plane.kind} checkout down as a whole" in status["message"]
    assert shop.size("checkout-v1") == 2
    assert shop.answers(20).keys() == {"v1"}
