"""Kinds of route on Traefik that are none of HTTPRoute."""

from collections.abc import Mapping
from typing import Any

from tests.bed.api import Manifest
from tests.bed.netns import PORTS
from tests.bed.traefik import NAME as TRAEFIK
from tests.bed.traefik import Traefik
from tests.routers.plane import NAME, Plane

GATEWAY_API = "gateway.networking.k8s.io"
NGINX = "nginx.ingress.kubernetes.io"


class OnTraefik(Plane):
    gateway = Traefik
    exact = True

    def weighted(self, weights: Mapping[str, int]) -> list[dict[str, Any]]:
        """The list of Services that all kinds but the Ingress have."""
        return [{"name": name, "port": PORTS[self.port], "weight": weight} for name, weight in weights.items()]


class GatewayRoute(OnTraefik):
    """A route of the Gateway API, on one of the gateway's listeners."""

    controller = "traefik.io/gateway-controller"
    version = "v1"
    listener: str
    by_host = True
    """Whether it has hosts; else it takes all that comes to its listener."""

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        hosts = {"hostnames": [host]} if self.by_host else {}
        parent = {"name": TRAEFIK, "namespace": "bed", "sectionName": self.listener}
        return [
            {
                "apiVersion": f"{GATEWAY_API}/{self.version}",
                "kind": self.kind,
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": {**hosts, "parentRefs": [parent], "rules": [{"backendRefs": self.weighted(weights)}]},
            }
        ]


class GRPCRoute(GatewayRoute):
    kind = "GRPCRoute"
    port = "grpc"
    listener = "http"
    at = Traefik.grpc_url


class TLSRoute(GatewayRoute):
    """TLS as far as the pods: Traefik sees the name of the host that a client greets with, and nothing else."""

    kind = "TLSRoute"
    fresh = True
    port = "tls"
    listener = "tls"
    at = Traefik.tls_url


class TCPRoute(GatewayRoute):
    kind = "TCPRoute"
    version = "v1alpha2"
    fresh = True
    listener = "tcp"
    at = Traefik.tcp_url
    by_host = False


class IngressRoute(OnTraefik):
    kind = "IngressRoute"

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        route = {"kind": "Rule", "match": f"Host(`{host}`)", "services": self.weighted(weights)}
        return [own(self.kind, NAME, namespace, {"entryPoints": ["http"], "routes": [route]})]


class TraefikService(OnTraefik):
    """With the IngressRoute that leads to it, as it is mostly used."""

    kind = "TraefikService"

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        services = [{"kind": "TraefikService", "name": NAME}]
        route = {"kind": "Rule", "match": f"Host(`{host}`)", "services": services}
        return [
            own("TraefikService", NAME, namespace, {"weighted": {"services": self.weighted(weights)}}),
            own("IngressRoute", NAME, namespace, {"entryPoints": ["http"], "routes": [route]}),
        ]


class IngressRouteTCP(OnTraefik):
    """By the name of the host that a client greets with, which is all that is known of TLS that goes on to the pods."""

    kind = "IngressRouteTCP"
    fresh = True
    port = "tls"
    at = Traefik.tls_url

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        route = {"match": f"HostSNI(`{host}`)", "services": self.weighted(weights)}
        return [
            own(self.kind, NAME, namespace, {"entryPoints": ["tls"], "routes": [route], "tls": {"passthrough": True}})
        ]


class NginxCanary(OnTraefik):
    """The pair of Ingresses of ingress-nginx, which Traefik understands: the route is the second one."""

    kind = "NginxCanary"
    breaks = ""
    """Traefik serves on without a pod of the old side; ingress-nginx itself does not."""

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        (old, _), (new, weight) = weights.items()
        canary = {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": str(weight)}
        return [
            self.ingress(f"{NAME}-main", namespace, host, old, {}),
            self.ingress(NAME, namespace, host, new, canary),
        ]

    def ingress(self, name: str, namespace: str, host: str, service: str, annotations: Mapping[str, str]) -> Manifest:
        backend = {"service": {"name": service, "port": {"number": PORTS[self.port]}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations)},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [path]}}]},
        }


def own(kind: str, name: str, namespace: str, spec: Mapping[str, Any]) -> Manifest:
    """An object of Traefik's own."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "traefik.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


PLANES = (
    GRPCRoute(),
    TLSRoute(),
    TCPRoute(),
    IngressRoute(),
    TraefikService(),
    IngressRouteTCP(),
    NginxCanary(),
)
