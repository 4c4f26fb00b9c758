"""Which objects give a Service traffic, of every kind of route: by a weight, without one, or alone at a path."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.weights import holds_both, shift
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.own import described
from rolloutplan.traffic.users import readers, user
from tests.routers import samples
from tests.routers.samples import SAMPLES, Raw, Sample

EVERY = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
STAYS = {
    "NginxCanary": "its main Ingress names the old side, whatever the canary has",
    "ServiceSplitter": "the new side is a subset of the old Service",
}
"""Samples that use the old side with all of the weight on the new one."""


def used(kind: str, raw: Raw, service: str, *siblings: Raw) -> str:
    resource = ROUTE_KINDS[kind].resource.word
    on = [each for each in ROUTE_KINDS.values() if each.resource.word == resource]
    return user(readers(on), raw, siblings, service)


def users_in(sample: Sample, raw: Raw, service: str) -> list[str]:
    """What of an object and those that belong to it gives a Service traffic."""
    objects = [raw, *copy.deepcopy(sample.beside)]
    return [found for each in objects if (found := used(sample.name, each, service, *objects))]


def at(sample: Sample, permille: int) -> Raw:
    """The object of a sample with this share on the new side in every rule that has both."""
    raw, kind = sample.object, sample.kind
    view = sample.view(raw)
    rules = [rule for rule in view.rules if holds_both(rule, sample.old, sample.new)]
    moved = tuple(shift(rule, sample.old, sample.new, permille, view.weights) for rule in rules)
    patch = kind.patch(view, RouteWeights(kind=kind.kind, name=view.id.name, rules=moved), token="", undo="")
    written: Raw = jsonpatch.JsonPatch(patch).apply(raw)
    return written


@EVERY
def test_an_object_of_each_kind_that_gives_the_old_side_traffic_is_found(sample: Sample) -> None:
    assert users_in(sample, at(sample, 0), sample.old)
    assert users_in(sample, at(sample, 500), sample.old)


@EVERY
def test_an_object_of_each_kind_that_gives_all_to_the_new_side_is_not(sample: Sample) -> None:
    assert bool(users_in(sample, at(sample, 1000), sample.old)) is (sample.name in STAYS)
    assert users_in(sample, at(sample, 1000), sample.new)


@EVERY
def test_an_object_of_each_kind_that_names_other_services_is_not(sample: Sample) -> None:
    text = json.dumps([at(sample, 0), *sample.beside])
    raw, *beside = json.loads(re.sub(rf"(?<![\w./-]){sample.old}(?![\w-])", "another", text))
    assert [each for each in (raw, *beside) if used(sample.name, each, sample.old, raw, *beside)] == []


def made(spec: Any, **annotations: str) -> Raw:
    """An object with this spec, which may be YAML."""
    metadata = {"name": "shop", "namespace": "ns", "annotations": annotations}
    return {"metadata": metadata, "spec": yaml.safe_load(spec) if isinstance(spec, str) else spec}


def cases(table: str) -> list[Any]:
    """The kind and the spec of each object of a table in `users.yaml`."""
    kinds = yaml.safe_load((Path(samples.__file__).parent / "users.yaml").read_text())[table]
    found = [(kind, words, spec) for kind, specs in kinds.items() for words, spec in specs.items()]
    return [pytest.param(kind, spec, id=f"{kind}: {words}") for kind, words, spec in found]


@pytest.mark.parametrize(("kind", "spec"), cases("uses"))
def test_what_names_the_service_where_a_backend_stands_is_found_with_and_without_a_weight(kind: str, spec: Any) -> None:
    name = "Ingress" if kind == "NginxCanary" else kind
    assert used(kind, made(spec), "v1") == f"{name} shop"
    assert used(kind, made(spec), "v3") == ""


@pytest.mark.parametrize(("kind", "spec"), cases("leaves"))
def test_what_gives_the_service_nothing_is_not_found(kind: str, spec: Any) -> None:
    assert used(kind, made(spec), "v1") == ""


@pytest.mark.parametrize(
    ("shares", "found"),
    [((), True), ((100,), False), ((60, 40), False), ((60, 39), True), (("all",), True)],
    ids=["no canary", "a canary with all", "two with all", "two with a rest", "a canary without a number"],
)
def test_a_mapping_without_weight_gives_what_others_of_its_prefix_leave(shares: tuple[Any, ...], found: bool) -> None:
    main = made("{prefix: /, service: v1}")
    canaries = [made(f"{{prefix: /, service: v2, weight: {share}}}") for share in shares]
    elsewhere = made("{prefix: /other, service: v2, weight: 100}")
    assert bool(used("Mapping", main, "v1", main, elsewhere, *canaries)) is found


def test_an_ingress_gives_what_the_actions_of_an_alb_name() -> None:
    spec = "{rules: [{http: {paths: [{backend: {service: {name: go, port: {name: use-annotation}}}}]}}]}"
    group = {"targetGroups": [{"serviceName": "v1", "weight": 1}, {"serviceName": "v2", "weight": 0}]}
    action = json.dumps({"type": "forward", "forwardConfig": group})
    raw = made(spec, **{"alb.ingress.kubernetes.io/actions.go": action})
    assert [used("AlbIngress", raw, name) for name in ("v1", "v2", "go")] == ["Ingress shop", "", ""]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"v1": 0, "v2": 100}', ""),
        ('{"v2": 100}', ""),
        ('{"v1": 1, "v2": 99}', "Ingress shop"),
        ('{"v1": 0, "v2": 0}', "Ingress shop"),
        ('{"v1": "0"}', "Ingress shop"),
        ("[", "Ingress shop"),
        ("[1]", "Ingress shop"),
        ("", "Ingress shop"),
    ],
    ids=["0", "none", "a weight", "all 0, which is even", "a text", "no JSON", "a list", "no annotation"],
)
def test_of_ingresses_with_weights(text: str, found: str) -> None:
    """Skipper divides a path among its Services; one that is alone at a path gets all, whatever its weight."""
    paths = "[{path: /, backend: {service: {name: v1}}}, {path: /, backend: {service: {name: v2}}}]"
    weighed = made(f"{{rules: [{{http: {{paths: {paths}}}}}]}}", **{"zalando.org/backend-weights": text})
    assert used("SkipperIngress", weighed, "v1") == found
    weighed["spec"]["rules"].append({"host": "old.example.com", "http": {"paths": yaml.safe_load(paths)[:1]}})
    assert used("SkipperIngress", weighed, "v1") == "Ingress shop"


def test_an_object_is_found_by_a_kind_of_the_clusters_own_and_one_that_moves_pods_is_none() -> None:
    weighted = {"rules": {"spec.rules[]": "to[]"}, "name": ["service"], "weight": "weight", "single": ["spec.fallback"]}
    resource = {"group": "example.net", "versions": ["v1"], "resource": "routes"}
    own = readers([described("ours", {**resource, **weighted, "accepted": {"settle": "2s"}})])
    assert user(own, made("{fallback: {service: v1}}"), (), "v1") == "ours shop"
    assert user(own, made("{fallback: {service: v2}, rules: [{to: [{service: v1, weight: 0}]}]}"), (), "v1") == ""
    assert readers([ROUTE_KINDS["Replicas"]]) == []
