"""A real API server refuses at apply what the models refuse, naming field and fix, and takes what is good."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.api.route_kinds import BUILT_IN
from tests.bed.api import MERGE_PATCH, ApiError
from tests.bed.bed import Bed
from tests.refusals import (
    CLUSTER_NOTIFIER,
    CLUSTER_SOURCE,
    COUNTED,
    COUNTING,
    HISTOGRAM,
    NOTIFIER,
    NOTIFIERS,
    ONLY_READ,
    ONLY_READ_TEMPLATES,
    PLAN,
    PLANS,
    POLICIES,
    POLICY,
    ROUTE_KINDS,
    SOURCE,
    SOURCES,
    TAKEN,
    TASKS,
    TEMPLATE,
    TEMPLATES,
    UNKNOWN,
    Refusal,
    changed,
)

ROOT = Path(__file__).parents[2]
PATHS = {
    "RolloutPlan": "/apis/rolloutplan.dev/v1alpha1/namespaces/default/rolloutplans",
    "MetricSource": "/apis/rolloutplan.dev/v1alpha1/namespaces/default/metricsources",
    "ClusterMetricSource": "/apis/rolloutplan.dev/v1alpha1/clustermetricsources",
    "PredicateTemplate": "/apis/rolloutplan.dev/v1alpha1/namespaces/default/predicatetemplates",
    "ClusterPredicateTemplate": "/apis/rolloutplan.dev/v1alpha1/clusterpredicatetemplates",
    "RolloutPolicy": "/apis/rolloutplan.dev/v1alpha1/rolloutpolicies",
    "Notifier": "/apis/rolloutplan.dev/v1alpha1/namespaces/default/notifiers",
    "ClusterNotifier": "/apis/rolloutplan.dev/v1alpha1/clusternotifiers",
    "RouteKind": "/apis/rolloutplan.dev/v1alpha1/routekinds",
}


def manifest(kind: str, spec: dict[str, Any], name: str = "refused") -> dict[str, Any]:
    return {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def try_out(bed: Bed, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What the API server would store, asked as kubectl asks. Raises ApiError."""
    stored: dict[str, Any] = bed.api("POST", f"{PATHS[kind]}?dryRun=All&fieldValidation=Strict", manifest(kind, spec))
    return stored


def check(bed: Bed, kind: str, refusal: Refusal) -> None:
    with pytest.raises(ApiError) as refused:
        try_out(bed, kind, refusal.spec())
    assert refused.value.status in {400, 422}
    assert all(word in refused.value.message for word in refusal.words), refused.value.message


@pytest.mark.parametrize("refusal", [*PLANS, *UNKNOWN], ids=lambda refusal: refusal.name)
def test_plans_that_are_refused(bed: Bed, refusal: Refusal) -> None:
    check(bed, "RolloutPlan", refusal)


@pytest.mark.parametrize("refusal", SOURCES, ids=lambda refusal: refusal.name)
def test_sources_that_are_refused(bed: Bed, refusal: Refusal) -> None:
    check(bed, "ClusterMetricSource" if refusal.good is CLUSTER_SOURCE else "MetricSource", refusal)


@pytest.mark.parametrize("refusal", NOTIFIERS, ids=lambda refusal: refusal.name)
def test_notifiers_that_are_refused(bed: Bed, refusal: Refusal) -> None:
    check(bed, "ClusterNotifier" if refusal.good is CLUSTER_NOTIFIER else "Notifier", refusal)


@pytest.mark.parametrize(("kind", "spec"), [("Notifier", NOTIFIER), ("ClusterNotifier", CLUSTER_NOTIFIER)])
def test_good_notifiers_are_stored_with_their_defaults(bed: Bed, kind: str, spec: dict[str, Any]) -> None:
    stored = try_out(bed, kind, {**spec, "template": "$plan ${reason}: $note, for $5"})["spec"]
    assert (stored["timeout"], stored["giveUpAfter"], stored["webhook"]["format"]) == ("5s", "1h", "Json")
    assert try_out(bed, kind, stored)["spec"] == stored


