"""Rollouts of Argo and Canaries of Flagger: what becomes of each part, and that nothing is lost without a word."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.cli.main import main
from rolloutplan.tools.convert.convert import convert_object
from rolloutplan.tools.convert.draft import CannotConvertError, Objects
from tests.pages import blocks
from tests.shop import ROOT

TEMPLATE = {
    "metadata": {"labels": {"app": "shop"}},
    "spec": {"containers": [{"name": "app", "image": "shop/app:1", "args": ["-x", "yes", "", "a: b"]}]},
}
QUERY = 'sum(rate(errors{service="{{args.service}}"}[2m]))\n/ sum(rate(requests{service="{{ args.service }}"}[2m]))\n'


def rollout(canary: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": TEMPLATE,
            "strategy": {"canary": canary},
            **spec,
        },
    }


def canary(analysis: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "shop", "namespace": "web"},
        "spec": {
            "provider": "istio",
            "targetRef": {"kind": "Deployment", "name": "shop"},
            "service": {"port": 80, "targetPort": 8080},
            "analysis": analysis,
            **spec,
        },
    }


def analysis(name: str, **metric: Any) -> dict[str, Any]:
    prometheus = {"prometheus": {"address": "http://prometheus:9090", "query": QUERY}}
    return {
        "kind": "AnalysisTemplate",
        "metadata": {"name": name},
        "spec": {"args": [{"name": "service"}], "metrics": [{"name": name, "provider": prometheus, **metric}]},
    }


ROUTED = {"stableService": "s", "canaryService": "c", "trafficRouting": {"istio": {"virtualService": {"name": "vs"}}}}
GOOD = {"successCondition": "result > 1"}
STEPS = {"steps": [{"setWeight": 20}, {"pause": {"duration": "5m"}}]}


def converted(raw: dict[str, Any], *others: Any, provider: str = "") -> tuple[dict[str, Any], dict[str, Any], str]:
    """The objects by kind and name, the spec of the plan, and the notes as text."""
    text, notes = convert_object(raw, Objects([raw, *others]), provider)
    objects = {f"{each['kind']} {each['metadata']['name']}": each for each in yaml.safe_load_all(text)}
    said = "\n".join(f"{note.what}: {note.path}: {note.words}" for note in notes)
    assert all(note.words.split()[0] in text for note in notes), "each note is a comment in what is written"
    return objects, objects["RolloutPlan shop-v2"]["spec"], said


def test_the_steps_of_a_rollout_are_stages() -> None:
    steps = [
        {"setWeight": 0},
        {"setWeight": 5},
        {"pause": {"duration": 90}},
        {"setWeight": 25},
        {"pause": {}},
        {"setWeight": 50},
        {"pause": {"duration": "1h30m"}},
        {"setCanaryScale": {"weight": 5}},
    ]
    _, plan, said = converted(rollout({**ROUTED, "steps": steps}))
    assert plan["stages"] == [
        {"weight": "5%", "soak": "1m30s"},
        {"weight": "25%", "soak": "1m"},
        {"weight": "50%", "soak": "1h30m", "approval": "Required"},
        {"weight": "100%", "soak": "1m"},
    ]
    assert "changed: spec.strategy.canary.steps[4].pause: it waits until somebody promotes" in said
    assert "left out: spec.strategy.canary.steps[7].setCanaryScale" in said


def test_a_page_shows_what_becomes_of_a_release_side_by_side() -> None:
    shown = list(blocks(ROOT / "docs/coming-from-elsewhere.md"))
    pairs = [(before, after) for before, after in pairwise(shown) if after.action == "converted"]
    assert {before.action for before, _ in pairs} == {"rollout", "canary"}
    for before, after in pairs:
        part = yaml.safe_load(before.text)
        _, plan, _ = converted(rollout(part) if before.action == "rollout" else canary(part))
        assert plan == yaml.safe_load(after.text)


def test_both_sides_have_the_pods_of_the_rollout_and_selectors_that_share_no_pod() -> None:
    service = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.0.0.1"}}
    objects, plan, said = converted(rollout({**ROUTED, **STEPS}), service)
    for side, version in (("old", "v1"), ("new", "v2")):
        deployment = objects[f"Deployment {plan[side]['deployment']}"]
        assert deployment["spec"]["selector"]["matchLabels"] == {"app": "shop", "version": version}
        assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "shop", "version": version}
        assert deployment["spec"]["template"]["spec"] == TEMPLATE["spec"]
        assert deployment["metadata"]["namespace"] == "web"
        assert deployment["spec"]["replicas"] == 3
    assert objects["Service s"]["spec"] == {"ports": [{"port": 80}], "selector": {"app": "shop", "version": "v1"}}
    assert "the Service c: write version: v2" in said


@pytest.mark.parametrize(
    ("routing", "routes"),
    [
        (
            {"istio": {"virtualServices": [{"name": "a", "routes": ["r"]}, {"name": "b"}]}},
            ["VirtualService a", "VirtualService b"],
        ),
        ({"nginx": {"stableIngress": "web"}}, ["NginxCanary shop-web-canary"]),
        ({"alb": {"ingress": "web"}}, ["AlbIngress web"]),
        ({"smi": {}}, ["TrafficSplit shop"]),
        ({"ambassador": {"mappings": ["echo"]}}, ["Mapping echo-canary"]),
        ({"traefik": {"weightedTraefikServiceName": "web"}}, ["TraefikService web"]),
        ({"apisix": {"route": {"name": "web", "rules": ["r"]}}}, ["ApisixRoute web"]),
        (
            {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoutes": [{"name": "a"}], "grpcRoute": "b"}}},
            ["HTTPRoute a", "GRPCRoute b"],
        ),
        ({"plugins": {"argoproj-labs/contour": {"httpProxies": ["web"]}}}, ["HTTPProxy web"]),
        ({"plugins": {"argoproj-labs/openshift": {"routes": ["web"]}}}, ["OpenShiftRoute web"]),
        ({}, ["Replicas s"]),
    ],
)
def test_the_router_of_a_rollout_is_a_route_of_the_plan(routing: Any, routes: list[str]) -> None:
    _, plan, _ = converted(rollout({**ROUTED, **STEPS, "trafficRouting": routing}))
    assert [f"{each['kind']} {each['name']}" for each in plan["traffic"]["routes"]] == routes
    assert all(("service" in plan[side]) is bool(routing) for side in ("old", "new"))


def test_subsets_of_istio_name_the_sides_by_host_and_subset() -> None:
    rule = {"name": "dr", "stableSubsetName": "stable", "canarySubsetName": "canary"}
    routing = {"istio": {"virtualService": {"name": "vs"}, "destinationRule": rule}}
    known = {"kind": "DestinationRule", "metadata": {"name": "dr"}, "spec": {"host": "shop.web"}}
    service = {"kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}]}}
    objects, plan, _ = converted(rollout({**STEPS, "trafficRouting": routing}), known, service)
    assert objects["Service shop-v2"]["spec"]["selector"] == {"app": "shop", "version": "v2"}
    (route,) = plan["traffic"]["routes"]
    assert (route["old"], route["new"]) == ("shop.web/stable", "shop.web/canary")


def test_an_analysis_judges_its_step_or_guards_the_run() -> None:
    use = {"templates": [{"templateName": "errors"}], "args": [{"name": "service", "value": "c.web.svc"}]}
    template = analysis("errors", interval="1m", count=5, successCondition="result[0] < 0.05", failureLimit=2)
    steps = [{"setWeight": 20}, {"analysis": use}, {"setWeight": 60}]
    objects, plan, said = converted(rollout({**ROUTED, "steps": steps, "analysis": use}), template)
    assert plan["stages"][0] == {"weight": "20%", "soak": "4m", "pass": [{"template": "shop-errors"}]}
    guard = {"template": "shop-errors", "name": "shop-errors-2", "for": "2m"}
    assert plan["guards"] == [guard, {"template": "more-errors-istio"}]
    assert objects["PredicateTemplate shop-errors"]["spec"] == {
        "indicates": "Success",
        "query": QUERY.replace("{{args.service}}", "$service.web.svc")
        .replace("{{ args.service }}", "$service.web.svc")
        .replace("[2m]", "[$window]"),
        "is": "< 0.05",
        "window": "2m",
    }
    assert objects["MetricSource shop"]["spec"] == {"prometheus": {"url": "http://prometheus:9090"}}
    assert plan["metrics"] == {"source": "shop"}
    assert "failureLimit: 2 failures in all are forgiven; here it trips when it is true without a break for 2m" in said


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ({"successCondition": "result.ok == 'true'"}, "is no comparison of one value with a number"),
        ({}, "has neither successCondition nor failureCondition"),
        ({**GOOD, "provider": {"job": {}}}, "a Job decides"),
        (
            {"successCondition": "result > 1", "provider": {"datadog": {}}},
            "datadog: plans ask the HTTP API",
        ),
        (
            {"successCondition": "result > 1", "provider": {"prometheus": {"query": "sum("}}},
            "as a template it would be refused",
        ),
        (
            {"successCondition": "result > 1", "provider": {"prometheus": {"query": "{{args.hash}}"}}},
            "needs the argument hash",
        ),
    ],
)
def test_a_metric_that_cannot_be_carried_over_is_left_out_with_the_reason(metric: dict[str, Any], words: str) -> None:
    use = {"templates": [{"templateName": "errors"}]}
    _, plan, said = converted(rollout({**ROUTED, **STEPS, "analysis": use}), analysis("errors", **metric))
    assert words in said
    assert [each["template"] for each in plan["guards"]] == ["success-rate-istio", "more-errors-istio"]


def test_a_blue_green_rollout_is_one_stage_and_says_what_a_plan_cannot_be() -> None:
    raw = rollout({})
    raw["spec"]["strategy"] = {
        "blueGreen": {
            "activeService": "a",
            "previewService": "p",
            "autoPromotionEnabled": False,
            "prePromotionAnalysis": {"templates": []},
        }
    }
    _, plan, said = converted(raw)
    assert plan["stages"] == [{"weight": "100%", "soak": "5m", "approval": "Required"}]
    assert (plan["old"]["service"], plan["new"]["service"]) == ("a", "p")
    assert "a Rollout changes the selector of this Service; a plan moves weights on a route" in said
    assert "left out: spec.strategy.blueGreen.prePromotionAnalysis" in said


METRICS = [
    {"name": "request-success-rate", "thresholdRange": {"min": 99.5}, "interval": "1m"},
    {"name": "request-duration", "threshold": 500, "interval": "2m"},
    {
        "name": "404s %",
        "templateRef": {"name": "missing-pages", "namespace": "ops"},
        "thresholdRange": {"min": 1, "max": 5},
    },
]
PAGES = {
    "kind": "MetricTemplate",
    "metadata": {"name": "missing-pages", "namespace": "ops"},
    "spec": {
        "provider": {"type": "prometheus", "address": "http://prometheus:9090"},
        "query": 'sum(rate(m{c=~"{{ namespace }}_{{ target }}-canary_[0-9]+",d="{{target}}"}[{{ interval }}]))',
    },
}


def test_the_analysis_of_a_canary_is_stages_and_guards() -> None:
    steps = {"interval": "30s", "maxWeight": 50, "stepWeight": 20, "threshold": 5, "metrics": METRICS}
    objects, plan, said = converted(canary(steps, progressDeadlineSeconds=60), PAGES)
    assert plan["stages"] == [{"weights": ["20%", "40%"], "soak": "30s"}, {"weight": "100%", "soak": "30s"}]
    assert plan["guards"] == [
        {"template": "success-rate-istio", "with": {"atLeast": "99.5%"}, "window": "1m", "for": "2m"},
        {"template": "latency-istio", "with": {"atMost": "0.5"}, "window": "2m", "for": "2m"},
        {"template": "shop-404s-low", "for": "2m"},
        {"template": "shop-404s-high", "for": "2m"},
        {"template": "more-errors-istio"},
    ]
    assert objects["PredicateTemplate shop-404s-high"]["spec"] == {
        "indicates": "Failure",
        "query": 'sum(rate(m{c=~"${namespace}_${service}_[0-9]+",d="$deployment"}[$window]))',
        "is": "> 5",
        "window": "30s",
    }
    assert plan["traffic"]["routes"] == [{"kind": "VirtualService", "name": "shop"}]
    assert plan["availability"] == {"readyWithin": "1m"}
    assert objects["Service shop-v2"]["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 8080}]
    _, longer, _ = converted(canary({**steps, "interval": "5m", "threshold": 10}), PAGES)
    assert longer["guards"][0]["for"] == "15m", "a stage is held half an hour after its soak"
    assert "5 failed checks of all metrics end it; here a guard that is true without a break for 2m" in said
    assert "Deployment shop is not in these files" in said


def test_webhooks_that_confirm_are_approvals_and_the_others_are_told() -> None:
    hooks = [{"type": "confirm-rollout"}, {"type": "confirm-promotion"}, {"type": "pre-rollout"}, {}]
    _, plan, said = converted(canary({"stepWeights": [10, 50], "webhooks": hooks}))
    assert [stage.get("approval") for stage in plan["stages"]] == ["Required", "Required"]
    assert "left out: spec.analysis.webhooks[2]: write what it runs as a Job" in said
    assert "left out: spec.analysis.webhooks[3]: a plan sends no requests" in said


def test_a_gate_for_each_increase_is_an_approval_of_each_weight() -> None:
    _, plan, _ = converted(canary({"stepWeights": [10, 50], "webhooks": [{"type": "confirm-traffic-increase"}]}))
    assert [(stage["weight"], stage["approval"]) for stage in plan["stages"]] == [
        ("10%", "Required"),
        ("50%", "Required"),
        ("100%", "Required"),
    ]


def test_testers_with_a_header_are_a_stage_before_all_weights_where_the_route_can() -> None:
    match = [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]
    steps = [{"setHeaderRoute": {"name": "a", "match": match}}, {"pause": {"duration": "2m"}}, {"setWeight": 50}]
    _, plan, _ = converted(rollout({**ROUTED, "steps": steps}))
    staff = {"header": {"name": "x-staff", "value": "yes"}}
    assert plan["stages"][0] == {"name": "testers-1", "match": staff, "soak": "2m"}
    turns = {"iterations": 10, "match": [{"headers": {"x-staff": {"exact": "yes"}}}]}
    _, plan, said = converted(canary(turns))
    assert plan["stages"][0] == {"name": "testers", "match": staff, "soak": "10m"}
    assert "match" not in said
    exact = {"exact": "yes"}
    for more in (
        {"headers": {"a": {"regex": ".*"}}},
        {"headers": {"a": exact, "b": exact}},
        {"headers": {"a": exact}, "uri": {}},
    ):
        _, plan, said = converted(canary({"iterations": 10, "match": [more]}))
        assert plan["stages"][0] == {"weight": "5%", "soak": "10m"}
        assert "left out: spec.analysis.match[0]" in said


def test_testers_with_a_cookie_are_a_stage_as_those_with_a_header() -> None:
    always = {"cookie": {"name": "canary", "value": "always"}}
    pattern = {"regex": "^(.*?;)?(canary=always)(;.*)?$"}
    match = [{"headers": {"x-staff": {"exact": "yes"}}}, {"headers": {"cookie": pattern}}, {"headers": {"a": pattern}}]
    _, plan, said = converted(canary({"iterations": 10, "match": match}))
    assert plan["stages"][:2] == [
        {"name": "testers-1", "match": {"header": {"name": "x-staff", "value": "yes"}}, "soak": "1m"},
        {"name": "testers-2", "match": always, "soak": "10m"},
    ]
    assert "left out: spec.analysis.match[2]: one header with an exact value, or one cookie" in said
    step = {"setHeaderRoute": {"name": "a", "match": [{"headerName": "Cookie", "headerValue": pattern}]}}
    _, plan, _ = converted(rollout({**ROUTED, "steps": [step, {"setWeight": 50}]}))
    assert plan["stages"][0]["match"] == always


ALL = [{"path": {"prefix": "/"}}]


def test_a_mirror_of_all_requests_is_a_stage_before_all_weights_where_the_route_can() -> None:
    mirror = {"setMirrorRoute": {"name": "m", "percentage": 35, "match": ALL}}
    steps = [mirror, {"pause": {"duration": "5m"}}, {"setMirrorRoute": {"name": "m"}}, {"setWeight": 50}]
    _, plan, said = converted(rollout({**ROUTED, "steps": steps}))
    assert plan["stages"][0] == {"name": "mirror-1", "mirror": "35%", "soak": "5m"}
    assert "setMirrorRoute" not in said
    _, plan, said = converted(canary({"stepWeight": 50, "mirror": True}))
    assert plan["stages"][0] == {"name": "mirror", "mirror": "100%", "soak": "1m"}
    _, plan, _ = converted(canary({"iterations": 5, "mirror": True, "mirrorWeight": 20}))
    assert plan["stages"][0] == {"name": "mirror", "mirror": "20%", "soak": "5m"}
    for match, routing in ((ALL, {"smi": {}}), ([{"method": {"exact": "GET"}}], ROUTED["trafficRouting"])):
        steps = [{"setMirrorRoute": {"name": "m", "match": match}}, {"setWeight": 50}]
        _, plan, said = converted(rollout({**ROUTED, "trafficRouting": routing, "steps": steps}))
        assert len(plan["stages"]) == 2
        assert "left out: spec.strategy.canary.steps[0].setMirrorRoute: a mirror of all requests" in said


def test_a_cookie_that_keeps_users_on_a_side_is_sticky_where_the_route_can() -> None:
    affinity = {"stepWeight": 50, "sessionAffinity": {"cookieName": "side", "maxAge": 3600}}
    _, plan, said = converted(canary(affinity, provider="traefik"))
    assert plan["traffic"]["sticky"] == {"cookie": "side", "for": "1h"}
    assert "changed: spec.analysis.sessionAffinity: it keeps users of the old side there too" in said
    _, plan, said = converted(canary(affinity))
    assert "sticky" not in plan["traffic"]
    assert "left out: spec.analysis.sessionAffinity: traffic.sticky" in said


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        ("linkerd", "TrafficSplit"),
        ("smi:v1alpha2", "TrafficSplit"),
        ("contour", "HTTPProxy"),
        ("gatewayapi:v1", "HTTPRoute"),
        ("gloo", "RouteTable"),
        ("nginx", "NginxCanary"),
        ("skipper", "SkipperIngress"),
        ("traefik", "TraefikService"),
        ("apisix", "ApisixRoute"),
        ("kuma", "MeshHTTPRoute"),
    ],
)
def test_the_provider_of_a_canary_is_the_kind_of_its_route(provider: str, kind: str) -> None:
    refs = {"ingressRef": {"name": "i"}, "routeRef": {"name": "r"}, "provider": None}
    _, plan, _ = converted(canary({"stepWeight": 50}, **refs), provider=provider)
    assert plan["traffic"]["routes"][0]["kind"] == kind


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (rollout({"maxSurge": 1}), "has no steps, as the rolling update of a Deployment"),
        (rollout(None), "neither canary nor blueGreen"),
        (rollout({**ROUTED, **STEPS, "trafficRouting": {"appMesh": {}}}), "(appMesh) names no route that a plan can"),
        (rollout(STEPS) | {"metadata": {"name": "Shop"}}, "metadata.name has to be lower-case letters"),
        (canary({"interval": "1m"}), "it says no steps for a plan"),
        (
            canary({"stepWeight": 5}, provider="appmesh"),
            "the provider appmesh is no kind of route that a plan can move: name one of apisix, contour",
        ),
        (canary({"stepWeight": 5}, provider=""), "names no provider"),
        (canary({"stepWeight": 5}, targetRef={"kind": "DaemonSet", "name": "shop"}), "between two Deployments"),
    ],
)
def test_what_cannot_be_converted_says_why_and_writes_nothing(
    raw: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(yaml.safe_dump(raw))
    code = main(["convert", str(file)])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert f"{file}:1:1: {raw['kind']}" in err
    assert words in err


def test_the_command_writes_what_lint_accepts_and_tells_programs_where_each_note_belongs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plan = tmp_path / "old.yaml", tmp_path / "plan.yaml"
    deployment = {"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"template": TEMPLATE}}
    objects = [canary({"stepWeight": 5, "maxWeight": 50, "metrics": METRICS, "threshold": 3}), deployment, PAGES]
    file.write_text(yaml.safe_dump_all([*objects, rollout({**ROUTED, "maxSurge": 1, **STEPS})]))
    assert main(["convert", str(file), "-o", "json"]) == 0
    out, err = capsys.readouterr()
    notes = json.loads(err)
    lines = file.read_text().splitlines()
    threshold = next(note for note in notes if note["path"] == "spec.analysis.threshold")
    assert "threshold: 3" in lines[threshold["line"] - 1]
    assert {note["what"] for note in notes} == {"left out", "changed", "to do"}
    plan.write_text(out)
    assert main(["lint", str(plan)]) == 0


# ---- whatever it is given --------------------------------------------------------------------------------------------

WORDS = ["istio", "name", "a", "5m", "{{ args.x }}", "result > 1", "Deployment", "\ud800", "a: b\n#c"]
NAMES = """
setWeight pause duration analysis templates templateName args name value steps trafficRouting istio virtualService
labels metadata spec template selector matchLabels metrics interval count provider prometheus query address
thresholdRange min max stepWeights webhooks type port match x headers headerName headerValue exact regex cookie
cookieName maxAge percentage path prefix failureLimit
"""
KEYS = st.sampled_from(re.findall(r"\w+", NAMES))
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
STEP = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("pause", "analysis", "experiment", "setHeaderRoute", "setMirrorRoute"), JSON)
    | {"setWeight": st.integers(-1, 101) | JSON},
)
ROLLOUTS = st.builds(
    lambda strategy, more: {**rollout(None), "spec": {"template": TEMPLATE, "strategy": {"canary": strategy}, **more}},
    st.fixed_dictionaries(
        {"steps": st.lists(STEP, max_size=5) | JSON},
        optional={
            "analysis": JSON,
            "trafficRouting": JSON,
            "stableService": JSON,
            "canaryMetadata": JSON,
            "maxSurge": JSON,
        },
    ),
    st.dictionaries(
        st.sampled_from(["replicas", "selector", "template", "strategy", "workloadRef", "x"]), JSON, max_size=2
    ),
)
CANARIES = st.builds(
    lambda analysis, more: canary(analysis, **more),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("interval", "stepWeights", "metrics", "webhooks", "match", "mirrorWeight", "sessionAffinity"), JSON
        )
        | {
            "iterations": st.integers(-1, 9) | JSON,
            "threshold": st.integers(-1, 9) | JSON,
            "mirror": st.booleans() | JSON,
        }
        | {"stepWeight": st.integers(-1, 101), "maxWeight": st.integers(-1, 200)},
    ),
    st.dictionaries(
        st.sampled_from(["service", "provider", "targetRef", "progressDeadlineSeconds", "x"]), JSON, max_size=2
    ),
)


@settings(max_examples=60, deadline=None)
@given(raw=ROLLOUTS | CANARIES, other=JSON)
def test_whatever_it_is_given_it_writes_a_plan_that_the_operator_reads_or_says_why_not(raw: Any, other: Any) -> None:
    deployment = {"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"template": {"spec": other}}}
    template = {"kind": "AnalysisTemplate", "metadata": {"name": "a"}, "spec": other}
    try:
        text, _ = convert_object(raw, Objects([raw, deployment, template, other]))
    except CannotConvertError as error:
        event(f"cannot: {error}"[:30])
        return
    *_, plan = yaml.safe_load_all(text)
    read_plan_spec(plan["spec"])
