"""The chart, put in by the real helm: what it makes, and that the rights which it gives are those that are used.

The operator runs as a process in the name of the chart's service account, so with the chart's rights and no others. The
session's own operator is down meanwhile: it stands for another Lease, and two leaders would move the same weights.
"""

import json
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from rolloutplan.metrics.access import CREDENTIALS
from tests.bed import Bed, netns, objects, until
from tests.bed.api import MERGE_PATCH, ApiError
from tests.bed.behaviour import PREFIX
from tests.bed.processes import Process, answers, page, python_path
from tests.freezing import frozen
from tests.shop import (
    ALL_PLANS,
    CHART,
    EVENTS,
    HEALTH_PORT,
    METRICS_ABOVE,
    PLANS,
    ROOT,
    ROUTES,
    Operator,
    Shop,
    assumption,
    install,
    job,
    metric_source,
)

CRDS = ROOT / "deploy/crds"
NAME, NAMESPACE = "rolloutplan", "rolloutplan-system"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
BUDGET = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/{NAME}"
GROUP = "rolloutplan.dev"
FAST: dict[str, Any] = {"stages": [{"weights": ["25%", "100%"], "soak": "2s", "deadline": "60s"}]}

INSIDE = """
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /var/run/secrets/kubernetes.io
mount --bind /dev/null /etc/passwd
[ ! -e /etc/nsswitch.conf ] || mount --bind /dev/null /etc/nsswitch.conf
cp -r "$0" /var/run/secrets/kubernetes.io/serviceaccount
for place in / /tmp /run; do mount --bind $place $place; mount -o remount,bind,ro $place; done
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""
"""What makes a process see what it would see in its pod: its account's token, and nothing that it could write to."""

IMAGE = ("--set=image.repository=bed/rolloutplan", "--set=image.tag=v1")
"""The chart has no default for these."""
GROUPS_MADE = ("rbac.authorization", "networking", "apiextensions", "admissionregistration", "flowcontrol.apiserver")
EVERYTHING = (
    "--set=metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true,alerts.enabled=true",
    "--set=networkPolicy.enabled=true,people.aggregate=true,ownRouters=true,jobs.enabled=true,scaling.enabled=true",
    "--set=ownedRoutes.enabled=true",
    "--set=admission.approvers={release-managers}",
)
"""Every object that the chart can make."""
LENT = {
    "jobs": "--set=jobs.enabled=true",
    "scaling": "--set=scaling.enabled=true",
    "owned routes": "--set=ownedRoutes.enabled=true",
}
"""The switches of what plans are lent. Jobs of the bed say by annotations how they behave."""
BEHAVIOUR = f"--set=jobs.metadata={{{PREFIX}*}}"

OWNED = {"routes": [{"kind": "HTTPRoute", "name": "checkout"}], "ownership": "Owned", "drain": "0s"}
"""How a plan moves traffic whose route a pipeline writes again and again."""

Right = tuple[str, str]
"""A verb, and what it is done to: `routes.group/subresource`."""
OWN_KIND: dict[str, Any] = {
    "apiVersion": f"{GROUP}/v1alpha1",
    "kind": "RouteKind",
    "metadata": {"name": "ours"},
    "spec": {
        "group": "gateway.networking.k8s.io",
        "versions": ["v1"],
        "resource": "httproutes",
        "rules": {"spec.rules[]": "backendRefs[]"},
        "name": ["name"],
        "weight": "weight",
        "accepted": {"settle": "2s"},
    },
}
"""A kind of route of the cluster's own, on objects that the operator may move as another kind."""
POLICY: dict[str, Any] = {
    "apiVersion": f"{GROUP}/v1alpha1",
    "kind": "RolloutPolicy",
    "metadata": {"name": "chart"},
    "spec": {
        "selector": {"namespaces": ["chart-*"]},
        "focus": {"base": "Balanced", "stability": {"failureRate": "> 0%", "over": 20}},
    },
}
"""A policy whose focus shifts at the first release that fails."""
WEBHOOK = {"url": "https://hooks.example/rollouts"}
"""Where nobody is, and where no Notifier of a namespace may point by default."""
READS_ROUTE: Right = ("get", "httproutes.gateway.networking.k8s.io")
DELETES_ROUTE: Right = ("delete", "httproutes.gateway.networking.k8s.io")
DELETES_RECORD: Right = ("delete", "rolloutrecords.rolloutplan.dev")


# ---- without a cluster -----------------------------------------------------------------------------------------------


