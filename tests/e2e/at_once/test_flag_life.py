"""A feature flag on a real API server: the evaluator follows each step, and a failure brings the object back."""

from __future__ import annotations

from typing import Any

from rolloutplan.api.route_kinds import BUILT_IN
from tests.routers import definitions
from tests.routers.samples import SAMPLES
from tests.shop import Operator, Shop
from tests.unit.test_traffic_flags import KEYS, feature_flag, variants

KIND = BUILT_IN["FeatureFlag"]
FLAGS = "/apis/core.openfeature.dev/v1beta1/namespaces/{}/featureflags/checkout"


def test_a_flag_follows_its_plan_and_comes_back_to_the_byte(shop: Shop, running: Operator) -> None:
    shop.bed.apply(definitions.minimal("FeatureFlag", KIND, SAMPLES["FeatureFlag"].raw))
    definitions.await_served(shop.bed.api, KIND)
    shop.weights = {"checkout-v1": 100}
    shop.open()
    written = feature_flag([{"var": "email"}, ["off"], ["on", 0]])
    written["metadata"] = {"name": "checkout", "namespace": shop.namespace}
    shop.bed.apply(written)
    before = shop.bed.get(FLAGS.format(shop.namespace))["spec"]
    load = shop.bed.load(shop.host, rate=100)
    ref = {"kind": "FeatureFlag", "name": "checkout", "flag": "new-cart"}
    shop.start(
        old={"deployment": "checkout-v1", "variant": "off"},
        new={"deployment": "checkout-v1", "variant": "on"},
        traffic={"routes": [ref], "drain": "0s", "share": "Ignore"},
        stages=[
            {"weights": ["5%", "50%", "100%"], "soak": "3s"},
        ],
    )
    for stage, share in (("w5", 0.05), ("w50", 0.5)):
        shop.until(f"Judging/{stage}", timeout=40)
        now: dict[str, Any] = shop.bed.get(FLAGS.format(shop.namespace))
        assert abs(variants(now)["on"] - KEYS * share) <= 3 * (KEYS * share * (1 - share)) ** 0.5
    shop.bed.behave("checkout-v1", shop.namespace, errors=0.5)
    shop.until("RolledBack", timeout=40)
    assert shop.bed.get(FLAGS.format(shop.namespace))["spec"] == before
    assert load.lost() == 0, load.stop()
