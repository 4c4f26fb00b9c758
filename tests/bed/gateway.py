"""Traefik as the data plane of the Gateway API, and the one Gateway that all routes attach to."""

from functools import partial
from pathlib import Path

import requests

from tests.bed import netns
from tests.bed.api import Api, ApiError, Manifest
from tests.bed.controlplane import SERVER, ControlPlane
from tests.bed.processes import Process, answers, until

PORT = 8000
PING_PORT = 8002
URL = f"http://{netns.ADDRESS}:{PORT}"

GROUP = "/apis/gateway.networking.k8s.io/v1"

CLASS: Manifest = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "traefik", "labels": {"bed": "web"}},
    "spec": {"controllerName": "traefik.io/gateway-controller"},
}

GATEWAY: Manifest = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "web", "namespace": "bed"},
    "spec": {
        "gatewayClassName": "traefik",
        "listeners": [
            {"name": "web", "protocol": "HTTP", "port": PORT, "allowedRoutes": {"namespaces": {"from": "All"}}}
        ],
    },
}


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def takes_crds(api: Api) -> bool:
    """Whether the API server can be given definitions; it can before it is ready for all else."""
    return _lists(api, CRDS)


def create_crds(api: Api, folder: Path) -> None:
    """Create the Gateway API's definitions, and wait until what the bed needs of them is served."""
    for path in sorted(folder.iterdir()):
        api("POST", CRDS, path.read_bytes(), "application/yaml")
    for plural in ("gatewayclasses", "gateways", "httproutes"):
        until(partial(_lists, api, f"{GROUP}/{plural}"), 120, f"the API of {plural}", every=0.02)


def _lists(api: Api, path: str) -> bool:
    try:
        api.get(path)
    except (ApiError, requests.ConnectionError):
        return False
    return True


def traefik(program: Path, workdir: Path, control_plane: ControlPlane, server: str = SERVER) -> Process:
    """Traefik, taking over a change of a route or an endpoint at most every 100 ms; `server` is its API server."""
    command = [
        str(program),
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
        f"--entrypoints.web.address=:{PORT}",
        f"--entrypoints.ping.address=127.0.0.1:{PING_PORT}",
        "--ping.entrypoint=ping",
        "--metrics.prometheus.entrypoint=ping",
        "--metrics.prometheus.addserviceslabels=true",
        "--providers.kubernetesgateway.labelselector=bed=web",
        f"--providers.kubernetesgateway.endpoint={server}",
        f"--providers.kubernetesgateway.token={control_plane.token('traefik')}",
        f"--providers.kubernetesgateway.certauthfilepath={control_plane.ca}",
        "--providers.providersthrottleduration=100ms",
    ]
    ready = f"http://127.0.0.1:{PING_PORT}/ping"
    return Process("traefik", command, workdir, lambda: answers(ready), env=control_plane.env)


def programmed(api: Api, name: str = "web") -> bool:
    """Whether a gateway takes requests."""
    status = api.get(f"{GROUP}/namespaces/bed/gateways/{name}").get("status", {})
    return any(c["type"] == "Programmed" and c["status"] == "True" for c in status.get("conditions", []))