def test_helm_finds_no_fault_with_it(bed: Bed) -> None:
    assert "0 chart(s) failed" in bed.helm("lint", "--strict", str(CHART), *IMAGE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("logLevel=loud", "at '/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("namespaces=shop", "at '/namespaces': got string, want array"),
        ("namespaces={shop,Shop_1}", "at '/namespaces/1': 'Shop_1' does not match pattern"),
        ("namespaces={shop,shop}", "at '/namespaces': items at 0 and 1 are equal"),
        ("namespace=shop", "additional properties 'namespace' not allowed"),
        ("routers={HTTPRuote}", "routers: HTTPRuote is no kind of route. Write some of: "),
        ("routers={HTTPRoute,HTTPRoute}", "at '/routers': items at 0 and 1 are equal"),
        ("ownRouters=perhaps", "at '/ownRouters': got string, want boolean"),
        ("clusterLease.namespace=Kube_System", "at '/clusterLease/namespace': 'anyOf' failed"),
        ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("metrics.serviceMonitors.enabled=true", "at '/metrics': additional properties 'serviceMonitors' not allowed"),
        ("flowControl.shares=0", "at '/flowControl/shares': minimum: got 0, want 1"),
        ("metrics.port=0", "at '/metrics/port': minimum: got 0, want 1,024"),
        ("metrics.port=8080", "metrics.port: the probes have 8080: write another port"),
        ("alerts.enabled=true,metrics.enabled=false", "alerts.enabled: a PrometheusRule needs the operator's metrics"),
        ("metrics.podMonitor.enabled=true,metrics.enabled=false", "metrics.podMonitor.enabled: a PodMonitor needs"),
        ("metrics.serviceMonitor.enabled=true,metrics.enabled=false", "metrics.serviceMonitor.enabled: a Service"),
        ("alerts.enabled=perhaps", "at '/alerts/enabled': got string, want boolean"),
        ("networkPolicy.from=all", "additional properties 'from' not allowed"),
        ("metrics.podMonitor.enabled=perhaps", "at '/metrics/podMonitor/enabled': got string, want boolean"),
        ("metrics.serviceMonitor.labels=a", "at '/metrics/serviceMonitor/labels': got string, want object"),
        (
            "topologySpreadConstraints[0].maxSkew=1",
            "at '/topologySpreadConstraints/0': missing properties 'topologyKey', 'whenUnsatisfiable'",
        ),
        ("image.repository=", "image.repository: write the address of your image; none is published"),
        ("image.tag=", "image.digest: write the digest of your image (sha256:...), or a tag in image.tag"),
        ("image.tga=v1", "at '/image': additional properties 'tga' not allowed"),
        ("jobs.enabeld=true", "at '/jobs': additional properties 'enabeld' not allowed"),
        ("jobs.maxParallelism=-1", "at '/jobs/maxParallelism': minimum: got -1, want 0"),
        ("jobs.metadata={*}", "at '/jobs/metadata/0': '*' does not match pattern"),
        ("ownedRoutes.enabled=yes", "at '/ownedRoutes/enabled': got string, want boolean"),
        ("scaling.maxReplicas=many", "at '/scaling/maxReplicas': got string, want integer"),
        ("admission.approvers=ops", "at '/admission/approvers': got string, want array"),
        ("people.aggregate=yes", "at '/people/aggregate': got string, want boolean"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("notifiers.hosts={http://a}", "at '/notifiers/hosts/0': 'http://a' does not match pattern"),
        ("sourceHosts={http://prometheus}", "at '/sourceHosts/0': 'http://prometheus' does not match pattern"),
        ("credentials[0].name=../token", "at '/credentials/0/name': '../token' does not match pattern"),
        ("credentials[0].name=token", "at '/credentials/0': 'oneOf' failed"),
        ("crds.keep=perhaps", "at '/crds/keep': got string, want boolean"),
        ("resources.limits.memory=lots", "at '/resources/limits/memory': 'lots' does not match pattern"),
        ("serviceAccount.create=false", "serviceAccount.name: write the account's name"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(bed: Bed, value: str, words: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        render(bed, f"--set={value}")
    assert words in str(refused.value)


@pytest.mark.parametrize("version", ["1.33.0", "1.34.0", "1.35.0", "1.36.0", "1.37.0"])
def test_each_kubernetes_from_1_33_on_serves_what_it_makes(bed: Bed, version: str) -> None:
    """Versions of an API without `alpha` or `beta` are served for as long as there is a Kubernetes 1."""
    made = {each["apiVersion"] for each in render(bed, f"--kube-version={version}", *EVERYTHING)}
    of_kubernetes = ("apps", "policy", *(f"{name}.k8s.io" for name in GROUPS_MADE))
    assert made == {"v1", "monitoring.coreos.com/v1", *(f"{group}/v1" for group in of_kubernetes)}


def test_an_older_kubernetes_is_refused(bed: Bed) -> None:
    with pytest.raises(RuntimeError, match=r"requires kubeVersion: >=1\.33\.0-0"):
        render(bed, "--kube-version=1.32.9")


def test_the_definitions_are_those_of_the_repository(bed: Bed) -> None:
    rendered = {m["metadata"]["name"]: m["spec"] for m in render(bed) if m["kind"] == "CustomResourceDefinition"}
    written = [yaml.safe_load(path.read_text()) for path in CRDS.glob("*.yaml")]
    assert rendered == {crd["metadata"]["name"]: crd["spec"] for crd in written}
    assert all(m["kind"] != "CustomResourceDefinition" for m in render(bed, "--set=crds.install=false"))


def test_a_chart_that_was_fetched_without_its_definitions_says_so(bed: Bed, tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / NAME, ignore=shutil.ignore_patterns("crds-files"))
    with pytest.raises(RuntimeError, match="the chart has no CRDs"):
        render(bed, chart=tmp_path / NAME)


def test_a_value_of_every_kind_arrives(bed: Bed, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "namespaces": ["shop", NAMESPACE],
        "replicas": 3,
        "logLevel": "debug",
        "jobs": {"enabled": True, "maxParallelism": 2, "metadata": ["a.b/*", "c"]},
        "scaling": {"enabled": True, "maxReplicas": 9},
        "ownedRoutes": {"enabled": True},
        "admission": {"approvers": ["release managers"]},
        "sourceHosts": ["prometheus.monitoring:9090", "*.example.com"],
        "notifiers": {"hosts": ["hooks.example.com"]},
        "traces": {"endpoint": "http://otel.monitoring:4318", "headers": {"name": "otlp", "key": "headers"}},
        "records": {"kept": 7, "maxAge": "720h"},
        "credentials": [
            {"name": "token", "secret": {"name": "prometheus", "key": "the-token"}},
            {"name": "ca.crt", "configMap": {"name": "ca", "key": "ca.crt"}},
            {"name": "own", "serviceAccountToken": {"audience": "prometheus", "expirationSeconds": 1200}},
        ],
        "image": {"digest": f"sha256:{64 * 'a'}", "pullSecrets": ["pull"]},
        "serviceAccount": {"name": "other", "annotations": {"a/b": "c"}},
        "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
        "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
        "podAnnotations": {"d": "e", "prometheus.io/scrape": "false"},
        "podLabels": {"team": "shop", "app.kubernetes.io/name": "not-ours"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 2, "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}},
        ],
        "fullnameOverride": "rp",
        "global": {"of": "a chart around it"},
    }
    (tmp_path / "values.json").write_text(json.dumps(values))
    made = render(bed, f"--values={tmp_path}/values.json", "--set=image.repository=registry:5000/x")
    deployment = one(made, "Deployment")["spec"]
    template, ours = deployment["template"], deployment["selector"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    assert deployment["replicas"] == 3
    assert container["args"] == [
        "--health-port=8080",
        "--metrics-port=8081",
        "--log-level=debug",
        f"--lease-namespace={NAMESPACE}",
        "--lease-name=rp",
        "--max-source-timeout=30s",
        "--max-source-concurrency=16",
        "--records-kept=7",
        "--records-max-age=720h",
        "--namespace=shop",
        f"--namespace={NAMESPACE}",
        "--jobs",
        f"--own-account={NAMESPACE}/other",
        "--max-parallelism=2",
        "--max-completions=16",
        "--max-backoff-limit=6",
        "--job-metadata=a.b/*",
        "--job-metadata=c",
        "--scaling",
        "--max-replicas=9",
        "--owned-routes",
        "--authenticated-commands",
        "--source-hosts=prometheus.monitoring:9090",
        "--source-hosts=*.example.com",
        "--notifier-hosts=hooks.example.com",
        "--traces=http://otel.monitoring:4318",
    ]
    headers = {"secretKeyRef": {"name": "otlp", "key": "headers"}}
    assert {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": headers} in container["env"]
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount == {"name": volume["name"], "mountPath": str(CREDENTIALS), "readOnly": True}
    assert volume["projected"]["sources"] == [
        {"secret": {"name": "prometheus", "optional": True, "items": [{"key": "the-token", "path": "token"}]}},
        {"configMap": {"name": "ca", "optional": True, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"serviceAccountToken": {"audience": "prometheus", "expirationSeconds": 1200, "path": "own"}},
    ]
    policies = {m["metadata"]["name"] for m in made if m["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert policies == {f"{NAMESPACE}-rp-{part}" for part in ("authors", "commands", "policy-warnings")}
    assert container["image"] == f"registry:5000/x@sha256:{64 * 'a'}"
    assert container["resources"]["limits"] == {"memory": "1Gi", "cpu": 2}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["serviceAccountName"] == "other"
    assert {key: pod[key] for key in ("priorityClassName", "nodeSelector", "tolerations", "affinity")} == {
        key: values[key] for key in ("priorityClassName", "nodeSelector", "tolerations", "affinity")
    }
    assert template["metadata"]["labels"]["team"] == "shop"
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == NAME, "else the Deployment would lose its pod"
    assert values["podAnnotations"].items() <= template["metadata"]["annotations"].items()
    assert [c["labelSelector"] for c in pod["topologySpreadConstraints"]] == [ours, {}]
    assert one(made, "PodMonitor")["metadata"]["labels"]["release"] == "prometheus"
    rules = one(made, "PrometheusRule")
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    assert rules["spec"] == yaml.safe_load((CHART / "alerts.yaml").read_text()), "the file is the only source"
    subjects = [subject for m in made for subject in m.get("subjects", [])]
    assert {s["name"] for s in subjects} == {"other"}
    bindings = {(m["metadata"]["name"], m["metadata"]["namespace"]) for m in made if m["kind"] == "RoleBinding"}
    events = (f"{NAMESPACE}-rp-policies", "default")
    assert bindings == {("rp", "shop"), ("rp", NAMESPACE), ("rp-lease", NAMESPACE), events}


def test_nothing_is_lent_by_default_and_no_plan_is_served_beside_the_operator(bed: Bed) -> None:
    made = render(bed)
    arguments = one(made, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--exclude-namespace={NAMESPACE}" in arguments
    assert not {"--jobs", "--scaling", "--owned-routes", "--authenticated-commands"} & {*arguments}
    assert not any(argument.startswith("--traces") for argument in arguments)
    lent = {"jobs.batch", "deployments.apps/scale", "serviceaccounts", "events"}
    granted = rights_in(made, "ClusterRole", "Role")
    assert not {resource for _, resource in granted} & lent
    assert DELETES_ROUTE not in granted
    refusing = [m["metadata"]["name"] for m in made if m.get("spec", {}).get("failurePolicy") == "Fail"]
    assert not refusing, "there is nothing to ask about"


def test_the_page_on_rights_has_every_verb_that_the_chart_can_grant(bed: Bed) -> None:
    page = (ROOT / "docs/rights.md").read_text().partition("\n## Rights of the operator\n")[2].partition("\n#")[0]
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| ")]
    told = {
        (verb, name)
        for objects, verbs in rows
        for verb, name in product(re.findall(r"\w+", verbs), re.findall(r"`([\w/]+)`", objects))
    }
    kinds = yaml.safe_load((CHART / "routers.yaml").read_text())
    told |= {("list", name) for rules in kinds.values() for rule in rules for name in rule["resources"]}
    granted = rights_in(render(bed, *LENT.values()), "ClusterRole", "Role")
    without_group = {(verb, re.sub(r"\.[^/]+", "", resource)) for verb, resource in granted}
    assert not without_group - told


def test_each_kind_of_route_brings_the_rights_on_its_resource_and_ingresses_are_not_among_the_usual(bed: Bed) -> None:
    usual = rights_in(render(bed), "ClusterRole", "Role")
    assert {resource for verb, resource in usual if verb == "patch"} >= {"httproutes.gateway.networking.k8s.io"}
    assert not {resource for _, resource in usual} & {"ingresses.networking.k8s.io", "deployments.apps/scale"}
    rules = yaml.safe_load((CHART / "routers.yaml").read_text())
    none = rights_in(render(bed, "--set=routers=null"), "ClusterRole", "Role")
    made = rights_in(render(bed, f"--set=routers={{{','.join(rules)}}}"), "ClusterRole", "Role")
    assert (
        made - none
        == rights_in([{"kind": "Role", "rules": [rule for each in rules.values() for rule in each]}], "Role") - none
    )


@pytest.mark.parametrize("lent", ["jobs", "scaling"])
def test_before_a_removal_the_kinds_of_route_may_be_listed_whose_groups_are_served_or_moved(
    bed: Bed, lent: str
) -> None:
    def listed(*options: str) -> set[str]:
        return {resource for verb, resource in rights_in(render(bed, *options), "ClusterRole") if verb == "list"}

    without, usual = listed(), listed(LENT[lent])
    gateway = {f"{name}.gateway.networking.k8s.io" for name in ("grpcroutes", "tcproutes", "tlsroutes", "udproutes")}
    routes = {resource for resource in usual - without if "route" in resource or "ingress" in resource}
    assert routes == {*gateway, "ingresses.networking.k8s.io"}
    traefik = {
        f"{name}.traefik.io" for name in ("ingressroutes", "ingressroutetcps", "ingressrouteudps", "traefikservices")
    }
    assert listed(LENT[lent], "--api-versions=traefik.io/v1alpha1") == usual | traefik
    assert listed(LENT[lent], "--set=routers={HTTPRoute,IngressRoute}") == usual | traefik


def test_roles_of_your_own_kinds_are_taken_in_where_that_is_wanted(bed: Bed) -> None:
    assert not [m for m in render(bed) if "aggregationRule" in m]
    everywhere = render(bed, "--set=ownRouters=true")
    (role,) = [m for m in everywhere if "aggregationRule" in m]
    selected = {"matchLabels": {"rolloutplan.dev/routers": "true"}}
    assert role["aggregationRule"] == {"clusterRoleSelectors": [selected]}
    bound = [m["kind"] for m in everywhere if m.get("roleRef", {}).get("name") == role["metadata"]["name"]]
    assert bound == ["ClusterRoleBinding"]
    some = render(bed, "--set=ownRouters=true", "--set=namespaces={shop,bank}")
    name = next(m for m in some if "aggregationRule" in m)["metadata"]["name"]
    bound = [m["metadata"]["namespace"] for m in some if m.get("roleRef", {}).get("name") == name]
    assert bound == ["shop", "bank"]


@pytest.mark.parametrize(
    ("values", "made", "parts"),
    [
        ("people.roles=false", [], []),
        ("people.roles=true", ["view", "edit", "operate"], []),
        ("people.aggregate=true", ["view", "edit", "operate"], ["aggregate-to-view", "aggregate-to-edit"]),
    ],
)
def test_roles_for_people_are_made_and_added_to_those_of_the_cluster_where_that_is_wanted(
    bed: Bed, values: str, made: list[str], parts: list[str]
) -> None:
    roles = [each for each in render(bed, f"--set={values}") if each["kind"] == "ClusterRole"]
    assert [each["metadata"]["name"] for each in roles if each["metadata"]["name"] != NAME] == [
        f"{NAME}-{name}" for name in made
    ]
    labels = [key.rpartition("/")[2] for each in roles for key in each["metadata"]["labels"] if "aggregate" in key]
    assert labels == parts


def test_one_replica_is_not_protected_from_its_node(bed: Bed) -> None:
    assert "PodDisruptionBudget" in {m["kind"] for m in render(bed)}
    alone = {m["kind"]: m for m in render(bed, "--set=replicas=1")}
    assert "PodDisruptionBudget" not in alone
    assert alone["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_prometheus_finds_the_metrics_in_either_way(bed: Bed) -> None:
    made = render(bed, "--set=metrics.podMonitor.enabled=true")
    deployment, monitor = one(made, "Deployment")["spec"], one(made, "PodMonitor")["spec"]
    _, port = deployment["template"]["spec"]["containers"][0]["ports"]
    assert monitor["selector"] == deployment["selector"]
    assert monitor["podMetricsEndpoints"] == [{"port": port["name"], "path": "/metrics", "honorLabels": True}]
    expected = {"scrape": "true", "port": str(port["containerPort"]), "path": "/metrics"}
    assert scraping(made) == expected
    assert scraping(render(bed, "--set=metrics.annotations=false")) == {}


def test_a_service_monitor_reaches_the_same_port_through_a_service_of_its_own(bed: Bed) -> None:
    assert not {"Service", "ServiceMonitor"} & {each["kind"] for each in render(bed)}
    made = render(bed, "--set=metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=p")
    deployment, service = one(made, "Deployment")["spec"], one(made, "Service")
    monitor = one(made, "ServiceMonitor")
    assert service["spec"]["selector"] == deployment["selector"]["matchLabels"]
    assert [(port["name"], port["targetPort"]) for port in service["spec"]["ports"]] == [("metrics", "metrics")]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "path": "/metrics", "honorLabels": True}]
    assert monitor["metadata"]["labels"]["release"] == "p"
    with pytest.raises(RuntimeError, match="a ServiceMonitor needs the operator's metrics"):
        render(bed, "--set=metrics.enabled=false,metrics.serviceMonitor.enabled=true")


def test_the_operator_alone_has_a_share_of_the_api_server(bed: Bed) -> None:
    made = render(bed, "--set=serviceAccount.name=other,flowControl.shares=7")
    schema, level = one(made, "FlowSchema"), one(made, "PriorityLevelConfiguration")
    assert schema["spec"]["priorityLevelConfiguration"] == {"name": level["metadata"]["name"]}
    assert level["spec"]["limited"]["nominalConcurrencyShares"] == 7
    (rule,) = schema["spec"]["rules"]
    account = {"name": "other", "namespace": NAMESPACE}
    assert rule["subjects"] == [{"kind": "ServiceAccount", "serviceAccount": account}]
    without = render(bed, "--set=flowControl.enabled=false")
    assert not {"FlowSchema", "PriorityLevelConfiguration"} & {each["kind"] for each in without}


def test_the_port_of_the_metrics_is_chosen_everywhere_at_once_and_can_be_closed(bed: Bed) -> None:
    made = render(bed, "--set=metrics.port=9444,metrics.podMonitor.enabled=true")
    container = one(made, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "--metrics-port=9444" in container["args"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"health": 8080, "metrics": 9444}
    assert scraping(made)["port"] == "9444"
    closed = render(bed, "--set=metrics.enabled=false,networkPolicy.enabled=true")
    container = one(closed, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "--metrics-port=0" in container["args"]
    assert [port["name"] for port in container["ports"]] == ["health"]
    assert scraping(closed) == {}
    assert "PodMonitor" not in {each["kind"] for each in closed}
    assert [rule["ports"] for rule in one(closed, "NetworkPolicy")["spec"]["ingress"]] == [[{"port": 8080}]]


def test_a_network_policy_lets_in_the_scraper_and_out_to_what_is_named(bed: Bed) -> None:
    assert "NetworkPolicy" not in {each["kind"] for each in render(bed)}
    sources = '[{"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [{"port": 9009}]}]'
    made = render(bed, "--set=networkPolicy.enabled=true", f"--set-json=networkPolicy.sources={sources}")
    policy, deployment = one(made, "NetworkPolicy")["spec"], one(made, "Deployment")["spec"]
    assert policy["podSelector"] == deployment["selector"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    probes, scraper = policy["ingress"]
    assert probes == {"ports": [{"port": 8080}]}, "the kubelet's address is not known to the chart"
    assert scraper["ports"] == [{"port": 8081}]
    assert scraper["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    dns, server, source = policy["egress"]
    assert {(each["protocol"], each["port"]) for each in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert [each["port"] for each in server["ports"]] == [443, 6443]
    assert source == {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [{"port": 9009}]}


# ---- on a cluster ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty(bed: Bed, running: Operator) -> Iterator[Bed]:
    """The bed without an operator, and without anything of ours. Afterwards all is as it was."""
    items = bed.get(ALL_PLANS)["items"]
    bed.delete(*items)
    until(lambda: not bed.get(ALL_PLANS)["items"], 60, "the end of all plans")
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
    empty.apply(metric_source(empty.prometheus_url))
    return empty


def test_an_upgrade_takes_the_definitions_along(installed: Bed) -> None:
    assert short_names(installed) == ["rp"]
    for path in CRDS.glob("*.yaml"):
        written = yaml.safe_load(path.read_text())
        stored = definition(installed, written["metadata"]["name"])
        assert stored["spec"]["versions"][0]["schema"] == written["spec"]["versions"][0]["schema"]
        assert stored["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_same_upgrade_again_changes_nothing(installed: Bed) -> None:
    paths = [
        DEPLOYMENT,
        f"{CRD}/rolloutplans.rolloutplan.dev",
        f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}",
    ]
    before = [installed.get(path) for path in paths]
    upgrade(installed, CHART)
    after = [installed.get(path) for path in paths]
    assert [o["metadata"].get("generation") for o in after] == [o["metadata"].get("generation") for o in before]
    assert [o.get("spec", o.get("rules")) for o in after] == [o.get("spec", o.get("rules")) for o in before]
    pods = installed.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    assert len([pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]) == 2


def test_a_second_release_is_refused_with_the_name_of_the_first(installed: Bed) -> None:
    with pytest.raises(
        RuntimeError, match=rf'meta.helm.sh/release-name" must equal "second": current value is "{NAME}"'
    ):
        installed.helm("install", "second", str(CHART), "-n", "default", "--dry-run=server", *IMAGE)


def test_the_pods_are_restricted_probed_and_apart(installed: Bed) -> None:
    spec = installed.get(DEPLOYMENT)["spec"]
    pods = installed.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    assert len({pod["metadata"]["name"] for pod in pods}) == spec["replicas"] == 2
    budget = installed.get(BUDGET)["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, spec["selector"])
    pod = pods[0]
    (wish,) = pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["podAffinityTerm"] == {"topologyKey": "kubernetes.io/hostname", "labelSelector": spec["selector"]}
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    probes = {key: container[key]["httpGet"]["path"] for key in ("livenessProbe", "readinessProbe")}
    assert probes == {"livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert container["resources"]["requests"]["memory"] == "128Mi"
    assert pod["spec"]["serviceAccountName"] == NAME


def test_helm_tests_that_the_account_may_read_plans_and_its_requests_have_their_own_level(installed: Bed) -> None:
    assert "Phase:          Succeeded" in installed.helm("test", NAME, "-n", NAMESPACE)
    pod = next(each for each in render(installed) if "helm.sh/hook" in each["metadata"].get("annotations", {}))
    account = pod["spec"]["serviceAccountName"]
    assert account == installed.get(DEPLOYMENT)["spec"]["template"]["spec"]["serviceAccountName"]
    (container,) = pod["spec"]["containers"]
    command = [sys.executable, "-m", *container["command"], *container["args"]]
    config = installed.kubeconfig("chart")
    env = {**python_path(), "KUBECONFIG": str(config)}
    asked = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    assert "there is no such plan in the cluster" in asked.stderr
    schema = installed.get(f"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/{NAME}")["metadata"]["uid"]
    asking = (f"--kubeconfig={config}", "get", "rolloutplans", "-A", "-v=8")
    until(lambda: schema in installed.run_kubectl(*asking).stderr, 10, "requests in the flow schema of the account")


def test_a_pod_monitor_wants_a_cluster_that_knows_it(installed: Bed) -> None:
    asking = ("--dry-run=server", "--set=metrics.podMonitor.enabled=true")
    with pytest.raises(RuntimeError, match=r"metrics\.podMonitor\.enabled: .* Install the Prometheus Operator first"):
        render(installed, *asking)
    with pytest.raises(RuntimeError, match=r"alerts\.enabled: the cluster has no PrometheusRule"):
        render(installed, "--dry-run=server", "--set=alerts.enabled=true")
    monitors = pod_monitors()
    installed.apply(monitors)
    try:
        until(lambda: served(installed, "/apis/monitoring.coreos.com/v1/podmonitors"), 30, "the kind PodMonitor")
        assert one(render(installed, *asking), "PodMonitor")["metadata"]["namespace"] == NAMESPACE
    finally:
        installed.delete(monitors)


def start_without_pods(shop: Shop) -> None:
    """Start a plan with a Job where the API server refuses its pods from now on; wait until the plan says why."""
    restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    shop.bed.api("PATCH", f"/api/v1/namespaces/{shop.namespace}", restricted, MERGE_PATCH)
    shop.start(**FAST, assumptions=[assumption("cache")])
    until(lambda: "PodSecurity" in shop.status().get("message", ""), 30, "why the Job has no pod")


def test_the_rights_given_are_the_rights_used_for_each_combination_of_the_switches(
    installed: Bed, record_property: Callable[[str, object], None]
) -> None:
    """The first leader ever, with all that can be lent. Each plan uses a part of it: what a switch lends, or the rest.

    Rollouts and a rollback that only move weights, with admission that refuses at first; Jobs; scaling.
    """
    plain, bad = Shop(installed, "chart-plain").open(), Shop(installed, "chart-bad").open()
    works, stuck = Shop(installed, "chart-jobs").open(), Shop(installed, "chart-stuck").open()
    sized, owned = Shop(installed, "chart-scaling").open(), Shop(installed, "chart-owned").open()
    upgrade(installed, CHART, *LENT.values(), BEHAVIOUR, "--set=records.kept=1")
    for shop in (plain, works, sized, owned):
        installed.load(shop.host, rate=50)
    works.start(**FAST, assumptions=[assumption("cache")], contract={"jobs": [{"name": "drop", **job()}]})
    sized.start(**FAST, expand={"scale": {"new": 3}}, contract={"scaleOld": 1})
    owned.start(**FAST, traffic=OWNED)
    resize(plain, 0)
    plain.start(**FAST)
    installed.delete(lease(NAME))
    trail = Trail(installed)
    installed.apply(OWN_KIND, POLICY)
    plan, route = (path.format(plain.namespace, "checkout") for path in (PLANS, ROUTES))
    with (
        trail.without_refusal(),
        frozen(installed, plan) as thaw_plan,
        frozen(installed, route) as thaw_route,
        told_nowhere(installed, plain),
        as_its_pod(installed),
    ):
        until(lambda: plain.status().get("reason") == "NewSideScaledToZero", 30, "a look at who scaled it to nothing")
        resize(plain, 2)
        until(
            lambda: ("get", "rolloutplans.rolloutplan.dev") in trail.used({plain.namespace}),
            30,
            "a second look at the plan",
        )
        thaw_plan()
        until(lambda: plain.status().get("reason") == "ShiftRefused", 30, "the end of a run whose weights are refused")
        assert plain.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
        assert "RollbackStarted" not in [decision["reason"] for decision in plain.status()["decisions"]]
        thaw_route()
        with silent(installed.traefik):
            retry_with_a_touched_record(plain)
            until(
                lambda: READS_ROUTE in trail.used({plain.namespace}),
                60,
                "a second look at the route that nobody accepts",
            )
        start_without_pods(stuck)
        stuck.say("abort a1")
        roll_back(bad)
        stuck.until("RolledBack")
        for shop in (plain, works, sized, owned):
            shop.until("Succeeded", timeout=60)
        commit_the_end(owned)
        until(
            lambda: (
                ("Succeeded" in plain.reasons() and "RolledBack" in bad.reasons())
                and {DELETES_RECORD, DELETES_ROUTE} <= trail.used()
                and installed.get(installed.api.path(POLICY)).get("status", {}).get("focus") == "Stability"
            ),
            40,
            "the last Events, the end of an old record and of an owned route, and the shift of a focus",
        )
    granted = rights(installed, "ClusterRole", "Role")
    until(lambda: {right for right in granted if right[0] == "watch"} <= trail.used(), 30, "the end of all watches")

    for shop in (plain, works, sized, owned):
        assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    assert bad.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    parts = {
        "": {"", NAMESPACE, plain.namespace, bad.namespace},
        "jobs": {works.namespace, stuck.namespace},
        "scaling": {sized.namespace},
        "owned routes": {owned.namespace},
    }
    for lent in ((), ("jobs",), ("scaling",), ("jobs", "scaling"), ("owned routes",)):
        given = rights_in(
            render(installed, *(LENT[switch] for switch in lent), api_versions(installed)), "ClusterRole", "Role"
        )
        used = trail.used(set.union(*(parts[part] for part in ("", *lent))))
        counts = f"granted {len(given)}, used {len(used)}, unused {len(given - used)}"
        record_property(f"rights, with {' and '.join(lent) or 'nothing'} lent", counts)
        assert used == given, f"not used: {shown(given - used)}; not granted: {shown(used - given)}"
    assert trail.used() == granted
    conditions = installed.get(installed.api.path(OWN_KIND))["status"]["conditions"]
    assert [(each["type"], each["status"], each["reason"]) for each in conditions] == [("Ready", "True", "Served")]
    installed.delete(OWN_KIND, POLICY)
    upgrade(installed, CHART)
    for shop in (plain, bad, works, stuck, sized, owned):
        shop.close()


def retry_with_a_touched_record(shop: Shop) -> None:
    """Start it again. Somebody has written to the record of its run: it is read before the next decision is added."""
    shop.bed.kubectl("label", "rr", "--all", "-n", shop.namespace, "touched=true")
    shop.say("retry r1")


def commit_the_end(shop: Shop) -> None:
    """Give the route the weights of the end, as a pipeline does: it takes its traffic over from the operator's own."""
    shop.bed.apply(objects.httproute(shop.serves, {"checkout-v1": 0, "checkout-v2": 100}, shop.namespace, shop.host))


def resize(shop: Shop, replicas: int) -> None:
    """Scale the new side, as a person does."""
    target = ("deployment/checkout-v2", "-n", shop.namespace, f"--replicas={replicas}")
    shop.bed.kubectl("scale", *target)


def test_the_account_may_read_and_change_its_own_lease_and_no_other(installed: Bed) -> None:
    installed.apply(lease(NAME), lease("another"))
    own, other = (installed.api.path(lease(name)) for name in (NAME, "another"))
    account = installed.client("chart")
    for method in ("GET", "PATCH"):
        account(method, own, {}, MERGE_PATCH)
    for method, path in (("GET", other), ("PATCH", other), ("GET", other.rpartition("/")[0]), ("DELETE", own)):
        with pytest.raises(ApiError, match="403"):
            account(method, path, {}, MERGE_PATCH)


def test_a_run_whose_objects_may_not_be_seen_any_more_waits_and_says_for_which_right(installed: Bed) -> None:
    """A right to watch is asked for again when the API server ends the stream, after 20 s at most."""
    shop = Shop(installed, "chart-blind").open()
    installed.load(shop.host, rate=50)
    with as_its_pod(installed):
        shop.start(stages=[{"weight": "50%", "soak": "40s", "deadline": "5m"}, {"weight": "100%", "soak": "1s"}])
        shop.until("Judging/w50")
        with without_rights(installed, "deployments", "pods") as lack:
            unseen = "deployments/checkout-v2 may change unseen: the operator may not list and watch deployments.apps"
            until(lambda: unseen in shop.status()["message"], 60, "the right that is missing")
            assert (stalled(shop), shop.phase()) == ("Forbidden", "Judging")
            # The new side's pods are listed when there are more of them; those at first may have been listed before.
            installed.kubectl("-n", shop.namespace, "scale", "deployment/checkout-v2", "--replicas=3")
            lack("pods")
            until(lambda: "unseen" not in shop.status()["message"], 60, "its end")
            until(lambda: "may not list pods" in shop.status()["message"], 60, "the other right")
            assert (stalled(shop), shop.phase()) == ("Forbidden", "Judging")
        shop.until("Succeeded", timeout=60)
        assert stalled(shop) == ""


def stalled(shop: Shop) -> str:
    """For which reason a plan is Stalled; empty where it is not."""
    return next((each["reason"] for each in shop.status()["conditions"] if each["type"] == "Stalled"), "")


@contextmanager
def without_rights(bed: Bed, *resources: str) -> Iterator[Callable[..., None]]:
    """Take the operator's rights on resources; yields what says on which it has none. Afterwards it has all of them.

    They are Helm's again then: an upgrade is refused that meets what somebody else has changed.
    """
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}"
    rules = bed.get(path)["rules"]

    def lack(*resources: str) -> None:
        taken = {*resources}
        left = [{**rule, "resources": [*({*rule["resources"]} - taken)]} for rule in rules if "resources" in rule]
        urls = [rule for rule in rules if "resources" not in rule]
        bed.api("PATCH", path, {"rules": [*(rule for rule in left if rule["resources"]), *urls]}, MERGE_PATCH)

    lack(*resources)
    try:
        yield lack
    finally:
        upgrade(bed, CHART, "--force-conflicts")


def test_one_of_two_replicas_leads_and_the_other_takes_over(installed: Bed) -> None:
    pod = installed.get(DEPLOYMENT)["spec"]["template"]["metadata"]["annotations"]
    with as_its_pod(installed, "one") as first:
        until(lambda: answers(f"{first.url}/leading"), 30, "a leader")
        with as_its_pod(installed, "two", HEALTH_PORT + 1) as second:
            assert answers(f"{first.url}/leading")
            assert not answers(f"{second.url}/leading"), "it is ready, and no more"
            ports = [HEALTH_PORT + METRICS_ABOVE, HEALTH_PORT + 1 + METRICS_ABOVE]
            urls = [f"http://127.0.0.1:{port}{pod['prometheus.io/path']}" for port in ports]
            pages = [requests.get(url, timeout=1).text for url in urls]
            assert ["rolloutplan_leader 1.0" in page for page in pages] == [True, False]
            it_says_who_serves(installed)
            first.process.child.terminate()
            until(lambda: answers(f"{second.url}/leading"), 2, "the next leader")
            assert installed.get(installed.api.path(lease(NAME)))["spec"]["holderIdentity"] == "two"


def it_says_who_serves(bed: Bed) -> None:
    """Another installation, which Helm does not refuse because it brings no CRDs, stands by and tells."""
    where = ("--lease-namespace=default", "--lease-name=second", "--cluster-lease-namespace=kube-system")
    other = Operator(bed, options=[*where, "--identity=other"], port=HEALTH_PORT + 2, name="other")
    try:
        other.process.spawn()
        words = f"the installation {NAMESPACE}/{NAME} serves this cluster (Lease kube-system/rolloutplan.dev)"
        until(lambda: words in page(f"{other.url}/readyz"), 30, "why it is not ready")
        assert not other.leads()
        events = bed.get(EVENTS.format("default"))["items"]
        assert [event["note"][: len(words)] for event in events if event["reason"] == "ServedElsewhere"] == [words]
    finally:
        other.process.kill()


def test_the_policies_admit_authors_by_their_rights_and_commands_by_group_and_in_the_senders_name(
    installed: Bed,
) -> None:
    shop = Shop(installed, "chart-admission")
    installed.apply(objects.namespace(shop.namespace))
    upgrade(installed, CHART, *LENT.values(), "--set=admission.approvers={release-managers}")
    releaser, author = Person(installed, shop, "ann", "release-managers"), Person(installed, shop, "bob")
    worker, scaler = Person(installed, shop, "eve", rights=("jobs",)), Person(installed, shop, "sid", rights=("scale",))
    router = Person(installed, shop, "rob", rights=("routes",))
    works: dict[str, Any] = {"expand": {"jobs": [{"name": "add", **job()}]}}
    sizes: list[dict[str, Any]] = [{"expand": {"scale": {"new": 2}}}, {"contract": {"scaleOld": 0}}]
    until(lambda: "may not create Jobs" in author.says_of(shop.plan(**works)), 30, "the policies")

    assert not author.says_of(shop.plan())
    assert not worker.says_of(shop.plan(**works))
    assert not scaler.says_of(shop.plan(**sizes[0]))
    assert not router.says_of(shop.plan(traffic=OWNED))
    assert "sid may not create HTTPRoutes in namespace chart-admission" in scaler.says_of(shop.plan(traffic=OWNED))
    for spec in sizes:
        assert "may not update its scale" in worker.says_of(shop.plan(**spec))
    others: list[dict[str, Any]] = [
        {"assumptions": [assumption("cache")]},
        {"contract": {"jobs": [{"name": "d", **job()}]}},
    ]
    for spec in (works, *others):
        assert not worker.says_of(shop.plan(**spec))
        assert "sid may not create Jobs in namespace chart-admission" in scaler.says_of(shop.plan(**spec))

    installed.apply(shop.plan(**works))
    until(lambda: author.says_to("approve a0", "bob"), 30, "the policy for commands")
    for command, by, person, words in (
        ("approve a1", "ann", releaser, ""),
        ("approve a2", "bob", releaser, "rolloutplan.dev/command-by: ann"),
        ("approve a3", None, releaser, "in the sender's own name"),
        ("approve a4", "bob", author, "bob may not send approve, promote or skip"),
        ("\tskip a5", "bob", author, "members of release-managers"),
        ("promote a6", "bob", author, "members of release-managers"),
        ("\u00a0abort a7", "bob", author, "members of release-managers"),
        ("abort approve", "bob", author, ""),
        ("pause p1", "bob", author, ""),
        ("pause p2", "ann", author, "rolloutplan.dev/command-by: bob"),
        ("abort a8", None, author, ""),
        ("resume r1", None, author, "in the sender's own name"),
        ("resume r1", "bob", author, ""),
        ("resume r1", "ann", releaser, "can be changed only together with it"),
        ("resume r1", None, author, "can be changed only together with it"),
        (None, None, author, ""),
    ):
        said = person.says_to(command, by)
        assert words in said, (command, by, said)
        assert bool(words) == bool(said), (command, by, said)
    assert not author.says_to("", ""), "another change of a plan with Jobs by somebody who may not create any"
    upgrade(installed, CHART)
    shop.close()


def test_who_may_only_patch_plans_sends_commands_and_changes_nothing_else(installed: Bed) -> None:
    shop = Shop(installed, "chart-people")
    installed.apply(objects.namespace(shop.namespace))
    upgrade(installed, CHART, "--set=people.roles=true")
    installed.apply(shop.plan())
    reader, writer, on_call = (
        Person(installed, shop, name, role=f"{NAME}-{role}")
        for name, role in (("rae", "view"), ("wes", "edit"), ("olga", "operate"))
    )
    edited = shop.plan(hypothesis="another one")
    may_not = "olga may send commands to the plan, and not change its spec or labels"
    until(lambda: not writer.says_of(edited), 30, "the roles")
    until(lambda: may_not in on_call.says_of(edited), 30, "the policy")
    assert may_not in on_call.says_to("", ""), "labels, by which policies select"
    assert not on_call.says_to("abort a1", None)
    assert not writer.says_to("", "")
    assert "cannot patch" in reader.says_of(edited)
    upgrade(installed, CHART)
    shop.close()


class Person:
    """A user of the cluster, who may write plans in the shop's namespace, with these rights beside.

    With `role`, what that ClusterRole allows there, and nothing else.
    """

    def __init__(
        self, bed: Bed, shop: Shop, name: str, *groups: str, rights: Collection[str] = (), role: str = ""
    ) -> None:
        self._shop, self._config = shop, bed.kubeconfig("admin", name, groups)
        rules = [{"apiGroups": [GROUP], "resources": ["rolloutplans"], "verbs": ["*"]}]
        rules += [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}] if "jobs" in rights else []
        scale = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["update"]}
        rules += [{**scale, "resourceNames": ["checkout-v1", "checkout-v2"]}] if "scale" in rights else []
        routes = {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": ["create"]}
        rules += [routes] if "routes" in rights else []
        meta, rbac = {"name": name, "namespace": shop.namespace}, "rbac.authorization.k8s.io"
        reference = {"apiGroup": rbac, "kind": "ClusterRole" if role else "Role", "name": role or name}
        binding = {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": reference}
        bound = {**binding, "subjects": [{"apiGroup": rbac, "kind": "User", "name": name}]}
        own = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules}
        bed.apply(*([] if role else [own]), bound)

    def says_of(self, plan: dict[str, Any]) -> str:
        """What the API server answers to a plan of this person's; empty where it would take it."""
        return self._refusal("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=plan)

    def says_to(self, command: str | None, by: str | None) -> str:
        """The same for a command and the sender's name; None takes the annotation away."""
        annotations = {f"{GROUP}/command": command, f"{GROUP}/command-by": by}
        patch = {"metadata": {"annotations": annotations}}
        if command == "":
            patch = {"metadata": {"labels": {"touched": "true"}}}
        where = ("rolloutplans", "checkout", "-n", self._shop.namespace)
        return self._refusal("patch", *where, "--type=merge", "-p", json.dumps(patch))

    def _refusal(self, *arguments: str, stdin: dict[str, Any] | None = None) -> str:
        text = json.dumps(stdin) if stdin else None
        found = self._shop.bed.run_kubectl(f"--kubeconfig={self._config}", *arguments, stdin=text)
        return found.stderr if found.returncode else ""


@contextmanager
def told_nowhere(bed: Bed, shop: Shop) -> Iterator[None]:
    """A notifier of each kind that gets no decision; at the end their statuses say so."""
    meta, version = {"name": "nobody"}, f"{GROUP}/v1alpha1"
    own = {"apiVersion": version, "kind": "Notifier", "metadata": {**meta, "namespace": shop.namespace}}
    shared = {"apiVersion": version, "kind": "ClusterNotifier", "metadata": meta}
    nowhere = {"webhook": WEBHOOK, "selector": {"namespaces": ["nowhere"]}}
    written = [{**own, "spec": {"webhook": WEBHOOK}}, {**shared, "spec": nowhere}]
    bed.apply(*written)
    yield
    ready = [bed.get(bed.api.path(each))["status"]["conditions"][0]["reason"] for each in written]
    assert ready == ["HostNotAllowed", "Waiting"]
    for each in written:
        bed.delete(each)


def test_with_namespaces_it_has_rights_in_these_alone(installed: Bed) -> None:
    served, other = Shop(installed, "chart-served").open(), Shop(installed, "chart-other").open()
    installed.load(served.host, rate=50)
    for shop in (served, other):
        shop.start(**FAST)
    everywhere = rights(installed, "ClusterRole", "Role")
    upgrade(installed, CHART, f"--set=namespaces={{{served.namespace},{NAMESPACE}}}")
    kinds = ("clustermetricsources", "clusterpredicatetemplates", "rolloutpolicies", "routekinds", "clusternotifiers")
    of_no_namespace = {"namespaces", *(f"{kind}.rolloutplan.dev" for kind in kinds)}
    of_no_namespace |= {
        f"{kind}.rolloutplan.dev/status" for kind in ("rolloutpolicies", "routekinds", "clusternotifiers")
    }
    of_no_namespace |= {"selfsubjectaccessreviews.authorization.k8s.io"}
    assert {resource for _, resource in rights(installed, "ClusterRole")} == of_no_namespace
    assert rights(installed, "ClusterRole", "Role") == everywhere

    trail = Trail(installed)
    with trail.without_refusal(), as_its_pod(installed):
        served.until("Succeeded", timeout=60)
        until(lambda: "Succeeded" in served.reasons(), 30, "the last Event")
    assert "phase" not in other.status(), "nobody serves this namespace"
    assert other.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    for path in (PLANS, ROUTES):
        with pytest.raises(ApiError, match="403"):
            installed.client("chart").get(path.format(other.namespace, "checkout"))
    upgrade(installed, CHART)
    for shop in (served, other):
        shop.close()


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


# ---- tools -----------------------------------------------------------------------------------------------------------


def render(bed: Bed, *options: str, chart: Path = CHART) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(bed.helm("template", NAME, str(chart), "-n", NAMESPACE, *IMAGE, *options)))


def api_versions(bed: Bed) -> str:
    """The option with the API versions of the cluster, which `helm install` asks for itself."""
    versions = [each["groupVersion"] for group in bed.get("/apis")["groups"] for each in group["versions"]]
    return f"--api-versions={','.join(versions)}"


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only one of its kind."""
    (found,) = (m for m in manifests if m["kind"] == kind)
    return found


def scraping(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """What the pods' annotations tell a Prometheus."""
    annotations = one(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    prefix = "prometheus.io/"
    return {key.removeprefix(prefix): value for key, value in annotations.items() if key.startswith(prefix)}


def upgrade(bed: Bed, chart: Path, *options: str) -> str:
    """Install or upgrade, with the values given and else the chart's own; wait until the pod is ready."""
    # Prometheus and the API server of the bed share an address.
    here = f"--set=sourceHosts={{{netns.ADDRESS}}}"
    wanted = ["--install", "--reset-values", "--wait", "--timeout=60s", *IMAGE, here, *options]
    said = bed.helm("upgrade", NAME, str(chart), "-n", NAMESPACE, *wanted)
    bed.wait_ready(NAMESPACE, NAME)
    return said


def lease(name: str) -> dict[str, Any]:
    """A Lease that nobody holds."""
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}


def pod_monitors() -> dict[str, Any]:
    """The Prometheus Operator's definition, without what it is about."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "podmonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"plural": "podmonitors", "singular": "podmonitor", "kind": "PodMonitor"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def served(bed: Bed, path: str) -> bool:
    try:
        bed.get(path)
    except ApiError:
        return False
    return True


def definition(bed: Bed, name: str = "rolloutplans.rolloutplan.dev") -> dict[str, Any]:
    found: dict[str, Any] = bed.get(f"{CRD}/{name}")
    return found


def short_names(bed: Bed) -> list[str]:
    names: list[str] = definition(bed)["spec"]["names"]["shortNames"]
    return names


def remove_definitions(bed: Bed) -> None:
    ours = [crd for crd in bed.get(CRD)["items"] if crd["spec"]["group"] == GROUP]
    for crd in ours:
        bed.api("DELETE", f"{CRD}/{crd['metadata']['name']}")
    until(lambda: all(crd["spec"]["group"] != GROUP for crd in bed.get(CRD)["items"]), 30, "the CRDs' end")


def rights(bed: Bed, *kinds: str) -> set[Right]:
    """What the release's roles of these kinds allow."""
    return rights_in(yaml.safe_load_all(bed.helm("get", "manifest", NAME, "-n", NAMESPACE)), *kinds)


def rights_in(manifests: Iterable[dict[str, Any]], *kinds: str) -> set[Right]:
    """What the roles of these kinds among manifests allow."""
    rules = [rule for m in manifests if m["kind"] in kinds for rule in m["rules"]]
    return {
        (verb, qualified(group, resource))
        for rule in rules
        for verb, group, resource in product(rule["verbs"], rule["apiGroups"], rule["resources"])
    }


def qualified(group: str, resource: str) -> str:
    name, slash, subresource = resource.partition("/")
    return f"{name}.{group}{slash}{subresource}" if group else resource


def shown(some: set[Right]) -> str:
    by_resource = groupby(sorted(some, key=itemgetter(1, 0)), key=itemgetter(1))
    return (
        "; ".join(f"{resource}: {' '.join(verb for verb, _ in items)}" for resource, items in by_resource) or "nothing"
    )


class Trail:
    """What the audit log says from now on about the requests of the chart's account."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _requests(self) -> Iterator[dict[str, Any]]:
        return (event for event in self._bed.audit("chart") if event["requestReceivedTimestamp"] > self._began)

    def used(self, namespaces: Collection[str] | None = None) -> set[Right]:
        """What was done to resources; with `namespaces` only in these, where "" is what is done to all at once.

        A watch is among them once it has ended.
        """
        targets = [(event["verb"], event.get("objectRef", {})) for event in self._requests()]
        return {
            (verb, self._target(target))
            for verb, target in targets
            if "resource" in target and (namespaces is None or target.get("namespace", "") in namespaces)
        }

    @staticmethod
    def _target(target: dict[str, str]) -> str:
        resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
        return qualified(target.get("apiGroup", ""), resource)

    @contextmanager
    def without_refusal(self) -> Iterator[None]:
        """Fail, with their names, where requests were not allowed: also where something else has failed for that."""
        try:
            yield
        finally:
            refused = [event for event in self._requests() if event["responseStatus"]["code"] in (401, 403)]
            assert [f"{event['verb']} {event['requestURI']}" for event in refused] == []


@dataclass(frozen=True)
class Replica:
    process: Process
    url: str


@contextmanager
def as_its_pod(bed: Bed, name: str = "pod", port: int = HEALTH_PORT) -> Iterator[Replica]:
    """The operator as its pod has it, but for the container: command, environment, account, and nothing to write to.

    Its user has no name and no home, as in an image that knows nothing of the chart's. It ends as the kubelet ends it.
    """
    template = bed.get(DEPLOYMENT)["spec"]["template"]["spec"]
    assert template["automountServiceAccountToken"]
    (container,) = template["containers"]
    config = json.loads(bed.kubeconfig("chart").read_text())
    cluster = config["clusters"][0]["cluster"]
    account = bed.workdir / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(config["users"][0]["user"]["token"])
    (account / "ca.crt").write_bytes(b64decode(cluster["certificate-authority-data"]))
    server = urlsplit(cluster["server"])
    env = {
        **python_path(),
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        **{variable["name"]: variable.get("value", name) for variable in container["env"]},
    }
    command = [sys.executable, "-m", *container["command"], *container["args"]]
    command += [f"--health-port={port}", f"--metrics-port={port + METRICS_ABOVE}"]
    inside = ["env", "-i", *(f"{key}={value}" for key, value in env.items()), *command]
    url = f"http://127.0.0.1:{port}"
    process = Process(
        name,
        ["unshare", "--mount", "sh", "-ec", INSIDE, str(account), *inside],
        bed.workdir,
        lambda: answers(f"{url}/readyz"),
    )
    try:
        process.start()
        yield Replica(process, url)
        process.child.terminate()
        assert process.ends(5) == 0
    finally:
        process.kill()


@contextmanager
def silent(part: Process) -> Iterator[None]:
    """Stop a part of the bed for a while."""
    part.stop()
    try:
        yield
    finally:
        part.cont()


def roll_back(shop: Shop) -> None:
    """Start a rollout that goes wrong in the middle of its first stage, and wait until it is undone."""
    shop.bed.load(shop.host, rate=100)
    shop.start(stages=[{"weights": ["25%", "100%"], "soak": "30s", "deadline": "60s"}])
    shop.until("Judging/w25")
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.3)
    shop.until("RolledBack")