@pytest.mark.parametrize("kind", ["Notifier", "ClusterNotifier"])
def test_a_notifier_with_too_long_a_name_is_refused(bed: Bed, kind: str) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name is too long for the statuses of plans"):
        bed.api("POST", f"{PATHS[kind]}?dryRun=All", manifest(kind, NOTIFIER, "x" * 64))


@pytest.mark.parametrize("kind", ["PredicateTemplate", "ClusterPredicateTemplate"])
@pytest.mark.parametrize("refusal", TEMPLATES, ids=lambda refusal: refusal.name)
def test_templates_that_are_refused(bed: Bed, kind: str, refusal: Refusal) -> None:
    check(bed, kind, refusal)


@pytest.mark.parametrize("refusal", [*ONLY_READ, *ONLY_READ_TEMPLATES], ids=lambda refusal: refusal.name)
def test_what_is_too_dear_to_look_for_is_taken(bed: Bed, refusal: Refusal) -> None:
    try_out(bed, "PredicateTemplate" if refusal in ONLY_READ_TEMPLATES else "RolloutPlan", refusal.spec())


@pytest.mark.parametrize("template", [TEMPLATE, COUNTING], ids=["a value", "counts"])
def test_a_template_is_stored_as_it_is_written(bed: Bed, template: dict[str, Any]) -> None:
    for kind in ("PredicateTemplate", "ClusterPredicateTemplate"):
        assert try_out(bed, kind, template)["spec"] == template


@pytest.mark.parametrize("name", ["a.b", "a" * 64])
def test_a_template_that_no_plan_could_name_is_refused(bed: Bed, name: str) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name is not a name that a plan can use"):
        bed.api("POST", f"{PATHS['PredicateTemplate']}?dryRun=All", manifest("PredicateTemplate", TEMPLATE, name))


def test_references_are_stored_as_they_are_written(bed: Bed) -> None:
    guard = {"template": "success-rate", "with": {"atLeast": "99%"}, "window": "2m"}
    spec = changed(PLAN, {"guards[0]": guard, "stages[2].pass": [{"use": "hits"}]})
    stored = try_out(bed, "RolloutPlan", spec)["spec"]
    assert stored["guards"] == [guard]
    assert stored["stages"][2]["pass"] == [{"use": "hits"}]


@pytest.mark.parametrize("refusal", ROUTE_KINDS, ids=lambda refusal: refusal.name)
def test_kinds_of_route_that_are_refused(bed: Bed, refusal: Refusal) -> None:
    check(bed, "RouteKind", refusal)


def test_every_built_in_description_would_be_taken(bed: Bed) -> None:
    for name, spec in BUILT_IN.items():
        written = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert try_out(bed, "RouteKind", written)["spec"]["resource"] == spec.resource, name


@pytest.mark.parametrize("refusal", POLICIES, ids=lambda refusal: refusal.name)
def test_policies_that_are_refused(bed: Bed, refusal: Refusal) -> None:
    check(bed, "RolloutPolicy", refusal)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guards[0].vsOld": "about 5"}, 'spec.guards[0].vsOld: Invalid value: "about 5"'),
        ({"stage": []}, 'strict decoding error: unknown field "spec.stage"'),
    ],
)
def test_kubectl_apply_says_it_too(bed: Bed, changes: dict[str, Any], words: str) -> None:
    stdin = json.dumps(manifest("RolloutPlan", changed(PLAN, changes)))
    result = bed.run_kubectl("apply", "--dry-run=server", "-f", "-", stdin=stdin)
    assert result.returncode != 0
    assert words in result.stderr


def test_a_good_plan_is_stored_with_its_defaults(bed: Bed) -> None:
    stored = try_out(bed, "RolloutPlan", PLAN)
    assert stored["status"] == {"observedGeneration": -1}
    spec = stored["spec"]
    assert (spec["interval"], spec["bake"], spec["onFail"], spec["onMetricsUnavailable"]) == (
        "10s",
        "0s",
        "Rollback",
        {"action": "Hold"},
    )
    assert (spec["warmup"], spec["stages"][0]["soak"]) == ("0s", "5m")
    pods = {"readyWithin": "10m", "minReady": "50%", "grace": "10s", "maxRestarts": 3, "old": {"atLeast": "50%"}}
    assert spec["availability"] == pods


