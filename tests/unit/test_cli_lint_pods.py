"""`lint` of a plan whose weights are numbers of pods: both Deployments are behind one Service."""

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
