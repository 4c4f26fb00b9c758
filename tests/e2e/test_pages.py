"""The pages, followed as a reader follows them: their files are saved, and their commands are typed, on real parts.

tests/pages.py says how a page marks what is to be done. Where a page asks for patience, `hurry` makes its plans quick.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.bed import Bed, objects
from tests.bed.api import ApiError
from tests.bed.gateway import PORT
from tests.bed.load import Load
from tests.bed.processes import python_path, until
from tests.commands import calls, shell, unknown
from tests.pages import PAGES, READ_ONLY, Block, blocks, missing
from tests.shop import ROOT, ROUTES, Operator

NAMESPACE = "shop"
GATEWAY = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "eg", "namespace": NAMESPACE},
    "spec": {"gatewayClassName": "traefik", "listeners": [{"name": "http", "protocol": "HTTP", "port": PORT}]},
}
"""The Gateway that the routes of the pages name, as Envoy Gateway's quickstart calls it."""
FOLLOWED = [page for page in PAGES if any(block.action == "run" for block in blocks(page))]
IMAGE = "--set image.repository=registry.example.com/rolloutplan,image.tag=0.1.0"
SERVED = ("v1", "apps/", "autoscaling/", "networking.k8s.io/", "rbac.authorization.k8s.io/")
"""What the API server has by itself."""
ENDS_WITHIN = 120
"""Seconds that a block may take: a plan that has been hurried takes a quarter of that."""
WATCHES_FOR = 2


