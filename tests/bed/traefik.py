"""A second Traefik, for the kinds of route that the first one does not follow: its own ones, canary Ingresses, TCP."""

from collections.abc import Sequence
from typing import ClassVar

from tests.bed import extras, gateway, netns
from tests.bed.api import Manifest
from tests.bed.bed import Bed
from tests.bed.faults import FaultProxy
from tests.bed.processes import Process, answers, until

HTTP_PORT = 8300
TLS_PORT = 8301
TCP_PORT = 8302
PING_PORT = 8303
PROXY_PORT = 8304
"""Where the proxy listens through which it reads the cluster, and on the next one."""

NAME = "kinds"
"""Of its GatewayClass and its Gateway. Both Traefiks answer to one controller: a label says whose a class is."""

CLASS: Manifest = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": NAME, "labels": {"bed": NAME}},
    "spec": {"controllerName": "traefik.io/gateway-controller"},
}
GATEWAY: Manifest = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": NAME, "namespace": "bed"},
    "spec": {
        "gatewayClassName": NAME,
        "listeners": [
            {"name": "http", "protocol": "HTTP", "port": HTTP_PORT, "allowedRoutes": {"namespaces": {"from": "All"}}},
            {
                "name": "tls",
                "protocol": "TLS",
                "port": TLS_PORT,
                "tls": {"mode": "Passthrough"},
                "allowedRoutes": {"namespaces": {"from": "All"}},
            },
            {"name": "tcp", "protocol": "TCP", "port": TCP_PORT, "allowedRoutes": {"namespaces": {"from": "All"}}},
        ],
    },
}
"""Each listener is an entry point too, of the same name."""

INGRESS_CLASS: Manifest = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "nginx"},
    "spec": {"controller": "k8s.io/ingress-nginx"},
}


class Traefik:
    """It, and the proxy that can keep it from hearing of changes."""

    extras: ClassVar[Sequence[str]] = ("tcproutes", "traefik")
    url = f"http://{netns.ADDRESS}:{HTTP_PORT}"
    grpc_url = f"grpc://{netns.ADDRESS}:{HTTP_PORT}"
    tls_url = f"https://{netns.ADDRESS}:{TLS_PORT}"
    tcp_url = f"http://{netns.ADDRESS}:{TCP_PORT}"

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._proxy = FaultProxy(bed, "proxy-of-traefik", PROXY_PORT)
        self.traefik = self._process()

    def _process(self) -> Process:
        access = {"endpoint": self._proxy.url, "token": self._proxy.token("traefik")}
        providers = {
            "kubernetesgateway": {"experimentalchannel": "true", "labelselector": f"bed={NAME}", **access},
            "kubernetescrd": access,
            "kubernetesingressnginx": {"httpentrypoint": "http", **access},
        }
        entries = {"http": HTTP_PORT, "tls": TLS_PORT, "tcp": TCP_PORT}
        command = [
            str(self._bed.programs.traefik),
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--log.level=INFO",
            *(f"--entrypoints.{name}.address=:{port}" for name, port in entries.items()),
            f"--entrypoints.ping.address=127.0.0.1:{PING_PORT}",
            "--ping.entrypoint=ping",
            "--metrics.prometheus.entrypoint=ping",
            "--metrics.prometheus.addserviceslabels=true",
            *(f"--providers.{name}.{key}={value}" for name, keys in providers.items() for key, value in keys.items()),
            "--providers.providersthrottleduration=100ms",
        ]
        ready = f"http://127.0.0.1:{PING_PORT}/ping"
        return Process("traefik-of-kinds", command, self._bed.workdir, lambda: answers(ready))

    def start(self) -> None:
        """Start it, and wait until requests are taken."""
        for name in self.extras:
            extras.serve(self._bed.api, name)
        self._bed.apply(CLASS, GATEWAY, INGRESS_CLASS)
        self._proxy.start()
        self.traefik.start()
        until(lambda: gateway.programmed(self._bed.api, NAME), 60, "the gateway of the second Traefik")

    def kill(self) -> None:
        self.traefik.kill()
        self._proxy.kill()
        self._bed.delete(GATEWAY, CLASS, INGRESS_CLASS)

    def deafen(self) -> None:
        """Keep it from every change from now on: it serves on as it is.

        The proxy is frozen, not down: after a cut, Traefik would take up to half a minute to ask again.
        """
        self._proxy.process.stop()

    def hear(self) -> None:
        """Let it hear again."""
        self._proxy.process.cont()