def test_predicates_are_stored_as_they_are_written(bed: Bed) -> None:
    """A default that belongs to a query would be refused beside events, and the other way round."""
    for plan in (PLAN, COUNTED):
        spec = try_out(bed, "RolloutPlan", plan)["spec"]
        assert spec["guards"] == plan["guards"]
        assert spec["stages"][0]["pass"] == plan["stages"][0]["pass"]


def test_jobs_are_stored_as_they_are_written(bed: Bed) -> None:
    """What is below a Job's template is the Job's own: nothing of it is pruned."""
    spec = try_out(bed, "RolloutPlan", TASKS)["spec"]
    assert spec["assumptions"][0]["job"]["template"]["spec"] == TASKS["assumptions"][0]["job"]["template"]["spec"]
    assert spec["assumptions"][0]["deadline"] == "5m"
    assert spec["expand"]["jobs"][0] == {**TASKS["expand"]["jobs"][0], "deadline": "10m"}
    assert spec["contract"]["scaleOld"] == 0


@pytest.mark.parametrize("changes", TAKEN.values(), ids=TAKEN)
def test_plans_of_counts_that_are_taken(bed: Bed, changes: Mapping[str, Any]) -> None:
    try_out(bed, "RolloutPlan", changed(COUNTED, changes))


def test_a_name_too_long_for_events(bed: Bed) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name is too long .* at most 63"):
        bed.api("POST", f"{PATHS['RolloutPlan']}?dryRun=All", manifest("RolloutPlan", PLAN, "x" * 64))


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("examples/*.yaml"), *ROOT.glob("deploy/predicates/*.yaml")]), ids=str
)
def test_the_examples_and_the_templates_that_ship_are_good(bed: Bed, file: Path) -> None:
    examples = [each for each in yaml.safe_load_all(file.read_text()) if each["kind"] != "ServiceAccount"]
    for example in examples:
        try_out(bed, example["kind"], example["spec"])


@pytest.mark.parametrize(("kind", "spec"), [("MetricSource", SOURCE), ("ClusterMetricSource", CLUSTER_SOURCE)])
def test_good_sources_are_stored_with_their_defaults(bed: Bed, kind: str, spec: dict[str, Any]) -> None:
    stored = try_out(bed, kind, spec)["spec"]
    assert (stored["scrapeInterval"], stored["prometheus"]["flavor"]) == ("15s", "Prometheus")


@pytest.mark.parametrize(("written", "stored"), [({}, "On"), *(({"batching": each}, each) for each in ("Off", False))])
def test_a_switch_is_taken_in_and_without_quotes(bed: Bed, written: dict[str, Any], stored: str | bool) -> None:
    spec = try_out(bed, "MetricSource", {**SOURCE, **written})["spec"]
    assert spec["batching"] == stored
    assert read_metric_source(spec, cluster=False).batching == ("On" if stored == "On" else "Off")


def test_a_good_policy_is_stored_with_its_defaults(bed: Bed) -> None:
    spec = try_out(bed, "RolloutPolicy", POLICY)["spec"]
    assert (spec["focus"], spec["freeze"]["windows"][1]["timeZone"]) == ("Balanced", "UTC")
    demands = {"sealedApprovals": False, "soakAtLeast": "0s", "templates": "Any"}
    plain = {"focus": "Balanced", "selector": {"namespaces": ["*"]}, "require": demands}
    assert try_out(bed, "RolloutPolicy", {})["spec"] == plain