class Reader:
    """Somebody at a shell, who does what a page says in a folder of their own, which has the examples."""

    def __init__(self, bed: Bed, folder: Path) -> None:
        self._bed, self._folder, self._printed = bed, folder, ""
        self.loads: dict[str, Load] = {}
        shutil.copytree(ROOT / "examples", folder / "examples")
        programs = folder / "bin"
        programs.mkdir()
        python = {"rolloutplan": "rolloutplan", "kubectl-rolloutplan": "rolloutplan", "hurry": "tests.hurry"}
        commands = {"kubectl": str(bed.programs.kubectl), "helm": str(bed.programs.helm)}
        commands |= {name: f"{sys.executable} -m {module}" for name, module in python.items()}
        for name, command in commands.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        self._env = {"PATH": path, "HOME": str(folder), "KUBECONFIG": str(bed.kubeconfig()), **python_path()}

    def follow(self, block: Block) -> None:
        """Do what is said of a block."""
        match block.action:
            case "file":
                (self._folder / block.argument).parent.mkdir(parents=True, exist_ok=True)
                (self._folder / block.argument).write_text(block.text)
            case "run" if block.language == "promql":
                until(lambda: self._bed.series(block.text), 30, f"an answer to {block}")
            case "run" | "$" | "fails" | "watch":
                self._run(block)
            case "expect":
                absent = missing(block.text, self._printed)
                assert not absent, f"{block}: not printed: {absent}, in:\n{self._printed}"
            case "load":
                self.loads[block.argument] = self._bed.load(block.argument, rate=50)
            case action if action in READ_ONLY:
                pass
            case _:
                raise AssertionError(f"{block}: {block.action} is nothing that a test can do")

    def _run(self, block: Block) -> None:
        watching = block.action == "watch"
        done = (
            self.type(block.text, "timeout", "--preserve-status", str(WATCHES_FOR))
            if watching
            else self.type(block.text)
        )
        self._printed = done.stdout
        if not watching:
            assert (done.returncode != 0) == (block.action == "fails"), f"{block}: {done.returncode}\n{done.stdout}"

    def type(self, command: str, *within: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of bash, `within` another one if given; what it prints, errors too, is its standard output."""
        return subprocess.run(
            [*within, "bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ENDS_WITHIN,
            check=False,
        )


@pytest.fixture
def reader(bed: Bed, running: Operator, tmp_path: Path) -> Iterator[Reader]:
    """A reader with an empty namespace that has a gateway; it is gone afterwards."""
    namespace = objects.namespace(NAMESPACE)
    bed.apply(namespace, GATEWAY)
    reader = Reader(bed, tmp_path)
    yield reader
    for host in reader.loads:
        bed.end_loads(host)
    reader.type("kubectl delete rolloutpolicy stop --ignore-not-found")  # it would hold the plans of all other tests
    bed.delete(namespace)
    until(lambda: _gone(bed), 60, "the end of the namespace")


def _gone(bed: Bed) -> bool:
    with suppress(ApiError):
        bed.get(f"/api/v1/namespaces/{NAMESPACE}")
        return False
    return True


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(reader: Reader, page: Path) -> None:
    for block in blocks(page):
        reader.follow(block)
    for load in reader.loads.values():
        counts = load.stop()
        assert {outcome for _, outcome in counts} == {200}, counts


def test_what_no_page_has_its_reader_run_would_be_taken_too(bed: Bed, tmp_path: Path) -> None:
    """Objects of the API server's own kinds, values of our chart, and the flags of helm, on all pages."""
    reader = Reader(bed, tmp_path)
    of_helm, served = [], []
    for block in (block for page in PAGES for block in blocks(page)):
        if block.action == "values":
            command = f"helm template rolloutplan {ROOT}/deploy/helm/rolloutplan {IMAGE} -f - <<'END'\n{block.text}END"
            done = reader.type(command)
            assert done.returncode == 0, f"{block}: {done.stdout}"
        elif block.action == "" and block.language == "yaml":
            parts = [each for each in yaml.safe_load_all(block.text) if "kind" in each]
            served += [each for each in parts if each["apiVersion"].startswith(SERVED)]
        elif block.action == "" and block.language in ("sh", "console"):
            of_helm += [words for words in calls(shell(block)) if words[0] == "helm"]
    for each in served:
        each["metadata"] = {**each["metadata"], "namespace": "default"}  # which is there without a shop
    made = yaml.safe_dump_all(served)
    done = reader.type(f"kubectl apply --dry-run=server --validate=strict -f - <<'END'\n{made}END")
    assert done.returncode == 0, done.stdout
    assert of_helm
    assert [words for words in of_helm if unknown(words, bed.programs.helm)] == []


def test_the_chart_of_the_examples_releases_twice(reader: Reader, bed: Bed) -> None:
    """What helm is told here is what the page says, with short times and half of the stages."""
    quick = "plan.soak=2s,plan.deadline=60s,plan.bake.for=2s,plan.interval=1s,plan.drain=1s"
    values = f'--set {quick} --set-json \'plan.weights=["50%","100%"]\''
    commits = sorted((ROOT / "examples/helm/commits").iterdir())
    load = reader.loads["shop.example.com"] = bed.load("shop.example.com", rate=50)
    for commit in commits:
        git = yaml.safe_load(commit.read_text())
        last = reader.type(
            f"helm upgrade --install checkout examples/helm/checkout -n shop -f examples/helm/commits/{commit.name} "
            f"{values} {'--force-conflicts' if commit.stem.endswith('live') else ''}"
        )
        assert last.returncode == 0, last.stdout
        if new := git.get("release", {}).get("new"):
            wait = f"kubectl wait rp/checkout-{new} -n shop --for=jsonpath='{{.status.phase}}'=Succeeded --timeout=60s"
            assert reader.type(wait).returncode == 0, reader.type(
                f"kubectl get rp checkout-{new} -n shop -o yaml"
            ).stdout
    route = bed.get(ROUTES.format(NAMESPACE, "checkout"))
    held = {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}
    assert held == {f"checkout-{each['name']}": each["weight"] for each in git["versions"]}
    counts = load.stop()
    assert {outcome for _, outcome in counts} == {200}, counts
    kinds = reader.type("kubectl get deployments,services,rp -n shop -o name").stdout
    assert "v1" not in kinds
    assert "checkout-v2" in kinds
