"""A bake with a control group, on real traffic: what begins in it is judged against the old side, and taken back."""

from typing import Any

from tests.e2e.at_once.test_counting import EVENTS
from tests.shop import Shop

GUARD = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
SPEC: dict[str, Any] = {"guards": [GUARD], "stages": [{"weights": ["50%", "100%"], "soak": "3s"}]}
AT_90 = {"checkout-v1": 10, "checkout-v2": 90}


def begun(shop: Shop, bake: str) -> Any:
    """Both sides fail one in ten; the load, once the bake at 90% has begun."""
    shop.open()
    for name in AT_90:
        shop.bed.behave(name, shop.namespace, errors=0.1)
    load = shop.bed.load(shop.host, rate=80)
    shop.start(**SPEC, bake={"for": bake, "holdback": "10%"})
    status = shop.until("Baking", timeout=40)
    assert (status["stage"]["weight"], shop.traffic()) == ("90%", AT_90), "the bake is long enough to be seen"
    assert "10% stays on checkout-v1 as the control group" in status["message"]
    return load


def test_a_fault_that_begins_in_the_bake_is_taken_back(shop: Shop) -> None:
    load = begun(shop, "5m")
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    status = shop.until("RolledBack", timeout=60)
    assert status["reason"] == "GuardTripped"
    assert "vs old at 95%" in status["message"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert load.lost() == 0


def test_a_good_one_ends_at_full_weight(shop: Shop) -> None:
    load = begun(shop, "8s")
    shop.until("Succeeded", timeout=40)
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    assert shop.reasons()[-4:] == ["Baked", "StageStarted", "WeightShifted", "Succeeded"]
    assert load.lost() == 0
