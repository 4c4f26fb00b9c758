"""What each kind of route gets for a mirror, for testers and for a sticky cookie: as its own documentation has it."""

from __future__ import annotations

import copy
import json
import shlex
from typing import Any, Final

import jsonpatch
import pytest
import yaml

from rolloutplan.api.abilities import described, kinds_that_can
from rolloutplan.api.added import read_addition
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.weights import holds_both
from rolloutplan.engine.policy.additions import rules_cannot
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.overlay import ADDED
from tests.refusals import DARK, changed
from tests.routers.samples import SAMPLES, Sample
from tests.shop import ROOT
from tests.world import PLAN

Raw = dict[str, Any]


def texts(sample: Sample, mirror: str = "10%") -> dict[str, str]:
    """What can be added, as the status has it, by its word."""
    return {
        "mirror": f"mirror {mirror} to {sample.new}",
        "header": f"header x-staff=yes to {sample.new}",
        "cookie": f"cookie beta=1.0 to {sample.new}",
        "sticky": "sticky side for 1h",
    }


def moved(sample: Sample, raw: Raw, *added: str) -> tuple[Raw, list[int]]:
    """The object with this in addition in every rule with both sides that can have it, and the indexes of these."""
    view = sample.view(raw)
    words = {addition.word for text in added if (addition := read_addition(text))}
    both = [rule for rule in view.rules if holds_both(rule, sample.old, sample.new)]
    able = [rule for rule in both if not words & view.unable.get(rule.index, frozenset())]
    target = RouteWeights(kind=sample.name, name="web", rules=tuple(rule.with_added(added) for rule in able))
    patch = sample.kind.patch(view, target, token="0/01234567.1.1", undo="undo")
    return jsonpatch.apply_patch(raw, json.loads(json.dumps(patch))), [rule.index for rule in able]


def without_mirror(sample: Sample) -> Raw:
    """The object without a mirror of its author."""
    raw = sample.object
    if sample.name == "HTTPProxy":
        raw["spec"]["routes"][0]["services"] = [s for s in raw["spec"]["routes"][0]["services"] if "mirror" not in s]
    if sample.name == "RouteTable":
        for each in raw["spec"]["routes"][0]["routeAction"]["multi"]["destinations"]:
            name = each["destination"].pop("kube")["ref"]["name"]
            each["destination"]["upstream"] = {"name": name, "namespace": "shop"}
    return raw


ABLE: Final = [(kind, word) for word in ("mirror", "header", "cookie", "sticky") for kind in kinds_that_can(word)]


@pytest.mark.parametrize(("kind", "word"), ABLE)
def test_it_is_added_read_and_taken_away_to_the_byte(kind: str, word: str) -> None:
    sample = SAMPLES[kind]
    all_or_none = "mirror/1000" in described(BUILT_IN[kind])
    text, raw = texts(sample, "100%" if all_or_none else "10%")[word], without_mirror(sample)
    before = copy.deepcopy(raw)
    made, rules = moved(sample, raw, text)
    assert rules
    view, bare = sample.view(made), sample.view(before)
    assert [rule.index for rule in view.rules if rule.added == (text,)] == rules
    assert [rule.with_added(()) for rule in view.rules] == list(bare.rules), "weights and numbers of rules are the same"
    gone, _ = moved(sample, made)
    assert gone["spec"] == before["spec"]
    assert ADDED not in gone["metadata"]["annotations"]
    snapshot = RouteWeights(kind=kind, name="web", rules=tuple(bare.rules[index] for index in rules))
    undo = ROUTE_KINDS[kind].undo_command("shop", snapshot, view)
    undone = jsonpatch.apply_patch(made, json.loads(shlex.split(undo)[-1]))
    assert undone["spec"] == before["spec"]


EXPECTED: Final[dict[str, Raw]] = yaml.safe_load((ROOT / "tests/routers/added.yaml").read_text())


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


@pytest.mark.parametrize("subject", EXPECTED)
def test_it_has_the_form_of_the_kind(subject: str) -> None:
    kind, word = subject.split()
    sample = SAMPLES[kind]
    made, _ = moved(sample, without_mirror(sample), texts(sample)[word])
    assert _at(made, EXPECTED[subject]["at"]) == EXPECTED[subject]["is"]


