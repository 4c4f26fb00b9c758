"""`rolloutplan version`: what is found of an operator and of the CRDs, what does not fit, and what is shown of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan import __version__
from rolloutplan.cli.main import main
from rolloutplan.cli.versions import own_kinds
from rolloutplan.cli.views.version import (
    Crd,
    Operator,
    Versions,
    as_object,
    crds_of,
    findings,
    lease_of,
    operator_of,
    rendered,
)
from tests.looked_at import HOSTILE, WIDTHS, shown

OWN = own_kinds()
SERVED = dict(OWN.values())
PLANS = "rolloutplans.rolloutplan.dev"


def deployment(image: str = "example.org/rolloutplan:0.1.0", *args: str) -> dict[str, Any]:
    container = {"command": ["rolloutplan", "operator"], "args": [*args], "image": image}
    return {
        "metadata": {"namespace": "ops", "name": "rp", "labels": {"app.kubernetes.io/version": __version__}},
        "spec": {"template": {"spec": {"containers": [{"image": "example.org/sidecar:1"}, container]}}},
    }


def pod(image: str) -> dict[str, Any]:
    return {"spec": deployment(image)["spec"]["template"]["spec"]}


def definition(*served: str, stored: str = "v1alpha1") -> dict[str, Any]:
    versions = [{"name": name, "served": True} for name in served] + [{"name": "v0", "served": False}]
    return {"spec": {"versions": versions}, "status": {"storedVersions": [stored]}}


def without_a_field(schema: Any) -> dict[str, Any]:
    fields = dict(schema["properties"]["spec"]["properties"])
    del fields["hypothesis"]
    return {"properties": {"spec": {"properties": fields}}}


def test_the_lease_is_that_which_the_container_is_told() -> None:
    assert lease_of(deployment("", "--jobs", "--lease-namespace=shop", "--lease-name=mine")) == ("shop", "mine")
    assert lease_of(deployment()) == ("ops", "rolloutplan")
    assert lease_of({"spec": {"template": {"spec": {"containers": [{"command": ["other"]}, "?"]}}}}) is None


def test_what_is_looked_for_is_what_the_chart_writes() -> None:
    templates = Path(__file__).parents[2] / "deploy/helm/rolloutplan/templates"
    text = "".join((templates / name).read_text() for name in ("deployment.yaml", "_helpers.tpl"))
    words = (
        "component: operator",
        "version: {{",
        "command: [rolloutplan, operator]",
        "--lease-namespace=",
        "--lease-name=",
    )
    assert [each for each in words if each not in text] == []


def test_the_image_is_that_of_the_leader_and_the_next_one_is_named() -> None:
    lease = {"metadata": {"namespace": "ops", "name": "rp"}, "spec": {"holderIdentity": "rp-1"}}
    found = operator_of(deployment("new"), lease, pod("old"))
    assert (found.image, found.next_image, found.lease, found.holder) == ("old", "new", "ops/rp", "rp-1")
    alone = operator_of(deployment("new"), {}, {})
    assert (alone.image, alone.next_image, alone.lease, alone.holder) == ("new", "", "", "")


def test_crds_of_this_program_fit_it() -> None:
    found = [*crds_of(SERVED, {name: definition("v1alpha1") for name in OWN})]
    assert [each for each in found if each != Crd(each.name, ("v1alpha1",), ("v1alpha1",))] == []
    assert [each.name for each in found] == [*OWN]


def test_fields_that_nobody_tells_are_no_difference() -> None:
    (found,) = (each for each in crds_of({}, {PLANS: definition("v1alpha1", "v1")}) if each.name == PLANS)
    assert found == Crd(PLANS, ("v1alpha1", "v1"), ("v1alpha1",))


@pytest.mark.parametrize(
    ("served", "definitions", "name", "words"),
    [
        (
            {**SERVED, "RolloutPlan": without_a_field(SERVED["RolloutPlan"])},
            {},
            PLANS,
            "the CRDs of the cluster are older than",
        ),
        ({kind: each for kind, each in SERVED.items() if kind != "RolloutPlan"}, {}, PLANS, "it is missing: update"),
        ({}, {PLANS: definition("v1", "v1beta1")}, PLANS, "it is served as v1, v1beta1, which this program does not"),
        ({**SERVED, "Weather": {}}, {}, "Weather.rolloutplan.dev", "this program is older and does not know it: inst"),
    ],
    ids=["older fields", "a kind less", "another version", "a kind more"],
)
def test_what_does_not_fit_is_told_with_what_to_do(served: Any, definitions: Any, name: str, words: str) -> None:
    said = [*findings(Versions(crds=[*crds_of(served, definitions)]))]
    assert [each for each in said if each.startswith(f"{name}: {words}")] != [], said


def test_an_operator_of_another_version_is_told() -> None:
    (said,) = findings(Versions([Operator("ops", "rp", "9.0.0", ""), Operator("ops", "other", "", "")]))
    assert said.startswith(f"the operator ops/rp is 9.0.0, this program {__version__}: install the version that")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_shown_at_every_width(width: int) -> None:
    operator = Operator("ops", "rp", "0.9.0", f"example.org/{HOSTILE}", "next", "ops/rp", HOSTILE)
    lines = shown(rendered(Versions([operator], [*crds_of({}, {})], {"stored versions": HOSTILE}), width), width)
    assert lines[0] == f"client {__version__} (rolloutplan.dev/v1alpha1)"
    assert "\x1b" not in "".join(lines)


def test_without_a_cluster_the_client_is_known_and_the_reason_for_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert main(["version"]) == 0
    client, why = capsys.readouterr().out.splitlines()
    assert client.startswith(f"client {__version__}")
    assert why.startswith("operator and CRDs not known: ")
    assert "/nowhere" in why
    assert main(["version", "-o", "yaml"]) == 0
    said = yaml.safe_load(capsys.readouterr().out)
    assert said.keys() == as_object(Versions()).keys()
    assert said["client"]["version"] == __version__
    assert said["unknown"].keys() == {"operator", "CRDs"}
