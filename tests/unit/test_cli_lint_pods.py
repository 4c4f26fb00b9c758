"""`lint` of plans whose sides share a Service: numbers of pods are the weights, or variants of a flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_cli_lint_objects import PLAN, SERVICE, V1, V2, found

BY_PODS = PLAN.replace("kind: HTTPRoute", "kind: Replicas").replace("[5%, 50%, 100%]", "[10%, 50%, 100%]")
ONE = SERVICE.replace("-VERSION", "").replace(", version: VERSION", "")
SHOP = {
    "plan": BY_PODS,
    "v1": V1.replace("replicas: 3", "replicas: 10"),
    "v2": V2.replace("replicas: 3", "replicas: 0"),
    "service": ONE,
}
HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: by-load, namespace: shop}
spec: {minReplicas: 1, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: checkout-v2}}
"""


def test_a_shop_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(tmp_path, capsys, SHOP) == (0, [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"plan": BY_PODS.replace("10%", "5%")},
            "with 10 pods of both sides its weights cannot give checkout-v2 the 5%",
        ),
        ({"hpa": HPA}, "it sets the pods of checkout-v2, whose number is the weight with Replicas: no run starts"),
        ({"service": ONE.replace("app: checkout", "app: checkout, version: v1")}, "the pods of Deployment checkout-v2"),
        ({"service": ONE.replace("name: checkout,", "name: shop,")}, "Service shop/checkout"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], words: str
) -> None:
    _, findings = found(tmp_path, capsys, {**SHOP, **changes})
    assert [message for *_, message in findings if words in message], findings


FLAGS = """\
apiVersion: core.openfeature.dev/v1beta1
kind: FeatureFlag
metadata: {name: checkout, namespace: shop}
spec:
  flagSpec:
    flags:
      new-cart:
        state: ENABLED
        variants: {"on": true, "off": false}
        defaultVariant: "off"
        targeting: {fractional: [["off", 100], ["on", 0]]}
"""
COUNTED = """\
    - name: more-errors
      events: {bad: 'errors_total{variant="$variant"}', total: 'requests_total{variant="$variant"}'}
      vsOld: "> 1.5x"
"""
OF_A_FLAG = (
    PLAN.replace("checkout-v1}", 'checkout-v1, variant: "off"}')
    .replace("checkout-v2}", 'checkout-v1, variant: "on"}')
    .replace("kind: HTTPRoute, name: checkout", "kind: FeatureFlag, name: checkout, flag: new-cart")
    .replace('deployment="$deployment"', 'variant="$variant"')
    .replace("  stages:", COUNTED + "  bake: {for: 15m, holdback: 1%}\n  stages:")
)
FLAGGED = {"plan": OF_A_FLAG, "v1": V1, "service": SERVICE.replace("VERSION", "v1"), "flag": FLAGS}


def test_a_flag_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(tmp_path, capsys, FLAGGED) == (0, [])


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (FLAGS.replace(', ["on", 0]', ""), 'fractional of flag new-cart must hold "on" once, and holds it 0 times'),
        (FLAGS.replace("new-cart", "old-cart"), "it has no flag new-cart (it has old-cart)"),
        (FLAGS.replace("[[", '[["on", 9], ["red", 1], [').replace(', ["on", 0]', ""), "has 8.3% of the traffic before"),
    ],
)
def test_what_is_wrong_with_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, words: str) -> None:
    _, findings = found(tmp_path, capsys, {**FLAGGED, "flag": flag})
    assert [message for *_, message in findings if words in message], findings
