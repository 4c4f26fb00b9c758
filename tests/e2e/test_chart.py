"""The chart, put in by the real helm: what it makes, and that the rights which it gives are those that are used.

The operator runs as a process in the name of the chart's service account, so with the chart's rights and no others. The
session's own operator is down meanwhile: two would move the same weights.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.bed import Bed, objects, until
from tests.bed.api import JSON_PATCH, ApiError
from tests.shop import PLANS, ROOT, ROUTES, Operator, Shop, install

CHART = ROOT / "deploy/helm/rolloutplan"
CRDS = ROOT / "deploy/crds"
NAME, NAMESPACE = "rolloutplan", "rolloutplan-system"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
GATEWAY_GROUP, OUR_GROUP = "gateway.networking.k8s.io", "rolloutplan.dev"
FAST = {"stages": [{"weights": ["25%", "100%"], "soak": "2s", "deadline": "60s"}]}

Right = tuple[str, str]
"""A verb, and what it is done to: `routes.group/subresource`."""


# ---- without a cluster -------------------------------------------------------------------------------------------------


def test_helm_finds_no_fault_with_it(bed: Bed) -> None:
    assert "0 chart(s) failed" in bed.helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("logLevel=loud", "at '/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("namespaces=shop", "at '/namespaces': got string, want array"),
        ("namespaces={shop,Shop_1}", "at '/namespaces/1': 'Shop_1' does not match pattern"),
        ("namespaces={shop,shop}", "at '/namespaces': items at 0 and 1 are equal"),
        ("namespace=shop", "additional properties 'namespace' not allowed"),
        ("replicas=2", "additional properties 'replicas' not allowed"),
        ("image.tga=v1", "at '/image': additional properties 'tga' not allowed"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("crds.keep=perhaps", "at '/crds/keep': got string, want boolean"),
        ("resources.limits.memory=lots", "at '/resources/limits/memory': 'lots' does not match pattern"),
        ("serviceAccount.create=false", "serviceAccount.name: write the account's name"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(bed: Bed, value: str, words: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        render(bed, f"--set={value}")
    assert words in str(refused.value)


def test_the_definitions_are_those_of_the_repository(bed: Bed) -> None:
    rendered = {m["metadata"]["name"]: m["spec"] for m in render(bed) if m["kind"] == "CustomResourceDefinition"}
    written = [yaml.safe_load(path.read_text()) for path in CRDS.glob("*.yaml")]
    assert rendered == {crd["metadata"]["name"]: crd["spec"] for crd in written}
    assert all(m["kind"] != "CustomResourceDefinition" for m in render(bed, "--set=crds.install=false"))


def test_a_chart_that_was_fetched_without_its_definitions_says_so(bed: Bed, tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / NAME, ignore=shutil.ignore_patterns("crds-files"))
    with pytest.raises(RuntimeError, match="the chart has come without its CRDs"):
        render(bed, chart=tmp_path / NAME)


def test_a_value_of_every_kind_arrives(bed: Bed, tmp_path: Path) -> None:
    values = {
        "namespaces": ["shop", "till"],
        "logLevel": "debug",
        "image": {"repository": "registry:5000/x", "digest": f"sha256:{64 * 'a'}", "pullSecrets": ["pull"]},
        "serviceAccount": {"name": "other", "annotations": {"a/b": "c"}},
        "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
        "podAnnotations": {"d": "e"},
        "podLabels": {"team": "shop", "app.kubernetes.io/name": "not-ours"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "fullnameOverride": "rp",
        "global": {"of": "a chart around it"},
    }
    (tmp_path / "values.json").write_text(json.dumps(values))
    made = render(bed, f"--values={tmp_path}/values.json")
    template = next(m for m in made if m["kind"] == "Deployment")["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    assert container["args"] == ["--health-port=8080", "--log-level=debug", "--namespace=shop", "--namespace=till"]
    assert container["image"] == f"registry:5000/x@sha256:{64 * 'a'}"
    assert container["resources"]["limits"] == {"memory": "1Gi", "cpu": 2}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["serviceAccountName"] == "other"
    assert {key: pod[key] for key in ("priorityClassName", "nodeSelector", "tolerations", "affinity")} == {
        key: values[key] for key in ("priorityClassName", "nodeSelector", "tolerations", "affinity")
    }
    assert template["metadata"]["labels"]["team"] == "shop"
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == NAME, "else the Deployment would lose its pod"
    assert template["metadata"]["annotations"]["d"] == "e"
    subjects = [subject for m in made for subject in m.get("subjects", [])]
    assert {s["name"] for s in subjects} == {"other"}
    assert [m["metadata"]["namespace"] for m in made if m["kind"] == "RoleBinding"] == ["shop", "till"]


# ---- on a cluster ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty(bed: Bed, running: Operator) -> Iterator[Bed]:
    """The bed without an operator, and without anything of ours. Afterwards all is as it was."""
    items = bed.get("/apis/rolloutplan.dev/v1alpha1/rolloutplans")["items"]
    bed.delete(*items)
    until(lambda: not bed.get("/apis/rolloutplan.dev/v1alpha1/rolloutplans")["items"], 60, "the end of all plans")
    running.process.kill()
    try:
        remove_definitions(bed)
        yield bed
    finally:
        if any(release["name"] == NAME for release in json.loads(bed.helm("list", "-n", NAMESPACE, "-o", "json"))):
            bed.helm("uninstall", NAME, "-n", NAMESPACE, "--wait")
        bed.delete(objects.namespace(NAMESPACE))
        install(bed)
        running.process.start()


@pytest.fixture(scope="module")
def package(empty: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as it is published: one file, in which links have become what they lead to."""
    folder = tmp_path_factory.mktemp("package")
    empty.helm("package", str(CHART), "--destination", str(folder))
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def installed(empty: Bed, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Bed:
    """An older release, upgraded from the package; in a namespace where only restricted pods may run."""
    namespace = objects.namespace(NAMESPACE)
    namespace["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    empty.apply(namespace)
    older = tmp_path_factory.mktemp("older") / NAME
    shutil.copytree(CHART, older)
    plans = older / "crds-files/rolloutplan.dev_rolloutplans.yaml"
    plans.write_text(plans.read_text().replace("    - rp\n", "    - older\n"))
    upgrade(empty, older)
    assert short_names(empty) == ["older"]
    upgrade(empty, package)
    return empty


def test_an_upgrade_takes_the_definitions_along(installed: Bed) -> None:
    assert short_names(installed) == ["rp"]
    for path in CRDS.glob("*.yaml"):
        written = yaml.safe_load(path.read_text())
        stored = definition(installed, written["metadata"]["name"])
        assert stored["spec"]["versions"][0]["schema"] == written["spec"]["versions"][0]["schema"]
        assert stored["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_same_upgrade_again_changes_nothing(installed: Bed) -> None:
    paths = [DEPLOYMENT, f"{CRD}/rolloutplans.rolloutplan.dev", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}"]
    before = [installed.get(path) for path in paths]
    upgrade(installed, CHART)
    after = [installed.get(path) for path in paths]
    assert [o["metadata"].get("generation") for o in after] == [o["metadata"].get("generation") for o in before]
    assert [o.get("spec", o.get("rules")) for o in after] == [o.get("spec", o.get("rules")) for o in before]
    pods = installed.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    assert len([pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]) == 1


def test_the_pod_is_restricted_probed_and_alone(installed: Bed) -> None:
    spec = installed.get(DEPLOYMENT)["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    (pod,) = installed.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    probes = {key: container[key]["httpGet"]["path"] for key in ("livenessProbe", "readinessProbe")}
    assert probes == {"livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert container["resources"]["requests"]["memory"] == "128Mi"
    assert pod["spec"]["serviceAccountName"] == NAME


def test_the_rights_given_are_the_rights_used(installed: Bed) -> None:
    """A rollout and a rollback; and a change freeze, in which the operator has to read again what it could not write."""
    good, bad = Shop(installed, "chart-good"), Shop(installed, "chart-bad")
    began = Trail.now(installed)
    for shop in (good, bad):
        shop.open()
    try:
        good.start(**FAST)
        with ExitStack() as freeze:
            plans = freeze.enter_context(frozen(installed, OUR_GROUP, PLANS.format(good.namespace, "checkout")))
            freeze.enter_context(frozen(installed, GATEWAY_GROUP, ROUTES.format(good.namespace, "checkout")))
            with operator(installed):
                until(lambda: ("get", "rolloutplans.rolloutplan.dev") in began.used(), 20, "a second look at the plan")
                plans()
                until(lambda: ("get", f"httproutes.{GATEWAY_GROUP}") in began.used(), 20, "a second look at the route")
                freeze.close()
                roll_back(bad)
                good.until("Succeeded", timeout=60)
                until(lambda: {"Succeeded"} <= set(good.reasons()) and "RolledBack" in bad.reasons(), 5, "the Events")
        until(lambda: len(began.watches()) == 5, 10, "the end of all watches")
        granted, used = rights(installed), began.used()
        print(f"\ngranted: {shown(granted)}\nused:    {shown(used)}\n")
        print(f"granted but not used: {shown(granted - used)}\nused but not granted: {shown(used - granted)}")
        assert good.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
        assert bad.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
        assert began.refused() == []
        assert granted == used
    finally:
        good.close()
        bad.close()


def test_with_namespaces_it_has_rights_in_these_alone(installed: Bed) -> None:
    served, other = Shop(installed, f"chart-{uuid4().hex[:6]}"), Shop(installed, f"chart-{uuid4().hex[:6]}")
    for shop in (served, other):
        shop.open()
    try:
        upgrade(installed, CHART, f"--set=namespaces={{{served.namespace},rolloutplan-system}}")
        cluster = {key[1] for key in rights(installed, "ClusterRole")}
        assert cluster == {"clustermetricsources.rolloutplan.dev"}
        args = installed.get(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["args"]
        began = Trail.now(installed)
        for shop in (served, other):
            shop.start(**FAST)
        with operator(installed, *(arg for arg in args if arg.startswith("--namespace"))):
            served.until("Succeeded", timeout=60)
            until(lambda: "Succeeded" in served.reasons(), 5, "the last Event")
        assert began.refused() == []
        assert other.status().get("phase") is None, "nobody serves this namespace"
        assert other.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
        client = installed.client("chart")
        for path in (PLANS.format(other.namespace, "checkout"), ROUTES.format(other.namespace, "checkout")):
            with pytest.raises(ApiError, match="403"):
                client.get(path)
    finally:
        other.close()
        served.close()
        upgrade(installed, CHART)


def test_plans_outlive_the_release(installed: Bed) -> None:
    shop = Shop(installed, "chart-kept")
    installed.apply(objects.namespace(shop.namespace))
    shop.start()
    said = installed.helm("uninstall", NAME, "-n", NAMESPACE, "--wait")
    assert "rolloutplans.rolloutplan.dev" in said, "what is kept has to be named"
    assert shop.stored()["spec"]["old"] == {"deployment": "checkout-v1"}
    with pytest.raises(ApiError, match="404"):
        installed.get(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}")
    upgrade(installed, CHART)
    assert shop.stored()["spec"]["old"] == {"deployment": "checkout-v1"}
    shop.close()


# ---- tools -------------------------------------------------------------------------------------------------------------


def render(bed: Bed, *options: str, chart: Path = CHART) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(bed.helm("template", NAME, str(chart), "-n", NAMESPACE, *options)))


def upgrade(bed: Bed, chart: Path, *options: str) -> str:
    """Install or upgrade, with the values given and else the chart's own; wait until the pod is ready."""
    said = bed.helm("upgrade", "--install", NAME, str(chart), "-n", NAMESPACE, "--wait", "--timeout=30s", *options)
    bed.wait_ready(NAMESPACE, NAME)
    return said


def definition(bed: Bed, name: str = "rolloutplans.rolloutplan.dev") -> dict[str, Any]:
    found: dict[str, Any] = bed.get(f"{CRD}/{name}")
    return found


def short_names(bed: Bed) -> list[str]:
    names: list[str] = definition(bed)["spec"]["names"]["shortNames"]
    return names


def remove_definitions(bed: Bed) -> None:
    ours = [crd for crd in bed.get(CRD)["items"] if crd["spec"]["group"] == OUR_GROUP]
    for crd in ours:
        bed.api("DELETE", f"{CRD}/{crd['metadata']['name']}")
    until(lambda: all(crd["spec"]["group"] != OUR_GROUP for crd in bed.get(CRD)["items"]), 30, "the CRDs' end")


@contextmanager
def operator(bed: Bed, *options: str) -> Iterator[Operator]:
    with Operator(bed, user="chart", options=options) as process:
        yield process
