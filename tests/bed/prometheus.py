"""Prometheus, which finds the pods by itself."""

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tests.bed import netns
from tests.bed.controlplane import ControlPlane
from tests.bed.processes import Process, answers

PORT = 9090
RULES = "rules"
"""The folder of its rules, below that of its configuration."""
URL = f"http://{netns.ADDRESS}:{PORT}"


def prometheus(
    program: Path, workdir: Path, control_plane: ControlPlane, scrape: str, name: str = "prometheus", port: int = PORT
) -> Process:
    """Prometheus, scraping all pods that have a container port POD_PORT every `scrape` (as "1s").

    Every series has the labels `namespace`, `pod`, `deployment` (the pod's label `app`) and `instance`. One of another
    `name` is another replica: it has a `port` and data of its own, and scrapes each pod at another moment.
    """
    kubeconfig = control_plane.kubeconfig("prometheus")
    config = workdir / f"{name}.json"
    config.write_text(json.dumps(_config(kubeconfig, scrape, name)))
    url = f"http://{netns.ADDRESS}:{port}"
    command = [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={workdir}/{name}",
        "--storage.tsdb.no-lockfile",
        f"--web.listen-address={netns.ADDRESS}:{port}",
        "--log.level=warn",
    ]
    return Process(name, command, workdir, lambda: answers(f"{url}/-/ready"), env=control_plane.env)


def scraping(
    program: Path,
    workdir: Path,
    name: str,
    port: int,
    jobs: Sequence[Mapping[str, object]],
    rules: Sequence[Path] = (),
) -> Process:
    """A Prometheus at a port of this machine that knows no cluster, scrapes these jobs alone, and has these rules."""
    config = workdir / f"{name}.json"
    config.write_text(json.dumps({"scrape_configs": list(jobs), "rule_files": list(map(str, rules))}))
    command = [str(program), f"--config.file={config}", f"--storage.tsdb.path={workdir}/{name}"]
    command += ["--storage.tsdb.no-lockfile", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    return Process(name, command, workdir, lambda: answers(f"http://127.0.0.1:{port}/-/ready"))


def _config(kubeconfig: Path, scrape: str, name: str) -> dict[str, object]:
    pods = {
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [
            _keep("container_port_number", str(netns.POD_PORT)),
            _keep("phase", "Running"),
            _label("namespace", "namespace"),
            _label("name", "pod"),
            _label("label_app", "deployment"),
        ],
    }
    every: dict[str, object] = {"scrape_interval": scrape, "scrape_timeout": scrape, "evaluation_interval": scrape}
    every["external_labels"] = {"replica": name}  # from these the moment follows at which a pod is scraped
    return {"global": every, "rule_files": [f"{RULES}/*.json"], "scrape_configs": [pods]}


def alert(server: Process, workdir: Path, name: str, promql: str, **labels: str) -> None:
    """Have an alert fire from now on while `promql` has an answer, one for each series of it."""
    rule = {"alert": name, "expr": promql, "labels": labels}
    path = workdir / RULES / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"groups": [{"name": name, "rules": [rule]}]}))
    server.child.send_signal(signal.SIGHUP)  # it reads its rules again


def _keep(source: str, value: str) -> dict[str, object]:
    return {"source_labels": [_meta(source)], "action": "keep", "regex": value}


def _label(source: str, target: str) -> dict[str, object]:
    return {"source_labels": [_meta(source)], "target_label": target}


def _meta(source: str) -> str:
    prefix = "__meta_kubernetes_" if source == "namespace" else "__meta_kubernetes_pod_"
    return prefix + source


def query(promql: str, url: str = URL) -> float | None:
    """The value of an instant query that has at most one; None if it has none."""
    kind, result = _ask(promql, url)
    if kind == "scalar":
        return float(result[1])
    if len(result) > 1:
        raise ValueError(f"{promql}: {len(result)} series, one is wanted")
    return float(result[0]["value"][1]) if result else None


def series(promql: str, url: str = URL) -> int:
    """How many series the answer to an instant query has."""
    kind, result = _ask(promql, url)
    return 1 if kind == "scalar" else len(result)


def _ask(promql: str, url: str) -> tuple[str, list[Any]]:
    session = requests.Session()
    session.trust_env = False
    answer = session.get(f"{url}/api/v1/query", params={"query": promql}, timeout=10)
    body = answer.json()
    if body["status"] != "success":
        raise ValueError(f"{promql}: {body['error']}")
    return body["data"]["resultType"], body["data"]["result"]
