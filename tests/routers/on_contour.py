"""Kinds of route on Contour with Envoy."""

from collections.abc import Mapping
from typing import Any

from tests.bed.api import Manifest
from tests.bed.contour import NAME as CONTOUR
from tests.bed.contour import Contour
from tests.bed.netns import PORTS
from tests.routers.plane import NAME, Plane


class OnContour(Plane):
    gateway = Contour

    def weighted(self, weights: Mapping[str, int]) -> list[dict[str, Any]]:
        """The list of Services that all kinds have."""
        return [{"name": name, "port": PORTS[self.port], "weight": weight} for name, weight in weights.items()]


class HTTPProxy(OnContour):
    kind = "HTTPProxy"

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        route = {"conditions": [{"prefix": "/"}], "services": self.weighted(weights)}
        return [
            {
                "apiVersion": "projectcontour.io/v1",
                "kind": "HTTPProxy",
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": {"virtualhost": {"fqdn": host}, "routes": [route]},
            }
        ]


class GatewayRoute(OnContour):
    """A route of the Gateway API."""

    controller = "projectcontour.io/gateway-controller"

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        parent = {"name": CONTOUR, "namespace": "bed"}
        rules = [{"backendRefs": self.weighted(weights)}]
        return [
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": self.kind,
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": {"parentRefs": [parent], "hostnames": [host], "rules": rules},
            }
        ]


class HTTPRoute(GatewayRoute):
    kind = "HTTPRoute"


class GRPCRoute(GatewayRoute):
    kind = "GRPCRoute"
    port = "grpc"
    at = Contour.grpc_url


PLANES = (HTTPProxy(), HTTPRoute(), GRPCRoute())
