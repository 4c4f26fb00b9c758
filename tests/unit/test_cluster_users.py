"""Which objects of a list give a Service traffic."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.cluster.users import users


def ingress(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "shop", "namespace": "ns"}, "spec": spec}


def path_to(service: Any) -> dict[str, Any]:
    return {"http": {"paths": [{"path": "/", "backend": {"service": {"name": service}}}]}}


def route(*refs: Any) -> dict[str, Any]:
    return {"metadata": {"name": "shop", "namespace": "ns"}, "spec": {"rules": [{"backendRefs": [*refs]}]}}


INGRESS, GRPC = ["Ingress shop"], ["GRPCRoute shop"]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (ingress(rules=[path_to("v2"), path_to("v1")]), INGRESS),
        (ingress(defaultBackend={"service": {"name": "v1"}}), INGRESS),
        (ingress(rules=[path_to("v2")]), []),
        (ingress(rules=[{"host": "no paths"}, {"http": {"paths": [{"backend": {"resource": {"name": "v1"}}}]}}]), []),
        (ingress(rules="none", defaultBackend=7), []),
        ({}, []),
    ],
    ids=["a path", "the default backend", "another Service", "a resource", "nonsense", "nothing"],
)
def test_of_ingresses(raw: dict[str, Any], found: list[str]) -> None:
    assert [*users("Ingress", {"items": [raw]}, "v1")] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"v1": 0, "v2": 100}', []),
        ('{"v2": 100}', []),
        ('{"v1": 1, "v2": 99}', INGRESS),
        ('{"v1": 0, "v2": 0}', INGRESS),
        ('{"v1": "0"}', INGRESS),
        ("[", INGRESS),
        ("[1]", INGRESS),
        ("", INGRESS),
    ],
    ids=["0", "none", "a weight", "all 0, which is even", "a text", "no JSON", "a list", "no annotation"],
)
def test_of_ingresses_with_weights(text: str, found: list[str]) -> None:
    """Skipper divides a path among its Services; one that is alone at a path gets all, whatever its weight."""
    weighed = ingress(rules=[path_to("v1"), path_to("v2")])
    weighed["metadata"]["annotations"] = {"zalando.org/backend-weights": text}
    assert [*users("Ingress", {"items": [weighed]}, "v1")] == found
    weighed["spec"]["rules"].append({"host": "old.example.com", **path_to("v1")})
    assert [*users("Ingress", {"items": [weighed]}, "v1")] == INGRESS


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (route({"name": "v1"}), GRPC),
        (route({"name": "v2"}, {"name": "v1", "weight": 3, "kind": "Service", "group": ""}), GRPC),
        (route({"name": "v1", "weight": 0}), []),
        (route({"name": "v1", "namespace": "other"}), []),
        (route({"name": "v1", "group": "multicluster.x-k8s.io", "kind": "ServiceImport"}), []),
        (route("v1", None), []),
    ],
    ids=["the default weight", "a weight", "no weight", "another namespace", "another kind", "nonsense"],
)
def test_of_routes(raw: dict[str, Any], found: list[str]) -> None:
    assert [*users("GRPCRoute", {"items": [raw]}, "v1")] == found
