"""`lint` compares plans with routes of every kind, by their descriptions: an example in order, with one thing changed."""
# ruff: noqa: E501 - each row of a table is one line, with the whole message

import json
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "routers"


def found(tmp_path: Path, capsys: pytest.CaptureFixture[str], example: str, old: str, new: str) -> list[str]:
    """What is found in an example in which one text is another: its line, its place in the object, and the message."""
    text = (EXAMPLES / f"{example}.yaml").read_text()
    assert text.count(old) == 1, f"{old} is in it {text.count(old)} times"
    (tmp_path / "shop.yaml").write_text(text.replace(old, new))
    main(["lint", "-o", "json", str(tmp_path), str(ROOT / "deploy" / "predicates")])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return [f"{row['line']}: {row['message']}" for row in rows]


@pytest.mark.parametrize(
    ("example", "old", "new", "message"),
    [
        # Neither side, or one.
        ("traefik", "- {name: checkout-v2, port: 80, weight: 0}", "- {name: cart, port: 80, weight: 0}", "TraefikService shop/checkout must hold both Services checkout-v1 and checkout-v2, each once, in one rule; its rules hold cart, checkout-v1"),
        ("skipper", "serviceName: checkout-v2", "serviceName: cart", "RouteGroup shop/checkout must hold both Services checkout-v1 and checkout-v2, each once, in one rule; its rules hold cart, checkout-v1"),
        ("aws", '"serviceName": "checkout-v2"', '"serviceName": "cart"', "AlbIngress shop/checkout must hold both Services checkout-v1 and checkout-v2, each once, in one rule; its rules hold cart, checkout-v1"),
        ("istio", "{host: checkout, subset: v2}", "{host: checkout, subset: v3}", "VirtualService shop/checkout must hold both Services checkout-v1 and checkout-v2, each once, in one rule; its rules hold checkout-v1, checkout/v3"),
        ("feature-flag", '"on": true,', '"new": true,', "FeatureFlag shop/checkout"),
        # What cannot be read.
        ("aws", '"weight": 0}]}}', '"weight": 0}]}', "/metadata/annotations/alb.ingress.kubernetes.io~1actions.checkout is not JSON: correct its text"),
        ("nginx-canary", 'canary-weight: "0"', 'canary-weight: "none"', '/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight is "none": write a number'),
        ("nginx-canary", 'nginx.ingress.kubernetes.io/canary: "true"', 'nginx.ingress.kubernetes.io/canary: "yes"', '/metadata/annotations/nginx.ingress.kubernetes.io~1canary is not "true"'),
        ("contour", "port: 80, weight: 0}", "port: 80, weight: none}", '/spec/routes/0/services/1/weight is "none": write a number'),
        # A companion that is missing.
        ("emissary", 'hostname: checkout.example.com, prefix: /, service: "checkout-v1.shop:80"', 'hostname: other.example.com, prefix: /, service: "checkout-v1.shop:80"', "no other object has the same spec.prefix and spec.hostname and spec.host: create the old side's"),
        # Weights.
        ("traefik", "- {name: checkout-v2, port: 80, weight: 0}", "- {name: checkout-v2, port: 80}", "checkout-v2 has no weight, which counts as 1: it gets 1% of the traffic before any plan; write weight: 0"),
        ("apisix", "servicePort: 80, weight: 0}", "servicePort: 80}", "checkout-v2 has no weight, which counts as 100: it gets 50% of the traffic before any plan; write weight: 0"),
        ("openshift", "name: checkout-v2, weight: 0}", "name: checkout-v2, weight: 50}", "checkout-v2 has 33.3% of the traffic before the run, more than the first stage gives it (10%): write weight: 0, or begin the stages above it"),
        ("nginx-inc", "{weight: 0, action: {pass: v2}}", "{weight: 7, action: {pass: v2}}", "VirtualServer shop/checkout rule 0: its weights add up to 107, and must to 100: correct them"),
        # A name that is none.
        ("traefik", "routes:\n      - {kind: TraefikService, name: checkout}", "routes:\n      - {kind: TraefikService, name: chekout}", "TraefikService shop/chekout is not among these files (did you mean checkout?)"),
        ("traefik", "- {kind: TraefikService, name: checkout}\n  guards", "- {kind: TraefkService, name: checkout}\n  guards", "write TraefikService"),
        ("nginx-canary", "{kind: NginxCanary, name", "{kind: Ingress, name", "AlbIngress, NginxCanary or SkipperIngress, by the controller that reads it"),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], example: str, old: str, new: str, message: str
) -> None:
    said = found(tmp_path, capsys, example, old, new)
    assert any(message in each for each in said), said


@pytest.mark.parametrize(
    ("example", "old", "new", "line"),
    [
        ("traefik", "- {name: checkout-v2, port: 80, weight: 0}", "- {name: checkout-v2, port: 80}", 21),
        ("apisix", "servicePort: 80, weight: 0}", "servicePort: 80}", 12),
        ("openshift", "name: checkout-v2, weight: 0}", "name: checkout-v2, weight: 50}", 14),
    ],
)
def test_a_weight_is_found_where_it_is_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], example: str, old: str, new: str, line: int
) -> None:
    (said,) = (each for each in found(tmp_path, capsys, example, old, new) if "before" in each)
    assert said.startswith(f"{line}: ")


def test_sides_the_wrong_way_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = "- {name: checkout-v1, port: 80, weight: 100}\n        - {name: checkout-v2, port: 80, weight: 0}"
    new = "- {name: checkout-v1, port: 80, weight: 0}\n        - {name: checkout-v2, port: 80, weight: 100}"
    said = found(tmp_path, capsys, "contour", old, new)
    assert any(
        "checkout-v2 has all of the traffic in HTTPProxy checkout: if this release has not run yet" in each
        for each in said
    ), said


def test_the_main_ingress_is_no_traffic_that_stays_unless_the_old_side_is_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(tmp_path, capsys, "nginx-canary", "bake: 30m", "bake: 20m") == []
    said = found(tmp_path, capsys, "nginx-canary", "bake: 30m", "bake: 30m\n  contract: {scaleOld: 0}")
    assert any("Ingress checkout sends to checkout-v1 too" in each for each in said), said


def test_what_another_route_of_any_kind_sends_to_the_old_side_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inside, namespace: shop}
spec: {hosts: [checkout], http: [{route: [{destination: {host: checkout-v1.shop.svc.cluster.local}, weight: 100}]}]}
"""
    said = found(tmp_path, capsys, "contour", "bake: 30m", "bake: 30m" + other)
    assert any(
        "VirtualService inside sends to checkout-v1 too, and the plan does not move that" in each for each in said
    ), said
