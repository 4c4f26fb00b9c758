"""The command line on a real API server: commands to many plans at once, rights, names, versions."""

import asyncio
import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rolloutplan.api.command import ANNOTATION, read_command
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.spec_digest import spec_digest
from rolloutplan.cli.main import main
from rolloutplan.cli.serve import compared
from rolloutplan.cli.session import session
from rolloutplan.cli.versions import crd_difference, own_schema
from tests.bed import objects
from tests.bed.api import MERGE_PATCH
from tests.bed.bed import Bed
from tests.bed.processes import Stopwatch, until
from tests.refusals import PLAN

CRDS = Path(__file__).parents[2] / "deploy" / "crds"
NAMESPACE = "commanded"
PLANS = f"/apis/rolloutplan.dev/v1alpha1/namespaces/{NAMESPACE}/rolloutplans"
TEAMS = {"cart-v7": "a", "checkout-v2": "a", "search-v3": "b"}


@pytest.fixture(scope="module", autouse=True)
def _plans(bed: Bed) -> None:
    bed.kubectl("apply", "-f", str(CRDS))
    bed.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    bed.apply(objects.namespace(NAMESPACE))
    for name, team in TEAMS.items():
        meta = {"namespace": NAMESPACE, "name": name, "labels": {"team": team}}
        bed.apply({"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan", "metadata": meta, "spec": PLAN})


@pytest.fixture(autouse=True)
def _as_admin(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(bed.kubeconfig()))


def commands(bed: Bed) -> dict[str, str]:
    """The text of the newest command of each plan that has one."""
    found = {plan["metadata"]["name"]: plan["metadata"].get("annotations", {}) for plan in bed.get(PLANS)["items"]}
    return {name: annotations[ANNOTATION] for name, annotations in found.items() if ANNOTATION in annotations}


def account(bed: Bed, name: str, folder: Path) -> str:
    """The kubeconfig of an account without rights."""
    bed.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": NAMESPACE, "name": name}})
    config = json.loads(bed.kubeconfig().read_text())
    config["users"][0]["user"] = {"token": bed.kubectl("create", "token", name, "-n", NAMESPACE).strip()}
    (folder / name).write_text(json.dumps(config))
    return str(folder / name)


@contextmanager
def answering(bed: Bed, reasons: dict[str, str]) -> Iterator[None]:
    """Answer the next commands of these plans as the operator does, each with a reason of its own."""
    ended, done = threading.Event(), set(commands(bed).items())

    def answer() -> None:
        while not ended.wait(0.05):
            for name, text in set(commands(bed).items()) - done:
                done.add((name, text))
                if name in reasons:
                    decision = {"seq": 7, "at": "2026-03-01T09:00:00Z", "token": read_command(text).token}
                    decision |= {"reason": reasons[name], "note": f"{name}: said"}
                    bed.api("PATCH", f"{PLANS}/{name}/status", {"status": {"decisions": [decision]}}, MERGE_PATCH)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_selector_picks_the_plans_that_are_told(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "--all", "-l", "team=a", "-n", NAMESPACE, "--wait=0", "-o", "name"]) == 0
    told = [f"rolloutplan.rolloutplan.dev/{name}" for name, team in TEAMS.items() if team == "a"]
    assert sorted(capsys.readouterr().out.splitlines()) == told
    sent = {name: read_command(text).verb for name, text in commands(bed).items()}
    assert sent == {"cart-v7": "pause", "checkout-v2": "pause"}
    assert main(["pause", "--all", "-l", "team=nobody", "-n", NAMESPACE]) == 1
    assert capsys.readouterr().err.startswith(f"rolloutplan: no plan of namespace {NAMESPACE} is selected")


