"""Contour with Envoy: HTTPProxies, and a second implementation of the Gateway API."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.bed import extras, gateway, netns, tools
from tests.bed.api import Manifest
from tests.bed.bed import Bed
from tests.bed.processes import Process, answers, environment, until

LISTENER = 8100
PORT = LISTENER + 8000
"""Where Envoy listens: Contour adds 8000 to the port of a listener."""
XDS_PORT = 8101
HEALTH_PORT = 8102
STATS_PORT = 8103
METRICS_PORT = 8104
DEBUG_PORT = 8105

NAME = "contour"
CLASS: Manifest = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": NAME},
    "spec": {"controllerName": "projectcontour.io/gateway-controller"},
}
GATEWAY: Manifest = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": NAME, "namespace": "bed"},
    "spec": {
        "gatewayClassName": NAME,
        "listeners": [
            {"name": "http", "protocol": "HTTP", "port": LISTENER, "allowedRoutes": {"namespaces": {"from": "All"}}}
        ],
    },
}

UNSERVED = ("extensionservices", "tlsroutes", "tcproutes", "backendtlspolicies")
"""What Contour would follow of kinds that the bed does not serve, or not in the version that Contour knows."""


class Contour:
    """Contour, which reads the cluster, and its Envoy, which takes the requests."""

    extras: ClassVar[Sequence[str]] = (NAME,)
    url = f"http://{netns.ADDRESS}:{PORT}"
    grpc_url = f"grpc://{netns.ADDRESS}:{PORT}"

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self.contour = _contour(bed)
        self.envoy = _envoy(bed)

    def start(self) -> None:
        """Start both, and wait until requests are taken."""
        extras.serve(self._bed.api, NAME)
        self._bed.apply(CLASS, GATEWAY)
        self.contour.start()
        self.envoy.start()
        until(lambda: gateway.programmed(self._bed.api, NAME), 60, "Contour's gateway")

    def kill(self) -> None:
        self.envoy.kill()
        self.contour.kill()
        self._bed.delete(GATEWAY, CLASS)

    def deafen(self) -> None:
        """Keep it from every change from now on: Envoy serves on as it is."""
        self.contour.stop()

    def hear(self) -> None:
        """Let it hear again."""
        self.contour.cont()


def _contour(bed: Bed) -> Process:
    config = bed.workdir / "contour.json"
    config.write_text(json.dumps({"gateway": {"gatewayRef": {"namespace": "bed", "name": NAME}}}))
    command = [
        str(extras.program(NAME)),
        "serve",
        f"--config-path={config}",
        f"--kubeconfig={bed.kubeconfig(NAME)}",
        "--disable-leader-election",
        "--insecure",
        *(f"--disable-feature={plural}" for plural in UNSERVED),
        *_on("xds", XDS_PORT),
        *_on("health", HEALTH_PORT),
        *_on("stats", STATS_PORT),
        *_on("http", METRICS_PORT),
        *_on("debug-http", DEBUG_PORT),
    ]
    ready = f"http://127.0.0.1:{HEALTH_PORT}/healthz"
    return Process(NAME, command, bed.workdir, lambda: answers(ready))


def _on(what: str, port: int) -> list[str]:
    return [f"--{what}-address=127.0.0.1", f"--{what}-port={port}"]


def _envoy(bed: Bed) -> Process:
    bootstrap = bed.workdir / "envoy-of-contour.json"
    command = [
        str(extras.program(NAME)),
        "bootstrap",
        str(bootstrap),
        f"--admin-address={bed.workdir}/envoy-of-contour.sock",
        f"--resources-dir={bed.workdir}/envoy-of-contour",
        "--xds-address=127.0.0.1",
        f"--xds-port={XDS_PORT}",
    ]
    subprocess.run(command, check=True, env=environment(bed.workdir), capture_output=True)
    return envoy(bed.workdir, "envoy-of-contour", bootstrap, f"http://127.0.0.1:{STATS_PORT}/ready")


def envoy(workdir: Path, name: str, bootstrap: Path, ready: str, node: str = "") -> Process:
    """An Envoy with this bootstrap, which can be used once `ready` is answered; `node` is what it calls itself."""
    options = f"--config-path {bootstrap} --service-cluster {name} --service-node {node or name} --concurrency 1"
    command = [str(tools.script("envoy")), *options.split(), "--log-level", "warning"]
    # Two Envoys that could restart while they serve would need shared memory of different numbers.
    return Process(name, [*command, "--disable-hot-restart"], workdir, lambda: answers(ready))