def test_the_largest_policy_is_within_the_cost_limits(bed: Bed) -> None:
    """As many windows, namespaces and labels as may be, and every name as long as may be."""
    once = {"from": "2026-12-20T00:00:00+00:00", "to": "2027-01-02T00:00:00+01:00"}
    largest = {
        "selector": {
            "namespaces": [f"n{i}-{'x' * 63}"[:62] + "*" for i in range(256)],
            **{
                field: {f"{'p' * 253}/{'x' * 60}{i:03}": "y" * 63 for i in range(16)}
                for field in ("matchLabels", "namespaceLabels")
            },
        },
        "freeze": {
            "now": "x" * 256,
            "windows": [{"reason": "x" * 256, "timeZone": "Z" * 64, **once} for _ in range(32)],
        },
        "errorBudget.query": "x" * 4096,
    }
    assert len(try_out(bed, "RolloutPolicy", changed(POLICY, largest))["spec"]["freeze"]["windows"]) == 32


SELECTOR = f'requests_total{{code=~"{"x" * 320}"}}'
LARGEST: dict[str, dict[str, Any]] = {
    "queries": {"query": "x" * 300, "is": "> 0", "window": "11111.111h", "for": "1h1m1s1ms"},
    "counters": {"events": {"bad": SELECTOR, "total": SELECTOR}, "vsOld": "> 1.5x", "confidence": "99.99%"},
    "alerts": {"alert": {"matchers": f'severity="{"x" * 300}"'}, "for": "1h1m1s1ms"},
    "histograms": {"events": {**HISTOGRAM, "histogram": SELECTOR}, "is": "< 12.345678901234%"},
}


@pytest.mark.parametrize("judged", LARGEST.values(), ids=LARGEST)
def test_the_largest_plan_is_within_the_cost_limits(bed: Bed, judged: dict[str, Any]) -> None:
    """As many stages, predicates, routes and variables as may be, and every name as long as may be."""

    def full(*role: object) -> list[dict[str, Any]]:
        names = ["-".join(map(str, (*role, i))) for i in range(16)]
        return [{"name": f"{name}-{'x' * 63}"[:63], **judged} for name in names]

    stages = [
        {
            "name": f"s{i}-{'y' * 50}"[:50],
            "weight": f"{i + 1}.5%",
            "fail": full("f", i),
        }
        for i in range(49)
    ]
    largest = {
        "hypothesis": "x" * 1024,
        "guards": full("g"),
        "stages": [*stages, {"weight": "100%", "fail": full("f", 49)}],
        "traffic": {
            "routes": [{"kind": "HTTPRoute", "name": f"r{i}", "rules": ["a" * 253, *range(15)]} for i in range(16)]
        },
        "variables": {f"v{i}{'z' * 60}": "x" * 1024 for i in range(32)},
    }
    assert len(try_out(bed, "RolloutPlan", changed(PLAN, largest))["spec"]["stages"]) == 50
    with pytest.raises(ApiError, match="choose another name"):
        try_out(bed, "RolloutPlan", changed(PLAN, {**largest, "stages[49].fail": [stages[0]["fail"][0]]}))


def test_a_status_edited_by_hand_can_be_written_over(bed: Bed) -> None:
    path = f"{PATHS['RolloutPlan']}/by-hand"
    bed.api("POST", PATHS["RolloutPlan"], manifest("RolloutPlan", PLAN, "by-hand"))
    try:
        broken = {"phase": "Confused", "stage": {"name": "X y"}, "decisions": [{"kind": "Whim"}], "conditions": [{}]}
        bed.api("PATCH", f"{path}/status", {"status": broken}, MERGE_PATCH)
        healed: dict[str, Any] = {"phase": "Pending", "stage": None, "decisions": [], "conditions": []}
        status = bed.api("PATCH", f"{path}/status", {"status": healed}, MERGE_PATCH)["status"]
        assert (status["phase"], status["decisions"]) == ("Pending", [])
        found = bed.api.get(f"{PATHS['RolloutPlan']}?fieldSelector=status.phase%3DPending")["items"]
        assert [plan["metadata"]["name"] for plan in found] == ["by-hand"]
    finally:
        bed.api("DELETE", path)


def test_kubectl_explains_every_field(bed: Bed) -> None:
    explained = bed.kubectl("explain", "rp.spec.stages.pass.vsOld")
    assert '"<= +5%" relative' in explained