def test_each_plan_answers_for_itself_and_none_keeps_another_waiting(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(bed, {"cart-v7": "Paused", "search-v3": "CommandRejected"}):
        assert main(["abort", "cart-v7", "search-v3", "chekout-v2", "-n", NAMESPACE, "--wait=10", "-o=json"]) == 1
    said = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {name: each["outcome"] for name, each in said.items()} == {
        "cart-v7": "Done",
        "search-v3": "Refused",
        "chekout-v2": "Failed",
    }
    assert said["cart-v7"]["message"] == "cart-v7: said"
    assert said["chekout-v2"]["message"].endswith("did you mean checkout-v2?")


def test_one_plan_answers_as_soon_as_it_has(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(bed, {"checkout-v2": "Resumed"}):
        watch = Stopwatch()
        assert main(["resume", "checkout-v2", "-n", NAMESPACE, "--wait=60"]) == 0
    assert watch.seconds() < 30
    assert capsys.readouterr().out.splitlines()[1] == "checkout-v2: said"


def test_who_lacks_a_right_is_told_which_with_the_line_that_grants_it(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", account(bed, "bot", tmp_path))
    assert main(["abort", "cart-v7", "-n", NAMESPACE, "--wait=0"]) == 1
    said = capsys.readouterr().err
    who = f"system:serviceaccount:{NAMESPACE}:bot may not patch rolloutplans.rolloutplan.dev in namespace {NAMESPACE}"
    assert said.startswith(f"rolloutplan: {who}: ")
    for line in said.partition(" runs ")[2].split(" && "):
        bed.kubectl(*shlex.split(line)[1:])
    assert main(["abort", "cart-v7", "-n", NAMESPACE, "--wait=0"]) == 0
    assert main(["abort", "--all", "-n", NAMESPACE, "--wait=0"]) == 0


def test_a_wait_ends_with_the_run_of_the_plan_as_it_is(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    at = f"{PLANS}/search-v3"
    status = {"phase": "Succeeded", "planHash": read_plan_spec(PLAN).plan_hash(), "observedGeneration": 0, "run": 1}
    bed.api("PATCH", f"{at}/status", {"status": status}, MERGE_PATCH)
    seen = {"status": {"observedGeneration": bed.get(at)["metadata"]["generation"]}}
    looked: list[object] = []

    def look() -> None:
        looked.append(seen)
        bed.api("PATCH", f"{at}/status", seen, MERGE_PATCH)

    later = threading.Timer(1, look)
    later.start()
    assert main(["wait", "search-v3", "-n", NAMESPACE, "--timeout=60s"]) == 0
    assert looked, "it ended before the operator had seen the plan"
    later.join()
    assert capsys.readouterr().out.startswith(f"{NAMESPACE}/search-v3: Succeeded, run 1")
    assert main(["wait", "serch-v3", "-n", NAMESPACE, "--exists-within=1s"]) == 3
    assert capsys.readouterr().err.endswith("did you mean search-v3?\n")


def test_a_diff_says_what_the_api_server_would_take_and_what_that_does(
    bed: Bed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = {"namespace": NAMESPACE, "name": "cart-v7"}
    plan = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan", "metadata": meta, "spec": PLAN}
    file = tmp_path / "plan.json"

    def compared(**changed: object) -> tuple[int, str]:
        file.write_text(json.dumps({**plan, "spec": {**PLAN, **changed}}))
        return main(["diff", str(file)]), capsys.readouterr().out

    digest = [part.to_raw() for part in spec_digest(read_plan_spec(PLAN))]
    status = {"phase": "Judging", "run": 3, "planHash": read_plan_spec(PLAN).plan_hash(), "specDigest": digest}
    locked = {"stage": {"name": "canary", "index": 0}, "lockedStages": ["canary"], "weights": {"desired": "5%"}}
    bed.api("PATCH", f"{PLANS}/cart-v7/status", {"status": status | locked}, MERGE_PATCH)
    before = bed.get(f"{PLANS}/cart-v7")
    assert compared() == (0, f"RolloutPlan {NAMESPACE}/cart-v7 stays as it is\n")
    adapted = "-> run 3 goes on with the edit (Adapt)"
    superseded = "-> run 3 is superseded: the old weights are restored first (now 5%)"
    locked_stage = "-> canary of run 3 has started and is locked"
    for changed, code, words in (
        ({"bake": "7h"}, 1, ('cart-v7 changes\n  spec.bake: "0s" becomes "7h"\n', adapted)),
        ({"new": {"deployment": "cart-v8"}}, 1, ("spec.new.deployment: ", superseded)),
        ({"stages": [{"weight": "7%"}, {"weight": "100%"}]}, 2, ("cart-v7 is refused: ", locked_stage)),
    ):
        ended, said = compared(**changed)
        assert [word for word in words if word not in said] == [], said
        assert ended == code
    meta["name"] = "mail-v1"
    ended, said = compared()
    assert "mail-v1 is created\n  -> run 1 begins: " in said
    assert "-> plan cart-v7 moves HTTPRoute checkout too, and this one waits for the end of its run 3" in said
    assert ended == 1
    assert bed.get(f"{PLANS}/cart-v7") == before
    assert "mail-v1" not in {each["metadata"]["name"] for each in bed.get(PLANS)["items"]}


def test_a_first_plan_is_found_and_taken(bed: Bed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("pay-v1", "pay-v2"):
        bed.apply(objects.deployment(name, namespace=NAMESPACE))
        bed.apply(objects.service(name, namespace=NAMESPACE))
    route = objects.httproute("pay", {"pay-v1": 100, "pay-v2": 0}, namespace=NAMESPACE)
    owned = {"name": "pay-rolloutplan", "namespace": NAMESPACE, "labels": {"rolloutplan.dev/owned": "true"}}
    bed.apply(route, {**route, "metadata": owned})
    file = tmp_path / "plan.yaml"
    until(
        lambda: main(["init", "-n", NAMESPACE, "-f", str(file)]) == 0, timeout=30
    )  # the routes' storage may begin late
    assert "name: pay}" in file.read_text(), "not the one that the operator owns"
    assert main(["lint", str(file)]) == 0
    assert main(["diff", str(file)]) == 1
    assert f"RolloutPlan {NAMESPACE}/pay-v2 is created" in capsys.readouterr().out
    with file.open("a") as more:
        more.write("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pay-v2}\n")
    assert main(["diff", str(file)]) == 1
    assert capsys.readouterr().err.startswith("rolloutplan: not compared: Deployment pay-v2: kubectl diff shows them")


def test_the_versions_of_operator_and_crds_are_shown_as_far_as_rights_go(
    bed: Bed, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = objects.deployment("rp", namespace=NAMESPACE)
    operator["metadata"]["labels"] = {"app.kubernetes.io/component": "operator", "app.kubernetes.io/version": "9.0.0"}
    operator["spec"] |= {"replicas": 0}
    container = {"command": ["rolloutplan", "operator"], "args": ["--lease-name=held"], "image": "example.org/rp:9"}
    operator["spec"]["template"]["spec"]["containers"][0] |= container
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "rp-1"}}
    bed.apply(operator, lease | {"metadata": {"namespace": NAMESPACE, "name": "held"}})
    assert main(["version", "-o", "json"]) == 1, "the operator is newer"
    said = json.loads(capsys.readouterr().out)
    assert [each for each in said["crds"] if each["served"] != ["v1alpha1"] or each["stored"] != ["v1alpha1"]] == []
    assert len(said["crds"]) == len([*CRDS.glob("*.yaml")])
    (found,) = (each for each in said["operators"] if each["namespace"] == NAMESPACE)
    assert (found["version"], found["image"]) == ("9.0.0", "example.org/rp:9")
    assert (found["lease"], found["holder"]) == (f"{NAMESPACE}/held", "rp-1")
    bed.delete(operator)
    monkeypatch.setenv("KUBECONFIG", account(bed, "guest", tmp_path))
    assert main(["version"]) == 0
    shown = capsys.readouterr().out
    assert (
        f"operator not known: system:serviceaccount:{NAMESPACE}:guest may not list deployments.apps in all namespaces"
        in shown
    )
    assert "rolloutplans.rolloutplan.dev" in shown, "what everybody may know"


def test_the_fields_of_the_cluster_are_compared_with_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    async def differs() -> str:
        async with session(NAMESPACE) as cluster:
            return await crd_difference(cluster.api)

    assert asyncio.run(differs()) == asyncio.run(compared()).words == ""
    own = dict(own_schema())
    fields = own["properties"]["spec"]["properties"]
    spec = {"properties": {**fields, "weather": {"type": "string"}}}
    more = {**own, "properties": {**own["properties"], "spec": spec}}
    monkeypatch.setattr("rolloutplan.cli.versions.own_schema", lambda: more)
    words, lack = asyncio.run(compared())
    assert lack, "the operator waits"
    assert "are older than this program (they lack spec.weather)" in words
    assert asyncio.run(differs()) == words