def test_an_apisix_route_and_a_skipper_route_group_name_the_service_and_its_port() -> None:
    apisix, skipper = SAMPLES["ApisixRoute"], SAMPLES["RouteGroup"]
    made, _ = moved(apisix, apisix.object, texts(apisix)["mirror"])
    (plugin,) = made["spec"]["http"][0]["plugins"]
    assert plugin["config"] == {"host": "http://web-v2.shop.svc:80", "sample_ratio": 0.1}
    made, _ = moved(skipper, skipper.object, texts(skipper, "100%")["mirror"])
    assert 'tee("http://web-v2.shop.svc:80")' in json.dumps(made["spec"]).replace("\\\\", "").replace('\\"', '"')


def test_a_copy_comes_before_a_rule_with_a_priority() -> None:
    apisix, traefik = SAMPLES["ApisixRoute"], SAMPLES["IngressRoute"]
    made, _ = moved(apisix, apisix.object, texts(apisix)["header"])
    copied, rule = made["spec"]["http"][:2]
    assert copied["priority"] == rule.get("priority", 0) + 1
    assert copied["name"] == f"{rule['name']}-testers-1"
    raw = traefik.object
    raw["spec"]["routes"][0]["priority"] = 7
    made, _ = moved(traefik, raw, texts(traefik)["header"])
    assert [route["priority"] for route in made["spec"]["routes"]] == [8, 7]


def test_contour_takes_one_mirror_a_route_so_one_of_its_author_leaves_no_place() -> None:
    sample = SAMPLES["HTTPProxy"]
    assert "mirror" in sample.view(sample.object).unable[0]
    assert "mirror" not in sample.view(without_mirror(sample)).unable[0]


def test_a_traefik_service_with_a_cookie_of_its_author_cannot_have_another() -> None:
    sample = SAMPLES["TraefikService"]
    raw = sample.object
    raw["spec"]["weighted"]["sticky"] = {"cookie": {"name": "own"}}
    assert "sticky" in sample.view(raw).unable[0]
    assert "sticky" not in sample.view(sample.object).unable[0]


def test_rules_for_connections_have_no_testers_and_no_mirror() -> None:
    for kind, index in (("VirtualService", 2), ("HTTPProxy", 1), ("RouteGroup", 0)):
        sample = SAMPLES[kind]
        assert {"header", "cookie", "mirror"} <= sample.view(sample.object).unable[index]


def test_traefik_does_not_mirror_for_the_gateway_api() -> None:
    """It answers every request of such a route with 500, and calls the route accepted."""
    sample = SAMPLES["HTTPRoute"]
    raw = sample.object
    raw["status"]["parents"][0]["controllerName"] = "traefik.io/gateway-controller"
    assert sample.view(raw).can == {"header", "cookie"}


def test_contour_mirrors_all_requests_of_the_gateway_api_or_none() -> None:
    """It reads no `percent`: the new side would get a copy of everything."""
    sample = SAMPLES["HTTPRoute"]
    raw = sample.object
    raw["status"]["parents"][0]["controllerName"] = "projectcontour.io/gateway-controller"
    assert sample.view(raw).can == {"header", "cookie", "mirror", "mirror/1000"}


@pytest.mark.parametrize(("kind", "port"), [("ApisixRoute", "servicePort"), ("RouteGroup", "servicePort")])
def test_a_mirror_to_a_service_without_a_port_is_refused_before_it_is_written(kind: str, port: str) -> None:
    sample = SAMPLES[kind]
    raw = json.loads(json.dumps(sample.object).replace(f'"{port}"', '"no"'))
    sides = {"old": {"deployment": sample.old}, "new": {"deployment": sample.new}}
    routes = [{"kind": kind, "name": "web"}]
    stages = [{**DARK, "mirror": "100%"}, *PLAN["stages"]]
    spec = read_plan_spec(changed(PLAN, {**sides, "traffic.routes": routes, "stages": stages}))
    for object_, words in ((raw, f"has no {port}: write it, or leave the stage dark out"), (sample.object, "")):
        view = sample.view(object_)
        *_, rule = (rule for rule in view.rules if holds_both(rule, sample.old, sample.new))
        found = rules_cannot(view, spec, RouteWeights(kind=kind, name="web", rules=(rule,)))
        assert words in found
        assert bool(words) == bool(found)
